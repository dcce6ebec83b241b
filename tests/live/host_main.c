/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/host_main.c: host.h, driven by JSON lines, for its own tests.
 *
 *     host_main STATE
 *
 * A line {"n":1,"call":"migration_start","uuid":..,"spec":{..},...} is answered,
 * on a thread of its own, with {"n":1,"ok":true,"data":..} or {"n":1,"ok":false,
 * "error":"STATE","message":..}. Events and states come as {"event":..} and
 * {"state":..}. The end of stdin is the graceful end.
 */
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/host/host.h"
#include "control/store/lock.h"

static struct host *host;
static pthread_mutex_t out = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t busy_cond = PTHREAD_COND_INITIALIZER;
static unsigned busy;

static void
say(json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);

	(void)pthread_mutex_lock(&out);
	(void)puts(text);
	(void)fflush(stdout);
	(void)pthread_mutex_unlock(&out);
	free(text);
	json_decref(j);
}

static void
on_event(void *arg, const json_t *event)
{
	(void)arg;
	say(json_pack("{s:o}", "event", json_deep_copy(event)));
}

static void
on_state(void *arg, const char *migration, const char *state,
         const json_t *status)
{
	(void)arg;
	say(json_pack("{s:{s:s,s:s,s:O}}", "state", "migration", migration,
	              "to", state, "partial",
	              json_object_get(status, "partial")));
}

static int
call(const json_t *q, json_t **data, struct err *err)
{
	const char *what = json_string_value(json_object_get(q, "call"));
	const char *uuid = json_string_value(json_object_get(q, "uuid"));
	const char *verb = json_string_value(json_object_get(q, "verb"));
	const json_t *spec = json_object_get(q, "spec");
	const json_t *args = json_object_get(q, "args");

	if (strcmp(what, "interlay_start") == 0)
		return host_interlay_start(host, spec, err);
	if (strcmp(what, "interlay_stop") == 0)
		return host_interlay_stop(host, uuid, err);
	if (strcmp(what, "interlay_tls") == 0)
		return host_interlay_tls(host, uuid, spec, err);
	if (strcmp(what, "interlay_repoint") == 0)
		return host_interlay_repoint(
			host, uuid,
			json_string_value(json_object_get(q, "url")), err);
	if (strcmp(what, "interlay_status") == 0)
		*data = host_interlay_status(host, uuid);
	else if (strcmp(what, "test") == 0)
		return host_migration_test(host, spec, data, err);
	else if (strcmp(what, "start") == 0)
		return host_migration_start(host, spec, err);
	else if (strcmp(what, "verb") == 0)
		return host_migration_verb(host, uuid, verb, args, data, err);
	else if (strcmp(what, "status") == 0)
		*data = host_migration_status(host, uuid);
	else if (strcmp(what, "verification") == 0)
		*data = host_migration_verification(host, uuid);
	else if (strcmp(what, "forget") == 0)
		return host_migration_forget(host, uuid, err);
	else if (strcmp(what, "recorded") == 0)
		*data = host_migration_recorded(host, uuid);
	else if (strcmp(what, "command") == 0)
		return host_command(host, json_object_get(q, "where"),
		                    json_object_get(q, "argv"),
		                    json_is_true(json_object_get(q, "is_read")),
		                    data, err);
	else if (strcmp(what, "metrics") == 0) {
		char *text = host_metrics(host);

		*data = json_string(text);
		free(text);
	} else {
		return err_set(err, ERR_USAGE, "no call %s", what);
	}
	return 0;
}

static void *
work(void *arg)
{
	json_t *q = arg;
	json_t *data = NULL;
	struct err err = { .code = ERR_NONE };
	int rc = call(q, &data, &err);

	if (rc == 0)
		say(json_pack("{s:O,s:b,s:o}", "n", json_object_get(q, "n"),
		              "ok", 1, "data",
		              data != NULL ? data : json_null()));
	else
		say(json_pack("{s:O,s:b,s:s,s:s}", "n", json_object_get(q, "n"),
		              "ok", 0, "error", err_name(err.code), "message",
		              err.text));
	json_decref(q);
	(void)pthread_mutex_lock(&busy_lock);
	busy--;
	(void)pthread_cond_broadcast(&busy_cond);
	(void)pthread_mutex_unlock(&busy_lock);
	return NULL;
}

static void
serve(void)
{
	static char line[1 << 20];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		json_t *q = json_loads(line, 0, NULL);
		pthread_t t;

		if (q == NULL)
			continue;
		(void)pthread_mutex_lock(&busy_lock);
		busy++;
		(void)pthread_mutex_unlock(&busy_lock);
		if (pthread_create(&t, NULL, work, q) != 0)
			abort();
		(void)pthread_detach(t);
	}
	(void)pthread_mutex_lock(&busy_lock);
	while (busy > 0)
		(void)pthread_cond_wait(&busy_cond, &busy_lock);
	(void)pthread_mutex_unlock(&busy_lock);
}

int
main(int argc, char **argv)
{
	struct host_conf c = { .on_event = on_event, .on_state = on_state };
	struct err err = { .code = ERR_NONE };
	int lock;

	if (argc < 2)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	c.state = argv[1];
	lock = lock_take(argv[1], &err);
	if (lock < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 3;
	}
	host = host_new(&c, &err);
	if (host == NULL) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	say(json_pack("{s:b}", "ready", 1));
	serve();
	host_free(host);
	lock_drop(lock);
	return 0;
}
