/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/meet.c: meet both servers before a copy or a comparison begins.
 */
#include "bin/meet.h"

#include <stdio.h>

#include "engine/redis/admin/fence.h"
#include "world/os/client.h"
#include "world/os/loop.h"

#define CONNECT_MS 3000
#define ANSWER_MS  5000

/* What a broken conversation most likely means to the user. */
static int
explain(const struct side_conf *side, int rc, struct err *err)
{
	if (rc == -ERR_PROTO)
		return err_set(err, ERR_PROTO,
		               "%s: something answers there, but it is no "
		               "Redis; look at host and port",
		               side->label);
	if (rc == -ERR_TIMEOUT)
		return err_set(err, ERR_TIMEOUT,
		               "%s: accepts connections, but does not answer "
		               "like a Redis within %d s; look at host and "
		               "port",
		               side->label, ANSWER_MS / 1000);
	if (rc == -ERR_LOST)
		return err_set(err, ERR_LOST,
		               "%s: closes the connection when asked like a "
		               "Redis; look at host and port (does it want "
		               "TLS, or refuse this address?)",
		               side->label);
	return err_wrap(err, "%s", side->label);
}

/* Send what b holds and wait for n replies; b is empty then. */
static int
call(struct client *c, const struct side_conf *side, struct buf *b, uint32_t n,
     struct span *ret, struct err *err)
{
	int rc = client_call(c, buf_span(b), n, ANSWER_MS, ret, err);

	buf_clear(b);
	return rc == 0 ? 0 : explain(side, rc, err);
}

static int
ask(struct client *c, const struct side_conf *side, struct buf *b,
    struct facts *ret, struct err *err)
{
	struct span replies;
	uint32_t n = admin_put_login(b, side->url_user, side->url_pass,
	                             "godwit:cli:meet");
	int rc = call(c, side, b, n, &replies, err);

	if (rc == 0)
		rc = admin_read_login(replies, side->label, n > 1, err);
	if (rc != 0)
		return rc;
	n = probe_put_first(b);
	rc = call(c, side, b, n, &replies, err);
	if (rc == 0)
		rc = probe_read_first(replies, side->label, ret, err);
	if (rc != 0)
		return rc;
	n = probe_put_second(b, ret);
	if (n == 0)
		return 0;
	rc = call(c, side, b, n, &replies, err);
	return rc == 0 ? probe_read_second(replies, side->label, ret, err) : rc;
}

int
meet_side(const struct side_conf *side, struct facts *ret, struct err *err)
{
	struct client *c = client_open(&side->at, CONNECT_MS, err);
	struct mem mem;
	struct buf b;
	int rc;

	*ret = (struct facts){ .version_n = 0 };
	if (c == NULL)
		return err_wrap(err, "%s", side->label);
	os_mem_init(&mem, 0);
	buf_init(&b, &mem);
	rc = ask(c, side, &b, ret, err);
	buf_fini(&b);
	client_close(c);
	return rc;
}

static int
meet_both(const struct side_conf side[SIDE_N], struct facts ret[SIDE_N],
          struct err *err)
{
	int rc = meet_side(&side[SIDE_OLD], &ret[SIDE_OLD], err);

	return rc == 0 ? meet_side(&side[SIDE_NEW], &ret[SIDE_NEW], err) : rc;
}

int
meet_for_copy(const struct side_conf side[SIDE_N], const char *conflict,
              struct facts ret[SIDE_N], struct err *err)
{
	const struct judge_conf conf = {
		.label = { side[SIDE_OLD].label, side[SIDE_NEW].label },
		.conflict = conflict,
	};
	struct checks checks;
	int rc = meet_both(side, ret, err);

	if (rc != 0)
		return rc;
	probe_judge(ret, &conf, &checks);
	for (uint32_t i = 0; i < checks.n; i++) {
		const struct check_line *l = &checks.line[i];

		if (l->result == CHECK_WARN)
			(void)fprintf(stderr, "godwit: note: %s\n", l->detail);
		else if (l->result == CHECK_FAIL)
			return err_set(err, ERR_STATE, "%s", l->detail);
	}
	return 0;
}

int
meet_for_verify(const struct side_conf side[SIDE_N], struct facts ret[SIDE_N],
                struct err *err)
{
	int rc = meet_both(side, ret, err);

	if (rc == 0 && strcmp(ret[SIDE_OLD].run_id, ret[SIDE_NEW].run_id) == 0)
		rc = err_set(err, ERR_STATE,
		             "OLD and NEW are the same server under two names; "
		             "comparing it with itself would prove nothing");
	return rc;
}
