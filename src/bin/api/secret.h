/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/secret.h: a password from the terminal, and forgetting it.
 *
 * Thread: the main one.
 */
#pragma once

#include "base/err.h"

/* Ask on the terminal itself (not stdin), without echo. Malloced; NULL: there is
 * no terminal, or nothing was typed. */
char *secret_ask(const char *prompt, struct err *err);
/* The same with echo, for a name. */
char *secret_ask_name(const char *prompt, struct err *err);
void secret_free(char *text); /* overwritten first; NULL is fine            */
