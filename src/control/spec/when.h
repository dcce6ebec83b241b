/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/when.h: times as people write them.
 *
 * Thread: any.
 */
#pragma once

#include "core/zone.h"

/* Reads the zone's file of the system. ERR_USAGE names what is missing. */
int when_load_zone(const char *name, struct zone *ret, struct err *err) MUST;

/* RFC 3339; milliseconds since 1970. */
bool when_parse_time(const char *text, int64_t *ret_ms);
/* "2026-01-15T02:00:00Z"; size: 32 is enough. */
void when_print_time(int64_t ms, char *to, size_t size);
