/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/query.h: queries of a template, and their typed answers.
 *
 * One query is {"rows":[{column: value}],"rows_affected":n}; several are a list of
 * these, all done or none. Values: integers, booleans and float8 as JSON has them,
 * json and jsonb as what they are, NULL as null, bytea (and what is no UTF-8) as
 * {"hex"}; all others, numeric as well, as PostgreSQL's text. The second column of one
 * name is "name_2".
 *
 * Owns:   nothing.
 * Limits: QUERY_MS a query; QUERY_VALUES and QUERY_BYTES of an answer.
 * Thread: any. BLOCKS.
 */
#pragma once

#include <jansson.h>

#include "control/postgres/backend.h"

#define QUERY_MS     5000 /* above the longest hold and its repetition */
#define QUERY_PARAMS 256
#define QUERY_VALUES 100000
#define QUERY_BYTES  ((size_t)16 * 1024 * 1024)

/* As dialect.query says. ERR_REFUSED: the server's words, and nothing was done;
 * ERR_LIMIT: the answer is too long (the text says whether it was done). */
int pg_query(const struct url *u, const char *label, const json_t *queries,
             bool is_read, json_t **ret, struct err *err) MUST;
