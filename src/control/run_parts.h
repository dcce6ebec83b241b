/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/run_parts.h: what the files behind run.h share: struct run.
 *
 * run.c turns the wheel; start.c begins and resumes, stop.c ends; mails.c hears
 * relays and mover; verbs.c does what people ask, shift.c the switch; fence.c
 * and health.c talk to the servers; auto.c promotes by itself; proof.c verifies;
 * status.c tells; panel.c is the control socket.
 *
 * Thread: the control thread; proof.c has one more.
 */
#pragma once

#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>

#include "base/check.h"
#include "control/agent.h"
#include "control/dialect.h"
#include "control/divide.h"
#include "control/group.h"
#include "control/home.h"
#include "control/interlay.h"
#include "control/journal.h"
#include "control/limit.h"
#include "control/panel.h"
#include "control/preflight.h"
#include "control/rulebook.h"
#include "control/run.h"
#include "control/seek.h"
#include "control/url.h"
#include "core/lifecycle.h"
#include "core/traffic.h"
#include "engine/redis/admin/fence.h"
#include "flow/cutover.h"
#include "flow/migration.h"
#include "world/os/loop.h"

#define RUN_RELAYS_MAX    64 /* bits of a set */
#define RUN_INTERLAYS_MAX 16
#define RUN_KIN_MAX       (RUN_INTERLAYS_MAX + GROUP_MAX)

struct run_event {
	int64_t at_ms;
	char name[24];
	char text[200];
};

struct replica; /* replica.c's */
struct pg_side; /* control/postgres/side.h */

/* What is known of one server. */
struct run_side {
	struct url url;
	struct agent agent;
	char run_id[48];
	bool is_up;
	bool users_made; /* Godwit's, as far as we know              */
	bool fenced;     /* shut, as far as we know                  */
	bool parted;     /* so are the other side's tables in it     */
	bool has_aclfile;
	bool has_config;     /* CONFIG REWRITE is possible               */
	bool kept;           /* rules with a fence were made to last */
	json_t *saved;       /* user name -> rules, from acl_saved       */
	uint64_t exposed;    /* exposed.c: 0, or its number              */
	uint64_t lost_ns;    /* its connection broke then; 0: no         */
	uint64_t hurry_ns;   /* look again at                            */
	struct seek follow;  /* a node of a cluster: follow.c        */
	struct seek_map map; /* ... what it said last                */
	struct replica *replicas[LIMIT_REPLICAS];
	uint32_t replica_n;
	struct pg_side *pg; /* PostgreSQL's: what is kept of it */
};

enum op_kind {
	OP_NONE,
	OP_PROMOTE,
	OP_ROLLBACK,
	OP_COMPLETE,
	OP_VERIFY,
	OP_PAUSE,
	OP_RESUME,
	OP_RETRY,
	OP_FAIL,
	OP_STOP,
};

enum op_stage {
	OP_BEGIN,  /* not looked at yet, or to be tried again at retry_ns */
	OP_ROUTE,  /* every relay takes the new route                     */
	OP_WARM,   /* relays make ready for a hold                        */
	OP_SWITCH, /* the cutover machine runs                            */
	OP_PROOF,  /* a verification runs                                 */
	OP_MOVER,  /* the mover ends                                      */
	OP_LEAVE,  /* relays and mover end                                */
};

/* A verb on its way. One at a time; the others wait. */
struct op {
	enum op_kind kind;
	enum op_stage stage;
	uint64_t client; /* who asked; 0: nobody (auto, resume)        */
	json_t *args;
	uint32_t tries;
	uint64_t retry_ns;
	uint64_t began_ns;
	struct strategy_move move;
	bool move_known;
	bool is_warm;        /* the relays are ready for its hold          */
	bool is_forced;      /* complete --force, rollback with loss       */
	enum life_verb verb; /* VERB_N: none of the lifecycle         */
	struct group *group; /* switch together with other legs, or NULL */
	uint32_t member;     /* number in it                          */
};

/* When a write is acknowledged, as it is asked for now. */
struct run_write {
	enum write_mode mode;
	enum ack_mode ack;
	uint32_t ack_timeout_ms;
};

struct run_proof; /* proof.c's */

struct totals; /* status.c's */
#define RUN_DIFFERENT_MAX 20
#define RUN_EXAMPLE       sizeof(((struct mail *)0)->text)

struct run {
	const struct run_conf *conf;
	const struct run_home *home;   /* NULL: a process of its own */
	const struct dialect *dialect; /* of both sides; NULL: not known */
	struct strategy strategy;
	struct run_write write; /* a patch changes it */
	char id[40];
	/* users godwit-<id>, -r; prefix godwit:<id>: ; user godwit-<id>-w */
	char names[4][56];
	char agent_name[64];
	const char *prefixes[RUN_INTERLAYS_MAX];
	struct fence_own own;
	struct side_conf side[SIDE_N];
	struct cluster_slots slots; /* that move between nodes: layout.c */
	struct cluster_slots node_slots[SIDE_N]; /* of the nodes        */
	struct nodes nodes[SIDE_N];   /* their clusters                 */
	char marker_tag[OWN_TAG];     /* own_tag, as the relays have it */
	struct layout_slots *carried; /* by the mover; and all before   */
	struct cluster_slots wanted;  /* layout_follow(), since ...     */
	uint64_t wanted_ns;
	struct cluster_slots missing; /* settle_look(), since ...     */
	uint64_t missing_ns;
	uint64_t settle_ns;    /* not again before then                 */
	uint64_t left_open_ns; /* settle_close(), since ...            */
	bool settle_asked;     /* some were asked for; in the journal   */
	char settle_why[96];   /* ... cannot be asked for; "": they can */
	enum side slots_of;    /* authority, when they were looked at */
	uint64_t slots_epoch;  /* of the last MAIL_SLOTS         */
	bool slots_owed;       /* ... not all is there           */
	bool is_node[SIDE_N];
	bool is_part; /* other legs share its servers     */
	char kin_users[40];
	char kin_names[40];
	struct agent_kin kin;
	char own_line[RUN_KIN_MAX][56]; /* names of its and their relays */
	const char *own_lines[RUN_KIN_MAX];
	uint32_t own_lines_n;
	struct run_side at[SIDE_N];
	struct checks checks;
	struct journal *journal;
	bool is_resumed;
	bool users_told; /* that they could not be carried */

	/* machines */
	struct board board;
	struct interlay *interlay[RUN_INTERLAYS_MAX];
	uint32_t interlay_n;
	char prefix[RUN_INTERLAYS_MAX][56]; /* names of their connections */
	struct loop *relay[RUN_RELAYS_MAX]; /* of all interlays */
	const struct traffic *traffic[RUN_RELAYS_MAX];
	uint32_t relay_n;
	struct inbox *mover_inbox;
	struct crowd crowd;         /* the mover's: who hears of the board */
	void *mover_conf;           /* machines.c's */
	struct disk *spool[SIDE_N]; /* ... for its streams; NULL: none */
	char *build; /* malloc: the mover's, see engine/mover.h; NULL: none */
	struct loop *mover;
	struct divide split; /* writes by share or feature; divide.c */

	/* the state */
	enum life_state state;
	uint32_t step;
	uint32_t read_ppm;
	uint64_t units;    /* moved ones of the strategy, a bit each */
	struct spec *spec; /* its own; NULL: the strategy alone  */
	struct rulebook book;
	struct zone zone; /* of a time_window                    */
	bool zone_known;
	uint64_t timetable_at_ns;
	int64_t timetable_said_ms; /* end of a window that was too short  */
	uint64_t generation;
	uint64_t reads_base[SIDE_N]; /* answered before the share changed */
	uint64_t writes_base[SIDE_N];
	uint64_t acked[RUN_RELAYS_MAX]; /* newest generation of each        */
	uint64_t routed_ns; /* the newest generation was made           */
	uint64_t acked_ns;  /* and all had it; 0: not yet               */
	/* bits of relays */
	uint64_t drained, marked, stopped, behind_acked, warmed;
	uint64_t warm_token;
	/* Connections to the losing side that nothing is on its way to, by relay:
	 * theirs, from MAIL_DRAINED to MAIL_RELEASE. */
	struct {
		const uint32_t *process;
		uint32_t n;
	} quiet[RUN_RELAYS_MAX];
	bool quiet_told; /* to the group */
	bool mover_stopped;
	enum move_phase move;
	uint64_t broken_ns; /* the stream has been broken since; 0: it is not */
	bool began;         /* a share was journalled, ever */
	bool was_shut;      /* release: until then nobody could write there */
	bool toggled_back;  /* by a person: nobody promotes by himself */
	bool was_in_step;   /* once, in this process              */
	uint64_t new_keys;  /* records new had before anything began */
	bool copied;        /* the bulk is complete               */
	enum copy_mode copied_by; /* in an earlier process          */
	bool is_behind;
	uint64_t late_n;     /* how often that began */
	uint64_t in_step_ns; /* since when; 0: not                 */
	uint64_t heartbeat_token;
	bool heartbeat_back; /* that one                          */
	uint64_t proven_ns;  /* last heartbeat that came back      */
	bool forced;         /* completed by force                 */
	bool record_owed;    /* an abort that is not on disk yet   */
	bool auto_aborted;
	char trouble[160];

	/* the switch */
	struct cutover cut;
	bool cut_on;
	uint64_t cut_entered_ns;     /* its step                        */
	uint64_t cut_took_us[CUT_N]; /* the steps of the last one       */
	uint64_t marked_until_ns;
	bool group_unsure; /* the commit of all may be on disk */
	uint64_t hold_last_ms, hold_max_ms;

	/* verbs */
	struct op op;
	struct op queue[LIMIT_QUEUE];
	uint32_t queue_n;

	/* verification */
	struct run_proof *proof;
	bool proof_spent;   /* the stream broke since the last began */
	json_t *proof_last; /* {"state","compared",...,"epoch"}   */

	/* --auto */
	struct watch watch;
	bool watch_on;
	uint32_t watch_step;
	int64_t watch_wall_ms; /* the watch began */
	struct judgement judged;
	struct sample base; /* cumulative, when the step began    */
	uint64_t base_latency[SIDE_N][TRAFFIC_BUCKETS];
	struct sample trust; /* old's side: the last that it showed  */
	uint64_t late_ns;    /* not in step since; 0: it is         */

	/* the wheel */
	struct panel *panel;
	int wake_fd;        /* eventfd: SIGTERM, proof            */
	uint32_t owed_n;    /* changes that were not carried; 0: none is
	                     * owed (journal: "owed")                     */
	char owed[200];     /* the last of them                           */
	bool is_stale;      /* new is not prepared for old as it is       */
	bool is_lost;       /* ... and its stream is no more: undo_copy() */
	bool is_unprepared; /* something was in the way of it; no mover
	                     * begins before it is done                   */
	uint64_t stale_ns;  /* it is prepared again from then on          */
	bool has_time;      /* nobody waits for what control asks servers   */
	bool is_over;
	bool leaves;           /* hosted: the leg has come to its end      */
	bool has_left;         /* its interlays are alone                  */
	json_t *last;          /* status at the end                        */
	struct totals *before; /* what its interlays had counted before */
	int exit_status;
	uint64_t exposed_n; /* of exposed.c, counted */
	uint64_t health_at_ns, heartbeat_at_ns, status_at_ns, auto_at_ns;
	/* shadow_traffic: the newest differences, and statements whose answers
	 * never are the same; _n: ever */
	char different[RUN_DIFFERENT_MAX][RUN_EXAMPLE];
	uint64_t different_n;
	char noise[RUN_DIFFERENT_MAX][RUN_EXAMPLE];
	uint64_t noise_n;
	struct run_event events[LIMIT_EVENTS];
	uint64_t event_n; /* ever; the ring holds the last      */
};

/* run.c */
void run_event(struct run *r, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
enum side run_authority(const struct run *r);
/* Each side rules its part of the keys (docs/internals/split.md). */
bool run_is_split(const struct run *r);
/* Does R want this side open for applications? In a split by keys neither is, in one
 * by tables both are. */
bool run_wants_open(const struct run *r, enum side s);
/* Journal a change of state and make it. ERR_STATE or ERR_IO: nothing changed. */
int run_apply(struct run *r, enum life_verb verb, const char *reason,
              struct err *err) MUST;

/* An answer to who asked: terminal or thread; data is stolen, may be NULL. */
void run_ok(struct run *r, uint64_t client, json_t *data);
void run_fail(struct run *r, uint64_t client, const struct err *err);

/* Hosted: ask the host for something that concerns all legs. */
void run_wish(const struct run *r, const char *what, const char *why);

/* start.c */
int run_start(struct run *r, struct err *err) MUST;
/* As far as nothing is changed. */
int run_try(struct run *r, struct err *err) MUST;

/* machines.c */
/* One more interlay, before machines_make(). */
int machines_add(struct run *r, struct interlay *l, struct err *err) MUST;
int machines_make(struct run *r, struct err *err) MUST;
/* Hosted: the interlays serve the side with authority alone. False: one of them
 * did not answer; the run must outlive it. */
bool machines_leave(struct run *r);
/* Ask the mover to end, wait for it, end it. */
void machines_end_mover(struct run *r);
/* Both servers are prepared for the stream. why: one is not, and machines_renew() does it
 * later. */
void machines_prepared(struct run *r, const struct err *why);
/* It begins. And when it was told that new is stale: prepared again, another one. */
void machines_tell_start(struct run *r);
void machines_renew(struct run *r, uint64_t now_ns);
void machines_free(struct run *r);
/* The stream of a side that is over: its files. */
void machines_forget_spool(const struct run *r, enum side s);
void machines_tell(struct run *r, const struct mail *m); /* every relay */
void machines_tell_mover(struct run *r, const struct mail *m);
void machines_tell_movers(struct run *r, const struct mail *m);
/* The second mover of a split: begins, is asked to end, has ended. */
int machines_make_back(struct run *r, struct err *err) MUST;
void machines_stop_back(struct run *r);
void machines_free_back(struct run *r);
/* The route of now, with the next generation. */
struct route machines_route(struct run *r);
/* Send it to every relay (MAIL_ROUTE). */
void machines_send_route(struct run *r);
bool machines_all_current(const struct run *r);
uint64_t machines_all_bits(const struct run *r);

/* mails.c */
void mails_take(struct run *r);

/* fence.c: each is bounded by LIMIT_CALL_MS a question */
int fence_save(struct run *r, enum side s, struct err *err) MUST;
/* How long one question may take now. */
uint32_t fence_call_ms(const struct run *r);
/* Look at a side's token, which is watched then. ERR_STATE: it is above ours. */
int fence_look_own(struct run *r, enum side s, struct err *err) MUST;
/* The rules of the side's users; of those that are fenced, as saved. New. */
json_t *fence_rules_now(const struct run *r, enum side s,
                        const struct fence_look *l) MUST;
/* The rules that the side's users get when its fence is lifted. */
int fence_record_rules(struct run *r, enum side s, json_t *rules,
                       struct err *err) MUST;
int fence_shut(struct run *r, enum side s, uint64_t epoch,
               struct err *err) MUST;
int fence_lift(struct run *r, enum side s, uint64_t epoch,
               struct err *err) MUST;
int fence_holds(struct run *r, enum side s, uint64_t epoch,
                struct err *err) MUST;
/* Is no application's user open there? No: also when nobody answers. */
bool fence_shuts_all(struct run *r, enum side s);
/* ERR_STATE: some users are fenced that could have their rights back. */
int fence_is_open(struct run *r, enum side s, struct err *err) MUST;
/* Connections that relays of an earlier process left behind: what they have sent
 * is done or never will be, once this has returned. */
int fence_kill_left(struct run *r, enum side s, struct err *err) MUST;
/* The loser's last message, or the winner's first one, to subscribers. */
int fence_say(struct run *r, enum side s, bool first, struct err *err) MUST;
int fence_kill(struct run *r, enum side s, struct err *err) MUST;
int fence_position(struct run *r, enum side s, uint64_t *ret,
                   struct err *err) MUST;
void fence_persist(struct run *r, enum side s);
int fence_users(struct run *r, enum side s, struct err *err) MUST;
/* The user of the relays in a split, with the rights of default. */
int fence_writer(struct run *r, enum side s, struct err *err) MUST;
/* ERR_STATE: somebody else than default may log in there. */
int fence_only_default(struct run *r, enum side s, struct err *err) MUST;
void fence_clean(struct run *r, enum side s, bool keep_users);
/* What the users were allowed goes into the journal under a name ("old", or a
 * replica's), unless *saved is that already. */
int fence_record(struct run *r, const char *name, json_t **saved,
                 const struct fence_look *l, struct err *err) MUST;
bool fence_rules_of(const json_t *saved, struct span name, struct span *ret);
/* The same as an acl_saved_f; arg: json_t. */
bool fence_saved_rules(void *arg, struct span name, struct span *ret);

/* Reach the side and ask one thing. The replies live until the next call. */
int fence_ask(struct run *r, enum side s, uint32_t (*put)(struct buf *),
              struct span *ret_replies, struct err *err) MUST;

/* layout.c: nodes of clusters; elsewhere nothing is asked */
#define LAYOUT_TEXT (HASH_SLOTS / 4 + 1) /* slots, as the journal has them */
#define LAYOUT_SETTLED_NS \
	(1000 * NS_PER_MS)         /* so long nodes say the same     */
void layout_recall(struct run *r); /* from the journal */
int layout_keep(struct run *r, const struct facts f[SIDE_N],
                struct err *err) MUST;
/* The name of a leg that shares servers; else id stays. */
void layout_name(const struct run *r, char *id, size_t n);
/* Once its name is known: those of the others. */
void layout_know_kin(struct run *r);
/* The names of their relays, which are held in the same switch: nobody else is spared
 * when clients are cut off. Asked again before each time. */
void layout_know_lines(struct run *r);
/* agent_kin.next */
bool layout_next_kin(void *arg, const struct side_conf *side, uint32_t i,
                     char user[64], char pass[80]);
/* Users that another leg has shut: what they were allowed is with its journal. */
int layout_borrow_rules(struct run *r, enum side s, const struct fence_look *l,
                        struct err *err) MUST;
/* Do the legs that share its servers switch, or are they about to? */
bool layout_is_switching(const struct run *r);
/* ERR_POSTPONED: slots are on their way, or on servers that no leg joins. */
int layout_check(struct run *r, struct err *err) MUST;
/* Why not now; false: nothing is in the way, as far as is known. */
bool layout_is_moving(const struct run *r, char *why, size_t n);
/* Both sides were asked: slots that moved are carried by who has them now. */
void layout_follow(struct run *r);
/* The i-th leg's journal, to read; NULL: it is this one, or there is none. */
struct journal *layout_open_leg(const struct run *r, uint32_t i);
void layout_slots_print(const struct cluster_slots *slots,
                        char ret[LAYOUT_TEXT]);
void layout_slots_parse(const char *text, struct cluster_slots *ret);
const struct mover_slots *layout_carried(const struct run *r);
void layout_end(struct run *r);

/* settle.c: a slot that went from one leg's server to another one's, on the side with
 * authority, goes there on the other side, too. */
void settle_recall(struct run *r); /* from the journal */
void settle_look(struct run *r);
/* BLOCKS. A slot that somebody opened on a side just before that was shut is closed:
 * nobody else can. Its keys are where they were, or no switch had passed. */
void settle_close(struct run *r);
/* Of this leg, for the others: would a slot that new gives away take with it what
 * new alone has? */
bool settle_would_lose(const struct run *r);
/* Slots of this leg are moving, or another one has to take some over or let them go.
 * Reads journals. */
bool settle_is_in_way(const struct run *r, char *why, size_t n);

/* follow.c: nodes of clusters; elsewhere nothing is asked */
void follow_end(struct run *r);

/* exposed.c: s was found open although it has to be shut. First begin, then its
 * fence, then tell; end: the mover is in step behind number `upto`. */
void exposed_recall(struct run *r); /* from the journal */
void exposed_begin(struct run *r, enum side s);
void exposed_tell(struct run *r, enum side s);
void exposed_end(struct run *r, uint64_t upto);

void follow_recall(struct run *r); /* from the journal; own_tag is known */
/* Has another node the side's slots by now? Then whoever connects to the side
 * comes to that one. */
void follow_look(struct run *r, enum side s);

/* replica.c: see there; what fails is an event and a check, not an error */
/* Find them, and make each as R wants it. Not inside a hold. */
void replica_tend(struct run *r, enum side s);
void replica_shut_all(struct run *r, enum side s, uint64_t epoch);
/* ERR_STATE: one that was shut is open. */
int replica_hold_all(struct run *r, enum side s, struct err *err) MUST;
/* Opened, and Godwit's users removed. */
void replica_clean(struct run *r, enum side s);
void replica_forget(struct run_side *at);
/* At most max of them; answers how many. */
uint32_t replica_addresses(const struct run_side *at, struct seek_node *ret,
                           uint32_t max);
void replica_put_checks(const struct run *r, json_t *list);

/* acl.c: users that are changed while a migration is attached */
bool acl_is_carried(const struct run *r);
/* What was changed of the users of `from`, which has authority and was just looked
 * at, comes to the other side, which is fenced, before the rules of now are
 * recorded. ERR_LOST: that side is away; with is_due it is asked anyway. */
int acl_follow(struct run *r, enum side from, const struct fence_look *l,
               bool is_due, struct err *err) MUST;
void acl_tend(struct run *r, enum side s); /* once a second */

/* shift.c */
void shift_begin(struct run *r, bool forced);
/* A scope switch; def: as of divide_define(), stolen; NULL: the empty scope. */
int shift_begin_scope(struct run *r, json_t *def, bool forced,
                      struct err *err) MUST;
void shift_mail(struct run *r, const struct mail *m);
void shift_tick(struct run *r, uint64_t now_ns);
uint64_t shift_wake_ns(const struct run *r);
/* shift_check.c: CHECK. Of a switch that accepts a loss: what can be carried is, and the
 * answer is what could not. */
int shift_check(struct run *r, struct err *err) MUST;
void shift_stop(struct run *r, const char *why);

/* shift_record.c: R in the journal */
int shift_record_freeze(struct run *r, struct err *err) MUST;
/* 1: the others are not there yet. */
int shift_record_commit(struct run *r, struct err *err) MUST;
int shift_record_of_group(struct run *r, enum group_state s,
                          struct err *err) MUST;
int shift_record_abort(struct run *r, struct err *err) MUST;

/* gates.c */
void gates_look(const struct run *r, struct gates *ret);

/* verbs_ask.c */
const char *verbs_name(enum op_kind k);
void verbs_ask(struct run *r, uint64_t client, const char *verb, json_t *args);
void verbs_take(struct run *r); /* what other threads ask */
void verbs_push(struct run *r, enum op_kind kind);

/* verbs.c */
void verbs_tick(struct run *r, uint64_t now_ns);
void verbs_switched(struct run *r); /* the cutover machine has ended */
uint64_t verbs_wake_ns(const struct run *r);

/* proof.c */
int proof_start(struct run *r, bool repair, struct err *err) MUST;
bool proof_is_on(const struct run *r);
/* Ask it to end; nobody wants its answer any more. */
void proof_stop(struct run *r);
/* Called when the eventfd fired: collects what has ended. */
bool proof_collect(struct run *r);
/* Of the last one: keys that never stood still, when nothing else is against it. */
long long proof_open(const struct run *r);
void proof_fini(struct run *r);
/* Clean, and made since the last switch? Also when it is partial. */
bool proof_is_clean(const struct run *r);
/* Clean but for records that only old has, which was meant (empty_ok). */
bool proof_is_partial(const struct run *r);
uint64_t proof_progress(const struct run *r);

/* health.c */
void health_tick(struct run *r, uint64_t now_ns);
uint64_t health_wake_ns(const struct run *r);
/* To be polled: the connections to both sides, which only speak unasked when they
 * end. ret has SIDE_N places; answers how many. Then what poll said of them. */
size_t health_fds(const struct run *r, struct pollfd *ret);
void health_heard(struct run *r, const struct pollfd *fds, size_t n);
/* The side may come back open at any moment: look at it often for a while. */
void health_hurry(struct run *r, enum side s);
void health_behind(struct run *r, bool on);
/* The servers as R wants them: authority open, the other side shut; in a split
 * both are shut. */
int health_settle(struct run *r, struct err *err) MUST;

/* timetable.c */
int timetable_load(struct run *r, struct err *err) MUST;
/* ERR_WINDOW: the move goes forward, and the window is shut, or ends before a
 * cutover could be done. */
int timetable_gate(const struct run *r, const struct strategy_move *m,
                   struct err *err) MUST;
void timetable_tick(struct run *r, uint64_t now_ns);

/* auto.c */
/* The check that failed, or "". */
const char *auto_check(const struct judgement *j);
/* The last look of this step: value, threshold and sample of each check. */
json_t *auto_checks(const struct run *r);
void auto_tick(struct run *r, uint64_t now_ns);

/* moves.c */
/* What promote, traffic, toggle or patch means now, into op.move. */
int moves_choose(struct run *r, struct err *err) MUST;
/* May the keys that are new's become these (NULL: none)? ERR_UNABLE: never here. */
int moves_scope(struct run *r, const json_t *def, struct err *err) MUST;
/* Would it be possible? The checks of begin(), no effect. */
int moves_try(struct run *r, struct err *err) MUST;

/* leave.c */
void leave_now(struct run *r);
/* A start that was refused is undone. */
void leave_undo(struct run *r);
/* The leg is over; remove what an earlier process could not. 0. */
int leave_tidy(struct run *r);
/* Completed: old accepts applications again. */
int leave_release(struct run *r, struct err *err) MUST;

/* status.c */
/* The counters of its interlays as they are now are the past. */
int status_base(struct run *r, struct err *err) MUST;
/* The actual share is counted from now on. */
void status_count_reads(struct run *r);
json_t *status_json(struct run *r);
/* Of the servers, when it began; a list. */
json_t *status_checks(const struct run *r);
/* The way the bulk goes over: rdb or scan; auto: not known yet. */
const char *status_copied_by(const struct run *r);
json_t *status_events(const struct run *r, uint32_t n);

/* stop.c */
void stop_clean(struct run *r);
void stop_forget(struct run *r, enum side s, bool keep_users);
void stop_tick(struct run *r, uint64_t now_ns);
void stop_begin(struct run *r);
