/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/password.h: passwords as scrypt hashes.
 *
 * "scrypt:<log2 N>:<r>:<p>:<salt>:<hash>" (base64): the parameters are kept with
 * the hash, so that they can grow. Source: RFC 7914.
 *
 * Limits: PASSWORD_AT_ONCE hashes at a time, PASSWORD_QUEUE more wait.
 * Thread: any for each struct password_gate.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"

#define PASSWORD_HASH 128 /* bytes of the text, NUL included */

/* Lets a few in at a time: a hash takes 32 MiB. */
struct password_gate {
	pthread_mutex_t lock;
	pthread_cond_t free;
	uint32_t running;
	uint32_t waiting;
	uint32_t log2; /* cost of new hashes */
};

void password_init(struct password_gate *g, uint32_t log2);
void password_fini(struct password_gate *g);

/* ERR_LIMIT: too many at once; try again in a second. */
int password_hash(struct password_gate *g, const char *password,
                  char ret[PASSWORD_HASH], struct err *err) MUST;
/* Takes as long when hash is NULL (no such user): then *ret_ok is false.
 * *ret_stale: right, but hashed with another cost than is used now. */
int password_check(struct password_gate *g, const char *password,
                   const char *hash, bool *ret_ok, bool *ret_stale,
                   struct err *err) MUST;
