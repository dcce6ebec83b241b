/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify_doubt.c: what differed is looked at again.
 *
 * On live sides one round for a group of doubtful keys is
 *
 *   authority  WATCH the keys, read them                            (x1)
 *   authority  SET the marker to a new number; wait until the other side has it
 *   other      read the keys                                        (y)
 *   authority  MULTI, EXEC: nil when any of the keys was touched since WATCH;
 *              then read them again                                 (x2)
 *
 * Nothing touched: what the authority held before
 * the marker it holds still, and the other side has passed the marker, so a
 * difference is one; a mover that copies some keys out of order may still be on
 * its way, hence VERIFY_STRIKES rounds with new markers. Something touched:
 * x1 = y = x2 is equal; x1 = x2 != y comes again in a smaller group, down to a
 * group of its own; the rest comes again. At rest a round is x1, y, x2 without marker, and x1 = x2 != y is a
 * difference.
 *
 * WATCH is blind for the groups of a stream: XREADGROUP, XACK, XCLAIM and XGROUP
 * touch no key. So a stream stood still only when x1 = x2 as well, a big one when
 * XINFO GROUPS tells the same before and after.
 * Source: redis 7.0, t_stream.c, who calls signalModifiedKey.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/verify_parts.h"

#define GROUP_MAX      256
#define STILL_MAX      64
#define DOUBTS_MAX     1024
#define DOUBT_BYTES    ((size_t)1024 * 1024)
#define FINAL_MAX      100000 /* keys remembered as counted                  */
#define EQUALS_MIN     5      /* looks that found a key equal that never   */
#define TRIES_NOTED    64     /* stood still, out of at least so many      */
#define TRIES_MIN      5      /* before a key is called unstable             */
#define POLL_NS        200000
#define STRIKE_WAIT_NS 20000000 /* between rounds that found differences   */

/* One group of doubtful keys in hand. */
struct group {
	struct map_entry *entry[GROUP_MAX];
	struct item item[GROUP_MAX];  /* x1 and y                           */
	struct item again[GROUP_MAX]; /* x2 in v[0]                         */
	size_t n;
	bool is_live; /* this round stands on a marker                   */
	bool is_watched;
	bool is_quiet; /* nothing of it was touched on the authority      */
	struct digest groups; /* of a big stream, before it is compared */
};

int
doubt_add(struct verify *v, struct span key, struct err *err)
{
	bool is_new;

	if (map_put(&v->doubts, key, &is_new) == NULL)
		return err_set(err, ERR_NOMEM, "no memory for doubtful keys");
	if (is_new)
		v->doubt_bytes += key.n;
	if (map_count(&v->doubts) < DOUBTS_MAX && v->doubt_bytes < DOUBT_BYTES)
		return 0;
	return doubt_settle(v, err);
}

static void
drop(struct verify *v, struct map_entry *e)
{
	v->doubt_bytes -= e->key_n;
	map_drop(&v->doubts, e);
}

static void
pause_ns(long ns)
{
	struct timespec t = { .tv_sec = 0, .tv_nsec = ns };

	(void)nanosleep(&t, NULL);
}

/* Was this key counted before? SCAN may show a key twice. */
static bool
was_counted(struct verify *v, struct span key)
{
	struct buf name;
	bool is_new = true;

	if (map_count(&v->final) >= FINAL_MAX)
		return false;
	buf_init(&name, &v->mem);
	buf_put(&name, &v->db, sizeof(v->db));
	buf_put_span(&name, key);
	if (buf_failed(&name) ||
	    map_put(&v->final, buf_span(&name), &is_new) == NULL)
		is_new = true;
	buf_fini(&name);
	return !is_new;
}

static void
count(struct verify_result *r, enum verify_kind kind)
{
	switch (kind) {
	case VERIFY_MISSING: r->missing++; break;
	case VERIFY_EXTRA: r->extra++; break;
	case VERIFY_DIFFERENT: r->different++; break;
	case VERIFY_UNSTABLE: r->unstable++; break;
	case VERIFY_NOTED: r->noted++; break;
	case VERIFY_REPAIRED: r->repaired++; break;
	}
}

struct verify_find *
verify_find(struct verify *v, enum verify_kind kind, struct span key)
{
	struct verify_result *r = v->ret;
	struct verify_find *f;

	if (was_counted(v, key))
		return NULL;
	count(r, kind);
	if (r->finds_n >= VERIFY_LIST_MAX)
		return NULL;
	f = &r->finds[r->finds_n++];
	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->db = v->db;
	f->is_back = v->is_back;
	explain_text(key, f->key, sizeof(f->key));
	return f;
}

static enum verify_kind
kind_of(const struct verify *v, const struct item *it)
{
	if (it->v[0].type == VALUE_NONE)
		return VERIFY_EXTRA;
	if (it->v[1].type == VALUE_NONE)
		return VERIFY_MISSING;
	if (!page_is_big(&it->v[0]) && !page_is_big(&it->v[1]) &&
	    value_cmp(&it->v[0], &it->v[1], &v->rule) == DIFF_NOTE)
		return VERIFY_NOTED;
	return VERIFY_DIFFERENT;
}

/* Where a small value differs: both are read once more. */
static int
explain_item(struct verify *v, const struct item *it, struct verify_find *f,
             struct err *err)
{
	struct span reply[2] = { SPAN(""), SPAN("") };
	bool is_small = !page_is_big(&it->v[0]) && !page_is_big(&it->v[1]);
	int rc = 0;

	if (is_small &&
	    value_cmp(&it->v[0], &it->v[1], &v->rule) == DIFF_DATA) {
		for (uint32_t side = 0; rc == 0 && side < 2; side++) {
			value_ask_body(&v->peer[side].out, it->v[side].type,
			               it->key, v->rule.field_ttl[side]);
			rc = peer_call(&v->peer[side], 1, &reply[side], err);
		}
	}
	if (rc == 0)
		explain_diff(&v->mem, &it->v[0], &it->v[1], &v->rule, reply[0],
		             reply[1], f->detail, sizeof(f->detail));
	return rc;
}

/* why: of a big value, else NULL. */
static int
settle_as(struct verify *v, struct map_entry *e, const struct item *it,
          enum verify_kind kind, const char *why, struct err *err)
{
	struct verify_find *f = verify_find(v, kind, it->key);
	int rc = 0;

	if (f != NULL && why != NULL)
		(void)snprintf(f->detail, sizeof(f->detail), "%s", why);
	else if (f != NULL && kind == VERIFY_UNSTABLE)
		(void)snprintf(f->detail, sizeof(f->detail),
		               "%s: changed during each look",
		               value_type_name(it->v[0].type));
	else if (f != NULL)
		rc = explain_item(v, it, f, err);
	drop(v, e);
	return rc;
}

/* Does anybody follow the authority's stream? Without a follower no marker will
 * ever arrive, and there is no use in waiting for one. Asked only when the
 * verifier stands alone: Godwit's own stream may just be attaching again. */
static int
is_followed(struct verify *v, bool *ret, struct err *err)
{
	struct resp_item item;
	struct span in;
	int rc;

	*ret = true;
	if (v->conf->side[0].own_user[0] != '\0' || v->ret->markers > 0)
		return 0;
	/* *3 $6 master :offset *replicas */
	resp_put_cmd(&v->mark[0].out, "ROLE", NULL);
	if ((rc = peer_call(&v->mark[0], 1, &in, err)) < 0)
		return rc;
	if (value_item(&in, RESP_ARRAY, &item) && item.number == 3 &&
	    value_item(&in, RESP_BULK, &item) &&
	    span_eq(item.text, SPAN("master")) &&
	    value_item(&in, RESP_INT, &item) &&
	    value_item(&in, RESP_ARRAY, &item))
		*ret = item.number > 0;
	return 0;
}

/* Write a new marker and wait for it. *ret: it arrived. */
static int
pass_marker(struct verify *v, bool *ret, struct err *err)
{
	uint64_t until = os_mono_ns() + v->conf->recheck_ms * 1000000ull;
	struct resp_item item;
	struct span in;
	char text[40];
	bool follows;
	int rc;

	*ret = false;
	if ((rc = is_followed(v, &follows, err)) < 0)
		return rc;
	if (!follows)
		until = 0; /* looked for once: it may be the same server */
	(void)snprintf(text, sizeof(text), "%" PRIx64, v->nonce++);
	/* It goes by itself should we never come to remove it. */
	resp_put_cmd(&v->mark[0].out, "SET", v->marker, text, "PX", "3600000",
	             NULL);
	if ((rc = peer_call(&v->mark[0], 1, &in, err)) < 0)
		return rc;
	if (resp_read(&in, &item) != WIRE_PART || item.type != RESP_STATUS) {
		v->is_settled = true;
		v->ret->marker_refused = true;
		return 0;
	}
	for (;;) {
		resp_put_cmd(&v->mark[1].out, "GET", v->marker, NULL);
		if ((rc = peer_call(&v->mark[1], 1, &in, err)) < 0)
			return rc;
		if (value_item(&in, RESP_BULK, &item) &&
		    span_eq(item.text, span_str(text))) {
			v->ret->markers++;
			*ret = true;
			return 0;
		}
		if (os_mono_ns() >= until)
			break;
		if ((rc = page_stopped(v, err)) < 0)
			return rc;
		pause_ns(POLL_NS);
	}
	v->is_settled = true;
	v->ret->marker_lost = true;
	return 0;
}

/* False in g->is_watched: the server refuses WATCH. */
static int
watch(struct verify *v, struct group *g, struct err *err)
{
	struct peer *p = &v->peer[0];
	struct resp_item item;
	struct span in;
	size_t calls;
	int rc;

	/* A cluster takes keys of one slot at a time. */
	calls = p->conf->own_tag[0] != '\0' ? g->n : 1;
	for (size_t i = 0; i < g->n; i++) {
		if (i < calls) {
			resp_put_array(&p->out, 1 + g->n / calls);
			resp_put_bulk(&p->out, SPAN("WATCH"));
		}
		resp_put_bulk(&p->out, g->item[i].key);
	}
	if ((rc = peer_call(p, (uint32_t)calls, &in, err)) < 0)
		return rc;
	g->is_watched = true;
	while (calls-- > 0)
		g->is_watched &= value_item(&in, RESP_STATUS, &item);
	return 0;
}

/* End the WATCH: was everything left alone? */
static int
unwatch(struct verify *v, struct group *g, struct err *err)
{
	struct peer *p = &v->peer[0];
	struct resp_item multi;
	struct resp_item exec;
	struct span in;
	int rc;

	resp_put_cmd(&p->out, "MULTI", NULL);
	resp_put_cmd(&p->out, "EXEC", NULL);
	if ((rc = peer_call(p, 2, &in, err)) < 0)
		return rc;
	g->is_quiet = g->is_watched && value_item(&in, RESP_STATUS, &multi) &&
	              value_item(&in, RESP_ARRAY, &exec);
	return 0;
}

/* Equal heads, and a value to be compared in chunks. */
static bool
is_big_item(const struct verify *v, const struct item *it)
{
	return value_cmp_head(&it->v[0], &it->v[1], &v->rule) == DIFF_NONE &&
	       (page_is_big(&it->v[0]) || page_is_big(&it->v[1]));
}

/* The group's keys on one side into item[].v[side], or again[].v[0]. */
static int
look(struct verify *v, struct group *g, uint32_t side, bool is_again,
     struct err *err)
{
	return page_read(v, side, is_again ? g->again : g->item, g->n, err);
}

/* Compare one big key of the group, whose heads are equal. The caller gives b
 * back with big_fini, also after an error. */
static int
look_big(struct verify *v, const struct item *it, struct big *b,
         struct err *err)
{
	uint64_t x = it->v[0].bytes;
	uint64_t y = it->v[1].bytes;

	big_init(b, &v->mem, it->v[0].type, it->key, x > y ? x : y, &v->rule);
	return page_run_big(v, b, err);
}

/* The suspects of a big value on one side, copied into *ret. */
static int
read_suspects(struct verify *v, const struct big *b, uint32_t side,
              struct buf *ret, struct err *err)
{
	struct span in;
	int rc;

	(void)big_ask_suspects(b, &v->peer[side].out);
	if ((rc = peer_call(&v->peer[side], 1, &in, err)) < 0)
		return rc;
	buf_clear(ret);
	buf_put_span(ret, in);
	return 0;
}

/* A big value that changes all the time: its suspects alone, element by
 * element. *ret: DIFF_DATA proven, DIFF_NONE all found equal, DIFF_NOTE open,
 * DIFF_TTL open but all of them were equal at some look. */
static int
judge_suspects(struct verify *v, struct big *b, enum value_diff *ret,
               struct err *err)
{
	uint8_t strikes[BIG_SUSPECTS] = { 0 };
	uint8_t enough = v->is_settled ? 1 : VERIFY_STRIKES;
	struct buf reads[3];
	int rc = 0;

	for (int i = 0; i < 3; i++)
		buf_init(&reads[i], &v->mem);
	*ret = DIFF_NOTE;
	for (int round = 0; rc == 0 && round < 2 * VERIFY_STRIKES; round++) {
		struct span spans[3];
		uint32_t open = 0;
		uint32_t struck = 0;
		bool arrived;

		if ((rc = read_suspects(v, b, 0, &reads[0], err)) < 0)
			break;
		if (!v->is_settled && (rc = pass_marker(v, &arrived, err)) < 0)
			break;
		if ((rc = read_suspects(v, b, 1, &reads[1], err)) < 0 ||
		    (rc = read_suspects(v, b, 0, &reads[2], err)) < 0)
			break;
		for (int i = 0; i < 3; i++)
			spans[i] = buf_span(&reads[i]);
		rc = big_judge(b, spans, strikes, enough, &open, &struck, err);
		if (rc == 0 && (struck > 0 || open == 0)) {
			*ret = struck > 0 ? DIFF_DATA : DIFF_NONE;
			break;
		}
		/* What is open was seen equal while it changed. */
		*ret = b->unseen_n == 0 ? DIFF_TTL : DIFF_NOTE;
	}
	for (int i = 0; i < 3; i++)
		buf_fini(&reads[i]);
	return rc;
}

enum verdict {
	IS_EQUAL,
	IS_STRUCK,
	IS_STILL,
	IS_OPEN
};

/* Did the authority's key stay as it was, as far as it differs from y? A big
 * value that differs by its head alone was not read. */
static bool
is_same(const struct verify *v, const struct value *x, const struct value *y,
        const struct value *x2)
{
	if (value_cmp_head(x, y, &v->rule) != DIFF_NONE)
		return value_cmp_head(x, x2, &v->rule) == DIFF_NONE;
	return value_cmp(x, x2, &v->rule) == DIFF_NONE;
}

/*
 * One equal look at a key that was touched meanwhile proves little: a counter
 * that is one ahead equals what the authority says a moment later. So it takes a
 * look at a key that stood still, or both reads of the authority.
 */
static enum verdict
judge_small(const struct verify *v, const struct group *g, size_t i,
            struct doubt *d)
{
	const struct value *x = &g->item[i].v[0];
	const struct value *y = &g->item[i].v[1];
	const struct value *x2 = &g->again[i].v[0];
	bool is_equal = value_cmp(x, y, &v->rule) == DIFF_NONE;
	bool is_witnessed = g->is_live && g->is_watched;
	bool is_equal_later;

	if (g->is_live && g->is_quiet &&
	    (x->type != VALUE_STREAM || is_same(v, x, y, x2)))
		return is_equal ? IS_EQUAL : IS_STRUCK;
	is_equal_later = value_cmp(x2, y, &v->rule) == DIFF_NONE;
	if ((is_equal && is_equal_later) ||
	    ((is_equal || is_equal_later) && !is_witnessed))
		return IS_EQUAL;
	if (is_equal || is_equal_later) {
		d->equals++;
		return IS_OPEN;
	}
	if (!is_same(v, x, y, x2))
		return IS_OPEN;
	/* WATCH is the better witness; without it two equal reads must do. */
	return is_witnessed ? IS_STILL : IS_STRUCK;
}

/* Count a strike, or the key when it has enough of them. */
static int
strike(struct verify *v, struct group *g, size_t i, const char *why,
       struct err *err)
{
	struct map_entry *e = g->entry[i];
	struct doubt *d = map_value(e);

	d->strikes++;
	if (d->strikes < (g->is_live ? VERIFY_STRIKES : 1)) {
		map_renew(&v->doubts, e);
		return 0;
	}
	return settle_as(v, e, &g->item[i], kind_of(v, &g->item[i]), why, err);
}

/* Leave it open. After the deadline, or very many looks, a key that was seen equal
 * often enough, with nothing against it, is noted; any other is unstable after
 * the deadline. */
static int
leave_open(struct verify *v, struct group *g, size_t i, uint64_t until,
           struct err *err)
{
	struct map_entry *e = g->entry[i];
	struct doubt *d = map_value(e);
	bool is_late = os_mono_ns() >= until;
	char why[80];

	if (d->tries < (is_late ? TRIES_MIN : TRIES_NOTED)) {
		map_renew(&v->doubts, e);
		return 0;
	}
	if (d->strikes == 0 && d->equals >= EQUALS_MIN) {
		(void)snprintf(why, sizeof(why),
		               "%s: never still; equal at %u of %u looks",
		               value_type_name(g->item[i].v[0].type), d->equals,
		               d->tries);
		return settle_as(v, e, &g->item[i], VERIFY_NOTED, why, err);
	}
	if (is_late)
		return settle_as(v, e, &g->item[i], VERIFY_UNSTABLE, NULL, err);
	map_renew(&v->doubts, e);
	return 0;
}

/* Six looks at its suspects are behind it, see judge_suspects. */
static int
leave_big(struct verify *v, struct group *g, size_t i, enum value_diff diff,
          uint64_t until, struct err *err)
{
	struct doubt *d = map_value(g->entry[i]);

	d->equals = diff == DIFF_TTL ? d->equals + 1 : 0;
	d->tries += TRIES_NOTED / EQUALS_MIN;
	return leave_open(v, g, i, until, err);
}

/* What XINFO GROUPS tells of a stream on the authority: how far each group is
 * and how much is pending; of other values nothing. */
static int
read_groups(struct verify *v, const struct item *it, struct digest *ret,
            struct err *err)
{
	struct peer *p = &v->peer[0];
	struct span in;
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (it->v[0].type != VALUE_STREAM)
		return 0;
	resp_put_array(&p->out, 3);
	resp_put_bulk(&p->out, SPAN("XINFO"));
	resp_put_bulk(&p->out, SPAN("GROUPS"));
	resp_put_bulk(&p->out, it->key);
	if ((rc = peer_call(p, 1, &in, err)) == 0)
		*ret = digest_of(in, v->rule.seed);
	return rc;
}

/* WATCH saw nothing; did the groups of a big stream stand still, too? */
static int
look_groups(struct verify *v, struct group *g, size_t i, struct err *err)
{
	struct digest after;
	int rc = read_groups(v, &g->item[i], &after, err);

	if (rc == 0 && !digest_eq(g->groups, after))
		g->is_quiet = false;
	return rc;
}

/* One key whose heads are equal and whose value is big. */
static int
judge_big(struct verify *v, struct group *g, size_t i, uint64_t until,
          struct err *err)
{
	enum value_diff diff;
	struct big b;
	int rc = look_big(v, &g->item[i], &b, err);

	if (rc == 0 && g->is_live && g->is_watched)
		rc = unwatch(v, g, err);
	if (rc == 0 && g->is_quiet && b.diff == DIFF_DATA)
		rc = look_groups(v, g, i, err);
	diff = b.diff;
	if (rc == 0 && diff == DIFF_DATA && !g->is_quiet && b.suspect_n > 0 &&
	    b.suspect_n <= BIG_SUSPECTS) {
		rc = judge_suspects(v, &b, &diff, err);
		if (rc == 0 && diff == DIFF_DATA)
			rc = settle_as(v, g->entry[i], &g->item[i],
			               VERIFY_DIFFERENT, b.why.text, err);
		else if (rc == 0 && diff == DIFF_NONE)
			drop(v, g->entry[i]);
		else if (rc == 0)
			rc = leave_big(v, g, i, diff, until, err);
	} else if (rc == 0 && diff == DIFF_NONE) {
		drop(v, g->entry[i]);
	} else if (rc == 0 && diff == DIFF_NOTE) {
		rc = settle_as(v, g->entry[i], &g->item[i], VERIFY_NOTED,
		               b.why.text, err);
	} else if (rc == 0 && (g->is_quiet || !g->is_live)) {
		rc = strike(v, g, i, b.why.text, err);
	} else if (rc == 0) {
		rc = leave_open(v, g, i, until, err);
	}
	big_fini(&b);
	return rc;
}

static bool
is_for_big(const struct verify *v, const struct group *g)
{
	const struct doubt *d = map_value(g->entry[0]);

	return d->kind == DOUBT_BIG && is_big_item(v, &g->item[0]);
}

static bool
has_stream(const struct group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->item[i].v[0].type == VALUE_STREAM)
			return true;
	return false;
}

/* x1, marker, y, x2 of the group. False in *ret: the marker did not pass. */
static int
read_group(struct verify *v, struct group *g, bool *ret, struct err *err)
{
	int rc;

	*ret = true;
	g->is_watched = g->is_quiet = false;
	if (g->is_live && (rc = watch(v, g, err)) < 0)
		return rc;
	if ((rc = look(v, g, 0, false, err)) < 0)
		return rc;
	if (g->is_live && (rc = pass_marker(v, ret, err)) < 0)
		return rc;
	if (*ret && (rc = look(v, g, 1, false, err)) < 0)
		return rc;
	/* A big key is compared under the WATCH, in judge_big. */
	if (*ret && is_for_big(v, g))
		return read_groups(v, &g->item[0], &g->groups, err);
	if (g->is_live && (rc = unwatch(v, g, err)) < 0)
		return rc;
	if (*ret && (!g->is_quiet || has_stream(g)))
		rc = look(v, g, 0, true, err);
	return rc;
}

static int
judge_group(struct verify *v, struct group *g, uint64_t until, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < g->n; i++) {
		struct doubt *d = map_value(g->entry[i]);
		const struct item *it = &g->item[i];

		d->tries++;
		if (is_big_item(v, it)) {
			if (d->kind == DOUBT_BIG)
				rc = judge_big(v, g, i, until, err);
			else
				d->kind = DOUBT_BIG;
			continue;
		}
		switch (judge_small(v, g, i, d)) {
		case IS_EQUAL: drop(v, g->entry[i]); break;
		case IS_STRUCK: rc = strike(v, g, i, NULL, err); break;
		case IS_STILL:
			d->kind = DOUBT_STILL;
			rc = leave_open(v, g, i, until, err);
			break;
		case IS_OPEN:
			d->kind = DOUBT_FRESH;
			rc = leave_open(v, g, i, until, err);
			break;
		}
	}
	return rc;
}

/* Up to max doubtful keys of one kind in the order of their turn. */
static void
take_group(struct verify *v, struct group *g, enum doubt_kind kind, size_t max)
{
	g->n = 0;
	for (struct map_entry *e = v->doubts.first; e != NULL && g->n < max;
	     e = e->next) {
		const struct doubt *d = map_value(e);

		if (d->kind != kind)
			continue;
		g->entry[g->n] = e;
		g->item[g->n].key = map_key(&v->doubts, e);
		g->again[g->n].key = g->item[g->n].key;
		g->n++;
	}
	g->is_live = !v->is_settled;
}

/* Rounds until nothing is in doubt; the kinds take turns. */
static int
settle_with(struct verify *v, struct group *g, struct err *err)
{
	uint64_t until = os_mono_ns() + v->conf->recheck_ms * 1000000ull;
	size_t max[DOUBT_N] = { [DOUBT_FRESH] = GROUP_MAX,
		                [DOUBT_STILL] = STILL_MAX,
		                [DOUBT_BIG] = 1 };
	uint32_t turn = 0;
	int rc = 0;

	while (rc == 0 && map_count(&v->doubts) > 0) {
		enum doubt_kind kind = (enum doubt_kind)(turn++ % DOUBT_N);
		bool passed;

		take_group(v, g, kind, max[kind]);
		if (g->n == 0)
			continue;
		if ((rc = page_stopped(v, err)) < 0 ||
		    (rc = read_group(v, g, &passed, err)) < 0)
			break;
		if (!passed)
			continue;
		rc = judge_group(v, g, until, err);
		if (kind == DOUBT_STILL && g->is_quiet)
			max[kind] = STILL_MAX;
		else if (kind == DOUBT_STILL)
			max[kind] = (max[kind] + 3) / 4;
		/* What has a strike gets time to arrive after all. */
		if (rc == 0 && g->is_quiet && map_count(&v->doubts) > 0)
			pause_ns(STRIKE_WAIT_NS);
	}
	return rc;
}

int
doubt_settle(struct verify *v, struct err *err)
{
	struct group *g;
	int rc;

	if (map_count(&v->doubts) == 0)
		return 0;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a second look");
	v->ret->rechecked += map_count(&v->doubts);
	rc = settle_with(v, g, err);
	free(g);
	return rc;
}
