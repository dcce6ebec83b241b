/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/nearest.h: which known word did the user mean?
 *
 * Thread: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Letters to insert, remove, replace or swap to make one word of the other;
 * words beyond 63 letters are infinitely far. A word that the other begins
 * with is close: "prom" means "promote". */
size_t nearest_distance(const char *known, const char *word);

/* Is that distance small enough to be proposed for word? */
bool nearest_is_close(const char *word, size_t distance);

/* The nearest of "a|b|c", when one is close. */
bool nearest_of(const char *all, const char *word, char *ret, size_t n);
