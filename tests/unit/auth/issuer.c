/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/issuer.c: an OIDC issuer on loopback, with keys of its own.
 */
#define _GNU_SOURCE
#include "issuer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "unit.h"

static void
say(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t got = send(fd, p, n, MSG_NOSIGNAL);

		if (got <= 0)
			return;
		p += got;
		n -= (size_t)got;
	}
}

static char *
document(struct issuer *i, bool is_keys)
{
	json_t *doc;
	char *ret;
	char uri[96];

	(void)snprintf(uri, sizeof(uri), "%s/keys", i->url);
	if (i->mood == ISSUER_GARBAGE)
		return strdup("<html>not found</html>");
	if (i->mood == ISSUER_HUGE) {
		ret = malloc(400001);
		assert_non_null(ret);
		memset(ret, ' ', 400000);
		ret[400000] = '\0';
		return ret;
	}
	doc = is_keys ? json_pack("{s:O}", "keys", i->keys)
	              : json_pack("{s:s, s:s}", "issuer",
	                          i->mood == ISSUER_OTHER
	                                  ? "https://elsewhere.example"
	                                  : i->url,
	                          "jwks_uri", uri);
	ret = json_dumps(doc, 0);
	json_decref(doc);
	return ret;
}

static void
answer(struct issuer *i, int fd)
{
	char in[4096];
	size_t n = 0;
	char head[256];
	char *body;

	while (n < sizeof(in) - 1) {
		ssize_t got = recv(fd, in + n, sizeof(in) - 1 - n, 0);

		if (got <= 0)
			return;
		n += (size_t)got;
		in[n] = '\0';
		if (strstr(in, "\r\n\r\n") != NULL)
			break;
	}
	(void)pthread_mutex_lock(&i->lock);
	i->asked++;
	body = document(i, strncmp(in, "GET /keys ", 10) == 0);
	(void)snprintf(head, sizeof(head),
	               "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%sConnection: "
	               "close\r\n\r\n",
	               i->mood == ISSUER_FAILS      ? "500 No"
	               : i->mood == ISSUER_REDIRECT ? "302 Away"
	                                            : "200 OK",
	               strlen(body),
	               i->mood == ISSUER_REDIRECT
	                       ? "Location: http://127.0.0.1:1/\r\n"
	                       : "");
	(void)pthread_mutex_unlock(&i->lock);
	say(fd, head, strlen(head));
	say(fd, body, strlen(body));
	free(body);
}

static void *
serve(void *arg)
{
	struct issuer *i = arg;
	int fd;

	/* Ends when the listener is shut down. */
	while ((fd = accept(i->fd, NULL, NULL)) >= 0) {
		answer(i, fd);
		(void)close(fd);
	}
	return NULL;
}

void
issuer_start(struct issuer *i)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);

	*i = (struct issuer){ .keys = json_array() };
	(void)pthread_mutex_init(&i->lock, NULL);
	i->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(i->fd >= 0);
	assert_int_equal(bind(i->fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(i->fd, 16), 0);
	assert_int_equal(getsockname(i->fd, (struct sockaddr *)&a, &n), 0);
	(void)snprintf(i->url, sizeof(i->url), "http://127.0.0.1:%u",
	               ntohs(a.sin_port));
	assert_int_equal(pthread_create(&i->thread, NULL, serve, i), 0);
}

void
issuer_stop(struct issuer *i)
{
	(void)shutdown(i->fd, SHUT_RDWR);
	(void)pthread_join(i->thread, NULL);
	(void)close(i->fd);
	json_decref(i->keys);
	(void)pthread_mutex_destroy(&i->lock);
}

void
issuer_set(struct issuer *i, enum issuer_mood mood)
{
	(void)pthread_mutex_lock(&i->lock);
	i->mood = mood;
	(void)pthread_mutex_unlock(&i->lock);
}

int
issuer_asked(struct issuer *i)
{
	int ret;

	(void)pthread_mutex_lock(&i->lock);
	ret = i->asked;
	(void)pthread_mutex_unlock(&i->lock);
	return ret;
}

void
issuer_publish(struct issuer *i, EVP_PKEY *key, const char *kid)
{
	(void)pthread_mutex_lock(&i->lock);
	(void)json_array_append_new(i->keys, issuer_jwk(key, kid));
	(void)pthread_mutex_unlock(&i->lock);
}

void
issuer_retract(struct issuer *i)
{
	(void)pthread_mutex_lock(&i->lock);
	(void)json_array_clear(i->keys);
	(void)pthread_mutex_unlock(&i->lock);
}

/* ---- keys ----------------------------------------------------------------- */

static void
put_number(json_t *jwk, const char *name, EVP_PKEY *key, const char *what,
           int n)
{
	uint8_t raw[1024];
	char text[BASE64_LEN(1024)];
	BIGNUM *v = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, what, &v), 1);
	n = n == 0 ? BN_num_bytes(v) : n;
	assert_int_equal(BN_bn2binpad(v, raw, n), n);
	BN_free(v);
	(void)base64_put(BASE64_URL, span_of(raw, (size_t)n), text);
	(void)json_object_set_new(jwk, name, json_string(text));
}

json_t *
issuer_jwk(EVP_PKEY *key, const char *kid)
{
	bool is_rsa = EVP_PKEY_is_a(key, "RSA") == 1;
	json_t *ret = json_pack("{s:s, s:s, s:s, s:s*}", "kty",
	                        is_rsa ? "RSA" : "EC", "use", "sig", "alg",
	                        is_rsa ? "RS256" : "ES256", "kid", kid);

	assert_non_null(ret);
	if (is_rsa) {
		put_number(ret, "n", key, "n", 0);
		put_number(ret, "e", key, "e", 0);
		return ret;
	}
	(void)json_object_set_new(ret, "crv", json_string("P-256"));
	put_number(ret, "x", key, "qx", 32);
	put_number(ret, "y", key, "qy", 32);
	return ret;
}

/* DER to r and s, 32 bytes each. */
static size_t
flat(uint8_t *sig, size_t n)
{
	const uint8_t *p = sig;
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);

	assert_non_null(s);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32), 32);
	ECDSA_SIG_free(s);
	return 64;
}

char *
issuer_sign(EVP_PKEY *key, const char *alg, const char *kid,
            const json_t *claims)
{
	json_t *head = json_pack("{s:s, s:s, s:s*}", "alg", alg, "typ", "JWT",
	                         "kid", kid);
	char *h = json_dumps(head, JSON_COMPACT);
	char *c = json_dumps(claims, JSON_COMPACT);
	char *ret = malloc(8000);
	uint8_t sig[1024];
	size_t sig_n = sizeof(sig);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n;

	assert_true(h != NULL && c != NULL && ret != NULL && ctx != NULL);
	n = base64_put(BASE64_URL, span_str(h), ret);
	ret[n++] = '.';
	n += base64_put(BASE64_URL, span_str(c), ret + n);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key),
	                 1);
	assert_int_equal(
		EVP_DigestSign(ctx, sig, &sig_n, (const uint8_t *)ret, n), 1);
	if (EVP_PKEY_is_a(key, "EC") == 1)
		sig_n = flat(sig, sig_n);
	ret[n++] = '.';
	(void)base64_put(BASE64_URL, span_of(sig, sig_n), ret + n);
	EVP_MD_CTX_free(ctx);
	json_decref(head);
	free(h);
	free(c);
	return ret;
}
