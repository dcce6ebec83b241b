/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/complete.h: what may come next on a command line of the API.
 *
 * `godwit __complete WORDS...` is what the shells' scripts call: one candidate a
 * line, a tab, what it is. Silent when something fails; a server is asked for
 * names for less than a second.
 *
 * Thread: the main one.
 */
#pragma once

/* words: what stands behind godwit; the last one is being written (may be ""). */
int complete_run(int n, char *const words[]);
