/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/bridge.c: a migration of a server, as if it had a control socket.
 *
 *	screen, lines ── socketpair ── thread ── HTTPS ── godwit serve
 */
#define _DEFAULT_SOURCE
#include "bin/api/bridge.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bin/action.h"
#include "bin/api/body.h"
#include "bin/api/view.h"
#include "bin/clock.h"
#include "bin/look.h"
#include "control/api/shape.h"
#include "world/os/loop.h"

#define WATCH_MS   500
#define AGAIN_MS   2000 /* after the server could not be reached          */
#define LINE_MAX_N 4096 /* of a request                                   */

struct line {
	struct bridge *bridge;
	struct remote remote;
	pthread_t thread;
	int fd; /* this end                                            */
	bool is_used;
	_Atomic bool is_over;
};

struct bridge {
	struct bridge_conf conf;
	struct line line[BRIDGE_MAX];
	pthread_mutex_t lines; /* who takes one                            */
	pthread_mutex_t lock;
	char state[32];
	bool timed_out;
	bool is_over; /* nobody is taken any more                       */
};

/* ---- one end of the socket ------------------------------------------------------ */

/* Takes the reference. false: nobody reads any more. */
static bool
say(int fd, json_t *j)
{
	char *text =
		j != NULL
			? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(15))
			: NULL;
	size_t n = text != NULL ? strlen(text) : 0;
	size_t sent = 0;
	bool ok = text != NULL;

	json_decref(j);
	if (ok)
		text[n++] = '\n'; /* in the place of the end mark */
	while (ok && sent < n) {
		ssize_t got = send(fd, text + sent, n - sent, MSG_NOSIGNAL);

		if (got > 0)
			sent += (size_t)got;
		else
			ok = got < 0 && errno == EINTR;
	}
	free(text);
	return ok;
}

static json_t *
hear(int fd)
{
	char text[LINE_MAX_N];
	size_t n = 0;

	while (n < sizeof(text)) {
		ssize_t got = recv(fd, text + n, sizeof(text) - n, 0);
		char *end;

		if (got <= 0)
			return NULL;
		n += (size_t)got;
		end = memchr(text, '\n', n);
		if (end != NULL)
			return json_loadb(text, (size_t)(end - text), 0, NULL);
	}
	return NULL;
}

/* Answers true when the other end has hung up. */
static bool
is_left_after(int fd, int64_t ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, (int)ms) > 0;
}

/* ---- watch ------------------------------------------------------------------------ */

struct eyes {
	struct line *line;
	char *path;
	json_t *seen; /* the events that were told                       */
	bool has_seen;
	bool is_away; /* the server did not answer the last time         */
};

static bool
tell(int fd, const char *name, const char *text)
{
	return say(fd, json_pack("{s:s,s:s}", "event", name, "text", text));
}

static bool
has(const json_t *list, const json_t *e)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), e))
			return true;
	return false;
}

/* What is new in the list of the last events. */
static bool
tell_events(struct eyes *e, const json_t *m)
{
	json_t *list = json_object_get(m, "events");
	bool ok = true;

	for (size_t i = 0; e->has_seen && i < json_array_size(list) && ok;
	     i++) {
		json_t *one = json_array_get(list, i);

		if (!has(e->seen, one))
			ok = say(e->line->fd, json_pack("{s:O}", "event", one));
	}
	json_decref(e->seen);
	e->seen = json_incref(list);
	e->has_seen = true;
	return ok;
}

/* Nothing more happens without a person. */
static bool
is_final(const char *state)
{
	return strcmp(state, "completed") == 0 ||
	       strcmp(state, "rolled_back") == 0 ||
	       strcmp(state, "failed") == 0;
}

/* The migration as a status, in the words of who began it. */
static json_t *
status_of(const struct bridge *b, const json_t *m)
{
	json_t *ret = view_status(m);
	json_t *own = b->conf.own != NULL ? json_deep_copy(b->conf.own) : NULL;
	const char *state = look_text(m, "status");

	if (own != NULL)
		(void)json_object_update(ret, own);
	json_decref(own);
	if (!b->conf.begins_again)
		return ret;
	if (strcmp(state, "rolled_back") == 0)
		(void)json_object_set_new(
			ret, "next",
			json_string("promote: the copy begins again, then the "
		                    "first step"));
	if (strcmp(state, "completed") == 0)
		(void)json_object_set_new(
			ret, "next",
			json_string("nothing; new is served until the process "
		                    "is stopped"));
	return ret;
}

static bool
show(struct eyes *e, const json_t *m)
{
	struct bridge *b = e->line->bridge;
	const char *state = look_text(m, "status");
	json_t *status = b->conf.is_verbatim ? json_incref(shape_mutable(m))
	                                     : status_of(b, m);

	(void)pthread_mutex_lock(&b->lock);
	(void)snprintf(b->state, sizeof(b->state), "%s", state);
	(void)pthread_mutex_unlock(&b->lock);
	if (!tell_events(e, m)) {
		json_decref(status);
		return false;
	}
	return say(e->line->fd, json_pack("{s:o}", "status", status)) &&
	       !(b->conf.ends_by_itself && is_final(state));
}

/* Is it worth asking again? A dead connection and a busy server are. */
static bool
stumble(struct eyes *e, const struct err *err)
{
	bool may_pass = err_retry(err->code) || err->code == ERR_LOST;

	if (!e->is_away || !may_pass)
		may_pass = tell(e->line->fd, "server", err->text) && may_pass;
	e->is_away = true;
	return may_pass;
}

static bool
look(struct eyes *e)
{
	struct web_request q = { .method = "GET", .path = e->path };
	struct web_answer a;
	struct err err = { .code = ERR_NONE };
	int rc = remote_call(&e->line->remote, &q, &a, &err);
	bool goes_on;

	if (rc == 0)
		rc = remote_refusal(&a, &err);
	if (rc != 0) {
		goes_on = stumble(e, &err);
	} else {
		if (e->is_away)
			(void)tell(e->line->fd, "server", "answers again");
		e->is_away = false;
		goes_on = show(e, json_object_get(a.body, "data"));
	}
	web_answer_fini(&a);
	return goes_on;
}

static void
watch(struct line *l)
{
	struct bridge *b = l->bridge;
	const char *place[] = { b->conf.migration };
	char path[BODY_PATH];
	struct eyes e = { .line = l, .path = path };
	int64_t until = clock_now_ms() + b->conf.timeout_ms;

	body_path(ROUTE_migration_get, place, 1, path);
	while (look(&e)) {
		if (b->conf.timeout_ms > 0 && clock_now_ms() >= until) {
			(void)pthread_mutex_lock(&b->lock);
			b->timed_out = true;
			(void)pthread_mutex_unlock(&b->lock);
			break;
		}
		if (is_left_after(l->fd, e.is_away ? AGAIN_MS : WATCH_MS))
			break;
	}
	json_decref(e.seen);
}

/* ---- verbs ------------------------------------------------------------------------- */

static json_t *
refused(enum err_code code, const char *text)
{
	return json_pack("{s:b,s:s,s:s,s:i}", "ok", 0, "error", err_name(code),
	                 "message", text, "exit", err_exit(code));
}

/* Is what the verb has begun still going on? */
static bool
goes_on(const char *verb, const json_t *m)
{
	if (strcmp(verb, "verify") == 0)
		return strcmp(look_text(m, "verification.state"), "running") ==
		       0;
	return strcmp(verb, "rollback") == 0 &&
	       strcmp(look_text(m, "status"), "rolling_back") == 0;
}

/* One call; *ret_data is the caller's. */
static int
call(struct line *l, const struct web_request *q, json_t **ret_data,
     struct err *err)
{
	struct web_answer a = { .status = 0 };
	int rc = remote_call(&l->remote, q, &a, err);

	if (rc == 0)
		rc = remote_refusal(&a, err);
	if (rc == 0)
		*ret_data = json_incref(json_object_get(a.body, "data"));
	web_answer_fini(&a);
	return rc;
}

/* The migration, once the verb has done all that it does. */
static int
look_after(struct line *l, const char *verb, json_t **ret, struct err *err)
{
	const char *place[] = { l->bridge->conf.migration };
	char path[BODY_PATH];
	struct web_request q = { .method = "GET", .path = path };
	int rc;

	body_path(ROUTE_migration_get, place, 1, path);
	for (;;) {
		rc = call(l, &q, ret, err);
		if (rc != 0 || !goes_on(verb, *ret) ||
		    is_left_after(l->fd, WATCH_MS))
			return rc;
		json_decref(*ret);
		*ret = NULL;
	}
}

static int
steer(struct line *l, enum action_id id, const json_t *args, json_t **ret,
      struct err *err)
{
	const char *place[] = { l->bridge->conf.migration };
	char path[BODY_PATH];
	char key[40];
	struct web_request q = { .method =
		                         router_rows[actions[id].route].method,
		                 .path = path,
		                 .body = args,
		                 .key = key };

	body_path(actions[id].route, place, 1, path);
	web_key(key);
	return call(l, &q, ret, err);
}

/* After a rollback promote means: begin again, then the step
 * (docs/decisions/0005). */
static int
begin_again(struct line *l, struct err *err)
{
	json_t *m = NULL;
	int rc = look_after(l, "", &m, err);
	bool was_back = strcmp(look_text(m, "status"), "rolled_back") == 0;

	json_decref(m);
	m = NULL;
	if (rc != 0 || !was_back)
		return rc;
	rc = steer(l, ACTION_MIGRATIONS_MIGRATE, NULL, &m, err);
	while (rc == 0) {
		const char *state = look_text(m, "status");

		if (strcmp(state, "failed") == 0)
			rc = err_set(err, ERR_STATE,
			             "it could not begin again");
		else if (strcmp(state, "running") == 0 &&
		         look_bool(m, "stream.in_step"))
			break;
		else if (is_left_after(l->fd, WATCH_MS))
			rc = err_set(err, ERR_LOST, "nobody waits");
		json_decref(m);
		m = NULL;
		if (rc == 0)
			rc = look_after(l, "", &m, err);
	}
	json_decref(m);
	return rc;
}

/* pools, clients, servers */
static bool
is_console(const char *verb)
{
	return strcmp(verb, "pools") == 0 || strcmp(verb, "clients") == 0 ||
	       strcmp(verb, "servers") == 0;
}

/* A page of one interlay after the other; where it goes on is "its place:what the API
 * says there". */
static int
look_at_rows(struct line *l, const char *verb, const json_t *args, json_t **ret,
             struct err *err)
{
	const json_t *all = l->bridge->conf.interlays;
	const char *after = look_text(args, "after");
	const char *rest = strchr(after, ':');
	size_t k = rest != NULL ? strtoul(after, NULL, 10) : 0;
	struct body b = { .body = NULL };
	struct web_request q = { .method = "GET", .path = b.path };
	struct web_answer a = { .status = 0 };
	const char *id = json_string_value(json_array_get(all, k));
	const char *next;
	char limit[24];
	int rc;

	if (id == NULL)
		return err_set(err, ERR_USAGE, "after: there is nothing");
	(void)snprintf(b.path, sizeof(b.path), "/api/v1/interlays/%s/%s", id,
	               verb);
	(void)snprintf(limit, sizeof(limit), "%lld",
	               (long long)look_int(args, "limit"));
	if (strcmp(verb, "pools") != 0 && look_int(args, "limit") > 0)
		body_query(&b, "limit", limit);
	if (rest != NULL && rest[1] != '\0')
		body_query(&b, "after", rest + 1);
	rc = remote_call(&l->remote, &q, &a, err);
	if (rc == 0)
		rc = remote_refusal(&a, err);
	next = look_text(a.body, "next");
	if (rc == 0) {
		*ret = json_pack("{s:O,s:n}", "rows",
		                 json_object_get(a.body, "data"), "next");
		if (next[0] != '\0')
			(void)json_object_set_new(
				*ret, "next", json_sprintf("%zu:%s", k, next));
		else if (k + 1 < json_array_size(all))
			(void)json_object_set_new(*ret, "next",
			                          json_sprintf("%zu:", k + 1));
	}
	web_answer_fini(&a);
	return rc;
}

static void
do_console(struct line *l, const char *verb, const json_t *args)
{
	struct err err = { .code = ERR_UNABLE };
	json_t *rows = NULL;
	int rc;

	if (l->bridge->conf.interlays == NULL)
		rc = err_set(&err, ERR_UNABLE,
		             "not shown for redis: ask CLIENT LIST through the "
		             "interlay");
	else
		rc = look_at_rows(l, verb, args, &rows, &err);
	(void)say(l->fd,
	          rc != 0 ? refused(err.code, err.text)
	                  : json_pack("{s:b,s:o}", "ok", 1, "data", rows));
}

static void
do_verb(struct line *l, const char *verb, const json_t *args)
{
	enum action_id id = action_find(CMD_MIGRATIONS, verb);
	bool is_look =
		strcmp(verb, "status") == 0 || strcmp(verb, "events") == 0;
	struct err err = { .code = ERR_NONE };
	json_t *m = NULL;
	int rc = 0;

	if (strcmp(verb, "stop") == 0 && l->bridge->conf.stop != NULL) {
		(void)say(l->fd, json_pack("{s:b}", "ok", 1));
		l->bridge->conf.stop();
		return;
	}
	if (is_console(verb)) {
		do_console(l, verb, args);
		return;
	}
	if (id == ACTION_N && !is_look) {
		(void)say(l->fd, refused(ERR_USAGE, "no such verb"));
		return;
	}
	if (strcmp(verb, "promote") == 0 && l->bridge->conf.begins_again)
		rc = begin_again(l, &err);
	if (!is_look && rc == 0)
		rc = steer(l, id, args, &m, &err);
	if (rc == 0 &&
	    (is_look || goes_on(verb, m) || strcmp(verb, "verify") == 0)) {
		json_decref(m);
		m = NULL;
		rc = look_after(l, verb, &m, &err);
	}
	if (rc != 0)
		(void)say(l->fd, refused(err.code, err.text));
	else
		(void)say(l->fd, json_pack("{s:b,s:o}", "ok", 1, "data",
		                           status_of(l->bridge, m)));
	json_decref(m);
}

/* One request; false: no other one follows. */
static bool
serve_request(struct line *l)
{
	json_t *request = hear(l->fd);
	const char *verb = look_text(request, "verb");
	bool has_more = request != NULL && is_console(verb); /* by pages */

	if (strcmp(verb, "watch") == 0)
		watch(l);
	else if (request != NULL)
		do_verb(l, verb, json_object_get(request, "args"));
	json_decref(request);
	return has_more;
}

static void *
serve_line(void *arg)
{
	struct line *l = arg;

	while (serve_request(l))
		;
	(void)shutdown(l->fd, SHUT_RDWR);
	atomic_store(&l->is_over, true);
	return NULL;
}

/* ---- life --------------------------------------------------------------------------- */

struct bridge *
bridge_new(const struct bridge_conf *c, struct err *err)
{
	struct bridge *b = calloc(1, sizeof(*b));

	if (b == NULL || pthread_mutex_init(&b->lock, NULL) != 0 ||
	    pthread_mutex_init(&b->lines, NULL) != 0) {
		free(b);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	b->conf = *c;
	return b;
}

static void
end_line(struct line *l)
{
	if (!l->is_used)
		return;
	web_abort(l->remote.web);
	(void)shutdown(l->fd, SHUT_RDWR);
	(void)pthread_join(l->thread, NULL);
	(void)close(l->fd);
	remote_close(&l->remote);
	l->is_used = false;
}

void
bridge_hang_up(struct bridge *b)
{
	(void)pthread_mutex_lock(&b->lines);
	b->is_over = true;
	for (uint32_t i = 0; i < BRIDGE_MAX; i++)
		end_line(&b->line[i]);
	(void)pthread_mutex_unlock(&b->lines);
}

void
bridge_free(struct bridge *b)
{
	if (b == NULL)
		return;
	for (uint32_t i = 0; i < BRIDGE_MAX; i++)
		end_line(&b->line[i]);
	(void)pthread_mutex_destroy(&b->lock);
	(void)pthread_mutex_destroy(&b->lines);
	free(b);
}

static struct line *
free_line(struct bridge *b)
{
	for (uint32_t i = 0; i < BRIDGE_MAX; i++) {
		struct line *l = &b->line[i];

		if (l->is_used && atomic_load(&l->is_over))
			end_line(l);
		if (!l->is_used)
			return l;
	}
	return NULL;
}

/* The lock is taken. fd is the line's from then on that it answers 0. */
static int
begin_line(struct bridge *b, int fd, struct err *err)
{
	struct line *l = b->is_over ? NULL : free_line(b);
	int rc;

	if (l == NULL)
		return err_set(err, ERR_LIMIT, "too many requests at once");
	rc = remote_clone(b->conf.remote, &l->remote, err);
	if (rc != 0)
		return rc;
	l->bridge = b;
	l->fd = fd;
	atomic_store(&l->is_over, false);
	if (pthread_create(&l->thread, NULL, serve_line, l) != 0) {
		remote_close(&l->remote);
		return err_set(err, ERR_IO, "no thread: %s", os_cause(errno));
	}
	l->is_used = true;
	return 0;
}

int
bridge_take(struct bridge *b, int fd, struct err *err)
{
	int rc;

	(void)pthread_mutex_lock(&b->lines);
	rc = begin_line(b, fd, err);
	(void)pthread_mutex_unlock(&b->lines);
	if (rc != 0)
		(void)close(fd);
	return rc;
}

int
bridge_connect(void *arg, struct err *err)
{
	int fd[2];
	int rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
		return err_set(err, ERR_IO, "socketpair: %s", os_cause(errno));
	rc = bridge_take(arg, fd[1], err);
	if (rc == 0)
		return fd[0];
	(void)close(fd[0]);
	return rc;
}

void
bridge_last(struct bridge *b, char ret_state[32], bool *ret_timed_out)
{
	(void)pthread_mutex_lock(&b->lock);
	(void)snprintf(ret_state, 32, "%s", b->state);
	*ret_timed_out = b->timed_out;
	(void)pthread_mutex_unlock(&b->lock);
}
