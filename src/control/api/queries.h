/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/queries.h: the queries of a template of PostgreSQL.
 *
 * "{{name}}" stands where an expression may: it becomes "$1", "$2", .. one for each
 * place, and what is given there is sent beside the text, never in it. A place that the
 * server would read otherwise (in quotes, in a remark) is refused.
 *
 * Owns:   nothing.
 * Limits: those of params.h.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

/* Is the template one of queries: {"query"} or {"queries"}? */
bool queries_are(const json_t *template);

/* {"commands":[["SELECT $1","{{name}}"],..]} as params_commands() gives it, for
 * params_declare(). NULL: ERR_BAD. */
json_t *queries_commands(const json_t *template, struct err *err);

/* With texts in place (new reference): a parameter that was left out is null. */
json_t *queries_bind(const json_t *commands, const json_t *texts,
                     struct err *err);
