/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/err.c: what went wrong, as a code and a sentence.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

struct err_row {
	const char *name;
	const char *text;
	int http;
	int exit;
	bool retry;
};

static const struct err_row err_rows[ERR_N] = {
	[ERR_NONE] = { "NONE", "no error", 200, 0, false },
#define X(name, text, http, exit, retry) \
	[ERR_##name] = { #name, text, http, exit, retry },
#include "err.tbl"
#undef X
};

static const struct err_row *
row_of(enum err_code code)
{
	REQUIRE((unsigned)code < ERR_N);
	return &err_rows[code];
}

int
err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	REQUIRE(code > ERR_NONE && code < ERR_N);
	if (err != NULL) {
		err->code = code;
		va_start(ap, fmt);
		(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return -(int)code;
}

int
err_wrap(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	va_list ap;
	size_t at;
	int n;

	REQUIRE(err != NULL && err->code > ERR_NONE && err->code < ERR_N);
	memcpy(old, err->text, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	at = n < 0 ? 0 : (size_t)n;
	if (at < sizeof(err->text))
		(void)snprintf(err->text + at, sizeof(err->text) - at, ": %s",
		               old);
	return -(int)err->code;
}

const char *
err_name(enum err_code code)
{
	return row_of(code)->name;
}

const char *
err_text(enum err_code code)
{
	return row_of(code)->text;
}

int
err_exit(enum err_code code)
{
	return row_of(code)->exit;
}

int
err_http(enum err_code code)
{
	return row_of(code)->http;
}

bool
err_retry(enum err_code code)
{
	return row_of(code)->retry;
}
