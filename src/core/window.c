/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/window.c: the times in which a migration may go forward.
 */
#include "core/window.h"

#include "base/check.h"

static const char *const overruns[] = {
	[OVERRUN_FINISH] = "finish",
	[OVERRUN_HOLD] = "hold",
	[OVERRUN_ROLLBACK] = "rollback",
};

const char *
window_overrun_name(enum window_overrun o)
{
	REQUIRE((unsigned)o < sizeof(overruns) / sizeof(overruns[0]));
	return overruns[o];
}

static struct window_look
look_cron(const struct window *w, const struct zone *zone, int64_t now_ms)
{
	struct window_look ret = { .until_ms = INT64_MAX };
	int64_t now_s = now_ms / 1000;
	int64_t last;

	/* It fired within the duration; what fires while it is open lengthens
	 * it. */
	last = cron_last(&w->cron, zone, now_s, w->duration_s);
	if (last != INT64_MIN &&
	    now_ms < (last + (int64_t)w->duration_s) * 1000) {
		ret.is_open = true;
		ret.until_ms = (last + (int64_t)w->duration_s) * 1000;
		return ret;
	}
	last = cron_next(&w->cron, zone, now_s + 1);
	if (last != INT64_MAX)
		ret.until_ms = last * 1000;
	return ret;
}

struct window_look
window_look(const struct window *w, const struct zone *zone, int64_t now_ms)
{
	struct window_look ret = { .is_open = true, .until_ms = INT64_MAX };

	switch (w->kind) {
	case WINDOW_NONE: return ret;
	case WINDOW_SPAN:
		ret.is_open = now_ms >= w->from_ms && now_ms < w->to_ms;
		if (ret.is_open)
			ret.until_ms = w->to_ms;
		else if (now_ms < w->from_ms)
			ret.until_ms = w->from_ms;
		return ret;
	case WINDOW_CRON: return look_cron(w, zone, now_ms);
	}
	NEVER("a window that is none");
}

int
window_gate(const struct window *w, const struct zone *zone, int64_t now_ms,
            struct err *err)
{
	struct window_look l = window_look(w, zone, now_ms);
	int64_t year;
	uint32_t month;
	uint32_t day;
	int64_t s = l.until_ms / 1000;

	if (l.is_open)
		return 0;
	if (l.until_ms == INT64_MAX)
		return err_set(err, ERR_WINDOW,
		               "the time window is over; give the strategy a "
		               "new one (rollback is possible at any time)");
	zone_date(s / 86400, &year, &month, &day);
	return err_set(err, ERR_WINDOW,
	               "outside the time window; the next one begins at "
	               "%04lld-%02u-%02uT%02lld:%02lld:%02lldZ (rollback is "
	               "possible at any time)",
	               (long long)year, month, day, (long long)(s / 3600 % 24),
	               (long long)(s / 60 % 60), (long long)(s % 60));
}

/* A tenth of a second, upwards. */
static unsigned long long
tenths(uint64_t ms)
{
	return (ms + 99) / 100;
}

int
window_fits(const struct window *w, const struct zone *zone, int64_t now_ms,
            const struct window_need *need, struct err *err)
{
	struct window_look l = window_look(w, zone, now_ms);
	uint64_t sum =
		need->copy_ms + need->lag_ms + need->hold_ms + need->margin_ms;
	uint64_t left = (uint64_t)(l.until_ms - now_ms);

	if (!l.is_open || l.until_ms == INT64_MAX || sum <= left)
		return 0;
	return err_set(
		err, ERR_WINDOW,
		"the cutover may take %llu.%llu s (copy %llu.%llu, "
		"stream %llu.%llu, hold %llu.%llu, margin %llu.%llu), "
		"and the time window ends in %llu.%llu s; it has to "
		"wait for the next one (rollback is possible at any "
		"time)",
		tenths(sum) / 10, tenths(sum) % 10, tenths(need->copy_ms) / 10,
		tenths(need->copy_ms) % 10, tenths(need->lag_ms) / 10,
		tenths(need->lag_ms) % 10, tenths(need->hold_ms) / 10,
		tenths(need->hold_ms) % 10, tenths(need->margin_ms) / 10,
		tenths(need->margin_ms) % 10, (unsigned long long)(left / 1000),
		(unsigned long long)(left / 100 % 10));
}
