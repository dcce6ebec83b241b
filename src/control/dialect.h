/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/dialect.h: what a migration asks of a kind of server.
 *
 * The run (run.h) knows sides, fences, positions and a switch; how a kind of server
 * is looked at, shut and compared is here, one table a kind. Relay and mover are
 * its machines (engine/relay.h, engine/mover.h).
 *
 * Every function may be repeated after a crash. They are called by the control
 * thread and block, each question for LIMIT_CALL_MS at most, inside a hold for no
 * longer than is left of it. The error names the side.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "control/url.h"
#include "core/side.h"

struct machine;
struct run;
struct verify_conf;
struct verify_result;

/* Writes that move by tables (control/parts.h). moved: features whose tables are new's, a
 * bit each; 0 for none. */
struct parts {
	/* Is there anything in the way now? ERR_UNABLE names it. */
	int (*gate)(struct run *r, struct err *err) MUST;
	/* What its server needs for it; before any hold. */
	int (*begin)(struct run *r, enum side s, struct err *err) MUST;
	/* No application may write the other side's tables here, and none is about to;
	 * what else is shut stays so. Stale epochs are refused as by dialect.shut. */
	int (*shut)(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
	            struct err *err) MUST;
	/* Its own tables may be written here. */
	int (*open)(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
	            struct err *err) MUST;
	/* ERR_STATE: a table of the other side may be written here. */
	int (*holds)(struct run *r, enum side s, uint64_t epoch, uint64_t moved,
	             struct err *err) MUST;
	/* As dialect.carry, of what belongs to the tables. */
	int (*carry)(struct run *r, enum side from, struct err *err) MUST;
};

struct dialect {
	const char *name;  /* "redis": in URLs, status and messages */
	bool spools;       /* streams may have to be kept on disk   */
	bool can_ack_both; /* replies can wait for the other side */
	bool warms;        /* its relays know MAIL_WARM           */
	/* Its clients ask for TLS in the protocol (port ops secure), and those
	 * that begin with it name this one; NULL: TLS from the first byte. */
	const char *alpn;
	bool can_view;   /* its relays know MAIL_VIEW        */
	bool can_divide; /* writes can move by share            */
	/* NULL: writes cannot move by tables. Outside of a split lift() opens what of
	 * it is left. */
	const struct parts *parts;
	bool can_repair; /* verify_conf.repair is known         */

	/* Machines, and how they take a struct relay_conf, a struct mover_conf. */
	const struct machine *relay;
	void (*relay_init)(void *self, void *conf);
	const struct machine *mover;
	void (*mover_init)(void *self, void *conf);

	/* What is kept of a side, made when its names are known; forgotten. */
	void (*begin)(struct run *r, enum side s);
	void (*end)(struct run *r, enum side s);

	/* Can it do what the run was asked for (strategy, data, ...)? ERR_UNABLE
	 * names what it cannot. Before anything is asked of a server. */
	int (*can)(const struct run *r, struct err *err) MUST;
	/* A server alone, as the user of its URL: "latency_ms" and "version" of
	 * data, and more checks. NULL: who asks knows the kind himself. */
	int (*probe)(const struct url *u, json_t *data, json_t *checks,
	             struct err *err) MUST;
	/* Queries of a template there (a list of [text, parameter or null, ..]); several
	 * are one transaction, is_read: what writes is refused. *ret: the answer, typed.
	 * ERR_AUTH, ERR_LOST: nothing was done; ERR_TIMEOUT: nobody knows whether.
	 * NULL: it has no queries. */
	int (*query)(const struct url *u, const char *label,
	             const json_t *queries, bool is_read, json_t **ret,
	             struct err *err) MUST;
	/* Both sides: can they be moved? r->checks is filled, and what is known
	 * of the sides. ERR_REFUSED with the first failure's text. */
	int (*check)(struct run *r, struct err *err) MUST;
	/* Does it answer at all? */
	int (*reach)(struct run *r, enum side s, struct err *err) MUST;
	/* This side alone: note what it is. */
	int (*meet)(struct run *r, enum side s, struct err *err) MUST;
	/* Is it there, and which one is it? What comes with a restart, another
	 * server behind the name: another word. */
	int (*look)(struct run *r, enum side s, char *ret, size_t n,
	            struct err *err) MUST;
	/* Has Godwit's own user been taken away? */
	bool (*is_stranger)(const struct run *r, enum side s);
	/* The descriptor that becomes readable when the server has gone; -1: none.
	 * It did: forget the connection. */
	int (*fd)(const struct run *r, enum side s);
	void (*hang_up)(struct run *r, enum side s);

	/* Godwit's own users, made or made again. */
	int (*users)(struct run *r, enum side s, struct err *err) MUST;
	/* Before the fences and the mover: what new needs before data comes. */
	int (*prepare)(struct run *r, struct err *err) MUST;
	/* What applications may do there goes into the journal. */
	int (*save)(struct run *r, enum side s, struct err *err) MUST;
	/* No application may read or write; its epoch is not older than what the
	 * server carries (else ERR_STATE). */
	int (*shut)(struct run *r, enum side s, uint64_t epoch,
	            struct err *err) MUST;
	/* They may do what they were allowed before. */
	int (*lift)(struct run *r, enum side s, uint64_t epoch,
	            struct err *err) MUST;
	/* ERR_STATE: it is not shut by this epoch, or somebody can come in. */
	int (*holds)(struct run *r, enum side s, uint64_t epoch,
	             struct err *err) MUST;
	/* Is nobody let in? No: also when it does not answer. */
	bool (*shuts_all)(struct run *r, enum side s);
	/* ERR_STATE: some are shut out that could have their rights back. */
	int (*is_open)(struct run *r, enum side s, struct err *err) MUST;
	/* The loser's last message, or the winner's first one, to subscribers. */
	int (*say)(struct run *r, enum side s, bool first,
	           struct err *err) MUST;
	/* Connections of applications are cut; of relays of an earlier process. */
	int (*kill)(struct run *r, enum side s, struct err *err) MUST;
	int (*kill_left)(struct run *r, enum side s, struct err *err) MUST;
	/* A position behind all that was answered until now. */
	int (*position)(struct run *r, enum side s, uint64_t *ret,
	                struct err *err) MUST;
	/* Before a hold: can carry() be short? ERR_POSTPONED says why not. NULL:
	 * it always is. */
	int (*ready)(struct run *r, struct err *err) MUST;
	/* Between the barrier and the commit: what does not travel by the stream
	 * goes from the losing side to the other one. */
	int (*carry)(struct run *r, enum side from, struct err *err) MUST;
	/* The same where a loss was accepted and it could not be carried: what can be
	 * saved. NULL: nothing needs it. */
	void (*salvage)(struct run *r, enum side from);
	/* Behind a switch, or a fence made again: the rules of now survive a restart of the
	 * server, where it can; who is left on a side that is shut goes. */
	void (*persist)(struct run *r, enum side s);
	/* What Godwit put there is removed. */
	void (*clean)(struct run *r, enum side s, bool keep_users);

	/* Replicas of a side follow its fence. */
	void (*tend_replicas)(struct run *r, enum side s);
	void (*shut_replicas)(struct run *r, enum side s, uint64_t epoch);
	int (*hold_replicas)(struct run *r, enum side s, struct err *err) MUST;
	void (*clean_replicas)(struct run *r, enum side s);
	void (*put_checks)(const struct run *r, json_t *list);

	/* What a conflict rule met, for the status; NULL: nothing is listed. */
	json_t *(*conflicts)(const struct run *r);

	/* A comparison, by code that shares nothing with the mover; blocks until
	 * its end, in a thread of its own. */
	int (*verify)(const struct verify_conf *c, struct verify_result *ret,
	              struct err *err) MUST;
};

extern const struct dialect dialect_redis;
extern const struct dialect dialect_postgres;

const struct dialect *dialect_of(enum url_kind k);
