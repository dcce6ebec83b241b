/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_jwt.c: tokens that nobody of ours made, each with one
 * fault; the same token without a fault is taken.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "control/auth/jwt.h"
#include "control/auth/key.h"
#include "unit.h"

static struct key *key;
static json_t *claims; /* of a token that is taken */

static int
set_up(void **state)
{
	struct fixture *f;
	struct err err;
	struct jwt j;
	char *token;

	(void)unit_open(state);
	f = *state;
	unit_user(f, "ann", "read");
	assert_int_equal(unit_login(f, "ann", "right-password", &token), 0);
	assert_int_equal(jwt_parse(span_str(token), &j, &err), 0);
	claims = json_deep_copy(j.claims);
	jwt_fini(&j);
	free(token);
	key = key_load(f->state, false, &err);
	assert_non_null(key);
	return 0;
}

static int
tear_down(void **state)
{
	json_decref(claims);
	key_free(key);
	return unit_close(state);
}

/* A token with any header, signed with our key by HS256. */
static char *
make(const char *head, const char *body, const uint8_t *k)
{
	static char ret[4000];
	uint8_t mac[DIGEST_SIZE];
	size_t n = base64_put(BASE64_URL, span_str(head), ret);

	ret[n++] = '.';
	n += base64_put(BASE64_URL, span_str(body), ret + n);
	if (k != NULL)
		digest_hmac(k, span_of(ret, n), mac);
	ret[n++] = '.';
	ret[n] = '\0';
	if (k != NULL)
		(void)base64_put(BASE64_URL, span_of(mac, sizeof(mac)),
		                 ret + n);
	return ret;
}

/* Refused, or taken? One claim is another (NULL: is not there). */
static int
with(struct fixture *f, const char *name, const char *json)
{
	json_t *c = json_deep_copy(claims);
	char *body;
	int rc;

	if (name != NULL && json == NULL)
		(void)json_object_del(c, name);
	else if (name != NULL)
		(void)json_object_set_new(
			c, name, json_loads(json, JSON_DECODE_ANY, NULL));
	body = json_dumps(c, JSON_COMPACT);
	rc = unit_refused(
		f, make("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", body, key->jwt));
	free(body);
	json_decref(c);
	return rc;
}

static void
each_claim_counts(void **state)
{
	static const char *const wrong[][2] = {
		{ "iss", NULL },
		{ "iss", "\"elsewhere\"" },
		{ "iss", "7" },
		{ "aud", NULL },
		{ "aud", "\"elsewhere\"" },
		{ "aud", "[]" },
		{ "exp", NULL },
		{ "exp", "\"1790000900\"" },
		{ "exp", "1789999970" },
		{ "exp", "1e300" },
		{ "exp", "-1" },
		{ "exp", "null" },
		{ "iat", "1790000031" },
		{ "iat", "\"x\"" },
		{ "nbf", "1790000031" },
		{ "jti", NULL },
		{ "jti", "\"1\"" },
		{ "uid", NULL },
		{ "uid", "\"ann\"" },
		{ "ver", NULL },
		{ "ver", "2" },
		{ "org_uuid", NULL },
		{ "org_uuid", "\"00000000-0000-4000-8000-000000000000\"" },
	};
	static const char *const fine[][2] = {
		{ NULL, NULL },
		{ "aud", "[\"elsewhere\",\"godwit\"]" },
		{ "iat", "1790000029" },
		{ "nbf", "1789999999" },
		{ "exp", "1789999971" },
		{ "more", "{\"a\":1}" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(with(f, wrong[i][0], wrong[i][1]),
		                 -ERR_UNAUTHORIZED);
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_int_equal(with(f, fine[i][0], fine[i][1]), 0);
}

/* What the token says of the role is not what counts. */
static void
role_is_looked_up(void **state)
{
	struct fixture *f = *state;
	json_t *c = json_deep_copy(claims);
	char *body;

	(void)json_object_set_new(c, "role", json_string("super_admin"));
	body = json_dumps(c, JSON_COMPACT);
	assert_int_equal(
		unit_who(f, make("{\"alg\":\"HS256\"}", body, key->jwt)).role,
		ROLE_READ);
	free(body);
	json_decref(c);
}

static void
each_header_counts(void **state)
{
	static const char *const wrong[] = {
		"{\"alg\":\"none\"}",
		"{\"alg\":\"None\"}",
		"{\"alg\":\"hs256\"}",
		"{\"alg\":\"HS512\"}",
		"{\"alg\":\"RS256\"}",
		"{\"alg\":\"ES256\"}",
		"{\"alg\":null}",
		"{\"alg\":[\"HS256\"]}",
		"{}",
		"[]",
		"\"HS256\"",
		"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"HS256\",\"typ\":\"JWE\"}",
		"{\"alg\":\"HS256\",\"typ\":7}",
		"{\"alg\":\"HS256\",\"kid\":7}",
		"{\"alg\":\"none\",\"alg\":\"HS256\"}",
		"{\"alg\":\"HS256\"",
		"",
	};
	struct fixture *f = *state;
	char *body = json_dumps(claims, JSON_COMPACT);
	char *token;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(
			unit_refused(f, make(wrong[i], body, key->jwt)),
			-ERR_UNAUTHORIZED);
		assert_int_equal(unit_refused(f, make(wrong[i], body, NULL)),
		                 -ERR_UNAUTHORIZED);
	}
	assert_int_equal(
		unit_refused(f, make("{\"alg\":\"HS256\"}", body, NULL)),
		-ERR_UNAUTHORIZED);
	assert_int_equal(unit_refused(f, make("{\"alg\":\"HS256\",\"typ\":"
	                                      "\"jwt\",\"kid\":\"x\"}",
	                                      body, key->jwt)),
	                 0);
	/* Keys that are near. */
	assert_int_equal(
		unit_refused(f, make("{\"alg\":\"HS256\"}", body, key->seal)),
		-ERR_UNAUTHORIZED);
	assert_int_equal(
		unit_refused(f, make("{\"alg\":\"HS256\"}", body, key->check)),
		-ERR_UNAUTHORIZED);
	token = make("{\"alg\":\"HS256\"}", body, key->jwt);
	assert_int_equal(unit_refused(f, token), 0);
	token[strlen(token) + 1] = '\0';
	token[strlen(token)] = '.';
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(body);
}

/* Each letter changed, each length cut: refused, by valgrind's leave too. */
static void
each_letter_counts(void **state)
{
	struct fixture *f = *state;
	char *body = json_dumps(claims, JSON_COMPACT);
	char *token = strdup(make("{\"alg\":\"HS256\"}", body, key->jwt));
	size_t n = strlen(token);

	assert_int_equal(unit_refused(f, token), 0);
	for (size_t i = 0; i < n; i++) {
		char was = token[i];

		token[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
		token[i] = '\0';
		assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
		token[i] = was;
	}
	assert_int_equal(unit_refused(f, token), 0);
	free(token);
	free(body);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(each_claim_counts),
		CASE(role_is_looked_up),
		CASE(each_header_counts),
		CASE(each_letter_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
