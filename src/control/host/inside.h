/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/inside.h: what the files of the host share.
 *
 *   host.c       the daemon's data plane as a whole; the keeper thread
 *   line.c       interlays
 *   instance.c   those of the instances behind another one
 *   leg.c        a leg and its thread
 *   over.c       interlays of legs that are over, after a restart
 *   part.c       legs that share servers
 *   migration.c  a migration: made from its spec, started, forgotten
 *   ask.c        verbs: to one leg, to all, to all at once
 *   merge.c      one status of many legs
 *   keeper.c     what legs wish that concerns all
 *   rejoin.c     legs that could not go on are begun again
 *   seats.c      interlays before nodes of a cluster that no migration has
 *   test.c       the checks before
 *   command.c    one command for templates
 *   metrics.c    Prometheus lines
 *
 * host.lock guards every field here that more than one thread uses. It is never
 * held while somebody waits for a leg or a callback runs.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "control/group.h"
#include "control/home.h"
#include "control/host/host.h"
#include "control/limit.h"
#include "control/spec/spec.h"
#include "control/url.h"
#include "engine/redis/admin/cluster.h"

#define HOST_UUID_MAX  40 /* bytes of a uuid, NUL included */
#define HOST_ID_MAX    72
#define HOST_LEGS_MAX  GROUP_MAX
/* interlays of one leg; control/run_parts.h has the same bound */
#define HOST_LINES_MAX 16

struct migration;
struct seek_map;

/* An interlay of the daemon. */
struct line {
	char uuid[HOST_UUID_MAX];
	char id[HOST_ID_MAX];
	struct interlay *l;
	char url[URL_MAX];           /* what it serves while it is alone     */
	char used_by[HOST_UUID_MAX]; /* the migration, or ""                 */
	char own_pass[65];           /* of DOOR_OWN_USER, when it has users  */
	bool held;        /* its clients wait for a migration that is resumed */
	bool is_private;  /* a migration's own, for its templates */
	bool is_instance; /* behind another interlay               */
	_Atomic uint32_t speakers; /* spread_conf.speakers, of a front */
	struct spread_owners *_Atomic owners; /* spread_conf.owners         */
	struct spread_owners *wanted; /* seats.c: those that nodes tell   */
	uint64_t wanted_ns;           /* ... since                        */
	bool is_node; /* ... its server is a node of a cluster */
	struct line *next;
};

enum leg_phase {
	LEG_NEW,
	LEG_BEGINS,
	LEG_RUNS,
	LEG_OVER,    /* completed, rolled back, or stopped */
	LEG_REFUSED, /* could not begin                    */
};

struct leg {
	struct host *host;
	struct migration *m;
	char name[80];  /* in the journal */
	char state[16]; /* of the lifecycle */
	struct run_conf conf;
	struct strategy strategy;
	struct spec *spec; /* a copy, for its run */
	struct run_home home;
	struct run_part part;       /* migration.is_parts: home.part       */
	struct cluster_slots slots; /* ... that are its own                */
	struct cluster_slots cover; /* ... and those of all with its old   */
	struct line *line[HOST_LINES_MAX];
	struct interlay *interlay[HOST_LINES_MAX];
	uint32_t line_n;
	struct desk desk;
	int wake_fd;
	pthread_t thread;
	bool has_thread;
	enum leg_phase phase;
	struct err err;  /* why it was refused              */
	json_t *status;  /* the last one known              */
	json_t *proof;   /* the last comparison             */
	struct run *run; /* over, but its interlays hang on it */
	bool was_over;   /* already, when it was resumed: takes no interlay */
	bool is_new;     /* it rules there (part_speakers)  */
	bool is_out;     /* exempt from the rest: partial   */
	bool is_stuck;   /* refused, and its interlays hang on what is left */
	bool wishes;     /* its analysis says promote       */
	bool proven;     /* switched, and its analysis has passed */
	bool in_step;
	uint32_t failures;
};

struct migration {
	struct host *host;
	char uuid[HOST_UUID_MAX];
	char id[HOST_ID_MAX];
	json_t *resources;
	struct spec *spec;
	struct leg *leg[HOST_LEGS_MAX];
	uint32_t leg_n;
	uint32_t refs;
	bool is_parts;              /* its legs share servers; part.c         */
	char kin[16];               /* ... and the beginning of their names   */
	_Atomic uint32_t switching; /* ... they switch just now           */
	_Atomic uint32_t slot_left; /* run_part.left                      */
	struct cluster_slots whole; /* of all legs, at the beginning      */
	bool held;  /* its templates wait until it is known which side rules  */
	bool again; /* migrated again after a rollback            */
	bool begun; /* the strategy's first state was asked for */
	bool starting;          /* its state is not told yet               */
	bool ending;            /* the host ends                            */
	char told[16];          /* the state that was told last            */
	pthread_mutex_t tell;   /* one on_state at a time           */
	pthread_mutex_t verb;   /* one verb of several legs at a time */
	_Atomic uint32_t hurry; /* rollback, pause or stop waits   */
	struct migration *next;
};

/* What the keeper is to do. */
struct chore {
	char uuid[HOST_UUID_MAX];
	char verb[16];
	char leg[80];
	char why[160];
	uint64_t at_ns;
	struct chore *next;
};

struct host {
	struct host_conf conf;
	char state[512];
	pthread_mutex_t lock;
	pthread_cond_t cond; /* a leg changed its phase, a chore came */
	struct line *lines;
	struct migration *migrations;
	struct chore *chores;
	pthread_t keeper;
	bool has_keeper;
	struct seats *seats;
	bool ends;
	int socket_dir; /* of the interlays of instances; -1: not needed yet */
};

static inline void
host_lock(struct host *h)
{
	(void)pthread_mutex_lock(&h->lock);
}

static inline void
host_unlock(struct host *h)
{
	(void)pthread_mutex_unlock(&h->lock);
}

/* host.c */
/* {"name","text",...} is completed and told; event is borrowed. */
void host_tell(struct host *h, const char *key, const char *uuid,
               const json_t *event);
void host_say(struct host *h, const struct migration *m, const char *name,
              const char *text);
void host_chore(struct host *h, const struct leg *l, const char *verb,
                const char *why, uint32_t after_ms);

/* seats.c */
struct seats;
struct seats *seats_new(struct host *h, struct err *err);
void seats_free(struct seats *s);

/* part.c: the slots that interlays with instances send to this one; false: none
 * does, or not before nodes of a cluster. host.lock is held. */
bool part_slots(const struct host *h, const struct line *n,
                struct cluster_slots *ret);

/* line.c (host.lock is held) */
struct line *line_find(struct host *h, const char *uuid);
/* pooling.c: before its start. */
int pooling_start(struct line *n, const json_t *pool, struct err *err) MUST;
/* A listener that only this process knows, for templates. */
struct line *line_private(struct host *h, const char *url, bool held,
                          struct err *err);
void line_drop(struct host *h, struct line *n);
/* Out of the list; then, without the lock: its running requests end, and it goes. */
void line_unlink(struct host *h, struct line *n);
void line_end(struct line *n);
/* It was started held: its clients are served by the server of this URL. Without
 * the lock; whoever calls has it in use. */
int line_release(struct line *n, const char *url, struct err *err) MUST;
/* Interlays with instances go before what they stand before. No lock. */
void line_stop_fronts(struct host *h);
void line_free_all(struct host *h);

/* instance.c (host.lock is held) */
/* Where the interlay of an instance listens. */
int instance_listen(struct host *h, const char *uuid, char ret[128],
                    struct err *err) MUST;
/* cluster: {"announce":["host:port"]?}, or NULL: clients see one server. The
 * address where l listens when nothing is announced. ERR_USAGE. */
int instance_show(const struct interlay *l, const json_t *cluster,
                  struct topology *ret, struct err *err) MUST;
/* [{"uuid","id","slots"?}]: instances whose interlays run; ret is zeroed. Slots
 * are given to all of them or to none (then evenly). */
int instance_read(struct host *h, const json_t *list, bool refuse,
                  struct spread_conf *ret, struct err *err) MUST;

/* leg.c */
struct leg *leg_new(struct migration *m, uint32_t index, struct err *err);
void leg_free(struct leg *l);
/* Start its thread and wait until it has begun. */
int leg_begin(struct leg *l, bool resume, struct err *err) MUST;
/* It was refused; may leg_begin() be asked once more? */
bool leg_again(struct leg *l) MUST;
/* Wait for the end of its thread. */
void leg_join(struct leg *l);
bool leg_is_on(const struct leg *l); /* host.lock is held */
/* Would it begin (run_check())? */
int leg_try(struct leg *l, json_t **ret, struct err *err) MUST;

/* migration.c */
/* Of a spec; in no list, one reference. */
struct migration *migration_make(struct host *h, const json_t *spec,
                                 struct err *err);
/* A reference, or NULL and ERR_MISSING. */
struct migration *migration_get(struct host *h, const char *uuid,
                                struct err *err);
void migration_put(struct migration *m);
/* A leg that could not go on after a restart, for its way back: from its journal,
 * without its interlays. 0: it runs. */
int migration_rejoin(struct migration *m, struct leg *l, struct err *err) MUST;
/* The interlays of leg k are its own; all or none. host.lock is held. */
int migration_take_lines(struct migration *m, uint32_t k, struct err *err) MUST;
void leg_free_lines(struct leg *l); /* host.lock is held */
/* Tell the state when it changed. */
void migration_tell(struct migration *m);
void migration_stop_all(struct host *h);
void migration_free_all(struct host *h);

/* part.c */
/* Do legs share servers? What each of them is to know of it. */
int part_tie(struct migration *m, bool resume, struct err *err) MUST;
/* Which instances speak for their servers; after each change. host.lock is held. */
void part_speakers(struct host *h);
/* Leg l carries these slots. host.lock is held. */
void part_moved(struct leg *l, const struct cluster_slots *slots);

/* owners.c: which instance of a front before nodes of a cluster has a slot */
uint8_t owners_of(const struct line *front, uint32_t slot);
/* The instance's interlay. NULL: it does not run. */
struct line *owners_instance(const struct host *h, const struct spread_conf *c,
                             uint32_t i);
/* ret[i]: where instance i is, by the number of the node in map; `no`: nobody
 * knows. What the nodes tell becomes the table of the front when they have told it
 * for a while. */
void owners_follow(struct host *h, struct line *front,
                   const struct seek_map *map, const uint8_t at[SPREAD_MAX]);
/* Instance n of whatever front has these slots from now on. */
void owners_give(struct host *h, const struct line *n,
                 const struct cluster_slots *slots);
void owners_free(struct line *front);
/* ERR_STATE: one of the legs is missing, and nobody switches, or is let go, without
 * those that share its servers. */
int part_alone(const struct migration *m, struct err *err) MUST; /* why not */
int part_whole(struct migration *m, const char *verb, struct err *err) MUST;

/* test.c */
/* Does the journal say that it was completed or rolled back? */
bool leg_was_over(const struct leg *l);
bool leg_was_completed(const struct leg *l);

/* place.c */
struct place {
	struct url url;    /* user, password and database         */
	struct url other;  /* ... of the side that does not rule  */
	struct address at; /* where to connect                    */
	bool has_other;
	bool is_through; /* an interlay, not the server itself  */
	bool is_tls;     /* ... which wants TLS                 */
	bool proxy;      /* it wants to hear who we are first   */
	char what[96];   /* for messages                        */
};

/* where: as host_command() has it; *ret is zeroed. ERR_MISSING, ERR_USAGE. */
int place_find(struct host *h, const json_t *where, struct place *ret,
               struct err *err) MUST;
/* What is to be called, as user (url or other): the server, or an interlay before it,
 * which is this very process: there is nobody in between, and its certificate has the
 * names that clients use. */
struct url place_url(const struct place *p, const struct url *user);

/* over.c */
/* After a restart, before its legs begin: nobody waits for those that are over. */
void migration_serve_over(struct migration *m);

/* rejoin.c */
/* It could not go on, and is begun again by itself (again.c). host.lock is held. */
bool rejoin_waits(const struct leg *l);

/* keeper.c */
void migration_chore(struct host *h, const struct chore *c);

/* ask.c */
/* One leg. *ret: data, new reference; NULL on an error without data. */
int ask_leg(struct leg *l, const char *verb, const json_t *args, json_t **ret,
            struct err *err) MUST;
/* The legs that are not out; the first error. */
int ask_all(struct migration *m, const char *verb, const json_t *args,
            struct err *err) MUST;
void ask_statuses(struct migration *m);

/* merge.c */
/* Of the first resource of a leg: what people call it. */
const char *merge_name(const struct leg *l);
const char *merge_state(const struct migration *m); /* host.lock is held */
/* Of the last known ones; host.lock is held. */
json_t *merge_status(const struct migration *m);
