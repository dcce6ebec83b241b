/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/on_view.c: pools, clients and servers of a running interlay.
 */
#include <stdio.h>

#include "control/api/call.h"
#include "control/view.h"

static int
show(struct call *c, enum view_kind kind, struct err *err)
{
	const struct view_page page = { .kind = kind,
		                        .limit = c->limit,
		                        .after = c->after };
	json_t *rows = NULL;
	json_t *next = NULL;
	int rc;

	if (c->api->host == NULL)
		return err_set(err, ERR_POSTPONED,
		               "Godwit is starting or stopping; try again");
	rc = host_interlay_view(c->api->host, entity_uuid(c->row), &page, &rows,
	                        &next, err);
	if (rc == -ERR_BAD)
		(void)snprintf(c->param, sizeof(c->param), "after");
	if (rc == -ERR_MISSING)
		return err_set(err, ERR_STATE,
		               "\"%.64s\" does not run; start it",
		               entity_id(c->row));
	if (rc != 0)
		return rc;
	if (kind == VIEW_POOLS)
		json_decref(next);
	else
		c->next = next;
	return call_data(c, rows, err);
}

int
on_interlay_pools(struct call *c, struct err *err)
{
	return show(c, VIEW_POOLS, err);
}

int
on_interlay_clients(struct call *c, struct err *err)
{
	return show(c, VIEW_CLIENTS, err);
}

int
on_interlay_servers(struct call *c, struct err *err)
{
	return show(c, VIEW_SERVERS, err);
}
