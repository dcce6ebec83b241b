/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/http.h: HTTP requests in, answers out (libmicrohttpd).
 *
 * One thread moves bytes for all connections; a request that is whole goes to a
 * pool of threads, so that a call that waits for a server stops nobody else. An
 * answer is a text, or a stream that is asked for more until it ends.
 *
 * A connection has to bring a whole request within request_s after it was
 * accepted or last answered; else it is closed, however slowly it drips.
 *
 * Owns:   listener, connections, threads.
 * Limits: those of struct http_conf; a body beyond body_max is read up to
 *         8 times that and answered 413.
 * Thread: new and free by one; the handler is called from the pool.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

struct http;

struct http_conf {
	const char *listen; /* "127.0.0.1:8000", port 0: the kernel's choice */
	const char *certificate; /* paths; NULL or "": no TLS                */
	const char *key;
	uint32_t threads;
	uint32_t connections;
	uint32_t per_address;
	uint32_t request_s;
	uint32_t header_max; /* bytes of request line and headers           */
	size_t body_max;
};

struct http_request {
	char id[40];        /* told in every answer                         */
	char method[16];    /* "GET"; longer ones are cut                   */
	const char *target; /* "/api/v1/x?y=z" as it came                   */
	const json_t *headers; /* lower-case names to texts                  */
	struct span body;
	bool too_big;  /* body is not there: longer than body_max      */
	char peer[64]; /* "127.0.0.1"                                 */
};

/* Fill buf with at most n bytes: how many, 0: nothing yet (http_wake() asks
 * again), -1: the end. */
typedef int64_t http_read_f(void *stream, char *buf, size_t n);
typedef void http_close_f(void *stream);

struct http_answer {
	int status;
	const char *type; /* a literal                                       */
	char *text;       /* malloced; taken                                 */
	size_t n;
	json_t *headers;   /* names to texts; taken; NULL: none              */
	http_read_f *read; /* not NULL: a stream instead of text            */
	http_close_f *close;
	void *stream;
};

typedef void http_handle_f(void *arg, const struct http_request *r,
                           struct http_answer *ret);

struct http *http_new(const struct http_conf *c, http_handle_f *handle,
                      void *arg, struct err *err);
uint16_t http_port(const struct http *h);
/* Streams are asked again. Any thread, also while a lock is held that the
 * streams' read function takes. */
void http_wake(struct http *h);
/* Certificate and key are read again; the old ones stay when that fails. */
int http_reload(struct http *h, struct err *err) MUST;
/* No new connections; running requests are answered, streams end. */
void http_quiesce(struct http *h);
void http_free(struct http *h); /* NULL is fine */
/* Connections now. */
uint32_t http_connections(struct http *h);
