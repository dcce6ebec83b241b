/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/preflight.c: are these two servers there, and can they be moved?
 */
#include "control/preflight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent.h"
#include "control/home.h"
#include "control/limit.h"
#include "engine/redis/admin/settings.h"
#include "engine/redis/admin/users.h"
#include "world/os/tls.h"

/* What one of the sides says of itself. */
struct said {
	char *text; /* malloced; NULL: nothing */
	struct span acl;
	struct span settings;
};

static void
ask_more(struct agent *a, struct said *ret)
{
	uint32_t n = users_put(&a->tx) + settings_put(&a->tx);
	struct span replies = { NULL, 0 };
	struct err err;

	if (agent_call(a, n, LIMIT_PREFLIGHT_MS, &replies, &err) == 0)
		ret->text = malloc(replies.n);
	if (ret->text == NULL)
		return;
	memcpy(ret->text, replies.p, replies.n);
	ret->settings = span_of(ret->text, replies.n);
	ret->acl = reply_take(&ret->settings);
}

static int
ask(const struct preflight_conf *c, enum side s, struct facts *ret,
    struct said *said, struct err *err)
{
	struct agent a;
	int rc;

	agent_init(&a, &c->side[s], "godwit:preflight");
	a.kin = c->kin;
	rc = agent_open(&a, c->is_resume, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		rc = agent_probe(&a, LIMIT_PREFLIGHT_MS, ret, err);
	if (rc == 0)
		ask_more(&a, said);
	agent_fini(&a);
	if (rc == -ERR_LOST || rc == -ERR_TIMEOUT || rc == -ERR_IO ||
	    rc == -ERR_PROTO) {
		char text[sizeof(err->text)];

		/* At the start these are preconditions, not accidents. */
		memcpy(text, err->text, sizeof(text));
		return err_set(err, ERR_REFUSED,
		               rc == -ERR_PROTO
		                       ? "%s"
		                       : "%s; is it running, and reachable "
		                         "from here?",
		               text);
	}
	return rc;
}

static void
judge_said(const struct preflight_conf *c, const struct facts f[SIDE_N],
           const struct said said[SIDE_N], struct checks *ret)
{
	const struct span acl[SIDE_N] = { said[SIDE_OLD].acl,
		                          said[SIDE_NEW].acl };
	const struct span settings[SIDE_N] = { said[SIDE_OLD].settings,
		                               said[SIDE_NEW].settings };

	users_judge(ret, acl, c->is_resume);
	if (!c->is_resume && c->part == NULL)
		users_judge_guests(ret, acl);
	if (!c->is_resume)
		settings_judge(ret, f, settings);
}

void
preflight_tls(const struct side_conf side[SIDE_N], struct checks *ret)
{
	for (int s = 0; s < SIDE_N; s++) {
		struct check_line *l = &ret->line[ret->n];
		bool is_bad = side[s].at.tls != NULL &&
		              tls_client_is_insecure(side[s].at.tls);

		if (side[s].at.tls == NULL || ret->n == PROBE_CHECKS)
			continue;
		ret->n++;
		*l = (struct check_line){ .name = "tls",
			                  .result = is_bad ? CHECK_WARN
			                                   : CHECK_PASS };
		(void)snprintf(l->detail, sizeof(l->detail),
		               is_bad ? "%s: insecure: its certificate is not "
		                        "looked at, whoever is in between can "
		                        "read and change everything"
		                      : "%s: its certificate is verified",
		               side[s].label);
	}
}

int
preflight(const struct preflight_conf *c, struct checks *ret,
          struct facts facts[SIDE_N], struct err *err)
{
	struct facts own[SIDE_N];
	struct facts *f = facts != NULL ? facts : own;
	struct judge_conf j = { .conflict = c->conflict,
		                .is_resume = c->is_resume,
		                .needs_fence = c->needs_fence,
		                .moves_none = c->moves_none,
		                .empty_ok = c->empty_ok };
	bool is_later = c->part != NULL && !c->part->first[SIDE_NEW];
	struct said said[SIDE_N] = { { .text = NULL }, { .text = NULL } };
	int rc = 0;

	*ret = (struct checks){ .n = 0 };
	if (c->part != NULL) {
		j.slots = c->slots != NULL ? c->slots : c->part->slots;
		j.cover = c->part->cover;
		j.has_new = is_later;
	}
	for (int s = 0; rc == 0 && s < SIDE_N; s++) {
		rc = ask(c, (enum side)s, &f[s], &said[s], err);
		j.label[s] = c->side[s].label;
	}
	if (rc == 0) {
		probe_judge(f, &j, ret);
		if (c->needs_fence && !is_later)
			judge_said(c, f, said, ret);
	}
	for (int s = 0; s < SIDE_N; s++)
		free(said[s].text);
	if (rc != 0)
		return rc;
	preflight_tls(c->side, ret);
	if (ret->failed == 0)
		return 0;
	for (uint32_t i = 0; i < ret->n; i++) {
		if (ret->line[i].result == CHECK_FAIL)
			/* data none: the caller's wish, no server's fault. */
			return err_set(err,
			               strcmp(ret->line[i].name, "contents") ==
			                               0
			                       ? ERR_UNABLE
			                       : ERR_REFUSED,
			               "%s", ret->line[i].detail);
	}
	return err_set(err, ERR_REFUSED, "a check failed");
}
