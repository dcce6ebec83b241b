/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/page.h: what the help says beyond the tables.
 *
 * Thread: constants.
 */
#pragma once

#include "bin/args.h"

#define PAGE_EXAMPLES_MAX 6

struct page_example {
	const char *what;    /* "Watch it from a second terminal"           */
	const char *command; /* "godwit status --watch"                     */
};

struct page {
	const char *text; /* paragraphs, apart by \n\n; "\n* " a list item   */
	struct page_example examples[PAGE_EXAMPLES_MAX];
	uint32_t exits;  /* bit 1 << status: those that can happen          */
	bool uses_state; /* tells about the state file and its neighbours   */
	const char *see; /* related commands: "status, promote"             */
};

/* One page for each command. */
extern const struct page pages[CMD_N];
/* One for each action; of those with the same word the first has it. */
extern const struct page action_pages[ACTION_N];
