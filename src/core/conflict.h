/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/conflict.h: how the bulk travels, and what it may overwrite.
 *
 * Both act during the copy only: the stream of the authority always wins.
 */
#pragma once

/* The other side has the record already, and it differs. */
enum conflict_rule {
	CONFLICT_NONE,    /* it stays, and is counted            */
	CONFLICT_REPLACE, /* the authority's wins                */
	CONFLICT_MERGE,   /* collections united, others replaced */
};

enum copy_mode { COPY_AUTO, COPY_RDB, COPY_SCAN };
