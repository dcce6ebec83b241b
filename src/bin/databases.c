/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/databases.c: godwit migrate --databases: several of one PostgreSQL server.
 *
 *	names:   the list, or what is known of a begin, or what old says ("all")
 *	listen:  ADDR for all of them, or NAME=ADDR for each
 *	plan:    old_NAME, new_NAME, an interlay NAME
 */
#define _DEFAULT_SOURCE
#include "bin/databases.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bin/look.h"
#include "bin/wanted.h"
#include "control/group.h"
#include "control/postgres/databases.h"
#include "control/url.h"

#define NAME_N  64 /* as of PostgreSQL                              */
#define THING_N 56 /* "old_" and ".31" make it an id of the API     */
#define NOWHERE "127.0.0.1:0"

struct database {
	char name[NAME_N];
	char id[NAME_N];
	char listen[128];
};

struct names {
	uint32_t n;
	bool is_one; /* address for all of them */
	struct database at[GROUP_MAX];
	struct url url[SIDE_N];
};

/* ---- names ------------------------------------------------------------------- */

static struct database *
find(struct names *all, const char *name, size_t n)
{
	for (uint32_t i = 0; i < all->n; i++) {
		if (strlen(all->at[i].name) == n &&
		    memcmp(all->at[i].name, name, n) == 0)
			return &all->at[i];
	}
	return NULL;
}

static int
add(struct names *all, const char *name, size_t n, struct err *err)
{
	if (n == 0)
		return err_set(err, ERR_USAGE,
		               "--databases: a name is empty; write --databases"
		               " app,shop or --databases all");
	if (n >= NAME_N)
		return err_set(err, ERR_USAGE,
		               "--databases: %.*s...: a name has at most %d "
		               "bytes",
		               20, name, NAME_N - 1);
	if (find(all, name, n) != NULL)
		return err_set(err, ERR_USAGE, "--databases: %.*s stands twice",
		               (int)n, name);
	if (all->n == GROUP_MAX)
		return err_set(err, ERR_USAGE,
		               "--databases: at most %d move together",
		               GROUP_MAX);
	memcpy(all->at[all->n].name, name, n);
	all->at[all->n++].name[n] = '\0';
	return 0;
}

static int
add_list(struct names *all, const char *text, struct err *err)
{
	int rc;

	for (;;) {
		size_t n = strcspn(text, ",");

		rc = add(all, text, n, err);
		if (rc != 0 || text[n] == '\0')
			return rc;
		text += n + 1;
	}
}

static int
add_json(struct names *all, const json_t *list, struct err *err)
{
	int rc = 0;
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
	{
		if (rc == 0)
			rc = add(all, json_string_value(one),
			         json_string_length(one), err);
	}
	return rc;
}

static int
add_all(struct names *all, struct err *err)
{
	const struct url *u = &all->url[SIDE_OLD];
	json_t *list = NULL;
	char label[160];
	int rc;

	(void)snprintf(label, sizeof(label), "old %s", u->label);
	rc = pg_databases(u, label, &list, err);
	if (rc == 0)
		rc = add_json(all, list, err);
	json_decref(list);
	if (rc == 0 && all->n == 0)
		rc = err_set(err, ERR_STATE,
		             "%s: no database holds anything; name them: "
		             "--databases app,shop",
		             label);
	return rc;
}

/* Names of people may be anything; those of the API are words. */
static void
name_things(struct names *all)
{
	for (uint32_t i = 0; i < all->n; i++) {
		struct database *d = &all->at[i];
		bool is_word = strlen(d->name) <= THING_N;
		size_t n = 0;

		for (; d->name[n] != '\0' && n < THING_N; n++) {
			char c = d->name[n];
			bool is_fine = isascii(c) && (isalnum(c) != 0 ||
			                              c == '_' || c == '-');

			is_word = is_word && is_fine;
			d->id[n] = '_';
			if (is_fine)
				d->id[n] = c;
		}
		if (is_word)
			d->id[n] = '\0';
		else /* no word has a dot */
			(void)snprintf(d->id + n, sizeof(d->id) - n, ".%u", i);
	}
}

/* ---- is it what was begun? ---------------------------------------------------- */

static bool
has_same_names(struct names *all, const json_t *list)
{
	bool ret = json_array_size(list) == all->n;
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
	{
		ret = ret && find(all, json_string_value(one),
		                  json_string_length(one)) != NULL;
	}
	return ret;
}

static void
join(const json_t *list, char *ret, size_t n)
{
	size_t used = 0;
	size_t i;
	json_t *one;

	ret[0] = '\0';
	json_array_foreach(list, i, one)
	{
		int got = snprintf(ret + used, n - used, "%s%s",
		                   i > 0 ? "," : "", json_string_value(one));

		used += got > 0 ? (size_t)got : 0;
		if (used >= n) { /* it was cut */
			memcpy(ret + n - 3, "..", 3);
			return;
		}
	}
}

/* The same servers, the same databases. */
static int
judge_began(struct names *all, const json_t *began, struct err *err)
{
	const json_t *list = json_object_get(began, "databases");
	char text[200];

	join(list, text, sizeof(text));
	if (!url_same_server_text(look_text(began, "old"),
	                          all->url[SIDE_OLD].label) ||
	    !url_same_server_text(look_text(began, "new"),
	                          all->url[SIDE_NEW].label))
		return err_set(
			err, ERR_STATE,
			"the state file is that of %s to %s; its command "
			"goes on with it, --state names another one",
			look_text(began, "old"), look_text(began, "new"));
	if (!has_same_names(all, list))
		return err_set(err, ERR_STATE,
		               "it has begun with --databases %s, and goes on "
		               "with these",
		               text);
	return 0;
}

/* ---- the URLs ------------------------------------------------------------------ */

/* Is what the URL names one of those that move, or just a way in? */
static int
judge_url(struct names *all, const struct url *u, const char *who,
          struct err *err)
{
	if (find(all, u->database, strlen(u->database)) != NULL ||
	    strcmp(u->database, "postgres") == 0 ||
	    strcmp(u->database, u->user) == 0)
		return 0;
	return err_set(err, ERR_USAGE,
	               "%s names the database %s, and --databases does not; "
	               "add it there, or write /postgres in the URL",
	               who, u->database);
}

static int
judge_urls(struct names *all, struct err *err)
{
	const struct url *old = &all->url[SIDE_OLD];
	const struct url *new = &all->url[SIDE_NEW];
	int rc = judge_url(all, old, "OLD", err);

	if (rc == 0)
		rc = judge_url(all, new, "NEW", err);
	if (rc == 0 && strcmp(old->database, new->database) != 0 &&
	    find(all, old->database, strlen(old->database)) != NULL &&
	    find(all, new->database, strlen(new->database)) != NULL)
		rc = err_set(err, ERR_USAGE,
		             "OLD names the database %s and NEW %s; with "
		             "--databases each keeps its name",
		             old->database, new->database);
	return rc;
}

/* The one that has the address, where there is one for all. */
static void
put_first(struct names *all)
{
	const char *name = all->url[SIDE_OLD].database;
	struct database *d = find(all, name, strlen(name));
	struct database was;

	if (d == NULL)
		return;
	was = *d;
	memmove(&all->at[1], &all->at[0],
	        (size_t)(d - all->at) * sizeof(all->at[0]));
	all->at[0] = was;
}

/* ---- addresses ------------------------------------------------------------------ */

int
databases_listen(const char *text, char *ret, size_t n, struct err *err)
{
	size_t item = strcspn(text, ",");
	const char *equals = memchr(text, '=', item);

	if (text[0] == '/' || equals == NULL) {
		equals = text - 1;
		item = strlen(text);
	}
	item -= (size_t)(equals + 1 - text);
	if (item >= n)
		return err_set(err, ERR_LIMIT, "--listen: too long");
	memcpy(ret, equals + 1, item);
	ret[item] = '\0';
	return 0;
}

/* NAME=ADDR */
static int
take_address(struct names *all, const char *text, size_t n, struct err *err)
{
	const char *equals = memchr(text, '=', n);
	size_t name_n = equals != NULL ? (size_t)(equals - text) : 0;
	struct database *d = find(all, text, name_n);
	size_t at_n;

	if (equals == NULL)
		return err_set(err, ERR_USAGE,
		               "--listen %.*s: one address for all of them, or "
		               "each with its own, as app=127.0.0.1:6432,"
		               "shop=127.0.0.1:6433",
		               (int)(n > 100 ? 100 : n), text);
	if (d == NULL)
		return err_set(err, ERR_USAGE,
		               "--listen: %.*s is not among the databases that "
		               "move",
		               (int)(name_n > 63 ? 63 : name_n), text);
	if (d->listen[0] != '\0')
		return err_set(err, ERR_USAGE, "--listen: %s stands twice",
		               d->name);
	at_n = n - name_n - 1;
	if (at_n >= sizeof(d->listen))
		return err_set(err, ERR_USAGE, "--listen: %s: too long",
		               d->name);
	memcpy(d->listen, equals + 1, at_n);
	d->listen[at_n] = '\0';
	return 0;
}

/* An address for each; two of them are not one. */
static int
judge_addresses(const struct names *all, struct err *err)
{
	for (uint32_t i = 0; i < all->n; i++) {
		const char *at = all->at[i].listen;
		size_t n = strlen(at);

		if (n == 0)
			return err_set(err, ERR_USAGE,
			               "--listen: no address for %s; give each "
			               "its own, or one for all",
			               all->at[i].name);
		if (at[0] == '/')
			return err_set(err, ERR_USAGE,
			               "--listen %.100s: several databases are "
			               "served at host:port; a Unix socket "
			               "stands for one pair of servers",
			               at);
		for (uint32_t k = 0; k < i; k++) {
			if (strcmp(all->at[k].listen, at) == 0 &&
			    strcmp(at + n - 2, ":0") != 0)
				return err_set(err, ERR_USAGE,
				               "--listen: %s and %s have one "
				               "address; write it once, "
				               "without a name, for all",
				               all->at[k].name,
				               all->at[i].name);
		}
	}
	return 0;
}

static int
take_addresses(struct names *all, const char *text, struct err *err)
{
	int rc = 0;

	all->is_one = text[0] == '/' || strchr(text, '=') == NULL;
	if (all->is_one) {
		/* The others have nobody who comes to theirs. */
		for (uint32_t i = 0; i < all->n; i++)
			(void)snprintf(all->at[i].listen,
			               sizeof(all->at[i].listen), "%s",
			               i == 0 ? text : NOWHERE);
		return judge_addresses(all, err);
	}
	for (;;) {
		size_t n = strcspn(text, ",");

		rc = take_address(all, text, n, err);
		if (rc != 0 || text[n] == '\0')
			return rc == 0 ? judge_addresses(all, err) : rc;
		text += n + 1;
	}
}

/* Does a text say the addresses that are there? */
static bool
has_same_addresses(struct names *all, const char *text)
{
	uint32_t n = 0;

	if (all->is_one)
		return strcmp(all->at[0].listen, text) == 0;
	for (;;) {
		size_t item = strcspn(text, ",");
		const char *equals = memchr(text, '=', item);
		size_t name_n = equals != NULL ? (size_t)(equals - text) : 0;
		const struct database *d = find(all, text, name_n);
		size_t at_n = item - name_n - 1;

		if (equals == NULL || d == NULL || strlen(d->listen) != at_n ||
		    memcmp(d->listen, equals + 1, at_n) != 0)
			return false;
		n++;
		if (text[item] == '\0')
			return n == all->n;
		text += item + 1;
	}
}

/* The interlays are there since the begin; another address would be nobody's. */
static int
judge_same_listen(struct names *all, const json_t *began, struct err *err)
{
	const char *text = look_text(began, "listen");

	if (text[0] == '\0' || has_same_addresses(all, text))
		return 0;
	return err_set(err, ERR_STATE,
	               "it has begun with --listen %.150s, and its clients "
	               "come there until it is over",
	               text);
}

/* ---- what one address costs ------------------------------------------------------ */

static int
judge_one(const struct names *all, const struct run_conf *c, struct plan *ret,
          struct err *err)
{
	const char *own = all->at[0].name;
	char text[640];
	json_t *line;

	if (!all->is_one || all->n < 2)
		return 0;
	if (c->write_mode == WRITE_DUAL && c->ack == ACK_BOTH)
		return err_set(err, ERR_UNABLE,
		               "--write-mode dual_write acknowledges on both "
		               "sides, which an address can do for its own "
		               "database alone; give each its own: --listen "
		               "%s=ADDR,%s=ADDR",
		               own, all->at[1].name);
	/* A step is judged by the reads of each database on new. */
	if (c->is_auto && c->strategy == STRATEGY_CANARY &&
	    c->step_requests > 0)
		return err_set(err, ERR_UNABLE,
		               "--auto waits for requests of each database at "
		               "its own address, and with one for all they "
		               "come to that of %s alone; give each its own: "
		               "--listen %s=ADDR,%s=ADDR, or say "
		               "--min-requests 0",
		               own, own, all->at[1].name);
	(void)snprintf(
		text, sizeof(text),
		"one address for all is that of %s; of clients of the others "
		"%s%s%s; give each its own: --listen %s=ADDR,%s=ADDR",
		own,
		c->strategy == STRATEGY_CANARY
			? "reads stay on old until the cutover"
			: "",
		c->strategy == STRATEGY_CANARY && c->ack == ACK_BOTH ? ", and "
								     : "",
		c->ack == ACK_BOTH
			? "an answer does not wait for both sides: should new "
			  "die between the cutover and complete, they may lose "
			  "what they were told is written"
			: "",
		own, all->at[1].name);
	if (c->strategy != STRATEGY_CANARY && c->ack != ACK_BOTH)
		return 0;
	line = json_pack("{s:s,s:s,s:s}", "name", "address", "result", "warn",
	                 "detail", text);
	(void)json_array_append_new(ret->checks, line);
	return 0;
}

/* ---- the plan ---------------------------------------------------------------------- */

static int
put_endpoint(const struct url *server, const char *side,
             const struct database *d, struct plan *ret, struct err *err)
{
	struct url u = *server;
	char id[NAME_N + 8];
	char text[URL_MAX];
	int rc;

	(void)snprintf(id, sizeof(id), "%s_%s", side, d->id);
	(void)snprintf(u.database, sizeof(u.database), "%s", d->name);
	rc = url_print(&u, text, sizeof(text), err);
	if (rc == 0)
		(void)json_array_append_new(ret->endpoints,
		                            wanted_endpoint(id, text));
	explicit_bzero(text, sizeof(text));
	explicit_bzero(&u, sizeof(u));
	return rc;
}

static int
put_database(const struct names *all, const struct database *d,
             const struct run_conf *c, bool is_look, struct plan *ret,
             struct err *err)
{
	char old[NAME_N + 8];
	char new[NAME_N + 8];
	json_t *front;
	int rc = put_endpoint(&all->url[SIDE_OLD], "old", d, ret, err);

	if (rc == 0)
		rc = put_endpoint(&all->url[SIDE_NEW], "new", d, ret, err);
	(void)snprintf(old, sizeof(old), "old_%s", d->id);
	(void)snprintf(new, sizeof(new), "new_%s", d->id);
	front = wanted_interlay(c, d->id, is_look ? NOWHERE : d->listen);
	(void)json_object_set_new(front, "endpoint", json_string(old));
	(void)json_array_append_new(ret->interlays, front);
	(void)json_object_set_new(ret->toward, d->id, json_string(new));
	return rc;
}

/* The server, and in the place of the database all of them. */
static int
label(const struct url *server, const json_t *names, char *ret, size_t n,
      struct err *err)
{
	struct url u = *server;
	char text[URL_MAX];
	int rc;

	join(names, u.database, sizeof(u.database));
	rc = url_print(&u, text, sizeof(text), err);
	if (rc == 0)
		rc = url_parse(text, &u, err);
	if (rc == 0)
		(void)snprintf(ret, n, "%s", u.label);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(&u, sizeof(u));
	return rc;
}

static int
put_words(const struct names *all, const char *listen, struct plan *ret,
          struct err *err)
{
	json_t *list = json_array();
	int rc;

	ret->shown = json_array();
	for (uint32_t i = 0; i < all->n; i++) {
		(void)json_array_append_new(list, json_string(all->at[i].name));
		(void)json_array_append_new(ret->shown,
		                            json_string(all->at[i].id));
	}
	rc = label(&all->url[SIDE_OLD], list, ret->old, sizeof(ret->old), err);
	if (rc == 0)
		rc = label(&all->url[SIDE_NEW], list, ret->new,
		           sizeof(ret->new), err);
	(void)snprintf(ret->listen, sizeof(ret->listen), "%s", listen);
	ret->what = json_pack("{s:s,s:s,s:o,s:s}", "old", ret->old, "new",
	                      ret->new, "databases", list, "listen", listen);
	return rc;
}

static int
read_names(const char *text, const json_t *began, struct names *all,
           struct err *err)
{
	const json_t *list = json_object_get(began, "databases");
	int rc;

	if (strcmp(text, "all") != 0)
		rc = add_list(all, text, err);
	else if (list != NULL)
		rc = add_json(all, list, err);
	else
		rc = add_all(all, err);
	if (rc == 0 && began != NULL)
		rc = judge_began(all, began, err);
	if (rc == 0)
		rc = judge_urls(all, err);
	return rc;
}

int
databases_plan(const struct args *a, const struct run_conf *c,
               const json_t *began, struct plan *ret, struct err *err)
{
	const char *listen = a->text[OPT_LISTEN];
	bool is_look = a->number[OPT_CHECK] != 0;
	struct names all = { .n = 0 };
	int rc = url_parse(c->old_url, &all.url[SIDE_OLD], err);

	if (listen[0] == '\0')
		listen = NOWHERE; /* a look */
	if (rc == 0)
		rc = url_parse(c->new_url, &all.url[SIDE_NEW], err);
	if (rc == 0 && all.url[SIDE_OLD].kind != URL_POSTGRES)
		rc = err_set(err, ERR_USAGE,
		             "--databases is for PostgreSQL: those of a Redis "
		             "move together anyhow");
	if (rc == 0)
		rc = read_names(a->text[OPT_DATABASES], began, &all, err);
	if (rc == 0) {
		put_first(&all);
		name_things(&all);
		rc = take_addresses(&all, listen, err);
	}
	if (rc == 0 && began != NULL)
		rc = judge_same_listen(&all, began, err);
	if (rc == 0)
		rc = judge_one(&all, c, ret, err);
	for (uint32_t i = 0; rc == 0 && i < all.n; i++)
		rc = put_database(&all, &all.at[i], c, is_look, ret, err);
	if (rc == 0)
		rc = put_words(&all, listen, ret, err);
	explicit_bzero(&all.url, sizeof(all.url));
	return rc;
}
