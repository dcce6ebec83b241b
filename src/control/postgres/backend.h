/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/backend.h: the control half's own connection to a PostgreSQL
 * server, by libpq, with a deadline for each question.
 *
 * Owns:   the connection.
 * Thread: one at a time. BLOCKS.
 */
#pragma once

#include <postgresql/libpq-fe.h>
#include <stdatomic.h>

#include "base/err.h"
#include "control/url.h"

#define BACKEND_PARAMS 8 /* of one question */

/* Whatever the database, the server or all roles have: what people set for applications
 * is not for us. */
#define BACKEND_OPTIONS                                                       \
	"-c default_transaction_read_only=off -c idle_session_timeout=0"      \
	" -c idle_in_transaction_session_timeout=0 -c statement_timeout=0"    \
	" -c default_transaction_isolation=read\\ committed -c DateStyle=ISO" \
	" -c standard_conforming_strings=on -c array_nulls=on -c"             \
	" quote_all_identifiers=off -c xmloption=content -c"                  \
	" check_function_bodies=off -c lock_timeout=0"

struct backend_conf {
	const struct url *url; /* borrowed, as all of this        */
	const char *user;      /* NULL: the URL's                  */
	const char *pass;
	const char *database; /* NULL: the URL's                  */
	const char *name;     /* application_name                 */
	const char *label;    /* "old postgres://h:5432/app"      */
	const char
		*options;   /* settings of the session; NULL: BACKEND_OPTIONS */
	_Atomic bool *stop; /* set: ERR_TIMEOUT; NULL: nobody does */
};

struct backend {
	struct backend_conf conf;
	PGconn *c; /* NULL: not connected */
};

/* libpq's sslrootcert for this URL. */
const char *backend_ca(const struct url *u);

/* ERR_AUTH: it refused the user; ERR_LOST, ERR_TIMEOUT: it does not answer. When it
 * is connected nothing is done. */
int backend_open(struct backend *b, uint32_t timeout_ms, struct err *err) MUST;
void backend_close(struct backend *b);
int backend_fd(const struct backend *b); /* -1: not connected */

/* One statement with n texts as parameters (NULL: NULL); in *ret its result, for
 * PQclear. After an error there is none: ERR_LOST, ERR_TIMEOUT (the connection is
 * closed), ERR_REFUSED (the server's words; the connection lives). */
int backend_ask(struct backend *b, uint32_t timeout_ms, const char *sql,
                const char *const *param, PGresult **ret, struct err *err) MUST;
/* Several statements, no result, all or nothing. */
int backend_run(struct backend *b, uint32_t timeout_ms, const char *sql,
                struct err *err) MUST;

/* The same piece by piece: one statement with n texts as parameters, then its results,
 * a row each, the last one without rows; an error is a result. *ret is NULL behind
 * the last one. Until until_ns. */
int backend_begin(struct backend *b, uint64_t until_ns, const char *sql, int n,
                  const char *const *param, struct err *err) MUST;
int backend_next(struct backend *b, uint64_t until_ns, PGresult **ret,
                 struct err *err) MUST;
/* The server's words for a result, in one line. */
void backend_words(const PGresult *res, char *ret, size_t n);
