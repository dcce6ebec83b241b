/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/view.c: pools, clients and servers for an operator.
 *
 * One pass over what there is, and no more rows than were asked for. Clients come in
 * the order in which they connected; servers as those of clients, of the pool, for
 * reads on the other side, of Godwit.
 */
#include "engine/view.h"

#include "engine/postgres/relay/inside.h"

static uint64_t
ms_since(const struct pg_relay *r, uint64_t ns)
{
	return ns < r->port->now_ns ? (r->port->now_ns - ns) / MILLI : 0;
}

static void
keep(char ret[VIEW_NAME], struct span name)
{
	size_t n = name.n < VIEW_NAME - 1 ? name.n : VIEW_NAME - 1;

	if (n > 0)
		memcpy(ret, name.p, n);
	ret[n] = '\0';
}

/* Who logs in with these pairs. */
static void
keep_who(struct span startup, char user[VIEW_NAME], char database[VIEW_NAME])
{
	struct span name = pg_pair_find(startup, SPAN("database"));

	keep(user, pg_pair_find(startup, SPAN("user")));
	if (name.n == 0)
		name = pg_pair_find(startup, SPAN("user"));
	keep(database, name);
}

/* The next row; NULL: there is no room, or the page begins behind it. */
static union view_row *
next_row(const struct view_ask *ask, uint64_t number)
{
	struct view *v = ask->into;

	if (number <= ask->after || v->has_more)
		return NULL;
	if (v->n == v->max) {
		v->has_more = true;
		return NULL;
	}
	memset(&v->row[v->n], 0, sizeof(v->row[v->n]));
	return &v->row[v->n++];
}

static enum view_mode
mode_of(const struct pg_relay *r)
{
	if (r->conf->pool_max == 0)
		return VIEW_MODE_OFF;
	return pg_turn_is_on(r) ? VIEW_MODE_TRANSACTION : VIEW_MODE_SESSION;
}

/* ---- clients ------------------------------------------------------------------- */

static bool
is_busy(const struct pg_session *s)
{
	return s->due_query > 0 || s->due_sync > 0 || s->in_extended ||
	       s->copies_in || pg_away_is_out(s) || pg_ack_is_withheld(s);
}

/* Does its transaction, or its request, need a server? */
static bool
is_at_work(const struct pg_session *s)
{
	return is_busy(s) || s->status != PG_IDLE;
}

static enum view_client_at
waits_for(const struct pg_session *s, const char **ret_why)
{
	if (s->r->held) {
		*ret_why = "a switch";
		return VIEW_CLIENT_HELD;
	}
	*ret_why = pg_turn_waits(&s->turn)
	                   ? "all connections of its pool are in use"
	                   : "a connection to the server";
	return VIEW_CLIENT_WAITING;
}

static enum view_client_at
client_at(const struct pg_session *s, const char **ret_why)
{
	uint32_t pins = s->turn.server != NULL ? pg_turn_pins(s) : 0;

	*ret_why = pg_pin_text(pins);
	if (s->at != SESSION_OPEN && !pg_turn_waits(&s->turn) &&
	    (!s->r->held || s->b.link != NULL || pg_session_startup(s).n == 0))
		return VIEW_CLIENT_LOGIN;
	if (pg_turn_waits(&s->turn) || s->waits || s->at != SESSION_OPEN ||
	    (s->r->held && buf_len(&s->rx) > 0 && !is_at_work(s)))
		return waits_for(s, ret_why);
	if (pg_ack_is_withheld(s)) {
		*ret_why = "the other side has to have what it wrote";
		return VIEW_CLIENT_ACTIVE;
	}
	if (is_busy(s))
		return VIEW_CLIENT_ACTIVE;
	if (s->status != PG_IDLE || s->apart.is_opened)
		return VIEW_CLIENT_IN_TRANSACTION;
	if (s->turn.server != NULL && s->turn.is_wild && pins == 0)
		*ret_why = "keeps its connection until somebody needs one";
	return pins != 0 ? VIEW_CLIENT_PINNED : VIEW_CLIENT_IDLE;
}

static struct span
application_of(const struct pg_session *s)
{
	if (s->reading.is_renamed)
		return buf_span(&s->reading.application);
	return pg_pair_find(pg_session_startup(s), SPAN("application_name"));
}

static void
put_client(const struct pg_session *s, struct view_client *c)
{
	c->number = s->c.number;
	keep_who(pg_session_startup(s), c->user, c->database);
	keep(c->application, application_of(s));
	c->from = pg_proxied_origin(s);
	c->at = client_at(s, &c->why);
	c->has_server = s->b.link != NULL;
	c->side = s->b.side;
	c->process = c->has_server ? s->b.key.process : 0;
	c->age_ms = ms_since(s->r, s->began_ns);
	c->requests = s->requests;
	c->quiet_ms = ms_since(s->r, s->asked_ns);
	c->statements = (uint32_t)map_count(&s->named);
}

static void
put_clients(struct pg_relay *r, const struct view_ask *ask)
{
	struct pg_session room;

	list_each(pg_client, c, all, &r->clients) {
		union view_row *row = next_row(ask, c->number);

		if (row != NULL)
			put_client(pg_client_look(r, c, &room), &row->client);
		if (ask->into->has_more)
			return;
	}
}

/* ---- servers ------------------------------------------------------------------- */

static uint64_t
number_of(enum view_server_kind kind, uint64_t n)
{
	return (uint64_t)kind << VIEW_KIND_SHIFT | n;
}

static enum view_server_at
backend_at(const struct pg_session *s)
{
	if (!s->b.link->is_up || s->at != SESSION_OPEN ||
	    s->b.at == BACKEND_LOGIN)
		return VIEW_SERVER_LOGIN;
	return is_at_work(s) || s->b.at != BACKEND_OPEN ? VIEW_SERVER_ACTIVE
	                                                : VIEW_SERVER_USED;
}

static enum view_server_at
idle_at(const struct pg_server *x)
{
	return pg_server_is_idle(x) ? VIEW_SERVER_IDLE : VIEW_SERVER_RESETS;
}

/* Whose it is. */
static void
put_owner(const struct pg_session *s, struct view_server *to)
{
	keep_who(pg_session_startup(s), to->user, to->database);
	to->what = "";
	to->client = s->c.number;
}

static void
put_backend(const struct pg_session *s, struct view_server *to)
{
	put_owner(s, to);
	to->side = s->b.side;
	to->at = backend_at(s);
	to->age_ms = ms_since(s->r, s->b.born_ns);
	to->process = s->b.key.process;
}

static void
put_turn(const struct pg_server *x, struct view_server *to)
{
	struct span key = buf_span(&x->place->key);
	struct span user = span_of(key.p, strlen((const char *)key.p));

	if (x->s != NULL && x->s->b.link != NULL) {
		put_backend(x->s, to);
	} else {
		keep(to->user, user);
		keep(to->database, span_str((const char *)key.p + user.n + 1));
		to->side = (enum side)x->side;
		to->at = idle_at(x);
		to->what = "";
		to->process = x->key.process;
	}
	to->age_ms = ms_since(x->r, x->born_ns);
	to->statements = (uint32_t)map_count(&x->has);
}

static void
put_pooled(const struct pg_pooled *x, struct view_server *to)
{
	keep_who(buf_span(&x->startup), to->user, to->database);
	to->side = x->side;
	to->at = x->is_ready ? VIEW_SERVER_IDLE : VIEW_SERVER_RESETS;
	to->what = "";
	to->age_ms = ms_since(x->r, x->born_ns);
	to->process = x->key.process;
}

static enum view_server_at
reader_at(const struct pg_reader *x)
{
	if (x->at == READER_LOGIN)
		return VIEW_SERVER_LOGIN;
	if (x->of == NULL)
		return x->at == READER_OPEN ? VIEW_SERVER_IDLE
		                            : VIEW_SERVER_RESETS;
	return x->of->at == READ_OUT ? VIEW_SERVER_ACTIVE : VIEW_SERVER_USED;
}

static void
put_reader(const struct pg_reader *x, struct view_server *to)
{
	keep_who(buf_span(&x->startup), to->user, to->database);
	if (x->of != NULL)
		to->client = x->of->s->c.number;
	to->side = side_other(x->r->route.authority);
	to->at = reader_at(x);
	to->what = "reads";
}

/* The connections that are Godwit's own, for what; NULL: behind the last one. */
static const struct pg_conn *
own_conn(const struct pg_relay *r, uint32_t i, const char **ret_what)
{
	static const char *const what[] = { "logins",   "catalog",  "catalog",
		                            "position", "position", "catalog" };
	const struct pg_conn *c[] = {
		&r->ask,
		&r->reads.look[SIDE_OLD].c,
		&r->reads.look[1].c,
		&r->reads.probe.c,
		&r->acks.probe.c,
		&r->acks.look.c,
	};
	size_t n = sizeof(c) / sizeof(c[0]);

	*ret_what = i < n ? what[i] : "comparison";
	if (i < n)
		return c[i];
	i -= (uint32_t)n;
	if (r->shadow == NULL || i >= SIDE_N * PG_SHADOW_CONNS)
		return NULL;
	return &r->shadow->conn[i % SIDE_N][i / SIDE_N].c;
}

static void
put_own(const struct pg_relay *r, const struct view_ask *ask)
{
	const struct pg_conn *c;
	const char *what;

	for (uint32_t i = 0; (c = own_conn(r, i, &what)) != NULL; i++) {
		union view_row *row;

		if (c->link == NULL || c->side == NULL)
			continue;
		row = next_row(ask, number_of(VIEW_OF_GODWIT, i + 1));
		if (row == NULL)
			continue;
		row->server = (struct view_server){
			.number = number_of(VIEW_OF_GODWIT, i + 1),
			.at = c->state == PG_CONN_LOGIN ? VIEW_SERVER_LOGIN
			                                : VIEW_SERVER_OWN,
			.side = c->side == &r->conf->side[SIDE_NEW] ? SIDE_NEW
			                                            : SIDE_OLD,
			.what = what,
		};
		keep(row->server.user, span_str(c->side->own_user[0] != '\0'
		                                        ? c->side->own_user
		                                        : c->side->url_user));
		keep(row->server.database, span_str(c->side->database));
	}
}

static void
put_sessions(const struct pg_relay *r, const struct view_ask *ask)
{
	list_each(pg_client, c, all, &r->clients) {
		const struct pg_session *s = (const void *)c;
		uint64_t number = number_of(VIEW_OF_CLIENT, c->number);
		union view_row *row;

		/* Who sleeps has none. */
		if (c->owner != OWNER_CLIENT || s->b.link == NULL ||
		    s->turn.server != NULL)
			continue;
		row = next_row(ask, number);
		if (ask->into->has_more)
			return;
		if (row == NULL)
			continue;
		row->server.number = number;
		put_backend(s, &row->server);
	}
}

static void
put_readers(const struct pg_relay *r, const struct view_ask *ask)
{
	list_each(pg_reader, x, all, &r->reads.readers) {
		uint64_t number = number_of(VIEW_OF_READER, x->number);
		union view_row *row = next_row(ask, number);

		if (row == NULL)
			continue;
		row->server.number = number;
		put_reader(x, &row->server);
	}
}

/* Where they are. */
static void
put_addresses(const struct pg_relay *r, struct view *v)
{
	for (uint32_t i = 0; i < v->n; i++) {
		struct view_server *to = &v->row[i].server;
		const struct address *at = &r->conf->side[to->side].at;

		memcpy(to->host, at->host, sizeof(to->host));
		to->port = at->port;
	}
}

static void
put_servers(const struct pg_relay *r, const struct view_ask *ask)
{
	union view_row *row;

	put_sessions(r, ask);
	list_each(pg_server, x, all, &r->turns.servers) {
		uint64_t number = number_of(VIEW_OF_POOL, x->number);

		row = next_row(ask, number);
		if (row == NULL)
			continue;
		row->server.number = number;
		put_turn(x, &row->server);
	}
	list_each(pg_pooled, x, all, &r->pool) {
		uint64_t number = number_of(VIEW_OF_POOL, x->number);

		row = next_row(ask, number);
		if (row == NULL)
			continue;
		row->server.number = number;
		put_pooled(x, &row->server);
	}
	put_readers(r, ask);
	put_own(r, ask);
	put_addresses(r, ask->into);
}

/* ---- pools --------------------------------------------------------------------- */

/* Rows by user, database and side, while they are counted. */
struct tally {
	struct pg_relay *r;
	struct view *v;
	struct map at; /* key -> struct view_pool * */
};

/* The row of who logs in like this; NULL: no room, or no memory. */
static struct view_pool *
pool_of(struct tally *t, struct span startup, enum side side)
{
	struct view_pool key = { .side = side };
	struct view_pool **at;
	struct map_entry *e;
	bool is_new;

	keep_who(startup, key.user, key.database);
	e = map_put(&t->at,
	            span_of(&key, offsetof(struct view_pool, side) +
	                                  sizeof(key.side)),
	            &is_new);
	if (e == NULL)
		return NULL;
	at = map_value(e);
	if (!is_new)
		return *at;
	if (t->v->n == t->v->max) {
		t->v->has_more = true;
		map_drop(&t->at, e);
		return NULL;
	}
	*at = &t->v->row[t->v->n++].pool;
	**at = key;
	(*at)->mode = mode_of(t->r);
	(*at)->size = t->r->conf->pool_max;
	return *at;
}

static void
count_server(struct view_pool *p, enum view_server_at at)
{
	if (p == NULL)
		return;
	p->servers_active += at == VIEW_SERVER_ACTIVE;
	p->servers_used += at == VIEW_SERVER_USED;
	p->servers_idle += at == VIEW_SERVER_IDLE;
	p->servers_login += at == VIEW_SERVER_LOGIN || at == VIEW_SERVER_RESETS;
}

/* Since when it waits; 0: not known. */
static uint64_t
waits_since(const struct pg_session *s)
{
	return pg_turn_waits(&s->turn) ? s->turn.since_ns
	       : s->r->held            ? s->r->held_ns
	                               : s->waits_ns;
}

static void
count_session(struct tally *t, const struct pg_session *s)
{
	struct span startup = pg_session_startup(s);
	enum side side = s->b.link != NULL ? s->b.side : t->r->route.authority;
	struct view_pool *row;
	const char *why;
	enum view_client_at at;

	/* Who has not said who it is. */
	if (startup.n == 0 || (row = pool_of(t, startup, side)) == NULL)
		return;
	at = client_at(s, &why);
	row->clients++;
	if (s->turn.place != NULL)
		row->sent_ahead = s->turn.place->ahead_n;
	row->clients_active +=
		at == VIEW_CLIENT_ACTIVE || at == VIEW_CLIENT_IN_TRANSACTION;
	if (at == VIEW_CLIENT_WAITING || at == VIEW_CLIENT_HELD) {
		uint64_t since = waits_since(s);
		uint64_t ms = since > 0 ? ms_since(t->r, since) : 0;

		row->clients_waiting++;
		row->wait_ms = ms > row->wait_ms ? ms : row->wait_ms;
	}
	if (s->b.link != NULL)
		count_server(row, backend_at(s));
}

static void
put_pools(struct pg_relay *r, struct view *v)
{
	struct tally t = { .r = r, .v = v };
	struct pg_session room;

	map_init(&t.at, r->mem, sizeof(struct view_pool *),
	         r->port->entropy(r->port));
	list_each(pg_client, c, all, &r->clients)
		count_session(&t, pg_client_look(r, c, &room));
	list_each(pg_reader, x, all, &r->reads.readers)
		count_server(pool_of(&t, buf_span(&x->startup),
		                     side_other(r->route.authority)),
		             reader_at(x));
	list_each(pg_pooled, x, all, &r->pool)
		count_server(pool_of(&t, buf_span(&x->startup), x->side),
		             x->is_ready ? VIEW_SERVER_IDLE
		                         : VIEW_SERVER_RESETS);
	list_each(pg_server, x, all, &r->turns.servers) {
		if (x->s == NULL && x->group != NULL)
			count_server(pool_of(&t, buf_span(&x->group->startup),
			                     (enum side)x->side),
			             idle_at(x));
	}
	map_fini(&t.at);
}

void
pg_view_take(struct pg_relay *r, const struct view_ask *ask)
{
	struct view *v = ask->into;

	v->n = 0;
	v->has_more = false;
	if (ask->kind == VIEW_CLIENTS)
		put_clients(r, ask);
	else if (ask->kind == VIEW_SERVERS)
		put_servers(r, ask);
	else
		put_pools(r, v);
	atomic_store_explicit(&v->is_done, true, memory_order_release);
}
