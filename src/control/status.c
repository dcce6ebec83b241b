/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/status.c: everything a screen needs, as one object.
 * The fields are those of docs/internals/contracts.md.
 */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "base/hist.h"
#include "control/parts.h"
#include "control/run_parts.h"

#ifndef GODWIT_VERSION
#define GODWIT_VERSION "0.1.0"
#endif

#define INT(v)  ((json_int_t)(v))
#define LOAD(a) INT(atomic_load_explicit(&(a), memory_order_relaxed))

/* Sums over the relays. */
struct totals {
	uint64_t reads[SIDE_N], writes[SIDE_N], errors[SIDE_N], lost;
	uint64_t retried, refused, withheld, held, clients, blocked, subscribed,
		in_tx;
	uint64_t hold_last_ns, hold_max_ns, mem;
	uint64_t latency[SIDE_N][HIST_BUCKETS];
};

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static uint64_t
get32(const _Atomic uint32_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void
sum(const struct traffic *const *list, uint32_t n, struct totals *t)
{
	memset(t, 0, sizeof(*t));
	for (uint32_t i = 0; i < n; i++) {
		const struct traffic *f = list[i];
		uint64_t last = get(&f->hold_last_ns);
		uint64_t max = get(&f->hold_max_ns);

		for (int s = 0; s < SIDE_N; s++) {
			t->reads[s] += get(&f->reads[s]);
			t->writes[s] += get(&f->writes[s]);
			t->errors[s] += get(&f->errors[s]);
			t->lost += get(&f->lost[s]);
			for (int b = 0; b < HIST_BUCKETS; b++)
				t->latency[s][b] += get32(&f->latency[s][b]);
		}
		t->retried += get(&f->read_retries);
		t->refused += get(&f->refused);
		t->withheld += get(&f->withheld);
		t->held += get32(&f->held);
		t->clients += get32(&f->clients);
		t->blocked += get32(&f->blocked);
		t->subscribed += get32(&f->subscribed);
		t->in_tx += get32(&f->in_transaction);
		t->mem += get(&f->mem);
		t->hold_last_ns =
			last > t->hold_last_ns ? last : t->hold_last_ns;
		t->hold_max_ns = max > t->hold_max_ns ? max : t->hold_max_ns;
	}
}

static void
total(const struct run *r, struct totals *t)
{
	const struct totals *b = r->before;

	sum(r->traffic, r->relay_n, t);
	if (b == NULL)
		return;
	for (int s = 0; s < SIDE_N; s++) {
		t->reads[s] -= b->reads[s];
		t->writes[s] -= b->writes[s];
		t->errors[s] -= b->errors[s];
		for (int i = 0; i < HIST_BUCKETS; i++)
			t->latency[s][i] -= b->latency[s][i];
	}
	t->lost -= b->lost;
	t->retried -= b->retried;
	t->refused -= b->refused;
	t->withheld -= b->withheld;
}

int
status_base(struct run *r, struct err *err)
{
	const struct traffic *list[RUN_RELAYS_MAX];
	uint32_t n = 0;

	r->before = calloc(1, sizeof(*r->before));
	if (r->before == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < r->interlay_n; i++) {
		for (uint32_t k = 0; k < r->interlay[i]->n; k++)
			list[n++] = &r->interlay[i]->traffic[k];
	}
	sum(list, n, r->before);
	return 0;
}

void
status_count_reads(struct run *r)
{
	struct totals t;

	total(r, &t);
	for (int s = 0; s < SIDE_N; s++)
		r->reads_base[s] = t.reads[s];
	for (int s = 0; s < SIDE_N; s++)
		r->writes_base[s] = t.writes[s];
}

static json_t *
strategy_json(const struct run *r)
{
	json_t *steps = json_array();

	for (uint32_t i = 0; i < r->strategy.step_n; i++) {
		uint32_t ppm = r->strategy.step_ppm[i];

		(void)json_array_append_new(
			steps, ppm % 10000 == 0 ? json_integer(ppm / 10000)
						: json_real(ppm / 10000.0));
	}
	return json_pack("{s:s,s:o,s:I,s:s,s:s,s:b}", "type",
	                 strategy_name(r->strategy.kind), "steps", steps,
	                 "step", INT(r->step), "write_mode",
	                 r->write.mode == WRITE_DUAL ? "dual_write" : "cutover",
	                 "ack", r->write.ack == ACK_BOTH ? "both" : "authority",
	                 "auto", r->conf->is_auto);
}

/* {"payments":true,...}: which features, flags, regions are moved. */
static void
put_units(const struct run *r, json_t *j)
{
	json_t *units = json_object();

	for (uint32_t i = 0; i < r->strategy.unit_n; i++)
		(void)json_object_set_new(
			units, r->strategy.unit[i],
			json_boolean((r->units >> i & 1) != 0));
	if (r->strategy.unit_n > 0)
		(void)json_object_set_new(j, "units", units);
	else
		json_decref(units);
}

/* The newest examples, oldest first; n: ever. */
static json_t *
examples_json(const char (*list)[RUN_EXAMPLE], uint64_t n)
{
	json_t *ret = json_array();

	for (uint64_t i = n < RUN_DIFFERENT_MAX ? 0 : n - RUN_DIFFERENT_MAX;
	     i < n; i++)
		(void)json_array_append_new(
			ret, json_string(list[i % RUN_DIFFERENT_MAX]));
	return ret;
}

/* What shadow_traffic has found. */
static json_t *
shadow_json(const struct run *r)
{
	uint64_t v[6] = { 0 };
	uint64_t drops[SHADOW_DROP_N] = { 0 };
	json_t *dropped = json_object();

	for (uint32_t i = 0; i < r->relay_n; i++) {
		const struct traffic *t = r->traffic[i];

		v[0] += get(&t->shadow_sent);
		v[1] += get(&t->shadow_same);
		v[2] += get(&t->shadow_different);
		v[3] += get(&t->shadow_rechecked);
		v[4] += get(&t->shadow_unstable);
		v[5] += get(&t->shadow_noise);
		for (int k = 0; k < SHADOW_DROP_N; k++)
			drops[k] += get(&t->shadow_dropped[k]);
	}
	for (int k = 0; k < SHADOW_DROP_N; k++)
		(void)json_object_set_new(dropped,
		                          shadow_drop_name((enum shadow_drop)k),
		                          json_integer(INT(drops[k])));
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "sent",
	                 INT(v[0]), "same", INT(v[1]), "different", INT(v[2]),
	                 "rechecked", INT(v[3]), "unstable", INT(v[4]), "noise",
	                 INT(v[5]), "dropped", dropped, "samples",
	                 examples_json(r->different, r->different_n),
	                 "noise_samples", examples_json(r->noise, r->noise_n));
}

/* Reads of a side since the share changed. An interlay that has left took its
 * counts along. */
static uint64_t
reads_since(const struct run *r, const struct totals *t, enum side s)
{
	return t->reads[s] > r->reads_base[s] ? t->reads[s] - r->reads_base[s]
	                                      : 0;
}

static uint64_t
writes_since(const struct run *r, const struct totals *t, enum side s)
{
	return t->writes[s] > r->writes_base[s]
	               ? t->writes[s] - r->writes_base[s]
	               : 0;
}

/* All relays have a routing by which no read leaves the authority: an answer that
 * still comes was asked before. */
static bool
is_read_by_one(const struct run *r)
{
	return r->read_ppm == 0 && r->units == 0 && r->acked_ns != 0 &&
	       !run_is_split(r);
}

static json_t *
reads_json(const struct run *r, const struct totals *t)
{
	enum side other = side_other(run_authority(r));
	uint64_t there = reads_since(r, t, other);
	uint64_t here = reads_since(r, t, side_other(other));
	double actual = there > 0 && !is_read_by_one(r)
	                        ? 100.0 * (double)there / (double)(there + here)
	                        : 0;

	return json_pack("{s:f,s:f,s:I,s:I,s:I}", "desired_percentage",
	                 r->read_ppm / 10000.0, "actual_percentage", actual,
	                 "old", INT(t->reads[SIDE_OLD]), "new",
	                 INT(t->reads[SIDE_NEW]), "retried", INT(t->retried));
}

/* Share of the slots whose writes are new's, what of the writes went there, and
 * the scope when there is one. */
static json_t *
writes_json(const struct run *r, const struct totals *t)
{
	struct authority a = journal_authority(r->journal);
	uint64_t there = writes_since(r, t, SIDE_NEW);
	uint64_t all = there + writes_since(r, t, SIDE_OLD);
	double want = authority_side(a.state) == SIDE_NEW
	                      ? 100.0
	                      : divide_ppm(r) / 10000.0;

	return json_pack("{s:I,s:I,s:f,s:f}", "old", INT(t->writes[SIDE_OLD]),
	                 "new", INT(t->writes[SIDE_NEW]), "desired_percentage",
	                 want, "actual_percentage",
	                 all > 0 ? 100.0 * (double)there / (double)all : 0.0);
}

/* Each side rules its part: which one is new's, and the stream that brings it
 * back. */
static json_t *
scope_json(const struct run *r)
{
	const struct board *b = &r->split.board;
	json_t *j = json_deep_copy(
		divide_def(r, journal_authority(r->journal).scope));
	json_t *stream =
		json_pack("{s:b,s:I,s:I,s:I,s:I,s:s,s:s}", "in_step",
	                  parts_has(r) ? r->move == MOVE_IN_STEP
	                               : r->split.loop != NULL &&
	                                         r->split.move == MOVE_IN_STEP,
	                  "lag_records", LOAD(b->lag_records), "lag_ms",
	                  LOAD(b->lag_ms), "pending", LOAD(b->pending_records),
	                  "stream_units", LOAD(b->stream_units), "direction",
	                  "new->old", "trouble", r->split.trouble);

	(void)json_object_update(j, stream);
	json_decref(stream);
	return j;
}

const char *
status_copied_by(const struct run *r)
{
	static const char *const names[] = {
		[COPY_AUTO] = "auto",
		[COPY_RDB] = "rdb",
		[COPY_SCAN] = "scan",
		[COPY_NONE] = "none",
	};
	uint32_t way = atomic_load(&r->board.copy_way);

	if (way != 0)
		return way == 1 ? "rdb" : "scan";
	return names[r->copied_by != COPY_AUTO ? r->copied_by
	                                       : r->conf->copy_mode];
}

static json_t *
copy_json(const struct run *r)
{
	const struct board *b = &r->board;
	uint64_t n = get(&b->copied_records);
	uint64_t all = get(&b->total_records);
	uint64_t from = get(&b->copy_started_ns);
	uint64_t to = get(&b->copy_ended_ns);
	bool done = r->copied || r->was_in_step || to != 0;
	uint64_t until = to != 0 ? to : os_mono_ns();
	double s = from != 0 && until > from ? (double)(until - from) / 1e9 : 0;
	double rate = s > 0 ? (double)n / s : 0;
	double share = done ? 100.0 : 0;

	if (!done && all > 0)
		share = n < all ? 100.0 * (double)n / (double)all : 99.9;
	return json_pack(
		"{s:s,s:I,s:I,s:f,s:I,s:f,s:f,s:b,s:f}", "mode",
		status_copied_by(r), "records", INT(n), "records_total",
		INT(all), "percentage", share, "bytes",
		INT(get(&b->copied_bytes)), "rate", rate, "eta_s",
		!done && rate > 0 && all > n ? (double)(all - n) / rate : 0.0,
		"done", done, "took_s", s);
}

static json_t *
stream_json(const struct run *r)
{
	const struct board *b = &r->board;

	return json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:s,s:s}", "lag_records",
		LOAD(b->lag_records), "lag_bytes", LOAD(b->lag_bytes), "lag_ms",
		LOAD(b->lag_ms), "spool_bytes", LOAD(b->spool_bytes), "pending",
		LOAD(b->pending_records), "repaired", LOAD(b->repaired),
		"units", LOAD(b->stream_units), "conflicts", LOAD(b->conflicts),
		"in_step", r->mover != NULL && r->move == MOVE_IN_STEP,
		"direction",
		run_authority(r) == SIDE_OLD ? "old->new" : "new->old",
		"trouble",
		r->trouble[0] == '\0' && r->owed_n > 0 ? r->owed : r->trouble);
}

static json_t *
reverse_json(const struct run *r, const struct totals *t)
{
	bool soaks = run_authority(r) == SIDE_NEW;
	json_int_t age = -1;
	bool both = soaks || r->write.mode == WRITE_DUAL;

	if (r->proven_ns != 0)
		age = INT((os_mono_ns() - r->proven_ns) / NS_PER_MS);
	return json_pack("{s:I,s:I,s:s,s:b,s:I,s:I}", "proven_ms_ago", age,
	                 "lag_ms", soaks ? LOAD(r->board.lag_ms) : 0, "ack",
	                 both && r->write.ack == ACK_BOTH ? "both"
	                                                  : "authority",
	                 "behind", r->is_behind, "waited", INT(t->withheld),
	                 "timeouts", INT(r->late_n));
}

static json_t *
hold_json(const struct run *r, const struct totals *t)
{
	uint64_t max = t->hold_max_ns / NS_PER_MS;

	return json_pack("{s:b,s:I,s:I,s:I}", "active", r->cut_on, "last_ms",
	                 INT(r->hold_last_ms), "max_ms",
	                 INT(max > r->hold_max_ms ? max : r->hold_max_ms),
	                 "held", INT(t->held));
}

static json_t *
latency_json(const struct totals *t, enum side s)
{
	return json_pack("{s:f,s:f}", "p50",
	                 (double)hist_percentile(t->latency[s], 500000) / 1000,
	                 "p99",
	                 (double)hist_percentile(t->latency[s], 990000) / 1000);
}

static json_t *
verification_json(const struct run *r)
{
	json_t *j;
	json_int_t at;

	if (r->proof_last == NULL)
		j = json_pack("{s:s,s:i,s:i,s:i,s:i}", "state", "none",
		              "compared", 0, "missing", 0, "extra", 0,
		              "different", 0);
	else
		j = json_deep_copy(r->proof_last);
	at = json_integer_value(json_object_get(j, "at_ms"));
	(void)json_object_set_new(
		j, "age_s",
		at > 0 ? json_integer((os_wall_ms() - at) / 1000)
		       : json_null());
	if (proof_is_on(r)) {
		(void)json_object_set_new(j, "state", json_string("running"));
		(void)json_object_set_new(j, "compared",
		                          json_integer(INT(proof_progress(r))));
	}
	return j;
}

json_t *
status_checks(const struct run *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->checks.n; i++) {
		const struct check_line *l = &r->checks.line[i];

		(void)json_array_append_new(
			list, json_pack("{s:s,s:s,s:s}", "name", l->name,
		                        "result", check_result_name(l->result),
		                        "detail", l->detail));
	}
	r->dialect->put_checks(r, list);
	return list;
}

json_t *
status_events(const struct run *r, uint32_t n)
{
	json_t *list = json_array();
	uint64_t from = r->event_n > n ? r->event_n - n : 0;

	if (r->event_n - from > LIMIT_EVENTS)
		from = r->event_n - LIMIT_EVENTS;
	for (uint64_t i = from; i < r->event_n; i++) {
		const struct run_event *e = &r->events[i % LIMIT_EVENTS];

		(void)json_array_append_new(
			list, json_pack("{s:I,s:s,s:s}", "at", INT(e->at_ms),
		                        "name", e->name, "text", e->text));
	}
	return list;
}

static json_t *
next_json(struct run *r)
{
	struct strategy_at at;
	struct strategy_move m;
	struct mem mem;
	struct buf text;
	json_t *j;

	if (r->state == LIFE_COMPLETED)
		return json_string("nothing; new is served until the process "
		                   "is stopped");
	if (r->state == LIFE_PAUSED)
		return json_string("resume, or rollback");
	if (r->state == LIFE_FAILED)
		return json_string("rollback or retry");
	if (r->op.kind != OP_NONE && r->op.retry_ns != 0 &&
	    r->op.stage == OP_BEGIN)
		return json_string("the postponed verb is tried again");
	at = (struct strategy_at){ .authority = run_authority(r),
		                   .step = r->step,
		                   .ppm = r->read_ppm,
		                   .write_ppm = divide_ppm(r),
		                   .units = r->units };
	m = strategy_promote(&r->strategy, &at);
	os_mem_init(&mem, 0);
	buf_init(&text, &mem);
	strategy_tell(&r->strategy, &m, &text);
	j = json_stringn((const char *)buf_span(&text).p, buf_len(&text));
	buf_fini(&text);
	return j;
}

static json_t *
rollback_json(const struct run *r)
{
	char text[220];
	struct gates g;
	char why[120];

	if (r->state == LIFE_COMPLETED)
		return json_string("not possible any more");
	if (run_authority(r) == SIDE_OLD && !run_is_split(r))
		return json_string("free: old has authority, nothing would be "
		                   "lost");
	gates_look(r, &g);
	if (migration_gate_switch(&g, why, sizeof(why)) == GATE_OPEN)
		return json_string("one short hold, nothing would be lost");
	if (r->move == MOVE_IN_STEP || r->move == MOVE_CATCHING_UP)
		(void)snprintf(
			text, sizeof(text),
			"not now without loss: %s (%llu records behind)", why,
			(unsigned long long)atomic_load(&r->board.lag_records));
	else
		/* What does not arrive cannot be counted. */
		(void)snprintf(text, sizeof(text),
		               "not now without loss: %s (how much is missing "
		               "is not known)",
		               why);
	return json_string(text);
}

static json_t *
judged_json(const struct run *r)
{
	const struct judgement *j = &r->judged;

	return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:b,s:o}", "verdict",
	                 verdict_name(j->verdict), "check", auto_check(j),
	                 "reason", j->reason, "value", INT(j->value),
	                 "threshold", INT(j->threshold), "sample", INT(j->size),
	                 "requests", INT(j->requests), "aborted",
	                 r->auto_aborted, "checks", auto_checks(r));
}

static void
put_identity(struct run *r, json_t *j)
{
	struct authority a = journal_authority(r->journal);
	enum life_phase p =
		migration_phase(r->mover != NULL ? r->move : MOVE_IN_STEP,
	                        authority_side(a.state), r->cut_on);
	struct route route = { .generation = r->generation };
	json_t *head = json_pack(
		"{s:s,s:s,s:o,s:s,s:s,s:b,s:b,s:s,s:I,s:I,s:s,s:s,s:s,s:s,s:I}",
		"id", r->id, "version", GODWIT_VERSION, "strategy",
		strategy_json(r), "status", life_state_name(r->state), "phase",
		life_phase_name(p), "partial", 0, "forced", r->forced,
		"authority", side_name(authority_side(a.state)), "epoch",
		INT(a.epoch), "generation", INT(route.generation), "old",
		r->at[SIDE_OLD].url.label, "new", r->at[SIDE_NEW].url.label,
		"listen",
		r->interlay_n > 0 ? r->interlay[0]->listen : r->conf->listen,
		"state_file", r->conf->state, "pid", INT(getpid()));

	(void)json_object_update(j, head);
	json_decref(head);
	put_units(r, json_object_get(j, "strategy"));
	if (strategy_base(&r->strategy) == STRATEGY_SHADOW_TRAFFIC)
		(void)json_object_set_new(j, "shadow", shadow_json(r));
	if (r->home != NULL)
		(void)json_object_set_new(j, "began", json_boolean(r->began));
	if (r->dialect->conflicts != NULL) {
		json_t *met = r->dialect->conflicts(r);

		if (met != NULL)
			(void)json_object_set_new(j, "conflicts", met);
	}
}

static json_t *
relays_json(const struct run *r)
{
	json_int_t current = 0;

	for (uint32_t i = 0; i < r->relay_n; i++)
		current += r->acked[i] >= r->generation ? 1 : 0;
	return json_pack("{s:I,s:I}", "total", INT(r->relay_n), "at_generation",
	                 current);
}

/* Who runs the newest routing, and how long that took to reach all of them. */
static json_t *
acknowledged_json(const struct run *r)
{
	json_t *j = relays_json(r);
	json_t *ret =
		json_pack("{s:I,s:O,s:O,s:n}", "generation", INT(r->generation),
	                  "relays", json_object_get(j, "at_generation"), "of",
	                  json_object_get(j, "total"), "us");

	if (r->acked_ns != 0)
		(void)json_object_set_new(
			ret, "us",
			json_integer(INT((r->acked_ns - r->routed_ns) / 1000)));
	json_decref(j);
	return ret;
}

/* How the bytes travel: to both sides, and of clients. */
static json_t *
tls_json(const struct run *r)
{
	json_t *j = json_pack(
		"{s:s,s:s,s:s}", "old", url_tls_word(&r->at[SIDE_OLD].url),
		"new", url_tls_word(&r->at[SIDE_NEW].url), "clients", "off");
	struct tls_look all = { .done = 0 };

	for (uint32_t i = 0; i < r->interlay_n; i++) {
		struct tls_look look;

		if (r->interlay[i]->tls == NULL)
			continue;
		tls_server_look(r->interlay[i]->tls, &look);
		all.done += look.done;
		all.failed += look.failed;
		if (look.failed > 0)
			memcpy(all.last, look.last, sizeof(all.last));
		(void)json_object_set_new(j, "clients", json_string("on"));
	}
	(void)json_object_set_new(j, "handshakes", json_integer(INT(all.done)));
	(void)json_object_set_new(j, "failed", json_integer(INT(all.failed)));
	if (all.failed > 0)
		(void)json_object_set_new(j, "last_failure",
		                          json_string(all.last));
	return j;
}

json_t *
status_json(struct run *r)
{
	struct totals t;
	json_t *j = json_object();
	json_t *rest;

	total(r, &t);
	put_identity(r, j);
	rest = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "reads",
	                 reads_json(r, &t), "writes", writes_json(r, &t),
	                 "copy", copy_json(r), "stream", stream_json(r),
	                 "reverse", reverse_json(r, &t), "hold",
	                 hold_json(r, &t));
	(void)json_object_update(j, rest);
	json_decref(rest);
	rest = json_pack(
		"{s:{s:I,s:I,s:I,s:I},s:{s:I,s:I,s:I,s:I},s:{s:o,s:o}}",
		"clients", "total", INT(t.clients), "blocked", INT(t.blocked),
		"subscribed", INT(t.subscribed), "in_transaction", INT(t.in_tx),
		"errors", "old", INT(t.errors[SIDE_OLD]), "new",
		INT(t.errors[SIDE_NEW]), "lost", INT(t.lost), "refused",
		INT(t.refused), "latency_ms", "old", latency_json(&t, SIDE_OLD),
		"new", latency_json(&t, SIDE_NEW));
	(void)json_object_update(j, rest);
	json_decref(rest);
	rest = json_pack(
		"{s:o,s:o,s:{s:b,s:b,s:s},s:o,s:{s:I,s:I},s:o,s:o,s:o,s:o,"
		"s:{s:b,s:b}}",
		"verification", verification_json(r), "checks",
		status_checks(r), "fence", "old", r->at[SIDE_OLD].fenced, "new",
		r->at[SIDE_NEW].fenced, "kind", "acl", "relays", relays_json(r),
		"memory", "mover_bytes", LOAD(r->board.mover_mem),
		"relay_bytes", INT(t.mem), "events", status_events(r, 10),
		"next", next_json(r), "rollback", rollback_json(r), "auto",
		judged_json(r), "up", "old", r->at[SIDE_OLD].is_up, "new",
		r->at[SIDE_NEW].is_up);
	(void)json_object_update(j, rest);
	json_decref(rest);
	(void)json_object_set_new(j, "tls", tls_json(r));
	(void)json_object_set_new(j, "acknowledged", acknowledged_json(r));
	if (run_is_split(r))
		(void)json_object_set_new(j, "scope", scope_json(r));
	return j;
}
