/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/talk.c: a connection to a running migration's control socket.
 */
#define _GNU_SOURCE
#include "bin/talk.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bin/clock.h"
#include "bin/state.h"
#include "world/os/loop.h"

int
talk_open(struct talk *p, const struct talk_to *to, struct err *err)
{
	*p = (struct talk){ .fd = -1 };
	p->fd = to->connect != NULL ? to->connect(to->arg, err)
	                            : state_connect(to->state, err);
	return p->fd < 0 ? p->fd : 0;
}

void
talk_close(struct talk *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	free(p->line);
	*p = (struct talk){ .fd = -1 };
}

int
talk_send(struct talk *p, const char *verb, const json_t *args, struct err *err)
{
	json_t *copy = args != NULL ? json_deep_copy(args) : json_object();
	json_t *request = json_pack("{s:s, s:o}", "verb", verb, "args", copy);
	char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t n = text != NULL ? strlen(text) : 0;
	size_t sent = 0;
	int rc = 0;

	if (text == NULL)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	else
		text[n++] = '\n'; /* in the place of the end mark */
	while (rc == 0 && sent < n) {
		ssize_t got = send(p->fd, text + sent, n - sent, MSG_NOSIGNAL);

		if (got > 0)
			sent += (size_t)got;
		else if (errno != EINTR)
			rc = err_set(err, ERR_LOST,
			             "the migration's process hung up");
	}
	free(text);
	json_decref(request);
	return rc;
}

int
talk_process(const struct talk *p)
{
	struct ucred peer = { .pid = 0 };
	socklen_t n = sizeof(peer);

	if (getsockopt(p->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 ||
	    peer.pid <= 0 || peer.pid == getpid())
		return -1;
	return pidfd_open(peer.pid, 0);
}

int
talk_wait_end(int process, int wait_ms, struct err *err)
{
	struct pollfd f = { .fd = process, .events = POLLIN };
	int rc;

	if (process < 0)
		return 0;
	do {
		rc = poll(&f, 1, wait_ms);
	} while (rc < 0 && errno == EINTR);
	return rc > 0 ? 0
	              : err_set(err, ERR_TIMEOUT,
	                        "Godwit stops, and has not ended yet; the same "
	                        "migrate command goes on when it has");
}

/* Take the first complete line out of the buffer. */
static bool
take_line(struct talk *p, json_t **ret)
{
	char *end = p->n > 0 ? memchr(p->line, '\n', p->n) : NULL;
	size_t used;

	if (end == NULL)
		return false;
	used = (size_t)(end - p->line) + 1;
	*ret = json_loadb(p->line, used - 1, 0, NULL);
	memmove(p->line, p->line + used, p->n - used);
	p->n -= used;
	return true;
}

static int
fill(struct talk *p, struct err *err)
{
	ssize_t got;

	if (p->cap - p->n < 4096) {
		size_t cap = p->cap == 0 ? 16384 : p->cap * 2;
		char *line = cap > TALK_LINE_MAX ? NULL : realloc(p->line, cap);

		if (line == NULL)
			return err_set(err, ERR_PROTO,
			               "the control socket sent a line of "
			               "more than %zu bytes",
			               p->cap);
		p->line = line;
		p->cap = cap;
	}
	got = recv(p->fd, p->line + p->n, p->cap - p->n, MSG_DONTWAIT);
	if (got > 0) {
		p->n += (size_t)got;
		return 0;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	p->is_over = true;
	return err_set(err, ERR_LOST, "the migration's process is gone");
}

int
talk_next(struct talk *p, int wait_ms, json_t **ret, struct err *err)
{
	int64_t until = wait_ms < 0 ? INT64_MAX : clock_now_ms() + wait_ms;

	*ret = NULL;
	for (;;) {
		struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
		int64_t left = until - clock_now_ms();
		int rc;

		if (take_line(p, ret))
			return *ret != NULL
			               ? 0
			               : err_set(err, ERR_PROTO,
			                         "the control socket sent "
			                         "something that is no JSON");
		if (left < 0)
			left = 0;
		rc = poll(&pfd, 1, wait_ms < 0 ? -1 : (int)left);
		if (rc == 0)
			return -ERR_TIMEOUT;
		if (rc < 0 && errno != EINTR)
			return err_set(err, ERR_IO, "poll: %s",
			               os_cause(errno));
		if (rc > 0) {
			rc = fill(p, err);
			if (rc != 0)
				return rc;
		}
	}
}

int
talk_ask(struct talk *p, const char *verb, const json_t *args,
         void (*on_event)(const json_t *event, void *arg), void *arg,
         json_t **ret, struct err *err)
{
	int rc = talk_send(p, verb, args, err);

	*ret = NULL;
	while (rc == 0) {
		rc = talk_next(p, -1, ret, err);
		if (rc != 0 || json_object_get(*ret, "ok") != NULL)
			return rc;
		if (on_event != NULL)
			on_event(*ret, arg);
		json_decref(*ret);
		*ret = NULL;
	}
	return rc;
}
