/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/utf8.h: text that may be anything becomes text that JSON takes.
 *
 * Thread: pure functions.
 * Source: RFC 3629, section 4.
 */
#pragma once

#include "base/span.h"

/* Bytes of the character at the front of s (1 to 4), 0: none begins there, or
 * it is cut off. */
size_t utf8_char(struct span s);

/* Each byte of text that belongs to no character becomes '?'. Text that was cut
 * between the bytes of a character is whole again. */
void utf8_mend(char *text);
