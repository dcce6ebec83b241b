/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/serve.c: the daemon, from its configuration to its end.
 */
#define _GNU_SOURCE
#include "control/api/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control/api/api.h"
#include "control/api/conf.h"
#include "control/api/event.h"
#include "control/api/http.h"
#include "control/api/notify.h"
#include "control/store/lock.h"
#include "world/os/descriptors.h"
#include "world/os/loop.h"

#define PATH_LEN      512
#define TOKEN_LEN     1024
#define ADMIN_THREADS 2
#define ADMIN_CONNS   256

struct daemon {
	const struct serve_conf *given;
	struct conf conf;
	char state[PATH_LEN];
	char new_org[TOKEN_LEN];
	int lock;
	struct store *store;
	struct auth *auth;
	struct event_log *events;
	struct host *host;
	struct api *api;
	struct http *http;
	struct http *admin;
};

/* ---- what it says ------------------------------------------------------------------ */

static bool says_json;
static bool is_quiet;

static void
say(const char *level, const char *text)
{
	char now[STORE_TIME];
	json_t *line;
	char *out;

	if (is_quiet && strcmp(level, "info") == 0)
		return;
	if (!says_json) {
		(void)fprintf(stderr, "godwit: %s\n", text);
		return;
	}
	line = json_pack("{s:s,s:s,s:s}", "ts", store_now(now), "level", level,
	                 "msg", text);
	out = json_dumps(line, JSON_COMPACT);
	if (out != NULL)
		(void)fprintf(stderr, "%s\n", out);
	free(out);
	json_decref(line);
}

static void
tell_failure(const char *text)
{
	say("error", text);
}

/* ---- configuration ---------------------------------------------------------------- */

static int
override(struct conf *c, enum conf_id id, const char *text, struct err *err)
{
	return text != NULL && text[0] != '\0' ? conf_set(c, id, text, err) : 0;
}

static int
load(const struct serve_conf *given, struct conf *ret, struct err *err)
{
	int rc = conf_load(ret, given->config, tell_failure, err);

	if (rc != 0)
		return rc;
	rc = override(ret, CONF_LISTEN, given->listen, err);
	if (rc == 0)
		rc = override(ret, CONF_ADMIN, given->admin, err);
	if (rc == 0)
		rc = override(ret, CONF_STATE, given->state, err);
	if (rc == 0)
		rc = override(ret, CONF_ADMIN_TOKEN, given->admin_token_file,
		              err);
	if (rc != 0)
		conf_fini(ret);
	return rc;
}

/* Every folder of a path, 0700. */
static void
make_folders(const char *path)
{
	char part[PATH_LEN];

	for (const char *p = strchr(path + 1, '/'); p != NULL;
	     p = strchr(p + 1, '/')) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(p - path),
		               path);
		(void)mkdir(part, 0700); /* what is there already is fine */
	}
}

static int
pick_state(struct daemon *d, struct err *err)
{
	const char *text = conf_text(&d->conf, CONF_STATE);
	/* The main thread, before there are others. */
	// NOLINTNEXTLINE(concurrency-mt-unsafe)
	const char *base = getenv("XDG_STATE_HOME");
	// NOLINTNEXTLINE(concurrency-mt-unsafe)
	const char *home = getenv("HOME");
	int n;

	if (text[0] != '\0')
		n = snprintf(d->state, sizeof(d->state), "%s", text);
	else if (base != NULL && base[0] == '/')
		n = snprintf(d->state, sizeof(d->state), "%s/godwit/serve.db",
		             base);
	else if (home != NULL && home[0] == '/')
		n = snprintf(d->state, sizeof(d->state),
		             "%s/.local/state/godwit/serve.db", home);
	else
		return err_set(err, ERR_USAGE,
		               "there is no home directory for the state "
		               "file; give --state FILE");
	if (n < 0 || (size_t)n >= sizeof(d->state))
		return err_set(err, ERR_USAGE,
		               "the path of --state is longer than 511 bytes");
	if (text[0] == '\0' && !d->given->is_check)
		make_folders(d->state);
	return 0;
}

/* One line of a file that only its owner should read. */
static int
read_secret(const char *path, char *ret, size_t size, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret, size - 1) : -1;

	if (n < 0) {
		int rc = err_set(err, ERR_USAGE, "%.150s: %s", path,
		                 os_cause(errno));

		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	(void)close(fd);
	ret[n] = '\0';
	ret[strcspn(ret, "\r\n")] = '\0';
	if (ret[0] == '\0')
		return err_set(err, ERR_USAGE, "%.150s: is empty", path);
	return 0;
}

static int
check_readable(const struct conf *c, enum conf_id id, struct err *err)
{
	const char *path = conf_text(c, id);

	if (path[0] == '\0' || access(path, R_OK) == 0)
		return 0;
	return err_set(err, ERR_USAGE, "%s: %.150s: %s", conf_key(id), path,
	               os_cause(errno));
}

static int
read_conf(struct daemon *d, struct err *err)
{
	const char *path;
	int rc = load(d->given, &d->conf, err);

	if (rc == 0)
		rc = pick_state(d, err);
	if (rc == 0)
		rc = check_readable(&d->conf, CONF_CERTIFICATE, err);
	if (rc == 0)
		rc = check_readable(&d->conf, CONF_KEY, err);
	path = rc == 0 ? conf_text(&d->conf, CONF_NEW_ORG) : "";
	if (rc == 0 && path[0] != '\0')
		rc = read_secret(path, d->new_org, sizeof(d->new_org), err);
	return rc;
}

static void
print_token(void *arg, const char *token)
{
	(void)arg;
	(void)printf("%s\n", token);
	(void)fflush(stdout);
	say("info", "the line above is the super-admin's token; it is not "
	            "shown again");
}

/* ---- start -------------------------------------------------------------------------- */

static int
open_auth(struct daemon *d, struct err *err)
{
	const char *file = conf_text(&d->conf, CONF_ADMIN_TOKEN);
	json_t *oidc = conf_oidc(&d->conf);
	struct auth_conf c = {
		.state = d->state,
		.admin_token_file = file[0] != '\0' ? file : NULL,
		.first_token = print_token,
		.new_organization_token = d->new_org,
		.oidc = oidc,
	};

	d->auth = auth_new(d->store, &c, err);
	json_decref(oidc);
	return d->auth != NULL ? 0 : -(int)err->code;
}

static void
wake(void *arg)
{
	struct daemon *d = arg;

	if (d->http != NULL)
		http_wake(d->http);
}

static int
open_state(struct daemon *d, struct err *err)
{
	struct api_conf c = {
		.version = GODWIT_VERSION,
		.body_max = (size_t)conf_number(&d->conf, CONF_BODY),
		.has_admin = conf_text(&d->conf, CONF_ADMIN)[0] != '\0',
	};
	int rc;

	d->lock = lock_take(d->state, err);
	if (d->lock < 0)
		return d->lock;
	d->store = store_open(d->state, err);
	if (d->store == NULL)
		return -(int)err->code;
	rc = open_auth(d, err);
	if (rc != 0)
		return rc;
	d->events = event_open(d->state, err);
	if (d->events == NULL)
		return -(int)err->code;
	d->api = api_new(&c, d->store, d->auth, d->events, err);
	return d->api != NULL ? 0 : -(int)err->code;
}

static int
open_host(struct daemon *d, struct err *err)
{
	struct host_conf c = { .state = d->state,
		               .on_event = api_on_event,
		               .on_state = api_on_state,
		               .arg = d->api };

	d->host = host_new(&c, err);
	if (d->host == NULL)
		return -(int)err->code;
	api_set_host(d->api, d->host);
	return 0;
}

static int
open_http(struct daemon *d, struct err *err)
{
	const struct conf *f = &d->conf;
	struct http_conf c = {
		.listen = conf_text(f, CONF_LISTEN),
		.certificate = conf_text(f, CONF_CERTIFICATE),
		.key = conf_text(f, CONF_KEY),
		.threads = (uint32_t)conf_number(f, CONF_THREADS),
		.connections = (uint32_t)conf_number(f, CONF_CONNECTIONS),
		.per_address = (uint32_t)conf_number(f, CONF_PER_ADDRESS),
		.request_s = (uint32_t)conf_number(f, CONF_REQUEST_S),
		.header_max = (uint32_t)conf_number(f, CONF_HEADER),
		.body_max = (size_t)conf_number(f, CONF_BODY),
	};

	d->http = http_new(&c, api_handle, d->api, err);
	if (d->http == NULL)
		return -(int)err->code;
	event_on_add(d->events, wake, d);
	if (conf_text(f, CONF_ADMIN)[0] == '\0')
		return 0;
	c.listen = conf_text(f, CONF_ADMIN);
	c.certificate = NULL;
	c.key = NULL;
	c.threads = ADMIN_THREADS;
	c.connections = ADMIN_CONNS;
	c.per_address = ADMIN_CONNS;
	d->admin = http_new(&c, api_handle_admin, d->api, err);
	return d->admin != NULL ? 0 : -(int)err->code;
}

static void
announce(const struct daemon *d)
{
	const char *listen = conf_text(&d->conf, CONF_LISTEN);
	const char *colon = strrchr(listen, ':');
	bool is_tls = conf_text(&d->conf, CONF_CERTIFICATE)[0] != '\0';
	char text[400];

	(void)snprintf(text, sizeof(text), "%s serves %s://%.*s:%u/api/v1",
	               GODWIT_VERSION, is_tls ? "https" : "http",
	               colon != listen ? (int)(colon - listen) : 9,
	               colon != listen ? listen : "127.0.0.1",
	               http_port(d->http));
	say("info", text);
	if (d->admin != NULL) {
		(void)snprintf(text, sizeof(text),
		               "health and metrics are on port %u",
		               http_port(d->admin));
		say("info", text);
	}
}

/* ---- run ----------------------------------------------------------------------------- */

static void
reload(struct daemon *d)
{
	struct conf next;
	const char *key;
	char text[200];
	struct err err;

	notify_reloading();
	if (load(d->given, &next, &err) != 0) {
		say("error", err.text);
		notify("READY=1\nSTATUS=the new configuration was refused");
		return;
	}
	key = conf_differs(&d->conf, &next);
	if (key != NULL) {
		(void)snprintf(text, sizeof(text),
		               "reload: %s was changed and needs a restart",
		               key);
		say("warn", text);
	}
	conf_fini(&next);
	if (http_reload(d->http, &err) != 0)
		say("error", err.text);
	else
		say("info", "reloaded");
	notify("READY=1");
}

static void
wait_for_end(struct daemon *d, const sigset_t *set)
{
	for (;;) {
		int s = sigwaitinfo(set, NULL);

		if (s == SIGHUP)
			reload(d);
		else if (s == SIGTERM || s == SIGINT)
			return;
	}
}

/* A second SIGTERM cuts the wait short. */
static void
linger(const struct daemon *d, const sigset_t *set)
{
	struct timespec t = { .tv_sec = conf_number(&d->conf, CONF_STOP_S) };

	if (t.tv_sec > 0)
		(void)sigtimedwait(set, NULL, &t);
}

static void
stop(struct daemon *d)
{
	http_quiesce(d->http);
	http_free(d->http);
	d->http = NULL;
	if (d->api != NULL)
		api_set_ready(d->api, false);
	if (d->api != NULL)
		api_stop(d->api);
	/* It may still tell what ends; then nobody hears any more. */
	host_free(d->host);
	d->host = NULL;
	http_free(d->admin);
	/* Its thread writes what is queued, through the api. */
	event_free(d->events);
	api_free(d->api);
	auth_free(d->auth);
	store_close(d->store);
	lock_drop(d->lock);
	conf_fini(&d->conf);
	explicit_bzero(d->new_org, sizeof(d->new_org));
}

static int
run(struct daemon *d, const sigset_t *set, struct err *err)
{
	int rc = open_state(d, err);

	if (rc == 0)
		rc = open_host(d, err);
	if (rc == 0)
		rc = open_http(d, err);
	if (rc != 0)
		return rc;
	api_start_all(d->api, tell_failure);
	api_set_ready(d->api, true);
	announce(d);
	if (d->given->on_up != NULL)
		d->given->on_up(d->given->arg, http_port(d->http));
	notify("READY=1");
	wait_for_end(d, set);
	say("info", "stopping: running calls and requests end first");
	notify("STOPPING=1");
	api_set_ready(d->api, false);
	linger(d, set);
	return 0;
}

int
serve(const struct serve_conf *c, struct err *err)
{
	struct daemon d = { .given = c, .lock = -1 };
	sigset_t set;
	int rc;

	says_json = c->is_json;
	is_quiet = c->is_quiet;
	rc = read_conf(&d, err);
	if (rc != 0 || c->is_check) {
		conf_fini(&d.conf);
		return rc;
	}
	descriptors_raise();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a limit of files is an error */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	if (!c->leaves_int)
		(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	rc = run(&d, &set, err);
	stop(&d);
	return rc;
}
