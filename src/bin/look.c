/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/look.c: values out of a status object, and numbers as people read them.
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/look.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const json_t *
look_at(const json_t *j, const char *path)
{
	char name[64];

	while (j != NULL && *path != '\0') {
		size_t n = strcspn(path, ".");

		(void)snprintf(name, sizeof(name), "%.*s", (int)n, path);
		j = json_object_get(j, name);
		path += n;
		if (*path == '.')
			path++;
	}
	return j;
}

const char *
look_text(const json_t *j, const char *path)
{
	const char *s = json_string_value(look_at(j, path));

	return s != NULL ? s : "";
}

int64_t
look_int(const json_t *j, const char *path)
{
	return (int64_t)look_real(j, path);
}

double
look_real(const json_t *j, const char *path)
{
	return json_number_value(look_at(j, path));
}

bool
look_bool(const json_t *j, const char *path)
{
	return json_is_true(look_at(j, path));
}

struct amount
amount_count(int64_t v)
{
	struct amount a;
	char digits[32];
	size_t n;
	size_t out = 0;

	(void)snprintf(digits, sizeof(digits), "%lld",
	               (long long)(v < 0 ? -v : v));
	n = strlen(digits);
	if (v < 0)
		a.s[out++] = '-';
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			a.s[out++] = ',';
		a.s[out++] = digits[i];
	}
	a.s[out] = '\0';
	return a;
}

struct amount
amount_bytes(double v)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	struct amount a;
	size_t i = 0;

	while (v >= 1023.5 && i + 1 < sizeof(units) / sizeof(units[0])) {
		v /= 1024.0;
		i++;
	}
	(void)snprintf(a.s, sizeof(a.s),
	               i == 0 || v >= 99.95 ? "%.0f %s" : "%.1f %s", v,
	               units[i]);
	return a;
}

struct amount
amount_seconds(double v)
{
	struct amount a;
	long long s = (long long)v;

	if (v < 0)
		(void)snprintf(a.s, sizeof(a.s), "?");
	else if (v < 1)
		(void)snprintf(a.s, sizeof(a.s), "%.0f ms", v * 1000);
	else if (s < 60)
		(void)snprintf(a.s, sizeof(a.s), "%lld s", s);
	else if (s < 3600)
		(void)snprintf(a.s, sizeof(a.s), "%lld m %lld s", s / 60,
		               s % 60);
	else
		(void)snprintf(a.s, sizeof(a.s), "%lld h %lld m", s / 3600,
		               s / 60 % 60);
	return a;
}

struct amount
amount_clock(const json_t *at)
{
	struct amount a = { "" };
	const char *text = json_string_value(at);
	const char *t = text != NULL ? strchr(text, 'T') : NULL;
	time_t seconds = (time_t)(json_number_value(at) / 1000.0);
	struct tm tm;

	if (t != NULL) /* 2026-11-21T02:20:11.123Z */
		(void)snprintf(a.s, sizeof(a.s), "%.8s", t + 1);
	else if (text != NULL)
		(void)snprintf(a.s, sizeof(a.s), "%.19s", text);
	else if (localtime_r(&seconds, &tm) != NULL)
		(void)strftime(a.s, sizeof(a.s), "%H:%M:%S", &tm);
	return a;
}
