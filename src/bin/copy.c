/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/copy.c: godwit copy OLD NEW: the mover alone, once.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bin/gauge.h"
#include "bin/look.h"
#include "bin/meet.h"
#include "bin/status.h"
#include "bin/verbs.h"
#include "control/url.h"
#include "engine/redis/mover/mover.h"
#include "world/os/loop.h"

#define LOOK_MS  100   /* between two looks at the board                    */
#define STUCK_MS 30000 /* trouble without a new record: give up             */
#define STOP_MS  3000  /* for the mover's clean end                         */

struct copy {
	const struct args *args;
	struct mover_conf conf;
	struct board board;
	struct facts facts[SIDE_N];
	struct inbox *inbox;
	struct loop *loop;
	struct gauge gauge;
	int signal_fd;
	int64_t moved_ms; /* when a record was last seen to go over       */
	uint64_t moved;
	bool is_done;
	bool is_stopped;
	struct err trouble; /* the last one                                 */
};

static int
fill(struct copy *c, struct err *err)
{
	const struct args *a = c->args;
	int rc = verb_sides(a, c->conf.side, err);

	if (rc != 0)
		return rc;
	c->conf.board = &c->board;
	c->conf.rule = (enum mover_rule)a->number[OPT_CONFLICT];
	c->conf.copy_mode = (enum mover_fill)a->number[OPT_COPY_MODE];
	c->conf.pace = (enum mover_pace)a->number[OPT_COPY_PACE];
	c->conf.one_shot = true;
	(void)snprintf(c->conf.id, sizeof(c->conf.id), "copy-%d",
	               (int)getpid());
	atomic_store(&c->board.unsettled, 1);
	return 0;
}

_Static_assert(MOVER_RULE_NONE == 0 && MOVER_RULE_REPLACE == 1 &&
                       MOVER_RULE_MERGE == 2,
               "--conflict none|replace|merge");
_Static_assert(MOVER_FILL_AUTO == 0 && MOVER_FILL_RDB == 1 &&
                       MOVER_FILL_SCAN == 2,
               "--copy-mode auto|rdb|scan");
_Static_assert(MOVER_PACE_AUTO == 0 && MOVER_PACE_FAST == 1 &&
                       MOVER_PACE_GENTLE == 2,
               "--copy-pace auto|fast|gentle");

/* A way to try again is a message; anything else ends the copy. */
static int
on_trouble(struct copy *c, const struct mail *m, struct err *err)
{
	enum err_code code = m->flag > 0 && m->flag < ERR_N
	                             ? (enum err_code)m->flag
	                             : ERR_IO;

	(void)err_set(&c->trouble, code, "%s", m->text);
	if (!err_retry(code)) {
		*err = c->trouble;
		return -(int)code;
	}
	gauge_end(&c->gauge);
	gauge_init(&c->gauge, "copy", c->gauge.is_json);
	(void)fprintf(stderr, "godwit copy: %s; trying again\n", m->text);
	return 0;
}

static int
read_mails(struct copy *c, struct err *err)
{
	struct mail m;
	int rc = 0;

	while (rc == 0 && inbox_take(c->inbox, &m)) {
		if (m.kind == MAIL_MOVE_PHASE && m.phase == MOVE_IN_STEP)
			c->is_done = true;
		else if (m.kind == MAIL_STOPPED)
			c->is_stopped = true;
		else if (m.kind == MAIL_TROUBLE)
			rc = on_trouble(c, &m, err);
	}
	return rc;
}

static int
watch_stuck(struct copy *c, struct err *err)
{
	uint64_t moved = atomic_load(&c->board.copied_records) +
	                 atomic_load(&c->board.stream_units);

	if (moved != c->moved || c->trouble.code == ERR_NONE) {
		c->moved = moved;
		c->moved_ms = gauge_now_ms();
		return 0;
	}
	if (gauge_now_ms() - c->moved_ms < STUCK_MS)
		return 0;
	*err = c->trouble;
	return -(int)c->trouble.code;
}

static int
follow(struct copy *c, struct err *err)
{
	int rc = 0;

	while (rc == 0 && !c->is_done) {
		struct pollfd fds[] = {
			{ .fd = inbox_fd(c->inbox), .events = POLLIN },
			{ .fd = c->signal_fd, .events = POLLIN },
		};

		if (poll(fds, 2, LOOK_MS) < 0 && errno != EINTR)
			return err_set(err, ERR_IO, "poll: %s",
			               os_cause(errno));
		if (fds[1].revents != 0)
			return err_set(err, ERR_STATE,
			               "stopped; NEW holds a part. The same "
			               "command begins again");
		rc = read_mails(c, err);
		if (rc == 0)
			rc = watch_stuck(c, err);
		gauge_show(&c->gauge, atomic_load(&c->board.copied_records),
		           atomic_load(&c->board.total_records),
		           atomic_load(&c->board.copied_bytes));
	}
	return rc;
}

/* Let the mover end cleanly, so that the servers see no broken connection. */
static void
stop(struct copy *c)
{
	const struct mail m = { .kind = MAIL_STOP };
	int64_t until = gauge_now_ms() + STOP_MS;

	loop_post(c->loop, &m);
	while (!c->is_stopped && gauge_now_ms() < until) {
		struct pollfd fd = { .fd = inbox_fd(c->inbox),
			             .events = POLLIN };

		(void)poll(&fd, 1, LOOK_MS);
		/* What goes wrong now changes nothing any more. */
		(void)read_mails(c, &c->trouble);
	}
	loop_stop(c->loop);
}

static int
move(struct copy *c, struct err *err)
{
	const struct loop_conf conf = { .machine = &mover_machine,
		                        .init = mover_init,
		                        .arg = &c->conf,
		                        .to_control = c->inbox,
		                        .name = "mover" };
	const struct mail m = { .kind = MAIL_MOVE, .side = SIDE_OLD };
	int rc;

	c->loop = loop_new(&conf, err);
	if (c->loop == NULL)
		return -ERR_NOMEM;
	rc = loop_start(c->loop, err);
	if (rc == 0) {
		loop_post(c->loop, &m);
		rc = follow(c, err);
		stop(c);
	}
	loop_free(c->loop);
	return rc;
}

static void
summary(const struct copy *c)
{
	uint64_t records = atomic_load(&c->board.copied_records);
	uint64_t bytes = atomic_load(&c->board.copied_bytes);
	uint64_t conflicts = atomic_load(&c->board.conflicts);
	double seconds = (double)(gauge_now_ms() - c->gauge.began_ms) / 1000.0;
	double rate = seconds > 0 ? (double)records / seconds : 0;
	struct facts now;
	struct err err;

	if (meet_side(&c->conf.side[SIDE_NEW], &now, &err) != 0)
		now = c->facts[SIDE_NEW]; /* as it was before */
	if (c->gauge.is_json) {
		(void)printf("{\"copy\":{\"done\":true,\"records\":%llu,"
		             "\"bytes\":%llu,\"conflicts\":%llu,"
		             "\"seconds\":%.3f,\"rate\":%.0f,"
		             "\"keys_old\":%llu,\"keys_new\":%llu}}\n",
		             (unsigned long long)records,
		             (unsigned long long)bytes,
		             (unsigned long long)conflicts, seconds, rate,
		             (unsigned long long)c->facts[SIDE_OLD].keys,
		             (unsigned long long)now.keys);
		return;
	}
	(void)printf("copied %s records, %s, in %.1f s (%s records/s)\n",
	             amount_count((int64_t)records).s,
	             amount_bytes((double)bytes).s, seconds,
	             amount_count((int64_t)rate).s);
	if (conflicts > 0)
		(void)printf("%s records were on NEW already and differed "
		             "(--conflict %s)\n",
		             amount_count((int64_t)conflicts).s,
		             c->args->text[OPT_CONFLICT]);
	(void)printf("NEW has %s keys now\n"
	             "next: godwit verify OLD NEW\n",
	             amount_count((int64_t)now.keys).s);
}

/* Signals become a descriptor before any thread is made. */
static int
prepare(struct copy *c, struct err *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (c->signal_fd < 0)
		return err_set(err, ERR_IO, "signalfd: %s", os_cause(errno));
	c->inbox = inbox_new(err);
	return c->inbox != NULL ? 0 : -ERR_NOMEM;
}

int
verb_copy(const struct args *a)
{
	struct copy *c = calloc(1, sizeof(*c));
	struct err err = { .code = ERR_NOMEM, .text = "out of memory" };
	int status;
	int rc;

	if (c == NULL)
		return verb_fail(a, &err);
	c->args = a;
	rc = fill(c, &err);
	if (rc == 0)
		rc = meet_for_copy(c->conf.side, a->text[OPT_CONFLICT],
		                   c->facts, &err);
	if (rc == 0)
		rc = prepare(c, &err);
	if (rc == 0) {
		gauge_init(&c->gauge, "copy", a->number[OPT_JSON] != 0);
		c->moved_ms = gauge_now_ms();
		rc = move(c, &err);
		gauge_end(&c->gauge);
		inbox_free(c->inbox);
		(void)close(c->signal_fd);
	}
	if (rc == 0)
		summary(c);
	status = rc == 0 ? STATUS_DONE : verb_fail(a, &err);
	free(c);
	return status;
}
