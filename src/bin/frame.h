/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/frame.h: a status object as lines of text: the live screen's picture and
 * the table of `godwit status`.
 *
 * Thread: any.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct frame_conf {
	uint32_t columns; /* lines are cut there                            */
	bool has_color;   /* ECMA-48 colours                                */
	bool has_utf8;    /* the bar is drawn with block characters         */
	uint32_t events;  /* how many of the last events                    */
};

/* Write the picture, each line ended by "\n". Answers how many lines. */
uint32_t frame_print(FILE *out, const json_t *status,
                     const struct frame_conf *conf);

/* The same in one line, for logs: no colours, no end. */
void frame_line(FILE *out, const json_t *j);

enum frame_style {
	FRAME_PLAIN,
	FRAME_BOLD,
	FRAME_DIM,
	FRAME_GOOD,
	FRAME_WARN,
	FRAME_BAD,
};

/* One line being written; cut at the width, whatever its styles. */
struct frame {
	FILE *out;
	const struct frame_conf *conf;
	uint32_t column;
	uint32_t lines;
};

void frame_put(struct frame *f, enum frame_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void frame_end(struct frame *f); /* end of the line                        */
