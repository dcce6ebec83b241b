/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/look.h: values out of a status object, by a path of names; and numbers
 * as people read them.
 *
 * What is absent reads as "", 0 or false: an older or newer Godwit on the
 * other end must not break the screen.
 *
 * Thread: any.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const json_t *look_at(const json_t *j, const char *path); /* "stream.lag_ms" */
const char *look_text(const json_t *j, const char *path);
int64_t look_int(const json_t *j, const char *path);
double look_real(const json_t *j, const char *path); /* integers too        */
bool look_bool(const json_t *j, const char *path);

#define AMOUNT_MAX 40

/* A formatted number, by value, so that several fit one printf. */
struct amount {
	char s[AMOUNT_MAX];
};

struct amount amount_count(int64_t v);  /* "1,234,567"                     */
struct amount amount_bytes(double v);   /* "41.2 MiB"                      */
struct amount amount_seconds(double v); /* "850 ms", "12 s", "3 m 20 s"    */
struct amount amount_clock(const json_t *at); /* ms since 1970 or a text:
                                               * "14:02:11"                 */
