/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/wanted.c: the options of godwit migrate as bodies of the API.
 */
#include "bin/wanted.h"

#include <string.h>

#include "control/spec/spec.h"

json_t *
wanted_endpoint(const char *name, const char *url)
{
	return json_pack("{s:s,s:{s:s}}", "endpoint", name, "config", "url",
	                 url);
}

/* ---- the interlay --------------------------------------------------------- */

static json_t *
tls(const struct run_conf *c)
{
	json_t *j = json_pack("{s:s,s:s}", "server_cert", c->tls_cert,
	                      "server_key", c->tls_key);

	if (c->tls_client_ca[0] == '\0')
		return j;
	(void)json_object_set_new(j, "client_ca_cert",
	                          json_string(c->tls_client_ca));
	(void)json_object_set_new(j, "require_client_certificate",
	                          json_boolean(!c->tls_client_optional));
	return j;
}

static json_t *
pool(const struct run_conf *c)
{
	return json_pack("{s:s,s:i,s:i,s:i}", "mode",
	                 c->pool == RELAY_POOL_TRANSACTION ? "transaction"
	                                                   : "session",
	                 "size", (int)c->pool_max, "wait_ms",
	                 (int)c->pool_wait_ms, "idle_ms", (int)c->pool_idle_ms);
}

json_t *
wanted_interlay(const struct run_conf *c, const char *id, const char *listen)
{
	json_t *j = json_pack("{s:s,s:o,s:i}", "id", id, "listen",
	                      json_sprintf("%s%s",
	                                   listen[0] == ':' ? "127.0.0.1" : "",
	                                   listen),
	                      "workers", (int)c->workers);

	if (c->tls_cert[0] != '\0' || c->tls_key[0] != '\0')
		(void)json_object_set_new(j, "tls", tls(c));
	if (c->pool_max > 0)
		(void)json_object_set_new(j, "pool", pool(c));
	return j;
}

/* ---- the migration -------------------------------------------------------- */

static json_t *
strategy(const struct run_conf *c)
{
	json_t *j = json_pack("{s:s,s:{s:s,s:s,s:i}}", "type",
	                      strategy_name(c->strategy), "write_mode", "mode",
	                      c->write_mode == WRITE_DUAL ? "dual_write"
	                                                  : "cutover",
	                      "ack", c->ack == ACK_BOTH ? "both" : "authority",
	                      "ack_timeout_ms", (int)c->ack_timeout_ms);
	json_t *steps;

	if (c->strategy != STRATEGY_CANARY)
		return j;
	steps = json_array();
	for (uint32_t i = 0; i < c->step_n; i++)
		(void)json_array_append_new(
			steps, json_pack("{s:f}", "read_percentage",
		                         c->step_ppm[i] / 1e6));
	(void)json_object_set_new(j, "steps", steps);
	return j;
}

static json_t *
data(const struct run_conf *c)
{
	static const char *const rules[] = { [CONFLICT_NONE] = "none",
		                             [CONFLICT_REPLACE] = "replace",
		                             [CONFLICT_MERGE] = "merge" };
	static const char *const paces[] = { [COPY_PACE_AUTO] = "auto",
		                             [COPY_PACE_FAST] = "fast",
		                             [COPY_PACE_GENTLE] = "gentle" };

	/* PostgreSQL refuses a new that is not empty while no rule is said. */
	return json_pack(
		"{s:s,s:s*,s:s*,s:s}", "type",
		c->copy_mode == COPY_SCAN ? "scan" : "snapshot", "replace",
		c->conflict_said || strncmp(c->old_url, "postgres", 8) != 0
			? rules[c->conflict]
			: NULL,
		"newer", c->newer, "pace", paces[c->copy_pace]);
}

/* --auto, beside what a definition says. */
static void
put_analysis(json_t *j, const struct run_conf *c)
{
	json_t *a = json_object_get(j, "analysis");

	if (a == NULL) {
		a = json_object();
		(void)json_object_set_new(j, "analysis", a);
	}
	if (c->is_auto && !json_is_true(json_object_get(a, "auto_rollback"))) {
		(void)json_object_set_new(a, "auto_promote", json_true());
		(void)json_object_set_new(a, "auto_rollback", json_true());
	}
	(void)json_object_set_new(a, "min_duration_s",
	                          json_integer(c->step_seconds));
	(void)json_object_set_new(a, "min_requests",
	                          json_integer(c->step_requests));
	(void)json_object_set_new(a, "max_lag_ms", json_integer(c->lag_max_ms));
}

json_t *
wanted_migration(const struct run_conf *c, const char *id)
{
	json_t *j = c->spec != NULL ? spec_print(c->spec) : json_object();
	json_t *options;

	(void)json_object_set_new(j, "id", json_string(id));
	if (c->spec == NULL)
		(void)json_object_set_new(j, "strategy", strategy(c));
	/* A migration that moves no data is not what a file without a word
	 * about it means. */
	if (c->spec == NULL || c->spec->data.move == DATA_NONE)
		(void)json_object_set_new(j, "data", data(c));
	put_analysis(j, c);
	options = json_pack("{s:i,s:i}", "hold_max_ms", (int)c->hold_max_ms,
	                    "lag_max_ms", (int)c->lag_max_ms);
	if (c->spool_bytes > 0)
		(void)json_object_set_new(
			options, "spool_max_mib",
			json_integer((json_int_t)(c->spool_bytes >> 20)));
	(void)json_object_set_new(j, "options", options);
	return j;
}
