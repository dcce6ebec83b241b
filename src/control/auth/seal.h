/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/seal.h: a secret as text that only the key's owner can read.
 *
 * "s1:" and the base64 of nonce (12 bytes), ciphertext and tag (16): AES-256-GCM
 * with the record's name as associated data, a fresh random nonce each time.
 *
 * Thread: pure functions but for chance.
 */
#pragma once

#include "base/err.h"
#include "control/auth/digest.h"

#define SEAL_MAX (1 << 20) /* bytes of a secret: whole answers are among them */

/* Malloced, or NULL (ERR_LIMIT, ERR_NOMEM). */
char *seal_put(const uint8_t key[DIGEST_SIZE], const char *name,
               const char *secret, struct err *err);
/* The secret (malloced; wipe it with seal_wipe), or NULL (ERR_BAD). */
char *seal_get(const uint8_t key[DIGEST_SIZE], const char *name,
               const char *sealed, struct err *err);
void seal_wipe(char *secret); /* NULL is fine */
