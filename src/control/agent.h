/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/agent.h: the control thread's own connection to one side.
 *
 * Blocking, with a deadline for each call. Logs in as Godwit's own user when
 * that exists, else with the credentials of the URL.
 *
 * Owns:   the connection and its buffer.
 * Thread: one at a time.
 */
#pragma once

#include "engine/redis/admin/probe.h"
#include "world/os/client.h"

/* Others who may come in where the URL's user is shut out: the i-th one's user and
 * password. False: there are no more. */
struct agent_kin {
	bool (*next)(void *arg, const struct side_conf *side, uint32_t i,
	             char user[64], char pass[80]);
	void *arg;
};

struct agent {
	const struct side_conf *conf;
	const char *name; /* for CLIENT SETNAME; borrowed          */
	struct client *c; /* NULL: not connected                   */
	struct mem mem;
	struct buf tx;               /* requests of the next call             */
	bool as_own;                 /* logged in as Godwit's user            */
	const struct agent_kin *kin; /* NULL: nobody; borrowed   */
};

void agent_init(struct agent *a, const struct side_conf *conf,
                const char *name);
void agent_fini(struct agent *a);

/* Connect and log in when not connected. use_own: try Godwit's user first.
 * ERR_AUTH, ERR_LOST and others with the side's label. */
int agent_open(struct agent *a, bool use_own, uint32_t timeout_ms,
               struct err *err) MUST;
void agent_close(struct agent *a);

/* Send what is in a->tx and read n replies (valid until the next call). On a
 * transport error the connection is closed. */
int agent_call(struct agent *a, uint32_t n, uint32_t timeout_ms,
               struct span *ret_replies, struct err *err) MUST;

/* Ask everything that probe.h asks. */
int agent_probe(struct agent *a, uint32_t timeout_ms, struct facts *ret,
                struct err *err) MUST;
