/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch of several legs: all or none, whoever comes last.
 */
#define _DEFAULT_SOURCE
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/group.h"
#include "file.h"
#include "world/os/loop.h"

#define N 3

static char dir[] = "/tmp/godwit-group-XXXXXX";
static char path[64];
static struct journal *j[N];
static struct group_offer offer[N];
static int fd;

/* N legs, each frozen towards new. */
static int
set_up(void **state)
{
	(void)state;
	file_forget(path);
	fd = eventfd(0, EFD_NONBLOCK);
	for (int i = 0; i < N; i++) {
		struct err err;
		struct authority a;
		struct authority to;
		char leg[16];

		(void)snprintf(leg, sizeof(leg), "m/%d", i);
		j[i] = journal_open_leg(path, leg, &err);
		assert_non_null(j[i]);
		a = journal_authority(j[i]);
		to = authority_freeze(&a);
		assert_int_equal(
			journal_move(j[i], JOURNAL_FREEZE, &a, &to, NULL, &err),
			0);
		to = authority_commit(&to);
		offer[i] = (struct group_offer){ .until_ns = UINT64_MAX,
			                         .wake_fd = fd };
		journal_flip_of(j[i], &to, &offer[i].flip);
		offer[i].body = json_pack("{s:i}", "leg", i);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < N; i++) {
		journal_close(j[i]);
		json_decref(offer[i].body);
	}
	(void)close(fd);
	return 0;
}

static enum authority_state
on_disk(int i)
{
	struct err err;

	assert_int_equal(journal_reread(j[i], &err), 0);
	return journal_authority(j[i]).state;
}

static bool
was_woken(void)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) && n == N;
}

static void
the_last_one_commits_all(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);
	uint64_t before = journal_count(j[2]);

	(void)state;
	assert_int_equal(group_put(g, 0, &offer[0], j[0], &err), GROUP_OPEN);
	assert_int_equal(group_put(g, 1, &offer[1], j[1], &err), GROUP_OPEN);
	/* The same again is no other one. */
	assert_int_equal(group_put(g, 1, &offer[1], j[1], &err), GROUP_OPEN);
	assert_int_equal(group_look(g, &err), GROUP_OPEN);
	assert_int_equal(on_disk(0), AUTHORITY_FREEZE);
	assert_int_equal(group_put(g, 2, &offer[2], j[2], &err),
	                 GROUP_COMMITTED);
	for (int i = 0; i < N; i++)
		assert_int_equal(on_disk(i), AUTHORITY_NEW);
	assert_int_equal(journal_count(j[2]), before + 1);
	assert_true(was_woken());
	/* Too late. */
	assert_int_equal(group_break(g, "late"), GROUP_COMMITTED);
	assert_int_equal(group_look(g, &err), GROUP_COMMITTED);
	group_free(g);
}

static void
one_that_turns_back_breaks_it(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);

	(void)state;
	assert_int_equal(group_put(g, 0, &offer[0], j[0], &err), GROUP_OPEN);
	assert_int_equal(group_break(g, "its fence failed"), GROUP_BROKEN);
	assert_int_equal(group_look(g, &err), GROUP_BROKEN);
	assert_non_null(strstr(err.text, "its fence failed"));
	assert_int_equal(group_put(g, 1, &offer[1], j[1], &err), GROUP_BROKEN);
	assert_int_equal(group_put(g, 2, &offer[2], j[2], &err), GROUP_BROKEN);
	for (int i = 0; i < N; i++)
		assert_int_equal(on_disk(i), AUTHORITY_FREEZE);
	group_free(g);
}

static void
no_commit_after_a_hold_is_over(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);

	(void)state;
	offer[0].until_ns = os_mono_ns() - 1;
	assert_int_equal(group_put(g, 0, &offer[0], j[0], &err), GROUP_OPEN);
	assert_int_equal(group_put(g, 1, &offer[1], j[1], &err), GROUP_OPEN);
	assert_int_equal(group_put(g, 2, &offer[2], j[2], &err), GROUP_BROKEN);
	assert_int_equal(on_disk(2), AUTHORITY_FREEZE);
	group_free(g);
}

/* Somebody else moved one of the records: none moves. */
static void
one_that_was_moved_stops_all(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);
	struct authority a = journal_authority(j[1]);
	struct authority to = authority_abort(&a);

	(void)state;
	assert_int_equal(journal_move(j[1], JOURNAL_ABORT, &a, &to, NULL, &err),
	                 0);
	for (uint32_t i = 0; i + 1 < N; i++)
		assert_int_equal(group_put(g, i, &offer[i], j[i], &err),
		                 GROUP_OPEN);
	assert_int_equal(group_put(g, 2, &offer[2], j[2], &err), GROUP_BROKEN);
	assert_int_equal(on_disk(0), AUTHORITY_FREEZE);
	assert_int_equal(on_disk(1), AUTHORITY_OLD);
	assert_int_equal(on_disk(2), AUTHORITY_FREEZE);
	group_free(g);
}

static uint64_t
woken(int wake)
{
	uint64_t n = 0;

	return read(wake, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

/* Nobody fences before all are held. */
static void
all_are_held_before_one_fences(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);
	int wake[N];

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		wake[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(wake[i] >= 0);
	}
	for (uint32_t i = 0; i + 1 < N; i++) {
		assert_int_equal(group_enter(g, i, wake[i], &err), 1);
		assert_int_equal(group_enter(g, i, wake[i], &err), 1);
		assert_int_equal(woken(wake[i]), 0);
	}
	assert_int_equal(group_enter(g, N - 1, wake[N - 1], &err), 0);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(woken(wake[i]), 1);
		assert_int_equal(group_enter(g, i, wake[i], &err), 0);
		(void)close(wake[i]);
	}
	group_free(g);
}

/* Nobody opens while another one may still fence. */
static void
none_fences_when_one_opens(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)state;
	assert_true(wake >= 0);
	assert_int_equal(group_enter(g, 0, wake, &err), 1);
	assert_int_equal(group_enter(g, 1, wake, &err), 1);
	assert_int_equal(group_break(g, "it took too long"), GROUP_BROKEN);
	assert_int_equal(woken(wake), 2);
	/* Who comes late does not come in. */
	assert_int_equal(group_enter(g, 2, wake, &err), -ERR_POSTPONED);
	assert_non_null(strstr(err.text, "it took too long"));
	assert_false(group_leave(g, 0));
	assert_false(group_leave(g, 0));
	assert_false(group_leave(g, 2));
	assert_true(group_leave(g, 1));
	assert_true(group_leave(g, 0));
	(void)close(wake);
	group_free(g);
}

/* A number says something on its own server only. */
static void
who_is_quiet_is_told_by_server(void **state)
{
	struct err err;
	struct group *g = group_new(N, &err);
	const uint32_t some[] = { 7, 8 };
	const uint32_t others[] = { 9, 4294967295u };
	struct url a;
	struct url b;
	struct url elsewhere;
	char *list;

	(void)state;
	assert_int_equal(url_parse("postgres://h:1/app", &a, &err), 0);
	assert_int_equal(url_parse("postgres://h:1/second", &b, &err), 0);
	assert_int_equal(url_parse("postgres://h:2/app", &elsewhere, &err), 0);
	list = group_left(g, &a);
	assert_string_equal(list, "");
	free(list);
	assert_int_equal(group_let_be(g, 0, &a, some, 2, &err), 0);
	assert_int_equal(group_let_be(g, 1, &b, others, 1, &err), 0);
	assert_int_equal(group_let_be(g, 1, &b, others + 1, 1, &err), 0);
	assert_int_equal(group_let_be(g, 1, &b, NULL, 0, &err), 0);
	assert_int_equal(group_let_be(g, 2, &elsewhere, some, 2, &err), 0);
	list = group_left(g, &b);
	assert_string_equal(list, "7,8,9,4294967295,");
	free(list);
	list = group_left(g, &elsewhere);
	assert_string_equal(list, "7,8,");
	free(list);
	group_free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_last_one_commits_all,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_turns_back_breaks_it,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_commit_after_a_hold_is_over,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_was_moved_stops_all,
		                                set_up, tear_down),
		cmocka_unit_test(all_are_held_before_one_fences),
		cmocka_unit_test(none_fences_when_one_opens),
		cmocka_unit_test(who_is_quiet_is_told_by_server),
	};
	int rc;

	if (mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/state.db", dir);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	file_forget(path);
	(void)rmdir(dir);
	return rc;
}
