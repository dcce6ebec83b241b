/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_header.c: any bytes as the headers of a request.
 * Sources: src/control/api/header.c src/control/api/shape.c src/control/store/uuid.c
 * Libraries: -ljansson
 *
 * Input: lines "name: value". What is kept is lower case, UTF-8 and within its
 * limits; the sentence about a bad value can be told in JSON, however it is cut.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/err.h"
#include "base/utf8.h"
#include "control/api/header.h"

#define TAG "\"v12\""

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* JSON takes the sentence. */
static void
check_told(const char *value)
{
	struct err err;
	json_t *told;

	(void)err_set(&err, ERR_STALE, "is at %s, not at %.40s", TAG, value);
	told = json_string(err.text);
	ENSURE(told != NULL);
	json_decref(told);
	(void)err_wrap(&err, "%.60s", value);
	told = json_string(err.text);
	ENSURE(told != NULL);
	json_decref(told);
}

static void
check_value(const char *value)
{
	bool has = header_has_tag(value, TAG);
	int64_t id;

	ENSURE(!has || strcmp(value, "*") == 0 || strlen(value) >= strlen(TAG));
	if (header_event(value, &id))
		ENSURE((id == -1) == (value[0] == '\0'));
	check_told(value);
}

static void
one_line(json_t *headers, char *line)
{
	char *value = strstr(line, ": ");

	if (value != NULL) {
		*value = '\0';
		value += 2;
		check_value(value);
	}
	header_put(headers, line, value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	json_t *headers = json_object();
	char *text = malloc(n + 1);
	const char *name;
	json_t *value;

	if (headers == NULL || text == NULL)
		abort();
	if (n > 0)
		memcpy(text, p, n);
	text[n] = '\0';
	for (char *line = text, *end; line != NULL; line = end) {
		end = strchr(line, '\n');
		if (end != NULL)
			*end++ = '\0';
		one_line(headers, line);
	}
	ENSURE(json_object_size(headers) <= HEADER_MAX);
	json_object_foreach(headers, name, value)
	{
		ENSURE(strlen(name) < HEADER_NAME);
		for (const char *c = name; *c != '\0'; c++)
			ENSURE(*c < 'A' || *c > 'Z');
		check_value(json_string_value(value));
	}
	json_decref(headers);
	free(text);
	return 0;
}
