/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/utf8.c: text that may be anything becomes text that JSON takes.
 */
#include "base/utf8.h"

#include <string.h>

size_t
utf8_char(struct span s)
{
	uint8_t low = 0x80; /* what the second byte may be */
	uint8_t high = 0xbf;
	size_t n;

	if (s.n == 0)
		return 0;
	if (s.p[0] < 0x80)
		return 1;
	if (s.p[0] < 0xc2 || s.p[0] > 0xf4)
		return 0;
	n = s.p[0] < 0xe0 ? 2 : s.p[0] < 0xf0 ? 3 : 4;
	switch (s.p[0]) {
	case 0xe0: low = 0xa0; break;  /* else it would be shorter */
	case 0xed: high = 0x9f; break; /* surrogates               */
	case 0xf0: low = 0x90; break;
	case 0xf4: high = 0x8f; break; /* above U+10FFFF           */
	default: break;
	}
	if (s.n < n || s.p[1] < low || s.p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

void
utf8_mend(char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		size_t n = utf8_char(span_of(text, left));

		if (n == 0) {
			*text = '?';
			n = 1;
		}
		text += n;
		left -= n;
	}
}
