/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls_parts.h: what tls.c (connections) and tls_context.c (rules and
 * certificates) share.
 */
#pragma once

/* OpenSSL and base/err.h both have an ERR_STATE; only ours is used. */
// clang-format off
#define ERR_STATE openssl_err_state
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
#include <pthread.h>
// clang-format on

#include "world/os/tls.h"
#include "world/os/tls_files.h"

/* What new connections get; made again when its files were exchanged. */
struct tls_live {
	pthread_mutex_t lock; /* all below */
	SSL_CTX *ctx;
	struct tls_files files;
	char *given[TLS_FILES]; /* CA, certificate, key: copies; NULL: none */
};

struct tls_client {
	struct tls_client
		*next;      /* all of the process, by the lock of the list */
	uint8_t digest[32]; /* of rules, paths and PEM: equal ones are one */
	struct tls_live *live;
	bool insecure;
	bool any_name;
	char agrees;
	struct span ask;
	char name[256]; /* "": the address's host */
};

struct tls_server {
	struct tls_live live; /* its lock: all below, too */
	bool require;
	const char *alpn;
	struct tls_look look;
};

/* The context for a new connection, with a reference. */
SSL_CTX *tls_client_ctx(const struct tls_client *c);

SSL_CTX *tls_server_ctx(struct tls_server *s);
/* A handshake ended; why: NULL when it was done. */
void tls_server_note(struct tls_server *s, const char *why);

/* For a server's context: the one name, where the client names some. arg: it, a
 * text. */
int tls_choose_protocol(SSL *ssl, const unsigned char **ret,
                        unsigned char *ret_n, const unsigned char *in,
                        unsigned int n, void *arg);

/* OpenSSL's own words for the first error in this thread's queue, which is
 * emptied. */
const char *tls_reason(void);
