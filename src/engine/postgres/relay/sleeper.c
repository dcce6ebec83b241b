/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/sleeper.c: sessions fall asleep, and wake.
 */
#include "engine/postgres/relay/sleeper.h"

#include "engine/postgres/relay/inside.h"

#define LOOK_NS (10 * MILLI)

/* What a login and a server taught, which is the same for all who came alike. */
struct pg_alike {
	uint64_t refs;
	size_t size; /* of it, told included */
	struct known {
		struct pg_scram_keys keys;
		uint64_t dress;
		uint64_t said;
		bool has_keys;
		bool wants_scram;
		bool was_asked;
		bool is_told;
	} known;
	uint8_t told[]; /* params.c */
};

/* What few have. */
struct pg_rest {
	struct pg_found *found;
	struct pg_proxied *front;
	struct map named;
	size_t named_bytes;
	struct map custom;
	struct buf unnamed;
	struct buf application;
	uint32_t series;
	uint32_t heard;
	uint32_t noted;
	bool names_by_value;
	bool is_renamed;
};

/* ---- what is the same ------------------------------------------------------------ */

void
pg_alike_leave(struct pg_relay *r, struct pg_alike *a)
{
	if (a == NULL || --a->refs > 0)
		return;
	crypt_wipe(&a->known.keys, sizeof(a->known.keys));
	mem_free(r->mem, a, a->size);
}

static void
know(const struct pg_session *s, struct known *ret)
{
	const struct pg_auth *a = &s->auth;

	memset(ret, 0, sizeof(*ret));
	ret->keys = a->keys;
	ret->dress = s->turn.dress;
	ret->said = s->turn.said;
	ret->has_keys = a->has_keys;
	ret->wants_scram = a->wants_scram;
	ret->was_asked = a->was_asked;
	ret->is_told = a->is_told;
}

/* The one that its group has, if it is that; else a new one. NULL: memory. */
static struct pg_alike *
enter(struct pg_session *s)
{
	struct pg_group *g = s->turn.group;
	struct pg_alike *a = g->alike;
	struct span told = buf_span(&s->told);
	size_t size = sizeof(*a) + told.n;
	struct known known;

	know(s, &known);
	/* Holes that are not the same make another one. */
	// NOLINTBEGIN(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
	if (a == NULL || a->size != size ||
	    memcmp(&a->known, &known, sizeof(known)) != 0 ||
	    !span_eq(span_of(a->told, told.n), told)) {
		// NOLINTEND(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
		a = mem_alloc(s->r->mem, size);
		if (a == NULL)
			return NULL;
		a->refs = 1;
		a->size = size;
		memcpy(&a->known, &known, sizeof(known));
		if (told.n > 0)
			memcpy(a->told, told.p, told.n);
		pg_alike_leave(s->r, g->alike);
		g->alike = a;
	}
	crypt_wipe(&known, sizeof(known));
	a->refs++;
	return a;
}

/* ---- asleep ---------------------------------------------------------------------- */

static void
move_buf(struct buf *to, struct buf *from)
{
	struct mem *mem = from->mem;

	*to = *from;
	memset(from, 0, sizeof(*from));
	from->mem = mem;
}

/* Without bytes it is as it was made. */
static void
tidy_buf(struct buf *b)
{
	struct mem *mem = b->mem;

	if (buf_len(b) > 0 || buf_failed(b))
		return;
	buf_release(b);
	memset(b, 0, sizeof(*b));
	b->mem = mem;
}

static void
tidy_map(struct map *m, const struct pg_relay *r)
{
	if (map_count(m) > 0)
		return;
	map_fini(m);
	m->seed = r->turns.seed[1];
}

/* What says nothing any more about a session without a server is as it was made. */
static void
tidy(struct pg_session *s)
{
	static const struct pg_backend none = { .owner = OWNER_BACKEND };
	struct mem *mem = s->r->mem;
	struct buf *all[] = {
		&s->rx,
		&s->startup,
		&s->capture,
		&s->seam,
		&s->told,
		&s->unnamed,
		&s->params,
		&s->says,
		&s->b.word,
		&s->auth.asked,
		&s->auth.secret,
		&s->turn.due,
		&s->reading.application,
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		tidy_buf(all[i]);
	tidy_map(&s->named, s->r);
	tidy_map(&s->custom, s->r);
	pg_frame_rest(&s->in, PG_FRONT);
	s->has_asked_tls = false;
	s->has_asked_gss = false;
	s->heard_ns = 0;
	s->warmed = 0;
	s->state.is_known = false;
	s->turn.is_plain = false;
	s->turn.is_fresh = false;
	s->turn.is_guessed = false;
	s->turn.is_divided = false;
	s->turn.is_prepared = false;
	s->turn.ticket = 0;
	s->turn.since_ns = 0;
	s->turn.shape = 0;
	s->apart.side = (uint8_t)s->r->route.authority;
	s->apart.is_ready = false;
	if (!s->r->reads.is_on) {
		s->reading.probe = 0;
		s->reading.is_schema = false;
		s->state.tells_reads = false;
	}
	s->restless = 0;
	s->b = none;
	s->b.s = s;
	buf_init(&s->b.word, mem);
}

/* The connection that it had is another's. */
static bool
has_backend(const struct pg_session *s)
{
	const struct pg_backend *b = &s->b;

	return b->at != BACKEND_OFF || b->link != NULL || b->sweeps > 0 ||
	       b->due > 0 || b->hears || b->aliases || b->key.secret != NULL ||
	       buf_len(&b->word) > 0 || buf_failed(&b->word) ||
	       s->turn.server != NULL || s->spare != NULL;
}

static bool
has_rest(const struct pg_session *s)
{
	return s->state.found != &s->r->nothing || s->front != NULL ||
	       map_count(&s->named) > 0 || map_count(&s->custom) > 0 ||
	       buf_len(&s->unnamed) > 0 || s->names_by_value ||
	       s->reading.is_renamed;
}

/* A session that is open and has nothing but what a sleeper keeps beside its fields. */
static void
make(struct pg_session *s, struct pg_relay *r, struct link *client)
{
	memset(s, 0, sizeof(*s));
	pg_session_init(s, r, client);
	pg_frame_rest(&s->in, PG_FRONT);
	s->at = SESSION_OPEN;
	s->auth.at = AUTH_OVER;
	s->is_proxied = false;
}

static void
take_rest(struct pg_session *s, struct pg_rest *t)
{
	t->found = s->state.found;
	s->state.found = &s->r->nothing;
	t->front = s->front;
	s->front = NULL;
	t->named = s->named;
	map_init(&s->named, s->r->mem, sizeof(struct pg_named),
	         s->r->turns.seed[1]);
	t->named_bytes = s->named_bytes;
	s->named_bytes = 0;
	t->custom = s->custom;
	map_init(&s->custom, s->r->mem, 0, s->r->turns.seed[1]);
	t->names_by_value = s->names_by_value;
	s->names_by_value = false;
	move_buf(&t->unnamed, &s->unnamed);
	move_buf(&t->application, &s->reading.application);
	t->is_renamed = s->reading.is_renamed;
	s->reading.is_renamed = false;
	t->series = s->turn.series;
	t->heard = s->turn.heard;
	t->noted = s->turn.noted;
}

static void
give_rest(struct pg_session *s, const struct pg_rest *t)
{
	s->state.found = t->found;
	s->front = t->front;
	s->named = t->named;
	s->named_bytes = t->named_bytes;
	s->custom = t->custom;
	s->names_by_value = t->names_by_value;
	s->unnamed = t->unnamed;
	s->reading.application = t->application;
	s->reading.is_renamed = t->is_renamed;
	s->turn.series = t->series;
	s->turn.heard = t->heard;
	s->turn.noted = t->noted;
}

/* What x keeps, as a session has it; without what few have, and what it was told. */
static void
give(struct pg_session *s, const struct pg_sleeper *x)
{
	const struct known *k = &x->alike->known;

	s->turn.group = x->group;
	s->turn.place = x->group->place;
	s->began_ns = x->began_ns;
	s->asked_ns = x->asked_ns;
	s->requests = x->requests;
	s->turn.dress = k->dress;
	s->turn.said = k->said;
	s->auth.keys = k->keys;
	s->auth.has_keys = k->has_keys;
	s->auth.wants_scram = k->wants_scram;
	s->auth.was_asked = k->was_asked;
	s->auth.is_told = k->is_told;
}

/* Has s, whose rest was taken out, nothing but what x keeps? */
static bool
is_kept(const struct pg_session *s, const struct pg_sleeper *x)
{
	struct pg_session made;
	bool ret;

	make(&made, s->r, s->client);
	give(&made, x);
	tidy(&made);
	made.c = s->c;
	made.all = s->all;
	made.told = s->told;
	made.b.s = s->b.s;
	/* Both began as zeros; holes that are not the same keep it awake. */
	// NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c)
	ret = memcmp(&made, s, sizeof(made)) == 0;
	crypt_wipe(&made.auth.keys, sizeof(made.auth.keys));
	return ret;
}

static void
drop(struct pg_relay *r, struct pg_sleeper *x)
{
	pg_alike_leave(r, x->alike);
	mem_free(r->mem, x->rest, sizeof(*x->rest));
	mem_free(r->mem, x, sizeof(*x));
}

/* All that s has, in x. NULL: no memory. */
static struct pg_sleeper *
keep(struct pg_session *s)
{
	struct mem *mem = s->r->mem;
	struct pg_sleeper *x = mem_zero(mem, sizeof(*x));
	bool rest = has_rest(s);

	if (x == NULL)
		return NULL;
	s->turn.group->place = s->turn.place;
	x->client = s->client;
	x->group = s->turn.group;
	x->began_ns = s->began_ns;
	x->asked_ns = s->asked_ns;
	x->requests = s->requests;
	x->alike = enter(s);
	x->rest = rest ? mem_zero(mem, sizeof(*x->rest)) : NULL;
	if (x->alike == NULL || (rest && x->rest == NULL)) {
		drop(s->r, x);
		return NULL;
	}
	tidy(s);
	if (rest)
		take_rest(s, x->rest);
	if (s->turn.heard + 1 == s->turn.series) {
		s->turn.series = 1;
		s->turn.heard = 0;
		s->turn.noted = 0;
	}
	return x;
}

/* now has the place of old, and its key. */
static void
take_place(struct pg_relay *r, struct pg_client *old, struct pg_client *now,
           enum pg_owner owner)
{
	*now = *old;
	now->owner = owner;
	pg_clients_insert(&r->clients, old, now);
	pg_clients_remove(&r->clients, old);
	pg_keys_replace(&r->keys, old, now);
}

static void
fall_asleep(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_sleeper *x = keep(s);

	if (x == NULL)
		return;
	if (!is_kept(s, x)) {
		if (x->rest != NULL)
			give_rest(s, x->rest);
		drop(r, x);
		s->restless = s->requests + 1;
		return;
	}
	take_place(r, &s->c, &x->c, OWNER_SLEEPER);
	x->client->owner = x;
	pg_sessions_remove(&r->sessions, s);
	buf_fini(&s->told);
	crypt_wipe(&s->auth.keys, sizeof(s->auth.keys));
	mem_free(r->mem, s, sizeof(*s));
}

/* ---- awake ----------------------------------------------------------------------- */

void
pg_sleeper_drop(struct pg_relay *r, struct pg_sleeper *x, bool close)
{
	struct pg_session room;

	/* What few have is undone as a session's. */
	make(&room, r, NULL);
	if (x->rest != NULL)
		give_rest(&room, x->rest);
	pg_proxied_fini(&room);
	pg_census_forget(&room);
	map_fini(&room.named);
	map_fini(&room.custom);
	buf_fini(&room.unnamed);
	buf_fini(&room.reading.application);
	if (close)
		r->port->ops->close(r->port, x->client, true);
	pg_keys_drop(&r->keys, &x->c);
	pg_clients_remove(&r->clients, &x->c);
	pg_place_leave(r, x->group->place);
	pg_group_leave(r, x->group);
	drop(r, x);
}

struct pg_session *
pg_sleeper_wake(struct pg_relay *r, struct pg_sleeper *x)
{
	struct pg_session *s = mem_alloc(r->mem, sizeof(*s));
	const struct pg_alike *a = x->alike;

	if (s != NULL) {
		make(s, r, x->client);
		buf_put(&s->told, a->told, a->size - sizeof(*a));
	}
	if (s == NULL || buf_failed(&s->told)) {
		mem_free(r->mem, s, sizeof(*s));
		pg_sleeper_drop(r, x, true);
		return NULL;
	}
	give(s, x);
	if (x->rest != NULL)
		give_rest(s, x->rest);
	take_place(r, &x->c, &s->c, OWNER_CLIENT);
	s->client->owner = s;
	pg_sessions_push(&r->sessions, s);
	drop(r, x);
	return s;
}

const struct pg_session *
pg_client_look(struct pg_relay *r, const struct pg_client *c,
               struct pg_session *room)
{
	const struct pg_sleeper *x = (const void *)c;

	if (c->owner == OWNER_CLIENT)
		return (const void *)c;
	make(room, r, x->client);
	give(room, x);
	crypt_wipe(&room->auth.keys, sizeof(room->auth.keys));
	if (x->rest != NULL)
		give_rest(room, x->rest);
	room->c = x->c;
	return room;
}

/* ---- once a batch ---------------------------------------------------------------- */

/* It does nothing, and has no server. */
static bool
may_sleep(const struct pg_session *s)
{
	uint64_t since = s->asked_ns > s->began_ns ? s->asked_ns : s->began_ns;

	return s->at == SESSION_OPEN && s->turn.group != NULL &&
	       !pg_turn_waits(&s->turn) && s->client != NULL &&
	       s->client->is_up && since + PG_SLEEP_NS < s->r->port->now_ns &&
	       s->restless != s->requests + 1 && !has_backend(s) &&
	       buf_len(&s->rx) == 0 && !s->is_stopped &&
	       pg_session_is_quiet(s) && s->skips == 0 &&
	       pg_frame_rests(&s->in);
}

void
pg_sleepers_work(struct pg_relay *r)
{
	size_t n = r->sessions.n;

	r->dozes = false;
	r->sleep_ns = r->port->now_ns + LOOK_NS;
	if (!pg_turn_is_on(r) || r->held || r->stops || r->locking ||
	    pg_apart_is_on(r))
		return;
	/* What they have seen has to be known. */
	if (r->reads.is_on)
		return;
	for (n = n < PG_SLEEP_LOOKS ? n : PG_SLEEP_LOOKS; n > 0; n--) {
		struct pg_session *s = pg_sessions_pop(&r->sessions);

		pg_sessions_push(&r->sessions, s);
		if (!may_sleep(s))
			continue;
		r->dozes = true;
		fall_asleep(s);
	}
}
