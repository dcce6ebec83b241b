/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/fence.c: users, fences and positions of a server.
 */
#include "engine/redis/admin/fence.h"

#include "base/check.h"
#include "base/num.h"
#include "engine/redis/own.h"

/* A reader may look at everything and change nothing. Before 7.0 all of CLIENT is
 * dangerous; later these are connection's in any case. */
static const char *const reader_rules[] = {
	"~*",
	"-@all",
	"+@read",
	"+@connection",
	"+role",
	"+subscribe",
	"+psubscribe",
	"+unsubscribe",
	"+punsubscribe",
	"+multi",
	"+exec",
	"+discard",
	"-@dangerous",
	"+keys",
	"+info",
	"+client|setname",
	"+client|id",
	"+client|tracking",
	"+client|caching",
	"+client|reply",
};

#define READER_RULES (sizeof(reader_rules) / sizeof(reader_rules[0]))

uint32_t
admin_put_login(struct buf *tx, const char *user, const char *pass,
                const char *name)
{
	uint32_t n = 1;

	if (user[0] != '\0') {
		resp_put_cmd(tx, "AUTH", user, pass, NULL);
		n++;
	} else if (pass[0] != '\0') {
		resp_put_cmd(tx, "AUTH", pass, NULL);
		n++;
	}
	resp_put_cmd(tx, "CLIENT", "SETNAME", name, NULL);
	return n;
}

int
admin_read_login(struct span replies, const char *who, bool has_auth,
                 struct err *err)
{
	int rc = 0;

	if (has_auth) {
		rc = reply_ok(&replies, who, "AUTH", err);
		if (rc != 0)
			return err_set(err, ERR_AUTH,
			               "%s refuses the user or password; "
			               "correct the URL (redis://user:"
			               "password@host) or the password file",
			               who);
	}
	rc = reply_ok(&replies, who, "CLIENT SETNAME", err);
	if (rc == -ERR_AUTH)
		return err_set(err, ERR_AUTH,
		               "%s wants a password; put it into the URL as "
		               "redis://user:password@host",
		               who);
	return rc;
}

/* Requests of admin_put_users; the last ones only where the words are known. */
#define USERS_SURE  2
#define USERS_LATER 3

uint32_t
admin_put_users(struct buf *tx, const struct fence_own *own,
                const char *user_pass, const char *reader_pass)
{
	resp_put_array(tx, 8);
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk_str(tx, own->user);
	resp_put_bulk_str(tx, "reset");
	resp_put_bulk_str(tx, "on");
	buf_putf(tx, "$%zu\r\n>%s\r\n", strlen(user_pass) + 1, user_pass);
	resp_put_bulk_str(tx, "~*");
	resp_put_bulk_str(tx, "+@all");
	resp_put_array(tx, 6 + READER_RULES);
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk_str(tx, own->reader);
	resp_put_bulk_str(tx, "reset");
	resp_put_bulk_str(tx, "on");
	buf_putf(tx, "$%zu\r\n>%s\r\n", strlen(reader_pass) + 1, reader_pass);
	for (size_t i = 0; i < READER_RULES; i++)
		resp_put_bulk_str(tx, reader_rules[i]);
	resp_put_cmd(tx, "ACL", "SETUSER", own->user, "allchannels", NULL);
	resp_put_cmd(tx, "ACL", "SETUSER", own->reader, "allchannels", NULL);
	resp_put_cmd(tx, "ACL", "SETUSER", own->reader, "+ssubscribe",
	             "+sunsubscribe", NULL);
	return USERS_SURE + USERS_LATER;
}

int
admin_read_users(struct span replies, const char *who, struct err *err)
{
	static const char unknown[] = "ERR Error in ACL SETUSER modifier '";

	for (uint32_t i = 0; i < USERS_SURE + USERS_LATER; i++) {
		struct span look = replies;
		struct resp_item it;
		int rc;

		if (i >= USERS_SURE && reply_item(&look, &it) &&
		    it.type == RESP_ERROR &&
		    span_has_prefix(it.text, SPAN(unknown))) {
			replies = look;
			continue;
		}
		rc = reply_ok(&replies, who, "ACL SETUSER", err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Rights, not how to log in. */
static bool
is_right(struct span word)
{
	return !span_eq(word, SPAN("on")) && !span_eq(word, SPAN("off")) &&
	       !span_eq(word, SPAN("nopass")) && word.p[0] != '#' &&
	       word.p[0] != '>';
}

uint32_t
admin_put_writer(struct buf *tx, const struct fence_own *own, const char *pass,
                 struct span rules)
{
	struct span words = rules;
	struct span word;
	size_t argc = 6;

	while (reply_word(&words, &word))
		argc += is_right(word) ? 1 : 0;
	resp_put_array(tx, argc);
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk_str(tx, own->writer);
	resp_put_bulk_str(tx, "reset");
	resp_put_bulk_str(tx, "on");
	buf_putf(tx, "$%zu\r\n>%s\r\n", strlen(pass) + 1, pass);
	while (reply_word(&rules, &word)) {
		if (is_right(word))
			resp_put_bulk(tx, word);
	}
	return 1;
}

bool
acl_is_on(struct span rules)
{
	struct span word;

	while (reply_word(&rules, &word)) {
		if (span_eq(word, SPAN("on")))
			return true;
	}
	return false;
}

uint32_t
admin_put_no_users(struct buf *tx, const struct fence_own *own)
{
	resp_put_cmd(tx, "ACL", "DELUSER", own->reader, own->user, own->writer,
	             NULL);
	return 1;
}

bool
acl_line(struct span line, struct span *ret_name, struct span *ret_rules)
{
	struct span word;

	if (!reply_word(&line, &word) || !span_eq(word, SPAN("user")) ||
	    !reply_word(&line, ret_name))
		return false;
	while (line.n > 0 && line.p[0] == ' ')
		line = span_skip(line, 1);
	*ret_rules = line;
	return true;
}

bool
acl_is_fenced(struct span rules)
{
	struct span word;
	bool none = false;
	bool ping = false;

	while (reply_word(&rules, &word)) {
		uint8_t c = word.p[0];

		if (span_eq(word, SPAN("-@all")) && !ping)
			none = true;
		else if (span_eq(word, SPAN("+ping")) && none)
			ping = true;
		else if (none && (span_eq(word, SPAN("+psync")) ||
		                  span_eq(word, SPAN("+replconf"))))
			continue;
		else if (c == '+' || c == '-' || c == '(')
			return false;
	}
	return none && ping;
}

bool
acl_may_replicate(struct span rules)
{
	struct span word;
	bool all = false;
	bool psync = false;
	bool replconf = false;

	while (reply_word(&rules, &word)) {
		uint8_t c = word.p[0];

		if (c == '(')
			break;
		if (span_eq(word, SPAN("+@all")))
			all = true;
		else if (span_eq(word, SPAN("+psync")))
			psync = true;
		else if (span_eq(word, SPAN("+replconf")))
			replconf = true;
		else if (c == '-')
			all = psync = replconf = false;
	}
	return all || (psync && replconf);
}

bool
acl_is_own(struct span name, const struct fence_own *own)
{
	return span_eq(name, span_str(own->user)) ||
	       span_eq(name, span_str(own->reader)) ||
	       span_eq(name, span_str(own->writer)) ||
	       (own->kin_users != NULL &&
	        span_has_prefix(name, span_str(own->kin_users)));
}

bool
acl_next(struct span *at, const struct fence_own *own, struct span *ret_name,
         struct span *ret_rules)
{
	struct resp_item it;

	while (reply_item(at, &it)) {
		if (it.type != RESP_BULK ||
		    !acl_line(it.text, ret_name, ret_rules) ||
		    acl_is_own(*ret_name, own))
			continue;
		return true;
	}
	return false;
}

static const char *
tag_of(const struct fence_own *own)
{
	return own->tag != NULL ? own->tag : "";
}

uint32_t
admin_put_look(struct buf *tx, const struct fence_own *own)
{
	char token[OWN_NAME];

	(void)own_name(token, "fence", tag_of(own));
	resp_put_cmd(tx, "WATCH", token, NULL);
	resp_put_cmd(tx, "GET", token, NULL);
	resp_put_cmd(tx, "ACL", "LIST", NULL);
	return 3;
}

uint32_t
admin_put_readonly(struct buf *tx, const struct fence_own *own)
{
	if (tag_of(own)[0] == '\0')
		return 0;
	resp_put_cmd(tx, "READONLY", NULL);
	return 1;
}

int
admin_read_look(struct span replies, const char *who,
                const struct fence_own *own, struct fence_look *ret,
                struct err *err)
{
	struct resp_item it;
	struct span at;
	struct span name;
	struct span rules;
	struct span look;
	int rc = reply_ok(&replies, who, "WATCH", err);

	*ret = (struct fence_look){ 0 };
	if (rc != 0)
		return rc;
	look = replies;
	rc = reply_ok(&look, who, "GET of the fence's token", err);
	if (rc != 0)
		return rc;
	if (!reply_item(&replies, &it))
		return err_set(err, ERR_PROTO, "%s: no answer to GET", who);
	ret->has_token = it.type == RESP_BULK;
	ret->epoch = ret->has_token ? reply_u64(it.text) : 0;
	look = replies;
	rc = reply_ok(&look, who, "ACL LIST", err);
	if (rc != 0)
		return rc;
	if (!reply_item(&replies, &it) || it.type != RESP_ARRAY)
		return err_set(err, ERR_PROTO, "%s: odd answer to ACL LIST",
		               who);
	ret->acl = replies;
	at = ret->acl;
	while (acl_next(&at, own, &name, &rules)) {
		ret->users++;
		ret->fenced += acl_is_fenced(rules) ? 1 : 0;
	}
	return 0;
}

/* Servers that are full take a script, and in it everything behind a first write
 * that may be done (DEL). */
static const char full_token[] =
	"local at = redis.call('GET', KEYS[1])\n"
	"if at and tonumber(at) > tonumber(ARGV[1]) then\n"
	"  return redis.error_reply('ERR another controller changed the fence')\n"
	"end\n"
	"redis.call('DEL', KEYS[1])\n"
	"redis.call('SET', KEYS[1], ARGV[1])\n"
	"return redis.status_reply('OK')\n";

static uint32_t
put_full_token(struct buf *tx, const struct fence_own *own, uint64_t epoch)
{
	char token[OWN_NAME];

	resp_put_cmd(tx, "UNWATCH", NULL);
	resp_put_array(tx, 5);
	resp_put_bulk_str(tx, "EVAL");
	resp_put_bulk_str(tx, full_token);
	resp_put_bulk_str(tx, "1");
	resp_put_bulk_str(tx, own_name(token, "fence", tag_of(own)));
	resp_put_bulk_u64(tx, epoch);
	return 2;
}

/* A replica gets its token by its stream. */
static uint32_t
put_token(struct buf *tx, const struct fence_look *look,
          const struct fence_own *own, uint64_t epoch)
{
	char token[OWN_NAME];

	if (look->is_full)
		return put_full_token(tx, own, epoch);
	resp_put_cmd(tx, "MULTI", NULL);
	if (epoch == FENCE_NO_TOKEN)
		return 1;
	resp_put_array(tx, 3);
	resp_put_bulk_str(tx, "SET");
	resp_put_bulk_str(tx, own_name(token, "fence", tag_of(own)));
	resp_put_bulk_u64(tx, epoch);
	return 2;
}

static uint32_t
put_end(struct buf *tx, const struct fence_look *look)
{
	if (look->is_full)
		return 0;
	resp_put_cmd(tx, "EXEC", NULL);
	return 1;
}

static bool
has_selectors(struct span rules)
{
	struct span word;

	while (reply_word(&rules, &word)) {
		if (word.p[0] == '(')
			return true;
	}
	return false;
}

/* Whoever could replicate goes on: the server's replicas log in as somebody, and a
 * fence that cuts them leaves the side without its copies. Nothing is given that
 * was not there. Servers before 7.0 have no selectors, nor a word for them. */
static void
put_shut(struct buf *tx, struct span name, struct span rules)
{
	bool may_replicate = acl_may_replicate(rules);
	bool selectors = has_selectors(rules);

	resp_put_array(tx, (may_replicate ? 7u : 5u) + (selectors ? 1u : 0u));
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk(tx, name);
	resp_put_bulk_str(tx, "-@all");
	if (selectors)
		resp_put_bulk_str(tx, "clearselectors");
	if (may_replicate) {
		resp_put_bulk_str(tx, "+psync");
		resp_put_bulk_str(tx, "+replconf");
	}
	resp_put_bulk_str(tx, "+ping");
}

uint32_t
admin_put_fence(struct buf *tx, const struct fence_look *look,
                const struct fence_own *own, uint64_t epoch)
{
	uint32_t n = put_token(tx, look, own, epoch);
	struct span at = look->acl;
	struct span name;
	struct span rules;

	REQUIRE(epoch == FENCE_NO_TOKEN || !look->has_token ||
	        look->epoch <= epoch);
	while (acl_next(&at, own, &name, &rules)) {
		if (acl_is_fenced(rules))
			continue;
		put_shut(tx, name, rules);
		n++;
	}
	return n + put_end(tx, look);
}

/* Only what the fence took away is given back: the command rules and the
 * selectors; of a user that is fenced there are none. Passwords, keys and channels
 * were not touched, and may have been changed meanwhile by their owner. */
static bool
next_right(struct span *rules, bool *in_selector, struct span *ret)
{
	while (reply_word(rules, ret)) {
		uint8_t c = ret->p[0];
		bool take = *in_selector || c == '+' || c == '-' || c == '(';

		if (c == '(')
			*in_selector = true;
		if (ret->p[ret->n - 1] == ')')
			*in_selector = false;
		if (take)
			return true;
	}
	return false;
}

static void
put_setuser(struct buf *tx, struct span name, struct span rules)
{
	struct span words = rules;
	struct span word;
	bool in_selector = false;
	size_t argc = 0;

	while (next_right(&words, &in_selector, &word))
		argc++;
	resp_put_array(tx, 4 + argc);
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk(tx, name);
	resp_put_bulk_str(tx, "-@all");
	in_selector = false;
	while (next_right(&rules, &in_selector, &word))
		resp_put_bulk(tx, word);
}

uint32_t
admin_put_unfence(struct buf *tx, const struct fence_look *look,
                  const struct fence_own *own, uint64_t epoch,
                  acl_saved_f *saved, void *arg)
{
	uint32_t n = put_token(tx, look, own, epoch);
	struct span at = look->acl;
	struct span name;
	struct span rules;

	REQUIRE(epoch == FENCE_NO_TOKEN || !look->has_token ||
	        look->epoch <= epoch);
	while (acl_next(&at, own, &name, &rules)) {
		struct span before;

		if (!acl_is_fenced(rules))
			continue;
		if (!saved(arg, name, &before))
			continue;
		put_setuser(tx, name, before);
		n++;
	}
	return n + put_end(tx, look);
}

/* The next word of the rules that is no right of commands: how to log in, keys,
 * channels. What servers before 6.2 do not know, and all have by default, is left
 * out. */
static bool
next_other(struct span *rules, bool *in_selector, struct span *ret)
{
	while (reply_word(rules, ret)) {
		uint8_t c = ret->p[0];
		bool take = !*in_selector && c != '+' && c != '-' && c != '(' &&
		            !span_eq(*ret, SPAN("sanitize-payload"));

		if (c == '(')
			*in_selector = true;
		if (*in_selector && ret->p[ret->n - 1] == ')')
			*in_selector = false;
		if (take)
			return true;
	}
	return false;
}

uint32_t
admin_put_fenced(struct buf *tx, struct span name, struct span live,
                 struct span rules)
{
	bool may_replicate = acl_may_replicate(rules);
	struct span words = live;
	struct span word;
	bool in_selector = false;
	size_t argc = may_replicate ? 8 : 6;

	while (next_other(&words, &in_selector, &word))
		argc++;
	resp_put_array(tx, argc);
	resp_put_bulk_str(tx, "ACL");
	resp_put_bulk_str(tx, "SETUSER");
	resp_put_bulk(tx, name);
	resp_put_bulk_str(tx, "reset");
	in_selector = false;
	while (next_other(&live, &in_selector, &word))
		resp_put_bulk(tx, word);
	resp_put_bulk_str(tx, "-@all");
	if (may_replicate) {
		resp_put_bulk_str(tx, "+psync");
		resp_put_bulk_str(tx, "+replconf");
	}
	resp_put_bulk_str(tx, "+ping");
	return 1;
}

int
admin_read_exec(struct span replies, uint32_t n, const char *who,
                const char *what, struct err *err)
{
	struct resp_item it;
	int rc;

	for (uint32_t i = 0; i + 1 < n; i++) {
		rc = reply_ok(&replies, who, what, err);
		if (rc != 0)
			return rc;
	}
	if (!reply_item(&replies, &it))
		return err_set(err, ERR_PROTO, "%s: %s: no answer to EXEC", who,
		               what);
	if (it.type == RESP_NIL)
		return err_set(err, ERR_STATE,
		               "%s: %s: another controller changed the fence "
		               "at the same moment",
		               who, what);
	if (it.type != RESP_ARRAY) {
		char text[120];

		reply_text(it.text, text, sizeof(text));
		return err_set(err, ERR_REFUSED, "%s: %s: %s", who, what, text);
	}
	for (int64_t i = 0; i < it.number; i++) {
		rc = reply_ok(&replies, who, what, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

bool
admin_is_full(struct span replies)
{
	struct resp_item it;

	while (reply_item(&replies, &it)) {
		if (it.type == RESP_ERROR &&
		    span_has_prefix(it.text, SPAN("OOM ")))
			return true;
	}
	return false;
}

int
admin_read_each(struct span replies, uint32_t n, const char *who,
                const char *what, struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = reply_ok(&replies, who, what, err);
	return rc;
}

uint32_t
admin_put_role(struct buf *tx)
{
	resp_put_cmd(tx, "ROLE", NULL);
	return 1;
}

int
admin_read_role(struct span replies, const char *who, uint64_t *ret_position,
                struct err *err)
{
	struct span look = replies;
	struct resp_item it;
	int rc = reply_ok(&look, who, "ROLE", err);

	if (rc != 0)
		return rc;
	if (!reply_item(&replies, &it) || it.type != RESP_ARRAY ||
	    !reply_item(&replies, &it))
		return err_set(err, ERR_PROTO, "%s: odd answer to ROLE", who);
	if (!span_eq(it.text, SPAN("master")))
		return err_set(err, ERR_STATE, "%s is no master any more", who);
	if (!reply_item(&replies, &it) || it.type != RESP_INT)
		return err_set(err, ERR_PROTO, "%s: odd answer to ROLE", who);
	*ret_position = (uint64_t)it.number;
	return 0;
}

uint32_t
admin_put_marker(struct buf *tx, const struct fence_own *own, uint64_t epoch,
                 bool first)
{
	uint8_t text[NUM_TEXT_MAX + 1 + OWN_TAG] = { '+' };
	size_t n = num_put_u64(text + 1, epoch);
	size_t tag = strlen(tag_of(own));

	REQUIRE(tag < OWN_TAG);
	memcpy(text + 1 + n, tag_of(own), tag);
	n += tag;
	resp_put_array(tx, 3);
	resp_put_bulk_str(tx, "PUBLISH");
	resp_put_bulk_str(tx, FENCE_MARKER);
	resp_put_bulk(tx, first ? span_of(text, n + 1) : span_of(text + 1, n));
	return 1;
}

uint32_t
admin_put_persist(struct buf *tx, bool has_aclfile)
{
	if (has_aclfile)
		resp_put_cmd(tx, "ACL", "SAVE", NULL);
	else
		resp_put_cmd(tx, "CONFIG", "REWRITE", NULL);
	return 1;
}

uint32_t
admin_put_no_keys(struct buf *tx, const struct fence_own *own)
{
	/* The last three: what a mover that died may have left. */
	static const char *const names[] = { "fence", "mark", "mark-back",
		                             "seen",  "fill", "merge",
		                             "delay" };
	size_t n = sizeof(names) / sizeof(names[0]);
	char name[OWN_NAME];

	resp_put_array(tx, 1 + n);
	resp_put_bulk_str(tx, "UNLINK");
	for (size_t i = 0; i < n; i++)
		resp_put_bulk_str(tx, own_name(name, names[i], tag_of(own)));
	return 1;
}
