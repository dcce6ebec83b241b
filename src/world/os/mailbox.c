/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/mailbox.c: mails on their way to one thread.
 */
#include "world/os/mailbox.h"

#include <stdlib.h>

#include "base/check.h"

void
mailbox_init(struct mailbox *b)
{
	*b = (struct mailbox){ .first = NULL };
	(void)pthread_mutex_init(&b->lock, NULL); /* cannot fail on Linux */
}

void
mailbox_fini(struct mailbox *b)
{
	struct mailbox_node *n = mailbox_take(b);

	while (n != NULL) {
		struct mailbox_node *next = n->next;

		mailbox_done(n);
		n = next;
	}
	(void)pthread_mutex_destroy(&b->lock);
}

void
mailbox_put(struct mailbox *b, const struct mail *m)
{
	struct mailbox_node *n = malloc(sizeof(*n));

	if (n == NULL)
		NEVER("no memory for a decision");
	n->next = NULL;
	n->mail = *m;
	(void)pthread_mutex_lock(&b->lock);
	REQUIRE(b->n < MAILBOX_MAX);
	if (b->last == NULL)
		b->first = n;
	else
		b->last->next = n;
	b->last = n;
	b->n++;
	(void)pthread_mutex_unlock(&b->lock);
}

struct mailbox_node *
mailbox_take(struct mailbox *b)
{
	struct mailbox_node *first;

	(void)pthread_mutex_lock(&b->lock);
	first = b->first;
	b->first = NULL;
	b->last = NULL;
	b->n = 0;
	(void)pthread_mutex_unlock(&b->lock);
	return first;
}

void
mailbox_done(struct mailbox_node *n)
{
	free(n);
}
