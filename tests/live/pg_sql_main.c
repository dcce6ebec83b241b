/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/pg_sql_main.c: which statements are reads, for test_pg_sql.py.
 *
 *   pg_sql_main question     what is asked of a server
 *   pg_sql_main              lines of standard input, texts in hexadecimal:
 *     n 0|1 KIND NAME TEXT   a row of old's or new's answer ("-": empty)
 *     d                      all rows are there
 *     j TEXT                 answers w, m or r: write, mild, read; of all texts of
 *                            one form the same, or it ends
 *   pg_sql_main scope        what is asked of a server where rules name tables
 *     f SCHEMA               a schema of the feature
 *     p PATH                 of the session: a NUL behind each schema
 *     s TEXT                 is this read the feature's? Answers y or n
 *   pg_sql_main side         what is asked of a server for a split
 *     t TEXT                 where its tables are when the feature's are new's: -, o, n,
 *                            b (both), ? in front when the path has to be known
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "engine/postgres/sql.h"
#include "engine/postgres/sql_form.h"
#include "engine/postgres/sql_scope.h"
#include "engine/postgres/sql_side.h"

static void *
resize(struct mem *m, void *old_p, size_t old_n, size_t new_n)
{
	void *p = NULL;

	m->used += new_n - old_n;
	if (new_n == 0)
		free(old_p);
	else
		p = realloc(old_p, new_n);
	REQUIRE(new_n == 0 || p != NULL);
	return p;
}

static unsigned
nibble(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* In place. */
static struct span
unhex(char *s)
{
	size_t n = strcspn(s, " \n") / 2;
	uint8_t *to = (uint8_t *)s;

	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(nibble(s[2 * i]) << 4 | nibble(s[2 * i + 1]));
	return span_of(s, n);
}

static struct sql_scope scope;
static struct sql_sides sides;
static struct rules_term word[8];
static struct rules_in in = { .term = word, .rule_n = 1, .ppm = { 1000000 } };

static char
is_the_features(struct mem *mem, struct span path, struct span text)
{
	struct rules *rules = rules_build(mem, &in);
	struct sql_asker who = { .rules = rules, .possible = 1, .path = path };
	uint32_t share;

	REQUIRE(rules != NULL);
	sql_scope_done(&scope);
	share = sql_scope_share(&scope, &who, text);
	rules_free(rules);
	return share == 1000000 ? 'y' : 'n';
}

static void
tell_side(struct mem *mem, struct span path, struct span text)
{
	struct rules *rules = rules_build(mem, &in);
	struct sql_side_of of = { .rules = rules, .moved = 1 };
	struct sql_side ret;

	REQUIRE(rules != NULL);
	if (path.n > 0)
		of.path = path;
	if (!sides.scope.is_done)
		sql_sides_done(&sides);
	sql_side_judge(&sides, &of, text, &ret);
	rules_free(rules);
	(void)printf("%s%c\n", ret.needs_path ? "?" : "", "-onb"[ret.sides]);
}

static void
add_word(char *line)
{
	struct span name = unhex(line);

	REQUIRE(in.term_n < 8 && name.n < RULES_WORD_MAX);
	word[in.term_n].fact = FACT_SCHEMA;
	memcpy(word[in.term_n++].word, name.p, name.n);
}

static void
add(struct sql_names *n, char *line)
{
	struct span row[3];
	enum side s = line[2] == '0' ? SIDE_OLD : SIDE_NEW;

	line += 4;
	for (int i = 0; i < 3; i++) {
		char *next = line + strcspn(line, " \n") + 1;

		row[i] = unhex(line);
		line = next;
	}
	sql_sides_add(&sides, row);
	if (row[0].p[0] == SQL_SCOPE_KIND)
		sql_scope_add(&scope, row);
	else if (row[0].p[0] != 'f')
		sql_names_add(n, s, row);
}

static char
judge(const struct sql_names *n, struct map *forms, struct span text)
{
	static const uint64_t seed[2] = { 1, 2 };
	uint64_t form[2];
	bool is_new;
	struct map_entry *e;
	char said = "wmr"[sql_judge(n, text)];
	char *before;

	sql_form(text, seed, form);
	e = map_put(forms, span_of(form, sizeof(form)), &is_new);
	REQUIRE(e != NULL);
	before = map_value(e);
	REQUIRE(is_new || *before == said);
	*before = said;
	return said;
}

int
main(int argc, char **argv)
{
	struct map forms;
	struct mem mem = { .resize = resize };
	struct sql_names n;
	char *line = NULL;
	char path[1024] = "";
	struct span at = { (const uint8_t *)path, 0 };
	size_t cap = 0;

	if (argc > 1 && strcmp(argv[1], "question") == 0) {
		(void)puts(sql_names_question);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "side") == 0) {
		for (const char *const *p = sql_side_question; *p != NULL; p++)
			(void)fputs(*p, stdout);
		return 0;
	}
	if (argc > 1) {
		(void)puts(sql_scope_question);
		return 0;
	}
	sql_names_init(&n, &mem, 1);
	sql_scope_init(&scope, &mem, 1);
	sql_sides_init(&sides, &mem, 1);
	map_init(&forms, &mem, 1, 1);
	while (getline(&line, &cap, stdin) > 0) {
		if (line[0] == 'n')
			add(&n, line);
		else if (line[0] == 'd') {
			sql_names_done(&n);
			map_clear(&forms);
		} else if (line[0] == 'f')
			add_word(line + 2);
		else if (line[0] == 'p') {
			at = unhex(line + 2);
			REQUIRE(at.n <= sizeof(path));
			memcpy(path, at.p, at.n);
			at.p = (const uint8_t *)path;
		} else if (line[0] == 's')
			(void)printf("%c\n", is_the_features(&mem, at,
			                                     unhex(line + 2)));
		else if (line[0] == 't')
			tell_side(&mem, at, unhex(line + 2));
		else
			(void)printf("%c\n",
			             judge(&n, &forms, unhex(line + 2)));
	}
	free(line);
	map_fini(&forms);
	sql_names_fini(&n);
	sql_scope_fini(&scope);
	sql_sides_fini(&sides);
	return 0;
}
