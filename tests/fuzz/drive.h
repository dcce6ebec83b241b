/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/drive.h: run a codec over bytes that arrive in pieces and write
 * down what it says.
 *
 * The transcript must not depend on the cuts; golden tests and fuzzers compare.
 * Each call of the codec sees a block of exactly the bytes that are there, at a
 * new address, unless in_place is set.
 */
#pragma once

#include "base/buf.h"

struct drive_in {
	const uint8_t *p;
	size_t n;
	const size_t *cuts; /* ascending offsets where a piece ends; the last
	                     * piece ends at n */
	size_t cut_n;
	bool in_place;
};

typedef void drive_f(const struct drive_in *in, struct buf *out);

struct drive {
	const char *name;
	drive_f *run;
};

extern const struct drive drives[]; /* ends with a NULL name */

drive_f *drive_find(const char *name);

/* For fuzzers: the first byte says how many cuts (up to 16) follow as pairs of
 * bytes; the transcript of the rest, whole and cut, must be the same. */
void drive_fuzz(drive_f *run, const uint8_t *data, size_t n);
