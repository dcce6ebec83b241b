/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/lower.c: values for a server that reads an older version of
 * the format than the other one writes.
 *
 * A payload's version is in its footer, and a server refuses one that is newer
 * than its own. So each side is asked for its version once (the payload of FUNCTION
 * DUMP has it, without touching a key), and what is newer is said in the older way
 * (wire/rdb_lower.c). A type that has no older way is told by name.
 */
#include "base/check.h"
#include "base/hash.h"
#include "engine/redis/mover/state.h"

void
lower_format(struct mover *m, enum side side, struct span reply)
{
	struct server *sv = &m->server[side];
	struct resp_item item;
	struct span body;

	sv->rdb = 0;
	if (resp_read(&reply, &item) == WIRE_PART && item.type == RESP_BULK)
		(void)rdb_payload(item.text, &sv->rdb, &body);
	if (sv->rdb == 0)
		sv->rdb = RDB_LOWER_MIN; /* no functions: before 7.0 */
}

uint32_t
lower_max(const struct mover *m)
{
	uint32_t v = m->server[side_other(m->from)].rdb;

	return m->limits.rdb_max != 0 && m->limits.rdb_max < v
	               ? m->limits.rdb_max
	               : v;
}

bool
lower_is_needed(const struct mover *m)
{
	return m->server[m->from].rdb > lower_max(m);
}

struct span
lower_value(struct mover *m, uint8_t type, struct span body, uint32_t db,
            struct span key)
{
	char name[48];
	enum wire_rc rc;

	buf_clear(&m->lowered);
	rc = rdb_lower(type, body, lower_max(m), &m->lower_room, &m->lowered);
	if (rc == WIRE_PART)
		return buf_span(&m->lowered);
	copy_name(key, name, sizeof(name));
	mover_fail(m, rc == WIRE_BAD ? ERR_PROTO : ERR_UNABLE,
	           "%s: the record %s of database %u (type %u) cannot be said "
	           "in RDB version %u, the newest that the other side reads",
	           m->conf->side[m->from].label, name, db, type, lower_max(m));
	return (struct span){ NULL, 0 };
}

struct span
lower_payload(struct mover *m, struct span payload, uint32_t db,
              struct span key)
{
	uint32_t version;
	struct span body;

	if (!rdb_payload(payload, &version, &body) || body.n == 0 ||
	    version <= lower_max(m))
		return payload;
	return lower_value(m, body.p[0], span_skip(body, 1), db, key);
}

/* Libraries have no type byte in front, and did not change. */
struct span
lower_library(struct mover *m, struct span payload)
{
	uint8_t footer[10];
	uint32_t version;
	struct span body;

	if (!rdb_payload(payload, &version, &body) || version <= lower_max(m))
		return payload;
	rdb_footer(lower_max(m), hash_crc64(0, body), footer);
	buf_clear(&m->lowered);
	buf_put_span(&m->lowered, body);
	buf_put(&m->lowered, footer, sizeof(footer));
	REQUIRE(!buf_failed(&m->lowered));
	return buf_span(&m->lowered);
}
