/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/idle.c: what a server says on a connection that nobody has.
 */
#include "engine/postgres/relay/idle.h"

void
pg_idle_init(struct pg_idle *i, struct mem *mem)
{
	*i = (struct pg_idle){ .reads = false };
	pg_frame_init(&i->in, PG_BACK);
	buf_init(&i->word, mem);
}

void
pg_idle_fini(struct pg_idle *i)
{
	buf_fini(&i->word);
}

bool
pg_idle_take(struct pg_idle *i, struct span bytes, pg_idle_reads_f *reads,
             pg_idle_hear_f *hear, void *self)
{
	struct pg_part p;
	size_t used;

	while (bytes.n > 0) {
		enum wire_rc rc = pg_frame_feed(&i->in, bytes, &p, &used);

		bytes = span_skip(bytes, used);
		if (rc == WIRE_MORE)
			return true;
		if (rc != WIRE_PART)
			return false;
		if (p.kind == PG_HEAD) {
			i->type = p.type;
			i->reads = reads(self, p.type);
		} else if (i->reads) {
			buf_put_span(&i->word, p.raw);
		}
		if (!i->reads || p.left > 0)
			continue;
		if (buf_failed(&i->word) ||
		    !hear(self, i->type, buf_span(&i->word)))
			return false;
		buf_clear(&i->word);
	}
	if (buf_len(&i->word) == 0)
		buf_release(&i->word);
	return true;
}
