/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/compare/big.c: the chunk machine.
 *
 *   string, list  LENGTH -> RANGE ... -> DONE
 *   stream        LENGTH -> RANGE ... -> META -> GROUPS -> PEND ... -> DONE
 *   others        LENGTH -> SCAN -> PROBE -> SCAN ... -> DONE, and once more
 *                 with the sides exchanged when something differed
 */
#include "engine/redis/compare/big.h"

#include "engine/redis/compare/explain.h"

#define STRING_PIECE ((uint64_t)1024 * 1024) /* bytes in one GETRANGE       */
#define CHUNK_BYTES  ((uint64_t)256 * 1024)  /* aimed at for other replies  */
#define CHUNK_MAX    1000                    /* elements in one request     */

void
big_init(struct big *b, struct mem *mem, enum value_type type, struct span key,
         uint64_t bytes, const struct value_rule *rule)
{
	REQUIRE(type > VALUE_NONE && type < VALUE_OTHER);
	memset(b, 0, sizeof(*b));
	b->type = type;
	b->rule = rule;
	b->bytes = bytes;
	buf_init(&b->key, mem);
	buf_init(&b->cursor, mem);
	buf_init(&b->page, mem);
	buf_init(&b->groups, mem);
	buf_init(&b->suspects, mem);
	buf_put_span(&b->key, key);
}

void
big_fini(struct big *b)
{
	buf_fini(&b->key);
	buf_fini(&b->cursor);
	buf_fini(&b->page);
	buf_fini(&b->groups);
	buf_fini(&b->suspects);
}

static void
done(struct big *b, enum value_diff diff)
{
	if (diff > b->diff)
		b->diff = diff;
	b->step = BIG_DONE;
}

/* Elements in one request, so that a reply stays near CHUNK_BYTES. */
static uint64_t
chunk(const struct big *b)
{
	uint64_t each = b->length[0] == 0 ? 1 : b->bytes / b->length[0] + 1;
	uint64_t n = CHUNK_BYTES / each;

	return n < 1 ? 1 : n > CHUNK_MAX ? CHUNK_MAX : n;
}

static bool
is_scanned(enum value_type t)
{
	return t == VALUE_SET || t == VALUE_HASH || t == VALUE_ZSET;
}

static void
ask_length(const struct big *b, struct buf *out)
{
	static const char *const words[VALUE_TYPE_N] = {
		[VALUE_STRING] = "STRLEN", [VALUE_LIST] = "LLEN",
		[VALUE_SET] = "SCARD",     [VALUE_HASH] = "HLEN",
		[VALUE_ZSET] = "ZCARD",    [VALUE_STREAM] = "XLEN",
	};

	resp_put_array(out, 2);
	resp_put_bulk_str(out, words[b->type]);
	resp_put_bulk(out, buf_span(&b->key));
}

/* The id behind this one, as the start of the next range. ("(id" is of 6.2.) */
static void
keep_next(struct big *b, struct span id)
{
	uint64_t part[2] = { 0, 0 };
	uint32_t n = 0;

	for (size_t i = 0; i < id.n; i++) {
		if (id.p[i] == '-')
			n = 1;
		else
			part[n] = part[n] * 10 + (uint64_t)(id.p[i] - '0');
	}
	if (++part[1] == 0)
		part[0]++;
	buf_clear(&b->cursor);
	buf_put_u64(&b->cursor, part[0]);
	buf_put(&b->cursor, "-", 1);
	buf_put_u64(&b->cursor, part[1]);
}

static void
put_after(const struct big *b, struct buf *out)
{
	if (buf_len(&b->cursor) == 0)
		resp_put_bulk(out, SPAN("-"));
	else
		resp_put_bulk(out, buf_span(&b->cursor));
}

static void
ask_range(const struct big *b, struct buf *out)
{
	struct span key = buf_span(&b->key);
	uint64_t n = b->type == VALUE_STRING ? STRING_PIECE : chunk(b);

	if (b->type == VALUE_STREAM) {
		resp_put_array(out, 6);
		resp_put_bulk(out, SPAN("XRANGE"));
		resp_put_bulk(out, key);
		put_after(b, out);
		resp_put_bulk(out, SPAN("+"));
		resp_put_bulk(out, SPAN("COUNT"));
		resp_put_bulk_u64(out, n);
		return;
	}
	resp_put_array(out, 4);
	resp_put_bulk_str(out, b->type == VALUE_STRING ? "GETRANGE" : "LRANGE");
	resp_put_bulk(out, key);
	resp_put_bulk_u64(out, b->at);
	resp_put_bulk_u64(out, b->at + n - 1);
}

/* Both sides are asked alike; where one has no such fields, no hash has any. */
static bool
has_field_ttl(const struct big *b)
{
	return b->rule->field_ttl[0] && b->rule->field_ttl[1];
}

static void
ask_scan(const struct big *b, struct buf *out)
{
	const char *word = b->type == VALUE_SET    ? "SSCAN"
	                   : b->type == VALUE_HASH ? "HSCAN"
	                                           : "ZSCAN";

	if (b->type == VALUE_HASH && has_field_ttl(b)) {
		fields_ask(out, FIELDS_SCAN, buf_span(&b->key), 3);
	} else {
		resp_put_array(out, 5);
		resp_put_bulk_str(out, word);
		resp_put_bulk(out, buf_span(&b->key));
	}
	if (buf_len(&b->cursor) == 0)
		resp_put_bulk(out, SPAN("0"));
	else
		resp_put_bulk(out, buf_span(&b->cursor));
	resp_put_bulk(out, SPAN("COUNT"));
	resp_put_bulk_u64(out, chunk(b));
}

/* What SMISMEMBER and ZMSCORE of 6.2 answer, for both sides when one is older. */
static void
ask_each(const struct big *b, struct buf *out, size_t n)
{
	static const char set[] =
		"local r = {} for i = 1, #ARGV do "
		"r[i] = redis.call('SISMEMBER', KEYS[1], ARGV[i]) end return r";
	static const char zset[] =
		"local r = {} for i = 1, #ARGV do "
		"r[i] = redis.call('ZSCORE', KEYS[1], ARGV[i]) end return r";

	resp_put_array(out, n + 4);
	resp_put_bulk(out, SPAN("EVAL"));
	resp_put_bulk_str(out, b->type == VALUE_SET ? set : zset);
	resp_put_bulk(out, SPAN("1"));
	resp_put_bulk(out, buf_span(&b->key));
}

/* The head of a request for n elements by name. */
static void
ask_named(const struct big *b, struct buf *out, size_t n)
{
	bool is_old = b->rule->no_expiretime[0] || b->rule->no_expiretime[1];
	const char *word = b->type == VALUE_SET    ? "SMISMEMBER"
	                   : b->type == VALUE_HASH ? "HMGET"
	                                           : "ZMSCORE";

	if (is_old && b->type != VALUE_HASH) {
		ask_each(b, out, n);
		return;
	}
	if (b->type == VALUE_HASH && has_field_ttl(b)) {
		fields_ask(out, FIELDS_NAMED, buf_span(&b->key), n);
		return;
	}
	resp_put_array(out, n + 2);
	resp_put_bulk_str(out, word);
	resp_put_bulk(out, buf_span(&b->key));
}

/* Sets come alone, the others with a value that is not part of the question. */
static void
ask_probe(const struct big *b, struct buf *out)
{
	struct span in = buf_span(&b->page);
	struct resp_item item;
	uint32_t each = b->type == VALUE_SET ? 1 : 2;

	ask_named(b, out, b->page_n / each);
	for (uint32_t i = 0; i < b->page_n; i++)
		if (value_item(&in, RESP_BULK, &item) && i % each == 0)
			resp_put_bulk(out, item.text);
}

static void
ask_stream(const struct big *b, struct buf *out)
{
	resp_put_array(out, 6);
	resp_put_bulk(out, SPAN("XINFO"));
	resp_put_bulk(out, SPAN("STREAM"));
	resp_put_bulk(out, buf_span(&b->key));
	resp_put_bulk(out, SPAN("FULL"));
	resp_put_bulk(out, SPAN("COUNT"));
	resp_put_bulk(out, SPAN("1"));
}

static void
ask_pending(const struct big *b, struct buf *out)
{
	struct span in = buf_span(&b->groups);
	struct resp_item name = { .text = SPAN("") };

	if (!value_item(&in, RESP_BULK, &name))
		NEVER("groups hold bulk strings");
	resp_put_array(out, 6);
	resp_put_bulk(out, SPAN("XPENDING"));
	resp_put_bulk(out, buf_span(&b->key));
	resp_put_bulk(out, name.text);
	put_after(b, out);
	resp_put_bulk(out, SPAN("+"));
	resp_put_bulk_u64(out, CHUNK_MAX);
}

bool
big_ask(struct big *b, struct buf *const out[2], uint32_t ret_replies[2])
{
	ret_replies[0] = ret_replies[1] = 1;
	for (uint32_t side = 0; side < 2; side++) {
		switch (b->step) {
		case BIG_LENGTH: ask_length(b, out[side]); break;
		case BIG_RANGE: ask_range(b, out[side]); break;
		case BIG_META: ask_stream(b, out[side]); break;
		case BIG_PEND: ask_pending(b, out[side]); break;
		case BIG_SCAN:
			ret_replies[side] = side == b->scanned;
			if (ret_replies[side])
				ask_scan(b, out[side]);
			break;
		case BIG_PROBE:
			ret_replies[side] = side != b->scanned;
			if (ret_replies[side])
				ask_probe(b, out[side]);
			break;
		case BIG_GROUPS:
			ret_replies[side] = side == 0;
			if (side != 0)
				break;
			resp_put_array(out[side], 3);
			resp_put_bulk(out[side], SPAN("XINFO"));
			resp_put_bulk(out[side], SPAN("GROUPS"));
			resp_put_bulk(out[side], buf_span(&b->key));
			break;
		case BIG_DONE: return false;
		}
	}
	return true;
}

static int
broken(const struct big *b, struct err *err)
{
	return err_set(err, ERR_PROTO, "the answer about a big %s is broken",
	               value_type_name(b->type));
}

static int
take_length(struct big *b, struct resp_item item[2], struct err *err)
{
	for (uint32_t side = 0; side < 2; side++) {
		if (item[side].type != RESP_INT || item[side].number < 0)
			return broken(b, err);
		b->length[side] = (uint64_t)item[side].number;
	}
	if (b->length[0] != b->length[1]) {
		(void)err_set(&b->why, ERR_DIVERGED, "%s: %llu / %llu %s",
		              value_type_name(b->type),
		              (unsigned long long)b->length[0],
		              (unsigned long long)b->length[1],
		              b->type == VALUE_STRING ? "bytes" : "elements");
		b->diff = DIFF_DATA;
		if (!is_scanned(b->type)) {
			b->step = BIG_DONE;
			return 0;
		}
	}
	b->step = is_scanned(b->type) ? BIG_SCAN : BIG_RANGE;
	return 0;
}

static int
take_piece(struct big *b, struct resp_item item[2], struct err *err)
{
	struct span x = item[0].text;
	struct span y = item[1].text;

	if (item[0].type != RESP_BULK || item[1].type != RESP_BULK)
		return broken(b, err);
	if (!span_eq(x, y)) {
		size_t i = 0;

		while (i < x.n && i < y.n && x.p[i] == y.p[i])
			i++;
		(void)err_set(&b->why, ERR_DIVERGED,
		              "string: byte %llu of %llu",
		              (unsigned long long)b->at + i,
		              (unsigned long long)b->length[0]);
		done(b, DIFF_DATA);
		return 0;
	}
	b->at += x.n;
	if (x.n < STRING_PIECE)
		done(b, DIFF_NONE);
	return 0;
}

/* LRANGE or XRANGE of both sides; the items' heads are read already. */
static int
take_elements(struct big *b, struct resp_item item[2], struct span rest[2],
              struct err *err)
{
	int64_t n = item[0].number;

	if (item[0].type != RESP_ARRAY || item[1].type != RESP_ARRAY)
		return broken(b, err);
	for (int64_t i = 0; i < n && i < item[1].number; i++) {
		struct span x = rest[0];
		struct span y = rest[1];
		struct resp_item id;

		if (!reply_skip(&rest[0]) || !reply_skip(&rest[1]))
			return broken(b, err);
		x.n -= rest[0].n;
		y.n -= rest[1].n;
		if (!span_eq(x, y)) {
			(void)err_set(&b->why, ERR_DIVERGED,
			              "%s: element %llu of %llu",
			              value_type_name(b->type),
			              (unsigned long long)b->at + (uint64_t)i,
			              (unsigned long long)b->length[0]);
			done(b, DIFF_DATA);
			return 0;
		}
		if (b->type != VALUE_STREAM)
			continue;
		if (!value_item(&x, RESP_ARRAY, &id) ||
		    !value_item(&x, RESP_BULK, &id))
			return broken(b, err);
		keep_next(b, id.text);
	}
	if (n != item[1].number) {
		(void)err_set(&b->why, ERR_DIVERGED, "%s: its length changed",
		              value_type_name(b->type));
		done(b, DIFF_DATA);
		return 0;
	}
	b->at += (uint64_t)n;
	if (n > 0)
		return 0;
	buf_clear(&b->cursor);
	b->step = b->type == VALUE_STREAM ? BIG_META : BIG_DONE;
	return 0;
}

/* A page is done: go on, walk the other side too, or end. */
static void
next_page(struct big *b)
{
	b->step = BIG_SCAN;
	if (!span_eq(buf_span(&b->cursor), SPAN("0")))
		return;
	buf_clear(&b->cursor);
	if (b->scanned == 1 || b->diff == DIFF_NONE)
		b->step = BIG_DONE;
	b->scanned = 1;
}

/* [cursor, [elements]]: kept as they are for the probe. */
static int
take_scan(struct big *b, struct resp_item top, struct span rest,
          struct err *err)
{
	struct resp_item cursor;
	struct resp_item list;

	if (top.type != RESP_ARRAY || top.number != 2 ||
	    !value_item(&rest, RESP_BULK, &cursor) ||
	    !value_item(&rest, RESP_ARRAY, &list) ||
	    (b->type != VALUE_SET && list.number % 2 != 0))
		return broken(b, err);
	buf_clear(&b->cursor);
	buf_put_span(&b->cursor, cursor.text);
	buf_clear(&b->page);
	buf_put_span(&b->page, rest);
	b->page_n = (uint32_t)list.number;
	b->step = BIG_PROBE;
	if (b->page_n == 0)
		next_page(b);
	return 0;
}

static void
suspect(struct big *b, struct span name, bool is_absent)
{
	if (b->suspect_n < BIG_SUSPECTS)
		resp_put_bulk(&b->suspects, name);
	if (b->suspect_n++ == 0) {
		char shown[72];
		const char *what = !is_absent        ? "differs"
		                   : b->scanned == 0 ? "missing"
		                                     : "extra";

		explain_text(name, shown, sizeof(shown));
		(void)err_set(&b->why, ERR_DIVERGED, "%s: %s \"%s\" %s",
		              value_type_name(b->type),
		              b->type == VALUE_HASH ? "field" : "member", shown,
		              what);
	}
	b->diff = DIFF_DATA;
}

/* One answer of SMISMEMBER, HMGET, ZMSCORE against what the scan gave. */
static bool
is_same(const struct big *b, struct span want, const struct resp_item *got)
{
	if (b->type == VALUE_SET)
		return got->type == RESP_INT && got->number == 1;
	if (got->type != RESP_BULK)
		return false;
	if (b->type == VALUE_ZSET && !span_eq(want, got->text))
		return b->rule->score_bits(want) ==
		       b->rule->score_bits(got->text);
	return span_eq(want, got->text);
}

static int
take_probe(struct big *b, struct resp_item top, struct span rest,
           struct err *err)
{
	uint32_t each = b->type == VALUE_SET ? 1 : 2;
	struct span page = buf_span(&b->page);

	if (top.type != RESP_ARRAY || top.number != b->page_n / each)
		return broken(b, err);
	for (int64_t i = 0; i < top.number; i++) {
		struct resp_item name;
		struct resp_item want = { .text = SPAN("") };
		struct resp_item got;
		bool is_absent;

		if (!value_item(&page, RESP_BULK, &name) ||
		    (each == 2 && !value_item(&page, RESP_BULK, &want)) ||
		    resp_read(&rest, &got) != WIRE_PART)
			return broken(b, err);
		is_absent = got.type == RESP_NIL ||
		            (got.type == RESP_INT && got.number == 0);
		/* Walking back looks for extra elements only. */
		if (b->scanned == 0 ? !is_same(b, want.text, &got) : is_absent)
			suspect(b, name.text, is_absent);
	}
	buf_release(&b->page);
	next_page(b);
	return 0;
}

static int
take_meta(struct big *b, const struct span reply[2], struct err *err)
{
	struct value v[2];

	for (uint32_t side = 0; side < 2; side++) {
		struct span in = reply[side];
		int rc;

		memset(&v[side], 0, sizeof(v[side]));
		v[side].type = VALUE_STREAM;
		if ((rc = value_read_body(&in, b->rule, &v[side], err)) < 0)
			return rc;
	}
	b->diff = value_cmp(&v[0], &v[1], b->rule);
	if (b->diff == DIFF_NOTE)
		(void)err_set(&b->why, ERR_DIVERGED,
		              "stream: entries-read, lag or an idle consumer");
	else if (b->diff != DIFF_NONE)
		(void)err_set(&b->why, ERR_DIVERGED,
		              "stream: last id, groups or counters");
	b->step = b->diff > DIFF_NOTE ? BIG_DONE : BIG_GROUPS;
	return 0;
}

/* XINFO GROUPS: an array of maps; the names are wanted. */
static int
take_groups(struct big *b, struct resp_item top, struct span rest,
            struct err *err)
{
	if (top.type != RESP_ARRAY)
		return broken(b, err);
	for (int64_t i = 0; i < top.number; i++) {
		struct resp_item map;
		struct resp_item word;

		if (!value_item(&rest, RESP_ARRAY, &map))
			return broken(b, err);
		for (int64_t j = 0; j + 1 < map.number; j += 2) {
			if (!value_item(&rest, RESP_BULK, &word))
				return broken(b, err);
			if (!span_eq(word.text, SPAN("name"))) {
				if (!reply_skip(&rest))
					return broken(b, err);
				continue;
			}
			if (!value_item(&rest, RESP_BULK, &word))
				return broken(b, err);
			resp_put_bulk(&b->groups, word.text);
		}
	}
	b->step = buf_len(&b->groups) > 0 ? BIG_PEND : BIG_DONE;
	return 0;
}

/* One pending entry: [id, consumer, idle ms, deliveries], idle left out. */
static bool
pending_entry(struct span *in, struct span *ret_id, struct digest *ret)
{
	struct resp_item item;

	*ret = (struct digest){ 0, 0 };
	if (!value_item(in, RESP_ARRAY, &item) || item.number != 4 ||
	    !value_item(in, RESP_BULK, &item))
		return false;
	*ret_id = item.text;
	digest_chain(ret, digest_of(item.text, 0));
	if (!value_item(in, RESP_BULK, &item))
		return false;
	digest_chain(ret, digest_of(item.text, 0));
	if (!reply_skip(in) || !value_item(in, RESP_INT, &item))
		return false;
	digest_chain(ret, (struct digest){ (uint64_t)item.number, 0 });
	return true;
}

static void
next_group(struct big *b)
{
	struct span in = buf_span(&b->groups);
	size_t all = in.n;

	if (!reply_skip(&in))
		NEVER("groups hold bulk strings");
	buf_take(&b->groups, all - in.n);
	buf_clear(&b->cursor);
	b->step = buf_len(&b->groups) > 0 ? BIG_PEND : BIG_DONE;
}

static int
take_pending(struct big *b, struct resp_item top[2], struct span rest[2],
             struct err *err)
{
	struct span id = SPAN("");
	bool is_same_n = top[0].number == top[1].number;

	if (top[0].type != RESP_ARRAY || top[1].type != RESP_ARRAY)
		return broken(b, err);
	for (int64_t i = 0; i < top[0].number && i < top[1].number; i++) {
		struct digest x;
		struct digest y;

		if (!pending_entry(&rest[1], &id, &y) ||
		    !pending_entry(&rest[0], &id, &x))
			return broken(b, err);
		if (!digest_eq(x, y)) {
			is_same_n = false;
			break;
		}
		keep_next(b, id);
	}
	if (!is_same_n) {
		(void)err_set(&b->why, ERR_DIVERGED,
		              "stream: pending entries of a group");
		done(b, DIFF_DATA);
	} else if (top[0].number < CHUNK_MAX) {
		next_group(b);
	}
	return 0;
}

/* The key is not what it was: WRONGTYPE, no such key, no such group. */
static bool
is_changed(struct span text)
{
	return span_has_prefix(text, SPAN("WRONGTYPE")) ||
	       span_has_prefix(text, SPAN("ERR no such key")) ||
	       span_has_prefix(text, SPAN("NOGROUP"));
}

int
big_take(struct big *b, const struct span reply[2], struct err *err)
{
	struct span rest[2] = { reply[0], reply[1] };
	struct resp_item top[2];
	int rc = 0;

	memset(top, 0, sizeof(top));
	for (uint32_t side = 0; side < 2; side++) {
		if (reply[side].n == 0)
			continue;
		if (resp_read(&rest[side], &top[side]) != WIRE_PART)
			return broken(b, err);
		if (top[side].type != RESP_ERROR)
			continue;
		if (!is_changed(top[side].text))
			return reply_refused(top[side].text, err);
		(void)err_set(&b->why, ERR_DIVERGED,
		              "%s: it is no longer one, or gone",
		              value_type_name(b->type));
		done(b, DIFF_DATA);
		return 0;
	}
	switch (b->step) {
	case BIG_LENGTH: rc = take_length(b, top, err); break;
	case BIG_RANGE:
		rc = b->type == VALUE_STRING ? take_piece(b, top, err)
		                             : take_elements(b, top, rest, err);
		break;
	case BIG_SCAN:
		rc = take_scan(b, top[b->scanned], rest[b->scanned], err);
		break;
	case BIG_PROBE:
		rc = take_probe(b, top[!b->scanned], rest[!b->scanned], err);
		break;
	case BIG_META: rc = take_meta(b, reply, err); break;
	case BIG_GROUPS: rc = take_groups(b, top[0], rest[0], err); break;
	case BIG_PEND: rc = take_pending(b, top, rest, err); break;
	case BIG_DONE: NEVER("nothing was asked for");
	}
	if (rc == 0 && (buf_failed(&b->key) || buf_failed(&b->cursor) ||
	                buf_failed(&b->page) || buf_failed(&b->groups) ||
	                buf_failed(&b->suspects)))
		return err_set(err, ERR_NOMEM, "no memory for a big %s",
		               value_type_name(b->type));
	return rc;
}

bool
big_ask_suspects(const struct big *b, struct buf *out)
{
	if (b->suspect_n == 0 || b->suspect_n > BIG_SUSPECTS)
		return false;
	ask_named(b, out, b->suspect_n);
	buf_put_span(out, buf_span(&b->suspects));
	return true;
}

static bool
next_probe(struct span *in, struct resp_item *ret)
{
	return resp_read(in, ret) == WIRE_PART && ret->type != RESP_ARRAY;
}

static bool
is_probe_equal(const struct big *b, const struct resp_item *x,
               const struct resp_item *y)
{
	if (x->type != y->type)
		return false;
	if (x->type == RESP_INT)
		return x->number == y->number;
	return x->type == RESP_NIL || is_same(b, x->text, y);
}

/* Name the first element that is found different for good. */
static void
name_suspect(struct big *b, struct span name, const struct resp_item *x,
             const struct resp_item *y)
{
	bool no_x = x->type == RESP_NIL || (x->type == RESP_INT && !x->number);
	bool no_y = y->type == RESP_NIL || (y->type == RESP_INT && !y->number);
	char shown[72];

	explain_text(name, shown, sizeof(shown));
	(void)err_set(&b->why, ERR_DIVERGED, "%s: %s \"%s\" %s",
	              value_type_name(b->type),
	              b->type == VALUE_HASH ? "field" : "member", shown,
	              no_x   ? "extra"
	              : no_y ? "missing"
	                     : "differs");
}

int
big_judge(struct big *b, const struct span reads[3],
          uint8_t strikes[BIG_SUSPECTS], uint8_t enough, uint32_t *ret_open,
          uint32_t *ret_struck, struct err *err)
{
	struct span in[3] = { reads[0], reads[1], reads[2] };
	struct span names = buf_span(&b->suspects);
	struct resp_item item[3];

	REQUIRE(b->suspect_n <= BIG_SUSPECTS);
	*ret_open = *ret_struck = 0;
	b->unseen_n = 0;
	for (int i = 0; i < 3; i++)
		if (!value_item(&in[i], RESP_ARRAY, &item[i]) ||
		    item[i].number != b->suspect_n)
			return broken(b, err);
	for (uint32_t i = 0; i < b->suspect_n; i++) {
		struct resp_item name;
		bool before;
		bool after;

		if (!value_item(&names, RESP_BULK, &name) ||
		    !next_probe(&in[0], &item[0]) ||
		    !next_probe(&in[1], &item[1]) ||
		    !next_probe(&in[2], &item[2]))
			return broken(b, err);
		if (strikes[i] == BIG_EQUAL || strikes[i] >= enough)
			continue;
		before = is_probe_equal(b, &item[0], &item[1]);
		after = is_probe_equal(b, &item[2], &item[1]);
		if (before && after)
			strikes[i] = BIG_EQUAL;
		else if (before || after)
			b->seen |= 1ull << i;
		else if (is_probe_equal(b, &item[0], &item[2]))
			strikes[i]++;
		if (strikes[i] == enough)
			name_suspect(b, name.text, &item[0], &item[1]);
	}
	for (uint32_t i = 0; i < b->suspect_n; i++) {
		*ret_struck += strikes[i] != BIG_EQUAL && strikes[i] >= enough;
		*ret_open += strikes[i] < enough;
		b->unseen_n += strikes[i] < enough && (b->seen >> i & 1) == 0;
	}
	return 0;
}
