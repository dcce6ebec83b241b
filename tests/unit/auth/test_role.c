/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_role.c: roles in the organization and on one entity, who
 * may hand out what, API tokens, the audit log.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "control/limit.h"
#include "control/store/role.h"
#include "unit.h"

#define THING "11111111-2222-4333-8444-555555555555"
#define OTHER "99999999-2222-4333-8444-555555555555"

static struct err err;

static struct identity
login(struct fixture *f, const char *user)
{
	struct identity who;
	char *token;

	assert_int_equal(unit_login(f, user, "right-password", &token), 0);
	who = unit_who(f, token);
	free(token);
	return who;
}

static int
put(struct fixture *f, const struct identity *who, const char *kind,
    const char *uuid, const char *subject, const char *role)
{
	json_t *body = json_pack("{s:s}", "role", role);
	json_t *ret;
	int rc = auth_rbac_put(f->auth, who, kind, uuid, subject, body, &ret,
	                       &err);

	if (rc == 0)
		assert_string_equal(
			json_string_value(json_object_get(ret, "role")), role);
	json_decref(ret);
	json_decref(body);
	return rc;
}

static void
names(void **state)
{
	enum role r;

	(void)state;
	for (int i = 0; i < ROLE_N; i++) {
		assert_true(role_parse(role_name((enum role)i), &r));
		assert_int_equal(r, i);
	}
	assert_true(role_parse("SuperAdmin", &r) && r == ROLE_SUPER_ADMIN);
	assert_true(role_parse("Read", &r) && r == ROLE_READ);
	assert_false(role_parse("", &r));
	assert_false(role_parse("administrator", &r));
	assert_false(role_parse("adm", &r));
}

/* Each role against each need. */
static void
each_role_against_each_need(void **state)
{
	struct fixture *f = *state;

	for (int have = 0; have < ROLE_N; have++) {
		char *token = unit_token(f, role_name((enum role)have),
		                         role_name((enum role)have));
		struct identity who = unit_who(f, token);

		for (int need = 0; need < ROLE_N; need++) {
			int want = have >= need ? 0 : -ERR_FORBIDDEN;

			assert_int_equal(auth_may(f->auth, &who, "migrations",
			                          NULL, (enum role)need, &err),
			                 want);
			assert_int_equal(auth_may(f->auth, &who, "migrations",
			                          THING, (enum role)need, &err),
			                 want);
		}
		free(token);
	}
}

static void
grant_takes_the_place(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	struct identity ann;
	struct identity sue;

	unit_user(f, "ann", "read");
	unit_user(f, "sue", "super_admin");
	ann = login(f, "ann");
	sue = login(f, "sue");
	assert_int_equal(put(f, &root, "migrations", THING, "ann", "admin"), 0);
	assert_int_equal(auth_role(f->auth, &ann, "migrations", THING),
	                 ROLE_ADMIN);
	assert_int_equal(auth_role(f->auth, &ann, "migrations", OTHER),
	                 ROLE_READ);
	assert_int_equal(auth_role(f->auth, &ann, "endpoints", THING),
	                 ROLE_READ);
	assert_int_equal(auth_role(f->auth, &ann, "migrations", NULL),
	                 ROLE_READ);
	/* Down as well. */
	assert_int_equal(put(f, &root, "migrations", THING, "ann", "none"), 0);
	assert_int_equal(
		auth_may(f->auth, &ann, "migrations", THING, ROLE_READ, &err),
		-ERR_FORBIDDEN);
	/* But nobody locks a super-admin out. */
	assert_int_equal(put(f, &root, "migrations", THING, "sue", "none"), 0);
	assert_int_equal(auth_role(f->auth, &sue, "migrations", THING),
	                 ROLE_SUPER_ADMIN);
	assert_int_equal(auth_rbac_delete(f->auth, &root, "migrations", THING,
	                                  "ann", &err),
	                 0);
	assert_int_equal(auth_rbac_delete(f->auth, &root, "migrations", THING,
	                                  "ann", &err),
	                 -ERR_MISSING);
	assert_int_equal(auth_role(f->auth, &ann, "migrations", THING),
	                 ROLE_READ);
}

/* A grant in the organization counts at once, in sessions that are open. */
static void
role_changes_at_once(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	char *token;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	assert_int_equal(
		put(f, &root, "organizations", root.org_uuid, "ann", "write"),
		0);
	assert_int_equal(unit_who(f, token).role, ROLE_WRITE);
	assert_int_equal(auth_rbac_delete(f->auth, &root, "organizations",
	                                  root.org_uuid, "ann", &err),
	                 0);
	assert_int_equal(unit_who(f, token).role, ROLE_NONE);
	free(token);
	/* It caps a token, and never raises it. */
	token = unit_token(f, "t", "write");
	assert_int_equal(put(f, &root, "organizations", root.org_uuid,
	                     "token:t", "admin"),
	                 0);
	assert_int_equal(unit_who(f, token).role, ROLE_WRITE);
	assert_int_equal(put(f, &root, "organizations", root.org_uuid,
	                     "token:t", "read"),
	                 0);
	assert_int_equal(unit_who(f, token).role, ROLE_READ);
	free(token);
}

static void
nobody_gives_more_than_they_have(void **state)
{
	struct fixture *f = *state;
	struct identity admin;
	struct identity writer;
	json_t *body = json_loads("{\"username\":\"eve\",\"password\":"
	                          "\"eve-password\",\"role\":\"super_admin\"}",
	                          0, NULL);
	json_t *ret;

	unit_user(f, "adam", "admin");
	unit_user(f, "walt", "write");
	unit_user(f, "sue", "super_admin");
	admin = login(f, "adam");
	writer = login(f, "walt");
	assert_int_equal(auth_user_new(f->auth, &admin, body, &ret, &err),
	                 -ERR_FORBIDDEN);
	assert_int_equal(auth_user_new(f->auth, &writer, body, &ret, &err),
	                 -ERR_FORBIDDEN);
	assert_int_equal(
		put(f, &admin, "migrations", THING, "walt", "super_admin"),
		-ERR_FORBIDDEN);
	assert_int_equal(put(f, &admin, "organizations", admin.org_uuid, "adam",
	                     "super_admin"),
	                 -ERR_FORBIDDEN);
	/* Nor take from those who have more. */
	assert_int_equal(
		put(f, &admin, "organizations", admin.org_uuid, "sue", "read"),
		-ERR_FORBIDDEN);
	assert_int_equal(auth_user_delete(f->auth, &admin, "sue", &err),
	                 -ERR_FORBIDDEN);
	assert_int_equal(
		auth_token_revoke(f->auth, &admin, "first-admin", &err),
		-ERR_FORBIDDEN);
	assert_int_equal(put(f, &writer, "migrations", THING, "walt", "read"),
	                 -ERR_FORBIDDEN);
	assert_int_equal(auth_user_list(f->auth, &writer, &ret, &err),
	                 -ERR_FORBIDDEN);
	assert_int_equal(auth_token_list(f->auth, &writer, &ret, &err),
	                 -ERR_FORBIDDEN);
	assert_int_equal(put(f, &admin, "migrations", THING, "walt", "admin"),
	                 0);
	/* An admin of one thing hands out that thing. */
	writer = login(f, "walt");
	assert_int_equal(put(f, &writer, "migrations", THING, "adam", "read"),
	                 0);
	assert_int_equal(put(f, &writer, "migrations", OTHER, "adam", "read"),
	                 -ERR_FORBIDDEN);
	json_decref(body);
}

static void
somebody_is_left(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	struct identity sue;

	assert_int_equal(auth_token_revoke(f->auth, &root, "first-admin", &err),
	                 -ERR_STATE);
	unit_user(f, "sue", "super_admin");
	sue = login(f, "sue");
	assert_int_equal(auth_token_revoke(f->auth, &sue, "first-admin", &err),
	                 0);
	assert_int_equal(unit_refused(f, f->first), -ERR_UNAUTHORIZED);
	assert_int_equal(auth_user_delete(f->auth, &sue, "sue", &err),
	                 -ERR_STATE);
	assert_int_equal(
		put(f, &sue, "organizations", sue.org_uuid, "sue", "read"),
		-ERR_STATE);
	assert_int_equal(auth_rbac_delete(f->auth, &sue, "organizations",
	                                  sue.org_uuid, "sue", &err),
	                 -ERR_STATE);
	assert_int_equal(login(f, "sue").role, ROLE_SUPER_ADMIN);
}

static void
subjects_and_places_must_exist(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);

	assert_int_equal(put(f, &root, "migrations", THING, "nobody", "read"),
	                 -ERR_MISSING);
	assert_int_equal(put(f, &root, "migrations", THING, "token:no", "read"),
	                 -ERR_MISSING);
	assert_int_equal(put(f, &root, "migrations", THING, "oidc:", "read"),
	                 -ERR_BAD);
	assert_int_equal(put(f, &root, "migrations", THING, "oidc:x", "read"),
	                 0);
	assert_int_equal(put(f, &root, "users", THING, "oidc:x", "read"),
	                 -ERR_MISSING);
	assert_int_equal(
		put(f, &root, "organizations", OTHER, "oidc:x", "read"),
		-ERR_MISSING);
	assert_int_equal(auth_forget_entity(f->auth, root.org_uuid,
	                                    "migrations", THING, &err),
	                 0);
	assert_int_equal(auth_rbac_delete(f->auth, &root, "migrations", THING,
	                                  "oidc:x", &err),
	                 -ERR_MISSING);
}

static void
lists_show_no_secret(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	json_t *ret;
	char *text;
	char *token = unit_token(f, "t", "read");

	unit_user(f, "ann", "read");
	assert_int_equal(put(f, &root, "migrations", THING, "ann", "write"), 0);
	assert_int_equal(auth_user_list(f->auth, &root, &ret, &err), 0);
	text = json_dumps(ret, 0);
	assert_non_null(strstr(text, "\"ann\""));
	assert_null(strstr(text, "scrypt"));
	free(text);
	json_decref(ret);
	assert_int_equal(auth_token_list(f->auth, &root, &ret, &err), 0);
	assert_int_equal(json_array_size(ret), 2);
	text = json_dumps(ret, 0);
	assert_null(strstr(text, "gwt_"));
	assert_null(strstr(text, "hash"));
	assert_non_null(strstr(text, "\"2026-09-21T"));
	free(text);
	json_decref(ret);
	assert_int_equal(auth_rbac_get(f->auth, &root, "migrations", THING,
	                               NULL, &ret, &err),
	                 0);
	assert_int_equal(json_array_size(json_object_get(ret, "subjects")), 1);
	json_decref(ret);
	assert_int_equal(auth_rbac_get(f->auth, &root, "migrations", THING,
	                               "ann", &ret, &err),
	                 0);
	assert_string_equal(json_string_value(json_object_get(ret, "role")),
	                    "write");
	json_decref(ret);
	assert_false(unit_is_on_disk(f, token));
	free(token);
}

static void
api_tokens_end(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	char *token = unit_token(f, "t", "write");
	size_t n = strlen(token);
	char *again;

	assert_string_equal(unit_who(f, token).subject, "token:t");
	for (size_t i = 0; i < n; i++) {
		char was = token[i];

		token[i] = was == 'a' ? 'b' : 'a';
		assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
		token[i] = was;
	}
	assert_int_equal(put(f, &root, "migrations", THING, "token:t", "admin"),
	                 0);
	assert_int_equal(auth_token_revoke(f->auth, &root, "t", &err), 0);
	assert_int_equal(auth_token_revoke(f->auth, &root, "t", &err),
	                 -ERR_MISSING);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	/* One of the same name has not the grants of the old one. */
	again = unit_token(f, "t", "read");
	root = unit_who(f, again);
	assert_int_equal(auth_role(f->auth, &root, "migrations", THING),
	                 ROLE_READ);
	unit_now_ms += 3600 * 1000 - 1;
	(void)unit_who(f, again);
	unit_now_ms += 1;
	assert_int_equal(unit_refused(f, again), -ERR_UNAUTHORIZED);
	free(token);
	free(again);
}

static void
token_bodies(void **state)
{
	static const struct {
		const char *json;
		int rc;
	} cases[] = {
		{ "{\"id\":\"a\",\"role\":\"read\"}", 0 },
		{ "{\"id\":\"b\",\"role\":\"read\",\"expires_at\":"
		  "\"2027-01-01T00:00:00Z\"}",
		  0 },
		{ "{\"id\":\"c\",\"role\":\"read\",\"expires_at\":"
		  "\"2027-01-01T00:00:00.5+02:00\"}",
		  0 },
		{ "{\"id\":\"a\",\"role\":\"read\"}", -ERR_EXISTS },
		{ "{\"role\":\"read\"}", -ERR_BAD },
		{ "{\"id\":\"x y\",\"role\":\"read\"}", -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"king\"}", -ERR_BAD },
		{ "{\"id\":\"" THING "\",\"role\":\"read\"}", -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_in_s\":-5}",
		  -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_in_s\":5,"
		  "\"expires_at\":\"2027-01-01T00:00:00Z\"}",
		  -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_at\":"
		  "\"2020-01-01T00:00:00Z\"}",
		  -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_at\":"
		  "\"2027-02-30T00:00:00Z\"}",
		  -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_at\":"
		  "\"2027-02-20\"}",
		  -ERR_BAD },
		{ "{\"id\":\"x\",\"role\":\"read\",\"expires_at\":"
		  "\"2099-01-01T00:00:00Z\"}",
		  -ERR_BAD },
	};
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *body = json_loads(cases[i].json, 0, NULL);
		json_t *ret;

		assert_non_null(body);
		assert_int_equal(
			auth_token_new(f->auth, &root, body, &ret, &err),
			cases[i].rc);
		json_decref(ret);
		json_decref(body);
	}
}

static void
audit_keeps_what_happened(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	struct auth_entry e = { .who = &root,
		                .action = "POST /migrations/{m}/promote",
		                .kind = "migrations",
		                .id = "m1",
		                .reason = "looks good",
		                .result = "ok" };
	struct auth_filter filter = { .limit = 2 };
	json_t *ret;
	json_t *row;

	for (int i = 0; i < 5; i++)
		assert_int_equal(auth_audit(f->auth, &e, NULL, &err), 0);
	e.who = NULL;
	e.org_uuid = root.org_uuid;
	e.subject = "eve";
	e.peer = "10.9.9.9";
	e.action = "POST /auth/login";
	e.result = "unauthorized";
	e.kind = NULL;
	assert_int_equal(auth_audit(f->auth, &e, NULL, &err), 0);
	e.org_uuid = NULL;
	assert_int_equal(auth_audit(f->auth, &e, NULL, &err), 0);
	assert_int_equal(auth_audit_list(f->auth, &root, &filter, &ret, &err),
	                 0);
	assert_int_equal(json_array_size(ret), 2);
	row = json_array_get(ret, 0);
	assert_string_equal(json_string_value(json_object_get(row, "subject")),
	                    "eve");
	row = json_array_get(ret, 1);
	assert_string_equal(json_string_value(json_object_get(row, "subject")),
	                    "token:first-admin");
	assert_string_equal(json_string_value(json_object_get(row, "reason")),
	                    "looks good");
	assert_string_equal(json_string_value(json_object_get(row, "peer")),
	                    "127.0.0.1");
	filter.before = json_integer_value(json_object_get(row, "seq"));
	filter.limit = 100;
	json_decref(ret);
	assert_int_equal(auth_audit_list(f->auth, &root, &filter, &ret, &err),
	                 0);
	assert_int_equal(json_array_size(ret), 4);
	json_decref(ret);
	filter = (struct auth_filter){ .kind = "migrations", .subject = "eve" };
	assert_int_equal(auth_audit_list(f->auth, &root, &filter, &ret, &err),
	                 0);
	assert_int_equal(json_array_size(ret), 0);
	json_decref(ret);
	root.role = ROLE_WRITE;
	assert_int_equal(auth_audit_list(f->auth, &root, &filter, &ret, &err),
	                 -ERR_FORBIDDEN);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, unit_open, unit_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		CASE(each_role_against_each_need),
		CASE(grant_takes_the_place),
		CASE(role_changes_at_once),
		CASE(nobody_gives_more_than_they_have),
		CASE(somebody_is_left),
		CASE(subjects_and_places_must_exist),
		CASE(lists_show_no_secret),
		CASE(api_tokens_end),
		CASE(token_bodies),
		CASE(audit_keeps_what_happened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
