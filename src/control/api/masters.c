/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/masters.c: the masters of a Redis Cluster, from the name of one node.
 *
 * "masters_of" of a new interlay names an endpoint, any node of a cluster or a server
 * alone; "toward" the one where it shall go some time. An endpoint is made for each
 * master (<name>-0, <name>-1, in the order of their slots), and an instance for each
 * pair of masters that have slots in common. A migration is given the endpoint of
 * the new cluster and finds the master for each instance.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "control/agent.h"
#include "control/api/interlay.h"
#include "control/limit.h"
#include "control/url.h"
#include "core/slots.h"
#include "engine/redis/spread/spread.h"

#define SLOTS_TEXT ((size_t)64 * 1024)

struct master {
	char host[sizeof(((struct address *)NULL)->host)];
	uint16_t port;
	uint32_t first; /* slot */
	struct cluster_slots slots;
	json_t *row;
};

struct masters {
	uint32_t n;
	struct master at[SPREAD_MAX];
};

static void
masters_free(struct masters *m)
{
	for (uint32_t i = 0; m != NULL && i < m->n; i++)
		json_decref(m->at[i].row);
	free(m);
}

/* ---- ask ------------------------------------------------------------------- */

static int
take(const struct cluster_node *node, const struct url *seed,
     struct masters *ret, struct err *err)
{
	struct master *at = &ret->at[ret->n];

	if (ret->n == SPREAD_MAX)
		return err_set(err, ERR_LIMIT,
		               "the cluster has more than %d masters with "
		               "slots",
		               SPREAD_MAX);
	if (node->is_away || node->is_open)
		return err_set(err, ERR_UNABLE, "the master %s:%u %s",
		               node->host, node->port,
		               node->is_away
		                       ? "has failed"
		                       : "has a slot that is being moved");
	ret->n++;
	(void)snprintf(at->host, sizeof(at->host), "%s",
	               node->host[0] != '\0' ? node->host : seed->at.host);
	at->port = node->port;
	at->slots = node->slots;
	while (!cluster_has(&at->slots, at->first))
		at->first++;
	return 0;
}

static int
by_slot(const void *a, const void *b)
{
	const struct master *x = a;
	const struct master *y = b;

	return x->first < y->first ? -1 : 1;
}

/* The reply to CLUSTER NODES. */
static int
read_nodes(struct span replies, const struct url *seed, struct masters *ret,
           struct err *err)
{
	struct cluster_node node;
	struct resp_item it;
	uint32_t slots = 0;
	int rc = 0;

	(void)reply_take(&replies); /* CLUSTER INFO */
	if (!reply_item(&replies, &it) || it.type != RESP_BULK)
		return err_set(err, ERR_PROTO, "odd answer to CLUSTER NODES");
	while (rc == 0 && cluster_next(&it.text, &node)) {
		if (!node.is_master || node.slot_n == 0)
			continue;
		rc = take(&node, seed, ret, err);
		slots += node.slot_n;
	}
	if (rc == 0 && slots != HASH_SLOTS)
		rc = err_set(err, ERR_UNABLE, "its masters have %u of %d slots",
		             slots, HASH_SLOTS);
	if (rc == 0)
		qsort(ret->at, ret->n, sizeof(ret->at[0]), by_slot);
	return rc;
}

static void
alone(const json_t *endpoint, struct masters *ret)
{
	ret->n = 1;
	memset(&ret->at[0].slots, 0xff, sizeof(ret->at[0].slots));
	ret->at[0].row = json_incref(shape_mutable(endpoint));
}

static int
ask(const struct url *u, const json_t *endpoint, struct masters *ret,
    struct err *err)
{
	struct span replies = { NULL, 0 };
	struct facts *f = calloc(1, sizeof(*f));
	struct side_conf side;
	struct agent a;
	int rc = f == NULL ? err_set(err, ERR_NOMEM, "out of memory")
	                   : url_side(u, SIDE_OLD, &side, err);

	if (f == NULL || rc != 0) {
		free(f);
		return rc;
	}
	agent_init(&a, &side, "godwit:masters");
	rc = agent_open(&a, false, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = agent_probe(&a, LIMIT_PREFLIGHT_MS, f, err);
	if (rc == 0 && !f->is_cluster)
		alone(endpoint, ret);
	if (rc == 0 && f->is_cluster)
		rc = agent_call(&a, cluster_put(&a.tx), LIMIT_PREFLIGHT_MS,
		                &replies, err);
	if (rc == 0 && f->is_cluster)
		rc = read_nodes(replies, u, ret, err);
	agent_fini(&a);
	free(f);
	explicit_bzero(&side, sizeof(side));
	if (rc == 0)
		return 0;
	if (err->code != ERR_LIMIT)
		err->code = ERR_UNABLE;
	return err_wrap(err, "endpoint %.64s", entity_id(endpoint));
}

/* ---- their endpoints ------------------------------------------------------- */

/* As the node's URL, at another address; its label follows. */
static int
point(struct url *u, const struct master *m, struct err *err)
{
	char text[2 * URL_MAX];
	int rc;

	u->at.by_sentinel = false;
	u->at.port = m->port;
	(void)snprintf(u->at.host, sizeof(u->at.host), "%s", m->host);
	rc = url_print(u, text, sizeof(text), err);
	if (rc == 0)
		rc = url_parse(text, u, err);
	explicit_bzero(text, sizeof(text));
	return rc;
}

/* The endpoint of the i-th master; there already, or made. */
static int
name_one(struct call *c, const json_t *seed, struct url *u, struct masters *m,
         uint32_t i, struct err *err)
{
	char id[80];
	struct err ignored;
	int rc;

	rc = point(u, &m->at[i], err);
	if (rc != 0)
		return rc;
	(void)snprintf(id, sizeof(id), "%.64s-%u", entity_id(seed), i);
	if (strlen(id) > 64)
		return err_set(err, ERR_BAD,
		               "\"%s\": the name of a master's endpoint has at "
		               "most 64 bytes; rename \"%.64s\"",
		               id, entity_id(seed));
	m->at[i].row = entity_get(c->api->store, call_org(c), ENTITY_ENDPOINT,
	                          id, &ignored);
	if (m->at[i].row == NULL)
		m->at[i].row = endpoint_add(
			c, id, u, json_object_get(entity_body(seed), "labels"),
			err);
	if (m->at[i].row == NULL)
		return -(int)err->code;
	if (strcmp(entity_text(m->at[i].row, "url"), u->label) != 0)
		return err_set(err, ERR_EXISTS,
		               "the endpoint \"%s\" is %.128s, not the master "
		               "%.128s of \"%.64s\"; rename it",
		               id, entity_text(m->at[i].row, "url"), u->label,
		               entity_id(seed));
	return 0;
}

/* Of the endpoint that a field of the body names. */
static struct masters *
masters_of(struct call *c, const char *param, struct err *err)
{
	json_t *seed = call_find(c, ENTITY_ENDPOINT, call_text(c->body, param),
	                         param, err);
	char *text = seed != NULL ? endpoint_url(c->api, seed, err) : NULL;
	struct masters *ret = calloc(1, sizeof(*ret));
	struct url u;
	int rc = text != NULL ? url_parse(text, &u, err) : -(int)err->code;

	auth_wipe(text);
	if (rc == 0 && ret == NULL)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	if (rc == 0 && ret != NULL)
		rc = ask(&u, seed, ret, err);
	/* A server alone has its endpoint. */
	for (uint32_t i = 0; rc == 0 && ret != NULL && i < ret->n; i++) {
		if (ret->at[i].row == NULL)
			rc = name_one(c, seed, &u, ret, i, err);
	}
	explicit_bzero(&u, sizeof(u));
	json_decref(seed);
	if (rc == 0)
		return ret;
	(void)snprintf(c->param, sizeof(c->param), "%s", param);
	masters_free(ret);
	return NULL;
}

/* ---- instances --------------------------------------------------------------- */

static json_t *
instance(const struct master *m, const struct cluster_slots *slots, char *text)
{
	uint32_t first = 0;

	while (!cluster_has(slots, first))
		first++;
	cluster_text(slots, text, SLOTS_TEXT);
	return json_pack("{s:o,s:s,s:s}", "id", json_sprintf("s%u", first),
	                 "endpoint", entity_id(m->row), "slots", text);
}

/* One for each pair that has slots in common; to NULL: for each master. */
static int
pair_all(const struct masters *from, const struct masters *to, json_t *ret,
         struct err *err)
{
	char *text = malloc(SLOTS_TEXT);

	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < from->n; i++) {
		for (uint32_t k = 0; k < (to != NULL ? to->n : 1); k++) {
			struct cluster_slots both = from->at[i].slots;
			uint8_t any = 0;

			for (size_t b = 0; b < sizeof(both.bit); b++) {
				if (to != NULL)
					both.bit[b] &= to->at[k].slots.bit[b];
				any |= both.bit[b];
			}
			if (any != 0)
				(void)json_array_append_new(
					ret,
					instance(&from->at[i], &both, text));
		}
	}
	free(text);
	if (json_array_size(ret) <= SPREAD_MAX)
		return 0;
	return err_set(err, ERR_LIMIT,
	               "%zu pairs of masters have slots in common; an interlay "
	               "has at most %d instances",
	               json_array_size(ret), SPREAD_MAX);
}

int
masters_instances(struct call *c, struct err *err)
{
	bool has_to = call_text(c->body, "toward") != NULL;
	struct masters *from;
	struct masters *to = NULL;
	json_t *list;
	int rc;

	from = masters_of(c, "masters_of", err);
	if (from == NULL)
		return -(int)err->code;
	if (has_to)
		to = masters_of(c, "toward", err);
	if (has_to && to == NULL) {
		masters_free(from);
		return -(int)err->code;
	}
	list = json_array();
	rc = pair_all(from, to, list, err);
	if (rc == 0) {
		(void)json_object_set(c->body, "instances", list);
		(void)json_object_set_new(c->body, "in_cluster", json_true());
	}
	json_decref(list);
	masters_free(from);
	masters_free(to);
	return rc;
}

/* ---- of a migration ---------------------------------------------------------- */

/* The master that has all slots of an instance; NULL: none has. */
static const struct master *
owner_of(const struct masters *m, const char *text, uint8_t *owner)
{
	struct err ignored;

	slots_init(owner);
	if (slots_give(owner, span_str(text), 0, &ignored) != 0)
		return NULL;
	for (uint32_t i = 0; i < m->n; i++) {
		uint32_t s = 0;

		while (s < HASH_SLOTS &&
		       (owner[s] != 0 || cluster_has(&m->at[i].slots, s)))
			s++;
		if (s == HASH_SLOTS)
			return &m->at[i];
	}
	return NULL;
}

static int
resource_of(struct call *c, const json_t *one, const struct masters *m,
            uint8_t *owner, json_t *ret, struct err *err)
{
	const char *slots = call_text(one, "slots");
	const struct master *to =
		owner_of(m, slots != NULL ? slots : "", owner);
	json_t *part =
		entity_by_uuid(c->api->store, call_text(one, "interlay"), err);

	if (part == NULL)
		return -(int)err->code;
	if (to == NULL) {
		(void)err_set(
			err, ERR_UNABLE,
			"the slots of the instance \"%.64s\" are those of "
			"several masters there; make the interlay with "
			"{\"masters_of\":..., \"toward\":\"%.64s\"}, so that "
			"it has an instance for each part",
			call_text(one, "id"), call_text(c->body, "endpoint"));
		json_decref(part);
		return -ERR_UNABLE;
	}
	(void)json_array_append_new(
		ret, json_pack("{s:s,s:s,s:s,s:s}", "kind", "interlay", "uuid",
	                       entity_uuid(part), "old",
	                       entity_text(part, "endpoint"), "new",
	                       entity_uuid(to->row)));
	json_decref(part);
	return 0;
}

json_t *
masters_resources(struct call *c, const json_t *interlay, struct err *err)
{
	const json_t *list =
		json_object_get(entity_body(interlay), "instances");
	struct masters *m = masters_of(c, "endpoint", err);
	uint8_t *owner = malloc(HASH_SLOTS);
	json_t *ret = json_array();
	int rc = m != NULL ? 0 : -(int)err->code;

	if (rc == 0 && owner == NULL)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
		rc = resource_of(c, json_array_get(list, i), m, owner, ret,
		                 err);
	free(owner);
	masters_free(m);
	if (rc == 0)
		return ret;
	json_decref(ret);
	return NULL;
}
