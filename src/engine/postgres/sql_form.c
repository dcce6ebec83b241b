/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/sql_form.c: who a statement is but for its constants.
 *
 * What stands between two constants is taken as it is, so a scan of the one text ends
 * its tokens where a scan of the other one does.
 */
#include "engine/postgres/sql_form.h"

#include "base/hash.h"
#include "engine/postgres/sql.h"
#include "engine/postgres/sql_scan.h"

/* The text from there on up to a constant, or to the end. */
static void
mix(struct span text, uint64_t ret[2])
{
	ret[0] = hash_bytes(text, ret[0]);
	ret[1] = hash_bytes(text, ret[1]);
}

void
sql_form(struct span text, const uint64_t seed[2], uint64_t ret[2])
{
	struct sql_scan s;
	struct sql_token t = { .kind = SQL_UNSURE };
	size_t from = 0;

	ret[0] = seed[0];
	ret[1] = seed[1];
	if (text.n <= SQL_TEXT_MAX && sql_scan_init(&s, text))
		sql_scan_next(&s, &t);
	while (t.kind != SQL_END && t.kind != SQL_UNSURE) {
		if (t.kind == SQL_VALUE) {
			mix(span_of(text.p + from, s.at - t.text.n - from),
			    ret);
			from = s.at;
		}
		sql_scan_next(&s, &t);
	}
	if (t.kind == SQL_UNSURE) {
		/* Not a form that some other text may have. */
		from = 0;
		ret[0] = ~seed[0];
		ret[1] = ~seed[1];
	}
	mix(span_skip(text, from), ret);
}
