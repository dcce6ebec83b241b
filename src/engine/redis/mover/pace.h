/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/pace.h: whose turn it is in the first copy.
 *
 * The source's child, Godwit and the other side work hard in the bulk. On few
 * cores their shares of a millisecond stand in the way of the source's answers.
 * So the gentle pace takes turns: one piece of the snapshot is read and
 * gathered, then nothing is read while the other side takes it.
 *
 *            gathered all it may, PACE_MS over, the end, a pause
 *   READING ------------------------------------------------------> WRITING
 *      ^                                                               |
 *      +---------------------------------------------------------------+
 *            all is sent, and nearly all of it is answered
 *
 * The source may cut a replica that takes nothing for long. So in a WRITING that
 * is longer than PACE_MS the other side is the limit, not the cores: the source
 * is read beside it as long as no more than a turn waits.
 *
 * Limits: what waits is a turn and one batch of reads behind it.
 * Thread: the mover's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_MS      3000 /* longest turn; far below a server's repl-timeout  */
#define PACE_SENT    ((size_t)64 * 1024) /* less than this counts as all sent */
#define PACE_ANSWERS 500 /* gentle: answers still to come at the turn's end   */

struct pace {
	size_t turn;       /* bytes                                          */
	bool is_gentle;    /* READING gathers; else it sends as well         */
	bool is_writing;   /* the state                                      */
	uint64_t since_ns; /* since when                                     */
};

struct pace_see {
	uint64_t now_ns;
	size_t waiting; /* bytes for the other side, gathered and not sent   */
	size_t asked;   /* its answers to come                               */
	bool is_over;   /* the snapshot is read                              */
	bool is_paused;
};

struct pace_do {
	bool read;        /* from the source                                 */
	bool send;        /* to the other side; else gather                  */
	uint64_t look_ns; /* look again then; UINT64_MAX: no need to         */
};

/* turn: bytes, not 0. */
void pace_init(struct pace *p, bool gentle, size_t turn, uint64_t now_ns);
struct pace_do pace_look(struct pace *p, const struct pace_see *see);
