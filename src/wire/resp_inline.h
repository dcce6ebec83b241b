/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp_inline.h: the words of an inline command (private to resp_cmd.c).
 *
 * Words are parted by white space. "..." knows the escapes \xHH \n \r \t \b \a
 * and \c for any other c; '...' knows \' only. A closing quote must be followed
 * by white space or the end, as the server demands.
 */
#pragma once

#include "wire/wire.h"

struct resp_word {
	struct span raw; /* from the first to the last byte inside the quotes */
	size_t n;        /* bytes when decoded; equals raw.n when raw is all  */
};

/* The next word of *line, which moves behind it; to (may be NULL) gets the
 * decoded bytes. 1: *ret is set; 0: no more; -1: quotes are not balanced. */
int resp_word_next(struct span *line, struct resp_word *ret, uint8_t *to);
