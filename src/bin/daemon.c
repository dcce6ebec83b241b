/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/daemon.c: godwit migrate of several pairs: a daemon in its own process.
 *
 *	caller: serve() ───────────────────────────────── SIGTERM ── end
 *	thread:    └ up ── endpoints, interlay, migration ── ready
 *	thread:                                    └ control socket ── bridge
 */
#define _DEFAULT_SOURCE
#include "bin/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/api/bridge.h"
#include "bin/api/remote.h"
#include "bin/check.h"
#include "bin/look.h"
#include "bin/state.h"
#include "bin/status.h"
#include "bin/verbs.h"
#include "bin/wanted.h"
#include "control/api/serve.h"
#include "world/os/loop.h"

#define NAME "migration"

struct whole {
	const struct run_conf *conf;
	const struct plan *plan;
	bool is_check;  /* look, say, end                           */
	json_t *checks; /* what it saw; NULL: nothing               */
	int ready_fd;   /* of run_migration(); -1: nobody waits     */
	bool has_told;  /* ... and was told                         */
	json_t *own;    /* of every status: what the API cannot know */
	char token_file[STATE_PATH_MAX + 8];
	int up[2]; /* a pipe: the port comes, or the end      */
	int listen_fd;
	struct remote remote;
	struct bridge *bridge;
	struct err err; /* why it did not begin                    */
	_Atomic bool is_over;
	pthread_mutex_t lock; /* of bridge, listen_fd and is_over      */
};

/* ---- files ------------------------------------------------------------------ */

static void
token_path(const struct run_conf *c, char *ret, size_t n)
{
	(void)snprintf(ret, n, "%s.token", c->state);
}

/* Is there from just before it begins. */
static void
begun_path(const struct run_conf *c, char *ret, size_t n)
{
	(void)snprintf(ret, n, "%s.begun", c->state);
}

bool
daemon_has_begun(const struct run_conf *c)
{
	char path[STATE_PATH_MAX + 8];

	token_path(c, path, sizeof(path));
	return access(path, F_OK) == 0;
}

json_t *
daemon_begun(const struct run_conf *c)
{
	char path[STATE_PATH_MAX + 8];

	begun_path(c, path, sizeof(path));
	return json_load_file(path, 0, NULL);
}

/* ---- calls ------------------------------------------------------------------ */

/* body is stolen. *ret_data (NULL: not wanted) is the caller's. */
static int
ask(struct whole *w, const char *method, const char *path, json_t *body,
    json_t **ret_data)
{
	char full[200];
	char key[40];
	struct web_request q = {
		.method = method, .path = full, .body = body, .key = key
	};
	struct web_answer a = { .status = 0 };
	int rc;

	(void)snprintf(full, sizeof(full), "/api/v1/%s", path);
	web_key(key);
	if (strcmp(method, "GET") == 0)
		q.key = NULL;
	rc = remote_call(&w->remote, &q, &a, &w->err);
	if (rc == 0)
		rc = remote_refusal(&a, &w->err);
	if (rc == 0 && ret_data != NULL)
		*ret_data = json_incref(json_object_get(a.body, "data"));
	web_answer_fini(&a);
	json_decref(body);
	return rc;
}

/* All things of a kind. One that goes with another one is refused, or gone. */
static void
sweep_kind(struct whole *w, const char *kind)
{
	json_t *list = NULL;
	char path[160];
	size_t i;
	json_t *e;

	(void)snprintf(path, sizeof(path), "%s?limit=100", kind);
	if (ask(w, "GET", path, NULL, &list) != 0)
		return;
	json_array_foreach(list, i, e)
	{
		const char *id = look_text(e, "id");

		if (id[0] == '\0')
			id = look_text(e, "endpoint");
		(void)snprintf(path, sizeof(path), "%s/%s", kind, id);
		(void)ask(w, "DELETE", path, NULL, NULL);
	}
	json_decref(list);
}

/* What an attempt before has left that never began. */
static void
sweep(struct whole *w)
{
	(void)ask(w, "DELETE", "migrations/" NAME, NULL, NULL);
	sweep_kind(w, "interlays");
	sweep_kind(w, "endpoints");
}

/* The first thing that stands in the way. */
static int
test(struct whole *w)
{
	json_t *t = NULL;
	int rc = ask(w, "POST", "migrations/" NAME "/test", NULL, &t);
	size_t i;
	json_t *one;

	if (rc != 0)
		return rc;
	json_decref(w->checks);
	w->checks = json_copy(w->plan->checks);
	(void)json_array_extend(w->checks, json_object_get(t, "checks"));
	if (!look_bool(t, "valid"))
		rc = err_set(&w->err, ERR_REFUSED, "a check has failed");
	json_decref(t);
	json_array_foreach(w->checks, i, one)
	{
		if (rc == 0 || strcmp(look_text(one, "result"), "fail") != 0)
			continue;
		return err_set(&w->err, ERR_REFUSED, "%s: %.200s",
		               look_text(one, "name"),
		               look_text(one, "detail"));
	}
	return rc;
}

/* Everything that the plan names. */
static int
make(struct whole *w)
{
	const json_t *kinds[] = { w->plan->endpoints, w->plan->interlays };
	static const char *const path[] = { "endpoints", "interlays" };
	char to[160];
	const char *id;
	json_t *one;
	size_t i;
	int rc = 0;

	sweep(w);
	for (int k = 0; k < 2; k++) {
		json_array_foreach(kinds[k], i, one)
		{
			if (rc == 0)
				rc = ask(w, "POST", path[k], json_incref(one),
				         NULL);
		}
	}
	if (rc == 0)
		rc = ask(w, "POST", "migrations",
		         wanted_migration(w->conf, NAME), NULL);
	json_object_foreach(w->plan->toward, id, one)
	{
		(void)snprintf(to, sizeof(to),
		               "migrations/" NAME "/interlay/%s", id);
		if (rc == 0)
			rc = ask(w, "POST", to,
			         json_pack("{s:O}", "endpoint", one), NULL);
	}
	return rc == 0 ? test(w) : rc;
}

/* What changes the servers. */
static int
migrate(struct whole *w)
{
	char path[STATE_PATH_MAX + 8];
	int fd;
	int rc;

	begun_path(w->conf, path, sizeof(path));
	fd = open(path, O_CREAT | O_TRUNC | O_CLOEXEC | O_WRONLY, 0600);
	if (fd < 0)
		return err_set(&w->err, ERR_IO, "%.200s: %s", path,
		               os_cause(errno));
	if (w->plan->what != NULL)
		rc = json_dumpfd(w->plan->what, fd, JSON_COMPACT);
	else
		rc = 0;
	if (close(fd) != 0 || rc != 0)
		return err_set(&w->err, ERR_IO, "%.200s: %s", path,
		               os_cause(errno));
	rc = ask(w, "POST", "migrations/" NAME "/migrate", NULL, NULL);
	if (rc != 0)
		(void)unlink(path);
	return rc;
}

/* The migration is there and has begun: the daemon goes on with it by itself. */
static int
begin(struct whole *w)
{
	json_t *m = NULL;
	const char *status;
	char path[STATE_PATH_MAX + 8];
	bool has_begun;
	bool is_there;
	int rc;

	if (ask(w, "GET", "migrations/" NAME, NULL, &m) != 0 &&
	    w->err.code != ERR_MISSING)
		return -(int)w->err.code;
	status = look_text(m, "status");
	has_begun = status[0] != '\0' && strcmp(status, "pending") != 0 &&
	            strcmp(status, "ready") != 0;
	is_there = m != NULL;
	json_decref(m);
	if (has_begun)
		return 0;
	/* Killed while it began: what its legs have left is theirs by its name. */
	begun_path(w->conf, path, sizeof(path));
	if (is_there && access(path, F_OK) == 0)
		return migrate(w);
	rc = make(w);
	return rc == 0 ? migrate(w) : rc;
}

/* ---- the control socket ------------------------------------------------------ */

static void
stop_all(void)
{
	(void)kill(getpid(), SIGTERM);
}

static void *
socket_thread(void *arg)
{
	struct whole *w = arg;
	struct err err;

	for (;;) {
		int fd = accept(w->listen_fd, NULL, NULL);

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return NULL; /* it was shut down */
		if (bridge_take(w->bridge, fd, &err) != 0)
			continue; /* it was closed: too many at once */
	}
}

/* ---- the thread beside the daemon -------------------------------------------- */

static int
connect_self(struct whole *w, uint16_t port)
{
	struct remote *r = &w->remote;

	(void)snprintf(r->server, sizeof(r->server), "http://127.0.0.1:%u",
	               port);
	r->token = remote_read_line(w->token_file, "the token of this daemon",
	                            &w->err);
	if (r->token == NULL)
		return -(int)w->err.code;
	r->web = web_new(r->server, NULL, &w->err);
	return r->web != NULL ? 0 : -(int)w->err.code;
}

static int
open_desk(struct whole *w, pthread_t *ret)
{
	const struct bridge_conf b = { .remote = &w->remote,
		                       .migration = NAME,
		                       .stop = stop_all,
		                       .begins_again = true,
		                       .own = w->own,
		                       .interlays = w->plan->shown };
	struct bridge *bridge = bridge_new(&b, &w->err);
	int fd = -1;
	int rc = bridge != NULL ? 0 : -(int)w->err.code;

	(void)pthread_mutex_lock(&w->lock);
	if (rc == 0 && atomic_load(&w->is_over))
		rc = err_set(&w->err, ERR_STATE, "it was stopped");
	if (rc == 0) {
		fd = state_listen(w->conf->state, &w->err);
		rc = fd >= 0 ? 0 : fd;
	}
	if (rc == 0) {
		w->listen_fd = fd;
		w->bridge = bridge;
		if (pthread_create(ret, NULL, socket_thread, w) != 0) {
			w->bridge = NULL;
			rc = err_set(&w->err, ERR_NOMEM, "no thread");
		}
	}
	(void)pthread_mutex_unlock(&w->lock);
	if (rc != 0)
		bridge_free(bridge);
	return rc;
}

/* The first word: 0 ready, else why not. */
static void
tell(struct whole *w, const struct err *err)
{
	size_t n = err != NULL ? strlen(err->text) : 1;

	if (w->ready_fd < 0 || w->has_told)
		return;
	w->has_told = true;
	if (write(w->ready_fd, err != NULL ? err->text : "", n) < 0)
		return; /* whoever waits sees the end of the process, too */
}

static void *
beside(void *arg)
{
	struct whole *w = arg;
	pthread_t desk;
	uint16_t port;
	int rc;

	if (read(w->up[0], &port, sizeof(port)) != sizeof(port))
		return NULL; /* it never came up */
	rc = connect_self(w, port);
	if (rc == 0)
		rc = w->is_check ? make(w) : begin(w);
	if (rc == 0 && !w->is_check)
		rc = open_desk(w, &desk);
	if (rc == 0)
		w->err.code = ERR_NONE;
	if (rc != 0 || w->is_check) {
		stop_all();
		return NULL;
	}
	tell(w, NULL);
	(void)pthread_join(desk, NULL);
	return NULL;
}

static void
on_up(void *arg, uint16_t port)
{
	const struct whole *w = arg;

	if (write(w->up[1], &port, sizeof(port)) != sizeof(port))
		stop_all();
}

/* ---- all of it ------------------------------------------------------------------ */

/* Nobody asks any more; then the thread ends. */
static void
close_desk(struct whole *w)
{
	(void)pthread_mutex_lock(&w->lock);
	atomic_store(&w->is_over, true);
	if (w->bridge != NULL)
		(void)shutdown(w->listen_fd, SHUT_RDWR);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->bridge != NULL)
		bridge_hang_up(w->bridge);
}

static int
run(struct whole *w, struct err *err)
{
	struct serve_conf conf = { .listen = "127.0.0.1:0",
		                   .state = w->conf->state,
		                   .admin_token_file = w->token_file,
		                   .is_quiet = true,
		                   .leaves_int = !w->is_check,
		                   .on_up = on_up,
		                   .arg = w };
	sigset_t set;
	pthread_t thread;
	int rc;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pipe(w->up) != 0)
		return err_set(err, ERR_IO, "pipe: %s", os_cause(errno));
	if (pthread_create(&thread, NULL, beside, w) != 0)
		return err_set(err, ERR_NOMEM, "no thread");
	rc = serve(&conf, err);
	(void)close(w->up[1]);
	close_desk(w);
	(void)pthread_join(thread, NULL);
	if (w->bridge != NULL) {
		char path[STATE_PATH_MAX + 8];

		(void)snprintf(path, sizeof(path), "%s.sock", w->conf->state);
		(void)unlink(path);
		(void)close(w->listen_fd);
		bridge_free(w->bridge);
	}
	(void)close(w->up[0]);
	remote_close(&w->remote);
	if (rc == 0 && w->err.code != ERR_NONE) {
		*err = w->err;
		rc = -(int)err->code;
	}
	return rc;
}

static json_t *
own_words(const struct run_conf *c, const struct plan *p)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:i,s:s}", "old", p->old, "new",
	                 p->new, "listen", p->listen, "state_file", c->state,
	                 "pid", (int)getpid(), "version", GODWIT_VERSION);
}

int
daemon_migrate(const struct run_conf *c, const struct plan *p, int ready_fd,
               struct err *err)
{
	struct whole w = { .conf = c,
		           .plan = p,
		           .ready_fd = ready_fd,
		           .own = own_words(c, p) };
	int rc = 0;

	token_path(c, w.token_file, sizeof(w.token_file));
	if (pthread_mutex_init(&w.lock, NULL) != 0)
		rc = err_set(err, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = run(&w, err);
	if (rc != 0)
		tell(&w, err);
	json_decref(w.own);
	json_decref(w.checks);
	return rc != 0 ? err_exit(err->code) : STATUS_DONE;
}

/* ---- a look ------------------------------------------------------------------ */

/* A folder of our own and the files in it. */
static void
sweep_folder(const char *path)
{
	DIR *d = opendir(path);

	if (d == NULL)
		return;
	// The stream is this function's own, so its readdir is safe.
	for (struct dirent *e = readdir(d); // NOLINT(concurrency-mt-unsafe)
	     e != NULL; e = readdir(d))     // NOLINT(concurrency-mt-unsafe)
		if (unlinkat(dirfd(d), e->d_name, 0) != 0)
			(void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	(void)closedir(d);
	(void)rmdir(path);
}

int
daemon_check(const struct args *a, const struct run_conf *c,
             const struct plan *p)
{
	struct run_conf look = *c;
	struct whole w = {
		.conf = &look, .plan = p, .is_check = true, .ready_fd = -1
	};
	struct err err = { .code = ERR_NONE };
	char folder[] = "/tmp/godwit-check-XXXXXX";
	int rc = 0;

	begun_path(c, w.token_file, sizeof(w.token_file));
	if (access(w.token_file, F_OK) == 0)
		rc = err_set(&err, ERR_STATE,
		             "it has begun already; godwit status --state "
		             "%.200s shows it",
		             c->state);
	else if (mkdtemp(folder) == NULL)
		rc = err_set(&err, ERR_IO, "%s: %s", folder, os_cause(errno));
	if (rc == 0) {
		(void)snprintf(look.state, sizeof(look.state), "%s/check.db",
		               folder);
		token_path(&look, w.token_file, sizeof(w.token_file));
		if (pthread_mutex_init(&w.lock, NULL) != 0)
			rc = err_set(&err, ERR_NOMEM, "out of memory");
		if (rc == 0)
			rc = run(&w, &err);
		sweep_folder(folder);
	}
	rc = check_print(a, w.checks, rc != 0 ? &err : NULL);
	json_decref(w.checks);
	return rc;
}
