/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/journal_secret.c: what a daemon's legs write down sealed.
 *
 * Where a key lies beside the state file (a daemon's), the passwords of Godwit's
 * own users (names that end in _pass) and the saved rules of the servers' users
 * (they contain hashes of passwords) are sealed with it, and opened when they are
 * read. A file without a key (one migration in one process) has them as they are;
 * so does a row of an earlier version.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/auth/key.h"
#include "control/auth/seal.h"
#include "control/journal_parts.h"

#define HEAD  "s1:" /* as seal.h writes them; no password of ours begins so */
#define RULES "rules"

int
journal_secret_open(struct journal *j, struct err *err)
{
	char path[sizeof(j->path) + 8];

	(void)snprintf(path, sizeof(path), "%s.key", j->path);
	if (j->leg[0] == '\0' || access(path, F_OK) != 0)
		return 0;
	j->key = key_load(j->path, false, err);
	return j->key != NULL ? 0 : -(int)err->code;
}

/* The name that is bound into a secret. */
static const char *
name_of(const struct journal *j, const char *key, char ret[192])
{
	(void)snprintf(ret, 192, "journal/%s/%.80s", j->leg, key);
	return ret;
}

static bool
is_secret(const char *key)
{
	size_t n = strlen(key);

	return n > 5 && strcmp(key + n - 5, "_pass") == 0;
}

char *
journal_secret_hide(struct journal *j, const char *key, const char *value,
                    struct err *err)
{
	char name[192];
	char *ret;

	if (j->key == NULL || !is_secret(key)) {
		ret = strdup(value);
		if (ret == NULL)
			(void)err_set(err, ERR_NOMEM, "out of memory");
		return ret;
	}
	return seal_put(j->key->seal, name_of(j, key, name), value, err);
}

char *
journal_secret_show(struct journal *j, const char *key, const char *value)
{
	char name[192];

	if (!is_secret(key) || strncmp(value, HEAD, sizeof(HEAD) - 1) != 0)
		return strdup(value);
	return j->key != NULL ? seal_get(j->key->seal, name_of(j, key, name),
	                                 value, NULL)
	                      : NULL;
}

int
journal_secret_hide_body(struct journal *j, json_t *body, struct err *err)
{
	json_t *rules = json_object_get(body, RULES);
	char name[192];
	char *text;
	char *sealed;
	int rc = 0;

	if (j->key == NULL || rules == NULL)
		return 0;
	text = json_dumps(rules, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	sealed = seal_put(j->key->seal, name_of(j, RULES, name), text, err);
	seal_wipe(text);
	if (sealed == NULL)
		return -(int)err->code;
	if (json_object_set_new(body, RULES, json_string(sealed)) != 0)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	free(sealed);
	return rc;
}

int
journal_secret_show_body(struct journal *j, json_t *body, struct err *err)
{
	const char *sealed = json_string_value(json_object_get(body, RULES));
	char name[192];
	json_t *rules;
	char *text;

	if (sealed == NULL || strncmp(sealed, HEAD, sizeof(HEAD) - 1) != 0)
		return 0;
	if (j->key == NULL)
		return err_set(err, ERR_MISSING,
		               "state file %s: its key file %s.key is gone; "
		               "put it back",
		               j->path, j->path);
	text = seal_get(j->key->seal, name_of(j, RULES, name), sealed, err);
	if (text == NULL)
		return -(int)err->code;
	rules = json_loads(text, JSON_DECODE_ANY, NULL);
	seal_wipe(text);
	if (rules == NULL || json_object_set_new(body, RULES, rules) != 0)
		return err_set(err, ERR_BAD,
		               "state file %s: saved rules are damaged",
		               j->path);
	return 0;
}
