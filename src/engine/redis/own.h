/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/own.h: the names of Godwit's own keys.
 *
 * "__godwit:" and a word. A node of a Redis Cluster takes only keys of its slots, so
 * there a tag stands behind it, "{12}", whose slot is one of the node's. Both sides
 * own the same slots, so they have the same tag; a server alone has none ("").
 *
 * Thread: any.
 */
#pragma once

#include "base/hash.h"
#include "base/span.h"
#include "core/side.h"

#define OWN_TAG  12 /* bytes, with its end; side_conf.own_tag */
#define OWN_NAME 40

/* The whole name; answers ret. what has at most 16 bytes. */
const char *own_name(char ret[OWN_NAME], const char *what, const char *tag);

/* The first tag whose slot has a bit (slot % 8 of byte slot / 8); false: there is
 * none, nobody can have a key there. */
bool own_tag_find(const uint8_t slots[HASH_SLOTS / 8], char ret[OWN_TAG]) MUST;
