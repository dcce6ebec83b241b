/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/api.h: the REST API over store, auth and host.
 *
 * A request goes: router, identity, role, body, Idempotency-Key, its function,
 * audit, envelope. Nothing here knows sockets: http.c brings requests.
 *
 * Owns:   nothing of what it is given.
 * Thread: api_handle from any thread.
 */
#pragma once

#include "control/api/http.h"
#include "control/auth/auth.h"
#include "control/host/host.h"

struct api;
struct event_log;

struct api_conf {
	const char *version;
	size_t body_max;
	bool has_admin; /* health and metrics are on an address of their own */
};

struct api *api_new(const struct api_conf *c, struct store *s, struct auth *a,
                    struct event_log *events, struct err *err);
void api_free(struct api *a); /* NULL is fine */
/* From then on calls that need it do not answer 503. NULL: it is gone. */
void api_set_host(struct api *a, struct host *h);
/* /readyz says 200 (or 503 again). */
void api_set_ready(struct api *a, bool is_ready);

/* A http_handle_f: arg is the api. */
void api_handle(void *arg, const struct http_request *r,
                struct http_answer *ret);
/* The same for the admin address: health and metrics alone. */
void api_handle_admin(void *arg, const struct http_request *r,
                      struct http_answer *ret);

/* host.h's callbacks; arg is the api. */
void api_on_event(void *arg, const json_t *event);
void api_on_state(void *arg, const char *migration, const char *state,
                  const json_t *status);

/* Start every interlay that shall run, and every migration that was under way.
 * What does not start is told (event, and stderr by tell), and does not stop
 * the others. */
void api_start_all(struct api *a, void (*tell)(const char *text));
/* What could not be started is not tried again from now on. Before the host goes. */
void api_stop(struct api *a);
