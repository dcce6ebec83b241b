/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A MaxMind database that is written here, in each record size, whole and
 * damaged, and asked through libmaxminddb.
 */
#define _GNU_SOURCE
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/spec/mmdb_file.h"

/* The library forgets a few blocks when it refuses a damaged file. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libmaxminddb";
}

static char name[40]; /* of a file in memory: it is written 20,000 times */
static int fd = -1;
static struct err err;

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
	uint8_t count[2] = { 0xc1, (uint8_t)nodes };
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
	PUT("\xe9\x4anode_count");
	put(count, 2);
	PUT("\x4brecord_size");
	put(size, 2);
	PUT("\x4aip_version\xa1");
	put(v6 ? "\6" : "\4", 1);
	PUT("\x4d"
	    "database_type\x44test");
	PUT("\x49languages\x01\x04\x42"
	    "en");
	PUT("\x5b" /* 27 bytes */
	    "binary_format_major_version\xa1\x02");
	PUT("\x5b"
	    "binary_format_minor_version\xa0");
	PUT("\x4b"
	    "build_epoch\x04\x02\x5f\x5e\x10\x00");
	PUT("\x4b"
	    "description\xe1\x42"
	    "en\x44made");
}

/* The first len bytes of the file are what is on the disk. */
static struct mmdb_file *
load(size_t len, const char *path)
{
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	assert_int_equal(pwrite(fd, file, len, 0), len);
	return mmdb_file_load(name, path, &err);
}

static struct span
ask(const struct mmdb_file *f, uint8_t first)
{
	struct span ret;
	struct cidr_address a = {
		{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, first, 1, 2, 3 }, true
	};

	mmdb_file_locate(f, &a, &ret);
	return ret;
}

/* What is at a path of the whole file; "": nothing. */
static const char *
at_path(uint8_t first, const char *path)
{
	static char text[16];
	struct mmdb_file *f = load(n, path);
	struct span s;

	assert_non_null(f);
	s = ask(f, first);
	assert_true(s.n < sizeof(text));
	if (s.n > 0)
		memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	mmdb_file_free(f);
	return text;
}

static void
test_each_size(void **state)
{
	static const uint32_t sizes[] = { 24, 28, 32 };
	static const struct cidr_address far = { { 0x20, 1 }, true };

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct mmdb_file *f;
		struct span s;

		write_file(sizes[i % 3], i >= 3);
		assert_string_equal(at_path(10, "country.iso_code"), "DE");
		assert_string_equal(at_path(200, "country.iso_code"), "US");
		assert_string_equal(at_path(10, "country"), "");
		assert_string_equal(at_path(10, "country.name"), "");
		assert_string_equal(at_path(10, "city.iso_code"), "");
		assert_string_equal(at_path(10, "skip.a"), "");
		assert_string_equal(at_path(10, ""), "");
		f = load(n, "country.iso_code");
		assert_non_null(f);
		mmdb_file_locate(f, &far, &s);
		assert_int_equal(s.n, 0);
		mmdb_file_free(f);
	}
}

/* What is loaded does not change with the file. */
static void
test_file_goes(void **state)
{
	struct mmdb_file *f;

	(void)state;
	write_file(24, true);
	f = load(n, "country.iso_code");
	assert_non_null(f);
	assert_true(mmdb_file_is(f, name, "country.iso_code"));
	assert_false(mmdb_file_is(f, name, "country.name"));
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_true(span_eq(ask(f, 10), SPAN("DE")));
	assert_true(span_eq(ask(f, 200), SPAN("US")));
	mmdb_file_free(f);
}

static void
test_refused(void **state)
{
	(void)state;
	assert_null(mmdb_file_load("/no/such/file", "a", &err));
	assert_non_null(strstr(err.text, "/no/such/file"));
	assert_null(mmdb_file_load("/dev/null", "a", &err));
	assert_non_null(strstr(err.text, "empty"));
	write_file(24, false);
	assert_null(load(n, "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q"));
	assert_non_null(strstr(err.text, "steps"));
}

/* Every prefix, every changed bit: nothing is read outside, nothing hangs. */
static void
test_damaged(void **state)
{
	struct mmdb_file *f;
	uint32_t opened = 0;

	(void)state;
	write_file(28, true);
	for (size_t i = 0; i < n; i++) {
		f = load(i, "country.iso_code");
		if (f != NULL)
			(void)ask(f, 200);
		mmdb_file_free(f);
	}
	for (size_t i = 0; i < n * 8; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		file[i / 8] ^= bit;
		f = load(n, "country.iso_code");
		file[i / 8] ^= bit;
		if (f != NULL) {
			opened++;
			(void)ask(f, 10);
			(void)ask(f, 200);
		}
		mmdb_file_free(f);
	}
	assert_true(opened > n && opened < n * 8); /* both were met */
	assert_null(load(0, "country.iso_code"));
}

static int
make_name(void **state)
{
	(void)state;
	fd = memfd_create("mmdb", MFD_CLOEXEC);
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return fd >= 0 ? 0 : -1;
}

static int
drop_name(void **state)
{
	(void)state;
	return close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_size),
		cmocka_unit_test(test_file_goes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, make_name, drop_name);
}
