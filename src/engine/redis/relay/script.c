/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/script.c: script bodies by their SHA1.
 *
 * EVALSHA of a script that a server has forgotten (restart, other side) is
 * repeated once with its body; the side that gets the authority is given all
 * known scripts before. A lost connection may mean that the server was
 * restarted: new ones take requests of clients only when Godwit's own
 * connection has given the scripts again, for EVALSHA in a pipeline or in MULTI
 * cannot be repeated. What clients count on (SCRIPT LOAD, EVALSHA) is told to the
 * other side at once: when Godwit is killed, both servers still know it.
 *
 * Limits: RELAY_SCRIPTS_MAX bytes; the oldest go first.
 */
#include "engine/redis/relay/script.h"

#include "base/num.h"
#include "engine/redis/lua.h"
#include "engine/redis/sha1.h"

#define AGAIN_NS 10000000ull

struct script {
	uint8_t *p;
	size_t n;
	bool keeps; /* to the keys that it is given */
	bool told;  /* to the other side, too       */
};

_Static_assert(sizeof(struct script) <= SCRIPT_SIZE, "as the map has it");

static void
drop(struct relay *r, struct map_entry *e)
{
	struct script *sc = map_value(e);

	r->script_bytes -= sc->n;
	mem_free(r->mem, sc->p, sc->n);
	map_drop(&r->scripts, e);
}

bool
script_remember(struct relay *r, struct span body)
{
	uint8_t sha[SHA1_N];
	struct map_entry *e;
	struct script *sc;
	bool is_new = false;
	bool keeps;

	if (body.n == 0 || body.n > RELAY_SCRIPTS_MAX / 4)
		return false;
	sha1(body, sha);
	e = map_put(&r->scripts, span_of(sha, sizeof(sha)), &is_new);
	if (e == NULL)
		return false;
	sc = map_value(e);
	if (!is_new) {
		map_renew(&r->scripts, e);
		return sc->keeps;
	}
	sc->keeps = keeps = lua_keeps_to_keys(&r->commands, body);
	sc->p = mem_alloc(r->mem, body.n);
	if (sc->p == NULL) {
		map_drop(&r->scripts, e);
		return keeps;
	}
	memcpy(sc->p, body.p, body.n);
	sc->n = body.n;
	r->script_bytes += body.n;
	while (r->script_bytes > RELAY_SCRIPTS_MAX && r->scripts.first != e)
		drop(r, r->scripts.first);
	return keeps;
}

bool
script_is_kept(const struct resp_cmd *q)
{
	int64_t n;

	return q->argc > 2 && num_get_i64(q->argv[2].p, q->argv[2].n, &n) &&
	       n >= 0 && n <= (int64_t)q->argc - 3;
}

static int
digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct script *
find(struct relay *r, struct span sha_hex)
{
	uint8_t sha[SHA1_N];

	if (sha_hex.n != (size_t)SHA1_N * 2)
		return NULL;
	for (size_t i = 0; i < SHA1_N; i++) {
		int hi = digit(sha_hex.p[i * 2]);
		int lo = digit(sha_hex.p[i * 2 + 1]);

		if (hi < 0 || lo < 0)
			return NULL;
		sha[i] = (uint8_t)(hi * 16 + lo);
	}
	return map_get(&r->scripts, span_of(sha, sizeof(sha)));
}

struct span
script_find(struct relay *r, struct span sha_hex)
{
	struct script *sc = find(r, sha_hex);

	return sc == NULL ? span_of(NULL, 0) : span_of(sc->p, sc->n);
}

int
script_keeps(struct relay *r, struct span sha_hex)
{
	const struct script *sc = find(r, sha_hex);

	return sc == NULL ? -1 : sc->keeps;
}

static void
put_load(struct buf *b, struct span body)
{
	resp_put_array(b, 3);
	resp_put_bulk(b, SPAN("SCRIPT"));
	resp_put_bulk(b, SPAN("LOAD"));
	resp_put_bulk(b, body);
}

void
script_share(struct relay *r, struct span sha_hex)
{
	struct script *sc = find(r, sha_hex);
	struct lane *lane;

	if (sc == NULL || sc->told || r->board == NULL)
		return;
	lane = lane_admin(r, side_other(r->route.authority));
	if (!lane_is_open(lane))
		return; /* it is given all of them when it is ready */
	sc->told = true;
	put_load(&lane->link->tx, span_of(sc->p, sc->n));
	(void)lane_pend(r, lane, NULL, PEND_IGNORE);
}

void
script_forget(struct relay *r)
{
	while (r->scripts.first != NULL)
		drop(r, r->scripts.first);
}

void
script_preload(struct relay *r, enum side side)
{
	struct lane *lane;

	if (map_count(&r->scripts) == 0) {
		script_loaded(r, side);
		return;
	}
	lane = lane_admin(r, side);
	if (!lane_is_open(lane))
		return; /* done when it is ready */
	r->loading[side] = true;
	map_each(e, &r->scripts) {
		const struct script *sc = map_value(e);

		put_load(&lane->link->tx, span_of(sc->p, sc->n));
		(void)lane_pend(r, lane, NULL,
		                e == r->scripts.last ? PEND_LOADED
		                                     : PEND_IGNORE);
	}
}

/* ---- a server that may have been restarted ----------------------------- */

bool
script_may_run(struct relay *r, enum side side)
{
	if (!r->doubt[side] || map_count(&r->scripts) == 0)
		return true;
	if (r->scripts_ns[side] == 0)
		r->scripts_ns[side] = r->port->now_ns;
	port_wake(r->port, r->port->now_ns + AGAIN_NS);
	if (!r->loading[side])
		script_preload(r, side);
	return !r->doubt[side];
}

void
script_loaded(struct relay *r, enum side side)
{
	r->doubt[side] = false;
	r->loading[side] = false;
	if (r->scripts_ns[side] == 0)
		return;
	r->scripts_ns[side] = 0;
	lane_release(r, side);
}

void
script_lost(struct relay *r, const struct lane *lane)
{
	r->doubt[lane->side] = true;
	if (lane->kind == LANE_ADMIN)
		r->loading[lane->side] = false;
}

void
script_tick(struct relay *r)
{
	uint64_t now = r->port->now_ns;

	for (int i = 0; i < SIDE_N; i++) {
		if (r->scripts_ns[i] == 0)
			continue;
		if (r->scripts_ns[i] + RELAY_SCRIPT_WAIT <= now)
			script_loaded(r, (enum side)i); /* as well as can be */
		else if (!r->loading[i])
			script_preload(r, (enum side)i);
		if (r->scripts_ns[i] != 0)
			port_wake(r->port, now + AGAIN_NS);
	}
}

bool
script_is_loading(struct relay *r, enum side side)
{
	const struct lane *lane;

	if (map_count(&r->scripts) == 0)
		return false;
	lane = lane_admin(r, side);
	return lane != NULL && lane->state != LANE_DOWN &&
	       (lane->state != LANE_READY || ring_n(&lane->fifo) > 0);
}

void
script_fini(struct relay *r)
{
	script_forget(r);
	map_fini(&r->scripts);
}
