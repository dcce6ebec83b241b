/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/lua.h: does a script touch only the keys that it was given?
 *
 * While writes move key by key a script may run only where its keys are. What it
 * names in KEYS is known; what it makes up is not. So its text is read: each
 * redis.call has to name its command as a string, and the keys of that command as
 * KEYS[..] or as a local that was made from one and never changed. Whatever could
 * get round this (another name for redis, for call or for KEYS, load, _G, ...) is
 * "no": the answer may be no for a script that behaves, never yes for one that
 * does not.
 *
 * Source: the Lua 5.1 reference manual, section 2.1 (words), and the scripting
 *         page of Redis.
 * Thread: any.
 */
#pragma once

#include "engine/redis/command.h"

#define LUA_ALIASES_MAX 16 /* locals made from keys; more are not known */

/* Does its first line say "#!lua flags=no-writes"? Then the server lets it write
 * nothing. */
bool lua_declares_no_writes(struct span body);
bool lua_keeps_to_keys(const struct command_index *ix, struct span body);
