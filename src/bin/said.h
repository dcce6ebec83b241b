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
