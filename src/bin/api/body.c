/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/body.c: path, query and body of a call, from the command line.
 */
#include "bin/api/body.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bin/api/secret.h"
#include "bin/api/yaml.h"
#include "bin/look.h"
#include "control/api/shape.h"
#include "world/os/loop.h"

#define PLACE_MAX 400

void
body_fini(struct body *b)
{
	json_decref(b->body);
	b->body = NULL;
}

/* ---- files ------------------------------------------------------------------- */

static char *
slurp(FILE *f, size_t *ret_n)
{
	char *text = malloc(BODY_BYTES + 1);

	*ret_n = 0;
	if (text != NULL)
		*ret_n = fread(text, 1, BODY_BYTES + 1, f);
	return text;
}

static bool
looks_like_json(const char *text, size_t n)
{
	size_t i = 0;

	while (i < n && strchr(" \t\r\n", text[i]) != NULL)
		i++;
	return i < n && (text[i] == '{' || text[i] == '[');
}

/* YAML may begin with a bracket, too: {strategy: {type: canary}}. What is neither
 * is taken for bad JSON then. */
static json_t *
parse(const char *file, const char *text, size_t n, struct err *err)
{
	bool is_json = looks_like_json(text, n);
	json_error_t where = { .line = 0 };
	json_t *ret = NULL;

	if (is_json)
		ret = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
	if (ret == NULL)
		ret = yaml_load(span_of(text, n), err);
	if (ret == NULL && is_json)
		(void)err_set(err, ERR_BAD, "%.80s: line %d: %.140s", file,
		              where.line, where.text);
	else if (ret == NULL)
		(void)err_wrap(err, "%.80s", file);
	if (ret != NULL && !json_is_object(ret)) {
		(void)err_set(err, ERR_BAD, "%.80s: is no object with names",
		              file);
		json_decref(ret);
		ret = NULL;
	}
	return ret;
}

json_t *
body_read(const char *file, struct err *err)
{
	bool is_stdin = strcmp(file, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(file, "re");
	json_t *ret = NULL;
	char *text = NULL;
	size_t n = 0;

	if (f != NULL)
		text = slurp(f, &n);
	if (f == NULL || ferror(f) != 0)
		(void)err_set(err, ERR_USAGE, "--file: %.150s: %s", file,
		              os_cause(errno));
	else if (text == NULL)
		(void)err_set(err, ERR_NOMEM, "out of memory");
	else if (n > BODY_BYTES)
		(void)err_set(err, ERR_TOO_BIG,
		              "%.150s: more than %zu bytes, which no server "
		              "takes",
		              file, BODY_BYTES);
	else
		ret = parse(is_stdin ? "standard input" : file, text, n, err);
	free(text);
	if (f != NULL && !is_stdin)
		(void)fclose(f);
	return ret;
}

/* ---- path and query ------------------------------------------------------------ */

void
body_path(enum router_id route, const char *const place[], uint32_t n,
          char ret[BODY_PATH])
{
	const char *p = router_rows[route].path;
	size_t at = 0;

	for (uint32_t i = 0; *p != '\0' && at + PLACE_MAX < BODY_PATH;) {
		if (*p != '{') {
			ret[at++] = *p++;
			continue;
		}
		web_escape(i < n ? place[i] : "", ret + at, PLACE_MAX);
		at += strlen(ret + at);
		i++;
		p += strcspn(p, "}") + 1;
	}
	ret[at] = '\0';
}

void
body_query(struct body *b, const char *name, const char *value)
{
	size_t n = strlen(b->path);
	char text[1100];

	web_escape(value, text, sizeof(text));
	(void)snprintf(b->path + n, sizeof(b->path) - n, "%c%s=%s",
	               strchr(b->path, '?') != NULL ? '&' : '?', name, text);
}

/* ---- fields -------------------------------------------------------------------- */

/* The value of an option as a field wants it; NULL: *err. */
static json_t *
value_of(const struct args *a, enum option_id o, const struct shape_field *f,
         struct err *err)
{
	json_t *ret;
	char *line;

	if (o == OPT_PASSWORD_FILE) {
		line = remote_read_line(a->text[o], "--password-file", err);
		ret = line != NULL ? json_string(line) : NULL;
		secret_free(line);
		if (ret == NULL && line != NULL)
			(void)err_set(err, ERR_USAGE,
			              "--password-file: %s: is "
			              "no UTF-8",
			              a->text[o]);
		return ret;
	}
	switch ((int)options[o].kind) {
	case OPTION_FLAG: ret = json_boolean(a->number[o] != 0); break;
	case OPTION_PERCENT: ret = json_real((double)a->number[o] / 1e6); break;
	case OPTION_TIME:
		ret = json_integer((json_int_t)(a->number[o] / 1000));
		break;
	case OPTION_NUMBER: ret = json_integer((json_int_t)a->number[o]); break;
	default:
		ret = f->kind == SHAPE_BOOLEAN
		              ? json_boolean(strcmp(a->text[o], "true") == 0)
		              : json_string(a->text[o]);
	}
	if (ret == NULL)
		(void)err_set(err, ERR_USAGE, "--%s: is no UTF-8",
		              options[o].name);
	return ret;
}

static int
put_options(struct body *b, const struct args *a, const char *shape,
            struct err *err)
{
	size_t n = 0;
	const struct shape_field *f = shape_find(shape, &n);

	for (size_t i = 0; f != NULL && i < n; i++) {
		enum option_id o = action_option(f[i].name);
		json_t *v;

		if (o == OPT_N || !a->is_given[o] ||
		    !action_takes_field(a->action, &f[i]))
			continue;
		v = value_of(a, o, &f[i], err);
		if (v == NULL ||
		    json_object_set_new(b->body, f[i].name, v) != 0)
			return v == NULL ? -(int)err->code
			                 : err_set(err, ERR_NOMEM,
			                           "out of memory");
	}
	return 0;
}

/* The field that names what is made: the first id ("id", "username"). */
static const char *
name_field(const char *shape)
{
	size_t n = 0;
	const struct shape_field *f = shape_find(shape, &n);

	for (size_t i = 0; f != NULL && i < n; i++)
		if (f[i].kind == SHAPE_ID)
			return f[i].name;
	return "id";
}

static bool
shape_has(const char *shape, const char *field)
{
	size_t n = 0;
	const struct shape_field *f = shape_find(shape, &n);

	for (size_t i = 0; f != NULL && i < n; i++)
		if (strcmp(f[i].name, field) == 0)
			return true;
	return false;
}

/* ---- NAME=VALUE ------------------------------------------------------------------ */

/* As the declared type wants it; what is not declared is text, and the server
 * says so. */
static json_t *
typed(const json_t *declared, const char *name, const char *text)
{
	const json_t *fields = json_object_get(declared, "fields");
	const char *type = "string";
	json_t *v = NULL;

	for (size_t i = 0; i < json_array_size(fields); i++) {
		const json_t *f = json_array_get(fields, i);

		if (strcmp(look_text(f, "name"), name) == 0 &&
		    look_text(f, "type")[0] != '\0')
			type = look_text(f, "type");
	}
	if (strcmp(type, "string") != 0)
		v = json_loads(text, JSON_DECODE_ANY, NULL);
	return v != NULL ? v : json_string(text);
}

/* The thing that runs; its fields say the types. */
static int
declared_of(const char *path, struct remote *r, json_t **ret, struct err *err)
{
	struct web_request q = { .method = "GET", .path = path };
	struct web_answer a;
	int rc = remote_call(r, &q, &a, err);

	*ret = NULL;
	if (rc == 0)
		rc = remote_refusal(&a, err);
	if (rc == 0)
		*ret = json_incref(json_object_get(a.body, "data"));
	web_answer_fini(&a);
	return rc;
}

static int
put_values(struct body *b, const struct args *a, uint32_t first,
           struct remote *r, struct err *err)
{
	json_t *declared = NULL;
	int rc = first < a->operand_n ? declared_of(b->path, r, &declared, err)
	                              : 0;

	for (uint32_t i = first; rc == 0 && i < a->operand_n; i++) {
		const char *text = a->operand[i];
		const char *equals = strchr(text, '=');
		char name[80];

		if (equals == NULL || equals == text ||
		    (size_t)(equals - text) >= sizeof(name)) {
			rc = err_set(err, ERR_USAGE,
			             "\"%.60s\" is no NAME=VALUE", text);
			break;
		}
		(void)snprintf(name, sizeof(name), "%.*s", (int)(equals - text),
		               text);
		if (json_object_set_new(b->body, name,
		                        typed(declared, name, equals + 1)) != 0)
			rc = err_set(err, ERR_USAGE, "%s: is no UTF-8", name);
	}
	json_decref(declared);
	return rc;
}

/* ---- all of it --------------------------------------------------------------------- */

static int
put_body(struct body *b, const struct args *a, const char *new_name,
         struct err *err)
{
	const char *shape = router_rows[actions[a->action].route].body;
	int rc;

	if (!action_has_body(a->action))
		return 0;
	b->body = a->is_given[OPT_FILE] ? body_read(a->text[OPT_FILE], err)
	                                : json_object();
	if (b->body == NULL)
		return -(int)err->code;
	rc = put_options(b, a, shape, err);
	if (rc == 0 && new_name != NULL &&
	    json_object_set_new(b->body, name_field(shape),
	                        json_string(new_name)) != 0)
		rc = err_set(err, ERR_USAGE, "\"%.60s\" is no UTF-8", new_name);
	return rc;
}

/* --if-match, or the etag that the file carries. Quotes are the header's. */
static int
put_match(struct body *b, const struct args *a, struct err *err)
{
	const char *tag = a->is_given[OPT_IF_MATCH]
	                          ? a->text[OPT_IF_MATCH]
	                          : look_text(b->body, "etag");
	size_t n = strlen(tag);

	if (!action_takes(a->action, OPT_IF_MATCH) || n == 0)
		return 0;
	if (n > 2 && tag[0] == '"' && tag[n - 1] == '"') {
		tag++;
		n -= 2;
	}
	if (n + 3 > sizeof(b->match) || memchr(tag, '"', n) != NULL)
		return err_set(err, ERR_USAGE,
		               "--if-match: \"%.40s\" is no etag; write what "
		               "show printed: v12",
		               tag);
	if (n == 1 && tag[0] == '*')
		(void)snprintf(b->match, sizeof(b->match), "*");
	else
		(void)snprintf(b->match, sizeof(b->match), "\"%.*s\"", (int)n,
		               tag);
	if (b->body != NULL)
		(void)json_object_del(b->body, "etag");
	return 0;
}

/* Options that go into the query. */
static void
put_query(struct body *b, const struct args *a)
{
	static const enum option_id plain[] = { OPT_SUBJECT, OPT_KIND, OPT_ID,
		                                OPT_AFTER };
	const struct router_row *r = &router_rows[actions[a->action].route];

	if (a->is_given[OPT_DRY_RUN] && a->number[OPT_DRY_RUN] != 0 &&
	    router_has(r, 'D'))
		body_query(b, "dry_run", "true");
	if (a->is_given[OPT_REASON] && router_is_mutation(r) &&
	    !shape_has(r->body, "reason"))
		body_query(b, "reason", a->text[OPT_REASON]);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (!router_is_mutation(r) && a->is_given[plain[i]] &&
		    action_takes(a->action, plain[i]))
			body_query(b, options[plain[i]].name,
			           a->text[plain[i]]);
}

int
body_make(struct body *ret, const struct args *a, struct remote *r,
          struct err *err)
{
	const struct action *action = &actions[a->action];
	const char *place[ACTION_PARTS] = { NULL };
	const char *new_name = NULL;
	struct action_pattern p;
	uint32_t n = 0;
	int rc;

	*ret = (struct body){ .body = NULL };
	action_pattern(a->action, &p);
	for (uint32_t i = 0; i < p.n && i < a->operand_n; i++) {
		if (p.part[i].is_new)
			new_name = a->operand[i];
		else if (!p.part[i].is_word)
			place[n++] = a->operand[i];
	}
	body_path(action->route, place, n, ret->path);
	if (router_has(&router_rows[action->route], 'S') && n > 0)
		body_query(ret, "migration", place[0]);
	rc = put_body(ret, a, new_name, err);
	if (rc == 0)
		rc = put_match(ret, a, err);
	if (rc == 0 && p.has_values)
		rc = put_values(ret, a, p.n, r, err);
	if (rc == 0)
		put_query(ret, a);
	if (rc != 0)
		body_fini(ret);
	return rc;
}
