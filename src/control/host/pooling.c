/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/pooling.c: how long a connection to the server is one client's, of an
 * interlay of the daemon: {"mode","size","wait_ms","idle_ms"}.
 */
#define _DEFAULT_SOURCE
#include <string.h>

#include "control/dialect.h"
#include "control/host/inside.h"

/* As the command line has it (tables/option.tbl). */
#define POOL_SIZE    20
#define POOL_WAIT_MS 30000
#define POOL_IDLE_MS 60000

static uint32_t
number(const json_t *pool, const char *name, uint32_t standard)
{
	json_int_t n = json_integer_value(json_object_get(pool, name));

	return n > 0 ? (uint32_t)n : standard;
}

static struct interlay_pool
read_pool(const json_t *pool)
{
	const char *mode = json_string_value(json_object_get(pool, "mode"));
	struct interlay_pool ret = { .mode = RELAY_POOL_SESSION };

	if (mode == NULL || strcmp(mode, "off") == 0)
		return ret;
	if (strcmp(mode, "transaction") == 0)
		ret.mode = RELAY_POOL_TRANSACTION;
	ret.max = number(pool, "size", POOL_SIZE);
	ret.wait_ms = number(pool, "wait_ms", POOL_WAIT_MS);
	ret.idle_ms = number(pool, "idle_ms", POOL_IDLE_MS);
	return ret;
}

int
pooling_start(struct line *n, const json_t *pool, struct err *err)
{
	struct interlay_pool p = read_pool(pool);

	if (p.max > 0 && n->l->dialect != &dialect_postgres)
		return err_set(err, ERR_UNABLE,
		               "interlay %s: pool: not possible for %s, whose "
		               "clients share connections anyhow",
		               n->id, n->l->dialect->name);
	interlay_set_pool(n->l, &p);
	return 0;
}

int
host_interlay_pool(struct host *h, const char *uuid, const json_t *pool,
                   struct err *err)
{
	struct interlay_pool p = read_pool(pool);
	struct line *n;
	int rc = 0;

	host_lock(h);
	n = line_find(h, uuid);
	if (n == NULL)
		rc = err_set(err, ERR_MISSING, "interlay %s does not run",
		             uuid);
	else if (n->l->dialect != &dialect_postgres)
		rc = pooling_start(n, pool, err);
	else if (p.mode != n->l->pool.mode ||
	         (p.max > 0) != (n->l->pool.max > 0))
		rc = err_set(err, ERR_STATE,
		             "interlay %s: the mode of its pool changes with "
		             "its clients: stop it, change it, start it; size, "
		             "wait_ms and idle_ms change while it runs",
		             n->id);
	else
		interlay_set_pool(n->l, &p);
	host_unlock(h);
	return rc;
}
