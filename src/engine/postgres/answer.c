/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/answer.c: do two servers' answers to one read say the same?
 *
 * Rows without an order are compared by the sums of their digests; with one they are
 * walked side by side. Only when they differ the first row is looked for.
 */
#include "engine/postgres/answer.h"

#include "base/hash.h"
#include "base/map.h"
#include "wire/pg_back.h"
#include "wire/pg_frame.h"

/* Types of people's own have other numbers on another server. */
#define OWN_TYPE     16384u
/* record and record[]: numbers of types are inside of the binary form. */
#define TYPE_RECORD  2249u
#define TYPE_RECORDS 2287u

struct sums {
	uint64_t v[2];
};

/* One answer, after a first look. */
struct answer {
	struct span raw;
	bool is_whole; /* ReadyForQuery ends it */
	bool has_fields;
	bool has_error;
	struct span code; /* of the error */
	struct span tag;
	struct pg_fields fields;
	uint32_t rows;
	uint32_t width; /* columns of each row */
	struct sums sums;
};

/* ---- cells ----------------------------------------------------------------- */

/* Can a cell's bytes be compared? */
static bool
is_plain(const struct pg_field *f)
{
	return f->format == 0 ||
	       (f->type < OWN_TYPE && f->type != TYPE_RECORD &&
	        f->type != TYPE_RECORDS);
}

static bool
is_cell_same(const struct pg_field *f, const struct pg_value *a,
             const struct pg_value *b)
{
	if (a->is_null != b->is_null)
		return false;
	return (f != NULL && !is_plain(f)) || span_eq(a->bytes, b->bytes);
}

static uint64_t
hash_cell(const struct pg_field *f, const struct pg_value *v, uint64_t seed)
{
	if (v->is_null)
		return hash_mix(seed + 1);
	if (f != NULL && !is_plain(f))
		return hash_mix(seed + 2);
	return hash_mix(hash_bytes(v->bytes, seed));
}

/* The digest of a row, added to a sum. */
static void
add_row(struct sums *to, const struct pg_fields *fields,
        const struct pg_values *row, uint64_t seed)
{
	struct span rest = row->items;
	struct span names = { NULL, 0 };
	uint64_t h[2] = { seed, hash_mix(~seed) };
	struct pg_value v;
	struct pg_field f;

	if (fields != NULL)
		names = fields->items;
	while (pg_value_next(&rest, &v)) {
		bool known = fields != NULL && pg_field_next(&names, &f);

		for (int i = 0; i < 2; i++)
			h[i] = hash_mix(h[i] * 0x9e3779b97f4a7c15u +
			                hash_cell(known ? &f : NULL, &v, h[i]));
	}
	to->v[0] += h[0];
	to->v[1] += h[1];
}

/* ---- messages --------------------------------------------------------------- */

/* The next message; false: none, or not a whole one. */
static bool
next(struct pg_frame *f, struct span *rest, struct pg_message *m)
{
	if (pg_frame_whole(f, *rest, m) != WIRE_PART)
		return false;
	*rest = span_skip(*rest, m->raw.n);
	return true;
}

/* The next row of what is left of an answer. */
static bool
next_row(struct pg_frame *f, struct span *rest, struct pg_values *ret)
{
	struct pg_message m;

	while (next(f, rest, &m)) {
		if (m.type == PG_DATA_ROW)
			return pg_read_row(m.body, ret);
	}
	return false;
}

/* False: it is not an answer to one read. */
static bool
note(struct answer *a, const struct pg_message *m)
{
	struct pg_error e;
	struct pg_values row;

	switch (m->type) {
	case PG_ROW_DESCRIPTION:
		a->has_fields = true;
		return a->rows == 0 && pg_read_fields(m->body, &a->fields);
	case PG_DATA_ROW:
		if (!pg_read_row(m->body, &row))
			return false;
		a->width = a->rows++ == 0 ? row.n : a->width;
		return row.n == a->width &&
		       (!a->has_fields || row.n == a->fields.n);
	case PG_COMMAND_COMPLETE:
		return a->tag.p == NULL && pg_read_complete(m->body, &a->tag);
	case PG_ERROR_RESPONSE:
		if (a->has_error || !pg_read_error(m->body, &e))
			return false;
		a->has_error = true;
		a->code = e.code;
		return true;
	case PG_READY: a->is_whole = true; return true;
	case PG_PARSE_COMPLETE:
	case PG_BIND_COMPLETE:
	case PG_NO_DATA:
	case PG_PARAMETER_STATUS:
	case PG_NOTIFICATION:
	case PG_NOTICE_RESPONSE: return true;
	default: return false;
	}
}

static bool
read_answer(struct answer *a, struct span raw)
{
	struct span rest = raw;
	struct pg_message m;
	struct pg_frame f;

	*a = (struct answer){ .raw = raw };
	pg_frame_init(&f, PG_BACK);
	while (!a->is_whole && next(&f, &rest, &m)) {
		if (!note(a, &m))
			return false;
	}
	return a->is_whole && rest.n == 0 && (a->has_error || a->tag.p != NULL);
}

static void
sum_rows(struct answer *a, const struct pg_fields *fields, uint64_t seed)
{
	struct span rest = a->raw;
	struct pg_values row;
	struct pg_frame f;

	pg_frame_init(&f, PG_BACK);
	while (next_row(&f, &rest, &row))
		add_row(&a->sums, fields, &row, seed);
}

/* ---- columns ------------------------------------------------------------------ */

static bool
is_field_same(const struct pg_field *a, const struct pg_field *b)
{
	if (!span_eq(a->name, b->name) || a->format != b->format)
		return false;
	if (a->type >= OWN_TYPE && b->type >= OWN_TYPE)
		return true;
	return a->type == b->type && a->size == b->size &&
	       a->modifier == b->modifier;
}

static bool
are_fields_same(const struct answer *a, const struct answer *b,
                struct pg_answer_found *found)
{
	struct span rest[2] = { a->fields.items, b->fields.items };
	struct pg_field f[2];

	for (uint32_t i = 1;; i++) {
		bool has[2];

		for (int k = 0; k < 2; k++)
			has[k] = pg_field_next(&rest[k], &f[k]);
		if (!has[0] && !has[1])
			return true;
		if (has[0] && has[1] && is_field_same(&f[0], &f[1]))
			continue;
		found->column = i;
		for (int k = 0; k < 2; k++) {
			if (has[k])
				found->text[k] = f[k].name;
		}
		return false;
	}
}

/* ---- order ------------------------------------------------------------------------ */

/* Which columns (a bit each) are the keys. False: one of them is not among the
 * first 64, or not one for certain. */
static bool
find_keys(const struct pg_order *o, const struct pg_fields *fields,
          uint64_t *ret)
{
	*ret = 0;
	for (uint32_t k = 0; k < o->n; k++) {
		uint32_t at = o->key[k].column;
		uint32_t n = at > 0;
		struct span rest = fields->items;
		struct pg_field f;

		for (uint32_t i = 1;
		     o->key[k].column == 0 && pg_field_next(&rest, &f); i++) {
			bool is =
				o->key[k].is_quoted
					? span_eq(o->key[k].name, f.name)
					: span_is_word(o->key[k].name, f.name);

			if (is) {
				at = i;
				n++;
			}
		}
		if (n != 1 || at > 64 || at > fields->n)
			return false;
		*ret |= UINT64_C(1) << (at - 1);
	}
	return o->n > 0;
}

/* Two answers side by side. */
struct pair {
	const struct pg_fields *fields; /* NULL: not told */
	struct answer *of[2];
	uint64_t seed;
	struct pg_frame frame[2];
	struct span rest[2];
	struct pg_values row[2];
};

static void
pair_rewind(struct pair *p)
{
	for (int k = 0; k < 2; k++) {
		pg_frame_init(&p->frame[k], PG_BACK);
		p->rest[k] = p->of[k]->raw;
	}
}

static bool
pair_next(struct pair *p, int k)
{
	return next_row(&p->frame[k], &p->rest[k], &p->row[k]);
}

/* The first column, among those of mask, in which two rows differ; 0: none. */
static uint32_t
differs_at(const struct pair *p, const struct pg_values row[2], uint64_t mask,
           struct pg_answer_found *found)
{
	struct span rest[2] = { row[0].items, row[1].items };
	struct span names = { NULL, 0 };
	struct pg_value v[2];
	struct pg_field f;

	if (p->fields != NULL)
		names = p->fields->items;
	for (uint32_t i = 1;
	     pg_value_next(&rest[0], &v[0]) && pg_value_next(&rest[1], &v[1]);
	     i++) {
		bool known = p->fields != NULL && pg_field_next(&names, &f);
		bool counts = i > 64 ? mask == UINT64_MAX
		                     : (mask >> (i - 1) & 1) != 0;

		if (!counts || is_cell_same(known ? &f : NULL, &v[0], &v[1]))
			continue;
		found->column = i;
		if (known)
			found->name = f.name;
		found->is_binary = known && f.format != 0;
		for (int k = 0; k < 2; k++) {
			if (!v[k].is_null)
				found->text[k] = v[k].bytes;
		}
		return i;
	}
	return 0;
}

/* ---- rows ------------------------------------------------------------------------- */

/* Rows whose keys are the same, in both answers. */
struct run {
	struct sums sums[2];
	struct pg_answer_found found;
	bool is_first;
};

/* Do the rows of a run differ? The ends of a cut answer are open. */
static bool
is_run_bad(const struct run *r, bool is_cut, bool is_last)
{
	return memcmp(&r->sums[0], &r->sums[1], sizeof(r->sums[0])) != 0 &&
	       !(is_cut && (r->is_first || is_last));
}

/* One by one, but for ties of the columns of mask. As many rows in both. */
static bool
is_walk_same(struct pair *p, uint64_t mask, bool is_cut,
             struct pg_answer_found *found)
{
	struct run run = { .is_first = true };
	struct pg_values last = { 0 };

	for (uint32_t i = 1; pair_next(p, 0) && pair_next(p, 1); i++) {
		struct pg_answer_found here = { .row = i };
		const struct pg_values own[2] = { last, p->row[0] };

		if (differs_at(p, p->row, mask, &here) != 0) {
			*found = here;
			return false;
		}
		if (i > 1 && differs_at(p, own, mask, &here) != 0) {
			if (is_run_bad(&run, is_cut, false)) {
				*found = run.found;
				return false;
			}
			run = (struct run){ .is_first = false };
		}
		here = (struct pg_answer_found){ .row = i };
		if (run.found.row == 0 &&
		    differs_at(p, p->row, UINT64_MAX, &here) != 0)
			run.found = here;
		for (int k = 0; k < 2; k++)
			add_row(&run.sums[k], p->fields, &p->row[k], p->seed);
		last = p->row[0];
	}
	*found = run.found;
	return !is_run_bad(&run, is_cut, true);
}

/* How often a row was seen, by its digest. NULL: no memory. */
static int64_t *
count_of(const struct pair *p, struct map *m, int k)
{
	struct sums s = { { 0, 0 } };
	struct map_entry *e;

	add_row(&s, p->fields, &p->row[k], p->seed);
	e = map_put(m, span_of(&s, sizeof(s)), NULL);
	return e != NULL ? map_value(e) : NULL;
}

/* The first row of answer 0 that the other one lacks, and the first of that one's
 * that is left over then. */
static void
find_row(struct pair *p, struct mem *mem, struct pg_answer_found *found)
{
	struct pg_values row[2] = { { 0 }, { 0 } };
	bool has[2] = { false, false };
	struct map seen;
	int64_t *n;
	uint32_t at = 0;

	map_init(&seen, mem, sizeof(int64_t), p->seed);
	pair_rewind(p);
	while (pair_next(p, 1) && (n = count_of(p, &seen, 1)) != NULL)
		++*n;
	while (pair_next(p, 0) && (n = count_of(p, &seen, 0)) != NULL) {
		at++;
		if (--*n < 0 && !has[0]) {
			has[0] = true;
			row[0] = p->row[0];
			found->row = at;
		}
	}
	pair_rewind(p);
	while (!has[1] && pair_next(p, 1) &&
	       (n = count_of(p, &seen, 1)) != NULL) {
		if (*n > 0) {
			has[1] = true;
			row[1] = p->row[1];
		}
	}
	map_fini(&seen);
	if (has[0] && has[1])
		(void)differs_at(p, row, UINT64_MAX, found);
}

static enum pg_answer_rc
compare_rows(struct pair *p, const struct pg_order *o, struct mem *mem,
             struct pg_answer_found *found)
{
	uint64_t mask = UINT64_MAX;
	bool are_same;

	for (int k = 0; k < 2; k++)
		sum_rows(p->of[k], p->fields, p->seed);
	are_same = memcmp(&p->of[0]->sums, &p->of[1]->sums,
	                  sizeof(p->of[0]->sums)) == 0;
	if (o->kind == PG_ORDER_NONE) {
		if (!are_same && mem != NULL)
			find_row(p, mem, found);
		return are_same ? PG_ANSWER_SAME : PG_ANSWER_ROWS;
	}
	if (o->kind == PG_ORDER_TIES &&
	    (p->fields == NULL || !find_keys(o, p->fields, &mask)))
		mask = UINT64_MAX;
	if (is_walk_same(p, mask, o->is_cut, found))
		return PG_ANSWER_SAME;
	return are_same ? PG_ANSWER_ORDER : PG_ANSWER_ROWS;
}

/* ---- answers ------------------------------------------------------------------------ */

/* All but the rows. */
static enum pg_answer_rc
compare_frame(const struct answer a[2], struct pg_answer_found *found)
{
	for (int k = 0; k < 2; k++) {
		found->rows[k] = a[k].rows;
		found->text[k] = a[k].has_error ? a[k].code : a[k].tag;
	}
	if (a[0].has_error != a[1].has_error ||
	    (a[0].has_error && !span_eq(a[0].code, a[1].code)))
		return PG_ANSWER_ERROR;
	if (a[0].has_error)
		return PG_ANSWER_SAME;
	found->text[0] = found->text[1] = (struct span){ NULL, 0 };
	if (a[0].rows > 0 && a[1].rows > 0 && a[0].width != a[1].width)
		return PG_ANSWER_FIELDS;
	if (a[0].has_fields && a[1].has_fields &&
	    !are_fields_same(&a[0], &a[1], found))
		return PG_ANSWER_FIELDS;
	if (a[0].rows != a[1].rows)
		return PG_ANSWER_COUNT;
	if (!span_eq(a[0].tag, a[1].tag)) {
		for (int k = 0; k < 2; k++)
			found->text[k] = a[k].tag;
		return PG_ANSWER_TAG;
	}
	return PG_ANSWER_SAME;
}

enum pg_answer_rc
pg_answer_compare(const struct pg_order *order, const struct span raw[2],
                  uint64_t seed, struct mem *mem,
                  struct pg_answer_found *ret_found)
{
	struct pg_answer_found found = { .row = 0 };
	struct answer a[2];
	struct pair p = { .of = { &a[0], &a[1] }, .seed = seed };
	enum pg_answer_rc rc = PG_ANSWER_BROKEN;

	if (read_answer(&a[0], raw[0]) && read_answer(&a[1], raw[1]))
		rc = compare_frame(a, &found);
	if (rc == PG_ANSWER_SAME && !a[0].has_error && a[0].rows > 0 &&
	    order->kind != PG_ORDER_OPEN) {
		if (a[0].has_fields)
			p.fields = &a[0].fields;
		else if (a[1].has_fields)
			p.fields = &a[1].fields;
		pair_rewind(&p);
		rc = compare_rows(&p, order, ret_found != NULL ? mem : NULL,
		                  &found);
	}
	if (ret_found != NULL)
		*ret_found = found;
	return rc;
}

/* ---- words ----------------------------------------------------------------------------- */

static void
say_text(struct buf *to, struct span s, size_t max)
{
	size_t n = s.n < max ? s.n : max;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = s.p[i];

		c = c == '\n' || c == '\t' ? ' ' : c;
		buf_put(to, c < 32 || c > 126 ? "?" : (const char *)&c, 1);
	}
	if (n < s.n)
		buf_put_str(to, "...");
}

static void
say_cell(struct buf *to, const struct pg_answer_found *f, int i, size_t max)
{
	size_t n = f->text[i].n < max / 2 ? f->text[i].n : max / 2;

	if (f->text[i].p == NULL) {
		buf_put_str(to, "NULL");
	} else if (f->is_binary) {
		buf_put_str(to, "0x");
		for (size_t k = 0; k < n; k++)
			buf_putf(to, "%02x", f->text[i].p[k]);
		if (n < f->text[i].n)
			buf_put_str(to, "...");
	} else {
		say_text(to, f->text[i], max);
	}
}

void
pg_answer_say(struct buf *to, enum pg_answer_rc rc,
              const struct pg_answer_found *f, int i, size_t max)
{
	switch (rc) {
	case PG_ANSWER_SAME:
	case PG_ANSWER_BROKEN: break;
	case PG_ANSWER_ERROR:
	case PG_ANSWER_TAG: say_text(to, f->text[i], max); break;
	case PG_ANSWER_FIELDS:
		buf_putf(to, "column %u ", f->column);
		say_text(to, f->text[i], max);
		break;
	case PG_ANSWER_COUNT: buf_putf(to, "%u rows", f->rows[i]); break;
	case PG_ANSWER_ROWS:
	case PG_ANSWER_ORDER:
		if (i == 0) {
			buf_putf(to, "row %u ", f->row);
			say_text(to, f->name, 16);
			buf_put_str(to, "=");
		}
		say_cell(to, f, i, max);
		break;
	}
}
