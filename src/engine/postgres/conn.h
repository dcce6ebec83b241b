/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/conn.h: a machine's own connection to a PostgreSQL server.
 *
 * Logs in as Godwit's role (or the URL's user), then hands over whole messages. The
 * owner asks by appending messages to the link's tx (pg_conn_query()).
 *
 * Owns:   its link while it has one, and what came of a message so far.
 * Limits: a message of PG_LONG_MAX is kept whole.
 * Thread: its machine's.
 */
#pragma once

#include "engine/engine.h"
#include "engine/postgres/login.h"
#include "wire/pg_back.h"
#include "wire/pg_frame.h"

enum pg_conn_state {
	PG_CONN_OFF,   /* no link                       */
	PG_CONN_LOGIN, /* connecting, or logging in     */
	PG_CONN_IDLE,  /* ready for a question          */
	PG_CONN_BUSY,  /* asked, ReadyForQuery not seen */
};

struct pg_conn {
	const struct side_conf *side;
	const char *id;      /* of the migration                        */
	const char *what;    /* "copy": application_name godwit:<id>:copy */
	bool is_replication; /* for a walsender                         */
	bool is_replica;     /* its writes fire no triggers and no keys */

	struct port *port;
	struct link *link;
	enum pg_conn_state state;
	struct buf rx; /* of a message that is not whole yet */
	struct pg_frame frame;
	struct pg_login login;
	bool is_held;    /* the owner did not want a message: rx has it */
	char said[200];  /* the last error, in the server's words       */
	char state_5[6]; /* and its SQLSTATE                            */
};

/* One message, also ReadyForQuery; valid during the call. Errors are noted in
 * said before. False: not now; it and what follows is kept (pg_conn_hold). */
typedef bool pg_conn_f(void *self, struct pg_conn *c,
                       const struct pg_message *m);

/* Once. side, id, what and the two flags are the caller's, and are set. */
void pg_conn_init(struct pg_conn *c, struct port *port);
void pg_conn_fini(struct pg_conn *c);

/* Connect; the link's owner is c. ERR_NOMEM. */
int pg_conn_open(struct pg_conn *c) MUST;
void pg_conn_close(struct pg_conn *c);
/* The same with a goodbye, if it is idle: the server does not complain in its log. */
void pg_conn_leave(struct pg_conn *c);
/* Goodbye to the server of any link, behind what is to be sent there still; the link is
 * closed then, and nobody's. */
void pg_conn_part(struct port *port, struct link *link);

/* EV_UP, EV_BYTES and EV_DOWN of its link. ERR_LOST, ERR_AUTH, ERR_PROTO with the
 * reason in said: it is closed then. hear gets nothing before the login is done,
 * whose end is a ReadyForQuery. */
int pg_conn_up(struct pg_conn *c) MUST;
int pg_conn_take(struct pg_conn *c, struct span bytes, pg_conn_f *hear,
                 void *self) MUST;
void pg_conn_down(struct pg_conn *c, const struct err *err);

/* Go on with what was kept. */
int pg_conn_resume(struct pg_conn *c, pg_conn_f *hear, void *self) MUST;

/* One statement, or several. Only when it is idle. */
void pg_conn_query(struct pg_conn *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What was appended to the link's tx by the caller is to be sent, and will end in a
 * ReadyForQuery. */
void pg_conn_asked(struct pg_conn *c);
