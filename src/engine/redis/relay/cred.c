/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/relay/cred.c: credentials of clients, shared by their sessions
 * and lanes. A credential is the AUTH request itself.
 */
#include "engine/redis/relay/cred.h"

#include "engine/redis/relay/inside.h"

struct cred *
cred_get(struct relay *r, struct span request, bool is_default)
{
	struct cred *c;

	for (c = r->creds; c != NULL; c = c->next) {
		if (span_eq(span_of(c->request, c->n), request)) {
			c->refs++;
			return c;
		}
	}
	c = mem_alloc(r->mem, sizeof(*c) + request.n);
	if (c == NULL)
		return NULL;
	c->refs = 1;
	c->n = (uint32_t)request.n;
	c->is_default = is_default;
	c->reads = false;
	c->number = ++r->next_cred;
	if (request.n > 0)
		memcpy(c->request, request.p, request.n);
	c->next = r->creds;
	r->creds = c;
	return c;
}

struct span
cred_user(const struct relay *r, const struct cred *c)
{
	const char *by_url = r->conf->side[r->route.authority].url_user;
	struct span raw = span_of(c->request, c->n);
	struct span word[3] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
	size_t pos = 0;
	int n = 0;

	if (c->n == 0)
		return by_url[0] != '\0' ? span_str(by_url) : SPAN("default");
	while (n < 3 && resp_cmd_walk(raw, &pos, &word[n]))
		n++;
	return n == 3 ? word[1] : span_of(NULL, 0);
}

bool
cred_is_default(const struct relay *r, const struct session *s)
{
	bool is_default = true;

	if (s->is_default || s->cred == NULL || s->cred->n > 0)
		return s->is_default;
	for (int i = 0; i < SIDE_N; i++) {
		struct span user = span_str(r->conf->side[i].url_user);

		is_default &= user.n == 0 || span_eq(user, SPAN("default"));
	}
	return is_default;
}

void
cred_ref(struct cred *c)
{
	if (c != NULL)
		c->refs++;
}

void
cred_unref(struct relay *r, struct cred *c)
{
	struct cred **at = &r->creds;

	if (c == NULL || --c->refs > 0)
		return;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	mem_free(r->mem, c, sizeof(*c) + c->n);
}
