/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_login.c: logins, their tokens, and every end of them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "control/auth/key.h"
#include "control/limit.h"
#include "unit.h"

static int
patch(struct fixture *f, const struct identity *who, const char *user,
      const char *json)
{
	json_t *body = json_loads(json, 0, NULL);
	struct err err = { 0 };
	json_t *ret;
	int rc;

	assert_non_null(body);
	rc = auth_user_patch(f->auth, who, user, body, &ret, &err);
	assert_true((rc == 0) == (ret != NULL));
	json_decref(ret);
	json_decref(body);
	return rc;
}

static void
right_password_logs_in(void **state)
{
	struct fixture *f = *state;
	struct identity who;
	char *token;

	unit_user(f, "ann", "write");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	who = unit_who(f, token);
	assert_int_equal(who.kind, IDENTITY_USER);
	assert_int_equal(who.role, ROLE_WRITE);
	assert_string_equal(who.subject, "ann");
	assert_string_equal(who.org, "default");
	assert_string_equal(who.peer, "127.0.0.1");
	assert_int_equal(who.expires_ms, unit_now_ms + LIMIT_TOKEN_S * 1000);
	/* Another process with the same key file takes it as well. */
	unit_again(f);
	(void)unit_who(f, token);
	assert_false(unit_is_on_disk(f, "right-password"));
	free(token);
	/* By uuid as well. */
	assert_int_equal(unit_login(f, who.user, "right-password", NULL), 0);
}

static void
wrong_ones_do_not(void **state)
{
	struct fixture *f = *state;
	struct auth_request r = { .authorization = "Basic YW5uOnJpZ2h0LXBhc3N3b"
		                                   "3Jk",
		                  .org = "elsewhere",
		                  .peer = "10.1.1.1" };
	struct err wrong = { 0 };
	struct err none = { 0 };
	uint32_t wait_s;
	json_t *ret;

	unit_user(f, "ann", "write");
	assert_int_equal(unit_login(f, "ann", "right-passworD", NULL),
	                 -ERR_UNAUTHORIZED);
	assert_int_equal(unit_login(f, "ann", "", NULL), -ERR_UNAUTHORIZED);
	assert_int_equal(unit_login(f, "bob", "right-password", NULL),
	                 -ERR_UNAUTHORIZED);
	/* Another organization: the same answer as for a wrong password. */
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &none),
	                 -ERR_UNAUTHORIZED);
	r.org = "default";
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &wrong), 0);
	json_decref(ret);
	r.authorization = "Basic YW5uOng=";
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &wrong),
	                 -ERR_UNAUTHORIZED);
	assert_string_equal(wrong.text, none.text);
	r.org = NULL;
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &wrong),
	                 -ERR_BAD);
	r.org = "default";
	r.authorization = "Bearer x";
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &wrong),
	                 -ERR_UNAUTHORIZED);
	r.authorization = NULL;
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &wrong),
	                 -ERR_UNAUTHORIZED);
}

static void
guessing_is_slowed(void **state)
{
	struct fixture *f = *state;

	unit_user(f, "ann", "read");
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(unit_login(f, "ann", "guess", NULL),
		                 -ERR_UNAUTHORIZED);
	/* The right one has to wait as well, or waiting would tell. */
	assert_int_equal(unit_login(f, "ann", "right-password", NULL),
	                 -ERR_LIMIT);
	unit_now_ms += 1000;
	assert_int_equal(unit_login(f, "ann", "right-password", NULL), 0);
	assert_int_equal(unit_login(f, "ann", "guess", NULL),
	                 -ERR_UNAUTHORIZED);
	/* Users who are not there are counted alike. */
	for (int i = 0; i < LIMIT_LOGIN_USER_FREE; i++)
		assert_int_equal(unit_login(f, "nobody", "guess", NULL),
		                 -ERR_UNAUTHORIZED);
	assert_int_equal(unit_login(f, "nobody", "guess", NULL), -ERR_LIMIT);
}

static void
token_expires(void **state)
{
	struct fixture *f = *state;
	char *token;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	unit_now_ms += (LIMIT_TOKEN_S + LIMIT_CLOCK_SLACK_S) * 1000 - 1;
	(void)unit_who(f, token);
	unit_now_ms += 1;
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	/* A clock that is far behind the one that made it. */
	unit_now_ms -= 2 * LIMIT_TOKEN_S * 1000;
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
}

static char *
refreshed(struct fixture *f, const char *token, int want)
{
	struct identity who = unit_who(f, token);
	struct err err = { 0 };
	json_t *data;
	char *ret = NULL;

	assert_int_equal(auth_refresh(f->auth, &who, &data, &err), want);
	if (want == 0)
		ret = strdup(json_string_value(json_object_get(data, "token")));
	else
		assert_null(data);
	json_decref(data);
	return ret;
}

static void
refresh_rotates(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	struct identity who;
	json_t *data;
	char *first;
	char *second;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &first), 0);
	who = unit_who(f, first);
	second = refreshed(f, first, 0);
	assert_int_equal(unit_refused(f, first), -ERR_UNAUTHORIZED);
	(void)unit_who(f, second);
	/* Two at the same time: one gets a token. */
	assert_int_equal(auth_refresh(f->auth, &who, &data, &err),
	                 -ERR_UNAUTHORIZED);
	free(first);
	/* Not for ever. */
	first = second;
	for (int64_t s = 0; s + 800 < LIMIT_TOKEN_SESSION_S; s += 800) {
		unit_now_ms += 800 * 1000;
		second = refreshed(f, first, 0);
		free(first);
		first = second;
	}
	unit_now_ms += 800 * 1000;
	assert_null(refreshed(f, first, -ERR_UNAUTHORIZED));
	free(first);
	/* What has expired is no longer remembered. */
	assert_in_range(
		store_number(f->store, "SELECT count(*) FROM token_ended", ""),
		1, 3);
}

static void
logout_ends_it(void **state)
{
	struct fixture *f = *state;
	struct identity who;
	struct err err = { 0 };
	char *token;
	char *other;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	assert_int_equal(unit_login(f, "ann", "right-password", &other), 0);
	who = unit_who(f, token);
	assert_int_equal(auth_logout(f->auth, &who, &err), 0);
	assert_int_equal(auth_logout(f->auth, &who, &err), 0);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	unit_again(f);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	(void)unit_who(f, other);
	free(token);
	free(other);
	/* An API token is ended in another way. */
	who = unit_who(f, f->first);
	assert_int_equal(auth_logout(f->auth, &who, &err), -ERR_FORBIDDEN);
}

static void
password_change_ends_sessions(void **state)
{
	struct fixture *f = *state;
	struct identity who;
	char *token;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	who = unit_who(f, token);
	assert_int_equal(
		patch(f, &who, "ann", "{\"password\":\"another-password\"}"),
		-ERR_BAD);
	assert_int_equal(patch(f, &who, "ann",
	                       "{\"password\":\"another-password\","
	                       "\"old_password\":\"wrong\"}"),
	                 -ERR_FORBIDDEN);
	assert_int_equal(patch(f, &who, "ann",
	                       "{\"password\":\"short\","
	                       "\"old_password\":\"right-password\"}"),
	                 -ERR_BAD);
	(void)unit_who(f, token);
	assert_int_equal(patch(f, &who, "ann",
	                       "{\"password\":\"another-password\","
	                       "\"old_password\":\"right-password\"}"),
	                 0);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
	assert_int_equal(unit_login(f, "ann", "right-password", NULL),
	                 -ERR_UNAUTHORIZED);
	assert_int_equal(unit_login(f, "ann", "another-password", &token), 0);
	free(token);
}

static void
removed_user_is_out(void **state)
{
	struct fixture *f = *state;
	struct identity admin = unit_who(f, f->first);
	struct err err = { 0 };
	char *token;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	assert_int_equal(auth_user_delete(f->auth, &admin, "ann", &err), 0);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	/* Another one of this name is another one. */
	unit_user(f, "ann", "admin");
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
}

static void
new_cost_is_taken_over(void **state)
{
	struct fixture *f = *state;

	unit_user(f, "ann", "read");
	f->conf.scrypt_log2 = 5;
	unit_again(f);
	assert_int_equal(unit_login(f, "ann", "right-password", NULL), 0);
	assert_int_equal(
		store_number(f->store,
	                     "SELECT count(*) FROM user WHERE hash LIKE "
	                     "'scrypt:5:%' AND version=1",
	                     ""),
		1);
	assert_int_equal(unit_login(f, "ann", "right-password", NULL), 0);
}

static void
organizations_are_apart(void **state)
{
	struct fixture *f = *state;
	struct auth_request r = { .authorization = "Bearer make-orgs",
		                  .peer = "10.0.0.1" };
	json_t *body = json_loads(
		"{\"id\":\"acme\",\"super_admins\":[{\"username\":\"ann\","
		"\"password\":\"acme-password\"}]}",
		0, NULL);
	struct identity who;
	struct err err = { 0 };
	uint32_t wait_s;
	json_t *ret;

	unit_user(f, "ann", "read");
	assert_int_equal(
		auth_organization_new(f->auth, &r, body, &ret, &wait_s, &err),
		0);
	json_decref(ret);
	assert_int_equal(
		auth_organization_new(f->auth, &r, body, &ret, &wait_s, &err),
		-ERR_EXISTS);
	r.authorization = "Basic YW5uOmFjbWUtcGFzc3dvcmQ=";
	r.org = "default";
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &err),
	                 -ERR_UNAUTHORIZED);
	r.org = "acme";
	assert_int_equal(auth_login(f->auth, &r, &ret, &wait_s, &err), 0);
	who = unit_who(f, json_string_value(json_object_get(ret, "token")));
	assert_int_equal(who.role, ROLE_SUPER_ADMIN);
	assert_string_equal(who.org, "acme");
	json_decref(ret);
	/* Another organization's header with the first one's token. */
	r.authorization = NULL;
	assert_int_equal(auth_user_list(f->auth, &who, &ret, &err), 0);
	assert_int_equal(json_array_size(ret), 1);
	json_decref(ret);
	json_decref(body);
}

static void
org_header_must_fit(void **state)
{
	struct fixture *f = *state;
	struct identity who = unit_who(f, f->first);
	char header[160];
	struct auth_request r = { .authorization = header, .peer = "::1" };
	struct err err = { 0 };

	(void)snprintf(header, sizeof(header), "Bearer %s", f->first);
	r.org = "default";
	assert_int_equal(auth_check(f->auth, &r, &who, &err), 0);
	r.org = who.org_uuid;
	assert_int_equal(auth_check(f->auth, &r, &who, &err), 0);
	r.org = "acme";
	assert_int_equal(auth_check(f->auth, &r, &who, &err), -ERR_FORBIDDEN);
	r.org = NULL;
	r.authorization = NULL;
	assert_int_equal(auth_check(f->auth, &r, &who, &err),
	                 -ERR_UNAUTHORIZED);
	r.authorization = "Basic YW5uOng=";
	assert_int_equal(auth_check(f->auth, &r, &who, &err),
	                 -ERR_UNAUTHORIZED);
}

static void
organization_token_is_needed(void **state)
{
	static const char *const headers[] = { NULL, "Bearer wrong",
		                               "Bearer make-orgs2",
		                               "Basic YTpi" };
	struct fixture *f = *state;
	json_t *body = json_loads(
		"{\"id\":\"acme\",\"super_admins\":[{\"username\":\"ann\","
		"\"password\":\"acme-password\"}]}",
		0, NULL);
	struct auth_request r = { .peer = "10.0.0.1" };
	struct err err = { 0 };
	uint32_t wait_s = 0;
	json_t *ret;
	int rc = 0;

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		r.authorization = headers[i];
		assert_int_equal(auth_organization_new(f->auth, &r, body, &ret,
		                                       &wait_s, &err),
		                 -ERR_UNAUTHORIZED);
	}
	r.authorization = "Bearer guess";
	for (int i = 0; i < LIMIT_LOGIN_PEER_FREE && rc != -ERR_LIMIT; i++)
		rc = auth_organization_new(f->auth, &r, body, &ret, &wait_s,
		                           &err);
	assert_int_equal(rc, -ERR_LIMIT);
	assert_int_not_equal(wait_s, 0);
	r.peer = "10.0.0.2";
	f->conf.new_organization_token = NULL;
	unit_again(f);
	r.authorization = "Bearer make-orgs";
	assert_int_equal(
		auth_organization_new(f->auth, &r, body, &ret, &wait_s, &err),
		-ERR_FORBIDDEN);
	json_decref(body);
}

/* Who came in and who tried to, but nobody fills the log by asking. */
static void
logins_are_in_the_audit_log(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	struct auth_filter filter = { .subject = "ann" };
	struct err err = { 0 };
	json_t *ret;
	const json_t *row;
	char *text;

	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", NULL), 0);
	for (int i = 0; i < 50; i++)
		(void)unit_login(f, "ann", "guess-me-not", NULL);
	assert_int_equal(auth_audit_list(f->auth, &root, &filter, &ret, &err),
	                 0);
	assert_int_equal(json_array_size(ret), 1 + LIMIT_LOGIN_USER_FREE);
	row = json_array_get(ret, 0);
	assert_string_equal(json_string_value(json_object_get(row, "result")),
	                    "UNAUTHORIZED");
	assert_string_equal(json_string_value(json_object_get(row, "peer")),
	                    "127.0.0.1");
	row = json_array_get(ret, LIMIT_LOGIN_USER_FREE);
	assert_string_equal(json_string_value(json_object_get(row, "result")),
	                    "ok");
	text = json_dumps(ret, 0);
	assert_null(strstr(text, "guess-me-not"));
	free(text);
	json_decref(ret);
}

struct racer {
	pthread_t thread;
	struct fixture *f;
	int refused;
	int limited;
};

static void *
race(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < 20; i++) {
		int rc = unit_login(r->f, "ann", "guess", NULL);

		r->refused += rc == -ERR_UNAUTHORIZED;
		r->limited += rc == -ERR_LIMIT;
	}
	return NULL;
}

/* Guesses at the same time get no further than one after the other. */
static void
guessing_in_parallel_is_no_faster(void **state)
{
	struct fixture *f = *state;
	struct racer r[8] = { 0 };
	int refused = 0;
	int limited = 0;

	unit_user(f, "ann", "read");
	for (int i = 0; i < 8; i++) {
		r[i].f = f;
		assert_int_equal(
			pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(r[i].thread, NULL), 0);
		refused += r[i].refused;
		limited += r[i].limited;
	}
	assert_int_equal(refused, LIMIT_LOGIN_USER_FREE);
	assert_int_equal(limited, 160 - LIMIT_LOGIN_USER_FREE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, unit_open, unit_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(right_password_logs_in),
		CASE(wrong_ones_do_not),
		CASE(guessing_is_slowed),
		CASE(token_expires),
		CASE(refresh_rotates),
		CASE(logout_ends_it),
		CASE(password_change_ends_sessions),
		CASE(removed_user_is_out),
		CASE(new_cost_is_taken_over),
		CASE(organizations_are_apart),
		CASE(org_header_must_fit),
		CASE(organization_token_is_needed),
		CASE(logins_are_in_the_audit_log),
		CASE(guessing_in_parallel_is_no_faster),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
