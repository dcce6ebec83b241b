/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/field.c: fields of JSON objects, tolerant in spelling.
 */
#include "control/spec/field.h"

#include <stdio.h>

#define PPM_ALL 1000000

static bool
is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

void
field_snake(const char *from, char to[FIELD_WORD_MAX])
{
	size_t n = 0;

	for (const char *p = from; *p != '\0' && n + 2 < FIELD_WORD_MAX; p++) {
		if (is_upper(*p)) {
			if (p > from && !is_upper(p[-1]) && p[-1] != '_' &&
			    p[-1] != '-')
				to[n++] = '_';
			to[n++] = "abcdefghijklmnopqrstuvwxyz"[*p - 'A'];
		} else {
			to[n] = *p;
			if (*p == '-' || *p == ' ')
				to[n] = '_';
			n++;
		}
	}
	to[n] = '\0';
}

/* ---- where, and what is wrong ------------------------------------------ */

size_t
fields_enter(struct fields *f, const char *name)
{
	size_t mark = strlen(f->path);

	(void)snprintf(f->path + mark, sizeof(f->path) - mark, "%s%.60s",
	               mark > 0 ? "." : "", name);
	return mark;
}

void
fields_leave(struct fields *f, size_t mark)
{
	f->path[mark] = '\0';
}

void
fields_fault(struct fields *f, enum err_code code, const char *name,
             const char *fmt, ...)
{
	char text[200];
	size_t mark;
	va_list ap;

	if (f->rc != 0)
		return;
	mark = strlen(f->path);
	if (name != NULL)
		mark = fields_enter(f, name);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->rc = err_set(f->err, code, "%s%s%s", f->path,
	                f->path[0] != '\0' ? ": " : "", text);
	if (f->issue != NULL)
		memcpy(f->issue->param, f->path, sizeof(f->issue->param));
	fields_leave(f, mark);
}

void
fields_warn(struct fields *f, const char *fmt, ...)
{
	char text[300];
	va_list ap;
	size_t i;
	json_t *old;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_foreach(f->warnings, i, old)
	{
		if (strcmp(json_string_value(old), text) == 0)
			return;
	}
	(void)json_array_append_new(f->warnings, json_string(text));
}

/* ---- members ----------------------------------------------------------- */

static json_t *
find(const json_t *object, const char *name)
{
	json_t *o = field_loose(object);
	char word[FIELD_WORD_MAX];
	const char *key;
	json_t *value;

	json_object_foreach(o, key, value)
	{
		field_snake(key, word);
		if (strcmp(word, name) == 0)
			return value;
	}
	return NULL;
}

bool
fields_has(const json_t *object, const char *name)
{
	return find(object, name) != NULL;
}

json_t *
fields_get(const json_t *object, const char *name)
{
	json_t *v = find(object, name);

	return json_is_null(v) ? NULL : v;
}

int
field_find(const char *words, const char *word)
{
	size_t n = strlen(word);
	int i = 0;

	for (const char *p = words; *p != '\0'; i++) {
		size_t len = strcspn(p, " ");

		if (len == n && memcmp(p, word, n) == 0)
			return i;
		p += len;
		p += strspn(p, " ");
	}
	return -1;
}

bool
fields_only(struct fields *f, const json_t *object, const char *names)
{
	json_t *o = field_loose(object);
	char word[FIELD_WORD_MAX];
	uint64_t seen = 0;
	const char *key;
	json_t *value;
	int i;

	if (!json_is_object(object)) {
		fields_fault(f, ERR_USAGE, NULL, "an object is wanted, with %s",
		             names);
		return false;
	}
	json_object_foreach(o, key, value)
	{
		field_snake(key, word);
		i = field_find(names, word);
		if (i < 0)
			fields_fault(f, ERR_USAGE, key,
			             "no such field; known: %s", names);
		else if ((seen >> i & 1) != 0)
			fields_fault(f, ERR_USAGE, key,
			             "is there twice, in two spellings");
		else
			seen |= (uint64_t)1 << i;
	}
	return f->rc == 0;
}

void
fields_bool(struct fields *f, const json_t *object, const char *name, bool *to)
{
	json_t *v = fields_get(object, name);

	if (v == NULL)
		return;
	if (!json_is_boolean(v))
		fields_fault(f, ERR_USAGE, name, "true or false is wanted");
	else
		*to = json_is_true(v);
}

void
fields_u32(struct fields *f, const json_t *object, const char *name,
           uint32_t range[2], uint32_t *to)
{
	json_t *v = fields_get(object, name);

	if (v == NULL)
		return;
	if (!json_is_integer(v) || json_integer_value(v) < range[0] ||
	    json_integer_value(v) > range[1])
		fields_fault(f, ERR_USAGE, name,
		             "a whole number from %u to %u is wanted", range[0],
		             range[1]);
	else
		*to = (uint32_t)json_integer_value(v);
}

int64_t
field_ppm(const json_t *value)
{
	double d = json_number_value(value);

	if (!json_is_number(value) || !(d >= 0.0 && d <= 1.0))
		return -1;
	return (int64_t)(d * PPM_ALL + 0.5);
}

void
fields_share(struct fields *f, const json_t *object, const char *name,
             uint32_t *to)
{
	json_t *v = fields_get(object, name);
	int64_t ppm;

	if (v == NULL)
		return;
	ppm = field_ppm(v);
	if (ppm < 0)
		fields_fault(f, ERR_USAGE, name,
		             "a number from 0.0 to 1.0 is wanted (5 %% is "
		             "0.05)");
	else
		*to = (uint32_t)ppm;
}

void
fields_text(struct fields *f, const json_t *object, const char *name, char *to,
            size_t size)
{
	json_t *v = fields_get(object, name);
	const char *text = json_string_value(v);

	if (v == NULL)
		return;
	if (text == NULL || text[0] == '\0' ||
	    json_string_length(v) != strlen(text) || strlen(text) >= size)
		fields_fault(f, ERR_USAGE, name,
		             "a text of 1 to %zu bytes is wanted", size - 1);
	else
		memcpy(to, text, strlen(text) + 1);
}

void
fields_word(struct fields *f, const json_t *object, const char *name,
            const char *words, uint32_t *to)
{
	json_t *v = fields_get(object, name);
	char word[FIELD_WORD_MAX];
	int i = -1;

	if (v == NULL)
		return;
	if (json_is_string(v)) {
		field_snake(json_string_value(v), word);
		i = field_find(words, word);
	}
	if (i < 0)
		fields_fault(f, ERR_USAGE, name, "one of %s is wanted", words);
	else
		*to = (uint32_t)i;
}

bool
field_tagged(const json_t *value, char tag[FIELD_WORD_MAX], const json_t **body)
{
	json_t *o = field_loose(value);
	json_t *type;
	void *it;

	*body = NULL;
	if (json_is_string(value)) {
		field_snake(json_string_value(value), tag);
		return true;
	}
	if (!json_is_object(value))
		return false;
	type = find(value, "type");
	if (json_is_string(type)) {
		field_snake(json_string_value(type), tag);
		*body = value;
		return true;
	}
	it = json_object_iter(o);
	if (type != NULL || json_object_size(value) != 1 ||
	    !(json_is_object(json_object_iter_value(it)) ||
	      json_is_null(json_object_iter_value(it))))
		return false;
	field_snake(json_object_iter_key(it), tag);
	if (json_is_object(json_object_iter_value(it)))
		*body = json_object_iter_value(it);
	return true;
}
