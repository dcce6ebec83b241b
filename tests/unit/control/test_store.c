/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_store.c: rows in and out, transactions, one holder.
 */
#define _GNU_SOURCE
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/store/lock.h"
#include "control/store/store.h"
#include "file.h"

static char dir[] = "/tmp/godwit-store-XXXXXX";
static char path[64];

static const char *const one[] = {
	"CREATE TABLE t(k TEXT PRIMARY KEY, n INTEGER, v_json TEXT, b BLOB)"
	" STRICT;",
};
static const char *const two[] = {
	"CREATE TABLE t(k TEXT PRIMARY KEY, n INTEGER, v_json TEXT, b BLOB)"
	" STRICT;",
	"ALTER TABLE t ADD COLUMN x TEXT; UPDATE t SET x='was';",
};

static int
set_up(void **state)
{
	file_forget(path);
	*state = store_open(path, NULL);
	return *state == NULL ||
	       store_schema(*state, "test", one, 1, NULL) != 0;
}

static int
tear_down(void **state)
{
	store_close(*state);
	return 0;
}

static int64_t
put(struct store *s, const char *key, int64_t n, struct err *err)
{
	return store_run(s, err, "INSERT INTO t(k, n) VALUES(?,?)", "si", key,
	                 n);
}

static int64_t
count(struct store *s)
{
	return store_number(s, "SELECT count(*) FROM t", "");
}

static void
rows_come_back(void **state)
{
	struct store *s = *state;
	struct stat st;
	struct err err;
	json_t *value = json_pack("{s:[i,n]}", "a", 1);
	json_t *row;
	json_t *want;

	assert_int_equal(store_run(s, &err, "INSERT INTO t VALUES(?,?,?,?)",
	                           "sijb", "x'\"; DROP", (int64_t)-7, value,
	                           "\x00\xff", (size_t)2),
	                 1);
	row = store_row(s, &err, "SELECT * FROM t WHERE k=?", "s",
	                "x'\"; DROP");
	want = json_pack("{s:s,s:i,s:O,s:s}", "k", "x'\"; DROP", "n", -7, "v",
	                 value, "b", "00ff");
	assert_true(json_equal(row, want));
	json_decref(row);
	json_decref(want);
	json_decref(value);
	row = store_row(s, &err, "SELECT * FROM t WHERE k=?", "s", "none");
	assert_null(row);
	assert_int_equal(err.code, ERR_MISSING);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
twice_is_told(void **state)
{
	struct store *s = *state;
	struct err err;

	assert_int_equal(put(s, "a", 1, &err), 1);
	assert_int_equal(put(s, "a", 2, &err), -ERR_EXISTS);
	assert_int_equal(count(s), 1);
}

static void
transactions_nest(void **state)
{
	struct store *s = *state;
	struct err err;

	assert_int_equal(store_begin(s, &err), 0);
	assert_int_equal(put(s, "a", 1, &err), 1);
	assert_int_equal(store_begin(s, &err), 0);
	assert_int_equal(put(s, "b", 1, &err), 1);
	assert_int_equal(store_end(s, -ERR_BAD, &err), -ERR_BAD);
	/* The outer one cannot succeed any more. */
	assert_true(store_end(s, 0, &err) != 0);
	assert_int_equal(count(s), 0);
	assert_int_equal(store_begin(s, &err), 0);
	assert_int_equal(put(s, "a", 1, &err), 1);
	assert_int_equal(store_begin(s, &err), 0);
	assert_int_equal(put(s, "b", 1, &err), 1);
	assert_int_equal(store_end(s, 0, &err), 0);
	assert_int_equal(store_end(s, 0, &err), 0);
	assert_int_equal(count(s), 2);
}

static void
schema_goes_forward_only(void **state)
{
	struct store *s = *state;
	struct err err;
	json_t *row;

	assert_int_equal(put(s, "a", 1, &err), 1);
	assert_int_equal(store_schema(s, "test", two, 2, &err), 0);
	assert_int_equal(store_schema(s, "test", two, 2, &err), 0);
	row = store_row(s, &err, "SELECT x FROM t", "");
	assert_string_equal(json_string_value(json_object_get(row, "x")),
	                    "was");
	json_decref(row);
	assert_int_equal(store_schema(s, "test", one, 1, &err), -ERR_BAD);
}

static void
no_database(void **state)
{
	char other[96];
	struct err err;
	int fd;

	(void)state;
	(void)snprintf(other, sizeof(other), "%s.txt", path);
	fd = open(other, O_CREAT | O_WRONLY, 0600);
	for (int i = 0; i < 400; i++)
		assert_int_equal(write(fd, "no database\n", 12), 12);
	(void)close(fd);
	assert_null(store_open(other, &err));
	assert_int_equal(err.code, ERR_BAD);
	(void)unlink(other);
}

/* Another process is refused while we hold it, and told our number. */
static void
lock_names_its_holder(void **state)
{
	char number[32];
	struct err err;
	int fd = lock_take(path, &err);
	int other;
	pid_t pid;
	int status;

	(void)state;
	assert_true(fd >= 0);
	(void)snprintf(number, sizeof(number), "process %ld on ",
	               (long)getpid());
	pid = fork();
	if (pid == 0) {
		other = lock_take(path, &err);
		_exit(other == -ERR_EXISTS && strstr(err.text, number) != NULL
		              ? 0
		              : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	lock_drop(fd);
	fd = lock_take(path, &err);
	assert_true(fd >= 0);
	lock_drop(fd);
}

static void
uuids_are_told_from_ids(void **state)
{
	char a[STORE_UUID];
	char b[STORE_UUID];

	(void)state;
	assert_true(store_is_uuid(store_uuid(a)));
	assert_string_not_equal(a, store_uuid(b));
	assert_int_equal(a[14], '4');
	assert_false(store_is_uuid(""));
	assert_false(store_is_uuid("550e8400-e29b-41d4-a716-44665544000"));
	assert_false(store_is_uuid("550e8400-e29b-41d4-a716-44665544000g"));
	assert_false(store_is_uuid("550e8400-e29b-41d4-a716-4466554400000"));
	assert_true(store_is_uuid("550e8400-E29B-41d4-a716-446655440000"));
}

static void
times_are_utc(void **state)
{
	char text[STORE_TIME];

	(void)state;
	assert_string_equal(store_time(text, 1705314600007),
	                    "2024-01-15T10:30:00.007Z");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_come_back, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(twice_is_told, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(transactions_nest, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(schema_goes_forward_only,
		                                set_up, tear_down),
		cmocka_unit_test(no_database),
		cmocka_unit_test(lock_names_its_holder),
		cmocka_unit_test(uuids_are_told_from_ids),
		cmocka_unit_test(times_are_utc),
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
