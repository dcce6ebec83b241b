/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/check.c: godwit migrate --check: would it begin, and what would it do?
 */
#define _DEFAULT_SOURCE
#include "bin/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bin/look.h"
#include "bin/verbs.h"

static void
print_json(const json_t *checks, const struct err *err)
{
	json_t *j = json_pack("{s:O, s:b}", "checks", checks, "passed",
	                      err == NULL);

	if (err != NULL)
		(void)json_object_set_new(j, "reason", json_string(err->text));
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
	json_decref(j);
}

/* Failures last: what is to be done stands where the eye is. */
static void
print_lines(const json_t *checks)
{
	static const char *const order[] = { "pass", "warn", "fail" };

	for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
		for (size_t i = 0; i < json_array_size(checks); i++) {
			const json_t *c = json_array_get(checks, i);

			const char *of = look_text(c, "resource");

			if (strcmp(look_text(c, "result"), order[k]) != 0)
				continue;
			(void)printf("%s  %-12s %s%s%s\n", order[k],
			             look_text(c, "name"), of,
			             of[0] != '\0' ? ": " : "",
			             look_text(c, "detail"));
		}
	}
}

int
check_print(const struct args *a, const json_t *checks, const struct err *err)
{
	if (checks == NULL)
		return verb_fail(a, err);
	if (a->number[OPT_JSON] != 0)
		print_json(checks, err);
	else
		print_lines(checks);
	if (a->number[OPT_JSON] == 0)
		(void)printf(err == NULL
		                     ? "It can begin; nothing was changed.\n"
		                     : "It cannot begin; nothing was "
		                       "changed.\n");
	return err == NULL ? 0 : err_exit(err->code);
}

int
check_both(const struct args *a, const struct run_conf *c)
{
	struct err err = { .code = ERR_NONE };
	json_t *checks;
	int rc = run_check(c, &checks, &err);
	char lock[sizeof(c->state) + 8];

	/* A state file of its own is nobody else's. */
	(void)snprintf(lock, sizeof(lock), "%s.lock", c->state);
	if (a->text[OPT_STATE][0] == '\0')
		(void)unlink(lock);
	rc = check_print(a, checks, rc != 0 ? &err : NULL);
	json_decref(checks);
	return rc;
}
