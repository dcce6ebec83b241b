/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/base/unit.h: what every unit test includes, in cmocka's order.
 */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#include "heap.h"

/* Does this statement end in check_fail? It runs up to there. */
extern jmp_buf unit_jump;
void unit_caught(const char *file, int line, const char *what);

#define UNIT_FAILS(statement)                                    \
	do {                                                     \
		check_on_fail(unit_caught);                      \
		if (setjmp(unit_jump) == 0) {                    \
			statement;                               \
			fail_msg("not refused: %s", #statement); \
		}                                                \
	} while (0)
