/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/mover.h: what every engine's mover is told.
 *
 * A mover is a machine (engine/engine.h) that keeps the other side in step with
 * the authority: it copies everything, then applies the authority's stream. The
 * roles change at MAIL_FLIP. It talks by mails (engine/mail.h) and by the board
 * (core/board.h), and starts with MAIL_MOVE.
 *
 * Resume points: each MAIL_PROGRESS carries (side, position, text); text goes into
 * mover_conf.history of that side as it is, position into .position. They come for
 * both sides: the authority's is where the stream goes on, the other's tells later
 * whether that server has lost what it had. A MAIL_PROGRESS of the authority is only
 * sent when the bulk is complete: the caller sets fill_done exactly when it has one.
 * MAIL_PASSED carries such a text for the other side as well: that side's resume
 * point if the flip is committed.
 *
 * Thread: the mover's; the conf is not changed while it lives.
 */
#pragma once

#include "engine/disk.h"
#include "engine/engine.h"

/* The target has the record already (first copy only). */
enum mover_rule {
	MOVER_RULE_NONE,    /* keep the target's until the stream writes it */
	MOVER_RULE_REPLACE, /* the source wins                              */
	MOVER_RULE_MERGE,   /* collections are united                       */
};

enum mover_fill {
	MOVER_FILL_AUTO, /* the best that the server gives */
	MOVER_FILL_RDB,
	MOVER_FILL_SCAN,
	MOVER_FILL_NONE, /* no bulk: a key is copied, whole, when it is written;
	                  * what the other side lacks it goes on to lack. Only
	                  * after a lost position all is compared */
};

/* How the bulk goes on the source's nerves. */
enum mover_pace {
	MOVER_PACE_AUTO,   /* gentle where the source shares our machine    */
	MOVER_PACE_FAST,   /* read and write at a time                      */
	MOVER_PACE_GENTLE, /* by turns: read a piece, then write it         */
};

/* 0: the default. */
struct mover_limits {
	size_t marks;     /* keys waiting for a copy; then buckets of them */
	size_t stream_rx; /* stream bytes kept while a copy is read       */
	size_t writer_tx; /* bytes waiting for the other side             */
	size_t window;    /* one value of the RDB kept whole              */
	size_t turn;      /* MOVER_PACE_GENTLE: bytes read and then written */
	size_t chunk_min; /* bigger values are read piece by piece;
	                   * SIZE_MAX: never                             */
	uint32_t rdb_max; /* as if neither side read newer payloads; 0: not */
};

/* Slots that moved between the nodes of a cluster; a bit each. */
struct mover_slots {
	uint8_t own[HASH_SLOTS / 8];    /* they are carried            */
	uint8_t gained[HASH_SLOTS / 8]; /* ... and compared whole      */
	char own_tag[12];               /* as of side_conf             */
};

struct mover_conf {
	struct side_conf side[SIDE_N];
	struct board *board;
	enum mover_rule rule;
	enum mover_fill copy_mode;
	enum mover_pace pace;
	bool one_shot;    /* end (MOVE_IN_STEP) after bulk and dirty keys; no
	                 * feed of the target                               */
	bool fill_done;   /* the bulk was complete before (resume)            */
	uint64_t exposed; /* 0, or a number as of MAIL_EXPOSED: compare       */
	bool refill;      /* an earlier process began the bulk and did not end
	                 * it: compare, and remove what it left behind      */
	bool keep_extra;  /* the other side had records of its own before the
	                  * first copy: never remove keys that only it has  */
	uint64_t own_keys; /* Godwit's on the other side before the first copy
	                    * (its fence): not records of its own        */
	char history[SIDE_N][48];  /* resume points, "" none                */
	uint64_t position[SIDE_N]; /* resume points, 0 none                 */
	/* Not NULL: only keys whose side by this block is scope_side (a split has
	 * a mover for each direction); see docs/internals/split.md. */
	const struct scope *scope;
	enum side scope_side;
	/* A split by tables: one mover carries both ways (MAIL_BOTH). */
	bool is_both;
	/* NULL, or what is told of the stream that is not the authority's. */
	struct board *reverse;
	/* Nodes of clusters: a bit for each slot that they own (slot % 8 of byte
	 * slot / 8), kept alive; other keys are not carried. NULL: every key. */
	const uint8_t *slots;
	const uint8_t *gained; /* an earlier process had to compare these */
	uint64_t slots_epoch;  /* as of MAIL_SLOTS                        */
	/* Other movers work between these servers and others (a part): what concerns
	 * a server as a whole concerns the keys of `slots` alone, and what has no key
	 * is carried to a side by one of them only. */
	bool is_part;
	bool keyless[SIDE_N]; /* is_part: by this one                */
	char id[40];          /* of the migration, in names of connections */
	/* What is made on the other side between the bulk and the stream, in the
	 * engine's own words (indexes and keys); NULL: nothing. Kept alive. */
	const char *build;
	struct mover_limits limits;
	/* Where the stream of a side is kept while it cannot be applied; NULL: in
	 * memory alone. The caller keeps them alive. */
	struct disk *spool[SIDE_N];
	/* Faults on purpose: the negative controls of the tests. */
	bool naive;            /* replay everything, whatever was copied    */
	bool no_target_feed;   /* do not look at the target's own deletions */
	bool drop_marks;       /* without a stream: forget some keys        */
	bool ignore_uncertain; /* after a crash replay instead of copying   */
};
