/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/fence_clients.c: who is connected to a server: clients that a
 * fence cuts, and replicas.
 */
#include "engine/redis/admin/fence.h"

uint32_t
admin_put_client_list(struct buf *tx)
{
	resp_put_cmd(tx, "CLIENT", "LIST", NULL);
	return 1;
}

/* The value behind "key=" in a line of CLIENT LIST. */
static struct span
field(struct span line, const char *key)
{
	size_t n = strlen(key);
	struct span word;

	while (reply_word(&line, &word)) {
		if (word.n > n && word.p[n] == '=' &&
		    memcmp(word.p, key, n) == 0)
			return span_skip(word, n + 1);
	}
	return span_of(NULL, 0);
}

static bool
is_spared(struct span line, const struct fence_own *own)
{
	struct span flags = field(line, "flags");
	struct span name = field(line, "name");

	if (name.n > 0 && (span_has_prefix(name, span_str(own->prefix)) ||
	                   (own->kin_names != NULL &&
	                    span_has_prefix(name, span_str(own->kin_names)))))
		return true;
	for (uint32_t i = 0; name.n > 0 && i < own->interlay_n; i++) {
		if (span_has_prefix(name, span_str(own->interlays[i])))
			return true;
	}
	for (size_t i = 0; i < flags.n; i++) {
		/* A replica, our feed among them; our master; a closing one. */
		if (flags.p[i] == 'S' || flags.p[i] == 'M' ||
		    flags.p[i] == 'c' || flags.p[i] == 'A')
			return true;
	}
	return false;
}

/* Whoever is not spared by own, or (NULL) whose name begins with prefix. */
static uint32_t
put_kills(struct buf *tx, struct span list_reply, const struct fence_own *own,
          struct span prefix)
{
	struct resp_item it;
	struct span line;
	uint32_t n = 0;

	if (!reply_item(&list_reply, &it) || it.type != RESP_BULK)
		return 0;
	while (reply_line(&it.text, &line)) {
		struct span id = field(line, "id");
		struct span name = field(line, "name");
		bool meant =
			own != NULL
				? !is_spared(line, own)
				: name.n > 0 && span_has_prefix(name, prefix);

		if (id.n == 0 || !meant)
			continue;
		resp_put_array(tx, 4);
		resp_put_bulk_str(tx, "CLIENT");
		resp_put_bulk_str(tx, "KILL");
		resp_put_bulk_str(tx, "ID");
		resp_put_bulk(tx, id);
		n++;
	}
	return n;
}

uint32_t
admin_put_kills(struct buf *tx, struct span list_reply,
                const struct fence_own *own)
{
	return put_kills(tx, list_reply, own, SPAN(""));
}

uint32_t
admin_put_kill_named(struct buf *tx, struct span list_reply, struct span prefix)
{
	return put_kills(tx, list_reply, NULL, prefix);
}

uint32_t
admin_put_replicas(struct buf *tx)
{
	resp_put_cmd(tx, "INFO", "replication", NULL);
	return 1;
}

/* The value of "key=" up to the next comma. */
static struct span
part(struct span line, const char *key)
{
	size_t n = strlen(key);

	while (line.n > n) {
		struct span v = span_skip(line, n);
		size_t len = 0;

		if (memcmp(line.p, key, n) == 0) {
			while (len < v.n && v.p[len] != ',')
				len++;
			return span_of(v.p, len);
		}
		line = span_skip(line, 1);
	}
	return span_of(NULL, 0);
}

bool
admin_next_replica(struct span *info, char *host, size_t n, uint16_t *ret_port)
{
	struct span line;

	while (reply_line(info, &line)) {
		struct span ip = part(line, "ip=");
		uint64_t port = reply_u64(part(line, ",port="));

		if (!span_has_prefix(line, SPAN("slave")) || line.n < 6 ||
		    line.p[5] < '0' || line.p[5] > '9')
			continue;
		/* Without a port nobody can reach it: our own feeds. */
		if (ip.n == 0 || ip.n >= n || port == 0 || port > UINT16_MAX)
			continue;
		reply_text(ip, host, n);
		*ret_port = (uint16_t)port;
		return true;
	}
	return false;
}
