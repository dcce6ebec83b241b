/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/yaml.c: a YAML document as JSON.
 */
#define _POSIX_C_SOURCE 200809L
#include "bin/api/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

struct level {
	json_t *value; /* the array or object; owned by the one above       */
	char *name;    /* object: of the next value, NULL: a name comes     */
};

struct build {
	struct level level[YAML_DEPTH];
	uint32_t depth;
	json_t *root;
	struct err *err;
};

static bool
bad(struct build *b, const yaml_event_t *e, const char *what)
{
	(void)err_set(b->err, ERR_BAD, "line %zu: %s", e->start_mark.line + 1,
	              what);
	return false;
}

static bool
is_one_of(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static json_t *
number(const char *text)
{
	const char *digits = text + (text[0] == '-' || text[0] == '+');
	char *end = NULL;
	double real;
	long long whole;

	/* Names of endless numbers and hexadecimal floats are texts here. */
	if (strspn(digits, "0123456789.eE+-") != strlen(digits) ||
	    strspn(digits, "0123456789.") == 0)
		return NULL;
	errno = 0;
	whole = strtoll(text, &end, 10);
	if (*end == '\0' && errno == 0)
		return json_integer(whole);
	real = strtod(text, &end);
	return *end == '\0' ? json_real(real) : NULL;
}

static json_t *
scalar(const yaml_event_t *e)
{
	static const char *const nulls[] = { "",     "~",    "null",
		                             "Null", "NULL", NULL };
	static const char *const trues[] = { "true", "True", "TRUE", NULL };
	static const char *const falses[] = { "false", "False", "FALSE", NULL };
	const char *text = (const char *)e->data.scalar.value;
	json_t *ret = NULL;

	if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
		if (is_one_of(text, nulls))
			return json_null();
		if (is_one_of(text, trues))
			return json_true();
		if (is_one_of(text, falses))
			return json_false();
		ret = number(text);
	}
	return ret != NULL ? ret : json_stringn(text, e->data.scalar.length);
}

/* A finished or begun value into the level above; takes the reference. */
static bool
put(struct build *b, const yaml_event_t *e, json_t *v)
{
	struct level *l = b->depth > 0 ? &b->level[b->depth - 1] : NULL;
	bool ok;

	if (v == NULL)
		return bad(b, e, "no UTF-8, or out of memory");
	if (l == NULL) {
		b->root = v;
		return true;
	}
	if (json_is_array(l->value)) {
		ok = json_array_append_new(l->value, v) == 0;
	} else {
		ok = json_object_set_new(l->value, l->name, v) == 0;
		free(l->name);
		l->name = NULL;
	}
	return ok || bad(b, e, "out of memory");
}

static bool
put_name(struct build *b, const yaml_event_t *e)
{
	struct level *l = &b->level[b->depth - 1];
	const char *text = (const char *)e->data.scalar.value;

	if (json_object_get(l->value, text) != NULL)
		return bad(b, e, "a name is there twice");
	l->name = strdup(text);
	return l->name != NULL || bad(b, e, "out of memory");
}

static bool
wants_name(const struct build *b)
{
	const struct level *l = b->depth > 0 ? &b->level[b->depth - 1] : NULL;

	return l != NULL && json_is_object(l->value) && l->name == NULL;
}

static bool
begin(struct build *b, const yaml_event_t *e, json_t *v)
{
	if (wants_name(b) || b->depth == YAML_DEPTH) {
		json_decref(v);
		return bad(b, e,
		           b->depth == YAML_DEPTH ? "too deep"
		                                  : "a name must be a text");
	}
	if (!put(b, e, v))
		return false;
	b->level[b->depth++] = (struct level){ .value = v };
	return true;
}

static bool
has_anchor(const yaml_event_t *e)
{
	switch ((int)e->type) {
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor != NULL ||
		       e->data.scalar.tag != NULL;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor != NULL ||
		       e->data.sequence_start.tag != NULL;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor != NULL ||
		       e->data.mapping_start.tag != NULL;
	default: return e->type == YAML_ALIAS_EVENT;
	}
}

static bool
take(struct build *b, const yaml_event_t *e)
{
	if (has_anchor(e))
		return bad(b, e, "anchors, aliases and tags are not taken");
	switch ((int)e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return b->root == NULL || bad(b, e, "a second document");
	case YAML_SCALAR_EVENT:
		return wants_name(b) ? put_name(b, e) : put(b, e, scalar(e));
	case YAML_SEQUENCE_START_EVENT: return begin(b, e, json_array());
	case YAML_MAPPING_START_EVENT: return begin(b, e, json_object());
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: b->depth--; return true;
	default: return true;
	}
}

json_t *
yaml_load(struct span text, struct err *err)
{
	struct build b = { .err = err };
	yaml_parser_t parser;
	bool is_over = false;
	bool ok = yaml_parser_initialize(&parser) == 1;

	if (!ok) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	yaml_parser_set_input_string(&parser, text.p, text.n);
	while (ok && !is_over) {
		yaml_event_t e;

		if (yaml_parser_parse(&parser, &e) != 1) {
			(void)err_set(err, ERR_BAD, "line %zu: %.150s",
			              parser.problem_mark.line + 1,
			              parser.problem != NULL ? parser.problem
			                                     : "no YAML");
			ok = false;
			break;
		}
		ok = take(&b, &e);
		is_over = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	for (uint32_t i = 0; i < YAML_DEPTH; i++)
		free(b.level[i].name);
	if (ok && b.root == NULL) {
		(void)err_set(err, ERR_BAD, "there is nothing in it");
		ok = false;
	}
	if (!ok) {
		json_decref(b.root);
		return NULL;
	}
	return b.root;
}
