/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/settings.c: settings of both servers that applications notice.
 */
#include "engine/redis/admin/settings.h"

static const char *const names[] = {
	"notify-keyspace-events",
	"timeout",
	"lua-time-limit",
	"proto-max-bulk-len",
};
#define NAME_N (sizeof(names) / sizeof(names[0]))

/* So many replicas have to be there for a server to take writes. */
static const char wanted[] = "min-replicas-to-write";

/* The value in an answer of CONFIG GET; false: it has none. */
static bool
value_of(struct span reply, struct span *ret)
{
	struct resp_item it;

	if (!reply_item(&reply, &it) || it.type != RESP_ARRAY || it.number != 2)
		return false;
	/* The name, and behind it the value. */
	for (int i = 0; i < 2; i++) {
		if (!reply_item(&reply, &it))
			return false;
	}
	*ret = it.text;
	return true;
}

static void
name_one(struct checks *c, const char *name, const struct span value[SIDE_N])
{
	char text[SIDE_N][80];
	struct err say;

	for (int s = 0; s < SIDE_N; s++)
		reply_text(value[s], text[s], sizeof(text[s]));
	(void)err_set(&say, ERR_STATE,
	              "%s is '%s' on old and '%s' on new, which applications "
	              "notice from the cutover on; on new: CONFIG SET %s '%s'",
	              name, text[SIDE_OLD], text[SIDE_NEW], name,
	              text[SIDE_OLD]);
	checks_add(c, "settings", CHECK_WARN, say.text);
}

uint32_t
settings_put(struct buf *tx)
{
	for (size_t i = 0; i < NAME_N; i++)
		resp_put_cmd(tx, "CONFIG", "GET", names[i], NULL);
	resp_put_cmd(tx, "CONFIG", "GET", wanted, NULL);
	resp_put_cmd(tx, "INFO", "replication", NULL);
	return NAME_N + 2;
}

/* Godwit follows a server as a replica does, and is counted; so a server takes
 * writes that it would refuse without it. New has to take the first ones before. */
static void
judge_replicas(struct checks *c, enum side s, bool by_marks, struct span want,
               struct span info)
{
	uint64_t n = reply_u64(want);
	uint64_t good = reply_info_u64(info, "min_slaves_good_slaves");
	struct err say;

	if (n == 0)
		return;
	if (s == SIDE_NEW && good < n) {
		(void)err_set(&say, ERR_STATE,
		              "new takes no writes: %s is %llu there, and %llu "
		              "good replicas are connected; connect them, or "
		              "CONFIG SET %s 0 there until they are",
		              wanted, (unsigned long long)n,
		              (unsigned long long)good, wanted);
		checks_add(c, "replicas", CHECK_FAIL, say.text);
		return;
	}
	/* Who learns by marks is no replica. */
	if (by_marks)
		return;
	(void)err_set(&say, ERR_STATE,
	              "%s is %llu on %s: Godwit is counted as a replica while "
	              "the migration is there, so writes go on with one less; "
	              "CONFIG SET %s %llu there meanwhile",
	              wanted, (unsigned long long)n, side_name(s), wanted,
	              (unsigned long long)n + 1);
	checks_add(c, "replicas", CHECK_WARN, say.text);
}

void
settings_judge(struct checks *c, const struct facts f[SIDE_N],
               const struct span replies[SIDE_N])
{
	struct span at[SIDE_N] = { replies[SIDE_OLD], replies[SIDE_NEW] };
	bool differ = false;

	for (size_t i = 0; i < NAME_N; i++) {
		struct span value[SIDE_N];
		bool is_told = true;

		for (int s = 0; s < SIDE_N; s++)
			is_told &= value_of(reply_take(&at[s]), &value[s]);
		if (!is_told || span_eq(value[SIDE_OLD], value[SIDE_NEW]))
			continue;
		name_one(c, names[i], value);
		differ = true;
	}
	for (int s = 0; s < SIDE_N; s++) {
		struct span want = { NULL, 0 };
		struct span info = { NULL, 0 };
		struct resp_item it;

		if (!value_of(reply_take(&at[s]), &want))
			continue;
		if (reply_item(&at[s], &it) && it.type == RESP_BULK)
			info = it.text;
		judge_replicas(c, (enum side)s, probe_by_marks(&f[s]), want,
		               info);
	}
	if (!differ)
		checks_add(c, "settings", CHECK_PASS,
		           "both answer applications alike");
}
