/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/seat.c: who sits where a node of a cluster was.
 */
#include "world/os/seat.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX sizeof(((struct address *)NULL)->host)

struct seat {
	char named[HOST_MAX];
	char host[HOST_MAX]; /* "": itself, nobody has said anything */
	uint16_t named_port;
	uint16_t port;
	uint32_t users;
	uint64_t spoken; /* when it was spoken of last, counted */
};

static pthread_mutex_t seats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct seat *seats;
static uint32_t seat_n;
static uint32_t seat_cap;
static uint64_t now;

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

/* The place of the one to be forgotten, or NULL: there is room for it. */
static struct seat *
forget_one(void)
{
	struct seat *oldest = NULL;
	uint32_t idle = 0;

	for (uint32_t i = 0; i < seat_n; i++) {
		if (seats[i].users > 0)
			continue;
		idle++;
		if (oldest == NULL || seats[i].spoken < oldest->spoken)
			oldest = &seats[i];
	}
	return idle >= SEATS_IDLE ? oldest : NULL;
}

static struct seat *
one_more(void)
{
	uint32_t cap = seat_cap == 0 ? SEATS_IDLE : seat_cap * 2;
	struct seat *s;

	if (seat_n < seat_cap)
		return &seats[seat_n++];
	s = realloc(seats, cap * sizeof(*s));
	if (s == NULL)
		return NULL;
	seats = s;
	seat_cap = cap;
	return &seats[seat_n++];
}

/* The one of this name, made if there is none; NULL: no memory. */
static struct seat *
take(const struct address *named)
{
	struct seat *s = find(named);

	if (s == NULL) {
		s = forget_one();
		if (s == NULL)
			s = one_more();
		if (s == NULL)
			return NULL;
		memset(s, 0, sizeof(*s));
		(void)snprintf(s->named, sizeof(s->named), "%s", named->host);
		s->named_port = named->port;
	}
	s->spoken = ++now;
	return s;
}

void
seat_hold(const struct address *named)
{
	struct seat *s;

	(void)pthread_mutex_lock(&seats_lock);
	s = take(named);
	if (s != NULL)
		s->users++;
	(void)pthread_mutex_unlock(&seats_lock);
}

void
seat_leave(const struct address *named)
{
	struct seat *s;

	(void)pthread_mutex_lock(&seats_lock);
	s = find(named);
	if (s != NULL && s->users > 0) {
		s->users--;
		s->spoken = ++now;
	}
	(void)pthread_mutex_unlock(&seats_lock);
}

void
seat_set(const struct address *named, const char *host, uint16_t port)
{
	struct seat *s;

	(void)pthread_mutex_lock(&seats_lock);
	s = take(named);
	if (s != NULL) {
		(void)snprintf(s->host, sizeof(s->host), "%s", host);
		s->port = port;
	}
	(void)pthread_mutex_unlock(&seats_lock);
}

uint32_t
seat_count(void)
{
	uint32_t n;

	(void)pthread_mutex_lock(&seats_lock);
	n = seat_n;
	(void)pthread_mutex_unlock(&seats_lock);
	return n;
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
	if (s != NULL && s->host[0] != '\0') {
		memcpy(ret.host, s->host, sizeof(ret.host));
		ret.port = s->port;
	}
	(void)pthread_mutex_unlock(&seats_lock);
	return ret;
}
