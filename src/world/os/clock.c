/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/clock.c: the machine's clocks, randomness and words for errors.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/check.h"
#include "world/os/loop.h"

uint64_t
os_mono_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail: vdso */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t
os_wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

uint64_t
os_entropy(void)
{
	uint64_t v;

	while (getrandom(&v, sizeof(v), 0) != sizeof(v)) {
		if (errno != EINTR)
			NEVER("the kernel has no random numbers");
	}
	return v;
}

const char *
os_cause(int error_number)
{
	const char *text = strerrordesc_np(error_number);

	return text != NULL ? text : "unknown error";
}
