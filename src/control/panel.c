/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/panel.c: the control socket: JSON lines, several terminals.
 */
#define _DEFAULT_SOURCE
#include "control/panel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "control/limit.h"
#include "world/os/loop.h"

struct terminal {
	uint64_t id; /* 0: free */
	int fd;
	bool watches;
	bool is_dead;
	uint32_t waits; /* verbs that are not answered yet */
	uint64_t heard; /* number of its last line         */
	struct buf rx;
	struct buf tx;
};

struct panel {
	int fd;
	uint64_t last_id;
	uint64_t lines; /* ever */
	panel_verb_f *on_verb;
	void *arg;
	struct mem mem;
	char path[560];
	struct terminal term[LIMIT_PANEL_CLIENTS];
};

/* The address of path; *ret_dir_fd stays open until bind() is done. */
static int
make_address(const char *path, struct sockaddr_un *ret, int *ret_dir_fd,
             struct err *err)
{
	const char *slash = strrchr(path, '/');
	char dir[560];
	size_t n = slash != NULL ? (size_t)(slash - path) : 0;
	int len;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_dir_fd = -1;
	if (strlen(path) < sizeof(ret->sun_path)) {
		memcpy(ret->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (slash == NULL || n >= sizeof(dir))
		return err_set(err, ERR_USAGE, "%s: too long for a socket",
		               path);
	memcpy(dir, path, n);
	dir[n] = '\0';
	*ret_dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret_dir_fd < 0)
		return err_set(err, ERR_IO, "%s: %s", dir, os_cause(errno));
	len = snprintf(ret->sun_path, sizeof(ret->sun_path),
	               "/proc/self/fd/%d/%s", *ret_dir_fd, slash + 1);
	if (len < 0 || (size_t)len >= sizeof(ret->sun_path))
		return err_set(err, ERR_USAGE, "%s: name too long for a socket",
		               slash + 1);
	return 0;
}

static int
set_flags(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
		return -1;
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int
listen_at(struct panel *p, struct err *err)
{
	struct sockaddr_un at;
	int dir = -1;
	mode_t mask;
	int rc = make_address(p->path, &at, &dir, err);

	if (rc != 0)
		goto out;
	p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	(void)unlink(p->path);
	mask = umask(0177);
	if (p->fd < 0 || set_flags(p->fd) != 0 ||
	    bind(p->fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(p->fd, LIMIT_PANEL_CLIENTS) != 0)
		rc = err_set(err, ERR_IO, "control socket %s: %s", p->path,
		             os_cause(errno));
	(void)umask(mask);
out:
	if (dir >= 0)
		(void)close(dir);
	return rc;
}

struct panel *
panel_new(const char *path, panel_verb_f *on_verb, void *arg, struct err *err)
{
	struct panel *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	p->fd = -1;
	p->on_verb = on_verb;
	p->arg = arg;
	os_mem_init(&p->mem, 0);
	if (snprintf(p->path, sizeof(p->path), "%s", path) >=
	    (int)sizeof(p->path)) {
		(void)err_set(err, ERR_USAGE, "%s: too long", path);
		free(p);
		return NULL;
	}
	if (listen_at(p, err) != 0) {
		if (p->fd >= 0)
			(void)close(p->fd);
		free(p);
		return NULL;
	}
	return p;
}

static void
drop(struct terminal *t)
{
	(void)close(t->fd);
	buf_fini(&t->rx);
	buf_fini(&t->tx);
	*t = (struct terminal){ .fd = -1 };
}

void
panel_free(struct panel *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < LIMIT_PANEL_CLIENTS; i++) {
		if (p->term[i].id != 0)
			drop(&p->term[i]);
	}
	(void)close(p->fd);
	(void)unlink(p->path);
	free(p);
}

size_t
panel_fds(const struct panel *p, struct pollfd *fds, size_t n)
{
	size_t used = 0;

	if (p == NULL || n == 0)
		return 0;
	fds[used++] = (struct pollfd){ .fd = p->fd, .events = POLLIN };
	for (size_t i = 0; i < LIMIT_PANEL_CLIENTS && used < n; i++) {
		const struct terminal *t = &p->term[i];

		if (t->id == 0)
			continue;
		fds[used] = (struct pollfd){ .fd = t->fd, .events = POLLIN };
		if (buf_len(&t->tx) > 0)
			fds[used].events |= POLLOUT;
		used++;
	}
	return used;
}

/* Room for one more: of those that neither watch nor wait the one that has been
 * silent for the longest time goes. */
static void
make_room(struct panel *p)
{
	struct terminal *idle = NULL;

	for (size_t i = 0; i < LIMIT_PANEL_CLIENTS; i++) {
		struct terminal *t = &p->term[i];

		if (t->id == 0)
			return;
		if (t->watches || t->waits > 0)
			continue;
		if (idle == NULL || t->heard < idle->heard)
			idle = t;
	}
	if (idle != NULL)
		drop(idle);
}

static void
accept_one(struct panel *p)
{
	int fd = accept(p->fd, NULL, NULL);

	if (fd < 0)
		return;
	make_room(p);
	for (size_t i = 0; i < LIMIT_PANEL_CLIENTS; i++) {
		struct terminal *t = &p->term[i];

		if (t->id != 0 || set_flags(fd) != 0)
			continue;
		*t = (struct terminal){ .id = ++p->last_id,
			                .fd = fd,
			                .heard = ++p->lines };
		buf_init(&t->rx, &p->mem);
		buf_init(&t->tx, &p->mem);
		return;
	}
	(void)close(fd);
}

/* Write what fits; the rest waits for POLLOUT. */
static void
flush_out(struct terminal *t)
{
	while (buf_len(&t->tx) > 0 && !t->is_dead) {
		struct span s = buf_span(&t->tx);
		ssize_t n = send(t->fd, s.p, s.n, MSG_NOSIGNAL);

		if (n > 0) {
			buf_take(&t->tx, (size_t)n);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			t->is_dead = errno != EAGAIN && errno != EWOULDBLOCK;
			break;
		}
	}
	if (buf_len(&t->tx) > LIMIT_PANEL_BACKLOG || buf_failed(&t->tx))
		t->is_dead = true;
}

static struct terminal *
find(struct panel *p, uint64_t client)
{
	for (size_t i = 0; p != NULL && i < LIMIT_PANEL_CLIENTS; i++) {
		if (client != 0 && p->term[i].id == client)
			return &p->term[i];
	}
	return NULL;
}

static void
put_line(struct terminal *t, const char *line)
{
	buf_put_str(&t->tx, line);
	buf_put(&t->tx, "\n", 1);
	flush_out(t);
}

void
panel_send(struct panel *p, uint64_t client, json_t *obj)
{
	struct terminal *t = find(p, client);
	char *line = t != NULL ? json_dumps(obj, JSON_COMPACT) : NULL;

	if (line != NULL)
		put_line(t, line);
	free(line);
	json_decref(obj);
}

void
panel_tell(struct panel *p, json_t *obj)
{
	char *line =
		panel_has_watchers(p) ? json_dumps(obj, JSON_COMPACT) : NULL;

	for (size_t i = 0; line != NULL && i < LIMIT_PANEL_CLIENTS; i++) {
		if (p->term[i].id != 0 && p->term[i].watches)
			put_line(&p->term[i], line);
	}
	free(line);
	json_decref(obj);
}

void
panel_watch(struct panel *p, uint64_t client)
{
	struct terminal *t = find(p, client);

	if (t != NULL)
		t->watches = true;
}

bool
panel_has_watchers(const struct panel *p)
{
	for (size_t i = 0; p != NULL && i < LIMIT_PANEL_CLIENTS; i++) {
		if (p->term[i].id != 0 && p->term[i].watches)
			return true;
	}
	return false;
}

static void
answered(struct panel *p, uint64_t client)
{
	struct terminal *t = find(p, client);

	if (t != NULL && t->waits > 0)
		t->waits--;
}

void
panel_ok(struct panel *p, uint64_t client, json_t *data)
{
	answered(p, client);
	panel_send(p, client,
	           json_pack("{s:b,s:o}", "ok", 1, "data",
	                     data != NULL ? data : json_object()));
}

void
panel_fail(struct panel *p, uint64_t client, const struct err *err,
           json_t *data)
{
	answered(p, client);
	panel_send(p, client,
	           json_pack("{s:b,s:s,s:s,s:i,s:o}", "ok", 0, "error",
	                     err_name(err->code), "message", err->text, "exit",
	                     err_exit(err->code), "data",
	                     data != NULL ? data : json_object()));
}

/* One line of a terminal. */
static void
handle(struct panel *p, struct terminal *t, struct span line)
{
	json_error_t why;
	json_t *req = json_loadb((const char *)line.p, line.n, 0, &why);
	const char *verb = json_string_value(json_object_get(req, "verb"));
	json_t *args = json_object_get(req, "args");
	struct err err;

	t->heard = ++p->lines;
	t->waits++;
	if (verb == NULL || (args != NULL && !json_is_object(args))) {
		(void)err_set(&err, ERR_BAD,
		              "expected one JSON object a line with \"verb\" "
		              "and \"args\"%s%s",
		              req == NULL ? ": " : "",
		              req == NULL ? why.text : "");
		panel_fail(p, t->id, &err, NULL);
	} else {
		p->on_verb(p->arg, t->id, verb,
		           args != NULL ? json_incref(args) : json_object());
	}
	json_decref(req);
}

static void
read_some(struct panel *p, struct terminal *t)
{
	uint8_t *room = buf_room(&t->rx, 4096);
	ssize_t n = room != NULL ? recv(t->fd, room, 4096, 0) : -1;
	struct span in;
	const uint8_t *end;

	if (n <= 0) {
		t->is_dead = room == NULL || n == 0 ||
		             (errno != EAGAIN && errno != EINTR);
		return;
	}
	buf_grew(&t->rx, (size_t)n);
	for (;;) {
		struct span line;

		in = buf_span(&t->rx);
		end = in.n > 0 ? memchr(in.p, '\n', in.n) : NULL;
		if (end == NULL)
			break;
		line = span_of(in.p, (size_t)(end - in.p));
		if (line.n > 0)
			handle(p, t, line);
		buf_take(&t->rx, line.n + 1);
	}
	if (in.n > LIMIT_PANEL_LINE)
		t->is_dead = true;
}

void
panel_work(struct panel *p, const struct pollfd *fds, size_t n)
{
	if (p == NULL)
		return;
	for (size_t f = 0; f < n; f++) {
		if (fds[f].revents == 0)
			continue;
		if (fds[f].fd == p->fd) {
			accept_one(p);
			continue;
		}
		for (size_t i = 0; i < LIMIT_PANEL_CLIENTS; i++) {
			struct terminal *t = &p->term[i];

			if (t->id == 0 || t->fd != fds[f].fd)
				continue;
			if ((fds[f].revents & POLLOUT) != 0)
				flush_out(t);
			if ((fds[f].revents & (POLLIN | POLLHUP | POLLERR)) !=
			    0)
				read_some(p, t);
		}
	}
	for (size_t i = 0; i < LIMIT_PANEL_CLIENTS; i++) {
		if (p->term[i].id != 0 && p->term[i].is_dead)
			drop(&p->term[i]);
	}
}
