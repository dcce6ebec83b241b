/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/server.c: commands that act on one server.
 *
 * Without a migration there is one server, and they are its matter. With one
 * attached the authority is asked as well, but for what the fence and the mover
 * could not stand (tables/refused.tbl, docs/decisions/0025). A setting that concerns what clients see
 * is set on both sides, so that a switch does not change it.
 */
#include "engine/redis/keys.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/split.h"

/* Two servers behind one interlay, or users of Godwit's own with one upstream. */
static bool
is_shared(const struct relay *r)
{
	return r->board != NULL || r->door != NULL;
}

static enum dispatched
refuse(struct relay *r, struct session *s, const struct command *c)
{
	if (r->board == NULL)
		return dispatch_refuse(r, s,
		                       "ERR godwit refuses %s on an interlay "
		                       "with users of its own; ask the server",
		                       c->name);
	return dispatch_refuse(
		r, s, "ERR godwit refuses %s while a migration is attached: %s",
		c->name, c->why);
}

/* ---- CONFIG SET --------------------------------------------------------- */

/* A name, or the beginning of several that end with '*'. */
static bool
is_among(struct span word, const char *const *names)
{
	for (; *names != NULL; names++) {
		size_t n = strlen(*names);
		bool open = (*names)[n - 1] == '*';

		n -= open ? 1 : 0;
		if (word.n < n || (!open && word.n != n))
			continue;
		if (span_is_word(span_of(word.p, n),
		                 span_of((const uint8_t *)*names, n)))
			return true;
	}
	return false;
}

/* What the fence (users), the mover (how the server deletes by itself) or every
 * connection stands on. */
static const char *const never[] = {
	"requirepass",
	"lazyfree-lazy-expire",
	"lazyfree-lazy-eviction",
	"port",
	"tls-port",
	"bind",
	NULL,
};

/* What clients see of a server; all else (memory, files, threads, replicas) is of
 * its machine and may differ on purpose. */
static const char *const seen[] = {
	"notify-keyspace-events",
	"hash-max-*",
	"list-max-*",
	"list-compress-depth",
	"set-max-*",
	"zset-max-*",
	"stream-node-max-*",
	"hll-sparse-*",
	"slowlog-*",
	"latency-*",
	"busy-reply-*",
	"lua-time-limit",
	"proto-max-bulk-len",
	"timeout",
	"tracking-table-max-keys",
	NULL,
};

/* Is any setting of the request in the list? */
static bool
has_setting(struct span raw, const char *const *names)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i >= 2 && i % 2 == 0 && is_among(arg, names))
			return true;
	}
	return false;
}

static enum dispatched
config(struct relay *r, struct session *s, const struct command *c,
       const struct resp_cmd *q, struct span raw)
{
	struct lane *lane;

	if (is_shared(r) && has_setting(raw, never))
		return refuse(r, s, c);
	if (r->board == NULL || s->multi || !has_setting(raw, seen))
		return dispatch_plain(r, s, c, q, raw);
	lane = dispatch_lane(r, s, false);
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	return dispatch_send(r, s, lane, raw, PEND_CONFIG, PEND_F_KEPT);
}

/* The settings of the request that both sides have to have. */
static void
put_seen(struct buf *b, struct span raw)
{
	struct span arg;
	struct span name = { NULL, 0 };
	size_t pos = 0;
	size_t n = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++)
		n += i >= 2 && i % 2 == 0 && is_among(arg, seen);
	resp_put_array(b, 2 + 2 * n);
	resp_put_bulk(b, SPAN("CONFIG"));
	resp_put_bulk(b, SPAN("SET"));
	pos = 0;
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i % 2 == 0)
			name = arg;
		if (i < 3 || i % 2 == 0 || !is_among(name, seen))
			continue;
		resp_put_bulk(b, name);
		resp_put_bulk(b, arg);
	}
}

void
server_configured(struct relay *r, struct session *s, struct span request,
                  struct span reply)
{
	struct lane *lane;

	if (reply.n > 0 && reply.p[0] == '+' && r->board != NULL) {
		lane = lane_admin(r, side_other(r->route.authority));
		if (lane != NULL && lane->state == LANE_READY &&
		    lane->link->is_up) {
			put_seen(&lane->link->tx, request);
			(void)lane_pend(r, lane, NULL, PEND_IGNORE);
		}
	}
	session_say(r, s, reply);
}

/* ---- others ------------------------------------------------------------- */

/* Subcommands of DEBUG that change nothing, or only how long the answer takes. */
static const char *const looks[] = {
	"sleep",
	"error",
	"object",
	"digest",
	"digest-value",
	"sdslen",
	"listpack",
	"ziplist",
	"quicklist",
	"htstats",
	"htstats-key",
	"structsize",
	"stringmatch-len",
	"log",
	"jmap",
	"protocol",
	"help",
	"client-eviction",
	NULL,
};

/* DEBUG of a key of Godwit's own is refused as anything else of it. */
static enum dispatched
debug(struct relay *r, struct session *s, const struct command *c,
      const struct resp_cmd *q, struct span raw)
{
	if (is_shared(r) && (q->argc < 2 || !is_among(q->argv[1], looks)))
		return refuse(r, s, c);
	return dispatch_plain(r, s, c, q, raw);
}

static enum dispatched
migrate(struct relay *r, struct session *s, const struct command *c,
        const struct resp_cmd *q, struct span raw)
{
	if (keys_mention_ours(raw))
		return dispatch_refuse(
			r, s,
			"ERR godwit: names that begin with " KEYS_OWN_PREFIX
			" are Godwit's own");
	if (split_is_on(r))
		return dispatch_refuse(
			r, s,
			"ERR godwit refuses %s while writes move "
			"key by key: it may name keys of both "
			"sides",
			c->name);
	return dispatch_plain(r, s, c, q, raw);
}

/* Does it name a user of Godwit's? */
static bool
names_own_user(struct span raw)
{
	struct span arg;
	size_t pos = 0;

	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		if (i >= 2 && span_has_prefix(arg, SPAN("godwit-")))
			return true;
	}
	return false;
}

/* With a migration the other side follows (control/acl.c). */
static enum dispatched
users(struct relay *r, struct session *s, const struct command *c,
      const struct resp_cmd *q, struct span raw)
{
	if (r->door != NULL && r->board == NULL)
		return refuse(r, s, c);
	if (is_shared(r) &&
	    (r->door != NULL || !r->board->carries_users || split_is_on(r)))
		return dispatch_refuse(
			r, s,
			"ERR godwit refuses %s while %s: change both servers "
			"themselves",
			c->name,
			r->door != NULL ? "the interlay has users of its own"
			: split_is_on(r)
				? "writes move key by key"
				: "a migration is attached that cannot carry "
				  "users");
	if (r->board != NULL && names_own_user(raw))
		return dispatch_refuse(r, s,
		                       "ERR godwit: users that begin with "
		                       "godwit- are Godwit's own");
	return dispatch_plain(r, s, c, q, raw);
}

/* The connection that the script runs on is not read: another one, in database
 * 0, for a server that is busy refuses SELECT. */
static enum dispatched
end_script(struct relay *r, struct session *s, const struct command *c,
           const struct resp_cmd *q, struct span raw)
{
	uint32_t db = s->db;
	struct lane *lane;

	if (s->multi || s->watching)
		return dispatch_plain(r, s, c, q, raw);
	if (s->inflight > 0 || s->withheld > 0)
		return DISPATCH_WAIT;
	s->db = 0;
	lane = dispatch_lane(r, s, true);
	s->db = db;
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	return dispatch_send(r, s, lane, raw, PEND_PASS, 0);
}

enum dispatched
server_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	switch (c->handler) {
	case COMMAND_CONFIG: return config(r, s, c, q, raw);
	case COMMAND_DEBUG: return debug(r, s, c, q, raw);
	case COMMAND_MIGRATE: return migrate(r, s, c, q, raw);
	case COMMAND_USERS: return users(r, s, c, q, raw);
	case COMMAND_KILL: return end_script(r, s, c, q, raw);
	case COMMAND_WAIT:
		if (split_is_on(r))
			return dispatch_refuse(
				r, s,
				"ERR godwit refuses %s while writes move key "
				"by key: what it waits for may be on both "
				"sides",
				c->name);
		if (s->multi)
			return dispatch_plain(r, s, c, q, raw);
		return block_dispatch(r, s, c, q, raw);
	default:
		if (is_shared(r))
			return refuse(r, s, c);
		return dispatch_plain(r, s, c, q, raw);
	}
}
