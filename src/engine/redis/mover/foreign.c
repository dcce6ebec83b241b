/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/mover/foreign.c: what a server deleted lately of keys that the
 * other mover of a split carries.
 */
#include "engine/redis/mover/foreign.h"

#include <string.h>

#include "base/check.h"

struct head {
	uint64_t at;
	uint32_t db;
	uint32_t n; /* bytes of the key behind it */
};

void
foreign_init(struct foreign *f, struct mem *mem)
{
	buf_init(&f->items, mem);
	f->known = UINT64_MAX;
}

void
foreign_begin(struct foreign *f, uint64_t at)
{
	buf_fini(&f->items);
	f->known = at;
}

void
foreign_put(struct foreign *f, const struct foreign_item *it)
{
	struct head h = { it->at, it->db, (uint32_t)it->key.n };

	while (buf_len(&f->items) > FOREIGN_MAX) {
		struct head old;

		memcpy(&old, buf_span(&f->items).p, sizeof(old));
		buf_take(&f->items, sizeof(old) + old.n);
		f->known = old.at + 1;
	}
	if (it->key.n > FOREIGN_MAX) {
		foreign_begin(f, it->at + 1);
		return;
	}
	buf_put(&f->items, &h, sizeof(h));
	buf_put_span(&f->items, it->key);
	if (buf_failed(&f->items))
		foreign_begin(f, it->at + 1);
}

bool
foreign_knows(const struct foreign *f, uint64_t at)
{
	return at >= f->known;
}

bool
foreign_next(const struct foreign *f, size_t *pos, struct foreign_item *ret)
{
	struct span in = buf_span(&f->items);
	struct head h;

	if (*pos >= in.n)
		return false;
	in = span_skip(in, *pos);
	REQUIRE(in.n >= sizeof(h));
	memcpy(&h, in.p, sizeof(h));
	*ret = (struct foreign_item){
		.at = h.at,
		.db = h.db,
		.key = span_of(in.p + sizeof(h), h.n),
	};
	*pos += sizeof(h) + h.n;
	return true;
}
