/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/detour.c: keys of slots that go to other nodes of a cluster.
 */
#include "engine/redis/relay/detour.h"

#include "base/num.h"
#include "engine/redis/keys.h"

/* A request that no client has a reason for. */
#define GOTO SPAN("\0godwit\0goto")

struct detours {
	uint32_t n;
	struct address at[DETOUR_NODES + 1]; /* [0]: none */
	uint64_t lost_ns[DETOUR_NODES + 1];  /* its last connection */
	uint8_t of[HASH_SLOTS];              /* 0: the side's own */
};

#define LOST_NS 100000000ull /* so long it is not believed in again */

const struct address *
detour_address(const struct relay *r, const struct lane *lane)
{
	return lane->node != 0 ? &r->detours->at[lane->node]
	                       : &r->conf->side[lane->side].at;
}

/* ---- what nodes say ------------------------------------------------------ */

struct heard {
	uint32_t slot;
	struct span host;
	uint16_t port;
	bool asking;
};

/* Up to the blank; it is taken off the front. */
static struct span
word(struct span *text)
{
	size_t n = 0;
	struct span ret;

	while (n < text->n && text->p[n] != ' ' && text->p[n] != '\r')
		n++;
	ret = span_of(text->p, n);
	*text = span_skip(*text, n < text->n ? n + 1 : n);
	return ret;
}

static bool
number(struct span s, uint32_t below, uint32_t *ret)
{
	uint32_t v = 0;

	if (s.n == 0 || s.n > 5)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(s.p[i] - '0');
	}
	*ret = v;
	return v < below;
}

/* "-ASK 3999 127.0.0.1:6381"; IPv6 without brackets. A node that does not tell its
 * host says nothing of use. */
static bool
parse(struct span reply, struct heard *ret)
{
	struct span first = word(&reply);
	struct span slot = word(&reply);
	struct span at = word(&reply);
	size_t colon = at.n;
	uint32_t port;

	while (colon > 0 && at.p[colon - 1] != ':')
		colon--;
	if (colon < 2 || !number(slot, HASH_SLOTS, &ret->slot) ||
	    !number(span_skip(at, colon), UINT16_MAX + 1, &port))
		return false;
	ret->asking = span_eq(first, SPAN("-ASK"));
	ret->host = span_of(at.p, colon - 1);
	ret->port = (uint16_t)port;
	return (ret->asking || span_eq(first, SPAN("-MOVED"))) && port != 0 &&
	       ret->host.n < sizeof(((struct address *)NULL)->host);
}

static struct detours *
detours_of(struct relay *r)
{
	if (r->detours == NULL)
		r->detours = mem_zero(r->mem, sizeof(*r->detours));
	return r->detours;
}

/* 0: it is not there. */
static uint8_t
find(const struct relay *r, const struct heard *w, enum side side)
{
	const struct detours *d = r->detours;

	for (uint32_t i = 1; d != NULL && i <= d->n; i++) {
		if (d->at[i].port == w->port &&
		    d->at[i].tls == r->conf->side[side].at.tls &&
		    span_eq(span_str(d->at[i].host), w->host))
			return (uint8_t)i;
	}
	return 0;
}

static uint8_t
find_or_add(struct relay *r, const struct heard *w, enum side side)
{
	uint8_t ret = find(r, w, side);
	struct detours *d;

	if (ret != 0)
		return ret;
	d = detours_of(r);
	if (d == NULL || d->n == DETOUR_NODES)
		return 0;
	d->n++;
	d->at[d->n] = r->conf->side[side].at;
	d->at[d->n].by_cluster = false;
	memcpy(d->at[d->n].host, w->host.p, w->host.n);
	d->at[d->n].host[w->host.n] = '\0';
	d->at[d->n].port = w->port;
	return (uint8_t)d->n;
}

bool
detour_find(struct relay *r, const struct lane *lane, struct span reply,
            struct detour *ret)
{
	enum side side = (enum side)lane->side;
	struct nodes *n = r->conf->side[side].nodes;
	struct heard w;

	*ret = (struct detour){ .node = 0 };
	if (!parse(reply, &w))
		return false;
	if (lane->node != 0 && !w.asking) {
		/* It has gone on, or came back: the side's own node knows. */
		r->detours->of[w.slot] = 0;
		return true;
	}
	if (!w.asking && find(r, &w, side) == 0 &&
	    (n == NULL || !nodes_know(n, w.host, w.port)))
		return false;
	/* Before anybody is told what the other node says. */
	if (n != NULL)
		nodes_set_away(n, w.slot);
	ret->node = find_or_add(r, &w, side);
	ret->asking = w.asking;
	if (r->detours == NULL ||
	    r->port->now_ns < r->detours->lost_ns[ret->node] + LOST_NS)
		ret->node = 0;
	else if (ret->node != 0 && !w.asking && side == r->route.authority)
		r->detours->of[w.slot] = ret->node;
	return ret->node != 0;
}

/* ---- a request that is given out again ------------------------------------ */

void
detour_put(struct relay *r, struct buf *b, const struct detour *to)
{
	if (r->detours == NULL)
		return;
	resp_put_array(b, 3);
	resp_put_bulk(b, GOTO);
	resp_put_bulk_u64(b, to->node);
	resp_put_bulk_u64(b, to->asking);
}

void
detour_turn(struct session *s, const struct detour *to)
{
	s->detour = to->node != 0;
	s->wide->node = to->node;
	s->wide->asking = to->asking;
}

enum dispatched
detour_steer(struct relay *r, struct session *s, const struct resp_cmd *q)
{
	struct detour to;
	uint32_t node;
	uint32_t asking;

	if (q->argc != 3 || !span_eq(q->argv[0], GOTO) || r->detours == NULL ||
	    !number(q->argv[1], r->detours->n + 1, &node) ||
	    !number(q->argv[2], 2, &asking) || session_wide(r, s) == NULL)
		return DISPATCH_NO;
	to.node = (uint8_t)node;
	to.asking = asking != 0;
	detour_turn(s, &to);
	s->wide->steered = true;
	return DISPATCHED;
}

/* The slot of its first key; HASH_SLOTS: it has none. */
static uint32_t
slot_of(const struct command *c, const struct resp_cmd *q, struct span raw)
{
	struct keys k = keys_of(c, q);
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (keys_have(&k, i))
			return hash_slot(arg);
	}
	return HASH_SLOTS;
}

void
detour_aim(struct relay *r, struct session *s, uint32_t slot)
{
	struct detour to = { .node = 0 };

	/* Those have a node already. */
	if (s->multi || s->watching || (s->wide != NULL && s->wide->steered))
		return;
	if (slot < HASH_SLOTS && s->at == (uint8_t)r->route.authority)
		to.node = r->detours->of[slot];
	if (to.node == 0 && !s->detour)
		return;
	if (session_wide(r, s) != NULL)
		detour_turn(s, &to);
}

enum dispatched
detour_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	enum dispatched ret;

	detour_aim(r, s, slot_of(c, q, raw));
	ret = dispatch_command(r, s, c, q, raw);
	if (ret == DISPATCHED && s->wide != NULL)
		s->wide->steered = false;
	return ret;
}

void
detour_ask(struct relay *r, struct session *s, struct lane *lane,
           enum pending_kind kind)
{
	bool inside = (s->multi && !s->multi_lost) || kind == PEND_IGNORE;

	if (!s->detour || !s->wide->asking || inside)
		return;
	(void)lane_ask(r, lane, PEND_IGNORE, SPAN("*1\r\n$6\r\nASKING\r\n"));
}

/* ---- ends ----------------------------------------------------------------- */

/* Its request asks the side's own node again. */
static void
turn_home(struct session *s)
{
	s->detour = false;
	s->wide->steered = false;
}

void
detour_lost(struct relay *r, struct lane *lane)
{
	for (uint32_t i = 0; i < HASH_SLOTS; i++) {
		if (r->detours->of[i] == lane->node)
			r->detours->of[i] = 0;
	}
	r->detours->lost_ns[lane->node] = r->port->now_ns;
	list_each(session, s, all, &r->sessions) {
		if (detour_node(s) == lane->node && !s->multi && !s->watching)
			turn_home(s);
	}
	lane->left = true;
	r->leaving = true;
	session_wake(r, &lane->waiters);
}

void
detour_forget(struct relay *r)
{
	if (r->detours == NULL)
		return;
	memset(r->detours->of, 0, sizeof(r->detours->of));
	list_each(lane, l, all, &r->lanes) {
		l->left |= l->node != 0;
	}
	r->leaving = true;
	list_each(session, s, all, &r->sessions) {
		if (s->detour && !s->multi && !s->watching)
			turn_home(s);
	}
}

void
detour_fini(struct relay *r)
{
	if (r->detours != NULL)
		mem_free(r->mem, r->detours, sizeof(*r->detours));
	r->detours = NULL;
}
