/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/header.c: what the headers of a request say.
 */
#include "control/api/header.h"

#include <stdlib.h>
#include <string.h>

#include "control/api/shape.h"

void
header_put(json_t *headers, const char *name, const char *value)
{
	char key[HEADER_NAME];
	size_t n = strlen(name);
	json_t *old;

	if (n >= sizeof(key) || json_object_size(headers) >= HEADER_MAX)
		return;
	for (size_t i = 0; i <= n; i++)
		key[i] = shape_lower(name[i]);
	if (value == NULL)
		value = "";
	old = json_object_get(headers, key);
	(void)json_object_set_new(
		headers, key,
		old == NULL ? json_string(value)
			    : json_sprintf("%s, %s", json_string_value(old),
	                                   value));
}

bool
header_has_tag(const char *value, const char *tag)
{
	size_t n = strlen(tag);

	if (strcmp(value, "*") == 0)
		return true;
	for (;;) {
		const char *end;

		value += strspn(value, " \t,");
		if (*value != '"' && strncmp(value, "W/\"", 3) != 0)
			return false;
		end = strchr(strchr(value, '"') + 1, '"');
		if (end == NULL)
			return false;
		end++;
		if ((size_t)(end - value) == n && memcmp(value, tag, n) == 0)
			return true;
		value = end;
	}
}

bool
header_event(const char *value, int64_t *ret)
{
	char *end = NULL;

	*ret = -1;
	if (value == NULL || value[0] == '\0')
		return true;
	if (value[0] < '0' || value[0] > '9')
		return false;
	*ret = strtoll(value, &end, 10);
	return *end == '\0';
}
