/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/router.c: from method and path to a row of tables/api.tbl.
 */
#include "control/api/router.h"

#include <stdio.h>

#include "base/check.h"
#include "base/num.h"

#define SEGMENTS_MAX 12

const struct router_row router_rows[ROUTE_N] = {
#define X(name, method, path, role, body, answer, status, flags, summary) \
	[ROUTE_##name] = { #name,   #method, path,  ROUTE_##role, #body,  \
		           #answer, status,  flags, summary },
#include "api.tbl"
#undef X
};

bool
router_has(const struct router_row *r, char flag)
{
	return strchr(r->flags, flag) != NULL;
}

bool
router_is_mutation(const struct router_row *r)
{
	return strcmp(r->method, "GET") != 0;
}

int
router_decode(struct span in, char *ret, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < in.n; i++) {
		int c = in.p[i];

		if (c == '%') {
			int high = i + 1 < in.n ? num_hex(in.p[i + 1]) : -1;
			int low = i + 2 < in.n ? num_hex(in.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -ERR_BAD;
			c = high * 16 + low;
			i += 2;
		}
		if (c == 0 || out + 1 >= n)
			return -ERR_BAD;
		ret[out++] = (char)c;
	}
	ret[out] = '\0';
	return (int)out;
}

/* Cut at slashes; a path that does not begin with one has no segments. */
static uint32_t
cut(struct span path, struct span *ret)
{
	uint32_t n = 0;
	size_t from = 1;

	if (path.n == 0 || path.p[0] != '/')
		return 0;
	for (size_t i = 1; i <= path.n; i++) {
		if (i < path.n && path.p[i] != '/')
			continue;
		if (n == SEGMENTS_MAX)
			return 0;
		ret[n++] = span_of(path.p + from, i - from);
		from = i + 1;
	}
	return n;
}

static bool
is_place(struct span s)
{
	return s.n > 2 && s.p[0] == '{';
}

static bool
fits(const struct span *want, const struct span *got, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!is_place(want[i]) && !span_eq(want[i], got[i]))
			return false;
		if (is_place(want[i]) && got[i].n == 0)
			return false;
	}
	return true;
}

static int
take_args(const struct span *want, const struct span *got, uint32_t n,
          struct router_match *ret, struct err *err)
{
	ret->arg_n = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!is_place(want[i]))
			continue;
		REQUIRE(ret->arg_n < ROUTE_ARGS);
		if (router_decode(got[i], ret->arg[ret->arg_n], ROUTE_ARG) <= 0)
			return err_set(err, ERR_BAD,
			               "a part of the path is too long or not "
			               "well encoded");
		ret->arg_n++;
	}
	return 0;
}

static void
add_method(struct router_match *m, const char *method)
{
	size_t n = strlen(m->allow);

	(void)snprintf(m->allow + n, sizeof(m->allow) - n, "%s%s",
	               n > 0 ? ", " : "", method);
}

int
router_find(const char *method, struct span path, struct router_match *ret,
            struct err *err)
{
	struct span want[SEGMENTS_MAX];
	struct span got[SEGMENTS_MAX];
	uint32_t n = cut(path, got);

	*ret = (struct router_match){ .id = ROUTE_N };
	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (unsigned i = 0; i < ROUTE_N && n > 0; i++) {
		if (cut(span_str(router_rows[i].path), want) != n ||
		    !fits(want, got, n))
			continue;
		if (strcmp(router_rows[i].method, method) == 0) {
			ret->id = (enum router_id)i;
			return take_args(want, got, n, ret, err);
		}
		add_method(ret, router_rows[i].method);
	}
	if (ret->allow[0] != '\0')
		return err_set(err, ERR_METHOD,
		               "%.16s is not possible here; possible: %s",
		               method, ret->allow);
	return err_set(err, ERR_MISSING,
	               "no such path; /openapi.json lists all of them");
}
