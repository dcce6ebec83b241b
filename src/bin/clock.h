/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/clock.h: how long something takes.
 *
 * Thread: any.
 */
#pragma once

#include "world/os/loop.h"

/* Monotonic; only differences mean anything. */
static inline int64_t
clock_now_ms(void)
{
	return (int64_t)(os_mono_ns() / 1000000);
}
