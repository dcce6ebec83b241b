/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/interlay.c: a listener, its workers and their clients.
 */
#define _DEFAULT_SOURCE
#include "control/interlay.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "control/dialect.h"
#include "control/limit.h"
#include "control/view.h"

/* Relays answer within a few milliseconds; subscribers may take two seconds. */
#define PAIR_MS 10000
#define DOOR_MS 2000

static struct interlay *
fail(struct interlay *l)
{
	interlay_free(l);
	return NULL;
}

struct interlay *
interlay_new(const struct dialect *d, const char *id, const char *listen,
             uint32_t workers, struct err *err)
{
	struct interlay *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	l->dialect = d;
	REQUIRE(pthread_mutex_init(&l->pool_lock, NULL) == 0);
	for (uint32_t i = 0; i < INTERLAY_RELAYS_MAX; i++)
		l->listen_fd[i] = -1;
	if (id[0] == '\0')
		(void)snprintf(l->id, sizeof(l->id), "i%012llx",
		               (unsigned long long)os_entropy() &
		                       0xffffffffffffull);
	else
		(void)snprintf(l->id, sizeof(l->id), "%s", id);
	if (workers < 1 || workers > INTERLAY_RELAYS_MAX) {
		(void)err_set(err, ERR_USAGE, "workers: 1 to %d",
		              INTERLAY_RELAYS_MAX);
		return fail(l);
	}
	if (snprintf(l->listen, sizeof(l->listen), "%s", listen) >=
	    (int)sizeof(l->listen)) {
		(void)err_set(err, ERR_USAGE, "listen: longer than %zu bytes",
		              sizeof(l->listen) - 1);
		return fail(l);
	}
	if (listen_open(listen, workers, l->listen_fd, &l->port, err) != 0)
		return fail(l);
	l->listens = true;
	l->n = workers;
	l->traffic = calloc(workers, sizeof(*l->traffic));
	l->conf[0] = calloc(workers, sizeof(*l->conf[0]));
	l->conf[1] = calloc(workers, sizeof(*l->conf[1]));
	l->inbox = inbox_new(err);
	if (l->traffic == NULL || l->conf[0] == NULL || l->conf[1] == NULL ||
	    l->inbox == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return fail(l);
	}
	return l;
}

int
interlay_tls(struct interlay *l, const struct tls_server_conf *conf,
             struct err *err)
{
	struct tls_server_conf own = *conf;
	int rc = 0;

	own.alpn = l->dialect->alpn;
	if (own.alpn != NULL && listen_is_path(l->listen))
		rc = err_set(err, ERR_USAGE,
		             "there is no TLS over a Unix socket");
	else if (l->tls != NULL)
		rc = tls_server_reload(l->tls, &own, err);
	else if (l->relay[0] != NULL)
		rc = err_set(err, ERR_STATE,
		             "it listens without TLS; stop and start it");
	else if ((l->tls = tls_server_new(&own, err)) == NULL)
		rc = err != NULL ? -(int)err->code : -ERR_USAGE;
	return rc == 0 ? 0 : err_wrap(err, "interlay %s", l->listen);
}

int
interlay_door(struct interlay *l, struct door *d, struct err *err)
{
	struct mail m = { .kind = MAIL_DOOR, .pair = d };
	uint64_t until = os_mono_ns() + DOOR_MS * NS_PER_MS;
	struct timespec pause = { .tv_nsec = 200000 };

	if (l->door == NULL && l->relay[0] != NULL) {
		door_free(d);
		return err_set(err, ERR_STATE,
		               "interlay %s passes AUTH through; stop and "
		               "start it to give it users",
		               l->listen);
	}
	d->before = l->door;
	l->door = d;
	if (l->relay[0] == NULL)
		return 0;
	interlay_tell(l, &m);
	while (atomic_load(&d->seen->taken) < l->n) {
		if (os_mono_ns() > until)
			return err_set(err, ERR_TIMEOUT,
			               "interlay %s: a worker did not take its "
			               "users in %d ms; it will",
			               l->listen, DOOR_MS);
		(void)nanosleep(&pause, NULL);
	}
	/* Mails keep their order: nobody looks at older ones. */
	door_free(d->before);
	d->before = NULL;
	return 0;
}

static void
fill(struct interlay *l, const struct interlay_pair *p, uint32_t i,
     struct relay_conf *ret)
{
	(void)pthread_mutex_lock(&l->pool_lock);
	*ret = (struct relay_conf){
		.side = { p->side[SIDE_OLD], p->side[SIDE_NEW] },
		.board = p->board,
		.reverse = p->reverse,
		.traffic = &l->traffic[i],
		.first_route = p->route,
		.who = p->first_who + i,
		.held = p->held,
		.proxy = l->proxy,
		.proxy_tlv = l->proxy_tlv,
		.pool = l->pool.mode,
		.pool_max = l->pool.max,
		.pool_wait_ms = l->pool.wait_ms,
		.pool_idle_ms = l->pool.idle_ms,
		.door = l->door,
	};
	(void)pthread_mutex_unlock(&l->pool_lock);
	for (int s = 0; s < SIDE_N && p->board == NULL; s++)
		ret->side[s].nodes =
			ret->side[s].at.by_cluster ? &l->nodes[s] : NULL;
	memcpy(ret->labels, l->labels, sizeof(ret->labels));
	memcpy(ret->id, l->id, sizeof(ret->id));
}

void
interlay_set_pool(struct interlay *l, const struct interlay_pool *p)
{
	(void)pthread_mutex_lock(&l->pool_lock);
	l->pool = *p;
	for (uint32_t i = 0; i < 2 * l->n; i++) {
		struct relay_conf *c = &l->conf[i / l->n][i % l->n];

		/* Of one that is in use nothing else changes. */
		atomic_store(&c->pool_max, p->max);
		atomic_store(&c->pool_wait_ms, p->wait_ms);
		atomic_store(&c->pool_idle_ms, p->idle_ms);
	}
	(void)pthread_mutex_unlock(&l->pool_lock);
}

int
interlay_spread(struct interlay *l, const struct spread_conf *c,
                struct err *err)
{
	REQUIRE(l->relay[0] == NULL && l->spread == NULL);
	if (c->n < 1 || c->n > SPREAD_MAX)
		return err_set(err, ERR_USAGE,
		               "an interlay has 1 to %d instances", SPREAD_MAX);
	l->spread = calloc(l->n, sizeof(*l->spread));
	if (l->spread == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < l->n; i++) {
		l->spread[i] = *c;
		l->spread[i].who = i;
		l->spread[i].traffic = &l->traffic[i];
		l->spread[i].proxy = l->proxy;
	}
	return 0;
}

/* The loop of worker i: a relay, or a spread. */
static struct loop *
worker(struct interlay *l, const struct interlay_pair *p, uint32_t i,
       struct err *err)
{
	struct loop_conf lc = { .machine = l->dialect->relay,
		                .init = l->dialect->relay_init,
		                .to_control = l->inbox,
		                .listen_fds = &l->listen_fd[i],
		                .listen_n = 1,
		                .is_patient = true,
		                .workers = &l->workers,
		                .worker_at = i,
		                .listen_tls = &l->tls,
		                .is_tls_asked = l->dialect->alpn != NULL };
	struct relay_conf *conf = &l->conf[l->conf_at][i];

	if (l->spread != NULL) {
		lc.machine = &spread_machine;
		lc.init = spread_init;
		lc.arg = &l->spread[i];
		(void)snprintf(lc.name, sizeof(lc.name), "spread%u",
		               i % INTERLAY_RELAYS_MAX);
	} else {
		fill(l, p, i, conf);
		lc.arg = conf;
		(void)snprintf(lc.name, sizeof(lc.name), "relay%u", conf->who);
	}
	return loop_new(&lc, err);
}

int
interlay_start(struct interlay *l, const struct interlay_pair *p,
               struct err *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		REQUIRE(l->relay[i] == NULL);
		l->relay[i] = worker(l, p, i, err);
		if (l->relay[i] == NULL)
			return -(int)err->code;
		l->workers.loops[l->workers.n++] = l->relay[i];
		l->listen_fd[i] = -1;
	}
	for (uint32_t i = 0; rc == 0 && i < l->n; i++)
		rc = loop_start(l->relay[i], err);
	return rc;
}

void
interlay_free(struct interlay *l)
{
	if (l == NULL)
		return;
	for (uint32_t i = 0; i < l->n; i++) {
		if (l->relay[i] != NULL)
			loop_stop(l->relay[i]);
	}
	for (uint32_t i = 0; i < INTERLAY_RELAYS_MAX; i++) {
		loop_free(l->relay[i]);
		if (l->listen_fd[i] >= 0)
			(void)close(l->listen_fd[i]);
	}
	if (l->inbox != NULL)
		inbox_free(l->inbox);
	tls_server_free(l->tls);
	door_free(l->door);
	if (l->listens)
		listen_forget(l->listen);
	view_forget(l);
	free(l->spread);
	free(l->traffic);
	free(l->conf[0]);
	free(l->conf[1]);
	(void)pthread_mutex_destroy(&l->pool_lock);
	free(l);
}

void
interlay_tell(struct interlay *l, const struct mail *m)
{
	for (uint32_t i = 0; i < l->n; i++) {
		if (l->relay[i] != NULL)
			loop_post(l->relay[i], m);
	}
}

/* Wait for n mails of a kind; the others are dropped. False: not in time. */
static bool
hear(struct interlay *l, enum mail_kind kind, uint32_t n, uint32_t timeout_ms)
{
	uint64_t until = os_mono_ns() + timeout_ms * NS_PER_MS;
	struct mail m;

	while (n > 0) {
		struct pollfd p = { .fd = inbox_fd(l->inbox),
			            .events = POLLIN };
		uint64_t now = os_mono_ns();

		while (n > 0 && inbox_take(l->inbox, &m))
			n -= m.kind == kind ? 1 : 0;
		if (n > 0 && now >= until)
			return false;
		if (n > 0)
			(void)poll(&p, 1, (int)((until - now) / NS_PER_MS + 1));
	}
	return true;
}

int
interlay_pair(struct interlay *l, const struct interlay_pair *p, enum side keep,
              enum side to, struct err *err)
{
	uint32_t next = 1 - l->conf_at;

	for (uint32_t i = 0; i < l->n; i++) {
		struct mail m = { .kind = MAIL_PAIR,
			          .side = keep,
			          .token = to,
			          .route = p->route,
			          .pair = &l->conf[next][i] };

		fill(l, p, i, &l->conf[next][i]);
		loop_post(l->relay[i], &m);
	}
	/* Whatever comes of it: these are in use from now on. */
	l->conf_at = next;
	if (hear(l, MAIL_PAIR_ACK, l->n, PAIR_MS))
		return 0;
	return err_set(err, ERR_TIMEOUT,
	               "interlay %s: a worker did not take its new sides in "
	               "%d ms",
	               l->listen, PAIR_MS);
}

int
interlay_hear(struct interlay *l, enum mail_kind kind, uint32_t timeout_ms,
              struct err *err)
{
	if (hear(l, kind, l->n, timeout_ms))
		return 0;
	return err_set(err, ERR_TIMEOUT,
	               "interlay %s: running requests took longer than %u ms",
	               l->listen, timeout_ms);
}

void
interlay_stop(struct interlay *l)
{
	struct mail m = { .kind = MAIL_STOP };

	interlay_tell(l, &m);
	(void)hear(l, MAIL_STOPPED, l->n, LIMIT_STOP_MS);
	interlay_free(l);
}

struct interlay_pair
interlay_alone(const struct side_conf *c, struct side_conf ret[SIDE_N])
{
	memset(ret, 0, SIDE_N * sizeof(*ret));
	ret[SIDE_OLD] = *c;
	ret[SIDE_OLD].own_user[0] = '\0';
	ret[SIDE_OLD].reader_user[0] = '\0';
	return (struct interlay_pair){
		.side = ret,
		.route = { .authority = SIDE_OLD, .ack = ACK_AUTHORITY },
	};
}
