/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/remote.h: a server of godwit serve, and who we are there.
 *
 * The server: --server, GODWIT_SERVER, the one of the last login,
 * http://127.0.0.1:8000. The token: --token-file (GODWIT_TOKEN_FILE),
 * GODWIT_TOKEN, the login at this server. A session is renewed before it ends.
 *
 * Owns:   the connection, the token.
 * Thread: one at a time for each struct remote.
 */
#pragma once

#include "bin/api/web.h"
#include "bin/args.h"

#define REMOTE_TOKEN_MAX 8192

struct remote {
	char server[WEB_SERVER_MAX];
	const char *org;     /* --org, or NULL                             */
	const char *ca_file; /* or NULL                                    */
	char *token;         /* NULL: none                                 */
	bool is_session;     /* of a login: renewed, read again after 401   */
	bool is_quick;       /* never waits long, never renews              */
	int64_t expires_ms;
	int64_t life_s;
	struct web *web;
};

/* A session without a token is fine here: the call will be refused. */
int remote_open(struct remote *r, const struct args *a, struct err *err) MUST;
/* Another connection to the same server as the same one, for another thread. */
int remote_clone(const struct remote *from, struct remote *ret,
                 struct err *err) MUST;
void remote_close(struct remote *r);

/* Only the server of args or the last login; ret has WEB_SERVER_MAX bytes. */
int remote_server(const struct args *a, char *ret, struct err *err) MUST;

/* web_call() with our token. ERR_UNAUTHORIZED before asking, when the login has
 * ended. */
int remote_call(struct remote *r, const struct web_request *q,
                struct web_answer *ret, struct err *err) MUST;
/* A token that will do for a while into q; renewed when it has to be. */
int remote_sign(struct remote *r, struct web_request *q, struct err *err) MUST;

/* Does the login end soon? */
bool remote_is_due(const struct remote *r);

/* The error of an envelope (status 4xx or 5xx) as ours: its code by name, its
 * message. 0: it is a success. */
int remote_refusal(const struct web_answer *a, struct err *err) MUST;

/* An answer of login or refresh into the file. */
int remote_keep(const char *server, const char *user, const json_t *data,
                const char *kind, struct err *err) MUST;
/* One line of a file ("-": standard input), without its end; malloced. */
char *remote_read_line(const char *file, const char *what, struct err *err);
int64_t remote_now_ms(void);
