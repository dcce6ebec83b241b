/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/traffic.h: what a relay counts, readable by anybody at any time.
 *
 * One writer (the relay's thread, relaxed stores); one struct for each relay.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/side.h"

#define TRAFFIC_BUCKETS 128 /* see hist.h: bucket of a latency in us */

/* Why a mirrored read was not compared. */
enum shadow_drop {
	SHADOW_DROP_INFLIGHT, /* too many under way                       */
	SHADOW_DROP_MEMORY,   /* too many bytes kept                      */
	SHADOW_DROP_BIG,      /* its request or an answer is too long     */
	SHADOW_DROP_TIMEOUT,  /* the other side did not answer, or is late */
	SHADOW_DROP_DOWN,     /* no connection to the other side          */
	SHADOW_DROP_USER,     /* its user may not do everything           */
	SHADOW_DROP_SWITCH,   /* a switch, or another strategy            */
	SHADOW_DROP_WRITE,    /* the other side says that it is no read   */
	SHADOW_DROP_N,
};

/* "inflight", "memory", ... */
static inline const char *
shadow_drop_name(enum shadow_drop why)
{
	static const char *const names[SHADOW_DROP_N] = {
		"inflight", "memory", "big",    "timeout",
		"down",     "user",   "switch", "write",
	};

	return names[why];
}

struct traffic {
	_Atomic uint64_t requests;
	_Atomic uint64_t reads[SIDE_N]; /* answered by that side           */
	_Atomic uint64_t writes[SIDE_N];
	_Atomic uint64_t errors[SIDE_N]; /* error replies of that side      */
	_Atomic uint64_t read_errors[SIDE_N]; /* of these, to reads        */
	_Atomic uint64_t lost[SIDE_N];   /* replies lost with a connection  */
	_Atomic uint64_t unused[SIDE_N]; /* reads that side was asked and whose
	                                  * answer no client got           */
	_Atomic uint64_t read_retries;   /* reads sent again to the authority
	                                   * because the other side moved    */
	_Atomic uint64_t refused;        /* commands refused by name        */
	_Atomic uint64_t withheld;       /* answers that waited for the other
	                                  * side (ack both)                 */
	_Atomic uint64_t scripts;        /* uses of scripts and functions   */
	_Atomic uint64_t auth_failed;    /* by users of the interlay        */
	_Atomic uint64_t bytes_in;
	_Atomic uint64_t bytes_out;
	_Atomic uint64_t shadow_sent; /* reads mirrored to the other side */
	_Atomic uint64_t shadow_same;
	_Atomic uint64_t shadow_different; /* still, after the watermark   */
	_Atomic uint64_t shadow_rechecked; /* differed at first            */
	_Atomic uint64_t shadow_unstable;  /* written to all the time      */
	_Atomic uint64_t shadow_noise;     /* its own answers to it differ    */
	_Atomic uint64_t shadow_dropped[SHADOW_DROP_N];
	/* gauges */
	_Atomic uint64_t told_ns; /* when its counts were put here (loop's
	                           * clock); at least once a second       */
	_Atomic uint32_t clients;
	_Atomic uint32_t blocked;
	_Atomic uint32_t subscribed;
	_Atomic uint32_t in_transaction;
	_Atomic uint32_t held; /* requests waiting in a hold now  */
	_Atomic uint32_t upstreams[SIDE_N];
	_Atomic uint64_t generation;   /* of the route in use             */
	_Atomic uint64_t hold_last_ns; /* length of the last hold         */
	_Atomic uint64_t hold_max_ns;
	_Atomic uint64_t mem; /* bytes now                       */
	_Atomic uint32_t latency[SIDE_N][TRAFFIC_BUCKETS];
};
