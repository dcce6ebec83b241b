/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/err.h: what went wrong, as a code and a sentence.
 *
 * int functions answer 0 or a negative ERR_*. struct err carries the sentence a
 * person will read: the thing, the cause, the next step. It is UTF-8, whatever
 * was put into it.
 */
#pragma once

#include "base/span.h"

enum err_code {
	ERR_NONE = 0,
#define X(name, text, http, exit, retry) ERR_##name,
#include "err.tbl"
#undef X
	ERR_N,
};

struct err {
	enum err_code code;
	char text[252];
};

_Static_assert(sizeof(struct err) == 256, "an error is passed around whole");

/* Fill *err (may be NULL) and answer -code, so: return err_set(err, ...); */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put a prefix and ": " before the text; the code stays. Answers -err->code. */
int err_wrap(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

const char *err_name(enum err_code code); /* "LOST" */
const char *err_text(enum err_code code); /* "the connection was lost" */
int err_exit(enum err_code code);         /* exit status of the CLI */
int err_http(enum err_code code);
bool err_retry(enum err_code code);
