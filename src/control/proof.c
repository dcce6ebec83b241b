/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/proof.c: a verification, in a thread of its own.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/parts.h"
#include "control/run_parts.h"
#include "control/verify.h"
#include "engine/mover.h"

struct run_proof {
	pthread_t thread;
	const struct dialect *dialect;
	struct verify_conf conf;
	struct verify_result result;
	struct err err;
	int rc;
	int wake_fd;
	uint64_t epoch;
	uint32_t owed_n; /* run.owed_n as it began */
	enum side rules;
	bool empty_ok;
	_Atomic bool stop;
	_Atomic bool ended;
	_Atomic uint64_t progress;
};

static void *
work(void *arg)
{
	struct run_proof *p = arg;
	uint64_t one = 1;

	p->rc = p->dialect->verify(&p->conf, &p->result, &p->err);
	atomic_store(&p->ended, true);
	/* The eventfd's counter cannot be full. */
	if (write(p->wake_fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

int
proof_start(struct run *r, bool repair, struct err *err)
{
	struct run_proof *p = calloc(1, sizeof(*p));
	enum side rules = run_authority(r);
	int rc;

	REQUIRE(r->proof == NULL);
	if (p == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	p->dialect = r->dialect;
	p->conf.side[0] = r->side[rules];
	p->conf.side[1] = r->side[side_other(rules)];
	p->conf.url[0] = &r->at[rules].url;
	p->conf.url[1] = &r->at[side_other(rules)].url;
	/* In a split old rules the keys that are not of the scope. */
	p->conf.scope = divide_block(r, journal_authority(r->journal).scope);
	p->conf.slots = r->is_part ? layout_carried(r)->own : NULL;
	p->conf.is_live = true;
	p->conf.repair = repair;
	p->conf.ttl_slack_ms = 0;
	p->conf.recheck_ms = VERIFY_RECHECK_MS;
	p->conf.stop = &p->stop;
	p->conf.progress = &p->progress;
	p->wake_fd = r->wake_fd;
	p->rules = rules;
	p->empty_ok = r->conf->copy_mode == COPY_NONE && r->conf->empty_ok;
	p->epoch = journal_authority(r->journal).epoch;
	p->owed_n = r->owed_n;
	rc = pthread_create(&p->thread, NULL, work, p);
	if (rc != 0) {
		free(p);
		return err_set(err, ERR_IO, "no thread for the verification");
	}
	r->proof = p;
	r->proof_spent = false;
	run_event(r, "verifying", "%s against %s%s",
	          side_name(side_other(rules)), side_name(rules),
	          !run_is_split(r) ? ""
	          : parts_has(r)   ? ", new's tables the other way"
	                           : ", new's keys the other way");
	return 0;
}

bool
proof_is_on(const struct run *r)
{
	return r->proof != NULL;
}

void
proof_stop(struct run *r)
{
	if (r->proof != NULL)
		atomic_store(&r->proof->stop, true);
}

uint64_t
proof_progress(const struct run *r)
{
	return r->proof != NULL ? atomic_load(&r->proof->progress) : 0;
}

/* In a split each key has its own authority, which is named. */
static json_t *
finds(const struct run_proof *p)
{
	const struct verify_result *v = &p->result;
	json_t *list = json_array();

	for (uint64_t i = 0; i < v->finds_n && i < 100; i++) {
		const struct verify_find *f = &v->finds[i];
		json_t *j = json_pack(
			"{s:s,s:i,s:s,s:s}", "kind", verify_kind_name(f->kind),
			"db", (int)f->db, "key", f->key, "detail", f->detail);

		if (v->is_split)
			(void)json_object_set_new(
				j, "authority",
				json_string(f->is_back ? "new" : "old"));
		(void)json_array_append_new(list, j);
	}
	return list;
}

/* Records that only old has are no difference where that was meant (empty_ok); but
 * then nobody has shown that new lacks nothing else. */
static const char *
state_of(const struct run_proof *p)
{
	const struct verify_result *v = &p->result;
	uint64_t only_old = p->rules == SIDE_OLD ? v->missing : v->extra;
	uint64_t only_new = p->rules == SIDE_OLD ? v->extra : v->missing;

	if (p->rc != 0)
		return "none";
	if (only_new > 0 || v->different > 0 || (only_old > 0 && !p->empty_ok))
		return "different";
	if (v->unstable > 0)
		return "unstable";
	return only_old > 0 ? "partial" : "clean";
}

static json_t *
result_json(const struct run_proof *p)
{
	const struct verify_result *v = &p->result;

	return json_pack(
		"{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:I,s:I,s:I,s:I,"
		"s:I}",
		"state", state_of(p), "compared", (json_int_t)v->compared,
		"equal", (json_int_t)v->equal, "missing",
		(json_int_t)v->missing, "extra", (json_int_t)v->extra,
		"different", (json_int_t)v->different, "unstable",
		(json_int_t)v->unstable, "noted", (json_int_t)v->noted,
		"repaired", (json_int_t)v->repaired, "marker_lost",
		v->marker_lost, "marker_refused", v->marker_refused, "keys_old",
		(json_int_t)v->keys_old, "keys_new", (json_int_t)v->keys_new,
		"took_ms", (json_int_t)v->took_ms, "epoch",
		(json_int_t)p->epoch, "at_ms", (json_int_t)os_wall_ms());
}

long long
proof_open(const struct run *r)
{
	const char *state =
		json_string_value(json_object_get(r->proof_last, "state"));

	return state != NULL && strcmp(state, "unstable") == 0
	               ? json_integer_value(
				 json_object_get(r->proof_last, "unstable"))
	               : 0;
}

/* All of it was compared, and is the same. */
static bool
is_equal(const json_t *result)
{
	const char *state = json_string_value(json_object_get(result, "state"));

	return state != NULL && strcmp(state, "clean") == 0;
}

bool
proof_collect(struct run *r)
{
	struct run_proof *p = r->proof;
	struct err err;
	json_t *j;

	if (p == NULL || !atomic_load(&p->ended))
		return false;
	(void)pthread_join(p->thread, NULL);
	r->proof = NULL;
	j = result_json(p);
	if (p->rc != 0)
		(void)json_object_set_new(j, "error", json_string(p->err.text));
	if (p->rc == 0 && journal_add(r->journal, JOURNAL_VERIFIED,
	                              json_incref(j), &err) != 0)
		run_event(r, "disk", "%s", err.text);
	(void)json_object_set_new(j, "finds", finds(p));
	run_event(r, "verified",
	          "%s: %llu compared, %llu missing, %llu extra, "
	          "%llu different, %llu repaired%s%s",
	          json_string_value(json_object_get(j, "state")),
	          (unsigned long long)p->result.compared,
	          (unsigned long long)p->result.missing,
	          (unsigned long long)p->result.extra,
	          (unsigned long long)p->result.different,
	          (unsigned long long)p->result.repaired,
	          p->rc != 0 ? "; " : "", p->rc != 0 ? p->err.text : "");
	json_decref(r->proof_last);
	r->proof_last = j;
	if (r->owed_n > 0 && r->owed_n == p->owed_n && is_equal(j) &&
	    journal_set_meta(r->journal, "owed", "", &err) == 0)
		r->owed_n = 0;
	verify_result_fini(&p->result);
	free(p);
	return true;
}

void
proof_fini(struct run *r)
{
	if (r->proof != NULL) {
		atomic_store(&r->proof->stop, true);
		(void)pthread_join(r->proof->thread, NULL);
		verify_result_fini(&r->proof->result);
		free(r->proof);
		r->proof = NULL;
	}
	json_decref(r->proof_last);
	r->proof_last = NULL;
}

bool
proof_is_partial(const struct run *r)
{
	const char *state =
		json_string_value(json_object_get(r->proof_last, "state"));

	return state != NULL && strcmp(state, "partial") == 0;
}

bool
proof_is_clean(const struct run *r)
{
	const json_t *j = r->proof_last;
	const char *state = json_string_value(json_object_get(j, "state"));

	return !r->proof_spent && state != NULL &&
	       (strcmp(state, "clean") == 0 || strcmp(state, "partial") == 0) &&
	       (uint64_t)json_integer_value(json_object_get(j, "epoch")) ==
	               journal_authority(r->journal).epoch;
}
