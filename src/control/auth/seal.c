/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/seal.c: a secret as text that only the key's owner can read.
 */
#include "control/auth/seal.h"

#include <stdlib.h>

#include "base/base64.h"
#include "base/check.h"
#include "control/auth/libcrypto.h"

#define HEAD     "s1:"
#define HEAD_LEN (sizeof(HEAD) - 1)
#define NONCE    12
#define TAG      16

/* nonce, ciphertext, tag into ret, which has room for n + NONCE + TAG. */
static void
close_bytes(const uint8_t key[DIGEST_SIZE], const char *name, struct span in,
            uint8_t *ret)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t *body = ret + NONCE;
	int used = 0;
	int last = 0;
	bool ok;

	digest_random(ret, NONCE);
	ok = ctx != NULL &&
	     EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, ret) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &used, (const uint8_t *)name,
	                       (int)strlen(name)) == 1 &&
	     EVP_EncryptUpdate(ctx, body, &used, in.p, (int)in.n) == 1 &&
	     EVP_EncryptFinal_ex(ctx, body + used, &last) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, body + in.n) ==
	             1;
	EVP_CIPHER_CTX_free(ctx);
	ENSURE(ok && (size_t)used == in.n && last == 0);
}

static bool
open_bytes(const uint8_t key[DIGEST_SIZE], const char *name, struct span in,
           char *ret)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t n = in.n - NONCE - TAG;
	uint8_t tag[TAG];
	int used = 0;
	int last = 0;
	bool ok;

	memcpy(tag, in.p + NONCE + n, TAG);
	ok = ctx != NULL &&
	     EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, in.p) == 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &used, (const uint8_t *)name,
	                       (int)strlen(name)) == 1 &&
	     EVP_DecryptUpdate(ctx, (uint8_t *)ret, &used, in.p + NONCE,
	                       (int)n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
	     EVP_DecryptFinal_ex(ctx, (uint8_t *)ret + used, &last) == 1;
	EVP_CIPHER_CTX_free(ctx);
	ret[n] = '\0';
	return ok && strlen(ret) == n;
}

char *
seal_put(const uint8_t key[DIGEST_SIZE], const char *name, const char *secret,
         struct err *err)
{
	size_t n = strlen(secret);
	size_t all = n + NONCE + TAG;
	uint8_t *raw;
	char *text;

	if (n > SEAL_MAX) {
		(void)err_set(err, ERR_LIMIT,
		              "%s: a secret has at most %d bytes", name,
		              SEAL_MAX);
		return NULL;
	}
	raw = malloc(all);
	text = malloc(HEAD_LEN + BASE64_LEN(all));
	if (raw == NULL || text == NULL) {
		free(raw);
		free(text);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	close_bytes(key, name, span_of(secret, n), raw);
	memcpy(text, HEAD, HEAD_LEN);
	(void)base64_put(BASE64_PLAIN, span_of(raw, all), text + HEAD_LEN);
	free(raw);
	return text;
}

char *
seal_get(const uint8_t key[DIGEST_SIZE], const char *name, const char *sealed,
         struct err *err)
{
	struct span text = span_str(sealed);
	uint8_t *raw = malloc(text.n + 1);
	char *ret = malloc(text.n + 1);
	ptrdiff_t n = -1;
	bool ok;

	if (raw == NULL || ret == NULL) {
		free(raw);
		free(ret);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	if (span_has_prefix(text, SPAN(HEAD)))
		n = base64_get(BASE64_PLAIN, span_skip(text, HEAD_LEN), raw,
		               text.n);
	ok = n >= NONCE + TAG &&
	     open_bytes(key, name, span_of(raw, (size_t)n), ret);
	free(raw);
	if (ok)
		return ret;
	digest_clear(ret, text.n + 1);
	free(ret);
	(void)err_set(err, ERR_BAD,
	              "the secret of %s cannot be opened: the state file was "
	              "changed, or its key is another; set the secret again",
	              name);
	return NULL;
}

void
seal_wipe(char *secret)
{
	if (secret == NULL)
		return;
	digest_clear(secret, strlen(secret));
	free(secret);
}
