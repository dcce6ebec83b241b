/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/view.c: a migration of the API as a status object.
 *
 * The engine's words are in both the same; what differs is what the API says
 * for all resources: the strategy as wanted, endpoints by name.
 */
#include "bin/api/view.h"

#include <stdio.h>

#include "bin/api/answer.h"
#include "bin/look.h"
#include "control/api/shape.h"

#define NAMES_MAX 200

static void
put_names(json_t *s, const char *name, const json_t *m, const char *path)
{
	char text[NAMES_MAX];

	if (json_is_string(json_object_get(s, name)))
		return;
	answer_at(m, path, text, sizeof(text));
	(void)json_object_set_new(s, name, json_string(text));
}

/* "cutover" for {"mode":"cutover",...}; the steps in percent. */
static json_t *
strategy(const json_t *m)
{
	const json_t *was = look_at(m, "strategy");
	const json_t *steps = look_at(was, "steps");
	const char *mode = look_text(was, "write_mode.mode");
	json_t *ret = json_is_object(was) ? json_copy(shape_mutable(was))
	                                  : json_object();

	if (mode[0] != '\0')
		(void)json_object_set_new(ret, "write_mode", json_string(mode));
	else if (!json_is_string(look_at(was, "write_mode")))
		(void)json_object_set_new(ret, "write_mode", json_string("-"));
	if (json_is_array(steps) && json_is_object(json_array_get(steps, 0))) {
		json_t *percents = json_array();

		for (size_t i = 0; i < json_array_size(steps); i++)
			(void)json_array_append_new(
				percents,
				json_real(100.0 *
			                  look_real(json_array_get(steps, i),
			                            "read_percentage")));
		(void)json_object_set_new(ret, "steps", percents);
	}
	if (look_at(m, "step") != NULL)
		(void)json_object_set(ret, "step", json_object_get(m, "step"));
	return ret;
}

json_t *
view_status(const json_t *m)
{
	json_t *ret =
		json_is_object(m) ? json_copy(shape_mutable(m)) : json_object();

	(void)json_object_set_new(ret, "strategy", strategy(m));
	put_names(ret, "old", m, "interlays[].old");
	put_names(ret, "new", m, "interlays[].new");
	put_names(ret, "listen", m, "interlays[].id");
	return ret;
}
