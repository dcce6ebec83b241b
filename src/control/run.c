/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/run.c: one migration in one process: the wheel of the control thread.
 *
 *   poll(inboxes, control socket, eventfd, next deadline)
 *     → mails → switch → verbs → servers → auto → watchers → again
 */
#define _DEFAULT_SOURCE
#include "control/run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/run_parts.h"
#include "control/spec/spec.h"
#include "world/os/descriptors.h"
#include "world/os/loop.h"

/* The one thing a signal handler may touch: the number of a descriptor. */
static volatile sig_atomic_t term_fd = -1;
static volatile sig_atomic_t term_seen;

void
run_conf_init(struct run_conf *c)
{
	*c = (struct run_conf){
		.strategy = STRATEGY_CANARY,
		.step_ppm = { 50000, 250000, 750000 },
		.step_n = 3,
		.write_mode = WRITE_CUTOVER,
		.ack = ACK_BOTH,
		.ack_timeout_ms = LIMIT_ACK_TIMEOUT_MS,
		.conflict = CONFLICT_REPLACE,
		.copy_mode = COPY_AUTO,
		.workers = LIMIT_WORKERS,
		.hold_max_ms = LIMIT_HOLD_MS,
		.lag_max_ms = LIMIT_LAG_MS,
		.fail_ms = LIMIT_FAIL_MS,
		.step_seconds = LIMIT_STEP_SECONDS,
		.step_requests = LIMIT_STEP_REQUESTS,
	};
}

/* Every event is in the table that people read. */
static bool
is_known(const char *name)
{
	static const char *const names[] = {
#define X(name, level, what) #name,
#include "event.tbl"
#undef X
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static void
tell_home(struct run *r, const struct run_event *e)
{
	json_t *j = json_pack("{s:I,s:s,s:s}", "at", (json_int_t)e->at_ms,
	                      "name", e->name, "text", e->text);

	if (j != NULL && r->home->on_event != NULL)
		r->home->on_event(r->home->arg, j);
	json_decref(j);
}

void
run_event(struct run *r, const char *name, const char *fmt, ...)
{
	struct run_event *e = &r->events[r->event_n % LIMIT_EVENTS];
	va_list ap;

	REQUIRE(is_known(name));
	*e = (struct run_event){ .at_ms = os_wall_ms() };
	(void)snprintf(e->name, sizeof(e->name), "%s", name);
	va_start(ap, fmt);
	// The analyzer does not see va_start.
	// NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized)
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	r->event_n++;
	r->status_at_ns = 0;
	if (r->panel != NULL)
		panel_tell(r->panel,
		           json_pack("{s:{s:I,s:s,s:s}}", "event", "at",
		                     (json_int_t)e->at_ms, "name", e->name,
		                     "text", e->text));
	if (r->home != NULL)
		tell_home(r, e);
}

void
run_wish(const struct run *r, const char *what, const char *why)
{
	if (r->home != NULL && r->home->on_wish != NULL)
		r->home->on_wish(r->home->arg, what, why);
}

void
run_ok(struct run *r, uint64_t client, json_t *data)
{
	if ((client & DESK_ID) == 0) {
		panel_ok(r->panel, client, data);
		return;
	}
	/* Nothing of it is shared with the other thread. */
	desk_answer(
		r->home->desk, client,
		json_pack("{s:b,s:o}", "ok", 1, "data",
	                  data != NULL ? json_deep_copy(data) : json_object()));
	json_decref(data);
}

void
run_fail(struct run *r, uint64_t client, const struct err *err)
{
	if ((client & DESK_ID) == 0)
		panel_fail(r->panel, client, err, NULL);
	else
		desk_answer(r->home->desk, client,
		            json_pack("{s:b,s:s,s:s,s:i}", "ok", 0, "error",
		                      err_name(err->code), "message", err->text,
		                      "exit", err_exit(err->code)));
}

int
run_apply(struct run *r, enum life_verb verb, const char *reason,
          struct err *err)
{
	enum life_state to;
	int rc = life_apply(r->state, verb, &to, err);

	if (rc == 0)
		rc = journal_add(r->journal, JOURNAL_STATE,
		                 json_pack("{s:s,s:s,s:s,s:s,s:b}", "from",
		                           life_state_name(r->state), "to",
		                           life_state_name(to), "verb",
		                           life_verb_name(verb), "reason",
		                           reason, "forced", r->forced),
		                 err);
	if (rc != 0)
		return rc;
	r->state = to;
	if (r->home != NULL && r->home->on_state != NULL) {
		json_t *status = status_json(r);

		r->home->on_state(r->home->arg, life_state_name(to), status);
		json_decref(status);
	}
	return 0;
}

static void
on_term(int sig)
{
	int saved = errno;
	uint64_t one = 1;

	(void)sig;
	term_seen = 1;
	if (term_fd >= 0 && write((int)term_fd, &one, sizeof(one)) < 0)
		term_seen = 1;
	errno = saved;
}

static int
catch_signals(struct run *r, struct err *err)
{
	struct sigaction term = { .sa_handler = on_term,
		                  .sa_flags = SA_RESTART };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	term_seen = 0;
	term_fd = r->wake_fd;
	if (sigaction(SIGTERM, &term, NULL) != 0 ||
	    sigaction(SIGPIPE, &ignore, NULL) != 0 ||
	    sigaction(SIGXFSZ, &ignore, NULL) != 0)
		return err_set(err, ERR_IO, "sigaction: %s", os_cause(errno));
	return 0;
}

static void
take_wake(struct run *r)
{
	uint64_t n;

	while (read(r->wake_fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
		;
	(void)proof_collect(r);
	if (r->home != NULL) {
		verbs_take(r);
	} else if (term_seen != 0) {
		term_seen = 0;
		if (r->op.stage != OP_LEAVE)
			verbs_push(r, OP_STOP);
	}
}

static uint64_t
earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Milliseconds until something is due. */
static int
pause_ms(const struct run *r, uint64_t now)
{
	uint64_t at = earliest(shift_wake_ns(r), verbs_wake_ns(r));

	if (!r->cut_on)
		at = earliest(at, health_wake_ns(r));
	if (panel_has_watchers(r->panel))
		at = earliest(at, r->status_at_ns);
	if (r->conf->is_auto)
		at = earliest(at, r->auto_at_ns);
	if (at <= now)
		return 0;
	at = (at - now + NS_PER_MS - 1) / NS_PER_MS;
	return at < 1000 ? (int)at : 1000;
}

static void
watchers_tick(struct run *r, uint64_t now)
{
	if (!panel_has_watchers(r->panel) || now < r->status_at_ns)
		return;
	r->status_at_ns = now + LIMIT_STATUS_MS * NS_PER_MS;
	panel_tell(r->panel, json_pack("{s:o}", "status", status_json(r)));
}

static void
turn(struct run *r)
{
	struct pollfd fds[5 + SIDE_N + RUN_INTERLAYS_MAX + LIMIT_PANEL_CLIENTS];
	size_t n = 0;
	size_t sides_n;
	size_t panel_n;

	for (uint32_t i = 0; i < r->interlay_n; i++)
		fds[n++] =
			(struct pollfd){ .fd = inbox_fd(r->interlay[i]->inbox),
			                 .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = inbox_fd(r->mover_inbox),
		                    .events = POLLIN };
	if (r->split.inbox != NULL)
		fds[n++] = (struct pollfd){ .fd = inbox_fd(r->split.inbox),
			                    .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = r->wake_fd, .events = POLLIN };
	sides_n = health_fds(r, fds + n);
	n += sides_n;
	panel_n = panel_fds(r->panel, fds + n, LIMIT_PANEL_CLIENTS + 1);
	if (poll(fds, (nfds_t)(n + panel_n), pause_ms(r, os_mono_ns())) < 0 &&
	    errno != EINTR)
		NEVER("poll refuses");
	health_heard(r, fds + n - sides_n, sides_n);
	take_wake(r);
	mails_take(r);
	shift_tick(r, os_mono_ns());
	divide_tick(r, os_mono_ns());
	panel_work(r->panel, fds + n, panel_n);
	verbs_tick(r, os_mono_ns());
	if (r->leaves && !r->is_over)
		leave_now(r);
	if (r->is_over)
		return;
	machines_renew(r, os_mono_ns());
	health_tick(r, os_mono_ns());
	auto_tick(r, os_mono_ns());
	timetable_tick(r, os_mono_ns());
	verbs_tick(r, os_mono_ns());
	watchers_tick(r, os_mono_ns());
}

static void
tell_ready(int fd, const struct err *err)
{
	const char *text = err != NULL ? err->text : "1";

	if (fd < 0)
		return;
	/* Whoever waited may be gone; that is not our trouble. */
	if (write(fd, text, strlen(text)) >= 0 || errno != 0)
		(void)close(fd);
}

struct run *
run_new(const struct run_conf *c, const struct run_home *home, struct err *err)
{
	struct run *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	r->conf = c;
	r->home = home;
	r->write = (struct run_write){ .mode = c->write_mode,
		                       .ack = c->ack,
		                       .ack_timeout_ms = c->ack_timeout_ms };
	r->has_left = home != NULL;
	r->wake_fd = home != NULL ? home->wake_fd
	                          : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0) {
		(void)err_set(err, ERR_IO, "eventfd: %s", os_cause(errno));
		free(r);
		return NULL;
	}
	return r;
}

int
run_begin(struct run *r, struct err *err)
{
	int rc = run_start(r, err);

	if (rc != 0 && r->home != NULL)
		leave_undo(r);
	return rc;
}

void
run_work(struct run *r)
{
	while (!r->is_over)
		turn(r);
}

json_t *
run_status(struct run *r)
{
	return r->last != NULL ? json_incref(r->last) : status_json(r);
}

bool
run_has_left(const struct run *r)
{
	return r->home == NULL || r->has_left || r->interlay_n == 0;
}

void
run_free(struct run *r)
{
	bool fresh = r != NULL && r->home == NULL && r->journal != NULL &&
	             journal_is_new(r->journal) &&
	             journal_count(r->journal) == 0;

	if (r == NULL)
		return;
	proof_fini(r);
	machines_free(r);
	panel_free(r->panel);
	for (int s = 0; s < SIDE_N; s++) {
		if (r->dialect != NULL)
			r->dialect->end(r, (enum side)s);
		json_decref(r->at[s].saved);
	}
	follow_end(r);
	layout_end(r);
	journal_close(r->journal);
	/* Nothing was decided: leave nothing behind. */
	if (fresh)
		(void)unlink(r->conf->state);
	if (r->home == NULL)
		(void)close(r->wake_fd);
	rulebook_fini(r); /* after the relays: they may be looking at it */
	divide_fini(r);
	spec_free(r->spec);
	free(r->build);
	json_decref(r->last);
	free(r->before);
	free(r);
}

int
run_check(const struct run_conf *c, json_t **ret, struct err *err)
{
	struct run *r = run_new(c, NULL, err);
	int rc;

	*ret = NULL;
	if (r == NULL)
		return -(int)err->code;
	rc = run_try(r, err);
	if (r->checks.n > 0)
		*ret = status_checks(r);
	run_free(r);
	return rc;
}

int
run_migration(const struct run_conf *c, int ready_fd, struct err *err)
{
	struct err own;
	struct run *r;
	int rc;

	if (err == NULL)
		err = &own;
	descriptors_raise();
	r = run_new(c, NULL, err);
	if (r == NULL) {
		tell_ready(ready_fd, err);
		return err_exit(err->code);
	}
	rc = catch_signals(r, err);
	if (rc == 0 && (c->workers < 1 || c->workers > RUN_RELAYS_MAX))
		rc = err_set(err, ERR_USAGE, "--workers: 1 to %d",
		             RUN_RELAYS_MAX);
	if (rc == 0)
		rc = run_begin(r, err);
	tell_ready(ready_fd, rc != 0 ? err : NULL);
	if (rc == 0)
		run_work(r);
	rc = rc != 0 ? err_exit(err->code) : r->exit_status;
	term_fd = -1;
	run_free(r);
	return rc;
}
