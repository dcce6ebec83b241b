/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/cron.h: a cron line as sets of minutes, hours, days, months, weekdays.
 *
 * Five fields: minute hour day-of-month month day-of-week. In each: a star, n,
 * a-b, lists with commas, steps with a slash; months and weekdays by English name
 * as well; 7 is Sunday. When both day fields are restricted either one fires, as
 * cron does.
 *
 * Owns:   nothing; a value.
 * Thread: any.
 */
#pragma once

#include "base/err.h"
#include "core/zone.h"

#define CRON_TEXT_MAX 96

struct cron {
	uint64_t minutes; /* bits 0..59 */
	uint32_t hours;   /* bits 0..23 */
	uint32_t days;    /* bits 1..31 */
	uint16_t months;  /* bits 1..12 */
	uint8_t weekdays; /* bits 0..6, Sunday 0 */
	bool any_day;     /* day-of-month is a star  */
	bool any_weekday; /* day-of-week is a star   */
	char text[CRON_TEXT_MAX];
};

/* ERR_USAGE names the field and its range. */
int cron_parse(const char *text, struct cron *ret, struct err *err) MUST;

/* The first time it fires at or after `at_s` (seconds since 1970, UTC), by the
 * clock of that zone (NULL: UTC); INT64_MAX: not within five years. A local time
 * that a change of the clock skips fires at the moment of the change; one that
 * comes twice fires the first time only. */
int64_t cron_next(const struct cron *c, const struct zone *zone, int64_t at_s);
/* The last time it fired at or before at_s, not before at_s - back_s; INT64_MIN:
 * never. */
int64_t cron_last(const struct cron *c, const struct zone *zone, int64_t at_s,
                  int64_t back_s);
