/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/branch.c: a client's connection to one instance.
 */
#include "engine/redis/spread/inside.h"

enum {
	CMD_LOCAL = 0x20,
	CMD_PROXY = 0x21,
	FAMILY_NONE = 0x00,
	FAMILY_TCP4 = 0x11,
	FAMILY_TCP6 = 0x21,
};

static const uint8_t signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
	                               0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };
static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
static const uint8_t zeros[20]; /* ports are not known, nor is our address */

static void
put_head(struct buf *to, uint8_t command, uint8_t family, uint8_t n)
{
	uint8_t rest[4] = { command, family, 0, n };

	buf_put(to, signature, sizeof(signature));
	buf_put(to, rest, sizeof(rest));
}

void
branch_header(struct buf *to, const struct cidr_address *peer)
{
	if (!peer->is_known) {
		put_head(to, CMD_LOCAL, FAMILY_NONE, 0);
	} else if (memcmp(peer->b, v4, sizeof(v4)) == 0) {
		put_head(to, CMD_PROXY, FAMILY_TCP4, 12);
		buf_put(to, peer->b + sizeof(v4), 4);
		buf_put(to, zeros, 8);
	} else {
		put_head(to, CMD_PROXY, FAMILY_TCP6, 36);
		buf_put(to, peer->b, sizeof(peer->b));
		buf_put(to, zeros, 20);
	}
}

bool
branch_open(struct client *c, struct span header)
{
	struct port *p = c->s->port;

	for (uint32_t i = 0; i < c->n; i++) {
		struct branch *b = &c->branch[i];

		b->link = p->ops->open(p, &c->s->conf->instance[i].at, b);
		if (b->link == NULL)
			return false;
		branch_put(b, header);
	}
	return true;
}

void
branch_close(struct branch *b)
{
	struct port *p = b->c->s->port;

	if (b->link != NULL)
		p->ops->close(p, b->link, false);
	b->link = NULL;
	buf_fini(&b->rx.kept);
	b->rx.now = span_of(NULL, 0);
}

bool
branch_has_room(struct branch *b)
{
	if (b->link == NULL || buf_len(&b->link->tx) <= SPREAD_SLOW_TX)
		return true;
	b->link->want_drained = true;
	port_touch(b->c->s->port, b->link);
	return false;
}

void
branch_put(struct branch *b, struct span bytes)
{
	if (b->link == NULL)
		return; /* its answer will be an error */
	buf_put_span(&b->link->tx, bytes);
	port_touch(b->c->s->port, b->link);
}

void
branch_pace(struct branch *b)
{
	struct port *p = b->c->s->port;
	bool off = buf_len(&b->rx.kept) > SPREAD_EARLY_MAX;

	if (b->link == NULL || off == b->read_off)
		return;
	b->read_off = off;
	p->ops->read(p, b->link, !off);
}

enum wire_rc
branch_piece(struct branch *b, struct span *ret)
{
	struct span in = feed_span(&b->rx);
	size_t used = 0;
	enum wire_rc rc;

	if (!b->inside)
		resp_skip_init(&b->skip);
	rc = resp_skip_feed(&b->skip, in, &used);
	*ret = span_of(in.p, used);
	if (used > 0)
		b->inside = rc == WIRE_MORE;
	return rc;
}
