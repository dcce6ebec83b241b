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
	return NAME_N;
}

void
settings_judge(struct checks *c, const struct span replies[SIDE_N])
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
	if (!differ)
		checks_add(c, "settings", CHECK_PASS,
		           "both answer applications alike");
}
