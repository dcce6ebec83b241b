/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_oidc.c: tokens of an issuer that runs on loopback: its
 * keys, their rotation, its absence; forged tokens; roles from claims.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "control/auth/jwks.h"
#include "control/auth/oidc.h"
#include "issuer.h"
#include "unit.h"

static struct issuer issuer;
static EVP_PKEY *rsa; /* published as "r1" */
static EVP_PKEY *ec;  /* published as "e1" */
static EVP_PKEY *stranger;
static json_t *conf;

static int
once_up(void **state)
{
	(void)state;
	rsa = EVP_RSA_gen(2048);
	stranger = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-256");
	return rsa == NULL || ec == NULL || stranger == NULL;
}

static int
once_down(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(stranger);
	return 0;
}

static int
set_up(void **state)
{
	struct fixture *f;

	issuer_start(&issuer);
	issuer_publish(&issuer, rsa, "r1");
	issuer_publish(&issuer, ec, "e1");
	(void)unit_open(state);
	f = *state;
	conf = json_pack("{s:s, s:s, s:s, s:s, s:{s:s, s:s}, s:b}", "issuer",
	                 issuer.url, "audience", "godwit-api", "organization",
	                 "default", "claim", "realm.groups", "roles", "ops",
	                 "admin", "dev", "read", "allow_http_loopback", 1);
	assert_non_null(conf);
	f->conf.oidc = conf;
	unit_again(f);
	return 0;
}

static int
tear_down(void **state)
{
	(void)unit_close(state);
	json_decref(conf);
	issuer_stop(&issuer);
	return 0;
}

/* Claims that are taken; names and values (as JSON) on top, NULL ends. */
static json_t *
claims_with(const char *name, const char *json)
{
	json_t *c = json_pack("{s:s, s:s, s:s, s:I, s:I, s:{s:[s]}}", "iss",
	                      issuer.url, "aud", "godwit-api", "sub", "u-77",
	                      "iat", (json_int_t)(unit_now_ms / 1000), "exp",
	                      (json_int_t)(unit_now_ms / 1000 + 300), "realm",
	                      "groups", "dev");

	assert_non_null(c);
	if (name != NULL && json == NULL)
		(void)json_object_del(c, name);
	else if (name != NULL)
		(void)json_object_set_new(
			c, name, json_loads(json, JSON_DECODE_ANY, NULL));
	return c;
}

static char *
token_with(EVP_PKEY *key, const char *kid, const char *name, const char *json)
{
	json_t *c = claims_with(name, json);
	char *ret = issuer_sign(
		key, EVP_PKEY_is_a(key, "RSA") == 1 ? "RS256" : "ES256", kid,
		c);

	json_decref(c);
	return ret;
}

static int
refused(struct fixture *f, EVP_PKEY *key, const char *kid)
{
	char *token = token_with(key, kid, NULL, NULL);
	int rc = unit_refused(f, token);

	free(token);
	return rc;
}

static void
both_algorithms_are_taken(void **state)
{
	struct fixture *f = *state;
	char *token = token_with(rsa, "r1", NULL, NULL);
	struct identity who = unit_who(f, token);

	assert_int_equal(who.kind, IDENTITY_OIDC);
	assert_string_equal(who.subject, "oidc:u-77");
	assert_string_equal(who.org, "default");
	assert_int_equal(who.role, ROLE_READ);
	free(token);
	assert_int_equal(refused(f, ec, "e1"), 0);
	/* Without a name: the only key of that algorithm. */
	assert_int_equal(refused(f, ec, NULL), 0);
	/* One look at the issuer (two documents) for all of them. */
	assert_int_equal(issuer_asked(&issuer), 2);
}

static void
claims_become_roles(void **state)
{
	static const struct {
		const char *groups;
		enum role role;
	} cases[] = {
		{ "{\"groups\":[\"dev\",\"ops\",\"else\"]}", ROLE_ADMIN },
		{ "{\"groups\":\"ops\"}", ROLE_ADMIN },
		{ "{\"groups\":[\"OPS\"]}", ROLE_NONE },
		{ "{\"groups\":[]}", ROLE_NONE },
		{ "{\"groups\":{\"ops\":true}}", ROLE_NONE },
		{ "{}", ROLE_NONE },
		{ "[\"ops\"]", ROLE_NONE },
		{ "\"ops\"", ROLE_NONE },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *token = token_with(rsa, "r1", "realm", cases[i].groups);

		assert_int_equal(unit_who(f, token).role, cases[i].role);
		free(token);
	}
}

static void
grant_stands_above_the_claim(void **state)
{
	struct fixture *f = *state;
	struct identity root = unit_who(f, f->first);
	json_t *body = json_pack("{s:s}", "role", "write");
	char *token = token_with(rsa, "r1", NULL, NULL);
	struct err err = { 0 };
	json_t *ret;

	assert_int_equal(auth_rbac_put(f->auth, &root, "organizations",
	                               root.org_uuid, "oidc:u-77", body, &ret,
	                               &err),
	                 0);
	assert_int_equal(unit_who(f, token).role, ROLE_WRITE);
	json_decref(ret);
	json_decref(body);
	free(token);
}

static void
each_claim_counts(void **state)
{
	static const char *const wrong[][2] = {
		{ "iss", "\"https://elsewhere.example\"" },
		{ "iss", NULL },
		{ "aud", "\"other\"" },
		{ "aud", NULL },
		{ "exp", "1789999970" },
		{ "exp", NULL },
		{ "nbf", "1790000031" },
		{ "iat", "1790000031" },
		{ "sub", NULL },
		{ "sub", "\"\"" },
		{ "sub", "\"a\\nb\"" },
		{ "sub", "7" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char *token = token_with(rsa, "r1", wrong[i][0], wrong[i][1]);

		assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
		free(token);
	}
	/* None of them was worth a question. */
	assert_int_equal(issuer_asked(&issuer), 0);
}

/* The public key as the secret of HS256, as text and as bytes. */
static void
swapped_algorithm_is_refused(void **state)
{
	struct fixture *f = *state;
	json_t *c = claims_with(NULL, NULL);
	json_t *jwk = issuer_jwk(rsa, "r1");
	uint8_t secret[DIGEST_SIZE];
	uint8_t *der = NULL;
	int der_n = i2d_PUBKEY(rsa, &der);
	uint8_t mac[DIGEST_SIZE];
	unsigned mac_n;
	char text[4000];
	char *token;
	char *body = json_dumps(c, 0);
	size_t n;

	assert_int_equal(refused(f, rsa, "r1"), 0);
	/* jwt_sign hashes with 32 bytes of key; HMAC with the whole DER too. */
	memcpy(secret, json_string_value(json_object_get(jwk, "n")),
	       sizeof(secret));
	token = jwt_sign(secret, c);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
	n = base64_put(BASE64_URL, SPAN("{\"alg\":\"HS256\",\"kid\":\"r1\"}"),
	               text);
	text[n++] = '.';
	n += base64_put(BASE64_URL, span_str(body), text + n);
	assert_non_null(HMAC(EVP_sha256(), der, der_n, (uint8_t *)text, n, mac,
	                     &mac_n));
	text[n++] = '.';
	(void)base64_put(BASE64_URL, span_of(mac, mac_n), text + n);
	assert_int_equal(unit_refused(f, text), -ERR_UNAUTHORIZED);
	/* An RSA signature that says ES256, an EC one that says RS256. */
	token = issuer_sign(rsa, "ES256", "e1", c);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
	token = issuer_sign(ec, "RS256", "r1", c);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
	OPENSSL_free(der);
	free(body);
	json_decref(jwk);
	json_decref(c);
}

static void
foreign_keys_are_refused(void **state)
{
	struct fixture *f = *state;
	json_t *c = claims_with("iss", "\"godwit\"");
	char *token;

	assert_int_equal(refused(f, stranger, "r1"), -ERR_UNAUTHORIZED);
	assert_int_equal(refused(f, stranger, NULL), -ERR_UNAUTHORIZED);
	/* The issuer's key makes no token of ours. */
	token = issuer_sign(rsa, "RS256", "r1", c);
	assert_int_equal(unit_refused(f, token), -ERR_UNAUTHORIZED);
	free(token);
	json_decref(c);
}

static void
rotated_keys_are_found(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(refused(f, rsa, "r1"), 0);
	assert_int_equal(refused(f, stranger, "r2"), -ERR_UNAUTHORIZED);
	/* Now it is no stranger any more. */
	issuer_retract(&issuer);
	issuer_publish(&issuer, stranger, "r2");
	/* Not asked again at once, however many ask. */
	for (int i = 0; i < 50; i++)
		assert_int_equal(refused(f, stranger, "r2"), -ERR_UNAUTHORIZED);
	assert_int_equal(issuer_asked(&issuer), 2);
	unit_now_ms += LIMIT_OIDC_RETRY_S * 1000;
	assert_int_equal(refused(f, stranger, "r2"), 0);
	assert_int_equal(issuer_asked(&issuer), 4);
	/* And the old one is out. */
	assert_int_equal(refused(f, rsa, "r1"), -ERR_UNAUTHORIZED);
	/* An old set is fetched again even when nothing is unknown. */
	unit_now_ms += LIMIT_OIDC_FRESH_S * 1000;
	issuer_publish(&issuer, rsa, "r3");
	assert_int_equal(refused(f, stranger, "r2"), 0);
	assert_int_equal(issuer_asked(&issuer), 6);
	assert_int_equal(refused(f, rsa, "r3"), 0);
	assert_int_equal(issuer_asked(&issuer), 6);
}

static void
absent_issuer(void **state)
{
	static const struct {
		enum issuer_mood mood;
		int rc;
	} cases[] = {
		{ ISSUER_FAILS, -ERR_PROTO },    { ISSUER_HUGE, -ERR_LIMIT },
		{ ISSUER_GARBAGE, -ERR_PROTO },  { ISSUER_OTHER, -ERR_PROTO },
		{ ISSUER_REDIRECT, -ERR_PROTO },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		issuer_set(&issuer, cases[i].mood);
		assert_int_equal(refused(f, rsa, "r1"), cases[i].rc);
		assert_int_equal(refused(f, rsa, "r1"), cases[i].rc);
		unit_now_ms += LIMIT_OIDC_RETRY_S * 1000;
	}
	assert_int_equal(issuer_asked(&issuer),
	                 sizeof(cases) / sizeof(cases[0]));
	issuer_set(&issuer, ISSUER_FINE);
	assert_int_equal(refused(f, rsa, "r1"), 0);
	/* Known keys are good for a day without it; not for ever. */
	issuer_set(&issuer, ISSUER_FAILS);
	unit_now_ms += LIMIT_OIDC_STALE_S * 1000ll - 1;
	assert_int_equal(refused(f, rsa, "r1"), 0);
	unit_now_ms += LIMIT_OIDC_RETRY_S * 1000;
	assert_int_equal(refused(f, rsa, "r1"), -ERR_PROTO);
}

static void
configuration(void **state)
{
	static const char *const wrong[] = {
		"[]",
		"{}",
		"{\"issuer\":\"https://x.example\",\"audience\":\"a\"}",
		"{\"issuer\":\"http://x.example\",\"audience\":\"a\","
		"\"organization\":\"default\"}",
		"{\"issuer\":\"http://127.0.0.1:1\",\"audience\":\"a\","
		"\"organization\":\"default\"}",
		"{\"issuer\":\"http://127.0.0.1.example\",\"audience\":\"a\","
		"\"organization\":\"default\",\"allow_http_loopback\":true}",
		"{\"issuer\":\"http://u:p@127.0.0.1\",\"audience\":\"a\","
		"\"organization\":\"default\",\"allow_http_loopback\":true}",
		"{\"issuer\":\"file:///etc/passwd\",\"audience\":\"a\","
		"\"organization\":\"default\",\"allow_http_loopback\":true}",
		"{\"issuer\":\"https://x.example\",\"audience\":\"a\","
		"\"organization\":\"default\",\"issuers\":[]}",
		"{\"issuer\":\"https://x.example\",\"audience\":\"a\","
		"\"organization\":\"default\",\"default_role\":\"king\"}",
		"{\"issuer\":\"https://x.example\",\"audience\":\"a\","
		"\"organization\":\"default\",\"roles\":{\"x\":\"read\"}}",
		"{\"issuer\":\"https://x.example\",\"audience\":\"a\","
		"\"organization\":\"default\",\"claim\":\"g\","
		"\"roles\":{\"x\":7}}",
	};
	struct oidc *o;
	struct err err;
	json_t *c;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		c = json_loads(wrong[i], 0, NULL);
		assert_non_null(c);
		err = (struct err){ 0 };
		assert_null(oidc_new(c, unit_wall, &err));
		assert_int_equal(err.code, ERR_USAGE);
		assert_non_null(strstr(err.text, "oidc"));
		json_decref(c);
	}
	c = json_loads("{\"issuer\":\"https://x.example/realm/\","
	               "\"audience\":\"a\",\"organization\":\"default\"}",
	               0, NULL);
	o = oidc_new(c, unit_wall, &err);
	assert_non_null(o);
	oidc_free(o);
	json_decref(c);
}

static size_t
keys_in(json_t *set)
{
	char *text = json_dumps(set, 0);
	struct jwks keys;
	struct err err;
	int rc = jwks_parse(span_str(text), &keys, &err);
	size_t ret = keys.n;

	assert_int_equal(rc, ret == 0 ? -ERR_PROTO : 0);
	jwks_fini(&keys);
	free(text);
	json_decref(set);
	return ret;
}

static json_t *
changed(EVP_PKEY *key, const char *name, const char *value)
{
	json_t *jwk = issuer_jwk(key, "k");

	(void)json_object_set_new(jwk, name, json_string(value));
	return json_pack("{s:[o]}", "keys", jwk);
}

static void
key_sets(void **state)
{
	static const char *const none[] = {
		"{}",
		"{\"keys\":{}}",
		"{\"keys\":[]}",
		"{\"keys\":[7,null,[]]}",
		"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
	};
	EVP_PKEY *small = EVP_RSA_gen(1024);
	json_t *many = json_array();

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(keys_in(json_loads(none[i], 0, NULL)), 0);
	assert_int_equal(keys_in(changed(rsa, "use", "sig")), 1);
	assert_int_equal(keys_in(changed(ec, "use", "sig")), 1);
	assert_int_equal(keys_in(changed(rsa, "use", "enc")), 0);
	assert_int_equal(keys_in(changed(rsa, "alg", "PS256")), 0);
	assert_int_equal(keys_in(changed(rsa, "e", "AQ")), 0);   /* 1 */
	assert_int_equal(keys_in(changed(rsa, "e", "BA")), 0);   /* 4 */
	assert_int_equal(keys_in(changed(rsa, "n", "AQAB")), 0); /* tiny */
	assert_int_equal(keys_in(changed(rsa, "n", "!")), 0);
	assert_int_equal(keys_in(changed(small, "use", "sig")), 0);
	assert_int_equal(keys_in(changed(ec, "crv", "P-384")), 0);
	/* Not on the curve. */
	assert_int_equal(
		keys_in(changed(ec, "x",
	                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
		0);
	for (int i = 0; i < LIMIT_OIDC_KEYS + 8; i++)
		(void)json_array_append_new(many, issuer_jwk(ec, "k"));
	assert_int_equal(keys_in(json_pack("{s:o}", "keys", many)),
	                 LIMIT_OIDC_KEYS);
	EVP_PKEY_free(small);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(both_algorithms_are_taken),
		CASE(claims_become_roles),
		CASE(grant_stands_above_the_claim),
		CASE(each_claim_counts),
		CASE(swapped_algorithm_is_refused),
		CASE(foreign_keys_are_refused),
		CASE(rotated_keys_are_found),
		CASE(absent_issuer),
		cmocka_unit_test(configuration),
		cmocka_unit_test(key_sets),
	};

	return cmocka_run_group_tests(tests, once_up, once_down);
}
