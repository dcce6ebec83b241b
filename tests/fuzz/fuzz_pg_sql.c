/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_sql.c: any text as a statement: the tokens follow each other
 * inside it, and what is called a read is one by a second, simpler look. So is what
 * touches the tables of a rule alone. Whatever it is, it is on some side of a split, and what
 * names no table is not on new's. Of all texts with one form the same is said.
 *
 * data: the text.
 */
#include <ctype.h>
#include <stdlib.h>

#include "engine/postgres/sql.h"
#include "engine/postgres/sql_change.h"
#include "engine/postgres/sql_form.h"
#include "engine/postgres/sql_scan.h"
#include "engine/postgres/sql_scope.h"
#include "engine/postgres/sql_side.h"
#include "engine/postgres/sql_word.h"
#include "heap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct heap heap;
static struct sql_names names;
static struct sql_scope scope;
static struct rules *rules;
static struct sql_sides sides;

/* Of t, u and w only t is the rule's. */
static void
learn_scope(void)
{
	static const struct rules_term word = { 0, FACT_SCHEMA, "s" };
	static const char *const all[][2] = {
		{ "t", "s\1s\1t" },
		{ "u", "s\1x\1u" },
		{ "w", "x\1x\1w" },
	};
	struct span f[3] = { SPAN("f"), SPAN("f("),
		             SPAN("s\1SELECT * FROM w") };
	struct rules_in in = {
		.term = &word, .term_n = 1, .rule_n = 1, .ppm = { 1 }
	};

	rules = rules_build(&heap.mem, &in);
	sql_scope_init(&scope, &heap.mem, 1);
	sql_sides_init(&sides, &heap.mem, 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct span row[3] = { SPAN("t"), span_str(all[i][0]),
			               span_str(all[i][1]) };

		sql_scope_add(&scope, row);
		sql_sides_add(&sides, row);
	}
	sql_scope_done(&scope);
	sql_sides_add(&sides, f);
	sql_sides_done(&sides);
}

static void
know(const char *kind, const char *name, const char *text)
{
	struct span row[3] = { span_str(kind), span_str(name), span_str(text) };

	sql_names_add(&names, SIDE_OLD, row);
	sql_names_add(&names, SIDE_NEW, row);
}

static void
learn(void)
{
	if (names.is_done)
		return;
	heap = heap_make();
	sql_names_init(&names, &heap.mem, 1);
	know("g", "lower", "");
	know("g", "now", "");
	know("b", "bad", "");
	know("o", "###", "");
	know("v", "v", "SELECT bad FROM t");
	know("v", "w", "SELECT 1 FROM t");
	sql_names_done(&names);
	learn_scope();
}

/* A letter or digit that a name may hold. */
static bool
is_part(int c)
{
	return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

/* Is the word there, anywhere, as a whole one, in neither string nor comment? All
 * strings and comments were taken out of text before. */
static bool
has_word(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; *p != '\0'; p++) {
		size_t i = 0;

		while (i < n && tolower((uint8_t)p[i]) == word[i])
			i++;
		if (i == n && !is_part((uint8_t)p[n]) &&
		    (p == text || !is_part((uint8_t)p[-1])))
			return true;
	}
	return false;
}

/* The tokens with a space between each two, without their values. */
static char *
plain(struct span text)
{
	struct sql_scan s;
	struct sql_token t;
	char *ret = calloc(1, 2 * text.n + 2);
	size_t at = 0;
	const uint8_t *end = text.p;

	REQUIRE(ret != NULL);
	if (!sql_scan_init(&s, text))
		return ret;
	for (sql_scan_next(&s, &t); t.kind != SQL_END && t.kind != SQL_UNSURE;
	     sql_scan_next(&s, &t)) {
		REQUIRE(t.text.n > 0 && t.text.p >= end);
		end = t.text.p + t.text.n;
		REQUIRE(end <= text.p + text.n);
		REQUIRE((t.name_n > 0) == (t.kind == SQL_NAME));
		if (t.kind != SQL_VALUE && t.text.p[0] != '"') {
			memcpy(ret + at, t.text.p, t.text.n);
			at += t.text.n;
		}
		ret[at++] = ' ';
	}
	/* It stays where it ended. */
	sql_scan_next(&s, &t);
	REQUIRE(t.kind == SQL_END || t.kind == SQL_UNSURE);
	return ret;
}

/* Are its bytes there, in whatever case? */
static bool
has_byte(struct span text, char c)
{
	for (size_t i = 0; i < text.n; i++) {
		if (tolower(text.p[i]) == c)
			return true;
	}
	return false;
}

static void
look_at_sides(struct span text)
{
	struct sql_side_of of = { .rules = rules,
		                  .moved = 1,
		                  .path = SPAN("s\0x\0") };
	struct sql_side is;
	struct sql_words words;
	struct sql_word w;
	const char *tag;
	size_t at = 0;

	sql_words_init(&words, text);
	for (sql_words_next(&words, &w); w.kind != SQL_WORD_END;
	     sql_words_next(&words, &w)) {
		REQUIRE(words.at > at && words.at <= text.n);
		at = words.at;
		REQUIRE(w.n <= SQL_WORD_MAX && w.name[w.n] == '\0');
		REQUIRE(w.inside.n == 0 ||
		        w.inside.p + w.inside.n <= text.p + text.n);
	}
	sql_side_judge(&sides, &of, text, &is);
	REQUIRE(!is.needs_path);
	if ((is.sides & SQL_SIDE_BIT(SIDE_NEW)) != 0)
		REQUIRE(has_byte(text, 't'));
	for (int i = 0; i < SIDE_N; i++)
		REQUIRE((is.what[i][0] != '\0') ==
		        ((is.sides & SQL_SIDE_BIT(i)) != 0));
	/* What begins a transaction and no more names nothing. */
	if (sql_frame_of(text, &tag) == SQL_FRAME_BEGIN)
		REQUIRE(is.sides == 0 && tag != NULL);
	of.path.p = NULL;
	of.path.n = 0;
	sql_side_judge(&sides, &of, text, &is);
}

/* What was said of a form, in this process. */
static struct {
	uint64_t form[2];
	int said; /* 0: nothing */
} forms[1 << 16];

static void
check_form(struct span text, uint64_t ret[2])
{
	static const uint64_t seed[2] = { 1, 2 };
	int said = 1 + 2 * (int)sql_judge(&names, text) + sql_may_change(text);
	size_t at;

	sql_form(text, seed, ret);
	at = ret[0] % (sizeof(forms) / sizeof(forms[0]));
	if (memcmp(forms[at].form, ret, sizeof(forms[at].form)) == 0)
		REQUIRE(forms[at].said == said);
	memcpy(forms[at].form, ret, sizeof(forms[at].form));
	forms[at].said = said;
}

/* Each constant becomes another one. */
static void
change_values(uint8_t *copy, size_t n)
{
	struct sql_scan s;
	struct sql_token t;

	if (!sql_scan_init(&s, span_of(copy, n)))
		return;
	for (sql_scan_next(&s, &t); t.kind != SQL_END && t.kind != SQL_UNSURE;
	     sql_scan_next(&s, &t)) {
		uint8_t *p = copy + (t.text.p - copy);

		for (size_t i = 0; t.kind == SQL_VALUE && i < t.text.n; i++) {
			if (p[0] == '\'' ? p[i] != '\'' : isdigit(p[i]))
				p[i] = '7';
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const never[] = { "bad",    "v",       "insert",
		                             "update", "delete",  "merge",
		                             "into",   "nextval", "pg_class" };
	uint8_t *copy = malloc(n + 1);
	uint64_t form[2][2];
	struct sql_scan s;
	struct sql_token t;
	struct span text;
	char *seen;

	REQUIRE(copy != NULL);
	if (n > 0)
		memcpy(copy, data, n);
	text = span_of(copy, n);
	learn();
	seen = plain(text);
	look_at_sides(text);
	if (sql_judge(&names, text) == SQL_READ) {
		REQUIRE(!sql_may_change(text));
		for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
			REQUIRE(strcmp(never[i], "nextval") == 0 ||
			        !has_word(seen, never[i]));
		REQUIRE(!has_word(seen, "nextval (") &&
		        !has_word(seen, "for share") &&
		        strstr(seen, "###") == NULL);
		for (size_t i = 0; i < n; i++)
			REQUIRE(copy[i] != '\\' && copy[i] != '\0');
	}
	/* What is in sight is counted, wherever it stands. */
	if (sql_scope_share(&scope,
	                    &(struct sql_asker){ .rules = rules,
	                                         .possible = 1,
	                                         .path = SPAN("s\0x\0") },
	                    text) == 1)
		REQUIRE((has_word(seen, "t") || memchr(copy, '"', n) != NULL) &&
		        !has_word(seen, "from u") && !has_word(seen, "from w"));
	check_form(text, form[0]);
	t.kind = SQL_UNSURE;
	if (n <= SQL_TEXT_MAX && sql_scan_init(&s, text)) {
		do
			sql_scan_next(&s, &t);
		while (t.kind != SQL_END && t.kind != SQL_UNSURE);
	}
	change_values(copy, n);
	check_form(text, form[1]);
	/* What can be scanned is another text of the same form. */
	REQUIRE(t.kind == SQL_UNSURE ||
	        memcmp(form[0], form[1], sizeof(form[0])) == 0);
	free(seen);
	free(copy);
	return 0;
}
