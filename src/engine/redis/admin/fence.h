/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/fence.h: users, fences, positions and clients of a server.
 *
 * Builds requests and reads answers. A fence is `-@all +ping` for every user
 * but Godwit's own, set together with the epoch in one transaction, so that an
 * older controller's fence or unfence is refused. A user is known to be fenced
 * by its rules alone, so every step may be repeated.
 * Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
 *
 * Owns:   nothing; spans point into replies.
 * Thread: any.
 */
#pragma once

#include "engine/redis/admin/reply.h"

#define FENCE_MARKER "__godwit:marker"

/* Who must not be touched: users and connections of this migration. */
struct fence_own {
	const char *user;             /* godwit-<id>          */
	const char *reader;           /* godwit-<id>-r        */
	const char *writer;           /* godwit-<id>-w        */
	const char *prefix;           /* godwit:<id>: (names) */
	const char *const *interlays; /* the same of its interlays' relays */
	uint32_t interlay_n;
	/* Of the names of own keys (own.h); NULL: none. */
	const char *tag;
	/* Other legs on the same servers: their users and the names of their
	 * connections begin so. NULL: there are none. */
	const char *kin_users;
	const char *kin_names;
};

/* Log in and name the connection; "" for no user, no password. */
uint32_t admin_put_login(struct buf *tx, const char *user, const char *pass,
                         const char *name);
int admin_read_login(struct span replies, const char *who, bool has_auth,
                     struct err *err) MUST;

/* Godwit's two users, made or set again; removed. What a server before 6.2 does not
 * know and does not need (channels: there all are everybody's), or before 7.0 (shard
 * channels), is in requests of its own, which may be refused. */
uint32_t admin_put_users(struct buf *tx, const struct fence_own *own,
                         const char *user_pass, const char *reader_pass);
int admin_read_users(struct span replies, const char *who,
                     struct err *err) MUST;
/* The user of the relays in a split, with the rights in the rules of another one
 * (a line of ACL LIST), and a password of its own. */
uint32_t admin_put_writer(struct buf *tx, const struct fence_own *own,
                          const char *pass, struct span rules);
uint32_t admin_put_no_users(struct buf *tx, const struct fence_own *own);

/* One line of ACL LIST: "user <name> <rules>". */
bool acl_line(struct span line, struct span *ret_name, struct span *ret_rules);
/* Nothing but +ping, and what replicas need (+psync, +replconf). */
bool acl_is_fenced(struct span rules);
/* May this user certainly replicate? false: perhaps not. */
bool acl_may_replicate(struct span rules);
/* May somebody log in as this user? */
bool acl_is_on(struct span rules);
bool acl_is_own(struct span name, const struct fence_own *own);

/* First half of a fence or unfence: watch the token, read it and the users. */
uint32_t admin_put_look(struct buf *tx, const struct fence_own *own);

/* A replica in a cluster answers no question about keys before this; elsewhere
 * nothing is put. */
uint32_t admin_put_readonly(struct buf *tx, const struct fence_own *own);

struct fence_look {
	bool has_token;
	uint64_t epoch;  /* of the token                                */
	struct span acl; /* the reply of ACL LIST, for acl_next()       */
	uint32_t users;  /* of applications                             */
	uint32_t fenced; /* of these                                    */
	bool is_full;    /* the caller's: it refuses transactions (OOM)  */
};

int admin_read_look(struct span replies, const char *who,
                    const struct fence_own *own, struct fence_look *ret,
                    struct err *err) MUST;

/* Walk the application users of a look; *at starts as look.acl with its array
 * head taken off by admin_read_look. */
bool acl_next(struct span *at, const struct fence_own *own,
              struct span *ret_name, struct span *ret_rules);

/* Second half. The caller looked, and the token was not above epoch. Saved rules
 * are asked from the caller for each fenced user; false leaves it fenced. */
typedef bool acl_saved_f(void *arg, struct span name, struct span *ret_rules);

/* As epoch: only the rules. A replica takes no SET; its token arrives by its
 * stream, and the caller compared it. */
#define FENCE_NO_TOKEN 0

uint32_t admin_put_fence(struct buf *tx, const struct fence_look *look,
                         const struct fence_own *own, uint64_t epoch);
uint32_t admin_put_unfence(struct buf *tx, const struct fence_look *look,
                           const struct fence_own *own, uint64_t epoch,
                           acl_saved_f *saved, void *arg);
/* A user as `live` (how to log in, keys, channels) and fenced, that may do what
 * `rules` say once the fence is lifted: between a MULTI and its EXEC. */
uint32_t admin_put_fenced(struct buf *tx, struct span name, struct span live,
                          struct span rules);
/* n replies of the transaction. ERR_STATE: the token changed meanwhile. */
int admin_read_exec(struct span replies, uint32_t n, const char *who,
                    const char *what, struct err *err) MUST;

/* Were they refused because the server is above its maxmemory? It takes no word
 * of a transaction then, not even of users. After another look with is_full the
 * same is put one by one, the token by a script that compares it (0063). */
bool admin_is_full(struct span replies);
/* n replies of what was put one by one. */
int admin_read_each(struct span replies, uint32_t n, const char *who,
                    const char *what, struct err *err) MUST;

/* The position of a master's stream. ERR_STATE: it is no master. */
uint32_t admin_put_role(struct buf *tx);
int admin_read_role(struct span replies, const char *who,
                    uint64_t *ret_position, struct err *err) MUST;

/* For relays' subscribers: the last message of the losing side, "<epoch>", or
 * the first one of the winner, "+<epoch>"; the tag behind it, because all nodes of
 * a cluster hear it. */
uint32_t admin_put_marker(struct buf *tx, const struct fence_own *own,
                          uint64_t epoch, bool first);

/* Every client but Godwit's own: CLIENT KILL ID for each in a CLIENT LIST reply.
 * Replicas are left alone. Answers how many. */
uint32_t admin_put_client_list(struct buf *tx);
uint32_t admin_put_kills(struct buf *tx, struct span list_reply,
                         const struct fence_own *own);
/* The same for connections with a name that begins so. */
uint32_t admin_put_kill_named(struct buf *tx, struct span list_reply,
                              struct span prefix);

/* ACL SAVE or CONFIG REWRITE, whichever the server can. */
uint32_t admin_put_persist(struct buf *tx, bool has_aclfile);

/* The keys of Godwit, removed. */
uint32_t admin_put_no_keys(struct buf *tx, const struct fence_own *own);

/* The replicas that a server says it has, from the text of INFO replication; *info
 * is moved on. host has n bytes. Those that cannot be reached (no port: feeds of
 * Godwit) are left out. */
uint32_t admin_put_replicas(struct buf *tx);
bool admin_next_replica(struct span *info, char *host, size_t n,
                        uint16_t *ret_port);
