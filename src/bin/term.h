/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/term.h: the terminal: what it can, how big it is, raw keys.
 *
 * Thread: the main one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct term {
	struct termios before;
	bool is_raw;
};

/* Are stdin and stdout a terminal that understands cursor movement? */
bool term_is_screen(void);
bool term_is_output(void); /* stdout is a terminal (of any kind)           */
bool term_has_color(void); /* ... and NO_COLOR is not set                  */
bool term_has_utf8(void);  /* by LC_ALL, LC_CTYPE, LANG                    */

void term_size(uint32_t *ret_columns, uint32_t *ret_rows); /* 80x24 unknown */

/* Keys one by one, without echo; Ctrl-C stays a signal. */
void term_raw(struct term *t);
void term_restore(struct term *t);
