/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/shift_check.c: what is looked at, and carried, between the barrier and the commit.
 */
#include "control/parts.h"
#include "control/run_parts.h"

static int
check_all(struct run *r, struct err *err)
{
	struct cutover *c = &r->cut;
	int rc;

	if (parts_switches(r))
		return parts_check(r, err);
	rc = r->dialect->holds(r, c->rules, c->r.epoch, err);
	if (rc == 0)
		rc = r->dialect->hold_replicas(r, c->rules, err);
	if (rc == 0 && c->two)
		rc = r->dialect->holds(r, side_other(c->rules), c->r.epoch,
		                       err);
	if (rc == 0 && !c->keeps)
		rc = r->dialect->carry(r, c->rules, err);
	return rc;
}

int
shift_check(struct run *r, struct err *err)
{
	const struct cutover *c = &r->cut;
	int rc = check_all(r, err);

	if (rc != 0 && c->forced && r->dialect->salvage != NULL)
		r->dialect->salvage(r, c->from);
	return rc;
}
