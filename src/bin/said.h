/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/said.h: the answer to a verb as one sentence.
 *
 * Thread: any.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* answer: {"ok":...}. Success: what is so now, from the status in its data;
 * failure: its message. */
void said_text(const char *verb, const json_t *answer, char *ret, size_t n);

#define SAID_MORE_MAX 160

/* What of a verification is seldom: "2 unstable, a marker did not arrive"; ""
 * when there is nothing to say. n: SAID_MORE_MAX. */
void said_proof_more(const json_t *s, char *ret, size_t n);

/* The exit status that a verification stands for: differences; or only keys that
 * never stood still (a quieter moment may tell). */
int said_proof_status(const json_t *verification);
