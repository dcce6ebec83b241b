/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/drive.c: run a codec over bytes that arrive in pieces.
 */
#include "drive.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "heap.h"
#include "wire/rdb.h"
#include "wire/resp.h"

#define CUTS_MAX 16
#define TEXT_MAX 96 /* bytes of a string that are written out */

/* The bytes [from, to) of the input that the codec's caller holds. */
struct window {
	const struct drive_in *in;
	size_t from;
	size_t to;
	size_t cut;
	uint8_t *block;
};

/* More bytes arrive; false when there are none. */
static bool
window_more(struct window *w)
{
	if (w->to == w->in->n)
		return false;
	w->to = w->cut < w->in->cut_n ? w->in->cuts[w->cut++] : w->in->n;
	return true;
}

static struct window
window_open(const struct drive_in *in)
{
	struct window w = { .in = in };

	(void)window_more(&w);
	return w;
}

static void
window_close(struct window *w)
{
	free(w->block);
}

static struct span
window_span(struct window *w)
{
	size_t n = w->to - w->from;
	uint8_t *block;

	if (w->in->in_place)
		return span_of(w->in->p + w->from, n);
	block = malloc(n > 0 ? n : 1);
	REQUIRE(block != NULL);
	if (n > 0)
		memcpy(block, w->in->p + w->from, n);
	free(w->block);
	w->block = block;
	return span_of(block, n);
}

static void
put_text(struct buf *out, struct span s)
{
	size_t shown = s.n < TEXT_MAX ? s.n : TEXT_MAX;

	buf_put(out, " [", 2);
	for (size_t i = 0; i < shown; i++) {
		uint8_t c = s.p[i];

		if (c >= ' ' && c <= '~' && c != '\\' && c != ']')
			buf_put(out, &c, 1);
		else
			buf_putf(out, "\\x%02x", c);
	}
	buf_put(out, "]", 1);
	if (shown < s.n)
		buf_putf(out, "...%zu:%016llx", s.n,
		         (unsigned long long)hash_bytes(s, 0));
}

static const char *
rc_name(enum wire_rc rc)
{
	switch (rc) {
	case WIRE_MORE: return "more";
	case WIRE_PART: return "part";
	case WIRE_BAD: return "bad";
	case WIRE_BIG: return "big";
	}
	NEVER("an answer outside its enum");
}

/* What a writer makes of the words must be what was read. */
static void
check_round_trip(struct span raw, const struct resp_cmd *c)
{
	struct heap heap = heap_make();
	struct resp_cmd again;
	struct span arg;
	struct buf b;
	size_t pos = 0;
	uint32_t n = 0;

	buf_init(&b, &heap.mem);
	if (c->is_inline) {
		resp_put_inline(&b, raw);
		resp_cmd_init(&again);
		REQUIRE(resp_cmd_feed(&again, buf_span(&b)) == WIRE_PART);
		REQUIRE(again.argc == c->argc && !again.is_inline);
		REQUIRE(again.used == buf_len(&b));
		for (uint32_t i = 0; i < c->argc && i < RESP_SPANS; i++)
			REQUIRE(c->has_escapes ||
			        span_eq(c->argv[i], again.argv[i]));
	} else {
		resp_put_array(&b, c->argc);
		for (; resp_cmd_walk(raw, &pos, &arg); n++) {
			REQUIRE(n >= RESP_SPANS || span_eq(arg, c->argv[n]));
			resp_put_bulk(&b, arg);
		}
		REQUIRE(n == c->argc && pos == raw.n);
		REQUIRE(span_eq(buf_span(&b), raw));
	}
	buf_fini(&b);
	REQUIRE(heap.mem.used == 0);
}

static void
put_cmd(struct buf *out, const struct resp_cmd *c)
{
	buf_putf(out, "%s argc=%u used=%zu%s",
	         c->is_inline ? "inline" : "array", c->argc, c->used,
	         c->has_escapes ? " escapes" : "");
	for (uint32_t i = 0; i < c->argc && i < RESP_SPANS; i++)
		put_text(out, c->argv[i]);
	buf_put_str(out, "\n");
}

static void
drive_cmd(const struct drive_in *in, struct buf *out)
{
	struct window w = window_open(in);
	enum wire_rc rc;
	struct resp_cmd c;

	resp_cmd_init(&c);
	for (;;) {
		struct span s = window_span(&w);

		rc = resp_cmd_feed(&c, s);
		if (rc == WIRE_PART) {
			REQUIRE(c.used > 0 && c.used <= s.n);
			put_cmd(out, &c);
			if (c.argc > 0)
				check_round_trip(span_of(s.p, c.used), &c);
			w.from += c.used;
			resp_cmd_init(&c);
			continue;
		}
		if (rc < 0) {
			buf_putf(out, "%s: %s\n", rc_name(rc), c.why);
			REQUIRE(resp_cmd_feed(&c, s) == WIRE_BAD);
			break;
		}
		REQUIRE(c.at <= s.n && c.need >= c.at);
		if (window_more(&w))
			continue;
		buf_putf(out, "more left=%zu seen=%u at=%zu need=%zu", s.n,
		         c.args_seen, c.at, c.need);
		for (uint32_t i = 0; i < c.args_seen && i < RESP_SPANS; i++)
			put_text(out, resp_cmd_arg(&c, s, i));
		buf_put_str(out, "\n");
		break;
	}
	window_close(&w);
}

static void
drive_skip(const struct drive_in *in, struct buf *out)
{
	struct window w = window_open(in);
	struct resp_skip s;
	size_t begun = 0;
	enum wire_rc rc;

	resp_skip_init(&s);
	for (;;) {
		size_t used = 0;

		rc = resp_skip_feed(&s, window_span(&w), &used);
		w.from += used;
		if (rc < 0) {
			buf_putf(out, "%s\n", rc_name(rc));
			break;
		}
		if (rc == WIRE_PART) {
			uint8_t type = s.type;

			buf_put_str(out, "reply");
			put_text(out, span_of(&type, 1));
			buf_putf(out, " %zu\n", w.from - begun);
			REQUIRE(resp_reply_len(span_of(in->p + begun,
			                               w.from - begun)) ==
			        (int64_t)(w.from - begun));
			begun = w.from;
			continue;
		}
		REQUIRE(w.from == w.to);
		if (!window_more(&w)) {
			buf_putf(out, "more todo=%llu left=%llu\n",
			         (unsigned long long)s.todo,
			         (unsigned long long)s.left);
			break;
		}
	}
	window_close(&w);
}

static void
put_item(struct buf *out, const struct resp_item *item)
{
	switch (item->type) {
	case RESP_NIL: buf_put_str(out, "nil"); break;
	case RESP_STATUS: buf_put_str(out, "status"); break;
	case RESP_ERROR: buf_put_str(out, "error"); break;
	case RESP_BULK: buf_put_str(out, "bulk"); break;
	case RESP_INT:
		buf_putf(out, "int %lld", (long long)item->number);
		break;
	case RESP_ARRAY:
		buf_putf(out, "array %lld", (long long)item->number);
		break;
	case RESP_DOUBLE: buf_put_str(out, "double"); break;
	case RESP_BIG: buf_put_str(out, "big"); break;
	case RESP_VERBATIM: buf_put_str(out, "verbatim"); break;
	case RESP_BOOL:
		buf_put_str(out, item->number != 0 ? "true" : "false");
		break;
	case RESP_SET:
		buf_putf(out, "set %lld", (long long)item->number);
		break;
	case RESP_PUSH:
		buf_putf(out, "push %lld", (long long)item->number);
		break;
	case RESP_MAP:
		buf_putf(out, "map %lld", (long long)item->number);
		break;
	case RESP_ATTRIBUTE:
		buf_putf(out, "attribute %lld", (long long)item->number);
		break;
	}
	if (item->type == RESP_STATUS || item->type == RESP_ERROR ||
	    item->type == RESP_BULK || item->type == RESP_DOUBLE ||
	    item->type == RESP_BIG || item->type == RESP_VERBATIM)
		put_text(out, item->text);
	buf_put_str(out, "\n");
}

/* A type byte, a text with or without its length. */
static void
put_typed(struct buf *b, char type, struct span text, bool is_sized)
{
	buf_put(b, &type, 1);
	if (is_sized)
		buf_putf(b, "%zu\r\n", text.n);
	buf_put_span(b, text);
	buf_put_str(b, "\r\n");
}

/* What the writer makes of an item must be read as the same item. */
static void
check_item(const struct resp_item *item)
{
	struct heap heap = heap_make();
	struct resp_item again;
	struct span s;
	struct buf b;

	buf_init(&b, &heap.mem);
	switch (item->type) {
	case RESP_NIL: resp_put_nil(&b); break;
	case RESP_INT: resp_put_int(&b, item->number); break;
	case RESP_BULK: resp_put_bulk(&b, item->text); break;
	case RESP_ARRAY: resp_put_array(&b, (size_t)item->number); break;
	case RESP_SET: resp_put_head(&b, '~', (size_t)item->number); break;
	case RESP_PUSH: resp_put_head(&b, '>', (size_t)item->number); break;
	case RESP_MAP: resp_put_head(&b, '%', (size_t)item->number); break;
	case RESP_ATTRIBUTE:
		resp_put_head(&b, '|', (size_t)item->number);
		break;
	case RESP_STATUS: put_typed(&b, '+', item->text, false); break;
	case RESP_ERROR: put_typed(&b, '!', item->text, true); break;
	case RESP_DOUBLE: put_typed(&b, ',', item->text, false); break;
	case RESP_BIG: put_typed(&b, '(', item->text, false); break;
	case RESP_VERBATIM: put_typed(&b, '=', item->text, true); break;
	case RESP_BOOL:
		buf_put_str(&b, item->number != 0 ? "#t\r\n" : "#f\r\n");
		break;
	}
	s = buf_span(&b);
	REQUIRE(resp_read(&s, &again) == WIRE_PART && s.n == 0);
	REQUIRE(again.type == item->type && again.number == item->number);
	/* A number may have come with leading zeros. */
	REQUIRE(item->type == RESP_INT || span_eq(again.text, item->text));
	buf_fini(&b);
}

static void
drive_read(const struct drive_in *in, struct buf *out)
{
	struct window w = window_open(in);
	struct resp_item item;
	enum wire_rc rc;

	for (;;) {
		struct span s = window_span(&w);
		struct span rest = s;

		rc = resp_read(&rest, &item);
		if (rc == WIRE_PART) {
			REQUIRE(rest.n < s.n);
			put_item(out, &item);
			check_item(&item);
			w.from += s.n - rest.n;
			continue;
		}
		REQUIRE(rest.n == s.n);
		if (rc == WIRE_MORE && window_more(&w))
			continue;
		buf_putf(out, "%s left=%zu\n", rc_name(rc),
		         rc == WIRE_MORE ? s.n : 0);
		break;
	}
	window_close(&w);
}

static const char *const form_names[] = {
	[RDB_STRING] = "string", [RDB_LIST] = "list", [RDB_SET] = "set",
	[RDB_HASH] = "hash",     [RDB_ZSET] = "zset", [RDB_OPAQUE] = "opaque",
};

static void
put_value(struct buf *out, const struct rdb_part *p)
{
	uint8_t room[64];
	struct span text;
	uint64_t crc = hash_crc64(0, span_of(&p->type, 1));
	uint8_t footer[10];

	crc = hash_crc64(crc, p->body);
	/* All of the text can be read, wherever it is. */
	if (rdb_text(p->type, p->body, room, sizeof(room), &text))
		(void)hash_bytes(text, 0);
	rdb_footer(p->version, crc, footer);
	buf_putf(out, "value type=%u expires=%lld idle=%lld freq=%d", p->type,
	         (long long)p->expires_ms, (long long)p->idle_s, p->freq);
	put_text(out, p->key);
	put_text(out, p->body);
	put_text(out, span_of(footer, sizeof(footer)));
}

static void
put_part(struct buf *out, const struct rdb_part *p)
{
	switch (p->kind) {
	case RDB_HEADER: buf_putf(out, "header %u", p->version); break;
	case RDB_AUX:
		buf_put_str(out, "aux");
		put_text(out, p->key);
		put_text(out, p->body);
		break;
	case RDB_SELECT: buf_putf(out, "select %u", p->db); break;
	case RDB_SIZES:
		buf_putf(out, "sizes %llu %llu", (unsigned long long)p->keys_n,
		         (unsigned long long)p->expires_n);
		break;
	case RDB_FUNCTION:
		buf_put_str(out, "function");
		put_text(out, p->body);
		break;
	case RDB_VALUE: put_value(out, p); break;
	case RDB_BIG:
		buf_putf(out,
		         "big type=%u %s expires=%lld bytes=%llu count=%llu",
		         p->type, form_names[p->form], (long long)p->expires_ms,
		         (unsigned long long)p->bytes,
		         (unsigned long long)p->count);
		put_text(out, p->key);
		break;
	case RDB_ELEM:
		buf_putf(out, "  %s", form_names[p->form]);
		for (uint32_t i = 0; i < p->elem_n; i++)
			put_text(out, p->elem[i]);
		break;
	case RDB_BIG_END:
		buf_putf(out, "end %s", p->complete ? "complete" : "cut short");
		break;
	case RDB_MODULE_AUX: buf_put_str(out, "module_aux"); break;
	case RDB_END: buf_put_str(out, "eof"); break;
	}
	buf_put_str(out, "\n");
}

static void
drive_rdb_window(const struct drive_in *in, struct buf *out, size_t window_max)
{
	struct window w = window_open(in);
	uint8_t *scratch = malloc(RDB_SCRATCH_MIN);
	struct rdb_part part;
	enum wire_rc rc;
	struct rdb r;

	REQUIRE(scratch != NULL);
	buf_putf(out, "window %zu\n", window_max);
	rdb_init(&r, window_max, scratch, RDB_SCRATCH_MIN);
	r.verify = true;
	for (;;) {
		struct span s = window_span(&w);
		size_t used = 0;

		rc = rdb_feed(&r, s, &part, &used);
		REQUIRE(used <= s.n);
		w.from += used;
		if (rc == WIRE_PART) {
			put_part(out, &part);
			if (part.kind == RDB_END)
				break;
			continue;
		}
		if (rc == WIRE_MORE) {
			REQUIRE(r.need > s.n - used);
			REQUIRE(r.need <= 2 * window_max + RDB_EXTRA);
			if (window_more(&w))
				continue;
		}
		buf_putf(out, "%s\n", rc_name(rc));
		break;
	}
	if (rc >= 0)
		buf_putf(out, "used %zu of %zu\n", w.from, in->n);
	free(scratch);
	window_close(&w);
}

/* With room for everything, with room for a list's nodes, and with so little that
 * most values are big. */
static void
drive_rdb(const struct drive_in *in, struct buf *out)
{
	drive_rdb_window(in, out, 1024 * 1024);
	drive_rdb_window(in, out, 5300);
	drive_rdb_window(in, out, 448);
	drive_rdb_window(in, out, 64);
}

const struct drive drives[] = {
	{ "resp_cmd", drive_cmd },
	{ "resp_skip", drive_skip },
	{ "resp_read", drive_read },
	{ "rdb", drive_rdb },
	{ NULL, NULL },
};

drive_f *
drive_find(const char *name)
{
	for (const struct drive *d = drives; d->name != NULL; d++)
		if (strcmp(d->name, name) == 0)
			return d->run;
	return NULL;
}

void
drive_fuzz(drive_f *run, const uint8_t *data, size_t n)
{
	struct heap heap = heap_make();
	struct drive_in in = { .p = data };
	size_t cuts[CUTS_MAX];
	struct buf whole;
	struct buf cut;
	size_t want;

	if (n == 0)
		return;
	want = data[0] % (CUTS_MAX + 1);
	if (n < 1 + 2 * want)
		return;
	in.p = data + 1 + 2 * want;
	in.n = n - 1 - 2 * want;
	buf_init(&whole, &heap.mem);
	buf_init(&cut, &heap.mem);
	run(&in, &whole);
	for (size_t i = 0, at = 0; i < want; i++) {
		at += (size_t)data[1 + 2 * i] << 8 | data[2 + 2 * i];
		if (at >= in.n)
			break;
		cuts[in.cut_n++] = at;
	}
	in.cuts = cuts;
	run(&in, &cut);
	if (!span_eq(buf_span(&whole), buf_span(&cut)))
		(void)fprintf(
			stderr, "whole:\n%.*s\ncut:\n%.*s\n",
			(int)buf_len(&whole), (const char *)buf_span(&whole).p,
			(int)buf_len(&cut), (const char *)buf_span(&cut).p);
	REQUIRE(span_eq(buf_span(&whole), buf_span(&cut)));
	buf_fini(&whole);
	buf_fini(&cut);
}
