/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/test_base64.c: both alphabets, and what is not base64; the
 * Authorization header.
 */
#include <string.h>

#include "base/base64.h"
#include "control/auth/bearer.h"
#include "unit.h"

/* RFC 4648, section 10. */
static const char *const known[][2] = {
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
};

static void
known_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		char text[16];
		uint8_t back[16];

		(void)base64_put(BASE64_PLAIN, span_str(known[i][0]), text);
		assert_string_equal(text, known[i][1]);
		assert_int_equal(base64_get(BASE64_PLAIN, span_str(text), back,
		                            sizeof(back)),
		                 strlen(known[i][0]));
		assert_memory_equal(back, known[i][0], strlen(known[i][0]));
	}
}

static void
every_byte_comes_back(void **state)
{
	uint8_t raw[256];
	char text[BASE64_LEN(256)];
	uint8_t back[256];

	(void)state;
	for (size_t i = 0; i < 256; i++)
		raw[i] = (uint8_t)(i * 7);
	for (enum base64 k = BASE64_PLAIN; k <= BASE64_URL; k++) {
		for (size_t n = 0; n <= 256; n++) {
			size_t len = base64_put(k, span_of(raw, n), text);

			assert_int_equal(len, strlen(text));
			assert_true(len < BASE64_LEN(n));
			assert_int_equal(base64_get(k, span_str(text), back, n),
			                 n);
			assert_memory_equal(back, raw, n);
			assert_true(n == 0 || base64_get(k, span_str(text),
			                                 back, n - 1) == -1);
		}
	}
}

static void
other_texts_are_refused(void **state)
{
	static const char *const plain[] = {
		"Zg",   "Zg=",  "Z===", "Zh==",     "Zm9=",   "Zm9v=", "====",
		"Z g=", "Zm9-", "Zm9_", "Zg==Zg==", "Zm9v\n", "=",
	};
	static const char *const url[] = { "Zg==", "Zh",   "Z",    "Zm9",
		                           "Zm+v", "Zm/v", "Zm v", "Zm.v" };
	uint8_t back[16];

	(void)state;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		assert_int_equal(base64_get(BASE64_PLAIN, span_str(plain[i]),
		                            back, sizeof(back)),
		                 -1);
	for (size_t i = 0; i < sizeof(url) / sizeof(url[0]); i++)
		assert_int_equal(base64_get(BASE64_URL, span_str(url[i]), back,
		                            sizeof(back)),
		                 -1);
}

static void
headers(void **state)
{
	struct bearer b;
	struct err err;

	(void)state;
	assert_int_equal(bearer_parse(NULL, &b, &err), 0);
	assert_int_equal(b.kind, BEARER_NONE);
	/* user: "Aladdin", password "open:sesame" */
	assert_int_equal(
		bearer_parse("basic  QWxhZGRpbjpvcGVuOnNlc2FtZQ==", &b, &err),
		0);
	assert_int_equal(b.kind, BEARER_BASIC);
	assert_string_equal(b.user, "Aladdin");
	assert_string_equal(b.password, "open:sesame");
	bearer_clear(&b);
	assert_string_equal(b.password, "");
	assert_int_equal(bearer_parse("BEARER a.b.c", &b, &err), 0);
	assert_int_equal(b.kind, BEARER_TOKEN);
	assert_true(span_eq(b.token, SPAN("a.b.c")));
}

static void
other_headers_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"Bearer",
		"Bearer ",
		"Bearer a b",
		"Bearera",
		"Digest x",
		"Basic",
		"Basic !!!!",
		"Bearer \x80",
		"Basic Zm9v",
		"Basic OnB3",
		"Basic YQBiOmM=",
		"Bearer a\tb",
	};
	static char big[LIMIT_TOKEN_BYTES + 9] = "Bearer ";
	struct bearer b;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(bearer_parse(texts[i], &b, &err),
		                 -ERR_UNAUTHORIZED);
	memset(big + 7, 'a', sizeof(big) - 8);
	assert_int_equal(bearer_parse(big, &b, &err), -ERR_UNAUTHORIZED);
	big[LIMIT_TOKEN_BYTES] = '\0';
	assert_int_equal(bearer_parse(big, &b, &err), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_texts),
		cmocka_unit_test(every_byte_comes_back),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(headers),
		cmocka_unit_test(other_headers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
