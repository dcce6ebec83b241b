/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 against the values of FIPS 180 and every length around its blocks.
 */
#include <stdio.h>

#include "base/sha256.h"
#include "unit.h"

static void
hex_of(struct span s, char ret[65])
{
	uint8_t hash[SHA256_N];

	sha256(s, hash);
	for (int i = 0; i < SHA256_N; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", hash[i]);
}

static void
test_known(void **state)
{
	static char a[1000001];
	char hex[65];

	(void)state;
	hex_of(span_of(NULL, 0), hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb924"
	                         "27ae41e4649b934ca495991b7852b855");
	hex_of(SPAN("abc"), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223"
	                         "b00361a396177a9cb410ff61f20015ad");
	hex_of(SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
	       hex);
	assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039"
	                         "a33ce45964ff2167f6ecedd419db06c1");
	memset(a, 'a', 1000000);
	hex_of(span_of(a, 1000000), hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67"
	                         "f1809a48a497200e046d39ccc7112cd0");
}

/* The hash of all hashes of 0..199 bytes "x", as another implementation says. */
static void
test_lengths(void **state)
{
	static uint8_t all[200 * SHA256_N];
	uint8_t x[200];
	char hex[65];

	(void)state;
	memset(x, 'x', sizeof(x));
	for (size_t n = 0; n < 200; n++)
		sha256(span_of(x, n), all + n * SHA256_N);
	hex_of(span_of(all, sizeof(all)), hex);
	assert_string_equal(hex, "f5e61141898898cdabae3590cb32e190"
	                         "1b40bdc59952302926213a44c105c129");
}

static void
test_same(void **state)
{
	uint8_t a[SHA256_N];
	uint8_t b[SHA256_N];

	(void)state;
	sha256(SPAN("a"), a);
	memcpy(b, a, sizeof(b));
	assert_true(sha256_same(a, b));
	for (int i = 0; i < SHA256_N; i++) {
		b[i] ^= 1;
		assert_false(sha256_same(a, b));
		b[i] ^= 1;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
