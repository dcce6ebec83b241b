/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/interlay.h: what the files about interlays share.
 *
 * Each instance behind an interlay has a row of its own, an interlay with "part_of" and "instance" in its body,
 * named <interlay>.<instance>: what a migration moves. The interlay's row says
 * "instances":[{"id","interlay" (uuid),"slots"?}], "across", "in_cluster" and "cluster"?, and
 * needs them.
 *
 * Thread: as struct call.
 */
#pragma once

#include "control/api/call.h"

#define INTERLAY_SECRET_LEN 80

/* The name of a secret of it ("tls", "auth") for auth_seal(). */
void interlay_secret(const char *uuid, const char *what,
                     char ret[INTERLAY_SECRET_LEN]);
/* The secret (new reference). null: there is none. NULL: it cannot be read. */
json_t *interlay_unseal(struct api *a, const json_t *row, const char *what,
                        struct err *err);
json_t *interlay_unseal_text(struct api *a, const char *uuid, const char *what,
                             const char *sealed, struct err *err);

/* Is it the row of an interlay with instances, of one of an instance? */
bool interlay_has_instances(const json_t *row);
bool interlay_is_instance(const json_t *row);

/* The body's "instances": [{"id","endpoint" (uuid),"slots"?}], whose slots fit
 * together (new reference); NULL: a fault, param names it. */
json_t *instances_read(struct call *c, struct err *err);
/* nodes.c: of a cluster; "slots" of each are what its node says, and those given must
 * be the same. Asks the servers. */
int nodes_fill(struct call *c, json_t *read, struct err *err) MUST;
/* masters.c: the body names a cluster; its "instances" are made of what its node
 * says, with endpoints for the masters. */
int masters_instances(struct call *c, struct err *err) MUST;
/* Each instance of the interlay to the master that has its slots, of the cluster that
 * the body names as endpoint: resources of a migration (new reference), or NULL. */
json_t *masters_resources(struct call *c, const json_t *interlay,
                          struct err *err);
/* The rows for these behind the interlay uuid; in a transaction. What its row says
 * of them (new reference), or NULL. */
json_t *instances_add(struct call *c, const char *uuid, const json_t *read,
                      struct err *err);
/* The uuids that the interlay needs (new reference). */
json_t *instances_needs(const json_t *list);
/* [{"id","interlay","endpoint","slots"}] for people (new reference). */
json_t *instances_view(struct api *a, const json_t *row);

/* For each of them, until one fails. arg is yours. */
typedef int instance_f(struct api *a, const json_t *row, void *arg,
                       struct err *err);
int instances_each(struct api *a, const json_t *row, instance_f *f, void *arg,
                   struct err *err) MUST;
