/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/probe.h: a loop whose machine is one function of a test.
 *
 * The function runs in the loop's thread; what it shares with the test is
 * atomic or read only after probe_end().
 */
#pragma once

#include "world/os/loop.h"

typedef void probe_f(void *arg, struct port *p, const struct event *ev);

struct probe {
	probe_f *on;
	void *arg;
	struct crowd *crowd; /* may be NULL */
	struct inbox *inbox; /* may be NULL */
	size_t mem_limit;
	bool is_patient; /* loop_conf.is_patient */
	struct loop *loop;
	uint16_t port; /* where it listens */
};

void probe_make(struct probe *p);  /* not yet running */
void probe_start(struct probe *p); /* make and run */
void probe_end(struct probe *p);   /* stop and free; no memory may be left */

/* Wait for the loop's memory to be from low to high; false: NET_WAIT_MS. */
bool probe_memory_until(const struct probe *p, size_t low, size_t high);
