/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/rdb_module.c: which module a value belongs to.
 * Source: redis/src/module.c of Redis 7.0 (moduleTypeNameByID)
 *
 * The value begins with a number of 64 bits: nine characters of six bits each,
 * the first one highest, then ten bits of a version.
 */
#include "wire/rdb_layout.h"

#define TYPE_MODULE 7
#define NAME_N      (RDB_MODULE_NAME - 1)

bool
rdb_module(uint8_t type, struct span body, char ret[RDB_MODULE_NAME])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz"
				     "0123456789-_";
	uint64_t n;
	uint64_t id;

	if (type != TYPE_MODULE)
		return false;
	memset(ret, '?', NAME_N);
	ret[NAME_N] = '\0';
	if (rdb_step_size(RDB_STEP_LEN, body, &n, &id) != WIRE_PART)
		return true;
	id >>= 10;
	for (int i = NAME_N - 1; i >= 0; i--) {
		ret[i] = digits[id & 63];
		id >>= 6;
	}
	return true;
}
