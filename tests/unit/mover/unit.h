/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/unit.h: cmocka, after the headers it wants first.
 */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
/* clang-format on */

#include "base/mem.h"

/* What struct mem asks for, from the heap; a limit that is not 0 refuses. */
static inline void *
unit_resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	void *p = NULL;

	if (m->limit != 0 && m->used + new_n - old_n > m->limit)
		return NULL;
	if (new_n == 0)
		free(old_p);
	else if ((p = realloc(old_p, new_n)) == NULL)
		return NULL;
	m->used += new_n - old_n;
	return p;
}
