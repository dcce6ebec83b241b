/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/check.h: assertions that are never compiled out.
 *
 * REQUIRE at entry, ENSURE at exit, NEVER in impossible branches. A failure
 * ends the process through check_fail, whose handler the main sets (it prints
 * the panic page); before that it traps.
 */
#pragma once

#include <stdbool.h>

typedef void check_handler_f(const char *file, int line, const char *what);

/* The handler runs once, then the process traps. NULL: trap at once. */
void check_on_fail(check_handler_f *handler);

_Noreturn void check_fail(const char *file, int line, const char *what);

#define REQUIRE(cond) \
	((cond) ? (void)0 : check_fail(__FILE__, __LINE__, "require: " #cond))
#define ENSURE(cond) \
	((cond) ? (void)0 : check_fail(__FILE__, __LINE__, "ensure: " #cond))
#define NEVER(why) check_fail(__FILE__, __LINE__, "never: " why)
