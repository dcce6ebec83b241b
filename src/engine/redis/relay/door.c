/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/door.c: an interlay with users of its own (door.h).
 *
 *   barred ─[AUTH, HELLO AUTH: right]→ in, as the user's upstream credentials
 *     ↑  └─ a default user without password is in at once        │
 *     └──────────────────────────[RESET]─────────────────────────┘
 *
 * Nothing of a barred session reaches a server. Who is in stays in: a switch, a
 * new password, another upstream user do not matter to it; when its user is
 * removed or switched off it is closed.
 */
#include "engine/redis/relay/door.h"

#include <inttypes.h>

#include "base/hash.h"
#include "core/tries.h"

/* Wrong passwords for one user from one address, and from one address for all
 * users (a gateway may stand for many); each relay counts for itself. */
static const struct tries_rule rule_user = { 10, 1000000000ull };
static const struct tries_rule rule_peer = { 200, 50000000ull };

struct door_keeper {
	uint64_t seed;
	struct tries tries;
};

int
door_init(struct relay *r)
{
	r->door = r->conf->door;
	if (r->door == NULL)
		return 0;
	r->keeper = mem_zero(r->mem, sizeof(*r->keeper));
	atomic_fetch_add(&r->door->seen->taken, 1);
	if (r->keeper == NULL)
		return -ERR_NOMEM; /* nobody comes in */
	r->keeper->seed = r->port->entropy(r->port);
	return 0;
}

void
door_fini(struct relay *r)
{
	mem_free(r->mem, r->keeper, sizeof(*r->keeper));
	r->keeper = NULL;
}

struct span
door_name(const struct session *s)
{
	return s->wide != NULL && s->wide->user_n > 0
	               ? span_of(s->wide->user, s->wide->user_n)
	               : SPAN("default");
}

static const struct door_user *
find(const struct door *d, struct span name)
{
	const struct door_user *ret = NULL;

	for (uint32_t i = 0; i < d->n; i++) {
		if (span_eq(span_str(d->user[i].name), name))
			ret = &d->user[i];
	}
	return ret;
}

bool
door_knows(const struct relay *r, struct span name)
{
	return find(r->door, name) != NULL;
}

/* The same work for any user and any password. */
static bool
is_right(const struct door *d, const struct door_user *u, struct span pass)
{
	static const struct door_user nobody = { .hash_n = 0 };
	const struct door_user *at = u != NULL ? u : &nobody;
	uint8_t hash[DOOR_HASH_SIZE];
	bool right = at->nopass;

	d->hash(pass, hash);
	for (uint32_t i = 0; i < DOOR_HASHES_MAX; i++)
		right |= d->is_same(hash, at->hash[i]) & (i < at->hash_n);
	return right & at->is_on;
}

/* The user's credentials at the server; one without is the endpoint's, whose
 * request is empty. */
static struct cred *
cred_of(struct relay *r, const struct door_user *u)
{
	struct cred *ret;
	struct buf b;

	buf_init(&b, r->mem);
	if (u->upstream_user[0] != '\0')
		resp_put_cmd(&b, "AUTH", u->upstream_user, u->upstream_pass,
		             NULL);
	else if (u->upstream_pass[0] != '\0')
		resp_put_cmd(&b, "AUTH", "default", u->upstream_pass, NULL);
	ret = buf_failed(&b)    ? NULL
	      : buf_len(&b) > 0 ? cred_get(r, buf_span(&b), false)
	                        : cred_get(r, SPAN(""), false);
	buf_fini(&b);
	return ret;
}

/* False: no memory; nothing has changed. */
static bool
let_in(struct relay *r, struct session *s, const struct door_user *u)
{
	struct span name = span_str(u->name);
	bool is_default = span_eq(name, SPAN("default"));
	struct wide *w = is_default ? s->wide : session_wide(r, s);
	struct cred *c;

	if (w == NULL && !is_default)
		return false;
	c = cred_of(r, u);
	if (c == NULL)
		return false;
	if (w != NULL) {
		w->user_n = is_default ? 0 : (uint8_t)name.n;
		memcpy(w->user, name.p, w->user_n);
	}
	cred_unref(r, s->cred);
	s->cred = c;
	s->is_default = false; /* what it may is asked by its name */
	s->barred = false;
	session_enter(s, s->db);
	rule_forget(s);
	if (!c->reads && causal_wants_users(r))
		causal_ask_user(r);
	return true;
}

void
door_enter(struct relay *r, struct session *s)
{
	const struct door_user *u;

	if (r->door == NULL)
		return;
	s->barred = true;
	u = find(r->door, SPAN("default"));
	if (u != NULL && u->is_on && u->nopass)
		(void)let_in(r, s, u);
}

/* A number for who tries from where; IPv6: the network of 64 bits. */
static uint64_t
name_of(const struct relay *r, const struct origin *from, struct span user)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	size_t n = memcmp(from->at.b, v4, sizeof(v4)) == 0 ? 16 : 8;
	uint64_t peer = hash_bytes(span_of(from->at.b, n), r->keeper->seed);

	return hash_bytes(user, peer) | 1;
}

/* 0: it may try. */
static uint64_t
wait_ns(const struct relay *r, uint64_t user, uint64_t peer)
{
	const struct tries *t = &r->keeper->tries;
	uint64_t now = r->port->now_ns;
	uint64_t a = tries_wait_ns(t, user, &rule_user, now);
	uint64_t b = tries_wait_ns(t, peer, &rule_peer, now);

	return a > b ? a : b;
}

bool
door_login(struct relay *r, struct session *s, struct span user,
           struct span pass)
{
	struct span who = user.p == NULL ? SPAN("default") : user;
	const struct door_user *u = find(r->door, who);
	struct origin from;
	uint64_t by_user;
	uint64_t by_peer;
	uint64_t wait;

	if (r->keeper == NULL) {
		session_close(r, s, "ERR godwit: out of memory");
		return false;
	}
	from = session_origin(r, s);
	by_user = name_of(r, &from, who);
	by_peer = name_of(r, &from, SPAN(""));
	wait = wait_ns(r, by_user, by_peer);
	if (wait > 0) {
		r->n.auth_failed++;
		session_sayf(
			r, s,
			"-TRYAGAIN godwit: too many wrong passwords for "
			"this user from this address; try again in %" PRIu64
			" ms\r\n",
			wait / 1000000 + 1);
		return false;
	}
	if (!is_right(r->door, u, pass)) {
		r->n.auth_failed++;
		tries_failed(&r->keeper->tries, by_user, &rule_user,
		             r->port->now_ns);
		tries_failed(&r->keeper->tries, by_peer, &rule_peer,
		             r->port->now_ns);
		session_say(r, s,
		            SPAN("-WRONGPASS invalid username-password pair or "
		                 "user is disabled.\r\n"));
		return false;
	}
	if (!let_in(r, s, u)) {
		session_close(r, s, "ERR godwit: out of memory");
		return false;
	}
	return true;
}

bool
door_bars(const struct command *c)
{
	return c == NULL ||
	       (c->handler != COMMAND_AUTH && c->handler != COMMAND_HELLO &&
	        c->handler != COMMAND_QUIT && c->handler != COMMAND_RESET);
}

void
door_adopt(struct relay *r, const struct door *next)
{
	REQUIRE(r->door != NULL && next != NULL);
	atomic_fetch_add(&r->door->seen->left, 1);
	r->door = next;
	list_each(session, s, all, &r->sessions) {
		const struct door_user *u;

		if (s->link == NULL || s->barred)
			continue;
		u = find(next, door_name(s));
		if (u == NULL || !u->is_on)
			session_close(r, s, NULL);
	}
	atomic_fetch_add(&next->seen->taken, 1);
}
