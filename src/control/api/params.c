/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/params.c: parameters of templates and apis.
 */
#define _DEFAULT_SOURCE
#include "control/api/params.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/api/shape.h"

#define NAME_MAX_LEN 64
#define COMMANDS_MAX 64
#define WORDS_MAX    256

/* ---- the template's own text ----------------------------------------------- */

static int
check_command(const json_t *command, struct err *err)
{
	size_t n = json_array_size(command);
	const char *name = json_string_value(json_array_get(command, 0));

	if (!json_is_array(command) || n == 0 || n > WORDS_MAX)
		return err_set(
			err, ERR_BAD,
			"template: a command is a list of 1 to %d texts, "
			"as [\"GET\", \"user:{{id}}\"]",
			WORDS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (!json_is_string(json_array_get(command, i)))
			return err_set(err, ERR_BAD,
			               "template: a command has texts only");
	}
	if (name[0] == '\0' || strstr(name, "{{") != NULL)
		return err_set(err, ERR_BAD,
		               "template: a command's name cannot be a "
		               "parameter");
	return 0;
}

/* "GET" and its args as one list. */
static json_t *
join(const json_t *name, const json_t *args)
{
	json_t *ret = json_array();
	size_t n = json_array_size(args);

	(void)json_array_append(ret, shape_mutable(name));
	for (size_t i = 0; i < n; i++)
		(void)json_array_append(ret, json_array_get(args, i));
	return ret;
}

json_t *
params_commands(const json_t *template, struct err *err)
{
	json_t *command = json_object_get(template, "command");
	json_t *commands = json_object_get(template, "commands");
	const json_t *args = json_object_get(template, "args");
	json_t *list;

	if ((command == NULL) == (commands == NULL)) {
		(void)err_set(err, ERR_BAD,
		              "template: give command or commands");
		return NULL;
	}
	if (commands != NULL) {
		list = json_copy(commands);
	} else {
		list = json_array();
		(void)json_array_append_new(
			list, json_is_string(command) ? join(command, args)
						      : json_incref(command));
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (check_command(json_array_get(list, i), err) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o}", "commands", list);
}

/* ---- places ----------------------------------------------------------------- */

/* The next {{name}} from *at on: its name, and *at behind it. false: none, or
 * *err is set. */
static bool
next_place(const char **at, char name[NAME_MAX_LEN + 1], const char **ret_begin,
           struct err *err)
{
	const char *open = strstr(*at, "{{");
	const char *close = open != NULL ? strstr(open, "}}") : NULL;
	size_t n;

	if (open == NULL)
		return false;
	n = close != NULL ? (size_t)(close - open) - 2 : 0;
	if (close == NULL || n == 0 || n > NAME_MAX_LEN) {
		(void)err_set(err, ERR_BAD,
		              "template: \"%.60s\" has {{ without a name "
		              "and }}",
		              *at);
		return false;
	}
	memcpy(name, open + 2, n);
	name[n] = '\0';
	if (!shape_is_id(name)) {
		(void)err_set(err, ERR_BAD,
		              "template: \"%.60s\" is no name of a parameter",
		              name);
		return false;
	}
	*ret_begin = open;
	*at = close + 2;
	return true;
}

static const json_t *
field_of(const json_t *fields, const char *name)
{
	for (size_t i = 0; i < json_array_size(fields); i++) {
		const json_t *f = json_array_get(fields, i);
		const char *own = json_string_value(json_object_get(f, "name"));

		if (own != NULL && strcmp(own, name) == 0)
			return f;
	}
	return NULL;
}

static int
declare_text(const char *text, bool make, json_t *fields, struct err *err)
{
	char name[NAME_MAX_LEN + 1];
	const char *begin;

	err->code = ERR_NONE;
	while (next_place(&text, name, &begin, err)) {
		if (field_of(fields, name) != NULL)
			continue;
		if (!make)
			return err_set(err, ERR_BAD,
			               "fields: {{%s}} is in the template and "
			               "not in fields",
			               name);
		(void)json_array_append_new(
			fields, json_pack("{s:s,s:s,s:b}", "name", name, "type",
		                          "string", "required", 1));
	}
	return -(int)err->code;
}

int
params_declare(const json_t *commands, json_t *fields, struct err *err)
{
	bool make = json_array_size(fields) == 0;
	int rc = 0;

	for (size_t i = 0; i < json_array_size(commands) && rc == 0; i++) {
		const json_t *words = json_array_get(commands, i);

		for (size_t k = 0; k < json_array_size(words) && rc == 0; k++)
			rc = declare_text(
				json_string_value(json_array_get(words, k)),
				make, fields, err);
	}
	return rc;
}

/* ---- values ----------------------------------------------------------------- */

/* A value of a type as text (new reference); NULL: it is of another type. */
static json_t *
to_text(const char *type, json_t *value)
{
	char text[64];

	if (strcmp(type, "string") == 0)
		return json_is_string(value) ? json_incref(value) : NULL;
	if (strcmp(type, "boolean") == 0)
		return json_is_boolean(value)
		               ? json_string(json_is_true(value) ? "true"
		                                                 : "false")
		               : NULL;
	if (json_is_integer(value)) {
		(void)snprintf(text, sizeof(text), "%lld",
		               (long long)json_integer_value(value));
		return json_string(text);
	}
	if (strcmp(type, "number") != 0 || !json_is_real(value))
		return NULL;
	(void)snprintf(text, sizeof(text), "%.17g", json_real_value(value));
	return json_string(text);
}

static int
fault(char *param, const char *name, const char *why, struct err *err)
{
	(void)snprintf(param, SHAPE_PARAM, "%.100s", name);
	return err_set(err, ERR_BAD, "%.100s: %s", name, why);
}

static int
check_one(const json_t *field, const json_t *given, json_t *texts, char *param,
          struct err *err)
{
	const char *name = json_string_value(json_object_get(field, "name"));
	const char *type = json_string_value(json_object_get(field, "type"));
	json_t *value = json_object_get(given, name);
	json_t *text;
	char why[64];

	if (value == NULL)
		value = json_object_get(field, "default");
	if (type == NULL)
		type = "string";
	if (value == NULL || json_is_null(value)) {
		if (json_is_false(json_object_get(field, "required")))
			return 0;
		return fault(param, name, "is missing", err);
	}
	text = to_text(type, value);
	if (text == NULL) {
		(void)snprintf(why, sizeof(why), "must be of type %s", type);
		return fault(param, name, why, err);
	}
	return json_object_set_new(texts, name, text) == 0
	               ? 0
	               : err_set(err, ERR_NOMEM, "out of memory");
}

int
params_check(const json_t *fields, const json_t *given, json_t **ret,
             char *param, struct err *err)
{
	json_t *texts = json_object();
	const char *name;
	json_t *value;
	int rc = 0;

	json_object_foreach(shape_mutable(given), name, value)
	{
		if (rc == 0 && field_of(fields, name) == NULL)
			rc = fault(param, name, "no such parameter", err);
	}
	for (size_t i = 0; i < json_array_size(fields) && rc == 0; i++)
		rc = check_one(json_array_get(fields, i), given, texts, param,
		               err);
	if (rc != 0) {
		json_decref(texts);
		return rc;
	}
	*ret = texts;
	return 0;
}

static json_t *
bind_text(const char *text, const json_t *texts, struct err *err)
{
	char name[NAME_MAX_LEN + 1];
	const char *begin;
	char *made = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&made, &n);
	const char *from = text;
	json_t *ret = NULL;

	if (f == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	err->code = ERR_NONE;
	while (next_place(&text, name, &begin, err)) {
		const char *value =
			json_string_value(json_object_get(texts, name));

		(void)fwrite(from, 1, (size_t)(begin - from), f);
		if (value != NULL)
			(void)fputs(value, f);
		from = text;
	}
	(void)fputs(from, f);
	if (fclose(f) != 0 || n > PARAMS_ARGUMENT)
		(void)err_set(err, ERR_BAD,
		              "an argument is longer than %zu bytes",
		              PARAMS_ARGUMENT);
	if (err->code == ERR_NONE)
		ret = json_stringn(made, n);
	free(made);
	return ret;
}

json_t *
params_bind(const json_t *command, const json_t *texts, struct err *err)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < json_array_size(command); i++) {
		json_t *word =
			bind_text(json_string_value(json_array_get(command, i)),
		                  texts, err);

		if (word == NULL || json_array_append_new(ret, word) != 0) {
			json_decref(ret);
			return NULL;
		}
	}
	return ret;
}
