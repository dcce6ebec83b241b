/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/cluster.c: what a node of a Redis Cluster says of the cluster.
 *
 * A line of CLUSTER NODES:
 *   id host:port@bus[,hostname] flags master ping pong epoch state slot...
 * where a slot is "5", "7-99", or one on its way: "[5->-id]", "[5-<-id]".
 */
#include "engine/redis/admin/cluster.h"

#include "base/num.h"

uint32_t
cluster_put(struct buf *tx)
{
	resp_put_cmd(tx, "CLUSTER", "INFO", NULL);
	resp_put_cmd(tx, "CLUSTER", "NODES", NULL);
	return 2;
}

static void
put_setslot(struct buf *tx, uint32_t slot, const char *what, const char *id)
{
	resp_put_array(tx, id != NULL ? 5 : 4);
	resp_put_bulk_str(tx, "CLUSTER");
	resp_put_bulk_str(tx, "SETSLOT");
	resp_put_bulk_u64(tx, slot);
	resp_put_bulk_str(tx, what);
	if (id != NULL)
		resp_put_bulk_str(tx, id);
}

/* A node that imports a slot and becomes its owner takes a newer epoch, so all
 * others believe it. */
void
cluster_put_take(struct buf *tx, uint32_t slot, const char *from,
                 const char *self)
{
	put_setslot(tx, slot, "IMPORTING", from);
	put_setslot(tx, slot, "NODE", self);
}

void
cluster_put_stable(struct buf *tx, uint32_t slot)
{
	put_setslot(tx, slot, "STABLE", NULL);
}

/* Is it among words with commas between? */
static bool
has_flag(struct span flags, struct span word)
{
	while (flags.n >= word.n) {
		size_t n = 0;

		while (n < flags.n && flags.p[n] != ',')
			n++;
		if (span_eq(span_of(flags.p, n), word))
			return true;
		if (n == flags.n)
			break;
		flags = span_skip(flags, n + 1);
	}
	return false;
}

/* "host:port@bus,hostname"; an IPv6 address has no brackets. */
static void
take_address(struct span word, struct cluster_node *ret)
{
	size_t at = 0;
	size_t colon;

	while (at < word.n && word.p[at] != '@')
		at++;
	colon = at;
	while (colon > 0 && word.p[colon - 1] != ':')
		colon--;
	if (colon == 0 || colon - 1 >= sizeof(ret->host))
		return;
	reply_text(span_of(word.p, colon - 1), ret->host, sizeof(ret->host));
	ret->port = (uint16_t)reply_u64(span_skip(word, colon));
}

static void
take_slots(struct span word, struct cluster_node *ret)
{
	uint64_t from = reply_u64(word);
	uint64_t to = from;

	if (word.n > 0 && word.p[0] == '[') {
		ret->is_open = true;
		ret->open_slot = (uint32_t)reply_u64(span_skip(word, 1));
		return;
	}
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] == '-') {
			to = reply_u64(span_skip(word, i + 1));
			break;
		}
	}
	for (uint64_t s = from; s <= to && s < HASH_SLOTS; s++) {
		if (!cluster_has(&ret->slots, (uint32_t)s))
			ret->slot_n++;
		ret->slots.bit[s / 8] |= (uint8_t)(1u << (s % 8));
	}
}

bool
cluster_next(struct span *text, struct cluster_node *ret)
{
	struct span line;
	struct span word;

	do {
		if (!reply_line(text, &line))
			return false;
	} while (line.n == 0);
	*ret = (struct cluster_node){ .port = 0 };
	for (unsigned i = 0; reply_word(&line, &word); i++) {
		if (i == 0)
			reply_text(word, ret->id, sizeof(ret->id));
		else if (i == 1)
			take_address(word, ret);
		else if (i == 6)
			ret->epoch = reply_u64(word);
		else if (i > 7)
			take_slots(word, ret);
		if (i != 2)
			continue;
		ret->is_self = has_flag(word, SPAN("myself"));
		ret->is_master = has_flag(word, SPAN("master"));
		ret->is_away = has_flag(word, SPAN("fail")) ||
		               has_flag(word, SPAN("fail?")) ||
		               has_flag(word, SPAN("handshake")) ||
		               has_flag(word, SPAN("noaddr"));
	}
	return true;
}

int
cluster_read(struct span replies, const char *who, struct cluster_self *ret,
             struct err *err)
{
	struct span look = replies;
	struct resp_item it;
	struct span state;
	int rc = reply_ok(&look, who, "CLUSTER INFO", err);

	*ret = (struct cluster_self){ .is_ok = false };
	if (rc == 0)
		rc = reply_ok(&look, who, "CLUSTER NODES", err);
	if (rc != 0)
		return rc;
	if (!reply_item(&replies, &it) || it.type != RESP_BULK)
		return err_set(err, ERR_PROTO, "%s: odd answer to CLUSTER INFO",
		               who);
	ret->is_ok = reply_info(it.text, "cluster_state", &state) &&
	             span_eq(state, SPAN("ok"));
	if (!reply_item(&replies, &it) || it.type != RESP_BULK)
		return err_set(err, ERR_PROTO,
		               "%s: odd answer to CLUSTER NODES", who);
	while (cluster_next(&it.text, &ret->node)) {
		if (ret->node.is_self)
			return 0;
	}
	return err_set(err, ERR_PROTO, "%s: CLUSTER NODES does not name it",
	               who);
}

void
cluster_text(const struct cluster_slots *s, char *ret, size_t n)
{
	size_t used = 0;

	ret[0] = '\0';
	for (uint32_t i = 0; i < HASH_SLOTS; i++) {
		uint8_t text[2 * NUM_TEXT_MAX + 2];
		uint32_t first = i;
		size_t len = 0;

		if (!cluster_has(s, i))
			continue;
		while (i + 1 < HASH_SLOTS && cluster_has(s, i + 1))
			i++;
		if (used > 0)
			text[len++] = ',';
		len += num_put_u64(text + len, first);
		if (i > first) {
			text[len++] = '-';
			len += num_put_u64(text + len, i);
		}
		if (used + len + 4 > n) {
			if (used + 4 <= n)
				memcpy(ret + used, "...", 4);
			return;
		}
		memcpy(ret + used, text, len);
		used += len;
		ret[used] = '\0';
	}
}

bool
cluster_covers(const struct cluster_slots *a, const struct cluster_slots *b)
{
	for (size_t i = 0; i < sizeof(a->bit); i++) {
		if ((b->bit[i] & (uint8_t)~a->bit[i]) != 0)
			return false;
	}
	return true;
}

uint32_t
cluster_unlike(const struct cluster_slots *a, const struct cluster_slots *b)
{
	uint32_t i = 0;

	while (i < HASH_SLOTS && cluster_has(a, i) == cluster_has(b, i))
		i++;
	return i;
}
