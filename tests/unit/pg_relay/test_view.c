/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_view.c: what an operator is shown is what there is: each
 * state, counts, pages.
 */
#include "engine/view.h"
#include "scene.h"

#define QUERY SPAN("Q\0\0\0\015SELECT 1\0")
#define BYE   SPAN("X\0\0\0\4")
#define ROWS  64

static union view_row rows[ROWS];
static struct view view;

static uint32_t
look(enum view_kind kind, uint64_t after, uint32_t max)
{
	struct view_ask ask = { .kind = kind, .after = after, .into = &view };
	struct mail m = { .kind = MAIL_VIEW, .pair = &ask };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	memset(rows, 0xee, sizeof(rows));
	view = (struct view){ .row = rows, .max = max };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
	assert_true(view.is_done);
	assert_true(view.n <= max);
	return view.n;
}

static void
states_of_a_client(void **state)
{
	const struct view_client *v = &rows[0].client;
	int s, c;

	(void)state;
	begin();
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 0);
	c = comes();
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(v->at, VIEW_CLIENT_LOGIN);
	assert_string_equal(v->user, "");
	assert_int_equal(look(VIEW_POOLS, 0, ROWS), 0);
	starts(c);
	s = dialed();
	up(s);
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 1);
	assert_int_equal(rows[0].server.at, VIEW_SERVER_LOGIN);
	lets_in(s);
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(v->at, VIEW_CLIENT_IDLE);
	assert_string_equal(v->user, "ann");
	assert_string_equal(v->database, "app");
	assert_string_equal(v->application, "");
	assert_true(v->has_server);
	assert_int_equal(v->process, 7);
	assert_int_equal(v->requests, 0);
	bytes(c, QUERY);
	run.w.port.now_ns += 5 * MS;
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(v->at, VIEW_CLIENT_ACTIVE);
	assert_int_equal(v->requests, 1);
	assert_int_equal(v->quiet_ms, 5);
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 1);
	assert_int_equal(rows[0].server.at, VIEW_SERVER_ACTIVE);
	say(s, 'Z', SPAN("T"));
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(v->at, VIEW_CLIENT_IN_TRANSACTION);
	bytes(c, QUERY);
	say(s, 'Z', SPAN("I"));
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 1);
	assert_int_equal(rows[0].server.at, VIEW_SERVER_USED);
	assert_int_equal(rows[0].server.port, PORT_OLD);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	bytes(c, QUERY);
	run.w.port.now_ns += 7 * MS;
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(v->at, VIEW_CLIENT_HELD);
	assert_string_equal(v->why, "a switch");
	assert_int_equal(look(VIEW_POOLS, 0, ROWS), 1);
	assert_int_equal(rows[0].pool.clients_waiting, 1);
	assert_int_equal(rows[0].pool.wait_ms, 7);
	end();
}

static void
a_pool_of_sessions(void **state)
{
	const struct view_pool *p = &rows[0].pool;
	int s, c;

	(void)state;
	begin();
	run.conf.pool_max = 4;
	c = opens(&s);
	bytes(c, BYE);
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 1);
	assert_int_equal(rows[0].server.at, VIEW_SERVER_RESETS);
	assert_int_equal(rows[0].server.client, 0);
	say(s, 'C', B("DISCARD ALL"));
	say(s, 'Z', SPAN("I"));
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 1);
	assert_int_equal(rows[0].server.at, VIEW_SERVER_IDLE);
	assert_string_equal(rows[0].server.user, "ann");
	assert_int_equal(look(VIEW_POOLS, 0, ROWS), 1);
	assert_int_equal(p->mode, VIEW_MODE_SESSION);
	assert_int_equal(p->size, 4);
	assert_int_equal(p->clients, 0);
	assert_int_equal(p->servers_idle, 1);
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 0);
	end();
}

/* The third client of two connections waits, from its login on. */
static void
a_pool_of_transactions(void **state)
{
	const struct view_pool *p = &rows[0].pool;
	int s[2], c[3];

	(void)state;
	begin();
	run.conf.pool = RELAY_POOL_TRANSACTION;
	run.conf.pool_max = 2;
	for (int i = 0; i < 2; i++) {
		static const struct span who[] = {
			WORD("\0\3\0\0user\0ann\0database\0app\0"
			     "application_name\0a\0\0"),
			WORD("\0\3\0\0user\0ann\0database\0app\0"
			     "application_name\0b\0\0"),
		};

		c[i] = comes();
		say(c[i], 0, who[i]);
		s[i] = dialed();
		up(s[i]);
		lets_in(s[i]);
		/* The first one is asked for the catalog. */
		if (i == 0)
			say(s[i], 'Z', SPAN("I"));
		bytes(c[i], QUERY);
	}
	c[2] = comes();
	starts(c[2]);
	run.w.port.now_ns += 3 * MS;
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 3);
	assert_string_equal(rows[1].client.application, "b");
	assert_int_equal(rows[1].client.at, VIEW_CLIENT_ACTIVE);
	assert_int_equal(rows[2].client.at, VIEW_CLIENT_WAITING);
	assert_false(rows[2].client.has_server);
	assert_int_equal(look(VIEW_POOLS, 0, ROWS), 1);
	assert_int_equal(p->mode, VIEW_MODE_TRANSACTION);
	assert_int_equal(p->clients, 3);
	assert_int_equal(p->clients_active, 2);
	assert_int_equal(p->clients_waiting, 1);
	assert_int_equal(p->servers_active, 2);
	assert_int_equal(p->wait_ms, 3);
	assert_int_equal(look(VIEW_SERVERS, 0, ROWS), 2);
	assert_int_equal(rows[0].server.client, 1);
	end();
}

/* Each once, by pages of three, also while some go. */
static void
pages(void **state)
{
	static const enum view_kind kinds[] = { VIEW_CLIENTS, VIEW_SERVERS };
	int s[10], c[10];

	(void)state;
	begin();
	for (int i = 0; i < 10; i++)
		c[i] = opens(&s[i]);
	for (int k = 0; k < 2; k++) {
		uint64_t after = 0;
		uint32_t seen = 0;

		do {
			uint32_t n = look(kinds[k], after, 3);

			for (uint32_t i = 0; i < n; i++) {
				uint64_t number =
					k == 0 ? rows[i].client.number
					       : rows[i].server.number;

				assert_true(number > after);
				after = number;
			}
			seen += n;
			/* One that was shown goes. */
			if (k == 0 && seen == 6)
				bytes(c[5], BYE);
		} while (view.has_more);
		assert_int_equal(seen, k == 0 ? 10 : 9);
	}
	assert_int_equal(look(VIEW_POOLS, 0, 1), 1);
	assert_false(view.has_more);
	assert_int_equal(look(VIEW_POOLS, 0, 0), 0);
	assert_true(view.has_more);
	end();
}

/* Names are cut; memory that is out makes rows fewer, and nothing else. */
static void
limits(void **state)
{
	char packet[200] = "\0\3\0\0user";
	int c;

	(void)state;
	begin();
	memset(packet + 9, 'x', 100);
	c = comes();
	say(c, 0, span_of(packet, 9 + 102));
	assert_int_equal(look(VIEW_CLIENTS, 0, ROWS), 1);
	assert_int_equal(strlen(rows[0].client.user), VIEW_NAME - 1);
	assert_int_equal(strlen(rows[0].client.database), VIEW_NAME - 1);
	run.heap.refuse_at = 1;
	assert_int_equal(look(VIEW_POOLS, 0, ROWS), 0);
	end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_of_a_client),
		cmocka_unit_test(a_pool_of_sessions),
		cmocka_unit_test(a_pool_of_transactions),
		cmocka_unit_test(pages),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
