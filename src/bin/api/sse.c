/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/sse.c: server-sent events, as bytes.
 */
#include "bin/api/sse.h"

#include <string.h>

void
sse_init(struct sse *s)
{
	s->n = 0;
	s->data_n = 0;
	s->id[0] = '\0';
	s->name[0] = '\0';
	s->has_data = false;
	s->was_cr = false;
}

static void
copy(char *ret, size_t cap, const char *value)
{
	size_t n = strlen(value);

	if (n >= cap)
		n = cap - 1;
	memcpy(ret, value, n);
	ret[n] = '\0';
}

static void
put_data(struct sse *s, const char *value)
{
	size_t n = strlen(value);

	if (s->has_data && s->data_n + 1 < SSE_DATA)
		s->data[s->data_n++] = '\n';
	if (n > SSE_DATA - 1 - s->data_n)
		n = SSE_DATA - 1 - s->data_n;
	memcpy(s->data + s->data_n, value, n);
	s->data_n += n;
	s->has_data = true;
}

/* An empty line ends an event. */
static bool
end_event(struct sse *s, sse_event_f *on_event, void *arg)
{
	bool goes_on = true;

	s->data[s->data_n] = '\0';
	if (s->has_data)
		goes_on = on_event(arg, s);
	s->data_n = 0;
	s->has_data = false;
	s->name[0] = '\0';
	return goes_on;
}

static bool
end_line(struct sse *s, sse_event_f *on_event, void *arg)
{
	char *colon;
	const char *value = "";

	s->line[s->n] = '\0';
	if (s->n == 0)
		return end_event(s, on_event, arg);
	s->n = 0;
	colon = strchr(s->line, ':');
	if (colon == s->line)
		return true; /* a comment */
	if (colon != NULL) {
		*colon = '\0';
		value = colon + 1 + (colon[1] == ' ');
	}
	if (strcmp(s->line, "data") == 0)
		put_data(s, value);
	else if (strcmp(s->line, "event") == 0)
		copy(s->name, sizeof(s->name), value);
	else if (strcmp(s->line, "id") == 0)
		copy(s->id, sizeof(s->id), value);
	return true;
}

bool
sse_feed(struct sse *s, const char *p, size_t n, sse_event_f *on_event,
         void *arg)
{
	for (size_t i = 0; i < n; i++) {
		bool is_second = s->was_cr && p[i] == '\n';

		s->was_cr = p[i] == '\r';
		if (is_second)
			continue;
		if (p[i] != '\n' && p[i] != '\r') {
			if (s->n + 1 < SSE_DATA && p[i] != '\0')
				s->line[s->n++] = p[i];
			continue;
		}
		if (!end_line(s, on_event, arg))
			return false;
	}
	return true;
}
