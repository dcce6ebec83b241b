/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/rights.h: what a user may do, as ACL GETUSER says it.
 *
 * Thread: any.
 */
#pragma once

#include "base/span.h"
#include "engine/redis/command.h"

struct rights {
	bool known; /* it is an answer                                  */
	bool on;
	bool open;  /* no password                                      */
	bool reads; /* it may read everything: all keys, and of all
	             * commands at most some are missing that read none */
};

struct rights rights_read(const struct command_index *ix, struct span reply);
