/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/shadow.c: reads that are asked on the other side as well, and
 * compared; the client never knows.
 *
 * The client's answer is copied as it passes by. The other side is asked when it has
 * passed the authority's position of behind that answer. Where they differ the
 * authority is asked again, in turns with the other side, behind a new position each
 * time: what the other side says must be what the authority said before or behind it,
 * unless somebody wrote twice in between; so a difference counts only when it was seen
 * PG_SHADOW_ROUNDS times in a row while the authority's answer never changed. When it
 * changes the authority is asked twice in one snapshot: what differs then is noise.
 */
#include "engine/postgres/relay/shadow.h"

#include "base/hash.h"
#include "engine/postgres/answer.h"
#include "engine/postgres/relay/inside.h"

#define TELL_NS (100 * MILLI) /* between two examples of what was told before */
#define LOOK_NS MILLI

/* ---- questions --------------------------------------------------------------- */

void
pg_shadow_drop(struct pg_relay *r, enum shadow_drop why)
{
	r->shadowed.dropped[why]++;
}

static struct span
key_of(const uint64_t digest[2])
{
	return span_of(digest, 2 * sizeof(digest[0]));
}

static void
clear_answer(struct pg_shadow *x, struct pg_ask *a, enum pg_ask_whose whose)
{
	x->bytes -= buf_len(&a->answer[whose]);
	buf_clear(&a->answer[whose]);
}

static void
done(struct pg_relay *r, struct pg_ask *a)
{
	struct pg_shadow *x = r->shadow;

	if (a->s != NULL)
		a->s->reading.ask = NULL;
	a->s = NULL;
	if (a->conn != NULL)
		pg_mirror_close(a->conn);
	pg_keeper_leave(r, a);
	if (a->kind != NULL)
		pg_kind_leave(x, a->kind);
	a->kind = NULL;
	x->bytes -= buf_len(&a->request) + buf_len(&a->text);
	buf_release(&a->request);
	buf_release(&a->text);
	for (int i = 0; i < ASK_OF_N; i++) {
		x->bytes -= buf_len(&a->answer[i]);
		buf_release(&a->answer[i]);
	}
	a->at = ASK_FREE;
	x->n--;
}

static void
give_up(struct pg_relay *r, struct pg_ask *a, enum shadow_drop why)
{
	done(r, a);
	pg_shadow_drop(r, why);
}

void
pg_shadow_reset(struct pg_relay *r)
{
	struct pg_shadow *x = r->shadow;

	if (x == NULL)
		return;
	for (uint32_t i = 0; i < x->cap; i++) {
		struct pg_ask *a = &x->ask[i];

		if (a->at != ASK_FREE)
			give_up(r, a, SHADOW_DROP_SWITCH);
		buf_fini(&a->text);
		buf_fini(&a->request);
		for (int k = 0; k < ASK_OF_N; k++)
			buf_fini(&a->answer[k]);
	}
	pg_mirror_fini(r);
	pg_keeper_fini(r);
	map_fini(&x->noise);
	map_fini(&x->told);
	mem_free(r->mem, x->ask, x->cap * sizeof(*x->ask));
	mem_free(r->mem, x, sizeof(*x));
	r->shadow = NULL;
}

static struct pg_shadow *
shadow_of(struct pg_relay *r)
{
	struct pg_shadow *x = r->shadow;

	if (x != NULL)
		return x;
	x = mem_zero(r->mem, sizeof(*x));
	if (x == NULL)
		return NULL;
	x->cap = r->route.shadow.inflight < 1 ? 1 : r->route.shadow.inflight;
	x->ask = mem_zero(r->mem, x->cap * sizeof(*x->ask));
	if (x->ask == NULL) {
		mem_free(r->mem, x, sizeof(*x));
		return NULL;
	}
	for (uint32_t i = 0; i < x->cap; i++) {
		buf_init(&x->ask[i].text, r->mem);
		buf_init(&x->ask[i].request, r->mem);
		for (int k = 0; k < ASK_OF_N; k++)
			buf_init(&x->ask[i].answer[k], r->mem);
	}
	map_init(&x->noise, r->mem, 0, r->reads.seed[0]);
	map_init(&x->told, r->mem, 0, r->reads.seed[0]);
	r->shadow = x;
	pg_mirror_init(r);
	pg_keeper_init(r);
	return x;
}

/* A question that is free; NULL: all are under way. */
static struct pg_ask *
take_free(struct pg_shadow *x)
{
	for (uint32_t i = 0; i < x->cap && x->n < x->cap; i++) {
		if (x->ask[i].at == ASK_FREE) {
			x->n++;
			return &x->ask[i];
		}
	}
	return NULL;
}

bool
pg_shadow_takes(struct pg_relay *r)
{
	uint32_t ppm = r->route.shadow.ppm;

	return ppm >= 1000000 ||
	       route_share_takes(r->route.salt, ppm,
	                         hash_mix(++r->shadowed.draw));
}

/* What it is for a session; NULL: it was dropped, and why was counted. */
static struct pg_kind *
kind_for(struct pg_session *s)
{
	struct pg_kind *k = pg_kind_of(s);

	if (k == NULL) {
		pg_shadow_drop(s->r, SHADOW_DROP_MEMORY);
	} else if (k->is_bad) {
		pg_kind_leave(s->r->shadow, k);
		pg_shadow_drop(s->r, SHADOW_DROP_USER);
		k = NULL;
	}
	return k;
}

bool
pg_shadow_begin(struct pg_session *s, struct span text,
                const uint64_t digest[2], struct buf *request)
{
	struct pg_relay *r = s->r;
	struct pg_shadow *x = shadow_of(r);
	size_t size = buf_len(request) + text.n;
	struct pg_kind *k;
	struct pg_ask *a;

	/* It was begun already, and has not left yet. */
	if (s->reading.ask != NULL)
		return false;
	if (x == NULL || buf_failed(request) ||
	    x->bytes + size > r->route.shadow.bytes) {
		pg_shadow_drop(r, SHADOW_DROP_MEMORY);
		return false;
	}
	if (x->n == x->cap) {
		pg_shadow_drop(r, SHADOW_DROP_INFLIGHT);
		return false;
	}
	k = kind_for(s);
	if (k == NULL)
		return false;
	a = take_free(x);
	a->kind = k;
	a->s = s;
	a->conn = NULL;
	memcpy(a->digest, digest, sizeof(a->digest));
	a->born_ns = a->at_ns = r->port->now_ns;
	a->agree = 0;
	a->tries = 0;
	a->is_doubted = false;
	a->has_own = false;
	a->was_twice = false;
	buf_fini(&a->request);
	a->request = *request;
	buf_init(request, r->mem);
	buf_put_span(&a->text, text);
	x->bytes += buf_len(&a->request) + buf_len(&a->text);
	a->at = ASK_FIRST;
	a->whose = ASK_OF_OWN;
	s->reading.ask = a;
	if (buf_failed(&a->text))
		give_up(r, a, SHADOW_DROP_MEMORY);
	return true;
}

/* ---- answers ------------------------------------------------------------------- */

/* The order of a's rows points into its text. */
static enum pg_answer_rc
compare(struct pg_relay *r, const struct pg_ask *a, enum pg_ask_whose one,
        enum pg_ask_whose two)
{
	struct pg_order order = pg_order_of(buf_span(&a->text));
	const struct span raw[2] = { buf_span(&a->answer[one]),
		                     buf_span(&a->answer[two]) };

	return pg_answer_compare(&order, raw, r->reads.seed[1], r->mem, NULL);
}

static void
say_text(struct buf *b, struct span s, size_t max)
{
	size_t n = s.n < max ? s.n : max;
	bool was_blank = true;

	for (size_t i = 0; i < n; i++) {
		bool is_blank = s.p[i] <= ' ';

		if (is_blank && was_blank)
			continue;
		buf_put(b,
		        is_blank       ? " "
		        : s.p[i] > 126 ? "?"
		                       : (const char *)&s.p[i],
		        1);
		was_blank = is_blank;
	}
	if (n < s.n)
		buf_put_str(b, "...");
}

/* Was this statement told of already? Then now and then only. */
static bool
is_told(struct pg_relay *r, const struct pg_ask *a)
{
	struct pg_shadow *x = r->shadow;
	bool is_new = false;

	if (map_count(&x->told) < PG_SHADOW_NAMES_MAX)
		(void)!map_put(&x->told, key_of(a->digest), &is_new);
	if (!is_new && x->told_ns + TELL_NS > r->port->now_ns)
		return true;
	x->told_ns = r->port->now_ns;
	return false;
}

/* An example for control: which statement, and what each of two answers has first that
 * the other one has not. */
static void
tell(struct pg_relay *r, const struct pg_ask *a, enum pg_ask_whose one,
     enum pg_ask_whose two, bool is_noise)
{
	struct mail m = { .kind = MAIL_DIFFERENT,
		          .who = r->conf->who,
		          .flag = is_noise };
	struct span text = buf_span(&a->text);
	struct pg_order order = pg_order_of(text);
	const struct span raw[2] = { buf_span(&a->answer[one]),
		                     buf_span(&a->answer[two]) };
	struct pg_answer_found found;
	enum pg_answer_rc rc;
	struct buf b;
	size_t n;

	if (is_told(r, a))
		return;
	rc = pg_answer_compare(&order, raw, r->reads.seed[1], r->mem, &found);
	buf_init(&b, r->mem);
	buf_putf(&b, "%08x ", (uint32_t)hash_bytes(text, 0));
	say_text(&b, text, 60);
	for (int i = 0; i < 2; i++) {
		buf_put_str(&b, " | ");
		pg_answer_say(&b, rc, &found, i, 20);
	}
	n = buf_len(&b) < sizeof(m.text) ? buf_len(&b) : sizeof(m.text) - 1;
	if (n > 0)
		memcpy(m.text, buf_span(&b).p, n);
	buf_fini(&b);
	r->port->ops->mail(r->port, &m);
}

static bool
is_known_noise(const struct pg_relay *r, const struct pg_ask *a)
{
	return map_find(&r->shadow->noise, key_of(a->digest)) != NULL;
}

/* Errors and columns are never noise. */
static bool
is_shape(enum pg_answer_rc rc)
{
	return rc == PG_ANSWER_ERROR || rc == PG_ANSWER_FIELDS;
}

/* Another round: behind a new position. */
static void
go_round(struct pg_relay *r, struct pg_ask *a)
{
	clear_answer(r->shadow, a, ASK_OF_OTHER);
	clear_answer(r->shadow, a, ASK_OF_AGAIN);
	a->at = ASK_PASSES;
	a->at_ns = r->port->now_ns;
	a->probe = r->reads.sent;
	r->reads.wants_probe = true;
}

static void
go_own(struct pg_relay *r, struct pg_ask *a)
{
	a->at = ASK_OWN;
	a->at_ns = r->port->now_ns;
	clear_answer(r->shadow, a, ASK_OF_AGAIN);
}

/* What was said last is what was said before from now on. */
static void
keep_again(struct pg_ask *a)
{
	struct buf was = a->answer[ASK_OF_OWN];

	a->answer[ASK_OF_OWN] = a->answer[ASK_OF_AGAIN];
	a->answer[ASK_OF_AGAIN] = was;
	a->has_own = true;
}

/* Somebody wrote, or the other side was made anew: it says nothing. */
static void
try_again(struct pg_relay *r, struct pg_ask *a)
{
	a->agree = 0;
	if (++a->tries <= PG_SHADOW_TRIES) {
		go_round(r, a);
		return;
	}
	r->shadowed.unstable++;
	done(r, a);
}

/* The authority, the other side, the authority again: all are there. */
static void
judge(struct pg_relay *r, struct pg_ask *a)
{
	enum pg_answer_rc before = compare(r, a, ASK_OF_OWN, ASK_OF_OTHER);
	enum pg_answer_rc behind = compare(r, a, ASK_OF_AGAIN, ASK_OF_OTHER);
	enum pg_answer_rc own = compare(r, a, ASK_OF_OWN, ASK_OF_AGAIN);
	bool is_still = atomic_load(&r->conf->board->unsettled) == a->unsettled;

	if (before == PG_ANSWER_SAME || behind == PG_ANSWER_SAME) {
		r->shadowed.same++;
		done(r, a);
		return;
	}
	if (is_still &&
	    (own == PG_ANSWER_SAME ||
	     (is_shape(before) && is_shape(behind) && !is_shape(own)))) {
		if (++a->agree < PG_SHADOW_ROUNDS) {
			keep_again(a);
			go_round(r, a);
			return;
		}
		r->shadowed.different++;
		tell(r, a, ASK_OF_AGAIN, ASK_OF_OTHER, false);
		done(r, a);
		return;
	}
	keep_again(a);
	if (own != PG_ANSWER_SAME && !a->was_twice) {
		a->was_twice = true;
		a->at = ASK_SNAPSHOT;
		a->at_ns = r->port->now_ns;
		return;
	}
	try_again(r, a);
}

/* The client's answer and the first one of the other side. */
static void
judge_first(struct pg_relay *r, struct pg_ask *a)
{
	enum pg_answer_rc rc = compare(r, a, ASK_OF_OWN, ASK_OF_OTHER);

	if (rc == PG_ANSWER_SAME) {
		r->shadowed.same++;
		done(r, a);
	} else if (is_known_noise(r, a) && !is_shape(rc)) {
		r->shadowed.noise++;
		done(r, a);
	} else {
		r->shadowed.rechecked++;
		a->is_doubted = true;
		go_own(r, a);
	}
}

static void
leave_snapshot(struct pg_relay *r, struct pg_ask *a)
{
	pg_keeper_leave(r, a);
	try_again(r, a);
}

/* Both were said in one snapshot of the authority. */
static void
judge_twice(struct pg_relay *r, struct pg_ask *a)
{
	struct pg_shadow *x = r->shadow;

	if (compare(r, a, ASK_OF_OTHER, ASK_OF_AGAIN) == PG_ANSWER_SAME) {
		leave_snapshot(r, a);
		return;
	}
	/* Without room it is looked for again. */
	if (map_count(&x->noise) < PG_SHADOW_NAMES_MAX)
		(void)!map_put(&x->noise, key_of(a->digest), NULL);
	r->shadowed.noise++;
	tell(r, a, ASK_OF_OTHER, ASK_OF_AGAIN, true);
	done(r, a);
}

static void
hear_own(struct pg_relay *r, struct pg_ask *a)
{
	if (a->has_own) {
		judge(r, a);
		return;
	}
	keep_again(a);
	if (compare(r, a, ASK_OF_OWN, ASK_OF_OTHER) == PG_ANSWER_SAME) {
		r->shadowed.same++;
		done(r, a);
	} else {
		go_round(r, a);
	}
}

/* An error that says something of the server, and nothing of the statement. True: the
 * question is over. */
static bool
is_over(struct pg_relay *r, struct pg_ask *a, const char *code)
{
	if (strcmp(code, "57014") == 0) {
		give_up(r, a, SHADOW_DROP_TIMEOUT);
	} else if (strcmp(code, "25006") == 0) {
		r->reads.guarded++;
		pg_reads_refuse(r, a->digest);
		give_up(r, a, SHADOW_DROP_WRITE);
	} else if (memcmp(code, "53", 2) == 0 || memcmp(code, "57", 2) == 0 ||
	           memcmp(code, "58", 2) == 0) {
		give_up(r, a, SHADOW_DROP_DOWN);
	} else {
		return false;
	}
	return true;
}

void
pg_shadow_heard(struct pg_relay *r, struct pg_ask *a, const char *code)
{
	if (is_over(r, a, code))
		return;
	/* The snapshot was gone. */
	if (a->at == ASK_TWICE && strcmp(code, "25P02") == 0) {
		leave_snapshot(r, a);
		return;
	}
	if (a->at == ASK_OWN) {
		hear_own(r, a);
	} else if (a->at == ASK_OTHER && a->is_doubted) {
		go_own(r, a);
	} else if (a->at == ASK_OTHER) {
		judge_first(r, a);
	} else if (a->at == ASK_TWICE && a->whose == ASK_OF_OTHER) {
		a->whose = ASK_OF_AGAIN;
		a->at_ns = r->port->now_ns;
	} else if (a->at == ASK_TWICE) {
		judge_twice(r, a);
	}
}

void
pg_shadow_hear(struct pg_relay *r, struct pg_ask *a, struct span bytes)
{
	struct pg_shadow *x = r->shadow;
	struct buf *b = &a->answer[a->whose];

	if (buf_len(b) + bytes.n > PG_SHADOW_ANSWER_MAX) {
		give_up(r, a, SHADOW_DROP_BIG);
		return;
	}
	if (x->bytes + bytes.n > r->route.shadow.bytes) {
		give_up(r, a, SHADOW_DROP_MEMORY);
		return;
	}
	x->bytes -= buf_len(b);
	buf_put_span(b, bytes);
	x->bytes += buf_len(b);
	if (buf_failed(b))
		give_up(r, a, SHADOW_DROP_MEMORY);
}

void
pg_shadow_lost(struct pg_relay *r, struct pg_ask *a, enum shadow_drop why)
{
	give_up(r, a, why);
}

/* ---- the client's ------------------------------------------------------------------ */

void
pg_shadow_passed(struct pg_session *s, struct span bytes)
{
	pg_shadow_hear(s->r, s->reading.ask, bytes);
}

void
pg_shadow_answered(struct pg_session *s)
{
	struct pg_relay *r = s->r;
	struct pg_ask *a = s->reading.ask;

	s->reading.ask = NULL;
	a->s = NULL;
	r->shadowed.sent++;
	go_round(r, a);
}

void
pg_shadow_left(struct pg_session *s)
{
	if (s->reading.ask != NULL)
		done(s->r, s->reading.ask);
}

/* ---- time and the board --------------------------------------------------------------- */

/* The other side has what was there when a began to wait. */
static bool
has_passed(struct pg_relay *r, const struct pg_ask *a)
{
	struct board *b = r->conf->board;
	uint64_t at;

	return pg_reads_position(r, a->probe, &at) &&
	       atomic_load(&b->unsettled) % 2 == 0 &&
	       atomic_load(&b->passed[r->route.authority]) >= at;
}

static void
ask_twice(struct pg_relay *r, struct pg_ask *a)
{
	enum side own = r->route.authority;

	if (a->at == ASK_SNAPSHOT) {
		if (pg_keeper_name(r, a) == NULL)
			return;
		a->at = ASK_TWICE;
		a->at_ns = r->port->now_ns;
		a->whose = ASK_OF_OTHER;
		clear_answer(r->shadow, a, ASK_OF_OTHER);
		clear_answer(r->shadow, a, ASK_OF_AGAIN);
	}
	if (r->shadow->keeper.ask != a)
		leave_snapshot(r, a);
	else
		(void)pg_mirror_ask(r, a, own);
}

/* Ask when its time has come. */
static void
go_on(struct pg_relay *r, struct pg_ask *a)
{
	enum side other = side_other(r->route.authority);

	switch (a->at) {
	case ASK_PASSES:
		if (!has_passed(r, a) || !pg_mirror_ask(r, a, other))
			return;
		a->at = ASK_OTHER;
		a->whose = ASK_OF_OTHER;
		a->at_ns = r->port->now_ns;
		a->unsettled = atomic_load(&r->conf->board->unsettled);
		return;
	case ASK_OWN:
		a->whose = ASK_OF_AGAIN;
		(void)pg_mirror_ask(r, a, r->route.authority);
		return;
	case ASK_SNAPSHOT:
	case ASK_TWICE: ask_twice(r, a); return;
	case ASK_OTHER:
	case ASK_FIRST:
	case ASK_FREE: return;
	}
}

static void
look_at(struct pg_relay *r, struct pg_ask *a)
{
	uint64_t now = r->port->now_ns;
	uint64_t until = a->at_ns + r->route.shadow.timeout_ms * MILLI;

	if (a->at == ASK_FREE)
		return;
	if (now > a->born_ns + PG_SHADOW_LIFE_NS ||
	    (now > until && a->at != ASK_FIRST))
		give_up(r, a, SHADOW_DROP_TIMEOUT);
	else if (a->kind->is_bad)
		give_up(r, a, SHADOW_DROP_USER);
	else if (a->conn == NULL)
		go_on(r, a);
}

void
pg_shadow_work(struct pg_relay *r)
{
	struct pg_shadow *x = r->shadow;

	if (x == NULL || x->n == 0)
		return;
	for (uint32_t i = 0; i < x->cap; i++)
		look_at(r, &x->ask[i]);
	if (x->n > 0)
		port_wake(r->port, r->port->now_ns + LOOK_NS);
}
