/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow/migration.h: what a migration may do next, from what is known now.
 *
 * The phase, the gates in front of a share and of a switch, and the judge of
 * --auto, who looks at the steps and says pass, fail, inconclusive or error.
 *
 * Owns:   nothing; values.
 * Thread: one at a time for each struct watch.
 */
#pragma once

#include "core/lifecycle.h"
#include "engine/mail.h"

enum life_phase migration_phase(enum move_phase move, enum side authority,
                                bool is_holding);

/* What is known when somebody wants a share or a switch. */
struct gates {
	enum move_phase move;
	uint64_t lag_ms;
	uint64_t lag_ms_max;
	uint64_t pending;        /* records still to be copied            */
	bool reverse_proven;     /* a heartbeat ever came back            */
	uint64_t reverse_age_ms; /* since the last one                    */
	uint64_t reverse_age_ms_max;
	bool verified_different; /* the last verification found some      */
	bool owed; /* a change was not carried, and nothing compared since */
	bool is_verifying;
	bool suspect; /* Mode M: what is dirty is not known     */
	uint32_t relays;
	uint32_t relays_current; /* at the newest generation              */
	bool sides_up[SIDE_N];
	bool fenced;      /* the side that would lose its clients
	                            * next is open, the other one is shut   */
	bool record_owed; /* a decision is not on disk yet         */
	/* a split: the stream from new to old, for new's keys */
	bool is_split;
	enum move_phase back;
	uint64_t back_lag_ms;
	uint64_t back_pending;
};

enum gate {
	GATE_OPEN,
	GATE_DISK,
	GATE_SIDE_DOWN,
	GATE_COPYING,
	GATE_SUSPECT,
	GATE_BROKEN,
	GATE_BEHIND,
	GATE_REVERSE,
	GATE_DIFFERENT,
	GATE_RELAYS,
	GATE_FENCE,
	GATE_N,
};

/* The first gate that is shut, and a sentence into why (GATE_OPEN: ""). */
enum gate migration_gate_share(const struct gates *g, char *why, size_t n);
enum gate migration_gate_switch(const struct gates *g, char *why, size_t n);
const char *migration_gate_name(enum gate g);

/* --auto. One look at the other side against the authority. */
struct sample {
	const char *fault; /* why nothing could be measured, else NULL        */
	uint64_t requests[SIDE_N]; /* answers since the step began            */
	uint64_t errors[SIDE_N];   /* of these                                */
	/* for who decides what is compared; not looked at here */
	uint64_t writes[SIDE_N];
	uint64_t all_errors[SIDE_N];
	uint64_t lost[SIDE_N];
	uint64_t timed[SIDE_N]; /* answers whose latency was taken            */
	uint64_t p99_us[SIDE_N];
	uint64_t lag_ms; /* or for how long the stream has not been in step  */
	uint64_t different; /* records and answers, proven to differ      */
	bool in_step;
};

struct watch_limits {
	uint32_t k;              /* a check fails when k of its last n fail  */
	uint32_t n;              /* at most 32                               */
	uint64_t step_ms;        /* stay at least so long on a step          */
	uint64_t requests_min;   /* and see so many on the other side; 0: a
	                          * step may pass without samples           */
	uint32_t few;            /* fewer say nothing of a rate or of a p99  */
	uint32_t error_ppm_max;  /* above the authority's own error rate     */
	uint32_t latency_factor; /* p99 at most so many times the authority's */
	uint64_t latency_us_min; /* below it latency is never a reason       */
	uint64_t lag_ms_max;
};

enum verdict {
	VERDICT_INCONCLUSIVE,
	VERDICT_PASS,
	VERDICT_FAIL,
	VERDICT_ERROR /* nothing could be measured: as good as unknown    */
};
enum watch_check {
	WATCH_ERRORS,
	WATCH_LOST,
	WATCH_LATENCY,
	WATCH_LAG,
	WATCH_DIVERGENCE,
	WATCH_N
};

struct watch {
	struct watch_limits limits;
	uint64_t since_ms; /* the step began                       */
	uint32_t looks;
	uint32_t history[WATCH_N]; /* one bit a look; bit 0 is the newest  */
	uint64_t value[WATCH_N];   /* of the last look                     */
	uint64_t threshold[WATCH_N];
	uint64_t size[WATCH_N]; /* of the sample behind the value       */
	bool few[WATCH_N];      /* too little of it to say that it fails */
	uint64_t seen;          /* requests on the other side           */
	uint64_t timed;
};

struct judgement {
	enum verdict verdict;
	enum watch_check check; /* FAIL: which                               */
	uint64_t value;
	uint64_t threshold;
	uint64_t size;     /* of the sample behind the value            */
	uint64_t requests; /* seen on the other side                    */
	char reason[160];
};

const char *watch_check_name(enum watch_check c);
const char *watch_check_unit(enum watch_check c); /* of value and threshold */
const char *verdict_name(enum verdict v);

/* A step begins. */
void watch_begin(struct watch *w, const struct watch_limits *limits,
                 uint64_t now_ms);

/* One look (one a second is meant). other: the side that is on trial. PASS: the
 * step has lasted, has seen enough and no check fails; FAIL: a check has failed
 * k times of n. Errors and latency are judged on enough of them only: a rate of
 * requests_min requests (and not of `few`), a p99 of `few` latencies on either
 * side; one that is too high before that is INCONCLUSIVE. Lost replies, lag and
 * divergence need no sample. ERROR: s->fault; the look is not remembered. */
struct judgement watch_look(struct watch *w, const struct sample *s,
                            enum side other, uint64_t now_ms);
