/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/complete.c: what may come next on a command line of the API.
 */
#include "bin/api/complete.h"

#include <stdio.h>
#include <stdlib.h>

#include "bin/action.h"
#include "bin/api/body.h"
#include "bin/api/remote.h"
#include "bin/look.h"
#include "bin/status.h"

#define NAMES_MAX 1000

struct point {
	const char *word; /* being written                                  */
	struct args args; /* what came before, as far as it makes sense      */
};

static void
offer(const struct point *p, const char *text, const char *about)
{
	if (strncmp(text, p->word, strlen(p->word)) == 0)
		(void)printf("%s\t%.*s\n", text, (int)strcspn(about, ".\n"),
		             about);
}

/* "a|b|c", or "PERCENT|a". */
static void
offer_words(const struct point *p, const char *all)
{
	char word[64];

	for (const char *at = all; *at != '\0';) {
		size_t n = strcspn(at, "|");

		(void)snprintf(word, sizeof(word), "%.*s", (int)n, at);
		if (word[0] < 'A' || word[0] > 'Z')
			offer(p, word, "");
		at += n + (at[n] == '|');
	}
}

/* ---- names that the server knows -------------------------------------------------- */

static enum router_id
list_of(const char *noun)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s_list", noun);
	for (enum router_id i = 0; i < ROUTE_N; i++)
		if (strcmp(router_rows[i].name, name) == 0)
			return i;
	return ROUTE_N;
}

static void
offer_names(const struct point *p, const char *noun)
{
	enum router_id list = list_of(noun);
	char path[256];
	struct web_request q = { .method = "GET", .path = path };
	struct web_answer a = { .status = 0 };
	const json_t *rows;
	struct remote r;
	struct err err;

	if (list == ROUTE_N || remote_open(&r, &p->args, &err) != 0)
		return;
	r.is_quick = true;
	(void)snprintf(path, sizeof(path), "%s%s", router_rows[list].path,
	               router_has(&router_rows[list], 'P') ? "?limit=1000"
	                                                   : "");
	rows = remote_call(&r, &q, &a, &err) == 0 && a.status == 200
	               ? json_object_get(a.body, "data")
	               : NULL;
	for (size_t i = 0; i < json_array_size(rows) && i < NAMES_MAX; i++) {
		const json_t *row = json_array_get(rows, i);
		const char *name = look_text(row, "id");
		const char *about = look_text(row, "description");

		if (name[0] == '\0')
			name = look_text(row, "username");
		if (about[0] == '\0')
			about = look_text(row, "status");
		offer(p, name, about);
	}
	web_answer_fini(&a);
	remote_close(&r);
}

/* Features, flags and regions are names, instances a list; of the inner strategy
 * of a window as well. */
static void
offer_units(const struct point *p, const json_t *strategy)
{
	static const char *const kinds[] = { "features", "flags", "regions" };
	const json_t *list = look_at(strategy, "instances");
	const char *name;
	json_t *value;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		json_object_foreach(json_object_get(strategy, kinds[i]), name,
		                    value)
		{
			offer(p, name, "");
		}
	for (size_t i = 0; i < json_array_size(list); i++)
		offer(p, json_string_value(json_array_get(list, i)), "");
}

/* What the strategy of the migration on the line has to move. */
static void
offer_steps(const struct point *p)
{
	const char *const place[] = { p->args.operand[0] };
	char path[BODY_PATH];
	struct web_request q = { .method = "GET", .path = path };
	struct web_answer a = { .status = 0 };
	const json_t *strategy;
	struct remote r;
	struct err err;

	if (p->args.operand_n == 0 || remote_open(&r, &p->args, &err) != 0)
		return;
	r.is_quick = true;
	body_path(ROUTE_migration_get, place, 1, path);
	if (remote_call(&r, &q, &a, &err) == 0 && a.status == 200) {
		strategy = look_at(a.body, "data.strategy");
		offer_units(p, strategy);
		offer_units(p, json_object_get(strategy, "strategy"));
	}
	web_answer_fini(&a);
	remote_close(&r);
}

/* ---- places ------------------------------------------------------------------------- */

static void
offer_option_values(const struct point *p, enum option_id id)
{
	const struct option *o = &options[id];

	if (o->kind == OPTION_CHOICE || o->kind == OPTION_PLACE)
		offer_words(p, o->value);
	if (o->kind == OPTION_PLACE)
		offer_steps(p);
	else if (id == OPT_ENDPOINT)
		offer_names(p, "endpoint");
}

static void
offer_options(const struct point *p)
{
	for (enum option_id i = 0; i < OPT_N; i++) {
		char name[64];

		if (!action_word_takes(p->args.action, i))
			continue;
		(void)snprintf(name, sizeof(name), "--%s", options[i].name);
		offer(p, name, options[i].help);
	}
	offer(p, "--help", "Explain it with examples");
}

/* Does what was written so far fit the pattern? */
static bool
fits(const struct point *p, const struct action_pattern *pattern)
{
	for (uint32_t i = 0; i < p->args.operand_n && i < pattern->n; i++)
		if (pattern->part[i].is_word &&
		    strcmp(pattern->part[i].name, p->args.operand[i]) != 0)
			return false;
	return true;
}

static void
offer_operand(const struct point *p)
{
	uint32_t at = p->args.operand_n;
	bool has_asked = false;

	for (enum action_id i = p->args.action; i < ACTION_N;
	     i = action_next(i)) {
		struct action_pattern pattern;
		const struct action_part *part = &pattern.part[at];

		action_pattern(i, &pattern);
		if (at >= pattern.n || !fits(p, &pattern) || part->is_new)
			continue;
		if (part->is_word) {
			offer(p, part->name, "");
		} else if (strcmp(part->name, "kind") == 0) {
			offer_words(p, "organizations|endpoints|interlays|"
			               "templates|apis|migrations");
		} else if (!has_asked) {
			offer_names(p, part->name);
			has_asked = true;
		}
	}
}

static void
offer_actions(const struct point *p)
{
	for (enum action_id i = 0; i < ACTION_N; i++)
		if (actions[i].command == p->args.command &&
		    action_find(p->args.command, actions[i].word) == i)
			offer(p, actions[i].word, action_summary(i));
	offer(p, "--help", "Explain it with examples");
}

/* The words before the last: options with their values, operands. Answers the
 * option whose value is being written, or OPT_N. */
static enum option_id
read_words(struct point *p, int n, char *const words[])
{
	enum option_id open = OPT_N;

	for (int i = 0; i < n; i++) {
		const char *word = words[i];

		if (open != OPT_N) {
			p->args.text[open] = word;
			p->args.is_given[open] = true;
			open = OPT_N;
			continue;
		}
		if (strcmp(word, "-f") == 0)
			word = "--file";
		if (strncmp(word, "--", 2) != 0) {
			if (p->args.operand_n < ARGS_OPERANDS_MAX)
				p->args.operand[p->args.operand_n++] = words[i];
			continue;
		}
		for (enum option_id k = 0; k < OPT_N; k++)
			if (strcmp(options[k].name, word + 2) == 0 &&
			    options[k].kind != OPTION_FLAG)
				open = k;
	}
	return open;
}

static void
from_environment(struct args *a, enum option_id id)
{
	char name[64];

	args_env_name(options[id].name, name, sizeof(name));
	a->text[id] = getenv(name);
	a->is_given[id] = a->text[id] != NULL && a->text[id][0] != '\0';
}

int
complete_run(int n, char *const words[])
{
	struct point p = { .word = n > 0 ? words[n - 1] : "" };
	static const enum option_id where[] = { OPT_SERVER, OPT_TOKEN_FILE,
		                                OPT_CA_FILE, OPT_ORG };
	enum option_id open;

	if (n < 2)
		return STATUS_DONE;
	p.args = (struct args){ .command = args_command(words[0]),
		                .action = ACTION_N };
	if (p.args.command == CMD_N || !action_has(p.args.command))
		return STATUS_DONE;
	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++)
		from_environment(&p.args, where[i]);
	p.args.action = action_find(p.args.command, "");
	if (p.args.action == ACTION_N && n == 2) {
		offer_actions(&p);
		return STATUS_DONE;
	}
	if (p.args.action == ACTION_N) {
		p.args.action = action_find(p.args.command, words[1]);
		words++;
		n--;
	}
	if (p.args.action == ACTION_N)
		return STATUS_DONE;
	open = read_words(&p, n - 2, words + 1);
	if (open != OPT_N)
		offer_option_values(&p, open);
	else if (p.word[0] == '-')
		offer_options(&p);
	else
		offer_operand(&p);
	return STATUS_DONE;
}
