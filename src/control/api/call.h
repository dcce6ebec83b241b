/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/call.h: one call on its way through the API.
 *
 * dispatch.c fills the upper half (who, what, with which body), one function of
 * tables/api.tbl (on_<name>, in the on_*.c files) fills the answer.
 *
 * Owns:   body, query, data and what is said so below; ended by dispatch.c.
 * Thread: one at a time for each call.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "control/api/api.h"
#include "control/api/http.h"
#include "control/api/router.h"
#include "control/api/shape.h"
#include "control/auth/auth.h"
#include "control/host/host.h"
#include "control/store/entity.h"

#define CALL_LIMIT_MAX 1000
#define CALL_LIMIT     100
#define CALL_LOCKS     64

struct api {
	struct api_conf conf;
	struct store *store;
	struct auth *auth;
	struct host *host;
	struct event_log *events;
	/* One verb at a time for a thing: by hash of its uuid. */
	pthread_mutex_t locks[CALL_LOCKS];
	struct again *again;
	_Atomic bool is_ready;
	_Atomic uint64_t answers[6]; /* by class of status; [0]: all        */
};

struct call {
	struct api *api;
	const struct http_request *in;
	const struct router_row *route;
	struct router_match match;
	struct identity who;
	struct auth_request credentials;
	bool is_known; /* who is filled                                   */
	json_t *query; /* names to texts                                  */
	json_t *body;  /* canonical; an empty object when none was sent   */
	bool dry_run;
	const char *reason;    /* of the body, or NULL                      */
	enum entity_kind kind; /* ENTITY_N: the path names no thing        */
	json_t *row; /* the thing of the path's first place, or NULL    */
	uint32_t limit;
	const char *after;

	int status;   /* 0: the route's                                   */
	json_t *data; /* of the envelope                                  */
	json_t *next; /* of a list: what to pass as after, or null        */
	char *text;   /* R: the whole answer, malloced                    */
	const char *type;
	json_t *headers;
	uint32_t retry_s;
	char param[SHAPE_PARAM];
	char subject_id[ROUTE_ARG]; /* for the audit log: which thing      */
	struct {
		struct store_rider rider;
		int64_t seq;    /* of its row; 0: none yet */
		bool has_begun; /* the row says "begun"    */
	} trail;
	http_read_f *read; /* S                                            */
	http_close_f *close;
	void *stream;
};

typedef int call_f(struct call *c, struct err *err);

#define X(name, method, path, role, body, answer, status, flags, summary) \
	call_f on_##name;
#include "api.tbl"
#undef X

/* ---- what the functions share --------------------------------------------- */

/* The organization of the caller. */
const char *call_org(const struct call *c);
/* The thing of another place in the path, or of a field of the body (param names
 * it in the error): a new reference. */
json_t *call_find(struct call *c, enum entity_kind k, const char *id,
                  const char *param, struct err *err);
/* A new row of the kind with the id of the body, and its links to what it needs,
 * both or none: a new reference, NULL with *err. */
json_t *call_add(struct call *c, enum entity_kind k, const json_t *body,
                 const json_t *needs, struct err *err);
/* If-Match of the call against the row. */
int call_match(struct call *c, const json_t *row, struct err *err) MUST;
void call_header(struct call *c, const char *name, const char *value);
/* ETag of a row. */
void call_etag(struct call *c, const json_t *row);
/* The answer of a list: rows through view; steals rows. */
typedef json_t *call_view_f(struct call *c, const json_t *row);
int call_list(struct call *c, json_t *rows, call_view_f *view, struct err *err);
/* The page of a kind that the call asks for. */
int call_entities(struct call *c, enum entity_kind k, call_view_f *view,
                  struct err *err) MUST;
/* The answer is this row, with its ETag. */
int call_row(struct call *c, const json_t *row, call_view_f *view,
             struct err *err) MUST;
/* What was made (stolen) is the answer; NULL: *err says why there is none. */
int call_made(struct call *c, json_t *row, call_view_f *view,
              struct err *err) MUST;
/* on_<name>_list and on_<name>_get of a kind that is read like any other. */
#define CALL_READS(name, kind, view)                          \
	int on_##name##_list(struct call *c, struct err *err) \
	{                                                     \
		return call_entities(c, (kind), (view), err); \
	}                                                     \
	int on_##name##_get(struct call *c, struct err *err)  \
	{                                                     \
		return call_row(c, c->row, (view), err);      \
	}
/* A row and the roles on it go together; answers the call. */
int call_delete(struct call *c, const json_t *row, enum entity_kind k,
                struct err *err) MUST;
/* The answer is this object (stolen); ERR_NOMEM when it is NULL. */
int call_data(struct call *c, json_t *data, struct err *err) MUST;
int call_done(struct call *c, const char *id, struct err *err) MUST;
/* One at a time for a uuid. */
void api_lock(struct api *a, const char *uuid);
void api_unlock(struct api *a, const char *uuid);
void call_lock(struct call *c, const char *uuid);
void call_unlock(struct call *c, const char *uuid);

/* A field of a body: NULL and null are no text. */
const char *call_text(const json_t *object, const char *name);
/* Members of `from` that `names` lists (NULL at the end) are copied into `to`;
 * null takes them away. */
void call_merge(json_t *to, const json_t *from, const char *const *names);
/* {"id","uuid","created_by","created_at","updated_at"} of a row. */
json_t *call_stamp(const json_t *row);

/* ---- across the on_*.c files ---------------------------------------------- */

/* The URL of an endpoint's row with its secret; auth_wipe() it. */
char *endpoint_url(struct api *a, const json_t *row, struct err *err);
struct url;
/* A new endpoint (new reference), or NULL. labels may be NULL. */
json_t *endpoint_add(struct call *c, const char *id, const struct url *u,
                     const json_t *labels, struct err *err);
/* By uuid; *ret_id (may be NULL) gets its id. */
char *endpoint_url_of(struct api *a, const char *uuid, struct err *err);
/* The id of the thing with this uuid, "" when it is gone. ret has 65 bytes. */
void thing_id(struct api *a, const char *uuid, char *ret);

/* Start the interlay of a row at its endpoint. is_held: requests wait until a
 * migration that is resumed takes it. */
int interlay_run(struct api *a, const json_t *row, bool is_held,
                 struct err *err) MUST;
/* The migration that has the interlay or api now (new reference), or NULL. */
json_t *migration_of(struct api *a, const char *uuid);
/* The migration that moves clients away from this endpoint now, or NULL. */
json_t *migration_from(struct api *a, const char *endpoint);

/* Run a template of a row with parameters; where: what host_command() gets. */
int template_call(struct api *a, const json_t *row, const json_t *params,
                  const char *url, const char *migration, json_t **ret,
                  char *param, struct err *err) MUST;
bool template_is_read(const json_t *row);

/* Bindings of a body in their canonical form (new reference), the uuids of
 * their templates into needs. */
json_t *api_bindings(struct call *c, const json_t *given, json_t *needs,
                     struct err *err);

/* The answer of the migration's row, live. */
json_t *migration_view(struct call *c, const json_t *row);
