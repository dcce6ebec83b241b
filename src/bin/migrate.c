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
#include "bin/daemon.h"
#include "bin/databases.h"
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

/* What is to be done. */
struct job {
	const struct args *args;
	struct run_conf conf;
	struct plan plan;
	bool has_plan; /* several pairs: a daemon of its own; else one pair */
};

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
		return state_for_listen(c->listen, c->state, sizeof(c->state),
		                        err);
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
	rc = databases_listen(listen, c->listen, sizeof(c->listen), err);
	if (rc != 0)
		return rc;
	if (!a->is_given[OPT_DATABASES] && strcmp(c->listen, listen) != 0)
		return err_set(err, ERR_USAGE,
		               "--listen %.100s: an address for each database "
		               "needs --databases",
		               listen);
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

/* ---- one pair, or several ----------------------------------------------- */

static const char *
shown_listen(const struct job *j)
{
	return j->has_plan ? j->plan.listen : j->conf.listen;
}

static int
engine(const struct job *j, int ready_fd, struct err *err)
{
	return j->has_plan ? daemon_migrate(&j->conf, &j->plan, ready_fd, err)
	                   : run_migration(&j->conf, ready_fd, err);
}

/* The state file is that of a migration of one pair, or of other databases. */
static int
judge_state(const struct job *j, bool has_begun, const json_t *began,
            struct err *err)
{
	const json_t *list = json_object_get(began, "databases");
	bool is_given = j->args->is_given[OPT_DATABASES];

	if (is_given && !has_begun && access(j->conf.state, F_OK) == 0)
		return err_set(err, ERR_STATE,
		               "%s is the state file of a migration without "
		               "--databases; its command goes on with it, "
		               "--state names another one",
		               j->conf.state);
	if (is_given && began != NULL && list == NULL)
		return err_set(err, ERR_STATE,
		               "%s is the state file of a cluster; --state "
		               "names another one",
		               j->conf.state);
	if (!is_given && list != NULL)
		return err_set(err, ERR_STATE,
		               "%s is the state file of several databases; say "
		               "--databases as it was begun",
		               j->conf.state);
	return 0;
}

/* Who has several pairs gets a plan. */
static int
make_plan(struct job *j, struct err *err)
{
	const struct run_conf *c = &j->conf;
	bool is_look = j->args->number[OPT_CHECK] != 0;
	bool has_begun = daemon_has_begun(c);
	json_t *began = has_begun ? daemon_begun(c) : NULL;
	int rc = plan_init(&j->plan, err);

	if (rc == 0)
		rc = judge_state(j, has_begun, began, err);
	if (rc == 0 && j->args->is_given[OPT_DATABASES]) {
		j->has_plan = true;
		rc = databases_plan(j->args, c, began, &j->plan, err);
	} else if (rc == 0 && (has_begun || (access(c->state, F_OK) != 0 &&
	                                     cluster_is_meant(c)))) {
		/* Begun already: the fence may shut us out by now, a server be
		 * away. */
		j->has_plan = true;
		rc = cluster_plan(c, is_look, &j->plan, err);
	}
	json_decref(began);
	return rc;
}

/* ---- words ------------------------------------------------------------- */

static void
say_how_to_go_on(const struct job *j)
{
	const char *s = j->conf.state;

	(void)fprintf(stderr,
	              "The migration goes on without this terminal; clients "
	              "are served at %s.\n"
	              "  godwit status --watch --state %s   the screen again\n"
	              "  godwit promote|pause|rollback|complete --state %s\n"
	              "  godwit stop --state %s   stops it; the same migrate "
	              "command goes on later\n",
	              shown_listen(j), s, s, s);
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
child(const struct job *j, int ready_fd)
{
	char log[STATE_PATH_MAX + 8];
	struct err err = { .code = ERR_NONE };
	int null = open("/dev/null", O_RDONLY);
	int out;
	int status;

	(void)snprintf(log, sizeof(log), "%s.log", j->conf.state);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	(void)setsid();
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	if (out >= 0) {
		(void)dup2(out, STDOUT_FILENO);
		(void)dup2(out, STDERR_FILENO);
	}
	status = engine(j, ready_fd, &err);
	if (status != 0 && err.code != ERR_NONE)
		(void)verb_fail(j->args, &err);
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
watch_child(const struct job *j, enum screen_end *ret, struct err *err)
{
	struct watch_conf lines = { .to = { .state = j->conf.state },
		                    .every_ms = LINE_MS,
		                    .signal_fd = -1 };

	if (term_is_screen())
		return screen_run(&lines.to, ret, err);
	/* A dumb terminal: lines; Ctrl-C ends this process only. */
	*ret = SCREEN_OVER;
	say_how_to_go_on(j);
	return watch_lines(&lines, err);
}

static int
run_with_terminal(const struct job *j)
{
	const struct args *a = j->args;
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
		child(j, ready[1]);
	}
	(void)close(ready[1]);
	rc = wait_until_ready(pid, ready[0], &err);
	if (rc != 0) {
		(void)verb_fail(a, &err);
		return wait_for(pid);
	}
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	rc = watch_child(j, &end, &err);
	if (rc != 0)
		(void)verb_fail(a, &err);
	if (end == SCREEN_OVER && rc == 0) {
		rc = wait_for(pid);
		(void)fprintf(stderr,
		              "The migration's process has ended (exit status "
		              "%d); its messages are in %s.log\n",
		              rc, j->conf.state);
		return rc;
	}
	say_how_to_go_on(j);
	return rc == 0 ? STATUS_DONE : err_exit(err.code);
}

/* ---- without a terminal ------------------------------------------------ */

struct lines {
	const struct job *job;
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
	int rc = talk_open(&p, &(struct talk_to){ .state = l->job->conf.state },
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
		              l->job->conf.state);
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
		.to = { .state = l->job->conf.state },
		.is_json = l->job->args->number[OPT_JSON] != 0,
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
		             shown_listen(l->job), l->job->conf.state,
		             l->job->conf.state);
		(void)fflush(stdout);
	}
	if (watch_lines(&conf, &err) != 0)
		(void)verb_fail(l->job->args, &err);
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
run_without_terminal(const struct job *j)
{
	const struct args *a = j->args;
	struct lines l = { .job = j };
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
	status = engine(j, ready[1], &err);
	(void)close(over[1]);
	(void)pthread_join(thread, NULL);
	if (status != 0 && err.code != ERR_NONE)
		(void)verb_fail(a, &err);
	return status;
}

static int
do_job(const struct job *j)
{
	const struct args *a = j->args;

	if (a->number[OPT_CHECK] != 0)
		return j->has_plan ? daemon_check(a, &j->conf, &j->plan)
		                   : check_both(a, &j->conf);
	if (a->number[OPT_JSON] == 0 && isatty(STDIN_FILENO) &&
	    term_is_output())
		return run_with_terminal(j);
	return run_without_terminal(j);
}

int
verb_migrate(const struct args *a)
{
	struct job j = { .args = a };
	struct err err;
	int status;
	int rc = fill_conf(a, &j.conf, &err);

	for (uint32_t i = 0; rc == 0 && i < a->operand_n; i++)
		hide_password(a->operand[i]);
	if (rc == 0)
		rc = make_plan(&j, &err);
	status = rc == 0 ? do_job(&j) : verb_fail(a, &err);
	plan_fini(&j.plan);
	definition_free(&j.conf);
	return status;
}
