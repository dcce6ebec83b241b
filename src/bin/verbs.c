/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/verbs.c: sub-commands that talk to a running migration.
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/verbs.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "bin/clock.h"
#include "bin/frame.h"
#include "bin/look.h"
#include "bin/said.h"
#include "bin/screen.h"
#include "bin/state.h"
#include "bin/status.h"
#include "bin/talk.h"
#include "bin/term.h"
#include "bin/watch.h"

#define WATCH_MS 5000
#define RETRY_MS 1000   /* --wait: between two tries                          */
#define END_MS   120000 /* stop: until the process has ended              */

int
verb_fail(const struct args *a, const struct err *err)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "godwit %s: %s\n", commands[a->command].name,
	              err->text);
	return err_exit(err->code);
}

static json_t *
arguments(const struct args *a)
{
	json_t *j = json_object();

	if (a->text[OPT_REASON] != NULL && a->text[OPT_REASON][0] != '\0')
		(void)json_object_set_new(j, "reason",
		                          json_string(a->text[OPT_REASON]));
	if (a->command == CMD_PROMOTE && a->is_given[OPT_TO])
		(void)json_object_set_new(j, "to",
		                          json_string(a->text[OPT_TO]));
	if (a->command == CMD_ROLLBACK)
		(void)json_object_set_new(
			j, "accept_data_loss",
			json_boolean(a->number[OPT_ACCEPT_DATA_LOSS] != 0));
	if (a->command == CMD_COMPLETE)
		(void)json_object_set_new(
			j, "force", json_boolean(a->number[OPT_FORCE] != 0));
	if (a->command == CMD_VERIFY && a->number[OPT_REPAIR] != 0)
		(void)json_object_set_new(j, "repair", json_true());
	return j;
}

static void
print_json(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
}

/* Events on the way to the answer are messages, not data. */
static void
tell_event(const json_t *j, void *arg)
{
	const json_t *e = json_object_get(j, "event");
	const json_t *from = json_is_object(e) ? e : j;

	(void)arg;
	if (e == NULL)
		return;
	(void)fprintf(stderr, "%s %s: %s\n",
	              amount_clock(look_at(from, "at")).s,
	              json_is_string(e) ? json_string_value(e)
	                                : look_text(from, "name"),
	              look_text(from, "text"));
}

/* What a verb's success looks like to a person: what it did, where we are,
 * what comes next. */
static void
print_done(const struct args *a, const char *state, const json_t *answer)
{
	const char *verb = commands[a->command].name;
	const json_t *status = json_object_get(answer, "data");
	char text[256];

	said_text(verb, answer, text, sizeof(text));
	(void)printf("%s: %s\n", verb, text);
	if (a->command == CMD_STOP) {
		(void)printf("next: the same migrate command goes on\n");
		return;
	}
	if (look_text(status, "status")[0] != '\0')
		(void)printf("now:  %s %s, authority %s\n",
		             look_text(status, "status"),
		             look_text(status, "phase"),
		             look_text(status, "authority"));
	if (look_text(status, "next")[0] != '\0')
		(void)printf("next: %s\n", look_text(status, "next"));
	(void)printf("see:  godwit status%s%s\n",
	             a->is_given[OPT_STATE] ? " --state " : "",
	             a->is_given[OPT_STATE] ? state : "");
}

static int
print_refusal(const struct args *a, const json_t *answer)
{
	const char *verb = commands[a->command].name;
	int status = (int)look_int(answer, "exit");
	char text[512];

	if (a->number[OPT_JSON] != 0)
		print_json(answer);
	(void)fflush(stdout);
	said_text(verb, answer, text, sizeof(text));
	(void)fprintf(stderr, "godwit %s: %s\n", verb, text);
	return status != 0 ? status : STATUS_ERROR;
}

static int
print_events(const struct args *a, const json_t *data)
{
	const json_t *list =
		json_is_array(data) ? data : look_at(data, "events");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *e = json_array_get(list, i);

		if (a->number[OPT_JSON] != 0)
			print_json(e);
		else
			(void)printf("%s %-14s %s\n",
			             amount_clock(look_at(e, "at")).s,
			             look_text(e, "name"),
			             look_text(e, "text"));
	}
	return STATUS_DONE;
}

static int
print_status(const struct args *a, const json_t *status)
{
	struct frame_conf conf = { .columns = 1000,
		                   .has_color = term_has_color(),
		                   .has_utf8 = term_has_utf8(),
		                   .events = 5 };
	uint32_t rows;

	if (a->number[OPT_JSON] != 0) {
		print_json(status);
		return STATUS_DONE;
	}
	if (term_is_output())
		term_size(&conf.columns, &rows);
	(void)frame_print(stdout, status, &conf);
	return STATUS_DONE;
}

static int
print_answer(const struct args *a, const char *state, const json_t *answer)
{
	const json_t *data = json_object_get(answer, "data");

	if (!look_bool(answer, "ok"))
		return print_refusal(a, answer);
	if (a->command == CMD_STATUS)
		return print_status(a, data);
	if (a->command == CMD_EVENTS)
		return print_events(a, data);
	if (a->number[OPT_JSON] != 0)
		print_json(data != NULL ? data : answer);
	else
		print_done(a, state, answer);
	return a->command == CMD_VERIFY
	               ? said_proof_status(look_at(data, "verification"))
	               : STATUS_DONE;
}

/* ---- --watch ----------------------------------------------------------- */

static int
watch(const struct args *a, const char *state)
{
	struct watch_conf conf = { .to = { .state = state },
		                   .is_json = a->number[OPT_JSON] != 0,
		                   .no_status = a->command == CMD_EVENTS,
		                   .every_ms = WATCH_MS,
		                   .signal_fd = -1 };
	enum screen_end end = SCREEN_OVER;
	struct err err;
	int rc;

	if (a->command == CMD_STATUS && !conf.is_json && term_is_screen())
		rc = screen_run(&conf.to, &end, &err);
	else
		rc = watch_lines(&conf, &err);
	if (rc != 0)
		return verb_fail(a, &err);
	if (end == SCREEN_OVER)
		(void)fprintf(stderr, "godwit: the migration's process has "
		                      "ended\n");
	return STATUS_DONE;
}

/* ---- asking, perhaps again --------------------------------------------- */

static int
ask_once(const struct args *a, const char *state, bool is_last, struct err *err)
{
	struct talk p;
	json_t *answer = NULL;
	json_t *args = arguments(a);
	int rc = talk_open(&p, &(struct talk_to){ .state = state }, err);
	int process = -1;
	int status;

	if (rc == 0 && a->command == CMD_STOP)
		process = talk_process(&p);
	if (rc == 0)
		rc = talk_ask(&p, commands[a->command].name, args,
		              a->number[OPT_JSON] != 0 ? NULL : tell_event,
		              NULL, &answer, err);
	json_decref(args);
	/* Its ports are free when it is answered: the same command may follow. */
	if (rc == 0 && look_bool(answer, "ok"))
		rc = talk_wait_end(process, END_MS, err);
	if (process >= 0)
		(void)close(process);
	if (rc != 0)
		status = is_last ? verb_fail(a, err) : err_exit(err->code);
	else if (!is_last && look_int(answer, "exit") == STATUS_TEMPORARY)
		status = STATUS_TEMPORARY;
	else
		status = print_answer(a, state, answer);
	json_decref(answer);
	talk_close(&p);
	return status;
}

/* --wait: postponed is no answer while there is time. */
static int
ask_patiently(const struct args *a, const char *state)
{
	int64_t until = clock_now_ms() + (int64_t)a->number[OPT_TIMEOUT];
	struct err err;

	for (;;) {
		bool is_last = clock_now_ms() + RETRY_MS >= until;
		int status = ask_once(a, state, is_last, &err);
		struct timespec pause = { .tv_sec = RETRY_MS / 1000 };

		if (status != STATUS_TEMPORARY)
			return status;
		if (is_last) {
			(void)fprintf(stderr,
			              "godwit %s: still postponed; the "
			              "migration goes on\n",
			              commands[a->command].name);
			return STATUS_TIMED_OUT;
		}
		(void)nanosleep(&pause, NULL);
	}
}

int
verb_ask(const struct args *a)
{
	char state[STATE_PATH_MAX];
	struct err err;

	if (state_find(a->text[OPT_STATE], state, sizeof(state), &err) != 0)
		return verb_fail(a, &err);
	if (a->number[OPT_WATCH] != 0)
		return watch(a, state);
	if (a->number[OPT_WAIT] != 0)
		return ask_patiently(a, state);
	return ask_once(a, state, true, &err);
}
