/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/beat.c: what is written to a side to come back in its stream.
 *
 * A server alone: PUBLISH to a channel of our own. A node of a cluster sends PUBLISH
 * by the cluster's bus and not by its stream, so there it is
 * MULTI; SET key token; DEL key; EXEC, which leaves nothing behind.
 */
#include "engine/redis/mover/state.h"

/* Both movers of a split work on the same servers, so each has a name of its own. */
static const char *
name(const struct mover *m, char ret[OWN_NAME])
{
	return whose_own(m, m->conf->scope_side == SIDE_NEW ? "hb-back" : "hb",
	                 ret);
}

static void
put_key(struct mover *m, struct conn *c, const char *key, uint64_t token)
{
	struct buf *b;

	conn_select(m, c, 0);
	b = conn_out(m, c);
	resp_put_cmd(b, "MULTI", NULL);
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "SET");
	resp_put_bulk_str(b, key);
	resp_put_bulk_u64(b, token);
	resp_put_cmd(b, m->server[c->side].lazy_expire ? "DEL" : "UNLINK", key,
	             NULL);
	resp_put_cmd(b, "EXEC", NULL);
}

void
beat_put(struct mover *m, struct conn *c, uint64_t token)
{
	char key[OWN_NAME];
	struct buf *b;

	(void)name(m, key);
	if (m->in_cluster) {
		put_key(m, c, key, token);
		(void)conn_want(m, c, WANT_SKIP, 4);
		return;
	}
	b = conn_out(m, c);
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "PUBLISH");
	resp_put_bulk_str(b, key);
	resp_put_bulk_u64(b, token);
	(void)conn_want(m, c, WANT_SKIP, 1);
}

bool
beat_read(const struct mover *m, const struct resp_cmd *cmd,
          uint64_t *ret_token)
{
	char key[OWN_NAME];

	return cmd->argc == 3 &&
	       span_is_word(cmd->argv[0],
	                    m->in_cluster ? SPAN("set") : SPAN("publish")) &&
	       span_has_prefix(cmd->argv[1], SPAN("__godwit:")) &&
	       span_eq(cmd->argv[1], span_str(name(m, key))) &&
	       words_number(cmd->argv[2], ret_token);
}

void
beat_ping(struct mover *m, struct conn *c)
{
	char key[OWN_NAME];

	if (m->in_cluster) {
		put_key(m, c, whose_own(m, "ping", key), 1);
		(void)conn_want(m, c, WANT_QUIET, 4);
		return;
	}
	resp_put_cmd(conn_out(m, c), "PUBLISH", "__godwit:ping", "1", NULL);
	(void)conn_want(m, c, WANT_QUIET, 1);
}
