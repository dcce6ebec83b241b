/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/ask.c: an action that is one call (or the pages of a list).
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/api/ask.h"

#include <stdio.h>
#include <time.h>

#include "bin/action.h"
#include "bin/api/answer.h"
#include "bin/api/body.h"
#include "bin/clock.h"
#include "bin/look.h"
#include "bin/status.h"

#define PAGE      1000
#define AUDIT_MAX 100
#define RETRY_MS  1000

/* ---- refusals ------------------------------------------------------------------ */

/* What somebody who reads this error does next. */
static void
print_next(const struct args *a, enum err_code code)
{
	const char *command = commands[a->command].name;
	const char *thing =
		a->operand_n > 0 && a->action != ACTION_N ? a->operand[0] : "";
	char name[ARGS_NAME];

	args_name(a, name);
	switch ((int)code) {
	case ERR_UNAUTHORIZED:
		if (a->command != CMD_LOGIN)
			(void)fprintf(stderr, "next:  godwit login\n");
		break;
	case ERR_FORBIDDEN:
		(void)fprintf(stderr,
		              "next:  ask an administrator (godwit roles set "
		              "... --role ...)\n");
		break;
	case ERR_MISSING:
		if (a->action != ACTION_N &&
		    action_find(a->command, "list") != ACTION_N)
			(void)fprintf(stderr, "next:  godwit %s list\n",
			              command);
		break;
	case ERR_STATE:
	case ERR_EXISTS:
	case ERR_STALE:
		if (thing[0] != '\0' &&
		    action_find(a->command, "show") != ACTION_N)
			(void)fprintf(stderr, "next:  godwit %s show %s\n",
			              command, thing);
		break;
	case ERR_BAD:
	case ERR_UNABLE:
		(void)fprintf(stderr, "next:  godwit %s --help\n", name);
		break;
	case ERR_POSTPONED:
		if (a->action != ACTION_N && action_takes(a->action, OPT_WAIT))
			(void)fprintf(
				stderr,
				"next:  the same again, or with --wait\n");
		break;
	default: break;
	}
}

int
ask_fail(const struct args *a, const struct remote *r, const struct err *err)
{
	char name[ARGS_NAME];

	args_name(a, name);
	(void)fflush(stdout);
	(void)fprintf(stderr, "godwit %s: %s\n", name, err->text);
	if (err->code == ERR_UNAUTHORIZED && r != NULL)
		(void)fprintf(stderr, "next:  godwit login --server %s\n",
		              r->server);
	return err_exit(err->code);
}

int
ask_refused(const struct args *a, const struct remote *r,
            const struct web_answer *answer)
{
	struct err err = { .code = ERR_IO };
	const char *param = look_text(answer->body, "param");
	char name[ARGS_NAME];

	args_name(a, name);
	if (remote_refusal(answer, &err) == 0)
		err.code = ERR_IO;
	if (a->number[OPT_JSON] != 0) {
		(void)json_dumpf(answer->body, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	}
	(void)fflush(stdout);
	(void)fprintf(stderr, "godwit %s: %s\n", name,
	              look_text(answer->body, "message"));
	(void)fprintf(stderr, "code:  %s (HTTP %d)%s%s, request %s\n",
	              look_text(answer->body, "error"), answer->status,
	              param[0] != '\0' ? ", field " : "", param,
	              look_text(answer->body, "request_id"));
	if (err.code == ERR_UNAUTHORIZED && r->token == NULL &&
	    a->command != CMD_LOGIN)
		(void)fprintf(stderr, "next:  godwit login --server %s\n",
		              r->server);
	else
		print_next(a, err.code);
	return err_exit(err.code);
}

/* ---- one call --------------------------------------------------------------------- */

static void
wait_ms(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000,
		              .tv_nsec = ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

/* With a key a lost answer can be asked for again without doing it twice. */
static int
call_once(struct remote *r, const struct args *a, const struct body *b,
          struct web_answer *ret, struct err *err)
{
	const struct router_row *row = &router_rows[actions[a->action].route];
	bool may_repeat = !router_is_mutation(row) || router_has(row, 'I');
	struct web_request q = { .method = row->method,
		                 .path = b->path,
		                 .body = b->body,
		                 .match = b->match };
	char key[40];
	int rc;

	if (router_has(row, 'I')) {
		web_key(key);
		q.key = key;
	}
	rc = remote_call(r, &q, ret, err);
	if (rc == -ERR_LOST && may_repeat) {
		wait_ms(RETRY_MS / 4);
		rc = remote_call(r, &q, ret, err);
	}
	return rc;
}

/* --wait: postponed is no answer while there is time. */
static int
call(struct remote *r, const struct args *a, const struct body *b,
     struct web_answer *ret, struct err *err)
{
	int64_t until = clock_now_ms() + (int64_t)a->number[OPT_TIMEOUT];
	bool is_patient =
		action_takes(a->action, OPT_WAIT) && a->number[OPT_WAIT] != 0;

	for (;;) {
		int rc = call_once(r, a, b, ret, err);
		int64_t pause = RETRY_MS;

		if (rc != 0 || ret->status != 503 || !is_patient)
			return rc;
		if (ret->retry_s > 0)
			pause = (int64_t)ret->retry_s * 1000;
		if (clock_now_ms() + pause >= until)
			return 0;
		web_answer_fini(ret);
		wait_ms(pause);
	}
}

static int
finish(const struct args *a, const struct remote *r,
       const struct web_answer *answer)
{
	int status;

	if (answer->status < 400) {
		json_t *data = json_object_get(answer->body, "data");

		if (answer->tag[0] != '\0')
			(void)json_object_set_new(data, "etag",
			                          json_string(answer->tag));
		return answer_print(a, data);
	}
	status = ask_refused(a, r, answer);
	if (answer->status == 503 && action_takes(a->action, OPT_WAIT) &&
	    a->number[OPT_WAIT] != 0)
		return STATUS_TIMED_OUT;
	return status;
}

/* ---- a list: its pages -------------------------------------------------------------- */

static void
page_path(const struct body *b, size_t left, const char *after,
          struct body *ret)
{
	char limit[24];

	*ret = *b;
	(void)snprintf(limit, sizeof(limit), "%zu", left < PAGE ? left : PAGE);
	body_query(ret, "limit", limit);
	if (after[0] != '\0')
		body_query(ret, "after", after);
}

static int
list(struct remote *r, const struct args *a, const struct body *b)
{
	size_t max = a->action == ACTION_AUDIT_LIST ? AUDIT_MAX : SIZE_MAX;
	json_t *all = json_array();
	char after[128] = "";
	struct web_answer answer;
	int status = -1;
	struct err err;

	if (a->is_given[OPT_MAX])
		max = (size_t)a->number[OPT_MAX];
	while (status < 0) {
		struct body page;

		page_path(b, max - json_array_size(all), after, &page);
		if (call_once(r, a, &page, &answer, &err) != 0) {
			status = ask_fail(a, r, &err);
			break;
		}
		if (answer.status >= 400) {
			status = ask_refused(a, r, &answer);
		} else {
			(void)json_array_extend(
				all, json_object_get(answer.body, "data"));
			(void)snprintf(after, sizeof(after), "%s",
			               look_text(answer.body, "next"));
			if (after[0] == '\0' || json_array_size(all) >= max ||
			    json_array_size(
				    json_object_get(answer.body, "data")) == 0)
				status = answer_print(a, all);
		}
		web_answer_fini(&answer);
	}
	json_decref(all);
	return status;
}

int
ask_run(const struct args *a)
{
	const struct router_row *row = &router_rows[actions[a->action].route];
	struct web_answer answer;
	struct remote r;
	struct body b;
	struct err err;
	int status;

	if (remote_open(&r, a, &err) != 0)
		return ask_fail(a, NULL, &err);
	if (body_make(&b, a, &r, &err) != 0) {
		status = ask_fail(a, &r, &err);
	} else if (router_has(row, 'P')) {
		status = list(&r, a, &b);
		body_fini(&b);
	} else {
		if (call(&r, a, &b, &answer, &err) != 0) {
			status = ask_fail(a, &r, &err);
		} else {
			status = finish(a, &r, &answer);
			web_answer_fini(&answer);
		}
		body_fini(&b);
	}
	remote_close(&r);
	return status;
}
