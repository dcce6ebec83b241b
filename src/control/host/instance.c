/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/instance.c: the interlays of the instances behind another one.
 *
 * Each instance of an interlay has an interlay of its own, which only this
 * process can reach: a socket in a directory beside the state. A leg takes it
 * like any other.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control/host/inside.h"
#include "core/slots.h"

/* "<state>.d", 0700. Reached by its descriptor: the path of a socket is short. */
static int
open_dir(struct host *h, struct err *err)
{
	char path[sizeof(h->state) + 4];

	if (h->socket_dir >= 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s.d", h->state);
	if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST)
		return err_set(err, ERR_IO, "%s: %s", path, os_cause(errno));
	h->socket_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->socket_dir < 0)
		return err_set(err, ERR_IO, "%s: %s", path, os_cause(errno));
	return 0;
}

int
instance_listen(struct host *h, const char *uuid, char ret[128],
                struct err *err)
{
	int rc = open_dir(h, err);

	if (rc == 0)
		(void)snprintf(ret, 128, "/proc/self/fd/%d/%.40s",
		               h->socket_dir, uuid);
	return rc;
}

/* One of them: it runs, and tells where. */
static int
put(struct host *h, const json_t *j, struct spread_instance *ret,
    struct err *err)
{
	const char *uuid = json_string_value(json_object_get(j, "uuid"));
	const char *id = json_string_value(json_object_get(j, "id"));
	struct line *n = line_find(h, uuid != NULL ? uuid : "");

	if (n == NULL || !n->is_instance)
		return err_set(err, ERR_MISSING,
		               "the interlay of the instance %s does not run",
		               id != NULL ? id : "?");
	(void)snprintf(ret->at.host, sizeof(ret->at.host), "%.107s",
	               n->l->listen);
	(void)snprintf(ret->label, sizeof(ret->label), "%.63s",
	               id != NULL ? id : n->id);
	return 0;
}

int
instance_read(struct host *h, const json_t *list, bool refuse,
              struct spread_conf *ret, struct err *err)
{
	size_t n = json_array_size(list);
	bool has_slots = false;
	int rc = 0;

	if (n < 1 || n > SPREAD_MAX)
		return err_set(err, ERR_USAGE,
		               "an interlay has 1 to %d instances", SPREAD_MAX);
	ret->n = (uint32_t)n;
	ret->across = refuse ? SPREAD_REFUSE : SPREAD_HANDLE;
	slots_init(ret->owner);
	for (size_t i = 0; i < n && rc == 0; i++) {
		const json_t *j = json_array_get(list, i);
		const char *slots =
			json_string_value(json_object_get(j, "slots"));

		rc = put(h, j, &ret->instance[i], err);
		has_slots |= slots != NULL;
		if (rc == 0 && slots != NULL)
			rc = slots_give(ret->owner, span_str(slots), (uint8_t)i,
			                err);
	}
	if (rc == 0 && !has_slots)
		slots_share(ret->owner, (uint8_t)n);
	if (rc == 0 && slots_gap(ret->owner) < HASH_SLOTS)
		rc = err_set(err, ERR_USAGE, "slot %u has no instance",
		             slots_gap(ret->owner));
	return rc;
}

/* ---- what clients are shown ------------------------------------------------- */

static int
add_text(struct topology *t, const char *text, struct err *err)
{
	if (topology_add(t, span_str(text), err) == 0)
		return 0;
	err->code = ERR_USAGE;
	return err_wrap(err, "cluster.announce");
}

/* The host of "host:port" or "[v6]:port". */
static struct span
host_of(const char *listen)
{
	const char *colon = strrchr(listen, ':');
	struct span s =
		span_of(listen, colon == NULL ? strlen(listen)
	                                      : (size_t)(colon - listen));

	if (s.n >= 2 && s.p[0] == '[')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

/* Nobody connects to an address that means all of them, nor to a path. */
static int
add_own(const struct interlay *l, struct span host, struct topology *t,
        struct err *err)
{
	bool v6 = memchr(host.p, ':', host.n) != NULL;
	char text[sizeof(l->listen) + 16];

	if (l->port == 0 || host.n == 0 || span_eq(host, SPAN("*")) ||
	    span_eq(host, SPAN("0.0.0.0")) || span_eq(host, SPAN("::")))
		return err_set(err, ERR_USAGE,
		               "cluster.announce: say where clients reach it; "
		               "\"%s\" is no such address",
		               l->listen);
	(void)snprintf(text, sizeof(text), "%s%.*s%s:%u", v6 ? "[" : "",
	               (int)host.n, (const char *)host.p, v6 ? "]" : "",
	               l->port);
	return add_text(t, text, err);
}

int
instance_show(const struct interlay *l, const json_t *cluster,
              struct topology *ret, struct err *err)
{
	const json_t *list = json_object_get(cluster, "announce");
	struct span host = host_of(l->listen);
	int rc = 0;

	*ret = (struct topology){ .tls = l->tls != NULL };
	if (!json_is_object(cluster))
		return 0;
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		rc = add_text(ret, text != NULL ? text : "", err);
	}
	if (rc == 0 && ret->n == 0)
		rc = add_own(l, host, ret, err);
	topology_find_self(ret, host, l->port);
	return rc;
}
