/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/err.c: what went wrong, as a code and a sentence.
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/utf8.h"

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
		utf8_mend(err->text); /* it may be cut inside a character */
	}
	return -(int)code;
}

/* Text at a place in the sentence; what does not fit is cut off. */
static void
append(struct err *err, size_t at, const char *text)
{
	size_t room = at < sizeof(err->text) ? sizeof(err->text) - 1 - at : 0;
	size_t n = strlen(text);

	if (n > room)
		n = room;
	if (n == 0)
		return;
	memcpy(err->text + at, text, n);
	err->text[at + n] = '\0';
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
	append(err, at, ": ");
	append(err, at + 2, old);
	utf8_mend(err->text);
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
