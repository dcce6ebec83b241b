/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/spread/test_view.c: clients that see nodes of a cluster.
 */
#include "scene.h"

static void
announce(const char *a, const char *b)
{
	struct err err;

	shown = (struct topology){ .n = 0 };
	if (a != NULL)
		assert_int_equal(topology_add(&shown, span_str(a), &err), 0);
	if (b != NULL)
		assert_int_equal(topology_add(&shown, span_str(b), &err), 0);
}

/* ---- topology ----------------------------------------------------------- */

static void
test_addresses(void **state)
{
	static const char *const bad[] = {
		"",      "a",      ":1",
		"a:",    "a:0",    "a:65536",
		"a:01",  "a:-1",   "a:1x",
		"a b:1", "::1:70", "[::1:70",
		"a,b:1", "a@b:1",  "[a]b:1",
		"a:1\n", "\x80:1", "a:999999999999999999999",
	};
	struct err err;

	(void)state;
	announce("10.0.0.1:7000", "[fd00::5]:7000");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(topology_add(&shown, span_str(bad[i]), &err),
		                 -ERR_BAD);
	assert_int_equal(topology_add(&shown, SPAN("10.0.0.1:7000"), &err),
	                 -ERR_BAD);
	assert_int_equal(topology_add(&shown, SPAN("[fd00::5]:7000"), &err),
	                 -ERR_BAD);
	assert_int_equal(topology_add(&shown, SPAN("10.0.0.1:7001"), &err), 0);
	assert_int_equal(shown.n, 3);
	assert_string_equal(shown.node[1].host, "fd00::5");
	assert_string_not_equal(shown.node[0].id, shown.node[2].id);
	assert_true(topology_has(&shown, span_str(shown.node[2].id)));
	assert_false(topology_has(&shown, SPAN("nobody")));
	for (uint16_t i = 3; i < TOPOLOGY_MAX; i++) {
		char text[20];

		(void)snprintf(text, sizeof(text), "a:%u", i);
		assert_int_equal(topology_add(&shown, span_str(text), &err), 0);
	}
	assert_int_equal(topology_add(&shown, SPAN("b:1"), &err), -ERR_BAD);
}

static void
test_self(void **state)
{
	(void)state;
	announce("a:1", "b:2");
	topology_find_self(&shown, SPAN("b"), 2);
	assert_int_equal(shown.self, 1);
	topology_find_self(&shown, SPAN("0.0.0.0"), 2);
	assert_int_equal(shown.self, 1);
	topology_find_self(&shown, SPAN("0.0.0.0"), 3);
	assert_int_equal(shown.self, 0);
	announce("a:2", "b:2");
	topology_find_self(&shown, SPAN("c"), 2);
	assert_int_equal(shown.self, 0);
	topology_find_self(&shown, SPAN("b"), 2);
	assert_int_equal(shown.self, 1);
}

/* Every slot once, whatever their number. */
static void
test_slots(void **state)
{
	struct topology t = { .n = 0 };

	(void)state;
	for (t.n = 1; t.n <= TOPOLOGY_MAX; t.n++) {
		assert_int_equal(topology_first_slot(&t, 0), 0);
		assert_int_equal(topology_first_slot(&t, t.n), HASH_SLOTS);
		for (uint32_t i = 0; i < t.n; i++) {
			uint32_t n = topology_first_slot(&t, i + 1) -
			             topology_first_slot(&t, i);

			assert_in_range(n, HASH_SLOTS / t.n,
			                HASH_SLOTS / t.n + 1);
		}
	}
}

/* ---- answers ------------------------------------------------------------ */

__attribute__((format(printf, 1, 2))) static void
expect_of(const char *fmt, ...)
{
	static char text[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	expect(0, text);
}

static void
test_answers(void **state)
{
	const char *a;
	const char *b;

	(void)state;
	announce("10.0.0.1:7000", "h:60000");
	shown.self = 1;
	begin();
	a = shown.node[0].id;
	b = shown.node[1].id;
	say(0, "cluster SLOTS\r\nREADONLY\r\nCLUSTER MYID\r\nASKING\r\n");
	expect_of(
		"*2\r\n*3\r\n:0\r\n:8191\r\n*4\r\n$8\r\n10.0.0.1\r\n:7000\r\n"
		"$40\r\n%s\r\n*0\r\n*3\r\n:8192\r\n:16383\r\n*4\r\n$1\r\nh\r\n"
		":60000\r\n$40\r\n%s\r\n*0\r\n+OK\r\n$40\r\n%s\r\n+OK\r\n",
		a, b, b);
	say(0, "CLUSTER NODES\r\n");
	expect_of("$187\r\n%s 10.0.0.1:7000@17000 master - 0 0 1 connected "
	          "0-8191\n%s h:60000@0 myself,master - 0 0 2 connected "
	          "8192-16383\n\r\n",
	          a, b);
	say(0, "CLUSTER SHARDS\r\n");
	expect_of(
		"*2\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:8191\r\n$5\r\nnodes"
		"\r\n*1\r\n*14\r\n$2\r\nid\r\n$40\r\n%s\r\n$4\r\nport\r\n:7000"
		"\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n$8\r\nendpoint\r\n$8\r\n"
		"10.0.0.1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\n"
		"replication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
		"*4\r\n$5\r\nslots\r\n*2\r\n:8192\r\n:16383\r\n$5\r\nnodes"
		"\r\n*1\r\n*14\r\n$2\r\nid\r\n$40\r\n%s\r\n$4\r\nport\r\n"
		":60000\r\n$2\r\nip\r\n$1\r\nh\r\n$8\r\nendpoint\r\n$1\r\nh"
		"\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\n"
		"replication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n",
		a, b);
	say(0, "CLUSTER KEYSLOT foo\r\nCLUSTER REPLICAS x\r\nCLUSTER LINKS\r\n"
	       "CLUSTER COUNTKEYSINSLOT 1\r\nCLUSTER NOSUCH\r\n"
	       "CLUSTER MEET a 1\r\n");
	expect(0, ":12182\r\n-ERR Unknown node x\r\n*0\r\n"
	          "-ERR godwit refuses cluster|countkeysinslot: the instances "
	          "are servers alone, which have no list of the keys of a "
	          "slot\r\n"
	          "-ERR unknown subcommand 'NOSUCH'. Try CLUSTER HELP.\r\n"
	          "-ERR godwit refuses cluster|meet: the nodes are the "
	          "addresses that the interlay announces\r\n");
	end();
}

/* Clients that speak TLS look for the port under another name. */
static void
test_tls(void **state)
{
	(void)state;
	announce("a:1", NULL);
	shown.tls = true;
	begin();
	say(0, "CLUSTER SHARDS\r\n");
	expect_of("*1\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\n"
	          "nodes\r\n*1\r\n*14\r\n$2\r\nid\r\n$40\r\n%s\r\n$8\r\n"
	          "tls-port\r\n:1\r\n$2\r\nip\r\n$1\r\na\r\n$8\r\nendpoint"
	          "\r\n$1\r\na\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$18\r\n"
	          "replication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline"
	          "\r\n",
	          shown.node[0].id);
	end();
}

/* Home is asked first: what it does not allow is not told. */
static void
test_allowed(void **state)
{
	(void)state;
	announce("a:1", NULL);
	begin();
	run.asked = "cluster";
	run.answer = "-NOPERM no\r\n";
	say(0, "CLUSTER MYID\r\nCLUSTER KEYSLOT x\r\nSET {1}a 1\r\n");
	expect(0, "-NOPERM no\r\n-NOPERM no\r\n+OK\r\n");
	run.answer = "-NOAUTH who\r\n";
	say(0, "CLUSTER INFO\r\nCLUSTER HELP\r\n");
	expect(0, "-NOAUTH who\r\n-NOAUTH who\r\n");
	run.answer = "-ERR This instance has cluster support disabled\r\n";
	say(0, "CLUSTER KEYSLOT foo\r\nCLUSTER LINKS\r\n");
	expect(0, ":12182\r\n*0\r\n");
	end();
}

static void
test_owner_of_slot(void **state)
{
	(void)state;
	announce("a:1", NULL);
	begin();
	run.conf.by_slot = true;
	say(0, "CLUSTER GETKEYSINSLOT 9842 5\r\nCLUSTER COUNTKEYSINSLOT x\r\n");
	settle();
	buf_put(&run.seen, "", 1);
	assert_non_null(strstr((const char *)buf_span(&run.seen).p,
	                       "1:CLUSTER GETKEYSINSLOT\n"));
	assert_non_null(strstr((const char *)buf_span(&run.seen).p,
	                       "0:CLUSTER COUNTKEYSINSLOT\n"));
	end();
}

/* What home says of itself is what a node says. */
static void
test_info(void **state)
{
	(void)state;
	announce("a:1", NULL);
	begin();
	run.asked = "info";
	run.answer = "$70\r\n# Server\r\nredis_mode:standalone\r\nx:1\r\n\r\n"
		     "# Cluster\r\ncluster_enabled:0\r\n\r\n";
	say(0, "INFO\r\n");
	expect(0, "$67\r\n# Server\r\nredis_mode:cluster\r\nx:1\r\n\r\n"
	          "# Cluster\r\ncluster_enabled:1\r\n\r\n");
	run.answer = "=23\r\ntxt:cluster_enabled:0\r\n\r\n";
	say(0, "INFO cluster\r\n");
	expect(0, "=23\r\ntxt:cluster_enabled:1\r\n\r\n");
	run.answer = "-NOPERM no\r\n";
	say(0, "INFO\r\nGET {1}a\r\n");
	expect(0, "-NOPERM no\r\n$4\r\n{1}a\r\n");
	run.asked = "hello";
	run.answer = "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nmode\r\n$10\r\n"
		     "standalone\r\n";
	say(0, "HELLO 3\r\n");
	expect(0, "%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nmode\r\n$7\r\ncluster\r\n");
	run.asked = NULL;
	say(0, "CLUSTER NODES\r\nCLUSTER SLOTS\r\n");
	expect_of("=95\r\ntxt:%s a:1@10001 myself,master - 0 0 1 connected "
	          "0-16383\n\r\n*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$1\r\na\r\n"
	          ":1\r\n$40\r\n%s\r\n%%0\r\n",
	          shown.node[0].id, shown.node[0].id);
	end();
}

/* MOVED and ASK do not leave, wherever they stand. */
static void
test_hidden(void **state)
{
#define HIDDEN \
	"TRYAGAIN godwit: this slot is on another node behind the interlay by now"
	(void)state;
	announce("a:1", NULL);
	begin();
	run.asked = "get";
	run.answer = "-MOVED 1 10.0.0.1:1\r\n";
	say(0, "GET {1}a\r\n");
	expect(0, "-" HIDDEN "\r\n");
	run.answer = "-ASK 1 10.0.0.1:1\r\n";
	say(0, "GET {1}a\r\nSET {1}a 1\r\n");
	expect(0, "-" HIDDEN "\r\n+OK\r\n");
	run.answer = "-ERR other\r\n";
	say(0, "GET {1}a\r\n");
	expect(0, "-ERR other\r\n");
	run.asked = "del";
	run.answer = "-MOVED 1 10.0.0.1:1\r\n";
	say(0, "DEL {1}a {2}a\r\n");
	expect(0, "-" HIDDEN "\r\n");
	run.conf.by_slot = true;
	run.asked = "mget";
	say(0, "MGET {1}a {2}a\r\nSET {1}a 1\r\n");
	expect(0, "*2\r\n-" HIDDEN "\r\n-" HIDDEN "\r\n+OK\r\n");
	run.answer = "*1\r\n$1\r\nv\r\n";
	say(0, "MGET {1}a {2}a\r\n");
	expect(0, "*2\r\n$1\r\nv\r\n$1\r\nv\r\n");
	end();
}

static void
test_in_multi(void **state)
{
	(void)state;
	announce("a:1", NULL);
	begin();
	say(0, "MULTI\r\nSET {1}a 1\r\nCLUSTER SLOTS\r\nEXEC\r\n");
	expect(0, "+OK\r\n+QUEUED\r\n"
	          "-ERR godwit refuses cluster|slots inside MULTI\r\n"
	          "-EXECABORT Transaction discarded because of previous "
	          "errors.\r\n");
	say(0, "MULTI\r\nINFO\r\nSET {0}a 1\r\nEXEC\r\n");
	expect(0, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:0\r\n:1\r\n");
	end();
}

/* Each allocation refused, one after the other: an answer, or the end. */
static void
test_memory(void **state)
{
	bool all = false;
	size_t n = 1;

	(void)state;
	announce("a:1", "b:1");
	for (; !all; n++) {
		begin_with(n, false);
		connect_client(0, NULL);
		settle();
		run.asked = "info";
		run.answer = "$21\r\ncluster_enabled:0\r\n\r\n\r\n";
		say(0,
		    "CLUSTER SLOTS\r\nCLUSTER NODES\r\nINFO\r\nGET {1}a\r\n"
		    "CLUSTER SHARDS\r\nCLUSTER NOSUCH\r\nCLUSTER MEET a 1\r\n"
		    "CLUSTER HELP\r\nREADONLY\r\n");
		settle();
		all = run.heap.refuse_at > 0;
		end();
	}
	assert_true(n > 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_owner_of_slot),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_in_multi),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
