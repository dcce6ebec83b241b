/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_bearer.c: any bytes as an Authorization header: no crash, and
 * the parts stay in their bounds.
 *
 * Sources: src/control/auth/bearer.c src/control/auth/digest.c
 * Libraries: -lcrypto
 */
#include <stdlib.h>

#include "base/check.h"
#include "control/auth/bearer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *header = malloc(n + 1);
	struct err err = { 0 };
	struct bearer b;
	int rc;

	if (header == NULL)
		return 0;
	if (n > 0)
		memcpy(header, data, n);
	header[n] = '\0';
	rc = bearer_parse(header, &b, &err);
	ENSURE(rc == 0 || rc == -ERR_UNAUTHORIZED);
	ENSURE((rc == 0) == (b.kind != BEARER_NONE));
	ENSURE(memchr(b.user, 0, sizeof(b.user)) != NULL);
	ENSURE(memchr(b.password, 0, sizeof(b.password)) != NULL);
	ENSURE((b.kind == BEARER_BASIC) == (b.user[0] != '\0'));
	if (b.kind == BEARER_TOKEN)
		ENSURE(b.token.p >= (const uint8_t *)header &&
		       b.token.p + b.token.n ==
		               (const uint8_t *)header + strlen(header));
	bearer_clear(&b);
	free(header);
	return 0;
}
