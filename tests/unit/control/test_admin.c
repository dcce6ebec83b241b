/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_admin.c: fences, probes and judgements as bytes.
 *
 * The replies are those of a 7.0.15 server, shortened.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include "engine/redis/admin/fence.h"
#include "engine/redis/admin/probe.h"
#include "world/os/loop.h"

static const struct fence_own own = { .user = "godwit-ab",
	                              .reader = "godwit-ab-r",
	                              .writer = "godwit-ab-w",
	                              .prefix = "godwit:ab:" };
static struct mem mem;
static struct buf tx;
static struct buf rx;

static int
set_up(void **state)
{
	(void)state;
	os_mem_init(&mem, 0);
	buf_init(&tx, &mem);
	buf_init(&rx, &mem);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	buf_fini(&tx);
	buf_fini(&rx);
	return mem.used == 0 ? 0 : -1;
}

/* Do the bytes in tx contain this text? */
static bool
says(const char *text)
{
	struct span s = buf_span(&tx);
	size_t n = strlen(text);

	for (size_t i = 0; i + n <= s.n; i++) {
		if (memcmp(s.p + i, text, n) == 0)
			return true;
	}
	return false;
}

/* Replies to admin_put_look: token (NULL: none) and ACL LIST. */
static struct span
look_replies(const char *token, const char *const *users, size_t n)
{
	buf_clear(&rx);
	resp_put_status(&rx, "OK");
	if (token != NULL)
		resp_put_bulk_str(&rx, token);
	else
		resp_put_nil(&rx);
	resp_put_array(&rx, n);
	for (size_t i = 0; i < n; i++)
		resp_put_bulk_str(&rx, users[i]);
	return buf_span(&rx);
}

static const char *const users[] = {
	"user alice on #12ab ~a* resetchannels -@all +get (~b* -@all +set)",
	"user bob off resetchannels -@all +ping",
	"user default on nopass ~* &* +@all",
	"user godwit-ab on #cd ~* &* +@all",
	"user godwit-ab-r on #ef ~* &* -@all +@read",
};

static void
fenced_or_not(void **state)
{
	(void)state;
	assert_true(acl_is_fenced(SPAN("on nopass ~* &* -@all +ping")));
	assert_true(acl_is_fenced(SPAN("-@all +ping")));
	assert_false(acl_is_fenced(SPAN("on nopass ~* &* +@all")));
	assert_false(acl_is_fenced(SPAN("on ~* -@all +ping +get")));
	assert_false(acl_is_fenced(SPAN("on ~* -@all +ping (~b* +get)")));
	assert_false(acl_is_fenced(SPAN("on ~* +ping -@all")));
	assert_false(acl_is_fenced(SPAN("on ~* -@all")));
	assert_false(acl_is_fenced(SPAN("")));
	/* A replica's user stays what it is. */
	assert_true(acl_is_fenced(SPAN("on ~* -@all +replconf +psync +ping")));
	assert_false(acl_is_fenced(SPAN("on ~* -@all +replconf +psync")));
	assert_false(acl_is_fenced(SPAN("on ~* +psync +replconf +ping")));
	assert_true(acl_may_replicate(SPAN("on nopass ~* &* +@all")));
	assert_true(acl_may_replicate(SPAN("on -@all +psync +replconf +ping")));
	assert_false(acl_may_replicate(SPAN("on ~* +@all -psync")));
	assert_false(acl_may_replicate(SPAN("on ~* +@all -@dangerous")));
	assert_false(acl_may_replicate(SPAN("on ~* -@all +get (~b* +@all)")));
	assert_false(acl_may_replicate(SPAN("on ~* -@all +psync")));
}

static void
fence_and_back(void **state)
{
	struct fence_look l;
	struct err err;
	uint32_t n;

	(void)state;
	assert_int_equal(admin_read_look(look_replies("6", users, 5), "old",
	                                 &own, &l, &err),
	                 0);
	assert_true(l.has_token);
	assert_int_equal(l.epoch, 6);
	assert_int_equal(l.users, 3);
	assert_int_equal(l.fenced, 1);
	n = admin_put_fence(&tx, &l, &own, 7);
	/* MULTI, SET, alice, default, EXEC; bob is shut already. */
	assert_int_equal(n, 5);
	assert_true(says("$14\r\n__godwit:fence\r\n$1\r\n7\r\n"));
	assert_true(says("$5\r\nalice\r\n$5\r\n-@all\r\n$14\r\nclearselectors"
	                 "\r\n$5\r\n+ping\r\n"));
	/* Replicas log in as default; alice had no such right and gets none. */
	assert_true(says("$7\r\ndefault\r\n$5\r\n-@all\r\n$6\r\n+psync"
	                 "\r\n$9\r\n+replconf\r\n$5\r\n+ping\r\n"));
	/* A server that is full: UNWATCH, EVAL, alice, default, one by one. */
	buf_clear(&tx);
	l.is_full = true;
	assert_int_equal(admin_put_fence(&tx, &l, &own, 7), 4);
	assert_true(says("$4\r\nEVAL\r\n"));
	assert_true(says("$1\r\n1\r\n$14\r\n__godwit:fence\r\n$1\r\n7\r\n"));
	assert_false(says("MULTI"));
	assert_false(says("EXEC"));
	l.is_full = false;
	/* On a replica: the rules alone. */
	buf_clear(&tx);
	assert_int_equal(admin_put_fence(&tx, &l, &own, FENCE_NO_TOKEN), 4);
	assert_false(says("SET\r\n$14"));
	assert_false(says("bob"));
	assert_false(says("godwit-ab"));
}

static void
a_server_that_is_full(void **state)
{
	struct err err;

	(void)state;
	assert_true(admin_is_full(SPAN("+OK\r\n-OOM command not allowed\r\n"
	                               "-EXECABORT Transaction\r\n")));
	assert_false(admin_is_full(SPAN("+OK\r\n-NOREPLICAS Not enough\r\n")));
	assert_false(admin_is_full(SPAN("")));
	assert_int_equal(admin_read_each(SPAN("+OK\r\n+OK\r\n"), 2, "old",
	                                 "fence", &err),
	                 0);
	assert_int_equal(admin_read_each(SPAN("+OK\r\n-ERR another\r\n"), 2,
	                                 "old", "fence", &err),
	                 -ERR_REFUSED);
	assert_int_equal(
		admin_read_each(SPAN("+OK\r\n"), 2, "old", "fence", &err),
		-ERR_PROTO);
}

static void
users_of_a_server_without_channels(void **state)
{
	static const char *const words[] = {
		"OK", "OK",
		"ERR Error in ACL SETUSER modifier 'allchannels': Syntax error",
		"ERR Error in ACL SETUSER modifier 'allchannels': Syntax error",
		("ERR Error in ACL SETUSER modifier '+ssubscribe': Unknown "
		 "command or category name in ACL")
	};
	struct err err;

	(void)state;
	assert_int_equal(admin_put_users(&tx, &own, "a", "b"), 5);
	assert_true(says("$11\r\ngodwit-ab-r\r\n$11\r\nallchannels\r\n"));
	assert_false(says("&*"));
	for (int bad = -1; bad < 5; bad++) {
		buf_clear(&rx);
		for (int i = 0; i < 5; i++) {
			if (i == bad)
				resp_put_errorf(&rx, "NOPERM no");
			else if (i < 2)
				resp_put_status(&rx, words[i]);
			else
				resp_put_errorf(&rx, "%s", words[i]);
		}
		assert_true((admin_read_users(buf_span(&rx), "old", &err) ==
		             0) == (bad < 0));
	}
}

static void
replicas_of_a_server(void **state)
{
	struct span info = SPAN(
		"# Replication\r\nrole:master\r\nconnected_slaves:3\r\n"
		"slave0:ip=10.0.0.7,port=6380,state=online,offset=14,lag=0\r\n"
		"slave1:ip=127.0.0.1,port=0,state=online,offset=14,lag=1\r\n"
		"slave2:ip=::1,port=7003,state=wait_bgsave,offset=0,lag=0\r\n"
		"slave_read_only:ip=9.9.9.9,port=1\r\nsecond_repl_offset:-1\r\n");
	char host[40];
	uint16_t port;

	(void)state;
	assert_true(admin_next_replica(&info, host, sizeof(host), &port));
	assert_string_equal(host, "10.0.0.7");
	assert_int_equal(port, 6380);
	assert_true(admin_next_replica(&info, host, sizeof(host), &port));
	assert_string_equal(host, "::1");
	assert_int_equal(port, 7003);
	assert_false(admin_next_replica(&info, host, sizeof(host), &port));
	info = SPAN("slave0:ip=10.0.0.7,port=99999\r\nslave1:\r\nslave2");
	assert_false(admin_next_replica(&info, host, sizeof(host), &port));
}

static bool
saved(void *arg, struct span name, struct span *ret)
{
	(void)arg;
	if (!span_eq(name, SPAN("alice")))
		return false;
	*ret = SPAN("on #12ab ~a* resetchannels -@all +get "
	            "(~b* resetchannels -@all +set)");
	return true;
}

static void
unfence_gives_back_rights_only(void **state)
{
	static const char *const shut[] = {
		"user alice on #99 ~a* resetchannels -@all +ping",
		"user carol on nopass ~* -@all +ping",
		"user dave on nopass ~* +@all",
	};
	struct fence_look l;
	struct err err;

	(void)state;
	assert_int_equal(admin_read_look(look_replies(NULL, shut, 3), "old",
	                                 &own, &l, &err),
	                 0);
	assert_false(l.has_token);
	/* carol has no saved rules and stays; dave is open. */
	assert_int_equal(admin_put_unfence(&tx, &l, &own, 3, saved, NULL), 4);
	assert_true(says("$5\r\nalice\r\n$5\r\n-@all"
	                 "\r\n$5\r\n-@all\r\n$4\r\n+get\r\n$4\r\n(~b*\r\n$13"
	                 "\r\nresetchannels\r\n$5\r\n-@all\r\n$5\r\n+set)"
	                 "\r\n"));
	/* The password that was changed meanwhile stays changed. */
	assert_false(says("#12ab"));
	assert_false(says("carol"));
	assert_false(says("dave"));
}

static void
the_transaction_ends(void **state)
{
	struct err err;

	(void)state;
	resp_put_status(&rx, "OK");
	resp_put_status(&rx, "QUEUED");
	resp_put_array(&rx, 1);
	resp_put_status(&rx, "OK");
	assert_int_equal(
		admin_read_exec(buf_span(&rx), 3, "old", "fence", &err), 0);
	buf_clear(&rx);
	resp_put_status(&rx, "OK");
	resp_put_status(&rx, "QUEUED");
	resp_put_nil_array(&rx);
	assert_int_equal(
		admin_read_exec(buf_span(&rx), 3, "old", "fence", &err),
		-ERR_STATE);
	buf_clear(&rx);
	resp_put_status(&rx, "OK");
	resp_put_errorf(&rx, "NOPERM this user has no permissions");
	assert_int_equal(
		admin_read_exec(buf_span(&rx), 3, "old", "fence", &err),
		-ERR_REFUSED);
	buf_clear(&rx);
	/* One of the commands inside failed. */
	resp_put_status(&rx, "OK");
	resp_put_status(&rx, "QUEUED");
	resp_put_array(&rx, 2);
	resp_put_status(&rx, "OK");
	resp_put_errorf(&rx, "ERR Error in ACL SETUSER modifier");
	assert_int_equal(
		admin_read_exec(buf_span(&rx), 3, "old", "fence", &err),
		-ERR_REFUSED);
	assert_non_null(strstr(err.text, "modifier"));
	/* Cut short. */
	buf_clear(&rx);
	resp_put_status(&rx, "OK");
	assert_int_equal(
		admin_read_exec(buf_span(&rx), 3, "old", "fence", &err),
		-ERR_PROTO);
}

static void
who_is_killed(void **state)
{
	(void)state;
	resp_put_bulk_str(
		&rx, "id=3 addr=127.0.0.1:1 name= flags=N db=0 user=default\n"
		     "id=4 addr=127.0.0.1:2 name=godwit:ab:mover flags=N db=0\n"
		     "id=5 addr=127.0.0.1:3 name=godwit:abc flags=b db=0\n"
		     "id=6 addr=127.0.0.1:4 name= flags=S db=0\n"
		     "id=7 addr=127.0.0.1:5 name=godwit:ab: flags=P db=0\n"
		     "id=8 addr=127.0.0.1:6 name=app flags=P db=0\n");
	assert_int_equal(admin_put_kills(&tx, buf_span(&rx), &own), 3);
	assert_true(says("$1\r\n3\r\n"));
	assert_true(says("$1\r\n5\r\n"));
	assert_true(says("$1\r\n8\r\n"));
	assert_false(says("$1\r\n4\r\n"));
	assert_false(says("$1\r\n6\r\n"));
	assert_false(says("$1\r\n7\r\n"));
}

static void
position_of_a_master(void **state)
{
	uint64_t at = 0;
	struct err err;

	(void)state;
	resp_put_array(&rx, 3);
	resp_put_bulk_str(&rx, "master");
	resp_put_int(&rx, 3129659);
	resp_put_array(&rx, 0);
	assert_int_equal(admin_read_role(buf_span(&rx), "old", &at, &err), 0);
	assert_int_equal(at, 3129659);
	buf_clear(&rx);
	resp_put_array(&rx, 5);
	resp_put_bulk_str(&rx, "slave");
	assert_int_equal(admin_read_role(buf_span(&rx), "old", &at, &err),
	                 -ERR_PROTO);
	resp_put_bulk_str(&rx, "10.0.0.1");
	resp_put_int(&rx, 6379);
	resp_put_bulk_str(&rx, "connected");
	resp_put_int(&rx, 1);
	assert_int_equal(admin_read_role(buf_span(&rx), "old", &at, &err),
	                 -ERR_STATE);
}

/* ---- the judge ----------------------------------------------------------- */

static const struct judge_conf judge = {
	.label = { "old redis://a:1", "new redis://b:2" },
	.conflict = "replace",
	.needs_fence = true,
};

static void
good(struct facts f[SIDE_N])
{
	for (int s = 0; s < SIDE_N; s++) {
		f[s] = (struct facts){ .version_n = 70015,
			               .is_master = true,
			               .policy = "noeviction",
			               .whoami = "default",
			               .has_aclfile = true,
			               .clock_ms = 1000000 };
		(void)memcpy(f[s].version, "7.0.15", 7);
		f[s].run_id[0] = s == 0 ? 'x' : 'y';
	}
}

/* The result of the first line of that name, or -1; prefer the worst. */
static int
verdict(const struct facts f[SIDE_N], const struct judge_conf *c,
        const char *name)
{
	static struct checks k;
	int worst = -1;

	probe_judge(f, c, &k);
	for (uint32_t i = 0; i < k.n; i++) {
		if (strcmp(k.line[i].name, name) == 0 &&
		    (int)k.line[i].result > worst)
			worst = (int)k.line[i].result;
	}
	return worst;
}

static void
a_good_pair_passes(void **state)
{
	static struct facts f[SIDE_N];
	static struct checks k;

	(void)state;
	good(f);
	probe_judge(f, &judge, &k);
	assert_int_equal(k.failed, 0);
	for (uint32_t i = 0; i < k.n; i++)
		assert_int_equal(k.line[i].result, CHECK_PASS);
}

static void
data_none_wants_the_data_there(void **state)
{
	static struct facts f[SIDE_N];
	struct judge_conf c = judge;

	(void)state;
	good(f);
	c.moves_none = true;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_PASS);
	f[SIDE_OLD].keys = 3;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_FAIL);
	c.empty_ok = true;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_WARN);
	c.empty_ok = false;
	f[SIDE_NEW].keys = 2;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_WARN);
	f[SIDE_NEW].keys = 3;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_PASS);
	f[SIDE_NEW].keys = 0;
	c.is_resume = true;
	assert_int_equal(verdict(f, &c, "contents"), CHECK_PASS);
}

static void
databases_have_a_bound(void **state)
{
	static struct facts f[SIDE_N];
	struct judge_conf c = judge;

	(void)state;
	good(f);
	f[SIDE_NEW].databases = 256;
	assert_int_equal(verdict(f, &c, "databases"), -1);
	f[SIDE_NEW].databases = 257;
	assert_int_equal(verdict(f, &c, "databases"), CHECK_FAIL);
	c.is_resume = true;
	assert_int_equal(verdict(f, &c, "databases"), CHECK_WARN);
}

static void
each_fault_is_named(void **state)
{
	static struct facts f[SIDE_N];
	struct judge_conf resumed = judge;

	(void)state;
	resumed.is_resume = true;
#define CASE(set, name, want)                                       \
	do {                                                        \
		good(f);                                            \
		set;                                                \
		assert_int_equal(verdict(f, &judge, name), (want)); \
	} while (0)
	CASE(f[0].is_cluster = true, "cluster", CHECK_FAIL);
	CASE(f[1].is_sentinel = true, "kind", CHECK_FAIL);
	CASE(f[0].version_n = 50014, "version", CHECK_FAIL);
	CASE(f[0].version_n = 60016, "version", CHECK_WARN);
	CASE(f[1].version_n = 80100, "version", CHECK_WARN);
	CASE((f[1].is_valkey = true, f[1].valkey_n = 90000), "version",
	     CHECK_FAIL);
	CASE((f[1].is_valkey = true, f[1].valkey_n = 80101), "version", -1);
	CASE(f[1].has_vectors = true, "modules", CHECK_WARN);
	CASE((void)memcpy(f[0].modules, "search", 7), "modules", CHECK_FAIL);
	CASE(f[1].sends_scripts = true, "scripts", CHECK_FAIL);
	CASE(f[1].is_loading = true, "loading", CHECK_FAIL);
	CASE(f[0].is_master = false, "role", CHECK_FAIL);
	CASE(f[0].absent = 1u << PROBE_PSYNC, "rights", CHECK_PASS);
	CASE(f[0].absent = 1u << PROBE_PSYNC, "mode", CHECK_WARN);
	CASE(f[1].denied = 1u << PROBE_REPLCONF, "mode", CHECK_WARN);
	CASE(f[0].absent = 1u << PROBE_PSYNC | 1u << PROBE_TRACKING, "rights",
	     CHECK_FAIL);
	CASE((f[0].absent = 1u << PROBE_PSYNC, f[0].version_n = 60016),
	     "rights", CHECK_FAIL);
	CASE((f[0].absent = 1u << PROBE_PSYNC, f[0].version_n = 60016), "mode",
	     -1);
	CASE(f[0].absent = 1u << PROBE_TRACKING, "rights", CHECK_PASS);
	CASE(f[1].absent = 1u << PROBE_PSYNC, "conflict", -1);
	CASE(f[1].denied = 1u << PROBE_ACL, "rights", CHECK_FAIL);
	CASE(f[1].run_id[0] = 'x', "same_server", CHECK_FAIL);
	CASE(f[0].version_n = 70200, "rdb_version", CHECK_WARN);
	CASE(f[1].version_n = 70400, "rdb_version", CHECK_WARN);
	CASE(f[1].clock_ms += 2000, "clock", CHECK_WARN);
	CASE(f[0].clock_ms += 2000, "clock", CHECK_WARN);
	CASE((f[1].maxmemory = 1 << 30,
	      (void)memcpy(f[1].policy, "allkeys-lru", 12)),
	     "eviction", CHECK_WARN);
	CASE((f[1].maxmemory = 10, f[0].used_memory = 11), "memory",
	     CHECK_WARN);
	CASE(f[0].slave_limit = 1 << 20, "output_buffer", CHECK_WARN);
	CASE(f[0].has_aclfile = false, "fence", CHECK_WARN);
	CASE(f[0].replicas = 2, "replicas", CHECK_WARN);
	CASE(f[1].keys = 5, "contents", CHECK_WARN);
#undef CASE
	good(f);
	f[1].keys = 5;
	assert_int_equal(verdict(f, &resumed, "contents"), CHECK_PASS);
}

/* Both are masters of clusters and own slots 0-99. */
static void
good_nodes(struct facts f[SIDE_N])
{
	good(f);
	for (int s = 0; s < SIDE_N; s++) {
		f[s].is_cluster = true;
		f[s].told_cluster = true;
		f[s].cluster.is_ok = true;
		f[s].cluster.node.slot_n = 100;
		memset(f[s].cluster.node.slots.bit, 0xff, 12);
		f[s].cluster.node.slots.bit[12] = 0x0f;
	}
}

static void
nodes_of_clusters_must_be_alike(void **state)
{
	static struct facts f[SIDE_N];
	struct judge_conf c = judge;

	(void)state;
	good_nodes(f);
	assert_int_equal(verdict(f, &c, "cluster"), CHECK_PASS);
	assert_int_equal(verdict(f, &c, "kind"), CHECK_PASS);
	assert_int_equal(verdict(f, &c, "cluster_change"), CHECK_WARN);
	assert_int_equal(verdict(f, &c, "conflict"), -1);
	c.conflict = "merge";
	assert_int_equal(verdict(f, &c, "conflict"), CHECK_FAIL);
	c = judge;
	for (int s = 0; s < SIDE_N; s++) {
#define CASE(set, want)                                              \
	do {                                                         \
		good_nodes(f);                                       \
		set;                                                 \
		assert_int_equal(verdict(f, &c, "cluster"), (want)); \
	} while (0)
		CASE(f[s].told_cluster = false, CHECK_FAIL);
		CASE(f[s].cluster.is_ok = false, CHECK_FAIL);
		CASE(f[s].cluster.node.is_open = true, CHECK_FAIL);
		CASE(f[s].cluster.node.slot_n = 0, CHECK_FAIL);
		CASE(f[s].cluster.node.slots.bit[2000] = 1, CHECK_FAIL);
		CASE(f[s].is_cluster = false, CHECK_FAIL);
#undef CASE
		/* Without a stream a node's keys cannot be followed. */
		good_nodes(f);
		f[s].absent = 1u << PROBE_PSYNC;
		assert_int_equal(verdict(f, &c, "rights"), CHECK_FAIL);
	}
	/* What is under way is stopped by its next switch, not by this. */
	c.is_resume = true;
	good_nodes(f);
	f[1].cluster.node.slots.bit[0] = 1;
	assert_int_equal(verdict(f, &c, "cluster"), CHECK_WARN);
}

/* CLUSTER INFO and CLUSTER NODES with this text. */
static int
read_nodes(const char *state, const char *nodes, struct cluster_self *ret)
{
	struct err err;

	buf_clear(&rx);
	resp_put_bulk_str(&rx, state);
	resp_put_bulk_str(&rx, nodes);
	return cluster_read(buf_span(&rx), "old", ret, &err);
}

static void
a_node_tells_its_slots(void **state)
{
	static struct cluster_self me;
	static struct cluster_node n;
	static const char *const nodes =
		"07c3 10.0.0.1:30004@31004,host4 slave e7d1 0 142 4 connected\n"
		"67ed ::1:30002@31002 master - 0 142 2 connected 5461-16383\n"
		"e7d1 :30001@31001 myself,master - 0 0 1 connected 0-5459 5460 "
		"[5461->-67ed]\n"
		"6ec2 127.0.0.1:30003@31003 master,fail? - 0 1 3 connected\n";
	struct span text = span_str(nodes);
	char slots[20];

	(void)state;
	assert_int_equal(read_nodes("cluster_state:ok\r\n", nodes, &me), 0);
	assert_true(me.is_ok && me.node.is_open && me.node.is_master);
	assert_int_equal(me.node.open_slot, 5461);
	assert_int_equal(me.node.slot_n, 5461);
	assert_string_equal(me.node.host, "");
	assert_int_equal(me.node.port, 30001);
	cluster_text(&me.node.slots, slots, sizeof(slots));
	assert_string_equal(slots, "0-5460");
	assert_true(cluster_next(&text, &n));
	assert_false(n.is_master || n.is_self || n.is_away);
	assert_string_equal(n.host, "10.0.0.1");
	assert_true(cluster_next(&text, &n));
	assert_string_equal(n.host, "::1");
	assert_int_equal(cluster_unlike(&n.slots, &me.node.slots), 0);
	assert_true(cluster_next(&text, &n) && n.is_self);
	assert_int_equal(cluster_unlike(&n.slots, &me.node.slots), HASH_SLOTS);
	assert_true(cluster_next(&text, &n) && n.is_away);
	assert_false(cluster_next(&text, &n));
	/* Every second slot, in a short text. */
	memset(n.slots.bit, 0x55, sizeof(n.slots.bit));
	cluster_text(&n.slots, slots, sizeof(slots));
	assert_string_equal(slots, "0,2,4,6,8,10,12...");
	assert_int_equal(
		read_nodes("cluster_state:fail\r\n", "x y myself\n", &me), 0);
	assert_false(me.is_ok || me.node.is_master);
	assert_int_equal(read_nodes("", "x y master\n", &me), -ERR_PROTO);
}

/* Whatever slots a node owns, its own keys have a name there. */
static void
own_keys_have_a_tag_of_the_node(void **state)
{
	uint8_t slots[HASH_SLOTS / 8] = { 0 };
	char name[OWN_NAME];
	char tag[OWN_TAG];

	(void)state;
	assert_false(own_tag_find(slots, tag));
	for (uint32_t slot = 0; slot < HASH_SLOTS; slot += 511) {
		memset(slots, 0, sizeof(slots));
		slots[slot / 8] = (uint8_t)(1u << (slot % 8));
		assert_true(own_tag_find(slots, tag));
		(void)own_name(name, "mark-back", tag);
		assert_int_equal(hash_slot(span_str(name)), slot);
		assert_int_equal(strncmp(name, "__godwit:mark-back{", 19), 0);
	}
	memset(slots, 0xff, sizeof(slots));
	assert_true(own_tag_find(slots, tag));
	assert_string_equal(tag, "{0}");
	assert_string_equal(own_name(name, "fence", ""), "__godwit:fence");
}

static void
info_is_read(void **state)
{
	struct facts f;
	struct err err;

	(void)state;
	resp_put_bulk_str(&rx, "# Server\r\nredis_version:7.0.15\r\n"
	                       "redis_mode:standalone\r\nrun_id:abc\r\n"
	                       "config_file:\r\nrole:slave\r\n"
	                       "master_host:10.0.0.9\r\nloading:0\r\n"
	                       "used_memory:1048576\r\nmaxmemory:0\r\n"
	                       "connected_slaves:2\r\ncluster_enabled:1\r\n"
	                       "db0:keys=5,expires=1,avg_ttl=0\r\n"
	                       "db9:keys=7,expires=0,avg_ttl=0\r\n");
	resp_put_array(&rx, 2);
	resp_put_bulk_str(&rx, "1700000000");
	resp_put_bulk_str(&rx, "250000");
	resp_put_bulk_str(&rx, "default");
	resp_put_array(&rx, 2);
	resp_put_bulk_str(&rx, "maxmemory-policy");
	resp_put_bulk_str(&rx, "volatile-lru");
	resp_put_array(&rx, 2);
	resp_put_bulk_str(&rx, "client-output-buffer-limit");
	resp_put_bulk_str(&rx, "normal 0 0 0 slave 268435456 67108864 60");
	resp_put_errorf(&rx, "ERR no such thing");
	resp_put_array(&rx, 0);
	resp_put_array(&rx, PROBE_COMMAND_N);
	for (int i = 0; i < PROBE_COMMAND_N; i++) {
		if (i == PROBE_PSYNC)
			resp_put_nil_array(&rx);
		else
			resp_put_array(&rx, 0);
	}
	resp_put_array(&rx, 2);
	resp_put_bulk_str(&rx, "lua-replicate-commands");
	resp_put_bulk_str(&rx, "no");
	assert_int_equal(probe_read_first(buf_span(&rx), "old", &f, &err), 0);
	assert_true(f.sends_scripts);
	assert_int_equal(f.version_n, 70015);
	assert_false(f.is_master);
	assert_string_equal(f.master, "10.0.0.9");
	assert_true(f.is_cluster);
	assert_int_equal(f.keys, 12);
	assert_int_equal(f.clock_ms, 1700000000250);
	assert_string_equal(f.policy, "volatile-lru");
	assert_int_equal(f.slave_limit, 268435456);
	assert_false(f.has_aclfile);
	assert_false(f.has_config_file);
	assert_int_equal(f.absent, 1u << PROBE_PSYNC);
	buf_clear(&rx);
	resp_put_errorf(&rx, "NOAUTH Authentication required.");
	assert_int_equal(probe_read_first(buf_span(&rx), "old", &f, &err),
	                 -ERR_AUTH);
	buf_clear(&rx);
	resp_put_bulk_str(&rx, "memcached 1.6");
	assert_int_equal(probe_read_first(buf_span(&rx), "old", &f, &err),
	                 -ERR_PROTO);
}

/* The writer of a split: rights of another user, its own password, and no fence
 * ever takes it for an application. */
static void
writer_has_the_rights(void **state)
{
	(void)state;
	assert_int_equal(
		admin_put_writer(&tx, &own, "secret",
	                         SPAN("on nopass sanitize-payload #12ab ~a* "
	                              "resetchannels -@all +get (~b* -@all "
	                              "+set)")),
		1);
	assert_true(says("$11\r\ngodwit-ab-w\r\n$5\r\nreset\r\n$2\r\non\r\n"));
	assert_true(says("$7\r\n>secret\r\n"));
	assert_true(says("$3\r\n~a*\r\n$13\r\nresetchannels\r\n"));
	assert_true(says("$4\r\n(~b*\r\n$5\r\n-@all\r\n$5\r\n+set)\r\n"));
	assert_false(says("nopass"));
	assert_false(says("#12ab"));
	assert_true(says("*14\r\n"));
	assert_true(acl_is_own(SPAN("godwit-ab-w"), &own));
	assert_false(acl_is_own(SPAN("godwit-ab-wx"), &own));
	assert_true(acl_is_on(SPAN("on nopass ~*")));
	assert_false(acl_is_on(SPAN("off nopass ~*")));
	buf_clear(&tx);
	assert_int_equal(admin_put_no_users(&tx, &own), 1);
	assert_true(says("godwit-ab-w"));
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(fenced_or_not),
		T(fence_and_back),
		T(a_server_that_is_full),
		T(users_of_a_server_without_channels),
		T(replicas_of_a_server),
		T(unfence_gives_back_rights_only),
		T(the_transaction_ends),
		T(who_is_killed),
		T(position_of_a_master),
		T(a_good_pair_passes),
		T(data_none_wants_the_data_there),
		T(databases_have_a_bound),
		T(each_fault_is_named),
		T(nodes_of_clusters_must_be_alike),
		T(a_node_tells_its_slots),
		T(own_keys_have_a_tag_of_the_node),
		T(info_is_read),
		T(writer_has_the_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
