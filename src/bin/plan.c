/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/plan.c: what a daemon of its own shall make.
 */
#include "bin/plan.h"

int
plan_init(struct plan *p, struct err *err)
{
	*p = (struct plan){ .endpoints = json_array(),
		            .interlays = json_array(),
		            .toward = json_object(),
		            .checks = json_array() };
	if (p->endpoints == NULL || p->interlays == NULL || p->toward == NULL ||
	    p->checks == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	return 0;
}

void
plan_fini(struct plan *p)
{
	json_decref(p->endpoints);
	json_decref(p->interlays);
	json_decref(p->toward);
	json_decref(p->checks);
	json_decref(p->shown);
	json_decref(p->what);
	*p = (struct plan){ .endpoints = NULL };
}
