/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/mailbox.h: mails on their way to one thread.
 *
 * Owns:   copies of the mails until they are taken.
 * Limits: MAILBOX_MAX; mails are decisions, a few a second. More waiting means
 *         that the receiver is dead, and then going on would be a lie.
 * Thread: any.
 */
#pragma once

#include <pthread.h>

#include "engine/mail.h"

#define MAILBOX_MAX 65536

struct mailbox_node {
	struct mailbox_node *next;
	struct mail mail;
};

struct mailbox {
	pthread_mutex_t lock;
	struct mailbox_node *first;
	struct mailbox_node *last;
	uint32_t n;
};

void mailbox_init(struct mailbox *b);
void mailbox_fini(struct mailbox *b);

/* Append a copy. */
void mailbox_put(struct mailbox *b, const struct mail *m);
/* All mails in order; the caller gives each node to mailbox_done(). */
struct mailbox_node *mailbox_take(struct mailbox *b);
void mailbox_done(struct mailbox_node *n);
