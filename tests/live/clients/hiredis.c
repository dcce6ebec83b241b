/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hiredis through an interlay: hiredis_client PORT PREFIX. One thread a job,
 * each knows what every answer has to be; the subscriber uses the library's
 * asynchronous half. The report is that of harness/client.py.
 */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ERRORS_MAX  50
#define FACTS_MAX   32
#define PIPELINE    20
#define BLOB_MAX    ((size_t)256 * 1024)
#define ORDER_WAITS 500 /* of 20 ms, for what is under way at the end */

static int port;
static const char *prefix;
static atomic_bool over;    /* standard input ended                     */
static atomic_long inside;  /* holders of the lock                      */
static atomic_long raised;  /* by WATCH                                 */
static atomic_long guarded; /* under the lock                           */
static atomic_long sent;    /* messages published, and received         */
static atomic_long received;
static atomic_long put; /* elements of the queue, and taken         */
static atomic_long taken;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char errors[ERRORS_MAX][256]; /* by mutex */
static int errors_n;
static char facts[FACTS_MAX][160]; /* by mutex */
static int facts_n;

struct job {
	const char *name;
	void (*run)(struct job *j);
	pthread_t thread;
	atomic_long rounds;
};

static void __attribute__((format(printf, 2, 3)))
fail(const char *job, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p != '\0'; p++)
		if (*p == '"' || *p == '\\' || *p < ' ')
			*p = '_';
	(void)pthread_mutex_lock(&mutex);
	if (errors_n < ERRORS_MAX)
		(void)snprintf(errors[errors_n++], sizeof(errors[0]), "%s: %s",
		               job, text);
	(void)pthread_mutex_unlock(&mutex);
}

/* value: a string, or NULL for n. */
static void
fact(const char *kind, const char *key, const char *value, long n)
{
	(void)pthread_mutex_lock(&mutex);
	if (facts_n < FACTS_MAX && value != NULL)
		(void)snprintf(facts[facts_n++], sizeof(facts[0]),
		               "[\"%s\", \"%s:%s\", \"%s\"]", kind, prefix, key,
		               value);
	else if (facts_n < FACTS_MAX)
		(void)snprintf(facts[facts_n++], sizeof(facts[0]),
		               "[\"%s\", \"%s:%s\", %ld]", kind, prefix, key,
		               n);
	(void)pthread_mutex_unlock(&mutex);
}

static void
fact_string(const char *key, long n)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%ld", n);
	fact("string", key, text, 0);
}

static void
nap(long ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000 };

	(void)nanosleep(&t, NULL);
}

static redisContext *
dial(const char *job)
{
	redisContext *c = redisConnect("127.0.0.1", port);

	if (c == NULL || c->err != 0) {
		fail(job, "no connection: %s", c == NULL ? "" : c->errstr);
		exit(1);
	}
	return c;
}

/* The answer is a number (want_n), or a text. NULL in r: the connection. */
static bool
is_number(const char *job, redisContext *c, redisReply *r, long want)
{
	bool good = r != NULL && r->type == REDIS_REPLY_INTEGER &&
	            r->integer == want;

	if (r == NULL)
		fail(job, "lost: %s", c->errstr);
	else if (!good)
		fail(job, "type %d, %lld (%.100s), not %ld", r->type,
		     r->integer, r->str == NULL ? "" : r->str, want);
	freeReplyObject(r);
	return good;
}

static bool
is_text(const char *job, redisContext *c, redisReply *r, const char *want)
{
	bool good = r != NULL && r->str != NULL && strcmp(r->str, want) == 0;

	if (r == NULL)
		fail(job, "lost: %s", c->errstr);
	else if (!good)
		fail(job, "type %d, %.100s, not %s", r->type,
		     r->str == NULL ? "nothing" : r->str, want);
	freeReplyObject(r);
	return good;
}

static void
count(struct job *j)
{
	redisContext *c = dial(j->name);
	long n = 0;

	while (!over) {
		char text[24];

		n++;
		(void)snprintf(text, sizeof(text), "%ld", n);
		if (!is_number(j->name, c,
		               redisCommand(c, "INCR %s:count", prefix), n) ||
		    !is_text(j->name, c,
		             redisCommand(c, "GET %s:count", prefix), text))
			break;
		j->rounds++;
		nap(1);
	}
	fact_string("count", n);
	redisFree(c);
}

/* Forty requests at once: each RPUSH counts, each PING is echoed. */
static void
pipeline(struct job *j)
{
	redisContext *c = dial(j->name);
	bool good = true;
	long n = 0;

	while (good && !over) {
		for (long i = 1; i <= PIPELINE; i++) {
			(void)redisAppendCommand(c, "RPUSH %s:list %ld", prefix,
			                         n + i);
			(void)redisAppendCommand(c, "LINDEX %s:list -1",
			                         prefix);
		}
		for (long i = 1; i <= PIPELINE; i++) {
			void *r = NULL;
			char text[24];

			(void)snprintf(text, sizeof(text), "%ld", n + i);
			(void)redisGetReply(c, &r);
			good = is_number(j->name, c, r, n + i) && good;
			r = NULL;
			(void)redisGetReply(c, &r);
			good = is_text(j->name, c, r, text) && good;
		}
		n += PIPELINE;
		j->rounds++;
		nap(3);
	}
	fact("list", "list", NULL, n);
	redisFree(c);
}

/* Bytes of all kinds, up to 256 KiB, written and read back. */
static void
blob(struct job *j)
{
	redisContext *c = dial(j->name);
	char *bytes = malloc(BLOB_MAX);
	uint32_t x = 2463534242u;

	for (size_t i = 0; bytes != NULL && i < BLOB_MAX; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		bytes[i] = (char)x;
	}
	while (!over && bytes != NULL) {
		size_t size =
			(x ^= x << 13, x ^= x >> 17, x ^= x << 5) % BLOB_MAX;
		redisReply *r;
		bool good;

		if (!is_text(j->name, c,
		             redisCommand(c, "SET %s:blob %b", prefix,
		                          bytes + BLOB_MAX - size, size),
		             "OK"))
			break;
		r = redisCommand(c, "GET %s:blob", prefix);
		good = r != NULL && r->type == REDIS_REPLY_STRING &&
		       r->len == size &&
		       memcmp(r->str, bytes + BLOB_MAX - size, size) == 0;
		freeReplyObject(r);
		if (!good) {
			fail(j->name, "other bytes came back");
			break;
		}
		j->rounds++;
		nap(5);
	}
	free(bytes);
	redisFree(c);
}

static void
transaction(struct job *j)
{
	redisContext *c = dial(j->name);
	long n = 0;

	while (!over) {
		redisReply *r;
		bool good;

		n++;
		if (!is_text(j->name, c, redisCommand(c, "MULTI"), "OK") ||
		    !is_text(j->name, c,
		             redisCommand(c, "INCR %s:left", prefix),
		             "QUEUED") ||
		    !is_text(j->name, c,
		             redisCommand(c, "INCR %s:right", prefix),
		             "QUEUED"))
			break;
		r = redisCommand(c, "EXEC");
		good = r != NULL && r->elements == 2 &&
		       r->element[0]->integer == n &&
		       r->element[1]->integer == n;
		if (!good)
			fail(j->name, "EXEC: type %d, %.100s",
			     r == NULL ? -1 : r->type,
			     r == NULL || r->str == NULL ? "" : r->str);
		freeReplyObject(r);
		if (!good)
			break;
		j->rounds++;
		nap(1);
	}
	fact_string("left", n);
	fact_string("right", n);
	redisFree(c);
}

/* One try to raise the number; 1 done, 0 again, -1 wrong. */
static int
raise_once(struct job *j, redisContext *c)
{
	redisReply *r;
	long v;
	int done;

	if (!is_text(j->name, c, redisCommand(c, "WATCH %s:watched", prefix),
	             "OK"))
		return -1;
	r = redisCommand(c, "GET %s:watched", prefix);
	v = r != NULL && r->str != NULL ? strtol(r->str, NULL, 10) : 0;
	freeReplyObject(r);
	if (!is_text(j->name, c, redisCommand(c, "MULTI"), "OK") ||
	    !is_text(j->name, c,
	             redisCommand(c, "SET %s:watched %ld", prefix, v + 1),
	             "QUEUED"))
		return -1;
	r = redisCommand(c, "EXEC");
	if (r != NULL && r->type == REDIS_REPLY_NIL)
		done = 0;
	else
		done = r != NULL && r->type == REDIS_REPLY_ARRAY ? 1 : -1;
	if (done < 0)
		fail(j->name, "EXEC: type %d, %.100s", r == NULL ? -1 : r->type,
		     r == NULL || r->str == NULL ? c->errstr : r->str);
	freeReplyObject(r);
	return done;
}

static void
watch(struct job *j)
{
	redisContext *c = dial(j->name);
	int done = 0;

	while (!over && done >= 0) {
		while ((done = raise_once(j, c)) == 0)
			;
		if (done > 0) {
			raised++;
			j->rounds++;
		}
		nap(5);
	}
	redisFree(c);
}

/* SET NX takes it, a script of the holder's token gives it back. */
static void
lock(struct job *j)
{
	static const char unlock[] =
		"if redis.call('GET', KEYS[1]) == ARGV[1] then return "
		"redis.call('DEL', KEYS[1]) else return 0 end";
	redisContext *c = dial(j->name);

	while (!over) {
		redisReply *r = redisCommand(c, "SET %s:lock %s PX 30000 NX",
		                             prefix, j->name);
		bool got = r != NULL && r->type == REDIS_REPLY_STATUS;
		long v;

		if (r == NULL || r->type == REDIS_REPLY_ERROR) {
			(void)is_text(j->name, c, r, "OK");
			break;
		}
		freeReplyObject(r);
		nap(2);
		if (!got)
			continue;
		if (++inside != 1)
			fail(j->name, "two holders at once");
		r = redisCommand(c, "GET %s:guarded", prefix);
		v = r != NULL && r->str != NULL ? strtol(r->str, NULL, 10) : 0;
		freeReplyObject(r);
		nap(3);
		if (!is_text(j->name, c,
		             redisCommand(c, "SET %s:guarded %ld", prefix,
		                          v + 1),
		             "OK"))
			break;
		guarded++;
		inside--;
		if (!is_number(j->name, c,
		               redisCommand(c, "EVAL %s 1 %s:lock %s", unlock,
		                            prefix, j->name),
		               1))
			break;
		j->rounds++;
	}
	redisFree(c);
}

static void
publish(struct job *j)
{
	redisContext *c = dial(j->name);

	while (received == 0 && !over)
		nap(1); /* the subscription is confirmed */
	while (!over) {
		if (!is_number(j->name, c,
		               redisCommand(c, "PUBLISH %s:news %ld", prefix,
		                            sent + 1),
		               1))
			break;
		sent++;
		j->rounds++;
		nap(2);
	}
	redisFree(c);
}

/* The library's hooks: what it wants to be called for. */
struct wants {
	bool reads, writes;
};

static void
add_read(void *w)
{
	((struct wants *)w)->reads = true;
}

static void
del_read(void *w)
{
	((struct wants *)w)->reads = false;
}

static void
add_write(void *w)
{
	((struct wants *)w)->writes = true;
}

static void
del_write(void *w)
{
	((struct wants *)w)->writes = false;
}

static void
cleanup(void *w)
{
	memset(w, 0, sizeof(struct wants));
}

static void
on_message(redisAsyncContext *c, void *reply, void *job)
{
	const redisReply *r = reply;
	long n;

	(void)c;
	if (r == NULL || r->elements != 3) {
		if (!over)
			fail(((struct job *)job)->name, "the connection ended");
		return;
	}
	if (strcmp(r->element[0]->str, "message") != 0) {
		received = 1; /* so that message n makes it n + 1 */
		return;
	}
	n = strtol(r->element[2]->str, NULL, 10);
	if (n != received)
		fail(((struct job *)job)->name, "%ld came after %ld", n,
		     received - 1);
	received = n + 1;
	((struct job *)job)->rounds++;
}

static void
subscribe(struct job *j)
{
	redisAsyncContext *c = redisAsyncConnect("127.0.0.1", port);
	struct wants wants = { false, false };
	int left = ORDER_WAITS;

	if (c == NULL || c->err != 0) {
		fail(j->name, "no connection");
		return;
	}
	c->ev.data = &wants;
	c->ev.addRead = add_read;
	c->ev.delRead = del_read;
	c->ev.addWrite = add_write;
	c->ev.delWrite = del_write;
	c->ev.cleanup = cleanup;
	wants.writes = true;
	(void)redisAsyncCommand(c, on_message, j, "SUBSCRIBE %s:news", prefix);
	while (!over || (received != sent + 1 && left-- > 0)) {
		struct pollfd p = { .fd = c->c.fd };

		if (c->err != 0)
			break;
		p.events = (short)((wants.reads ? POLLIN : 0) |
		                   (wants.writes ? POLLOUT : 0));
		if (poll(&p, 1, 20) <= 0)
			continue;
		if (wants.writes && (p.revents & POLLOUT) != 0)
			redisAsyncHandleWrite(c);
		else if (p.revents != 0)
			redisAsyncHandleRead(c);
	}
	if (received != sent + 1)
		fail(j->name, "%ld of %ld messages came", received - 1, sent);
	if (c->err == 0)
		redisAsyncFree(c);
}

static void
produce(struct job *j)
{
	redisContext *c = dial(j->name);

	while (!over) {
		redisReply *r =
			redisCommand(c, "RPUSH %s:queue %ld", prefix, put + 1);

		if (r == NULL || r->type != REDIS_REPLY_INTEGER) {
			(void)is_text(j->name, c, r, "a number");
			break;
		}
		freeReplyObject(r);
		put++;
		j->rounds++;
		nap(4);
	}
	redisFree(c);
}

static void
consume(struct job *j)
{
	redisContext *c = dial(j->name);
	int empty = 0;

	while (!over || (taken != put && empty < 5)) {
		redisReply *r = redisCommand(c, "BLPOP %s:queue 1", prefix);
		bool good = r != NULL &&
		            (r->type == REDIS_REPLY_NIL || r->elements == 2);

		if (!good) {
			(void)is_text(j->name, c, r, "an element");
			break;
		}
		if (r->elements == 2) {
			long n = strtol(r->element[1]->str, NULL, 10);

			if (n != taken + 1)
				fail(j->name, "%ld came after %ld", n,
				     (long)taken);
			taken = n;
			j->rounds++;
		} else {
			empty++;
		}
		freeReplyObject(r);
	}
	if (taken != put)
		fail(j->name, "%ld of %ld came", (long)taken, (long)put);
	fact("absent", "queue", NULL, 0);
	redisFree(c);
}

static struct job jobs[] = {
	{ .name = "count", .run = count },
	{ .name = "pipeline", .run = pipeline },
	{ .name = "blob", .run = blob },
	{ .name = "transaction", .run = transaction },
	{ .name = "watch", .run = watch },
	{ .name = "watch-two", .run = watch },
	{ .name = "lock-one", .run = lock },
	{ .name = "lock-two", .run = lock },
	{ .name = "publish", .run = publish },
	{ .name = "subscribe", .run = subscribe },
	{ .name = "produce", .run = produce },
	{ .name = "consume", .run = consume },
};

#define JOBS_N (sizeof(jobs) / sizeof(jobs[0]))

static void *
start(void *arg)
{
	struct job *j = arg;

	j->run(j);
	return NULL;
}

static void *
watch_input(void *arg)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	over = true;
	return arg;
}

static void
report(void)
{
	printf("{\"errors\": [");
	for (int i = 0; i < errors_n; i++)
		printf("%s\"%s\"", i == 0 ? "" : ", ", errors[i]);
	printf("], \"jobs\": {");
	for (size_t i = 0; i < JOBS_N; i++)
		printf("%s\"%s\": %ld", i == 0 ? "" : ", ", jobs[i].name,
		       (long)jobs[i].rounds);
	printf("}, \"facts\": [");
	for (int i = 0; i < facts_n; i++)
		printf("%s%s", i == 0 ? "" : ", ", facts[i]);
	printf("]}\n");
	(void)fflush(stdout);
}

int
main(int argc, char **argv)
{
	pthread_t input;

	if (argc != 3)
		return 2;
	port = (int)strtol(argv[1], NULL, 10);
	prefix = argv[2];
	if (pthread_create(&input, NULL, watch_input, NULL) != 0)
		return 1;
	for (size_t i = 0; i < JOBS_N; i++)
		if (pthread_create(&jobs[i].thread, NULL, start, &jobs[i]) != 0)
			return 1;
	while (!over) {
		long ops = 0;
		long least = jobs[0].rounds;

		for (size_t i = 0; i < JOBS_N; i++) {
			long n = jobs[i].rounds;

			ops += n;
			least = n < least ? n : least;
		}
		printf("{\"ops\": %ld, \"least\": %ld}\n", ops, least);
		(void)fflush(stdout);
		nap(50);
	}
	for (size_t i = 0; i < JOBS_N; i++)
		(void)pthread_join(jobs[i].thread, NULL);
	(void)pthread_join(input, NULL);
	fact_string("watched", raised);
	fact_string("guarded", guarded);
	fact("absent", "lock", NULL, 0);
	report();
	return 0;
}
