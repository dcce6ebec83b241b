/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_spool.c: any bytes as the files that a process has left of its
 * spool: what is read of them is whole, and the spool goes on behind them.
 *
 * data: where the files are cut, one byte for each; then the bytes.
 */
#include "disk_fake.h"
#include "engine/postgres/mover/spool.h"
#include "heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t
read_all(struct pg_spool *s, enum spool_rc *rc)
{
	struct span payload;
	uint64_t at;
	uint64_t n = 0;

	while ((*rc = spool_peek(s, &payload, &at)) == SPOOL_SOME) {
		spool_skip(s, payload.n);
		n++;
	}
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t begin[] =
		"B\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\1";
	static const uint8_t end[] =
		"C\0\0\0\0\0\0\0\0\1\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0";
	struct heap heap = heap_make();
	struct disk_fake disk = { .room = 0 };
	struct pg_spool s = { .disk = NULL };
	enum spool_rc rc;
	uint64_t before;

	disk_fake_init(&disk, &heap.mem);
	for (uint64_t i = 1; i < 4 && n > 0; i++) {
		size_t k = *data++;

		n--;
		k = k < n && i < 3 ? k : n;
		(void)disk_append(&disk.d, i, span_of(data, k));
		data += k;
		n -= k;
	}
	spool_init(&s, &heap.mem, &disk.d, 7);
	if (spool_load(&s)) {
		before = read_all(&s, &rc);
		if (rc == SPOOL_NONE) {
			spool_put(&s, 1, span_of(begin, sizeof(begin) - 1));
			spool_put(&s, 1, span_of(end, sizeof(end) - 1));
			spool_flush(&s);
			REQUIRE(s.whole == UINT64_MAX);
			REQUIRE(read_all(&s, &rc) >= 2 && rc == SPOOL_NONE);
			REQUIRE(spool_rewind(&s));
			REQUIRE(read_all(&s, &rc) >= before + 2);
			REQUIRE(rc == SPOOL_NONE && spool_is_read(&s));
			spool_reset(&s);
			REQUIRE(disk_bytes(&disk.d) == 0);
		}
	}
	spool_fini(&s);
	disk_fake_fini(&disk);
	REQUIRE(heap.mem.used == 0);
	return 0;
}
