/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/serve.h: the daemon, from its configuration to its end.
 *
 *	lock, store, auth -> host -> API listens (readyz 503) -> interlays and
 *	migrations are started -> READY=1
 *	SIGTERM, SIGINT: readyz 503 -> the listener closes, running calls end
 *	-> host -> auth, store, lock. SIGHUP: reload.
 *
 * Owns:   everything of a daemon.
 * Thread: the main one; SIGTERM, SIGINT, SIGHUP are taken by it.
 */
#pragma once

#include "base/err.h"

struct serve_conf {
	const char *config; /* path or NULL                              */
	/* Options of the command line; NULL: as the file says.          */
	const char *listen;
	const char *admin;
	const char *state;
	const char *admin_token_file;
	bool is_check; /* look at the configuration and end            */
	bool is_json;
	bool is_quiet;   /* only what went wrong is said             */
	bool leaves_int; /* SIGINT is the caller's                   */
	/* The API is there, on this port; NULL: nobody wants to know.     */
	void (*on_up)(void *arg, uint16_t port);
	void *arg;
};

/* Runs until told to stop. 0, or what was in the way of the start. */
int serve(const struct serve_conf *c, struct err *err) MUST;
