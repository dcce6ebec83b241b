/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/cron.c: a cron line as sets of minutes, hours, days, months, weekdays.
 */
#include "core/cron.h"

#include "base/check.h"

#define MINUTE_S   ((int64_t)60)
#define HOUR_S     ((int64_t)3600)
#define DAY_S      ((int64_t)86400)
#define MINUTES_N  ((int64_t)24 * 60)
#define DAYS_AHEAD 1830 /* five years: a 29th of February is within */

struct field {
	const char *name;
	uint32_t lo;
	uint32_t hi;
	const char *words; /* of three letters each, the first is `lo` */
};

static const struct field fields[5] = {
	{ "minute", 0, 59, "" },
	{ "hour", 0, 23, "" },
	{ "day of month", 1, 31, "" },
	{ "month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec" },
	{ "day of week", 0, 7, "sunmontuewedthufrisat" },
};

/* ---- one field --------------------------------------------------------- */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* A number or a word; false: neither. */
static bool
take_value(const struct field *f, struct span *s, uint32_t *ret)
{
	uint32_t v = 0;
	size_t n = 0;

	while (n < s->n && n < 4 && is_digit((char)s->p[n])) {
		v = v * 10 + (uint32_t)(s->p[n] - '0');
		n++;
	}
	for (const char *w = f->words; n == 0 && *w != '\0' && s->n >= 3;
	     w += 3) {
		if (lower(s->p[0]) == (uint8_t)w[0] &&
		    lower(s->p[1]) == (uint8_t)w[1] &&
		    lower(s->p[2]) == (uint8_t)w[2]) {
			v = f->lo + (uint32_t)(w - f->words) / 3;
			n = 3;
		}
	}
	if (n == 0 || v < f->lo || v > f->hi)
		return false;
	*s = span_skip(*s, n);
	*ret = v;
	return true;
}

static bool
take(struct span *s, char c)
{
	if (s->n == 0 || s->p[0] != (uint8_t)c)
		return false;
	*s = span_skip(*s, 1);
	return true;
}

/* A star, n, a-b, each with a step; into bits. */
static bool
take_range(const struct field *f, struct span *s, uint64_t *bits)
{
	static const struct field step_field = { "step", 1, 999, "" };
	uint32_t lo = f->lo;
	uint32_t hi = f->hi == 7 ? 6 : f->hi;
	uint32_t step = 1;
	bool one = false;

	if (!take(s, '*')) {
		if (!take_value(f, s, &lo))
			return false;
		one = true;
		hi = lo;
		if (take(s, '-')) {
			one = false;
			if (!take_value(f, s, &hi) || hi < lo)
				return false;
		}
	}
	if (take(s, '/')) {
		if (!take_value(&step_field, s, &step))
			return false;
		if (one) /* n/step: from n on */
			hi = f->hi == 7 ? 6 : f->hi;
	}
	for (uint32_t v = lo; v <= hi; v += step)
		*bits |= (uint64_t)1 << v;
	return true;
}

static bool
parse_field(const struct field *f, struct span s, uint64_t *bits)
{
	*bits = 0;
	do {
		if (!take_range(f, &s, bits))
			return false;
	} while (take(&s, ','));
	return s.n == 0 && *bits != 0;
}

/* The next word of the line; empty: none. */
static struct span
word(struct span *s)
{
	struct span w;
	size_t n = 0;

	while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
		*s = span_skip(*s, 1);
	while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t')
		n++;
	w = span_of(s->p, n);
	*s = span_skip(*s, n);
	return w;
}

int
cron_parse(const char *text, struct cron *ret, struct err *err)
{
	struct span s = span_str(text);
	uint64_t bits[5];
	struct span w[5];

	if (s.n >= CRON_TEXT_MAX)
		return err_set(err, ERR_USAGE,
		               "a cron line has at most %d bytes",
		               CRON_TEXT_MAX - 1);
	for (unsigned i = 0; i < 5; i++) {
		w[i] = word(&s);
		if (w[i].n == 0)
			return err_set(err, ERR_USAGE,
			               "\"%s\" is no cron line: five fields, "
			               "minute hour day month weekday",
			               text);
		if (!parse_field(&fields[i], w[i], &bits[i]))
			return err_set(err, ERR_USAGE,
			               "cron: the %s \"%.*s\" is not within "
			               "%u-%u",
			               fields[i].name, (int)w[i].n,
			               (const char *)w[i].p, fields[i].lo,
			               fields[i].hi);
	}
	if (word(&s).n != 0)
		return err_set(err, ERR_USAGE,
		               "\"%s\" has more than five cron fields", text);
	*ret = (struct cron){
		.minutes = bits[0],
		.hours = (uint32_t)bits[1],
		.days = (uint32_t)bits[2],
		.months = (uint16_t)bits[3],
		/* 7 is Sunday as well */
		.weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 127),
		.any_day = w[2].p[0] == '*',
		.any_weekday = w[4].p[0] == '*',
	};
	memcpy(ret->text, text, strlen(text) + 1);
	return 0;
}

/* ---- instants ---------------------------------------------------------- */

static bool
day_fires(const struct cron *c, int64_t days)
{
	int64_t year;
	uint32_t month;
	uint32_t day;
	int64_t weekday = (days + 4) % 7; /* 1970-01-01 was a Thursday */
	bool by_day;
	bool by_weekday;

	if (weekday < 0)
		weekday += 7;
	zone_date(days, &year, &month, &day);
	if ((c->months >> month & 1) == 0)
		return false;
	by_day = (c->days >> day & 1) != 0;
	by_weekday = (c->weekdays >> weekday & 1) != 0;
	if (c->any_day || c->any_weekday)
		return by_day && by_weekday;
	return by_day || by_weekday;
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Whatever a zone did, it was not further from UTC than this. */
#define OFFSET_MAX_S (26 * HOUR_S)

/* The first firing of a day at or after at_s, or INT64_MAX. */
static int64_t
first_of_day(const struct cron *c, const struct zone *zone, int64_t days,
             int64_t at_s)
{
	for (int64_t m = 0; m < MINUTES_N; m++) {
		int64_t utc;

		if ((c->hours >> (m / 60) & 1) == 0 ||
		    (c->minutes >> (m % 60) & 1) == 0)
			continue;
		utc = zone_to_utc(zone, days * DAY_S + m * MINUTE_S);
		if (utc >= at_s)
			return utc;
	}
	return INT64_MAX;
}

int64_t
cron_next(const struct cron *c, const struct zone *zone, int64_t at_s)
{
	int64_t local = at_s + zone_offset(zone, at_s);
	int64_t day = floor_div(local - DAY_S, DAY_S);
	int64_t best = INT64_MAX;

	for (int64_t d = day; d < day + DAYS_AHEAD; d++) {
		int64_t found;

		/* Days after the one that was found may begin before it only
		 * by what clocks jump. */
		if (best != INT64_MAX && d * DAY_S - OFFSET_MAX_S > best)
			break;
		if (!day_fires(c, d))
			continue;
		found = first_of_day(c, zone, d, at_s);
		if (found < best)
			best = found;
	}
	return best;
}

/* The last firing of a day at or before at_s, or INT64_MIN. */
static int64_t
last_of_day(const struct cron *c, const struct zone *zone, int64_t days,
            int64_t at_s)
{
	for (int64_t m = MINUTES_N - 1; m >= 0; m--) {
		int64_t utc;

		if ((c->hours >> (m / 60) & 1) == 0 ||
		    (c->minutes >> (m % 60) & 1) == 0)
			continue;
		utc = zone_to_utc(zone, days * DAY_S + m * MINUTE_S);
		if (utc <= at_s)
			return utc;
	}
	return INT64_MIN;
}

int64_t
cron_last(const struct cron *c, const struct zone *zone, int64_t at_s,
          int64_t back_s)
{
	int64_t local = at_s + zone_offset(zone, at_s);
	int64_t day = floor_div(local + DAY_S, DAY_S);
	int64_t first = floor_div(local - back_s - 2 * DAY_S, DAY_S);
	int64_t best = INT64_MIN;

	REQUIRE(back_s >= 0);
	for (int64_t d = day; d >= first; d--) {
		int64_t found;

		if (best != INT64_MIN && (d + 1) * DAY_S + OFFSET_MAX_S < best)
			break;
		if (!day_fires(c, d))
			continue;
		found = last_of_day(c, zone, d, at_s);
		if (found > best)
			best = found;
	}
	return best >= at_s - back_s ? best : INT64_MIN;
}
