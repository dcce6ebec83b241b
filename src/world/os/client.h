/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/client.h: a blocking connection with deadlines.
 *
 * For the control half only (preflight, fence, verification driver): one
 * request, one answer. Never on the data path.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"

struct client;

struct client *client_open(const struct address *to, uint32_t timeout_ms,
                           struct err *err);
void client_close(struct client *c); /* NULL is fine */

/* Send out, then read until `n` complete RESP replies are there. They stay
 * valid in *ret_replies until the next call. 0, ERR_LOST, ERR_TIMEOUT,
 * ERR_PROTO. */
int client_call(struct client *c, struct span out, uint32_t n,
                uint32_t timeout_ms, struct span *ret_replies,
                struct err *err) MUST;

/* The two halves of client_call, so that two servers work at the same time and
 * requests can be sent ahead: send all of out (the peer's replies are not read
 * meanwhile); then read until n more replies are complete. Replies beyond n
 * stay buffered for the next client_recv. */
int client_send(struct client *c, struct span out, uint32_t timeout_ms,
                struct err *err) MUST;
int client_recv(struct client *c, uint32_t n, uint32_t timeout_ms,
                struct span *ret_replies, struct err *err) MUST;

int client_fd(const struct client *c);
