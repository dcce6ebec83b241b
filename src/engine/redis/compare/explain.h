/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/explain.h: where two values differ, for a person.
 *
 * Thread: pure functions.
 */
#pragma once

#include "engine/redis/compare/value.h"

/* Bytes as text: printable ASCII stays, others become \xNN, a backslash \\; cut
 * with "..." when n is too small (n >= 8). Always ends with NUL. */
void explain_text(struct span s, char *ret, size_t n);

/* What value_cmp found: "type hash / string", "ttl +1200 ms", "string: 3 / 4
 * bytes", "hash: field \"x\" differs". reply_x and reply_y are the replies of
 * value_ask_body when the values were read whole, else empty. mem is used
 * during the call only; without memory the text is shorter. */
void explain_diff(struct mem *mem, const struct value *x, const struct value *y,
                  const struct value_rule *rule, struct span reply_x,
                  struct span reply_y, char *ret, size_t n);
