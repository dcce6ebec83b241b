/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/limit.h: the numbers of tables/limit.tbl as constants.
 */
#pragma once

enum limit {
#define X(name, value, unit, why) LIMIT_##name = (value),
#include "limit.tbl"
#undef X
};

#define NS_PER_MS 1000000ull
