/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/dialect.c: the kinds of servers that there are.
 */
#include "control/dialect.h"

#include "base/check.h"

static const struct dialect *const dialects[URL_KIND_N] = {
	[URL_REDIS] = &dialect_redis,
	[URL_POSTGRES] = &dialect_postgres,
};

const struct dialect *
dialect_of(enum url_kind k)
{
	REQUIRE(k < URL_KIND_N && dialects[k] != NULL);
	return dialects[k];
}
