/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/list.h: typed lists whose links live inside the elements.
 *
 *   struct relay { ...; LIST_LINK(relay) idle; };
 *   LIST_OF(relay, idle, relay_idle);
 *
 * makes struct relay_idle_list and relay_idle_push(), _push_front(), _remove(),
 * _pop(), _move(); the head keeps the count. An element cannot be put into a
 * list of another type, nor through another link.
 *
 * Owns:   nothing; elements belong to the caller. All zero is an empty list.
 * Thread: one at a time.
 */
#pragma once

#include <stddef.h>

#include "base/check.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): types and names are pasted. */
#define LIST_LINK(type)            \
	struct {                   \
		struct type *prev; \
		struct type *next; \
	}

/* A list's functions, of which nobody uses all (clang counts those in a .c). */
#define LIST_FN static inline __attribute__((unused))

/* The semicolon behind LIST_OF(...) is the user's. */
#define LIST_OF(type, link, name)                                             \
	struct name##_list {                                                  \
		struct type *first;                                           \
		struct type *last;                                            \
		size_t n;                                                     \
	};                                                                    \
                                                                              \
	/* At the end. */                                                     \
	LIST_FN void name##_push(struct name##_list *l, struct type *e)       \
	{                                                                     \
		e->link.prev = l->last;                                       \
		e->link.next = NULL;                                          \
		if (l->last != NULL)                                          \
			l->last->link.next = e;                               \
		else                                                          \
			l->first = e;                                         \
		l->last = e;                                                  \
		l->n++;                                                       \
	}                                                                     \
                                                                              \
	LIST_FN void name##_push_front(struct name##_list *l, struct type *e) \
	{                                                                     \
		e->link.prev = NULL;                                          \
		e->link.next = l->first;                                      \
		if (l->first != NULL)                                         \
			l->first->link.prev = e;                              \
		else                                                          \
			l->last = e;                                          \
		l->first = e;                                                 \
		l->n++;                                                       \
	}                                                                     \
                                                                              \
	/* Behind at, which is in l. */                                       \
	LIST_FN void name##_insert(struct name##_list *l, struct type *at,    \
	                           struct type *e)                            \
	{                                                                     \
		if (at == l->last) {                                          \
			name##_push(l, e);                                    \
			return;                                               \
		}                                                             \
		e->link.prev = at;                                            \
		e->link.next = at->link.next;                                 \
		at->link.next->link.prev = e;                                 \
		at->link.next = e;                                            \
		l->n++;                                                       \
	}                                                                     \
                                                                              \
	/* e must be in l. */                                                 \
	LIST_FN void name##_remove(struct name##_list *l, struct type *e)     \
	{                                                                     \
		REQUIRE(l->n > 0);                                            \
		if (e->link.prev != NULL)                                     \
			e->link.prev->link.next = e->link.next;               \
		else                                                          \
			l->first = e->link.next;                              \
		if (e->link.next != NULL)                                     \
			e->link.next->link.prev = e->link.prev;               \
		else                                                          \
			l->last = e->link.prev;                               \
		e->link.prev = NULL;                                          \
		e->link.next = NULL;                                          \
		l->n--;                                                       \
	}                                                                     \
                                                                              \
	/* The first one, taken out, or NULL. */                              \
	LIST_FN struct type *name##_pop(struct name##_list *l)                \
	{                                                                     \
		struct type *e = l->first;                                    \
                                                                              \
		if (e != NULL)                                                \
			name##_remove(l, e);                                  \
		return e;                                                     \
	}                                                                     \
                                                                              \
	/* Everything of from to the end of l; from is empty then. */         \
	LIST_FN void name##_move(struct name##_list *l,                       \
	                         struct name##_list *from)                    \
	{                                                                     \
		if (from->first == NULL)                                      \
			return;                                               \
		from->first->link.prev = l->last;                             \
		if (l->last != NULL)                                          \
			l->last->link.next = from->first;                     \
		else                                                          \
			l->first = from->first;                               \
		l->last = from->last;                                         \
		l->n += from->n;                                              \
		from->first = NULL;                                           \
		from->last = NULL;                                            \
		from->n = 0;                                                  \
	}                                                                     \
	struct type

/* Walk a list; the element in hand may be removed, no other may.
 *   list_each(relay, e, idle, &pool->idle) ... */
#define list_each(type, e, link, l)                                            \
	for (struct type *e = (l)->first, *e##_next = e ? e->link.next : NULL; \
	     e != NULL; e = e##_next, e##_next = e ? e->link.next : NULL)
/* NOLINTEND(bugprone-macro-parentheses) */
