/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/gauge.h: progress of a job with a known or unknown end, as people and
 * programs read it.
 *
 * On a terminal one line of stderr is written over and over; elsewhere a line
 * every few seconds; with JSON an object a line on stdout.
 *
 * Thread: the main one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GAUGE_SAMPLES 16

struct gauge {
	const char *what; /* "copy", "verify"                               */
	bool is_json;
	bool is_tty; /* stderr is                                           */
	int64_t began_ms;
	int64_t print_at_ms;
	uint32_t n; /* samples taken                                        */
	struct {
		int64_t at_ms;
		uint64_t done;
	} samples[GAUGE_SAMPLES]; /* the last few, for a moving rate        */
};

int64_t gauge_now_ms(void); /* monotonic                                    */
void gauge_init(struct gauge *g, const char *what, bool is_json);

/* done of total (0: not known) records, bytes so far (0: not told). Call a few
 * times a second. */
void gauge_show(struct gauge *g, uint64_t done, uint64_t total, uint64_t bytes);

/* Records a second over the last samples. */
double gauge_rate(const struct gauge *g);
void gauge_end(struct gauge *g); /* clears the line                         */
