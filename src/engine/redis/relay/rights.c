/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/rights.c: the fields of ACL GETUSER that tell whether what a
 * user reads may be read for it by Godwit's own reader.
 */
#include "engine/redis/relay/rights.h"

#include "base/check.h"
#include "wire/resp.h"

static size_t
word_length(struct span s, uint8_t end)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != end)
		n++;
	return n;
}

/* Is nothing read by a command of this name, or is it none that we know? A
 * category, and a command with commands of its own, may be anything. */
static bool
reads_nothing(const struct command_index *ix, struct span name)
{
	const struct command *c = command_find(ix, name);

	if (name.n == 0 || name.p[0] == '@')
		return false;
	return c == NULL ||
	       (c->kind != COMMAND_READ && c->handler != COMMAND_CONTAINER);
}

/* "+@all -psync -client|tracking": all of them but such that read nothing. */
static bool
may_read(const struct command_index *ix, struct span rules)
{
	size_t n = word_length(rules, ' ');

	if (!span_eq(span_of(rules.p, n), SPAN("+@all")))
		return false;
	while (n < rules.n) {
		rules = span_skip(rules, n + 1);
		n = word_length(rules, ' ');
		if (n == 0 ||
		    (rules.p[0] != '+' &&
		     (rules.p[0] != '-' ||
		      !reads_nothing(ix, span_of(rules.p + 1, n - 1)))))
			return false;
	}
	return true;
}

struct rights
rights_read(const struct command_index *ix, struct span reply)
{
	struct rights ret = { .known = false };
	struct resp_item it;
	bool commands = false;
	bool keys = false;
	int field = 0; /* 1: flags, 2: commands, 3: keys */

	while (resp_read(&reply, &it) == WIRE_PART) {
		if (it.type != RESP_BULK && it.type != RESP_STATUS)
			continue;
		/* Keys may be many, of any name, before 7.0. */
		if (field != 3 && span_eq(it.text, SPAN("flags")))
			field = 1;
		else if (span_eq(it.text, SPAN("passwords")) ||
		         span_eq(it.text, SPAN("channels")) ||
		         span_eq(it.text, SPAN("selectors")))
			field = 0;
		else if (field != 3 && span_eq(it.text, SPAN("commands")))
			field = 2;
		else if (span_eq(it.text, SPAN("keys")))
			field = 3;
		else if (field == 1 && span_eq(it.text, SPAN("nopass")))
			ret.open = true;
		else if (field == 1 && span_eq(it.text, SPAN("on")))
			ret.on = true;
		else if (field == 1 && span_eq(it.text, SPAN("allkeys")))
			keys = true; /* before 7.0 */
		else if (field == 2)
			commands = may_read(ix, it.text);
		else if (field == 3)
			keys |= span_eq(it.text, SPAN("~*"));
		ret.known |= field == 1;
	}
	ret.reads = ret.on && commands && keys;
	return ret;
}
