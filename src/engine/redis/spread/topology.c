/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/topology.c: the Redis Cluster that clients are shown.
 */
#include "engine/redis/spread/topology.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/num.h"
#include "engine/redis/sha1.h"
#include "wire/resp.h"

#define BUS_STEP 10000 /* the port of a node's bus is its own and this */

/* ---- masters ------------------------------------------------------------ */

/* host and port of an address; false: it has another form. */
static bool
cut(struct span address, struct span *ret_host, int64_t *ret_port)
{
	size_t colon = address.n;
	struct span host;

	while (colon > 0 && address.p[colon - 1] != ':')
		colon--;
	if (colon < 2)
		return false;
	host = span_of(address.p, colon - 1);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_of(host.p + 1, host.n - 2);
	else if (memchr(host.p, ':', host.n) != NULL)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		if (host.p[i] <= ' ' || host.p[i] > '~' || host.p[i] == ',' ||
		    host.p[i] == '@' || host.p[i] == '[' || host.p[i] == ']')
			return false;
	}
	*ret_host = host;
	return host.n < TOPOLOGY_HOST &&
	       num_get_i64(address.p + colon, address.n - colon, ret_port) &&
	       *ret_port > 0 && *ret_port <= UINT16_MAX;
}

static bool
is_at(const struct topology_node *n, struct span host, uint16_t port)
{
	return n->port == port && span_eq(span_str(n->host), host);
}

/* The same for whoever announces the same address. */
static void
make_id(struct topology_node *n)
{
	uint8_t text[TOPOLOGY_HOST + NUM_TEXT_MAX + 1];
	size_t len = strlen(n->host);
	uint8_t digest[SHA1_N];

	memcpy(text, n->host, len);
	text[len++] = ' ';
	len += num_put_u64(text + len, n->port);
	sha1(span_of(text, len), digest);
	for (size_t i = 0; i < SHA1_N; i++) {
		n->id[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		n->id[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	n->id[TOPOLOGY_ID] = '\0';
}

int
topology_add(struct topology *t, struct span address, struct err *err)
{
	struct topology_node *n = &t->node[t->n];
	struct span host;
	int64_t port;
	int shown = address.n < 120 ? (int)address.n : 120;

	if (t->n == TOPOLOGY_MAX)
		return err_set(err, ERR_BAD,
		               "a cluster is announced with at most %d "
		               "addresses",
		               TOPOLOGY_MAX);
	if (!cut(address, &host, &port))
		return err_set(err, ERR_BAD,
		               "\"%.*s\": an address is wanted that clients "
		               "can connect to, as 10.0.0.5:6400 or "
		               "[fd00::5]:6400",
		               shown, (const char *)address.p);
	for (uint32_t i = 0; i < t->n; i++) {
		if (is_at(&t->node[i], host, (uint16_t)port))
			return err_set(err, ERR_BAD,
			               "the address %.*s is announced twice",
			               shown, (const char *)address.p);
	}
	memcpy(n->host, host.p, host.n);
	n->host[host.n] = '\0';
	n->port = (uint16_t)port;
	make_id(n);
	t->n++;
	return 0;
}

void
topology_find_self(struct topology *t, struct span host, uint16_t port)
{
	uint32_t same = 0;

	t->self = 0;
	for (uint32_t i = 0; i < t->n; i++) {
		if (is_at(&t->node[i], host, port)) {
			t->self = i;
			return;
		}
		if (t->node[i].port == port && same++ == 0)
			t->self = i;
	}
	if (same > 1)
		t->self = 0;
}

uint32_t
topology_first_slot(const struct topology *t, uint32_t i)
{
	REQUIRE(i <= t->n && t->n > 0);
	return (i * HASH_SLOTS + t->n - 1) / t->n;
}

bool
topology_has(const struct topology *t, struct span id)
{
	for (uint32_t i = 0; i < t->n; i++) {
		if (span_eq(id, span_of(t->node[i].id, TOPOLOGY_ID)))
			return true;
	}
	return false;
}

/* ---- answers ------------------------------------------------------------ */

/* Its head: pairs of RESP3, or as many values one after the other. */
static void
put_map(struct buf *to, uint8_t proto, size_t pairs)
{
	if (proto == 3)
		resp_put_head(to, '%', pairs);
	else
		resp_put_array(to, 2 * pairs);
}

void
topology_put_slots(const struct topology *t, uint8_t proto, struct buf *to)
{
	resp_put_array(to, t->n);
	for (uint32_t i = 0; i < t->n; i++) {
		const struct topology_node *n = &t->node[i];

		resp_put_array(to, 3);
		resp_put_int(to, topology_first_slot(t, i));
		resp_put_int(to, (int64_t)topology_first_slot(t, i + 1) - 1);
		resp_put_array(to, 4);
		resp_put_bulk_str(to, n->host);
		resp_put_int(to, n->port);
		resp_put_bulk_str(to, n->id);
		put_map(to, proto, 0); /* no other names of it */
	}
}

static void
put_pair(struct buf *to, const char *name, const char *value)
{
	resp_put_bulk_str(to, name);
	resp_put_bulk_str(to, value);
}

void
topology_put_shards(const struct topology *t, uint8_t proto, struct buf *to)
{
	resp_put_array(to, t->n);
	for (uint32_t i = 0; i < t->n; i++) {
		const struct topology_node *n = &t->node[i];

		put_map(to, proto, 2);
		resp_put_bulk_str(to, "slots");
		resp_put_array(to, 2);
		resp_put_int(to, topology_first_slot(t, i));
		resp_put_int(to, (int64_t)topology_first_slot(t, i + 1) - 1);
		resp_put_bulk_str(to, "nodes");
		resp_put_array(to, 1);
		put_map(to, proto, 7);
		put_pair(to, "id", n->id);
		resp_put_bulk_str(to, t->tls ? "tls-port" : "port");
		resp_put_int(to, n->port);
		put_pair(to, "ip", n->host);
		put_pair(to, "endpoint", n->host);
		put_pair(to, "role", "master");
		resp_put_bulk_str(to, "replication-offset");
		resp_put_int(to, 0);
		put_pair(to, "health", "online");
	}
}

void
topology_put_nodes(const struct topology *t, struct buf *to)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct topology_node *n = &t->node[i];
		uint32_t bus = n->port + (uint32_t)BUS_STEP;

		/* id address flags master ping pong epoch link slots */
		buf_putf(to, "%s %s:%u@%u %smaster - 0 0 %u connected %u-%u\n",
		         n->id, n->host, n->port, bus > UINT16_MAX ? 0 : bus,
		         i == t->self ? "myself," : "", i + 1,
		         topology_first_slot(t, i),
		         topology_first_slot(t, i + 1) - 1);
	}
}

void
topology_put_info(const struct topology *t, struct buf *to)
{
	buf_putf(to,
	         "cluster_state:ok\r\n"
	         "cluster_slots_assigned:%d\r\n"
	         "cluster_slots_ok:%d\r\n"
	         "cluster_slots_pfail:0\r\n"
	         "cluster_slots_fail:0\r\n"
	         "cluster_known_nodes:%u\r\n"
	         "cluster_size:%u\r\n"
	         "cluster_current_epoch:%u\r\n"
	         "cluster_my_epoch:%u\r\n"
	         "cluster_stats_messages_sent:0\r\n"
	         "cluster_stats_messages_received:0\r\n"
	         "total_cluster_links_buffer_limit_exceeded:0\r\n",
	         HASH_SLOTS, HASH_SLOTS, t->n, t->n, t->n, t->self + 1);
}
