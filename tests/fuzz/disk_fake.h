/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/disk_fake.h: engine/disk.h in memory, for tests: room as told, and what is
 * durable as told.
 */
#pragma once

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "engine/disk.h"

#define DISK_FILES 64

struct disk_fake {
	struct disk d; /* first */
	struct buf file[DISK_FILES];
	uint64_t first;
	uint64_t end;
	uint64_t room; /* bytes of all files */
	uint64_t asked;
	uint64_t done;
};

static inline struct buf *
disk_file(struct disk *d, uint64_t n)
{
	struct disk_fake *f = (struct disk_fake *)(void *)d;

	REQUIRE(n >= f->first && n < f->end);
	return &f->file[n % DISK_FILES];
}

static inline uint64_t
disk_bytes(struct disk *d)
{
	struct disk_fake *f = (struct disk_fake *)(void *)d;
	uint64_t n = 0;

	for (uint64_t i = f->first; i < f->end; i++)
		n += buf_len(disk_file(d, i));
	return n;
}

static inline void
disk_range(struct disk *d, uint64_t *ret_first, uint64_t *ret_end)
{
	struct disk_fake *f = (struct disk_fake *)(void *)d;

	*ret_first = f->first;
	*ret_end = f->end;
}

static inline int
disk_append(struct disk *d, uint64_t n, struct span bytes)
{
	struct disk_fake *f = (struct disk_fake *)(void *)d;

	if (f->room > 0 && disk_bytes(d) + bytes.n > f->room)
		return -ERR_LIMIT;
	if (f->first == f->end) {
		REQUIRE(n >= f->end);
		f->first = n;
		f->end = n;
	}
	REQUIRE(n == f->end || n + 1 == f->end);
	REQUIRE(n - f->first < DISK_FILES);
	f->end = n + 1;
	buf_put_span(disk_file(d, n), bytes);
	return 0;
}

static inline int64_t
disk_read(struct disk *d, uint64_t n, uint64_t at, uint8_t *to, size_t cap)
{
	struct span s = buf_span(disk_file(d, n));
	size_t k = at < s.n ? s.n - (size_t)at : 0;

	k = k < cap ? k : cap;
	if (k > 0)
		memcpy(to, s.p + at, k);
	return (int64_t)k;
}

static inline int
disk_cut(struct disk *d, uint64_t n, uint64_t size)
{
	struct buf *b = disk_file(d, n);

	if (size < buf_len(b))
		b->end = b->off + (uint32_t)size;
	return 0;
}

static inline void
disk_remove(struct disk *d, uint64_t n)
{
	struct disk_fake *f = (struct disk_fake *)(void *)d;

	REQUIRE(n == f->first);
	buf_release(disk_file(d, n));
	f->first++;
}

static inline void
disk_sync(struct disk *d)
{
	((struct disk_fake *)(void *)d)->asked++;
}

static inline uint64_t
disk_synced(struct disk *d)
{
	return ((struct disk_fake *)(void *)d)->done;
}

static inline const char *
disk_why(struct disk *d)
{
	(void)d;
	return "no room";
}

static inline void
disk_fake_init(struct disk_fake *f, struct mem *mem)
{
	static const struct disk_ops ops = {
		disk_range, disk_append, disk_read,  disk_cut, disk_remove,
		disk_sync,  disk_synced, disk_bytes, disk_why,
	};

	f->d.ops = &ops;
	f->first = 1;
	f->end = 1;
	for (int i = 0; i < DISK_FILES; i++)
		buf_init(&f->file[i], mem);
}

static inline void
disk_fake_fini(struct disk_fake *f)
{
	for (int i = 0; i < DISK_FILES; i++)
		buf_fini(&f->file[i]);
}
