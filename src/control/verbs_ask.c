/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verbs_ask.c: what is asked comes into the queue of verbs.
 */
#define _DEFAULT_SOURCE
#include "control/run_parts.h"
#include "control/view.h"

struct word {
	const char *name;
	enum op_kind kind;
	enum life_verb verb; /* asked of the lifecycle; VERB_N: not asked */
};

// clang-format off
static const struct word words[] = {
	{ "promote",  OP_PROMOTE,  VERB_PROMOTE },
	{ "rollback", OP_ROLLBACK, VERB_ROLLBACK },
	{ "complete", OP_COMPLETE, VERB_COMPLETE },
	{ "verify",   OP_VERIFY,   VERB_N },
	{ "pause",    OP_PAUSE,    VERB_PAUSE },
	{ "resume",   OP_RESUME,   VERB_RESUME },
	{ "retry",    OP_RETRY,    VERB_RETRY },
	{ "traffic",  OP_PROMOTE,  VERB_TRAFFIC },
	{ "toggle",   OP_PROMOTE,  VERB_TOGGLE },
	{ "patch",    OP_PROMOTE,  VERB_PATCH },
	{ "fail",     OP_FAIL,     VERB_FAIL },
	{ "stop",     OP_STOP,     VERB_N },
};
// clang-format on

#define WORD_N (sizeof(words) / sizeof(words[0]))

const char *
verbs_name(enum op_kind k)
{
	for (size_t i = 0; i < WORD_N; i++) {
		if (words[i].kind == k)
			return words[i].name;
	}
	return "nothing";
}

/* Does what is under way give way to this? What only waits does, and so does a
 * verification: the way back must not take as long. */
static bool
gives_way(const struct run *r, enum op_kind to)
{
	if (to != OP_ROLLBACK && to != OP_STOP && to != OP_PAUSE)
		return false;
	return (r->op.stage == OP_BEGIN && r->op.retry_ns != 0) ||
	       (r->op.stage == OP_PROOF &&
	        (to != OP_PAUSE || r->op.kind == OP_COMPLETE));
}

static void
give_way(struct run *r, const struct op *to)
{
	struct err err;

	(void)err_set(&err, ERR_ABORTED, "%s gave way to %s",
	              verbs_name(r->op.kind), verbs_name(to->kind));
	if (r->op.client != 0)
		run_fail(r, r->op.client, &err);
	json_decref(r->op.args);
	if (r->op.stage == OP_PROOF)
		proof_stop(r);
	r->op = *to;
}

/* The process is to end: before everything that waits, and never refused. */
static void
push_stop(struct run *r, struct op *o)
{
	struct err err;
	uint32_t last = LIMIT_QUEUE - 1;

	if (r->queue_n == LIMIT_QUEUE) {
		(void)err_set(&err, ERR_ABORTED, "%s gave way to stop",
		              verbs_name(r->queue[last].kind));
		if (r->queue[last].client != 0)
			run_fail(r, r->queue[last].client, &err);
		json_decref(r->queue[last].args);
		r->queue_n--;
	}
	for (uint32_t i = r->queue_n; i > 0; i--)
		r->queue[i] = r->queue[i - 1];
	r->queue[0] = *o;
	r->queue_n++;
}

static void
push(struct run *r, struct op *o)
{
	struct err err;

	o->began_ns = os_mono_ns();
	if (r->op.kind == OP_NONE) {
		r->op = *o;
		return;
	}
	if (gives_way(r, o->kind)) {
		give_way(r, o);
		return;
	}
	if (o->kind == OP_STOP) {
		push_stop(r, o);
		shift_stop(r, "somebody asked to stop");
		return;
	}
	if (r->queue_n == LIMIT_QUEUE) {
		(void)err_set(&err, ERR_LIMIT,
		              "too many verbs are waiting for %s to end",
		              verbs_name(r->op.kind));
		if (o->client != 0)
			run_fail(r, o->client, &err);
		json_decref(o->args);
		return;
	}
	r->queue[r->queue_n++] = *o;
	/* Queued first: the switch must not be tried again before it. */
	if (o->kind == OP_PAUSE)
		shift_stop(r, "somebody asked to pause");
}

/* Who pushes is a verdict, or (no reason) the strategy itself. */
static json_t *
verdict_args(const struct run *r)
{
	const struct judgement *j = &r->judged;

	if (j->verdict != VERDICT_PASS && j->verdict != VERDICT_FAIL)
		return json_object();
	return json_pack("{s:o}", "reason",
	                 json_sprintf("auto: %s: %s", verdict_name(j->verdict),
	                              j->reason));
}

void
verbs_push(struct run *r, enum op_kind kind)
{
	struct op o = { .kind = kind,
		        .args = verdict_args(r),
		        .verb = kind == OP_PROMOTE ? VERB_PROMOTE : VERB_N };

	/* One of many legs does not go alone. */
	if (r->home != NULL && kind != OP_STOP) {
		json_decref(o.args);
		run_wish(r, verbs_name(kind), r->judged.reason);
		return;
	}
	push(r, &o);
}

/* {"limit","after"} -> {"rows","next"}: pools, clients or servers. */
static void
show(struct run *r, uint64_t client, enum view_kind kind, const json_t *args)
{
	const json_t *limit = json_object_get(args, "limit");
	json_int_t n =
		limit != NULL ? json_integer_value(limit) : LIMIT_VIEW_ROWS;
	struct view_page page = {
		.kind = kind,
		.limit = (uint32_t)n,
		.after = json_string_value(json_object_get(args, "after")),
	};
	json_t *rows = NULL;
	json_t *next = NULL;
	struct err err;
	int rc = 0;

	if (n < 1 || n > LIMIT_VIEW_ROWS)
		rc = err_set(&err, ERR_USAGE, "limit: 1 to %d",
		             LIMIT_VIEW_ROWS);
	else if (r->interlay_n == 0)
		rc = err_set(&err, ERR_STATE, "it does not listen yet");
	else
		rc = view_interlay(r->interlay[0], &page, &rows, &next, &err);
	if (rc != 0)
		run_fail(r, client, &err);
	else
		run_ok(r, client,
		       json_pack("{s:o,s:o}", "rows", rows, "next", next));
}

void
verbs_ask(struct run *r, uint64_t client, const char *verb, json_t *args)
{
	struct op o = { .client = client, .args = args };
	struct question *q = NULL;
	struct err err;

	if ((client & DESK_ID) != 0)
		q = desk_find(r->home->desk, client);
	if (q != NULL) {
		o.group = q->group;
		o.member = q->member;
	}

	if (strcmp(verb, "status") == 0) {
		run_ok(r, client, status_json(r));
	} else if (strcmp(verb, "events") == 0) {
		run_ok(r, client,
		       json_pack("{s:o,s:o}", "events",
		                 status_events(r, LIMIT_EVENTS), "journal",
		                 journal_tail(r->journal, 200)));
	} else if (strcmp(verb, "watch") == 0) {
		panel_watch(r->panel, client);
		panel_send(r->panel, client,
		           json_pack("{s:o}", "status", status_json(r)));
	} else if (view_kind_find(verb) != VIEW_N) {
		show(r, client, view_kind_find(verb), args);
	} else {
		for (size_t i = 0; i < WORD_N; i++) {
			if (strcmp(words[i].name, verb) != 0)
				continue;
			o.kind = words[i].kind;
			o.verb = words[i].verb;
			push(r, &o);
			return;
		}
		(void)err_set(&err, ERR_USAGE,
		              "no verb \"%.40s\"; known: status, watch, "
		              "pools, clients, servers, "
		              "promote, pause, resume, rollback, complete, "
		              "verify, retry, events, stop",
		              verb);
		run_fail(r, client, &err);
	}
	json_decref(args);
}

void
verbs_take(struct run *r)
{
	struct question *q;

	while ((q = desk_take(r->home->desk)) != NULL)
		verbs_ask(r, q->id, q->verb, json_deep_copy(q->args));
}
