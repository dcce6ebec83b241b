/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/meet.c: meet both servers before a copy or a comparison begins.
 */
#include "bin/meet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent.h"
#include "control/preflight.h"

#define ANSWER_MS 5000

int
meet_side(const struct side_conf *side, struct facts *ret, struct err *err)
{
	struct agent a;
	int rc;

	*ret = (struct facts){ .version_n = 0 };
	agent_init(&a, side, "godwit:meet");
	rc = agent_open(&a, false, ANSWER_MS, err);
	if (rc == 0)
		rc = agent_probe(&a, ANSWER_MS, ret, err);
	agent_fini(&a);
	return rc;
}

/* One tag for both: they own the same slots, or one of them has none. */
static void
name_keys(struct side_conf side[SIDE_N], const struct facts f[SIDE_N])
{
	const char *tag =
		f[f[SIDE_OLD].own_tag[0] != '\0' ? SIDE_OLD : SIDE_NEW].own_tag;

	for (int s = 0; s < SIDE_N; s++)
		memcpy(side[s].own_tag, tag, sizeof(side[s].own_tag));
	_Static_assert(sizeof(side[0].own_tag) == sizeof(f[0].own_tag),
	               "one size");
}

int
meet_for_copy(struct side_conf side[SIDE_N], const char *conflict,
              struct facts ret[SIDE_N], struct err *err)
{
	const struct preflight_conf conf = {
		.side = { side[SIDE_OLD], side[SIDE_NEW] },
		.conflict = conflict,
	};
	struct checks *found = calloc(1, sizeof(*found));
	int rc;

	if (found == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	rc = preflight(&conf, found, ret, err);
	for (uint32_t i = 0; rc == 0 && i < found->n; i++)
		if (found->line[i].result == CHECK_WARN)
			(void)fprintf(stderr, "godwit: note: %s\n",
			              found->line[i].detail);
	free(found);
	if (rc == 0)
		name_keys(side, ret);
	return rc;
}

int
meet_for_verify(struct side_conf side[SIDE_N], struct facts ret[SIDE_N],
                struct err *err)
{
	int rc = meet_side(&side[SIDE_OLD], &ret[SIDE_OLD], err);

	if (rc == 0)
		rc = meet_side(&side[SIDE_NEW], &ret[SIDE_NEW], err);
	if (rc == 0 && strcmp(ret[SIDE_OLD].run_id, ret[SIDE_NEW].run_id) == 0)
		rc = err_set(err, ERR_STATE,
		             "OLD and NEW are the same server under two names; "
		             "comparing it with itself would prove nothing");
	if (rc == 0)
		name_keys(side, ret);
	return rc;
}
