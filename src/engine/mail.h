/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/mail.h: what control, relays and mover say to each other.
 *
 * Mails are values; order between one sender and one receiver is kept.
 */
#pragma once

#include "core/route.h"

enum mail_kind {
	/* control -> relay (each relay answers with the same generation/epoch) */
	MAIL_ROUTE,   /* route: use this from now on -> MAIL_ROUTE_ACK     */
	MAIL_WARM,    /* token: a hold is about to come: what can be done for
	               * it without holding anybody is done -> MAIL_WARMED */
	MAIL_HOLD,    /* epoch, deadline_ns: hold new requests, let running
	                  * ones finish, move blocked clients -> MAIL_DRAINED */
	MAIL_RELEASE, /* route: authority may have changed; send what was
	                  * held to route.authority -> MAIL_ROUTE_ACK. flag 1:
	                  * what the side before had not passed on is lost    */
	MAIL_BEHIND,  /* flag: the other side is behind (1): read the
	               * authority only; when every relay has said that it
	               * does (2): release what ack BOTH holds and ack like
	               * AUTHORITY; it has caught up (0) -> MAIL_BEHIND_ACK */
	MAIL_PAIR,    /* pair, side, token, route: serve these two sides from
	               * now on; the lanes of `side` stay and are those of
	               * side `token` then -> MAIL_PAIR_ACK                */
	MAIL_SEAT,    /* side: another node of the cluster has its slots;
	               * also to the mover. No answer                      */
	MAIL_DOOR,    /* pair: other users of the interlay (struct door); no
	               * answer but in it                                  */
	MAIL_VIEW,    /* pair: struct view_ask; no answer but in it         */
	/* relay -> control */
	MAIL_ROUTE_ACK,  /* who, generation                                   */
	MAIL_DRAINED,    /* who, epoch; pair, token: so many uint32_t that name
	                  * connections (PostgreSQL's processes) nothing is on
	                  * its way to; the relay's until MAIL_RELEASE         */
	MAIL_WARMED,     /* who, token: it is, or took too long               */
	MAIL_LATE,       /* who: ack BOTH waited longer than ack_timeout_ms   */
	MAIL_BEHIND_ACK, /* who, flag                                         */
	MAIL_DIFFERENT,  /* who, text: a mirrored read whose answers differ:
	                  * "request | authority | other side". flag 1: the
	                  * authority itself said both: noise              */
	MAIL_MARKED,     /* who, epoch: every subscriber saw the old side's
	                  * marker message                                    */
	MAIL_ASTRAY,     /* who, side: a node of a cluster says that the slots
	                  * are elsewhere, or that its cluster is down      */
	MAIL_PAIR_ACK,   /* who (the new one): the conf of before is not used */

	/* control -> mover */
	MAIL_MOVE,       /* side: authority now. Begin or continue to keep the
	                  * other side in step                                */
	MAIL_MOVE_PAUSE, /* stop filling; the stream goes on                  */
	MAIL_MOVE_RESUME,
	MAIL_BARRIER,   /* epoch, position: answer MAIL_PASSED when everything
	                  * up to there is on the other side; from then on
	                  * apply nothing until MAIL_FLIP or MAIL_THAW        */
	MAIL_THAW,      /* epoch: the switch was aborted; go on              */
	MAIL_FLIP,      /* epoch, side: the new authority; apply its stream to
	                  * the other side from the position of the barrier   */
	MAIL_SCOPE,     /* scope: whose keys it carries from now on; only while
	                  * a barrier stands, before MAIL_THAW or MAIL_FLIP.
	                  * flag 1: it gets keys; then position and token:
	                  * where the mover that gives them stood still, in
	                  * the stream of this one's authority (position of
	                  * the other's MAIL_PASSED) and of its other side
	                  * (position of the other's MAIL_BARRIER)            */
	MAIL_BOTH,      /* flag: from now on the streams of both sides are
	                 * applied, each to the other one (1), or the authority's
	                 * alone (0); as MAIL_SCOPE only while barriers stand.
	                 * MAIL_BARRIER and MAIL_PASSED name the stream: side  */
	MAIL_HEARTBEAT, /* token: prove the reverse path                     */
	MAIL_SLOTS,     /* pair: struct mover_slots: the slots that it carries
	                 * from now on; epoch: for board.slots_epoch         */
	MAIL_EXPOSED,   /* side, text = its run id: this server was open until
	                 * now and is fenced; what was compared with it before
	                 * is compared again; token grows                    */
	/* mover -> control */
	MAIL_MOVE_PHASE, /* phase: enum move_phase; token: all MAIL_EXPOSED up
	                  * to this one are behind MOVE_IN_STEP             */
	MAIL_PASSED,     /* epoch, position (other side's offset at the time),
	                  * text: its history id; token, history: the same of
	                  * the authority's stream, where the mover stands    */
	MAIL_PROGRESS,   /* side, position, text = history id: safe to resume
	                  * from here (journalled now and then); token: the
	                  * side that had authority (enum side)               */
	MAIL_HEARTBEAT_BACK, /* token                                         */
	MAIL_STALE,          /* new was prepared for another moment of old (its
	               * schema): prepare it again, then another mover;
	               * flag 1: what old keeps for the stream is gone: forget
	               * the positions first, and copy all anew             */
	MAIL_TROUBLE, /* text, flag = enum err_code, retry in `position` ms */
	MAIL_NOT_CARRIED, /* text: a change that the other side did not get,
	                   * and may need; what else changed goes on      */

	/* relay -> another relay of its interlay (relay/clients.c, monitor.c); who:
	 * the sender's port.worker_at */
	MAIL_CLIENTS,       /* token, pair: do this with your clients
	                     * -> MAIL_CLIENTS_DONE                          */
	MAIL_CLIENTS_DONE,  /* token, position: of how many; pair: text (struct
	                     * span), its sender's until it is taken
	                     * -> MAIL_CLIENTS_TAKEN                         */
	MAIL_CLIENTS_TAKEN, /* pair: the text                                */
	MAIL_MONITOR,       /* flag: clients of the sender that monitor      */
	MAIL_LINES,         /* pair: lines for them (struct span)
	                     * -> MAIL_CLIENTS_TAKEN                         */
	MAIL_CANCEL,        /* token: of the client that has this key: process
	                     * and secret, 32 bits each. No answer           */

	/* both */
	MAIL_STOP, /* finish cleanly -> MAIL_STOPPED                    */
	MAIL_STOPPED,
};

enum move_phase {
	MOVE_IDLE,
	MOVE_ATTACHING,
	MOVE_COPYING,     /* the bulk                                         */
	MOVE_CATCHING_UP, /* dirty keys, or the stream is late                */
	MOVE_IN_STEP,     /* ordered tail, nothing pending                    */
	MOVE_BROKEN,      /* a side is away; trying again                     */
};

struct mail {
	enum mail_kind kind;
	uint32_t who; /* index of the relay                          */
	uint64_t epoch;
	uint64_t position;
	uint64_t deadline_ns;
	uint64_t token;
	enum side side;
	enum move_phase phase;
	uint32_t flag;
	struct route route;
	const struct scope *scope; /* MAIL_SCOPE; kept alive until whoever got
	                            * it has ended                       */
	const void *
		pair; /* MAIL_DOOR: struct door; MAIL_VIEW: struct view_ask; MAIL_PAIR: struct relay_conf, kept alive until
	                   * another one was acknowledged               */
	char text[160];
	char history[64]; /* MAIL_PASSED */
};
