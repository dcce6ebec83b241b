/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_panel.c: the control socket, well and badly used.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/limit.h"
#include "control/panel.h"

static char dir[] = "/tmp/godwit-panel-XXXXXX";
static char path[64];
static struct panel *panel;
static uint32_t asked;

static void
on_verb(void *arg, uint64_t client, const char *verb, json_t *args)
{
	(void)arg;
	asked++;
	if (strcmp(verb, "watch") == 0)
		panel_watch(panel, client);
	if (strcmp(verb, "wait") == 0) {
		json_decref(args);
		return;
	}
	panel_ok(panel, client,
	         json_pack("{s:s,s:o}", "verb", verb, "args", args));
}

static void
turn(void)
{
	struct pollfd fds[LIMIT_PANEL_CLIENTS + 1];

	for (int i = 0; i < 5; i++) {
		size_t n = panel_fds(panel, fds, LIMIT_PANEL_CLIENTS + 1);

		assert_true(poll(fds, (nfds_t)n, 10) >= 0);
		panel_work(panel, fds, n);
	}
}

static int
dial(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)),
	                 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
	                 (ssize_t)strlen(text));
	turn();
}

/* What has come back, as a string; "" nothing, "gone" the end. */
static const char *
hear(int fd)
{
	static char text[65536];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n == 0)
		return "gone";
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int
set_up(void **state)
{
	struct err err;

	(void)state;
	asked = 0;
	panel = panel_new(path, on_verb, NULL, &err);
	return panel != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	panel_free(panel);
	return access(path, F_OK) != 0 ? 0 : -1;
}

static void
in_pieces_and_in_one(void **state)
{
	int fd = dial();
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	say(fd, "{\"verb\":\"sta");
	assert_string_equal(hear(fd), "");
	say(fd, "tus\"}\n{\"verb\":\"x\",\"args\":{\"a\":1}}\n\n");
	assert_int_equal(asked, 2);
	assert_string_equal(
		hear(fd),
		"{\"ok\":true,\"data\":{\"verb\":\"status\",\"args\":{}}}\n"
		"{\"ok\":true,\"data\":{\"verb\":\"x\",\"args\":{\"a\":1}}}\n");
	(void)close(fd);
	turn();
}

static void
garbage(void **state)
{
	static const char *const bad[] = { "hello\n",
		                           "[]\n",
		                           "{}\n",
		                           "{\"verb\":1}\n",
		                           "{\"verb\":\"x\",\"args\":[]}\n",
		                           "{\"verb\":\"x\"\n" };
	int fd = dial();

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(fd, bad[i]);
		assert_non_null(strstr(hear(fd), "\"error\":\"BAD\""));
	}
	assert_int_equal(asked, 0);
	say(fd, "{\"verb\":\"x\"}\n");
	assert_int_equal(asked, 1);
	(void)close(fd);
	turn();
}

static void
endless_line(void **state)
{
	int fd = dial();
	char block[4096];

	(void)state;
	memset(block, 'x', sizeof(block));
	for (int i = 0; i < 64; i++) {
		if (send(fd, block, sizeof(block), MSG_NOSIGNAL) < 0)
			break;
		turn();
	}
	while (hear(fd)[0] != 'g')
		turn();
	(void)close(fd);
}

static void
watchers_hear_all(void **state)
{
	int one = dial();
	int two = dial();

	(void)state;
	say(one, "{\"verb\":\"watch\"}\n");
	(void)hear(one);
	panel_tell(panel, json_pack("{s:i}", "n", 7));
	turn();
	assert_string_equal(hear(one), "{\"n\":7}\n");
	assert_string_equal(hear(two), "");
	(void)close(one);
	turn();
	assert_false(panel_has_watchers(panel));
	(void)close(two);
	turn();
}

/* A terminal that does not read is cut, and costs a bounded amount. */
static void
deaf_watcher(void **state)
{
	int fd = dial();
	char block[4001];

	(void)state;
	memset(block, 'y', sizeof(block) - 1);
	block[4000] = '\0';
	say(fd, "{\"verb\":\"watch\"}\n");
	for (int i = 0; i < 3000 && panel_has_watchers(panel); i++) {
		panel_tell(panel, json_pack("{s:s}", "t", block));
		if (i % 100 == 0)
			turn();
	}
	turn();
	assert_false(panel_has_watchers(panel));
	(void)close(fd);
}

static void
too_many(void **state)
{
	int fd[LIMIT_PANEL_CLIENTS + 1];

	(void)state;
	for (int i = 0; i <= LIMIT_PANEL_CLIENTS; i++) {
		fd[i] = dial();
		turn();
		/* These two are not idle. */
		if (i == 0)
			say(fd[0], "{\"verb\":\"wait\"}\n");
		if (i == 1)
			say(fd[1], "{\"verb\":\"watch\"}\n");
	}
	/* The one that was silent for the longest time has made room. */
	assert_string_equal(hear(fd[2]), "gone");
	assert_string_equal(hear(fd[0]), "");
	assert_string_not_equal(hear(fd[1]), "gone");
	assert_string_equal(hear(fd[3]), "");
	say(fd[LIMIT_PANEL_CLIENTS], "{\"verb\":\"x\"}\n");
	assert_int_equal(asked, 3);
	assert_string_not_equal(hear(fd[LIMIT_PANEL_CLIENTS]), "gone");
	for (int i = 0; i <= LIMIT_PANEL_CLIENTS; i++)
		(void)close(fd[i]);
	turn();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_pieces_and_in_one, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(garbage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(endless_line, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(watchers_hear_all, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(deaf_watcher, set_up,
		                                tear_down),
		cmocka_unit_test_setup_teardown(too_many, set_up, tear_down),
	};
	int rc;

	if (mkdtemp(dir) == NULL)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/state.db.sock", dir);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(dir);
	return rc;
}
