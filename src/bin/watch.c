/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/watch.c: a running migration as lines, where there is no screen.
 *
 * A status line at the beginning, every few seconds, at each change of state,
 * phase or authority, and at the end; an event as soon as it is heard of.
 */
#define _DEFAULT_SOURCE
#include "bin/watch.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bin/clock.h"
#include "bin/frame.h"
#include "bin/look.h"
#include "bin/talk.h"

struct watch {
	const struct watch_conf *conf;
	struct talk talk;
	json_t *status;   /* the last one                                  */
	bool is_printed;  /* ... and it was printed                        */
	int64_t print_at; /* next periodic line                            */
};

static void
print_time(void)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[16];

	if (localtime_r(&now, &tm) != NULL &&
	    strftime(text, sizeof(text), "%H:%M:%S", &tm) > 0)
		(void)printf("%s ", text);
}

static void
print_object(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
}

static bool
is_silent(const struct watch *w)
{
	return w->conf->is_silent != NULL && atomic_load(w->conf->is_silent);
}

static void
print_status(struct watch *w)
{
	if (w->status == NULL || w->is_printed || w->conf->no_status ||
	    is_silent(w))
		return;
	if (w->conf->is_json) {
		json_t *j = json_pack("{s:O}", "status", w->status);

		print_object(j);
		json_decref(j);
	} else {
		print_time();
		frame_line(stdout, w->status);
		(void)fputc('\n', stdout);
	}
	(void)fflush(stdout);
	w->is_printed = true;
	w->print_at = clock_now_ms() + w->conf->every_ms;
}

/* An event is {"event":{...}} or {"event":"name", "text":...}. */
static void
print_event(const struct watch *w, const json_t *j)
{
	const json_t *e = json_object_get(j, "event");
	const json_t *from = json_is_object(e) ? e : j;
	const char *name = json_is_string(e) ? json_string_value(e)
	                                     : look_text(from, "name");

	if (is_silent(w))
		return;
	if (w->conf->is_json) {
		print_object(j);
	} else {
		if (look_at(from, "at") != NULL)
			(void)printf("%s ",
			             amount_clock(look_at(from, "at")).s);
		else
			print_time();
		(void)printf("%s: %s\n", name, look_text(from, "text"));
	}
	(void)fflush(stdout);
}

static bool
is_news(const json_t *before, const json_t *now)
{
	static const char *const paths[] = { "status",
		                             "phase",
		                             "authority",
		                             "reads.desired_percentage",
		                             "writes.desired_percentage",
		                             "verification.state" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!json_equal(look_at(before, paths[i]),
		                look_at(now, paths[i])) &&
		    look_at(now, paths[i]) != NULL)
			return true;
	return false;
}

static void
take(struct watch *w, const json_t *j)
{
	json_t *status = json_object_get(j, "status");

	if (json_object_get(j, "event") != NULL)
		print_event(w, j);
	if (json_is_object(status)) {
		bool is_due = is_news(w->status, status);

		json_decref(w->status);
		w->status = json_incref(status);
		w->is_printed = false;
		if (is_due)
			print_status(w);
	}
}

/* Answers false when the other end is gone. */
static bool
read_talk(struct watch *w)
{
	for (;;) {
		json_t *j = NULL;
		int rc = talk_next(&w->talk, 0, &j, NULL);

		if (rc == -ERR_TIMEOUT)
			return true;
		if (rc != 0)
			return false;
		take(w, j);
		json_decref(j);
	}
}

int
watch_lines(const struct watch_conf *c, struct err *err)
{
	struct watch w = { .conf = c, .talk = { .fd = -1 } };
	bool goes_on = true;
	int rc = talk_open(&w.talk, &c->to, err);

	if (rc == 0)
		rc = talk_send(&w.talk, "watch", NULL, err);
	w.print_at = clock_now_ms();
	while (rc == 0 && goes_on) {
		struct pollfd fds[] = {
			{ .fd = w.talk.fd, .events = POLLIN },
			{ .fd = c->signal_fd, .events = POLLIN },
		};
		int64_t left = w.print_at - clock_now_ms();

		if (left <= 0) {
			print_status(&w);
			left = c->every_ms;
			w.print_at = clock_now_ms() + left;
		}
		if (poll(fds, 2, (int)left) <= 0)
			continue;
		if (fds[0].revents != 0)
			goes_on = read_talk(&w);
		if (fds[1].revents != 0 && c->on_signal(c->arg))
			goes_on = false;
	}
	print_status(&w);
	talk_close(&w.talk);
	json_decref(w.status);
	return rc;
}
