/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/model/switch.pml: cutover, rollback and takeover as Godwit does them.
 *
 * README.md beside it says which function each part stands for, what is left
 * out, and what the runs have shown. tools/model.py runs it.
 *
 * Sizes:  WRITES a client, TRIES of switches, CRASHES of Godwit, CUTS of the
 *         mover's links, FAULTS of calls to a server, DISK errors of the
 *         journal, KEYS; BYPASS, READS, CANARY, DUAL, ROLLBACK, COMPLETE,
 *         FORCED, PG switch parts on.
 * Faults: MUTANT_* changes one line each; each must give a counterexample.
 * Proofs that something happens at all: REACH_* must give one, too.
 */
#ifndef WRITES
#define WRITES 1
#endif
#ifndef TRIES
#define TRIES 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef CUTS
#define CUTS 0
#endif
#ifndef FAULTS
#define FAULTS 0
#endif
#ifndef DISK
#define DISK 0
#endif
#ifndef ABORTS
#define ABORTS 0
#endif
#ifndef KEYS
#define KEYS 1
#endif

#define OLD  0
#define NEW  1
#define NONE 255
#define UNITS 6 /* a history holds */

/* R (core/authority.c) */
#define A_OLD    0
#define A_FREEZE 1
#define A_NEW    2
#define A_BACK   3 /* freeze_back */
#define SIDE_OF(st)   (st / 2)
#define IS_FROZEN(st) (st % 2)

/* ---- the two servers ---------------------------------------------------- */

bool shut[2];       /* applications are refused (the ACL rule is durable)    */
byte tok[2];        /* __godwit:fence                                        */
byte v[4];          /* v[2 * side + key]: a counter, written by INCR         */
byte hist[2];       /* units of clients in the history of a side            */
byte unit_key[12];  /* their keys                                            */
byte executed[2];   /* per key: units of clients, on whichever side          */
byte acked[2];      /* per key: answered to a client                         */

/* A command of the controller that was given up, and may still land. Its EXEC
 * does nothing when the token was written since its WATCH. */
bool late_on, late_shut;
byte late_side, late_ep;

/* ---- the journal: what is on disk, what its handle knows ------------------ */

byte d_ep = 1, d_st = A_OLD;
byte d_prog[2];     /* resume points; NONE: compare everything               */
bool d_done;        /* state completed                                       */
byte m_ep = 1, m_st = A_OLD;
bool unsure;        /* the last COMMIT of the file failed, and may be there  */
bool g_on;          /* ... and this is what a crash may bring to light       */
byte g_ep, g_st, g_side, g_prog;

/* ---- the process ---------------------------------------------------------- */

bool alive;         /* between machines_make() and a crash                   */
bool excused;       /* a fence could not be lifted in its time: refusals may
                     * be seen until it is                                   */
bool lossy;         /* a loss was accepted                                   */
bool down;          /* FORCED: new is dead                                   */
bool finished;      /* control has nothing more to do                        */

/* Workers (relay); one client each. */
#define Q_IDLE    0
#define Q_SENT    1 /* on its way to the server                              */
#define Q_REPLIED 2 /* executed, its reply on the way                        */
#define Q_HELD    3 /* withheld: ack both                                    */
#define Q_CANARY  4 /* a read on the way to the other side                   */
#define Q_SEEN    5 /* ... answered there                                    */
byte q[2], q_side[2], q_key[2], q_pos[2], q_val[2];
bool q_read[2];
byte done_n[2];
byte route[2];      /* who has authority, as the worker knows                */
bool ack_both[2], hold[2], told[2], behind[2], strayed[2];
byte hold_ep[2];
byte need[2];       /* the highest position the session can have seen        */
byte seen[4];       /* 2 * worker + key: its last known value                */
byte q_uns[2];
bool zq[2];         /* a request of a dead process may still arrive          */
byte zq_side[2], zq_key[2];

/* Mails: control to worker, and back. */
#define MAIL_HOLD    1
#define MAIL_RELEASE 2
byte box[2], box_ep[2], box_side[2];
bool box_both[2], box_lossy[2];
byte drained[2];    /* the epoch it was said for                             */
bool route_acked[2];

/* The mover. */
#define M_OFF      0
#define M_BROKEN   1
#define M_ATTACHED 2 /* the margin is not known yet                          */
#define M_RUNS     3
byte stage, from, pos, margin;
byte pt[2];         /* passed[]: where each side's history has passed        */
byte pend[2];       /* per key: 0, QUEUED, AHEAD                             */
byte ahead[2];      /* AHEAD: the offset of the copy                         */
bool rescan, barrier, answered, frozen;
byte bar_ep, bar_at, frozen_at;
byte uns;           /* board.unsettled                                       */
#define QUEUED 1
#define AHEAD  2
#define IS_SETTLED (uns % 2 == 0)
#ifdef CANARY
#define UNSETTLED_MAX 16
#else
#define UNSETTLED_MAX 2 /* nobody asks whether it is another time */
#endif
byte pass_ep, pass_at; /* MAIL_PASSED                                        */
#define MAIL_BARRIER 1
#define MAIL_THAW    2
#define MAIL_FLIP    3
#define MAIL_STOP    4
chan to_mover = [3] of { byte, byte, byte };
#define INCR 255
chan pipe = [2] of { byte, byte }; /* key, value or INCR                     */
chan left = [2] of { byte, byte }; /* of a connection that nobody killed     */
byte pipe_to, left_to;

/* Budgets. */
byte crashes, cuts, faults, disk_n, aborts, tries, backs;

#ifdef PG
/* Sequences, and a direct login: 1: its role was checked, 2: it is a session
 * that pg_stat_activity shows. */
byte seq[2], seq_max, seq_read;
byte login[2];
byte applied[2];    /* progress row of each target, in its transactions      */

/* A role that may not log in ends nobody: the backend of a worker's client goes
 * on until it is ended. 1 + the side it is on; 0: none. zq_open: so does one
 * that reads what its dead client had sent. */
byte backend[2];
bool zq_open[2];
#define MAY_RUN(w, s)  (!shut[s] || backend[w] == (s) + 1)
#define ZQ_MAY_RUN(w)  (!shut[zq_side[w]] || zq_open[w])
#else
#define MAY_RUN(w, s)  (!shut[s])
#define ZQ_MAY_RUN(w)  (!shut[zq_side[w]])
#endif

/* ---- what must hold -------------------------------------------------------- */

/* A write of a client is executed on side s. */
inline client_unit(s, k)
{
	assert(shut[1 - s] || down);                          /* P2 */
	assert(lossy || v[2 * (s) + k] == executed[k]);       /* P1 */
	assert(v[2 * (s) + k] >= acked[k]);                   /* P1 */
	assert(v[2 * (s) + k] <= executed[k]);                /* once */
#ifdef PG
	seq[s]++;
	assert(seq[s] > seq_max);                      /* no number twice */
	seq_max = seq[s];
#endif
	unit_key[UNITS * (s) + hist[s]] = k;
	hist[s]++;
	v[2 * (s) + k]++;
	executed[k]++
}

/* ---- the server's side of things ------------------------------------------- */

/* fence_shut(), fence_lift(): WATCH, look, refuse when the token is newer. */
inline do_call(s, how, e)
{
	if
#ifndef MUTANT_NO_TOKEN
	:: tok[s] > e -> ok = false
	:: tok[s] <= e ->
#ifndef PG
		/* Redis: WATCH. PostgreSQL only compares, when it lands. */
		if
		:: late_on && late_side == s -> late_on = false
		:: else
		fi;
#endif
		tok[s] = e;
#else
	:: true ->
#endif
		shut[s] = how;
		ok = true
	fi
}

#ifdef PG
/* pg_kill(): who is not spared is ended, and logins whose role was checked
 * before are waited for. Spared is whose worker said in this switch that it drained. */
inline end_one(w, s, e)
{
	if
	:: backend[w] == s + 1 && drained[w] != e -> backend[w] = 0
	:: else
	fi;
#ifndef MUTANT_PG_SPARE_ALL
	if :: zq_side[w] == s -> zq_open[w] = false :: else fi
#else
	skip
#endif
}

inline oust(s, e)
{
	atomic {
		if :: login[s] == 2 -> login[s] = 0 :: else fi;
		end_one(0, s, e); end_one(1, s, e)
	};
#ifndef MUTANT_PG_ONE_TERMINATE
	login[s] != 1;
	atomic { if :: login[s] == 2 -> login[s] = 0 :: else fi }
#endif
}
#endif

/* One call of control: done, or given up (and lost, or late). */
inline call(s, how, e)
{
	atomic {
		if
		:: !(down && (s) == NEW) -> do_call(s, how, e)
		:: down && (s) == NEW -> ok = false
#if FAULTS > 0
		:: faults < FAULTS -> faults++; ok = false
		:: faults < FAULTS && !late_on ->
			faults++; ok = false; late_on = true;
			late_side = s; late_shut = how; late_ep = e
#endif
#if CRASHES > 0
		:: crashes < CRASHES && !late_on ->
			crashes++; late_on = true;
			late_side = s; late_shut = how; late_ep = e;
			goto dead
#endif
		fi
	}
}

inline incr_or_set(to, k, x)
{
	if
	:: x == INCR -> v[2 * to + k]++;
#ifdef PG
		applied[to]++
#endif
	:: else -> v[2 * to + k] = x
	fi
}

active proctype Servers()
{
	byte k, x;
end:
	do
	:: atomic { pipe?k,x ->
		if
		:: !(down && pipe_to == NEW) -> incr_or_set(pipe_to, k, x)
		:: else
		fi; k = 0; x = 0 }
#ifdef MUTANT_NO_KILL
	:: atomic { left?k,x -> incr_or_set(left_to, k, x); k = 0; x = 0 }
#endif
#if FAULTS > 0 || CRASHES > 0
#if defined(PG) && !defined(MUTANT_NO_TOKEN)
	:: atomic { late_on && late_ep >= tok[late_side] ->
#else
	:: atomic { late_on ->
#endif
		shut[late_side] = late_shut;
		tok[late_side] = late_ep; late_on = false }
	:: atomic { late_on -> late_on = false }
#endif
#if CRASHES > 0 || defined(FORCED)
	:: atomic { zq[0] -> zq[0] = false;
		if :: ZQ_MAY_RUN(0) && !(down && zq_side[0] == NEW) ->
			client_unit(zq_side[0], zq_key[0]) :: else fi }
	:: atomic { zq[1] -> zq[1] = false;
		if :: ZQ_MAY_RUN(1) && !(down && zq_side[1] == NEW) ->
			client_unit(zq_side[1], zq_key[1]) :: else fi }
	:: zq[0] -> zq[0] = false
	:: zq[1] -> zq[1] = false
#endif
	od
}

/* ---- a worker and its client ------------------------------------------------ */

inline answer_client(w)
{
	if
	:: !q_read[w] -> acked[q_key[w]]++
	:: else
	fi;
	q[w] = Q_IDLE; q_side[w] = 0; q_key[w] = 0; q_read[w] = false;
	q_pos[w] = 0; q_val[w] = 0; done_n[w]++
}

/* Its connection is closed: it does not know what became of the request. */
inline close_client(w)
{
	if
	:: q[w] == Q_SENT && !q_read[w] ->
		zq[w] = true; zq_side[w] = q_side[w]; zq_key[w] = q_key[w]
	:: else
	fi;
	part(w);
	q[w] = Q_IDLE; q_side[w] = 0; q_key[w] = 0; q_read[w] = false;
	q_pos[w] = 0; q_val[w] = 0; done_n[w]++
}

/* Its client has a backend on that side, or may have one now. */
inline meet(w)
{
#ifdef PG
	if :: !shut[q_side[w]] -> backend[w] = q_side[w] + 1 :: else fi
#else
	skip
#endif
}

/* The backend of a client that has gone: it may still read a request. */
inline part(w)
{
#ifdef PG
	zq_open[w] = zq[w] && backend[w] == zq_side[w] + 1;
	backend[w] = 0
#else
	skip
#endif
}

proctype Worker(byte w)
{
end:
	do
	/* dispatch.c: nothing new is given out in a hold */
	:: atomic { alive && !hold[w] && q[w] == Q_IDLE && done_n[w] < WRITES ->
		if
		:: q_read[w] = false
#ifdef READS
		:: q_read[w] = true
#endif
		fi;
		if
		:: q_key[w] = 0
#if KEYS > 1
		:: q_key[w] = 1
#endif
		fi;
		q_side[w] = route[w];
		meet(w);
		q[w] = Q_SENT }
	/* the server executes it, or the fence refuses */
	:: atomic { q[w] == Q_SENT && !(down && q_side[w] == NEW) ->
		if
		:: q_read[w] && MAY_RUN(w, q_side[w]) ->
			assert(v[2 * q_side[w] + q_key[w]] >= acked[q_key[w]]); /* P3 */
			q[w] = Q_REPLIED
		:: !q_read[w] && MAY_RUN(w, q_side[w]) ->
			client_unit(q_side[w], q_key[w]);
			q_pos[w] = hist[q_side[w]];
			q[w] = Q_REPLIED
		:: else ->
			assert(excused || lossy);             /* P4 */
			q[w] = Q_IDLE; done_n[w]++
		fi }
	/* the reply, and the position behind it */
	:: atomic { alive && q[w] == Q_REPLIED ->
		need[w] = hist[q_side[w]]; strayed[w] = false;
		if
		:: v[2 * q_side[w] + q_key[w]] > seen[2 * w + q_key[w]] ->
			seen[2 * w + q_key[w]] = v[2 * q_side[w] + q_key[w]]
		:: else
		fi;
		if
#ifndef MUTANT_ACK_BEFORE_PASSED
		:: ack_both[w] && !q_read[w] && !behind[w] -> q[w] = Q_HELD
		:: else -> answer_client(w)
#else
		:: true -> answer_client(w)
#endif
		fi }
	/* ack_release() */
	:: atomic { alive && q[w] == Q_HELD && stage != M_OFF &&
		pt[q_side[w]] >= q_pos[w] && from == q_side[w] ->
		answer_client(w) }
#ifdef FORCED
	/* the link to a dead server: what was under way is lost */
	:: atomic { alive && down && q[w] == Q_SENT && q_side[w] == NEW ->
		q[w] = Q_IDLE; done_n[w]++ }
#endif
	/* hold_begin(), hold_check() */
	:: atomic { box[w] == MAIL_HOLD ->
		box[w] = 0; hold[w] = true; told[w] = false;
		hold_ep[w] = box_ep[w] }
	:: atomic { alive && hold[w] && !told[w] &&
#if defined(MUTANT_DRAINED_TOO_SOON) || defined(MUTANT_PG_SPARE_BUSY)
		true ->
#else
		(q[w] == Q_IDLE || q[w] == Q_HELD) ->
#endif
		told[w] = true; drained[w] = hold_ep[w] }
	/* hold_end(), adopt() */
	:: atomic { box[w] == MAIL_RELEASE ->
		box[w] = 0; hold[w] = false; told[w] = false;
		if
		:: route[w] != box_side[w] ->
			route[w] = box_side[w];
			need[w] = 0; strayed[w] = true;
			if
			:: q[w] == Q_HELD && !box_lossy[w] -> answer_client(w)
			/* ack_drop_side() */
			:: q[w] == Q_HELD && box_lossy[w] ->
				if
#ifdef MUTANT_LOSSY_FLIP_ACKS
				:: true -> answer_client(w)
#else
				:: pt[q_side[w]] >= q_pos[w] -> answer_client(w)
				:: pt[q_side[w]] < q_pos[w] -> close_client(w)
#endif
				fi
			:: q[w] == Q_SENT || q[w] == Q_REPLIED -> close_client(w)
			:: else
			fi;
#ifdef PG
			backend[w] = 0
#endif
		:: else
		fi;
		ack_both[w] = box_both[w];
		if
		:: !ack_both[w] && q[w] == Q_HELD -> answer_client(w)
		:: else
		fi;
		route_acked[w] = true }
#ifdef CANARY
	/* causal.c: a read on the other side */
	:: atomic { alive && !hold[w] && !behind[w] && q[w] == Q_IDLE &&
		done_n[w] < WRITES && stage == M_RUNS && from == route[w] &&
		IS_SETTLED && !strayed[w] &&
#ifndef MUTANT_READ_TOO_SOON
		pt[from] >= need[w] &&
#endif
		true ->
		q_read[w] = true;
		if
		:: q_key[w] = 0
#if KEYS > 1
		:: q_key[w] = 1
#endif
		fi;
		q_side[w] = 1 - route[w]; q_uns[w] = uns;
		/* what must be there: all that was answered (ack both), or
		 * what this session has seen */
		q_pos[w] = (ack_both[w] -> acked[q_key[w]] : seen[2 * w + q_key[w]]);
		q[w] = Q_CANARY }
	:: atomic { q[w] == Q_CANARY ->
		q_val[w] = v[2 * q_side[w] + q_key[w]]; q[w] = Q_SEEN }
	:: atomic { alive && q[w] == Q_SEEN ->
		if
		:: !behind[w] && uns == q_uns[w] ->
			assert(q_val[w] >= q_pos[w]);         /* P3 */
			if
			:: q_val[w] > seen[2 * w + q_key[w]] ->
				seen[2 * w + q_key[w]] = q_val[w]
			:: else
			fi;
			q[w] = Q_IDLE; q_side[w] = 0; q_key[w] = 0; q_read[w] = false;
	q_pos[w] = 0; q_val[w] = 0; done_n[w]++
		:: else -> q_side[w] = route[w]; q_pos[w] = 0; q_val[w] = 0;
			q[w] = Q_SENT
		fi }
#endif
	od
}

#ifdef BYPASS
/* Writes on either side, past Godwit. */
active proctype Bypass()
{
	byte s;
	tok[NEW] != 0;
#ifndef PG
	if :: s = OLD :: s = NEW fi;
	if
	:: atomic { !shut[s] -> client_unit(s, 0); acked[0]++ }
	:: atomic { shut[s] -> skip }
#ifdef READS
#ifdef MUTANT_FENCE_WRITES_ONLY
	:: atomic { assert(v[2 * s] >= acked[0]) }                /* P3 */
#else
	:: atomic { !shut[s] -> assert(v[2 * s] >= acked[0]) }    /* P3 */
#endif
#endif
	fi
#else
	/* The role is checked, then the session can be seen, then it writes. */
	if :: s = OLD :: s = NEW fi;
	if
	:: atomic { !shut[s] -> login[s] = 1 };
		atomic { login[s] == 1 -> login[s] = 2 };
		if
		:: atomic { login[s] == 2 -> client_unit(s, 0); acked[0]++;
			login[s] = 0 }
		:: atomic { login[s] == 0 -> skip }
		fi
	:: atomic { shut[s] -> skip }
	fi
#endif
}
#endif

/* ---- the mover ---------------------------------------------------------------- */

inline unsettle()
{
	if :: IS_SETTLED -> uns = (uns + 1) % UNSETTLED_MAX :: else fi
}

inline forget_pend()
{
	pend[0] = 0; ahead[0] = 0; pend[1] = 0; ahead[1] = 0
}

inline drop_ahead(k)
{
	if :: pend[k] == AHEAD && ahead[k] <= pos -> pend[k] = 0; ahead[k] = 0
	:: else fi
}

#define TODO       (pend[0] != 0 || pend[1] != 0)
#define IS_SHUT_UP (frozen || (barrier && pos >= bar_at && !TODO))
#define TO         (1 - from)

active proctype Mover()
{
	byte what, e, p, k;
end:
	do
	/* switch.c: mails */
	:: atomic { stage != M_OFF && nempty(to_mover) ->
		to_mover?what,e,p;
		if
		:: what == MAIL_BARRIER ->
			barrier = true; answered = false; bar_ep = e; bar_at = p
		:: what == MAIL_THAW ->
			barrier = false; answered = false; frozen = false
		:: what == MAIL_FLIP && p == from -> skip
		:: what == MAIL_FLIP && p != from ->
			rescan = rescan || !answered;
			barrier = false;
			unsettle();
			if
			:: frozen ->
#ifdef MUTANT_REVERSE_LATE
				frozen_at = hist[p];
#endif
				pt[p] = frozen_at; from = p;
				pos = frozen_at; margin = frozen_at;
				pipe_to = 1 - p
			:: else ->
				from = p; stage = M_BROKEN; margin = NONE;
				forget_pend()
			fi;
			answered = false; frozen = false
		:: what == MAIL_STOP -> stage = M_OFF; forget_pend()
		fi;
		what = 0; e = 0; p = 0 }
	/* attach.c; server_clients() kills what an earlier mover left */
	:: atomic { stage == M_BROKEN && !(barrier && answered) && !down ->
#ifdef MUTANT_NO_KILL
		left_to = pipe_to;
		do :: pipe?k,p -> left!k,p :: empty(pipe) -> break od;
#else
		do :: pipe?k,p :: empty(pipe) -> break od;
#endif
		k = 0; p = 0;
		pipe_to = 1 - from;
#ifdef PG
#ifndef MUTANT_PG_PROGRESS_APART
		pt[from] = applied[TO];
#endif
#endif
		if
		:: pt[from] == NONE -> rescan = true; pos = hist[from]
		:: else -> pos = pt[from]
		fi;
		stage = M_ATTACHED }
	/* R is taken once both feeds are there: what is uncertain is copied */
	:: atomic { stage == M_ATTACHED ->
#ifdef PG
		margin = pos;
#else
#ifdef MUTANT_REPLAY
		margin = pos;
#else
		margin = hist[from];
#endif
#endif
		if
		:: rescan -> pend[0] = QUEUED;
#if KEYS > 1
			pend[1] = QUEUED;
#endif
			pos = hist[from];
			pt[from] = (pt[from] == NONE -> 0 : pt[from])
		:: else
		fi;
		rescan = false; unsettle(); stage = M_RUNS }
	/* tail.c: one unit */
	:: atomic { stage == M_RUNS && pos < hist[from] && !IS_SHUT_UP &&
		nfull(pipe) && !(down && from == NEW) ->
		k = unit_key[UNITS * from + pos];
		unsettle();
		if
		:: pos < margin ->
			if
			:: pend[k] == AHEAD && ahead[k] > pos
			:: else -> pend[k] = QUEUED
			fi
		:: pos >= margin && pend[k] == 0 -> pipe!k,INCR
		:: pos >= margin && pend[k] != 0 -> skip
		fi;
		pos++;
		drop_ahead(0); drop_ahead(1); k = 0 }
	/* copy.c: COPY(k), value and offset of one moment */
	:: atomic { stage == M_RUNS && pend[0] == QUEUED && nfull(pipe) &&
		!(down && from == NEW) ->
		unsettle();
		pend[0] = AHEAD; ahead[0] = hist[from]; pipe!0,v[2 * from];
		drop_ahead(0) }
#if KEYS > 1
	:: atomic { stage == M_RUNS && pend[1] == QUEUED && nfull(pipe) &&
		!(down && from == NEW) ->
		unsettle();
		pend[1] = AHEAD; ahead[1] = hist[from]; pipe!1,v[2 * from + 1];
		drop_ahead(1) }
#endif
	/* watch.c: a probe behind what was applied was answered */
	:: atomic { stage == M_RUNS && pt[from] < pos && !frozen &&
#ifndef MUTANT_PASSED_WHEN_SENT
		empty(pipe) && !TODO &&
#endif
		!(down && pipe_to == NEW) -> pt[from] = pos }
	:: atomic { stage == M_RUNS && !IS_SETTLED && empty(pipe) && !TODO &&
		pt[from] == pos && pos >= margin ->
		uns = (uns + 1) % UNSETTLED_MAX }
	/* MAIL_PROGRESS, and the journal's row */
	:: atomic { stage == M_RUNS && !frozen && !TODO && SIDE_OF(m_st) == from &&
#ifdef MUTANT_PROGRESS_LEADS
		d_prog[from] != pos -> d_prog[from] = pos
#else
		pt[from] >= margin && d_prog[from] != pt[from] ->
		d_prog[from] = pt[from]
#endif
		}
	/* switch_check() */
	:: atomic { stage == M_RUNS && barrier && !frozen && pt[from] >= bar_at &&
		!TODO && pos == pt[from] && empty(pipe) ->
		frozen = true; answered = true; frozen_at = hist[TO];
		pass_ep = bar_ep; pass_at = frozen_at }
#if CUTS > 0
	/* on_down(): a link is lost; what was sent may still arrive */
	:: atomic { stage >= M_ATTACHED && cuts < CUTS ->
		cuts++; unsettle(); stage = M_BROKEN; margin = NONE;
		frozen = false; forget_pend() }
#endif
#ifdef FORCED
	:: atomic { stage >= M_ATTACHED && down ->
		unsettle(); stage = M_BROKEN; margin = NONE;
		frozen = false; forget_pend() }
#endif
	od
}

#ifdef FORCED
active proctype Death()
{
	if
	:: atomic { alive && m_st == A_NEW && d_st == A_NEW && !shut[NEW] ->
		down = true }
	:: atomic { finished -> skip }
	fi
}
#endif

#if defined(DUAL) || defined(FORCED)
/* ack_unbind(): of a dead server what has not passed may be nowhere. */
inline unbind(w)
{
	if
	:: q[w] == Q_HELD ->
		if
#ifndef MUTANT_BEHIND_TELLS_DEAD
		:: down && q_side[w] == NEW && pt[NEW] < q_pos[w] ->
			close_client(w)
#endif
		:: else -> answer_client(w)
		fi
	:: else
	fi
}

#ifdef FORCED
/* Else what is answered while it is behind may be lost with new, as its status
 * says. What a dead server said has arrived by then. */
#define IS_STILL(w) (q[w] == Q_IDLE || q[w] == Q_HELD)
#define MAY_BE_LATE (down && IS_STILL(0) && IS_STILL(1))
#else
#define MAY_BE_LATE true
#endif

/* mails.c late(), health_behind(), behind_acked(): three rounds. */
active proctype Late()
{
	byte w;
	if
	:: atomic { alive && MAY_BE_LATE && (q[0] == Q_HELD || q[1] == Q_HELD) ->
		skip };
		do
		:: w < 2 -> atomic { behind[w] = true; w++ }
#ifdef MUTANT_RELEASE_BEFORE_BEHIND
		:: w < 1 -> break
#endif
		:: w == 2 -> break
		od;
		atomic { unbind(0); unbind(1) }
#ifdef MUTANT_RELEASE_BEFORE_BEHIND
		atomic { behind[0] = true; behind[1] = true }
#endif
	:: atomic { finished -> skip }
	fi
}
#endif

/* ---- control -------------------------------------------------------------------- */

#define J_OK     0
#define J_NO     1
#define J_UNSURE 2

/* journal_move(): one transaction. side NONE: nothing staged. */
inline journal(e, st, side, at)
{
	atomic {
		if
		:: d_ep = e; d_st = st; m_ep = e; m_st = st;
			if
			:: side == NONE
			:: side == OLD || side == NEW -> d_prog[side] = at
			:: side > NEW && side < NONE ->
				d_prog[OLD] = NONE; d_prog[NEW] = NONE
			fi;
			g_on = false; g_ep = 0; g_st = 0; g_side = 0; g_prog = 0;
			unsure = false;
			jr = J_OK
#if DISK > 0
		:: disk_n < DISK -> disk_n++; jr = J_NO
		:: disk_n < DISK -> disk_n++; unsure = true; jr = J_UNSURE;
			g_on = true; g_ep = e; g_st = st; g_side = side; g_prog = at
#endif
		fi
	}
}
#define FORGET 2

inline tell(w, what, e, s, both)
{
	box[w] = what; box_ep[w] = e; box_side[w] = s; box_both[w] = both;
	box_lossy[w] = lossy_now
}

inline tell_all(what, e, s, both)
{
	atomic { tell(0, what, e, s, both); tell(1, what, e, s, both);
		route_acked[0] = false; route_acked[1] = false }
}

#if CRASHES > 0
#define CRASH if :: skip :: atomic { crashes < CRASHES -> crashes++; goto dead } fi
#else
#define CRASH skip
#endif

#ifdef DUAL
#define BOTH(s) true
#else
#define BOTH(s) ((s) == NEW && !d_done)
#endif

/* What is left of a process that died: its machines are gone, what it sent is not. */
inline bury()
{
	alive = false;
	if
	:: g_on ->
		if
		:: d_ep = g_ep; d_st = g_st;
			if
			:: g_side == OLD || g_side == NEW -> d_prog[g_side] = g_prog
			:: else
			fi
		:: skip
		fi
	:: else
	fi;
	g_on = false; g_ep = 0; g_st = 0; g_side = 0; g_prog = 0; unsure = false;
	w = 0;
	do
	:: w < 2 ->
		if
		:: q[w] == Q_SENT && !q_read[w] ->
			zq[w] = true; zq_side[w] = q_side[w]; zq_key[w] = q_key[w]
		:: else
		fi;
		part(w);
		if :: q[w] != Q_IDLE -> done_n[w]++ :: else fi;
		q[w] = Q_IDLE; q_pos[w] = 0; q_val[w] = 0; q_uns[w] = 0;
		hold[w] = false; told[w] = false; hold_ep[w] = 0;
		behind[w] = false; strayed[w] = true; need[w] = 0;
		seen[2 * w] = 0; seen[2 * w + 1] = 0;
		box[w] = 0; box_ep[w] = 0; box_side[w] = 0; box_both[w] = false;
		box_lossy[w] = false;
		drained[w] = 0; route_acked[w] = false;
		w++
	:: else -> break
	od;
	w = 0;
	do :: to_mover?_,_,_ :: empty(to_mover) -> break od;
	stage = M_OFF; pos = 0; margin = NONE; pt[0] = 0; pt[1] = 0;
	forget_pend(); rescan = false; barrier = false; answered = false;
	frozen = false; bar_ep = 0; bar_at = 0; frozen_at = 0; uns = 1;
	pass_ep = 0; pass_at = 0
}

active proctype Control()
{
	byte ep, win, los, mark, w, jr;
	bool ok, fenced, barred, record_owed, unfence_owed, lossy_now, resumed;

	/* new is shut from the start, and has all */
	atomic { shut[NEW] = true; tok[NEW] = 1; tok[OLD] = 1; margin = NONE;
		uns = 1; run Worker(0); run Worker(1) };

	/* ---- start.c: open_journal(), settle_record(), make_fences() ---- */
start:
	atomic { m_ep = d_ep; m_st = d_st; record_owed = false;
		unfence_owed = false; excused = false; lossy_now = false;
		ep = 0; mark = 0; fenced = false; barred = false; ok = false; jr = 0 };
#ifdef MUTANT_MEMORY
	/* where it was when it began, whatever the journal says */
	atomic { m_st = A_OLD; d_st = A_OLD };
#endif
	if
	:: IS_FROZEN(m_st) ->
#ifdef MUTANT_FREEZE_GOES_ON
		journal(m_ep, (m_st + 1) % 4, NONE, 0);
#else
		journal(m_ep + 1, m_st - 1, NONE, 0);
#endif
		if :: jr != J_OK -> goto dead :: else fi;
#ifdef REACH_TAKEOVER
		assert(false);
#endif
		CRASH
	:: else
	fi;
	if
	:: !d_done ->
		/* fence_settle(): shut first */
		assert(tok[OLD] <= m_ep && tok[NEW] <= m_ep);
#ifndef MUTANT_NO_SETTLE
		call(1 - SIDE_OF(m_st), true, m_ep);
		if :: !ok && !down -> goto dead :: else fi;
		call(SIDE_OF(m_st), false, m_ep);
		if :: !ok && !down -> goto dead :: else fi
#endif
	:: d_done -> skip
	fi;
	/* machines_make(), say_hello() */
	atomic {
		route[0] = SIDE_OF(m_st); route[1] = SIDE_OF(m_st);
		ack_both[0] = BOTH(SIDE_OF(m_st)); ack_both[1] = ack_both[0];
		if
		:: !d_done ->
			from = SIDE_OF(m_st); pt[0] = d_prog[0]; pt[1] = d_prog[1];
			stage = M_BROKEN
		:: else
		fi;
		alive = true };

	/* ---- verbs.c, health.c: between switches ---- */
idle:
	lossy_now = false;
	do
	/* pay_record() */
	:: record_owed ->
		journal(m_ep + 1, m_st - 1, NONE, 0);
		if
		:: jr == J_OK ->
			record_owed = false;
			call(1 - SIDE_OF(m_st), true, m_ep);
			call(SIDE_OF(m_st), false, m_ep)
		:: else
		fi;
		CRASH
	/* look_at_open() */
	:: !record_owed && !down && shut[SIDE_OF(m_st)] ->
		call(SIDE_OF(m_st), false, m_ep)
	/* look_at_fence() */
	:: !record_owed && !down && !d_done &&
	   (!shut[1 - SIDE_OF(m_st)] || tok[1 - SIDE_OF(m_st)] != m_ep) ->
		call(1 - SIDE_OF(m_st), true, m_ep)
	/* promote: the cutover */
	:: !record_owed && !shut[SIDE_OF(m_st)] && m_st == A_OLD && tries < TRIES &&
	   tok[NEW] == m_ep && stage == M_RUNS && !lossy ->
		tries++; break
#ifdef ROLLBACK
	:: !record_owed && !shut[SIDE_OF(m_st)] && m_st == A_NEW &&
	   backs < ROLLBACK && tok[OLD] == m_ep && stage == M_RUNS && !d_done ->
		backs++; break
#endif
#ifdef FORCED
	:: !record_owed && down && m_st == A_NEW && !lossy ->
		lossy = true; lossy_now = true; break
#endif
#ifdef COMPLETE
	/* let_go(), routed(): the route first, then the mover ends */
	:: !record_owed && !unfence_owed && m_st == A_NEW && !d_done && stage == M_RUNS &&
	   !shut[NEW] && pt[NEW] == hist[NEW] && !TODO && empty(pipe) ->
		atomic { d_done = true };
		CRASH;
#ifdef MUTANT_STOP_BEFORE_ROUTE
		to_mover!MAIL_STOP,0,0;
		stage == M_OFF;
#else
		tell_all(MAIL_RELEASE, m_ep, NEW, false);
		(route_acked[0] && route_acked[1]);
		CRASH;
		to_mover!MAIL_STOP,0,0
#endif
#endif
	:: timeout -> finished = true; goto over
#if CRASHES > 0
	:: atomic { crashes < CRASHES && alive -> crashes++; goto dead }
#endif
	od;

	/* ---- cutover.c, shift.c: one switch ---- */
	atomic { los = SIDE_OF(m_st); win = 1 - los; ep = m_ep + 1;
		fenced = false; barred = false };
	/* FREEZE */
#ifdef MUTANT_NO_FREEZE_RECORD
	atomic { m_ep = ep; m_st = m_st + 1 };
#else
	journal(ep, m_st + 1, NONE, 0);
	if :: jr != J_OK -> goto idle :: else fi;
#endif
	CRASH;
	/* HOLD */
	tell_all(MAIL_HOLD, ep, los, false);
	CRASH;
	if
#ifdef MUTANT_NOT_ALL_DRAINED
	:: drained[0] == ep
#else
	:: drained[0] == ep && drained[1] == ep
#endif
#if ABORTS > 0
	:: aborts < ABORTS -> aborts++; goto back
#endif
	:: lossy_now
	fi;
#ifdef MUTANT_MARK_BEFORE_FENCE
	mark = hist[los];
#endif
#ifdef PG
#ifdef MUTANT_PG_SEQUENCE_BEFORE_FENCE
	seq_read = seq[los];
#endif
#endif
	/* FENCE */
	fenced = true;
#ifndef MUTANT_NO_FENCE
	call(los, true, ep);
	if :: !ok && !lossy_now -> goto back :: else fi;
#endif
	CRASH;
#ifdef PG
	oust(los, ep);
#endif
	/* MARK */
#ifndef MUTANT_MARK_BEFORE_FENCE
	mark = hist[los];
#endif
	/* BARRIER */
	barred = true;
	to_mover!MAIL_BARRIER,ep,mark;
	CRASH;
	if
	:: pass_ep == ep
#ifdef MUTANT_NO_BARRIER
	:: true
#endif
#if ABORTS > 0
	:: aborts < ABORTS -> aborts++; goto back
#endif
	:: lossy_now
	fi;
	/* CHECK */
	if
	:: shut[los] && tok[los] == ep
#if FAULTS > 0
	:: faults < FAULTS -> faults++; goto back
#endif
#ifdef MUTANT_NO_FENCE
	:: true
#endif
#ifdef MUTANT_NO_TOKEN
	:: shut[los]
#endif
	:: lossy_now
	:: (!shut[los] || tok[los] != ep) && !lossy_now -> goto back
	fi;
	CRASH;
#ifdef PG
	/* carry: only forwards */
#ifndef MUTANT_PG_SEQUENCE_BEFORE_FENCE
	seq_read = seq[los];
#endif
	if :: seq_read > seq[win] -> seq[win] = seq_read :: else fi;
#endif
#ifdef MUTANT_OPEN_BEFORE_COMMIT
	call(win, false, ep);
	CRASH;
#endif
	/* COMMIT */
commit:
	journal(ep, (m_st + 1) % 4, (lossy_now -> FORGET : win), pass_at);
	if
	:: jr == J_OK
#ifdef MUTANT_UNSURE_IS_NO
	:: jr != J_OK -> goto back
#else
	:: jr != J_OK && unsure -> goto commit
	:: jr != J_OK && !unsure -> goto back
#endif
	fi;
#ifdef REACH_COMMIT
	assert(false);
#endif
	CRASH;
	/* OPEN */
open:
	call(win, false, ep);
	if
	:: ok
	:: !ok -> goto open
	:: !ok -> unfence_owed = true; excused = true
	fi;
	CRASH;
	/* RELEASE */
	to_mover!MAIL_FLIP,ep,win;
	CRASH;
	tell_all(MAIL_RELEASE, ep, win, BOTH(win));
	CRASH;
	(route_acked[0] && route_acked[1]);
	unfence_owed = false;
#ifdef REACH_ROLLED_BACK
	assert(win != OLD);
#endif
	CRASH;
	goto idle;

	/* ---- the way back ---- */
back:
#ifdef REACH_ABORT
	assert(false);
#endif
	/* BACK_RECORD */
	journal(ep + 1, m_st - 1, NONE, 0);
	record_owed = (jr != J_OK);
	CRASH;
	/* BACK_UNFENCE */
unfence:
	if
	:: fenced ->
		call(los, false, ep + 1);
		if
		:: ok
		:: !ok -> goto unfence
		:: !ok -> excused = true
		fi
	:: else
	fi;
	CRASH;
	/* BACK_RELEASE */
	if
	:: barred ->
#ifndef MUTANT_NO_THAW
		to_mover!MAIL_THAW,ep,0
#else
		skip
#endif
	:: else
	fi;
	tell_all(MAIL_RELEASE, ep + 1, los, BOTH(los));
	CRASH;
	(route_acked[0] && route_acked[1]);
	/* over(): fence_settle() */
	if
	:: fenced && !record_owed ->
		call(win, true, m_ep);
		call(los, false, m_ep)
	:: else
	fi;
	CRASH;
	goto idle;

dead:
	atomic { bury(); ep = 0; mark = 0; jr = 0; ok = false; fenced = false;
		barred = false; record_owed = false; unfence_owed = false;
		lossy_now = false; resumed = true };
	goto start;

	/* ---- when nothing moves any more ---- */
over:
#ifdef REACH_LOSS
	assert(v[OLD] == executed[0]);
#endif
	assert(done_n[0] == WRITES && done_n[1] == WRITES);  /* nobody is held */
	assert(q[0] == Q_IDLE && q[1] == Q_IDLE);
	assert(!IS_FROZEN(d_st) && d_st == m_st && d_ep == m_ep);
	assert(!shut[SIDE_OF(d_st)] || down);
	assert(shut[1 - SIDE_OF(d_st)] || down);
	assert(lossy || v[2 * SIDE_OF(d_st)] == executed[0]);
	assert(v[2 * SIDE_OF(d_st)] >= acked[0]);
	assert(lossy || v[2 * SIDE_OF(d_st) + 1] == executed[1]);
	assert(v[2 * SIDE_OF(d_st) + 1] >= acked[1]);
	/* the way back, or the next try: both sides have all */
	assert(down || d_done || v[0] == v[2]);
	assert(down || d_done || v[1] == v[3])
}
