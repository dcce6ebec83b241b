/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/start.c: a migration begins, or goes on where its journal ends.
 *
 * Order matters: every decision is in the journal before it takes effect, and
 * nothing listens before authority is at rest and the fences agree with it.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "control/run_parts.h"
#include "control/spec/spec.h"
#include "world/os/loop.h"

/* n random bytes as hexadecimal digits; ret has 2n+1 bytes. */
static int
random_hex(char *ret, size_t n, struct err *err)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[32];

	REQUIRE(n <= sizeof(bytes));
	if (getrandom(bytes, n, 0) != (ssize_t)n)
		return err_set(err, ERR_IO, "no random bytes: %s",
		               os_cause(errno));
	for (size_t i = 0; i < n; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[2 * n] = '\0';
	return 0;
}

static int
parse_urls(struct run *r, struct err *err)
{
	const char *text[SIDE_N] = { r->conf->old_url, r->conf->new_url };

	for (int s = 0; s < SIDE_N; s++) {
		int rc = url_parse(text[s], &r->at[s].url, err);

		if (rc != 0)
			return rc;
		rc = url_side(&r->at[s].url, (enum side)s, &r->side[s], err);
		if (rc != 0)
			return rc;
	}
	r->dialect = dialect_of(r->at[SIDE_OLD].url.kind);
	if (r->dialect != dialect_of(r->at[SIDE_NEW].url.kind))
		return err_set(err, ERR_UNABLE,
		               "OLD speaks %s and NEW %s; Godwit moves between "
		               "servers that speak the same",
		               r->dialect->name,
		               dialect_of(r->at[SIDE_NEW].url.kind)->name);
	/* A cursor must not be taken for one of the other side. */
	if (r->side[SIDE_NEW].tag == r->side[SIDE_OLD].tag)
		r->side[SIDE_NEW].tag =
			(uint8_t)(r->side[SIDE_OLD].tag < 127
		                          ? r->side[SIDE_OLD].tag + 1
		                          : 2);
	if (url_same(&r->at[SIDE_OLD].url, &r->at[SIDE_NEW].url))
		return err_set(err, ERR_REFUSED,
		               "OLD and NEW are the same address (%s); name "
		               "two servers",
		               r->at[SIDE_OLD].url.label);
	return 0;
}

/* The three values that must not change between two runs. */
static int
same_as_before(struct run *r, struct err *err)
{
	const struct {
		const char *key;
		const char *now;
		const char *option;
	} must[] = {
		{ "old", r->at[SIDE_OLD].url.label, "OLD" },
		{ "new", r->at[SIDE_NEW].url.label, "NEW" },
		{ "strategy", strategy_name(r->strategy.kind), "--strategy" },
	};

	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
		char *before = journal_meta(r->journal, must[i].key);
		bool same = before != NULL && strcmp(before, must[i].now) == 0;
		int rc = 0;

		if (!same)
			rc = err_set(err, ERR_STATE,
			             "%s was %s when this migration began "
			             "(%s), now it is %s; give the same, or "
			             "another --state for a new migration",
			             must[i].option,
			             before != NULL ? before : "unknown",
			             r->conf->state, must[i].now);
		free(before);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Id, users and passwords: chosen once, kept in the journal. */
static int
choose_names(struct run *r, struct err *err)
{
	char pass[SIDE_N][2][72];
	json_t *metas;
	int rc = random_hex(r->id, 4, err);

	layout_name(r, r->id, sizeof(r->id));
	for (int s = 0; s < SIDE_N; s++) {
		for (int i = 0; i < 2; i++) {
			if (rc == 0)
				rc = random_hex(pass[s][i], 32, err);
		}
	}
	if (rc != 0)
		return rc;
	metas = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "id", r->id,
	                  "old", r->at[SIDE_OLD].url.label, "new",
	                  r->at[SIDE_NEW].url.label, "strategy",
	                  strategy_name(r->strategy.kind), "old_pass",
	                  pass[0][0], "old_reader_pass", pass[0][1], "new_pass",
	                  pass[1][0], "new_reader_pass", pass[1][1]);
	rc = journal_set_metas(r->journal, metas, err);
	json_decref(metas);
	return rc;
}

static int
copy_meta(struct run *r, const char *key, char *ret, size_t n, struct err *err)
{
	char *v = journal_meta(r->journal, key);
	int rc = 0;

	if (v == NULL || strlen(v) >= n)
		rc = err_set(err, ERR_STATE, "state file %s lacks \"%s\"",
		             r->conf->state, key);
	else
		memcpy(ret, v, strlen(v) + 1);
	free(v);
	return rc;
}

/* A file of an earlier version has none: chosen when it is needed first. */
static int
writer_pass(struct run *r, const char *key, struct side_conf *c,
            struct err *err)
{
	char *v = journal_meta(r->journal, key);
	int rc = 0;

	_Static_assert(sizeof(c->writer_pass) > 64, "32 bytes in hexadecimal");
	if (v != NULL && strlen(v) < sizeof(c->writer_pass)) {
		memcpy(c->writer_pass, v, strlen(v) + 1);
	} else {
		rc = random_hex(c->writer_pass, 32, err);
		if (rc == 0)
			rc = journal_set_meta(r->journal, key, c->writer_pass,
			                      err);
	}
	free(v);
	return rc;
}

static int
read_names(struct run *r, struct err *err)
{
	static const char *const keys[SIDE_N][2] = {
		{ "old_pass", "old_reader_pass" },
		{ "new_pass", "new_reader_pass" },
	};
	static const char *const writer_keys[SIDE_N] = { "old_writer_pass",
		                                         "new_writer_pass" };
	int rc = copy_meta(r, "id", r->id, sizeof(r->id), err);

	(void)snprintf(r->names[0], sizeof(r->names[0]), "godwit-%s", r->id);
	(void)snprintf(r->names[1], sizeof(r->names[1]), "godwit-%s-r", r->id);
	(void)snprintf(r->names[2], sizeof(r->names[2]), "godwit:%s:", r->id);
	(void)snprintf(r->names[3], sizeof(r->names[3]), "godwit-%s-w", r->id);
	(void)snprintf(r->agent_name, sizeof(r->agent_name), "%scontrol",
	               r->names[2]);
	r->own = (struct fence_own){ .user = r->names[0],
		                     .reader = r->names[1],
		                     .writer = r->names[3],
		                     .prefix = r->names[2],
		                     .tag = r->side[SIDE_OLD].own_tag };
	layout_recall(r);
	layout_know_kin(r);
	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		struct side_conf *c = &r->side[s];

		memcpy(c->own_user, r->names[0], sizeof(r->names[0]));
		memcpy(c->reader_user, r->names[1], sizeof(r->names[1]));
		memcpy(c->writer_user, r->names[3], sizeof(r->names[3]));
		_Static_assert(sizeof(r->names[0]) <= sizeof(c->own_user),
		               "a name fits");
		rc = copy_meta(r, keys[s][0], c->own_pass, sizeof(c->own_pass),
		               err);
		if (rc == 0)
			rc = copy_meta(r, keys[s][1], c->reader_pass,
			               sizeof(c->reader_pass), err);
		if (rc == 0)
			rc = writer_pass(r, writer_keys[s], c, err);
		r->dialect->begin(r, (enum side)s);
	}
	return rc;
}

/* A migration that goes on serves the authority although the other side is away;
 * what is wrong there is put right when it comes back. And when the authority is
 * away somebody must be able to ask for the way back. */
static int
check_again(struct run *r, enum side rules, struct err *err)
{
	enum side other = side_other(rules);
	int rc = r->dialect->meet(r, rules, err);

	if (r->state == LIFE_COMPLETED)
		return rc;
	if (rc != 0) {
		struct err ignored;

		if (r->dialect->meet(r, other, &ignored) != 0)
			return rc;
		other = rules;
	}
	r->checks.n = 1;
	r->checks.line[0] =
		(struct check_line){ .name = "reach", .result = CHECK_WARN };
	(void)snprintf(r->checks.line[0].detail,
	               sizeof(r->checks.line[0].detail),
	               "%s does not answer; the migration waits for it",
	               r->side[other].label);
	preflight_tls(r->side, &r->checks);
	return 0;
}

static const char *const mode_keys[SIDE_N] = { "old_marks", "new_marks" };

/* A side that is away when the migration goes on has the mode it had. */
static void
recall_modes(struct run *r)
{
	for (int s = 0; s < SIDE_N; s++) {
		char *v = journal_meta(r->journal, mode_keys[s]);

		r->board.by_marks[s] = v != NULL && strcmp(v, "1") == 0;
		free(v);
	}
}

static int
keep_modes(struct run *r, struct err *err)
{
	int rc = 0;

	for (int s = 0; rc == 0 && s < SIDE_N; s++)
		rc = journal_set_meta(r->journal, mode_keys[s],
		                      r->board.by_marks[s] ? "1" : "0", err);
	return rc;
}

/* Without a stream a write that lands late would be seen by nobody when it is
 * one that tracking does not tell. */
static void
kill_left(struct run *r)
{
	enum side rules = run_authority(r);
	struct err err;

	if (r->is_resumed && r->home == NULL && r->board.by_marks[rules] &&
	    r->dialect->kill_left(r, rules, &err) != 0)
		run_event(r, "trouble", "%s", err.text);
}

static int
check_servers(struct run *r, struct err *err)
{
	enum side rules = run_authority(r);
	int rc = 0;

	/* Old may be anything by now, or nothing. */
	if (r->state == LIFE_COMPLETED)
		return check_again(r, rules, err);
	for (int s = 0; r->is_resumed && rc == 0 && s < SIDE_N; s++)
		rc = r->dialect->reach(r, (enum side)s, err);
	return rc == 0 ? r->dialect->check(r, err) : check_again(r, rules, err);
}

/* ---- reading the journal back -------------------------------------------- */

static int
read_saved(struct run *r, struct err *err)
{
	int rc = 0;

	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		json_t *match =
			json_pack("{s:s}", "side", side_name((enum side)s));
		json_t *last;

		rc = journal_last(r->journal, JOURNAL_ACL_SAVED, match, &last,
		                  err);
		if (last != NULL)
			r->at[s].saved =
				json_incref(json_object_get(last, "rules"));
		json_decref(last);
		json_decref(match);
	}
	return rc;
}

/* Where it ended. */
static void
take_state(struct run *r, const json_t *last)
{
	const char *to = json_string_value(json_object_get(last, "to"));

	r->state = to != NULL ? life_state_find(to) : LIFE_READY;
	if (r->state >= LIFE_N)
		r->state = LIFE_READY;
	r->forced = r->state == LIFE_COMPLETED &&
	            json_is_true(json_object_get(last, "forced"));
}

static void
take_share(struct run *r, const json_t *share)
{
	r->step = (uint32_t)json_integer_value(json_object_get(share, "step"));
	r->read_ppm =
		(uint32_t)json_integer_value(json_object_get(share, "ppm"));
	r->units =
		(uint64_t)json_integer_value(json_object_get(share, "units"));
	r->generation = (uint64_t)json_integer_value(
		json_object_get(share, "generation"));
	r->toggled_back = json_is_true(json_object_get(share, "toggled_back"));
}

static void
take_copied(struct run *r, const json_t *copied)
{
	const char *by = json_string_value(json_object_get(copied, "by"));

	r->copied = copied != NULL &&
	            !json_is_true(json_object_get(copied, "undone"));
	if (by != NULL)
		r->copied_by = strcmp(by, "scan") == 0 ? COPY_SCAN : COPY_RDB;
}

/* What was not carried in an earlier life, where a person looks. */
static void
recall_owed(struct run *r)
{
	char *what = journal_meta(r->journal, "owed");

	if (what != NULL && what[0] != '\0') {
		r->owed_n = 1;
		(void)snprintf(r->owed, sizeof(r->owed), "%s", what);
	}
	free(what);
}

static int
read_state(struct run *r, struct err *err)
{
	static const enum journal_kind kinds[] = {
		JOURNAL_STATE,   JOURNAL_SHARE,    JOURNAL_COPIED,
		JOURNAL_CREATED, JOURNAL_VERIFIED,
	};
	json_t *last[5] = { NULL };
	int rc = 0;

	for (int i = 0; i < 5 && rc == 0; i++)
		rc = journal_last(r->journal, kinds[i], NULL, &last[i], err);
	if (rc == 0) {
		take_state(r, last[0]);
		take_share(r, last[1]);
		r->began = last[1] != NULL;
		take_copied(r, last[2]);
		r->new_keys = (uint64_t)json_integer_value(
			json_object_get(last[3], "new_keys"));
		r->proof_last = json_incref(last[4]);
	}
	for (int i = 0; i < 5; i++)
		json_decref(last[i]);
	recall_owed(r);
	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		char *kept = journal_meta(
			r->journal, s == SIDE_OLD ? "kept_old" : "kept_new");

		r->at[s].kept = kept != NULL;
		free(kept);
	}
	return rc;
}

/* R as it was found becomes R at rest: a switch that was under way is aborted,
 * one that was committed counts. */
static int
settle_record(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct authority to;
	int rc = 0;

	if (authority_is_frozen(a.state)) {
		to = authority_abort(&a);
		rc = journal_move(
			r->journal, JOURNAL_ABORT, &a, &to,
			json_pack("{s:s,s:s}", "at", "resume", "why",
		                  "the process ended inside a switch"),
			err);
		if (rc == 0)
			run_event(r, "aborted",
			          "the switch that was under way is undone; %s "
			          "keeps authority",
			          side_name(authority_side(to.state)));
	}
	if (run_authority(r) == SIDE_NEW) {
		r->read_ppm = 0;
		r->units = 0;
		r->step = r->strategy.step_n;
		r->toggled_back = false;
	}
	return rc;
}

/* A rollback that was under way is finished, or must be asked for again. */
static int
settle_state(struct run *r, struct err *err)
{
	int rc;

	if (r->state == LIFE_READY)
		return run_apply(r, VERB_MIGRATE, "start", err);
	/* In a daemon the leg ended with the rollback: this is a new try. */
	if (r->state == LIFE_ROLLED_BACK && r->home != NULL)
		return run_apply(r, VERB_MIGRATE, "migrate", err);
	if (r->state != LIFE_ROLLING_BACK)
		return 0;
	if (run_authority(r) == SIDE_NEW || run_is_split(r))
		return run_apply(r, VERB_FAIL,
		                 "the process ended inside a rollback", err);
	rc = journal_add(r->journal, JOURNAL_SHARE,
	                 json_pack("{s:i,s:i,s:I}", "step", 0, "ppm", 0,
	                           "generation", (json_int_t)r->generation + 1),
	                 err);
	if (rc != 0)
		return rc;
	r->step = 0;
	r->read_ppm = 0;
	r->units = 0;
	/* In a daemon that is the end of the leg. */
	r->leaves = r->home != NULL;
	return run_apply(r, VERB_WENT_BACK, "resume", err);
}

static int
make_users(struct run *r, struct err *err)
{
	int rc = 0;

	for (int s = 0; s < SIDE_N && rc == 0; s++) {
		r->at[s].users_made = r->is_resumed;
		if (r->state == LIFE_COMPLETED || !r->at[s].is_up)
			continue;
		rc = journal_add(
			r->journal, JOURNAL_USERS,
			json_pack("{s:s}", "side", side_name((enum side)s)),
			err);
		if (rc == 0)
			rc = r->dialect->users(r, (enum side)s, err);
	}
	return rc;
}

static int
make_fences(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	enum side other = side_other(authority_side(a.state));
	int rc;

	if (r->state == LIFE_COMPLETED) {
		r->at[SIDE_OLD].fenced = true;
		return 0;
	}
	rc = r->at[other].is_up ? r->dialect->save(r, other, err) : 0;
	/* What is changed from here on is known as a change. */
	if (rc == 0 && r->at[side_other(other)].saved == NULL)
		rc = r->dialect->save(r, side_other(other), err);
	if (rc == 0)
		rc = journal_add(r->journal, JOURNAL_FENCE,
		                 json_pack("{s:s}", "side", side_name(other)),
		                 err);
	if (rc == 0 && authority_is_split(&a))
		rc = journal_add(r->journal, JOURNAL_FENCE,
		                 json_pack("{s:s}", "side",
		                           side_name(side_other(other))),
		                 err);
	if (rc == 0)
		rc = health_settle(r, err);
	if (rc != 0)
		return rc;
	r->dialect->tend_replicas(r, other);
	r->dialect->tend_replicas(r, side_other(other));
	r->dialect->persist(r, other);
	/* The open side's rules on disk may still be those of its fence. */
	if (r->at[side_other(other)].kept)
		r->dialect->persist(r, side_other(other));
	return 0;
}

static int
open_journal(struct run *r, struct err *err)
{
	int rc;

	r->journal = r->home == NULL ? journal_open(r->conf->state, err)
	                             : journal_open_leg(r->conf->state,
	                                                r->home->leg, err);
	if (r->journal == NULL)
		return -(int)err->code;
	r->is_resumed = !journal_is_new(r->journal);
	if (!r->is_resumed)
		rc = choose_names(r, err);
	else
		rc = same_as_before(r, err);
	if (rc == 0)
		rc = read_names(r, err);
	if (rc == 0)
		rc = read_saved(r, err);
	if (rc == 0)
		exposed_recall(r);
	return rc == 0 ? read_state(r, err) : rc;
}

/* Whoever goes on serves the authority, although a lock that somebody has is in the way
 * of the other side: that is prepared later. */
static int
prepare(struct run *r, struct err *err)
{
	int rc = r->dialect->prepare(r, err);

	if (rc == 0 || !r->is_resumed || run_is_split(r) ||
	    !err_retry(err->code))
		return rc;
	machines_prepared(r, err);
	return 0;
}

static int
decide(struct run *r, struct err *err)
{
	int rc = 0;

	if (!r->is_resumed)
		rc = journal_add(
			r->journal, JOURNAL_CREATED,
			json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "id", r->id,
		                  "old", r->at[SIDE_OLD].url.label, "new",
		                  r->at[SIDE_NEW].url.label, "strategy",
		                  strategy_name(r->strategy.kind), "listen",
		                  r->conf->listen, "new_keys",
		                  (json_int_t)r->new_keys),
			err);
	if (rc != 0)
		return rc;
	rc = settle_record(r, err);
	if (rc == 0)
		rc = divide_load(r, err);
	if (rc == 0)
		rc = make_users(r, err);
	if (rc == 0 && r->state != LIFE_COMPLETED)
		rc = prepare(r, err);
	if (rc == 0)
		rc = make_fences(r, err);
	return rc == 0 ? settle_state(r, err) : rc;
}

static void
say_hello(struct run *r)
{
	machines_tell_start(r);
	run_event(r, r->is_resumed ? "resumed" : "started",
	          "%s -> %s, clients at %s, %s has authority",
	          r->at[SIDE_OLD].url.label, r->at[SIDE_NEW].url.label,
	          r->interlay_n > 0 ? r->interlay[0]->listen : r->conf->listen,
	          side_name(run_authority(r)));
	for (uint32_t i = 0; i < r->checks.n; i++) {
		if (r->checks.line[i].result == CHECK_WARN)
			run_event(r, "warning", "%s", r->checks.line[i].detail);
	}
}

static void
on_verb(void *arg, uint64_t client, const char *verb, json_t *args)
{
	verbs_ask(arg, client, verb, args);
}

/* Clients come in TLS when a certificate is given. */
static int
serve_tls(const struct run_conf *c, struct interlay *l, struct err *err)
{
	const struct tls_server_conf tls = {
		.server_cert = c->tls_cert,
		.server_key = c->tls_key,
		.client_ca_cert = c->tls_client_ca,
		.require_client_certificate =
			c->tls_client_ca[0] != '\0' && !c->tls_client_optional,
	};

	if (c->tls_cert[0] == '\0' && c->tls_key[0] == '\0')
		return 0;
	return interlay_tls(l, &tls, err);
}

static int
open_interlay(struct run *r, struct err *err)
{
	struct interlay *l;
	int rc = 0;

	for (uint32_t i = 0; r->home != NULL && i < r->home->interlay_n; i++) {
		if (rc == 0)
			rc = machines_add(r, r->home->interlays[i], err);
	}
	if (r->home != NULL)
		return rc;
	l = interlay_new(r->dialect, r->id, r->conf->listen, r->conf->workers,
	                 err);
	if (l == NULL)
		return -(int)err->code;
	interlay_set_pool(
		l, &(struct interlay_pool){ .mode = r->conf->pool,
	                                    .max = r->conf->pool_max,
	                                    .wait_ms = r->conf->pool_wait_ms,
	                                    .idle_ms = r->conf->pool_idle_ms });
	rc = serve_tls(r->conf, l, err);
	if (rc == 0)
		rc = machines_add(r, l, err);
	if (rc != 0)
		interlay_free(l);
	return rc;
}

static int
open_panel(struct run *r, struct err *err)
{
	char path[540];

	if (r->home != NULL)
		return 0;
	(void)snprintf(path, sizeof(path), "%s.sock", r->conf->state);
	r->panel = panel_new(path, on_verb, r, err);
	return r->panel != NULL ? 0 : -(int)err->code;
}

static int
take_spec(struct run *r, struct err *err)
{
	if (r->conf->spec == NULL)
		return 0;
	r->spec = spec_clone(r->conf->spec);
	return r->spec != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static void
take_strategy(struct run *r)
{
	if (r->conf->whole != NULL) {
		r->strategy = *r->conf->whole;
		return;
	}
	r->strategy.kind = r->conf->strategy;
	r->strategy.step_n = r->conf->step_n;
	memcpy(r->strategy.step_ppm, r->conf->step_ppm,
	       sizeof(r->strategy.step_ppm));
}

static int
release(struct run *r, struct err *err)
{
	char *kept;
	int rc = parse_urls(r, err);

	if (rc == 0)
		r->journal =
			journal_open_leg(r->conf->state, r->home->leg, err);
	if (rc == 0 && r->journal == NULL)
		rc = -(int)err->code;
	r->is_resumed = true;
	if (rc == 0)
		rc = read_names(r, err);
	if (rc == 0)
		rc = read_saved(r, err);
	if (rc != 0)
		return rc;
	kept = journal_meta(r->journal, "kept_old");
	r->at[SIDE_OLD].kept = kept != NULL;
	free(kept);
	follow_look(r, SIDE_OLD);
	rc = r->dialect->meet(r, SIDE_OLD, err);
	return rc == 0 ? leave_release(r, err) : rc;
}

/* What it is asked for, before anything is there. */
static int
take_wishes(struct run *r, struct err *err)
{
	int rc;

	take_strategy(r);
	rc = strategy_check(&r->strategy, err);
	if (rc == 0)
		rc = take_spec(r, err);
	if (rc == 0)
		rc = timetable_load(r, err);
	if (rc == 0)
		rc = parse_urls(r, err);
	return rc == 0 ? r->dialect->can(r, err) : rc;
}

int
run_try(struct run *r, struct err *err)
{
	int rc = take_wishes(r, err);

	if (rc == 0)
		rc = open_journal(r, err);
	return rc == 0 ? check_servers(r, err) : rc;
}

int
run_start(struct run *r, struct err *err)
{
	int rc;

	if (r->home != NULL && r->home->release)
		return release(r, err);
	rc = take_wishes(r, err);
	if (rc == 0)
		rc = open_journal(r, err);
	if (rc == 0 && r->home != NULL && r->home->resume &&
	    (r->state == LIFE_ROLLED_BACK || r->state == LIFE_COMPLETED))
		return leave_tidy(r);
	if (rc == 0 && r->home != NULL && r->state == LIFE_COMPLETED)
		rc = err_set(err, ERR_STATE,
		             "it is completed; create the opposite migration "
		             "with reverse");
	if (rc == 0 && r->is_resumed)
		recall_modes(r);
	for (int s = 0; rc == 0 && r->is_resumed && s < SIDE_N; s++)
		follow_look(r, (enum side)s);
	if (rc == 0)
		rc = check_servers(r, err);
	if (rc == 0)
		rc = keep_modes(r, err);
	/* A port that is taken must be known before anything is changed. */
	if (rc == 0)
		rc = open_interlay(r, err);
	if (rc == 0 && r->home != NULL)
		rc = journal_set_meta(r->journal, "tidied", "0", err);
	if (rc == 0)
		rc = decide(r, err);
	if (rc == 0)
		rc = open_panel(r, err);
	if (rc == 0)
		kill_left(r);
	if (rc == 0)
		rc = machines_make(r, err);
	if (rc == 0)
		say_hello(r);
	return rc;
}
