/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/header.h: what the headers of a request say.
 *
 * Limits: HEADER_MAX of a request, names of HEADER_NAME - 1 bytes; what is
 *         beyond, and values that are no UTF-8, are not there.
 * Thread: pure functions.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define HEADER_MAX  100
#define HEADER_NAME 64

/* One more for headers (lower-case names to texts); one that is there already
 * gets ", " and the value behind it. value NULL: "". */
void header_put(json_t *headers, const char *name, const char *value);

/* If-Match: is a row of this tag (quotes included) meant? As RFC 9110, 13.1.1: "*",
 * or one of a list; a weak tag is nobody's. */
bool header_has_tag(const char *value, const char *tag);

/* Last-Event-ID: digits, or nothing (*ret: -1). False: neither. */
bool header_event(const char *value, int64_t *ret);
