/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/cluster.c: godwit migrate where a URL names a node of a Redis Cluster.
 *
 *	main:   serve() ──────────────────────────── SIGTERM, SIGINT ── end
 *	thread:    └ up ── endpoints, interlay, migration ── lines
 *	thread:                                    └ control socket ── bridge
 */
#define _DEFAULT_SOURCE
#include "bin/cluster.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bin/api/bridge.h"
#include "bin/api/remote.h"
#include "bin/look.h"
#include "bin/state.h"
#include "bin/status.h"
#include "bin/verbs.h"
#include "bin/watch.h"
#include "control/agent.h"
#include "control/api/serve.h"
#include "control/limit.h"
#include "control/url.h"
#include "core/slots.h"
#include "world/os/loop.h"

#define NAME    "migration"
#define FRONT   "front"
#define LINE_MS 5000 /* between status lines */

struct whole {
	const struct args *args;
	const struct run_conf *conf;
	char token_file[STATE_PATH_MAX + 8];
	int up[2]; /* a pipe: the port comes, or the end      */
	int listen_fd;
	struct remote remote;
	struct bridge *bridge;
	struct err err; /* why it did not begin                    */
	_Atomic bool is_over;
	pthread_mutex_t lock; /* of bridge, listen_fd and is_over      */
};

/* ---- is it one? ---------------------------------------------------------- */

/* Has it some of the slots? One that has all is as good as a server alone. */
static bool
is_node(const char *text)
{
	struct facts *f = calloc(1, sizeof(*f));
	struct side_conf side;
	struct err err; /* why not is said later */
	struct agent a;
	struct url u;
	bool is = false;

	if (f != NULL && url_parse(text, &u, &err) == 0 &&
	    url_side(&u, SIDE_OLD, &side, &err) == 0) {
		agent_init(&a, &side, "godwit:migrate");
		is = agent_open(&a, false, LIMIT_PREFLIGHT_MS, &err) == 0 &&
		     agent_probe(&a, LIMIT_PREFLIGHT_MS, f, &err) == 0 &&
		     f->told_cluster && f->cluster.node.slot_n > 0 &&
		     f->cluster.node.slot_n < HASH_SLOTS;
		agent_fini(&a);
		explicit_bzero(&side, sizeof(side));
	}
	explicit_bzero(&u, sizeof(u));
	free(f);
	return is;
}

static void
token_path(const struct run_conf *c, char *ret, size_t n)
{
	(void)snprintf(ret, n, "%s.token", c->state);
}

bool
cluster_is_meant(const struct run_conf *c)
{
	char path[STATE_PATH_MAX + 8];

	token_path(c, path, sizeof(path));
	/* Begun already: the fence may shut us out by now, a server be away. */
	if (access(path, F_OK) == 0)
		return true;
	if (access(c->state, F_OK) == 0 || strncmp(c->old_url, "redis", 5) != 0)
		return false;
	return is_node(c->old_url) || is_node(c->new_url);
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

static json_t *
endpoint(const char *name, const char *url)
{
	return json_pack("{s:s,s:s,s:{s:s}}", "endpoint", name, "kind", "redis",
	                 "config", "url", url);
}

static json_t *
strategy(const struct run_conf *c)
{
	json_t *j = json_pack("{s:s}", "type", strategy_name(c->strategy));
	json_t *steps;

	if (c->strategy != STRATEGY_CANARY)
		return j;
	steps = json_array();
	for (uint32_t i = 0; i < c->step_n; i++)
		(void)json_array_append_new(
			steps, json_pack("{s:f}", "read_percentage",
		                         c->step_ppm[i] / 1e6));
	(void)json_object_set_new(j, "steps", steps);
	return j;
}

/* What an attempt before has left that never began. */
static void
sweep(struct whole *w)
{
	json_t *list = NULL;
	char path[160];
	size_t i;
	json_t *e;

	(void)ask(w, "DELETE", "migrations/" NAME, NULL, NULL);
	(void)ask(w, "DELETE", "interlays/" FRONT, NULL, NULL);
	if (ask(w, "GET", "endpoints?limit=100", NULL, &list) != 0)
		return;
	json_array_foreach(list, i, e)
	{
		const char *id = look_text(e, "endpoint");

		if (id[0] == '\0')
			id = look_text(e, "id");
		(void)snprintf(path, sizeof(path), "endpoints/%s", id);
		(void)ask(w, "DELETE", path, NULL, NULL);
	}
	json_decref(list);
}

/* The first thing that stands in the way. */
static int
test(struct whole *w)
{
	json_t *t = NULL;
	const json_t *checks;
	int rc = ask(w, "POST", "migrations/" NAME "/test", NULL, &t);
	size_t i;
	json_t *one;

	if (rc != 0 || look_bool(t, "valid")) {
		json_decref(t);
		return rc;
	}
	rc = err_set(&w->err, ERR_UNABLE, "a check has failed");
	checks = json_object_get(t, "checks");
	json_array_foreach(checks, i, one)
	{
		if (strcmp(look_text(one, "result"), "fail") != 0)
			continue;
		rc = err_set(&w->err, ERR_UNABLE, "%s: %.200s",
		             look_text(one, "name"), look_text(one, "detail"));
		break;
	}
	json_decref(t);
	return rc;
}

static int
make(struct whole *w)
{
	const struct run_conf *c = w->conf;
	const char *at = c->listen;
	int rc;

	sweep(w);
	rc = ask(w, "POST", "endpoints", endpoint("old", c->old_url), NULL);
	if (rc == 0)
		rc = ask(w, "POST", "endpoints", endpoint("new", c->new_url),
		         NULL);
	if (rc == 0)
		rc = ask(w, "POST", "interlays",
		         json_pack("{s:s,s:o,s:s,s:s}", "id", FRONT, "listen",
		                   json_sprintf("%s%s",
		                                at[0] == ':' ? "127.0.0.1" : "",
		                                at),
		                   "masters_of", "old", "toward", "new"),
		         NULL);
	if (rc == 0)
		rc = ask(w, "POST", "migrations",
		         json_pack("{s:s,s:o,s:{s:s,s:s}}", "id", NAME,
		                   "strategy", strategy(c), "data", "type",
		                   "snapshot", "replace", "replace"),
		         NULL);
	if (rc == 0)
		rc = ask(w, "POST", "migrations/" NAME "/interlay/" FRONT,
		         json_pack("{s:s}", "endpoint", "new"), NULL);
	if (rc == 0)
		rc = test(w);
	return rc == 0 ? ask(w, "POST", "migrations/" NAME "/migrate", NULL,
	                     NULL)
	               : rc;
}

/* The migration is there and has begun: the daemon goes on with it by itself. */
static int
begin(struct whole *w)
{
	json_t *m = NULL;
	const char *status;
	bool has_begun;

	if (ask(w, "GET", "migrations/" NAME, NULL, &m) != 0 &&
	    w->err.code != ERR_MISSING)
		return -(int)w->err.code;
	status = look_text(m, "status");
	has_begun = status[0] != '\0' && strcmp(status, "pending") != 0 &&
	            strcmp(status, "ready") != 0;
	json_decref(m);
	return has_begun ? 0 : make(w);
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
		                       .begins_again = true };
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

static void
say_how(const struct whole *w)
{
	if (w->args->number[OPT_JSON] != 0)
		return;
	(void)printf("godwit: clients may connect to %s\n"
	             "godwit: a cluster; state %s; from a second terminal: "
	             "godwit status|promote|rollback|complete --state %s; "
	             "Ctrl-C stops it, the same command goes on later\n",
	             w->conf->listen, w->conf->state, w->conf->state);
	(void)fflush(stdout);
}

static void *
beside(void *arg)
{
	struct whole *w = arg;
	struct watch_conf lines = { .is_json = w->args->number[OPT_JSON] != 0,
		                    .every_ms = LINE_MS,
		                    .signal_fd = -1 };
	pthread_t desk;
	uint16_t port;
	struct err err;
	int rc;

	if (read(w->up[0], &port, sizeof(port)) != sizeof(port))
		return NULL; /* it never came up */
	rc = connect_self(w, port);
	if (rc == 0)
		rc = begin(w);
	if (rc == 0)
		rc = open_desk(w, &desk);
	if (rc != 0) {
		stop_all();
		return NULL;
	}
	w->err.code = ERR_NONE;
	say_how(w);
	lines.to =
		(struct talk_to){ .connect = bridge_connect, .arg = w->bridge };
	if (watch_lines(&lines, &err) != 0)
		(void)fprintf(stderr, "godwit: %s\n", err.text);
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

/* What a migration of one pair takes and this one does not. */
static int
check_options(const struct args *a, struct err *err)
{
	static const enum option_id other[] = {
		OPT_DEFINITION,   OPT_AUTO,          OPT_STEP_DURATION,
		OPT_MIN_REQUESTS, OPT_CHECK,         OPT_WRITE_MODE,
		OPT_ACK,          OPT_ACK_TIMEOUT,   OPT_CONFLICT,
		OPT_COPY_MODE,    OPT_COPY_PACE,     OPT_WORKERS,
		OPT_HOLD_MAX,     OPT_MAX_LAG,       OPT_TLS_CERT,
		OPT_TLS_KEY,      OPT_TLS_CLIENT_CA, OPT_TLS_CLIENT_OPTIONAL,
	};

	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		if (a->is_given[other[i]])
			return err_set(err, ERR_USAGE,
			               "--%s is not there for a cluster; "
			               "godwit serve has it (docs/guide)",
			               options[other[i]].name);
	return 0;
}

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
	return rc;
}

int
cluster_migrate(const struct args *a, const struct run_conf *c)
{
	struct whole w = { .args = a, .conf = c };
	struct err err = { .code = ERR_NONE };
	int rc = check_options(a, &err);

	token_path(c, w.token_file, sizeof(w.token_file));
	if (rc == 0 && pthread_mutex_init(&w.lock, NULL) != 0)
		rc = err_set(&err, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = run(&w, &err);
	if (rc != 0)
		return verb_fail(a, &err);
	return w.err.code != ERR_NONE ? verb_fail(a, &w.err) : STATUS_DONE;
}
