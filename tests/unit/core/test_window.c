/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/core/test_window.c: zones against the C library, cron across changes
 * of the clock, windows.
 */
#define _GNU_SOURCE
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <time.h>

#include "base/rng.h"
#include "core/window.h"

static uint8_t file[ZONE_FILE_MAX];

static size_t
load(const char *name)
{
	char path[128];
	FILE *f;
	size_t n;

	(void)snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(file, 1, sizeof(file), f);
	(void)fclose(f);
	return n;
}

static void
zone_of(const char *name, struct zone *z)
{
	struct err err;
	size_t n = load(name);

	assert_int_equal(zone_parse(span_of(file, n), z, &err), 0);
}

static int64_t
utc(int y, int mo, int d, int h, int mi)
{
	return zone_days(y, (uint32_t)mo, (uint32_t)d) * 86400 + h * 3600 +
	       mi * 60;
}

/* The C library as the oracle: offsets of many instants in odd zones. */
static void
zones(void **state)
{
	static const char *const names[] = {
		"UTC",
		"Europe/Berlin",
		"America/New_York",
		"Asia/Kolkata",
		"Australia/Sydney",
		"Australia/Lord_Howe",
		"Europe/Dublin",
		"America/Sao_Paulo",
		"Asia/Kathmandu",
		"Africa/Casablanca",
		"Pacific/Apia",
		"America/St_Johns",
		"Asia/Gaza",
		"Pacific/Chatham",
	};
	struct rng rng;
	struct zone z;

	(void)state;
	rng_init(&rng, 11);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		zone_of(names[i], &z);
		assert_int_equal(setenv("TZ", names[i], 1), 0);
		tzset();
		for (int k = 0; k < 20000; k++) {
			/* 2010 .. 2110 (older changes may be left out) */
			time_t t =
				(time_t)(1262304000 + (int64_t)(rng_next(&rng) %
			                                        3155760000u));
			struct tm tm;

			assert_non_null(localtime_r(&t, &tm));
			if (zone_offset(&z, t) != tm.tm_gmtoff)
				fail_msg("%s at %lld: %d, not %ld", names[i],
				         (long long)t, zone_offset(&z, t),
				         tm.tm_gmtoff);
		}
	}
}

/* Every prefix and every changed byte: refused or taken, never a fault; what is
 * taken answers. */
static void
damaged_zones(void **state)
{
	size_t n = load("Europe/Berlin");
	struct zone z;
	struct err err;

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_int_not_equal(zone_parse(span_of(file, i), &z, &err), 0);
	for (size_t i = 0; i < n; i++) {
		uint8_t was = file[i];

		for (int bit = 0; bit < 8; bit++) {
			file[i] = (uint8_t)(was ^ 1 << bit);
			if (zone_parse(span_of(file, n), &z, &err) == 0)
				(void)zone_to_utc(&z, utc(2040, 7, 1, 2, 30));
		}
		file[i] = was;
	}
}

static void
calendar(void **state)
{
	(void)state;
	for (int64_t d = -200000; d < 200000; d += 13) {
		int64_t y;
		uint32_t m;
		uint32_t day;

		zone_date(d, &y, &m, &day);
		assert_int_equal(zone_days(y, m, day), d);
	}
	assert_int_equal(zone_days(2000, 3, 1) - zone_days(2000, 2, 28), 2);
	assert_int_equal(zone_days(1970, 1, 1), 0);
}

/* Berlin 2026: +1 to +2 on 29 March at 01:00Z; back on 25 October at 01:00Z. */
static void
changes(void **state)
{
	struct zone z;

	(void)state;
	zone_of("Europe/Berlin", &z);
	assert_int_equal(zone_to_utc(&z, utc(2026, 3, 29, 1, 59)),
	                 utc(2026, 3, 29, 0, 59));
	/* 02:00 to 02:59 do not exist: the moment of the change */
	assert_int_equal(zone_to_utc(&z, utc(2026, 3, 29, 2, 30)),
	                 utc(2026, 3, 29, 1, 0));
	assert_int_equal(zone_to_utc(&z, utc(2026, 3, 29, 3, 0)),
	                 utc(2026, 3, 29, 1, 0));
	/* 02:30 comes twice: the first */
	assert_int_equal(zone_to_utc(&z, utc(2026, 10, 25, 2, 30)),
	                 utc(2026, 10, 25, 0, 30));
	assert_int_equal(zone_to_utc(&z, utc(2026, 10, 25, 3, 0)),
	                 utc(2026, 10, 25, 2, 0));
}

static void
cron_lines(void **state)
{
	static const struct {
		const char *line;
		const char *zone;
		int64_t at;
		int64_t next;
	} t[] = {
		{ "0 2 * * *", NULL, 0, 2 * 3600 },
		{ "*/15 * * * *", NULL, 1, 900 },
		{ "0 0 1 1 *", NULL, 1, 365 * 86400 },
		{ "0 0 29 2 *", NULL, 0, 789 * 86400 },
		/* 1970-01-01 is a Thursday */
		{ "0 0 * * sun", NULL, 0, 3 * 86400 },
		{ "0 0 * * 7", NULL, 0, 3 * 86400 },
		{ "0 0 * * 0", NULL, 0, 3 * 86400 },
		{ "30 4 * * MON-FRI", NULL, 86400, 86400 + 16200 },
		/* either of the two days */
		{ "0 0 13 * 5", NULL, 0, 86400 },
		{ "0 0 3 * 5", NULL, 86401, 2 * 86400 },
		{ "5,10-12/2 0 * JAN *", NULL, 400, 600 },
		{ "0 20/2 * * *", NULL, 75600, 79200 },
	};
	struct err err;
	struct cron c;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(cron_parse(t[i].line, &c, &err), 0);
		assert_int_equal(cron_next(&c, NULL, t[i].at), t[i].next);
		/* At it: it fires now. */
		assert_int_equal(cron_next(&c, NULL, t[i].next), t[i].next);
		assert_int_equal(cron_last(&c, NULL, t[i].next + 59, 86400),
		                 t[i].next);
	}
	assert_int_equal(cron_parse("0 0 31 2 *", &c, &err), 0);
	assert_int_equal(cron_next(&c, NULL, 0), INT64_MAX);
}

static void
cron_refuses(void **state)
{
	static const char *const t[] = {
		"",
		"* * * *",
		"* * * * * *",
		"60 * * * *",
		"* 24 * * *",
		"* * 0 * *",
		"* * 32 * *",
		"* * * 13 *",
		"* * * * 8",
		"5-3 * * * *",
		"*/0 * * * *",
		"a * * * *",
		"1,, * * * *",
		"* * * foo *",
		"1x * * * *",
		"- * * * *",
		"99999999999 * * * *",
	};
	struct err err;
	struct cron c;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (cron_parse(t[i], &c, &err) != -ERR_USAGE)
			fail_msg("\"%s\" was taken", t[i]);
	}
}

/* Every night at 02:30 in Berlin: once each night, whatever the clock does. */
static void
cron_across_changes(void **state)
{
	struct err err;
	struct cron c;
	struct zone z;
	int64_t t = utc(2026, 3, 27, 12, 0);
	int n = 0;

	(void)state;
	zone_of("Europe/Berlin", &z);
	assert_int_equal(cron_parse("30 2 * * *", &c, &err), 0);
	t = cron_next(&c, &z, t);
	assert_int_equal(t, utc(2026, 3, 28, 1, 30));
	t = cron_next(&c, &z, t + 1);
	assert_int_equal(t, utc(2026, 3, 29, 1, 0)); /* skipped: the change */
	t = cron_next(&c, &z, t + 1);
	assert_int_equal(t, utc(2026, 3, 30, 0, 30));
	while (t < utc(2026, 10, 24, 12, 0)) {
		int64_t was = t;

		t = cron_next(&c, &z, t + 1);
		assert_int_equal(cron_last(&c, &z, t - 1, 10 * 86400), was);
		n++;
	}
	assert_int_equal(n, 209);
	assert_int_equal(t, utc(2026, 10, 25, 0, 30)); /* comes twice */
	assert_int_equal(cron_next(&c, &z, t + 1), utc(2026, 10, 26, 1, 30));
}

static void
windows(void **state)
{
	struct window w = { .kind = WINDOW_SPAN,
		            .from_ms = 1000,
		            .to_ms = 2000 };
	struct window_look l;
	struct zone z;
	struct err err;

	(void)state;
	assert_false(window_look(&w, NULL, 999).is_open);
	assert_int_equal(window_look(&w, NULL, 999).until_ms, 1000);
	assert_true(window_look(&w, NULL, 1000).is_open);
	assert_int_equal(window_look(&w, NULL, 1000).until_ms, 2000);
	assert_false(window_look(&w, NULL, 2000).is_open);
	assert_int_equal(window_look(&w, NULL, 2000).until_ms, INT64_MAX);
	assert_int_equal(window_gate(&w, NULL, 1500, &err), 0);
	assert_int_equal(window_gate(&w, NULL, 500, &err), -ERR_WINDOW);
	assert_non_null(strstr(err.text, "1970-01-01T00:00:01Z"));
	assert_int_equal(window_gate(&w, NULL, 2000, &err), -ERR_WINDOW);
	assert_int_equal(err_exit(err.code), 7);

	/* 22:00 for four hours in New York, over midnight and the change of
	 * 8 March 2026 (02:00 EST becomes 03:00 EDT). */
	zone_of("America/New_York", &z);
	w = (struct window){ .kind = WINDOW_CRON, .duration_s = 4 * 3600 };
	assert_int_equal(cron_parse("0 22 * * SAT", &w.cron, &err), 0);
	assert_false(
		window_look(&w, &z, utc(2026, 3, 8, 2, 59) * 1000).is_open);
	l = window_look(&w, &z, utc(2026, 3, 8, 6, 30) * 1000);
	assert_true(l.is_open);
	assert_int_equal(l.until_ms, utc(2026, 3, 8, 7, 0) * 1000);
	l = window_look(&w, &z, utc(2026, 3, 8, 7, 0) * 1000);
	assert_false(l.is_open);
	/* the week after it is summer */
	assert_int_equal(l.until_ms, utc(2026, 3, 15, 2, 0) * 1000);
	w.kind = WINDOW_NONE;
	assert_true(window_look(&w, NULL, 0).is_open);
}

/* What is needed against what is left; the figures are said. */
static void
fits(void **state)
{
	const struct window w = { .kind = WINDOW_SPAN,
		                  .from_ms = 1000000,
		                  .to_ms = 2000000 };
	const struct window none = { .kind = WINDOW_NONE };
	const struct window_need need = { .copy_ms = 6000,
		                          .lag_ms = 250,
		                          .hold_ms = 1000,
		                          .margin_ms = 1000 };
	struct err err;

	(void)state;
	assert_int_equal(window_fits(&w, NULL, 2000000 - 8250, &need, &err), 0);
	assert_int_equal(window_fits(&w, NULL, 2000000 - 8249, &need, &err),
	                 -ERR_WINDOW);
	assert_non_null(strstr(err.text,
	                       "may take 8.3 s (copy 6.0, stream 0.3, "
	                       "hold 1.0, margin 1.0)"));
	assert_non_null(strstr(err.text, "ends in 8.2 s"));
	/* A shut one is another question; without one there is no end. */
	assert_int_equal(window_fits(&w, NULL, 999999, &need, &err), 0);
	assert_int_equal(window_fits(&w, NULL, 2000000, &need, &err), 0);
	assert_int_equal(window_fits(&none, NULL, 1999999, &need, &err), 0);
}

static void
names(void **state)
{
	(void)state;
	assert_true(zone_name_is_fine("Europe/Berlin"));
	assert_true(zone_name_is_fine("Etc/GMT+3"));
	assert_false(zone_name_is_fine(""));
	assert_false(zone_name_is_fine("/etc/passwd"));
	assert_false(zone_name_is_fine("../passwd"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zones),
		cmocka_unit_test(damaged_zones),
		cmocka_unit_test(calendar),
		cmocka_unit_test(changes),
		cmocka_unit_test(cron_lines),
		cmocka_unit_test(cron_refuses),
		cmocka_unit_test(cron_across_changes),
		cmocka_unit_test(windows),
		cmocka_unit_test(fits),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
