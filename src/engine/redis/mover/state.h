/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/state.h: the mover's inside, shared by its files.
 *
 * Four kinds of links: a command connection to each side (cmd[]), a replica
 * connection to each side (feed[]), and for the first copy one more replica
 * connection to the authority (bulk). cmd[authority] reads, cmd[other] writes:
 * everything that is applied goes through that one ordered pipeline.
 *
 *   IDLE -> DIAL -> FEED -> FILL -> WATCH -> CATCH <-> STEP
 *             ^       (any loss of a link)                |
 *             +---------------- BROKEN <------------------+
 *
 *  DIAL   both command connections log in and tell about their server
 *  FEED   the authority's stream is attached
 *  FILL   the bulk: every unit of the stream only marks keys
 *  WATCH  the other side's stream is attached; then the authority's offset is
 *         taken as R: units up to R only mark keys
 *  CATCH  dirty keys are copied, the stream is applied
 *  STEP   nothing is pending
 *
 * After a loss everything but the resume point is forgotten: what is uncertain
 * is copied again because R is taken anew (rule 5 of redis_peers.md 6.3).
 */
#pragma once

#include "core/scope.h"
#include "engine/redis/databases.h"
#include "engine/redis/mover/chunk.h"
#include "engine/redis/mover/foreign.h"
#include "engine/redis/mover/mover.h"
#include "engine/redis/mover/pace.h"
#include "engine/redis/mover/pend.h"
#include "engine/redis/mover/words.h"
#include "engine/redis/own.h"
#include "wire/rdb.h"
#include "wire/resp.h"

#define MS     1000000ULL
#define SECOND (1000 * MS)

#define COPY_BATCH   50
#define COPY_FLIGHTS 16 /* batches being read at a time, at most */
#define STREAM_VALUE \
	((size_t)1 << 20) /* longer payloads are passed on piecewise */
#define UNIT_MAX   ((size_t)8 << 20) /* a longer unit of the stream is marked  */
#define NEAR_MS    30000 /* keys that expire sooner than this       */
#define TURN_BYTES ((size_t)128 << 20) /* of the RDB, read and then written */

enum stage {
	STAGE_IDLE,
	STAGE_DIAL,
	STAGE_FEED,
	STAGE_FILL,
	STAGE_WATCH,
	STAGE_CATCH,
	STAGE_STEP,
	STAGE_BROKEN,
	STAGE_STOPPED,
	STAGE_N,
};

/* What a command connection waits for. */
enum want_kind {
	WANT_SKIP,    /* n replies; errors are told                          */
	WANT_QUIET,   /* n replies, whatever they say                        */
	WANT_LOGIN,   /* an error is final                                   */
	WANT_ID,      /* CLIENT ID                                           */
	WANT_CLIENTS, /* CLIENT LIST                                        */
	WANT_NOTE,    /* GET of FILL_NOTE */
	WANT_DELAY,   /* GET of DELAY_NOTE */
	WANT_INFO,
	WANT_DBS, /* INFO keyspace, behind the attachment             */
	WANT_CONFIG,
	WANT_WRITE,  /* keys: the written ones                              */
	WANT_EXEC,   /* likewise; errors inside count                       */
	WANT_COPY,   /* n keys of pend.reading                              */
	WANT_JUDGE,  /* n keys of pend.judging                              */
	WANT_PROBE,  /* ROLE of the other side                              */
	WANT_MARGIN, /* ROLE of the authority: R                            */
	WANT_SCAN,
	WANT_EXISTS, /* key                                                 */
	WANT_EDGE,   /* ROLE of the authority, behind a sweep               */
	WANT_DUMP_FUNCTIONS,
	WANT_LIBRARY_LIST,
	WANT_FORMAT,    /* FUNCTION DUMP, for the version in it              */
	WANT_LIBRARIES, /* FUNCTION RESTORE                                  */
	WANT_SIZE,      /* MEMORY USAGE of pend.asking.first              */
	WANT_CHUNK,     /* expires_ms: the chunk's serial                */
	WANT_BARRIER,   /* FLUSHALL and the like: an error starts anew        */
	WANT_TRACK,     /* CLIENT TRACKING of Mode M                          */
};

struct want {
	uint8_t kind;
	bool is_fill; /* BUSYKEY is a conflict, not an error                */
	bool is_library; /* changes functions: an error makes them owed     */
	uint32_t n;
	uint32_t keys_n;    /* keys in conn.keys                           */
	int64_t expires_ms; /* 0: none                                     */
	uint64_t at;        /* COPY in Mode M: the position when it was sent */
};

struct copy_read {
	uint8_t state;
	uint32_t left;      /* keys to come in this reply                   */
	int64_t expires_ms; /* of the key in hand                           */
	uint64_t passing;   /* bytes of a payload still to be passed on     */
	uint8_t last[8];    /* its end: the checksum                        */
	struct mark *k;     /* the key in hand                              */
	uint64_t at;        /* offset of the read                           */
	bool drop;          /* the payload is not passed on                 */
	bool replace;       /* RESTORE ... REPLACE                          */
	bool merge;         /* ... under MERGE_KEY, and then united         */
	bool near;          /* the expiry comes in a command of its own     */
};

struct conn {
	enum side side;
	struct link *link;
	bool is_ready;
	uint32_t db; /* selected                                      */
	struct buf rx;
	struct buf wants; /* struct want, in order                         */
	struct buf keys;  /* of the wants: u32 db, u32 n, bytes            */
	struct buf late;  /* commands that wait for a payload to be complete */
	bool is_passing;  /* a payload is being written piecewise          */
	bool is_held;     /* commands wait for the turn to write (pace.h)  */
	uint32_t fills;   /* wants with is_fill                            */
	uint64_t asked;   /* wants ever put, and those that are over       */
	uint64_t answered;
	struct copy_read copy;
	uint64_t heard_ns;
	uint64_t id; /* CLIENT ID                                     */
};

enum feed_state {
	FEED_OFF,
	FEED_DIALING,
	FEED_LOGIN, /* waiting for the replies before PSYNC              */
	FEED_ASKED, /* PSYNC sent                                        */
	FEED_HEAD,  /* waiting for the header of the RDB                 */
	FEED_SNAPSHOT,
	FEED_STREAM,
};

struct feed {
	enum side side;
	enum feed_state state;
	bool is_bulk;
	bool is_ready;   /* STREAM, and the database is known              */
	bool is_resumed; /* continued where conf or passed said            */
	struct link *link;
	struct buf rx;
	uint32_t replies; /* LOGIN: still to come                           */
	bool filter_ok;
	char history[41];
	uint64_t pos; /* processed                                      */
	uint32_t db;
	uint64_t nonce; /* of the message that tells the database         */
	/* the snapshot */
	bool is_eof; /* ends with the mark, not after a length         */
	uint8_t mark[40];
	uint8_t tail[40];
	uint64_t left;
	/* the unit at the front of rx */
	struct resp_cmd cmd;
	size_t unit_n; /* bytes of its complete commands                 */
	struct place unit_at; /* HUGE, SKIPPING: where the unit started     */
	bool in_multi;
	bool is_huge;     /* its commands are marked one by one             */
	bool is_skipping; /* over the rest of a huge command                */
	struct resp_skip skip;
	uint64_t heard_ns;
	/* Mode M (mark.c) */
	bool by_marks;     /* no PSYNC: the server tells which keys changed */
	bool is_answered;  /* SET of the marker was                          */
	bool is_listed;    /* INFO keyspace behind it was                    */
	bool is_seen;      /* the marker came back                           */
	bool is_nudged;    /* a marker although nobody wants one            */
	uint64_t want;     /* a marker behind this is wanted                */
	uint64_t asked;    /* position of the marker under way, 0: none     */
	uint64_t again_ns; /* no marker before                              */
};

struct server {
	uint32_t version; /* 70015                                       */
	uint32_t rdb;     /* the newest version of payloads it takes     */
	char run_id[41];
	char replid[41];
	char replid2[41];
	uint64_t offset;
	uint64_t second_offset;
	uint64_t backlog_first;
	bool has_backlog;
	bool is_replica;
	bool is_loading;
	uint64_t keys;
	uint32_t dbs[DATABASES_MAX];
	uint32_t db_n;
	uint32_t db_left; /* in use as well, and no room for them here    */
	bool lazy_expire;
	int64_t sync_delay;  /* -1: not known                               */
	int64_t saved_delay; /* to restore; -1: nothing                     */
};

/* One ROLE sent to the other side behind what was applied. */
struct probe {
	struct place s;
	struct place floor;
	struct place watched; /* of its feed, all before repaired; at 0: no */
	uint64_t t; /* the other side's offset                       */
	uint64_t units;
};

struct lag_sample {
	uint64_t at;
	uint64_t ns;
};

#define DB_ALL UINT32_MAX

/* The stream emptied a database (DB_ALL: all of them) at offset `at`. */
struct flush {
	uint64_t at;
	uint32_t db;
};

struct unit_key {
	struct words_key w;
	struct mark *mark;
	bool is_kept;   /* the other side kept its own value */
	bool is_other;  /* not this mover's: not carried     */
	uint8_t united; /* enum merge_what: the other side may have more in it */
	bool is_chunk;  /* its elements: chunk.c             */
	bool is_bucket; /* no mark, but its bucket is dirty */
};

enum scan_phase {
	SCAN_OFF,
	SCAN_SOURCE,
	SCAN_GHOSTS,
	SCAN_EXTRA,
	SCAN_DONE
};

struct scan {
	enum scan_phase phase;
	bool compare;   /* equal keys are not written again               */
	bool sweep;     /* then look for keys that only the other side has */
	bool by_bucket; /* of sweep.c: only keys of buckets that are set */
	bool by_db;     /* only of database db: it was not there before  */
	bool by_gained; /* only of slots that came                       */
	uint32_t db;
	bool is_asked;
	uint32_t db_at; /* index into server.dbs or buckets.dbs           */
	uint64_t cursor;
	uint32_t count;
	uint32_t exists_n; /* answers to come                               */
};

enum sweep_phase {
	SWEEP_OFF,
	SWEEP_SCAN,
	SWEEP_EDGE,
	SWEEP_PASS
};

struct sweep {
	enum sweep_phase phase;
	uint64_t edge; /* PASS: then the bits can go */
};

struct bulk {
	struct rdb rdb;
	uint8_t *scratch;
	uint32_t db;
	uint64_t at;        /* offset of the snapshot                        */
	bool is_done;       /* RDB_END seen                                  */
	bool is_used;       /* this attempt fills by RDB                     */
	bool is_refused;    /* not possible with this server                 */
	struct buf flushes; /* struct flush: the rest of it is void         */
	struct pace pace;   /* its turns                                    */
	bool is_deaf;       /* the feed is not read                         */
	bool plain;         /* strings may go by MSET                       */
	struct buf pairs;   /* ... their words, gathered                    */
	uint32_t pair_n;
	bool big_skip; /* the big value in hand is copied otherwise     */
	struct buf big_key;
	int64_t big_expires;
};

struct mover {
	const struct mover_conf *conf;
	struct port *port;
	bool in_cluster; /* both sides are nodes: one slot at a time  */
	struct moved {
		const uint8_t *own; /* slots that are carried; NULL: all */
		uint8_t away[HASH_SLOTS / 8]; /* ... but these, for now  */
		uint32_t away_n;
		uint8_t gained[HASH_SLOTS / 8]; /* to be compared whole */
		bool has_gained;
		char own_tag[OWN_TAG]; /* of Godwit's own keys */
		uint64_t epoch;
	} moved;
	struct mover_limits limits;
	enum stage stage;
	enum side from; /* the authority                                 */
	bool was_started;
	bool paused;
	bool fill_done;
	bool rebuild;  /* the fill only looks for keys to be kept */
	bool has_note; /* FILL_NOTE is on note_side */
	enum side note_side;
	uint64_t note_until_ns; /* then it can go */
	bool fill_begun;  /* an attempt left something on the other side   */
	bool keep_extra;  /* the other side had records of its own         */
	bool extra_many;  /* more of them than are remembered              */
	uint64_t filled;  /* the fill is over when so much is answered     */
	bool need_rescan; /* a gap in the stream: compare everything       */
	uint64_t exposed; /* the last MAIL_EXPOSED that was obeyed          */
	uint64_t exposed_next; /* 0, or that of a server that is not attached */
	char exposed_id[48];   /* ... its run id                             */
	bool stopping;
	bool failed; /* attach_reset() at the end of this step        */
	struct conn cmd[SIDE_N];
	struct feed feed[SIDE_N];
	struct feed bulk_feed;
	struct server server[SIDE_N];
	struct bulk bulk;
	struct scan scan;
	struct sweep sweep;
	struct pend pend;
	struct chunks chunks;
	struct buf lowered;    /* a value in an older version             */
	struct buf lower_room; /* scratch of that                         */
	bool functions_asked;
	bool functions_done;
	bool library_owed;   /* they have to be copied again               */
	bool library_flying; /* they are being copied                      */
	bool library_known;  /* the other side was asked for its own       */
	bool library_extra;  /* it has some                                */
	bool library_begun;  /* ours were put there                        */

	/* rule 5: units up to here only mark; UINT64_MAX: not known yet */
	uint64_t margin;
	bool margin_asked;
	/* of a split: whose.c */
	const struct scope *scope;      /* NULL: every key             */
	struct foreign foreign[SIDE_N]; /* of each feed                */
	bool gains;                     /* keys, with the next thaw    */
	uint64_t gains_at[SIDE_N]; /* deletions there and behind are ours */

	/* barrier and flip: switch.c */
	bool barrier;
	uint64_t barrier_epoch;
	uint64_t barrier_at;
	bool answered; /* PASSED was said for it                         */
	bool frozen;
	struct place frozen_at; /* of the other side's stream           */

	struct place passed[SIDE_N];
	char history[SIDE_N][41]; /* that passed belongs to                 */
	struct place confirmed[SIDE_N]; /* of the other side, at passed     */
	struct place watched[SIDE_N];   /* of the other side: what it deleted by
	                                 * itself before it is repaired     */
	struct place settled;   /* s of the last probe that came back         */
	struct buf probes;      /* struct probe                               */
	size_t probes_answered; /* of those in the buf                      */
	uint64_t probes_sent;
	uint64_t probes_done;
	uint64_t settle_after; /* the copies are surely there at this probe */
	bool need_probe;
	struct buf samples; /* struct lag_sample                          */
	uint64_t units;
	uint64_t units_seen;
	uint64_t units_passed;
	uint32_t copies_flying; /* batches                                  */
	uint32_t flights_max;   /* grows while values are small */
	uint64_t copy_size;     /* of a value, lately                       */
	bool quiet; /* a barrier waits: read no more copies          */
	uint64_t held_off_ns; /* no copies before (errors of the writer)    */
	bool is_pressed;      /* too much waits: the stream only marks      */
	struct map kept;      /* u32 db, key: the other side's value stays  */
	struct map united;    /* u32 db, key: both sides' elements (merge);
	                       * u8: 1: perhaps with an expiry              */
	bool united_many;     /* ... of more keys than those                */
	struct map plain;     /* ... but not of these                       */

	struct buf spread;    /* commands from key to key (spread.c)        */
	struct buf wrong;     /* scratch of spread.c: hashes of keys        */
	struct buf swaps;     /* SWAPDB not settled yet (swap.c)            */
	uint32_t swaps_heard; /* of them, from the front: seen in the stream */
	struct buf swapped;   /* ... scratch: names of keys                */
	uint64_t lone_end; /* do_lone() was done for the unit that ends here */

	/* of the unit in hand */
	struct buf keys; /* struct unit_key                            */

	uint64_t retry_ns;
	uint32_t failures;
	uint64_t last_keys; /* of the authority, before the loss          */
	uint64_t second_ns; /* next tick                                  */
	uint64_t hurry_ns;  /* next ACK of a feed that has not begun      */
	uint64_t told_at;   /* last MAIL_PROGRESS                         */
	uint64_t heartbeat;
	uint64_t heartbeat_at[SIDE_N]; /* Mode M: proven there with this one */
	uint64_t busy_ns;  /* Mode M: until then look often           */
	uint32_t grown[8]; /* Mode M: databases to be looked at       */
	uint32_t grown_n;
	uint32_t own_flushes; /* Mode M: told to the other side by us    */
	uint64_t verify_at;   /* passed: then the verifier's marker is due   */
	struct buf marker;    /* its command; not in Mode M                  */
	char marker_name[OWN_NAME]; /* in_cluster: its key                  */
	char trouble[160];
	uint64_t trouble_ns;
};

/* mover.c */
void mover_tell_phase(struct mover *m);
void mover_tell_progress(struct mover *m);
/* "<history>:<db>", what conf.history takes. */
void mover_history(const struct mover *m, enum side side, uint32_t db,
                   char *to);
void mover_start(struct mover *m);
void mover_trouble(struct mover *m, enum err_code code, uint32_t retry_ms,
                   const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A link is lost or a server does not do as told: begin again after a while. */
void mover_fail(struct mover *m, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void mover_stage(struct mover *m, enum stage to);
void mover_unsettle(struct mover *m);
void mover_settle(struct mover *m);
void mover_publish(struct mover *m, struct place p);

/* conn.c */
void conn_open(struct mover *m, enum side side);
void conn_close(struct mover *m, struct conn *c, bool flush);
void conn_up(struct mover *m, struct conn *c);
void conn_bytes(struct mover *m, struct conn *c, struct span in);
/* A server that hangs without its connection being lost is given up. */
void conn_check_silence(struct mover *m);
/* Where the next command goes. Touches the link. */
struct buf *conn_out(struct mover *m, struct conn *c);
struct want *conn_want(struct mover *m, struct conn *c, enum want_kind kind,
                       uint32_t n);
/* A WANT_WRITE of a RESTORE that may be refused by the rule. */
void conn_fill(struct conn *c, struct want *w);
/* A key behind the last want. */
void conn_key(struct conn *c, struct want *w, uint32_t db, struct span key);
void conn_select(struct mover *m, struct conn *c, uint32_t db);
/* Commands are gathered; false: they are sent from now on. */
void conn_hold(struct mover *m, struct conn *c, bool on);
size_t conn_backlog(const struct conn *c); /* bytes not sent yet */
static inline size_t
conn_wants(const struct conn *c)
{
	return buf_len(&c->wants) / sizeof(struct want);
}
/* Take the first key of the oldest want. The span is good until the next call. */
bool conn_take_key(struct conn *c, uint32_t *ret_db, struct span *ret_key);
void mover_name(const struct mover *m, char *name);
void login_put(struct mover *m, enum side side, struct buf *b, uint32_t *n);

/* server.c */
void server_ask(struct mover *m, struct conn *c);
void server_clients(struct mover *m, struct conn *c, struct span reply);
void server_info(struct mover *m, enum side side, struct span text);
/* INFO keyspace: databases that were not known before. */
uint32_t server_grow(struct mover *m, enum side side, struct span text);
void server_config(struct mover *m, enum side side, struct span reply);
void server_delay(struct mover *m, enum side side, struct span reply);
bool server_has(const struct server *sv, const char *history, uint64_t at);
void server_hurry(struct mover *m, enum side side);   /* no sync delay  */
void server_restore(struct mover *m, enum side side); /* as it was      */

/* feed.c */
void feed_open(struct mover *m, struct feed *f);
void feed_close(struct mover *m, struct feed *f);
void feed_up(struct mover *m, struct feed *f);
void feed_bytes(struct mover *m, struct feed *f, struct span in);
void feed_ack(struct mover *m, struct feed *f, uint64_t at);
/* A unit is complete at the front of rx: its bytes are *ret. */
bool feed_unit(struct mover *m, struct feed *f, struct span *ret,
               bool *ret_multi);
void feed_take(struct feed *f, size_t n);
/* Every command of a span of complete commands. */
bool feed_walk(struct span unit, size_t *pos, struct resp_cmd *cmd,
               struct span *ret);

/* mark.c: Mode M, a server without a stream for replicas */
void mark_up(struct mover *m, struct feed *f);
void mark_bytes(struct mover *m, struct feed *f, struct span in);
void mark_tracked(struct mover *m, struct conn *c, struct span reply);
void mark_run(struct mover *m, struct feed *f);
void mark_tick(struct mover *m, struct feed *f);
void mark_heartbeat(struct mover *m, enum side side);
void mark_freeze(struct mover *m, struct feed *f);
bool mark_is_close(const struct mover *m); /* near enough to be in step */
/* Does the authority's side have no stream? */
static inline bool
mark_is_on(const struct mover *m)
{
	return m->conf->board->by_marks[m->from];
}

/* tail.c: the authority's stream */
void tail_run(struct mover *m);
void tail_huge(struct mover *m, struct feed *f, const struct resp_cmd *cmd,
               struct span request);
struct place tail_place(struct mover *m); /* processed so far */
/* Pass the verifier's marker on when all before it has passed. */
void tail_verify(struct mover *m);

/* dirty.c: keys to be copied */
void dirty_mark(struct mover *m, uint32_t db, struct span key,
                struct place since, uint64_t end);
/* Copied under a conflict rule and ahead: the other side's own value may stand. */
bool dirty_is_refusable(const struct mover *m, const struct mark *k);
void dirty_repair(struct mover *m, uint32_t db, struct span key);
void dirty_keep(struct mover *m, uint32_t db, struct span key);
/* To be copied although no unit of the stream says so: nothing passes before it
 * is. False: it was copied already, or there is no room. */
bool dirty_hold(struct mover *m, uint32_t db, struct span key);
/* Only the other side has this key: it stays until the stream writes it. */
void dirty_extra(struct mover *m, uint32_t db, struct span key);
/* Does the other side keep its own value of this key? */
bool dirty_is_kept(struct mover *m, uint32_t db, struct span key);
/* A reply to what was written is an error. */
void dirty_error(struct mover *m, const struct want *w, struct conn *c,
                 struct span text);
/* It is not known what is dirty: compare everything. */
void dirty_overflow(struct mover *m);

/* whose.c: in a split two movers share the keys */
bool whose_look(const struct mover *m, struct span key);
/* In a cluster: does its slot belong to another node? Such keys come by the stream
 * while slots are being moved. */
bool whose_is_elsewhere(const struct mover *m, struct span key);
/* Is this key not to be carried by us? */
static inline bool
whose_is_other(const struct mover *m, struct span key)
{
	return (m->scope != NULL || m->in_cluster ||
	        span_has_prefix(key, SPAN("__godwit:"))) &&
	       whose_look(m, key);
}
bool whose_is_none(const struct mover *m);    /* we carry no key           */
bool whose_is_home(const struct mover *m);    /* we carry what has no key  */
bool whose_is_keyless(const struct mover *m); /* ... to the other side now */
/* Do other movers carry keys between the same servers? */
bool whose_is_shared(const struct mover *m);
const char *whose_name(const struct mover *m); /* of connections   */
/* The verifier's key. */
static inline struct span
whose_marker(const struct mover *m)
{
	if (m->in_cluster)
		return span_str(m->marker_name);
	return m->conf->scope_side == SIDE_NEW ? SPAN("__godwit:mark-back")
	                                       : SPAN("__godwit:mark");
}
/* One of Godwit's own keys on either side. */
static inline const char *
whose_own(const struct mover *m, const char *what, char ret[OWN_NAME])
{
	return own_name(ret, what, m->moved.own_tag);
}
/* Is this how that server deletes by itself (expiry)? We never do it so. */
static inline bool
whose_is_own_deletion(const struct mover *m, enum side side,
                      struct span command)
{
	return span_is_word(command, m->server[side].lazy_expire
	                                     ? SPAN("unlink")
	                                     : SPAN("del"));
}
/* A server deleted a key that is not ours. */
void whose_note(struct mover *m, const struct feed *f, uint32_t db,
                struct span key);
/* FLUSHALL and the like, by a person: it was never ours alone. */
void whose_emptied(struct mover *m, const struct feed *f);

/* beat.c: something that comes back in a side's stream. A node of a cluster keeps
 * PUBLISH from its stream, so there it is a key that goes again at once. */
void beat_put(struct mover *m, struct conn *c, uint64_t token);
/* Is this one, and whose? */
bool beat_read(const struct mover *m, const struct resp_cmd *cmd,
               uint64_t *ret_token);
/* For nobody: the stream is only to move. */
void beat_ping(struct mover *m, struct conn *c);

/* switch.c: barrier, flip, scope */
void switch_barrier(struct mover *m, const struct mail *mail);
void switch_scope(struct mover *m, const struct mail *mail);
void switch_thaw(struct mover *m);
void switch_flip(struct mover *m, const struct mail *mail);
void switch_check(struct mover *m); /* PASSED, when it has */

/* watch.c: the other side's stream, probes */
void watch_command(struct mover *m, struct feed *f, const struct resp_cmd *cmd,
                   struct span request);
void watch_seek_db(struct mover *m, struct feed *f, const struct resp_cmd *cmd);
void watch_run(struct mover *m);
void watch_probe(struct mover *m);
void watch_answer(struct mover *m, struct span reply);
void watch_confirm(struct mover *m);
void watch_clip(struct mover *m);
int64_t role_offset(struct span reply);

/* moved.c: slots that move from node to node */
void moved_init(struct mover *m);
void moved_mail(struct mover *m, const struct mail *mail);
/* "MOVED 5 ..", "ASK 5 ..": that slot is on another node. False: nothing of the
 * kind was said. */
bool moved_says(struct mover *m, struct span error);
bool moved_is_away(const struct mover *m, struct span key);
/* Is its slot one that came, and must be compared? */
bool moved_is_gained(const struct mover *m, struct span key);
/* May a deletion by this command be that of a key that goes to another node? */
bool moved_may_delete(const struct mover *m);
/* A fill of the slots alone that came. */
bool moved_fills(const struct mover *m);
/* Has the fill to stop for a pause? One that follows slots does not: it belongs to the
 * stream, and without it nothing could be switched, nor go back. */
bool moved_is_paused(const struct mover *m);
void moved_filled(struct mover *m);
void moved_settle(struct mover *m); /* all is there */

/* swap.c */
#define SWAP_PLACES_MAX 32 /* databases that one key may be in */
/* The two databases of a SWAPDB; false: it is none. */
bool swap_read(struct span request, uint32_t ret[2]);
/* May it be passed on in its turn? Nothing is being read. */
bool swap_can(struct mover *m, uint64_t end);
/* It is passed on just now. */
void swap_begin(struct mover *m, uint32_t a, uint32_t b);
/* It was passed on. */
void swap_end(struct mover *m, uint32_t a, uint32_t b);
/* The other side's stream has one: ours, of this life, or nobody knows what it did
 * to what was heard before. */
void swap_heard(struct mover *m);
/* Both sides are attached: what earlier swaps took away. */
void swap_home(struct mover *m);
void swap_trim(struct mover *m);
/* Where a key may be by now that was in db, by the swaps that are not settled; their
 * number, 0: too many. */
size_t swap_places(const struct mover *m, uint32_t db,
                   uint32_t ret[SWAP_PLACES_MAX]);

/* spread.c */
void spread_note(struct mover *m, const struct word *w, struct span request,
                 uint32_t argc, uint32_t db);
void spread_trim(struct mover *m);
/* The other side has changed the key by itself, or refused a write of it: the key,
 * and whatever it was read for, wherever swaps have taken them. */
void spread_repair(struct mover *m, uint32_t db, struct span key);

/* copy.c */
void copy_run(struct mover *m);
size_t copy_bytes(struct mover *m, struct conn *c, struct want *w,
                  struct span in);
/* A key for people, n bytes at most. */
void copy_name(struct span key, char *ret, size_t n);
/* A value of a module: told with its key, and the mover fails. */
bool copy_is_module(struct mover *m, uint8_t type, struct span body,
                    uint32_t db, struct span key);
void copy_resume(struct mover *m); /* the writer has room again */
void copy_restore_head(struct buf *b, struct span key, int64_t expires_ms,
                       size_t payload_n);
void copy_restore_tail(struct buf *b, bool replace, bool absolute);

/* merge.c: the value restored under MERGE_KEY is united with the key's own. Not in a
 * cluster. */
#define MERGE_KEY "__godwit:merge"
void merge_put(struct buf *b, struct span key);
/* Remembers that a key is united; until it is copied whole. */
void merge_note(struct mover *m, uint32_t db, struct span key);
void merge_forget(struct mover *m, uint32_t db, struct span key);
/* ... It has an expiry on the authority, or had one. */
void merge_note_time(struct mover *m, uint32_t db, struct span key);
/* Databases change places: names are of the one that they were in. */
void merge_swapped(struct mover *m);
enum merge_what {
	MERGE_NOT,
	MERGE_UNITED,
	MERGE_TIMED, /* ... and may expire */
};
enum merge_what merge_what(const struct mover *m, uint32_t db, struct span key);
/* Does it remove elements that it names? Does it set an expiry? */
bool merge_is_removal(const struct resp_cmd *cmd);
bool merge_is_expiry(const struct resp_cmd *cmd);
/* Does what a command does depend on elements that the source may lack? */
bool merge_is_relative(const struct resp_cmd *cmd);

/* scan.c */
void scan_start(struct mover *m, bool compare, bool sweep);
void scan_start_buckets(struct mover *m);
/* Keys that only the other side has: to be known when the stream writes them. */
void scan_start_extra(struct mover *m);
/* May there be such, and does it matter? */
bool scan_has_extra(const struct mover *m);
void scan_start_db(struct mover *m, uint32_t db);
void scan_run(struct mover *m);
void scan_reply(struct mover *m, struct conn *c, struct span reply);
void scan_exists(struct mover *m, struct conn *c, struct span reply);

/* sweep.c */
/* A dirty key for which there is no mark. False: it cannot be remembered. */
bool sweep_put(struct mover *m, uint32_t db, struct span key,
               struct place since);
void sweep_run(struct mover *m);
void sweep_edge(struct mover *m, struct span reply);
void sweep_reset(struct mover *m);

/* bulk.c */
void bulk_start(struct mover *m);
size_t bulk_bytes(struct mover *m, struct span in);
void bulk_run(struct mover *m); /* whose turn it is */
void bulk_stop(struct mover *m);

/* lower.c: older versions of the format */
void lower_format(struct mover *m, enum side side, struct span reply);
uint32_t lower_max(const struct mover *m); /* of the other side           */
bool lower_is_needed(const struct mover *m);
/* The payload of RESTORE, valid until the next one. n 0: told, and failed. */
struct span lower_value(struct mover *m, uint8_t type, struct span body,
                        uint32_t db, struct span key);
struct span lower_payload(struct mover *m, struct span payload, uint32_t db,
                          struct span key);
struct span lower_library(struct mover *m, struct span payload);

/* older.c: servers before 7.0 */
#define OLDER_THAN 70000u
bool older_is(const struct mover *m, enum side side);
bool older_is_any(const struct mover *m);
/* One request; its answer is a number as that of PEXPIRETIME. */
void older_put_expiry(const struct mover *m, enum side side, struct buf *b,
                      struct span key);
/* Is what a command of the stream wrote copied, because it is not applied there as
 * it was here? */
bool older_by_state(const struct mover *m, const struct resp_cmd *cmd);

/* library.c: functions */
void library_ask(struct mover *m);
void library_list(struct mover *m, struct span reply);
void library_dump(struct mover *m, struct span reply);
void library_restored(struct mover *m, struct span bad);
void library_owe(struct mover *m); /* the other side may lack some        */
bool library_is_there(const struct mover *m);
void library_run(struct mover *m);
void library_reset(struct mover *m); /* the links are lost                */

/* attach.c */
/* An own key on the side that is being filled: "<id>:empty" or "<id>:extra" (it had
 * records of its own). Who finds it knows that a first copy was interrupted. */
#define FILL_NOTE  "fill"
/* On a side while its repl-diskless-sync-delay is ours: what it was before. */
#define DELAY_NOTE "delay"
void attach_note(struct mover *m, struct conn *c, struct span reply);
void attach_note_put(struct mover *m);
void attach_note_drop(struct mover *m);
void attach_exposed(struct mover *m, const struct mail *mail);
void attach_run(struct mover *m); /* moves the stages on */
/* Everything but the resume points is forgotten, the links closed. */
void attach_reset(struct mover *m, bool flush);
