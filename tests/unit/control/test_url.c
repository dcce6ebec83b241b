/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_url.c: endpoints as people write them, and mistype
 * them.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "control/url.h"

struct good {
	const char *text;
	const char *host;
	uint16_t port;
	const char *user;
	const char *pass;
	uint32_t db;
	const char *label;
};

static const struct good goods[] = {
	{ "redis://old", "old", 6379, "", "", 0, "redis://old:6379" },
	{ "redis://old/", "old", 6379, "", "", 0, "redis://old:6379" },
	{ "old:7000", "old", 7000, "", "", 0, "redis://old:7000" },
	{ "redis://u:p@h:1/3", "h", 1, "u", "p", 3, "redis://h:1" },
	{ "redis://:p@h", "h", 6379, "", "p", 0, "redis://h:6379" },
	{ "redis://u@h", "h", 6379, "u", "", 0, "redis://h:6379" },
	{ "redis://u:p%40%2F%25@h", "h", 6379, "u", "p@/%", 0,
	  "redis://h:6379" },
	{ "redis://u:a@b@h:2", "h", 2, "u", "a@b", 0, "redis://h:2" },
	{ "redis://[::1]:6400", "::1", 6400, "", "", 0, "redis://[::1]:6400" },
	{ "redis://[::1]", "::1", 6379, "", "", 0, "redis://[::1]:6379" },
	{ "redis://h:65535/15", "h", 65535, "", "", 15, "redis://h:65535" },
	{ "redis://:a?b@h", "h", 6379, "", "a?b", 0, "redis://h:6379" },
	{ "rediss://h", "h", 6379, "", "", 0, "rediss://h:6379" },
	{ "rediss://u:p@[::1]:1/2?ca=/f/c%20a.pem&name=x.org&insecure=1", "::1",
	  1, "u", "p", 2, "rediss://[::1]:1" },
	{ "rediss://h?cert=/c&key=/k&insecure=0", "h", 6379, "", "", 0,
	  "rediss://h:6379" },
	{ "unix:///run/r.sock", "/run/r.sock", 0, "", "", 0,
	  "unix:///run/r.sock" },
	{ "redis+sentinel://u:p@a:1,b,[::1]:3/my?db=2",
	  "a:1,b:26379,[::1]:3/my", 3, "u", "p", 2,
	  "redis+sentinel://a:1,b:26379,[::1]:3/my" },
	{ "redis+sentinel://a/m", "a:26379/m", 26379, "", "", 0,
	  "redis+sentinel://a:26379/m" },
	{ "redis+unix://:p@/run/r.sock", "/run/r.sock", 0, "", "p", 0,
	  "unix:///run/r.sock" },
	{ "unix://u:p@/run/r.sock?db=2", "/run/r.sock", 0, "u", "p", 2,
	  "unix:///run/r.sock" },
};

static void
test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		const struct good *g = &goods[i];
		struct url u;
		struct url again;
		char text[512];

		assert_int_equal(url_parse(g->text, &u, NULL), 0);
		assert_string_equal(u.at.host, g->host);
		assert_int_equal(u.at.port, g->port);
		assert_string_equal(u.user, g->user);
		assert_string_equal(u.pass, g->pass);
		assert_int_equal(u.db, g->db);
		assert_string_equal(u.label, g->label);

		/* Printed and read again it is the same. */
		assert_int_equal(url_print(&u, text, sizeof(text), NULL), 0);
		assert_int_equal(url_parse(text, &again, NULL), 0);
		assert_memory_equal(&u, &again, sizeof(u));
	}
}

static void
test_postgres(void **state)
{
	static const struct {
		const char *text;
		const char *host;
		uint16_t port;
		const char *user;
		const char *database;
		const char *label;
	} cases[] = {
		{ "postgres://u:p@h:1/d", "h", 1, "u", "d",
		  "postgres://h:1/d" },
		{ "postgresql://h", "h", 5432, "postgres", "postgres",
		  "postgres://h:5432/postgres" },
		{ "postgres://me@[::1]", "::1", 5432, "me", "me",
		  "postgres://[::1]:5432/me" },
		{ "postgres:///d?host=/run/pg&port=7", "/run/pg/.s.PGSQL.7", 0,
		  "postgres", "d", "postgres:///d?host=/run/pg&port=7" },
		{ "postgres://%2Frun%2Fpg/d%20e?user=x",
		  "/run/pg/.s.PGSQL.5432", 0, "x", "d e",
		  "postgres:///d e?host=/run/pg&port=5432" },
		{ "postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem", "h",
		  5432, "postgres", "d", "postgres://h:5432/d" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct url u;
		struct url again;
		char text[512];

		assert_int_equal(url_parse(cases[i].text, &u, NULL), 0);
		assert_int_equal(u.kind, URL_POSTGRES);
		assert_string_equal(u.at.host, cases[i].host);
		assert_int_equal(u.at.port, cases[i].port);
		assert_string_equal(u.user, cases[i].user);
		assert_string_equal(u.database, cases[i].database);
		assert_string_equal(u.label, cases[i].label);
		assert_int_equal(url_print(&u, text, sizeof(text), NULL), 0);
		assert_int_equal(url_parse(text, &again, NULL), 0);
		assert_memory_equal(&u, &again, sizeof(u));
	}
}

/* libpq's words, in any order, mean what they mean there. */
static void
test_modes(void **state)
{
	static const struct {
		const char *words;
		const char *mode;
		const char *ca;
	} cases[] = {
		{ "sslmode=disable", "disable", "" },
		{ "sslmode=require", "require", "" },
		{ "sslmode=require&sslrootcert=/c", "verify-ca", "/c" },
		{ "sslrootcert=/c&sslmode=require", "verify-ca", "/c" },
		{ "sslmode=verify-ca&sslrootcert=/c", "verify-ca", "/c" },
		{ "sslmode=verify-full&sslrootcert=/c", "verify-full", "/c" },
		{ "sslrootcert=system&sslmode=verify-full", "verify-full", "" },
		{ "sslmode=verify-full", "verify-full", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct url u;
		struct url again;
		char text[512];

		(void)snprintf(text, sizeof(text), "postgres://h/d?%s",
		               cases[i].words);
		assert_int_equal(url_parse(text, &u, NULL), 0);
		assert_string_equal(url_sslmode(&u), cases[i].mode);
		assert_string_equal(u.tls.ca, cases[i].ca);
		assert_int_equal(url_print(&u, text, sizeof(text), NULL), 0);
		assert_int_equal(url_parse(text, &again, NULL), 0);
		assert_memory_equal(&u, &again, sizeof(u));
	}
}

static void
test_same(void **state)
{
	static const char a[] = "postgres://u:p@h:1/a";
	static const char b[] = "postgres://h:1/b?sslmode=require";

	(void)state;
	assert_true(url_same_text(a, "postgres://h:1/a"));
	assert_false(url_same_text(a, b));
	assert_true(url_same_server_text(a, b));
	assert_false(url_same_server_text(a, "postgres://h:2/a"));
	assert_true(url_same_text("redis://h", "redis://u:p@h:6379"));
}

static void
test_bad(void **state)
{
	static const struct {
		const char *text;
		const char *says;
	} bads[] = {
		{ "", "empty" },
		{ "redis://h?ca=/f", "rediss" },
		{ "rediss://h?ca", "ca=FILE" },
		{ "rediss://h?insecure=yes", "insecure=1" },
		{ "rediss://h?color=red", "color=red" },
		{ "rediss://h?ca=/a@b", "%40" },
		{ "http://h", "redis://" },
		{ "postgres://h?color=red", "color=red" },
		{ "postgres://h?sslmode=prefer", "verify-full" },
		{ "postgres://h?sslmode=verify-ca", "sslrootcert" },
		{ "postgres://h?sslrootcert=/f", "plain" },
		{ "postgres://h?sslrootcert=system&sslmode=require",
		  "verify-full only" },
		{ "postgres:///d?host=/run&sslmode=require", "Unix socket" },
		{ "postgres://u:a/b@h:1/d", "%2F" },
		{ "redis://", "host is missing" },
		{ "redis://:1", "host is missing" },
		{ "redis://h:", "port" },
		{ "redis://h:0", "port" },
		{ "redis://h:65536", "port" },
		{ "redis://h:12x", "port" },
		{ "redis://h:99999999999999999999", "port" },
		{ "redis://h:-1", "port" },
		{ "redis://h/x", "database" },
		{ "redis://h/1/2", "database" },
		{ "redis://::1", "brackets" },
		{ "redis://[::1", "bracket" },
		{ "redis://[::1]x", "bracket" },
		{ "redis://u:p%@h", "%" },
		{ "redis://u:p%4@h", "%" },
		{ "redis://u:p%4g@h", "%" },
		{ "redis://u:p%00q@h", "%" },
		{ "redis://u:a/b@h:1", "%2F" },
		{ "unix://run/r.sock", "absolute" },
		{ "unix://", "/" },
		{ "unix:///r?database=1", "db=N" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		struct url u;
		struct err err = { .code = ERR_NONE };

		assert_int_equal(url_parse(bads[i].text, &u, &err), -ERR_USAGE);
		if (strstr(err.text, bads[i].says) == NULL)
			fail_msg("%s: \"%s\" does not say \"%s\"", bads[i].text,
			         err.text, bads[i].says);
	}
}

/* An error never repeats a password, whatever is wrong beside it. */
static void
test_secret(void **state)
{
	static const char *const urls[] = {
		"redis://u:s3cret@h:x",   "redis://u:s3cret@",
		"redis://u:s3cret@h/x",   "http://u:s3cret@h",
		"redis://u:s3cret@[::1",  "redis://u:s3cret%@h",
		"unix://u:s3cret@r.sock", "redis://u:s3cret/x@h:1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct url u;
		struct err err = { .code = ERR_NONE };

		assert_int_equal(url_parse(urls[i], &u, &err), -ERR_USAGE);
		assert_null(strstr(err.text, "s3cret"));
	}
}

static void
test_long(void **state)
{
	char text[1024] = "redis://";
	struct url u;

	(void)state;
	memset(text + 8, 'h', 200);
	text[208] = '\0';
	assert_int_equal(url_parse(text, &u, NULL), -ERR_USAGE);
	(void)snprintf(text, sizeof(text), "redis://u:%0300d@h", 7);
	assert_int_equal(url_parse(text, &u, NULL), -ERR_USAGE);
	/* 107 bytes are the longest host; its label is still whole. */
	memset(text + 8, 'h', 107);
	memcpy(text + 115, ":65535", 7);
	assert_int_equal(url_parse(text, &u, NULL), 0);
	assert_string_equal(u.label, text);
	assert_int_equal(url_print(&u, text, 64, NULL), -ERR_LIMIT);
}

static void
test_password(void **state)
{
	struct url u;
	char text[400];

	(void)state;
	assert_int_equal(url_parse("redis://u:x@h", &u, NULL), 0);
	assert_int_equal(url_set_password(&u, "new\n", NULL), 0);
	assert_string_equal(u.pass, "new");
	memset(text, 'p', 300);
	text[300] = '\0';
	assert_int_equal(url_set_password(&u, text, NULL), -ERR_USAGE);
}

static void
test_side(void **state)
{
	struct url u;
	struct url v;
	struct side_conf side;
	struct side_conf other;
	struct err err;

	(void)state;
	assert_int_equal(url_parse("redis://u:p@h:1", &u, NULL), 0);
	assert_int_equal(url_parse("redis://h:1", &v, NULL), 0);
	assert_int_equal(url_side(&u, SIDE_NEW, &side, NULL), 0);
	assert_null(side.at.tls);
	assert_string_equal(side.label, "new redis://h:1");
	assert_string_equal(side.url_user, "u");
	assert_string_equal(side.url_pass, "p");
	assert_string_equal(side.own_user, "");
	/* Equal rules are one context; a file that is not there is named. */
	assert_int_equal(url_parse("rediss://h?insecure=1", &u, NULL), 0);
	assert_string_equal(url_tls_word(&u), "insecure");
	assert_int_equal(url_side(&u, SIDE_OLD, &side, NULL), 0);
	assert_int_equal(url_side(&u, SIDE_NEW, &other, NULL), 0);
	assert_non_null(side.at.tls);
	assert_ptr_equal(side.at.tls, other.at.tls);
	assert_int_equal(url_parse("rediss://h?ca=/no/such", &u, NULL), 0);
	assert_string_equal(url_tls_word(&u), "verified");
	assert_int_equal(url_side(&u, SIDE_OLD, &side, &err), -ERR_USAGE);
	assert_non_null(strstr(err.text, "old rediss://h:6379"));
	assert_non_null(strstr(err.text, "/no/such"));
	assert_int_equal(url_parse("redis://h:1", &u, NULL), 0);
	assert_true(url_same(&u, &v));
	v.at.port = 2;
	assert_false(url_same(&u, &v));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),  cmocka_unit_test(test_postgres),
		cmocka_unit_test(test_modes), cmocka_unit_test(test_same),
		cmocka_unit_test(test_bad),   cmocka_unit_test(test_secret),
		cmocka_unit_test(test_long),  cmocka_unit_test(test_password),
		cmocka_unit_test(test_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
