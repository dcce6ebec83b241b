/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/probe.c: what a server is: questions and their answers.
 * Source: https://redis.io/docs/latest/commands/ (info, acl-list, command-info,
 * acl-dryrun, config-get, module-list, time)
 */
#include "engine/redis/admin/probe.h"

#include "base/check.h"

static const char *const words[PROBE_COMMAND_N] = {
#define X(name, word) [PROBE_##name] = (word),
	PROBE_COMMANDS(X)
#undef X
};

#define FIRST_N 9

uint32_t
probe_put_first(struct buf *tx)
{
	resp_put_cmd(tx, "INFO", NULL);
	resp_put_cmd(tx, "TIME", NULL);
	resp_put_cmd(tx, "ACL", "WHOAMI", NULL);
	resp_put_cmd(tx, "CONFIG", "GET", "maxmemory-policy", NULL);
	resp_put_cmd(tx, "CONFIG", "GET", "client-output-buffer-limit", NULL);
	resp_put_cmd(tx, "CONFIG", "GET", "aclfile", NULL);
	resp_put_cmd(tx, "MODULE", "LIST", NULL);
	resp_put_array(tx, 2 + PROBE_COMMAND_N);
	resp_put_bulk_str(tx, "COMMAND");
	resp_put_bulk_str(tx, "INFO");
	for (unsigned i = 0; i < PROBE_COMMAND_N; i++)
		resp_put_bulk_str(tx, words[i]);
	resp_put_cmd(tx, "CONFIG", "GET", "lua-replicate-commands", NULL);
	return FIRST_N;
}

/* Arguments that make each command well-formed, for ACL DRYRUN. */
static void
put_dryrun(struct buf *tx, const char *user, enum probe_command c)
{
	const char *w = words[c];

	switch (c) {
	case PROBE_PSYNC:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "?", "-1", NULL);
		return;
	case PROBE_REPLCONF:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "ACK", "0", NULL);
		return;
	case PROBE_DUMP:
	case PROBE_SCAN:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "0", NULL);
		return;
	case PROBE_RESTORE:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "k", "0", "v", NULL);
		return;
	case PROBE_ROLE:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, NULL);
		return;
	case PROBE_ACL:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "SETUSER", "u",
		             NULL);
		return;
	case PROBE_CLIENT:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "KILL", "ID", "1",
		             NULL);
		return;
	case PROBE_PUBLISH:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "c", "m", NULL);
		return;
	case PROBE_CONFIG:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, w, "GET", "a", NULL);
		return;
	case PROBE_TRACKING:
		resp_put_cmd(tx, "ACL", "DRYRUN", user, "client", "tracking",
		             "on", NULL);
		return;
	case PROBE_COMMAND_N: break;
	}
	NEVER("a command that is none");
}

uint32_t
probe_put_second(struct buf *tx, const struct facts *f)
{
	for (unsigned i = 0; i < PROBE_COMMAND_N; i++)
		put_dryrun(tx, f->whoami, (enum probe_command)i);
	return PROBE_COMMAND_N + (f->is_cluster ? cluster_put(tx) : 0);
}

/* "7.0.15" -> 70015 */
static uint32_t
version_number(struct span v)
{
	uint32_t part[3] = { 0, 0, 0 };
	unsigned i = 0;

	for (size_t n = 0; n < v.n && i < 3; n++) {
		if (v.p[n] >= '0' && v.p[n] <= '9' && part[i] < 1000)
			part[i] = part[i] * 10 + (uint32_t)(v.p[n] - '0');
		else if (v.p[n] == '.')
			i++;
	}
	return part[0] * 10000 + part[1] * 100 + part[2];
}

/* "db0:keys=5,expires=1,avg_ttl=0": the sum of keys, and how many lines. */
static uint64_t
count_keys(struct span info, uint32_t *ret_databases)
{
	struct span line;
	uint64_t n = 0;

	*ret_databases = 0;
	while (reply_line(&info, &line)) {
		if (!span_has_prefix(line, SPAN("db")))
			continue;
		for (size_t i = 2; i + 6 < line.n; i++) {
			if (memcmp(line.p + i, ":keys=", 6) == 0) {
				n += reply_u64(span_skip(line, i + 6));
				(*ret_databases)++;
				break;
			}
		}
	}
	return n;
}

static void
read_info(struct span info, struct facts *f)
{
	struct span v;

	if (reply_info(info, "redis_version", &v)) {
		reply_text(v, f->version, sizeof(f->version));
		f->version_n = version_number(v);
	}
	if (reply_info(info, "valkey_version", &v)) {
		f->is_valkey = true;
		f->valkey_n = version_number(v);
		reply_text(v, f->version, sizeof(f->version));
	}
	if (reply_info(info, "run_id", &v))
		reply_text(v, f->run_id, sizeof(f->run_id));
	f->is_master =
		reply_info(info, "role", &v) && span_eq(v, SPAN("master"));
	if (reply_info(info, "master_host", &v))
		reply_text(v, f->master, sizeof(f->master));
	f->is_cluster = reply_info_u64(info, "cluster_enabled") != 0;
	f->is_sentinel = reply_info(info, "redis_mode", &v) &&
	                 span_eq(v, SPAN("sentinel"));
	f->is_loading = reply_info_u64(info, "loading") != 0;
	f->replicas = (uint32_t)reply_info_u64(info, "connected_slaves");
	f->used_memory = reply_info_u64(info, "used_memory");
	f->maxmemory = reply_info_u64(info, "maxmemory");
	f->has_config_file = reply_info(info, "config_file", &v) && v.n > 0;
	f->keys = count_keys(info, &f->databases);
	f->has_keys_0 = reply_info(info, "db0", &v);
}

/* The second string of a two-string array, as CONFIG GET answers. */
static bool
config_value(struct span one, struct span *ret)
{
	struct resp_item it;

	struct span name;

	if (!reply_item(&one, &it) || it.type != RESP_ARRAY || it.number < 2)
		return false;
	name = reply_take(&one);
	if (name.n == 0 || !reply_item(&one, &it) || it.type != RESP_BULK)
		return false;
	*ret = it.text;
	return true;
}

static void
read_time(struct span one, struct facts *f)
{
	struct resp_item it;
	uint64_t s;

	if (!reply_item(&one, &it) || it.type != RESP_ARRAY ||
	    !reply_item(&one, &it))
		return;
	s = reply_u64(it.text);
	if (reply_item(&one, &it))
		f->clock_ms = (int64_t)(s * 1000 + reply_u64(it.text) / 1000);
}

/* "normal 0 0 0 slave 268435456 67108864 60 pubsub ...": the hard limit. */
static void
read_limits(struct span text, struct facts *f)
{
	struct span word;

	while (reply_word(&text, &word)) {
		if (!span_eq(word, SPAN("slave")) &&
		    !span_eq(word, SPAN("replica")))
			continue;
		if (reply_word(&text, &word))
			f->slave_limit = reply_u64(word);
		return;
	}
}

/* Strings that follow the string "name" anywhere in the reply. */
static void
read_modules(struct span one, struct facts *f)
{
	struct resp_item it;
	bool next = false;
	size_t n = 0;

	f->hides_modules = one.n > 0 && one.p[0] == '-';
	while (reply_item(&one, &it)) {
		if (it.type != RESP_BULK)
			continue;
		/* A part of Redis 8 itself. */
		if (next && span_eq(it.text, SPAN("vectorset"))) {
			f->has_vectors = true;
		} else if (next) {
			if (n > 0 && n + 2 < sizeof(f->modules))
				f->modules[n++] = ',';
			reply_text(it.text, f->modules + n,
			           sizeof(f->modules) - n);
			n += strlen(f->modules + n);
		}
		next = !next && span_eq(it.text, SPAN("name"));
	}
}

static void
read_commands(struct span one, struct facts *f)
{
	struct resp_item it;

	if (!reply_item(&one, &it) || it.type != RESP_ARRAY)
		return;
	for (unsigned i = 0; i < PROBE_COMMAND_N; i++) {
		struct span entry = reply_take(&one);

		if (!reply_item(&entry, &it) || it.type == RESP_NIL)
			f->absent |= 1u << i;
	}
}

int
probe_read_first(struct span replies, const char *who, struct facts *ret,
                 struct err *err)
{
	struct span look = replies;
	struct span one[FIRST_N];
	struct span value;
	struct resp_item it;
	int rc;

	*ret = (struct facts){ 0 };
	rc = reply_ok(&look, who, "INFO", err);
	if (rc == -ERR_AUTH)
		return err_set(err, ERR_AUTH,
		               "%s wants a password, or another one; put it "
		               "into the URL as redis://user:password@host",
		               who);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < FIRST_N; i++)
		one[i] = reply_take(&replies);
	if (!reply_item(&one[0], &it) || it.type != RESP_BULK)
		return err_set(err, ERR_PROTO, "%s is not a Redis server", who);
	read_info(it.text, ret);
	if (ret->version[0] == '\0')
		return err_set(err, ERR_PROTO, "%s is not a Redis server", who);
	read_time(one[1], ret);
	if (reply_item(&one[2], &it) && it.type == RESP_BULK)
		reply_text(it.text, ret->whoami, sizeof(ret->whoami));
	if (config_value(one[3], &value))
		reply_text(value, ret->policy, sizeof(ret->policy));
	if (config_value(one[4], &value))
		read_limits(value, ret);
	ret->has_aclfile = config_value(one[5], &value) && value.n > 0;
	read_modules(one[6], ret);
	read_commands(one[7], ret);
	ret->sends_scripts =
		config_value(one[8], &value) && span_eq(value, SPAN("no"));
	return 0;
}

int
probe_read_second(struct span replies, const char *who, struct facts *ret,
                  struct err *err)
{
	for (unsigned i = 0; i < PROBE_COMMAND_N; i++) {
		struct span one = reply_take(&replies);
		struct resp_item it;

		if (!reply_item(&one, &it))
			return err_set(err, ERR_PROTO,
			               "%s: fewer answers than questions", who);
		/* +OK: may. A sentence (bulk): may not. An error: this server
		 * has no dry run, or we may not ask; not a denial. */
		if (it.type == RESP_BULK)
			ret->denied |= 1u << i;
	}
	if (ret->is_cluster) {
		struct err why;

		ret->told_cluster =
			cluster_read(replies, who, &ret->cluster, &why) == 0;
		if (!own_tag_find(ret->cluster.node.slots.bit, ret->own_tag))
			ret->own_tag[0] = '\0';
	}
	return 0;
}
