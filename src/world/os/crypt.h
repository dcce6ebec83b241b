/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/crypt.h: the hashes of wire/crypt.h, by OpenSSL.
 *
 * Thread: any.
 */
#pragma once

#include "wire/crypt.h"

extern const struct crypt os_crypt;

/* Random bytes for nonces and salts. */
bool os_crypt_random(void *ret, size_t n) MUST;
