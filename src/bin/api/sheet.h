/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/sheet.h: rows of text in aligned columns, for people.
 *
 * Widths count letters, not bytes; control characters become "?", so that no
 * text of a server steers the terminal. Empty columns are left out.
 *
 * Owns:   copies of the texts.
 * Limits: SHEET_COLUMNS columns.
 * Thread: one at a time for each struct.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SHEET_COLUMNS 16

struct sheet {
	char **cell; /* row by row; the first row are the headings          */
	size_t rows, cap;
	uint32_t columns;
	bool is_failed; /* out of memory: nothing is printed               */
};

void sheet_init(struct sheet *s, uint32_t columns);
void sheet_fini(struct sheet *s);
/* One row: as many texts as there are columns. */
void sheet_add(struct sheet *s, const char *const text[]);
/* width: lines are cut there, 0 never. false: out of memory. */
bool sheet_print(const struct sheet *s, FILE *out, uint32_t width,
                 bool has_color);

/* Letters of a text, and printing it without its control characters. */
size_t sheet_letters(const char *text);
void sheet_put(FILE *out, const char *text, size_t letters_max);
