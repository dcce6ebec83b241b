/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/shape.h: JSON texts, and what a body may contain.
 *
 * Tolerant in spelling (ReadPercentage is read_percentage, "Read" is "read"),
 * strict in content: an unknown field, a missing one, another type or a number
 * out of its range is ERR_BAD with the path of the field. A body that passed is
 * in canonical spelling. Fields of kind SPEC are left to control/spec.
 *
 * Owns:   nothing.
 * Limits: SHAPE_DEPTH levels, SHAPE_NODES objects and members in a body.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define SHAPE_DEPTH 32
#define SHAPE_NODES 10000
#define SHAPE_PARAM 128

enum shape_kind {
	SHAPE_TEXT,
	SHAPE_ID,
	SHAPE_UUID,
	SHAPE_INTEGER,
	SHAPE_NUMBER,
	SHAPE_BOOLEAN,
	SHAPE_TIME,
	SHAPE_CHOICE,
	SHAPE_OBJECT,
	SHAPE_ANY,
	SHAPE_REF,
	SHAPE_LIST,
	SHAPE_MAP,
	SHAPE_ONE,
	SHAPE_SPEC,
};

enum shape_need {
	SHAPE_MUST,
	SHAPE_MAY,
	SHAPE_NULL,
};

struct shape_field {
	const char *shape;
	const char *name; /* "any_other": more fields may be there;
			   * "one_of": it is one of other shapes        */
	enum shape_kind kind;
	const char *of;
	enum shape_need need;
	int64_t low;
	int64_t high;
	const char *help;
};

extern const struct shape_field shape_fields[];
extern const size_t shape_field_n;

/* The rows of a shape; NULL: no such shape. */
const struct shape_field *shape_find(const char *shape, size_t *ret_n);

/* Strict RFC 8259, no double names, at most SHAPE_DEPTH deep; a new reference.
 * NULL: ERR_BAD in *err. */
json_t *shape_parse(struct span text, struct err *err);

/* 0, or -ERR_BAD with the field's path in param[SHAPE_PARAM]. Spelling is made
 * canonical in body. */
int shape_check(const char *shape, json_t *body, char *param,
                struct err *err) MUST;

/* For jansson's loops, which take no const although they change nothing. */
static inline json_t *
shape_mutable(const json_t *j)
{
	json_t *ret;

	memcpy(&ret, &j, sizeof(void *));
	return ret;
}

static inline char
shape_lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c;
}

/* Write text in snake_case. false: it does not fit. */
bool shape_snake(const char *text, char *ret, size_t n);
bool shape_is_id(const char *text);
