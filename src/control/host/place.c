/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/place.c: where a template runs.
 *
 * It goes through an interlay, as any client: so routing, causal reads, holds and
 * the switch are the relays' business here, too. An endpoint that is part of a
 * migration is reached through one of that migration's interlays, another one
 * directly.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <string.h>

#include "control/host/inside.h"

static void
set_address(const struct line *n, struct place *ret)
{
	const char *colon = strrchr(n->l->listen, ':');
	size_t len = colon != NULL ? (size_t)(colon - n->l->listen) : 0;
	char host[sizeof(ret->at.host)] = "";

	if (len > 0 && len < sizeof(host)) {
		memcpy(host, n->l->listen, len);
		host[len] = '\0';
	}
	if (strcmp(host, "[::]") == 0 || strcmp(host, "[::1]") == 0)
		(void)snprintf(ret->at.host, sizeof(ret->at.host), "::1");
	else if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0)
		(void)snprintf(ret->at.host, sizeof(ret->at.host), "127.0.0.1");
	else
		(void)snprintf(ret->at.host, sizeof(ret->at.host), "%s", host);
	ret->at.port = n->l->port;
}

static void
through(const struct line *n, struct place *ret)
{
	if (listen_is_path(n->l->listen))
		(void)snprintf(ret->at.host, sizeof(ret->at.host), "%.107s",
		               n->l->listen);
	else
		set_address(n, ret);
	ret->proxy = n->l->proxy;
	ret->is_tls = n->l->tls != NULL;
	ret->is_through = true;
	if (n->l->door != NULL) {
		(void)snprintf(ret->url.user, sizeof(ret->url.user), "%s",
		               DOOR_OWN_USER);
		(void)snprintf(ret->url.pass, sizeof(ret->url.pass), "%s",
		               n->own_pass);
	}
	(void)snprintf(ret->what, sizeof(ret->what), "interlay %.72s", n->id);
}

/* Who may log in at the side that rules; at the other one, if that changes now. */
static void
set_users(const struct leg *l, const struct url side[SIDE_N], struct place *ret)
{
	ret->url = side[l->is_new ? SIDE_NEW : SIDE_OLD];
	ret->other = side[l->is_new ? SIDE_OLD : SIDE_NEW];
	ret->has_other = true;
}

/* Is the server a part of a migration that runs? Then its first interlay. */
static const struct line *
line_of_url(struct host *h, const struct url *u, struct place *ret)
{
	for (struct migration *m = h->migrations; m != NULL; m = m->next) {
		for (uint32_t i = 0; i < m->leg_n; i++) {
			const struct leg *l = m->leg[i];
			struct url side[SIDE_N];
			struct err err;

			if (!leg_is_on(l) || l->line_n == 0 ||
			    url_parse(l->conf.old_url, &side[SIDE_OLD], &err) !=
			            0 ||
			    url_parse(l->conf.new_url, &side[SIDE_NEW], &err) !=
			            0)
				continue;
			if (!url_same(u, &side[SIDE_OLD]) &&
			    !url_same(u, &side[SIDE_NEW]))
				continue;
			/* Roles of PostgreSQL are each server's own. */
			if (u->kind == URL_POSTGRES)
				set_users(l, side, ret);
			return l->line[0];
		}
	}
	return NULL;
}

int
place_find(struct host *h, const json_t *where, struct place *ret,
           struct err *err)
{
	const char *uuid =
		json_string_value(json_object_get(where, "interlay"));
	const char *text = json_string_value(json_object_get(where, "url"));
	const struct line *n = NULL;
	struct url u;
	int rc = 0;

	memset(&u, 0, sizeof(u));
	host_lock(h);
	if (uuid != NULL) {
		n = line_find(h, uuid);
		if (n == NULL)
			rc = err_set(err, ERR_MISSING,
			             "interlay %s does not run", uuid);
	}
	if (rc == 0 && text == NULL && n != NULL)
		text = n->url;
	if (rc == 0 && text == NULL)
		rc = err_set(err, ERR_USAGE,
		             "where: an interlay or a url is needed");
	if (rc == 0)
		rc = url_parse(text, &u, err);
	ret->url = u;
	if (rc == 0 && n == NULL)
		n = line_of_url(h, &u, ret);
	if (rc == 0 && n != NULL) {
		through(n, ret);
	} else if (rc == 0) {
		ret->at = ret->url.at;
		(void)snprintf(ret->what, sizeof(ret->what), "%.95s",
		               ret->url.label);
	}
	host_unlock(h);
	return rc;
}

struct url
place_url(const struct place *p, const struct url *user)
{
	struct url u = *user;

	u.at = p->at;
	if (p->is_through) {
		memset(&u.tls, 0, sizeof(u.tls));
		u.tls.is_on = p->is_tls;
		u.tls.insecure = p->is_tls;
	}
	return u;
}
