/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_journal.c: what is durable, and who may write.
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

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/journal.h"
#include "file.h"

static char dir[] = "/tmp/godwit-journal-XXXXXX";
static char path[64];

/* The library's own calls come here: a disk that takes bytes and cannot say that
 * they are safe. */
static bool sync_fails;

int
fdatasync(int fd)
{
	(void)fd;
	if (!sync_fails)
		return 0;
	errno = EIO;
	return -1;
}

int
fsync(int fd)
{
	return fdatasync(fd);
}

static int
set_up(void **state)
{
	(void)state;
	file_forget(path);
	return 0;
}

static void
begins_with_old(void **state)
{
	struct err err;
	struct stat st;
	struct journal *j = journal_open(path, &err);
	struct authority a;

	(void)state;
	assert_non_null(j);
	assert_true(journal_is_new(j));
	a = journal_authority(j);
	assert_int_equal(a.epoch, 1);
	assert_int_equal(a.state, AUTHORITY_OLD);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	journal_close(j);
}

static void
records_come_back(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	struct authority a;
	struct authority to;
	char history[48];
	uint64_t position = 0;
	json_t *body;
	char *v;

	(void)state;
	assert_int_equal(journal_add(j, JOURNAL_SHARE,
	                             json_pack("{s:i}", "ppm", 5), &err),
	                 0);
	assert_int_equal(journal_add(j, JOURNAL_SHARE,
	                             json_pack("{s:i}", "ppm", 25), &err),
	                 0);
	assert_int_equal(journal_set_meta(j, "id", "x'\"; DROP", &err), 0);
	journal_stage_progress(j, POINT_NEW, "abc:0", 42);
	a = journal_authority(j);
	to = authority_freeze(&a);
	assert_int_equal(journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err),
	                 0);
	journal_close(j);

	j = journal_open(path, &err);
	assert_non_null(j);
	assert_false(journal_is_new(j));
	assert_int_equal(journal_count(j), 3);
	a = journal_authority(j);
	assert_int_equal(a.epoch, 2);
	assert_int_equal(a.state, AUTHORITY_FREEZE);
	assert_int_equal(journal_last(j, JOURNAL_SHARE, NULL, &body, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(body, "ppm")), 25);
	json_decref(body);
	assert_int_equal(journal_last(j, JOURNAL_COMMIT, NULL, &body, &err), 0);
	assert_null(body);
	v = journal_meta(j, "id");
	assert_string_equal(v, "x'\"; DROP");
	free(v);
	assert_true(journal_progress(j, POINT_NEW, history, sizeof(history),
	                             &position));
	assert_string_equal(history, "abc:0");
	assert_int_equal(position, 42);
	assert_false(journal_progress(j, POINT_OLD, history, sizeof(history),
	                              &position));
	journal_close(j);
}

static void
authority_is_compared(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	struct authority a = journal_authority(j);
	struct authority stale = a;
	struct authority to = authority_freeze(&a);

	(void)state;
	assert_int_equal(journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err),
	                 0);
	/* What somebody remembers does not count. */
	assert_int_equal(
		journal_move(j, JOURNAL_FREEZE, &stale, &to, NULL, &err),
		-ERR_STATE);
	/* Nor a step that is not drawn. */
	a = journal_authority(j);
	to = (struct authority){ .epoch = a.epoch + 2, .state = AUTHORITY_NEW };
	assert_int_equal(journal_move(j, JOURNAL_COMMIT, &a, &to, NULL, &err),
	                 -ERR_STATE);
	assert_int_equal(journal_count(j), 1);
	assert_int_equal(journal_authority(j).state, AUTHORITY_FREEZE);
	journal_close(j);
}

static void
one_process_at_a_time(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	pid_t pid;
	int status;

	(void)state;
	assert_non_null(j);
	pid = fork();
	if (pid == 0) {
		struct journal *other = journal_open(path, &err);
		char want[32];

		(void)snprintf(want, sizeof(want), "process %ld;",
		               (long)getppid());
		_exit(other == NULL && err.code == ERR_EXISTS &&
		                      strstr(err.text, want) != NULL
		              ? 0
		              : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	journal_close(j);
	j = journal_open(path, &err);
	assert_non_null(j);
	journal_close(j);
}

/* A child that adds three records and dies where it is told. Answers how many
 * are there afterwards. */
static uint64_t
crash(const char *at)
{
	struct err err;
	struct journal *j;
	uint64_t n;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)setenv("GODWIT_CRASH_AT", at, 1);
		j = journal_open(path, &err);
		for (int i = 0; j != NULL && i < 3; i++) {
			if (journal_add(j, JOURNAL_SHARE, NULL, &err) != 0)
				_exit(2);
		}
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	j = journal_open(path, &err);
	assert_non_null(j);
	n = journal_count(j);
	journal_close(j);
	return n;
}

static void
crash_hook(void **state)
{
	(void)state;
	assert_int_equal(crash("1:before"), 0);
	file_forget(path);
	assert_int_equal(crash("1:after"), 1);
	file_forget(path);
	assert_int_equal(crash("2"), 2);
	file_forget(path);
	assert_int_equal(crash("3:before"), 2);
}

/* No room: the decision is not taken, and later ones are. */
static void
full_disk(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	struct authority a = journal_authority(j);
	struct authority to = authority_freeze(&a);
	struct rlimit before;
	struct rlimit tight;
	struct stat st;
	char wal[96];
	uint64_t n;
	int rc = 0;

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_int_equal(journal_add(j, JOURNAL_SHARE, NULL, &err), 0);
	n = journal_count(j);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)st.st_size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	rc = journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(rc, -ERR_IO);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(journal_authority(j).state, AUTHORITY_OLD);
	assert_int_equal(journal_count(j), n);
	assert_int_equal(journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err),
	                 0);
	journal_close(j);
	j = journal_open(path, &err);
	assert_int_equal(journal_authority(j).state, AUTHORITY_FREEZE);
	assert_int_equal(journal_count(j), n + 1);
	journal_close(j);
}

static void
not_a_state_file(void **state)
{
	struct err err;
	FILE *f = fopen(path, "w");

	(void)state;
	assert_non_null(f);
	(void)fputs("this is no database, and long enough to be read as one; "
	            "this is no database, and long enough to be read as one",
	            f);
	(void)fclose(f);
	assert_null(journal_open(path, &err));
	assert_int_equal(err.code, ERR_BAD);
	(void)snprintf(path + strlen(path), 8, ".no");
	assert_null(journal_peek(path, &err));
	assert_int_equal(err.code, ERR_MISSING);
	path[strlen(path) - 3] = '\0';
}

/* What a crash would leave: the files as they are now, under another name. */
static void
take_image(const char *to)
{
	static const char *const ends[] = { "", "-wal" };

	for (size_t i = 0; i < 2; i++) {
		char from[96];
		char name[96];
		char block[4096];
		FILE *in;
		FILE *out;
		size_t n;

		(void)snprintf(from, sizeof(from), "%s%s", path, ends[i]);
		(void)snprintf(name, sizeof(name), "%s%s", to, ends[i]);
		in = fopen(from, "rb");
		out = fopen(name, "wb");
		assert_non_null(in);
		assert_non_null(out);
		while ((n = fread(block, 1, sizeof(block), in)) > 0)
			assert_int_equal(fwrite(block, 1, n, out), n);
		(void)fclose(in);
		(void)fclose(out);
	}
}

/* A commit that was answered with an error can come to light after a crash. Until
 * something else is durable the journal says that it does not know. */
static void
unsure_until_written(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	struct authority a = journal_authority(j);
	struct authority to = authority_freeze(&a);
	char image[80];

	(void)state;
	assert_int_equal(journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err),
	                 0);
	assert_false(journal_is_unsure(j));
	a = to;
	to = authority_commit(&a);
	sync_fails = true;
	assert_true(journal_move(j, JOURNAL_COMMIT, &a, &to, NULL, &err) < 0);
	assert_true(journal_is_unsure(j));
	assert_int_equal(journal_authority(j).state, AUTHORITY_FREEZE);
	(void)snprintf(image, sizeof(image), "%s.image", path);
	take_image(image);
	sync_fails = false;
	{
		struct journal *after = journal_open(image, &err);

		/* The reason for it all. */
		assert_non_null(after);
		assert_int_equal(journal_authority(after).state, AUTHORITY_NEW);
		journal_close(after);
	}
	assert_int_equal(journal_move(j, JOURNAL_COMMIT, &a, &to, NULL, &err),
	                 0);
	assert_false(journal_is_unsure(j));
	assert_int_equal(journal_authority(j).state, AUTHORITY_NEW);
	journal_close(j);
	(void)unlink(image);
}

/* Positions are forgotten together with a record, or not at all. */
static void
forgets_with_a_record(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	char history[64];
	uint64_t at = 0;

	(void)state;
	assert_int_equal(journal_set_progress(j, POINT_OLD, "h:0", 7, &err), 0);
	journal_stage_forget(j);
	journal_unstage(j);
	assert_int_equal(journal_add(j, JOURNAL_UNFENCE, NULL, &err), 0);
	assert_true(
		journal_progress(j, POINT_OLD, history, sizeof(history), &at));
	journal_stage_forget(j);
	assert_true(
		journal_progress(j, POINT_OLD, history, sizeof(history), &at));
	assert_int_equal(journal_add(j, JOURNAL_UNFENCE, NULL, &err), 0);
	assert_false(
		journal_progress(j, POINT_OLD, history, sizeof(history), &at));
	assert_int_equal(journal_set_progress(j, POINT_OLD, "h:0", 9, &err), 0);
	assert_int_equal(journal_add(j, JOURNAL_UNFENCE, NULL, &err), 0);
	assert_true(
		journal_progress(j, POINT_OLD, history, sizeof(history), &at));
	journal_close(j);
}

/* Somebody does something to the file. */
static void
hurt(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* "There was none" and "it cannot be read" are two answers. */
static void
unreadable_is_not_none(void **state)
{
	struct err err = { .code = ERR_NONE };
	struct journal *j = journal_open(path, &err);
	json_t *body;

	(void)state;
	assert_non_null(j);
	assert_int_equal(journal_add(j, JOURNAL_SHARE,
	                             json_pack("{s:i}", "ppm", 5), &err),
	                 0);
	assert_int_equal(journal_last(j, JOURNAL_STATE, NULL, &body, &err), 0);
	assert_null(body);
	hurt("UPDATE journal SET body='{\"ppm'");
	assert_int_equal(journal_last(j, JOURNAL_SHARE, NULL, &body, &err),
	                 -ERR_BAD);
	assert_null(body);
	assert_non_null(strstr(err.text, path));
	hurt("DROP TABLE journal");
	assert_int_equal(journal_last(j, JOURNAL_SHARE, NULL, &body, &err),
	                 -ERR_IO);
	assert_null(body);
	assert_non_null(strstr(err.text, path));
	journal_close(j);
}

/* Several legs in one file: each sees its own, and a group flips at once. */
static void
legs_of_one_file(void **state)
{
	struct err err;
	struct journal *a = journal_open_leg(path, "m1/0", &err);
	struct journal *b = journal_open_leg(path, "m1/1", &err);
	struct journal_flip flips[2];
	struct authority r;
	struct authority to;
	char *v;

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(journal_add(a, JOURNAL_CREATED, NULL, &err), 0);
	assert_int_equal(journal_set_meta(a, "id", "x", &err), 0);
	assert_int_equal(journal_count(b), 0);
	v = journal_meta(b, "id");
	assert_null(v);
	r = journal_authority(a);
	to = authority_freeze(&r);
	assert_int_equal(journal_move(a, JOURNAL_FREEZE, &r, &to, NULL, &err),
	                 0);
	to = authority_commit(&to);
	journal_stage_progress(a, POINT_NEW, "h:0", 5);
	journal_flip_of(a, &to, &flips[0]);
	/* b is not frozen: nothing moves, not even a. */
	r = journal_authority(b);
	to = authority_freeze(&r);
	flips[1] = (struct journal_flip){ .expect = to,
		                          .to = authority_commit(&to) };
	(void)snprintf(flips[1].leg, sizeof(flips[1].leg), "m1/1");
	assert_true(journal_move_all(a, JOURNAL_COMMIT, flips, 2, false, NULL,
	                             &err) < 0);
	assert_int_equal(journal_reread(a, &err), 0);
	assert_int_equal(journal_authority(a).state, AUTHORITY_FREEZE);
	assert_int_equal(journal_move(b, JOURNAL_FREEZE, &r, &to, NULL, &err),
	                 0);
	assert_int_equal(journal_move_all(a, JOURNAL_COMMIT, flips, 2, false,
	                                  NULL, &err),
	                 0);
	assert_int_equal(journal_reread(a, &err), 0);
	assert_int_equal(journal_reread(b, &err), 0);
	assert_int_equal(journal_authority(a).state, AUTHORITY_NEW);
	assert_int_equal(journal_authority(b).state, AUTHORITY_NEW);
	assert_int_equal(journal_count(a), 3);
	assert_int_equal(journal_drop(b, &err), 0);
	journal_close(b);
	journal_close(a);
	a = journal_open_leg(path, "m1/0", &err);
	b = journal_open_leg(path, "m1/1", &err);
	assert_int_equal(journal_authority(a).state, AUTHORITY_NEW);
	assert_true(journal_is_new(b));
	assert_int_equal(journal_authority(b).state, AUTHORITY_OLD);
	journal_close(b);
	journal_close(a);
}

/* A split is in R, its resume points in rows of their own. */
static void
scope_of_r(void **state)
{
	struct err err;
	struct journal *j = journal_open(path, &err);
	struct authority a = journal_authority(j);
	struct authority to = authority_freeze_scope(&a, 2);
	char history[64];
	uint64_t at = 0;

	(void)state;
	assert_int_equal(journal_move(j, JOURNAL_FREEZE, &a, &to, NULL, &err),
	                 0);
	a = to;
	to = authority_commit(&a);
	assert_int_equal(to.state, AUTHORITY_OLD);
	journal_stage_forget_back(j);
	journal_stage_progress(j, POINT_BACK_NEW, "h:0", 7);
	assert_int_equal(journal_move(j, JOURNAL_COMMIT, &a, &to, NULL, &err),
	                 0);
	/* Whoever thinks that all keys are old's is refused. */
	a = (struct authority){ .epoch = to.epoch, .state = AUTHORITY_OLD };
	a = authority_freeze(&a);
	assert_true(journal_move(j, JOURNAL_FREEZE,
	                         &(struct authority){ .epoch = to.epoch }, &a,
	                         NULL, &err) < 0);
	assert_int_equal(journal_set_progress(j, POINT_OLD, "o:0", 9, &err), 0);
	journal_close(j);
	j = journal_open(path, &err);
	a = journal_authority(j);
	assert_int_equal(a.scope, 2);
	assert_int_equal(a.scope_to, AUTHORITY_NO_SCOPE);
	assert_true(authority_is_split(&a));
	assert_true(journal_progress(j, POINT_BACK_NEW, history,
	                             sizeof(history), &at));
	assert_int_equal(at, 7);
	assert_false(
		journal_progress(j, POINT_NEW, history, sizeof(history), &at));
	journal_stage_forget_back(j);
	assert_int_equal(journal_add(j, JOURNAL_SHARE, NULL, &err), 0);
	assert_false(journal_progress(j, POINT_BACK_NEW, history,
	                              sizeof(history), &at));
	assert_true(
		journal_progress(j, POINT_OLD, history, sizeof(history), &at));
	journal_close(j);
}

/* The state file, as another Godwit left it. */
static void
make_file(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A file of version 2, frozen on its way to new: read as it is, upgraded, and its
 * switch can be undone. */
static void
version_two(void **state)
{
	static const char old[] =
		"CREATE TABLE journal(seq INTEGER PRIMARY KEY, at_ms INTEGER "
		"NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, body "
		"TEXT NOT NULL, leg TEXT NOT NULL DEFAULT '');"
		"CREATE TABLE authority(leg TEXT PRIMARY KEY,"
		" epoch INTEGER NOT NULL, state TEXT NOT NULL);"
		"CREATE TABLE meta(leg TEXT NOT NULL, key TEXT NOT NULL, value "
		"TEXT NOT NULL, PRIMARY KEY(leg, key));"
		"CREATE TABLE progress(leg TEXT NOT NULL, side TEXT NOT NULL, "
		"history TEXT NOT NULL, position INTEGER NOT NULL, "
		"PRIMARY KEY(leg, side));"
		"INSERT INTO journal VALUES(1, 5, 'created', 1, '{}', '');"
		"INSERT INTO authority VALUES('', 4, 'freeze');"
		"PRAGMA journal_mode=WAL; PRAGMA user_version=2;";
	struct err err;

	(void)state;
	make_file(old);
	for (int i = 0; i < 2; i++) {
		struct journal *j = i == 0 ? journal_peek(path, &err)
		                           : journal_open(path, &err);
		struct authority a;
		struct authority to;

		assert_non_null(j);
		a = journal_authority(j);
		assert_int_equal(a.epoch, 4);
		assert_int_equal(a.state, AUTHORITY_FREEZE);
		assert_int_equal(a.scope, AUTHORITY_NO_SCOPE);
		assert_int_equal(a.scope_to, AUTHORITY_ALL);
		if (i == 1) {
			to = authority_abort(&a);
			assert_int_equal(journal_move(j, JOURNAL_ABORT, &a, &to,
			                              NULL, &err),
			                 0);
		}
		journal_close(j);
	}
}

/* A file of stage 1 is read as it is, and becomes version 2 when written. */
static void
version_one(void **state)
{
	static const char old[] =
		"CREATE TABLE journal(seq INTEGER PRIMARY KEY, at_ms INTEGER "
		"NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, body "
		"TEXT NOT NULL);"
		"CREATE TABLE authority(one INTEGER PRIMARY KEY CHECK(one = 1),"
		" epoch INTEGER NOT NULL, state TEXT NOT NULL);"
		"CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
		"CREATE TABLE progress(side TEXT PRIMARY KEY, history TEXT NOT "
		"NULL, position INTEGER NOT NULL);"
		"INSERT INTO journal VALUES(1, 5, 'created', 1, '{}');"
		"INSERT INTO authority VALUES(1, 4, 'new');"
		"INSERT INTO meta VALUES('id', 'abc');"
		"INSERT INTO progress VALUES('new', 'h:0', 77);"
		"PRAGMA journal_mode=WAL; PRAGMA user_version=1;";
	struct err err;

	(void)state;
	make_file(old);
	for (int i = 0; i < 3; i++) {
		struct journal *j = i == 0 ? journal_peek(path, &err)
		                           : journal_open(path, &err);
		char history[64];
		uint64_t at = 0;
		char *id;

		assert_non_null(j);
		assert_int_equal(journal_count(j), 1);
		assert_int_equal(journal_authority(j).epoch, 4);
		assert_int_equal(journal_authority(j).state, AUTHORITY_NEW);
		id = journal_meta(j, "id");
		assert_string_equal(id, "abc");
		free(id);
		assert_true(journal_progress(j, POINT_NEW, history,
		                             sizeof(history), &at));
		assert_int_equal(at, 77);
		journal_close(j);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(begins_with_old, set_up),
		cmocka_unit_test_setup(legs_of_one_file, set_up),
		cmocka_unit_test_setup(version_one, set_up),
		cmocka_unit_test_setup(version_two, set_up),
		cmocka_unit_test_setup(scope_of_r, set_up),
		cmocka_unit_test_setup(records_come_back, set_up),
		cmocka_unit_test_setup(authority_is_compared, set_up),
		cmocka_unit_test_setup(one_process_at_a_time, set_up),
		cmocka_unit_test_setup(crash_hook, set_up),
		cmocka_unit_test_setup(full_disk, set_up),
		cmocka_unit_test_setup(not_a_state_file, set_up),
		cmocka_unit_test_setup(unsure_until_written, set_up),
		cmocka_unit_test_setup(forgets_with_a_record, set_up),
		cmocka_unit_test_setup(unreadable_is_not_none, set_up),
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
