/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_list.h: the lists inside PostgreSQL's messages.
 *
 *   numbers   | n 2 | item 2 or 4 | ...
 *   values    | n 2 | length 4, -1: NULL | bytes | ...
 *   pairs     | name NUL | value NUL | ... | NUL
 *
 * A list was checked when its message was read; walking it cannot fail.
 *
 * Owns:   nothing; spans point into the message.
 * Limits: 65,535 items.
 * Thread: a value.
 */
#pragma once

#include "wire/pg.h"
#include "wire/pg_bytes.h"

struct pg_numbers {
	uint16_t n;
	uint8_t width;     /* bytes of an item: 2 or 4 */
	struct span items; /* big endian               */
};

/* Takes count and items. */
struct pg_numbers pg_take_numbers(struct pg_take *t, uint8_t width);
void pg_put_numbers(struct buf *b, struct pg_numbers list);

/* Item i < n. */
uint32_t pg_number_at(struct pg_numbers list, size_t i);

/* The format of value i: no formats mean text (0), one is for all. */
uint32_t pg_format_of(struct pg_numbers formats, size_t i);

struct pg_values {
	uint16_t n;
	struct span items;
};

struct pg_value {
	bool is_null;
	struct span bytes;
};

struct pg_values pg_take_values(struct pg_take *t);
void pg_put_values(struct buf *b, struct pg_values list);

/* The next of list.items; *rest begins as these. False: none is left. */
bool pg_value_next(struct span *rest, struct pg_value *ret);
void pg_put_value(struct buf *b, struct span bytes);
void pg_put_null(struct buf *b);

struct pg_pair {
	struct span name;
	struct span value;
};

/* Takes pairs and the NUL behind them; the answer is without that NUL. */
struct span pg_take_pairs(struct pg_take *t);
bool pg_pair_next(struct span *rest, struct pg_pair *ret);

/* The value of the last pair of that name (it counts); p NULL: none. */
struct span pg_pair_find(struct span pairs, struct span name);

/* Takes texts up to an empty one, which is not in the answer. */
struct span pg_take_texts(struct pg_take *t);
/* Takes n texts. */
struct span pg_take_n_texts(struct pg_take *t, size_t n);
bool pg_text_next(struct span *rest, struct span *ret);
/* The text at the front of what has come of a message. False: it has no end yet. */
bool pg_text_come(struct span *rest, struct span *ret);
