/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/sys.h: the text of an errno, for any thread.
 */
#pragma once

#include <string.h>

#define SYS_TEXT 96

/* Into ret, which is answered. */
static inline const char *
sys_text(int code, char ret[SYS_TEXT])
{
	if (strerror_r(code, ret, SYS_TEXT) != 0)
		memcpy(ret, "unknown error", sizeof("unknown error"));
	return ret;
}
