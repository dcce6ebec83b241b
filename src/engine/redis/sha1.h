/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/sha1.h: the names of scripts.
 * Source: FIPS 180-4, section 6.1. Not for security.
 *
 * Thread: a pure function.
 */
#pragma once

#include "base/span.h"

#define SHA1_N 20

void sha1(struct span s, uint8_t ret[SHA1_N]);
