/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/loop.h: one thread, one epoll, one machine.
 *
 * Performs what a machine asks of its port and feeds it events. Also the mail
 * between threads: loop_post() to a machine, struct inbox for the control.
 *
 * Owns:   the machine's memory, its links and their descriptors.
 * Thread: loop_new/loop_free/loop_start from the control; loop_post,
 *         loop_poke and loop_deafen from any thread.
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"

struct loop;
struct tls_server;

/* Mails to the control thread: a queue with a descriptor to poll. */
struct inbox;
struct inbox *inbox_new(struct err *err);
void inbox_free(struct inbox *ib);
int inbox_fd(const struct inbox *ib); /* readable when there is mail */
bool inbox_take(struct inbox *ib, struct mail *ret);    /* false: empty  */
void inbox_put(struct inbox *ib, const struct mail *m); /* any thread */

/* A set of loops that hear port->ops->poke of each other's machines. */
struct crowd {
	struct loop *loops[64];
	uint32_t n;
};

struct loop_conf {
	/* The workers of its listener, itself among them (may be filled up to the
	 * start of the first one); NULL: it is alone. */
	const struct crowd *workers;
	uint32_t worker_at;
	const struct machine *machine;
	/* Called once with the zeroed self, before EV_START. */
	void (*init)(void *self, void *arg);
	void *arg;
	struct inbox *to_control; /* may be NULL: mails are dropped        */
	struct crowd *crowd;      /* may be NULL                           */
	const int *listen_fds;    /* EV_ACCEPT with tag = index; the loop
	                            * closes them (only when loop_new works) */
	uint32_t listen_n;
	/* NULL: all plain; else one for each listener (NULL: plain). They
	 * outlive the loop. EV_ACCEPT comes when the handshake is done. */
	struct tls_server *const *listen_tls;
	/* Clients ask for TLS in their own protocol: EV_ACCEPT comes at once,
	 * with link.may_secure. */
	bool is_tls_asked;
	/* While many connections have something at a time, or its machine lends
	 * itself, its thread takes no core from a running one when bytes come
	 * (SCHED_BATCH): more come meanwhile, and one pass serves them all. */
	bool is_patient;
	size_t mem_limit; /* 0: none                               */
	char name[16];    /* thread name                           */
};

struct loop *loop_new(const struct loop_conf *conf, struct err *err);
int loop_start(struct loop *l, struct err *err) MUST; /* own thread     */
void loop_run(struct loop *l); /* in this thread, until stopped */
void loop_post(struct loop *l, const struct mail *m);
void loop_poke(struct loop *l);
/* Close the listeners before the next mail is given to the machine: who comes from
 * then on is refused by the system. Connections stay. */
void loop_deafen(struct loop *l);
void
loop_stop(struct loop *l); /* leave after the current batch; joins the thread */
void loop_free(struct loop *l); /* calls machine fini; closes everything */
const struct mem *loop_mem(const struct loop *l); /* its thread, or stopped */
size_t
loop_mem_used(const struct loop *l); /* bytes, any thread; a batch late */
void *loop_machine(struct loop *l);  /* the machine's self */

/* "127.0.0.1:6400", ":6400" (loopback), "[::1]:6400". n sockets with
 * SO_REUSEPORT on the same address. Port 0: the kernel picks; *ret_port tells.
 * "/run/x.sock": one socket of that path (mode 0600) with n descriptors, port 0;
 * one that a killed process has left is replaced. */
int listen_open(const char *where, uint32_t n, int *ret_fds, uint16_t *ret_port,
                struct err *err) MUST;
bool listen_is_path(const char *where);
/* Nobody listens there any more: removes the socket of a path. */
void listen_forget(const char *where);

uint64_t os_mono_ns(void);
int64_t os_wall_ms(void);
uint64_t os_entropy(void);
/* What an errno means ("Connection refused"); a constant, safe in any thread. */
const char *os_cause(int error_number);

/* The malloc-backed struct mem for code outside a loop. */
void os_mem_init(struct mem *m, size_t limit);
