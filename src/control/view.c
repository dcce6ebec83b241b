/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/view.c: pools, clients and servers of an interlay, of all its workers.
 */
#define _DEFAULT_SOURCE
#include "control/view.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/dialect.h"
#include "control/limit.h"

static const char *const kind_names[VIEW_N] = {
	[VIEW_POOLS] = "pools",
	[VIEW_CLIENTS] = "clients",
	[VIEW_SERVERS] = "servers",
};

static const char *const mode_names[] = {
	[VIEW_MODE_OFF] = "off",
	[VIEW_MODE_SESSION] = "session",
	[VIEW_MODE_TRANSACTION] = "transaction",
};

static const char *const client_names[] = {
	[VIEW_CLIENT_LOGIN] = "login",
	[VIEW_CLIENT_IDLE] = "idle",
	[VIEW_CLIENT_ACTIVE] = "active",
	[VIEW_CLIENT_IN_TRANSACTION] = "in transaction",
	[VIEW_CLIENT_WAITING] = "waiting",
	[VIEW_CLIENT_HELD] = "held",
	[VIEW_CLIENT_PINNED] = "pinned",
};

static const char *const server_names[] = {
	[VIEW_SERVER_LOGIN] = "login",   [VIEW_SERVER_ACTIVE] = "active",
	[VIEW_SERVER_USED] = "used",     [VIEW_SERVER_IDLE] = "idle",
	[VIEW_SERVER_RESETS] = "resets", [VIEW_SERVER_OWN] = "own",
};

/* Of a worker: its question, and room for its answer. */
struct view_room {
	struct view_ask ask;
	struct view view;
	union view_row row[];
};

enum view_kind
view_kind_find(const char *name)
{
	for (int k = 0; k < VIEW_N; k++) {
		if (strcmp(kind_names[k], name) == 0)
			return (enum view_kind)k;
	}
	return VIEW_N;
}

/* ---- rows -------------------------------------------------------------------- */

/* Names come from clients: what is no UTF-8 is shown as ?. */
static json_t *
text_of(const char *name)
{
	json_t *ret = json_string(name);
	char plain[VIEW_NAME];
	size_t i;

	if (ret != NULL)
		return ret;
	for (i = 0; name[i] != '\0' && i < sizeof(plain) - 1; i++) {
		bool is_plain = (unsigned char)name[i] < 128;

		plain[i] = '?';
		if (is_plain)
			plain[i] = name[i];
	}
	plain[i] = '\0';
	return json_string(plain);
}

static json_t *
text_or_null(const char *text)
{
	return text[0] != '\0' ? text_of(text) : json_null();
}

/* "10.0.0.7:5432", "[::1]:5432"; null: a Unix socket. */
static json_t *
address_of(const struct origin *from)
{
	static const uint8_t four[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN];
	bool is_four = memcmp(from->at.b, four, sizeof(four)) == 0;

	if (!from->at.is_known)
		return json_null();
	if (inet_ntop(is_four ? AF_INET : AF_INET6,
	              from->at.b + (is_four ? 12 : 0), text,
	              sizeof(text)) == NULL)
		return json_null();
	return is_four ? json_sprintf("%s:%u", text, from->port)
	               : json_sprintf("[%s]:%u", text, from->port);
}

static json_t *
number_or_null(uint64_t n)
{
	return n != 0 ? json_integer((json_int_t)n) : json_null();
}

static json_t *
client_id(uint32_t worker, uint64_t number)
{
	return number != 0 ? json_sprintf("%u-%llu", worker,
	                                  (unsigned long long)number)
	                   : json_null();
}

static json_t *
client_row(uint32_t worker, const struct view_client *c)
{
	return json_pack(
		"{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:I,s:o,s:I,s:I,s:o}", "id",
		client_id(worker, c->number), "user", text_of(c->user),
		"database", text_of(c->database), "application_name",
		text_or_null(c->application), "address", address_of(&c->from),
		"side",
		c->has_server ? json_string(side_name(c->side)) : json_null(),
		"state", client_names[c->at], "why", text_or_null(c->why),
		"age_ms", (json_int_t)c->age_ms, "quiet_ms",
		c->requests > 0 ? json_integer((json_int_t)c->quiet_ms)
				: json_null(),
		"requests", (json_int_t)c->requests, "statements",
		(json_int_t)c->statements, "process",
		number_or_null(c->process));
}

static void
server_id(uint32_t worker, uint64_t number, char ret[32])
{
	static const char letters[] = "?cprg";
	uint64_t kind = number >> VIEW_KIND_SHIFT;

	(void)snprintf(
		ret, 32, "%u-%c%llu", worker,
		letters[kind < sizeof(letters) - 1 ? kind : 0],
		(unsigned long long)(number & ((1ull << VIEW_KIND_SHIFT) - 1)));
}

static json_t *
server_row(uint32_t worker, const struct view_server *s)
{
	char id[32];

	server_id(worker, s->number, id);
	return json_pack("{s:s,s:s,s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:I,s:o}", "id",
	                 id, "side", side_name(s->side), "address",
	                 s->port != 0 ? json_sprintf("%s:%u", s->host, s->port)
	                              : json_string(s->host),
	                 "user", text_of(s->user), "database",
	                 text_of(s->database), "state", server_names[s->at],
	                 "what", text_or_null(s->what), "client",
	                 client_id(worker, s->client), "age_ms",
	                 s->age_ms > 0 ? json_integer((json_int_t)s->age_ms)
	                               : json_null(),
	                 "statements", (json_int_t)s->statements, "process",
	                 number_or_null(s->process));
}

/* ---- pools, of all workers together ------------------------------------------- */

static void
add(json_t *row, const char *name, uint64_t n)
{
	json_t *v = json_object_get(row, name);

	if (v == NULL)
		(void)json_object_set_new(row, name,
		                          json_integer((json_int_t)n));
	else
		(void)json_integer_set(v,
		                       json_integer_value(v) + (json_int_t)n);
}

static json_t *
pool_row(json_t *rows, const struct view_pool *p)
{
	json_t *user = text_of(p->user);
	json_t *database = text_of(p->database);
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		if (json_equal(json_object_get(row, "user"), user) &&
		    json_equal(json_object_get(row, "database"), database) &&
		    strcmp(json_string_value(json_object_get(row, "side")),
		           side_name(p->side)) == 0) {
			json_decref(user);
			json_decref(database);
			return row;
		}
	}
	row = json_pack("{s:o,s:o,s:s,s:s}", "database", database, "user", user,
	                "side", side_name(p->side), "mode",
	                mode_names[p->mode]);
	(void)json_array_append_new(rows, row);
	return row;
}

static void
add_pool(json_t *rows, uint32_t workers, const struct view_pool *p)
{
	json_t *row = pool_row(rows, p);
	json_int_t wait =
		json_integer_value(json_object_get(row, "longest_wait_ms"));

	add(row, "clients", p->clients);
	add(row, "clients_active", p->clients_active);
	add(row, "clients_waiting", p->clients_waiting);
	add(row, "servers_active", p->servers_active);
	add(row, "servers_used", p->servers_used);
	add(row, "servers_idle", p->servers_idle);
	add(row, "servers_login", p->servers_login);
	add(row, "sent_ahead", p->sent_ahead);
	(void)json_object_set_new(row, "size",
	                          number_or_null((uint64_t)p->size * workers));
	(void)json_object_set_new(
		row, "longest_wait_ms",
		json_integer(wait > (json_int_t)p->wait_ms
	                             ? wait
	                             : (json_int_t)p->wait_ms));
}

/* ---- asking -------------------------------------------------------------------- */

void
view_forget(struct interlay *l)
{
	free(l->late_view);
	l->late_view = NULL;
}

/* Room for n rows; none while a worker has not answered the question before. */
static struct view_room *
room_new(struct interlay *l, uint32_t n, struct err *err)
{
	struct view_room *room = NULL;

	if (l->late_view != NULL && atomic_load(&l->late_view->view.is_done))
		view_forget(l);
	if (l->late_view != NULL) {
		(void)err_set(err, ERR_TIMEOUT,
		              "interlay %s: a worker has not answered the "
		              "question before this one",
		              l->listen);
		return NULL;
	}
	room = calloc(1, sizeof(*room) + n * sizeof(room->row[0]));
	if (room == NULL)
		(void)err_set(err, ERR_NOMEM, "out of memory");
	return room;
}

/* The worker's rows behind `after` into the room, at most max. */
static int
ask_worker(struct interlay *l, uint32_t w, struct view_room *room,
           struct err *err)
{
	struct mail m = { .kind = MAIL_VIEW, .pair = &room->ask };
	uint64_t until = os_mono_ns() + LIMIT_VIEW_MS * 1000000ull;
	struct timespec pause = { .tv_nsec = 100000 };

	atomic_store(&room->view.is_done, false);
	room->ask.into = &room->view;
	room->view.row = room->row;
	loop_post(l->relay[w], &m);
	while (!atomic_load_explicit(&room->view.is_done,
	                             memory_order_acquire)) {
		if (os_mono_ns() > until) {
			l->late_view = room;
			return err_set(err, ERR_TIMEOUT,
			               "interlay %s: worker %u did not answer "
			               "in %d ms",
			               l->listen, w, LIMIT_VIEW_MS);
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* "<worker>-<number>", "<worker>-<letter><number>". */
static int
read_after(const char *text, bool is_server, uint32_t *ret_worker,
           uint64_t *ret_number, struct err *err)
{
	static const char letters[] = "cprg";
	char *end;
	unsigned long worker = strtoul(text, &end, 10);
	const char *kind;
	unsigned long long n;

	if (end == text || *end != '-' || worker >= INTERLAY_RELAYS_MAX)
		goto bad;
	kind = end + 1;
	if (is_server && (*kind == '\0' || strchr(letters, *kind) == NULL))
		goto bad;
	text = is_server ? kind + 1 : kind;
	n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' ||
	    n >> VIEW_KIND_SHIFT != 0)
		goto bad;
	*ret_worker = (uint32_t)worker;
	*ret_number = n;
	if (is_server)
		*ret_number |= (uint64_t)(strchr(letters, *kind) - letters + 1)
		               << VIEW_KIND_SHIFT;
	return 0;
bad:
	return err_set(err, ERR_BAD,
	               "after: %.40s is no id of a row; take one of the "
	               "answer before",
	               text);
}

static void
put_rows(const struct interlay *l, uint32_t w, const struct view_room *room,
         json_t *rows)
{
	for (uint32_t i = 0; i < room->view.n; i++) {
		const union view_row *row = &room->row[i];

		if (room->ask.kind == VIEW_CLIENTS)
			(void)json_array_append_new(
				rows, client_row(w, &row->client));
		else if (room->ask.kind == VIEW_SERVERS)
			(void)json_array_append_new(
				rows, server_row(w, &row->server));
		else
			add_pool(rows, l->n, &row->pool);
	}
}

/* One worker after the other, until the page is full. */
static int
ask_all(struct interlay *l, const struct view_page *page, uint32_t first,
        struct view_room *room, json_t *rows, bool *ret_more, struct err *err)
{
	bool is_full = false;
	int rc = 0;

	*ret_more = false;
	for (uint32_t w = first; rc == 0 && w < l->n && !is_full; w++) {
		bool has_pages = page->kind != VIEW_POOLS;
		size_t n = has_pages ? json_array_size(rows) : 0;

		room->view.max =
			has_pages ? page->limit - (uint32_t)n : LIMIT_VIEW_ROWS;
		rc = ask_worker(l, w, room, err);
		if (rc != 0)
			return rc;
		put_rows(l, w, room, rows);
		room->ask.after = 0;
		is_full = has_pages && json_array_size(rows) >= page->limit;
		if (!has_pages && room->view.has_more)
			return err_set(err, ERR_LIMIT,
			               "there are more than %d pools; clients "
			               "and servers come in pages",
			               LIMIT_VIEW_ROWS);
		*ret_more = room->view.has_more || (is_full && w + 1 < l->n);
	}
	return rc;
}

int
view_interlay(struct interlay *l, const struct view_page *page,
              json_t **ret_rows, json_t **ret_next, struct err *err)
{
	struct view_room *room;
	uint32_t first = 0;
	uint64_t after = 0;
	json_t *rows;
	json_t *last;
	bool more;
	int rc = 0;

	if (!l->dialect->can_view || l->spread != NULL)
		return err_set(err, ERR_UNABLE,
		               "%s are not shown for %s: ask CLIENT LIST "
		               "through the interlay; its connections are "
		               "shared by all clients",
		               kind_names[page->kind], l->dialect->name);
	if (page->after != NULL && page->kind != VIEW_POOLS)
		rc = read_after(page->after, page->kind == VIEW_SERVERS, &first,
		                &after, err);
	if (rc != 0)
		return rc;
	room = room_new(
		l, page->kind == VIEW_POOLS ? LIMIT_VIEW_ROWS : page->limit,
		err);
	if (room == NULL)
		return -(int)err->code;
	room->ask.kind = page->kind;
	room->ask.after = after;
	rows = json_array();
	rc = ask_all(l, page, first, room, rows, &more, err);
	if (l->late_view != room)
		free(room);
	if (rc != 0) {
		json_decref(rows);
		return rc;
	}
	last = json_array_get(rows, json_array_size(rows) - 1);
	*ret_next = more && page->kind != VIEW_POOLS
	                    ? json_incref(json_object_get(last, "id"))
	                    : json_null();
	*ret_rows = rows;
	return 0;
}
