/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/follow.c: migrations watch and migrations events.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bin/action.h"
#include "bin/api/ask.h"
#include "bin/api/body.h"
#include "bin/api/bridge.h"
#include "bin/api/sse.h"
#include "bin/look.h"
#include "bin/screen.h"
#include "bin/status.h"
#include "bin/term.h"
#include "bin/watch.h"

#define WATCH_MS 5000
#define AGAIN_S  1

/* ---- watch --------------------------------------------------------------------- */

/* Is it there, may we see it? Told before the screen begins. */
static int
check(const struct args *a, struct remote *r)
{
	char path[BODY_PATH];
	struct web_request q = { .method = "GET", .path = path };
	const char *place[] = { a->operand[0] };
	struct web_answer answer;
	struct err err;
	int status = STATUS_DONE;

	body_path(ROUTE_migration_get, place, 1, path);
	if (remote_call(r, &q, &answer, &err) != 0)
		return ask_fail(a, r, &err);
	if (answer.status >= 400)
		status = ask_refused(a, r, &answer);
	web_answer_fini(&answer);
	return status;
}

/* What a script wants to know: where it ended. */
static int
outcome(const struct args *a, struct bridge *b)
{
	bool timed_out;
	char state[32];

	bridge_last(b, state, &timed_out);
	if (timed_out) {
		(void)fprintf(
			stderr,
			"godwit migrations watch: still %s; the migration "
			"goes on\n",
			state);
		return STATUS_TIMED_OUT;
	}
	if (strcmp(state, "completed") == 0)
		return STATUS_DONE;
	if (strcmp(state, "rolled_back") == 0)
		return STATUS_ABORTED;
	if (strcmp(state, "failed") != 0)
		return STATUS_TEMPORARY;
	(void)fprintf(stderr,
	              "godwit migrations watch: it has failed\n"
	              "next:  godwit migrations retry %s, or rollback\n",
	              a->operand[0]);
	return STATUS_WAITING;
}

static int
watch(const struct args *a, struct remote *r, struct err *err)
{
	bool is_json = a->number[OPT_JSON] != 0;
	bool is_screen = !is_json && term_is_screen();
	struct bridge_conf conf = { .remote = r,
		                    .migration = a->operand[0],
		                    .is_verbatim = is_json,
		                    .ends_by_itself = !is_screen };
	struct watch_conf lines = { .is_json = is_json,
		                    .every_ms = WATCH_MS,
		                    .signal_fd = -1 };
	enum screen_end end = SCREEN_LEFT;
	struct bridge *b;
	int status = STATUS_DONE;
	int rc;

	if (a->is_given[OPT_TIMEOUT])
		conf.timeout_ms = (uint32_t)a->number[OPT_TIMEOUT];
	b = bridge_new(&conf, err);
	if (b == NULL)
		return ask_fail(a, r, err);
	lines.to = (struct talk_to){ .connect = bridge_connect, .arg = b };
	rc = is_screen ? screen_run(&lines.to, &end, err)
	               : watch_lines(&lines, err);
	if (rc != 0)
		status = ask_fail(a, r, err);
	else if (!is_screen || end == SCREEN_OVER)
		status = outcome(a, b);
	else
		(void)fprintf(stderr,
		              "godwit: the migration goes on at the server; "
		              "godwit migrations watch %s shows it again\n",
		              a->operand[0]);
	bridge_free(b);
	return status;
}

int
follow_watch(const struct args *a)
{
	struct remote r;
	struct err err;
	int status;

	if (remote_open(&r, a, &err) != 0)
		return ask_fail(a, NULL, &err);
	status = check(a, &r);
	if (status == STATUS_DONE)
		status = watch(a, &r, &err);
	remote_close(&r);
	return status;
}

/* ---- events --------------------------------------------------------------------- */

struct events {
	const struct args *a;
	struct remote remote;
	struct sse sse;
	bool has_heard; /* the server was there once                       */
};

static bool
on_event(void *arg, const struct sse *s)
{
	const struct events *e = arg;
	const char *text;
	json_t *j;

	if (e->a->number[OPT_JSON] != 0) {
		(void)printf("%s\n", s->data);
		return fflush(stdout) == 0;
	}
	j = json_loads(s->data, 0, NULL);
	text = look_text(j, "text");
	(void)printf("%s %-14s ", amount_clock(look_at(j, "at")).s, s->name);
	if (e->a->operand_n == 0 && look_text(j, "migration_id")[0] != '\0')
		(void)printf("%s: ", look_text(j, "migration_id"));
	(void)printf(
		"%s%s%s\n", text[0] != '\0' ? text : look_text(j, "status"),
		text[0] == '\0' && look_text(j, "phase")[0] != '\0' ? ", " : "",
		text[0] == '\0' ? look_text(j, "phase") : "");
	json_decref(j);
	return fflush(stdout) == 0;
}

static bool
on_data(void *arg, const char *p, size_t n)
{
	struct events *e = arg;

	e->has_heard = true;
	return sse_feed(&e->sse, p, n, on_event, e);
}

/* A stream ends with its token: leave it before and come back with a new one. */
static bool
on_idle(void *arg)
{
	const struct events *e = arg;

	return !remote_is_due(&e->remote);
}

/* One connection. *ret_status >= 0: this was the last one. */
static int
listen_once(struct events *e, const char *path, int *ret_status,
            struct err *err)
{
	struct web_request q = { .method = "GET",
		                 .path = path,
		                 .last_event = e->sse.id };
	const struct web_stream s = { .on_data = on_data,
		                      .on_idle = on_idle,
		                      .arg = e };
	struct web_answer answer = { .status = 0 };
	int rc = remote_sign(&e->remote, &q, err);

	if (rc == 0)
		rc = web_stream(e->remote.web, &q, &s, &answer, err);
	if (rc == 0 && answer.status >= 400)
		*ret_status = ask_refused(e->a, &e->remote, &answer);
	else if (rc == 0 &&
	         (e->a->number[OPT_WATCH] == 0 || ferror(stdout) != 0))
		*ret_status = STATUS_DONE;
	web_answer_fini(&answer);
	return rc;
}

static int
listen_on(struct events *e, const char *path)
{
	struct timespec pause = { .tv_sec = AGAIN_S };
	int status = -1;
	struct err err;

	while (status < 0) {
		int rc = listen_once(e, path, &status, &err);

		/* A watcher waits for a server that is started again. */
		if (rc != 0 && (e->a->number[OPT_WATCH] == 0 || !e->has_heard ||
		                err.code == ERR_UNAUTHORIZED))
			return ask_fail(e->a, &e->remote, &err);
		if (rc != 0)
			(void)fprintf(stderr, "godwit: %s\n", err.text);
		if (status < 0 && !remote_is_due(&e->remote))
			(void)nanosleep(&pause, NULL);
	}
	return status;
}

int
follow_events(const struct args *a)
{
	struct events *e = calloc(1, sizeof(*e));
	struct body b;
	struct err err = { .code = ERR_NONE };
	int status;

	if (e == NULL) {
		(void)err_set(&err, ERR_NOMEM, "out of memory");
		return ask_fail(a, NULL, &err);
	}
	e->a = a;
	sse_init(&e->sse);
	(void)snprintf(e->sse.id, sizeof(e->sse.id), "0");
	if (remote_open(&e->remote, a, &err) != 0) {
		status = ask_fail(a, NULL, &err);
	} else if (body_make(&b, a, &e->remote, &err) != 0) {
		status = ask_fail(a, &e->remote, &err);
	} else {
		if (a->number[OPT_WATCH] == 0)
			body_query(&b, "follow", "false");
		status = listen_on(e, b.path);
		body_fini(&b);
	}
	remote_close(&e->remote);
	free(e);
	return status;
}
