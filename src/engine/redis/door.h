/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/door.h: the users of an interlay itself: who may come in, and as
 * whom it is then for the server.
 *
 * Control makes one, relays read it. Another one takes its place by MAIL_DOOR;
 * it is kept until `seen.left` is the number of relays.
 *
 * A password is kept as its SHA-256 only, as the server's own ACL does: the check
 * is made on the loop that serves all clients, which a memory-hard hash (tens of
 * milliseconds) would stop for everybody, by anybody's wish.
 */
#pragma once

#include <stdatomic.h>

#include "base/span.h"

#define DOOR_USERS_MAX  256 /* the whole list is walked at each AUTH */
#define DOOR_HASHES_MAX 4   /* old and new ones while they are changed */
#define DOOR_NAME_MAX   64  /* bytes of a name, NUL included */
#define DOOR_HASH_SIZE  32  /* SHA-256 */

/* Both are a library's, which only control may call; any thread. */
typedef void (*door_hash_f)(struct span pass, uint8_t ret[DOOR_HASH_SIZE]);
/* Takes as long for any two. */
typedef bool (*door_same_f)(const uint8_t a[DOOR_HASH_SIZE],
                            const uint8_t b[DOOR_HASH_SIZE]);

/* How many relays have taken it, and how many have another one by now. */
struct door_seen {
	_Atomic uint32_t taken;
	_Atomic uint32_t left;
};

struct door_user {
	char name[DOOR_NAME_MAX];
	uint8_t hash[DOOR_HASHES_MAX][DOOR_HASH_SIZE];
	uint32_t hash_n;
	bool nopass; /* any password is right */
	bool is_on;
	char upstream_user
		[64]; /* "", and no password: the endpoint's URL says */
	char upstream_pass[256];
};

struct door {
	door_hash_f hash;
	door_same_f is_same;
	struct door_seen *seen;
	struct door
		*before; /* control's: older ones that may be in use still */
	uint32_t n;
	struct door_user user[];
};
