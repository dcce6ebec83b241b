/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/nearest.c: which known word did the user mean?
 */
#include "bin/nearest.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX 64

static size_t
least(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Optimal string alignment: three rows of the table are enough. */
size_t
nearest_distance(const char *known, const char *word)
{
	size_t rows[3][WORD_MAX];
	size_t n = strlen(known);
	size_t m = strlen(word);

	if (n >= WORD_MAX || m >= WORD_MAX)
		return SIZE_MAX;
	if (m >= 3 && m < n && strncmp(known, word, m) == 0)
		return 1;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *now = rows[i % 3];
		const size_t *one = rows[(i - 1) % 3];
		const size_t *two = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t differs = known[i - 1] != word[j - 1];

			now[j] = least(one[j] + 1, now[j - 1] + 1,
			               one[j - 1] + differs);
			if (i > 1 && j > 1 && known[i - 1] == word[j - 2] &&
			    known[i - 2] == word[j - 1] &&
			    two[j - 2] + 1 < now[j])
				now[j] = two[j - 2] + 1;
		}
	}
	return rows[n % 3][m];
}

bool
nearest_is_close(const char *word, size_t distance)
{
	return distance <= (strlen(word) < 6 ? 2U : 3U) &&
	       distance < strlen(word);
}

bool
nearest_of(const char *all, const char *word, char *ret, size_t n)
{
	size_t best = SIZE_MAX;

	for (const char *p = all;; p++) {
		size_t len = strcspn(p, "|");
		char known[WORD_MAX];
		size_t d;

		(void)snprintf(known, sizeof(known), "%.*s",
		               (int)(len < WORD_MAX ? len : WORD_MAX - 1), p);
		d = nearest_distance(known, word);
		if (d < best) {
			best = d;
			(void)snprintf(ret, n, "%s", known);
		}
		p += len;
		if (*p == '\0')
			return nearest_is_close(word, best);
	}
}
