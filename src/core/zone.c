/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/zone.c: an IANA time zone, from the bytes of its TZif file.
 */
#include "core/zone.h"

#include "base/check.h"

#define HOUR_S   3600
#define DAY_S    86400
#define HEADER_N 44

/* ---- the calendar ------------------------------------------------------ */

/* Years begin in March here, so that a leap day is a year's last one; an era
 * has 400 years and 146097 days. */
int64_t
zone_days(int64_t year, uint32_t month, uint32_t day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t m = month > 2 ? (int64_t)month - 3 : (int64_t)month + 9;
	int64_t of_year = (153 * m + 2) / 5 + (int64_t)day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 +
	       of_year - 719468;
}

void
zone_date(int64_t days, int64_t *year, uint32_t *month, uint32_t *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t of_era = z - era * 146097;
	int64_t y =
		(of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) /
		365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	*day = (uint32_t)(of_year - (153 * m + 2) / 5 + 1);
	*month = (uint32_t)(m < 10 ? m + 3 : m - 9);
	*year = y + era * 400 + (*month <= 2);
}

static bool
is_leap(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* ---- rules after the last change --------------------------------------- */

/* Local seconds (since 1970, as if it were UTC) at which the rule fires. */
static int64_t
rule_at(const struct zone_rule *r, int64_t year)
{
	int64_t days = zone_days(year, 1, 1);

	if (r->kind == 'J') {
		days += r->day - 1 + (is_leap(year) && r->day >= 60);
	} else if (r->kind == 'D') {
		days += r->day;
	} else {
		int64_t first = zone_days(year, r->month, 1);
		int64_t next = r->month == 12
		                       ? zone_days(year + 1, 1, 1)
		                       : zone_days(year, r->month + 1u, 1);
		int64_t weekday = (first + 4) % 7;

		if (weekday < 0)
			weekday += 7;
		days = first + (r->day - weekday + 7) % 7 +
		       7 * ((int64_t)r->week - 1);
		while (days >= next)
			days -= 7;
	}
	return days * DAY_S + r->at_s;
}

static int32_t
tail_offset(const struct zone *z, int64_t utc)
{
	int64_t year;
	uint32_t month;
	uint32_t day;
	int64_t begin;
	int64_t end;
	int64_t local = utc + z->standard;

	if (!z->has_summer)
		return z->standard;
	zone_date((local >= 0 ? local : local - DAY_S + 1) / DAY_S, &year,
	          &month, &day);
	begin = rule_at(&z->to_summer, year) - z->standard;
	end = rule_at(&z->to_standard, year) - z->summer;
	if (begin < end)
		return utc >= begin && utc < end ? z->summer : z->standard;
	return utc >= end && utc < begin ? z->standard : z->summer;
}

int32_t
zone_offset(const struct zone *z, int64_t utc)
{
	uint32_t lo = 0;
	uint32_t hi;

	if (z == NULL)
		return 0;
	if (z->n == 0 || utc < z->at[0])
		return z->n == 0 && z->has_tail ? tail_offset(z, utc)
		                                : z->first;
	if (z->has_tail && utc >= z->at[z->n - 1])
		return tail_offset(z, utc);
	hi = z->n;
	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (z->at[mid] <= utc)
			lo = mid;
		else
			hi = mid;
	}
	return z->offset[lo];
}

int64_t
zone_to_utc(const struct zone *z, int64_t local)
{
	/* The offset a day before and a day after: between them at most one
	 * change is near. */
	int32_t before = zone_offset(z, local - DAY_S);
	int32_t after = zone_offset(z, local + DAY_S);
	int64_t a = local - before;
	int64_t b = local - after;
	int64_t lo;
	int64_t hi;

	if (zone_offset(z, a) == before)
		return a;
	if (zone_offset(z, b) == after)
		return b;
	/* Skipped: the first instant that no longer has the offset before. */
	lo = a - 2 * (int64_t)DAY_S;
	hi = b + 2 * (int64_t)DAY_S;
	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2;

		if (mid + zone_offset(z, mid) < local)
			lo = mid;
		else
			hi = mid;
	}
	return hi;
}

/* ---- the POSIX string -------------------------------------------------- */

struct text {
	const uint8_t *p;
	size_t n;
};

static bool
take(struct text *t, char c)
{
	if (t->n == 0 || t->p[0] != (uint8_t)c)
		return false;
	t->p++;
	t->n--;
	return true;
}

static bool
take_number(struct text *t, int32_t max, int32_t *ret)
{
	int32_t v = 0;
	bool any = false;

	while (t->n > 0 && t->p[0] >= '0' && t->p[0] <= '9') {
		v = v * 10 + (t->p[0] - '0');
		if (v > max)
			return false;
		any = true;
		t->p++;
		t->n--;
	}
	*ret = v;
	return any;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool
take_time(struct text *t, int32_t *ret)
{
	int32_t sign = 1;
	int32_t h = 0;
	int32_t m = 0;
	int32_t s = 0;

	if (take(t, '-'))
		sign = -1;
	else
		(void)take(t, '+');
	if (!take_number(t, 167, &h))
		return false;
	if (take(t, ':') && !take_number(t, 59, &m))
		return false;
	if (take(t, ':') && !take_number(t, 59, &s))
		return false;
	*ret = sign * (h * HOUR_S + m * 60 + s);
	return true;
}

/* "CET" or "<+03>". */
static bool
take_name(struct text *t)
{
	size_t n = 0;

	if (take(t, '<')) {
		while (t->n > 0 && t->p[0] != '>') {
			t->p++;
			t->n--;
		}
		return take(t, '>');
	}
	while (n < t->n && ((t->p[n] >= 'A' && t->p[n] <= 'Z') ||
	                    (t->p[n] >= 'a' && t->p[n] <= 'z')))
		n++;
	t->p += n;
	t->n -= n;
	return n >= 3;
}

static bool
take_rule(struct text *t, struct zone_rule *ret)
{
	int32_t a = 0;
	int32_t b = 0;
	int32_t c = 0;

	*ret = (struct zone_rule){ .kind = 'D', .at_s = 2 * HOUR_S };
	if (take(t, 'M')) {
		ret->kind = 'M';
		if (!take_number(t, 12, &a) || !take(t, '.') ||
		    !take_number(t, 5, &b) || !take(t, '.') ||
		    !take_number(t, 6, &c) || a < 1 || b < 1)
			return false;
		ret->month = (uint8_t)a;
		ret->week = (uint8_t)b;
	} else if (take(t, 'J')) {
		ret->kind = 'J';
		if (!take_number(t, 365, &c) || c < 1)
			return false;
	} else if (!take_number(t, 365, &c)) {
		return false;
	}
	ret->day = (uint16_t)c;
	return !take(t, '/') || take_time(t, &ret->at_s);
}

/* "CET-1CEST,M3.5.0,M10.5.0/3". */
static bool
parse_tail(struct text t, struct zone *z)
{
	int32_t west = 0;

	if (!take_name(&t) || !take_time(&t, &west))
		return false;
	z->standard = -west;
	z->has_summer = t.n > 0;
	if (!z->has_summer)
		return true;
	if (!take_name(&t))
		return false;
	z->summer = z->standard + HOUR_S;
	if (t.n > 0 && t.p[0] != ',') {
		if (!take_time(&t, &west))
			return false;
		z->summer = -west;
	}
	return take(&t, ',') && take_rule(&t, &z->to_summer) && take(&t, ',') &&
	       take_rule(&t, &z->to_standard) && t.n == 0;
}

/* ---- the file ---------------------------------------------------------- */

static uint32_t
be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static int64_t
be64(const uint8_t *p)
{
	return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct header {
	uint32_t isut;
	uint32_t isstd;
	uint32_t leap;
	uint32_t time;
	uint32_t type;
	uint32_t chars;
};

static bool
read_header(struct span s, struct header *h)
{
	if (s.n < HEADER_N || memcmp(s.p, "TZif", 4) != 0)
		return false;
	h->isut = be32(s.p + 20);
	h->isstd = be32(s.p + 24);
	h->leap = be32(s.p + 28);
	h->time = be32(s.p + 32);
	h->type = be32(s.p + 36);
	h->chars = be32(s.p + 40);
	return h->isut <= 4096 && h->isstd <= 4096 && h->leap <= 4096 &&
	       h->time <= 65536 && h->type >= 1 && h->type <= 256 &&
	       h->chars <= 4096;
}

static size_t
body_size(const struct header *h, size_t width)
{
	return h->time * (width + 1) + (size_t)h->type * 6 + h->chars +
	       h->leap * (width + 4) + h->isstd + h->isut;
}

static bool
read_body(struct span s, const struct header *h, struct zone *z)
{
	const uint8_t *times = s.p;
	const uint8_t *indexes = times + (size_t)h->time * 8;
	const uint8_t *types = indexes + h->time;
	uint32_t skip =
		h->time > ZONE_CHANGES_MAX ? h->time - ZONE_CHANGES_MAX : 0;

	z->first = (int32_t)be32(types);
	for (uint32_t i = 0; i < h->time; i++) {
		int32_t offset;

		if (indexes[i] >= h->type)
			return false;
		offset = (int32_t)be32(types + (size_t)indexes[i] * 6);
		if (offset < -26 * HOUR_S || offset > 26 * HOUR_S)
			return false;
		if (i < skip) {
			z->first = offset;
			continue;
		}
		z->at[z->n] = be64(times + (size_t)i * 8);
		z->offset[z->n] = offset;
		if (z->n > 0 && z->at[z->n] <= z->at[z->n - 1])
			return false;
		z->n++;
	}
	return z->first >= -26 * HOUR_S && z->first <= 26 * HOUR_S;
}

static bool
parse(struct span s, struct zone *z)
{
	struct header h;
	size_t n;

	if (!read_header(s, &h) || s.p[4] < '2')
		return false;
	n = HEADER_N + body_size(&h, 4);
	if (s.n < n)
		return false;
	s = span_skip(s, n); /* the second half has 64-bit times */
	if (!read_header(s, &h))
		return false;
	n = body_size(&h, 8);
	if (s.n - HEADER_N < n)
		return false;
	s = span_skip(s, HEADER_N);
	if (!read_body(s, &h, z))
		return false;
	s = span_skip(s, n);
	if (s.n < 2 || s.p[0] != '\n' || s.p[s.n - 1] != '\n')
		return false;
	z->has_tail = s.n > 2;
	return !z->has_tail || parse_tail((struct text){ s.p + 1, s.n - 2 }, z);
}

int
zone_parse(struct span file, struct zone *ret, struct err *err)
{
	memset(ret, 0, sizeof(*ret));
	if (file.n > ZONE_FILE_MAX || !parse(file, ret)) {
		memset(ret, 0, sizeof(*ret));
		return err_set(err, ERR_BAD, "no TZif file of version 2 or 3");
	}
	return 0;
}

bool
zone_name_is_fine(const char *name)
{
	size_t n = 0;

	if (name[0] == '/' || name[0] == '\0')
		return false;
	for (const char *p = name; *p != '\0'; p++, n++) {
		bool ok = (*p >= 'a' && *p <= 'z') ||
		          (*p >= 'A' && *p <= 'Z') ||
		          (*p >= '0' && *p <= '9') || *p == '_' || *p == '-' ||
		          *p == '+' || *p == '/';

		if (!ok || n > 60)
			return false;
	}
	return true;
}
