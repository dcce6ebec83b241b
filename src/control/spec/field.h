/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/field.h: fields of JSON objects, tolerant in spelling.
 *
 * Names and words are compared in snake_case: ReadPercentage, readPercentage and
 * read_percentage are one. The first fault is kept with its path; everything
 * after it does nothing, so that callers ask fields_rc() once.
 *
 * Owns:   nothing.
 * Thread: one at a time for each struct fields.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "control/spec/spec.h"

struct fields {
	struct spec_issue *issue;
	struct err *err;
	json_t *warnings;
	bool is_patch; /* what is absent stays as it is */
	int rc;        /* of the first fault */
	char path[128];
};

#define FIELD_WORD_MAX 64

/* jansson's iterators do not change what they walk over, but do not say so. */
static inline json_t *
field_loose(const json_t *j)
{
	const union {
		const json_t *in;
		json_t *out;
	} u = { .in = j };

	return u.out;
}

/* Into snake_case; too long: cut. */
void field_snake(const char *from, char to[FIELD_WORD_MAX]);

/* Go into a member, and out again by what that answered. */
size_t fields_enter(struct fields *f, const char *name);
void fields_leave(struct fields *f, size_t mark);
/* At the path now, or at a member of it (name not NULL). */
void fields_fault(struct fields *f, enum err_code code, const char *name,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void fields_warn(struct fields *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The member by its canonical name, or NULL: absent or null. Borrowed. */
json_t *fields_get(const json_t *object, const char *name);
/* Is it there (null included)? */
bool fields_has(const json_t *object, const char *name);
/* Faults for members that are not in the list of words, and for one that is there
 * in two spellings. False: it is no object (a fault as well). */
bool fields_only(struct fields *f, const json_t *object, const char *names);

/* Each leaves *to when the member is absent. */
void fields_bool(struct fields *f, const json_t *object, const char *name,
                 bool *to);
void fields_u32(struct fields *f, const json_t *object, const char *name,
                uint32_t range[2], uint32_t *to);
/* 0.0 .. 1.0 as parts in a million. */
void fields_share(struct fields *f, const json_t *object, const char *name,
                  uint32_t *to);
void fields_text(struct fields *f, const json_t *object, const char *name,
                 char *to, size_t size);
/* One of the words (separated by blanks): its number into *to. */
void fields_word(struct fields *f, const json_t *object, const char *name,
                 const char *words, uint32_t *to);
/* Number of a word among words, or -1. */
int field_find(const char *words, const char *word);
/* A value 0.0 .. 1.0, or -1. */
int64_t field_ppm(const json_t *value);

/* "scan", {"type":"scan",..} and {"Scan":{..}}: the tag in snake_case and the
 * object with the rest (NULL: none). False: it is none of these. */
bool field_tagged(const json_t *value, char tag[FIELD_WORD_MAX],
                  const json_t **body);
