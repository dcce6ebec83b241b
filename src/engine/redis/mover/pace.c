/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/pace.c: whose turn it is in the first copy.
 */
#include "engine/redis/mover/pace.h"

#include "base/check.h"

#define PACE_NS (PACE_MS * 1000000ULL)

void
pace_init(struct pace *p, bool gentle, size_t turn, uint64_t now_ns)
{
	REQUIRE(turn > 0);
	*p = (struct pace){
		.turn = turn,
		.is_gentle = gentle,
		.since_ns = now_ns,
	};
}

static bool
has_read_enough(const struct pace *p, const struct pace_see *see, bool late)
{
	return see->waiting >= p->turn || see->is_paused ||
	       (p->is_gentle && late && see->waiting > 0);
}

static bool
has_written(const struct pace *p, const struct pace_see *see)
{
	return see->waiting < PACE_SENT && !see->is_paused &&
	       (!p->is_gentle || see->asked <= PACE_ANSWERS);
}

struct pace_do
pace_look(struct pace *p, const struct pace_see *see)
{
	bool late = see->now_ns >= p->since_ns + PACE_NS;
	struct pace_do go = { .look_ns = UINT64_MAX };

	if (see->is_over) {
		go.read = true; /* the server's end */
		go.send = true;
		return go;
	}
	if (p->is_writing ? has_written(p, see)
	                  : has_read_enough(p, see, late)) {
		p->is_writing = !p->is_writing;
		p->since_ns = see->now_ns;
		late = false;
	}
	go.send = p->is_writing || !p->is_gentle;
	go.read = !p->is_writing ||
	          (late && !see->is_paused && see->waiting < p->turn);
	if (!late && !see->is_paused)
		go.look_ns = p->since_ns + PACE_NS;
	return go;
}
