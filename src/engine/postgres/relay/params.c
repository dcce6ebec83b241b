/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/params.c: what a client was told of its server's parameters.
 *
 * Another server says all of its own. The client is told what is different from what
 * it knows, and in front of an answer that it waits for: between two requests many
 * clients expect nothing but notifications.
 */
#include "base/hash.h"
#include "engine/postgres/relay/inside.h"

/* In s->told, one behind the other. */
struct told {
	uint64_t name;
	uint64_t value;
};

static uint64_t
hash(const struct pg_session *s, struct span text)
{
	return hash_bytes(text, s->r->turns.seed[0]);
}

/* Does the client know this value? It does from now on. */
static bool
knows(struct pg_session *s, const struct pg_pair *p)
{
	struct told now = { hash(s, p->name), hash(s, p->value) };

	if (span_eq(p->name, SPAN("application_name")))
		pg_rule_rename(s, p->value);
	for (size_t at = 0; at < buf_len(&s->told); at += sizeof(now)) {
		struct told was;

		memcpy(&was, s->told.p + at, sizeof(was));
		if (was.name != now.name)
			continue;
		memcpy(s->told.p + at, &now, sizeof(now));
		return was.value == now.value;
	}
	buf_put(&s->told, &now, sizeof(now));
	return false;
}

/* Takes the first of the kept ones. */
static bool
next(struct span *kept, struct pg_pair *p)
{
	struct span body;
	size_t n;

	if (kept->n < 5)
		return false;
	n = 1 + (size_t)pg_get_u32(kept->p + 1);
	if (n < 5 || n > kept->n)
		return false; /* memory was out */
	body = span_of(kept->p + 5, n - 5);
	*kept = span_skip(*kept, n);
	return pg_read_parameter(body, p);
}

static bool
is_said_again(struct span kept, struct span name)
{
	struct pg_pair p;

	while (next(&kept, &p)) {
		if (span_eq(p.name, name))
			return true;
	}
	return false;
}

void
pg_params_note(struct pg_session *s, struct span body)
{
	struct pg_pair p;

	if (pg_read_parameter(body, &p))
		(void)knows(s, &p);
}

void
pg_params_keep(struct pg_session *s, struct span body)
{
	struct pg_pair p;

	if (pg_read_parameter(body, &p))
		pg_put_parameter(&s->params, p.name, p.value);
}

void
pg_params_put(struct buf *list, struct span body)
{
	struct span kept = buf_span(list);
	struct buf made;
	struct pg_pair now;
	struct pg_pair p;

	if (!pg_read_parameter(body, &now))
		return;
	buf_init(&made, list->mem);
	while (next(&kept, &p)) {
		if (!span_eq(p.name, now.name))
			pg_put_parameter(&made, p.name, p.value);
	}
	pg_put_parameter(&made, now.name, now.value);
	made.failed = made.failed || buf_failed(list);
	buf_release(list);
	*list = made;
}

uint64_t
pg_params_digest(const struct buf *list, uint64_t seed)
{
	struct span kept = buf_span(list);
	struct pg_pair p;
	uint64_t ret = 0;

	while (next(&kept, &p))
		ret += hash_mix(hash_bytes(p.name, seed) ^
		                hash_mix(hash_bytes(p.value, seed)));
	return ret;
}

void
pg_params_keep_all(struct pg_session *s, const struct buf *list)
{
	buf_put_span(&s->params, buf_span(list));
}

void
pg_params_give(struct pg_session *s)
{
	struct span kept = buf_span(&s->params);
	struct pg_pair p;

	while (next(&kept, &p)) {
		if (is_said_again(kept, p.name) || knows(s, &p))
			continue;
		pg_put_parameter(&s->client->tx, p.name, p.value);
	}
	buf_release(&s->params);
}

bool
pg_params_ask_log(struct span pairs)
{
	static const char *const no[] = { "false", "off", "no", "0" };
	struct span value = pg_pair_find(pairs, SPAN("replication"));

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		if (span_eq(value, span_str(no[i])))
			return false;
	}
	return value.p != NULL;
}
