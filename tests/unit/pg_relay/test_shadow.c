/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/pg_relay/test_shadow.c: reads that are asked on the other side as well:
 * what is the same, a difference, noise, or cannot be told. What each server says to
 * the question is a text of digits, one an answer; the last one stays.
 */
#include "scene.h"

#define READ  SPAN("Q\0\0\0\015SELECT 1\0")
#define LOOKS 400

/* What servers say, and in a snapshot. */
struct play {
	const char *says[SIDE_N];
	const char *snapshot;
	uint32_t asked[SIDE_N];
	int client;
	int server; /* the client's */
};

static struct play play;

static char
take(const char **says)
{
	char c = **says;

	if ((*says)[1] != '\0')
		(*says)++;
	return c;
}

static bool
holds(struct span s, const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i + n <= s.n; i++) {
		if (memcmp(s.p + i, text, n) == 0)
			return true;
	}
	return false;
}

static void
complete(int s, char state)
{
	char z[2] = { state, 0 };

	say(s, 'C', B("SELECT 1"));
	say(s, 'Z', span_of(z, 1));
}

/* One column, one row; '!' is an error. */
static void
answer(int s, char value, char state)
{
	uint8_t row[] = { 0, 1, 0, 0, 0, 1, (uint8_t)value };
	static const char fields[] =
		"\0\1?column?\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0";

	if (value == '!') {
		say(s, 'E', SPAN("SERROR\0C22012\0Mno\0\0"));
		say(s, 'Z', SPAN("I"));
		return;
	}
	say(s, 'T', B(fields));
	say(s, 'D', span_of(row, sizeof(row)));
	complete(s, state);
}

/* What Godwit itself asked on link s. */
static void
serve(int s, struct span q)
{
	enum side side = run.w.to[s] == PORT_OLD ? SIDE_OLD : SIDE_NEW;

	if (holds(q, "pg_current_wal_insert_lsn")) {
		say(s, 'D', SPAN("\0\1\0\0\0\0030/1"));
		complete(s, 'I');
	} else if (holds(q, "pg_export_snapshot")) {
		say(s, 'D', SPAN("\0\1\0\0\0\0031-1"));
		complete(s, 'T');
	} else if (holds(q, "TRANSACTION SNAPSHOT")) {
		complete(s, 'T');
		answer(s, take(&play.snapshot), 'T');
		complete(s, 'I');
	} else if (holds(q, "provolatile")) {
		say(s, 'D', SPAN("\0\3\0\0\0\1g\0\0\0\003now\0\0\0\0"));
		complete(s, 'I');
	} else if (holds(q, "SELECT session_user")) {
		say(s, 'D', SPAN("\0\2\0\0\0\3ann\0\0\0\2on"));
		complete(s, 'I');
	} else if (holds(q, "godwit_census")) {
		say(s, 'D', SPAN("\0\3\0\0\0\1u\0\0\0\3ann\0\0\0\0"));
		complete(s, 'I');
	} else if (holds(q, "SELECT 1")) {
		play.asked[side]++;
		answer(s, take(&play.says[side]), 'I');
	} else {
		complete(s, 'I');
	}
}

/* Every server says what it was asked; time passes. */
static void
turn(void)
{
	world_batch(&run.w);
	for (int i = 0; i < WORLD_LINKS; i++) {
		struct buf asked;

		if (!is_there(i) || run.w.client[i])
			continue;
		if (!run.w.links[i]->is_up) {
			up(i);
			buf_clear(&run.w.sent[i]);
			lets_in(i);
			continue;
		}
		if (buf_len(&run.w.sent[i]) == 0)
			continue;
		buf_init(&asked, &run.w.heap.mem);
		buf_put_span(&asked, buf_span(&run.w.sent[i]));
		buf_clear(&run.w.sent[i]);
		serve(i, buf_span(&asked));
		buf_fini(&asked);
	}
	world_pass_time(&run.w, MS);
}

static void
shadow(uint32_t ppm)
{
	struct mail m = { .kind = MAIL_ROUTE, .epoch = 1 };
	struct event ev = { .kind = EV_MAIL, .mail = &m };

	m.route = (struct route){ .authority = SIDE_OLD,
		                  .epoch = 1,
		                  .shadow = { .ppm = ppm,
		                              .inflight = 4,
		                              .bytes = 65536,
		                              .timeout_ms = 1000 } };
	world_tell(&run.w, &ev);
	world_batch(&run.w);
}

static uint64_t
verdicts(void)
{
	struct traffic *t = &run.traffic;
	uint64_t n = t->shadow_same + t->shadow_different + t->shadow_unstable +
	             t->shadow_noise;

	for (int i = 0; i < SHADOW_DROP_N; i++)
		n += i != SHADOW_DROP_DOWN ? t->shadow_dropped[i] : 0;
	return n;
}

/* One read that has its verdict behind it. */
static void
read_once(void)
{
	uint64_t was = verdicts();

	buf_clear(&run.w.sent[play.server]);
	bytes(play.client, READ);
	for (int i = 0; i < LOOKS && verdicts() == was; i++)
		turn();
	if (is_there(play.client))
		buf_clear(&run.w.sent[play.client]);
}

/* A session whose reads are mirrored, and were the same once. */
static void
warm(void)
{
	memset(&play, 0, sizeof(play));
	play.says[SIDE_OLD] = play.says[SIDE_NEW] = "1";
	play.snapshot = "1";
	begin();
	atomic_store(&run.board.passed[SIDE_OLD], UINT64_MAX / 2);
	play.client = opens(&play.server);
	shadow(1000000);
	for (int i = 0; i < 20; i++)
		turn();
	/* Of the first one it is not known yet what the session is. */
	bytes(play.client, READ);
	for (int i = 0; i < 20; i++)
		turn();
	read_once();
}

#define COUNTS(same, different, noise, unstable)                     \
	do {                                                         \
		struct traffic *t_ = &run.traffic;                   \
		assert_int_equal(t_->shadow_same, (same));           \
		assert_int_equal(t_->shadow_different, (different)); \
		assert_int_equal(t_->shadow_noise, (noise));         \
		assert_int_equal(t_->shadow_unstable, (unstable));   \
	} while (0)

static void
the_same(void **state)
{
	(void)state;
	warm();
	assert_int_equal(run.traffic.shadow_dropped[SHADOW_DROP_DOWN], 1);
	assert_int_equal(run.traffic.shadow_sent, 1);
	COUNTS(1, 0, 0, 0);
	/* Both fail alike. */
	play.says[SIDE_OLD] = play.says[SIDE_NEW] = "!1";
	read_once();
	COUNTS(2, 0, 0, 0);
	assert_int_equal(run.traffic.shadow_rechecked, 0);
	end();
}

static void
a_difference(void **state)
{
	(void)state;
	warm();
	play.asked[SIDE_NEW] = 0;
	play.says[SIDE_NEW] = "2";
	read_once();
	COUNTS(1, 1, 0, 0);
	assert_true(play.asked[SIDE_NEW] > 9);
	assert_int_equal(run.told.flag, 0);
	assert_non_null(
		strstr(run.told.text, " SELECT 1 | row 1 ?column?=1 | 2"));
	/* One fails: that is one, too. */
	play.says[SIDE_NEW] = "!";
	read_once();
	COUNTS(1, 2, 0, 0);
	end();
}

/* Late, or between two writes: what one side says the other one said as well. */
static void
none(void **state)
{
	(void)state;
	warm();
	play.says[SIDE_NEW] = "21";
	read_once();
	COUNTS(2, 0, 0, 0);
	play.says[SIDE_OLD] = "112";
	play.says[SIDE_NEW] = "2";
	read_once();
	COUNTS(3, 0, 0, 0);
	assert_int_equal(run.traffic.shadow_rechecked, 2);
	end();
}

static void
noise(void **state)
{
	(void)state;
	warm();
	play.says[SIDE_OLD] = "345673456734567345673456734567";
	play.says[SIDE_NEW] = "2";
	play.snapshot = "3434343434343434";
	read_once();
	COUNTS(1, 0, 1, 0);
	assert_int_equal(run.told.flag, 1);
	/* It is known from now on; but not of errors. */
	play.asked[SIDE_NEW] = 0;
	read_once();
	COUNTS(1, 0, 2, 0);
	assert_int_equal(play.asked[SIDE_NEW], 1);
	play.says[SIDE_NEW] = "!";
	read_once();
	COUNTS(1, 1, 2, 0);
	end();
}

/* Written to all the time: in one snapshot it says the same. */
static void
unstable(void **state)
{
	(void)state;
	warm();
	play.says[SIDE_OLD] = "345673456734567345673456734567";
	play.says[SIDE_NEW] = "2";
	read_once();
	COUNTS(1, 0, 0, 1);
	end();
}

/* The other side is not there yet: nothing is said, and it is dropped in time. */
static void
late(void **state)
{
	(void)state;
	warm();
	play.says[SIDE_NEW] = "2";
	atomic_store(&run.board.passed[SIDE_OLD], 0);
	buf_clear(&run.w.sent[play.server]);
	bytes(play.client, READ);
	for (int i = 0; i < 20; i++)
		turn();
	COUNTS(1, 0, 0, 0);
	assert_int_equal(run.traffic.shadow_sent, 2);
	world_pass_time(&run.w, 2000 * MS);
	turn();
	assert_int_equal(run.traffic.shadow_dropped[SHADOW_DROP_TIMEOUT], 1);
	end();
}

/* A hold ends all of it; the client goes on, and so does it behind a switch back. */
static void
a_hold(void **state)
{
	(void)state;
	warm();
	play.says[SIDE_NEW] = "2";
	buf_clear(&run.w.sent[play.server]);
	bytes(play.client, READ);
	for (int i = 0; i < 6; i++)
		turn();
	tell_mail(MAIL_HOLD, SIDE_OLD);
	for (int i = 0; i < 6; i++)
		turn();
	assert_int_equal(run.drained, 1);
	assert_int_equal(run.traffic.shadow_dropped[SHADOW_DROP_SWITCH], 1);
	for (int i = 0; i < WORLD_LINKS; i++)
		assert_true(!is_there(i) || i == play.client ||
		            i == play.server || run.w.to[i] == PORT_OLD);
	end();
}

/* It leaves, and the other side, in the middle. */
static void
they_leave(void **state)
{
	(void)state;
	warm();
	buf_clear(&run.w.sent[play.server]);
	bytes(play.client, READ);
	world_batch(&run.w);
	world_down(&run.w, play.client);
	for (int i = 0; i < 20; i++)
		turn();
	COUNTS(1, 0, 0, 0);
	end();
	warm();
	play.says[SIDE_NEW] = "2";
	buf_clear(&run.w.sent[play.server]);
	bytes(play.client, READ);
	for (int i = 0; i < 6; i++)
		turn();
	for (int i = 0; i < WORLD_LINKS; i++) {
		if (is_there(i) && run.w.to[i] == PORT_NEW)
			world_down(&run.w, i);
	}
	for (int i = 0; i < LOOKS; i++)
		turn();
	COUNTS(1, 0, 0, 0);
	end();
}

/* Each allocation is refused in its turn: nothing breaks, nothing stays. */
static void
no_memory(void **state)
{
	(void)state;
	for (size_t at = 1; at < 300; at++) {
		warm();
		play.says[SIDE_OLD] = "345673456734567345673456734567";
		play.says[SIDE_NEW] = "2";
		play.snapshot = "3434343434343434";
		run.heap.refuse_at = at;
		if (is_there(play.client) && is_there(play.server))
			buf_clear(&run.w.sent[play.server]);
		bytes(play.client, READ);
		for (int i = 0; i < 40; i++)
			turn();
		end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same),  cmocka_unit_test(a_difference),
		cmocka_unit_test(none),      cmocka_unit_test(noise),
		cmocka_unit_test(unstable),  cmocka_unit_test(late),
		cmocka_unit_test(a_hold),    cmocka_unit_test(they_leave),
		cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
