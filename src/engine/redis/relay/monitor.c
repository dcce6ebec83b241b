/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/monitor.c: MONITOR: what the clients of the interlay ask.
 *
 * The server would show Godwit's connections. So each worker writes down what its
 * clients are given, while somebody monitors, and hands it to its own monitors and
 * to the workers that have some, once a batch. A switch changes nothing in it.
 *
 * Not shown: what Redis does not show (administration, passwords), and requests
 * that are passed on while they come (64 KiB and more).
 * Limits: a monitor that does not read LINES_MAX is closed.
 */
#include "engine/redis/relay/clients.h"
#include "engine/redis/relay/split.h"

#define LINES_MAX ((size_t)32 * 1024 * 1024)

static void
tell_others(struct relay *r)
{
	struct mail m = { .kind = MAIL_MONITOR,
		          .who = r->port->worker_at,
		          .flag = r->monitors };
	uint64_t own = UINT64_C(1) << r->port->worker_at;

	r->monitored =
		r->monitors > 0 ? r->monitored | own : r->monitored & ~own;
	clients_watch(r);
	for (uint32_t i = 0; i < r->port->worker_n; i++)
		if (i != r->port->worker_at)
			r->port->tell(r->port, i, &m);
}

void
monitor_allowed(struct relay *r, struct session *s)
{
	session_say(r, s, SPAN("+OK\r\n"));
	if (s->link == NULL || s->wide->monitors)
		return;
	s->wide->monitors = true;
	if (r->monitors++ == 0)
		tell_others(r);
}

void
monitor_end(struct relay *r, struct session *s)
{
	if (s->wide == NULL || !s->wide->monitors)
		return;
	s->wide->monitors = false;
	if (--r->monitors == 0)
		tell_others(r);
}

/* ---- a line ------------------------------------------------------------- */

static void
put_text(struct buf *b, struct span s)
{
	static const char from[] = "\\\"\n\r\t\a\b";
	static const char to[] = "\\\"nrtab";

	buf_put_str(b, " \"");
	for (size_t i = 0; i < s.n; i++) {
		const char *at =
			s.p[i] == 0 ? NULL : strchr(from, (char)s.p[i]);

		if (at != NULL)
			buf_putf(b, "\\%c", to[at - from]);
		else if (s.p[i] < 32 || s.p[i] > 126)
			buf_putf(b, "\\x%02x", s.p[i]);
		else
			buf_put(b, &s.p[i], 1);
	}
	buf_put_str(b, "\"");
}

/* Commands of administration, as the server counts them. */
static bool
is_hidden(const struct command *c)
{
	static const char *const hidden[] = {
		"acl|",           "cluster|",        "config|",
		"latency|",       "module|",         "slowlog|",
		"bgsave",         "bgrewrite",       "client|kill",
		"client|list",    "client|no-evict", "client|pause",
		"client|unblock", "client|unpause",  "debug",
		"failover",       "monitor",         "pfdebug",
		"pfselftest",     "replconf",        "replicaof",
		"save",           "shutdown",        "slaveof",
	};
	struct span name = span_of((const uint8_t *)c->name, c->name_n);

	for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (span_has_prefix(name, span_str(hidden[i])))
			return true;
	return false;
}

/* How many words behind word i (from 0, the command's name) are a name and a
 * password. */
static uint32_t
secrets_behind(const struct command *c, uint32_t i, struct span word)
{
	bool migrates = span_eq(span_of((const uint8_t *)c->name, c->name_n),
	                        SPAN("migrate"));

	if (c->handler == COMMAND_AUTH)
		return i == 0 ? UINT32_MAX : 0;
	if (c->handler == COMMAND_HELLO)
		return i > 0 && span_is_word(word, SPAN("auth")) ? 2 : 0;
	if (!migrates || i < 6)
		return 0;
	return span_is_word(word, SPAN("auth"))    ? 1
	       : span_is_word(word, SPAN("auth2")) ? 2
	                                           : 0;
}

void
monitor_note(struct relay *r, const struct session *s, const struct command *c,
             struct span raw)
{
	uint32_t secret = 0; /* words that come */
	struct span arg;
	size_t pos = 0;

	if (is_hidden(c) || buf_len(&r->lines) > LINES_MAX)
		return;
	buf_putf(&r->lines, "+%lld.%06u [%u ",
	         (long long)(r->port->wall_ms / 1000),
	         (unsigned)(r->port->wall_ms % 1000) * 1000, s->db);
	clients_put_address(r, s, &r->lines);
	buf_put_str(&r->lines, "]");
	for (uint32_t i = 0; resp_cmd_walk(raw, &pos, &arg); i++) {
		put_text(&r->lines, secret > 0 ? SPAN("(redacted)") : arg);
		secret = secret > 0 ? secret - 1 : secrets_behind(c, i, arg);
	}
	buf_put_str(&r->lines, "\r\n");
}

void
monitor_note_failed(struct relay *r, const struct session *s,
                    const struct resp_cmd *q, struct span raw)
{
	const struct command *c;
	struct buf b;

	buf_init(&b, r->mem);
	if (q->is_inline)
		resp_put_inline(&b, raw);
	else
		buf_put_span(&b, raw);
	resp_cmd_init(&r->cmd2);
	if (!buf_failed(&b) &&
	    resp_cmd_feed(&r->cmd2, buf_span(&b)) == WIRE_PART &&
	    r->cmd2.argc > 0) {
		c = dispatch_row(r, &r->cmd2);
		if (c != NULL &&
		    (c->handler == COMMAND_AUTH || c->handler == COMMAND_HELLO))
			monitor_note(r, s, c, buf_span(&b));
	}
	buf_fini(&b);
}

/* ---- to who monitors ----------------------------------------------------- */

static void
show(struct relay *r, struct span lines)
{
	if (r->monitors == 0)
		return;
	list_each(session, s, all, &r->sessions) {
		if (s->link == NULL || s->wide == NULL || !s->wide->monitors)
			continue;
		if (session_unsent(s) > LINES_MAX)
			session_close(r, s, NULL);
		else
			session_say(r, s, lines);
	}
}

static void
close_all(struct relay *r)
{
	list_each(session, s, all, &r->sessions) {
		if (s->link != NULL && s->wide != NULL && s->wide->monitors)
			session_close(r, s, NULL);
	}
}

void
monitor_flush(struct relay *r)
{
	struct mail m = { .kind = MAIL_LINES };
	struct mail lost = { .kind = MAIL_LINES,
		             .who = r->port->worker_at,
		             .flag = 1 };

	if (buf_len(&r->lines) == 0 && !buf_failed(&r->lines))
		return;
	for (uint32_t i = 0; i < r->port->worker_n; i++) {
		struct buf copy;

		if (i == r->port->worker_at || (r->monitored >> i & 1) == 0)
			continue;
		buf_init(&copy, r->mem);
		buf_put_span(&copy, buf_span(&r->lines));
		copy.failed |= buf_failed(&r->lines);
		/* What cannot be told is not left out in silence. */
		if (!clients_tell(r, i, &m, &copy))
			r->port->tell(r->port, i, &lost);
		buf_fini(&copy);
	}
	if (buf_failed(&r->lines))
		close_all(r);
	else
		show(r, buf_span(&r->lines));
	buf_release(&r->lines);
	r->lines.failed = false;
}

void
monitor_mail(struct relay *r, const struct mail *m)
{
	struct mail back = { .kind = MAIL_CLIENTS_TAKEN,
		             .who = r->port->worker_at,
		             .pair = m->pair };
	const struct span *lines = m->pair;
	uint64_t bit = UINT64_C(1) << m->who;

	if (m->kind == MAIL_MONITOR) {
		r->monitored =
			m->flag > 0 ? r->monitored | bit : r->monitored & ~bit;
		clients_watch(r);
	} else if (lines == NULL) {
		close_all(r);
	} else {
		show(r, *lines);
		r->port->tell(r->port, m->who, &back);
	}
}
