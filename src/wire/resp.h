/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/resp.h: RESP2 and RESP3, the Redis serialization protocol, as bytes.
 * Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * Three readers for three needs:
 *   resp_cmd    one request (array of bulk strings, or an inline command);
 *   resp_skip   where one reply ends, without looking inside;
 *   resp_read   pull the items of a complete reply, one by one.
 * And writers that append to a struct buf.
 *
 * Owns:   nothing; spans point into the caller's input.
 * Limits: RESP_ARGS_MAX arguments, RESP_BULK_MAX bytes a string,
 *         RESP_INLINE_MAX bytes an inline command, RESP_SPANS argument spans
 *         kept (later ones are counted, not kept).
 * Thread: any, one at a time for each struct.
 */
#pragma once

#include "base/buf.h"
#include "wire/wire.h"

#define RESP_ARGS_MAX   1048576
#define RESP_BULK_MAX   (512LL * 1024 * 1024)
#define RESP_INLINE_MAX 65536
#define RESP_SPANS      16

/*
 * One request. The caller keeps the bytes of an unfinished request in one
 * contiguous block that may move and grow between calls; resp_cmd remembers how
 * far it has looked, so feeding 1 byte at a time costs linear time. Offsets in
 * the struct are relative to the start of the request.
 *
 * Stricter than the server in one point: lines and strings must end in CR LF
 * (the server skips any two bytes there), so that a server behind us that is
 * just as strict or as lenient sees the same requests.
 *
 * Inline commands: argv holds the words as they stand between their quotes.
 * A word with escapes, or with quotes in its middle, is no span of the input:
 * has_escapes says that there is one. Do not forward inline commands as they
 * are: resp_put_inline() makes the array of decoded words, read that again.
 */
struct resp_cmd {
	/* result, valid after WIRE_PART */
	uint32_t argc;                /* 0: an empty line; skip it        */
	bool is_inline;               /* not "*..."                       */
	bool has_escapes;             /* inline: see above                */
	size_t used;                  /* bytes of this request            */
	struct span argv[RESP_SPANS]; /* the first min(argc, RESP_SPANS)  */
	/* progress; valid after WIRE_MORE too */
	uint32_t args_seen; /* arguments complete so far        */
	uint8_t state;
	size_t at;              /* next byte to look at             */
	size_t need;            /* bytes the request surely has; >= at */
	int64_t bulk;           /* length of the current string, -1: none */
	size_t off[RESP_SPANS]; /* where the first arguments start  */
	uint32_t len[RESP_SPANS];
	char why[60]; /* after WIRE_BAD, WIRE_BIG: Redis' own words */
};

void resp_cmd_init(struct resp_cmd *c);

/* Look at `in`, which starts at the first byte of the request. WIRE_PART: argv
 * and used are set; call resp_cmd_init before the next request. WIRE_MORE:
 * keep the bytes, call again with more behind them (args_seen and resp_cmd_arg
 * tell what is known already). */
enum wire_rc resp_cmd_feed(struct resp_cmd *c, struct span in) MUST;

/* Argument i < min(args_seen, RESP_SPANS) of a request that may be unfinished. */
struct span resp_cmd_arg(const struct resp_cmd *c, struct span in, uint32_t i);

/* Walk ALL arguments of a complete request that was not inline (argc may exceed
 * RESP_SPANS). *pos starts at 0; answers false at the end. */
bool resp_cmd_walk(struct span request, size_t *pos, struct span *ret_arg);
/* How many there are. */
uint32_t resp_cmd_count(struct span request);

/* A complete inline request (WIRE_PART with is_inline) as an array of its words
 * with quotes and escapes undone; nothing for an empty line. */
void resp_put_inline(struct buf *b, struct span request);

/* Where a reply ends. Works on any cut; needs no memory of the bytes. Knows the
 * RESP2 types and, so that it never loses the boundary, the RESP3 ones. */
struct resp_skip {
	uint64_t todo;  /* values still to come; 0: between replies */
	uint64_t left;  /* bytes of the current string and its CRLF */
	int64_t number; /* the length line being read               */
	uint8_t state;
	uint8_t type;   /* first byte of the reply                  */
	uint8_t kind;   /* first byte of the value being read       */
	uint8_t digits; /* of number, so far                        */
	bool negative;
	bool attribute; /* the reply's own value comes after a '|'  */
};

void resp_skip_init(struct resp_skip *s);

/* Is the next byte the first one of a reply? */
static inline bool
resp_skip_is_between(const struct resp_skip *s)
{
	return s->todo == 0;
}

/* WIRE_PART: a reply ended after *ret_used bytes; s is ready for the next and
 * s->type tells the first byte ('+', '-', ':', '$', '*'...) of the one that
 * ended (behind a RESP3 attribute: of the value itself). WIRE_MORE: all of in
 * was used. */
enum wire_rc resp_skip_feed(struct resp_skip *s, struct span in,
                            size_t *ret_used) MUST;

enum resp_type {
	RESP_NIL,    /* $-1, *-1 or _ */
	RESP_STATUS, /* +OK        */
	RESP_ERROR,  /* -ERR ..., or a blob !8 ERR abc */
	RESP_INT,    /* :1         */
	RESP_BULK,   /* $3 foo     */
	RESP_ARRAY,  /* *2; its items follow */
	/* RESP3 alone */
	RESP_DOUBLE,    /* ,1.5 (text)                    */
	RESP_BIG,       /* (123 (text)                    */
	RESP_BOOL,      /* #t: number 1                   */
	RESP_VERBATIM,  /* =7 txt:foo (text is txt:foo)   */
	RESP_SET,       /* ~2; its items follow           */
	RESP_PUSH,      /* >2; its items follow           */
	RESP_MAP,       /* %2; twice as many follow       */
	RESP_ATTRIBUTE, /* |2; likewise, then the value   */
};

struct resp_item {
	enum resp_type type;
	struct span text; /* STATUS, ERROR, BULK, DOUBLE, BIG, VERBATIM    */
	int64_t number;   /* INT, BOOL; ARRAY, SET, PUSH: how many items
	                   * follow; MAP, ATTRIBUTE: how many pairs      */
};

/* Pull one item from the front of *in. WIRE_PART: *ret is set and *in moved on.
 * WIRE_MORE: the input ends inside the item, *in unmoved. WIRE_BAD: not RESP. */
enum wire_rc resp_read(struct span *in, struct resp_item *ret) MUST;

/* The length in bytes of the complete reply at the front of in, 0 when it is
 * not complete yet, or a negative enum wire_rc. */
int64_t resp_reply_len(struct span in);

void resp_put_array(struct buf *b, size_t n);
void resp_put_bulk(struct buf *b, struct span s);
void resp_put_bulk_str(struct buf *b, const char *s);
void resp_put_bulk_u64(struct buf *b, uint64_t v);
void resp_put_bulk_i64(struct buf *b, int64_t v);
/* Text for people: =<n> txt:..., RESP3. */
void resp_put_verbatim(struct buf *b, struct span s);
void resp_put_nil(struct buf *b);       /* $-1 */
void resp_put_nil_array(struct buf *b); /* *-1 */
/* The head of an aggregate: '*', '%', '~' or '>' and how many. */
void resp_put_head(struct buf *b, char type, size_t n);
void resp_put_int(struct buf *b, int64_t v);
void resp_put_status(struct buf *b, const char *s);
/* "-" + text + CRLF; CR and LF inside the text become spaces. */
void resp_put_errorf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A whole request from words: resp_put_cmd(b, "SET", "k", "v", NULL). */
void resp_put_cmd(struct buf *b, ...) __attribute__((sentinel));
