/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/shadow.c: reads that are asked on the other side as well,
 * and compared; the client never knows.
 *
 *   FIRST ─ both answered, same ──────────────────────────→ counted
 *     └ different ─→ POSITION ─[ROLE]→ PASS ─[board]→ OTHER ─→ OWN ─→ counted
 *                        ↑                                     │
 *                        └── the authority's answer changed ───┘  (twice at most)
 *
 * A read is mirrored behind its dispatch to the authority, on lanes of Godwit's
 * reader. The authority's answer is copied as it passes by. A difference counts
 * only when it is still there after the other side has passed the authority's
 * position, and the authority says the same before and after.
 *
 * Limits: route.shadow: questions under way, bytes of all of them, time; what
 * does not fit is dropped and counted by reason.
 */
#include "engine/redis/relay/shadow.h"

#include "base/hash.h"
#include "engine/redis/relay/same.h"

#define ANSWER_MAX  ((size_t)64 * 1024) /* longer ones are not compared */
#define REQUEST_MAX ((size_t)16 * 1024)
#define TRIES_MAX   2
#define TELL_NS     100000000ull /* between two examples for control */

enum ask_state {
	ASK_FREE,
	ASK_FIRST,
	ASK_POSITION, /* which position has the authority? */
	ASK_PASS,     /* until the other side has passed it */
	ASK_OTHER,    /* the other side again */
	ASK_OWN,      /* the authority again */
};

/* Whose answer. */
enum whose {
	OF_OWN,
	OF_OTHER,
	OF_OWN_AGAIN,
	OF_N,
};

struct ask {
	uint64_t number; /* of this use of the slot */
	uint64_t at_ns;
	uint64_t pos;
	uint32_t db;
	uint8_t state;
	uint8_t kind; /* enum same_kind */
	uint8_t tries;
	bool resp3; /* both sides are asked in the client's protocol */
	bool has[OF_N];
	struct buf request;
	struct buf answer[OF_N];
};

struct shadow {
	struct ask *ask;
	uint32_t cap;  /* slots */
	uint32_t n;    /* in use */
	uint32_t slow; /* of these beyond FIRST */
	size_t bytes;
	uint64_t number;
	uint64_t draw;
	uint64_t told_ns;
	uint64_t look_ns; /* no ask is older */
};

/* ---- slots ------------------------------------------------------------- */

static void
drop(struct relay *r, enum shadow_drop why)
{
	r->n.shadow_dropped[why]++;
}

static void
done(struct relay *r, struct ask *a)
{
	struct shadow *x = r->shadow;

	x->bytes -= buf_len(&a->request);
	buf_release(&a->request);
	for (int i = 0; i < OF_N; i++) {
		x->bytes -= buf_len(&a->answer[i]);
		buf_release(&a->answer[i]);
	}
	x->slow -= a->state > ASK_FIRST;
	a->state = ASK_FREE;
	a->number = 0;
	x->n--;
}

static struct ask *
ask_of(struct relay *r, uint64_t number)
{
	struct shadow *x = r->shadow;
	struct ask *a;

	if (x == NULL || number == 0)
		return NULL;
	a = &x->ask[number % x->cap];
	return a->number == number ? a : NULL;
}

void
shadow_reset(struct relay *r)
{
	struct shadow *x = r->shadow;

	list_each(lane, l, all, &r->lanes) {
		if (l->kind == LANE_SHADOW && !l->dead)
			lane_end(r, l, false);
	}
	if (x == NULL)
		return;
	for (uint32_t i = 0; i < x->cap; i++) {
		if (x->ask[i].state != ASK_FREE) {
			done(r, &x->ask[i]);
			drop(r, SHADOW_DROP_SWITCH);
		}
		buf_fini(&x->ask[i].request);
		for (int k = 0; k < OF_N; k++)
			buf_fini(&x->ask[i].answer[k]);
	}
	mem_free(r->mem, x->ask, x->cap * sizeof(*x->ask));
	mem_free(r->mem, x, sizeof(*x));
	r->shadow = NULL;
}

static struct shadow *
shadow_of(struct relay *r)
{
	struct shadow *x = r->shadow;
	uint32_t cap = r->route.shadow.inflight;

	if (x != NULL)
		return x;
	x = mem_zero(r->mem, sizeof(*x));
	if (x == NULL)
		return NULL;
	x->cap = cap < 1 ? 1 : cap;
	x->ask = mem_zero(r->mem, x->cap * sizeof(*x->ask));
	if (x->ask == NULL) {
		mem_free(r->mem, x, sizeof(*x));
		return NULL;
	}
	for (uint32_t i = 0; i < x->cap; i++) {
		buf_init(&x->ask[i].request, r->mem);
		for (int k = 0; k < OF_N; k++)
			buf_init(&x->ask[i].answer[k], r->mem);
	}
	r->shadow = x;
	return x;
}

/* A free slot with a new number; NULL: all are in use. */
static struct ask *
slot(struct shadow *x)
{
	for (uint32_t i = 0; i < x->cap && x->n < x->cap; i++) {
		struct ask *a = &x->ask[++x->number % x->cap];

		if (a->state != ASK_FREE)
			continue;
		x->n++;
		a->number = x->number;
		return a;
	}
	return NULL;
}

/* ---- asking ------------------------------------------------------------ */

/* The lane, when it can take a question now. */
static struct lane *
usable(struct relay *r, enum side side, uint32_t db, bool resp3)
{
	struct lane *lane = lane_shadow(r, side, db, resp3);

	if (!lane_is_open(lane) ||
	    ring_n(&lane->fifo) >= r->route.shadow.inflight)
		return NULL;
	lane->idle_ns = r->port->now_ns;
	return lane;
}

static bool
put(struct relay *r, struct ask *a, enum side side, enum whose whose)
{
	struct lane *lane = usable(r, side, a->db, a->resp3);
	struct pending *e;

	if (lane == NULL)
		return false;
	e = lane_ask(r, lane, PEND_SHADOW, buf_span(&a->request));
	if (e == NULL)
		return false;
	e->mark = a->number;
	e->kept = (uint32_t)whose;
	return true;
}

static void
clear_answer(struct relay *r, struct ask *a, enum whose whose)
{
	r->shadow->bytes -= buf_len(&a->answer[whose]);
	buf_clear(&a->answer[whose]);
	a->has[whose] = false;
}

static void
next_state(struct relay *r, struct ask *a, enum ask_state state)
{
	r->shadow->slow += a->state == ASK_FIRST && state > ASK_FIRST;
	a->state = (uint8_t)state;
}

/* Is this read one of the share? */
static bool
is_sampled(struct relay *r)
{
	uint32_t ppm = r->route.shadow.ppm;

	return ppm >= 1000000 || route_share_takes(r->route.salt, ppm,
	                                           hash_mix(++r->shadow->draw));
}

void
shadow_mirror(struct relay *r, struct session *s, const struct command *c,
              struct span raw)
{
	struct shadow *x = shadow_of(r);
	struct lane *lane = s->lane;
	struct pending *e;
	struct ask *a;

	if (x == NULL || lane == NULL || !is_sampled(r))
		return;
	if (r->hold.on || s->multi || s->watching)
		return;
	if (!causal_reads_all(r, s)) {
		drop(r, SHADOW_DROP_USER);
		return;
	}
	if (raw.n > REQUEST_MAX || x->bytes + raw.n > r->route.shadow.bytes) {
		drop(r, raw.n > REQUEST_MAX ? SHADOW_DROP_BIG
		                            : SHADOW_DROP_MEMORY);
		return;
	}
	if (usable(r, side_other(r->route.authority), s->db, s->resp3) ==
	    NULL) {
		drop(r, SHADOW_DROP_DOWN);
		return;
	}
	a = slot(x);
	if (a == NULL) {
		drop(r, SHADOW_DROP_INFLIGHT);
		return;
	}
	a->at_ns = r->port->now_ns;
	a->db = s->db;
	a->resp3 = s->resp3;
	a->kind = (uint8_t)same_kind_of(c);
	a->tries = 0;
	memset(a->has, 0, sizeof(a->has));
	a->state = ASK_FIRST;
	buf_put_span(&a->request, raw);
	x->bytes += buf_len(&a->request);
	if (buf_failed(&a->request) || a->kind == SAME_NOISE ||
	    !put(r, a, side_other(r->route.authority), OF_OTHER)) {
		done(r, a);
		return;
	}
	r->n.shadow_sent++;
	e = ring_at(&lane->fifo, ring_n(&lane->fifo) - 1);
	e->mark = a->number;
	e->flags |= PEND_F_SHADOW;
}

/* ---- comparing --------------------------------------------------------- */

static bool
is_same(const struct ask *a, enum whose x, enum whose y)
{
	return same_reply((enum same_kind)a->kind, buf_span(&a->answer[x]),
	                  buf_span(&a->answer[y]));
}

/* Bytes of an answer or a request as one short word of text. */
static void
say_bytes(struct buf *b, struct span s, size_t max)
{
	size_t n = s.n < max ? s.n : max;

	for (size_t i = 0; i < n; i++) {
		uint8_t ch = s.p[i];

		if (ch == '\r' || (ch == '\n' && i + 1 == s.n))
			continue;
		ch = ch == '\n' ? ' ' : ch < 32 || ch > 126 ? '.' : ch;
		buf_put(b, &ch, 1);
	}
	if (n < s.n)
		buf_put_str(b, "...");
}

/* An example for control: at most a few a second. */
static void
tell(struct relay *r, const struct ask *a)
{
	struct mail m = { .kind = MAIL_DIFFERENT, .who = r->conf->who };
	struct span raw = buf_span(&a->request);
	struct span arg;
	size_t pos = 0;
	struct buf b;

	if (r->shadow->told_ns + TELL_NS > r->port->now_ns)
		return;
	r->shadow->told_ns = r->port->now_ns;
	buf_init(&b, r->mem);
	while (resp_cmd_walk(raw, &pos, &arg) && buf_len(&b) < 60) {
		if (buf_len(&b) > 0)
			buf_put_str(&b, " ");
		say_bytes(&b, arg, 40);
	}
	buf_put_str(&b, " | ");
	say_bytes(&b, buf_span(&a->answer[OF_OWN]), 24);
	buf_put_str(&b, " | ");
	say_bytes(&b, buf_span(&a->answer[OF_OTHER]), 24);
	pos = buf_len(&b) < sizeof(m.text) ? buf_len(&b) : sizeof(m.text) - 1;
	if (pos > 0)
		memcpy(m.text, buf_span(&b).p, pos);
	buf_fini(&b);
	r->port->ops->mail(r->port, &m);
}

/* Ask for the authority's position; later, when nobody can be asked now. */
static void
ask_position(struct relay *r, struct ask *a)
{
	struct lane *admin = lane_admin(r, r->route.authority);
	struct pending *e;

	next_state(r, a, ASK_POSITION);
	a->pos = UINT64_MAX;
	if (!lane_is_open(admin))
		return;
	e = lane_ask(r, admin, PEND_SHADOW_ROLE,
	             causal_question(r, r->route.authority));
	if (e != NULL)
		e->mark = a->number;
}

void
shadow_role(struct relay *r, const struct pending *e, struct span reply)
{
	struct ask *a = ask_of(r, e->mark);
	uint64_t pos;

	if (a == NULL || a->state != ASK_POSITION)
		return;
	if (!causal_position(r, r->route.authority, reply, &pos)) {
		done(r, a);
		drop(r, SHADOW_DROP_DOWN);
		return;
	}
	a->pos = pos;
	next_state(r, a, ASK_PASS);
}

/* All three answers of a second look are there. */
static void
judge(struct relay *r, struct ask *a)
{
	if (!is_same(a, OF_OWN, OF_OWN_AGAIN)) {
		/* Somebody wrote meanwhile: it says nothing. */
		if (++a->tries < TRIES_MAX) {
			struct buf was = a->answer[OF_OWN];

			a->answer[OF_OWN] = a->answer[OF_OWN_AGAIN];
			a->answer[OF_OWN_AGAIN] = was;
			clear_answer(r, a, OF_OWN_AGAIN);
			clear_answer(r, a, OF_OTHER);
			ask_position(r, a);
			return;
		}
		r->n.shadow_unstable++;
	} else if (is_same(a, OF_OWN, OF_OTHER)) {
		r->n.shadow_same++;
	} else {
		r->n.shadow_different++;
		tell(r, a);
	}
	done(r, a);
}

/* An answer is whole. */
static void
answered(struct relay *r, struct ask *a, enum whose whose)
{
	a->has[whose] = true;
	if (a->state == ASK_FIRST) {
		if (!a->has[OF_OWN] || !a->has[OF_OTHER])
			return;
		if (is_same(a, OF_OWN, OF_OTHER)) {
			r->n.shadow_same++;
			done(r, a);
			return;
		}
		r->n.shadow_rechecked++;
		clear_answer(r, a, OF_OTHER);
		ask_position(r, a);
	} else if (a->state == ASK_OTHER && whose == OF_OTHER) {
		next_state(r, a, ASK_OWN);
		if (!put(r, a, r->route.authority, OF_OWN_AGAIN))
			a->has[OF_OTHER] = false; /* again at the next look */
	} else if (a->state == ASK_OWN && whose == OF_OWN_AGAIN) {
		judge(r, a);
	}
}

static void
take(struct relay *r, uint64_t number, enum whose whose, struct span bytes,
     bool is_end)
{
	struct ask *a = ask_of(r, number);
	struct shadow *x = r->shadow;
	enum shadow_drop why = SHADOW_DROP_BIG;

	if (a == NULL || a->has[whose])
		return;
	if (x->bytes + bytes.n > r->route.shadow.bytes)
		why = SHADOW_DROP_MEMORY;
	if (why == SHADOW_DROP_MEMORY ||
	    buf_len(&a->answer[whose]) + bytes.n > ANSWER_MAX) {
		done(r, a);
		drop(r, why);
		return;
	}
	x->bytes -= buf_len(&a->answer[whose]);
	buf_put_span(&a->answer[whose], bytes);
	x->bytes += buf_len(&a->answer[whose]);
	if (is_end)
		answered(r, a, whose);
}

void
shadow_passed(struct relay *r, const struct pending *e, struct span bytes,
              bool is_end)
{
	take(r, e->mark, OF_OWN, bytes, is_end);
}

void
shadow_bytes(struct relay *r, struct lane *lane, struct span bytes, bool is_end)
{
	struct pending e = *ring_first(&lane->fifo);

	if (is_end)
		lane->fifo.head++;
	REQUIRE(e.kept < OF_N);
	take(r, e.mark, (enum whose)e.kept, bytes, is_end);
}

/* ---- time and the board ------------------------------------------------ */

static void
look_at(struct relay *r, struct ask *a)
{
	struct board *b = r->board;
	enum side authority = r->route.authority;

	if (a->state == ASK_FREE)
		return;
	if (a->at_ns + r->route.shadow.timeout_ms * 1000000ull <
	    r->port->now_ns) {
		done(r, a);
		drop(r, SHADOW_DROP_TIMEOUT);
		return;
	}
	if (a->state == ASK_PASS && (atomic_load(&b->unsettled) & 1) == 0 &&
	    atomic_load(&b->passed[authority]) >= a->pos &&
	    put(r, a, side_other(authority), OF_OTHER))
		next_state(r, a, ASK_OTHER);
	else if (a->state == ASK_OWN && !a->has[OF_OTHER] &&
	         put(r, a, authority, OF_OWN_AGAIN))
		a->has[OF_OTHER] = true;
}

void
shadow_check(struct relay *r)
{
	struct shadow *x = r->shadow;

	if (x == NULL || x->n == 0 || r->board == NULL)
		return;
	/* Second looks wait for the board; first ones only for their time. */
	if (x->slow == 0 && x->look_ns > r->port->now_ns)
		return;
	x->look_ns = r->port->now_ns + TELL_NS;
	for (uint32_t i = 0; i < x->cap; i++)
		look_at(r, &x->ask[i]);
}
