/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/slab.c: small blocks of one size side by side.
 *
 *   | struct slab | block | block | ... | never used yet |
 *
 * Where a slab begins is told by the address of any of its blocks.
 */
#include "world/os/slab.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"

struct block {
	struct block *next;
};

struct slab {
	struct slab *next; /* of those with room */
	struct slab *prev;
	struct block *given; /* back, to be taken again */
	uint32_t used;
	uint32_t fresh; /* offset of what was never used */
};

_Static_assert(SLAB_MIN + (SLAB_CLASSES - 1) * SLAB_STEP == SLAB_MAX,
               "one list a size");
_Static_assert(sizeof(struct slab) % SLAB_STEP == 0, "blocks are aligned");

static size_t
class_of(size_t n)
{
	return (n - SLAB_MIN + SLAB_STEP - 1) / SLAB_STEP;
}

static size_t
size_of(size_t at)
{
	return SLAB_MIN + at * SLAB_STEP;
}

static bool
has_room(const struct slab *b, size_t size)
{
	return b->given != NULL || b->fresh + size <= SLAB_BYTES;
}

static void
put_first(struct slab **list, struct slab *b)
{
	b->prev = NULL;
	b->next = *list;
	if (*list != NULL)
		(*list)->prev = b;
	*list = b;
}

static void
take_out(struct slab **list, struct slab *b)
{
	*(b->prev != NULL ? &b->prev->next : list) = b->next;
	if (b->next != NULL)
		b->next->prev = b->prev;
}

static struct slab *
more(struct slab **list)
{
	void *p = NULL;
	struct slab *b;

	if (posix_memalign(&p, SLAB_ALIGN, SLAB_BYTES) != 0)
		return NULL;
	b = p;
	*b = (struct slab){ .fresh = sizeof(*b) };
	put_first(list, b);
	return b;
}

void *
slab_take(struct slabs *s, size_t n)
{
	size_t at = class_of(n);
	struct slab **list = &s->room[at];
	struct slab *b = *list != NULL ? *list : more(list);
	struct block *p;

	REQUIRE(slab_may(n));
	if (b == NULL)
		return NULL;
	p = b->given;
	if (p != NULL) {
		b->given = p->next;
	} else {
		p = (struct block *)(void *)((uint8_t *)b + b->fresh);
		b->fresh += (uint32_t)size_of(at);
	}
	b->used++;
	if (!has_room(b, size_of(at)))
		take_out(list, b);
	return p;
}

/* A slab begins at a multiple of SLAB_ALIGN. */
static struct slab *
slab_of(void *p)
{
	void *start = (char *)p - ((uintptr_t)p & (SLAB_ALIGN - 1));

	return start;
}

void
slab_give(struct slabs *s, void *p, size_t n)
{
	size_t at = class_of(n);
	struct slab **list = &s->room[at];
	struct block *back = p;
	struct slab *b = slab_of(p);
	bool was_full = !has_room(b, size_of(at));

	REQUIRE(slab_may(n) && b->used > 0);
	back->next = b->given;
	b->given = back;
	b->used--;
	if (was_full) {
		put_first(list, b);
	} else if (b->used == 0 && (b->next != NULL || b->prev != NULL)) {
		take_out(list, b);
		free(b);
	}
}

void
slab_fini(struct slabs *s)
{
	for (size_t i = 0; i < SLAB_CLASSES; i++) {
		struct slab *b = s->room[i];

		s->room[i] = NULL;
		while (b != NULL) {
			struct slab *next = b->next;

			if (b->used == 0)
				free(b);
			b = next;
		}
	}
}
