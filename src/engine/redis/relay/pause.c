/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pause.c: what CLIENT PAUSE holds: as at a server everything,
 * or what may write.
 *
 * A wrong number of words is told at once. A script may write unless its first
 * line says that it does not; of EVALSHA the body has to be known here. What a
 * function may do nobody here knows: it is held. EXEC is held when something that
 * is queued would be, or when that is not known (behind WATCH, above
 * RELAY_TX_KEEP_MAX).
 *
 * Thread: that of the relay.
 * Source: https://redis.io/docs/latest/commands/client-pause/
 */
#include "engine/redis/lua.h"
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/script.h"
#include "engine/redis/relay/split.h"

static bool
may_write(struct relay *r, const struct command *c, const struct resp_cmd *q)
{
	struct span name = span_of((const uint8_t *)c->name, c->name_n);

	if (c->kind != COMMAND_WRITE)
		return command_is_publish(c) || span_eq(name, SPAN("pfcount"));
	if (c->handler == COMMAND_EVAL)
		return !lua_declares_no_writes(q->argv[1]);
	if (c->handler == COMMAND_EVALSHA)
		return !lua_declares_no_writes(script_find(r, q->argv[1]));
	return true;
}

/* The same for what is queued. */
static bool
queue_may_write(struct relay *r, const struct session *s)
{
	struct resp_cmd *q = &r->cmd2;
	const struct command *c;
	struct span rest;
	bool may = false;

	if (s->wide == NULL || !s->wide->body_ok)
		return true;
	rest = buf_span(&s->wide->body);
	while (rest.n > 0 && !may) {
		resp_cmd_init(q);
		if (resp_cmd_feed(q, rest) != WIRE_PART)
			NEVER("what was queued is whole");
		c = q->argc == 0 ? NULL : dispatch_row(r, q);
		may = c != NULL && command_takes(c, q->argc) &&
		      may_write(r, c, q);
		rest = span_skip(rest, q->used);
	}
	return may;
}

bool
pause_holds(struct relay *r, const struct session *s, const struct command *c,
            const struct resp_cmd *q)
{
	if (c->handler == COMMAND_CLIENTS || c->handler == COMMAND_QUIT ||
	    !command_takes(c, q->argc))
		return false;
	if (r->pause_all)
		return true;
	if (c->handler == COMMAND_EXEC)
		return s->multi && !s->multi_refused && queue_may_write(r, s);
	return may_write(r, c, q);
}
