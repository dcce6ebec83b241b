/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/golden/rdb_values.c: what wire/rdb.h makes of a snapshot, for scripts.
 *
 *   rdb_values WINDOW PIECE < dump.rdb
 *
 * The bytes arrive PIECE at a time. One line a part, strings in hex:
 *   value DB KEY EXPIRES_MS PAYLOAD         PAYLOAD as RESTORE takes it
 *   big DB KEY EXPIRES_MS FORM BYTES COUNT
 *   elem STRING...
 *   end COMPLETE
 *   eof
 */
#include <stdio.h>

#include "../fuzz/heap.h"
#include "base/buf.h"
#include "base/hash.h"
#include "wire/rdb.h"

static void
print_hex(struct span s)
{
	(void)putchar(' ');
	for (size_t i = 0; i < s.n; i++)
		printf("%02x", s.p[i]);
	if (s.n == 0)
		(void)putchar('-');
}

static void
print_payload(const struct rdb_part *p)
{
	uint64_t crc = hash_crc64(0, span_of(&p->type, 1));
	uint8_t footer[10];

	rdb_footer(p->version, hash_crc64(crc, p->body), footer);
	printf(" %02x", p->type);
	for (size_t i = 0; i < p->body.n; i++)
		printf("%02x", p->body.p[i]);
	for (size_t i = 0; i < sizeof(footer); i++)
		printf("%02x", footer[i]);
}

static void
print_part(const struct rdb_part *p, uint32_t db)
{
	switch (p->kind) {
	case RDB_VALUE:
		printf("value %u", db);
		print_hex(p->key);
		printf(" %lld", (long long)p->expires_ms);
		print_payload(p);
		break;
	case RDB_BIG:
		printf("big %u", db);
		print_hex(p->key);
		printf(" %lld %d %llu %llu", (long long)p->expires_ms,
		       (int)p->form, (unsigned long long)p->bytes,
		       (unsigned long long)p->count);
		break;
	case RDB_ELEM:
		printf("elem");
		for (uint32_t i = 0; i < p->elem_n; i++)
			print_hex(p->elem[i]);
		break;
	case RDB_BIG_END: printf("end %d", p->complete); break;
	case RDB_END: printf("eof"); break;
	case RDB_HEADER:
	case RDB_AUX:
	case RDB_SELECT:
	case RDB_SIZES:
	case RDB_FUNCTION:
	case RDB_MODULE_AUX: return;
	}
	(void)putchar('\n');
}

int
main(int argc, char **argv)
{
	struct heap heap = heap_make();
	struct rdb_part part;
	size_t window_max;
	size_t piece;
	uint32_t db = 0;
	struct buf in;
	uint8_t *scratch;
	struct rdb r;

	if (argc != 3)
		return 2;
	window_max = strtoul(argv[1], NULL, 10);
	piece = strtoul(argv[2], NULL, 10);
	scratch = malloc(window_max + RDB_SCRATCH_MIN);
	REQUIRE(scratch != NULL && piece > 0);
	buf_init(&in, &heap.mem);
	rdb_init(&r, window_max, scratch, window_max + RDB_SCRATCH_MIN);
	r.verify = true;
	do {
		size_t used = 0;
		enum wire_rc rc = rdb_feed(&r, buf_span(&in), &part, &used);

		if (rc < 0) {
			printf("rc %d\n", rc);
			return 1;
		}
		if (rc == WIRE_PART) {
			if (part.kind == RDB_SELECT)
				db = part.db;
			print_part(&part, db);
		}
		buf_take(&in, used);
		if (rc == WIRE_MORE) {
			uint8_t *to = buf_room(&in, piece);
			size_t n = fread(to, 1, piece, stdin);

			REQUIRE(buf_len(&in) <= 2 * window_max + piece);
			if (n == 0) {
				printf("cut short\n");
				return 1;
			}
			buf_grew(&in, n);
		}
	} while (part.kind != RDB_END);
	buf_fini(&in);
	free(scratch);
	return 0;
}
