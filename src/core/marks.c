/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/marks.c: keys that were written, from one relay to the mover (Mode M).
 */
#include "core/marks.h"

#include <stddef.h>

#include "base/check.h"

#define HEAD_N (offsetof(struct marks_item, key))

// NOLINTNEXTLINE(readability-non-const-parameter): it is written to later
void
marks_init(struct marks *m, uint8_t *p, size_t cap)
{
	REQUIRE(cap > sizeof(struct marks_item) && (cap & (cap - 1)) == 0);
	*m = (struct marks){ .cap = cap };
	m->p = p;
}

static void
copy_in(struct marks *m, uint64_t at, const void *from, size_t n)
{
	size_t off = (size_t)(at & (m->cap - 1));
	size_t first = n < m->cap - off ? n : m->cap - off;

	if (n == 0)
		return;
	memcpy(m->p + off, from, first);
	memcpy(m->p, (const uint8_t *)from + first, n - first);
}

static void
copy_out(const struct marks *m, uint64_t at, void *to, size_t n)
{
	size_t off = (size_t)(at & (m->cap - 1));
	size_t first = n < m->cap - off ? n : m->cap - off;

	memcpy(to, m->p + off, first);
	memcpy((uint8_t *)to + first, m->p, n - first);
}

void
marks_lose(struct marks *m)
{
	atomic_store(&m->lost, 1);
}

void
marks_put(struct marks *m, enum mark_kind kind, uint8_t side, uint32_t db,
          struct span key)
{
	struct marks_item it;
	uint64_t head = atomic_load_explicit(&m->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_acquire);

	if (key.n > MARKS_KEY_MAX || head - tail + HEAD_N + key.n > m->cap) {
		marks_lose(m);
		return;
	}
	it.kind = (uint8_t)kind;
	it.side = side;
	it.n = (uint16_t)key.n;
	it.db = db;
	copy_in(m, head, &it, HEAD_N);
	copy_in(m, head + HEAD_N, key.p, key.n);
	atomic_store_explicit(&m->head, head + HEAD_N + key.n,
	                      memory_order_release);
}

bool
marks_take(struct marks *m, struct marks_item *ret)
{
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&m->head, memory_order_acquire);

	if (head == tail)
		return false;
	copy_out(m, tail, ret, HEAD_N);
	ENSURE(ret->n <= MARKS_KEY_MAX && head - tail >= HEAD_N + ret->n);
	copy_out(m, tail + HEAD_N, ret->key, ret->n);
	atomic_store_explicit(&m->tail, tail + HEAD_N + ret->n,
	                      memory_order_release);
	return true;
}

bool
marks_lost(struct marks *m)
{
	return atomic_exchange(&m->lost, 0) != 0;
}
