/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/url_postgres.c: postgres:// as people write it.
 *
 *   postgres://[user[:password]@][host[:port]][/database][?name=value&...]
 *
 * As libpq reads it: without a database it is the user's name, without a user
 * "postgres"; host may be a directory of sockets (?host=/run/postgresql, or
 * postgres://%2Frun%2Fpostgresql/app); and ?sslmode=disable|require|verify-ca|
 * verify-full&sslrootcert=FILE&sslcert=FILE&sslkey=FILE. As with libpq "require"
 * together with a sslrootcert is verify-ca, and sslrootcert=system are the
 * machine's authorities, which are also meant where verify-full names none.
 * Source: https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING
 */
#include <stdio.h>

#include "control/url_parts.h"

#define SOCKET_NAME "/.s.PGSQL."

static int
take_mode(const char *mode, struct url_tls *ret, struct err *err)
{
	/* What libpq may fall back from is said by nobody to be wanted. */
	ret->is_on = strcmp(mode, "disable") != 0;
	ret->insecure = strcmp(mode, "require") == 0;
	ret->any_name = strcmp(mode, "verify-ca") == 0;
	if (!ret->is_on || ret->insecure || ret->any_name ||
	    strcmp(mode, "verify-full") == 0)
		return 0;
	return err_set(err, ERR_USAGE,
	               "sslmode=%.20s: disable, require (whoever is in between "
	               "can read all), verify-ca or verify-full",
	               mode);
}

/* What the words mean together, in whatever order they came. */
static int
judge_tls(struct url_tls *t, struct err *err)
{
	bool is_system = strcmp(t->ca, "system") == 0;

	if (!t->is_on &&
	    (t->ca[0] != '\0' || t->cert[0] != '\0' || t->key[0] != '\0'))
		return err_set(err, ERR_USAGE,
		               "certificates are named but the connection is "
		               "plain; write sslmode=verify-full");
	if (is_system && (t->insecure || t->any_name))
		return err_set(err, ERR_USAGE,
		               "sslrootcert=system goes with "
		               "sslmode=verify-full only");
	if (is_system)
		memset(t->ca, 0, sizeof(t->ca));
	if (t->any_name && t->ca[0] == '\0')
		return err_set(err, ERR_USAGE,
		               "sslmode=verify-ca needs sslrootcert=FILE: "
		               "anybody has a certificate that the machine's "
		               "authorities have signed");
	if (t->insecure && t->ca[0] != '\0') {
		t->insecure = false;
		t->any_name = true;
	}
	return 0;
}

const char *
url_sslmode(const struct url *u)
{
	if (!u->tls.is_on)
		return "disable";
	if (u->tls.insecure)
		return "require";
	return u->tls.any_name ? "verify-ca" : "verify-full";
}

/* One name=value of [from, to). */
static int
take_word(const char *from, const char *to, struct url *ret, struct err *err)
{
	const struct {
		const char *name;
		char *value;
		size_t n;
	} words[] = {
		{ "sslrootcert", ret->tls.ca, sizeof(ret->tls.ca) },
		{ "sslcert", ret->tls.cert, sizeof(ret->tls.cert) },
		{ "sslkey", ret->tls.key, sizeof(ret->tls.key) },
		{ "host", ret->at.host, sizeof(ret->at.host) },
		{ "dbname", ret->database, sizeof(ret->database) },
		{ "user", ret->user, sizeof(ret->user) },
	};
	const char *equals = memchr(from, '=', (size_t)(to - from));
	size_t len = equals != NULL ? (size_t)(equals - from) : 0;
	char mode[24];
	uint32_t port;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (len > 0 && len == strlen(words[i].name) &&
		    memcmp(from, words[i].name, len) == 0)
			return url_decode(equals + 1, to, words[i].value,
			                  words[i].n, words[i].name, err);
	}
	if (len == 7 && memcmp(from, "sslmode", 7) == 0) {
		int rc = url_decode(equals + 1, to, mode, sizeof(mode),
		                    "sslmode", err);

		return rc == 0 ? take_mode(mode, &ret->tls, err) : rc;
	}
	if (len == 4 && memcmp(from, "port", 4) == 0 &&
	    url_number(equals + 1, to, 65535, &port) && port > 0) {
		ret->at.port = (uint16_t)port;
		return 0;
	}
	return err_set(err, ERR_USAGE,
	               "\"%.*s\" is not sslmode, sslrootcert, sslcert, sslkey, "
	               "host, port, user or dbname",
	               (int)(to - from > 40 ? 40 : to - from), from);
}

static int
take_query(const char *from, struct url *ret, struct err *err)
{
	int rc = 0;

	while (rc == 0 && *from != '\0') {
		const char *to = from + strcspn(from, "&");

		rc = take_word(from, to, ret, err);
		from = *to == '&' ? to + 1 : to;
	}
	return rc;
}

/* A directory of sockets becomes the socket. */
static int
take_socket(struct url *ret, struct err *err)
{
	size_t used = strlen(ret->at.host);

	while (used > 1 && ret->at.host[used - 1] == '/')
		used--;
	if (snprintf(ret->at.host + used, sizeof(ret->at.host) - used,
	             SOCKET_NAME "%u", (unsigned)ret->at.port) >=
	    (int)(sizeof(ret->at.host) - used))
		return err_set(
			err, ERR_USAGE,
			"the path of the socket is longer than %zu bytes",
			sizeof(ret->at.host) - 1);
	ret->at.port = 0;
	return ret->tls.is_on ? err_set(err, ERR_USAGE,
	                                "there is no TLS over a Unix socket")
	                      : 0;
}

static void
make_label(struct url *u)
{
	bool v6 = strchr(u->at.host, ':') != NULL;
	const char *name = strstr(u->at.host, SOCKET_NAME);

	if (u->at.port != 0)
		(void)snprintf(u->label, sizeof(u->label),
		               "postgres://%s%s%s:%u/%s", v6 ? "[" : "",
		               u->at.host, v6 ? "]" : "", u->at.port,
		               u->database);
	else
		(void)snprintf(u->label, sizeof(u->label),
		               "postgres:///%s?host=%.*s&port=%s", u->database,
		               name != NULL ? (int)(name - u->at.host) : 0,
		               u->at.host,
		               name != NULL ? name + strlen(SOCKET_NAME) : "");
}

int
url_postgres_parse(const char *rest, struct url *ret, struct err *err)
{
	const char *query = strchr(rest, '?');
	const char *end = query != NULL ? query : rest + strlen(rest);
	const char *slash = memchr(rest, '/', (size_t)(end - rest));
	const char *to = slash != NULL ? slash : end;
	const char *at = url_find_last(rest, to, '@');
	const char *host = at != NULL ? at + 1 : rest;
	int rc = 0;

	ret->kind = URL_POSTGRES;
	ret->at.port = URL_PORT_POSTGRES;
	if (query != NULL && strchr(query, '@') != NULL)
		return err_set(err, ERR_USAGE,
		               "a ? in user or password is written %%3F, a @ "
		               "in an option %%40");
	if (slash != NULL && memchr(slash, '@', (size_t)(end - slash)) != NULL)
		return err_set(err, ERR_USAGE,
		               "a / in user or password is written %%2F");
	if (at != NULL)
		rc = url_parse_user(rest, at, ret, err);
	if (rc == 0 && host < to)
		rc = url_parse_host(host, to, URL_PORT_POSTGRES, ret, err);
	if (rc == 0 && slash != NULL)
		rc = url_decode(slash + 1, end, ret->database,
		                sizeof(ret->database), "database", err);
	if (rc == 0 && query != NULL)
		rc = take_query(query + 1, ret, err);
	if (rc == 0)
		rc = judge_tls(&ret->tls, err);
	if (rc != 0)
		return rc;
	if (ret->user[0] == '\0')
		memcpy(ret->user, "postgres", sizeof("postgres"));
	if (ret->database[0] == '\0')
		memcpy(ret->database, ret->user, sizeof(ret->user));
	_Static_assert(sizeof(ret->user) <= sizeof(ret->database),
	               "a user's name is a database's");
	if (ret->at.host[0] == '\0')
		memcpy(ret->at.host, "localhost", sizeof("localhost"));
	if (ret->at.host[0] == '/')
		rc = take_socket(ret, err);
	if (rc == 0)
		make_label(ret);
	return rc;
}

static size_t
put_words(const struct url *u, char *ret, size_t n, size_t used)
{
	const char *name = strstr(u->at.host, SOCKET_NAME);
	bool is_socket = u->at.port == 0 && name != NULL;
	char dir[sizeof(u->at.host)] = "";
	const struct {
		const char *name;
		const char *value;
	} words[] = {
		{ "host=", dir },
		{ "port=", is_socket ? name + strlen(SOCKET_NAME) : "" },
		{ "sslmode=", u->tls.is_on ? url_sslmode(u) : "" },
		{ "sslrootcert=", u->tls.ca },
		{ "sslcert=", u->tls.cert },
		{ "sslkey=", u->tls.key },
	};
	const char *mark = "?";

	if (is_socket)
		memcpy(dir, u->at.host, (size_t)(name - u->at.host));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i].value[0] == '\0')
			continue;
		used = url_put(ret, n, used, mark);
		used = url_put(ret, n, used, words[i].name);
		used = url_encode(ret, n, used, words[i].value, "/");
		mark = "&";
	}
	return used;
}

int
url_postgres_print(const struct url *u, char *ret, size_t n, struct err *err)
{
	size_t used = url_put(ret, n, 0, "postgres://");

	used = url_put_user(u, ret, n, used);
	if (u->at.port != 0)
		used = url_put_host(&u->at, ret, n, used);
	used = url_put(ret, n, used, "/");
	used = url_encode(ret, n, used, u->database, "");
	used = put_words(u, ret, n, used);
	if (used >= n)
		return err_set(err, ERR_LIMIT,
		               "the URL of %s is longer than %zu bytes",
		               u->label, n - 1);
	ret[used] = '\0';
	return 0;
}
