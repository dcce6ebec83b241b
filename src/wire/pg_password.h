/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_password.h: passwords as PostgreSQL keeps them (pg_authid.rolpassword).
 *
 *   md5 and 32 hex digits              of MD5(password || user)
 *   SCRAM-SHA-256$4096:salt$stored:server       base64 after the dollar signs
 *
 * A password is taken byte by byte: SASLprep, which a server applies to passwords
 * that are valid UTF-8 and not all ASCII, is not done. So it differs from the
 * server's where that changes the text (letters written in several ways, spaces
 * that are not ASCII); it is the same for ASCII, for what is not UTF-8, and for
 * text that is in NFKC already.
 *
 * Source: RFC 5802; https://www.postgresql.org/docs/15/catalog-pg-authid.html
 *
 * Owns:   nothing.
 * Limits: below.
 * Thread: pure functions.
 */
#pragma once

#include "base/buf.h"
#include "wire/crypt.h"

#define PG_SCRAM_SALT       16      /* bytes of a salt that we make           */
#define PG_SCRAM_SALT_MAX   256     /* ... of one that we take                */
#define PG_SCRAM_ROUNDS     4096    /* the server's default                   */
#define PG_SCRAM_ROUNDS_MAX 1000000 /* half a second of one processor         */

#define PG_MD5_JOINED_MAX 1024 /* bytes of password and user together */
#define PG_MD5_N          35   /* "md5" and 32 digits */
#define PG_MD5_MAX        (PG_MD5_N + 1)

struct pg_verifier {
	uint32_t rounds;
	uint32_t salt_n;
	uint8_t salt[PG_SCRAM_SALT_MAX];
	uint8_t stored[CRYPT_SHA256]; /* StoredKey */
	uint8_t server[CRYPT_SHA256]; /* ServerKey */
};

enum pg_password {
	PG_PASSWORD_PLAIN, /* also what only looks like one of the others */
	PG_PASSWORD_MD5,
	PG_PASSWORD_SCRAM,
};

enum pg_password pg_password_kind(struct span text);

/* False: not of that form, or over a limit. */
bool pg_verifier_parse(struct span text, struct pg_verifier *ret) MUST;
void pg_put_verifier(struct buf *b, const struct pg_verifier *v);

/* 0, -ERR_LIMIT or -ERR_UNABLE (the library refused). */
int pg_verifier_make(const struct crypt *crypt, struct span password,
                     struct span salt, uint32_t rounds,
                     struct pg_verifier *ret) MUST;

/* For a user that does not exist: the same salt each time, no password fits.
 * secret: of this server, never told. */
int pg_verifier_mock(const struct crypt *crypt, struct span user,
                     struct span secret, struct pg_verifier *ret) MUST;

/* Is it the password of this verifier? */
bool pg_verifier_is(const struct pg_verifier *v, const struct crypt *crypt,
                    struct span password);

/* What is kept for the password; and what a client answers to the salt when this
 * is kept. 0, -ERR_LIMIT or -ERR_UNABLE. */
int pg_md5_make(const struct crypt *crypt, struct span user,
                struct span password, char ret[PG_MD5_MAX]) MUST;
int pg_md5_answer(const struct crypt *crypt, struct span stored,
                  const uint8_t salt[4], char ret[PG_MD5_MAX]) MUST;
