/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/spread/test_spread.c: the machine with instances that answer when
 * they are told to.
 */
#include "base/rng.h"
#include "scene.h"

/* ---- order, bounds ------------------------------------------------------ */

static void
test_order(void **state)
{
	(void)state;
	begin();
	run.mute[0] = true;
	run.mute[2] = true;
	say(0,
	    "GET {0}a\r\nGET {1}b\r\nMGET {1}c {0}d {2}e {1}f\r\nGET {2}g\r\n");
	expect(0, "");
	/* All were sent at once. */
	buf_put(&run.seen, "", 1);
	assert_string_equal((const char *)buf_span(&run.seen).p,
	                    "2:MGET {2}e\n2:GET {2}g\n1:GET {1}b\n"
	                    "1:MGET {1}c\n0:GET {0}a\n0:MGET {0}d\n");
	run.mute[0] = false;
	expect(0, "$4\r\n{0}a\r\n$4\r\n{1}b\r\n");
	run.mute[2] = false;
	expect(0,
	       "*4\r\n$4\r\n{1}c\r\n$4\r\n{0}d\r\n$4\r\n{2}e\r\n$4\r\n{1}f\r\n"
	       "$4\r\n{2}g\r\n");
	end();
}

/* An instance whose answers have to wait is not listened to beyond a bound. */
static void
test_early_is_bounded(void **state)
{
	static uint8_t block[200000];
	int early;

	(void)state;
	begin();
	run.mute[0] = true;
	run.mute[1] = true;
	say(0, "GET {0}a\r\nMGET {1}b {1}c {0}d\r\n");
	settle();
	early = branch_of(0, 1);
	buf_clear(&run.end[early].out); /* it says this instead: */
	world_bytes(&run.w, early, SPAN("*2\r\n$900000\r\n"));
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 6; i++)
		world_bytes(&run.w, early, span_of(block, sizeof(block)));
	assert_true(run.w.links[early]->read_off);
	assert_true(run.heap.mem.used < 3 * SPREAD_EARLY_MAX);
	expect(0, "");
	run.mute[0] = false;
	settle();
	assert_false(run.w.links[early]->read_off);
	assert_true(buf_len(&run.got[0]) > SPREAD_EARLY_MAX);
	end();
}

/* A client that does not read is served up to a bound, and then again. */
static void
test_slow_client(void **state)
{
	static uint8_t block[250000];
	int at;

	(void)state;
	begin();
	run.mute[1] = true;
	say(0, "GET {1}a\r\nGET {0}b\r\n");
	settle();
	at = branch_of(0, 1);
	buf_clear(&run.end[at].out);
	world_bytes(&run.w, at, SPAN("$5000000\r\n"));
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 20; i++) /* nothing of it leaves */
		world_bytes(&run.w, at, span_of(block, sizeof(block)));
	assert_true(run.w.links[at]->read_off);
	assert_true(buf_len(&run.w.links[run.client[0]]->tx) <
	            SPREAD_SLOW_TX + 2 * sizeof(block));
	assert_true(run.w.links[run.client[0]]->want_drained);
	batch();
	assert_false(run.w.links[at]->read_off);
	assert_true(buf_len(&run.got[0]) > SPREAD_SLOW_TX);
	end();
}

/* A client may not have more under way than the ring holds. */
static void
test_ring_is_bounded(void **state)
{
	struct buf b;

	(void)state;
	begin();
	run.mute[0] = true;
	buf_init(&b, &run.w.heap.mem);
	for (int i = 0; i < 2000; i++)
		buf_put_str(&b, "GET {0}a\r\n");
	world_bytes(&run.w, run.client[0], buf_span(&b));
	settle();
	assert_int_equal(run.traffic.requests, SPREAD_ASKS_MAX);
	run.mute[0] = false;
	settle();
	assert_int_equal(run.traffic.requests, 2000);
	assert_int_equal(buf_len(&run.got[0]), 2000 * 10);
	buf_fini(&b);
	end();
}

/* ---- any delays --------------------------------------------------------- */

/* One request that instances answer at once, and what its answer is. */
static void
some_request(struct rng *r, uint32_t i, struct buf *ask, struct buf *want)
{
	uint32_t n = (uint32_t)rng_below(r, 4) + 1;
	bool many = rng_below(r, 3) == 0;
	struct buf key;

	if (rng_below(r, 8) == 0) {
		buf_put_str(ask, "DBSIZE\r\n");
		buf_put_str(want, ":6\r\n");
		return;
	}
	buf_init(&key, &run.w.heap.mem);
	buf_put_str(ask, many ? "MGET" : "GET");
	if (many)
		resp_put_array(want, n);
	for (uint32_t k = 0; k < (many ? n : 1); k++) {
		buf_clear(&key);
		buf_putf(&key, "{%u}%u.%u", (unsigned)rng_below(r, 3), i, k);
		buf_put_str(ask, " ");
		buf_put_span(ask, buf_span(&key));
		resp_put_bulk(want, buf_span(&key));
	}
	buf_put_str(ask, "\r\n");
	buf_fini(&key);
}

/* Pipelines of all clients while instances stop and go on: each client gets its
 * answers, all of them, in order. */
static void
test_any_delay(void **state)
{
	struct buf want[CLIENTS];
	struct rng r;

	(void)state;
	rng_init(&r, 7);
	begin();
	for (int c = 0; c < CLIENTS; c++)
		buf_init(&want[c], &run.w.heap.mem);
	for (uint32_t i = 0; i < 3000; i++) {
		int c = (int)rng_below(&r, CLIENTS);
		struct buf ask;

		buf_init(&ask, &run.w.heap.mem);
		some_request(&r, i, &ask, &want[c]);
		in_halves(run.client[c], buf_span(&ask));
		buf_fini(&ask);
		run.mute[rng_below(&r, INSTANCES)] = rng_below(&r, 4) != 0;
		if (rng_below(&r, 3) == 0)
			turn();
	}
	memset(run.mute, 0, sizeof(run.mute));
	settle();
	for (int c = 0; c < CLIENTS; c++) {
		assert_true(buf_len(&want[c]) > 10000);
		assert_true(span_eq(buf_span(&run.got[c]), buf_span(&want[c])));
		buf_fini(&want[c]);
	}
	end();
}

/* ---- several instances -------------------------------------------------- */

static void
test_folds(void **state)
{
	(void)state;
	begin();
	say(0, "DBSIZE\r\nDEL {0}a {1}b {1}c {2}d\r\nKEYS *\r\nRANDOMKEY\r\n"
	       "MSET {0}a 1 {2}b 2\r\nEXISTS {1}a\r\nWAIT 1 0\r\n");
	expect(0,
	       ":6\r\n:4\r\n*3\r\n$2\r\n10\r\n$2\r\n20\r\n$2\r\n21\r\n$-1\r\n"
	       "+OK\r\n:1\r\n:1\r\n");
	run.rude[1] = true;
	say(0, "DBSIZE\r\nKEYS *\r\nMGET {2}a {1}b\r\nMGET {2}a {0}b\r\n");
	expect(0, "-ERR rude (instance I1)\r\n-ERR rude (instance I1)\r\n"
	          "-ERR rude (instance I1)\r\n"
	          "*2\r\n$4\r\n{2}a\r\n$4\r\n{0}b\r\n");
	run.rude[0] = true;
	run.rude[2] = true;
	say(0, "FLUSHALL\r\nSELECT 1\r\n");
	expect(0, "-ERR rude\r\n-ERR rude\r\n");
	assert_true(run.client[0] >= 0);
	end();
}

/* One instance says no to SELECT: the error, and the end. */
static void
test_half_logged_in(void **state)
{
	(void)state;
	begin();
	run.rude[2] = true;
	say(0, "SELECT 1\r\nGET {0}a\r\n");
	expect(0, "-ERR rude (instance I2)\r\n");
	assert_int_equal(run.client[0], -1);
	end();
}

static void
test_cursors(void **state)
{
	(void)state;
	begin();
	run.cursor = "5";
	say(0, "SCAN 0\r\nSCAN 81\r\n");
	expect(0, "*2\r\n$2\r\n80\r\n*1\r\n$1\r\n0\r\n*2\r\n$2\r\n81\r\n*1\r\n"
	          "$1\r\n1\r\n");
	run.cursor = "0";
	say(0, "SCAN 0\r\nSCAN 1\r\nSCAN 34\r\nSCAN 3\r\nSCAN -1\r\n");
	expect(0, "*2\r\n$1\r\n1\r\n*1\r\n$1\r\n0\r\n*2\r\n$1\r\n2\r\n*1\r\n"
	          "$1\r\n1\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\n2\r\n"
	          "-ERR invalid cursor\r\n-ERR invalid cursor\r\n");
	run.cursor = "576460752303423487"; /* 2^59 - 1 */
	say(0, "SCAN 2\r\n");
	expect(0, "*2\r\n$19\r\n9223372036854775794\r\n*1\r\n$1\r\n2\r\n");
	say(0, "SCAN 9223372036854775794\r\n");
	settle();
	buf_put(&run.seen, "", 1);
	assert_non_null(strstr((const char *)buf_span(&run.seen).p,
	                       "2:SCAN 576460752303423487\n"));
	buf_clear(&run.got[0]);
	run.cursor = "576460752303423488";
	say(0, "SCAN 1\r\nGET {1}a\r\n");
	expect(0, "-ERR godwit: instance I1: a cursor above 2^59 cannot be "
	          "shown\r\n$4\r\n{1}a\r\n");
	end();
}

/* ---- transactions ------------------------------------------------------- */

static void
test_transaction(void **state)
{
	(void)state;
	begin();
	run.mute[1] = true;
	say(0, "MULTI\r\nPING\r\nSET {1}a 1\r\nGET {1}a\r\n");
	expect(0, "+OK\r\n+QUEUED\r\n");
	/* Nothing goes behind MULTI before it was answered. */
	buf_put(&run.seen, "", 1);
	assert_string_equal((const char *)buf_span(&run.seen).p, "1:MULTI \n");
	run.mute[1] = false;
	expect(0, "+QUEUED\r\n+QUEUED\r\n");
	say(0, "GET {2}a\r\nEXEC\r\nGET {1}b\r\n");
	expect(0,
	       "-CROSSSLOT godwit: keys of get are on several instances (I1, "
	       "I2)\r\n-EXECABORT Transaction discarded because of previous "
	       "errors.\r\n$4\r\n{1}b\r\n");
	say(0,
	    "WATCH {1}a\r\nSELECT 1\r\nWATCH {2}a\r\nUNWATCH\r\nSELECT 1\r\n");
	expect(0,
	       "+OK\r\n-ERR godwit refuses select after WATCH\r\n"
	       "-CROSSSLOT godwit: keys of watch are on several instances (I1, "
	       "I2)\r\n+OK\r\n+OK\r\n");
	run.rude[2] = true; /* to MULTI: nothing of it is sent */
	say(0, "MULTI\r\nSET {2}a 1\r\nSET {2}b 1\r\nEXEC\r\n");
	expect(0, "+OK\r\n-ERR rude\r\n-ERR rude\r\n-EXECABORT Transaction "
	          "discarded because of previous errors.\r\n");
	end();
}

static void
test_queue_is_bounded(void **state)
{
	(void)state;
	begin();
	say(0, "MULTI\r\n");
	for (int i = 0; i < SPREAD_QUEUED_MAX + 1; i++) {
		say(0, "PING\r\n");
		settle();
	}
	say(0, "SET {1}a 1\r\nEXEC\r\n");
	settle();
	buf_put(&run.got[0], "", 1);
	assert_non_null(
		strstr((const char *)buf_span(&run.got[0]).p,
	               "+QUEUED\r\n-ERR godwit refuses so many requests "
	               "without a key before the first key of a "
	               "MULTI\r\n+QUEUED\r\n-EXECABORT"));
	end();
}

/* ---- subscribers, RESP3 ------------------------------------------------- */

static void
test_subscriber(void **state)
{
	(void)state;
	begin();
	say(0, "SUBSCRIBE a\r\nGET {1}a\r\n");
	expect(0, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n$4\r\n{1}a\r\n");
	/* The instance of this test does not refuse; that GET went home. */
	buf_put(&run.seen, "", 1);
	assert_non_null(
		strstr((const char *)buf_span(&run.seen).p, "0:GET {1}a\n"));
	say(0, "UNSUBSCRIBE a\r\nGET {1}a\r\n");
	expect(0,
	       "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n$4\r\n{1}a\r\n");
	buf_put(&run.seen, "", 1);
	say(0, "MGET {1}a {0}b\r\nMGET {0}c\r\n");
	expect(0, "*2\r\n$4\r\n{1}a\r\n$4\r\n{0}b\r\n*1\r\n$4\r\n{0}c\r\n");
	world_pass_time(&run.w, 1000 * MS);
	batch();
	assert_int_equal(run.traffic.subscribed, 0);
	end();
}

#define SHARD(verb, name, n) "*3\r\n" verb "\r\n$4\r\n" name "\r\n:" n "\r\n"
#define IN                   "$10\r\nssubscribe"
#define OUT                  "$12\r\nsunsubscribe"

/* Names of several instances in their order, with the count of all; what an
 * instance says by itself; nobody's message in the middle of another's. */
static void
test_shard_channels(void **state)
{
	(void)state;
	begin();
	say(0, "GET {1}a\r\nssubscribe {1}a {0}b {2}c {1}d\r\nPING x\r\n"
	       "subscribe q\r\nsunsubscribe {0}b\r\n");
	expect(0, "$4\r\n{1}a\r\n" SHARD(IN, "{1}a", "1") SHARD(IN, "{0}b", "2")
	                  SHARD(IN, "{2}c", "3") SHARD(
				  IN, "{1}d", "4") "*2\r\n$4\r\npong\r\n"
	                                           "$1\r\nx\r\n"
	                                           "*3\r\n$9\r\nsubscribe\r\n"
	                                           "$1\r\nq\r\n:1\r\n" SHARD(
							   OUT, "{0}b", "3"));
	/* In pieces, two at a time. */
	world_bytes(&run.w, branch_of(0, 1),
	            SPAN("*3\r\n$8\r\nsmessage\r\n$4\r\n{1}a\r\n$2\r\nm"));
	batch();
	world_bytes(&run.w, branch_of(0, 2), SPAN(SHARD(OUT, "{2}c", "0")));
	world_bytes(&run.w, branch_of(0, 0),
	            SPAN("*3\r\n$7\r\nmessage\r\n$1\r\nq\r\n$1\r\nh\r\n"));
	batch();
	world_bytes(&run.w, branch_of(0, 1), SPAN("m\r\n"));
	batch();
	expect(0, "*3\r\n$8\r\nsmessage\r\n$4\r\n{1}a\r\n$2\r\nmm\r\n"
	          "*3\r\n$7\r\nmessage\r\n$1\r\nq\r\n$1\r\nh\r\n" SHARD(
			  OUT, "{2}c", "2"));
	/* The head of one, byte by byte. */
	for (const char *p = SHARD(OUT, "{1}d", "1"); *p != '\0'; p++) {
		world_bytes(&run.w, branch_of(0, 1), span_of(p, 1));
		batch();
	}
	expect(0, SHARD(OUT, "{1}d", "1"));
	run.end[branch_of(0, 1)].shards = 1;
	say(0, "sunsubscribe {1}a\r\nunsubscribe q\r\nGET {1}a\r\n");
	expect(0, SHARD(OUT, "{1}a", "0") "*3\r\n$11\r\nunsubscribe\r\n$1\r\n"
	                                  "q\r\n:0\r\n$4\r\n{1}a\r\n");
	end();
}

static void
test_pushes(void **state)
{
	(void)state;
	begin();
	say(0, "HELLO 3\r\n");
	expect(0, "%1\r\n+proto\r\n:3\r\n");
	run.mute[1] = true;
	say(0, "GET {1}a\r\nGET {0}b\r\n");
	settle();
	/* Home's leaves at once, behind no answer; the others' never. */
	world_bytes(&run.w, branch_of(0, 0), SPAN(">1\r\n$1\r\nz\r\n"));
	world_bytes(&run.w, branch_of(0, 2), SPAN(">1\r\n$1\r\ny\r\n"));
	batch();
	run.mute[1] = false;
	expect(0, "$4\r\n{1}a\r\n$4\r\n{0}b\r\n>1\r\n$1\r\nz\r\n");
	world_bytes(&run.w, branch_of(0, 0), SPAN(">1\r\n$3\r\nab"));
	batch();
	say(0, "GET {1}a\r\n");
	settle();
	world_bytes(&run.w, branch_of(0, 0), SPAN("c\r\n"));
	batch();
	expect(0, ">1\r\n$3\r\nabc\r\n$4\r\n{1}a\r\n");
	/* Not into the middle of another one's answer. */
	run.mute[1] = true;
	say(0, "GET {1}a\r\n");
	settle();
	buf_clear(&run.end[branch_of(0, 1)].out);
	world_bytes(&run.w, branch_of(0, 1), SPAN("$4\r\nha"));
	world_bytes(&run.w, branch_of(0, 0), SPAN(">1\r\n$1\r\np\r\n"));
	batch();
	world_bytes(&run.w, branch_of(0, 1), SPAN("lf\r\n"));
	run.mute[1] = false;
	expect(0, "$4\r\nhalf\r\n>1\r\n$1\r\np\r\n");
	say(0, "SUBSCRIBE q\r\nGET {1}a\r\n");
	expect(0, "*3\r\n$9\r\nsubscribe\r\n$1\r\nq\r\n:1\r\n$4\r\n{1}a\r\n");
	end();
}

/* ---- headers, ends ------------------------------------------------------ */

static void
test_headers(void **state)
{
	static const uint8_t own[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a,
		                       0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11,
		                       0,    17,   10,   1,    2,    3,    127,
		                       0,    0,    1,    4,    1,    0,    80,
		                       0xe0, 0,    2,    'e',  'u' };
	struct cidr_address v4 = { .b = { [10] = 255, 255, 10, 1, 2, 3 },
		                   .is_known = true };
	struct cidr_address v6 = { .b = { 0x20, 1, [15] = 9 },
		                   .is_known = true };
	struct proxy2 h;

	(void)state;
	begin_with(0, false);
	connect_client(0, &v4);
	connect_client(1, &v6);
	connect_client(2, NULL);
	settle();
	for (int at = 0; at < INSTANCES; at++) {
		struct buf *b = &run.end[branch_of(0, at)].header;

		assert_int_equal(proxy2_read(buf_span(b), &h), WIRE_PART);
		assert_true(h.has_address);
		assert_memory_equal(h.address, v4.b, 16);
		b = &run.end[branch_of(1, at)].header;
		assert_int_equal(proxy2_read(buf_span(b), &h), WIRE_PART);
		assert_memory_equal(h.address, v6.b, 16);
		b = &run.end[branch_of(2, at)].header;
		assert_int_equal(proxy2_read(buf_span(b), &h), WIRE_PART);
		assert_false(h.has_address);
	}
	end();
	begin_with(0, true);
	connect_client(0, &v6);
	settle();
	assert_int_equal(branch_of(0, 0), -1);
	world_bytes(&run.w, run.client[0], span_of(own, 20));
	world_bytes(&run.w, run.client[0], span_of(own + 20, sizeof(own) - 20));
	say(0, "GET {1}a\r\n");
	expect(0, "$4\r\n{1}a\r\n");
	for (int at = 0; at < INSTANCES; at++) {
		struct span s = buf_span(&run.end[branch_of(0, at)].header);

		assert_true(span_eq(s, span_of(own, sizeof(own))));
	}
	end();
}

static void
test_lost(void **state)
{
	(void)state;
	begin();
	run.mute[1] = true;
	run.mute[2] = true;
	say(0, "GET {0}a\r\nGET {1}b\r\nDBSIZE\r\nGET {2}c\r\n");
	settle();
	world_down(&run.w, branch_of(0, 1));
	batch();
	run.mute[2] = false;
	expect(0, "$4\r\n{0}a\r\n-ERR godwit: instance I1: the connection was "
	          "lost; whether it has executed this is not known\r\n"
	          "-ERR godwit: instance I1: the connection was lost; whether "
	          "it has executed this is not known (instance I1)\r\n"
	          "$4\r\n{2}c\r\n");
	assert_int_equal(run.client[0], -1);
	assert_int_equal(run.traffic.lost[SIDE_OLD], 2);
	/* One who waits for nothing is closed at once; the others stay. */
	world_down(&run.w, branch_of(0, 0));
	batch();
	assert_int_equal(run.traffic.clients, 2);
	end();
}

static void
test_stop(void **state)
{
	struct mail m = { .kind = MAIL_STOP };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	(void)state;
	begin();
	run.mute[1] = true;
	say(0, "GET {1}b\r\n");
	say(1, "BLPOP {1}b 0\r\n");
	say(2, "SUBSCRIBE a\r\n");
	settle();
	world_tell(&run.w, &ev);
	batch();
	assert_true(run.client[0] >= 0);
	assert_int_equal(run.client[1], -1);
	assert_int_equal(run.client[2], -1);
	assert_int_equal(run.client[3], -1);
	assert_int_equal(run.stopped, 0);
	run.mute[1] = false;
	expect(0, "$4\r\n{1}b\r\n");
	assert_int_equal(run.client[0], -1);
	assert_int_equal(run.stopped, 1);
	end();
	begin();
	run.mute[1] = true;
	say(0, "GET {1}b\r\n");
	world_tell(&run.w, &ev);
	batch();
	assert_int_equal(run.stopped, 0);
	world_pass_time(&run.w, SPREAD_STOP_NS + MS);
	batch();
	assert_int_equal(run.stopped, 1);
	end();
}

/* The end of what a client says: all is answered, a blocked one is let go. */
static void
test_eof(void **state)
{
	(void)state;
	begin();
	run.mute[1] = true;
	say(0, "GET {1}b\r\nGET {0}a\r\n");
	world_eof(&run.w, run.client[0]);
	batch();
	assert_true(run.client[0] >= 0);
	run.mute[1] = false;
	expect(0, "$4\r\n{1}b\r\n$4\r\n{0}a\r\n");
	assert_int_equal(run.client[0], -1);
	say(1, "BLPOP {1}b 0\r\nGET {1}b\r\n");
	settle();
	assert_true(run.client[1] >= 0);
	world_eof(&run.w, run.client[1]);
	batch();
	assert_int_equal(run.client[1], -1);
	say(2, "SUBSCRIBE a b\r\n");
	world_eof(&run.w, run.client[2]);
	expect(2, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
	          "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
	assert_int_equal(run.client[2], -1);
	end();
}

/* ---- without memory ----------------------------------------------------- */

static void
scenario(void)
{
	static const char big[] = "*3\r\n$3\r\nSET\r\n$4\r\n{1}k\r\n$70000\r\n";
	static uint8_t block[70002];

	for (int c = 0; c < CLIENTS; c++) {
		connect_client(c, NULL);
		settle();
	}
	run.mute[0] = true;
	say(0, "GET {0}a\r\nMGET {1}a {2}b\r\nDBSIZE\r\nKEYS *\r\nSCAN 1\r\n");
	say(1, "MULTI\r\nPING\r\nSET {1}a 1\r\nEXEC\r\n");
	say(2, "SUBSCRIBE x\r\nPING\r\nUNSUBSCRIBE x\r\nGET {2}a\r\n");
	settle();
	run.mute[0] = false;
	settle();
	say(0, "MSET {0}a 1 {1}b 2\r\nRANDOMKEY\r\nHELLO 3\r\nSUBSCRIBE y\r\n");
	say(2, "SSUBSCRIBE {0}x {1}x\r\nPING\r\nSUNSUBSCRIBE {1}x\r\n"
	       "RESET\r\nGET {2}a\r\n");
	say(1, "MULTI\r\nGET {1}a\r\nGET {2}a\r\nEXEC\r\nWATCH {1}a\r\n");
	settle();
	memset(block, 'v', sizeof(block) - 2);
	memcpy(block + sizeof(block) - 2, "\r\n", 2);
	say(3, big);
	if (run.client[3] >= 0)
		world_bytes(&run.w, run.client[3],
		            span_of(block, sizeof(block)));
	say(3, "GET {1}k\r\nQUIT\r\n");
	settle();
	if (branch_of(0, 2) >= 0)
		world_down(&run.w, branch_of(0, 2));
	settle();
}

/* Whatever was not there: no client was told half of something and then another
 * thing, and one that comes later is served. */
static void
look_at_answers(void)
{
	for (int c = 0; c < CLIENTS; c++) {
		struct span in = buf_span(&run.got[c]);
		struct resp_skip skip;
		size_t used = 0;

		resp_skip_init(&skip);
		while (in.n > 0) {
			assert_true(resp_skip_feed(&skip, in, &used) >= 0);
			in = span_skip(in, used);
		}
		buf_clear(&run.got[c]);
	}
	run.heap.refuse_at = 0;
	if (run.client[0] >= 0)
		world_down(&run.w, run.client[0]);
	batch();
	connect_client(0, NULL);
	say(0,
	    "MGET {1}k {2}k\r\nDBSIZE\r\nMSETNX {1}a 1 {2}b 2\r\nSCAN 1\r\n");
	expect(0, "*2\r\n$4\r\n{1}k\r\n$4\r\n{2}k\r\n:6\r\n"
	          "-CROSSSLOT godwit: keys of msetnx are on several instances "
	          "(I1, I2)\r\n*2\r\n$1\r\n2\r\n*1\r\n$1\r\n1\r\n");
}

static void
test_memory(void **state)
{
	size_t n = 1;
	bool all = false;

	(void)state;
	for (; !all; n++) {
		begin_with(n, false);
		scenario();
		all = run.heap.refuse_at > 0; /* there were not so many */
		look_at_answers();
		end();
	}
	assert_true(n > 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_early_is_bounded),
		cmocka_unit_test(test_slow_client),
		cmocka_unit_test(test_ring_is_bounded),
		cmocka_unit_test(test_any_delay),
		cmocka_unit_test(test_folds),
		cmocka_unit_test(test_half_logged_in),
		cmocka_unit_test(test_cursors),
		cmocka_unit_test(test_transaction),
		cmocka_unit_test(test_queue_is_bounded),
		cmocka_unit_test(test_subscriber),
		cmocka_unit_test(test_shard_channels),
		cmocka_unit_test(test_pushes),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_eof),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
