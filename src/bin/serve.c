/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/serve.c: godwit serve.
 */
#include "control/api/serve.h"

#include <stdio.h>

#include "bin/status.h"
#include "bin/verbs.h"

static const char *
given(const struct args *a, enum option_id id)
{
	return a->is_given[id] ? a->text[id] : NULL;
}

int
verb_serve(const struct args *a)
{
	struct serve_conf c = {
		.config = given(a, OPT_CONFIG),
		.listen = given(a, OPT_LISTEN),
		.admin = given(a, OPT_ADMIN),
		.state = given(a, OPT_STATE),
		.admin_token_file = given(a, OPT_ADMIN_TOKEN_FILE),
		.is_check = a->number[OPT_CHECK] != 0,
		.is_json = a->number[OPT_JSON] != 0,
	};
	struct err err;

	if (serve(&c, &err) != 0)
		return verb_fail(a, &err);
	if (c.is_check)
		(void)fprintf(stderr, "godwit: the configuration is good\n");
	return STATUS_DONE;
}
