/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/web.h: requests to a server of godwit serve, over libcurl.
 *
 * No redirects (a token is for the server that it was given for), no proxy to a
 * loopback address, certificates are checked.
 *
 * Owns:   the connection and the last answer's headers.
 * Limits: WEB_BYTES of an answer, WEB_CONNECT_MS, WEB_TOTAL_MS.
 * Thread: one at a time for each struct web.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define WEB_BYTES      ((size_t)64 * 1024 * 1024)
#define WEB_CONNECT_MS 5000
#define WEB_TOTAL_MS   300000 /* a verb answers when its effect is complete   */
#define WEB_SERVER_MAX 512
#define WEB_TAG_MAX    48

struct web;

struct web_request {
	const char *method;
	const char *path; /* "/api/v1/..." with its query                    */
	const json_t *body; /* NULL: none                                  */
	const char *token;  /* Bearer; NULL: none                            */
	const char *user;   /* Basic, with password; NULL: none              */
	const char *password;
	const char *org;     /* X-Org-Id; NULL: none                         */
	const char *key;     /* Idempotency-Key; NULL: none                  */
	const char *match;   /* If-Match; NULL: none                         */
	uint32_t total_ms;   /* 0: WEB_TOTAL_MS                             */
	uint32_t connect_ms; /* 0: WEB_CONNECT_MS                           */
	const char
		*last_event; /* Last-Event-ID of a stream; NULL: none        */
};

struct web_answer {
	int status;       /* of HTTP                                         */
	json_t *body;     /* the envelope, NULL when there was none          */
	uint32_t retry_s; /* Retry-After, 0: none                           */
	char tag[WEB_TAG_MAX]; /* ETag without its quotes; "": none          */
};

/* "http://h:8000/" as "http://h:8000". ERR_USAGE: another scheme, a user in it,
 * a query. ret has WEB_SERVER_MAX bytes. */
int web_server(const char *url, char *ret, struct err *err) MUST;
/* Is the password readable on the way there? */
bool web_is_plain(const char *server);

/* server: as of web_server(); ca_file: "" or NULL: the system's. */
struct web *web_new(const char *server, const char *ca_file, struct err *err);
void web_free(struct web *w);

/* 0 when HTTP answered, whatever it said. ERR_LOST: nobody there (or it went
 * away), ERR_TIMEOUT, ERR_AUTH: certificate, ERR_PROTO: that is no Godwit. */
int web_call(struct web *w, const struct web_request *r, struct web_answer *ret,
             struct err *err) MUST;
void web_answer_fini(struct web_answer *a);

/* Bytes of a stream as they come; false ends it. */
typedef bool web_data_f(void *arg, const char *p, size_t n);
/* Asked four times a second; false ends it. */
typedef bool web_idle_f(void *arg);

struct web_stream {
	web_data_f *on_data;
	web_idle_f *on_idle; /* may be NULL                                  */
	void *arg;
};

/* Until the stream ends. 0 then, also when a function ended it; an answer that
 * is no stream is in *ret. */
int web_stream(struct web *w, const struct web_request *r,
               const struct web_stream *s, struct web_answer *ret,
               struct err *err) MUST;

/* From another thread: the request that is under way ends with ERR_LOST, and so
 * does each one after it. */
void web_abort(struct web *w);

/* %XX for what is not allowed in a segment or a query's value. */
void web_escape(const char *text, char *ret, size_t n);
/* A fresh Idempotency-Key. */
void web_key(char ret[40]);
