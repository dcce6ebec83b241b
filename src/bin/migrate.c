/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/migrate.c: godwit migrate: one migration, watched.
 *
 * On a terminal the engine runs in a child with a session of its own, so that
 * neither Ctrl-C nor the end of the terminal reaches it; this process shows the
 * screen. Elsewhere the engine runs here, and a thread prints what it hears on
 * the control socket, like any second terminal would.
 *
 *   terminal:  main ── fork ── child: run_migration
 *                └─ ready ── screen ── left: say how to go on
 *   else:      main: run_migration     thread: ready ── lines
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "bin/check.h"
#include "bin/cluster.h"
#include "bin/definition.h"
#include "bin/screen.h"
#include "bin/state.h"
#include "bin/status.h"
#include "bin/talk.h"
#include "bin/term.h"
#include "bin/verbs.h"
#include "bin/watch.h"
#include "control/run.h"
#include "control/url.h"
#include "world/os/loop.h"

#define LINE_MS 5000 /* between status lines                                */

/* run_migration(), or cluster_migrate(). */
typedef int engine_f(const struct run_conf *c, int ready_fd, struct err *err);

/* ---- from arguments to struct run_conf --------------------------------- */

static int
fill_state(const struct args *a, struct run_conf *c, struct err *err)
{
	const char *given = a->text[OPT_STATE];
	char here[STATE_PATH_MAX];

	if (given[0] == '\0' && a->number[OPT_CHECK] != 0)
		return snprintf(c->state, sizeof(c->state),
		                "/tmp/godwit-check-%d.db", (int)getpid()) > 0
		               ? 0
		               : -ERR_USAGE;
	if (given[0] == '\0')
		return state_for_listen(a->text[OPT_LISTEN], c->state,
		                        sizeof(c->state), err);
	/* Absolute: what we print must be right in any directory. */
	if (given[0] == '/')
		here[0] = '\0';
	else if (getcwd(here, sizeof(here) - 1) == NULL)
		return err_set(err, ERR_IO, "the current directory: %s",
		               os_cause(errno));
	if (snprintf(c->state, sizeof(c->state), "%s%s%s", here,
	             here[0] != '\0' ? "/" : "",
	             given) >= (int)sizeof(c->state))
		return err_set(err, ERR_USAGE, "--state: the path is too long");
	return 0;
}

static int
fill_urls(const struct args *a, struct run_conf *c, struct err *err)
{
	struct url old;
	struct url new;
	int rc = verb_urls(a, &old, &new, err);

	if (rc == 0 && c->pool_max > 0 && old.kind != URL_POSTGRES)
		rc = err_set(err, ERR_USAGE,
		             "--pool is for PostgreSQL: Redis' clients share "
		             "connections anyhow");
	if (rc == 0)
		rc = url_print(&old, c->old_url, sizeof(c->old_url), err);
	if (rc == 0)
		rc = url_print(&new, c->new_url, sizeof(c->new_url), err);
	return rc;
}

static int
fill_tls(const struct args *a, struct run_conf *c, struct err *err)
{
	const struct {
		enum option_id id;
		char *ret;
	} files[] = {
		{ OPT_TLS_CERT, c->tls_cert },
		{ OPT_TLS_KEY, c->tls_key },
		{ OPT_TLS_CLIENT_CA, c->tls_client_ca },
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (snprintf(files[i].ret, sizeof(c->tls_cert), "%s",
		             a->text[files[i].id]) >= (int)sizeof(c->tls_cert))
			return err_set(err, ERR_USAGE,
			               "--%s: the path is too long",
			               options[files[i].id].name);
	c->tls_client_optional = a->number[OPT_TLS_CLIENT_OPTIONAL] != 0;
	if (c->tls_client_ca[0] != '\0' && c->tls_cert[0] == '\0')
		return err_set(err, ERR_USAGE,
		               "--tls-client-ca needs --tls-cert and "
		               "--tls-key: without them clients are plain");
	return 0;
}

/* In the order of the words in option.tbl. */
static const enum strategy_kind strategies[] = {
	STRATEGY_BIG_BANG,
	STRATEGY_CANARY,
	STRATEGY_BLUE_GREEN,
	STRATEGY_SHADOW_TRAFFIC,
};

static int
fill_conf(const struct args *a, struct run_conf *c, struct err *err)
{
	const char *listen = a->text[OPT_LISTEN];
	int rc;

	run_conf_init(c);
	/* A look needs no door. */
	if (listen[0] == '\0' && a->number[OPT_CHECK] != 0)
		listen = "127.0.0.1:0";
	if (listen[0] == '\0')
		return err_set(err, ERR_USAGE,
		               "--listen is missing: where shall applications "
		               "connect? For instance --listen 127.0.0.1:6400");
	if (strlen(listen) >= sizeof(c->listen))
		return err_set(err, ERR_USAGE, "--listen: too long");
	(void)snprintf(c->listen, sizeof(c->listen), "%s", listen);
	c->strategy = strategies[a->number[OPT_STRATEGY]];
	c->step_n = c->strategy == STRATEGY_CANARY
	                    ? args_steps(a->text[OPT_STEPS], c->step_ppm,
	                                 RUN_STEPS_MAX, err)
	                    : 0;
	c->write_mode = (enum write_mode)a->number[OPT_WRITE_MODE];
	c->ack = a->number[OPT_ACK] == 0 ? ACK_BOTH : ACK_AUTHORITY;
	c->ack_timeout_ms = (uint32_t)a->number[OPT_ACK_TIMEOUT];
	c->conflict = (enum conflict_rule)a->number[OPT_CONFLICT];
	c->conflict_said = a->is_given[OPT_CONFLICT];
	if (a->text[OPT_NEWER][0] != '\0')
		c->newer = a->text[OPT_NEWER];
	c->copy_mode = (enum copy_mode)a->number[OPT_COPY_MODE];
	c->copy_pace = (enum copy_pace)a->number[OPT_COPY_PACE];
	c->workers = (uint32_t)a->number[OPT_WORKERS];
	/* off, session, transaction */
	c->pool = a->number[OPT_POOL] == 2 ? RELAY_POOL_TRANSACTION
	                                   : RELAY_POOL_SESSION;
	if (a->number[OPT_POOL] > 0)
		c->pool_max = (uint32_t)a->number[OPT_POOL_SIZE];
	c->pool_wait_ms = (uint32_t)a->number[OPT_POOL_WAIT];
	c->pool_idle_ms = (uint32_t)a->number[OPT_POOL_IDLE];
	c->hold_max_ms = (uint32_t)a->number[OPT_HOLD_MAX];
	c->lag_max_ms = (uint32_t)a->number[OPT_MAX_LAG];
	c->spool_bytes = (uint64_t)a->number[OPT_SPOOL_MAX] << 20;
	c->is_auto = a->number[OPT_AUTO] != 0;
	c->step_seconds = (uint32_t)(a->number[OPT_STEP_DURATION] / 1000);
	c->step_requests = (uint32_t)a->number[OPT_MIN_REQUESTS];
	rc = definition_fill(a, c, err);
	if (rc == 0)
		rc = fill_tls(a, c, err);
	if (rc == 0)
		rc = fill_urls(a, c, err);
	return rc == 0 ? fill_state(a, c, err) : rc;
}

/* The order of the words in option.tbl is that of the enums. */
_Static_assert(WRITE_CUTOVER == 0 && WRITE_DUAL == 1,
               "--write-mode cutover|dual_write");
_Static_assert(CONFLICT_NONE == 0 && CONFLICT_REPLACE == 1 &&
                       CONFLICT_MERGE == 2,
               "--conflict none|replace|merge");
_Static_assert(COPY_AUTO == 0 && COPY_RDB == 1 && COPY_SCAN == 2,
               "--copy-mode auto|rdb|scan");

/* A password given in a URL shall not stay in ps: overwrite it in argv. */
static void
hide_password(char *url)
{
	char *scheme = strstr(url, "://");
	char *at = scheme != NULL ? strrchr(url, '@') : NULL;
	char *colon = at != NULL ? strchr(scheme + 3, ':') : NULL;

	if (colon != NULL && colon < at)
		memset(colon + 1, 'x', (size_t)(at - colon - 1));
}

/* ---- words ------------------------------------------------------------- */

static void
say_how_to_go_on(const struct run_conf *c)
{
	const char *s = c->state;

	(void)fprintf(stderr,
	              "The migration goes on without this terminal; clients "
	              "are served at %s.\n"
	              "  godwit status --watch --state %s   the screen again\n"
	              "  godwit promote|pause|rollback|complete --state %s\n"
	              "  godwit stop --state %s   stops it; the same migrate "
	              "command goes on later\n",
	              c->listen, s, s, s);
}

/* Wait for the first word of the engine: 0 ready, else its error. */
static int
read_ready(int fd, struct err *err)
{
	char text[sizeof(err->text)];
	ssize_t n;

	do {
		n = read(fd, text, sizeof(text) - 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	if (n <= 0)
		return err_set(err, ERR_LOST,
		               "the migration ended before it had begun");
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return err_set(err, ERR_IO, "%s", text);
}

/* ---- with a terminal --------------------------------------------------- */

/* The child's life. Never returns. */
static _Noreturn void
child(const struct args *a, const struct run_conf *c, engine_f *engine,
      int ready_fd)
{
	char log[STATE_PATH_MAX + 8];
	struct err err = { .code = ERR_NONE };
	int null = open("/dev/null", O_RDONLY);
	int out;
	int status;

	(void)snprintf(log, sizeof(log), "%s.log", c->state);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	(void)setsid();
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	if (out >= 0) {
		(void)dup2(out, STDOUT_FILENO);
		(void)dup2(out, STDERR_FILENO);
	}
	status = engine(c, ready_fd, &err);
	if (status != 0 && err.code != ERR_NONE)
		(void)verb_fail(a, &err);
	(void)fflush(NULL);
	_exit(status);
}

static int
wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return STATUS_ERROR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_ERROR;
}

/* Ready or not? Ctrl-C in this time stops what has hardly begun. */
static int
wait_until_ready(pid_t pid, int fd, struct err *err)
{
	sigset_t set;
	int signal_fd;
	struct pollfd fds[2];
	int rc = 0;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	fds[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	if (fds[0].revents == 0) {
		(void)kill(pid, SIGTERM);
		rc = err_set(err, ERR_STATE, "stopped before it had begun");
	}
	(void)close(signal_fd);
	return rc == 0 ? read_ready(fd, err) : rc;
}

static int
watch_child(const struct run_conf *c, enum screen_end *ret, struct err *err)
{
	struct watch_conf lines = { .to = { .state = c->state },
		                    .every_ms = LINE_MS,
		                    .signal_fd = -1 };

	if (term_is_screen())
		return screen_run(&lines.to, ret, err);
	/* A dumb terminal: lines; Ctrl-C ends this process only. */
	*ret = SCREEN_OVER;
	say_how_to_go_on(c);
	return watch_lines(&lines, err);
}

static int
run_with_terminal(const struct args *a, const struct run_conf *c,
                  engine_f *engine)
{
	enum screen_end end = SCREEN_OVER;
	struct err err = { .code = ERR_NONE };
	sigset_t set;
	int ready[2];
	pid_t pid;
	int rc;

	if (pipe(ready) != 0) {
		(void)err_set(&err, ERR_IO, "pipe: %s", os_cause(errno));
		return verb_fail(a, &err);
	}
	(void)fflush(NULL);
	/* The engine's threads leave SIGINT alone, here and in the child. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	if (pid < 0) {
		(void)err_set(&err, ERR_IO, "fork: %s", os_cause(errno));
		return verb_fail(a, &err);
	}
	if (pid == 0) {
		(void)close(ready[0]);
		child(a, c, engine, ready[1]);
	}
	(void)close(ready[1]);
	rc = wait_until_ready(pid, ready[0], &err);
	if (rc != 0) {
		(void)verb_fail(a, &err);
		return wait_for(pid);
	}
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	rc = watch_child(c, &end, &err);
	if (rc != 0)
		(void)verb_fail(a, &err);
	if (end == SCREEN_OVER && rc == 0) {
		rc = wait_for(pid);
		(void)fprintf(stderr,
		              "The migration's process has ended (exit status "
		              "%d); its messages are in %s.log\n",
		              rc, c->state);
		return rc;
	}
	say_how_to_go_on(c);
	return rc == 0 ? STATUS_DONE : err_exit(err.code);
}

/* ---- without a terminal ------------------------------------------------ */

struct lines {
	const struct args *args;
	const struct run_conf *conf;
	int ready_fd;  /* read end                                         */
	int over_fd;   /* readable (closed) when run_migration has returned */
	int signal_fd; /* SIGINT                                           */
	int interrupts;
	_Atomic bool is_silent;
};

/* The second Ctrl-C: ask for a graceful stop. */
static void
ask_to_stop(const struct lines *l)
{
	struct talk p;
	json_t *args = json_pack("{s:s}", "reason", "SIGINT");
	int rc = talk_open(&p, &(struct talk_to){ .state = l->conf->state },
	                   NULL);

	if (rc == 0)
		rc = talk_send(&p, "stop", args, NULL);
	/* Without an answering socket there is still the signal. */
	if (rc != 0)
		(void)kill(getpid(), SIGTERM);
	json_decref(args);
	talk_close(&p);
}

static bool
on_interrupt(void *arg)
{
	struct lines *l = arg;
	struct signalfd_siginfo info;

	if (read(l->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	l->interrupts++;
	if (l->interrupts == 1) {
		(void)fprintf(stderr,
		              "The migration goes on, silently. Ctrl-C again "
		              "stops it gracefully; from a second terminal:\n"
		              "  godwit status --state %s\n",
		              l->conf->state);
		atomic_store(&l->is_silent, true);
	} else if (l->interrupts == 2) {
		(void)fprintf(stderr, "Stopping; the same command goes on "
		                      "later.\n");
		ask_to_stop(l);
	}
	return false;
}

/* Answers true when the engine is ready, false when it ended before. */
static bool
lines_wait_ready(struct lines *l)
{
	struct err err;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = l->ready_fd, .events = POLLIN },
			{ .fd = l->over_fd, .events = POLLIN },
			{ .fd = l->signal_fd, .events = POLLIN },
		};

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[1].revents != 0)
			return false;
		if (fds[0].revents != 0)
			return read_ready(l->ready_fd, &err) == 0;
		/* Nothing has begun: one Ctrl-C is enough. */
		if (fds[2].revents != 0) {
			l->interrupts = 1;
			(void)on_interrupt(l);
		}
	}
}

static void *
lines_thread(void *arg)
{
	struct lines *l = arg;
	struct watch_conf conf = {
		.to = { .state = l->conf->state },
		.is_json = l->args->number[OPT_JSON] != 0,
		.every_ms = LINE_MS,
		.signal_fd = l->signal_fd,
		.on_signal = on_interrupt,
		.arg = l,
		.is_silent = &l->is_silent,
	};
	struct err err;

	if (!lines_wait_ready(l))
		return NULL;
	if (!conf.is_json) {
		(void)printf("godwit: clients may connect to %s\n"
		             "godwit: state %s; from a second terminal: godwit "
		             "status|promote|rollback|complete --state %s\n",
		             l->conf->listen, l->conf->state, l->conf->state);
		(void)fflush(stdout);
	}
	if (watch_lines(&conf, &err) != 0)
		(void)verb_fail(l->args, &err);
	/* The socket is closed before the engine ends; Ctrl-C still counts. */
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = l->over_fd, .events = POLLIN },
			{ .fd = l->signal_fd, .events = POLLIN },
		};

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents != 0)
			return NULL;
		(void)on_interrupt(l);
	}
}

static int
run_without_terminal(const struct args *a, const struct run_conf *c,
                     engine_f *engine)
{
	struct lines l = { .args = a, .conf = c };
	struct err err = { .code = ERR_NONE };
	pthread_t thread;
	sigset_t set;
	int ready[2];
	int over[2];
	int status;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	l.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signal_fd < 0 || pipe(ready) != 0 || pipe(over) != 0) {
		(void)err_set(&err, ERR_IO, "pipe: %s", os_cause(errno));
		return verb_fail(a, &err);
	}
	l.ready_fd = ready[0];
	l.over_fd = over[0];
	if (pthread_create(&thread, NULL, lines_thread, &l) != 0) {
		(void)err_set(&err, ERR_NOMEM, "no thread for the status");
		return verb_fail(a, &err);
	}
	status = engine(c, ready[1], &err);
	(void)close(over[1]);
	(void)pthread_join(thread, NULL);
	if (status != 0 && err.code != ERR_NONE)
		(void)verb_fail(a, &err);
	return status;
}

int
verb_migrate(const struct args *a)
{
	struct run_conf conf;
	engine_f *engine;
	struct err err;
	bool is_cluster;
	int status;

	if (fill_conf(a, &conf, &err) != 0) {
		definition_free(&conf);
		return verb_fail(a, &err);
	}
	for (uint32_t i = 0; i < a->operand_n; i++)
		hide_password(a->operand[i]);
	is_cluster = cluster_is_meant(&conf);
	engine = is_cluster ? cluster_migrate : run_migration;
	if (a->number[OPT_CHECK] != 0)
		status = is_cluster ? cluster_check(a, &conf)
		                    : check_both(a, &conf);
	else if (a->number[OPT_JSON] == 0 && isatty(STDIN_FILENO) &&
	         term_is_output())
		status = run_with_terminal(a, &conf, engine);
	else
		status = run_without_terminal(a, &conf, engine);
	definition_free(&conf);
	return status;
}
