/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_verb.c: what is done to a migration.
 *
 * The state table (core/lifecycle) is asked first, by the state in the store;
 * then the host, which tells each change of state through api_on_state() before
 * it answers.
 */
#include <stdio.h>

#include "control/api/migration.h"

int
migration_verb(struct call *c, const char *verb, json_t *args, json_t **ret,
               struct err *err)
{
	if (c->api->host == NULL)
		return err_set(err, ERR_POSTPONED,
		               "Godwit is starting or stopping; try again");
	if (c->dry_run)
		(void)json_object_set_new(args, "dry_run", json_true());
	return host_migration_verb(c->api->host, entity_uuid(c->row), verb,
	                           args, ret, err);
}

/* The row as the verb left it; a dry run shows where it would lead. */
static int
answer(struct call *c, enum life_state to, struct err *err)
{
	json_t *row = c->dry_run ? json_deep_copy(c->row)
	                         : entity_by_uuid(c->api->store,
	                                          entity_uuid(c->row), err);
	int rc;

	if (row == NULL)
		return -(int)err->code;
	if (c->dry_run)
		(void)json_object_set_new(entity_body(row), "status",
		                          json_string(life_state_name(to)));
	rc = migration_answer(c, row, err);
	json_decref(row);
	return rc;
}

/* Body and reason as the host's arguments. */
static json_t *
args_of(const struct call *c)
{
	json_t *args = json_copy(c->body);

	if (c->reason != NULL)
		(void)json_object_set_new(args, "reason",
		                          json_string(c->reason));
	return args;
}

static int
ask(struct call *c, enum life_verb v, const char *verb, struct err *err)
{
	enum life_state to;
	json_t *status = NULL;
	json_t *args;
	int rc = life_apply(migration_state(c->row), v, &to, err);

	if (rc != 0)
		return rc;
	args = args_of(c);
	rc = migration_verb(c, verb, args, &status, err);
	json_decref(args);
	json_decref(status);
	return rc != 0 ? rc : answer(c, to, err);
}

int
on_migration_promote(struct call *c, struct err *err)
{
	return ask(c, VERB_PROMOTE, "promote", err);
}

int
on_migration_pause(struct call *c, struct err *err)
{
	return ask(c, VERB_PAUSE, "pause", err);
}

int
on_migration_resume(struct call *c, struct err *err)
{
	return ask(c, VERB_RESUME, "resume", err);
}

int
on_migration_complete(struct call *c, struct err *err)
{
	return ask(c, VERB_COMPLETE, "complete", err);
}

int
on_migration_verify(struct call *c, struct err *err)
{
	return ask(c, VERB_VERIFY, "verify", err);
}

/* Does this process run it? *ret: in which state. */
static bool
is_live(struct call *c, enum life_state *ret)
{
	json_t *live = c->api->host != NULL
	                       ? host_migration_status(c->api->host,
	                                               entity_uuid(c->row))
	                       : NULL;
	const char *state = call_text(live, "status");

	*ret = state != NULL ? life_state_find(state) : LIFE_N;
	json_decref(live);
	return *ret != LIFE_N;
}

/* A migration that this process does not run yet is started from its journal;
 * what it comes to by that may be all that was asked for. */
static int
ask_failed(struct call *c, enum life_verb v, const char *verb,
           enum life_state enough, struct err *err)
{
	enum life_state state = LIFE_N;
	enum life_state to;
	int rc;

	if (c->api->host == NULL || migration_state(c->row) != LIFE_FAILED ||
	    is_live(c, &state))
		return ask(c, v, verb, err);
	rc = life_apply(migration_state(c->row), v, &to, err);
	if (rc == 0 && !c->dry_run)
		rc = migration_revive(c->api, c->row, err);
	if (rc != 0 || c->dry_run)
		return rc != 0 ? rc : answer(c, to, err);
	if (!is_live(c, &state) || state == enough ||
	    (v == VERB_RETRY && state != LIFE_FAILED))
		return answer(c, to, err);
	return ask(c, v, verb, err);
}

int
on_migration_rollback(struct call *c, struct err *err)
{
	return ask_failed(c, VERB_ROLLBACK, "rollback", LIFE_ROLLED_BACK, err);
}

int
on_migration_retry(struct call *c, struct err *err)
{
	return ask_failed(c, VERB_RETRY, "retry", LIFE_RUNNING, err);
}

int
on_migration_refresh(struct call *c, struct err *err)
{
	return on_migration_retry(c, err);
}

int
on_migration_rollback_interlay(struct call *c, struct err *err)
{
	json_t *interlay = entity_get(c->api->store, call_org(c),
	                              ENTITY_INTERLAY, c->match.arg[1], err);
	json_t *status = NULL;
	enum life_state to;
	json_t *args;
	int rc = interlay != NULL ? life_apply(migration_state(c->row),
	                                       VERB_ROLLBACK, &to, err)
	                          : -(int)err->code;

	if (rc != 0) {
		json_decref(interlay);
		return rc;
	}
	args = args_of(c);
	(void)json_object_set(args, "resource",
	                      json_object_get(interlay, "uuid"));
	json_decref(interlay);
	rc = migration_verb(c, "resource_rollback", args, &status, err);
	json_decref(args);
	json_decref(status);
	/* The others go on. */
	return rc != 0 ? rc : answer(c, migration_state(c->row), err);
}

/* ---- shares ------------------------------------------------------------------- */

static double
share(const json_t *strategy, const char *name)
{
	return json_number_value(json_object_get(strategy, name));
}

/* While it is paused traffic may only go back. */
static int
check_decrease(struct call *c, const struct spec *s, struct err *err)
{
	const json_t *was = json_object_get(entity_body(c->row), "strategy");
	json_t *is = spec_print_strategy(s);
	bool more =
		share(is, "read_percentage") > share(was, "read_percentage") ||
		share(json_object_get(is, "write_mode"), "write_percentage") >
			share(json_object_get(was, "write_mode"),
	                      "write_percentage");

	json_decref(is);
	if (!more)
		return 0;
	return err_set(err, ERR_STATE,
	               "while the migration is paused shares can only be "
	               "lowered; possible: verify, traffic (lower), resume, "
	               "rollback");
}

/* The row as it is now, with another spec. */
static int
keep_spec(struct call *c, const struct spec *s, json_t **ret, struct err *err)
{
	json_t *row = entity_by_uuid(c->api->store, entity_uuid(c->row), err);
	json_t *body;
	int rc;

	if (row == NULL)
		return -(int)err->code;
	body = json_deep_copy(entity_body(row));
	rc = migration_put_spec(s, body, err);
	if (rc == 0)
		rc = entity_set(c->api->store, row, body, err);
	json_decref(body);
	if (rc == 0)
		*ret = row;
	else
		json_decref(row);
	return rc;
}

/* The engine first, then the row. */
static int
change(struct call *c, const char *verb, const struct spec *s,
       enum life_state to, struct err *err)
{
	json_t *args = args_of(c);
	json_t *status = NULL;
	json_t *row = NULL;
	int rc = migration_verb(c, verb, args, &status, err);

	json_decref(args);
	json_decref(status);
	if (rc != 0 || c->dry_run)
		return rc != 0 ? rc : answer(c, to, err);
	/* Read and written in one transaction: nobody comes between. */
	rc = store_begin(c->api->store, err);
	if (rc == 0) {
		rc = keep_spec(c, s, &row, err);
		rc = store_end(c->api->store, rc, err);
	}
	if (rc == 0)
		rc = migration_answer(c, row, err);
	json_decref(row);
	return rc;
}

int
on_migration_traffic(struct call *c, struct err *err)
{
	struct spec *s = NULL;
	enum life_state to;
	int rc = life_apply(migration_state(c->row), VERB_TRAFFIC, &to, err);

	if (rc == 0 && json_object_get(c->body, "read_percentage") == NULL &&
	    json_object_get(c->body, "write_percentage") == NULL)
		rc = err_set(err, ERR_BAD,
		             "give read_percentage, write_percentage or both");
	if (rc == 0)
		rc = migration_traffic_spec(c, &s, err);
	if (rc == 0 && migration_state(c->row) == LIFE_PAUSED)
		rc = check_decrease(c, s, err);
	if (rc == 0)
		rc = change(c, "traffic", s, to, err);
	spec_free(s);
	return rc;
}

int
on_migration_toggle(struct call *c, struct err *err)
{
	const char *type = call_text(
		json_object_get(entity_body(c->row), "strategy"), "type");
	struct spec *s = NULL;
	enum life_state to;
	json_t *patch;
	int rc = life_apply(migration_state(c->row), VERB_TOGGLE, &to, err);

	if (rc == 0 && (type == NULL || strcmp(type, "blue_green") != 0))
		rc = err_set(err, ERR_UNABLE,
		             "toggle is for the strategy blue_green; this "
		             "migration is %s: use traffic or promote",
		             type != NULL ? type : "another");
	if (rc != 0)
		return rc;
	patch = json_pack("{s:{s:s,s:O}}", "strategy", "type", "blue_green",
	                  "active_is_new",
	                  json_object_get(c->body, "activate_new"));
	rc = migration_patch_spec(c, patch, &s, err);
	json_decref(patch);
	if (rc == 0)
		rc = change(c, "toggle", s, to, err);
	spec_free(s);
	return rc;
}

/* ---- begin and end -------------------------------------------------------------- */

static int
count(const json_t *row, const char *kind)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	int n = 0;

	for (size_t i = 0; i < json_array_size(all); i++)
		n += strcmp(call_text(json_array_get(all, i), "kind"), kind) ==
		     0;
	return n;
}

/* Each resource has both sides, and each interlay of it listens. */
static int
run_test(struct call *c, json_t **ret, struct err *err)
{
	json_t *spec = migration_spec(c->api, c->row, err);
	json_t *data = NULL;
	int rc;

	if (spec == NULL && err->code != ERR_UNABLE)
		return -(int)err->code;
	if (spec == NULL) {
		*ret = json_pack("{s:b,s:[{s:s,s:s,s:s}]}", "valid", 0,
		                 "checks", "name", "resources", "result",
		                 "fail", "detail", err->text);
		return 0;
	}
	rc = host_migration_test(c->api->host, spec, &data, err);
	json_decref(spec);
	if (rc == 0)
		*ret = data;
	return rc;
}

int
on_migration_test(struct call *c, struct err *err)
{
	enum life_state to;
	json_t *data = NULL;
	int rc = life_apply(migration_state(c->row), VERB_TEST, &to, err);

	if (rc == 0)
		rc = run_test(c, &data, err);
	if (rc != 0)
		return rc;
	(void)json_object_set_new(data, "apis_tested",
	                          json_integer(count(c->row, "api")));
	(void)json_object_set_new(data, "interlays_tested",
	                          json_integer(count(c->row, "interlay")));
	return call_data(c, data, err);
}

/* A dry run of migrate: the test has to pass. */
static int
dry_migrate(struct call *c, enum life_state to, struct err *err)
{
	json_t *data = NULL;
	const json_t *checks;
	int rc = run_test(c, &data, err);

	checks = json_object_get(data, "checks");
	for (size_t i = 0; i < json_array_size(checks) && rc == 0; i++) {
		const json_t *check = json_array_get(checks, i);
		const char *detail = call_text(check, "detail");

		if (strcmp(call_text(check, "result"), "fail") == 0)
			rc = err_set(err, ERR_UNABLE, "%s: %s",
			             call_text(check, "name"),
			             detail != NULL ? detail : "fails");
	}
	json_decref(data);
	return rc != 0 ? rc : answer(c, to, err);
}

/* Apis follow the routing of a leg; interlays have to listen. */
static int
check_listening(struct call *c, struct err *err)
{
	const json_t *all = json_object_get(entity_body(c->row), "resources");

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);
		const char *uuid = call_text(r, "uuid");
		json_t *live;
		json_t *row;
		int rc = 0;

		if (strcmp(call_text(r, "kind"), "interlay") != 0)
			continue;
		live = host_interlay_status(c->api->host, uuid);
		if (live == NULL) {
			row = entity_by_uuid(c->api->store, uuid, err);
			rc = row != NULL ? interlay_run(c->api, row, false, err)
			                 : -(int)err->code;
			json_decref(row);
		}
		json_decref(live);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int
on_migration_migrate(struct call *c, struct err *err)
{
	enum life_state from = migration_state(c->row);
	enum life_state to;
	json_t *spec;
	int rc = life_apply(from, VERB_MIGRATE, &to, err);

	if (rc != 0)
		return rc;
	if (from == LIFE_RUNNING) {
		c->status = 200;
		return answer(c, to, err);
	}
	if (c->dry_run)
		return dry_migrate(c, to, err);
	rc = check_listening(c, err);
	if (rc != 0)
		return rc;
	spec = migration_spec(c->api, c->row, err);
	if (spec == NULL)
		return -(int)err->code;
	if (c->reason != NULL)
		(void)json_object_set_new(spec, "reason",
		                          json_string(c->reason));
	rc = host_migration_start(c->api->host, spec, err);
	json_decref(spec);
	return rc != 0 ? rc : answer(c, to, err);
}

int
on_migration_verification(struct call *c, struct err *err)
{
	json_t *data = c->api->host != NULL
	                       ? host_migration_verification(
					 c->api->host, entity_uuid(c->row))
	                       : NULL;

	if (data == NULL)
		data = json_incref(json_object_get(
			json_object_get(entity_body(c->row), "last"),
			"verification"));
	if (data == NULL)
		return err_set(err, ERR_MISSING,
		               "nothing was compared yet; POST .../verify "
		               "starts it");
	return call_data(c, data, err);
}

/* ---- the opposite ---------------------------------------------------------------- */

static json_t *
swapped(const json_t *row)
{
	const json_t *all = json_object_get(entity_body(row), "resources");
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);
		const char *to = resource_new(row, r);

		if (to == NULL)
			continue;
		(void)json_array_append_new(
			ret, json_pack("{s:O,s:O,s:s,s:s}", "kind",
		                       json_object_get(r, "kind"), "uuid",
		                       json_object_get(r, "uuid"), "old", to,
		                       "new", resource_old(r)));
	}
	return ret;
}

/* What is left behind there is emptied; a rule for rows that both have was for the way
 * there. */
static bool
is_postgres(struct api *a, const json_t *body)
{
	const json_t *first =
		json_array_get(json_object_get(body, "resources"), 0);
	struct err ignored;
	json_t *row =
		entity_by_uuid(a->store, call_text(first, "old"), &ignored);
	const char *kind = row != NULL ? entity_text(row, "kind") : NULL;
	bool ret = kind != NULL && strcmp(kind, "postgres") == 0;

	json_decref(row);
	return ret;
}

static json_t *
reverse_body(struct call *c)
{
	static const char *const names[] = { "data",     "failure_handling",
		                             "analysis", "options",
		                             "tests",    "description",
		                             "warnings", NULL };
	const json_t *from = entity_body(c->row);
	json_t *strategy = json_object_get(from, "first");
	json_t *body =
		json_pack("{s:s,s:b,s:s,s:O,s:O,s:o}", "status",
	                  life_state_name(LIFE_READY), "partial", 0,
	                  "reverse_of", entity_id(c->row), "strategy", strategy,
	                  "first", strategy, "resources", swapped(c->row));

	call_merge(body, from, names);
	if (is_postgres(c->api, body))
		(void)json_object_set_new(
			body, "data", json_pack("{s:s}", "type", "snapshot"));
	return body;
}

static json_t *
needs_of(const json_t *body)
{
	const json_t *all = json_object_get(body, "resources");
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *r = json_array_get(all, i);

		(void)json_array_append(ret, json_object_get(r, "uuid"));
		(void)json_array_append(ret, json_object_get(r, "old"));
		(void)json_array_append(ret, json_object_get(r, "new"));
	}
	return ret;
}

int
on_migration_reverse(struct call *c, struct err *err)
{
	const char *id = call_text(c->body, "id");
	enum life_state to;
	char made[65];
	json_t *row = NULL;
	json_t *needs;
	json_t *body;
	int rc = life_apply(migration_state(c->row), VERB_REVERSE, &to, err);

	if (rc != 0)
		return rc;
	(void)snprintf(made, sizeof(made), "%.56s-reverse", entity_id(c->row));
	body = reverse_body(c);
	needs = needs_of(body);
	rc = store_begin(c->api->store, err);
	if (rc == 0) {
		row = entity_add(c->api->store, call_org(c), ENTITY_MIGRATION,
		                 NULL, id != NULL ? id : made, c->who.subject,
		                 body, err);
		rc = row != NULL ? entity_needs(c->api->store, row, needs, err)
		                 : -(int)err->code;
		rc = migration_end(c, rc, err);
	}
	if (rc == 0)
		rc = migration_answer(c, row, err);
	json_decref(row);
	json_decref(needs);
	json_decref(body);
	return rc;
}
