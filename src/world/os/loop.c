/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/loop.c: one thread, one epoll, one machine.
 *
 * A batch: sleep; read the clocks; then to the machine, in this order: mails,
 * EV_BOARD, EV_TIMER, what the last batch left (conns_run_ready), what epoll
 * says, EV_BATCH; then pokes leave, then bytes.
 *
 * Waking a loop costs a system call only when it sleeps: it says `asleep`
 * before it looks at its flags for the last time, others raise their flag
 * before they look at `asleep`. The eventfd is edge-triggered and never read.
 *
 * Who pokes a sleeping loop whose machine lends itself (port.lends) runs that
 * batch in its own thread: a wake-up of a thread less. `taken` says that somebody
 * is at the machine: its thread leaves it only while it sleeps.
 */
#include "world/os/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/conns.h"
#include "world/os/crypt.h"
#include "world/os/descriptors.h"
#include "world/os/mailbox.h"
#include "world/os/pool.h"

#define EVENTS_MAX      512 /* a batch; also bounds the bytes it gathers   */
#define LISTENERS_MAX   8
#define ACCEPTS_MAX     64 /* a listener and batch: others want turns too */
#define ACCEPT_PAUSE_NS 100000000ull /* out of descriptors: do not spin    */
#define CROWD_MIN       4            /* connections with news at a time    */
#define CROWD_NS        50000000ull  /* so long is that remembered         */

/* epoll data: 0 the eventfd, odd a listener, else a struct conn. */
#define DATA_LISTENER(i) (((uint64_t)(i) << 1) | 1u)

struct loop {
	struct port port; /* first: a port is a loop */
	struct pool pool;
	struct conns conns;
	const struct machine *machine;
	void *self;
	struct inbox *to_control;
	struct crowd *crowd;
	const struct crowd *workers; /* NULL: alone */
	struct mailbox mailbox;
	int listen_fds[LISTENERS_MAX];
	struct tls_server *listen_tls[LISTENERS_MAX]; /* NULL: plain */
	uint32_t listen_n;
	bool is_tight; /* the last client got a descriptor that is kept */
	uint64_t listen_again_ns; /* UINT64_MAX: listeners are not paused */
	int epoll_fd;
	int event_fd;
	uint64_t until_ns; /* it sleeps at most so long */
	bool poke;         /* wished by the machine in this batch */
	bool no_pwait2;
	atomic_bool taken; /* see above; also before and after loop_run() */
	atomic_bool asleep;
	atomic_bool has_mail;
	atomic_bool has_board;
	atomic_bool skips_board; /* the machine's wishes of the last batch */
	atomic_bool lends;
	atomic_bool stopping;
	atomic_bool deaf; /* the listeners are to be closed */
	bool may_wait;    /* loop_conf.is_patient */
	bool is_patient;
	uint64_t crowded_ns; /* patient up to then */
	bool is_tls_asked;
	bool started;
	pthread_t thread;
	char name[16];
};

static struct loop *
loop_of(struct port *p)
{
	return (struct loop *)(void *)p;
}

/* ---- the port ---------------------------------------------------------- */

static struct link *
port_open(struct port *p, const struct address *to, void *owner)
{
	return conns_open(&loop_of(p)->conns, to, owner);
}

static void
port_close(struct port *p, struct link *l, bool flush)
{
	conns_close(&loop_of(p)->conns, l, flush);
}

static void
port_read(struct port *p, struct link *l, bool on)
{
	conns_read(&loop_of(p)->conns, l, on);
}

static void
port_mail(struct port *p, const struct mail *m)
{
	struct loop *l = loop_of(p);

	if (l->to_control != NULL)
		inbox_put(l->to_control, m);
}

static void
port_poke(struct port *p)
{
	loop_of(p)->poke = true;
}

static void
port_secure(struct port *p, struct link *l, struct span seen)
{
	conns_secure(&loop_of(p)->conns, l, seen);
}

static struct origin
port_origin(struct port *p, const struct link *l)
{
	(void)p;
	return conns_origin(l);
}

static uint64_t
port_entropy(struct port *p)
{
	(void)p;
	return os_entropy();
}

static uint64_t
port_clock(struct port *p)
{
	(void)p;
	return os_mono_ns();
}

static const struct port_ops loop_port_ops = {
	.open = port_open,
	.close = port_close,
	.read = port_read,
	.mail = port_mail,
	.poke = port_poke,
	.origin = port_origin,
	.secure = port_secure,
};

static void
port_tell(struct port *p, uint32_t to, const struct mail *m)
{
	struct loop *l = loop_of(p);

	REQUIRE(to < l->workers->n);
	loop_post(l->workers->loops[to], m);
}

/* ---- from other threads ------------------------------------------------ */

static void
wake(struct loop *l)
{
	uint64_t one = 1;

	if (atomic_exchange(&l->asleep, false) &&
	    write(l->event_fd, &one, sizeof(one)) != sizeof(one))
		NEVER("an eventfd is full after 2^64 wake-ups");
}

void
loop_post(struct loop *l, const struct mail *m)
{
	mailbox_put(&l->mailbox, m);
	atomic_store(&l->has_mail, true);
	wake(l);
}

/* The caller has written the board before. If it sees that nobody waits, whoever
 * begins to wait sees that board: show_wish() looks again. All is seq_cst. */
void
loop_poke(struct loop *l)
{
	if (!atomic_load(&l->skips_board) &&
	    !atomic_exchange(&l->has_board, true))
		wake(l);
}

void
loop_stop(struct loop *l)
{
	atomic_store(&l->stopping, true);
	wake(l);
	if (l->started) {
		(void)pthread_join(l->thread, NULL);
		l->started = false;
	}
}

void
loop_deafen(struct loop *l)
{
	atomic_store(&l->deaf, true);
	wake(l);
}

const struct mem *
loop_mem(const struct loop *l)
{
	return &l->pool.mem;
}

size_t
loop_mem_used(const struct loop *l)
{
	return pool_used(&l->pool);
}

void *
loop_machine(struct loop *l)
{
	return l->self;
}

/* ---- one batch --------------------------------------------------------- */

static void
tell(struct loop *l, enum event_kind kind)
{
	struct event ev = { .kind = kind };

	l->machine->step(l->self, &l->port, &ev);
}

static void
read_clocks(struct loop *l)
{
	l->port.now_ns = os_mono_ns();
	l->port.wall_ms = os_wall_ms();
}

static void
run_mails(struct loop *l)
{
	struct mailbox_node *n;

	if (!atomic_exchange(&l->has_mail, false))
		return;
	n = mailbox_take(&l->mailbox);
	while (n != NULL) {
		struct mailbox_node *next = n->next;
		struct event ev = { .kind = EV_MAIL, .mail = &n->mail };

		l->machine->step(l->self, &l->port, &ev);
		mailbox_done(n);
		n = next;
	}
}

static void
run_timer(struct loop *l)
{
	if (l->port.wake_ns > l->port.now_ns)
		return;
	l->port.wake_ns = UINT64_MAX;
	tell(l, EV_TIMER);
}

static void
watch_listeners(struct loop *l, int op)
{
	for (uint32_t i = 0; i < l->listen_n; i++) {
		struct epoll_event ev = { .events = EPOLLIN };

		ev.data.u64 = DATA_LISTENER(i);
		/* Fails only for want of kernel memory; tried again later. */
		if (epoll_ctl(l->epoll_fd, op, l->listen_fds[i], &ev) != 0 &&
		    op == EPOLL_CTL_ADD && errno != EEXIST)
			l->listen_again_ns = l->port.now_ns + ACCEPT_PAUSE_NS;
	}
}

static bool
has_room(const struct loop *l)
{
	return !l->is_tight ||
	       !descriptors_are_few(descriptors_next(l->epoll_fd));
}

/* Out of descriptors or memory: let some end. */
static void
pause_listeners(struct loop *l)
{
	if (l->listen_again_ns != UINT64_MAX)
		return;
	watch_listeners(l, EPOLL_CTL_DEL);
	l->listen_again_ns = l->port.now_ns + ACCEPT_PAUSE_NS;
}

static void
run_listener(struct loop *l, uint32_t i)
{
	const struct conns_gate gate = { .tag = i,
		                         .tls = l->listen_tls[i],
		                         .is_asked = l->is_tls_asked };

	for (int n = 0; n < ACCEPTS_MAX; n++) {
		struct sockaddr_storage from;
		socklen_t n_from = sizeof(from);
		int fd;

		if (!has_room(l)) {
			pause_listeners(l);
			return;
		}
		fd = accept4(l->listen_fds[i], (struct sockaddr *)&from,
		             &n_from, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			l->is_tight = descriptors_are_few(fd);
			conns_accept(&l->conns, fd, &gate, &from);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
			pause_listeners(l);
		return;
	}
}

/* Whoever is in the queue already was promised a connection. */
static void
close_listeners(struct loop *l)
{
	for (uint32_t i = 0; i < l->listen_n; i++) {
		run_listener(l, i);
		(void)close(l->listen_fds[i]);
	}
	l->listen_n = 0;
	l->listen_again_ns = UINT64_MAX;
}

static void
run_events(struct loop *l, const struct epoll_event *evs, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t data = evs[i].data.u64;

		if (data == 0)
			continue; /* only to wake us */
		if ((data & 1u) != 0 && data >> 1 >= l->listen_n)
			continue; /* closed in this batch */
		if (data & 1u)
			run_listener(l, (uint32_t)(data >> 1));
		else
			conns_event(&l->conns, evs[i].data.ptr, evs[i].events);
	}
}

static void
take(struct loop *l)
{
	/* Another thread's batch: few and short replies (port.lends). */
	while (atomic_exchange(&l->taken, true))
		(void)sched_yield();
}

/* A poke that came before the wish was told to nobody, so who begins to wait gets
 * one: this loop does not sleep before it. */
static void
show_wish(struct loop *l)
{
	bool skips = l->port.skips_board;

	if (atomic_load_explicit(&l->lends, memory_order_relaxed) !=
	    l->port.lends)
		atomic_store(&l->lends, l->port.lends);
	if (atomic_load_explicit(&l->skips_board, memory_order_relaxed) ==
	    skips)
		return;
	atomic_store(&l->skips_board, skips);
	if (!skips)
		atomic_store(&l->has_board, true);
}

/* The crowd; others: but those who lend themselves. Answers who was left out. */
static uint64_t
poke_crowd(struct loop *l, bool others)
{
	uint64_t lent = 0;

	for (uint32_t i = 0; i < l->crowd->n; i++) {
		struct loop *to = l->crowd->loops[i];

		if (to == l)
			continue;
		if (others && atomic_load(&to->lends))
			lent |= UINT64_C(1) << i;
		else
			loop_poke(to);
	}
	return lent;
}

/* Answers whose batch may be run now; of a lent one nobody's. */
static uint64_t
finish_batch(struct loop *l, bool own)
{
	uint64_t lent = 0;

	tell(l, EV_BATCH);
	show_wish(l);
	if (l->port.lends)
		l->crowded_ns = l->port.now_ns + CROWD_NS;
	if (l->poke && l->crowd != NULL)
		lent = poke_crowd(l, own);
	l->poke = false;
	conns_flush(&l->conns);
	return lent;
}

static uint64_t
earliest(const struct loop *l)
{
	uint64_t at = conns_deadline_ns(&l->conns);

	if (l->port.wake_ns < at)
		at = l->port.wake_ns;
	return l->listen_again_ns < at ? l->listen_again_ns : at;
}

/* In the thread of whoever pokes. Dead connections stay for its own thread, which
 * may have been told of them by the kernel already. False: it did not sleep, or
 * has more to do than to look at the board. */
static bool
run_lent(struct loop *l)
{
	bool again;

	if (!atomic_load(&l->lends) || !atomic_load(&l->asleep) ||
	    atomic_exchange(&l->taken, true))
		return false;
	if (atomic_load(&l->has_mail) || atomic_load(&l->stopping)) {
		atomic_store(&l->taken, false);
		return false;
	}
	read_clocks(l);
	tell(l, EV_BOARD);
	(void)finish_batch(l, false);
	again = conns_is_ready(&l->conns) || earliest(l) < l->until_ns ||
	        atomic_load(&l->has_board);
	atomic_store(&l->taken, false);
	if (again)
		wake(l);
	return true;
}

static void
poke_lent(struct loop *l, uint64_t lent)
{
	for (; lent != 0; lent &= lent - 1) {
		struct loop *to = l->crowd->loops[__builtin_ctzll(lent)];

		if (!run_lent(to))
			loop_poke(to);
	}
}

/* Others' batches behind our own bytes. */
static void
end_batch(struct loop *l)
{
	poke_lent(l, finish_batch(l, true));
	conns_bury(&l->conns);
	pool_publish(&l->pool);
}

/* Whether this thread leaves the core to a running one when bytes come. With few
 * connections at a time that is latency; with many the running one is likely to
 * have more for us, and one pass serves them all. Of a machine that lends itself
 * the running one is who will do its work (finish_batch()). */
static void
choose_patience(struct loop *l, int n)
{
	struct sched_param any = { .sched_priority = 0 };
	bool wants;

	if (n >= CROWD_MIN)
		l->crowded_ns = l->port.now_ns + CROWD_NS;
	wants = l->may_wait && l->port.now_ns < l->crowded_ns;
	if (wants == l->is_patient)
		return;
	l->is_patient = wants;
	/* Refused: then as every thread. */
	(void)sched_setscheduler(0, wants ? SCHED_BATCH : SCHED_OTHER, &any);
}

static void
run_batch(struct loop *l, const struct epoll_event *evs, int n)
{
	read_clocks(l);
	if (l->port.is_short)
		l->port.is_short =
			descriptors_are_fewer(descriptors_next(l->epoll_fd));
	choose_patience(l, n);
	/* Before the mails: the machine may be told to stop by one. */
	if (l->listen_n > 0 && atomic_load(&l->deaf))
		close_listeners(l);
	run_mails(l);
	if (atomic_exchange(&l->has_board, false))
		tell(l, EV_BOARD);
	run_timer(l);
	if (l->listen_again_ns <= l->port.now_ns) {
		l->listen_again_ns = UINT64_MAX;
		watch_listeners(l, EPOLL_CTL_ADD);
	}
	conns_expire(&l->conns);
	conns_run_ready(&l->conns);
	run_events(l, evs, n);
	end_batch(l);
}

/* ---- sleeping ---------------------------------------------------------- */

/* epoll_wait with a time in ns (UINT64_MAX: for ever); in ms, rounded up, on
 * kernels before 5.11. */
static int
wait_ns(struct loop *l, struct epoll_event *evs, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u),
		              .tv_nsec = (long)(ns % 1000000000u) };
	int n;

	if (ns == 0 || ns == UINT64_MAX)
		return epoll_wait(l->epoll_fd, evs, EVENTS_MAX,
		                  ns == 0 ? 0 : -1);
	if (!l->no_pwait2) {
		n = epoll_pwait2(l->epoll_fd, evs, EVENTS_MAX, &t, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		l->no_pwait2 = true;
	}
	if (ns > 3600ull * 1000000000u)
		ns = 3600ull * 1000000000u;
	return epoll_wait(l->epoll_fd, evs, EVENTS_MAX,
	                  (int)((ns + 999999) / 1000000));
}

static int
wait_some(struct loop *l, struct epoll_event *evs, uint64_t ns)
{
	int n = wait_ns(l, evs, ns);

	if (n >= 0)
		return n;
	REQUIRE(errno == EINTR);
	return 0;
}

static int
sleep_for_events(struct loop *l, struct epoll_event *evs)
{
	uint64_t at = earliest(l);
	uint64_t ns = UINT64_MAX;
	int n;

	if (conns_is_ready(&l->conns)) {
		ns = 0;
	} else if (at != UINT64_MAX) {
		uint64_t now = os_mono_ns();

		ns = at > now ? at - now : 0;
	}
	if (ns > 0) {
		atomic_store(&l->asleep, true);
		if (atomic_load(&l->has_mail) || atomic_load(&l->has_board) ||
		    atomic_load(&l->stopping))
			ns = 0;
	}
	if (ns == 0) {
		n = wait_some(l, evs, 0);
	} else {
		l->until_ns = at;
		atomic_store(&l->taken, false);
		n = wait_some(l, evs, ns);
		take(l);
	}
	atomic_store(&l->asleep, false);
	return n;
}

void
loop_run(struct loop *l)
{
	struct epoll_event evs[EVENTS_MAX];

	if (l->workers != NULL) {
		l->port.worker_n = l->workers->n;
		l->port.tell = port_tell;
	}
	read_clocks(l);
	tell(l, EV_START);
	end_batch(l);
	while (!atomic_load(&l->stopping)) {
		int n = sleep_for_events(l, evs);

		run_batch(l, evs, n);
	}
}

/* ---- life -------------------------------------------------------------- */

static void *
thread_main(void *arg)
{
	loop_run(arg);
	return NULL;
}

int
loop_start(struct loop *l, struct err *err)
{
	sigset_t all;
	sigset_t before;
	int rc;

	REQUIRE(!l->started);
	/* Signals are the control thread's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&l->thread, NULL, thread_main, l);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		return err_set(err, ERR_IO, "cannot start thread %s: %s",
		               l->name, strerrordesc_np(rc));
	(void)pthread_setname_np(l->thread, l->name);
	l->started = true;
	return 0;
}

static int
open_fds(struct loop *l, struct err *err)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ev.data.u64 = 0;
	if (l->epoll_fd < 0 || l->event_fd < 0 ||
	    epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->event_fd, &ev) != 0)
		return err_set(err, ERR_IO, "cannot make the loop %s: %s",
		               l->name, strerrordesc_np(errno));
	return 0;
}

static void
set_up(struct loop *l, const struct loop_conf *conf)
{
	l->machine = conf->machine;
	l->to_control = conf->to_control;
	l->crowd = conf->crowd;
	l->workers = conf->workers;
	l->port.worker_at = conf->worker_at;
	l->may_wait = conf->is_patient;
	l->is_tls_asked = conf->is_tls_asked;
	l->listen_again_ns = UINT64_MAX;
	l->epoll_fd = -1;
	l->event_fd = -1;
	(void)snprintf(l->name, sizeof(l->name), "%.15s", conf->name);
	pool_init(&l->pool, conf->mem_limit);
	mailbox_init(&l->mailbox);
	atomic_init(&l->asleep, false);
	atomic_init(&l->taken, true);
	atomic_init(&l->lends, false);
	atomic_init(&l->has_mail, false);
	atomic_init(&l->has_board, false);
	atomic_init(&l->stopping, false);
	atomic_init(&l->deaf, false);
	l->port.ops = &loop_port_ops;
	l->port.mem = &l->pool.mem;
	l->port.wake_ns = UINT64_MAX;
	l->port.entropy = port_entropy;
	l->port.crypt = &os_crypt;
	l->port.clock_ns = port_clock;
	read_clocks(l);
}

static int
set_up_conns(struct loop *l, struct err *err)
{
	l->self = mem_zero(&l->pool.mem, l->machine->self_size);
	if (l->self == NULL)
		return err_set(err, ERR_NOMEM, "no memory for the %s",
		               l->machine->name);
	l->conns.epoll_fd = l->epoll_fd;
	l->conns.port = &l->port;
	l->conns.step = l->machine->step;
	l->conns.self = l->self;
	return conns_init(&l->conns, err);
}

/* Without the machine's fini. */
static void
destroy(struct loop *l)
{
	if (l->conns.port != NULL)
		conns_fini(&l->conns);
	mem_free(&l->pool.mem, l->self, l->machine->self_size);
	for (uint32_t i = 0; i < l->listen_n; i++)
		(void)close(l->listen_fds[i]);
	if (l->event_fd >= 0)
		(void)close(l->event_fd);
	if (l->epoll_fd >= 0)
		(void)close(l->epoll_fd);
	mailbox_fini(&l->mailbox);
	pool_fini(&l->pool);
	free(l);
}

struct loop *
loop_new(const struct loop_conf *conf, struct err *err)
{
	struct loop *l = calloc(1, sizeof(*l));

	REQUIRE(conf->machine != NULL && conf->listen_n <= LISTENERS_MAX);
	if (l == NULL) {
		(void)err_set(err, ERR_NOMEM, "no memory for a loop");
		return NULL;
	}
	set_up(l, conf);
	if (open_fds(l, err) != 0 || set_up_conns(l, err) != 0) {
		destroy(l);
		return NULL;
	}
	for (; l->listen_n < conf->listen_n; l->listen_n++) {
		l->listen_fds[l->listen_n] = conf->listen_fds[l->listen_n];
		if (conf->listen_tls != NULL)
			l->listen_tls[l->listen_n] =
				conf->listen_tls[l->listen_n];
	}
	watch_listeners(l, EPOLL_CTL_ADD);
	if (conf->init != NULL)
		conf->init(l->self, conf->arg);
	return l;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	loop_stop(l);
	if (l->machine->fini != NULL)
		l->machine->fini(l->self, &l->port);
	conns_flush(
		&l->conns); /* last words, as far as the kernel takes them */
	destroy(l);
}
