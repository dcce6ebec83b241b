/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_mmdb.c: a database that is written here, in each record
 * size, whole and damaged.
 */
#include "unit.h"
#include "wire/mmdb.h"

static uint8_t file[8192];
static size_t n;

static void
put(const void *p, size_t len)
{
	memcpy(file + n, p, len);
	n += len;
}

#define PUT(lit) put(lit, sizeof(lit) - 1)

/* Nodes: `depth` of them in a row following bit 0 (v6: 96), then one whose left
 * is leaf a and whose right is leaf b. */
static void
put_node(uint32_t bits, uint32_t left, uint32_t right)
{
	uint8_t b[8] = { 0 };

	if (bits == 24) {
		uint8_t t[6] = { (uint8_t)(left >> 16), (uint8_t)(left >> 8),
			         (uint8_t)left,         (uint8_t)(right >> 16),
			         (uint8_t)(right >> 8), (uint8_t)right };
		memcpy(b, t, 6);
	} else if (bits == 28) {
		uint8_t t[7] = {
			(uint8_t)(left >> 16),
			(uint8_t)(left >> 8),
			(uint8_t)left,
			(uint8_t)((left >> 24 & 15) << 4 | (right >> 24 & 15)),
			(uint8_t)(right >> 16),
			(uint8_t)(right >> 8),
			(uint8_t)right
		};
		memcpy(b, t, 7);
	} else {
		uint8_t t[8] = { (uint8_t)(left >> 24),  (uint8_t)(left >> 16),
			         (uint8_t)(left >> 8),   (uint8_t)left,
			         (uint8_t)(right >> 24), (uint8_t)(right >> 16),
			         (uint8_t)(right >> 8),  (uint8_t)right };
		memcpy(b, t, 8);
	}
	put(b, bits / 4);
}

/* 0.0.0.0/1 is "DE", 128.0.0.0/1 is "US" by way of a pointer. */
static void
write_file(uint32_t bits, bool v6)
{
	uint32_t nodes = v6 ? 97 : 1;
	uint8_t count[2] = { 0xa1, (uint8_t)nodes };
	uint8_t size[2] = { 0xa1, (uint8_t)bits };

	n = 0;
	for (uint32_t i = 0; i + 1 < nodes; i++)
		put_node(bits, i + 1, nodes);
	put_node(bits, nodes + 16, nodes + 16 + 36);
	put("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	/* 0: {"skip":[1,{"a":true}],"country":{"iso_code":"DE"}} */
	PUT("\xe2\x44skip\x02\x04\xc1\x01\xe1\x41"
	    "a\x01\x07\x47"
	    "country\xe1\x48iso_code\x42"
	    "DE");
	assert_int_equal(n, (size_t)nodes * (bits / 4) + 16 + 36);
	/* 36: {"country": -> 48} */
	PUT("\xe1\x47"
	    "country\x20\x30"); /* 36..46: a pointer to 48 */
	assert_int_equal(n, (size_t)nodes * (bits / 4) + 16 + 47);
	PUT("\x40\xe1\x48iso_code\x42US"); /* 47: "", 48: the map */
	PUT("\xab\xcd\xefMaxMind.com");
	PUT("\xe3\x4anode_count");
	put(count, 2);
	PUT("\x4brecord_size");
	put(size, 2);
	PUT("\x4aip_version\xa1");
	put(v6 ? "\6" : "\4", 1);
}

static struct span
ask(const struct mmdb *db, uint8_t first, const char *path)
{
	uint8_t a[16] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, first, 1, 2, 3
	};

	return mmdb_find(db, a, path);
}

static void
test_each_size(void **state)
{
	static const uint32_t sizes[] = { 24, 28, 32 };
	static const uint8_t far[16] = { 0x20, 1 };
	struct mmdb db;

	(void)state;
	for (int i = 0; i < 6; i++) {
		write_file(sizes[i % 3], i >= 3);
		assert_int_equal(mmdb_open(span_of(file, n), &db), WIRE_PART);
		assert_true(
			span_eq(ask(&db, 10, "country.iso_code"), SPAN("DE")));
		assert_true(
			span_eq(ask(&db, 200, "country.iso_code"), SPAN("US")));
		assert_null(ask(&db, 10, "country").p);
		assert_null(ask(&db, 10, "country.name").p);
		assert_null(ask(&db, 10, "city.iso_code").p);
		assert_null(ask(&db, 10, "skip.a").p);
		assert_null(mmdb_find(&db, far, "country.iso_code").p);
	}
}

/* Every prefix, every changed byte: nothing is read outside (ASan), nothing
 * hangs. */
static void
test_damaged(void **state)
{
	struct mmdb db;

	(void)state;
	write_file(28, true);
	for (size_t i = 0; i < n; i++) {
		uint8_t *copy = malloc(i + 1);

		memcpy(copy, file, i);
		if (mmdb_open(span_of(copy, i), &db) == WIRE_PART)
			(void)ask(&db, 200, "country.iso_code");
		free(copy);
	}
	for (size_t i = 0; i < n; i++) {
		for (int bit = 0; bit < 8; bit++) {
			uint8_t *copy = malloc(n);

			memcpy(copy, file, n);
			copy[i] = (uint8_t)(copy[i] ^ 1 << bit);
			if (mmdb_open(span_of(copy, n), &db) == WIRE_PART) {
				(void)ask(&db, 10, "country.iso_code");
				(void)ask(&db, 200, "country.iso_code");
			}
			free(copy);
		}
	}
	assert_int_equal(mmdb_open(span_of(NULL, 0), &db), WIRE_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_size),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
