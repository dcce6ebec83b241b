/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/conf.c: the configuration of godwit serve.
 */
#define _GNU_SOURCE
#include "control/api/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/check.h"
#include "world/os/loop.h"

#define KEY_LEN 128

enum conf_kind {
	CONF_TEXT,
	CONF_FILE,
	CONF_ADDRESS,
	CONF_NUMBER,
	CONF_MAP,
};

struct conf_row {
	const char *key;
	enum conf_kind kind;
	const char *standard;
	int64_t low;
	int64_t high;
	bool reload;
};

static const struct conf_row rows[CONF_N] = {
#define X(id, key, kind, standard, low, high, reload, help) \
	[CONF_##id] = { key, CONF_##kind, standard,         \
		        low, high,        (reload)[0] == 'y' },
#include "conf.tbl"
#undef X
};

const char *
conf_key(enum conf_id id)
{
	REQUIRE((unsigned)id < CONF_N);
	return rows[id].key;
}

/* ---- one value ------------------------------------------------------------------ */

static int
set_number(struct conf *c, enum conf_id id, const char *text, struct err *err)
{
	char *end = NULL;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
	    v < rows[id].low || v > rows[id].high)
		return err_set(err, ERR_USAGE,
		               "%s: \"%.60s\" is no number from %lld to %lld",
		               rows[id].key, text, (long long)rows[id].low,
		               (long long)rows[id].high);
	json_decref(c->value[id]);
	c->value[id] = json_integer(v);
	return 0;
}

int
conf_set(struct conf *c, enum conf_id id, const char *text, struct err *err)
{
	json_t *value;

	if (rows[id].kind == CONF_NUMBER)
		return set_number(c, id, text, err);
	if (rows[id].kind == CONF_MAP && text[0] != '\0')
		return err_set(err, ERR_USAGE, "%s: must have keys below it",
		               rows[id].key);
	if (rows[id].kind == CONF_ADDRESS && text[0] != '\0' &&
	    strrchr(text, ':') == NULL)
		return err_set(err, ERR_USAGE,
		               "%s: \"%.100s\" is no address:port",
		               rows[id].key, text);
	value = rows[id].kind == CONF_MAP ? json_object() : json_string(text);
	if (value == NULL)
		return err_set(err, ERR_USAGE, "%s: is no UTF-8", rows[id].key);
	json_decref(c->value[id]);
	c->value[id] = value;
	return 0;
}

const char *
conf_text(const struct conf *c, enum conf_id id)
{
	const char *text = json_string_value(c->value[id]);

	return text != NULL ? text : "";
}

int64_t
conf_number(const struct conf *c, enum conf_id id)
{
	return json_integer_value(c->value[id]);
}

/* ---- the file ------------------------------------------------------------------- */

struct reader {
	const char *path;
	yaml_parser_t parser;
	struct conf *conf;
	bool seen[CONF_N];
	char key[CONF_DEPTH][KEY_LEN]; /* "a", "a.b", ...                 */
	bool has_key[CONF_DEPTH];      /* its value comes next            */
	uint32_t depth;                /* open maps                       */
	conf_tell_f *tell;
	uint32_t faults;
	struct err *err; /* the first fault                               */
};

/* A fault that is no end: the next lines are looked at, too. */
static void
note(struct reader *r, const char *text)
{
	if (r->faults == 1)
		r->tell(r->err->text);
	if (r->faults++ == 0)
		(void)err_set(r->err, ERR_USAGE, "%s", text);
	else
		r->tell(text);
}

static void
fault(struct reader *r, const yaml_event_t *e, const char *key, const char *why)
{
	struct err err;

	(void)err_set(&err, ERR_USAGE, "%.100s, line %zu: %.60s%s%.80s",
	              r->path, e->start_mark.line + 1, key,
	              key[0] != '\0' ? ": " : "", why);
	note(r, err.text);
}

/* One behind which nothing can be read. */
static int
stop(struct reader *r, const yaml_event_t *e, const char *key, const char *why)
{
	fault(r, e, key, why);
	return -ERR_USAGE;
}

static enum conf_id
find(const char *key)
{
	enum conf_id id = 0;

	while (id < CONF_N && strcmp(rows[id].key, key) != 0)
		id++;
	return id;
}

/* The map row above this key ("oidc.roles" of "oidc.roles.admins"). */
static enum conf_id
find_map(const char *key, const char **ret_name)
{
	for (enum conf_id id = 0; id < CONF_N; id++) {
		size_t n = strlen(rows[id].key);

		if (rows[id].kind == CONF_MAP &&
		    strncmp(rows[id].key, key, n) == 0 && key[n] == '.') {
			*ret_name = key + n + 1;
			return id;
		}
	}
	return CONF_N;
}

static void
take_value(struct reader *r, const yaml_event_t *e, const char *text)
{
	const char *key = r->key[r->depth - 1];
	const char *name = NULL;
	enum conf_id map = find_map(key, &name);
	enum conf_id id = find(key);
	struct err why;

	if (map < CONF_N) {
		if (json_object_set_new(r->conf->value[map], name,
		                        json_string(text)) != 0)
			fault(r, e, key, "is no UTF-8");
		return;
	}
	if (id == CONF_N) {
		fault(r, e, key, "no such key");
		return;
	}
	if (r->seen[id])
		fault(r, e, key, "is there twice");
	r->seen[id] = true;
	if (conf_set(r->conf, id, text, &why) != 0)
		fault(r, e, "", why.text);
}

static int
take_scalar(struct reader *r, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	uint32_t at = r->depth - 1;
	int n;

	if (r->depth == 0)
		return text[0] == '\0' ? 0 : stop(r, e, "", "must be keys");
	if (r->has_key[at]) {
		r->has_key[at] = false;
		take_value(r, e, text);
		return 0;
	}
	n = snprintf(r->key[at], KEY_LEN, "%s%s%s",
	             at > 0 ? r->key[at - 1] : "", at > 0 ? "." : "", text);
	if (n < 0 || n >= KEY_LEN)
		return stop(r, e, text, "the key is too long");
	r->has_key[at] = true;
	return 0;
}

static int
take_event(struct reader *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT: return take_scalar(r, e);
	case YAML_MAPPING_START_EVENT:
		if (r->depth > 0 && !r->has_key[r->depth - 1])
			return stop(r, e, "", "a key cannot be a map");
		if (r->depth == CONF_DEPTH)
			return stop(r, e, "", "too deep");
		if (r->depth > 0)
			r->has_key[r->depth - 1] = false;
		r->has_key[r->depth++] = false;
		return 0;
	case YAML_MAPPING_END_EVENT: r->depth--; return 0;
	case YAML_SEQUENCE_START_EVENT:
		return stop(r, e, "", "lists are not used here");
	case YAML_ALIAS_EVENT:
		return stop(r, e, "", "aliases are not used here");
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
	case YAML_SEQUENCE_END_EVENT: return 0;
	}
	NEVER("an event of a kind that libyaml does not have");
}

static int
no_yaml(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	struct err err;

	(void)err_set(&err, ERR_USAGE, "%.120s, line %zu: %s", r->path,
	              p->problem_mark.line + 1,
	              p->problem != NULL ? p->problem : "is no YAML");
	note(r, err.text);
	return -ERR_USAGE;
}

static int
read_all(struct reader *r)
{
	for (;;) {
		yaml_event_t e;
		bool is_end;
		int rc;

		if (!yaml_parser_parse(&r->parser, &e))
			return no_yaml(r);
		is_end = e.type == YAML_STREAM_END_EVENT;
		rc = take_event(r, &e);
		yaml_event_delete(&e);
		if (rc != 0 || is_end)
			return rc;
	}
}

static void
tell_nobody(const char *text)
{
	(void)text;
}

static int
read_file(struct conf *c, const char *path, conf_tell_f *tell, struct err *err)
{
	struct reader r = { .path = path,
		            .conf = c,
		            .tell = tell != NULL ? tell : tell_nobody,
		            .err = err };
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return err_set(
			err, ERR_USAGE,
			"--config %.150s: %s; name "
			"the configuration file, or leave the option out",
			path, os_cause(errno));
	if (yaml_parser_initialize(&r.parser) == 0) {
		(void)fclose(f);
		return err_set(err, ERR_NOMEM, "out of memory");
	}
	yaml_parser_set_input_file(&r.parser, f);
	(void)(read_all(&r) == 0);
	yaml_parser_delete(&r.parser);
	(void)fclose(f);
	if (r.faults == 0)
		return 0;
	if (r.faults > 1)
		(void)err_set(err, ERR_USAGE,
		              "%.150s: %u faults; each is named above", path,
		              r.faults);
	return -ERR_USAGE;
}

static int
check_pairs(const struct conf *c, const char *path, struct err *err)
{
	bool has_certificate = conf_text(c, CONF_CERTIFICATE)[0] != '\0';
	bool has_key = conf_text(c, CONF_KEY)[0] != '\0';
	bool has_issuer = conf_text(c, CONF_OIDC_ISSUER)[0] != '\0';

	if (has_certificate != has_key)
		return err_set(err, ERR_USAGE,
		               "%.150s: tls.certificate and tls.key belong "
		               "together",
		               path);
	for (enum conf_id id = CONF_OIDC_AUDIENCE;
	     id <= CONF_OIDC_HTTP && !has_issuer; id++) {
		if (conf_text(c, id)[0] != '\0' ||
		    json_object_size(c->value[id]) > 0)
			return err_set(err, ERR_USAGE,
			               "%.150s: %s needs oidc.issuer", path,
			               rows[id].key);
	}
	return 0;
}

int
conf_load(struct conf *c, const char *path, conf_tell_f *tell, struct err *err)
{
	int rc;

	*c = (struct conf){ 0 };
	for (enum conf_id id = 0; id < CONF_N; id++) {
		rc = conf_set(c, id, rows[id].standard, err);
		ENSURE(rc == 0);
	}
	rc = path != NULL ? read_file(c, path, tell, err) : 0;
	if (rc == 0)
		rc = check_pairs(c, path != NULL ? path : "", err);
	if (rc != 0)
		conf_fini(c);
	return rc;
}

void
conf_fini(struct conf *c)
{
	for (enum conf_id id = 0; id < CONF_N; id++) {
		json_decref(c->value[id]);
		c->value[id] = NULL;
	}
}

json_t *
conf_oidc(const struct conf *c)
{
	static const char prefix[] = "oidc.";
	json_t *ret;

	if (conf_text(c, CONF_OIDC_ISSUER)[0] == '\0')
		return NULL;
	ret = json_object();
	for (enum conf_id id = CONF_OIDC_ISSUER; id <= CONF_OIDC_HTTP; id++) {
		const char *name = rows[id].key + sizeof(prefix) - 1;
		const char *text = conf_text(c, id);

		if (id == CONF_OIDC_HTTP)
			(void)json_object_set_new(
				ret, name,
				json_boolean(strcmp(text, "true") == 0));
		else if (json_is_object(c->value[id]) || text[0] != '\0')
			(void)json_object_set(ret, name, c->value[id]);
	}
	return ret;
}

const char *
conf_differs(const struct conf *a, const struct conf *b)
{
	for (enum conf_id id = 0; id < CONF_N; id++) {
		if (!rows[id].reload && !json_equal(a->value[id], b->value[id]))
			return rows[id].key;
	}
	return NULL;
}
