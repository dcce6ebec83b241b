/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/server.c: what a server says about itself.
 */
#include "base/check.h"
#include "engine/redis/mover/state.h"

void
server_ask(struct mover *m, struct conn *c)
{
	resp_put_cmd(conn_out(m, c), "CLIENT", "ID", NULL);
	(void)conn_want(m, c, WANT_ID, 1);
	resp_put_cmd(conn_out(m, c), "CLIENT", "LIST", NULL);
	(void)conn_want(m, c, WANT_CLIENTS, 1);
}

static void
ask_more(struct mover *m, struct conn *c)
{
	struct buf *b = conn_out(m, c);
	char name[OWN_NAME];

	/* First: then what CONFIG says is known to be ours. */
	resp_put_cmd(b, "GET", whose_own(m, DELAY_NOTE, name), NULL);
	(void)conn_want(m, c, WANT_DELAY, 1);
	resp_put_cmd(b, "CONFIG", "GET", "repl-diskless-sync-delay", NULL);
	resp_put_cmd(b, "CONFIG", "GET", "lazyfree-lazy-expire", NULL);
	(void)conn_want(m, c, WANT_CONFIG, 2);
	resp_put_cmd(b, "GET", whose_own(m, FILL_NOTE, name), NULL);
	(void)conn_want(m, c, WANT_NOTE, 1);
	resp_put_cmd(b, "FUNCTION", "DUMP", NULL);
	(void)conn_want(m, c, WANT_FORMAT, 1);
	resp_put_cmd(b, "INFO", NULL);
	(void)conn_want(m, c, WANT_INFO, 1);
}

/* The value behind "name:" at the start of a line, n 0 when it is not there. */
static struct span
field(struct span text, struct span name)
{
	const uint8_t *p = text.p;
	const uint8_t *end = text.p + text.n;

	while (p < end) {
		const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
		size_t n = eol == NULL ? (size_t)(end - p) : (size_t)(eol - p);

		if (n > name.n && memcmp(p, name.p, name.n) == 0 &&
		    p[name.n] == ':') {
			size_t len = n - name.n - 1;

			if (len > 0 && p[name.n + len] == '\r')
				len--;
			return span_of(p + name.n + 1, len);
		}
		if (eol == NULL)
			break;
		p = eol + 1;
	}
	return (struct span){ NULL, 0 };
}

/* Leading digits. */
static uint64_t
digits(struct span s, size_t *ret_n)
{
	uint64_t v = 0;
	size_t n = 0;

	while (n < s.n && n < 19 && s.p[n] >= '0' && s.p[n] <= '9')
		v = v * 10 + (uint64_t)(s.p[n++] - '0');
	if (ret_n != NULL)
		*ret_n = n;
	return v;
}

static void
text_of(char *to, size_t cap, struct span s)
{
	size_t n = s.n < cap - 1 ? s.n : cap - 1;

	if (n > 0)
		memcpy(to, s.p, n);
	to[n] = '\0';
}

static uint32_t
version_of(struct span s)
{
	uint32_t v = 0;

	for (int i = 0; i < 3; i++) {
		size_t n;

		v = v * 100 + (uint32_t)digits(s, &n);
		s = n + 1 <= s.n ? span_skip(s, n + 1) : span_of(s.p, 0);
	}
	return v;
}

/* Lines "db3:keys=12,expires=0,..." */
static void
keyspace(struct server *sv, struct span text)
{
	const uint8_t *p = text.p;
	const uint8_t *end = text.p + text.n;

	sv->db_n = 0;
	sv->db_left = 0;
	sv->keys = 0;
	while (p < end) {
		const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
		struct span line;
		size_t n;

		if (eol == NULL)
			eol = end;
		line = span_of(p, (size_t)(eol - p));
		p = eol + 1;
		if (!span_has_prefix(line, SPAN("db")) || line.n < 4 ||
		    line.p[2] < '0' || line.p[2] > '9')
			continue;
		line = span_skip(line, 2);
		if (sv->db_n < DATABASES_MAX)
			sv->dbs[sv->db_n++] = (uint32_t)digits(line, &n);
		else
			sv->db_left += digits(line, &n) < UINT32_MAX;
		line = span_skip(line, n);
		if (span_has_prefix(line, SPAN(":keys=")))
			sv->keys += digits(span_skip(line, 6), NULL);
	}
}

/* What has no place in the table would be scanned by nobody. */
static void
judge_databases(struct mover *m, enum side side)
{
	if (m->server[side].db_left > 0)
		mover_fail(m, ERR_LIMIT,
		           "%s: %u databases are in use, at most %d can be "
		           "moved; empty some",
		           m->conf->side[side].label,
		           DATABASES_MAX + m->server[side].db_left,
		           DATABASES_MAX);
}

void
server_info(struct mover *m, enum side side, struct span text)
{
	struct server *sv = &m->server[side];
	struct span v;

	if (text.p[0] != '$') {
		mover_fail(m, ERR_REFUSED, "%s: INFO refused: %.*s",
		           m->conf->side[side].label,
		           (int)(text.n < 80 ? text.n : 80),
		           (const char *)text.p);
		return;
	}
	sv->version = version_of(field(text, SPAN("redis_version")));
	text_of(sv->run_id, sizeof(sv->run_id), field(text, SPAN("run_id")));
	text_of(sv->replid, sizeof(sv->replid),
	        field(text, SPAN("master_replid")));
	text_of(sv->replid2, sizeof(sv->replid2),
	        field(text, SPAN("master_replid2")));
	sv->offset = digits(field(text, SPAN("master_repl_offset")), NULL);
	sv->second_offset =
		digits(field(text, SPAN("second_repl_offset")), NULL);
	sv->backlog_first = digits(
		field(text, SPAN("repl_backlog_first_byte_offset")), NULL);
	v = field(text, SPAN("repl_backlog_active"));
	sv->has_backlog = v.n == 1 && v.p[0] == '1';
	sv->is_replica = span_eq(field(text, SPAN("role")), SPAN("slave"));
	v = field(text, SPAN("loading"));
	sv->is_loading = v.n == 1 && v.p[0] == '1';
	/* Positions of the two modes have nothing to do with each other: no
	 * resume point of the one is good for the other. */
	if (m->conf->board->by_marks[side]) {
		sv->replid[0] = 'm';
		sv->replid2[0] = 'm';
	}
	keyspace(sv, text);
	judge_databases(m, side);
	m->cmd[side].is_ready = true;
}

uint32_t
server_grow(struct mover *m, enum side side, struct span text)
{
	struct server *sv = &m->server[side];
	struct server now = { .db_n = 0 };
	uint32_t n = 0;

	keyspace(&now, text);
	for (uint32_t i = 0; i < now.db_n; i++) {
		bool known = false;

		for (uint32_t k = 0; k < sv->db_n; k++)
			known |= sv->dbs[k] == now.dbs[i];
		if (known)
			continue;
		if (sv->db_n == DATABASES_MAX) {
			now.db_left++;
			continue;
		}
		sv->dbs[sv->db_n++] = now.dbs[i];
		n++;
	}
	sv->keys = now.keys;
	sv->db_left = now.db_left;
	judge_databases(m, side);
	return n;
}

/* *2 name value; errors and empty answers leave the default. */
void
server_config(struct mover *m, enum side side, struct span reply)
{
	struct server *sv = &m->server[side];
	struct resp_item head;
	struct resp_item name;
	struct resp_item value;

	if (resp_read(&reply, &head) != WIRE_PART || head.type != RESP_ARRAY ||
	    head.number != 2 || resp_read(&reply, &name) != WIRE_PART ||
	    resp_read(&reply, &value) != WIRE_PART)
		return;
	if (span_eq(name.text, SPAN("lazyfree-lazy-expire")))
		sv->lazy_expire = span_eq(value.text, SPAN("yes"));
	else if (sv->saved_delay < 0)
		sv->sync_delay = (int64_t)digits(value.text, NULL);
}

/* A process that died has left the delay at 0. */
void
server_delay(struct mover *m, enum side side, struct span reply)
{
	struct server *sv = &m->server[side];
	struct resp_item item;
	uint64_t v;

	if (sv->saved_delay < 0 && resp_read(&reply, &item) == WIRE_PART &&
	    item.type == RESP_BULK && words_number(item.text, &v) &&
	    v <= INT32_MAX)
		sv->saved_delay = (int64_t)v;
}

static void
set_delay(struct mover *m, enum side side, int64_t v)
{
	struct conn *c = &m->cmd[side];
	struct buf *b = conn_out(m, c);

	resp_put_array(b, 4);
	resp_put_bulk_str(b, "CONFIG");
	resp_put_bulk_str(b, "SET");
	resp_put_bulk_str(b, "repl-diskless-sync-delay");
	resp_put_bulk_i64(b, v);
	(void)conn_want(m, c, WANT_QUIET, 1);
}

void
server_hurry(struct mover *m, enum side side)
{
	struct server *sv = &m->server[side];

	struct conn *c = &m->cmd[side];
	char name[OWN_NAME];
	struct buf *b;

	if (sv->saved_delay >= 0 || sv->sync_delay <= 0 || c->link == NULL ||
	    !c->is_ready)
		return;
	/* What it was is kept there first, for the case that we die. */
	conn_select(m, c, 0);
	b = conn_out(m, c);
	resp_put_array(b, 3);
	resp_put_bulk_str(b, "SET");
	resp_put_bulk_str(b, whose_own(m, DELAY_NOTE, name));
	resp_put_bulk_i64(b, sv->sync_delay);
	(void)conn_want(m, c, WANT_QUIET, 1);
	set_delay(m, side, 0);
	sv->saved_delay = sv->sync_delay;
}

void
server_restore(struct mover *m, enum side side)
{
	struct server *sv = &m->server[side];

	struct conn *c = &m->cmd[side];
	char name[OWN_NAME];

	if (sv->saved_delay < 0 || c->link == NULL || !c->is_ready)
		return;
	set_delay(m, side, sv->saved_delay);
	conn_select(m, c, 0);
	resp_put_cmd(conn_out(m, c), sv->lazy_expire ? "DEL" : "UNLINK",
	             whose_own(m, DELAY_NOTE, name), NULL);
	(void)conn_want(m, c, WANT_QUIET, 1);
	sv->saved_delay = -1;
}

/* The value of "name=" in a line of CLIENT LIST. */
static struct span
client_field(struct span line, struct span name)
{
	for (size_t i = 0; i + name.n <= line.n; i++) {
		size_t n = 0;

		if ((i > 0 && line.p[i - 1] != ' ') ||
		    memcmp(line.p + i, name.p, name.n) != 0)
			continue;
		line = span_skip(line, i + name.n);
		while (n < line.n && line.p[n] != ' ')
			n++;
		return span_of(line.p, n);
	}
	return (struct span){ NULL, 0 };
}

static void
kill_client(struct mover *m, struct conn *c, uint64_t id)
{
	struct buf *b = conn_out(m, c);

	resp_put_array(b, 4);
	resp_put_bulk_str(b, "CLIENT");
	resp_put_bulk_str(b, "KILL");
	resp_put_bulk_str(b, "ID");
	resp_put_bulk_u64(b, id);
	(void)conn_want(m, c, WANT_QUIET, 1);
}

/* A mover that was here before (another process, or we before a loss) may have
 * left writes that the server has not read yet. They must not come behind ours:
 * one owner (I4). */
void
server_clients(struct mover *m, struct conn *c, struct span reply)
{
	char name[64];
	const uint8_t *p = reply.p;
	const uint8_t *end = reply.p + reply.n;

	mover_name(m, name);
	while (p < end) {
		const uint8_t *eol = memchr(p, '\n', (size_t)(end - p));
		struct span line;
		uint64_t id;

		if (eol == NULL)
			eol = end;
		line = span_of(p, (size_t)(eol - p));
		p = eol + 1;
		if (span_eq(client_field(line, SPAN("name=")),
		            span_str(name)) &&
		    words_number(client_field(line, SPAN("id=")), &id) &&
		    id != c->id && c->id != 0)
			kill_client(m, c, id);
	}
	ask_more(m, c);
}

/* Would it continue this history behind `at`? Asked first, because a refusal
 * costs a snapshot. */
bool
server_has(const struct server *sv, const char *history, uint64_t at)
{
	bool known = strcmp(sv->replid, history) == 0 ||
	             (strcmp(sv->replid2, history) == 0 &&
	              at + 1 <= sv->second_offset);

	return known && sv->has_backlog && at + 1 >= sv->backlog_first &&
	       at <= sv->offset;
}
