/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/answer.h: the data of an answer, for people or for programs.
 *
 * Thread: the main one.
 */
#pragma once

#include <jansson.h>

#include "bin/args.h"

/* Print data to stdout: --json as it is, in one line; else a table of a list,
 * names and values of a thing, a sentence for a verb. Answers the exit status:
 * differences 8, a test that fails 3. */
int answer_print(const struct args *a, const json_t *data);

/* Rows of a shape, as answer_print() does it. */
void answer_list(const struct args *a, const char *shape, const json_t *rows);

/* A value as one text: lists joined, labels as a=b. ret has n bytes. */
void answer_text(const json_t *v, char *ret, size_t n);
/* The value at "bindings[].template" or "config.url" as text. */
void answer_at(const json_t *j, const char *path, char *ret, size_t n);
