/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/key.h: the key beside the state file.
 *
 * <state>.key holds one random key of 256 bits; whoever has the state file alone
 * can read no secret and make no token. From it come one key for each use. In
 * memory they live on a page that is locked and left out of core files.
 *
 * The file: "godwit-key-1\n" and 64 hex digits and a newline, mode 0600, owned
 * by the user that runs Godwit.
 *
 * Owns:   the page. Thread: read only after key_load.
 */
#pragma once

#include "base/err.h"
#include "control/auth/digest.h"

struct key {
	uint8_t seal[DIGEST_SIZE];  /* secrets in the state file         */
	uint8_t jwt[DIGEST_SIZE];   /* signs our tokens                  */
	uint8_t check[DIGEST_SIZE]; /* told to the state file: not secret */
};

/* Read <state>.key; where there is none, make it when may_make. ERR_MISSING:
 * none, and it may not be made; ERR_BAD: no key file, or others can read it;
 * ERR_IO. */
struct key *key_load(const char *state, bool may_make, struct err *err);
void key_free(struct key *k); /* wipes; NULL is fine */
