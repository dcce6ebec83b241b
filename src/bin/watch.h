/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/watch.h: a running migration as lines, where there is no screen.
 *
 * Thread: any, one at a time for each struct.
 */
#pragma once

#include <stdatomic.h>
#include <stdio.h>

#include "base/err.h"
#include "bin/talk.h"

struct watch_conf {
	struct talk_to to;
	bool is_json;      /* the socket's objects, one a line              */
	bool no_status;    /* events only                                   */
	uint32_t every_ms; /* between status lines                          */
	int signal_fd;     /* readable: call on_signal; -1 none             */
	/* Answers true when the watching shall end. */
	bool (*on_signal)(void *arg);
	void *arg;
	_Atomic bool *is_silent; /* true: go on, print nothing; may be NULL */
};

/* Print until the migration's process ends or on_signal says so. 0 then. */
int watch_lines(const struct watch_conf *c, struct err *err) MUST;
