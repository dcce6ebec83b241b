/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/pg_sql_main.c: which statements are reads, for test_pg_sql.py.
 *
 *   pg_sql_main question     what is asked of a server
 *   pg_sql_main              lines of standard input, texts in hexadecimal:
 *     n 0|1 KIND NAME TEXT   a row of old's or new's answer ("-": empty)
 *     d                      all rows are there
 *     j TEXT                 answers w, m or r: write, mild, read
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "engine/postgres/sql.h"

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
	sql_names_add(n, s, row);
}

int
main(int argc, char **argv)
{
	static const char letter[] = "wmr";
	struct mem mem = { .resize = resize };
	struct sql_names n;
	char *line = NULL;
	size_t cap = 0;

	if (argc > 1 && strcmp(argv[1], "question") == 0) {
		(void)puts(sql_names_question);
		return 0;
	}
	sql_names_init(&n, &mem, 1);
	while (getline(&line, &cap, stdin) > 0) {
		if (line[0] == 'n')
			add(&n, line);
		else if (line[0] == 'd')
			sql_names_done(&n);
		else
			(void)printf("%c\n",
			             letter[sql_judge(&n, unhex(line + 2))]);
	}
	free(line);
	sql_names_fini(&n);
	return 0;
}
