/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/store/uuid.c: random UUIDs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/random.h>

#include "base/check.h"
#include "control/store/store.h"

const char *
store_uuid(char ret[STORE_UUID])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t raw[16];
	size_t at = 0;
	ssize_t got;

	do
		got = getrandom(raw, sizeof(raw), 0);
	while (got < 0 && errno == EINTR);
	ENSURE(got == (ssize_t)sizeof(raw));
	raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
	raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			ret[at++] = '-';
		ret[at++] = digits[raw[i] >> 4];
		ret[at++] = digits[raw[i] & 15];
	}
	ret[at] = '\0';
	return ret;
}

bool
store_is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < sizeof(form) - 1; i++) {
		bool ok = form[i] == '-'
		                  ? text[i] == '-'
		                  : text[i] != '\0' &&
		                            strchr("0123456789abcdefABCDEF",
		                                   text[i]) != NULL;

		if (!ok)
			return false;
	}
	return text[sizeof(form) - 1] == '\0';
}
