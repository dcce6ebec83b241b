/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/lua.c: does a script touch only the keys that it was given?
 *
 * Two walks over its words: the first finds locals that stand for a key, and what
 * is forbidden; the second looks at each call. Both are linear: no look ahead is
 * longer than what it accepts, and looks back are counted.
 */
#include "engine/redis/lua.h"

enum token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_STRING, /* text: between the quotes */
	TOKEN_NUMBER,
	TOKEN_SIGN, /* one character; '=' is never part of == and the like */
	TOKEN_BAD,
};

struct token {
	enum token_kind kind;
	struct span text;
	uint8_t sign; /* SIGN; 0: a sign of two or three characters */
	bool escapes; /* STRING */
};

struct alias {
	struct span name;
	bool is_good;
};

struct lua {
	const struct command_index *ix;
	struct span in;
	struct alias alias[LUA_ALIASES_MAX];
	uint32_t alias_n;
	uint32_t looks; /* for names that were there before: each is a walk */
	bool has_function;
	int depth; /* of brackets of all kinds */
};

/* ---- words ---------------------------------------------------------------- */

static bool
is_alpha(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* "[[" or "[=*[" at the front: the number of '=', else -1. */
static int
long_level(struct span in)
{
	size_t n = 1;

	if (in.n < 2 || in.p[0] != '[')
		return -1;
	while (n < in.n && in.p[n] == '=')
		n++;
	return n < in.n && in.p[n] == '[' ? (int)n - 1 : -1;
}

/* Behind the long bracket at the front; false: it has no end. */
static bool
skip_long(struct span *in, int level, struct span *ret)
{
	size_t from = (size_t)level + 2;
	size_t at = from;

	while (at < in->n) {
		size_t n = 1;

		if (in->p[at] != ']') {
			at++;
			continue;
		}
		while (at + n < in->n && in->p[at + n] == '=')
			n++;
		if (n - 1 == (size_t)level && at + n < in->n &&
		    in->p[at + n] == ']') {
			*ret = span_of(in->p + from, at - from);
			*in = span_skip(*in, at + n + 1);
			return true;
		}
		at += n;
	}
	return false;
}

/* Space and comments. False: a comment without an end. */
static bool
skip_space(struct span *in)
{
	while (in->n > 0) {
		struct span rest;
		int level;

		if (in->p[0] == ' ' || (in->p[0] >= '\t' && in->p[0] <= '\r')) {
			*in = span_skip(*in, 1);
			continue;
		}
		if (in->n < 2 || in->p[0] != '-' || in->p[1] != '-')
			return true;
		rest = span_skip(*in, 2);
		level = long_level(rest);
		if (level >= 0) {
			*in = rest;
			if (!skip_long(in, level, &rest))
				return false;
			continue;
		}
		while (in->n > 0 && in->p[0] != '\n' && in->p[0] != '\r')
			*in = span_skip(*in, 1);
	}
	return true;
}

/* "5." is a number, and what follows it no field. */
static struct token
number(struct span *in)
{
	struct token t = { .kind = TOKEN_NUMBER };
	size_t n = 0;

	while (n < in->n && (is_digit(in->p[n]) || in->p[n] == '.'))
		n++;
	if (n < in->n && (in->p[n] | 0x20) == 'e')
		n++;
	if (n < in->n && n > 0 && (in->p[n - 1] | 0x20) == 'e' &&
	    (in->p[n] == '+' || in->p[n] == '-'))
		n++;
	while (n < in->n && (is_alpha(in->p[n]) || is_digit(in->p[n])))
		n++;
	t.text = span_of(in->p, n);
	*in = span_skip(*in, n);
	return t;
}

static struct token
quoted(struct span *in)
{
	struct token t = { .kind = TOKEN_STRING };
	uint8_t quote = in->p[0];
	size_t n = 1;

	while (n < in->n && in->p[n] != quote) {
		if (in->p[n] == '\\') {
			t.escapes = true;
			n++;
		}
		n++;
	}
	if (n >= in->n)
		return (struct token){ .kind = TOKEN_BAD };
	t.text = span_of(in->p + 1, n - 1);
	*in = span_skip(*in, n + 1);
	return t;
}

static struct token
sign(struct span *in)
{
	struct token t = { .kind = TOKEN_SIGN, .sign = in->p[0] };
	size_t n = 1;

	if (in->n > 1 && in->p[1] == '=' &&
	    (t.sign == '=' || t.sign == '~' || t.sign == '<' || t.sign == '>'))
		n = 2;
	while (t.sign == '.' && n < in->n && n < 3 && in->p[n] == '.')
		n++;
	if (n > 1)
		t.sign = 0;
	*in = span_skip(*in, n);
	return t;
}

static struct token
next(struct span *in)
{
	struct token t = { .kind = TOKEN_BAD };
	size_t n = 0;
	int level;

	if (!skip_space(in))
		return t;
	if (in->n == 0)
		return (struct token){ .kind = TOKEN_END };
	level = long_level(*in);
	if (level >= 0) {
		t.kind = skip_long(in, level, &t.text) ? TOKEN_STRING
		                                       : TOKEN_BAD;
		return t;
	}
	if (in->p[0] == '"' || in->p[0] == '\'')
		return quoted(in);
	if (is_digit(in->p[0]))
		return number(in);
	if (!is_alpha(in->p[0]))
		return in->p[0] > ' ' && in->p[0] < 127 ? sign(in) : t;
	t.kind = TOKEN_NAME;
	while (n < in->n && (is_alpha(in->p[n]) || is_digit(in->p[n])))
		n++;
	t.text = span_of(in->p, n);
	*in = span_skip(*in, n);
	return t;
}

static bool
is_sign(const struct token *t, char c)
{
	return t->kind == TOKEN_SIGN && t->sign == (uint8_t)c;
}

static bool
is_name(const struct token *t, const char *name)
{
	return t->kind == TOKEN_NAME && span_eq(t->text, span_str(name));
}

static bool
is_one_of(const struct token *t, const char *const *names)
{
	for (; *names != NULL; names++) {
		if (is_name(t, *names))
			return true;
	}
	return false;
}

/* ---- keys ------------------------------------------------------------------ */

/* "[ 1 ]", "[ i ]", "[ i + 1 ]", "[ #KEYS ]" behind KEYS. */
static bool
skip_index(struct span *in)
{
	struct token t = next(in);

	if (!is_sign(&t, '['))
		return false;
	t = next(in);
	if (is_sign(&t, '#')) {
		t = next(in);
		if (!is_name(&t, "KEYS"))
			return false;
	} else if (t.kind != TOKEN_NUMBER && t.kind != TOKEN_NAME) {
		return false;
	}
	t = next(in);
	if (is_sign(&t, '+') || is_sign(&t, '-')) {
		t = next(in);
		if (t.kind != TOKEN_NUMBER && t.kind != TOKEN_NAME)
			return false;
		t = next(in);
	}
	return is_sign(&t, ']');
}

static struct alias *
alias_of(struct lua *l, struct span name)
{
	for (uint32_t i = 0; i < l->alias_n; i++) {
		if (span_eq(l->alias[i].name, name))
			return &l->alias[i];
	}
	return NULL;
}

/* Is the next argument exactly a key? Behind it: ',' or ')'. */
static bool
take_key(struct lua *l, struct span *in, struct token *ret_end)
{
	struct token t = next(in);
	const struct alias *a;

	if (t.kind != TOKEN_NAME)
		return false;
	if (is_name(&t, "KEYS")) {
		if (!skip_index(in))
			return false;
	} else {
		a = alias_of(l, t.text);
		if (a == NULL || !a->is_good)
			return false;
	}
	*ret_end = next(in);
	return is_sign(ret_end, ',') || is_sign(ret_end, ')');
}

/* ---- the first walk ---------------------------------------------------------- */

static const char *const forbidden[] = {
	"_G",       "load",     "loadstring",   "loadfile",     "dofile",
	"getfenv",  "setfenv",  "getmetatable", "setmetatable", "rawget",
	"rawset",   "require",  "module",       "package",      "debug",
	"set_repl", "newproxy", NULL,
};

/* What makes of "local x = KEYS[1]" more than that key. */
static bool
goes_on(const struct token *t)
{
	static const char *const words[] = { "and", "or", NULL };

	return t->kind == TOKEN_BAD || t->kind == TOKEN_STRING ||
	       (t->kind == TOKEN_SIGN && t->sign != ';') || is_one_of(t, words);
}

/* Was this name there before? Then the local may not be what a later use means. */
static bool
is_known(const struct lua *l, struct span name)
{
	size_t n = (size_t)(name.p - l->in.p);
	struct span in = span_of(l->in.p, n);

	for (;;) {
		struct token t = next(&in);

		if (t.kind == TOKEN_END || t.kind == TOKEN_BAD)
			return t.kind == TOKEN_BAD;
		if (t.kind == TOKEN_NAME && span_eq(t.text, name))
			return true;
	}
}

/* "local x = KEYS[..]": a name for a key, when nobody changes it. */
static void
look_at_local(struct lua *l, struct span in)
{
	struct token name = next(&in);
	struct token t = next(&in);
	struct alias *a;

	if (name.kind != TOKEN_NAME)
		return;
	a = alias_of(l, name.text);
	if (a != NULL) {
		a->is_good = false; /* there are two of that name */
		return;
	}
	if (!is_sign(&t, '=') || l->looks == LUA_ALIASES_MAX)
		return;
	t = next(&in);
	if (!is_name(&t, "KEYS") || !skip_index(&in))
		return;
	t = next(&in);
	if (goes_on(&t))
		return;
	l->looks++;
	if (!is_known(l, name.text))
		l->alias[l->alias_n++] =
			(struct alias){ .name = name.text, .is_good = true };
}

/* Is this place of a name more than a use? */
static bool
changes(const struct lua *l, const struct token *before,
        const struct token *after)
{
	static const char *const words[] = { "for", "function", "local", NULL };

	return is_sign(after, '=') || is_name(after, "in") ||
	       is_one_of(before, words) ||
	       (l->depth == 0 && (is_sign(after, ',') || is_sign(before, ',')));
}

static void
count_depth(struct lua *l, const struct token *t)
{
	if (is_sign(t, '(') || is_sign(t, '[') || is_sign(t, '{'))
		l->depth++;
	else if (is_sign(t, ')') || is_sign(t, ']') || is_sign(t, '}'))
		l->depth--;
}

static bool
find_aliases(struct lua *l)
{
	struct span in = l->in;
	struct token before = { .kind = TOKEN_END };
	bool is_local = false; /* the word before is, and made an alias */

	for (;;) {
		struct token t = next(&in);
		struct span rest = in;
		struct token after;
		struct alias *a;

		if (t.kind == TOKEN_END)
			return true;
		if (t.kind == TOKEN_BAD || is_one_of(&t, forbidden))
			return false;
		count_depth(l, &t);
		/* Between brackets there are only expressions, then. */
		if (is_name(&t, "function") && l->depth > 0)
			return false;
		l->has_function |= is_name(&t, "function");
		a = t.kind == TOKEN_NAME ? alias_of(l, t.text) : NULL;
		if (a != NULL && !is_local && !is_sign(&before, '.')) {
			after = next(&rest);
			a->is_good &= !changes(l, &before, &after);
		}
		is_local = false;
		if (is_name(&t, "local")) {
			uint32_t had = l->alias_n;

			look_at_local(l, in);
			is_local = l->alias_n > had;
		}
		before = t;
	}
}

/* ---- the second walk --------------------------------------------------------- */

/* Are the keys of this command, whose words follow, known? */
static bool
look_at_words(struct lua *l, const struct command *c, struct span *in,
              struct token *t)
{
	int n = 0;

	if (c->first == 0)
		return span_eq(span_of((const uint8_t *)c->name, c->name_n),
		               SPAN("time"));
	if (c->first != 1 || c->step != 1 || c->numkeys != 0 ||
	    command_is_publish(c) || (c->last != -1 && c->last < 1))
		return false;
	while (is_sign(t, ',') && (c->last == -1 || n < c->last)) {
		if (!take_key(l, in, t))
			return false;
		n++;
	}
	return n > 0 && (c->last == -1 || n == c->last);
}

/* Behind "redis.call". */
static bool
look_at_call(struct lua *l, struct span in)
{
	struct token t = next(&in);
	const struct command *c;

	if (!is_sign(&t, '('))
		return false;
	t = next(&in);
	if (t.kind != TOKEN_STRING || t.escapes)
		return false;
	c = command_find(l->ix, t.text);
	t = next(&in);
	if (c == NULL ||
	    (c->handler != COMMAND_PLAIN && c->handler != COMMAND_SCANKEY) ||
	    (!is_sign(&t, ',') && !is_sign(&t, ')')))
		return false;
	return look_at_words(l, c, &in, &t);
}

/* Behind "redis". */
static bool
look_at_redis(struct lua *l, struct span in)
{
	static const char *const calls[] = { "call", "pcall", NULL };
	static const char *const harmless[] = {
		"log",          "sha1hex",     "error_reply",
		"status_reply", "setresp",     "replicate_commands",
		"LOG_DEBUG",    "LOG_VERBOSE", "LOG_NOTICE",
		"LOG_WARNING",  NULL,
	};
	struct token t = next(&in);

	if (!is_sign(&t, '.'))
		return false;
	t = next(&in);
	if (is_one_of(&t, calls))
		return look_at_call(l, in);
	return is_one_of(&t, harmless);
}

/* Behind KEYS: one of them is read. */
static bool
look_at_key(const struct lua *l, struct span in)
{
	struct token t;

	if (!skip_index(&in))
		return false;
	t = next(&in);
	return !is_sign(&t, '=') && !(l->depth == 0 && is_sign(&t, ','));
}

static bool
look_at_uses(struct lua *l)
{
	/* Valkey has two names for it. */
	static const char *const redis[] = { "redis", "server", NULL };
	struct span in = l->in;
	struct token before = { .kind = TOKEN_END };

	l->depth = 0;
	for (;;) {
		struct token t = next(&in);
		bool is_field = is_sign(&before, '.');
		bool good = true;

		if (t.kind == TOKEN_END)
			return true;
		count_depth(l, &t);
		if (is_one_of(&t, redis) && !is_field)
			good = look_at_redis(l, in);
		else if (is_name(&t, "KEYS") && !is_field &&
		         !is_sign(&before, '#'))
			good = look_at_key(l, in);
		if (!good)
			return false;
		before = t;
	}
}

/* "#!lua flags=..." */
static struct span
skip_first_line(struct span in)
{
	if (!span_has_prefix(in, SPAN("#!")))
		return in;
	while (in.n > 0 && in.p[0] != '\n')
		in = span_skip(in, 1);
	return in;
}

/* The next of those that end holds apart; false: there is none. */
static bool
cut(struct span *in, uint8_t end, struct span *ret)
{
	const uint8_t *at = in->n == 0 ? NULL : memchr(in->p, end, in->n);
	size_t n = at == NULL ? in->n : (size_t)(at - in->p);

	*ret = span_of(in->p, n);
	*in = span_skip(*in, at == NULL ? n : n + 1);
	return n > 0 || at != NULL;
}

bool
lua_declares_no_writes(struct span body)
{
	struct span line;
	struct span word;
	struct span flag;
	size_t n = body.n;
	bool ret = false;

	if (!cut(&body, '\n', &line) || line.n == n ||
	    !cut(&line, ' ', &word) || !span_eq(word, SPAN("#!lua")))
		return false;
	while (cut(&line, ' ', &word)) {
		if (!span_has_prefix(word, SPAN("flags=")))
			continue;
		word = span_skip(word, sizeof("flags=") - 1);
		while (cut(&word, ',', &flag))
			ret |= span_eq(flag, SPAN("no-writes"));
	}
	return ret;
}

bool
lua_keeps_to_keys(const struct command_index *ix, struct span body)
{
	struct lua l = { .ix = ix, .in = skip_first_line(body) };

	if (!find_aliases(&l))
		return false;
	/* A parameter of a function may have the name of a local. */
	if (l.has_function)
		l.alias_n = 0;
	return look_at_uses(&l);
}
