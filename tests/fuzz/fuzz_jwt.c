/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_jwt.c: any bytes as a token: no crash, none is believed, and
 * what we sign ourselves with such claims is read back.
 *
 * Sources: src/control/auth/jwt.c src/control/auth/digest.c
 * Libraries: -ljansson -lcrypto
 */
#include <stdlib.h>

#include "base/check.h"
#include "control/auth/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t key[DIGEST_SIZE] = { 1, 2, 3 };
static const uint8_t other[DIGEST_SIZE] = { 4, 5, 6 };

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct err err = { 0 };
	struct jwt j;
	struct jwt again;
	int rc = jwt_parse(span_of(data, n), &j, &err);

	ENSURE(rc == 0 || rc == -ERR_UNAUTHORIZED);
	if (rc == 0) {
		char *text = jwt_sign(key, j.claims);

		ENSURE(j.alg != JWT_OTHER && json_is_object(j.claims));
		ENSURE(!jwt_is_signed(&j, other));
		(void)!jwt_check_times(&j, 1790000000000, &err);
		(void)jwt_is_for(&j, "godwit");
		(void)jwt_text(&j, "sub");
		/* The claims once more (longer ones may be too long now). */
		if (text != NULL && strlen(text) <= 8000) {
			rc = jwt_parse(span_str(text), &again, &err);
			ENSURE(rc == 0 && jwt_is_signed(&again, key));
			ENSURE(!jwt_is_signed(&again, other));
			ENSURE(json_equal(j.claims, again.claims));
			jwt_fini(&again);
		}
		free(text);
	}
	jwt_fini(&j);
	return 0;
}
