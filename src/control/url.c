/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/url.c: an endpoint as people write it.
 */
#include "control/url.h"

#include <stdio.h>

#include "base/num.h"
#include "control/url_parts.h"
#include "wire/pg.h"
#include "world/os/tls.h"

const char *
url_find_last(const char *from, const char *to, char c)
{
	for (const char *p = to; p > from; p--)
		if (p[-1] == c)
			return p - 1;
	return NULL;
}

/* Undo %XX from [from, to) into ret. */
int
url_decode(const char *from, const char *to, char *ret, size_t n,
           const char *what, struct err *err)
{
	size_t used = 0;

	for (const char *p = from; p < to; p++) {
		char c = *p;

		if (c == '%') {
			int high = to - p > 2 ? num_hex(p[1]) : -1;
			int low = to - p > 2 ? num_hex(p[2]) : -1;

			/* A zero byte would end the string early. */
			if (high < 0 || low < 0 || high + low == 0)
				return err_set(err, ERR_USAGE,
				               "in the %s a %% is not followed "
				               "by two hexadecimal digits",
				               what);
			c = (char)(high * 16 + low);
			p += 2;
		}
		if (used + 1 >= n)
			return err_set(err, ERR_USAGE,
			               "the %s is longer than %zu bytes", what,
			               n - 1);
		ret[used++] = c;
	}
	ret[used] = '\0';
	return 0;
}

/* A decimal number of at most max, all of [from, to). */
bool
url_number(const char *from, const char *to, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;

	if (from == to || to - from > 9)
		return false;
	for (const char *p = from; p < to; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	*ret = (uint32_t)v;
	return v <= max;
}

/* user:password before the '@'. */
int
url_parse_user(const char *from, const char *to, struct url *ret,
               struct err *err)
{
	const char *colon = memchr(from, ':', (size_t)(to - from));
	const char *user_end = colon != NULL ? colon : to;
	int rc = url_decode(from, user_end, ret->user, sizeof(ret->user),
	                    "user", err);

	if (rc == 0 && colon != NULL)
		rc = url_decode(colon + 1, to, ret->pass, sizeof(ret->pass),
		                "password", err);
	return rc;
}

/* host[:port] or [v6]:port, all of [from, to). */
int
url_parse_host(const char *from, const char *to, uint32_t default_port,
               struct url *ret, struct err *err)
{
	const char *end = to;
	const char *port = NULL;
	uint32_t v = default_port;

	if (from < to && *from == '[') {
		end = memchr(from, ']', (size_t)(to - from));
		if (end == NULL)
			return err_set(err, ERR_USAGE,
			               "the address lacks its closing bracket");
		from++;
		if (end + 1 < to && end[1] != ':')
			return err_set(err, ERR_USAGE,
			               "after the bracket comes :port, not "
			               "\"%.20s\"",
			               end + 1);
		port = end + 1 < to ? end + 2 : NULL;
	} else {
		port = url_find_last(from, to, ':');
		if (port != NULL) {
			end = port++;
			if (memchr(from, ':', (size_t)(end - from)) != NULL)
				return err_set(err, ERR_USAGE,
				               "an IPv6 address belongs in "
				               "brackets: redis://[::1]:6379");
		}
	}
	if (from == end)
		return err_set(err, ERR_USAGE, "the host is missing");
	if (port != NULL && (!url_number(port, to, 65535, &v) || v == 0))
		return err_set(err, ERR_USAGE,
		               "the port \"%.*s\" is not a number from 1 to "
		               "65535%s",
		               (int)(to - port > 20 ? 20 : to - port), port,
		               memchr(port, '@', (size_t)(to - port)) != NULL
		                       ? ""
		                       : " (a / in a password is written %2F)");
	ret->at.port = (uint16_t)v;
	return url_decode(from, end, ret->at.host, sizeof(ret->at.host), "host",
	                  err);
}

/* One name=value of a rediss:// URL, all of [from, to). */
static int
parse_word(const char *from, const char *to, struct url_tls *ret,
           struct err *err)
{
	const struct {
		const char *name;
		char *value;
		size_t n;
	} words[] = {
		{ "ca", ret->ca, sizeof(ret->ca) },
		{ "cert", ret->cert, sizeof(ret->cert) },
		{ "key", ret->key, sizeof(ret->key) },
		{ "name", ret->name, sizeof(ret->name) },
	};
	const char *equals = memchr(from, '=', (size_t)(to - from));
	size_t len = equals != NULL ? (size_t)(equals - from) : 0;

	for (size_t i = 0; equals != NULL && i < 4; i++)
		if (len == strlen(words[i].name) &&
		    memcmp(from, words[i].name, len) == 0)
			return url_decode(equals + 1, to, words[i].value,
			                  words[i].n, words[i].name, err);
	if (len == 8 && memcmp(from, "insecure", len) == 0 &&
	    to - equals == 2 && (equals[1] == '0' || equals[1] == '1')) {
		ret->insecure = equals[1] == '1';
		return 0;
	}
	return err_set(err, ERR_USAGE,
	               "\"%.*s\" is not ca=FILE, cert=FILE, key=FILE, "
	               "name=NAME or insecure=1",
	               (int)(to - from > 40 ? 40 : to - from), from);
}

/* "a=b&c=d" */
static int
parse_query(const char *from, struct url *ret, struct err *err)
{
	int rc = 0;

	if (!ret->tls.is_on)
		return err_set(err, ERR_USAGE,
		               "a redis:// URL has no ?options; those of TLS "
		               "belong to rediss://");
	while (rc == 0 && *from != '\0') {
		const char *to = from + strcspn(from, "&");

		rc = parse_word(from, to, &ret->tls, err);
		from = *to == '&' ? to + 1 : to;
	}
	return rc;
}

/* The '?' of the options; one in a plain URL's password is no such thing. */
static const char *
find_query(const char *rest, const struct url *u)
{
	const char *query = strchr(rest, '?');

	if (query != NULL && !u->tls.is_on && strchr(query, '@') != NULL)
		return NULL;
	return query;
}

static int
parse_tcp(const char *rest, struct url *ret, struct err *err)
{
	const char *query = find_query(rest, ret);
	const char *end = query != NULL ? query : rest + strlen(rest);
	const char *slash = memchr(rest, '/', (size_t)(end - rest));
	const char *to = slash != NULL ? slash : end;
	const char *at;
	int rc = 0;

	/* A password with one of these in it puts the '@' behind it. */
	if (query != NULL && strchr(query, '@') != NULL)
		return err_set(err, ERR_USAGE,
		               "a ? in user or password is written %%3F, a @ "
		               "in an option %%40");
	if (slash != NULL && memchr(slash, '@', (size_t)(end - slash)) != NULL)
		return err_set(err, ERR_USAGE,
		               "a / in user or password is written %%2F");
	at = url_find_last(rest, to, '@');
	if (at != NULL)
		rc = url_parse_user(rest, at, ret, err);
	if (rc == 0)
		rc = url_parse_host(at != NULL ? at + 1 : rest, to,
		                    URL_PORT_DEFAULT, ret, err);
	if (rc == 0 && slash != NULL && slash + 1 < end &&
	    !url_number(slash + 1, end, 65535, &ret->db))
		rc = err_set(err, ERR_USAGE, "\"%.40s\" is no database number",
		             slash + 1);
	if (rc == 0 && query != NULL)
		rc = parse_query(query + 1, ret, err);
	return rc;
}

static int
parse_unix(const char *rest, struct url *ret, struct err *err)
{
	const char *query = strchr(rest, '?');
	const char *to = query != NULL ? query : rest + strlen(rest);
	const char *slash = memchr(rest, '/', (size_t)(to - rest));
	int rc = 0;

	if (slash == NULL)
		return err_set(err, ERR_USAGE,
		               "the path of the socket must begin with a /");
	if (slash > rest && slash[-1] != '@')
		return err_set(err, ERR_USAGE,
		               "the path of the socket must be absolute: "
		               "unix:///run/redis.sock");
	if (slash > rest)
		rc = url_parse_user(rest, slash - 1, ret, err);
	if (rc == 0)
		rc = url_decode(slash, to, ret->at.host, sizeof(ret->at.host),
		                "path", err);
	if (rc == 0 && query != NULL &&
	    (strncmp(query, "?db=", 4) != 0 ||
	     !url_number(query + 4, query + strlen(query), 65535, &ret->db)))
		rc = err_set(err, ERR_USAGE, "\"%.40s\" is not ?db=N", query);
	ret->at.port = 0;
	return rc;
}

/* The sentinels into at.host, each with its port; [from, to). */
static int
parse_sentinels(const char *from, const char *to, struct url *ret,
                struct err *err)
{
	size_t n = sizeof(ret->at.host);
	size_t used = 0;
	struct url one = { .db = 0 };
	int rc = 0;

	while (rc == 0 && from <= to) {
		const char *comma = memchr(from, ',', (size_t)(to - from));
		const char *end = comma != NULL ? comma : to;
		bool v6;

		one.at.port = 0;
		rc = url_parse_host(from, end, URL_PORT_SENTINEL, &one, err);
		v6 = strchr(one.at.host, ':') != NULL;
		if (rc == 0)
			used += (size_t)snprintf(
				ret->at.host + used, n - used, "%s%s%s%s:%u",
				used > 0 ? "," : "", v6 ? "[" : "", one.at.host,
				v6 ? "]" : "", one.at.port);
		if (rc == 0 && used >= n)
			rc = err_set(err, ERR_USAGE,
			             "the sentinels are more than %zu bytes; "
			             "name fewer",
			             n - 1);
		from = end + 1;
	}
	ret->at.port = one.at.port;
	return rc;
}

static int
parse_sentinel(const char *rest, struct url *ret, struct err *err)
{
	const char *query = strchr(rest, '?');
	const char *end = query != NULL ? query : rest + strlen(rest);
	const char *slash = memchr(rest, '/', (size_t)(end - rest));
	const char *at = slash != NULL ? url_find_last(rest, slash, '@') : NULL;
	size_t used;
	int rc = 0;

	ret->at.by_sentinel = true;
	if (slash == NULL || slash + 1 == end)
		return err_set(err, ERR_USAGE,
		               "the master's name is missing: "
		               "redis+sentinel://host:26379,host:26379/NAME");
	if (memchr(slash + 1, '/', (size_t)(end - slash - 1)) != NULL)
		return err_set(err, ERR_USAGE,
		               "behind the master's name comes ?db=N only");
	if (at != NULL)
		rc = url_parse_user(rest, at, ret, err);
	if (rc == 0)
		rc = parse_sentinels(at != NULL ? at + 1 : rest, slash, ret,
		                     err);
	if (rc != 0)
		return rc;
	used = strlen(ret->at.host);
	ret->at.host[used++] = '/';
	if (used >= sizeof(ret->at.host))
		return err_set(err, ERR_USAGE, "too many sentinels");
	rc = url_decode(slash + 1, end, ret->at.host + used,
	                sizeof(ret->at.host) - used, "master's name", err);
	if (rc == 0 && query != NULL &&
	    (strncmp(query, "?db=", 4) != 0 ||
	     !url_number(query + 4, query + strlen(query), 65535, &ret->db)))
		rc = err_set(err, ERR_USAGE, "\"%.40s\" is not ?db=N", query);
	return rc;
}

static void
make_label(struct url *u)
{
	const char *host = u->at.host;
	const char *open = strchr(host, ':') != NULL ? "[" : "";
	const char *close = open[0] != '\0' ? "]" : "";

	if (u->at.by_sentinel)
		(void)snprintf(u->label, sizeof(u->label),
		               "redis+sentinel://%s", host);
	else if (u->at.port == 0)
		(void)snprintf(u->label, sizeof(u->label), "unix://%s", host);
	else
		(void)snprintf(u->label, sizeof(u->label),
		               "redis%s://%s%s%s:%u", u->tls.is_on ? "s" : "",
		               open, host, close, u->at.port);
}

int
url_parse(const char *text, struct url *ret, struct err *err)
{
	const char *rest = strstr(text, "://");
	size_t scheme = rest != NULL ? (size_t)(rest - text) : 0;
	int rc;

	*ret = (struct url){ 0 };
	if (text[0] == '\0')
		return err_set(err, ERR_USAGE,
		               "an empty URL; write redis://host:port");
	if (rest == NULL)
		rc = parse_tcp(text, ret, err);
	else if (scheme == 5 && memcmp(text, "redis", 5) == 0)
		rc = parse_tcp(rest + 3, ret, err);
	else if ((scheme == 4 && memcmp(text, "unix", 4) == 0) ||
	         (scheme == 10 && memcmp(text, "redis+unix", 10) == 0))
		rc = parse_unix(rest + 3, ret, err);
	else if (scheme == 14 && memcmp(text, "redis+sentinel", 14) == 0)
		rc = parse_sentinel(rest + 3, ret, err);
	else if (scheme == 6 && memcmp(text, "rediss", 6) == 0) {
		ret->tls.is_on = true;
		rc = parse_tcp(rest + 3, ret, err);
	} else if ((scheme == 8 && memcmp(text, "postgres", 8) == 0) ||
	           (scheme == 10 && memcmp(text, "postgresql", 10) == 0))
		return url_postgres_parse(rest + 3, ret, err);
	else
		rc = err_set(err, ERR_USAGE,
		             "\"%.*s://\" is not an engine that Godwit moves; "
		             "it knows redis://, rediss://, unix://, "
		             "redis+sentinel:// and postgres://",
		             (int)(scheme > 20 ? 20 : scheme), text);
	make_label(ret);
	return rc;
}

int
url_set_password(struct url *u, const char *password, struct err *err)
{
	size_t n = strlen(password);

	if (n > 0 && password[n - 1] == '\n')
		n--;
	if (n >= sizeof(u->pass))
		return err_set(err, ERR_USAGE,
		               "the password is longer than %zu bytes",
		               sizeof(u->pass) - 1);
	memcpy(u->pass, password, n);
	u->pass[n] = '\0';
	return 0;
}

/* Append text with %XX for all but the unreserved characters and `keep`. */
size_t
url_encode(char *ret, size_t n, size_t used, const char *text, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~";

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		bool is_plain =
			strchr(plain, c) != NULL || strchr(keep, c) != NULL;

		if (used + 4 > n)
			return n;
		if (is_plain) {
			ret[used++] = (char)c;
			continue;
		}
		ret[used++] = '%';
		ret[used++] = digits[c >> 4];
		ret[used++] = digits[c & 15];
	}
	return used;
}

size_t
url_put(char *ret, size_t n, size_t used, const char *text)
{
	size_t len = strlen(text);

	if (used + len + 1 > n)
		return n;
	memcpy(ret + used, text, len + 1);
	return used + len;
}

/* The ?options of TLS. */
static size_t
put_tls(const struct url_tls *t, char *ret, size_t n, size_t used)
{
	const struct {
		const char *name;
		const char *value;
	} words[] = { { "ca=", t->ca },
		      { "cert=", t->cert },
		      { "key=", t->key },
		      { "name=", t->name },
		      { "insecure=", t->insecure ? "1" : "" } };
	const char *mark = "?";

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

size_t
url_put_user(const struct url *u, char *ret, size_t n, size_t used)
{
	if (u->user[0] == '\0' && u->pass[0] == '\0')
		return used;
	used = url_encode(ret, n, used, u->user, "");
	if (u->pass[0] != '\0') {
		used = url_put(ret, n, used, ":");
		used = url_encode(ret, n, used, u->pass, "");
	}
	return url_put(ret, n, used, "@");
}

/* host:port; an address of IPv6 in brackets. */
size_t
url_put_host(const struct address *at, char *ret, size_t n, size_t used)
{
	bool has_colon = strchr(at->host, ':') != NULL;
	char port[8];

	(void)snprintf(port, sizeof(port), ":%u", at->port);
	used = url_put(ret, n, used, has_colon ? "[" : "");
	used = url_encode(ret, n, used, at->host, ":");
	used = url_put(ret, n, used, has_colon ? "]" : "");
	return url_put(ret, n, used, port);
}

int
url_print(const struct url *u, char *ret, size_t n, struct err *err)
{
	bool is_list = u->at.by_sentinel;
	bool is_host = u->at.port != 0 && !is_list;
	char db[16] = "";
	size_t used;

	if (u->kind == URL_POSTGRES)
		return url_postgres_print(u, ret, n, err);
	used = url_put(ret, n, 0,
	               is_list        ? "redis+sentinel://"
	               : !is_host     ? "unix://"
	               : u->tls.is_on ? "rediss://"
	                              : "redis://");

	used = url_put_user(u, ret, n, used);
	used = is_host ? url_put_host(&u->at, ret, n, used)
	               : url_encode(ret, n, used, u->at.host,
	                            is_list ? "/:,[]" : "/:");
	if (u->db != 0)
		(void)snprintf(db, sizeof(db), is_host ? "/%u" : "?db=%u",
		               u->db);
	used = url_put(ret, n, used, db);
	if (u->tls.is_on)
		used = put_tls(&u->tls, ret, n, used);
	if (used >= n)
		return err_set(err, ERR_LIMIT,
		               "the URL of %s is longer than %zu bytes",
		               u->label, n - 1);
	ret[used] = '\0';
	return 0;
}

/* The same for the same address, whenever it is asked. */
static uint8_t
tag_of(const struct address *a)
{
	uint32_t h = a->port;

	for (const char *p = a->host; *p != '\0'; p++)
		h = h * 31 + (uint32_t)(unsigned char)*p;
	return (uint8_t)(2 + h % 126);
}

int
url_side(const struct url *u, enum side side, struct side_conf *ret,
         struct err *err)
{
	static const struct span none = { NULL, 0 };
	bool is_asked = u->kind == URL_POSTGRES;
	const struct tls_client_conf tls = {
		.ca = u->tls.ca,
		.cert = u->tls.cert,
		.key = u->tls.key,
		.name = u->tls.name,
		.insecure = u->tls.insecure,
		.any_name = u->tls.any_name,
		.ask = is_asked ? SPAN(PG_SSL_REQUEST) : none,
		.agrees = is_asked ? PG_SSL_YES : '\0',
	};

	*ret = (struct side_conf){ .at = u->at };
	memcpy(ret->url_user, u->user, sizeof(ret->url_user));
	memcpy(ret->url_pass, u->pass, sizeof(ret->url_pass));
	memcpy(ret->database, u->database, sizeof(ret->database));
	(void)snprintf(ret->label, sizeof(ret->label), "%s %s", side_name(side),
	               u->label);
	ret->tag = tag_of(&u->at);
	if (!u->tls.is_on)
		return 0;
	ret->at.tls = tls_client_get(&tls, err);
	return ret->at.tls != NULL ? 0 : err_wrap(err, "%s", ret->label);
}

const char *
url_tls_word(const struct url *u)
{
	if (!u->tls.is_on)
		return "off";
	return u->tls.insecure ? "insecure" : "verified";
}

bool
url_same_server(const struct url *a, const struct url *b)
{
	return a->at.port == b->at.port && strcmp(a->at.host, b->at.host) == 0;
}

bool
url_same(const struct url *a, const struct url *b)
{
	return url_same_server(a, b) && strcmp(a->database, b->database) == 0;
}

bool
url_same_server_text(const char *a, const char *b)
{
	struct url x;
	struct url y;
	struct err err;

	return url_parse(a, &x, &err) == 0 && url_parse(b, &y, &err) == 0 &&
	       url_same_server(&x, &y);
}

bool
url_same_text(const char *a, const char *b)
{
	struct url x;
	struct url y;
	struct err err;

	return url_parse(a, &x, &err) == 0 && url_parse(b, &y, &err) == 0 &&
	       url_same(&x, &y);
}
