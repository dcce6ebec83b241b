/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/verify_main.c: verify_run as a program, for test_verify.py.
 *
 *   verify_main OLD NEW [live] [ttl=MS] [recheck=MS] [stop=MS] [scope=PPM]
 *
 * A scope is a share of the slots, with the salt of mover_main.
 * Prints the result as JSON; the exit status is 0 when the comparison was made.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/url.h"
#include "control/verify.h"
#include "world/os/loop.h"

static _Atomic bool stop;
static _Atomic uint64_t progress;

#define SALT 7

/* Lives until the end. */
static const struct scope *
scope_of(const char *ppm)
{
	static struct mem mem;
	struct scope_in in = { .ppm = (uint32_t)strtoul(ppm, NULL, 10),
		               .salt = SALT };

	os_mem_init(&mem, 0);
	return scope_build(&mem, &in);
}

static void *
stop_later(void *arg)
{
	long ms = *(long *)arg;
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
	atomic_store(&stop, true);
	return NULL;
}

static void
put_json(const char *s)
{
	(void)putchar('"');
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			(void)putchar('\\');
		(void)putchar(*s);
	}
	(void)putchar('"');
}

static void
show(const struct verify_result *r, int rc, const struct err *err)
{
	(void)printf("{\"rc\":%d,\"error\":", rc);
	put_json(rc == 0 ? "" : err->text);
#define NUMBER(name) (void)printf(",\"" #name "\":%" PRIu64, (uint64_t)r->name)
	NUMBER(compared);
	NUMBER(equal);
	NUMBER(missing);
	NUMBER(extra);
	NUMBER(different);
	NUMBER(unstable);
	NUMBER(noted);
	NUMBER(rechecked);
	NUMBER(keys_old);
	NUMBER(keys_new);
	NUMBER(markers);
	NUMBER(marker_refused);
	NUMBER(marker_lost);
	NUMBER(took_ms);
	(void)printf(",\"progress\":%" PRIu64 ",\"finds\":[",
	             (uint64_t)atomic_load(&progress));
	for (uint64_t i = 0; i < r->finds_n; i++) {
		const struct verify_find *f = &r->finds[i];

		(void)printf("%s{\"kind\":\"%s\",\"db\":%u,\"key\":",
		             i > 0 ? "," : "", verify_kind_name(f->kind),
		             f->db);
		put_json(f->key);
		(void)printf(",\"detail\":");
		put_json(f->detail);
		(void)printf("}");
	}
	(void)printf("]}\n");
}

int
main(int argc, char **argv)
{
	struct verify_conf c = { .ttl_slack_ms = 0,
		                 .recheck_ms = VERIFY_RECHECK_MS };
	struct verify_result r;
	struct err err = { .code = ERR_NONE };
	struct url url[2];
	pthread_t thread;
	long stop_ms = -1;
	int rc;

	if (argc < 3)
		return 2;
	for (int i = 0; i < 2; i++) {
		if (url_parse(argv[i + 1], &url[i], &err) != 0) {
			(void)fprintf(stderr, "%s\n", err.text);
			return 2;
		}
		if (url_side(&url[i], (enum side)i, &c.side[i], &err) != 0) {
			(void)fprintf(stderr, "%s\n", err.text);
			return 2;
		}
	}
	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "live") == 0)
			c.is_live = true;
		else if (strncmp(argv[i], "ttl=", 4) == 0)
			c.ttl_slack_ms =
				(uint32_t)strtoul(argv[i] + 4, NULL, 10);
		else if (strncmp(argv[i], "recheck=", 8) == 0)
			c.recheck_ms = (uint32_t)strtoul(argv[i] + 8, NULL, 10);
		else if (strncmp(argv[i], "scope=", 6) == 0)
			c.scope = scope_of(argv[i] + 6);
		else if (strncmp(argv[i], "stop=", 5) == 0)
			stop_ms = strtol(argv[i] + 5, NULL, 10);
		else
			return 2;
	}
	c.stop = &stop;
	c.progress = &progress;
	if (stop_ms >= 0) {
		if (pthread_create(&thread, NULL, stop_later, &stop_ms) != 0)
			return 2;
		(void)pthread_detach(thread);
	}
	rc = verify_run(&c, &r, &err);
	show(&r, rc, &err);
	verify_result_fini(&r);
	return rc == 0 ? 0 : 1;
}
