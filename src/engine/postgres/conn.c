/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/conn.c: a machine's own connection to a PostgreSQL server.
 */
#include "engine/postgres/conn.h"

#include "base/check.h"

void
pg_conn_init(struct pg_conn *c, struct port *port)
{
	c->port = port;
	buf_init(&c->rx, port->mem);
}

void
pg_conn_fini(struct pg_conn *c)
{
	buf_fini(&c->rx);
}

static void
forget(struct pg_conn *c)
{
	pg_login_fini(&c->login);
	c->link = NULL;
	c->state = PG_CONN_OFF;
	c->is_held = false;
	buf_release(&c->rx);
}

static const char *
user_of(const struct pg_conn *c)
{
	return c->side->own_user[0] != '\0' ? c->side->own_user
	                                    : c->side->url_user;
}

static const char *
pass_of(const struct pg_conn *c)
{
	return c->side->own_user[0] != '\0' ? c->side->own_pass
	                                    : c->side->url_pass;
}

int
pg_conn_open(struct pg_conn *c)
{
	REQUIRE(c->link == NULL);
	pg_frame_init(&c->frame, PG_BACK);
	c->said[0] = '\0';
	c->state_5[0] = '\0';
	c->link = c->port->ops->open(c->port, &c->side->at, c);
	if (c->link == NULL)
		return -ERR_NOMEM;
	c->state = PG_CONN_LOGIN;
	c->login = (struct pg_login){ .port = c->port,
		                      .user = span_str(user_of(c)),
		                      .password = span_str(pass_of(c)) };
	return 0;
}

void
pg_conn_part(struct port *port, struct link *link)
{
	if (link->is_up) {
		pg_put_empty(&link->tx, PG_TERMINATE);
		port_touch(port, link);
	}
	port->ops->close(port, link, true);
}

void
pg_conn_leave(struct pg_conn *c)
{
	if (c->link != NULL && c->state == PG_CONN_IDLE) {
		pg_conn_part(c->port, c->link);
		c->link = NULL;
	}
	pg_conn_close(c);
}

void
pg_conn_close(struct pg_conn *c)
{
	if (c->link != NULL)
		c->port->ops->close(c->port, c->link, false);
	forget(c);
}

static void
note(struct pg_conn *c, struct span text)
{
	size_t n = text.n < sizeof(c->said) ? text.n : sizeof(c->said) - 1;

	if (n > 0)
		memcpy(c->said, text.p, n);
	c->said[n] = '\0';
}

void
pg_conn_down(struct pg_conn *c, const struct err *err)
{
	/* A server that goes says why before. */
	if (c->said[0] == '\0')
		note(c, span_str(err->text));
	forget(c);
}

/* Both ends of a value's way speak of it in the same words. */
static void
put_pairs(const struct pg_conn *c, struct buf *b)
{
	struct buf name;

	buf_init(&name, c->port->mem);
	buf_putf(&name, "godwit:%s:%s", c->id, c->what);
	pg_put_pair(b, SPAN("user"), span_str(user_of(c)));
	pg_put_pair(b, SPAN("database"), span_str(c->side->database));
	pg_put_pair(b, SPAN("application_name"), buf_span(&name));
	pg_put_pair(b, SPAN("client_encoding"), SPAN("UTF8"));
	pg_put_pair(b, SPAN("DateStyle"), SPAN("ISO"));
	pg_put_pair(b, SPAN("IntervalStyle"), SPAN("postgres"));
	pg_put_pair(b, SPAN("TimeZone"), SPAN("UTC"));
	pg_put_pair(b, SPAN("extra_float_digits"), SPAN("3"));
	pg_put_pair(b, SPAN("bytea_output"), SPAN("hex"));
	pg_put_pair(b, SPAN("search_path"), SPAN("pg_catalog"));
	pg_put_pair(b, SPAN("statement_timeout"), SPAN("0"));
	pg_put_pair(b, SPAN("lock_timeout"), SPAN("0"));
	pg_put_pair(b, SPAN("row_security"), SPAN("off"));
	pg_put_pair(b, SPAN("lc_monetary"), SPAN("C"));
	/* What is said to be there is forgotten on the other side. */
	pg_put_pair(b, SPAN("synchronous_commit"), SPAN("on"));
	/* Whatever the database or all roles have. */
	pg_put_pair(b, SPAN("default_transaction_read_only"), SPAN("off"));
	pg_put_pair(b, SPAN("default_transaction_isolation"),
	            SPAN("read committed"));
	pg_put_pair(b, SPAN("idle_session_timeout"), SPAN("0"));
	pg_put_pair(b, SPAN("idle_in_transaction_session_timeout"), SPAN("0"));
	pg_put_pair(b, SPAN("standard_conforming_strings"), SPAN("on"));
	pg_put_pair(b, SPAN("array_nulls"), SPAN("on"));
	pg_put_pair(b, SPAN("xmloption"), SPAN("content"));
	pg_put_pair(b, SPAN("quote_all_identifiers"), SPAN("off"));
	/* A function may name what is made later. */
	pg_put_pair(b, SPAN("check_function_bodies"), SPAN("off"));
	if (c->is_replication)
		pg_put_pair(b, SPAN("replication"), SPAN("database"));
	if (c->is_replica)
		pg_put_pair(b, SPAN("session_replication_role"),
		            SPAN("replica"));
	b->failed = b->failed || buf_failed(&name);
	buf_fini(&name);
}

int
pg_conn_up(struct pg_conn *c)
{
	struct buf pairs;
	bool failed;

	buf_init(&pairs, c->port->mem);
	put_pairs(c, &pairs);
	pg_put_startup(&c->link->tx, PG_VERSION_3_0, buf_span(&pairs));
	failed = buf_failed(&pairs) || buf_failed(&c->link->tx);
	buf_fini(&pairs);
	port_touch(c->port, c->link);
	return failed ? -ERR_NOMEM : 0;
}

static int
give_up(struct pg_conn *c, enum err_code code, struct span why)
{
	if (why.n > 0)
		note(c, why);
	pg_conn_close(c);
	return -(int)code;
}

static void
hear_error(struct pg_conn *c, struct span body)
{
	struct pg_error e;
	size_t n;

	if (!pg_read_error(body, &e))
		return;
	note(c, e.message);
	n = e.code.n < sizeof(c->state_5) ? e.code.n : sizeof(c->state_5) - 1;
	if (n > 0)
		memcpy(c->state_5, e.code.p, n);
	c->state_5[n] = '\0';
}

static int
authenticate(struct pg_conn *c, struct span body)
{
	int rc = pg_login_answer(&c->login, body, &c->link->tx);

	port_touch(c->port, c->link);
	if (rc >= 0)
		return 0;
	return give_up(c, (enum err_code)(-rc),
	               rc == -ERR_AUTH
	                       ? SPAN("it asks for a way to log in, or for a "
	                              "password, that Godwit does not have")
	                       : SPAN("its login is not PostgreSQL's"));
}

/* Before the first ReadyForQuery. */
static int
log_in(struct pg_conn *c, const struct pg_message *m)
{
	switch (m->type) {
	case PG_AUTHENTICATION: return authenticate(c, m->body);
	case PG_ERROR_RESPONSE: return give_up(c, ERR_AUTH, SPAN(""));
	default: return 0; /* notices, parameters, the key */
	}
}

/* The messages at the front of in; *ret_used of it. */
static int
walk(struct pg_conn *c, struct span in, pg_conn_f *hear, void *self,
     size_t *ret_used)
{
	struct pg_message m;
	size_t used = 0;

	*ret_used = 0;
	while (c->link != NULL && !c->is_held) {
		enum wire_rc rc =
			pg_frame_whole(&c->frame, span_skip(in, used), &m);
		enum pg_conn_state was = c->state;

		if (rc == WIRE_MORE)
			break;
		if (rc != WIRE_PART)
			return give_up(c, ERR_PROTO,
			               SPAN("it does not speak PostgreSQL"));
		if (m.type == PG_ERROR_RESPONSE)
			hear_error(c, m.body);
		if (was == PG_CONN_LOGIN && m.type != PG_READY) {
			int rc2 = log_in(c, &m);

			if (rc2 != 0)
				return rc2;
		} else {
			if (m.type == PG_READY)
				c->state = PG_CONN_IDLE;
			c->is_held = !hear(self, c, &m);
		}
		if (c->is_held) {
			c->state = was;
			break;
		}
		used += m.raw.n;
	}
	*ret_used = used;
	return 0;
}

int
pg_conn_take(struct pg_conn *c, struct span bytes, pg_conn_f *hear, void *self)
{
	size_t used;
	int rc;

	if (buf_len(&c->rx) == 0 && !c->is_held) {
		rc = walk(c, bytes, hear, self, &used);
		if (rc == 0 && c->link != NULL)
			buf_put_span(&c->rx, span_skip(bytes, used));
	} else {
		buf_put_span(&c->rx, bytes);
		rc = walk(c, buf_span(&c->rx), hear, self, &used);
		if (rc == 0 && c->link != NULL)
			buf_take(&c->rx, used);
	}
	if (rc == 0 && buf_failed(&c->rx))
		return give_up(c, ERR_NOMEM, SPAN("out of memory"));
	return rc;
}

int
pg_conn_resume(struct pg_conn *c, pg_conn_f *hear, void *self)
{
	struct span none = { NULL, 0 };

	if (c->link == NULL || !c->is_held)
		return 0;
	c->is_held = false;
	if (buf_len(&c->rx) == 0)
		return 0;
	return pg_conn_take(c, none, hear, self);
}

void
pg_conn_asked(struct pg_conn *c)
{
	c->state = PG_CONN_BUSY;
	port_touch(c->port, c->link);
}

void
pg_conn_query(struct pg_conn *c, const char *fmt, ...)
{
	size_t at;
	va_list ap;

	REQUIRE(c->state == PG_CONN_IDLE);
	at = pg_put_begin(&c->link->tx, PG_QUERY);
	va_start(ap, fmt);
	buf_putv(&c->link->tx, fmt, ap);
	va_end(ap);
	buf_put(&c->link->tx, "", 1);
	pg_put_end(&c->link->tx, at);
	c->said[0] = '\0';
	c->state_5[0] = '\0';
	pg_conn_asked(c);
}
