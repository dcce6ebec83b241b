/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/line.c: interlays of the daemon, and what may be done to them.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "control/auth/digest.h"
#include "control/dialect.h"
#include "control/host/inside.h"
#include "control/spec/field.h"
#include "control/view.h"
#include "world/os/client.h"

struct line *
line_find(struct host *h, const char *uuid)
{
	for (struct line *n = h->lines; n != NULL; n = n->next) {
		if (strcmp(n->uuid, uuid) == 0)
			return n;
	}
	return NULL;
}

static int
text_of(const json_t *spec, const char *key, char *ret, size_t n,
        struct err *err)
{
	const char *t = json_string_value(json_object_get(spec, key));

	if (t == NULL || t[0] == '\0' || strlen(t) >= n)
		return err_set(err, ERR_USAGE,
		               "interlay: \"%s\" is missing or longer than %zu "
		               "bytes",
		               key, n - 1);
	memcpy(ret, t, strlen(t) + 1);
	return 0;
}

/* {"server_cert","server_key","client_ca_cert","require_client_certificate"}:
 * PEM, or names of files. Anything else: plain. */
static int
set_tls(struct line *n, const json_t *tls, struct err *err)
{
	const struct tls_server_conf conf = {
		.server_cert =
			json_string_value(json_object_get(tls, "server_cert")),
		.server_key =
			json_string_value(json_object_get(tls, "server_key")),
		.client_ca_cert = json_string_value(
			json_object_get(tls, "client_ca_cert")),
		.require_client_certificate = json_is_true(
			json_object_get(tls, "require_client_certificate")),
	};

	return json_is_object(tls) ? interlay_tls(n->l, &conf, err) : 0;
}

/* {"region":"eu",..}: what rules may ask for. */
static int
set_labels(struct line *n, const json_t *labels, struct err *err)
{
	json_t *l = field_loose(labels);
	size_t used = 0;
	const char *key;
	json_t *value;

	json_object_foreach(l, key, value)
	{
		const char *text = json_string_value(value);
		size_t room = sizeof(n->l->labels) - used;
		int w;

		if (text == NULL || strpbrk(key, "=\n") != NULL ||
		    strchr(text, '\n') != NULL)
			return err_set(err, ERR_USAGE,
			               "interlay %s: label %.40s: a line of "
			               "text is wanted",
			               n->id, key);
		w = snprintf(n->l->labels + used, room, "%s%s=%s",
		             used > 0 ? "\n" : "", key, text);
		if (w < 0 || (size_t)w >= room)
			return err_set(err, ERR_USAGE,
			               "interlay %s: the labels are longer "
			               "than %zu bytes together",
			               n->id, sizeof(n->l->labels) - 1);
		used += (size_t)w;
	}
	return 0;
}

/* {"proxy_protocol":true}, or {"proxy_protocol":{"tlv":224}}. */
static int
set_proxy(struct line *n, const json_t *settings, struct err *err)
{
	const json_t *v = json_object_get(settings, "proxy_protocol");
	json_int_t tlv = json_integer_value(json_object_get(v, "tlv"));

	if (v == NULL || json_is_null(v) || json_is_false(v))
		return 0;
	if (!json_is_true(v) &&
	    (!json_is_object(v) || tlv < 0xe0 || tlv > 0xef))
		return err_set(err, ERR_USAGE,
		               "interlay %s: settings.proxy_protocol: true, or "
		               "{\"tlv\":224..239}",
		               n->id);
	if (n->l->tls != NULL)
		return err_set(err, ERR_UNABLE,
		               "interlay %s: settings.proxy_protocol does not "
		               "go with tls yet; let the proxy in front end "
		               "TLS",
		               n->id);
	n->l->proxy = true;
	n->l->proxy_tlv = (uint8_t)tlv;
	return 0;
}

/* {"users":[..]} (door.h). Anything else: AUTH is passed through. */
static int
set_auth(struct line *n, const json_t *auth, struct err *err)
{
	uint8_t chance[32];
	struct door *d;

	if (!json_is_object(auth))
		return 0;
	if (n->own_pass[0] == '\0') {
		digest_random(chance, sizeof(chance));
		digest_hex(chance, sizeof(chance), n->own_pass);
	}
	d = door_read(auth, n->own_pass, err);
	if (d == NULL)
		return err_wrap(err, "interlay %s", n->id);
	return interlay_door(n->l, d, err);
}

struct opening {
	const char *listen;
	uint32_t workers;
	bool held;
	const json_t *tls; /* NULL or null: plain */
	const json_t *auth;
	const json_t *labels;
	const json_t *settings;
	const json_t *pool;
	const json_t *cluster;      /* NULL: clients see one server       */
	struct spread_conf *spread; /* NULL: it has no instances */
};

/* The server that it serves alone. */
static int
set_server(const struct line *n, struct side_conf *ret,
           const struct dialect **ret_dialect, struct err *err)
{
	struct url url;
	int rc = url_parse(n->url, &url, err);

	if (rc == 0)
		*ret_dialect = dialect_of(url.kind);
	return rc == 0 ? url_side(&url, SIDE_OLD, ret, err) : rc;
}

/* What only interlays of Redis have. */
static int
refuse_kind(const struct line *n, const struct opening *o,
            const struct dialect *d, struct err *err)
{
	const char *what = NULL;

	if (json_is_object(o->auth))
		what = "users of its own; clients log in as roles of the "
		       "server";
	else if (n->is_instance)
		what = "instances";
	if (what == NULL)
		return 0;
	return err_set(err, ERR_UNABLE, "interlay %s: not possible for %s: %s",
	               n->id, d->name, what);
}

/* Make and start; it is in no list yet. */
static int
open_line(struct line *n, const struct opening *o, struct err *err)
{
	struct side_conf side[SIDE_N];
	struct side_conf at;
	struct interlay_pair p;
	const struct dialect *dialect = &dialect_redis; /* of a spread */
	int rc;

	memset(&at, 0, sizeof(at));
	rc = o->spread == NULL ? set_server(n, &at, &dialect, err) : 0;
	if (rc == 0 && dialect != &dialect_redis)
		rc = refuse_kind(n, o, dialect, err);
	if (rc != 0)
		return rc;
	n->l = interlay_new(dialect, "", o->listen, o->workers, err);
	if (n->l == NULL)
		return err->code == ERR_IO
		               ? err_set(err, ERR_EXISTS, "%s", err->text)
		               : -(int)err->code;
	at.at.by_cluster = n->is_node;
	p = interlay_alone(&at, side);
	p.held = o->held;
	rc = set_tls(n, o->tls, err);
	if (rc == 0)
		rc = set_labels(n, o->labels, err);
	if (rc == 0)
		rc = set_proxy(n, o->settings, err);
	if (rc == 0)
		rc = set_auth(n, o->auth, err);
	if (rc == 0)
		rc = pooling_start(n, o->pool, err);
	if (rc == 0 && o->spread != NULL)
		rc = instance_show(n->l, o->cluster, &o->spread->topology, err);
	if (rc == 0 && o->spread != NULL)
		rc = interlay_spread(n->l, o->spread, err);
	return rc == 0 ? interlay_start(n->l, &p, err) : rc;
}

static void
close_line(struct line *n)
{
	if (n->l != NULL)
		interlay_free(n->l);
	owners_free(n);
	digest_clear(n->own_pass, sizeof(n->own_pass));
	free(n);
}

/* Who it is, and how many workers it gets. */
static int
name_line(struct line *n, const json_t *spec, uint32_t *ret_workers,
          struct err *err)
{
	const json_t *workers = json_object_get(spec, "workers");
	json_int_t count =
		workers != NULL ? json_integer_value(workers) : LIMIT_WORKERS;
	int rc = text_of(spec, "uuid", n->uuid, sizeof(n->uuid), err);

	if (rc == 0)
		rc = text_of(spec, "id", n->id, sizeof(n->id), err);
	if (rc == 0 && json_object_get(spec, "instances") == NULL)
		rc = text_of(spec, "url", n->url, sizeof(n->url), err);
	if (rc == 0 && (count < 1 || count > INTERLAY_RELAYS_MAX))
		rc = err_set(err, ERR_USAGE, "workers: 1 to %d",
		             INTERLAY_RELAYS_MAX);
	n->held = json_is_true(json_object_get(spec, "held"));
	n->is_instance = json_is_true(json_object_get(spec, "is_instance"));
	n->is_node = json_is_true(json_object_get(spec, "is_node"));
	*ret_workers = (uint32_t)count;
	return rc;
}

/* host.lock is held. */
static int
begin_line(struct host *h, struct line *n, const json_t *spec,
           struct opening *o, struct err *err)
{
	const json_t *list = json_object_get(spec, "instances");
	struct spread_conf *spread = NULL;
	char listen[128];
	int rc = 0;

	if (line_find(h, n->uuid) != NULL)
		return err_set(err, ERR_EXISTS, "interlay %s runs already",
		               n->id);
	if (n->is_instance)
		rc = instance_listen(h, n->uuid, listen, err);
	else
		rc = text_of(spec, "listen", listen, sizeof(listen), err);
	if (rc == 0 && list != NULL) {
		const json_t *by_slot = json_object_get(spec, "by_slot");

		spread = calloc(1, sizeof(*spread));
		rc = spread == NULL
		             ? err_set(err, ERR_NOMEM, "out of memory")
		             : instance_read(h, list,
		                             json_is_true(json_object_get(
						     spec, "refuse_across")),
		                             spread, err);
		if (rc == 0 && spread != NULL) {
			spread->by_slot = json_is_true(by_slot);
			if (spread->by_slot) {
				spread->speakers = &n->speakers;
				spread->owners = &n->owners;
			}
		}
	}
	o->listen = listen;
	o->spread = spread;
	if (rc == 0)
		rc = open_line(n, o, err);
	if (rc == 0) {
		n->next = h->lines;
		h->lines = n;
		part_speakers(h);
	}
	o->listen = NULL; /* both were for this call */
	o->spread = NULL;
	free(spread);
	return rc;
}

int
host_interlay_start(struct host *h, const json_t *spec, struct err *err)
{
	struct line *n = calloc(1, sizeof(*n));
	struct opening o = {
		.held = json_is_true(json_object_get(spec, "held")),
		.tls = json_object_get(spec, "tls"),
		.auth = json_object_get(spec, "auth"),
		.labels = json_object_get(spec, "labels"),
		.settings = json_object_get(spec, "settings"),
		.pool = json_object_get(spec, "pool"),
		.cluster = json_object_get(spec, "cluster"),
	};
	int rc;

	if (n == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	rc = name_line(n, spec, &o.workers, err);
	host_lock(h);
	if (rc == 0)
		rc = begin_line(h, n, spec, &o, err);
	host_unlock(h);
	if (rc != 0)
		close_line(n);
	return rc;
}

/* Under the lock of the host; NULL with *err. */
static struct line *
running(struct host *h, const char *uuid, struct err *err)
{
	struct line *n = line_find(h, uuid);

	if (n == NULL)
		(void)err_set(err, ERR_MISSING, "interlay %s does not run",
		              uuid);
	return n;
}

int
host_interlay_tls(struct host *h, const char *uuid, const json_t *tls,
                  struct err *err)
{
	struct line *n;
	int rc;

	host_lock(h);
	n = running(h, uuid, err);
	if (n == NULL)
		rc = -(int)err->code;
	else if (!json_is_object(tls) && n->l->tls != NULL)
		rc = err_set(err, ERR_STATE,
		             "interlay %s listens in TLS; stop and start it",
		             n->id);
	else
		rc = set_tls(n, tls, err);
	host_unlock(h);
	return rc;
}

int
host_interlay_auth(struct host *h, const char *uuid, const json_t *auth,
                   struct err *err)
{
	struct line *n;
	int rc;

	host_lock(h);
	n = running(h, uuid, err);
	if (n == NULL)
		rc = -(int)err->code;
	else if (json_is_object(auth) && n->l->dialect != &dialect_redis)
		rc = err_set(err, ERR_UNABLE,
		             "interlay %s: not possible for %s: users of its "
		             "own",
		             n->id, n->l->dialect->name);
	else if (!json_is_object(auth) && n->l->door != NULL)
		rc = err_set(err, ERR_STATE,
		             "interlay %s has users of its own; stop and start "
		             "it to pass AUTH through",
		             n->id);
	else
		rc = set_auth(n, auth, err);
	host_unlock(h);
	return rc;
}

struct line *
line_private(struct host *h, const char *url, bool held, struct err *err)
{
	const struct opening o = { .listen = "127.0.0.1:0",
		                   .workers = 1,
		                   .held = held };
	struct line *n = calloc(1, sizeof(*n));

	if (n == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	(void)snprintf(n->url, sizeof(n->url), "%s", url);
	(void)snprintf(n->uuid, sizeof(n->uuid), "private-%016llx",
	               (unsigned long long)os_entropy());
	(void)snprintf(n->id, sizeof(n->id), "templates");
	n->is_private = true;
	if (open_line(n, &o, err) != 0) {
		close_line(n);
		return NULL;
	}
	n->next = h->lines;
	h->lines = n;
	return n;
}

void
line_unlink(struct host *h, struct line *n)
{
	struct line **at = &h->lines;

	while (*at != NULL && *at != n)
		at = &(*at)->next;
	REQUIRE(*at == n);
	*at = n->next;
}

void
line_drop(struct host *h, struct line *n)
{
	line_unlink(h, n);
	close_line(n);
}

void
line_end(struct line *n)
{
	interlay_stop(n->l);
	n->l = NULL;
	close_line(n);
}

int
host_interlay_stop(struct host *h, const char *uuid, struct err *err)
{
	struct line *n;
	int rc = 0;

	host_lock(h);
	n = line_find(h, uuid);
	if (n == NULL)
		rc = err_set(err, ERR_MISSING, "interlay %s does not run",
		             uuid);
	else if (n->used_by[0] != '\0')
		rc = err_set(err, ERR_STATE,
		             "interlay %s is used by the migration %s; roll "
		             "it back or complete it first",
		             n->id, n->used_by);
	else
		line_unlink(h, n);
	host_unlock(h);
	if (rc != 0 || n == NULL)
		return rc;
	line_end(n);
	return 0;
}

/* Hold, unless it is held anyway; drain. */
static int
stand_still(struct line *n, struct err *err)
{
	struct mail hold = { .kind = MAIL_HOLD, .epoch = 1 };

	if (n->held)
		return 0;
	hold.deadline_ns = os_mono_ns() + LIMIT_DRAIN_MS * NS_PER_MS;
	interlay_tell(n->l, &hold);
	return interlay_hear(n->l, MAIL_DRAINED, LIMIT_HOLD_MS, err);
}

/* Hold, drain, the other endpoint, go on: no request is lost or made twice. */
static int
repoint(struct line *n, const struct url *to, struct err *err)
{
	struct mail go = { .kind = MAIL_RELEASE };
	struct side_conf alone[SIDE_N];
	struct side_conf both[SIDE_N];
	struct interlay_pair p;
	struct url from;
	struct err back;
	int rc = url_parse(n->url, &from, err);

	if (rc == 0)
		rc = url_side(&from, SIDE_OLD, &both[SIDE_OLD], err);
	if (rc == 0)
		rc = url_side(to, SIDE_NEW, &both[SIDE_NEW], err);
	if (rc != 0)
		return rc;
	for (int s = 0; s < SIDE_N; s++)
		both[s].at.by_cluster = n->is_node;
	p = interlay_alone(&both[SIDE_OLD], alone);
	p.side = both;
	rc = interlay_pair(n->l, &p, SIDE_OLD, SIDE_OLD, err);
	if (rc != 0)
		return rc;
	rc = stand_still(n, err);
	go.route = p.route;
	go.route.generation++;
	go.route.authority = rc == 0 ? SIDE_NEW : SIDE_OLD;
	interlay_tell(n->l, &go);
	if (interlay_hear(n->l, MAIL_ROUTE_ACK, LIMIT_STOP_MS, &back) != 0)
		return err_set(err, back.code, "%s", back.text);
	p = interlay_alone(&both[go.route.authority], alone);
	if (interlay_pair(n->l, &p, go.route.authority, SIDE_OLD, &back) != 0)
		return err_set(err, back.code, "%s", back.text);
	return rc;
}

int
line_release(struct line *n, const char *url, struct err *err)
{
	struct mail go = { .kind = MAIL_RELEASE,
		           .route = { .authority = SIDE_OLD,
		                      .ack = ACK_AUTHORITY,
		                      .generation = 1 } };
	struct url from;
	struct url to;
	int rc = url_parse(n->url, &from, err);

	if (rc == 0)
		rc = url_parse(url, &to, err);
	if (rc != 0)
		return rc;
	if (!url_same(&from, &to)) {
		rc = repoint(n, &to, err);
		if (rc == 0)
			(void)snprintf(n->url, sizeof(n->url), "%s", url);
		return rc;
	}
	interlay_tell(n->l, &go);
	return interlay_hear(n->l, MAIL_ROUTE_ACK, LIMIT_STOP_MS, err);
}

int
host_interlay_repoint(struct host *h, const char *uuid, const char *url,
                      struct err *err)
{
	struct client *c;
	struct line *n;
	struct url to;
	int rc = url_parse(url, &to, err);

	if (rc != 0)
		return rc;
	/* Nobody is sent where nobody is. */
	c = client_open(&to.at, LIMIT_PREFLIGHT_MS, err);
	if (c == NULL)
		return err_wrap(err, "%s", to.label);
	client_close(c);
	host_lock(h);
	n = line_find(h, uuid);
	if (n == NULL)
		rc = err_set(err, ERR_MISSING, "interlay %s does not run",
		             uuid);
	else if (n->l->spread != NULL)
		rc = err_set(err, ERR_STATE,
		             "interlay %s has instances; give them other "
		             "endpoints",
		             n->id);
	else if (n->used_by[0] != '\0')
		rc = err_set(err, ERR_STATE,
		             "interlay %s is used by the migration %s", n->id,
		             n->used_by);
	else
		(void)snprintf(n->used_by, sizeof(n->used_by), "a change");
	host_unlock(h);
	if (rc != 0 || n == NULL)
		return rc;
	rc = repoint(n, &to, err);
	host_lock(h);
	if (rc == 0)
		(void)snprintf(n->url, sizeof(n->url), "%s", url);
	n->used_by[0] = '\0';
	host_unlock(h);
	return rc;
}

static uint64_t
get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

json_t *
host_interlay_status(struct host *h, const char *uuid)
{
	struct line *n;
	uint64_t clients = 0;
	uint64_t requests = 0;
	uint64_t errors = 0;
	uint64_t failed = 0;
	json_t *ret = NULL;

	host_lock(h);
	n = line_find(h, uuid);
	for (uint32_t i = 0; n != NULL && i < n->l->n; i++) {
		const struct traffic *t = &n->l->traffic[i];

		clients +=
			atomic_load_explicit(&t->clients, memory_order_relaxed);
		requests += get(&t->requests);
		errors += get(&t->errors[0]) + get(&t->errors[1]);
		failed += get(&t->auth_failed);
	}
	if (n != NULL)
		ret = json_pack(
			"{s:b,s:b,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o}",
			"running", 1, "held", n->held, "id", n->id, "listen",
			n->l->listen, "port", (json_int_t)n->l->port, "workers",
			(json_int_t)n->l->n, "clients", (json_int_t)clients,
			"requests", (json_int_t)requests, "errors",
			(json_int_t)errors, "auth_failed", (json_int_t)failed,
			"migration",
			n->used_by[0] != '\0' ? json_string(n->used_by)
					      : json_null());
	host_unlock(h);
	return ret;
}

int
host_interlay_view(struct host *h, const char *uuid,
                   const struct view_page *page, json_t **ret_rows,
                   json_t **ret_next, struct err *err)
{
	struct line *n;
	int rc;

	host_lock(h);
	n = running(h, uuid, err);
	rc = n != NULL ? view_interlay(n->l, page, ret_rows, ret_next, err)
	               : -(int)err->code;
	host_unlock(h);
	return rc;
}

/* Tell those of a kind to stop all at once, and wait for one after the other. */
static void
stop_idle(struct host *h, bool fronts)
{
	struct mail m = { .kind = MAIL_STOP };

	for (struct line *n = h->lines; n != NULL; n = n->next) {
		if (n->used_by[0] == '\0' && (n->l->spread != NULL) == fronts)
			interlay_tell(n->l, &m);
	}
	for (struct line *n = h->lines; n != NULL; n = n->next) {
		struct err err;

		/* Those of a leg were told by it, and have answered it. */
		if (n->used_by[0] == '\0' && (n->l->spread != NULL) == fronts &&
		    interlay_hear(n->l, MAIL_STOPPED, LIMIT_STOP_MS, &err) != 0)
			host_say(h, NULL, "trouble", err.text);
	}
}

void
line_stop_fronts(struct host *h)
{
	stop_idle(h, true);
}

void
line_free_all(struct host *h)
{
	stop_idle(h, false);
	while (h->lines != NULL) {
		struct line *n = h->lines;

		h->lines = n->next;
		close_line(n);
	}
}
