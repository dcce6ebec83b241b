/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/check.c: assertions that are never compiled out.
 */
#include "base/check.h"

#include <stdatomic.h>
#include <stddef.h>

/* The only mutable state of this layer: set once by the main, before threads. */
static _Atomic(check_handler_f *) handler_set;

void
check_on_fail(check_handler_f *handler)
{
	atomic_store(&handler_set, handler);
}

void
check_fail(const char *file, int line, const char *what)
{
	/* Taken out, so that a failing handler cannot run itself again. */
	check_handler_f *handler = atomic_exchange(&handler_set, NULL);

	if (handler != NULL)
		handler(file, line, what);
	__builtin_trap();
}
