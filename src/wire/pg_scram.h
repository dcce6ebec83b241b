/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_scram.h: SCRAM-SHA-256 as PostgreSQL speaks it, both halves.
 *
 *   client   [n|y|p=tls-server-end-point],,n=,r=<nonce>
 *   server   r=<nonce><its nonce>,s=<salt>,i=<rounds>
 *   client   c=<first part, certificate's hash>,r=<both>,p=<proof>
 *   server   v=<signature>        or   e=<error>
 *
 * A server half that knows only a verifier learns the client's key from a good
 * proof; with it and the server's key of the verifier a client half can log in
 * elsewhere, where salt, rounds and password are the same, without a password.
 *
 * Source: RFC 5802, 7677 (its example is the test), 5929 (tls-server-end-point);
 * https://www.postgresql.org/docs/15/sasl-authentication.html
 *
 * Owns:   keys inside; pg_scram_*_fini() wipes them.
 * Limits: below.
 * Thread: one at a time for each struct.
 */
#pragma once

#include "wire/pg_password.h"

#define PG_SCRAM_NAME      "SCRAM-SHA-256"
#define PG_SCRAM_NAME_PLUS "SCRAM-SHA-256-PLUS"

#define PG_SCRAM_NONCE_RAW   18  /* random bytes of a nonce that we make      */
#define PG_SCRAM_NONCE_TEXT  25  /* ... its text, NUL included                */
#define PG_SCRAM_NONCE_MAX   256 /* bytes of both nonces together             */
#define PG_SCRAM_MESSAGE_MAX 1024 /* bytes of one message                     */
#define PG_SCRAM_USER_MAX    63
#define PG_SCRAM_BINDING_MAX 64 /* bytes of a certificate's hash (SHA-512)   */

/* What a client says about the binding to its TLS connection. */
enum pg_binding {
	PG_BINDING_NONE,   /* n: cannot, or there is no TLS                 */
	PG_BINDING_UNUSED, /* y: could, but the server does not offer it    */
	PG_BINDING_CERT,   /* p: the hash of the server's certificate       */
};

/* The nonce of random bytes. */
void pg_scram_nonce(const uint8_t raw[PG_SCRAM_NONCE_RAW],
                    char ret[PG_SCRAM_NONCE_TEXT]);

struct pg_scram_keys {
	uint8_t client[CRYPT_SHA256]; /* ClientKey */
	uint8_t server[CRYPT_SHA256]; /* ServerKey */
};

struct pg_scram_client {
	const struct crypt *crypt;
	struct span password; /* the caller's, until pg_scram_client_final()  */
	const struct pg_scram_keys *keys; /* instead of it; likewise          */
	/* PostgreSQL takes the user of the startup message: leave it empty. */
	struct span user;
	enum pg_binding binding;
	struct span certificate; /* its hash, for PG_BINDING_CERT; likewise   */
	/* progress */
	uint8_t state;
	uint32_t nonce_at;
	uint32_t first_n;
	char first[PG_SCRAM_NONCE_MAX + PG_SCRAM_USER_MAX +
	           8];                   /* client-first-message-bare      */
	uint8_t signature[CRYPT_SHA256]; /* what the server has to show    */
};

/* Set crypt, password or keys, binding, certificate before; nonce: visible ASCII
 * without commas, half of PG_SCRAM_NONCE_MAX bytes at most. Appends the first
 * message. */
void pg_scram_client_begin(struct pg_scram_client *c, struct span nonce,
                           struct buf *out);
/* Appends the last message. 0; -ERR_PROTO: the server's first message is not
 * one for us; -ERR_LIMIT: too many rounds, too long; -ERR_UNABLE. */
int pg_scram_client_final(struct pg_scram_client *c, struct span server_first,
                          struct buf *out) MUST;
/* Has the server shown that it knows the password? 0, -ERR_PROTO, -ERR_AUTH.
 * Without this a client must not believe AuthenticationOk. */
int pg_scram_client_check(struct pg_scram_client *c,
                          struct span server_final) MUST;
void pg_scram_client_fini(struct pg_scram_client *c);

struct pg_scram_server {
	const struct crypt *crypt;
	const struct pg_verifier *verifier; /* the caller's, until the end   */
	/* Our certificate's hash; n 0: no binding is offered. */
	struct span certificate;
	bool is_plus; /* the client chose PG_SCRAM_NAME_PLUS                 */
	/* progress */
	uint8_t state;
	uint32_t first_n;  /* of text: both first messages and two commas    */
	uint32_t header_n; /* of the client's first message, "n,,"           */
	uint32_t nonce_at; /* in text                                        */
	uint32_t nonce_n;
	char header[32];
	char text[2 * PG_SCRAM_MESSAGE_MAX + 2];
	/* result, when pg_scram_server_final() answered 0 */
	struct pg_scram_keys keys;
};

/* Set crypt, verifier, certificate, is_plus before. Take the client's first
 * message, append ours. nonce: as above. 0, -ERR_PROTO, -ERR_LIMIT. */
int pg_scram_server_begin(struct pg_scram_server *s, struct span client_first,
                          struct span nonce, struct buf *out) MUST;
/* Take the client's last message; append ours when the proof is good (0).
 * -ERR_AUTH: it is not; -ERR_PROTO, -ERR_LIMIT, -ERR_UNABLE. */
int pg_scram_server_final(struct pg_scram_server *s, struct span client_final,
                          struct buf *out) MUST;
void pg_scram_server_fini(struct pg_scram_server *s);
