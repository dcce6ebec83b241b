/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/console.c: pools, clients and servers of the running migration, page by page.
 */
#include <stdio.h>
#include <string.h>

#include "bin/api/answer.h"
#include "bin/look.h"
#include "bin/state.h"
#include "bin/status.h"
#include "bin/talk.h"
#include "bin/verbs.h"

/* Of one question; the migration's process makes no more of them at a time. */
#define PAGE 500

static const char *
shape_of(enum command_id c)
{
	return c == CMD_POOLS     ? "interlay_pool"
	       : c == CMD_CLIENTS ? "interlay_client"
	                          : "interlay_server";
}

static enum err_code
code_of(const char *name)
{
	for (enum err_code c = ERR_NONE + 1; c < ERR_N; c++) {
		if (strcmp(err_name(c), name) == 0)
			return c;
	}
	return ERR_STATE;
}

/* One page into all; *ret_after: where the next one begins, or NULL. */
static int
ask(struct talk *t, const struct args *a, size_t limit, json_t *all,
    json_t **after, struct err *err)
{
	json_t *args = json_pack("{s:I,s:O?}", "limit", (json_int_t)limit,
	                         "after", *after);
	json_t *answer = NULL;
	const json_t *data;
	int rc = talk_ask(t, commands[a->command].name, args, NULL, NULL,
	                  &answer, err);

	json_decref(args);
	json_decref(*after);
	*after = NULL;
	if (rc != 0)
		return rc;
	data = json_object_get(answer, "data");
	if (look_bool(answer, "ok")) {
		(void)json_array_extend(all, json_object_get(data, "rows"));
		if (json_is_string(json_object_get(data, "next")))
			*after = json_incref(json_object_get(data, "next"));
	} else {
		rc = err_set(err, code_of(look_text(answer, "error")), "%s",
		             look_text(answer, "message"));
	}
	json_decref(answer);
	return rc;
}

int
console_run(const struct args *a)
{
	size_t max =
		a->is_given[OPT_MAX] ? (size_t)a->number[OPT_MAX] : SIZE_MAX;
	json_t *after =
		a->is_given[OPT_AFTER] ? json_string(a->text[OPT_AFTER]) : NULL;
	json_t *all = json_array();
	char state[STATE_PATH_MAX];
	struct talk t = { .fd = -1 };
	struct err err;
	int rc = state_find(a->text[OPT_STATE], state, sizeof(state), &err);

	if (rc == 0)
		rc = talk_open(&t, &(struct talk_to){ .state = state }, &err);
	do {
		size_t left = max - json_array_size(all);

		if (rc == 0)
			rc = ask(&t, a, left < PAGE ? left : PAGE, all, &after,
			         &err);
	} while (rc == 0 && after != NULL && json_array_size(all) < max);
	talk_close(&t);
	json_decref(after);
	if (rc == 0)
		answer_list(a, shape_of(a->command), all);
	json_decref(all);
	return rc == 0 ? STATUS_DONE : verb_fail(a, &err);
}
