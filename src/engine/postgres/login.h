/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/login.h: a client's half of a login.
 *
 * With a password, or without one: what a client proved to us before (the keys of
 * SCRAM), or what the server itself keeps (the hash of md5).
 *
 * Owns:   what SCRAM remembers; wiped by pg_login_fini().
 * Thread: a value.
 */
#pragma once

#include "engine/engine.h"
#include "wire/pg_back.h"
#include "wire/pg_scram.h"

struct pg_login {
	/* Set before; borrowed until the login ends. */
	struct port *port;
	struct span user;
	struct span password;             /* n 0: none is known            */
	const struct pg_scram_keys *keys; /* NULL: none                    */
	struct span md5;                  /* "md5...", n 0: none is known   */
	/* progress */
	struct pg_scram_client scram;
	bool is_scram;
	bool is_proven; /* the server has shown that it knows the password */
};

/* An Authentication message: the answer to it, if it wants one, goes to tx. 0; 1: we
 * are in. ERR_AUTH: what it wants is not known; ERR_PROTO; ERR_LIMIT; ERR_UNABLE. */
int pg_login_answer(struct pg_login *l, struct span body, struct buf *tx) MUST;
void pg_login_fini(struct pg_login *l);

/* A nonce for SCRAM of the port's entropy. */
void pg_login_nonce(struct port *p, char ret[PG_SCRAM_NONCE_TEXT]);
