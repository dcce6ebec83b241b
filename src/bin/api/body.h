/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/body.h: path, query and body of a call, from the command line.
 *
 * The body is --file (JSON or YAML), then the options that are fields of it,
 * then the name of what is made, then NAME=VALUE. A field etag of the file is
 * the --if-match of a change, so that what show --json printed can be edited.
 *
 * Owns:   body.
 * Limits: BODY_BYTES of a file.
 * Thread: the main one.
 */
#pragma once

#include <jansson.h>

#include "bin/action.h"
#include "bin/api/remote.h"

#define BODY_BYTES ((size_t)1024 * 1024)
#define BODY_PATH  2048

struct body {
	char path[BODY_PATH];    /* "/api/v1/..." with its query              */
	json_t *body;            /* NULL: none                                */
	char match[WEB_TAG_MAX]; /* If-Match, with its quotes; "": none      */
};

/* r may be asked for the declared fields of a template or an api that runs. */
int body_make(struct body *ret, const struct args *a, struct remote *r,
              struct err *err) MUST;
void body_fini(struct body *b);

/* A file or "-" as JSON; the message names file and line. NULL: *err. */
json_t *body_read(const char *file, struct err *err);
/* Append ?name=value or &name=value. */
void body_query(struct body *b, const char *name, const char *value);
/* The path of a route with its places filled from texts in their order. */
void body_path(enum router_id route, const char *const place[], uint32_t n,
               char ret[BODY_PATH]);
