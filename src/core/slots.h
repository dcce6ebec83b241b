/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/slots.h: which of several instances owns a hash slot.
 *
 * A key's slot is hash_slot() (CRC16 of the key, or of its tag in braces, as in
 * Redis Cluster). Instances own ranges of slots, "0-5460,10923-16383"; all of them
 * together own each slot once.
 *
 * Thread: a value.
 */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "base/span.h"

#define SLOTS_NOBODY 0xff

/* Nobody owns any. */
void slots_init(uint8_t owner[HASH_SLOTS]);
/* `who` owns these as well. ERR_BAD: not to be read, or beyond the last slot;
 * ERR_EXISTS: one has an owner. owner is undefined then. */
int slots_give(uint8_t owner[HASH_SLOTS], struct span text, uint8_t who,
               struct err *err) MUST;
/* Evenly among n, in order. */
void slots_share(uint8_t owner[HASH_SLOTS], uint8_t n);
/* The first slot without an owner, or HASH_SLOTS. */
uint32_t slots_gap(const uint8_t owner[HASH_SLOTS]);
