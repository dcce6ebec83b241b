/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/auth/issuer.h: an OIDC issuer on loopback, with keys of its own.
 */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include "control/auth/libcrypto.h"

#define ISSUER_KEYS 4

enum issuer_mood {
	ISSUER_FINE,
	ISSUER_FAILS,    /* 500 */
	ISSUER_HUGE,     /* more than anybody wants */
	ISSUER_GARBAGE,  /* 200 and no JSON */
	ISSUER_OTHER,    /* says that it is somebody else */
	ISSUER_REDIRECT, /* 302 */
};

struct issuer {
	pthread_t thread;
	int fd;
	char url[64]; /* "http://127.0.0.1:port" */
	pthread_mutex_t lock;
	enum issuer_mood mood;
	json_t *keys; /* what it publishes */
	int asked;    /* requests so far */
};

void issuer_start(struct issuer *i);
void issuer_stop(struct issuer *i);
void issuer_set(struct issuer *i, enum issuer_mood mood);
int issuer_asked(struct issuer *i);
/* Publish a key under a name (NULL: without), or take all back. */
void issuer_publish(struct issuer *i, EVP_PKEY *key, const char *kid);
void issuer_retract(struct issuer *i);

/* The public half as a JWK (new reference). */
json_t *issuer_jwk(EVP_PKEY *key, const char *kid);
/* A token with this alg in its header, signed with the key (RSA or EC); malloced.
 * kid NULL: none. */
char *issuer_sign(EVP_PKEY *key, const char *alg, const char *kid,
                  const json_t *claims);
