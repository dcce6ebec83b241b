/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/definition.c: a migration's definition from a file, as the API takes it.
 */
#include "bin/definition.h"

#include <stdio.h>

#include "base/check.h"
#include "control/spec/spec.h"

static int
read_spec(const json_t *in, const char *from, struct spec **ret,
          struct err *err)
{
	int rc = spec_read(in, ret, NULL, err);
	json_t *text;
	size_t i;

	if (rc != 0)
		return err_wrap(err, "%s", from);
	json_array_foreach((*ret)->warnings, i, text)
	{
		(void)fprintf(stderr, "godwit: %s: %s\n", from,
		              json_string_value(text));
	}
	return 0;
}

/* The file holds the whole object, or the strategy alone. */
static int
read_file(const char *path, struct spec **ret, struct err *err)
{
	json_error_t why;
	json_t *in =
		strcmp(path, "-") == 0
			? json_loadf(stdin, JSON_REJECT_DUPLICATES, &why)
			: json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	json_t *whole;
	int rc;

	if (in == NULL && why.line < 0)
		return err_set(
			err, ERR_USAGE,
			"--definition: %s; give the path of a file, or - "
			"for the standard input",
			why.text);
	if (in == NULL)
		return err_set(err, ERR_USAGE,
		               "--definition %s: line %d: %s; is it JSON?",
		               path, why.line, why.text);
	if (json_object_get(in, "strategy") == NULL ||
	    json_object_get(in, "type") != NULL)
		whole = json_pack("{s:O}", "strategy", in);
	else
		whole = json_incref(in);
	rc = read_spec(whole, path, ret, err);
	json_decref(whole);
	json_decref(in);
	return rc;
}

static void
take(const struct spec *s, struct run_conf *c)
{
	static const enum copy_mode modes[] = {
		[DATA_NONE] = COPY_AUTO,
		[DATA_SNAPSHOT] = COPY_RDB,
		[DATA_SCAN] = COPY_SCAN,
	};

	c->spec = s;
	c->whole = &s->strategy;
	c->strategy = s->strategy.kind;
	c->step_n = 0;
	c->write_mode = s->write.mode;
	c->ack = s->write.ack;
	c->ack_timeout_ms = s->write.ack_timeout_ms;
	if (s->data.move != DATA_NONE) {
		c->conflict = s->data.replace;
		c->conflict_said = s->data.replace_said;
		c->newer = s->data.newer[0] != '\0' ? s->data.newer : NULL;
		c->copy_mode = modes[s->data.move];
	}
	c->is_auto = c->is_auto || s->analysis.auto_promote ||
	             s->analysis.auto_rollback;
}

int
definition_fill(const struct args *a, struct run_conf *c, struct err *err)
{
	const char *path = a->text[OPT_DEFINITION];
	struct spec *s = NULL;
	json_t *in;
	int rc;

	if (path[0] != '\0') {
		rc = read_file(path, &s, err);
	} else if (c->strategy == STRATEGY_SHADOW_TRAFFIC) {
		in = json_pack("{s:s}", "strategy", "shadow_traffic");
		rc = read_spec(in, "shadow_traffic", &s, err);
		json_decref(in);
	} else {
		return 0;
	}
	if (rc != 0)
		return rc;
	REQUIRE(s != NULL);
	if (strategy_base(&s->strategy) == STRATEGY_ROLLING_UPDATE) {
		spec_free(s);
		return err_set(err, ERR_UNABLE,
		               "rolling_update moves several pairs of servers: "
		               "use godwit serve, one interlay for each pair");
	}
	take(s, c);
	return 0;
}

void
definition_free(struct run_conf *c)
{
	const union {
		const struct spec *in;
		struct spec *out;
	} u = { .in = c->spec }; /* made here, for c alone */

	spec_free(u.out);
	c->spec = NULL;
	c->whole = NULL;
}
