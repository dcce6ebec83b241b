/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/writer.c: one writer at a time in this process.
 */
#define _DEFAULT_SOURCE
#include "control/store/writer.h"

#include <pthread.h>
#include <time.h>

#include "base/check.h"

#define WRITER_S 5

static pthread_mutex_t writers = PTHREAD_MUTEX_INITIALIZER;

bool
writer_in(void)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WRITER_S;
	return pthread_mutex_timedlock(&writers, &until) == 0;
}

void
writer_out(bool was_in)
{
	if (was_in)
		ENSURE(pthread_mutex_unlock(&writers) == 0);
}
