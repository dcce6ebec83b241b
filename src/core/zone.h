/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/zone.h: an IANA time zone, from the bytes of its TZif file.
 *
 * Pure, so that it can be tested at any instant and used by any thread: the C
 * library keeps one zone for the whole process (docs/decisions/0012).
 *
 * Source: RFC 8536 (TZif), POSIX.1 TZ strings with the extension of RFC 8536 3.3.1.
 *
 * Owns:   nothing; a value.
 * Limits: ZONE_CHANGES_MAX changes (the newest are kept).
 * Thread: any.
 */
#pragma once

#include "base/err.h"

#define ZONE_CHANGES_MAX 256
#define ZONE_FILE_MAX    65536 /* bytes of a TZif file; real ones are below 4 K */

/* One rule of "CET-1CEST,M3.5.0,M10.5.0/3": when in the year. */
struct zone_rule {
	char kind;     /* 'M', 'J' (1..365, no leap day), 'D' (0..365) */
	uint8_t month; /* M: 1..12 */
	uint8_t week;  /* M: 1..5, 5: the last */
	uint16_t day;  /* M: 0..6, else the day of the year */
	int32_t at_s;  /* local seconds of the day, -167 h .. 167 h */
};

struct zone {
	uint32_t n;
	int64_t at[ZONE_CHANGES_MAX];     /* UTC seconds, ascending */
	int32_t offset[ZONE_CHANGES_MAX]; /* seconds east of UTC from then on */
	int32_t first;                    /* offset before at[0] */
	bool has_tail;                    /* rules for after the last change */
	bool has_summer;
	int32_t standard;
	int32_t summer;
	struct zone_rule to_summer;
	struct zone_rule to_standard;
};

/* ERR_BAD: it is no TZif file. */
int zone_parse(struct span file, struct zone *ret, struct err *err) MUST;

/* Seconds east of UTC at that instant; zone NULL: 0. */
int32_t zone_offset(const struct zone *z, int64_t utc_s);

/* The instant of a local time (seconds since 1970 as if it were UTC). Twice
 * there: the first. Skipped: the instant of the change. */
int64_t zone_to_utc(const struct zone *z, int64_t local_s);

/* Is it a name that cannot leave the directory of zones? */
bool zone_name_is_fine(const char *name);

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
int64_t zone_days(int64_t year, uint32_t month, uint32_t day);
void zone_date(int64_t days, int64_t *year, uint32_t *month, uint32_t *day);
