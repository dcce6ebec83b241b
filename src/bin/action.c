/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/action.c: the words behind endpoints, migrations, ...
 */
#include "bin/action.h"

#include <stdio.h>

// clang-format off
const struct action actions[ACTION_N] = {
#define O(id) OPTION_BIT(OPT_##id, 0)
#define X(id_, command_, word_, route_, options_, summary_) \
	[ACTION_##id_].command = CMD_##command_, [ACTION_##id_].word = (word_), \
	[ACTION_##id_].route = ROUTE_##route_, \
	[ACTION_##id_].summary = (summary_), \
	[ACTION_##id_].options.word[0] = (options_),
#include "action.tbl"
#undef X
#undef O
#define O(id) OPTION_BIT(OPT_##id, 1)
#define X(id_, command_, word_, route_, options_, summary_) \
	[ACTION_##id_].options.word[1] = (options_),
#include "action.tbl"
#undef X
#undef O
};
// clang-format on

static const struct router_row *
row_of(enum action_id id)
{
	return &router_rows[actions[id].route];
}

/* ---- finding --------------------------------------------------------------- */

bool
action_has(enum command_id command)
{
	for (enum action_id i = 0; i < ACTION_N; i++)
		if (actions[i].command == command)
			return true;
	return false;
}

enum action_id
action_find(enum command_id command, const char *word)
{
	for (enum action_id i = 0; i < ACTION_N; i++)
		if (actions[i].command == command &&
		    strcmp(actions[i].word, word) == 0)
			return i;
	return ACTION_N;
}

enum action_id
action_next(enum action_id id)
{
	for (enum action_id i = id + 1; i < ACTION_N; i++)
		if (actions[i].command == actions[id].command &&
		    strcmp(actions[i].word, actions[id].word) == 0)
			return i;
	return ACTION_N;
}

const char *
action_summary(enum action_id id)
{
	return actions[id].summary[0] != '\0' ? actions[id].summary
	                                      : row_of(id)->summary;
}

/* ---- operands --------------------------------------------------------------- */

static struct action_part *
put_part(struct action_pattern *p, const char *name, size_t n)
{
	struct action_part *part = &p->part[p->n];

	if (p->n == ACTION_PARTS)
		return NULL;
	p->n++;
	*part = (struct action_part){ .is_word = false };
	(void)snprintf(part->name, sizeof(part->name), "%.*s", (int)n, name);
	return part;
}

/* "interlay" in front of "{interlay}" is a word of the command line. */
static bool
is_word(const char *segment, size_t n)
{
	const char *next = segment + n;

	return next[0] == '/' && next[1] == '{' &&
	       strncmp(next + 2, segment, n) == 0 && next[2 + n] == '}';
}

static void
put_path(const char *path, struct action_pattern *p)
{
	for (const char *s = path; *s != '\0';) {
		size_t n = strcspn(s, "/");
		struct action_part *part;

		if (n > 2 && s[0] == '{') {
			(void)put_part(p, s + 1, n - 2);
		} else if (n > 0 && is_word(s, n)) {
			part = put_part(p, s, n);
			if (part != NULL)
				part->is_word = true;
		}
		s += n + (s[n] == '/');
	}
}

/* "endpoint" of "endpoint_create". */
static size_t
noun_len(const struct router_row *r)
{
	return strcspn(r->name, "_");
}

void
action_pattern(enum action_id id, struct action_pattern *ret)
{
	const struct router_row *r = row_of(id);
	struct action_part *part = NULL;

	*ret = (struct action_pattern){ .n = 0 };
	put_path(r->path, ret);
	if (r->status == 201) {
		part = put_part(ret, r->name, noun_len(r));
		if (part != NULL)
			part->is_new = true;
	} else if (router_has(r, 'S')) {
		part = put_part(ret, "migration", 9);
	}
	if (part != NULL)
		part->is_optional = true;
	ret->has_values = strcmp(r->body, "any_object") == 0;
}

static void
upper(const char *name, char *ret, size_t n)
{
	size_t i = 0;

	for (; name[i] != '\0' && i + 1 < n; i++) {
		ret[i] = name[i];
		if (ret[i] >= 'a' && ret[i] <= 'z')
			ret[i] = (char)(ret[i] - 32);
	}
	ret[i] = '\0';
}

void
action_usage(enum action_id id, char *ret, size_t n)
{
	struct action_pattern p;
	size_t at = 0;

	ret[0] = '\0';
	action_pattern(id, &p);
	for (uint32_t i = 0; i < p.n && at < n; i++) {
		const struct action_part *part = &p.part[i];
		char name[ACTION_NAME];

		if (part->is_word)
			(void)snprintf(name, sizeof(name), "%s", part->name);
		else
			upper(part->name, name, sizeof(name));
		at += (size_t)snprintf(ret + at, n - at, "%s%s%s%s%s",
		                       i > 0 ? " " : "",
		                       part->is_optional ? "[" : "",
		                       part->is_new && i > 0 ? "NEW_" : "",
		                       name, part->is_optional ? "]" : "");
	}
	if (p.has_values && at < n)
		(void)snprintf(ret + at, n - at, " [NAME=VALUE ...]");
}

static bool
fits(enum action_id id, uint32_t n, char *const operand[])
{
	struct action_pattern p;
	uint32_t least = 0;

	action_pattern(id, &p);
	for (uint32_t i = 0; i < p.n; i++) {
		least += !p.part[i].is_optional;
		if (i < n && p.part[i].is_word &&
		    strcmp(p.part[i].name, operand[i]) != 0)
			return false;
		/* An empty name would be another path: the list's. */
		if (i < n && operand[i][0] == '\0')
			return false;
	}
	return n >= least && (n <= p.n || p.has_values);
}

int
action_choose(enum action_id first, uint32_t operand_n, char *const operand[],
              enum action_id *ret, struct err *err)
{
	const struct action *a = &actions[first];
	char usage[96];
	char all[160] = "";
	size_t at = 0;

	for (*ret = first; *ret < ACTION_N; *ret = action_next(*ret)) {
		if (fits(*ret, operand_n, operand))
			return 0;
		action_usage(*ret, usage, sizeof(usage));
		at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s",
		                       at > 0 ? " | " : "", usage);
		if (at >= sizeof(all))
			at = sizeof(all) - 1;
	}
	*ret = first;
	return err_set(err, ERR_USAGE, "%s; usage: godwit %s%s%s%s%s",
	               operand_n == 0   ? "a name is missing"
	               : all[0] == '\0' ? "it takes no words, only options"
	                                : "the words do not fit",
	               commands[a->command].name, a->word[0] != '\0' ? " " : "",
	               a->word, all[0] != '\0' ? " " : " [OPTIONS]", all);
}

/* ---- options ----------------------------------------------------------------- */

bool
action_has_body(enum action_id id)
{
	const char *body = row_of(id)->body;

	return strcmp(body, "NONE") != 0 && strcmp(body, "empty") != 0;
}

enum option_id
action_option(const char *field)
{
	char name[64];
	size_t n = 0;

	if (strcmp(field, "password") == 0)
		return OPT_PASSWORD_FILE;
	for (; field[n] != '\0' && n + 1 < sizeof(name); n++) {
		name[n] = field[n];
		if (name[n] == '_')
			name[n] = '-';
	}
	name[n] = '\0';
	if (n > 2 && strcmp(name + n - 2, "-s") == 0)
		name[n - 2] = '\0';
	for (enum option_id i = 0; i < OPT_N; i++)
		if (strcmp(options[i].name, name) == 0)
			return i;
	return OPT_N;
}

bool
action_takes_field(enum action_id id, const struct shape_field *f)
{
	const struct router_row *r = row_of(id);
	size_t noun = noun_len(r);
	bool is_own =
		strlen(f->name) == noun && strncmp(f->name, r->name, noun) == 0;

	switch (f->kind) {
	case SHAPE_TEXT:
	case SHAPE_ID:
	case SHAPE_INTEGER:
	case SHAPE_NUMBER:
	case SHAPE_BOOLEAN:
	case SHAPE_CHOICE:
		return !is_own && strcmp(f->name, "id") != 0 &&
		       action_option(f->name) != OPT_N;
	case SHAPE_UUID:
	case SHAPE_TIME:
	case SHAPE_OBJECT:
	case SHAPE_ANY:
	case SHAPE_REF:
	case SHAPE_LIST:
	case SHAPE_MAP:
	case SHAPE_ONE:
	case SHAPE_SPEC: break;
	}
	return false;
}

static bool
body_takes(enum action_id id, enum option_id option)
{
	size_t n = 0;
	const struct shape_field *f = shape_find(row_of(id)->body, &n);

	for (size_t i = 0; f != NULL && i < n; i++)
		if (action_takes_field(id, &f[i]) &&
		    action_option(f[i].name) == option)
			return true;
	return false;
}

bool
action_takes(enum action_id id, enum option_id option)
{
	const struct router_row *r = row_of(id);

	if (option_set_has(&commands[actions[id].command].options, option) ||
	    option_set_has(&actions[id].options, option))
		return true;
	switch ((int)option) {
	case OPT_DRY_RUN: return router_has(r, 'D');
	case OPT_MAX:
	case OPT_AFTER: return router_has(r, 'P');
	case OPT_REASON: return router_is_mutation(r);
	case OPT_FILE: return action_has_body(id);
	case OPT_IF_MATCH: return router_has(r, 'E') && router_is_mutation(r);
	default: return action_has_body(id) && body_takes(id, option);
	}
}

bool
action_word_takes(enum action_id id, enum option_id option)
{
	for (enum action_id i = id; i < ACTION_N; i = action_next(i))
		if (action_takes(i, option))
			return true;
	return false;
}
