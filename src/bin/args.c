/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/args.c: the command line, read by two tables.
 */
#include "bin/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "bin/action.h"
#include "bin/nearest.h"

// clang-format off
const struct option options[OPT_N] = {
#define X(id, name, kind, value, standard, low, high, help) \
	[OPT_##id] = { name, OPTION_##kind, value, standard, low, high, help },
#include "option.tbl"
#undef X
};
// clang-format on

// clang-format off
const struct command commands[CMD_N] = {
#define O(id) OPTION_BIT(OPT_##id, 0)
#define X(id_, name_, operands_, options_, summary_) \
	[CMD_##id_].name = (name_), [CMD_##id_].operands = (operands_), \
	[CMD_##id_].summary = (summary_), \
	[CMD_##id_].options.word[0] = (options_),
#include "command.tbl"
#undef X
#undef O
#define O(id) OPTION_BIT(OPT_##id, 1)
#define X(id_, name_, operands_, options_, summary_) \
	[CMD_##id_].options.word[1] = (options_),
#include "command.tbl"
#undef X
#undef O
};
// clang-format on
_Static_assert(OPTION_WORDS == 2, "each word has its reading of the table");

enum command_id
args_command(const char *name)
{
	for (enum command_id i = 0; i < CMD_N; i++)
		if (strcmp(commands[i].name, name) == 0)
			return i;
	return CMD_N;
}

void
args_name(const struct args *a, char ret[ARGS_NAME])
{
	const char *word = a->action != ACTION_N ? actions[a->action].word : "";

	(void)snprintf(ret, ARGS_NAME, "%s%s%s", commands[a->command].name,
	               word[0] != '\0' ? " " : "", word);
}

static bool
takes(const struct args *a, enum option_id id)
{
	if (a->action != ACTION_N)
		return action_word_takes(a->action, id);
	return option_set_has(&commands[a->command].options, id);
}

void
args_env_name(const char *option, char *ret, size_t n)
{
	(void)snprintf(ret, n, "GODWIT_%s", option);
	for (char *p = ret; *p != '\0'; p++) {
		if (*p == '-')
			*p = '_';
		else if (*p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	}
}

bool
args_time(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "ms", 1 },    { "s", 1000 },    { "", 1000 },
		      { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
	char *end = NULL;
	double v;

	if (!isdigit((unsigned char)text[0]))
		return false;
	v = strtod(text, &end);
	if (v > 1e9)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0) {
			*ret_ms = (uint64_t)(v * (double)units[i].ms + 0.5);
			return true;
		}
	return false;
}

/* A share in percent, "25", "0.5", "25%", as parts per million. */
static bool
percent(const char *text, size_t n, uint32_t *ret_ppm)
{
	char word[16];
	char *end = NULL;
	double v;

	if (n == 0 || n >= sizeof(word) || !isdigit((unsigned char)text[0]))
		return false;
	memcpy(word, text, n);
	word[n] = '\0';
	v = strtod(word, &end);
	if (*end == '%')
		end++;
	*ret_ppm = (uint32_t)(v * 10000.0 + 0.5);
	return *end == '\0' && v <= 100.0;
}

uint32_t
args_steps(const char *text, uint32_t *ret_ppm, uint32_t max, struct err *err)
{
	uint32_t n = 0;

	for (const char *p = text;; p++) {
		size_t len = strcspn(p, ",");

		if (n == max) {
			(void)err_set(err, ERR_USAGE,
			              "--steps: more than %u steps", max);
			return 0;
		}
		if (!percent(p, len, &ret_ppm[n]) || ret_ppm[n] == 0) {
			(void)err_set(err, ERR_USAGE,
			              "--steps: \"%.*s\" is no share between 0 "
			              "and 100 percent; write --steps 5,25,75",
			              (int)(len > 30 ? 30 : len), p);
			return 0;
		}
		if (n > 0 && ret_ppm[n] <= ret_ppm[n - 1]) {
			(void)err_set(err, ERR_USAGE,
			              "--steps: each share must be above the "
			              "one before it, and %.*s is not",
			              (int)(len > 30 ? 30 : len), p);
			return 0;
		}
		n++;
		p += len;
		if (*p == '\0')
			return n;
	}
}

/* The index of word in "a|b|c", or -1. */
static int
choice(const char *all, const char *word)
{
	size_t n = strlen(word);
	int i = 0;

	for (const char *p = all;; p++, i++) {
		size_t len = strcspn(p, "|");

		if (len == n && n > 0 && memcmp(p, word, n) == 0)
			return i;
		p += len;
		if (*p == '\0')
			return -1;
	}
}

static int
check_time(const struct option *o, const char *shown, const char *text,
           uint64_t *ret, struct err *err)
{
	if (!args_time(text, ret))
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\" is no time; write 500ms, 30s, 5m "
		               "or 1h",
		               shown, text);
	if (*ret < o->low || *ret > o->high)
		return err_set(err, ERR_USAGE,
		               "%s: %s is not between %llu ms and %llu ms",
		               shown, text, (unsigned long long)o->low,
		               (unsigned long long)o->high);
	return 0;
}

static int
check_number(const struct option *o, const char *shown, const char *text,
             uint64_t *ret, struct err *err)
{
	char *end = NULL;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0)
		return err_set(err, ERR_USAGE, "%s: \"%s\" is no number", shown,
		               text);
	if (*ret < o->low || *ret > o->high)
		return err_set(err, ERR_USAGE,
		               "%s: %s is not between %llu and %llu", shown,
		               text, (unsigned long long)o->low,
		               (unsigned long long)o->high);
	return 0;
}

static int
check_choice(const struct option *o, const char *shown, const char *text,
             uint64_t *ret, struct err *err)
{
	int i = choice(o->value, text);
	char near[64];

	if (i >= 0) {
		*ret = (uint64_t)i;
		return 0;
	}
	if (nearest_of(o->value, text, near, sizeof(near)))
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\" is not one of %s; did you mean %s?",
		               shown, text, o->value, near);
	return err_set(err, ERR_USAGE, "%s: \"%s\" is not one of %s", shown,
	               text, o->value);
}

/* A share, "cutover", or the name of a feature, flag, region or instance: which
 * there are is known to the migration alone. */
static int
check_place(const char *shown, const char *text, struct err *err)
{
	uint32_t ppm;

	if (percent(text, strlen(text), &ppm))
		return 0;
	if (text[0] == '\0' || text[strspn(text, "0123456789.%")] == '\0')
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\" is no share from 0 to 100 percent; "
		               "write 25, cutover, or the name of a feature, "
		               "flag, region or instance",
		               shown, text);
	if (nearest_distance("cutover", text) == 1)
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\": did you mean cutover?", shown,
		               text);
	return 0;
}

/* Of n bytes. */
static int
check_port(const char *shown, const char *text, size_t n, struct err *err)
{
	const char *colon = NULL;
	int len = (int)(n > 200 ? 200 : n);
	char *end = NULL;
	unsigned long port;

	for (size_t i = 0; i < n; i++)
		colon = text[i] == ':' ? text + i : colon;
	if (colon == NULL)
		return err_set(err, ERR_USAGE,
		               "%s: \"%.*s\" has no port; write 127.0.0.1:6400 "
		               "or :6400",
		               shown, len, text);
	port = strtoul(colon + 1, &end, 10);
	if (!isdigit((unsigned char)colon[1]) || end != text + n ||
	    port > 65535)
		return err_set(err, ERR_USAGE,
		               "%s: \"%.*s\" is no port from 0 to 65535", shown,
		               (int)(text + len - colon - 1), colon + 1);
	return 0;
}

/* host:port, :port, [v6]:port, /path, or NAME=host:port of several: only the shape;
 * binding tells the rest. */
static int
check_address(const char *shown, const char *text, struct err *err)
{
	bool is_list = strchr(text, '=') != NULL;
	int rc;

	if (text[0] == '/')
		return 0;
	for (;;) {
		size_t n = is_list ? strcspn(text, ",") : strlen(text);

		rc = check_port(shown, text, n, err);
		if (rc != 0 || text[n] == '\0')
			return rc;
		text += n + 1;
	}
}

/* "0.25" may be a quarter of a percent or a quarter: say which. */
static int
check_percent(const char *shown, const char *text, uint64_t *ret,
              struct err *err)
{
	uint32_t ppm = 0;

	if (!percent(text, strlen(text), &ppm))
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\" is no share from 0 to 100 percent; "
		               "write 25 or 0.5%%",
		               shown, text);
	if (ppm > 0 && ppm < 10000 && strchr(text, '%') == NULL)
		return err_set(err, ERR_USAGE,
		               "%s: shares are in percent here; write %s%% if "
		               "you mean %s of a hundred, else %g",
		               shown, text, text, (double)ppm / 100.0);
	*ret = ppm;
	return 0;
}

/* shown: "--steps" or "GODWIT_STEPS", as the user gave it. */
static int
set_option(struct args *a, enum option_id id, const char *shown,
           const char *text, struct err *err)
{
	const struct option *o = &options[id];
	uint32_t ppm[16];

	a->text[id] = text;
	switch (o->kind) {
	case OPTION_FLAG:
		if (strcmp(text, "1") != 0 && strcmp(text, "0") != 0 &&
		    strcmp(text, "true") != 0 && strcmp(text, "false") != 0 &&
		    text[0] != '\0')
			return err_set(err, ERR_USAGE,
			               "%s: \"%s\" is neither 1 nor 0", shown,
			               text);
		a->number[id] = text[0] == '1' || text[0] == 't';
		return 0;
	case OPTION_CHOICE:
		return check_choice(o, shown, text, &a->number[id], err);
	case OPTION_PLACE: return check_place(shown, text, err);
	case OPTION_NUMBER:
		return check_number(o, shown, text, &a->number[id], err);
	case OPTION_TIME:
		return check_time(o, shown, text, &a->number[id], err);
	case OPTION_ADDRESS: return check_address(shown, text, err);
	case OPTION_STEPS:
		return args_steps(text, ppm, 16, err) == 0 ? -ERR_USAGE : 0;
	case OPTION_PERCENT:
		return check_percent(shown, text, &a->number[id], err);
	case OPTION_TEXT:
	case OPTION_FILE:
		if (text[0] == '\0')
			return err_set(err, ERR_USAGE, "%s: is empty", shown);
		return 0;
	}
	NEVER("an option without a kind");
}

static int
unknown_option(const struct args *a, const char *word, struct err *err)
{
	const char *near = NULL;
	size_t best = SIZE_MAX;
	char name[ARGS_NAME];

	args_name(a, name);
	for (enum option_id i = 0; i < OPT_N; i++) {
		size_t d = nearest_distance(options[i].name, word);

		if (takes(a, i) && d < best) {
			best = d;
			near = options[i].name;
		}
	}
	if (near != NULL && nearest_is_close(word, best))
		return err_set(err, ERR_USAGE,
		               "%s: no option --%s; did you mean --%s?", name,
		               word, near);
	return err_set(err, ERR_USAGE,
	               "%s: no option --%s; see: godwit %s --help", name, word,
	               name);
}

/* argv[*i] begins with "--"; moves *i to the last word used. */
static int
parse_option(int argc, char *const argv[], int *i, struct args *a,
             struct err *err)
{
	/* -f is short for --file. */
	bool is_short = argv[*i][1] != '-';
	const char *word = is_short ? "file" : argv[*i] + 2;
	const char *equals = strchr(word, '=');
	size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
	enum option_id id = 0;
	char name[64];

	(void)snprintf(name, sizeof(name), "%.*s", (int)(n > 60 ? 60 : n),
	               word);
	while (id < OPT_N &&
	       (strcmp(options[id].name, name) != 0 || !takes(a, id)))
		id++;
	if (id == OPT_N)
		return unknown_option(a, name, err);
	(void)snprintf(name, sizeof(name), "--%s", options[id].name);
	a->is_given[id] = true;
	if (equals != NULL)
		return set_option(a, id, name, equals + 1, err);
	if (options[id].kind == OPTION_FLAG)
		return set_option(a, id, name, "1", err);
	if (is_short && argv[*i][2] != '\0')
		return set_option(a, id, name, argv[*i] + 2, err);
	if (*i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0)
		return err_set(err, ERR_USAGE, "%s: %s is missing", name,
		               options[id].value);
	return set_option(a, id, name, argv[++*i], err);
}

static int
unknown_command(const char *word, struct err *err)
{
	const char *near = NULL;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < CMD_N; i++) {
		size_t d = nearest_distance(commands[i].name, word);

		if (d < best) {
			best = d;
			near = commands[i].name;
		}
	}
	if (nearest_is_close(word, best))
		return err_set(err, ERR_USAGE,
		               "no command \"%s\"; did you mean %s?", word,
		               near);
	return err_set(err, ERR_USAGE, "no command \"%s\"; see: godwit --help",
	               word);
}

/* "OLD NEW" wants two words, "[OLD NEW]" none or two, "a|b" one of these. */
static int
check_operands(const struct args *a, struct err *err)
{
	const struct command *c = &commands[a->command];
	const char *o = c->operands;
	bool is_optional = o[0] == '[';
	uint32_t want = o[0] != '\0';

	for (const char *p = o; *p != '\0'; p++)
		want += *p == ' ';
	if (is_optional && (a->operand_n == 0 || strchr(o + 1, '[') != NULL) &&
	    a->operand_n <= want)
		return 0;
	if (a->operand_n > want)
		return err_set(err, ERR_USAGE,
		               "%s: \"%s\" is one word too many; usage: godwit "
		               "%s%s%s [OPTIONS]",
		               c->name, a->operand[want], c->name,
		               o[0] != '\0' ? " " : "", o);
	if (a->operand_n < want)
		return err_set(err, ERR_USAGE, "%s: usage: godwit %s %s%s",
		               c->name, c->name, o,
		               a->command == CMD_MIGRATE ? " --listen ADDR"
		                                         : "");
	if (strchr(o, '|') != NULL && choice(o, a->operand[0]) < 0)
		return err_set(err, ERR_USAGE, "%s: \"%s\" is not one of %s",
		               c->name, a->operand[0], o);
	return 0;
}

/* Standards first, then the environment; the command line comes on top. */
static int
parse_environment(struct args *a, struct err *err)
{
	char name[64];

	for (enum option_id id = 0; id < OPT_N; id++) {
		const char *value;
		int rc;

		a->text[id] = options[id].standard;
		if (options[id].standard[0] != '\0' &&
		    set_option(a, id, options[id].name, options[id].standard,
		               err) != 0)
			NEVER("a standard that its own option refuses");
		args_env_name(options[id].name, name, sizeof(name));
		value = getenv(name);
		if (value == NULL || value[0] == '\0' || !takes(a, id))
			continue;
		rc = set_option(a, id, name, value, err);
		if (rc != 0)
			return rc;
		a->is_given[id] = true;
	}
	return 0;
}

static int
parse_words(int argc, char *const argv[], int first, struct args *a,
            struct err *err)
{
	bool only_operands = false;
	char name[ARGS_NAME];
	int rc = 0;

	for (int i = first; i < argc && rc == 0; i++) {
		char *word = argv[i];

		if (!only_operands && strcmp(word, "--") == 0) {
			only_operands = true;
		} else if (!only_operands && (strncmp(word, "--", 2) == 0 ||
		                              (strncmp(word, "-f", 2) == 0 &&
		                               takes(a, OPT_FILE)))) {
			rc = parse_option(argc, argv, &i, a, err);
		} else if (!only_operands && word[0] == '-' &&
		           word[1] != '\0') {
			args_name(a, name);
			rc = err_set(err, ERR_USAGE,
			             "%s: no option %s; options have two "
			             "dashes and a word, see: godwit %s --help",
			             name, word, name);
		} else if (a->operand_n == ARGS_OPERANDS_MAX) {
			rc = err_set(err, ERR_USAGE,
			             "%s: \"%s\" is one word too many",
			             commands[a->command].name, word);
		} else {
			a->operand[a->operand_n++] = word;
		}
	}
	return rc;
}

static bool
is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* The word behind migrations, ...; *i moves over it. */
static int
parse_action(int argc, char *const argv[], int *i, struct args *a,
             struct err *err)
{
	const char *name = commands[a->command].name;
	const char *word = argc > *i ? argv[*i] : "";
	char all[256] = "";
	char near[64];
	size_t n = 0;

	/* One without a word of its own (audit). */
	a->action = action_find(a->command, "");
	if (a->action != ACTION_N || word[0] == '-')
		return 0;
	a->action = action_find(a->command, word);
	if (a->action != ACTION_N) {
		++*i;
		return 0;
	}
	for (enum action_id k = 0; k < ACTION_N && n < sizeof(all); k++)
		if (actions[k].command == a->command &&
		    action_find(a->command, actions[k].word) == k)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s",
			                      n > 0 ? "|" : "",
			                      actions[k].word);
	if (word[0] == '\0')
		return err_set(err, ERR_USAGE, "%s: what? One of %s", name,
		               all);
	if (nearest_of(all, word, near, sizeof(near)))
		return err_set(err, ERR_USAGE,
		               "%s: no action \"%s\"; did you mean %s?", name,
		               word, near);
	return err_set(err, ERR_USAGE, "%s: no action \"%s\"; it is one of %s",
	               name, word, all);
}

int
args_parse(int argc, char *const argv[], struct args *ret, struct err *err)
{
	int first = 2;
	int rc = 0;

	*ret = (struct args){ .command = CMD_HELP, .action = ACTION_N };
	if (argc < 2)
		return err_set(err, ERR_USAGE, "which command?");
	if (is_help(argv[1])) {
		ret->wants_help = argc == 2;
		return ret->wants_help
		               ? 0
		               : err_set(err, ERR_USAGE,
		                         "write: godwit %s --help", argv[2]);
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		ret->command = CMD_VERSION;
		return 0;
	}
	ret->command = args_command(argv[1]);
	if (ret->command == CMD_N)
		return unknown_command(argv[1], err);
	if (action_has(ret->command))
		rc = parse_action(argc, argv, &first, ret, err);
	if (rc != 0)
		return rc;
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (is_help(argv[i])) {
			ret->wants_help = true;
			return 0;
		}
	if (action_has(ret->command) && ret->action == ACTION_N)
		return err_set(err, ERR_USAGE,
		               "%s: the action comes first; see: godwit %s "
		               "--help",
		               commands[ret->command].name,
		               commands[ret->command].name);
	rc = parse_environment(ret, err);
	if (rc == 0)
		rc = parse_words(argc, argv, first, ret, err);
	if (rc == 0 && ret->action != ACTION_N)
		rc = action_choose(ret->action, ret->operand_n, ret->operand,
		                   &ret->action, err);
	else if (rc == 0)
		rc = check_operands(ret, err);
	return rc;
}
