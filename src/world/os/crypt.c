/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/crypt.c: the hashes of wire/crypt.h, by OpenSSL.
 */
#include "world/os/crypt.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static bool
md5(struct span in, uint8_t ret[CRYPT_MD5])
{
	return EVP_Digest(in.p, in.n, ret, NULL, EVP_md5(), NULL) == 1;
}

static bool
sha256(struct span in, uint8_t ret[CRYPT_SHA256])
{
	return EVP_Digest(in.p, in.n, ret, NULL, EVP_sha256(), NULL) == 1;
}

static bool
hmac_sha256(struct span key, struct span in, uint8_t ret[CRYPT_SHA256])
{
	/* NULL as a key would mean the one before. */
	const void *p = key.n > 0 ? (const void *)key.p : "";

	return key.n <= INT_MAX &&
	       HMAC(EVP_sha256(), p, (int)key.n, in.p, in.n, ret, NULL) != NULL;
}

static bool
stretch(struct span password, struct span salt, uint32_t rounds,
        uint8_t ret[CRYPT_SHA256])
{
	const char *p = password.n > 0 ? (const char *)password.p : "";

	return password.n <= INT_MAX && salt.n <= INT_MAX &&
	       rounds <= INT_MAX &&
	       PKCS5_PBKDF2_HMAC(p, (int)password.n, salt.p, (int)salt.n,
	                         (int)rounds, EVP_sha256(), CRYPT_SHA256,
	                         ret) == 1;
}

const struct crypt os_crypt = {
	.md5 = md5,
	.sha256 = sha256,
	.hmac_sha256 = hmac_sha256,
	.stretch = stretch,
};

bool
os_crypt_random(void *ret, size_t n)
{
	return n <= INT_MAX && RAND_priv_bytes(ret, (int)n) == 1;
}
