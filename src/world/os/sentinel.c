/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/sentinel.c: where the master is that sentinels watch.
 */
#include "world/os/sentinel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/resp.h"
#include "world/os/client.h"
#include "world/os/loop.h"

#define KEPT_MAX 16
#define KEEP_NS  (SENTINEL_KEEP_MS * (uint64_t)1000000)

#define FAIL_NS (SENTINEL_FAIL_MS * (uint64_t)1000000)

/* The last answer to a list. */
struct kept {
	char list[sizeof(((struct address *)0)->host)];
	char host[sizeof(((struct address *)0)->host)];
	uint16_t port;     /* 0: nobody answered                        */
	uint32_t best;     /* who answered last: asked first            */
	uint64_t until_ns; /* good until then                           */
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept kept[KEPT_MAX];
static uint32_t kept_next;

/* A copy of what is known of the list. */
static struct kept
look_up(const char *list)
{
	struct kept ret = { .until_ns = 0 };

	(void)pthread_mutex_lock(&kept_lock);
	for (int i = 0; i < KEPT_MAX; i++)
		if (strcmp(kept[i].list, list) == 0)
			ret = kept[i];
	(void)pthread_mutex_unlock(&kept_lock);
	(void)snprintf(ret.list, sizeof(ret.list), "%s", list);
	return ret;
}

static void
keep(const struct kept *now)
{
	struct kept *k = NULL;

	(void)pthread_mutex_lock(&kept_lock);
	for (int i = 0; i < KEPT_MAX && k == NULL; i++)
		if (strcmp(kept[i].list, now->list) == 0)
			k = &kept[i];
	if (k == NULL)
		k = &kept[kept_next++ % KEPT_MAX];
	*k = *now;
	(void)pthread_mutex_unlock(&kept_lock);
}

/* "host:port" or "[v6]:port" at the front of *list, which moves behind it. */
static bool
next_one(const char **list, const char *end, struct address *ret)
{
	const char *from = *list;
	const char *to = memchr(from, ',', (size_t)(end - from));
	const char *colon;
	size_t n;

	if (from >= end)
		return false;
	if (to == NULL)
		to = end;
	*list = to < end ? to + 1 : end;
	colon = memrchr(from, ':', (size_t)(to - from));
	if (colon == NULL)
		return false;
	ret->port = (uint16_t)strtoul(colon + 1, NULL, 10);
	if (from[0] == '[' && colon[-1] == ']') {
		from++;
		colon--;
	}
	n = (size_t)(colon - from);
	memcpy(ret->host, from, n);
	ret->host[n] = '\0';
	return true;
}

static int
read_answer(struct span reply, const char *name, struct address *ret,
            struct err *err)
{
	struct resp_item it;
	struct resp_item host;
	struct resp_item port;
	char digits[8];

	if (resp_read(&reply, &it) != WIRE_PART)
		return err_set(err, ERR_PROTO, "it is no sentinel");
	if (it.type == RESP_NIL)
		return err_set(err, ERR_LOST, "it knows no master %s", name);
	if (it.type == RESP_ERROR)
		return err_set(err, ERR_LOST, "it says %.*s",
		               (int)(it.text.n < 80 ? it.text.n : 80),
		               (const char *)it.text.p);
	if (it.type != RESP_ARRAY || it.number != 2 ||
	    resp_read(&reply, &host) != WIRE_PART ||
	    resp_read(&reply, &port) != WIRE_PART ||
	    host.text.n >= sizeof(ret->host) || port.text.n >= sizeof(digits))
		return err_set(err, ERR_PROTO, "it is no sentinel");
	memcpy(ret->host, host.text.p, host.text.n);
	ret->host[host.text.n] = '\0';
	memcpy(digits, port.text.p, port.text.n);
	digits[port.text.n] = '\0';
	ret->port = (uint16_t)strtoul(digits, NULL, 10);
	return 0;
}

static int
ask(const struct address *at, const char *name, struct address *ret,
    struct err *err)
{
	struct client *c = client_open(at, SENTINEL_MS, err);
	struct span reply = { NULL, 0 };
	struct mem mem;
	struct buf tx;
	int rc;

	if (c == NULL)
		return err != NULL ? -(int)err->code : -ERR_LOST;
	os_mem_init(&mem, 0);
	buf_init(&tx, &mem);
	resp_put_cmd(&tx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name, NULL);
	rc = client_call(c, buf_span(&tx), 1, SENTINEL_MS, &reply, err);
	if (rc == 0)
		rc = read_answer(reply, name, ret, err);
	buf_fini(&tx);
	client_close(c);
	return rc;
}

/* All of them, beginning with the one that answered last. */
static int
ask_all(const char *list, const char *slash, struct kept *k,
        struct address *ret, struct err *err)
{
	struct address one = { .port = 0 };
	const char *at;
	uint32_t i;
	int rc = -ERR_LOST;

	for (int turn = 0; turn < 2 && rc != 0; turn++) {
		at = list;
		for (i = 0; rc != 0 && next_one(&at, slash, &one); i++) {
			if ((i == k->best) != (turn == 0))
				continue;
			rc = ask(&one, slash + 1, ret, err);
			if (rc == 0)
				k->best = i;
		}
	}
	return rc;
}

int
sentinel_master(const struct address *to, struct address *ret, struct err *err)
{
	const char *slash = strchr(to->host, '/');
	struct err why = { .code = ERR_LOST };
	struct kept k;
	int rc = 0;

	if (slash == NULL)
		return err_set(err, ERR_BAD, "the master's name is missing");
	k = look_up(to->host);
	*ret = (struct address){ .port = k.port, .tls = to->tls };
	memcpy(ret->host, k.host, sizeof(ret->host));
	if (k.until_ns > os_mono_ns())
		return k.port != 0 ? 0
		                   : err_set(err, ERR_LOST,
		                             "no sentinel of %s says where "
		                             "the master is",
		                             to->host);
	rc = ask_all(to->host, slash, &k, ret, &why);
	k.port = rc == 0 ? ret->port : 0;
	memcpy(k.host, ret->host, sizeof(k.host));
	k.until_ns = os_mono_ns() + (rc == 0 ? KEEP_NS : FAIL_NS);
	keep(&k);
	if (rc == 0)
		return 0;
	return err_set(err, ERR_LOST,
	               "no sentinel of %s says where the master is; the last "
	               "one: %.120s",
	               to->host, why.text);
}
