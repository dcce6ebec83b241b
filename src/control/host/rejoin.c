/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/rejoin.c: legs that could not go on after a restart, while others
 * of their migration could, are begun again.
 *
 * Such a leg is out, and its interlays are closed. When it can go on its clients
 * are served by it; it counts among the others again when it is where they are,
 * else it stays out until somebody decides (retry, rollback).
 */
#define _DEFAULT_SOURCE
#include <string.h>

#include "control/host/inside.h"

/* host.lock is held. */
static bool
is_refused(const struct leg *l)
{
	return l->phase == LEG_REFUSED && l->is_out && !l->is_stuck;
}

bool
rejoin_waits(const struct leg *l)
{
	bool is_tried = l->phase == LEG_NEW || l->phase == LEG_BEGINS;

	return l->is_out && !l->is_stuck &&
	       (is_tried ||
	        (l->phase == LEG_REFUSED && err_retry(l->err.code)));
}

json_t *
host_migration_refused(struct host *h, const char *uuid, struct err *why)
{
	struct err err;
	struct migration *m = migration_get(h, uuid, &err);
	json_t *ret = NULL;
	size_t i;
	json_t *r;

	if (m == NULL)
		return NULL;
	host_lock(h);
	for (uint32_t k = 0; k < m->leg_n && !m->ending; k++) {
		if (!is_refused(m->leg[k]))
			continue;
		*why = m->leg[k]->err;
		if (ret == NULL)
			ret = json_array();
	}
	json_array_foreach(m->resources, i, r)
	{
		json_int_t k = json_integer_value(json_object_get(r, "leg"));
		const char *kind =
			json_string_value(json_object_get(r, "kind"));

		if (ret != NULL && is_refused(m->leg[k]) && kind != NULL &&
		    strcmp(kind, "interlay") == 0)
			(void)json_array_append(ret,
			                        json_object_get(r, "uuid"));
	}
	host_unlock(h);
	migration_put(m);
	return ret;
}

static const char *
authority_of(const struct leg *l)
{
	const char *ret =
		json_string_value(json_object_get(l->status, "authority"));

	return ret != NULL ? ret : "";
}

/* Is it where all that go on are? host.lock is held. */
static bool
is_where_others_are(const struct migration *m, const struct leg *l)
{
	for (uint32_t i = 0; i < m->leg_n; i++) {
		const struct leg *o = m->leg[i];

		if (o != l && !o->is_out &&
		    (strcmp(o->state, l->state) != 0 ||
		     strcmp(authority_of(o), authority_of(l)) != 0))
			return false;
	}
	return true;
}

static int
join_one(struct migration *m, uint32_t k, struct err *err)
{
	struct leg *l = m->leg[k];
	bool in_step = false;
	int rc;

	host_lock(m->host);
	m->held = true;
	rc = migration_take_lines(m, k, err);
	host_unlock(m->host);
	if (rc == 0 && !leg_again(l))
		rc = err_set(err, ERR_STATE, "%s cannot begin again", l->name);
	if (rc == 0)
		rc = leg_begin(l, true, err);
	host_lock(m->host);
	if (rc != 0) {
		(void)snprintf(l->state, sizeof(l->state), "failed");
		leg_free_lines(l);
	} else {
		l->is_out = !is_where_others_are(m, l);
		in_step = l->in_step;
	}
	host_unlock(m->host);
	if (rc == 0)
		host_say(m->host, m, "resumed",
		         l->is_out
		                 ? "a resource serves again, and is not where "
		                   "the others are"
		                 : "a resource goes on with the others");
	if (in_step)
		host_chore(m->host, l, "in_step", "", 0);
	return rc;
}

int
host_migration_rejoin(struct host *h, const char *uuid, struct err *err)
{
	struct migration *m = migration_get(h, uuid, err);
	int rc = 0;

	if (m == NULL)
		return -(int)err->code;
	(void)pthread_mutex_lock(&m->verb);
	for (uint32_t k = 0; k < m->leg_n; k++) {
		struct err own;
		bool on;
		int one;

		host_lock(h);
		on = is_refused(m->leg[k]) && !m->ending;
		host_unlock(h);
		one = on ? join_one(m, k, &own) : 0;
		if (one != 0) {
			rc = one;
			*err = own;
		}
	}
	(void)pthread_mutex_unlock(&m->verb);
	migration_tell(m);
	migration_put(m);
	return rc;
}
