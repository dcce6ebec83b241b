/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/side.h: the two sides of a migration.
 */
#pragma once

enum side {
	SIDE_OLD = 0,
	SIDE_NEW = 1,
	SIDE_N = 2,
};

static inline enum side
side_other(enum side s)
{
	return s == SIDE_OLD ? SIDE_NEW : SIDE_OLD;
}

static inline const char *
side_name(enum side s)
{
	return s == SIDE_OLD ? "old" : "new";
}
