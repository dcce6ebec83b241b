/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/unknown.h: what nobody knows, in the server's own words.
 *
 * A command that is not in tables/resp.tbl is not relayed (where its keys stand
 * is not known), and its client reads what a Redis 7.0 would have said.
 */
#pragma once

#include "engine/redis/relay/inside.h"

/* c: NULL, or the container whose subcommand is not known. */
enum dispatched unknown_refuse(struct relay *r, struct session *s,
                               const struct command *c,
                               const struct resp_cmd *q, struct span raw);
/* Says that the container c has no such subcommand. */
void unknown_say(struct relay *r, struct session *s, const struct command *c,
                 const struct resp_cmd *q);
