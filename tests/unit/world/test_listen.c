/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_listen.c: where clients can connect to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net.h"
#include "unit.h"
#include "world/os/loop.h"

static void
several_sockets_share_a_port(void **state)
{
	int fds[3];
	uint16_t port = 0;
	struct err err = { .code = ERR_NONE };

	(void)state;
	assert_int_equal(listen_open("127.0.0.1:0", 3, fds, &port, &err), 0);
	assert_true(port > 0);
	for (int i = 0; i < 3; i++)
		(void)close(fds[i]);
}

static void
short_forms_mean_loopback(void **state)
{
	static const char *const forms[] = { ":0", "localhost:0", "[::1]:0" };
	int fd;
	uint16_t port = 0;
	struct err err = { .code = ERR_NONE };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(listen_open(forms[i], 1, &fd, &port, &err), 0);
		if (i < 2)
			(void)close(net_connect(port));
		(void)close(fd);
	}
}

static int
path_connect(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	rc = connect(fd, (const struct sockaddr *)&un, sizeof(un));
	(void)close(fd);
	return rc;
}

static void
a_path_is_for_its_owner_and_replaces_a_dead_one(void **state)
{
	char dir[] = "/tmp/godwit-listen-XXXXXX";
	char path[64];
	int fds[2];
	int other;
	uint16_t port = 1;
	struct stat st;
	struct err err = { .code = ERR_NONE };

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/a.sock", dir);
	assert_int_equal(listen_open(path, 2, fds, &port, &err), 0);
	assert_int_equal(port, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(path_connect(path), 0);
	/* Somebody listens: not replaced. */
	assert_int_equal(listen_open(path, 1, &other, &port, &err),
	                 -ERR_EXISTS);
	(void)close(fds[0]);
	(void)close(fds[1]);
	assert_int_not_equal(path_connect(path), 0);
	assert_int_equal(listen_open(path, 1, &other, &port, &err), 0);
	assert_int_equal(path_connect(path), 0);
	(void)close(other);
	listen_forget(path);
	assert_int_not_equal(stat(path, &st), 0);
	(void)rmdir(dir);
}

static void
a_long_path_is_refused(void **state)
{
	char path[200];
	int fd;
	uint16_t port;
	struct err err = { .code = ERR_NONE };

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(listen_open(path, 1, &fd, &port, &err), -ERR_USAGE);
}

static void
a_taken_port_is_named(void **state)
{
	struct err err = { .code = ERR_NONE };
	char where[32];
	uint16_t port = 0;
	int first;
	int fd;

	(void)state;
	/* Even when the other one shares (a second Godwit would). */
	assert_int_equal(listen_open(":0", 1, &first, &port, &err), 0);
	(void)snprintf(where, sizeof(where), "127.0.0.1:%u", (unsigned)port);
	assert_int_equal(listen_open(where, 2, &fd, &port, &err), -ERR_EXISTS);
	assert_non_null(strstr(err.text, where));
	(void)close(first);
	assert_int_equal(listen_open(where, 1, &fd, &port, &err), 0);
	(void)close(fd);
}

static void
nonsense_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"6400",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:x",
		"127.0.0.1:65536",
		"127.0.0.1:-1",
		"nosuch:1",
		"::1:6400",
		"[::1]",
		"127.0.0.1:1 ",
		"127.0.0.1:99999999999999999999",
	};
	int fd;
	uint16_t port;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(listen_open(bad[i], 1, &fd, &port, &err),
		                 -ERR_USAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_sockets_share_a_port),
		cmocka_unit_test(short_forms_mean_loopback),
		cmocka_unit_test(a_taken_port_is_named),
		cmocka_unit_test(
			a_path_is_for_its_owner_and_replaces_a_dead_one),
		cmocka_unit_test(a_long_path_is_refused),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
