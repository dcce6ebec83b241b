/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/password.c: passwords as scrypt hashes.
 */
#include "control/auth/password.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/check.h"
#include "control/auth/digest.h"
#include "control/auth/libcrypto.h"
#include "control/limit.h"

#define R        8
#define P        1
#define SALT     16
#define LOG2_MAX 20 /* 1 GiB: more is a damaged row */

void
password_init(struct password_gate *g, uint32_t log2)
{
	*g = (struct password_gate){ .log2 = log2 != 0 ? log2
		                                       : LIMIT_PASSWORD_LOG2 };
	REQUIRE(g->log2 <= LOG2_MAX);
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->free, NULL);
}

void
password_fini(struct password_gate *g)
{
	(void)pthread_cond_destroy(&g->free);
	(void)pthread_mutex_destroy(&g->lock);
}

static int
enter(struct password_gate *g, struct err *err)
{
	bool is_full;

	(void)pthread_mutex_lock(&g->lock);
	is_full = g->waiting >= LIMIT_PASSWORD_QUEUE;
	if (!is_full) {
		g->waiting++;
		while (g->running >= LIMIT_PASSWORD_AT_ONCE)
			(void)pthread_cond_wait(&g->free, &g->lock);
		g->waiting--;
		g->running++;
	}
	(void)pthread_mutex_unlock(&g->lock);
	if (is_full)
		return err_set(err, ERR_LIMIT,
		               "too many logins at once; try again");
	return 0;
}

static void
leave(struct password_gate *g)
{
	(void)pthread_mutex_lock(&g->lock);
	g->running--;
	(void)pthread_cond_signal(&g->free);
	(void)pthread_mutex_unlock(&g->lock);
}

static int
scrypt(struct password_gate *g, const char *password, uint32_t log2,
       const uint8_t salt[SALT], uint8_t ret[DIGEST_SIZE], struct err *err)
{
	uint64_t n = 1ULL << log2;
	int rc = enter(g, err);

	if (rc != 0)
		return rc;
	/* 128 * N * r is what it needs; the library wants a little more. */
	if (EVP_PBE_scrypt(password, strlen(password), salt, SALT, n, R, P,
	                   128ULL * R * (n + P + 2), ret, DIGEST_SIZE) != 1)
		rc = err_set(err, ERR_NOMEM,
		             "no memory to hash a password (%llu MiB)",
		             (unsigned long long)(128ULL * R * n >> 20));
	leave(g);
	return rc;
}

int
password_hash(struct password_gate *g, const char *password,
              char ret[PASSWORD_HASH], struct err *err)
{
	uint8_t salt[SALT];
	uint8_t hash[DIGEST_SIZE];
	char salt64[BASE64_LEN(SALT)];
	char hash64[BASE64_LEN(DIGEST_SIZE)];
	int rc;

	digest_random(salt, sizeof(salt));
	rc = scrypt(g, password, g->log2, salt, hash, err);
	if (rc != 0)
		return rc;
	(void)base64_put(BASE64_PLAIN, span_of(salt, SALT), salt64);
	(void)base64_put(BASE64_PLAIN, span_of(hash, DIGEST_SIZE), hash64);
	(void)snprintf(ret, PASSWORD_HASH, "scrypt:%u:%d:%d:%s:%s", g->log2, R,
	               P, salt64, hash64);
	return 0;
}

/* What password_hash wrote, taken apart. */
static bool
parse(const char *text, uint32_t *ret_log2, uint8_t salt[SALT],
      uint8_t hash[DIGEST_SIZE])
{
	unsigned log2 = 0;
	unsigned r = 0;
	unsigned p = 0;
	char salt64[BASE64_LEN(SALT)];
	char hash64[BASE64_LEN(DIGEST_SIZE)];

	// NOLINTNEXTLINE(cert-err34-c): out of range fails the bounds below.
	if (sscanf(text, "scrypt:%2u:%2u:%2u:%24[^:]:%44s", &log2, &r, &p,
	           salt64, hash64) != 5)
		return false;
	*ret_log2 = log2;
	return log2 >= 1 && log2 <= LOG2_MAX && r == R && p == P &&
	       base64_get(BASE64_PLAIN, span_str(salt64), salt, SALT) == SALT &&
	       base64_get(BASE64_PLAIN, span_str(hash64), hash, DIGEST_SIZE) ==
	               DIGEST_SIZE;
}

int
password_check(struct password_gate *g, const char *password, const char *hash,
               bool *ret_ok, bool *ret_stale, struct err *err)
{
	uint8_t salt[SALT] = { 0 };
	uint8_t want[DIGEST_SIZE] = { 0 };
	uint8_t have[DIGEST_SIZE];
	uint32_t log2 = g->log2;
	bool is_known = hash != NULL && parse(hash, &log2, salt, want);
	int rc;

	*ret_ok = false;
	*ret_stale = false;
	if (!is_known)
		log2 = g->log2;
	rc = scrypt(g, password, log2, salt, have, err);
	if (rc != 0)
		return rc;
	*ret_ok = digest_is_equal(have, want) && is_known;
	*ret_stale = *ret_ok && log2 != g->log2;
	digest_clear(have, sizeof(have));
	return 0;
}
