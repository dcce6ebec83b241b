/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/users.c: the users of both sides.
 */
#include "engine/redis/admin/users.h"

#include "base/hash.h"
#include "engine/redis/admin/fence.h"

static const struct fence_own nobody = {
	.user = "", .reader = "", .writer = "", .prefix = ""
};

/* What the rules of a user come to. */
struct marks {
	uint64_t rights;    /* a number for all but what follows  */
	uint64_t channels;  /* a number for them                  */
	uint64_t passwords; /* a number for them                  */
};

static void
put(char *ret, size_t n, struct span text)
{
	size_t used = strlen(ret);

	if (used + 1 < n)
		reply_text(text, ret + used, n - used);
}

/* Words that say how a rule was written, not what it allows. */
static bool
is_idle(struct span word)
{
	return span_eq(word, SPAN("sanitize-payload")) ||
	       span_eq(word, SPAN("skip-sanitize-payload")) ||
	       span_eq(word, SPAN("resetchannels"));
}

/* A server before 6.2 says nothing of channels: all are allowed. */
static bool
is_channel(struct span word)
{
	return word.p[0] == '&' || span_eq(word, SPAN("resetchannels"));
}

static struct marks
marks_of(struct span rules)
{
	struct marks ret = { 0, 0, 0 };
	struct span word;
	bool told = false;

	while (reply_word(&rules, &word)) {
		if (word.p[0] == '#')
			ret.passwords += hash_bytes(word, 1); /* any order */
		else if (word.p[0] == '&')
			ret.channels += hash_bytes(word, 1);
		else if (!is_idle(word))
			ret.rights = hash_mix(ret.rights ^ hash_bytes(word, 2));
		told |= is_channel(word);
	}
	if (!told)
		ret.channels = hash_bytes(SPAN("&*"), 1);
	return ret;
}

/* False: too long for ret. */
static bool
put_rules(char *ret, size_t n, struct span rules)
{
	bool had_password = false;
	bool told = false;
	struct span word;

	while (reply_word(&rules, &word)) {
		told |= is_channel(word);
		if (word.p[0] == '#') {
			if (had_password)
				continue;
			had_password = true;
			word = SPAN(">PASSWORD");
		}
		if (strlen(ret) + word.n + 2 > n)
			return false;
		put(ret, n, SPAN(" "));
		put(ret, n, word);
	}
	if (!told && strlen(ret) + 4 <= n)
		put(ret, n, SPAN(" &*"));
	return true;
}

static bool
open_list(struct span *acl)
{
	struct resp_item it;

	return reply_item(acl, &it) && it.type == RESP_ARRAY;
}

/* What is wrong with new's user of that name; NULL: nothing. */
static const char *
fault(struct span acl, struct span name, struct span rules, bool is_resume)
{
	struct marks old = marks_of(rules);
	struct span at;
	struct span found;

	if (!open_list(&acl))
		return NULL;
	while (acl_next(&acl, &nobody, &at, &found)) {
		struct marks new = marks_of(found);

		if (!span_eq(at, name))
			continue;
		if (is_resume)
			return NULL;
		if (new.rights != old.rights || new.channels != old.channels)
			return "new has with other rights";
		return new.passwords != old.passwords
		               ? "new has with another password"
		               : NULL;
	}
	return "new lacks";
}

static void
name_one(struct checks *c, const char *what, struct span name,
         struct span rules)
{
	char text[sizeof(c->line[0].detail)] = "";
	size_t before;

	put(text, sizeof(text), span_str(what));
	put(text, sizeof(text), SPAN(" the user "));
	put(text, sizeof(text), name);
	put(text, sizeof(text), SPAN(" of old; before the cutover, on new: "));
	before = strlen(text);
	put(text, sizeof(text), SPAN("ACL SETUSER "));
	put(text, sizeof(text), name);
	put(text, sizeof(text), SPAN(" reset"));
	if (!put_rules(text, sizeof(text), rules)) {
		text[before] = '\0';
		put(text, sizeof(text),
		    SPAN("ACL SETUSER with the rules that ACL LIST says on "
		         "old"));
	}
	checks_add(c, "users", CHECK_WARN, text);
}

uint32_t
users_put(struct buf *tx)
{
	resp_put_cmd(tx, "ACL", "LIST", NULL);
	return 1;
}

void
users_judge(struct checks *c, const struct span acl[SIDE_N], bool is_resume)
{
	struct span old = acl[SIDE_OLD];
	struct span name;
	struct span rules;
	uint32_t n = 0;

	if (!open_list(&old))
		return;
	while (acl_next(&old, &nobody, &name, &rules)) {
		const char *what = NULL;

		if (!span_has_prefix(name, SPAN("godwit-")))
			what = fault(acl[SIDE_NEW], name, rules, is_resume);
		if (what != NULL && ++n <= USERS_NAMED)
			name_one(c, what, name, rules);
	}
	if (n == 0)
		checks_add(c, "users", CHECK_PASS, "new has every user of old");
	else if (n > USERS_NAMED)
		checks_add(c, "users", CHECK_WARN,
		           "more users of old are missing or other on new than "
		           "are named here; compare ACL LIST of both");
}

void
users_judge_guests(struct checks *c, const struct span acl[SIDE_N])
{
	static const char *const names[SIDE_N] = { "old has the user ",
		                                   "new has the user " };

	for (int i = 0; i < SIDE_N; i++) {
		struct span list = acl[i];
		struct span name = SPAN("");
		struct span rules;
		char text[sizeof(c->line[0].detail)] = "";

		if (!open_list(&list))
			continue;
		while (acl_next(&list, &nobody, &name, &rules)) {
			if (span_has_prefix(name, SPAN("godwit-")))
				break;
			name = SPAN("");
		}
		if (name.n == 0)
			continue;
		put(text, sizeof(text), span_str(names[i]));
		put(text, sizeof(text), name);
		put(text, sizeof(text),
		    SPAN(": another migration is at work there, or left it. "
		         "While both go on, the switch of one shuts the "
		         "clients of the other out; end one of them first "
		         "(godwit stop, or complete and release)"));
		checks_add(c, "users", CHECK_WARN, text);
	}
}
