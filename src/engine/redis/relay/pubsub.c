/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/pubsub.c: subscribers.
 */
#include "engine/redis/relay/inside.h"

enum dispatched
pubsub_dispatch(struct relay *r, struct session *s, const struct command *c,
                const struct resp_cmd *q, struct span raw)
{
	(void)c;
	(void)q;
	(void)raw;
	session_say(r, s, SPAN("-ERR not yet\r\n"));
	return DISPATCHED;
}
void
pubsub_bytes(struct relay *r, struct lane *lane, struct span in)
{
	(void)r;
	(void)lane;
	(void)in;
}
void
pubsub_ready(struct relay *r, struct lane *lane)
{
	(void)r;
	(void)lane;
}
void
pubsub_lost(struct relay *r, struct lane *lane)
{
	(void)r;
	(void)lane;
}
void
pubsub_free(struct relay *r, struct session *s)
{
	(void)r;
	(void)s;
}
void
pubsub_hold(struct relay *r)
{
	(void)r;
}
void
pubsub_flip(struct relay *r)
{
	(void)r;
}
void
pubsub_check(struct relay *r)
{
	(void)r;
}
void
pubsub_stop(struct relay *r, struct session *s)
{
	(void)r;
	(void)s;
}
