/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_sleeper.c: a client that does nothing is not kept as a
 * session, and who wakes is who fell asleep.
 */
#include "engine/postgres/relay/inside.h"
#include "engine/view.h"
#include "turns.h"

static struct pg_relay *
relay(void)
{
	return run.w.self;
}

/* Time goes by, and nobody says anything. */
static void
nothing_happens(void)
{
	for (int i = 0; i < 20; i++) {
		run.w.port.now_ns += 11 * MS;
		world_batch(&run.w);
	}
}

static size_t
awake(void)
{
	return relay()->sessions.n;
}

/* It is given a server, is asked nothing else, and hears its answer. */
static void
reads_one(int c, int s)
{
	bytes(c, READ);
	assert_string_equal(types(s), "Q");
	answers(s, "TCZ");
	assert_string_equal(types(c), "TCZ");
}

static void
asleep_and_awake(void **state)
{
	struct pg_sleeper *x;
	uint64_t number, began;
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	reads_one(c, s);
	reads_one(d, s);
	assert_int_equal(awake(), 2);
	nothing_happens();
	assert_int_equal(awake(), 0);
	assert_int_equal(relay()->clients.n, 2);
	assert_int_equal(atomic_load(&run.traffic.clients), 2);
	x = (void *)relay()->clients.first;
	assert_int_equal(x->c.owner, OWNER_SLEEPER);
	assert_int_equal(x->requests, 1);
	/* What they know is the same. */
	assert_ptr_equal(
		x->alike,
		((struct pg_sleeper *)(void *)relay()->clients.last)->alike);
	assert_null(x->rest);
	number = x->c.number;
	began = x->began_ns;
	reads_one(d, s);
	reads_one(c, s);
	assert_int_equal(awake(), 2);
	/* They are in the order in which they came, and count on. */
	assert_int_equal(relay()->clients.first->number, number);
	assert_int_equal(
		((struct pg_session *)(void *)relay()->clients.first)->requests,
		2);
	assert_int_equal(
		((struct pg_session *)(void *)relay()->clients.first)->began_ns,
		began);
	nothing_happens();
	assert_int_equal(awake(), 0);
	/* Who goes while he sleeps, with or without a word. */
	bytes(c, BYE);
	world_batch(&run.w);
	assert_false(is_there(c));
	world_down(&run.w, d);
	world_batch(&run.w);
	assert_int_equal(relay()->clients.n, 0);
	assert_int_equal(relay()->keys.n, 0);
	end();
}

/* Who has a server, or half a message, is awake. */
static void
not_everybody(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_query(c, "BEGIN");
	answers(s, "Cz");
	bytes(d, SPAN("Q\0\0"));
	nothing_happens();
	assert_int_equal(awake(), 2);
	say_query(c, "COMMIT");
	answers(s, "CZ");
	bytes(d, SPAN("\0\015SELECT 1\0"));
	(void)types(s);
	answers(s, "TCZ");
	nothing_happens();
	assert_int_equal(awake(), 0);
	end();
}

/* A field that a sleeper knows nothing of keeps a session awake, until it says
 * something; then it is looked at again. */
static void
what_is_not_kept(void **state)
{
	struct pg_session *x;
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	reads_one(c, s);
	x = (void *)relay()->clients.first;
	x->ack.is_doubtful = true;
	nothing_happens();
	assert_int_equal(awake(), 1);
	assert_ptr_equal(relay()->clients.first, &x->c);
	x->ack.is_doubtful = false;
	nothing_happens();
	assert_int_equal(awake(), 1);
	reads_one(c, s);
	nothing_happens();
	assert_int_equal(awake(), 0);
	end();
}

/* Two who know the same. One wakes, and is told of another value: the other one still
 * knows the old one, and hears of the new one when it meets it. */
static void
parameters_are_shared(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	reads_one(c, s);
	nothing_happens();
	assert_int_equal(awake(), 0);
	bytes(c, READ);
	say(s, 'S', B("TimeZone\0CET"));
	answers(s, "TCZ");
	assert_string_equal(types(c), "STCZ");
	nothing_happens();
	assert_int_equal(awake(), 0);
	assert_ptr_not_equal(
		((struct pg_sleeper *)(void *)relay()->clients.first)->alike,
		((struct pg_sleeper *)(void *)relay()->clients.last)->alike);
	(void)types(s);
	bytes(d, READ);
	assert_string_equal(types(s), "Q");
	answers(s, "TCZ");
	assert_string_equal(types(d), "STCZ");
	nothing_happens();
	reads_one(c, s);
	nothing_happens();
	assert_int_equal(awake(), 0);
	reads_one(d, s);
	end();
}

/* What it set goes with it, and is made again on the server that it gets. */
static void
what_it_set(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	bytes(c, WILD);
	assert_string_equal(types(s), "Q");
	answers(s, "CZ");
	/* Somebody else wants the server. */
	bytes(d, READ);
	assert_string_equal(types(s), "Q");
	say(s, 'T', SPAN("\0\0"));
	say(s, 'D', SPAN("\0\3\0\0\0\1s\0\0\0\3a.b\0\0\0\0011"));
	say(s, 'C', B("SELECT 1"));
	say(s, 'Z', SPAN("I"));
	world_batch(&run.w);
	/* It is undone for the other one. */
	assert_true(has_sent(s, SPAN("RESET ALL")));
	(void)types(s);
	answers(s, "CZ");
	assert_string_equal(types(s), "Q");
	answers(s, "TCZ");
	nothing_happens();
	assert_int_equal(awake(), 0);
	assert_non_null(
		((struct pg_sleeper *)(void *)relay()->clients.first)->rest);
	bytes(c, READ);
	assert_true(has_sent(s, SPAN("a.b")));
	end();
}

/* Statements of the protocol, with a name and without. */
static void
statements(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	say_parse(c, "n", "SELECT 7");
	say_sync(c);
	(void)types(s);
	answers(s, "1Z");
	say_parse(c, "", "SELECT 8");
	say_sync(c);
	(void)types(s);
	answers(s, "1Z");
	(void)types(c);
	nothing_happens();
	assert_int_equal(awake(), 0);
	reads_one(d, s);
	say_bind(c, "");
	say_execute(c);
	say_sync(c);
	/* The other one's query has made an end of it on that server. */
	assert_true(has_sent(s, SPAN("SELECT 8")));
	(void)types(s);
	answers(s, "12CZ");
	assert_string_equal(types(c), "2CZ");
	nothing_happens();
	assert_int_equal(awake(), 0);
	say_bind(c, "n");
	say_execute(c);
	say_sync(c);
	assert_string_equal(types(s), "BES");
	answers(s, "2CZ");
	assert_string_equal(types(c), "2CZ");
	end();
}

static union view_row rows[8];
static struct view view;

static void
look(enum view_kind kind)
{
	struct view_ask ask = { .kind = kind, .into = &view };
	struct mail m = { .kind = MAIL_VIEW, .pair = &ask };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	view = (struct view){ .row = rows, .max = 8 };
	world_tell(&run.w, &ev);
}

/* An operator sees them as if they were awake. */
static void
is_seen(void **state)
{
	union view_row were[8];
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	reads_one(c, s);
	reads_one(d, s);
	look(VIEW_CLIENTS);
	assert_int_equal(view.n, 2);
	memcpy(were, rows, sizeof(were));
	nothing_happens();
	assert_int_equal(awake(), 0);
	look(VIEW_CLIENTS);
	assert_int_equal(view.n, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(rows[i].client.quiet_ms, 220);
		were[i].client.quiet_ms = rows[i].client.quiet_ms;
		were[i].client.age_ms = rows[i].client.age_ms;
		/* It is nobody's, once it is given back. */
		were[i].client.side = rows[i].client.side;
		assert_memory_equal(&were[i].client, &rows[i].client,
		                    sizeof(rows[i].client));
	}
	look(VIEW_POOLS);
	assert_int_equal(rows[0].pool.clients, 2);
	/* Looking wakes nobody. */
	assert_int_equal(awake(), 0);
	/* Nobody has asked for anything: there is nothing to cancel. */
	for (struct pg_client *x = relay()->clients.first; x != NULL;
	     x = x->all.next) {
		uint8_t secret[4];
		struct pg_key key = { .process = x->process,
			              .secret = span_of(secret, 4) };

		pg_set_u32(secret, x->secret);
		pg_cancel_take(relay(), &key);
	}
	assert_int_equal(relay()->cancels.n, 0);
	assert_int_equal(awake(), 0);
	end();
}

static void
the_end(void **state)
{
	int s, c, d;

	(void)state;
	begin_turns(1);
	c = first(&s);
	d = another();
	nothing_happens();
	assert_int_equal(awake(), 0);
	tell_mail(MAIL_STOP, SIDE_OLD);
	assert_false(is_there(c));
	assert_false(is_there(d));
	assert_int_equal(relay()->clients.n, 0);
	end();
}

/* A switch passes over them: who wakes asks the side that has authority. */
static void
over_a_switch(void **state)
{
	int s, c;

	(void)state;
	begin_turns(1);
	c = first(&s);
	nothing_happens();
	assert_int_equal(awake(), 0);
	tell_mail(MAIL_HOLD, SIDE_OLD);
	assert_int_equal(run.drained, 1);
	tell_mail(MAIL_RELEASE, SIDE_NEW);
	assert_int_equal(dialed(), -1);
	bytes(c, READ);
	world_batch(&run.w);
	s = opens_one();
	assert_int_equal(run.w.links[s]->is_up, true);
	assert_string_equal(types(s), "Q");
	end();
}

/* Answers whether something was refused. */
static bool
live(size_t refuse_at)
{
	int s, c, d;
	bool refused;

	begin_turns(2);
	c = first(&s);
	d = another();
	say_parse(c, "n", "SELECT 7");
	say_sync(c);
	(void)types(s);
	answers(s, "1Z");
	run.heap.refuse_at = refuse_at;
	nothing_happens();
	bytes(c, READ);
	world_batch(&run.w);
	if (is_there(s))
		answers(s, "TCZ");
	nothing_happens();
	bytes(d, READ);
	world_batch(&run.w);
	refused = run.heap.refuse_at == 0;
	end();
	return refused;
}

static void
each_allocation_refused(void **state)
{
	size_t n = 1;

	(void)state;
	while (live(n))
		n++;
	assert_true(n > 8);
}

/* A thousand keys, of which every third goes. */
static void
keys(void **state)
{
	static struct pg_client all[1000];
	struct heap h = heap_make();
	struct pg_keys k = { .n = 0 };

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		all[i].process = i / 4 * 7919;
		all[i].secret = i;
		assert_true(pg_keys_put(&k, &h.mem, &all[i]));
	}
	assert_int_equal(k.n, 1000);
	assert_true(h.mem.used <= 8 * 512);
	for (uint32_t i = 0; i < 1000; i += 3)
		pg_keys_drop(&k, &all[i]);
	/* Who is not there any more may go once more. */
	pg_keys_drop(&k, &all[0]);
	for (uint32_t i = 0; i < 1000; i++)
		assert_ptr_equal(pg_keys_find(&k, i / 4 * 7919, i),
		                 i % 3 == 0 ? NULL : &all[i]);
	assert_int_equal(k.n, 666);
	pg_keys_fini(&k, &h.mem);
	assert_int_equal(h.mem.used, 0);
	h.refuse_at = 1;
	assert_false(pg_keys_put(&k, &h.mem, &all[0]));
	assert_null(pg_keys_find(&k, 0, 0));
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(asleep_and_awake),
		cmocka_unit_test(not_everybody),
		cmocka_unit_test(what_is_not_kept),
		cmocka_unit_test(parameters_are_shared),
		cmocka_unit_test(what_it_set),
		cmocka_unit_test(statements),
		cmocka_unit_test(is_seen),
		cmocka_unit_test(the_end),
		cmocka_unit_test(over_a_switch),
		cmocka_unit_test(each_allocation_refused),
		cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
