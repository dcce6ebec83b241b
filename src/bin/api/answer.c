/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/answer.c: the data of an answer, for people or for programs.
 */
#include "bin/api/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "bin/action.h"
#include "bin/api/sheet.h"
#include "bin/api/view.h"
#include "bin/frame.h"
#include "bin/look.h"
#include "bin/said.h"
#include "bin/status.h"
#include "bin/term.h"
#include "control/api/shape.h"

#define CELL_MAX  400
#define DEPTH_MAX 6

struct column {
	const char *shape; /* of the answer, shape.md                       */
	const char *heading;
	const char *path;
};

/* What a list shows to people; --json has everything. */
static const struct column columns[] = {
	{ "endpoint", "ENDPOINT", "id" },
	{ "endpoint", "KIND", "kind" },
	{ "endpoint", "URL", "config.url" },
	{ "endpoint", "USER", "config.username" },
	{ "endpoint", "LABELS", "labels" },
	{ "endpoint", "DESCRIPTION", "description" },
	{ "interlay", "INTERLAY", "id" },
	{ "interlay", "LISTEN", "listen" },
	{ "interlay", "ENDPOINT", "endpoint" },
	{ "interlay", "RUNNING", "running" },
	{ "interlay", "CLIENTS", "live.clients" },
	{ "interlay", "MIGRATION", "migration" },
	{ "interlay", "LABELS", "labels" },
	{ "interlay", "DESCRIPTION", "description" },
	{ "interlay_pool", "DATABASE", "database" },
	{ "interlay_pool", "USER", "user" },
	{ "interlay_pool", "SIDE", "side" },
	{ "interlay_pool", "MODE", "mode" },
	{ "interlay_pool", "SIZE", "size" },
	{ "interlay_pool", "CLIENTS", "clients" },
	{ "interlay_pool", "CL_ACTIVE", "clients_active" },
	{ "interlay_pool", "CL_WAITING", "clients_waiting" },
	{ "interlay_pool", "SV_ACTIVE", "servers_active" },
	{ "interlay_pool", "SV_USED", "servers_used" },
	{ "interlay_pool", "SV_IDLE", "servers_idle" },
	{ "interlay_pool", "SV_LOGIN", "servers_login" },
	{ "interlay_pool", "MAXWAIT_MS", "longest_wait_ms" },
	{ "interlay_pool", "AHEAD", "sent_ahead" },
	{ "interlay_client", "CLIENT", "id" },
	{ "interlay_client", "USER", "user" },
	{ "interlay_client", "DATABASE", "database" },
	{ "interlay_client", "APPLICATION", "application_name" },
	{ "interlay_client", "ADDRESS", "address" },
	{ "interlay_client", "SIDE", "side" },
	{ "interlay_client", "STATE", "state" },
	{ "interlay_client", "AGE_MS", "age_ms" },
	{ "interlay_client", "QUIET_MS", "quiet_ms" },
	{ "interlay_client", "REQUESTS", "requests" },
	{ "interlay_client", "STATEMENTS", "statements" },
	{ "interlay_client", "PID", "process" },
	{ "interlay_client", "WHY", "why" },
	{ "interlay_server", "SERVER", "id" },
	{ "interlay_server", "SIDE", "side" },
	{ "interlay_server", "ADDRESS", "address" },
	{ "interlay_server", "USER", "user" },
	{ "interlay_server", "DATABASE", "database" },
	{ "interlay_server", "STATE", "state" },
	{ "interlay_server", "CLIENT", "client" },
	{ "interlay_server", "PID", "process" },
	{ "interlay_server", "AGE_MS", "age_ms" },
	{ "interlay_server", "STATEMENTS", "statements" },
	{ "interlay_server", "WHAT", "what" },
	{ "template", "TEMPLATE", "id" },
	{ "template", "ENDPOINT", "endpoint" },
	{ "template", "KIND", "kind" },
	{ "template", "COMMAND", "template.command" },
	{ "template", "FIELDS", "fields[].name" },
	{ "template", "DESCRIPTION", "description" },
	{ "api", "API", "id" },
	{ "api", "TEMPLATES", "bindings[].template" },
	{ "api", "FIELDS", "fields[].name" },
	{ "api", "MIGRATION", "migration" },
	{ "api", "DESCRIPTION", "description" },
	{ "migration", "MIGRATION", "id" },
	{ "migration", "STATE", "status" },
	{ "migration", "PHASE", "phase" },
	{ "migration", "STRATEGY", "strategy.type" },
	{ "migration", "AUTHORITY", "authority" },
	{ "migration", "INTERLAYS", "interlays[].id" },
	{ "migration", "APIS", "apis[].id" },
	{ "migration", "READS%", "reads.actual_percentage" },
	{ "migration", "LAG_MS", "stream.lag_ms" },
	{ "migration", "NEXT", "next" },
	{ "token_row", "TOKEN", "id" },
	{ "token_row", "ROLE", "role" },
	{ "token_row", "EXPIRES", "expires_at" },
	{ "token_row", "MADE_BY", "created_by" },
	{ "token_row", "MADE", "created_at" },
	{ "token_row", "DESCRIPTION", "description" },
	{ "user", "USER", "username" },
	{ "user", "ROLE", "role" },
	{ "user", "NAME", "display_name" },
	{ "user", "MADE", "created_at" },
	{ "user", "DESCRIPTION", "description" },
	{ "audit_entry", "SEQ", "seq" },
	{ "audit_entry", "AT", "at" },
	{ "audit_entry", "WHO", "subject" },
	{ "audit_entry", "FROM", "peer" },
	{ "audit_entry", "ACTION", "action" },
	{ "audit_entry", "WHAT", "id" },
	{ "audit_entry", "RESULT", "result" },
	{ "audit_entry", "REASON", "reason" },
	{ "grants", "SUBJECT", "subject" },
	{ "grants", "ROLE", "role" },
	{ "grants", "BY", "granted_by" },
	{ "grants", "AT", "granted_at" },
	{ "check", "CHECK", "name" },
	{ "check", "RESULT", "result" },
	{ "check", "OF", "resource" },
	{ "check", "DETAIL", "detail" },
};

/* ---- values as text ---------------------------------------------------------- */

static size_t
put_text(char *ret, size_t n, size_t at, const char *text)
{
	size_t len = strlen(text);

	if (len > n - 1 - at)
		len = n - 1 - at;
	memcpy(ret + at, text, len);
	ret[at + len] = '\0';
	return at + len;
}

static void
plain(const json_t *v, char *ret, size_t n)
{
	char number[40];
	char *text = NULL;

	ret[0] = '\0';
	if (json_is_string(v)) {
		(void)snprintf(ret, n, "%s", json_string_value(v));
	} else if (json_is_boolean(v)) {
		(void)put_text(ret, n, 0, json_is_true(v) ? "yes" : "no");
	} else if (json_is_real(v)) {
		(void)snprintf(number, sizeof(number), "%.10g",
		               json_real_value(v));
		(void)put_text(ret, n, 0, number);
	} else if (v != NULL && !json_is_null(v)) {
		text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		(void)snprintf(ret, n, "%s", text != NULL ? text : "");
		free(text);
	}
}

static bool
is_flat(const json_t *v)
{
	return !json_is_object(v) && !json_is_array(v);
}

void
answer_text(const json_t *v, char *ret, size_t n)
{
	char one[CELL_MAX];
	size_t at = 0;
	const char *name;
	json_t *value;

	ret[0] = '\0';
	if (json_is_array(v)) {
		for (size_t i = 0; i < json_array_size(v); i++) {
			plain(json_array_get(v, i), one, sizeof(one));
			if (i > 0)
				at = put_text(ret, n, at, " ");
			at = put_text(ret, n, at, one);
		}
		return;
	}
	if (!json_is_object(v)) {
		plain(v, ret, n);
		return;
	}
	json_object_foreach(shape_mutable(v), name, value)
	{
		plain(value, one, sizeof(one));
		at = put_text(ret, n, at, at > 0 ? "," : "");
		at = put_text(ret, n, at, name);
		at = put_text(ret, n, at, "=");
		at = put_text(ret, n, at, one);
	}
}

void
answer_at(const json_t *j, const char *path, char *ret, size_t n)
{
	const char *each = strstr(path, "[].");
	char head[64];
	const json_t *list;
	size_t at = 0;

	ret[0] = '\0';
	if (each == NULL) {
		answer_text(look_at(j, path), ret, n);
		return;
	}
	(void)snprintf(head, sizeof(head), "%.*s", (int)(each - path), path);
	list = look_at(j, head);
	for (size_t i = 0; i < json_array_size(list); i++) {
		char one[CELL_MAX];

		answer_text(look_at(json_array_get(list, i), each + 3), one,
		            sizeof(one));
		if (i > 0)
			at = put_text(ret, n, at, ",");
		at = put_text(ret, n, at, one);
	}
}

/* ---- a list --------------------------------------------------------------------- */

static uint32_t
width(void)
{
	uint32_t all = 0;
	uint32_t rows;

	if (term_is_output())
		term_size(&all, &rows);
	return all;
}

static void
print_list(const char *shape, const json_t *list)
{
	const char *text[SHEET_COLUMNS] = { NULL };
	char room[SHEET_COLUMNS][CELL_MAX];
	const struct column *first = NULL;
	struct sheet s;
	uint32_t n = 0;

	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		if (strcmp(columns[i].shape, shape) != 0)
			continue;
		if (first == NULL)
			first = &columns[i];
		text[n++] = columns[i].heading;
	}
	if (first == NULL || json_array_size(list) == 0) {
		(void)fprintf(stderr, "godwit: there is none\n");
		return;
	}
	sheet_init(&s, n);
	sheet_add(&s, text);
	for (size_t r = 0; r < json_array_size(list); r++) {
		for (uint32_t c = 0; c < n; c++) {
			answer_at(json_array_get(list, r), first[c].path,
			          room[c], CELL_MAX);
			text[c] = room[c];
		}
		sheet_add(&s, text);
	}
	if (!sheet_print(&s, stdout, width(), term_has_color()))
		(void)fprintf(stderr, "godwit: out of memory\n");
	sheet_fini(&s);
}

/* ---- one thing -------------------------------------------------------------------- */

struct level {
	json_t *object;
	void *at; /* of json_object_iter()                              */
	char prefix[128];
};

static void
print_value(const char *name, const json_t *v)
{
	char text[2000];

	answer_text(v, text, sizeof(text));
	if (text[0] == '\0')
		return;
	(void)printf("%-26s ", name);
	sheet_put(stdout, text, SIZE_MAX);
	(void)fputc('\n', stdout);
}

static bool
has_structure(const json_t *v)
{
	const char *name;
	json_t *value;

	json_object_foreach(shape_mutable(v), name, value)
	{
		if (!is_flat(value))
			return true;
	}
	return false;
}

/* A list of objects: one line each. */
static void
print_each(const char *name, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		print_value(name, json_array_get(list, i));
}

/* Names with dots; what is deeper than DEPTH_MAX comes as JSON. */
static void
print_thing(const json_t *j)
{
	struct level stack[DEPTH_MAX] = { { .object = shape_mutable(j) } };
	uint32_t depth = 1;

	stack[0].at = json_object_iter(stack[0].object);
	while (depth > 0) {
		struct level *l = &stack[depth - 1];
		json_t *value = json_object_iter_value(l->at);
		char name[128];

		if (l->at == NULL) {
			depth--;
			continue;
		}
		(void)snprintf(name, sizeof(name), "%.60s%s%.60s", l->prefix,
		               l->prefix[0] != '\0' ? "." : "",
		               json_object_iter_key(l->at));
		l->at = json_object_iter_next(l->object, l->at);
		if (json_is_object(value) && has_structure(value) &&
		    depth < DEPTH_MAX) {
			stack[depth] =
				(struct level){ .object = value,
				                .at = json_object_iter(value) };
			memcpy(stack[depth].prefix, name, sizeof(name));
			depth++;
		} else if (json_is_array(value) &&
		           !is_flat(json_array_get(value, 0))) {
			print_each(name, value);
		} else {
			print_value(name, value);
		}
	}
}

/* Does the engine say something about it? Then as the live screen does. */
static bool
is_live(const json_t *m)
{
	return json_is_object(look_at(m, "stream"));
}

static void
print_migration(const json_t *m)
{
	struct frame_conf conf = { .columns = 1000,
		                   .has_color = term_has_color(),
		                   .has_utf8 = term_has_utf8(),
		                   .events = 5 };
	json_t *status;

	if (!is_live(m)) {
		print_thing(m);
		return;
	}
	if (term_is_output())
		conf.columns = width();
	status = view_status(m);
	(void)frame_print(stdout, status, &conf);
	json_decref(status);
	print_value("etag", json_object_get(m, "etag"));
}

/* ---- verbs ------------------------------------------------------------------------- */

static void
print_warnings(const json_t *data)
{
	const json_t *list = look_at(data, "warnings");

	for (size_t i = 0; i < json_array_size(list); i++)
		(void)fprintf(stderr, "godwit: note: %s\n",
		              json_string_value(json_array_get(list, i)));
}

/* What it did, where we are, what comes next. */
static void
print_verb(const struct args *a, const json_t *m)
{
	const char *verb = actions[a->action].word;
	const char *id = look_text(m, "id");
	const char *state = look_text(m, "status");
	bool is_dry = look_bool(m, "dry_run");
	char text[256] = "done";
	json_t *answer;
	json_t *status;

	if (is_live(m) && !is_dry) {
		status = view_status(m);
		answer = json_pack("{s:b,s:o}", "ok", 1, "data", status);
		said_text(verb, answer, text, sizeof(text));
		json_decref(answer);
	}
	if (is_dry)
		(void)printf("%s %s: would be possible; nothing was changed\n",
		             verb, id);
	else
		(void)printf("%s %s: %s\n", verb, id, text);
	(void)printf("%s %s%s%s%s%s\n", is_dry ? "then: " : "now:  ", state,
	             !is_dry && look_text(m, "phase")[0] != '\0' ? ", " : "",
	             is_dry ? "" : look_text(m, "phase"),
	             look_text(m, "authority")[0] != '\0' ? ", authority " : "",
	             look_text(m, "authority"));
	if (look_text(m, "next")[0] != '\0' && !is_dry)
		(void)printf("next:  %s\n", look_text(m, "next"));
	if (strcmp(verb, "add") == 0 || strcmp(verb, "remove") == 0 ||
	    strcmp(state, "ready") == 0)
		(void)printf("see:   godwit migrations test %s; godwit "
		             "migrations migrate %s\n",
		             id, id);
	else
		(void)printf("see:   godwit migrations watch %s\n", id);
}

static int
tested(const json_t *data)
{
	if (look_at(data, "valid") != NULL)
		return look_bool(data, "valid") ? STATUS_DONE
		                                : STATUS_PRECONDITION;
	return look_bool(data, "connected") ? STATUS_DONE : STATUS_TEMPORARY;
}

static void
print_test(const json_t *data)
{
	if (look_at(data, "connected") != NULL)
		(void)printf("%s; version %s; %.3g ms\n",
		             look_bool(data, "connected") ? "connected"
		                                          : "not connected",
		             look_text(data, "version"),
		             look_real(data, "latency_ms"));
	else
		(void)printf("%s; %lld interlays, %lld apis\n",
		             look_bool(data, "valid") ? "it can be started"
		                                      : "it cannot be started",
		             (long long)look_int(data, "interlays_tested"),
		             (long long)look_int(data, "apis_tested"));
	print_list("check", look_at(data, "checks"));
}

static void
print_json(const json_t *data)
{
	(void)json_dumpf(data, stdout,
	                 JSON_COMPACT | JSON_ENCODE_ANY |
	                         JSON_REAL_PRECISION(15));
	(void)fputc('\n', stdout);
}

/* The answer of a command or of several: as typed JSON, which is readable. */
static void
print_result(const json_t *data)
{
	const json_t *v = look_at(data, "results");

	if (v == NULL)
		v = look_at(data, "value");
	if (json_is_string(v))
		(void)printf("%s\n", json_string_value(v));
	else
		(void)json_dumpf(v != NULL ? v : data, stdout,
		                 JSON_ENCODE_ANY | JSON_INDENT(2) |
		                         JSON_REAL_PRECISION(15));
	if (!json_is_string(v))
		(void)fputc('\n', stdout);
}

static int
exit_of(const struct args *a, const json_t *data)
{
	const char *shape = router_rows[actions[a->action].route].answer;

	if (strcmp(shape, "verification") == 0)
		return said_proof_status(data);
	if (strcmp(shape, "migration_test") == 0 ||
	    strcmp(shape, "endpoint_test") == 0)
		return tested(data);
	if (a->action == ACTION_MIGRATIONS_VERIFY &&
	    !look_bool(data, "dry_run"))
		return said_proof_status(look_at(data, "verification"));
	return STATUS_DONE;
}

static bool
is_verb(const struct args *a)
{
	const struct router_row *r = &router_rows[actions[a->action].route];

	return strcmp(r->answer, "migration") == 0 && router_is_mutation(r) &&
	       r->status != 201;
}

static void
print_text(const struct args *a, const json_t *data)
{
	const struct router_row *r = &router_rows[actions[a->action].route];
	const char *shape = r->answer;

	if (json_is_array(data))
		print_list(shape, data);
	else if (strcmp(shape, "done") == 0)
		(void)printf("%s: %s%s\n", look_text(data, "id"),
		             actions[a->action].word,
		             look_bool(data, "dry_run") ? " would be possible; "
		                                          "nothing was changed"
		                                        : "d");
	else if (strcmp(shape, "migration_test") == 0 ||
	         strcmp(shape, "endpoint_test") == 0)
		print_test(data);
	else if (strstr(shape, "_value") != NULL)
		print_result(data);
	else if (is_verb(a))
		print_verb(a, data);
	else if (strcmp(shape, "migration") == 0)
		print_migration(data);
	else
		print_thing(data);
}

void
answer_list(const struct args *a, const char *shape, const json_t *rows)
{
	if (a->number[OPT_JSON] != 0)
		print_json(rows);
	else
		print_list(shape, rows);
}

int
answer_print(const struct args *a, const json_t *data)
{
	if (a->number[OPT_JSON] != 0) {
		print_json(data);
	} else {
		print_warnings(data);
		print_text(a, data);
	}
	return exit_of(a, data);
}
