/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/base/unit.c: assertions that are expected to fail.
 */
#include "unit.h"

jmp_buf unit_jump;

void
unit_caught(const char *file, int line, const char *what)
{
	(void)file;
	(void)line;
	(void)what;
	longjmp(unit_jump, 1);
}
