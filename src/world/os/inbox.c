/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/inbox.c: mails to the control thread, with a descriptor to poll.
 *
 * The descriptor is readable from the first mail on until a take finds the
 * inbox empty; the eventfd and the mails change under one lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"
#include "world/os/mailbox.h"

struct inbox {
	pthread_mutex_t lock; /* over box, taken and the eventfd together */
	struct mailbox box;
	struct mailbox_node *taken; /* taken out of box, not yet handed on */
	bool raised;
	int fd;
};

struct inbox *
inbox_new(struct err *err)
{
	struct inbox *ib = calloc(1, sizeof(*ib));

	if (ib == NULL) {
		(void)err_set(err, ERR_NOMEM, "no memory for an inbox");
		return NULL;
	}
	ib->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ib->fd < 0) {
		(void)err_set(err, ERR_IO, "cannot make an eventfd: %s",
		              strerrordesc_np(errno));
		free(ib);
		return NULL;
	}
	(void)pthread_mutex_init(&ib->lock, NULL);
	mailbox_init(&ib->box);
	return ib;
}

void
inbox_free(struct inbox *ib)
{
	struct mail ignored;

	if (ib == NULL)
		return;
	while (inbox_take(ib, &ignored))
		;
	mailbox_fini(&ib->box);
	(void)pthread_mutex_destroy(&ib->lock);
	(void)close(ib->fd);
	free(ib);
}

int
inbox_fd(const struct inbox *ib)
{
	return ib->fd;
}

void
inbox_put(struct inbox *ib, const struct mail *m)
{
	uint64_t one = 1;

	(void)pthread_mutex_lock(&ib->lock);
	mailbox_put(&ib->box, m);
	if (!ib->raised) {
		ib->raised = true;
		if (write(ib->fd, &one, sizeof(one)) != sizeof(one))
			NEVER("an eventfd of zero refuses one");
	}
	(void)pthread_mutex_unlock(&ib->lock);
}

bool
inbox_take(struct inbox *ib, struct mail *ret)
{
	struct mailbox_node *n;
	uint64_t count;

	(void)pthread_mutex_lock(&ib->lock);
	if (ib->taken == NULL)
		ib->taken = mailbox_take(&ib->box);
	n = ib->taken;
	if (n != NULL)
		ib->taken = n->next;
	else if (ib->raised) {
		ib->raised = false;
		if (read(ib->fd, &count, sizeof(count)) != sizeof(count))
			NEVER("an eventfd of one gives nothing");
	}
	(void)pthread_mutex_unlock(&ib->lock);
	if (n == NULL)
		return false;
	*ret = n->mail;
	mailbox_done(n);
	return true;
}
