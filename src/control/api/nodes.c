/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/nodes.c: instances that are masters of a Redis Cluster: their slots
 * are what the nodes say.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent.h"
#include "control/api/interlay.h"
#include "control/limit.h"
#include "control/url.h"
#include "core/slots.h"

/* Of any node of a fragmented cluster: "0,2,4,..." */
#define SLOTS_TEXT ((size_t)64 * 1024)

static int
ask(struct api *a, const json_t *endpoint, struct facts *ret, struct err *err)
{
	char *text = endpoint_url(a, endpoint, err);
	struct side_conf side;
	struct agent agent;
	struct url u;
	int rc = text != NULL ? url_parse(text, &u, err) : -(int)err->code;

	auth_wipe(text);
	if (rc == 0)
		rc = url_side(&u, SIDE_OLD, &side, err);
	explicit_bzero(&u, sizeof(u));
	if (rc != 0)
		return rc;
	agent_init(&agent, &side, "godwit:nodes");
	rc = agent_open(&agent, false, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = agent_probe(&agent, LIMIT_PREFLIGHT_MS, ret, err);
	agent_fini(&agent);
	explicit_bzero(&side, sizeof(side));
	if (rc == 0)
		return 0;
	err->code = ERR_UNABLE;
	return err_wrap(err, "endpoint %.64s", entity_id(endpoint));
}

static int
judge(const json_t *endpoint, const struct facts *f, struct err *err)
{
	const char *why = NULL;

	if (!f->is_cluster)
		why = "is no node of a cluster";
	else if (!f->told_cluster)
		why = "does not answer CLUSTER INFO and CLUSTER NODES";
	else if (!f->is_master || f->cluster.node.slot_n == 0)
		why = "is no master that owns slots";
	else if (!f->cluster.is_ok)
		why = "is in a cluster whose state is not ok";
	else if (f->cluster.node.is_open)
		why = "has a slot that is being moved";
	if (why == NULL)
		return 0;
	return err_set(err, ERR_UNABLE, "the endpoint \"%.64s\" %s",
	               entity_id(endpoint), why);
}

/* Does the text name these only? Several instances may share a node. */
static int
check_given(const json_t *endpoint, const char *text,
            const struct cluster_slots *slots, struct err *err)
{
	uint8_t *owner = malloc(HASH_SLOTS);
	uint32_t slot = 0;
	int rc;

	if (owner == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	slots_init(owner);
	rc = slots_give(owner, span_str(text), 0, err);
	while (rc == 0 && slot < HASH_SLOTS &&
	       (owner[slot] != 0 || cluster_has(slots, slot)))
		slot++;
	if (rc == 0 && slot < HASH_SLOTS)
		rc = err_set(err, ERR_BAD,
		             "slots: slot %u does not belong to the node "
		             "\"%.64s\"; leave slots out, the nodes say them",
		             slot, entity_id(endpoint));
	free(owner);
	return rc;
}

static int
fill_one(struct call *c, json_t *one, struct facts *f, struct err *err)
{
	const char *given = call_text(one, "slots");
	json_t *endpoint =
		entity_by_uuid(c->api->store, call_text(one, "endpoint"), err);
	char *text = malloc(SLOTS_TEXT);
	bool alone;
	int rc = endpoint == NULL ? -(int)err->code
	         : text == NULL   ? err_set(err, ERR_NOMEM, "out of memory")
	                          : ask(c->api, endpoint, f, err);

	/* A server alone takes every slot; it is to become a cluster, or was one. */
	alone = rc == 0 && !f->is_cluster && given != NULL;
	if (rc == 0 && !alone)
		rc = judge(endpoint, f, err);
	if (rc == 0 && given != NULL && !alone)
		rc = check_given(endpoint, given, &f->cluster.node.slots, err);
	if (rc == 0 && given == NULL) {
		cluster_text(&f->cluster.node.slots, text, SLOTS_TEXT);
		(void)json_object_set_new(one, "slots", json_string(text));
	}
	free(text);
	json_decref(endpoint);
	return rc;
}

int
nodes_fill(struct call *c, json_t *read, struct err *err)
{
	struct facts *f = calloc(1, sizeof(*f));
	int rc = 0;

	if (f == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < json_array_size(read) && rc == 0; i++) {
		rc = fill_one(c, json_array_get(read, i), f, err);
		if (rc != 0)
			(void)snprintf(c->param, sizeof(c->param),
			               "instances[%zu]", i);
	}
	free(f);
	return rc;
}
