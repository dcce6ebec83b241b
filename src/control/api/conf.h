/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/conf.h: the configuration of godwit serve.
 *
 * A YAML file whose keys are the rows of tables/conf.tbl; unknown keys, values
 * out of range and doubled keys are refused by name and line.
 *
 * Owns:   the texts, until conf_fini.
 * Limits: CONF_SIZE bytes of file, CONF_DEPTH levels.
 * Thread: one.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define CONF_SIZE  ((size_t)1024 * 1024)
#define CONF_DEPTH 8

enum conf_id {
#define X(id, key, kind, standard, low, high, reload, help) CONF_##id,
#include "conf.tbl"
#undef X
	CONF_N,
};

struct conf {
	json_t *value[CONF_N]; /* texts, integers or objects; never NULL */
};

/* One of several faults: "FILE, line 3: limits.threads: ...". */
typedef void conf_tell_f(const char *text);

/* The standards; then a file on top (path NULL: none). ERR_USAGE names file and
 * key; where there are several faults each is told, and *err says how many. */
int conf_load(struct conf *c, const char *path, conf_tell_f *tell,
              struct err *err) MUST;
void conf_fini(struct conf *c);

/* Put a text in place of the file's (an option of the command line). */
int conf_set(struct conf *c, enum conf_id id, const char *text,
             struct err *err) MUST;
const char *conf_key(enum conf_id id);
const char *conf_text(const struct conf *c, enum conf_id id); /* "" none */
int64_t conf_number(const struct conf *c, enum conf_id id);
/* The oidc.* keys as auth.h wants them (new reference); NULL: no issuer. */
json_t *conf_oidc(const struct conf *c);
/* Name of the first key that differs and needs a restart, or NULL. */
const char *conf_differs(const struct conf *a, const struct conf *b);
