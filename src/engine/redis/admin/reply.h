/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/reply.h: taking complete replies apart.
 *
 * For the blocking conversations of control: all replies of a batch lie in one
 * span and are taken from its front.
 *
 * Owns:   nothing; spans point into the replies.
 * Thread: any.
 */
#pragma once

#include "base/err.h"
#include "wire/resp.h"

/* The next item from the front of *in; false: the replies end here. */
bool reply_item(struct span *in, struct resp_item *ret);

/* The whole next reply (an array with all that is in it) from the front of *in;
 * an empty span when there is none. */
struct span reply_take(struct span *in);

/* 0 when the next reply is not an error; else -ERR_AUTH (NOAUTH, WRONGPASS),
 * -ERR_REFUSED (NOPERM and all others), -ERR_PROTO (no reply), with who, what
 * and the server's words. */
int reply_ok(struct span *in, const char *who, const char *what,
             struct err *err) MUST;

/* The code for an error reply's text. */
enum err_code reply_code(struct span text);

/* "key:value" lines, as INFO has; false: no such key. */
bool reply_info(struct span info, const char *key, struct span *ret);
/* The same as a number; 0 when it is missing. */
uint64_t reply_info_u64(struct span info, const char *key);
uint64_t reply_u64(struct span digits); /* up to the first other byte */

/* Copy as a string, cut to fit; bytes outside of printable ASCII become '?'. */
void reply_text(struct span s, char *ret, size_t n);

/* The next line without its end, from the front of *in; false: none. */
bool reply_line(struct span *in, struct span *ret);
/* The next word (blanks between), from the front of *in; false: none. */
bool reply_word(struct span *in, struct span *ret);
