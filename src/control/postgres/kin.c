/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/kin.c: legs that share a server come in there as one another.
 *
 * The databases of one server have one fence, so who comes second finds the server shut
 * to the URL's user. The role of the leg that came first is in its journal.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/side.h"

/* Which of its sides is on this server? SIDE_N: none. */
static enum side
side_on(struct journal *j, const struct url *u)
{
	enum side ret = SIDE_N;

	for (int s = 0; s < SIDE_N && ret == SIDE_N; s++) {
		char *label = journal_meta(j, side_name((enum side)s));
		struct url theirs;
		struct err err;

		if (label != NULL && url_parse(label, &theirs, &err) == 0 &&
		    url_same_server(&theirs, u))
			ret = (enum side)s;
		free(label);
	}
	return ret;
}

/* False: it has no role of its own there. */
static bool
read_role(struct journal *j, struct pg_side *p, const struct url *u)
{
	enum side s = side_on(j, u);
	char *id = journal_meta(j, "id");
	char *pass = NULL;
	char *plain = NULL;
	bool ret;

	if (s < SIDE_N) {
		pass = journal_meta(j, s == SIDE_OLD ? "old_pass" : "new_pass");
		plain = journal_meta(j,
		                     s == SIDE_OLD ? "old_role" : "new_role");
	}
	ret = id != NULL && pass != NULL && plain == NULL;
	if (ret) {
		(void)snprintf(p->other_user, sizeof(p->other_user),
		               "godwit-%s", id);
		(void)snprintf(p->other_pass, sizeof(p->other_pass), "%s",
		               pass);
	}
	free(id);
	free(pass);
	free(plain);
	return ret;
}

int
pg_kin_log_in(struct run *r, enum side s, uint32_t timeout_ms, struct err *err)
{
	struct pg_side *p = r->at[s].pg;
	struct err why;
	int rc = -ERR_AUTH;

	for (uint32_t i = 0; rc == -ERR_AUTH && r->is_part && r->home != NULL &&
	                     i < r->home->leg_n;
	     i++) {
		struct journal *j = layout_open_leg(r, i);

		if (j != NULL && read_role(j, p, &r->at[s].url)) {
			p->b.conf.user = p->other_user;
			p->b.conf.pass = p->other_pass;
			rc = backend_open(&p->b, timeout_ms, &why);
		}
		journal_close(j);
	}
	if (rc != 0 && rc != -ERR_AUTH)
		*err = why;
	return rc;
}
