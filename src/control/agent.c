/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/agent.c: the control thread's own connection to one side.
 */
#include "control/agent.h"

#include "engine/redis/admin/fence.h"
#include "world/os/loop.h"

void
agent_init(struct agent *a, const struct side_conf *conf, const char *name)
{
	*a = (struct agent){ .conf = conf, .name = name };
	os_mem_init(&a->mem, 0);
	buf_init(&a->tx, &a->mem);
}

void
agent_fini(struct agent *a)
{
	agent_close(a);
	if (a->tx.mem != NULL)
		buf_fini(&a->tx);
}

void
agent_close(struct agent *a)
{
	client_close(a->c);
	a->c = NULL;
	a->as_own = false;
}

static int
log_in(struct agent *a, const char *user, const char *pass, uint32_t timeout_ms,
       struct err *err)
{
	struct span replies = { NULL, 0 };
	uint32_t n;
	int rc;

	buf_clear(&a->tx);
	n = admin_put_login(&a->tx, user, pass, a->name);
	rc = agent_call(a, n, timeout_ms, &replies, err);
	if (rc == 0)
		rc = admin_read_login(replies, a->conf->label, n > 1, err);
	return rc;
}

/* The URL's user is fenced: by a leg that shares the server. */
static int
open_as_kin(struct agent *a, uint32_t timeout_ms, struct err *err)
{
	struct err first = *err;
	char user[64];
	char pass[80];

	for (uint32_t i = 0; a->kin->next(a->kin->arg, a->conf, i, user, pass);
	     i++) {
		agent_close(a);
		a->c = client_open(&a->conf->at, timeout_ms, err);
		if (a->c == NULL)
			return err_wrap(err, "%s", a->conf->label);
		if (log_in(a, user, pass, timeout_ms, err) == 0)
			return 0;
	}
	*err = first;
	return -(int)err->code;
}

int
agent_open(struct agent *a, bool use_own, uint32_t timeout_ms, struct err *err)
{
	const struct side_conf *c = a->conf;
	int rc = -ERR_AUTH;

	if (a->c != NULL && (a->as_own || !use_own))
		return 0;
	agent_close(a);
	if (use_own && c->own_user[0] != '\0') {
		a->c = client_open(&c->at, timeout_ms, err);
		if (a->c == NULL)
			return err_wrap(err, "%s", c->label);
		rc = log_in(a, c->own_user, c->own_pass, timeout_ms, err);
		a->as_own = rc == 0;
	}
	if (rc == -ERR_AUTH) {
		agent_close(a);
		a->c = client_open(&c->at, timeout_ms, err);
		if (a->c == NULL)
			return err_wrap(err, "%s", c->label);
		rc = log_in(a, c->url_user, c->url_pass, timeout_ms, err);
	}
	if ((rc == -ERR_AUTH || rc == -ERR_REFUSED) && a->kin != NULL)
		rc = open_as_kin(a, timeout_ms, err);
	if (rc != 0)
		agent_close(a);
	return rc;
}

int
agent_call(struct agent *a, uint32_t n, uint32_t timeout_ms,
           struct span *ret_replies, struct err *err)
{
	int rc;

	if (a->c == NULL) {
		buf_clear(&a->tx);
		return err_set(err, ERR_LOST, "%s: not connected",
		               a->conf->label);
	}
	if (buf_failed(&a->tx)) {
		buf_fini(&a->tx);
		return err_set(err, ERR_NOMEM, "out of memory");
	}
	rc = client_call(a->c, buf_span(&a->tx), n, timeout_ms, ret_replies,
	                 err);
	buf_clear(&a->tx);
	if (rc != 0) {
		agent_close(a);
		return err_wrap(err, "%s", a->conf->label);
	}
	return 0;
}

int
agent_probe(struct agent *a, uint32_t timeout_ms, struct facts *ret,
            struct err *err)
{
	struct span replies = { NULL, 0 };
	uint32_t n = probe_put_first(&a->tx);
	int rc = agent_call(a, n, timeout_ms, &replies, err);

	if (rc == 0)
		rc = probe_read_first(replies, a->conf->label, ret, err);
	if (rc != 0)
		return rc;
	n = probe_put_second(&a->tx, ret);
	rc = agent_call(a, n, timeout_ms, &replies, err);
	if (rc == 0)
		rc = probe_read_second(replies, a->conf->label, ret, err);
	return rc;
}
