/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/router.h: from method and path to a row of tables/api.tbl.
 *
 * Owns:   nothing; texts of a match are copies.
 * Limits: ROUTE_ARGS places in a path, ROUTE_ARG bytes in each.
 * Thread: any.
 */
#pragma once

#include "base/err.h"

#define ROUTE_ARGS 3
#define ROUTE_ARG  200

enum router_id {
#define X(name, method, path, role, body, answer, status, flags, summary) \
	ROUTE_##name,
#include "api.tbl"
#undef X
	ROUTE_N,
};

/* What the token must be allowed. */
enum router_role {
	ROUTE_OPEN, /* no token                                        */
	ROUTE_SELF, /* any valid token                                 */
	ROUTE_READ,
	ROUTE_WRITE,
	ROUTE_ADMIN,
};

struct router_row {
	const char *name;
	const char *method;
	const char *path; /* "/api/v1/endpoints/{endpoint}"             */
	enum router_role role;
	const char *body; /* name of a shape, "empty" or "NONE"         */
	const char *answer;
	int status; /* of success                                      */
	const char *flags;
	const char *summary;
};

extern const struct router_row router_rows[ROUTE_N];

bool router_has(const struct router_row *r, char flag);
bool router_is_mutation(const struct router_row *r);

struct router_match {
	enum router_id id;
	uint32_t arg_n;
	char arg[ROUTE_ARGS][ROUTE_ARG]; /* decoded                    */
	char allow[64]; /* ERR_METHOD: the methods of this path        */
};

/* method "HEAD" is taken for GET. path: up to '?', still encoded. ERR_BAD: not
 * well encoded; ERR_MISSING: no such path; ERR_METHOD. */
int router_find(const char *method, struct span path, struct router_match *ret,
                struct err *err) MUST;

/* %XX and nothing else; never a NUL. The number of bytes, or -ERR_BAD. */
int router_decode(struct span in, char *ret, size_t n);
