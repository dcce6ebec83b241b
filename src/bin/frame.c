/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/frame.c: a status object as lines of text.
 */
#include "bin/frame.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include "bin/look.h"
#include "bin/said.h"

#define BAR_COLUMNS 28

void
frame_put(struct frame *f, enum frame_style style, const char *fmt, ...)
{
	static const char *const codes[] = {
		[FRAME_PLAIN] = "",        [FRAME_BOLD] = "\033[1m",
		[FRAME_DIM] = "\033[2m",   [FRAME_GOOD] = "\033[32m",
		[FRAME_WARN] = "\033[33m", [FRAME_BAD] = "\033[1;31m",
	};
	bool is_styled = f->conf->has_color && style != FRAME_PLAIN;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (is_styled)
		(void)fputs(codes[style], f->out);
	for (const char *p = text; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;

		/* A UTF-8 sequence takes one column, at its first byte. */
		if ((c & 0xc0) != 0x80)
			f->column++;
		if (f->column > f->conf->columns)
			break;
		/* Texts of the other end must not steer the terminal. */
		(void)fputc(c < 32 || c == 127 ? '?' : c, f->out);
	}
	if (is_styled)
		(void)fputs("\033[0m", f->out);
}

void
frame_end(struct frame *f)
{
	(void)fputc('\n', f->out);
	f->column = 0;
	f->lines++;
}

static void
name_of_line(struct frame *f, const char *name)
{
	frame_put(f, FRAME_DIM, "%-8s ", name);
}

static enum frame_style
style_of_state(const char *state)
{
	if (strcmp(state, "completed") == 0 || strcmp(state, "running") == 0)
		return FRAME_GOOD;
	if (strcmp(state, "failed") == 0)
		return FRAME_BAD;
	return FRAME_WARN;
}

static void
put_upper(struct frame *f, enum frame_style style, const char *text)
{
	char upper[32];
	size_t n = 0;

	for (; text[n] != '\0' && n + 1 < sizeof(upper); n++)
		upper[n] = (char)toupper((unsigned char)text[n]);
	upper[n] = '\0';
	frame_put(f, style, "%s", upper);
}

/* Where it does not fit behind the servers the address has a line of its own. */
static void
lines_where(struct frame *f, const json_t *j)
{
	const char *old = look_text(j, "old");
	const char *new = look_text(j, "new");
	const char *listen = look_text(j, "listen");
	size_t n = strlen(old) + strlen(" -> ") + strlen(new);

	frame_put(f, FRAME_PLAIN, "%s -> %s", old, new);
	if (n + strlen("   clients at ") + strlen(listen) > f->conf->columns)
		frame_end(f);
	else
		frame_put(f, FRAME_PLAIN, "   ");
	frame_put(f, FRAME_PLAIN, "clients at %s", listen);
	frame_end(f);
}

static void
line_head(struct frame *f, const json_t *j)
{
	const char *status = look_text(j, "status");
	size_t steps = json_array_size(look_at(j, "strategy.steps"));

	frame_put(f, FRAME_BOLD, "godwit %s", look_text(j, "id"));
	frame_put(f, FRAME_PLAIN, "  %s/%s  ", look_text(j, "strategy.type"),
	          look_text(j, "strategy.write_mode"));
	put_upper(f, style_of_state(status), status);
	frame_put(f, FRAME_PLAIN, "  %s", look_text(j, "phase"));
	if (steps > 0 && strcmp(look_text(j, "strategy.type"), "canary") == 0)
		frame_put(f, FRAME_PLAIN, "  step %lld/%zu",
		          (long long)look_int(j, "strategy.step"), steps);
	if (look_bool(j, "partial"))
		frame_put(f, FRAME_WARN, "  partial");
	frame_end(f);
	lines_where(f, j);
}

static void
put_bar(struct frame *f, double percent)
{
	int full = (int)(percent * BAR_COLUMNS / 100.0);

	for (int i = 0; i < BAR_COLUMNS; i++)
		if (f->conf->has_utf8)
			frame_put(f, FRAME_PLAIN, "%s", i < full ? "█" : "░");
		else
			frame_put(f, FRAME_PLAIN, "%c", i < full ? '#' : '-');
}

static void
line_copy(struct frame *f, const json_t *j)
{
	int64_t records = look_int(j, "copy.records");
	int64_t total = look_int(j, "copy.records_total");
	bool is_done = look_bool(j, "copy.done");
	double percent = is_done ? 100.0 : look_real(j, "copy.percentage");

	name_of_line(f, "copy");
	put_bar(f, percent);
	frame_put(f, is_done ? FRAME_GOOD : FRAME_PLAIN, " %5.1f %%  ",
	          percent);
	if (total > 0 && !is_done)
		frame_put(f, FRAME_PLAIN, "%s of %s records",
		          amount_count(records).s, amount_count(total).s);
	else
		frame_put(f, FRAME_PLAIN, "%s records",
		          amount_count(records).s);
	frame_end(f);
	name_of_line(f, "");
	frame_put(f, FRAME_PLAIN, "%s  by %s",
	          amount_bytes(look_real(j, "copy.bytes")).s,
	          look_text(j, "copy.mode"));
	frame_put(f, FRAME_PLAIN, "  %s records/s",
	          amount_count(look_int(j, "copy.rate")).s);
	/* Below 1 % an estimate is a guess. */
	if (!is_done && percent >= 1.0)
		frame_put(f, FRAME_PLAIN, "  ETA %s",
		          amount_seconds(look_real(j, "copy.eta_s")).s);
	frame_end(f);
}

static void
line_stream(struct frame *f, const json_t *j)
{
	name_of_line(f, "stream");
	frame_put(f, FRAME_PLAIN, "%s  lag %s ms  %s  %s records",
	          look_text(j, "stream.direction"),
	          amount_count(look_int(j, "stream.lag_ms")).s,
	          amount_bytes(look_real(j, "stream.lag_bytes")).s,
	          amount_count(look_int(j, "stream.lag_records")).s);
	frame_put(f, FRAME_PLAIN, "  pending %s",
	          amount_count(look_int(j, "stream.pending")).s);
	if (look_bool(j, "stream.in_step"))
		frame_put(f, FRAME_GOOD, "  in step");
	else
		frame_put(f, FRAME_WARN, "  behind");
	frame_end(f);
	if (look_text(j, "stream.trouble")[0] == '\0')
		return;
	name_of_line(f, "");
	frame_put(f, FRAME_WARN, "%s", look_text(j, "stream.trouble"));
	frame_end(f);
}

static void
line_traffic(struct frame *f, const json_t *j)
{
	const char *authority = look_text(j, "authority");

	name_of_line(f, "reads");
	frame_put(f, FRAME_PLAIN,
	          "desired %.1f %%  actual %.1f %%  old %s  new %s  retried %s",
	          look_real(j, "reads.desired_percentage"),
	          look_real(j, "reads.actual_percentage"),
	          amount_count(look_int(j, "reads.old")).s,
	          amount_count(look_int(j, "reads.new")).s,
	          amount_count(look_int(j, "reads.retried")).s);
	frame_end(f);
	name_of_line(f, "writes");
	frame_put(f, FRAME_BOLD, "%s", authority);
	frame_put(f, FRAME_PLAIN,
	          " has the authority  old %s  new %s  epoch %lld",
	          amount_count(look_int(j, "writes.old")).s,
	          amount_count(look_int(j, "writes.new")).s,
	          (long long)look_int(j, "epoch"));
	frame_end(f);
}

/* What shadow_traffic has found. */
static void
line_shadow(struct frame *f, const json_t *j)
{
	json_t *dropped =
		json_object_get(json_object_get(j, "shadow"), "dropped");
	int64_t different = look_int(j, "shadow.different");
	int64_t drops = 0;
	const char *why;
	json_t *n;

	if (dropped == NULL)
		return;
	json_object_foreach(dropped, why, n)
	{
		drops += json_integer_value(n);
	}
	name_of_line(f, "shadow");
	frame_put(f, different > 0 ? FRAME_BAD : FRAME_GOOD, "different %s",
	          amount_count(different).s);
	frame_put(f, FRAME_PLAIN,
	          "  same %s  noise %s  unstable %s  dropped %s",
	          amount_count(look_int(j, "shadow.same")).s,
	          amount_count(look_int(j, "shadow.noise")).s,
	          amount_count(look_int(j, "shadow.unstable")).s,
	          amount_count(drops).s);
	frame_end(f);
}

static void
line_reverse(struct frame *f, const json_t *j)
{
	const json_t *proven = look_at(j, "reverse.proven_ms_ago");
	double ago = look_real(j, "reverse.proven_ms_ago") / 1000.0;

	name_of_line(f, "reverse");
	if (json_is_number(proven) && ago >= 0)
		frame_put(f, FRAME_GOOD, "proven %s ago",
		          amount_seconds(ago).s);
	else
		frame_put(f, FRAME_WARN, "not proven yet");
	frame_put(f, FRAME_PLAIN, "  lag %s ms  ack %s",
	          amount_count(look_int(j, "reverse.lag_ms")).s,
	          look_text(j, "reverse.ack"));
	if (look_bool(j, "reverse.behind"))
		frame_put(f, FRAME_WARN, "  behind");
	frame_end(f);
}

static void
line_hold(struct frame *f, const json_t *j)
{
	name_of_line(f, "hold");
	frame_put(f, FRAME_PLAIN, "last %.0f ms  longest %.0f ms",
	          look_real(j, "hold.last_ms"), look_real(j, "hold.max_ms"));
	if (look_bool(j, "hold.active"))
		frame_put(f, FRAME_WARN, "  %s requests wait now",
		          amount_count(look_int(j, "hold.held")).s);
	frame_put(f, FRAME_PLAIN, "  fence old %s new %s",
	          look_bool(j, "fence.old") ? "up" : "down",
	          look_bool(j, "fence.new") ? "up" : "down");
	if (look_text(j, "fence.kind")[0] != '\0')
		frame_put(f, FRAME_PLAIN, " (%s)", look_text(j, "fence.kind"));
	frame_end(f);
}

static void
line_clients(struct frame *f, const json_t *j)
{
	int64_t lost = look_int(j, "errors.lost");

	name_of_line(f, "clients");
	frame_put(f, FRAME_PLAIN,
	          "%s  blocked %s  subscribed %s  in transaction %s",
	          amount_count(look_int(j, "clients.total")).s,
	          amount_count(look_int(j, "clients.blocked")).s,
	          amount_count(look_int(j, "clients.subscribed")).s,
	          amount_count(look_int(j, "clients.in_transaction")).s);
	frame_put(f, FRAME_PLAIN, "  relays %lld/%lld",
	          (long long)look_int(j, "relays.at_generation"),
	          (long long)look_int(j, "relays.total"));
	frame_end(f);
	name_of_line(f, "answers");
	frame_put(f, FRAME_PLAIN,
	          "old p50 %.2f p99 %.2f ms  new p50 %.2f p99 %.2f ms",
	          look_real(j, "latency_ms.old.p50"),
	          look_real(j, "latency_ms.old.p99"),
	          look_real(j, "latency_ms.new.p50"),
	          look_real(j, "latency_ms.new.p99"));
	frame_put(f, lost > 0 ? FRAME_BAD : FRAME_PLAIN,
	          "  errors %s/%s lost %s",
	          amount_count(look_int(j, "errors.old")).s,
	          amount_count(look_int(j, "errors.new")).s,
	          amount_count(lost).s);
	frame_end(f);
}

static void
line_verify(struct frame *f, const json_t *j)
{
	const char *state = look_text(j, "verification.state");
	enum frame_style style = FRAME_PLAIN;
	char more[SAID_MORE_MAX];

	if (strcmp(state, "clean") == 0)
		style = FRAME_GOOD;
	else if (strcmp(state, "different") == 0)
		style = FRAME_BAD;
	name_of_line(f, "verify");
	frame_put(f, style, "%s", state[0] != '\0' ? state : "none");
	if (state[0] != '\0' && strcmp(state, "none") != 0)
		frame_put(
			f, FRAME_PLAIN,
			"  %s compared  missing %s  extra %s  different %s",
			amount_count(look_int(j, "verification.compared")).s,
			amount_count(look_int(j, "verification.missing")).s,
			amount_count(look_int(j, "verification.extra")).s,
			amount_count(look_int(j, "verification.different")).s);
	said_proof_more(j, more, sizeof(more));
	if (more[0] != '\0')
		frame_put(f, FRAME_WARN, "  %s", more);
	if (style != FRAME_PLAIN)
		frame_put(f, FRAME_DIM, "  %s ago",
		          amount_seconds(look_real(j, "verification.age_s")).s);
	frame_end(f);
}

static void
put_check(struct frame *f, const json_t *c)
{
	const char *result = look_text(c, "result");
	const char *detail = look_text(c, "detail");

	frame_put(f, strcmp(result, "fail") == 0 ? FRAME_BAD : FRAME_WARN,
	          "  %s %s", look_text(c, "name"), result);
	if (detail[0] != '\0')
		frame_put(f, FRAME_PLAIN, " (%s)", detail);
}

static bool
is_pass(const json_t *c)
{
	return strcmp(look_text(c, "result"), "pass") == 0;
}

/* How many pass; what does not, by name and reason. */
static void
line_checks(struct frame *f, const json_t *j)
{
	const json_t *checks = look_at(j, "checks");
	size_t n = json_array_size(checks);
	size_t passed = 0;

	for (size_t i = 0; i < n; i++)
		passed += is_pass(json_array_get(checks, i));
	name_of_line(f, "checks");
	frame_put(f, n > 0 && passed == n ? FRAME_GOOD : FRAME_PLAIN,
	          "%zu of %zu pass", passed, n);
	for (size_t i = 0; i < n; i++)
		if (!is_pass(json_array_get(checks, i)))
			put_check(f, json_array_get(checks, i));
	frame_end(f);
}

static void
line_events(struct frame *f, const json_t *j)
{
	const json_t *events = look_at(j, "events");
	size_t n = json_array_size(events);
	uint32_t want = f->conf->events;
	size_t first = n > want ? n - want : 0;

	for (size_t i = 0; i < want; i++) {
		const json_t *e = json_array_get(events, first + i);

		name_of_line(f, i == 0 ? "events" : "");
		if (e != NULL)
			frame_put(f, FRAME_PLAIN, "%s %s %s",
			          amount_clock(look_at(e, "at")).s,
			          look_text(e, "name"), look_text(e, "text"));
		frame_end(f);
	}
}

uint32_t
frame_print(FILE *out, const json_t *status, const struct frame_conf *conf)
{
	struct frame f = { .out = out, .conf = conf };

	line_head(&f, status);
	line_copy(&f, status);
	line_stream(&f, status);
	line_traffic(&f, status);
	line_shadow(&f, status);
	line_reverse(&f, status);
	line_hold(&f, status);
	line_clients(&f, status);
	line_verify(&f, status);
	line_checks(&f, status);
	line_events(&f, status);
	name_of_line(&f, "next");
	frame_put(&f, FRAME_BOLD, "%s", look_text(status, "next"));
	frame_end(&f);
	name_of_line(&f, "rollback");
	frame_put(&f, FRAME_PLAIN, "%s", look_text(status, "rollback"));
	frame_end(&f);
	return f.lines;
}

void
frame_line(FILE *out, const json_t *j)
{
	bool is_done = look_bool(j, "copy.done");
	double percent = is_done ? 100.0 : look_real(j, "copy.percentage");

	(void)fprintf(out, "%s %s; authority %s; copy %.1f %% %s",
	              look_text(j, "status"), look_text(j, "phase"),
	              look_text(j, "authority"), percent,
	              amount_bytes(look_real(j, "copy.bytes")).s);
	if (!is_done)
		(void)fprintf(
			out, ", %s/s, ETA %s",
			amount_count(look_int(j, "copy.rate")).s,
			percent < 1.0
				? "?"
				: amount_seconds(look_real(j, "copy.eta_s")).s);
	(void)fprintf(
		out,
		"; lag %lld ms; reads on new %.1f %% (desired %.1f %%); "
		"writes %.1f %% (%.1f %%); clients %lld; hold max %.0f ms; verify %s; next: %s",
		(long long)look_int(j, "stream.lag_ms"),
		look_real(j, "reads.actual_percentage"),
		look_real(j, "reads.desired_percentage"),
		look_real(j, "writes.actual_percentage"),
		look_real(j, "writes.desired_percentage"),
		(long long)look_int(j, "clients.total"),
		look_real(j, "hold.max_ms"), look_text(j, "verification.state"),
		look_text(j, "next"));
}
