/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_change.c: may a statement change the catalog?
 */
#include "engine/postgres/sql_change.h"

#include "engine/postgres/sql.h"
#include "engine/postgres/sql_scan.h"

static bool
is_change(const struct sql_token *t, bool begins)
{
	/* Most words are none of them by their first letter. */
	static const char first[] = { 'a', 'c', 'd', 'g', 'i', 'r' };

	return t->name_n > 1 && t->name_n < 7 && !t->is_quoted &&
	       memchr(first, t->name[0], sizeof(first)) != NULL &&
	       (sql_token_is(t, " create alter drop grant revoke ") ||
	        (begins && sql_token_is(t, " do import ")));
}

static bool
is_of_name(uint8_t c)
{
	return ((c | 32) >= 'a' && (c | 32) <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '$' || c >= 0x80;
}

/* One of the words, whatever it stands in. */
static bool
says_change(struct span s)
{
	struct sql_token t = { .kind = SQL_NAME };

	for (size_t i = 0; i <= s.n; i++) {
		uint8_t c = i < s.n ? s.p[i] : ' ';

		if (is_of_name(c)) {
			/* None of the words is as long. */
			if (t.name_n < SQL_NAME_MAX)
				t.name[t.name_n++] = (char)(c | 32);
			continue;
		}
		if (is_change(&t, false))
			return true;
		t.name_n = 0;
	}
	return false;
}

bool
sql_may_change(struct span text)
{
	struct sql_scan s;
	struct sql_token t;
	bool is_plain;
	bool begins = true;
	size_t from;

	if (text.n > SQL_TEXT_MAX)
		text.n = SQL_TEXT_MAX;
	is_plain = sql_scan_init(&s, text);
	/* The first word is certain in any text. */
	do {
		from = s.at;
		sql_scan_next(&s, &t);
		if (t.kind == SQL_END)
			return false;
		if (is_change(&t, begins))
			return true;
		begins = t.kind == SQL_SEMICOLON;
	} while (is_plain && t.kind != SQL_UNSURE);
	return says_change(span_skip(text, from));
}

/* The next token, which has to be one of these words. */
static bool
comes(struct sql_scan *s, struct sql_token *t, const char *list)
{
	sql_scan_next(s, t);
	return t->kind == SQL_NAME && !t->is_quoted && sql_token_is(t, list);
}

bool
sql_is_own_change(struct span text)
{
	struct sql_scan s;
	struct sql_token t;

	if (text.n > SQL_TEXT_MAX || !sql_scan_init(&s, text))
		return false;
	if (!comes(&s, &t, " create drop "))
		return false;
	if (sql_token_is(&t, " create ")) {
		if (comes(&s, &t, " local global "))
			sql_scan_next(&s, &t);
		if (t.kind != SQL_NAME || t.is_quoted ||
		    !sql_token_is(&t, " temp temporary "))
			return false;
	}
	if (!comes(&s, &t, " table "))
		return false;
	while (t.kind != SQL_SEMICOLON && t.kind != SQL_END) {
		if (t.kind == SQL_UNSURE)
			return false;
		sql_scan_next(&s, &t);
	}
	if (t.kind == SQL_SEMICOLON)
		sql_scan_next(&s, &t);
	return t.kind == SQL_END;
}
