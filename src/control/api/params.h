/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/params.h: parameters of templates and apis.
 *
 * A command is a list of texts; "{{name}}" in one of them stands for a
 * parameter. What is put there stays inside that one argument, whatever its
 * bytes: a parameter is never another argument and never a command's name.
 *
 * Owns:   nothing.
 * Limits: PARAMS_ARGUMENT bytes in an argument after binding.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define PARAMS_ARGUMENT ((size_t)1024 * 1024)

/* The two or three ways to write a command as {"commands":[[...],...]} (new
 * reference). NULL: ERR_BAD. */
json_t *params_commands(const json_t *template, struct err *err);

/* Every {{name}} of the commands must be in fields; where fields is empty, they
 * are made (required texts). fields is changed. */
int params_declare(const json_t *commands, json_t *fields,
                   struct err *err) MUST;

/* Check given parameters by fields: unknown, missing, wrong type; put defaults
 * in. *ret: a new object of texts (those that were left out are missing).
 * param[128] names the one at fault. */
int params_check(const json_t *fields, const json_t *given, json_t **ret,
                 char *param, struct err *err) MUST;

/* One command with texts in place (new reference: an array of texts). */
json_t *params_bind(const json_t *command, const json_t *texts,
                    struct err *err);
