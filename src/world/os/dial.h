/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/dial.h: from a struct address to a socket that is connecting.
 *
 * A name may stand for several addresses ("localhost": ::1 and 127.0.0.1); they
 * are tried one after the other.
 *
 * Limits: DIAL_MAX addresses a name, DIAL_TIMEOUT_MS for all of them together.
 * Thread: any, one at a time for each struct dial.
 */
#pragma once

#include <sys/socket.h>

#include "base/err.h"
#include "engine/engine.h"

#define DIAL_MAX        4
#define DIAL_TIMEOUT_MS 5000 /* a server that takes longer is not usable */
#define DIAL_NAME_MAX   128

struct dial {
	struct sockaddr_storage at[DIAL_MAX];
	socklen_t len[DIAL_MAX];
	uint32_t n;
	uint32_t next; /* the address that dial_next() tries */
};

/* "host:port", "[v6]:port" or the path; for messages. */
void dial_name(const struct address *to, char ret_name[DIAL_NAME_MAX]);

/* Fill *d. Numeric addresses and paths at once; names are looked up by
 * getaddrinfo(), which may BLOCK the thread for as long as the resolver likes, and
 * sentinels are asked (sentinel.h), which BLOCKS, too.
 * 0, ERR_BAD (no such form), ERR_LOST (name unknown). */
int dial_resolve(struct dial *d, const struct address *to,
                 struct err *err) MUST;

/* A non-blocking socket that is connecting to the next address (or already
 * connected: *ret_up), -1 when none is left or this one failed at once
 * (*ret_errno says why; call again while dial_more()). */
int dial_next(struct dial *d, bool *ret_up, int *ret_errno);
bool dial_more(const struct dial *d);

/* After the socket became writable: 0 when it is connected, else an errno. A
 * socket that the kernel connected to itself (loopback, ephemeral port, nobody
 * listening) counts as refused. */
int dial_outcome(int fd);
