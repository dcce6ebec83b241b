/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/cluster.c: godwit migrate where a URL names a node of a Redis Cluster.
 */
#define _DEFAULT_SOURCE
#include "bin/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/wanted.h"
#include "control/agent.h"
#include "control/limit.h"
#include "control/url.h"
#include "core/slots.h"

#define FRONT "front"

/* Has it some of the slots? One that has all is as good as a server alone. */
static bool
is_node(const char *text)
{
	struct facts *f = calloc(1, sizeof(*f));
	struct side_conf side;
	struct err err; /* why not is said later */
	struct agent a;
	struct url u;
	bool is = false;

	if (f != NULL && url_parse(text, &u, &err) == 0 &&
	    url_side(&u, SIDE_OLD, &side, &err) == 0) {
		agent_init(&a, &side, "godwit:migrate");
		is = agent_open(&a, false, LIMIT_PREFLIGHT_MS, &err) == 0 &&
		     agent_probe(&a, LIMIT_PREFLIGHT_MS, f, &err) == 0 &&
		     f->told_cluster && f->cluster.node.slot_n > 0 &&
		     f->cluster.node.slot_n < HASH_SLOTS;
		agent_fini(&a);
		explicit_bzero(&side, sizeof(side));
	}
	explicit_bzero(&u, sizeof(u));
	free(f);
	return is;
}

bool
cluster_is_meant(const struct run_conf *c)
{
	return strncmp(c->old_url, "redis", 5) == 0 &&
	       (is_node(c->old_url) || is_node(c->new_url));
}

/* A password in a URL is nobody's business. */
static int
put_labels(const struct run_conf *c, struct plan *ret, struct err *err)
{
	struct url u;
	int rc = url_parse(c->old_url, &u, err);

	if (rc == 0)
		(void)snprintf(ret->old, sizeof(ret->old), "%s", u.label);
	if (rc == 0)
		rc = url_parse(c->new_url, &u, err);
	if (rc == 0)
		(void)snprintf(ret->new, sizeof(ret->new), "%s", u.label);
	(void)snprintf(ret->listen, sizeof(ret->listen), "%s", c->listen);
	explicit_bzero(&u, sizeof(u));
	return rc;
}

int
cluster_plan(const struct run_conf *c, bool is_look, struct plan *ret,
             struct err *err)
{
	json_t *front;

	if (c->listen[0] == '/')
		return err_set(err, ERR_USAGE,
		               "--listen %.100s: a cluster is served at "
		               "host:port; a Unix socket stands for one pair "
		               "of servers",
		               c->listen);
	front = wanted_interlay(c, FRONT, is_look ? "127.0.0.1:0" : c->listen);
	(void)json_object_set_new(front, "masters_of", json_string("old"));
	(void)json_object_set_new(front, "toward", json_string("new"));
	(void)json_array_append_new(ret->interlays, front);
	(void)json_array_append_new(ret->endpoints,
	                            wanted_endpoint("old", c->old_url));
	(void)json_array_append_new(ret->endpoints,
	                            wanted_endpoint("new", c->new_url));
	(void)json_object_set_new(ret->toward, FRONT, json_string("new"));
	return put_labels(c, ret, err);
}
