/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/token.h: API tokens by their hash, and ended sessions.
 *
 * Owns: tables token and token_ended. Thread: any.
 */
#pragma once

#include "control/store/store.h"

struct token_new {
	const char *org_uuid;
	const char *id;      /* its name, unique in the organization      */
	const char *handle;  /* the part of the token that is no secret   */
	const uint8_t *hash; /* SHA-256 of the whole token, 32 bytes      */
	const char *role;
	int64_t expires_ms; /* 0: never */
	const char *by;
	const char *description; /* or NULL */
};

int token_open(struct store *s, struct err *err) MUST; /* the tables */

/* ERR_EXISTS: another one has this id. */
int token_add(struct store *s, const struct token_new *t, struct err *err) MUST;
/* {"id","handle","hash" (hex),"role","expires_ms","org_uuid","org"}, or NULL
 * with ERR_MISSING. */
json_t *token_find(struct store *s, const char *handle, struct err *err);
/* Without hashes. */
json_t *token_list(struct store *s, const char *org_uuid, struct err *err);
/* {"id","role"}, or NULL with ERR_MISSING. */
json_t *token_get(struct store *s, const char *org_uuid, const char *id,
                  struct err *err);
int token_remove(struct store *s, const char *org_uuid, const char *id,
                 struct err *err) MUST;
int64_t token_count_super(struct store *s, const char *org_uuid,
                          int64_t now_ms);

/* A login's token (jti) that is valid no more, kept until it would have expired;
 * those before now_ms are forgotten. ERR_EXISTS: it was ended before. */
int token_end(struct store *s, const char *jti, int64_t until_ms,
              int64_t now_ms, struct err *err) MUST;
bool token_is_ended(struct store *s, const char *jti);
