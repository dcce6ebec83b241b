/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/feed.c: bytes that came and are not used yet.
 *
 * Nearly always all of an event's bytes are used while it is handled, and
 * nothing is copied.
 */
#include "engine/redis/spread/inside.h"

void
feed_come(struct feed *f, struct span bytes)
{
	REQUIRE(f->now.n == 0);
	if (buf_len(&f->kept) > 0)
		buf_put_span(&f->kept, bytes);
	else
		f->now = bytes;
}

void
feed_use(struct feed *f, size_t n)
{
	if (f->now.n > 0)
		f->now = span_skip(f->now, n);
	else
		buf_take(&f->kept, n);
	if (f->now.n == 0 && buf_len(&f->kept) == 0)
		buf_release(&f->kept); /* the idle hold no memory */
}

bool
feed_settle(struct feed *f)
{
	buf_put_span(&f->kept, f->now);
	f->now = span_of(NULL, 0);
	return !buf_failed(&f->kept);
}
