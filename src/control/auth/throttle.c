/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/throttle.c: how often somebody may try a password.
 */
#include "control/auth/throttle.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/hash.h"
#include "control/auth/digest.h"
#include "control/limit.h"

#define WAYS 8 /* slots in which one name may be */
#define SETS (LIMIT_LOGIN_KEYS / WAYS)

struct rule {
	uint32_t free_n;
	uint32_t max_s;
};

static const struct rule rule_user = { LIMIT_LOGIN_USER_FREE,
	                               LIMIT_LOGIN_USER_S };
static const struct rule rule_peer = { LIMIT_LOGIN_PEER_FREE,
	                               LIMIT_LOGIN_PEER_S };

int
throttle_init(struct throttle *t)
{
	*t = (struct throttle){ 0 };
	t->slots = calloc(LIMIT_LOGIN_KEYS, sizeof(*t->slots));
	if (t->slots == NULL)
		return -ERR_NOMEM;
	(void)pthread_mutex_init(&t->lock, NULL);
	digest_random(&t->seed, sizeof(t->seed));
	return 0;
}

void
throttle_fini(struct throttle *t)
{
	if (t->slots == NULL)
		return;
	(void)pthread_mutex_destroy(&t->lock);
	free(t->slots);
	t->slots = NULL;
}

static uint64_t
name_user(const struct throttle *t, const char *user)
{
	return hash_bytes(span_str(user), t->seed) | 1;
}

static uint64_t
name_peer(const struct throttle *t, const char *peer)
{
	uint8_t a[16];
	struct span s = span_str(peer);

	if (inet_pton(AF_INET6, peer, a) == 1) {
		static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

		/* ::ffff:1.2.3.4 is 1.2.3.4. */
		s = memcmp(a, mapped, 12) == 0 ? span_of(a + 12, 4)
		                               : span_of(a, 8);
	} else if (inet_pton(AF_INET, peer, a) == 1) {
		s = span_of(a, 4);
	}
	return hash_bytes(s, ~t->seed) | 1;
}

/* The slot of a name, or the one that it may have. */
static struct throttle_slot *
find(struct throttle *t, uint64_t name)
{
	struct throttle_slot *set = &t->slots[(name >> 1) % SETS * WAYS];
	struct throttle_slot *ret = &set[0];

	for (int i = 0; i < WAYS; i++) {
		if (set[i].name == name)
			return &set[i];
		if (set[i].n < ret->n ||
		    (set[i].n == ret->n && set[i].last_ms < ret->last_ms))
			ret = &set[i];
	}
	*ret = (struct throttle_slot){ .name = name };
	return ret;
}

static struct throttle_slot *
slot_of(struct throttle *t, uint64_t name, int64_t now_ms)
{
	struct throttle_slot *s = find(t, name);

	if (now_ms - s->last_ms > LIMIT_LOGIN_FORGET_S * 1000LL ||
	    now_ms < s->last_ms) /* the clock was set back */
		*s = (struct throttle_slot){ .name = name };
	return s;
}

static uint32_t
wait_s(const struct throttle_slot *s, int64_t now_ms)
{
	if (s->until_ms <= now_ms)
		return 0;
	return (uint32_t)((s->until_ms - now_ms + 999) / 1000);
}

static void
count(struct throttle_slot *s, const struct rule *r, int64_t now_ms)
{
	uint32_t over;
	uint32_t wait = 0;

	s->last_ms = now_ms;
	if (s->n < UINT32_MAX)
		s->n++;
	if (s->n >= r->free_n) {
		over = s->n - r->free_n;
		wait = over < 16 ? 1u << over : r->max_s;
	}
	if (wait > r->max_s)
		wait = r->max_s;
	s->until_ms = now_ms + wait * 1000LL;
}

uint32_t
throttle_take(struct throttle *t, const char *user, const char *peer,
              int64_t now_ms)
{
	uint64_t names[2] = { name_peer(t, peer),
		              user != NULL ? name_user(t, user) : 0 };
	uint32_t ret = 0;

	(void)pthread_mutex_lock(&t->lock);
	for (int i = 0; i < 2; i++) {
		uint32_t w =
			names[i] == 0
				? 0
				: wait_s(slot_of(t, names[i], now_ms), now_ms);

		ret = w > ret ? w : ret;
	}
	if (ret == 0) {
		count(slot_of(t, names[0], now_ms), &rule_peer, now_ms);
		if (names[1] != 0)
			count(slot_of(t, names[1], now_ms), &rule_user, now_ms);
	}
	(void)pthread_mutex_unlock(&t->lock);
	return ret;
}

void
throttle_pass(struct throttle *t, const char *user, const char *peer)
{
	struct throttle_slot *s;

	(void)pthread_mutex_lock(&t->lock);
	s = find(t, name_peer(t, peer));
	if (s->n > 0)
		s->n--;
	s->until_ms = 0;
	if (user != NULL) {
		s = find(t, name_user(t, user));
		*s = (struct throttle_slot){ .name = s->name };
	}
	(void)pthread_mutex_unlock(&t->lock);
}
