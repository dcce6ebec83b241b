/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/digest.c: hashes, codes and chance, in the few forms used here.
 */
#include "control/auth/digest.h"

#include "base/check.h"
#include "base/num.h"
#include "control/auth/libcrypto.h"

void
digest_sha256(struct span in, uint8_t ret[DIGEST_SIZE])
{
	unsigned n = 0;
	int ok = EVP_Digest(in.p, in.n, ret, &n, EVP_sha256(), NULL);

	ENSURE(ok == 1 && n == DIGEST_SIZE);
}

void
digest_hmac(const uint8_t key[DIGEST_SIZE], struct span in,
            uint8_t ret[DIGEST_SIZE])
{
	unsigned n = 0;
	const unsigned char *p =
		HMAC(EVP_sha256(), key, DIGEST_SIZE, in.p, in.n, ret, &n);

	ENSURE(p != NULL && n == DIGEST_SIZE);
}

void
digest_derive(const uint8_t key[DIGEST_SIZE], const char *use,
              uint8_t ret[DIGEST_SIZE])
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	char sha[] = "SHA256";
	uint8_t secret[DIGEST_SIZE];
	char info[32];
	OSSL_PARAM params[4];
	size_t n = strlen(use);
	int ok;

	REQUIRE(n < sizeof(info));
	memcpy(secret, key, sizeof(secret));
	memcpy(info, use, n + 1);
	params[0] =
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, sha, 0);
	params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
	                                              secret, sizeof(secret));
	params[2] =
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, n);
	params[3] = OSSL_PARAM_construct_end();
	ok = EVP_KDF_derive(ctx, ret, DIGEST_SIZE, params);
	OPENSSL_cleanse(secret, sizeof(secret));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ENSURE(ok == 1);
}

bool
digest_is_equal(const uint8_t a[DIGEST_SIZE], const uint8_t b[DIGEST_SIZE])
{
	return CRYPTO_memcmp(a, b, DIGEST_SIZE) == 0;
}

void
digest_random(void *ret, size_t n)
{
	int ok = RAND_priv_bytes(ret, (int)n);

	ENSURE(ok == 1);
}

void
digest_clear(void *p, size_t n)
{
	OPENSSL_cleanse(p, n);
}

void
digest_hex(const void *p, size_t n, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		ret[2 * i] = digits[b[i] >> 4];
		ret[2 * i + 1] = digits[b[i] & 15];
	}
	ret[2 * n] = '\0';
}

bool
digest_unhex(const char *text, void *ret, size_t n)
{
	uint8_t *b = ret;

	if (strlen(text) != 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int high = num_hex(text[2 * i]);
		int low = num_hex(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		b[i] = (uint8_t)(high * 16 + low);
	}
	return true;
}
