/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/sheet.c: rows of text in aligned columns, for people.
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/api/sheet.h"

#include <stdlib.h>
#include <string.h>

#define GAP 2

void
sheet_init(struct sheet *s, uint32_t columns)
{
	*s = (struct sheet){ .columns = columns };
}

void
sheet_fini(struct sheet *s)
{
	for (size_t i = 0; i < s->rows * s->columns; i++)
		free(s->cell[i]);
	free(s->cell);
	*s = (struct sheet){ .columns = 0 };
}

void
sheet_add(struct sheet *s, const char *const text[])
{
	char **at;

	if (s->rows == s->cap) {
		size_t cap = s->cap == 0 ? 16 : s->cap * 2;
		char **more =
			realloc(s->cell, cap * s->columns * sizeof(*more));

		if (more == NULL) {
			s->is_failed = true;
			return;
		}
		s->cell = more;
		s->cap = cap;
	}
	at = s->cell + s->rows * s->columns;
	for (uint32_t i = 0; i < s->columns; i++) {
		at[i] = strdup(text[i]);
		s->is_failed = s->is_failed || at[i] == NULL;
	}
	s->rows++;
}

size_t
sheet_letters(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void
sheet_put(FILE *out, const char *text, size_t letters_max)
{
	size_t n = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		n += (c & 0xc0) != 0x80;
		if (n > letters_max)
			return;
		(void)fputc(c < 32 || c == 127 ? '?' : c, out);
	}
}

/* Is there anything below the heading? */
static bool
has_column(const struct sheet *s, uint32_t column)
{
	for (size_t r = 1; r < s->rows; r++)
		if (s->cell[r * s->columns + column][0] != '\0')
			return true;
	return s->rows < 2;
}

static void
widths(const struct sheet *s, size_t ret[SHEET_COLUMNS])
{
	for (uint32_t c = 0; c < s->columns; c++) {
		ret[c] = 0;
		if (!has_column(s, c))
			continue;
		for (size_t r = 0; r < s->rows; r++) {
			size_t n = sheet_letters(s->cell[r * s->columns + c]);

			if (n > ret[c])
				ret[c] = n;
		}
	}
}

static void
print_row(const struct sheet *s, FILE *out, size_t row,
          const size_t width[SHEET_COLUMNS], size_t room)
{
	size_t pad = 0;

	for (uint32_t c = 0; c < s->columns && room > 0; c++) {
		const char *text = s->cell[row * s->columns + c];
		size_t n = sheet_letters(text);

		if (width[c] == 0)
			continue;
		/* Blanks only in front of something: no line ends in one. */
		if (n > 0) {
			if (pad >= room)
				break;
			(void)fprintf(out, "%*s", (int)pad, "");
			room -= pad;
			pad = 0;
			sheet_put(out, text, room);
			room -= n < room ? n : room;
		}
		pad += width[c] - n + GAP;
	}
}

bool
sheet_print(const struct sheet *s, FILE *out, uint32_t width, bool has_color)
{
	size_t of[SHEET_COLUMNS];

	if (s->is_failed)
		return false;
	widths(s, of);
	for (size_t r = 0; r < s->rows; r++) {
		if (r == 0 && has_color)
			(void)fputs("\033[1m", out);
		print_row(s, out, r, of, width == 0 ? SIZE_MAX : width);
		if (r == 0 && has_color)
			(void)fputs("\033[0m", out);
		(void)fputc('\n', out);
	}
	return true;
}
