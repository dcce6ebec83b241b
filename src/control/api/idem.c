/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/idem.c: a POST that is sent twice takes effect once.
 */
#define _DEFAULT_SOURCE
#include "control/api/idem.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "world/os/loop.h"

#define KEY_MAX  255
#define HASH_LEN 33

static const char *const steps[] = {
	"CREATE TABLE idem("
	" name TEXT PRIMARY KEY, org TEXT NOT NULL, subject TEXT NOT NULL,"
	" key TEXT NOT NULL, request TEXT NOT NULL, status INTEGER NOT NULL,"
	" answer TEXT, at_ms INTEGER NOT NULL,"
	" UNIQUE(org, subject, key)) STRICT;"
	"CREATE INDEX idem_at ON idem(at_ms);",
};

int
idem_open(struct store *s, struct err *err)
{
	int rc = store_schema(s, "idem", steps, 1, err);
	int64_t n;

	if (rc != 0)
		return rc;
	n = store_run(s, err, "DELETE FROM idem WHERE status=0", "");
	return n < 0 ? (int)n : 0;
}

/* What the request says: method, target, body. A subject's own key is compared
 * with the subject's own request: no secret hash is needed. */
static bool
hash(const struct call *c, char ret[HASH_LEN])
{
	XXH3_state_t *x = XXH3_createState();
	XXH128_hash_t h;

	if (x == NULL)
		return false;
	(void)XXH3_128bits_reset(x);
	(void)XXH3_128bits_update(x, c->in->method, strlen(c->in->method) + 1);
	(void)XXH3_128bits_update(x, c->in->target, strlen(c->in->target) + 1);
	(void)XXH3_128bits_update(x, c->in->body.p, c->in->body.n);
	h = XXH3_128bits_digest(x);
	(void)XXH3_freeState(x);
	(void)snprintf(ret, HASH_LEN, "%016llx%016llx",
	               (unsigned long long)h.high64,
	               (unsigned long long)h.low64);
	return true;
}

static void
seal_name(const char *name, char ret[64])
{
	(void)snprintf(ret, 64, "idem/%s", name);
}

static int
replay(struct call *c, const json_t *row, struct err *err)
{
	const char *name = json_string_value(json_object_get(row, "name"));
	const char *sealed = json_string_value(json_object_get(row, "answer"));
	char what[64];
	char *text;

	seal_name(name, what);
	text = auth_open(c->api->auth, what, sealed != NULL ? sealed : "", err);
	if (text == NULL)
		return -(int)err->code;
	c->text = strdup(text);
	auth_wipe(text);
	c->status = (int)json_integer_value(json_object_get(row, "status"));
	c->type = "application/json";
	call_header(c, "Idempotency-Replayed", "true");
	return 0;
}

/* There is a row of that key. */
static int
meet(struct call *c, const char *key, const char *request, bool *ret_replayed,
     struct err *err)
{
	json_t *row = store_row(c->api->store, err,
	                        "SELECT * FROM idem WHERE org=? AND subject=? "
	                        "AND key=?",
	                        "sss", call_org(c), c->who.subject, key);
	const char *was = json_string_value(json_object_get(row, "request"));
	int rc;

	if (row == NULL)
		return -(int)err->code;
	if (was == NULL || strcmp(was, request) != 0) {
		rc = err_set(err, ERR_UNABLE,
		             "Idempotency-Key was used for another request; "
		             "choose a new one");
	} else if (json_integer_value(json_object_get(row, "status")) == 0) {
		rc = err_set(err, ERR_STATE,
		             "the first request with this Idempotency-Key is "
		             "still under way; ask again");
		c->retry_s = 1;
	} else {
		rc = replay(c, row, err);
		*ret_replayed = rc == 0;
	}
	json_decref(row);
	return rc;
}

int
idem_begin(struct idem *i, struct call *c, const char *key, bool *ret_replayed,
           struct err *err)
{
	int64_t now = os_wall_ms();
	char request[HASH_LEN];
	size_t len = key != NULL ? strlen(key) : 0;
	int64_t n;

	*ret_replayed = false;
	if (key == NULL || !c->is_known || !router_has(c->route, 'I'))
		return 0;
	if (len == 0 || len > KEY_MAX)
		return err_set(err, ERR_BAD,
		               "Idempotency-Key must have 1 to %d bytes",
		               KEY_MAX);
	if (!hash(c, request))
		return err_set(err, ERR_NOMEM, "out of memory");
	(void)store_uuid(i->name);
	n = store_run(c->api->store, err, "DELETE FROM idem WHERE at_ms<?", "i",
	              now - (int64_t)IDEM_HOURS * 3600 * 1000);
	if (n < 0)
		return (int)n;
	n = store_run(c->api->store, err,
	              "INSERT INTO idem VALUES(?,?,?,?,?,0,NULL,?)", "sssssi",
	              i->name, call_org(c), c->who.subject, key, request, now);
	if (n == -ERR_EXISTS)
		return meet(c, key, request, ret_replayed, err);
	i->is_open = n == 1;
	return n < 0 ? (int)n : 0;
}

void
idem_end(struct idem *i, struct call *c, const struct http_answer *a)
{
	char *sealed = NULL;
	struct err err;
	char what[64];
	int64_t n = -1;

	if (!i->is_open)
		return;
	seal_name(i->name, what);
	if (a->status < 500 && a->status != 429 && a->text != NULL)
		sealed = auth_seal(c->api->auth, what, a->text, &err);
	if (sealed != NULL)
		n = store_run(c->api->store, &err,
		              "UPDATE idem SET status=?, answer=? WHERE name=?",
		              "iss", (int64_t)a->status, sealed, i->name);
	if (n != 1)
		n = store_run(c->api->store, &err,
		              "DELETE FROM idem WHERE name=?", "s", i->name);
	free(sealed);
	if (n < 0)
		(void)fprintf(stderr, "godwit: idempotency: %s\n", err.text);
}
