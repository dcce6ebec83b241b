/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/when.c: time_window: RFC 3339, cron, zones.
 */
#include "control/spec/when.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/spec/inside.h"

#define ZONES      "/usr/share/zoneinfo/"
#define DURATION_S 604800 /* a week: longer is no window */

int
when_load_zone(const char *name, struct zone *ret, struct err *err)
{
	uint8_t *bytes;
	char path[sizeof(ZONES) + 64];
	FILE *file;
	size_t n;
	int rc;

	if (!zone_name_is_fine(name))
		return err_set(err, ERR_USAGE,
		               "\"%.60s\" is no IANA time zone, as in "
		               "Europe/Berlin",
		               name);
	(void)snprintf(path, sizeof(path), "%s%s", ZONES, name);
	file = fopen(path, "re");
	if (file == NULL)
		return err_set(err, ERR_USAGE,
		               "no time zone \"%.60s\" in " ZONES
		               " (install tzdata, or correct the name)",
		               name);
	bytes = malloc(ZONE_FILE_MAX);
	n = bytes == NULL ? 0 : fread(bytes, 1, ZONE_FILE_MAX, file);
	(void)fclose(file);
	rc = zone_parse(span_of(bytes, n), ret, err);
	free(bytes);
	if (rc != 0)
		return err_set(err, ERR_USAGE, "%s is no time zone file", path);
	return 0;
}

/* ---- RFC 3339 ---------------------------------------------------------- */

/* Two (or four) digits at p; false: not there. */
static bool
digits(const char **p, int n, int64_t *ret)
{
	*ret = 0;
	for (int i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		*ret = *ret * 10 + (**p - '0');
	}
	return true;
}

static bool
one(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* "Z" or "+02:00", in seconds. */
static bool
offset(const char **p, int64_t *ret)
{
	int64_t sign = 1;
	int64_t h;
	int64_t m;

	*ret = 0;
	if (one(p, 'Z') || one(p, 'z'))
		return true;
	if (**p != '+' && **p != '-')
		return false;
	sign = **p == '-' ? -1 : 1;
	(*p)++;
	if (!digits(p, 2, &h) || !one(p, ':') || !digits(p, 2, &m) || h > 23 ||
	    m > 59)
		return false;
	*ret = sign * (h * 3600 + m * 60);
	return true;
}

bool
when_parse_time(const char *text, int64_t *ret_ms)
{
	const char *p = text;
	int64_t v[6];
	int64_t ms = 0;
	int64_t unit = 100;
	int64_t east;
	int64_t y;
	uint32_t m;
	uint32_t d;

	if (!digits(&p, 4, &v[0]) || !one(&p, '-') || !digits(&p, 2, &v[1]) ||
	    !one(&p, '-') || !digits(&p, 2, &v[2]) ||
	    !(one(&p, 'T') || one(&p, 't') || one(&p, ' ')) ||
	    !digits(&p, 2, &v[3]) || !one(&p, ':') || !digits(&p, 2, &v[4]) ||
	    !one(&p, ':') || !digits(&p, 2, &v[5]))
		return false;
	if (one(&p, '.')) {
		if (*p < '0' || *p > '9')
			return false;
		for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
			ms += unit * (*p - '0');
	}
	if (!offset(&p, &east) || *p != '\0' || v[1] < 1 || v[1] > 12 ||
	    v[2] < 1 || v[3] > 23 || v[4] > 59 || v[5] > 60)
		return false;
	*ret_ms = zone_days(v[0], (uint32_t)v[1], (uint32_t)v[2]);
	zone_date(*ret_ms, &y, &m, &d);
	if (m != v[1] || d != v[2])
		return false; /* no such day */
	*ret_ms = (*ret_ms * 86400 + v[3] * 3600 + v[4] * 60 + v[5] - east) *
	                  1000 +
	          ms;
	return true;
}

void
when_print_time(int64_t ms, char *to, size_t size)
{
	int64_t s = ms / 1000 - (ms % 1000 < 0);
	int64_t days = s / 86400 - (s % 86400 < 0);
	int64_t rest = s - days * 86400;
	int64_t part = ms - s * 1000;
	int64_t y;
	uint32_t m;
	uint32_t d;
	int n;

	zone_date(days, &y, &m, &d);
	n = snprintf(to, size, "%04d-%02u-%02uT%02d:%02d:%02d", (int)y, m, d,
	             (int)(rest / 3600), (int)(rest / 60 % 60),
	             (int)(rest % 60));
	if (n > 0 && (size_t)n < size)
		(void)snprintf(to + n, size - (size_t)n,
		               part > 0 ? ".%03dZ" : "Z", (int)part);
}

/* ---- the object -------------------------------------------------------- */

static void
read_time(struct fields *f, const json_t *object, const char *name, int64_t *to)
{
	json_t *v = fields_get(object, name);

	if (v == NULL)
		return;
	if (!json_is_string(v) || !when_parse_time(json_string_value(v), to))
		fields_fault(f, ERR_USAGE, name,
		             "a time as in 2026-01-15T02:00:00Z is wanted");
}

/* "2h30m", "90s", or "duration_s". */
static void
read_duration(struct fields *f, const json_t *object, uint32_t *to)
{
	static uint32_t range[2] = { 60, DURATION_S };
	const char *p = json_string_value(fields_get(object, "duration"));
	uint64_t sum = 0;
	uint64_t v = 0;
	bool any = false;

	fields_u32(f, object, "duration_s", range, to);
	if (fields_get(object, "duration") == NULL)
		return;
	for (; p != NULL && *p != '\0' && sum + v <= (uint64_t)DURATION_S * 10;
	     p++) {
		if (*p >= '0' && *p <= '9') {
			v = v * 10 + (uint64_t)(*p - '0');
			any = true;
			continue;
		}
		if (!any || strchr("dhms", *p) == NULL)
			break;
		sum += v * (*p == 'd'   ? 86400u
		            : *p == 'h' ? 3600u
		            : *p == 'm' ? 60u
		                        : 1u);
		v = 0;
		any = false;
	}
	if (p == NULL || *p != '\0' || any || sum < range[0] || sum > range[1])
		fields_fault(f, ERR_USAGE, "duration",
		             "from 1m to 7d is wanted, as in 2h30m");
	else
		*to = (uint32_t)sum;
}

static void
read_cron(struct fields *f, const json_t *object, struct window *w)
{
	json_t *v = fields_get(object, "cron");
	struct zone zone;
	struct err why;

	if (v != NULL &&
	    (!json_is_string(v) ||
	     cron_parse(json_string_value(v), &w->cron, &why) != 0))
		fields_fault(f, ERR_USAGE, "cron", "%s",
		             json_is_string(v) ? why.text
		                               : "a cron line is wanted");
	fields_text(f, object, "zone", w->zone, sizeof(w->zone));
	if (f->rc == 0 && when_load_zone(w->zone, &zone, &why) != 0)
		fields_fault(f, ERR_USAGE, "zone", "%s", why.text);
	read_duration(f, object, &w->duration_s);
	if (w->duration_s == 0)
		fields_fault(f, ERR_USAGE, "duration",
		             "a cron line says when a window begins; say how "
		             "long it is, as in 2h30m");
}

void
when_read(struct fields *f, const json_t *object, struct spec *s)
{
	struct window *w = &s->strategy.window;
	uint32_t overrun = w->overrun;
	bool span = fields_get(object, "window_start") != NULL ||
	            fields_get(object, "window_end") != NULL;
	bool cron = fields_get(object, "cron") != NULL;

	if (span && cron) {
		fields_fault(f, ERR_USAGE, "cron",
		             "either cron or window_start and window_end");
		return;
	}
	if (span)
		w->kind = WINDOW_SPAN;
	else if (cron)
		w->kind = WINDOW_CRON;
	fields_word(f, object, "overrun", "finish hold rollback", &overrun);
	w->overrun = (enum window_overrun)overrun;
	fields_bool(f, object, "executed", &s->executed);
	if (w->kind == WINDOW_CRON) {
		read_cron(f, object, w);
		return;
	}
	read_time(f, object, "window_start", &w->from_ms);
	read_time(f, object, "window_end", &w->to_ms);
	if (w->kind == WINDOW_NONE || w->from_ms == INT64_MIN)
		fields_fault(f, ERR_USAGE, "window_start",
		             "is missing (or give cron, duration and zone)");
	else if (w->to_ms == INT64_MIN)
		fields_fault(f, ERR_USAGE, "window_end", "is missing");
	else if (w->to_ms <= w->from_ms)
		fields_fault(f, ERR_USAGE, "window_end",
		             "is not after window_start");
}

void
when_print(const struct spec *s, json_t *to)
{
	const struct window *w = &s->strategy.window;
	char text[40];

	if (w->kind == WINDOW_CRON) {
		(void)json_object_set_new(to, "cron",
		                          json_string(w->cron.text));
		(void)json_object_set_new(to, "duration_s",
		                          json_integer(w->duration_s));
		(void)json_object_set_new(to, "zone", json_string(w->zone));
	} else {
		when_print_time(w->from_ms, text, sizeof(text));
		(void)json_object_set_new(to, "window_start",
		                          json_string(text));
		when_print_time(w->to_ms, text, sizeof(text));
		(void)json_object_set_new(to, "window_end", json_string(text));
	}
	(void)json_object_set_new(to, "executed", json_boolean(s->executed));
	(void)json_object_set_new(to, "overrun",
	                          json_string(window_overrun_name(w->overrun)));
}
