/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/keys.c: clients by their cancel keys.
 *
 * The process of a key is drawn by Godwit, so its bits are as good as a hash.
 */
#include "engine/postgres/relay/keys.h"

#define CHAINS_MIN 16
/* Clients a chain, on average, at most. */
#define CHAIN_LONG 2

static struct pg_client **
chain_of(const struct pg_keys *k, uint32_t process)
{
	return &k->chains[process & (k->chain_n - 1)];
}

/* Without memory the chains become longer, and nothing is lost. */
static void
grow(struct pg_keys *k, struct mem *mem)
{
	struct pg_keys more = {
		.chain_n = k->chain_n == 0 ? CHAINS_MIN : 2 * k->chain_n,
		.n = k->n,
	};

	more.chains = mem_zero(mem, more.chain_n * sizeof(struct pg_client *));
	if (more.chains == NULL)
		return;
	for (size_t i = 0; i < k->chain_n; i++) {
		struct pg_client *c = k->chains[i];

		while (c != NULL) {
			struct pg_client *next = c->same;
			struct pg_client **at = chain_of(&more, c->process);

			c->same = *at;
			*at = c;
			c = next;
		}
	}
	pg_keys_fini(k, mem);
	*k = more;
}

struct pg_client *
pg_keys_find(const struct pg_keys *k, uint32_t process, uint32_t secret)
{
	struct pg_client *c = k->n == 0 ? NULL : *chain_of(k, process);

	while (c != NULL && (c->process != process || c->secret != secret))
		c = c->same;
	return c;
}

bool
pg_keys_put(struct pg_keys *k, struct mem *mem, struct pg_client *c)
{
	struct pg_client **at;

	if (k->n >= CHAIN_LONG * k->chain_n)
		grow(k, mem);
	if (k->chains == NULL)
		return false;
	at = chain_of(k, c->process);
	c->same = *at;
	*at = c;
	k->n++;
	return true;
}

/* Where c stands in its chain; NULL: nowhere. */
static struct pg_client **
seek(const struct pg_keys *k, const struct pg_client *c)
{
	struct pg_client **at;

	if (k->chains == NULL)
		return NULL;
	at = chain_of(k, c->process);
	while (*at != NULL && *at != c)
		at = &(*at)->same;
	return *at == NULL ? NULL : at;
}

void
pg_keys_drop(struct pg_keys *k, struct pg_client *c)
{
	struct pg_client **at = seek(k, c);

	if (at == NULL)
		return;
	*at = c->same;
	c->same = NULL;
	k->n--;
}

void
pg_keys_replace(struct pg_keys *k, const struct pg_client *old,
                struct pg_client *now)
{
	struct pg_client **at = seek(k, old);

	if (at != NULL)
		*at = now;
}

void
pg_keys_fini(struct pg_keys *k, struct mem *mem)
{
	mem_free(mem, k->chains, k->chain_n * sizeof(struct pg_client *));
	*k = (struct pg_keys){ .n = 0 };
}
