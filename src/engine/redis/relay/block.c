/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/block.c: blocking commands.
 */
#include "engine/redis/relay/inside.h"

enum dispatched
block_dispatch(struct relay *r, struct session *s, const struct command *c,
               const struct resp_cmd *q, struct span raw)
{
	struct lane *lane = dispatch_lane(r, s, true);

	(void)c;
	(void)q;
	if (lane == NULL)
		return s->link == NULL ? DISPATCH_CLOSED : DISPATCH_WAIT;
	return dispatch_send(r, s, lane, raw, PEND_PASS, PEND_F_WRITE);
}
void
block_reply(struct relay *r, struct session *s, struct lane *lane,
            struct span reply)
{
	(void)r;
	(void)s;
	(void)lane;
	(void)reply;
}
void
block_last(struct relay *r, struct session *s, struct span reply)
{
	(void)r;
	(void)s;
	(void)reply;
}
void
block_free(struct relay *r, struct session *s)
{
	(void)r;
	(void)s;
}
void
block_ask(struct relay *r)
{
	(void)r;
}
void
block_again(struct relay *r, struct session *s)
{
	(void)r;
	(void)s;
}
