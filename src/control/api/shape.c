/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/shape.c: JSON texts, and what a body may contain.
 */
#include "control/api/shape.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "control/store/store.h"

#define WORDS 64 /* bytes of a field's name */

const struct shape_field shape_fields[] = {
#define X(shape, field, kind, of, need, low, high, help) \
	{ #shape, #field, SHAPE_##kind, of, SHAPE_##need, low, high, help },
#include "shape.tbl"
#undef X
};

const size_t shape_field_n = sizeof(shape_fields) / sizeof(shape_fields[0]);

const struct shape_field *
shape_find(const char *shape, size_t *ret_n)
{
	for (size_t i = 0; i < shape_field_n; i++) {
		size_t n = 0;

		if (strcmp(shape_fields[i].shape, shape) != 0)
			continue;
		while (i + n < shape_field_n &&
		       strcmp(shape_fields[i + n].shape, shape) == 0)
			n++;
		*ret_n = n;
		return &shape_fields[i];
	}
	*ret_n = 0;
	return NULL;
}

/* ---- texts ---------------------------------------------------------------- */

static bool
is_too_deep(struct span text)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > SHAPE_DEPTH)
				return true;
		} else if (c == '}' || c == ']') {
			depth--;
		}
	}
	return false;
}

json_t *
shape_parse(struct span text, struct err *err)
{
	json_error_t why;
	json_t *ret;

	if (is_too_deep(text)) {
		(void)err_set(err, ERR_BAD,
		              "the body is nested more than %d levels deep",
		              SHAPE_DEPTH);
		return NULL;
	}
	ret = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES,
	                 &why);
	if (ret == NULL)
		(void)err_set(err, ERR_BAD,
		              "the body is no JSON: line %d, column %d: %s",
		              why.line, why.column, why.text);
	return ret;
}

static bool
is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool
is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool
shape_snake(const char *text, char *ret, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; text[i] != '\0'; i++) {
		char c = text[i];

		if (out + 2 >= n)
			return false;
		if (is_upper(c)) {
			bool after_lower = i > 0 && is_lower(text[i - 1]);
			bool ends_run = i > 0 && is_upper(text[i - 1]) &&
			                text[i + 1] >= 'a' &&
			                text[i + 1] <= 'z';

			if (after_lower || ends_run)
				ret[out++] = '_';
			c = (char)(c + 32);
		} else if (c == '-' || c == ' ') {
			c = '_';
		}
		ret[out++] = c;
	}
	ret[out] = '\0';
	return true;
}

bool
shape_is_id(const char *text)
{
	size_t n = strlen(text);

	if (n == 0 || n > 64)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (!is_upper(c) && !is_lower(c) && c != '_' && c != '.' &&
		    c != '-')
			return false;
	}
	return strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/* "2024-01-15T02:00:00Z", with a fraction or an offset. */
static bool
is_time(const char *s)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	size_t i = 0;

	for (; form[i] != '\0'; i++) {
		if (form[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	}
	if (s[i] == '.') {
		i++;
		if (s[i] < '0' || s[i] > '9')
			return false;
		while (s[i] >= '0' && s[i] <= '9')
			i++;
	}
	if (s[i] == 'Z')
		return s[i + 1] == '\0';
	if (s[i] != '+' && s[i] != '-')
		return false;
	for (size_t k = 1; k <= 5; k++) {
		if (k == 3 ? s[i + k] != ':' : s[i + k] < '0' || s[i + k] > '9')
			return false;
	}
	return s[i + 6] == '\0';
}

/* ---- one value ------------------------------------------------------------ */

/* What is still to be looked at: a value that shall have a shape. */
struct todo {
	json_t *value;
	const char *shape;
	char path[SHAPE_PARAM];
};

struct check {
	struct todo *todo;
	size_t n;
	size_t cap;
	size_t seen;
	char *param;
	struct err *err;
};

static int
bad(struct check *c, const char *path, const char *why)
{
	(void)snprintf(c->param, SHAPE_PARAM, "%s", path);
	return err_set(c->err, ERR_BAD, "%s: %s",
	               path[0] != '\0' ? path : "the body", why);
}

static int
later(struct check *c, json_t *value, const char *shape, const char *path)
{
	if (c->n == c->cap) {
		size_t cap = c->cap > 0 ? 2 * c->cap : 16;
		struct todo *p = realloc(c->todo, cap * sizeof(*p));

		if (p == NULL)
			return err_set(c->err, ERR_NOMEM, "out of memory");
		c->todo = p;
		c->cap = cap;
	}
	c->todo[c->n].value = value;
	c->todo[c->n].shape = shape;
	(void)snprintf(c->todo[c->n].path, SHAPE_PARAM, "%s", path);
	c->n++;
	return 0;
}

static int
check_text(struct check *c, const struct shape_field *f, json_t *value,
           const char *path)
{
	const char *text = json_string_value(value);
	size_t n = json_string_length(value);
	char why[96];

	if (text == NULL)
		return bad(c, path, "must be a text");
	switch ((int)f->kind) {
	case SHAPE_ID:
		if (!shape_is_id(text))
			return bad(c, path,
			           "must be 1 to 64 of A-Z a-z 0-9 _ . -");
		return 0;
	case SHAPE_UUID:
		return store_is_uuid(text) ? 0 : bad(c, path, "must be a UUID");
	case SHAPE_TIME:
		return is_time(text) ? 0
		                     : bad(c, path,
		                           "must be a time as "
		                           "2024-01-15T02:00:00Z");
	default: break;
	}
	if (n >= (size_t)f->low && n <= (size_t)f->high)
		return 0;
	(void)snprintf(why, sizeof(why), "must have %lld to %lld bytes",
	               (long long)f->low, (long long)f->high);
	return bad(c, path, why);
}

static int
check_number(struct check *c, const struct shape_field *f, const json_t *value,
             const char *path)
{
	bool whole = f->kind == SHAPE_INTEGER;
	char why[96];

	if (whole ? !json_is_integer(value) : !json_is_number(value))
		return bad(c, path,
		           whole ? "must be a whole number"
		                 : "must be a number");
	if (json_number_value(value) >= (double)f->low &&
	    json_number_value(value) <= (double)f->high)
		return 0;
	(void)snprintf(why, sizeof(why), "must be from %lld to %lld",
	               (long long)f->low, (long long)f->high);
	return bad(c, path, why);
}

static bool
is_choice(const char *all, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = all; n > 0;) {
		size_t len = strcspn(p, "|");

		if (len == n && memcmp(p, word, n) == 0)
			return true;
		if (p[len] == '\0')
			return false;
		p += len + 1;
	}
	return false;
}

static int
check_choice(struct check *c, const struct shape_field *f, json_t *value,
             const char *path)
{
	const char *text = json_string_value(value);
	char word[WORDS];
	char why[160];

	if (text != NULL && shape_snake(text, word, sizeof(word)) &&
	    is_choice(f->of, word))
		return json_string_set(value, word) == 0 ? 0 : -ERR_NOMEM;
	(void)snprintf(why, sizeof(why), "must be one of %s", f->of);
	return bad(c, path, why);
}

/* A member of a list or map: one of the plain words, or a shape. */
static int
check_member(struct check *c, const char *of, json_t *value, const char *path)
{
	static const struct shape_field text = { .kind = SHAPE_TEXT,
		                                 .high = 65536 };

	if (++c->seen > SHAPE_NODES)
		return bad(c, path, "the body has too many parts");
	if (strcmp(of, "any") == 0)
		return 0;
	if (strcmp(of, "text") == 0)
		return check_text(c, &text, value, path);
	if (strcmp(of, "boolean") == 0)
		return json_is_boolean(value)
		               ? 0
		               : bad(c, path, "must be true or false");
	if (strcmp(of, "integer") == 0)
		return json_is_integer(value)
		               ? 0
		               : bad(c, path, "must be a whole number");
	return later(c, value, of, path);
}

static int
check_list(struct check *c, const struct shape_field *f, json_t *value,
           const char *path)
{
	char where[SHAPE_PARAM];
	char why[96];
	size_t n = json_array_size(value);

	if (!json_is_array(value))
		return bad(c, path, "must be a list");
	if ((f->high > 0 && n > (size_t)f->high) || n < (size_t)f->low) {
		(void)snprintf(why, sizeof(why), "must have %lld to %lld items",
		               (long long)f->low, (long long)f->high);
		return bad(c, path, why);
	}
	for (size_t i = 0; i < n; i++) {
		int rc;

		(void)snprintf(where, sizeof(where), "%.100s[%zu]", path, i);
		rc = check_member(c, f->of, json_array_get(value, i), where);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
check_map(struct check *c, const struct shape_field *f, json_t *value,
          const char *path)
{
	char where[SHAPE_PARAM];
	const char *name;
	json_t *member;

	if (!json_is_object(value))
		return bad(c, path, "must be an object");
	if (f->high > 0 && json_object_size(value) > (size_t)f->high)
		return bad(c, path, "has too many members");
	json_object_foreach(value, name, member)
	{
		int rc;

		(void)snprintf(where, sizeof(where), "%.60s.%.60s", path, name);
		if (name[0] == '\0' || strlen(name) > 64)
			return bad(c, where,
			           "its name must have 1 to 64 bytes");
		rc = check_member(c, f->of, member, where);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
check_value(struct check *c, const struct shape_field *f, json_t *value,
            const char *path)
{
	if (++c->seen > SHAPE_NODES)
		return bad(c, path, "the body has too many parts");
	if (json_is_null(value) && f->need == SHAPE_NULL)
		return 0;
	switch (f->kind) {
	case SHAPE_TEXT:
	case SHAPE_ID:
	case SHAPE_UUID:
	case SHAPE_TIME: return check_text(c, f, value, path);
	case SHAPE_INTEGER:
	case SHAPE_NUMBER: return check_number(c, f, value, path);
	case SHAPE_BOOLEAN:
		return json_is_boolean(value)
		               ? 0
		               : bad(c, path, "must be true or false");
	case SHAPE_CHOICE: return check_choice(c, f, value, path);
	case SHAPE_OBJECT:
		return json_is_object(value)
		               ? 0
		               : bad(c, path, "must be an object");
	case SHAPE_REF: return later(c, value, f->of, path);
	case SHAPE_LIST: return check_list(c, f, value, path);
	case SHAPE_MAP: return check_map(c, f, value, path);
	case SHAPE_ANY:
	case SHAPE_ONE: /* of answers, and of what spec.h reads       */
	case SHAPE_SPEC: return 0;
	}
	NEVER("a shape without a kind");
}

/* ---- an object ------------------------------------------------------------ */

static const struct shape_field *
field_of(const struct shape_field *f, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(f[i].name, name) == 0)
			return &f[i];
	}
	return NULL;
}

static void
join(const char *path, const char *name, char *ret)
{
	(void)snprintf(ret, SHAPE_PARAM, "%.60s%s%.60s", path,
	               path[0] != '\0' ? "." : "", name);
}

/* One member as it came, into fixed under its canonical name. */
static int
take_member(struct check *c, const struct todo *t, const char *name,
            json_t *value, json_t *fixed)
{
	const struct shape_field *f;
	const struct shape_field *row;
	char path[SHAPE_PARAM];
	char word[WORDS];
	size_t n;

	row = shape_find(t->shape, &n);
	join(t->path, name, path);
	if (!shape_snake(name, word, sizeof(word)))
		return bad(c, path, "no such field");
	f = field_of(row, n, word);
	if (f == NULL || strcmp(word, "any_other") == 0) {
		if (field_of(row, n, "any_other") == NULL)
			return bad(c, path, "no such field");
		return json_object_set(fixed, name, value);
	}
	if (json_object_get(fixed, word) != NULL)
		return bad(c, path, "is there twice");
	join(t->path, word, path);
	if (json_object_set(fixed, word, value) != 0)
		return err_set(c->err, ERR_NOMEM, "out of memory");
	return check_value(c, f, value, path);
}

static int
check_object(struct check *c, const struct todo *t)
{
	const struct shape_field *row;
	char path[SHAPE_PARAM];
	json_t *fixed;
	const char *name;
	json_t *value;
	size_t n;
	int rc = 0;

	row = shape_find(t->shape, &n);
	ENSURE(row != NULL);
	if (!json_is_object(t->value))
		return bad(c, t->path, "must be an object");
	fixed = json_object();
	json_object_foreach(t->value, name, value)
	{
		if (rc == 0)
			rc = take_member(c, t, name, value, fixed);
	}
	for (size_t i = 0; i < n && rc == 0; i++) {
		join(t->path, row[i].name, path);
		if (row[i].need == SHAPE_MUST &&
		    json_object_get(fixed, row[i].name) == NULL)
			rc = bad(c, path, "is missing");
	}
	if (rc == 0 && (json_object_clear(t->value) != 0 ||
	                json_object_update(t->value, fixed) != 0))
		rc = err_set(c->err, ERR_NOMEM, "out of memory");
	json_decref(fixed);
	return rc;
}

int
shape_check(const char *shape, json_t *body, char *param, struct err *err)
{
	struct check c = { .param = param, .err = err };
	int rc;

	param[0] = '\0';
	if (strcmp(shape, "any_object") == 0)
		return json_is_object(body) ? 0
		                            : bad(&c, "", "must be an object");
	if (strcmp(shape, "empty") == 0)
		return json_is_object(body) && json_object_size(body) == 0
		               ? 0
		               : bad(&c, "", "must be empty");
	rc = later(&c, body, shape, "");
	while (rc == 0 && c.n > 0) {
		struct todo t = c.todo[--c.n];

		rc = check_object(&c, &t);
	}
	free(c.todo);
	return rc;
}
