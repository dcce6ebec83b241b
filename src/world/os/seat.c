/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/seat.c: who sits where a node of a cluster was.
 */
#include "world/os/seat.h"

#include <pthread.h>
#include <stdio.h>

#define HOST_MAX sizeof(((struct address *)NULL)->host)

struct seat {
	char named[HOST_MAX];
	char host[HOST_MAX];
	uint16_t named_port;
	uint16_t port;
};

static pthread_mutex_t seats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct seat seats[SEATS_MAX];
static uint32_t seat_n;

static struct seat *
find(const struct address *named)
{
	for (uint32_t i = 0; i < seat_n; i++) {
		if (seats[i].named_port == named->port &&
		    strcmp(seats[i].named, named->host) == 0)
			return &seats[i];
	}
	return NULL;
}

void
seat_set(const struct address *named, const char *host, uint16_t port)
{
	struct seat *s;

	(void)pthread_mutex_lock(&seats_lock);
	s = find(named);
	if (s == NULL && seat_n < SEATS_MAX) {
		s = &seats[seat_n++];
		(void)snprintf(s->named, sizeof(s->named), "%s", named->host);
		s->named_port = named->port;
	}
	if (s != NULL) {
		(void)snprintf(s->host, sizeof(s->host), "%s", host);
		s->port = port;
	}
	(void)pthread_mutex_unlock(&seats_lock);
}

struct address
seat_of(const struct address *to)
{
	struct address ret = *to;
	const struct seat *s;

	ret.by_cluster = false;
	if (!to->by_cluster)
		return ret;
	(void)pthread_mutex_lock(&seats_lock);
	s = find(to);
	if (s != NULL) {
		memcpy(ret.host, s->host, sizeof(ret.host));
		ret.port = s->port;
	}
	(void)pthread_mutex_unlock(&seats_lock);
	return ret;
}
