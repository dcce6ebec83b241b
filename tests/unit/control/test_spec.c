/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/control/test_spec.c: definitions of migrations: what is taken, what
 * it becomes, what is refused with which field's path.
 */
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
// clang-format on

#include <stdio.h>
#include <string.h>

#include "control/spec/spec.h"
#include "control/spec/when.h"

static struct spec *
read_ok(const char *text)
{
	json_t *in = json_loads(text, 0, NULL);
	struct spec_issue issue;
	struct err err = { .text = "" };
	struct spec *s = NULL;

	assert_non_null(in);
	if (spec_read(in, &s, &issue, &err) != 0)
		fail_msg("%s: %s", text, err.text);
	json_decref(in);
	return s;
}

/* Printed and read again it is the same. */
static json_t *
round_trip(const struct spec *s)
{
	json_t *one = spec_print(s);
	json_t *two;
	struct spec *again = NULL;
	struct spec_issue issue;
	struct err err = { .text = "" };

	assert_non_null(one);
	if (spec_read(one, &again, &issue, &err) != 0)
		fail_msg("%s", err.text);
	two = spec_print(again);
	if (!json_equal(one, two))
		fail_msg("%s\n%s", json_dumps(one, 0), json_dumps(two, 0));
	json_decref(two);
	spec_free(again);
	return one;
}

/* What the strategy prints, as text without blanks. */
static void
expect(const char *in, const char *wanted)
{
	char text[2000];
	struct spec *s;
	json_t *all;
	json_t *strategy;
	char *got;

	(void)snprintf(text, sizeof(text), "{\"strategy\":%s}", in);
	s = read_ok(text);
	all = round_trip(s);
	strategy = json_object_get(all, "strategy");
	got = json_dumps(strategy, JSON_COMPACT | JSON_REAL_PRECISION(15));
	assert_string_equal(got, wanted);
	free(got);
	json_decref(all);
	spec_free(s);
}

#define CUT                                                          \
	"\"write_mode\":{\"mode\":\"cutover\",\"write_percentage\":" \
	"0.0,\"ack\":\"both\",\"ack_timeout_ms\":1000}"
#define DUAL                                                  \
	"\"write_mode\":{\"mode\":\"dual_write\",\"policy\":" \
	"\"old_authoritative\",\"ack\":\"both\",\"ack_timeout_ms\":1000}"
#define BY_KEY "\"sticky\":\"key\",\"assign_by\":\"key\""

/* Every strategy example of the Eden-MDBS migrations guide. */
static void
guide(void **state)
{
	(void)state;
	expect("{\"type\":\"big_bang\"}", "{\"type\":\"big_bang\"," CUT "}");
	expect("{\"type\":\"canary\",\"read_percentage\":0.05,\"write_mode\":{"
	       "\"mode\":\"dual_write\",\"policy\":\"old_authoritative\"}}",
	       "{\"type\":\"canary\",\"read_percentage\":0.05,\"steps\":[]"
	       "," BY_KEY "," DUAL "}");
	expect("{\"type\":\"blue_green\",\"active_is_new\":false}",
	       "{\"type\":\"blue_green\",\"active_is_new\":false," CUT "}");
	expect("{\"type\":\"rolling_update\",\"migrated_instances\":[],"
	       "\"total_instances\":5}",
	       "{\"type\":\"rolling_update\",\"instances\":[],"
	       "\"migrated_instances\":[],\"total_instances\":5," CUT "}");
	expect("{\"type\":\"shadow_traffic\"}",
	       "{\"type\":\"shadow_traffic\",\"sample_percentage\":1.0,"
	       "\"max_in_flight\":64,\"max_bytes\":33554432,"
	       "\"timeout_ms\":5000,\"max_samples\":20}");
	expect("{\"type\":\"strangler_fig\",\"features\":{\"user_auth\":true,"
	       "\"payments\":false,\"reporting\":false}}",
	       "{\"type\":\"strangler_fig\",\"features\":{\"user_auth\":true,"
	       "\"payments\":false,\"reporting\":false},\"match\":{},"
	       "\"writes\":false," BY_KEY "," CUT "}");
	expect("{\"type\":\"feature_flag\",\"flags\":{\"new_database\":true,"
	       "\"beta_features\":false},\"rollout_percentage\":0.25}",
	       "{\"type\":\"feature_flag\",\"flags\":{\"new_database\":true,"
	       "\"beta_features\":false},\"rollout_percentage\":0.25,"
	       "\"steps\":[],\"segments\":{},\"sticky\":\"key\","
	       "\"assign_by\":\"client_name\"," CUT "}");
	expect("{\"type\":\"geographic\",\"regions\":{\"us-east-1\":true,"
	       "\"eu-west-1\":false,\"ap-southeast-1\":false}}",
	       "{\"type\":\"geographic\",\"regions\":{\"us-east-1\":true,"
	       "\"eu-west-1\":false,\"ap-southeast-1\":false},\"locate\":{"
	       "\"label\":\"region\"},\"match\":{}," BY_KEY "," CUT "}");
	expect("{\"type\":\"time_window\",\"window_start\":\"2024-01-15T02:00:"
	       "00Z\",\"window_end\":\"2024-01-15T04:00:00Z\",\"executed\":"
	       "false}",
	       "{\"type\":\"time_window\",\"window_start\":\"2024-01-15T02:00:"
	       "00Z\",\"window_end\":\"2024-01-15T04:00:00Z\",\"executed\":"
	       "false,\"overrun\":\"finish\",\"strategy\":{\"type\":\"big_"
	       "bang\"," CUT "}}");
}

/* Data and failure handling of the guide, and Eden's other spellings. */
static void
guide_rest(void **state)
{
	static const struct {
		const char *in;
		enum spec_move move;
		enum conflict_rule rule;
		enum spec_failure_kind kind;
		uint32_t retries;
	} rows[] = {
		{ "{\"data\":\"none\"}", DATA_NONE, CONFLICT_REPLACE, 0, 3 },
		{ "{\"data\":\"None\"}", DATA_NONE, CONFLICT_REPLACE, 0, 3 },
		{ "{\"data\":null}", DATA_NONE, CONFLICT_REPLACE, 0, 3 },
		{ "{}", DATA_NONE, CONFLICT_REPLACE, 0, 3 },
		{ "{\"data\":{\"type\":\"snapshot\",\"replace\":\"none\"}}",
		  DATA_SNAPSHOT, CONFLICT_NONE, 0, 3 },
		{ "{\"data\":{\"type\":\"scan\",\"replace\":\"replace\"}}",
		  DATA_SCAN, CONFLICT_REPLACE, 0, 3 },
		{ "{\"data\":{\"type\":\"scan\",\"replace\":\"merge\"}}",
		  DATA_SCAN, CONFLICT_MERGE, 0, 3 },
		{ "{\"data\":{\"type\":\"scan\",\"replace\":null}}", DATA_SCAN,
		  CONFLICT_NONE, 0, 3 },
		{ "{\"data\":\"scan\"}", DATA_SCAN, CONFLICT_REPLACE, 0, 3 },
		{ "{\"data\":{\"Scan\":{\"replace\":\"None\"}}}", DATA_SCAN,
		  CONFLICT_NONE, 0, 3 },
		{ "{\"data\":{\"Snapshot\":{\"replace\":\"Replace\"}}}",
		  DATA_SNAPSHOT, CONFLICT_REPLACE, 0, 3 },
		{ "{\"failure_handling\":\"rollback_all\"}", DATA_NONE,
		  CONFLICT_REPLACE, FAILURE_ROLLBACK_ALL, 3 },
		{ "{\"failure_handling\":\"RollbackAll\"}", DATA_NONE,
		  CONFLICT_REPLACE, FAILURE_ROLLBACK_ALL, 3 },
		{ "{\"failure_handling\":{\"type\":\"retry_then_all\","
		  "\"retry_count\":7}}",
		  DATA_NONE, CONFLICT_REPLACE, FAILURE_RETRY_THEN_ALL, 7 },
		{ "{\"failure_handling\":{\"RetryThenAll\":{\"RetryCount\":2}}"
		  "}",
		  DATA_NONE, CONFLICT_REPLACE, FAILURE_RETRY_THEN_ALL, 2 },
		{ "{\"failure_handling\":\"allow_partial\"}", DATA_NONE,
		  CONFLICT_REPLACE, FAILURE_ALLOW_PARTIAL, 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spec *s = read_ok(rows[i].in);

		assert_int_equal(s->data.move, rows[i].move);
		assert_int_equal(s->data.replace, rows[i].rule);
		assert_int_equal(s->failure.kind, rows[i].kind);
		assert_int_equal(s->failure.retry_count, rows[i].retries);
		json_decref(round_trip(s));
		spec_free(s);
	}
}

/* The pace stays when it is written out and read again; auto is not said. */
static void
data_pace(void **state)
{
	static const char *const words[] = { "gentle", "fast", "auto" };
	static const enum copy_pace paces[] = { COPY_PACE_GENTLE,
		                                COPY_PACE_FAST,
		                                COPY_PACE_AUTO };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char in[80];
		struct spec *s;
		json_t *said;

		(void)snprintf(in, sizeof(in),
		               "{\"data\":{\"type\":\"scan\",\"pace\":\"%s\"}}",
		               words[i]);
		s = read_ok(in);
		assert_int_equal(s->data.pace, paces[i]);
		said = round_trip(s);
		assert_int_equal(json_object_get(json_object_get(said, "data"),
		                                 "pace") != NULL,
		                 i < 2);
		json_decref(said);
		spec_free(s);
	}
}

/* Beyond the guide: each member once. */
static void
extended(void **state)
{
	(void)state;
	expect("{\"Canary\":{\"ReadPercentage\":0.1,\"writeMode\":{\"Mode\":"
	       "\"DualWrite\",\"Policy\":\"BestEffort\",\"ack_timeout_ms\":50}"
	       ",\"steps\":[0.25,{\"read_percentage\":0.5,\"min_duration_s\":"
	       "60,\"min_requests\":1000}],\"Sticky\":\"Session\","
	       "\"AssignBy\":\"ClientName\"}}",
	       "{\"type\":\"canary\",\"read_percentage\":0.1,\"steps\":[{"
	       "\"read_percentage\":0.25},{\"read_percentage\":0.5,"
	       "\"min_duration_s\":60,\"min_requests\":1000}],\"sticky\":"
	       "\"session\",\"assign_by\":\"client_name\",\"write_mode\":{"
	       "\"mode\":\"dual_write\",\"policy\":\"best_effort\",\"ack\":"
	       "\"authority\",\"ack_timeout_ms\":50}}");
	expect("{\"type\":\"strangler_fig\",\"features\":{\"pay\":true},"
	       "\"match\":{\"pay\":{\"key_prefixes\":[\"pay:\",\"p:\"],"
	       "\"commands\":\"HGETALL\"}},\"write_mode\":{\"mode\":"
	       "\"dual_write\"}}",
	       "{\"type\":\"strangler_fig\",\"features\":{\"pay\":true},"
	       "\"match\":{\"pay\":{\"key_prefixes\":[\"pay:\",\"p:\"],"
	       "\"commands\":[\"HGETALL\"]}},\"writes\":false," BY_KEY "," DUAL
	       "}");
	expect("{\"type\":\"geographic\",\"regions\":{\"eu\":true,\"us\":false}"
	       ",\"locate\":{\"proxy_v2\":{\"tlv\":224},\"cidr\":{\"eu\":["
	       "\"10.0.0.0/8\",\"2001:db8::/32\"]},\"label\":\"zone\"}}",
	       "{\"type\":\"geographic\",\"regions\":{\"eu\":true,\"us\":false}"
	       ",\"locate\":{\"proxy_v2\":{\"tlv\":224},\"cidr\":{\"eu\":["
	       "\"10.0.0.0/8\",\"2001:db8:0:0:0:0:0:0/32\"]},\"label\":"
	       "\"zone\"},\"match\":{}," BY_KEY "," CUT "}");
	expect("{\"type\":\"time_window\",\"cron\":\"0 2 * * SUN\",\"duration\""
	       ":\"2h30m\",\"zone\":\"Europe/Berlin\",\"overrun\":\"Hold\","
	       "\"strategy\":{\"type\":\"canary\",\"read_percentage\":0.05}}",
	       "{\"type\":\"time_window\",\"cron\":\"0 2 * * SUN\","
	       "\"duration_s\":9000,\"zone\":\"Europe/Berlin\",\"executed\":"
	       "false,\"overrun\":\"hold\",\"strategy\":{\"type\":\"canary\","
	       "\"read_percentage\":0.05,\"steps\":[]," BY_KEY "," CUT "}}");
	expect("{\"type\":\"rolling_update\",\"instances\":[\"a\",\"b\"],"
	       "\"migrated_instances\":[\"b\"]}",
	       "{\"type\":\"rolling_update\",\"instances\":[\"a\",\"b\"],"
	       "\"migrated_instances\":[\"b\"],\"total_instances\":2," CUT "}");
}

static void
warnings(void **state)
{
	static const struct {
		const char *in;
		size_t n;
	} rows[] = {
		{ "{\"type\":\"canary\"}", 0 },
		{ "{\"type\":\"big_bang\",\"durability\":true}", 1 },
		{ "{\"type\":\"canary\",\"write_mode\":{\"mode\":\"dual_write\""
		  ",\"policy\":\"LastWriteWins\"}}",
		  1 },
		{ "{\"type\":\"canary\",\"write_mode\":{\"mode\":\"dual_write\""
		  ",\"policy\":\"two_phase_commit\"}}",
		  1 },
		{ "{\"type\":\"strangler_fig\",\"features\":{\"a\":true,\"b\":"
		  "false},\"match\":{\"a\":{\"commands\":[\"GET\"]}}}",
		  1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[600];
		struct spec *s;

		(void)snprintf(text, sizeof(text), "{\"strategy\":%s}",
		               rows[i].in);
		s = read_ok(text);
		assert_int_equal(json_array_size(s->warnings), rows[i].n);
		spec_free(s);
	}
}

static const struct bad {
	const char *in;
	const char *param;
	enum err_code code;
} bad[] = {
	{ "[]", "", ERR_USAGE },
	{ "{\"strategy\":5}", "strategy", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"cannary\"}}", "strategy.type", ERR_USAGE },
	{ "{\"strategy\":{\"type\":5}}", "strategy.type", ERR_USAGE },
	{ "{\"strategy\":{\"read_percentage\":0.1}}", "strategy.type",
	  ERR_USAGE },
	{ "{\"strategy\":\"time_window\"}", "strategy", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"percentage\":1}}",
	  "strategy.percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"big_bang\",\"read_percentage\":1}}",
	  "strategy.read_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":0.1,"
	  "\"ReadPercentage\":0.2}}",
	  "strategy.ReadPercentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":5}}",
	  "strategy.read_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":-0.1}}",
	  "strategy.read_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":\"5\"}}",
	  "strategy.read_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"steps\":[0.5,0.25]}}",
	  "strategy.steps.1", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"steps\":[0]}}",
	  "strategy.steps.0", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"steps\":[{\"share\":1}]}}",
	  "strategy.steps.0.share", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"steps\":{}}}", "strategy.steps",
	  ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"sticky\":\"glue\"}}",
	  "strategy.sticky", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"assign_by\":\"moon\"}}",
	  "strategy.assign_by", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":\"dual_write\"}}",
	  "strategy.write_mode", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"both\"}}}",
	  "strategy.write_mode.mode", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"dual_write\",\"policy\":\"newest\"}}}",
	  "strategy.write_mode.policy", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"dual_write\",\"write_percentage\":1}}}",
	  "strategy.write_mode.write_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"dual_write\",\"policy\":\"both_required\",\"ack\":\"authority\"}}"
	  "}",
	  "strategy.write_mode.ack", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"dual_write\",\"policy\":\"best_effort\",\"ack\":\"both\"}}}",
	  "strategy.write_mode.ack", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"canary\",\"write_mode\":{\"mode\":"
	  "\"dual_write\",\"ack_timeout_ms\":1}}}",
	  "strategy.write_mode.ack_timeout_ms", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"big_bang\",\"write_mode\":{\"mode\":"
	  "\"cutover\",\"write_percentage\":0.5}}}",
	  "strategy.write_mode.write_percentage", ERR_UNABLE },
	{ "{\"strategy\":{\"type\":\"canary\",\"steps\":[{\"read_percentage\":"
	  "0.5,\"write_percentage\":0.5},{\"read_percentage\":0.7,"
	  "\"write_percentage\":0.2}]}}",
	  "strategy.steps.1", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"feature_flag\",\"steps\":[{"
	  "\"write_percentage\":0.5}]}}",
	  "strategy.steps.0.write_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":true},"
	  "\"writes\":true,\"match\":{\"a\":{\"commands\":[\"GET\"]}}}}",
	  "strategy.writes", ERR_UNABLE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":true,"
	  "\"b\":true},\"writes\":true,\"match\":{\"a\":{\"key_prefixes\":"
	  "\"k:\"},\"b\":{\"key_prefixes\":\"k:b:\"}}}}",
	  "strategy.writes", ERR_UNABLE },
	{ "{\"strategy\":{\"type\":\"blue_green\",\"active_is_new\":\"yes\"}}",
	  "strategy.active_is_new", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"rolling_update\",\"total_instances\":1,"
	  "\"migrated_instances\":[\"a\",\"b\"]}}",
	  "strategy.total_instances", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"rolling_update\",\"total_instances\":0}}",
	  "strategy.total_instances", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"rolling_update\",\"migrated_instances\":"
	  "[5]}}",
	  "strategy.migrated_instances", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"shadow_traffic\",\"max_in_flight\":0}}",
	  "strategy.max_in_flight", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"shadow_traffic\",\"write_mode\":{}}}",
	  "strategy.write_mode", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":[]}}",
	  "strategy.features", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":1}}}",
	  "strategy.features.a", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"cutover\":"
	  "true}}}",
	  "strategy.features.cutover", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":true}"
	  ",\"match\":{\"b\":{}}}}",
	  "strategy.match.b", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":true}"
	  ",\"match\":{\"a\":{\"keys\":[]}}}}",
	  "strategy.match.a.keys", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":true}"
	  ",\"match\":{\"a\":{\"commands\":[\"\"]}}}}",
	  "strategy.match.a.commands", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"feature_flag\",\"rollout_percentage\":25}"
	  "}",
	  "strategy.rollout_percentage", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"feature_flag\",\"flags\":{\"a\":true},"
	  "\"segments\":{\"x\":{\"users\":[\"u\"]}}}}",
	  "strategy.segments.x", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"regions\":{\"eu\":true},"
	  "\"locate\":{\"cidr\":{\"us\":[\"10.0.0.0/8\"]}}}}",
	  "strategy.locate.cidr.us", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"regions\":{\"eu\":true},"
	  "\"locate\":{\"cidr\":{\"eu\":[\"10.0.0.1/8\"]}}}}",
	  "strategy.locate.cidr.eu", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"regions\":{\"eu\":true},"
	  "\"locate\":{\"mmdb\":{\"file\":\"/dev/null\"}}}}",
	  "strategy.locate.mmdb.file", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"regions\":{\"eu\":true},"
	  "\"locate\":{\"mmdb\":\"x\"}}}",
	  "strategy.locate.mmdb", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"locate\":{\"proxy_v2\":{"
	  "\"tlv\":1}}}}",
	  "strategy.locate.proxy_v2.tlv", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"geographic\",\"locate\":{}}}",
	  "strategy.locate", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\"}}", "strategy.window_start",
	  ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"window_start\":"
	  "\"2024-01-15T02:00:00Z\"}}",
	  "strategy.window_end", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"window_start\":"
	  "\"2024-01-15T02:00:00Z\",\"window_end\":\"2024-01-15T02:00:00Z\"}}",
	  "strategy.window_end", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"window_start\":"
	  "\"tomorrow\",\"window_end\":\"2024-01-15T02:00:00Z\"}}",
	  "strategy.window_start", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"window_start\":"
	  "\"2024-02-30T02:00:00Z\",\"window_end\":\"2024-03-15T02:00:00Z\"}}",
	  "strategy.window_start", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * *\","
	  "\"duration_s\":60}}",
	  "strategy.cron", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\"}}",
	  "strategy.duration", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"2 hours\"}}",
	  "strategy.duration", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"8d\"}}",
	  "strategy.duration", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"1h\",\"zone\":\"Moon/Base\"}}",
	  "strategy.zone", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"1h\",\"zone\":\"../../etc/passwd\"}}",
	  "strategy.zone", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"window_start\":\"2024-01-15T02:00:00Z\"}}",
	  "strategy.cron", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"1h\",\"overrun\":\"panic\"}}",
	  "strategy.overrun", ERR_USAGE },
	{ "{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\","
	  "\"duration\":\"1h\",\"strategy\":{\"type\":\"shadow_traffic\"}}}",
	  "strategy.strategy.type", ERR_USAGE },
	{ "{\"data\":\"all\"}", "data", ERR_USAGE },
	{ "{\"data\":{\"type\":\"all\"}}", "data.type", ERR_USAGE },
	{ "{\"data\":{\"type\":\"scan\",\"replace\":\"mix\"}}", "data.replace",
	  ERR_USAGE },
	{ "{\"data\":{\"type\":\"scan\",\"speed\":1}}", "data.speed",
	  ERR_USAGE },
	{ "{\"data\":7}", "data", ERR_USAGE },
	{ "{\"failure_handling\":\"pray\"}", "failure_handling", ERR_USAGE },
	{ "{\"failure_handling\":{\"type\":\"retry_then_all\",\"retry_count\":"
	  "0}}",
	  "failure_handling.retry_count", ERR_USAGE },
	{ "{\"failure_handling\":{\"type\":\"retry_then_all\",\"retry_count\":"
	  "1.5}}",
	  "failure_handling.retry_count", ERR_USAGE },
	{ "{\"failure_handling\":{\"type\":\"rollback_all\",\"retry_count\":1}"
	  "}",
	  "failure_handling.retry_count", ERR_USAGE },
	{ "{\"analysis\":[]}", "analysis", ERR_USAGE },
	{ "{\"analysis\":{\"auto\":true}}", "analysis.auto", ERR_USAGE },
	{ "{\"analysis\":{\"looks\":33}}", "analysis.looks", ERR_USAGE },
	{ "{\"analysis\":{\"looks\":3,\"failed_looks\":4}}",
	  "analysis.failed_looks", ERR_USAGE },
	{ "{\"analysis\":{\"max_error_rate\":2}}", "analysis.max_error_rate",
	  ERR_USAGE },
};

static void
refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *in = json_loads(bad[i].in, 0, NULL);
		struct spec_issue issue;
		struct err err = { .text = "" };
		struct spec *s = NULL;

		assert_non_null(in);
		if (spec_read(in, &s, &issue, &err) != -(int)bad[i].code)
			fail_msg("%s: %s", bad[i].in, err.text);
		assert_null(s);
		if (strcmp(issue.param, bad[i].param) != 0)
			fail_msg("%s: \"%s\"", bad[i].in, issue.param);
		/* The range or the known words are in the text. */
		assert_true(strlen(err.text) > strlen(issue.param) + 10);
		json_decref(in);
	}
}

static struct spec *
patched(struct spec *from, const char *text, bool is_running, int wanted)
{
	json_t *in = json_loads(text, 0, NULL);
	struct spec *s = NULL;
	struct spec_issue issue;
	struct err err = { .text = "" };
	int rc = spec_patch(from, in, is_running, &s, &issue, &err);

	if (rc != wanted)
		fail_msg("%s: %d %s", text, rc, err.text);
	json_decref(in);
	return s;
}

/* The four stages of the guide's canary. */
static void
stages(void **state)
{
	static const struct {
		const char *patch;
		enum strategy_move_kind kind;
		uint32_t ppm;
	} rows[] = {
		{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":0.25,"
		  "\"write_mode\":{\"mode\":\"dual_write\",\"policy\":"
		  "\"old_authoritative\"}}}",
		  MOVE_TO_SHARE, 250000 },
		{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":0.75,"
		  "\"write_mode\":{\"mode\":\"dual_write\",\"policy\":"
		  "\"old_authoritative\"}}}",
		  MOVE_TO_SHARE, 750000 },
		{ "{\"strategy\":{\"type\":\"canary\",\"read_percentage\":1.0,"
		  "\"write_mode\":{\"mode\":\"cutover\",\"write_percentage\":"
		  "1.0}}}",
		  MOVE_TO_CUTOVER, 0 },
	};
	struct spec *now = read_ok(
		"{\"id\":\"canary_migration\",\"strategy\":{\"type\":"
		"\"canary\",\"read_percentage\":0.05,\"write_mode\":{\"mode\":"
		"\"dual_write\",\"policy\":\"old_authoritative\"}}}");
	struct strategy_at at = strategy_begin(&now->strategy);
	struct strategy_move m;
	struct err err;

	(void)state;
	assert_int_equal(at.ppm, 50000);
	assert_false(spec_wants_new(now));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct spec *next = patched(now, rows[i].patch, true, 0);

		assert_int_equal(spec_move(now, &at, next, &m, &err), 0);
		assert_int_equal(m.kind, rows[i].kind);
		assert_int_equal(m.ppm, rows[i].ppm);
		at.ppm = m.ppm;
		spec_free(now);
		now = next;
	}
	assert_true(spec_wants_new(now));
	assert_null(patched(now, "{\"strategy\":{\"type\":\"big_bang\"}}", true,
	                    -ERR_STATE));
	spec_free(now);
}

static void
patches(void **state)
{
	struct spec *fig = read_ok(
		"{\"strategy\":{\"type\":\"strangler_fig\",\"features\":{\"a\":"
		"true,\"b\":false},\"match\":{\"a\":{\"key_prefixes\":[\"a:\"]}"
		",\"b\":{\"key_prefixes\":[\"b:\"]}}},\"data\":\"scan\"}");
	struct strategy_at at = strategy_begin(&fig->strategy);
	struct strategy_move m;
	struct err err;
	struct spec *s;

	(void)state;
	s = patched(fig, "{\"strategy\":{\"features\":{\"b\":true}}}", true, 0);
	assert_int_equal(s->strategy.unit_on, 3);
	assert_int_equal(s->term_n, 2);
	assert_int_equal(s->data.move, DATA_SCAN);
	assert_int_equal(spec_move(fig, &at, s, &m, &err), 0);
	assert_int_equal(m.kind, MOVE_TO_UNIT);
	assert_int_equal(m.unit, 1);
	spec_free(s);
	s = patched(fig, "{\"data\":\"none\"}", false, 0);
	assert_int_equal(s->data.move, DATA_NONE);
	assert_int_equal(s->strategy.unit_on, 1);
	spec_free(s);
	/* Before it runs the type may change; nothing of the old one stays. */
	s = patched(fig, "{\"strategy\":\"big_bang\"}", false, 0);
	assert_int_equal(s->strategy.kind, STRATEGY_BIG_BANG);
	assert_int_equal(s->term_n + s->strategy.unit_n, 0);
	spec_free(s);
	spec_free(fig);
}

static void
inner_patch(void **state)
{
	struct spec *w = read_ok(
		"{\"strategy\":{\"type\":\"time_window\",\"cron\":\"0 2 * * *\""
		",\"duration\":\"1h\",\"strategy\":{\"type\":\"canary\"}}}");
	struct spec *s = patched(
		w, "{\"strategy\":{\"strategy\":{\"read_percentage\":0.5}}}",
		true, 0);

	(void)state;
	assert_int_equal(s->strategy.start_ppm, 500000);
	assert_int_equal(s->strategy.kind, STRATEGY_TIME_WINDOW);
	assert_int_equal(s->strategy.window.duration_s, 3600);
	spec_free(s);
	assert_null(patched(w,
	                    "{\"strategy\":{\"strategy\":{\"type\":\"big_bang\""
	                    "}}}",
	                    true, -ERR_STATE));
	spec_free(w);
}

static void
traffic(void **state)
{
	struct spec *c = read_ok("{\"strategy\":{\"type\":\"canary\"}}");
	struct spec *b = read_ok("{\"strategy\":\"big_bang\"}");
	struct spec *d = read_ok("{\"strategy\":{\"type\":\"canary\","
	                         "\"write_mode\":{\"mode\":\"dual_write\"}}}");
	json_t *half = json_loads("{\"read_percentage\":0.5,\"reason\":\"r\"}",
	                          0, NULL);
	json_t *all = json_loads(
		"{\"read_percentage\":1.0,\"write_percentage\":1.0}", 0, NULL);
	json_t *some = json_loads("{\"write_percentage\":0.5}", 0, NULL);
	json_t *odd = json_loads("{\"reads\":0.5}", 0, NULL);
	struct spec_issue issue;
	struct err err;
	struct spec *s;

	(void)state;
	assert_int_equal(spec_patch_traffic(c, half, &s, &issue, &err), 0);
	assert_int_equal(s->strategy.start_ppm, 500000);
	assert_false(spec_wants_new(s));
	spec_free(s);
	assert_int_equal(spec_patch_traffic(c, all, &s, &issue, &err), 0);
	assert_true(spec_wants_new(s));
	spec_free(s);
	assert_int_equal(spec_patch_traffic(c, some, &s, &issue, &err), 0);
	assert_int_equal(s->strategy.start_write_ppm, 500000);
	assert_int_equal(s->strategy.start_ppm, 0);
	assert_false(spec_wants_new(s));
	spec_free(s);
	assert_int_equal(spec_patch_traffic(d, some, &s, &issue, &err),
	                 -ERR_UNABLE);
	assert_string_equal(issue.param, "write_percentage");
	assert_int_equal(spec_patch_traffic(c, odd, &s, &issue, &err),
	                 -ERR_USAGE);
	assert_string_equal(issue.param, "reads");
	assert_int_equal(spec_patch_traffic(b, half, &s, &issue, &err),
	                 -ERR_STATE);
	json_decref(half);
	json_decref(all);
	json_decref(some);
	json_decref(odd);
	spec_free(c);
	spec_free(b);
	spec_free(d);
}

static void
times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
		const char *printed;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z" },
		{ "2024-01-15T02:00:00Z", 1705284000000,
		  "2024-01-15T02:00:00Z" },
		{ "2024-02-29T23:59:59.25+02:00", 1709243999250,
		  "2024-02-29T21:59:59.250Z" },
		{ "1969-12-31t23:59:59z", -1000, "1969-12-31T23:59:59Z" },
	};
	int64_t ms;
	char text[40];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(when_parse_time(rows[i].text, &ms));
		assert_int_equal(ms, rows[i].ms);
		when_print_time(ms, text, sizeof(text));
		assert_string_equal(text, rows[i].printed);
	}
	assert_false(when_parse_time("2024-13-15T02:00:00Z", &ms));
	assert_false(when_parse_time("2024-01-15T02:00:00", &ms));
	assert_false(when_parse_time("2024-01-15T02:00Z", &ms));
	assert_false(when_parse_time("2024-01-15T02:00:00Zx", &ms));
	assert_false(when_parse_time("2023-02-29T02:00:00Z", &ms));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_pace),   cmocka_unit_test(guide),
		cmocka_unit_test(guide_rest),  cmocka_unit_test(extended),
		cmocka_unit_test(warnings),    cmocka_unit_test(refuses),
		cmocka_unit_test(stages),      cmocka_unit_test(patches),
		cmocka_unit_test(inner_patch), cmocka_unit_test(traffic),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
