/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/pg_frame.c: where the messages of one side of a session begin and end.
 */
#include "wire/pg_frame.h"

#include "base/check.h"
#include "wire/pg_bytes.h"

#define HEAD_START   8
#define HEAD_SESSION 5
#define MAJOR(code)  ((code) >> 16)

enum state {
	START,
	SESSION,
	ANSWER,
	END,
	DEAD,
};

void
pg_frame_init(struct pg_frame *f, enum pg_side from)
{
	*f = (struct pg_frame){
		.from = (uint8_t)from,
		.state = from == PG_FRONT ? START : SESSION,
	};
}

void
pg_frame_rest(struct pg_frame *f, enum pg_side from)
{
	*f = (struct pg_frame){ .from = (uint8_t)from, .state = SESSION };
}

bool
pg_frame_rests(const struct pg_frame *f)
{
	return f->state == SESSION && pg_frame_is_between(f);
}

void
pg_frame_answer(struct pg_frame *f)
{
	REQUIRE(f->from == PG_BACK && f->state == SESSION);
	REQUIRE(pg_frame_is_between(f));
	f->state = ANSWER;
}

/* A packet before the session; the state is that behind it. */
static enum wire_rc
begin_start(struct pg_frame *f, const uint8_t *head)
{
	uint32_t length = pg_get_u32(head);
	uint32_t code = pg_get_u32(head + 4);

	f->type = 0;
	f->code = code;
	if (length < HEAD_START)
		return WIRE_BAD;
	if (length > PG_STARTUP_MAX)
		return WIRE_BIG;
	f->size = length - HEAD_START;
	if (MAJOR(code) == 3)
		f->state = SESSION;
	else if (code == PG_CANCEL)
		f->state = END;
	else if ((code != PG_SSL && code != PG_GSSENC) || f->size > 0)
		return WIRE_BAD;
	return WIRE_PART;
}

static enum wire_rc
begin_message(struct pg_frame *f, const uint8_t *head)
{
	uint32_t max = pg_length_max((enum pg_side)f->from, head[0]);
	uint32_t length = pg_get_u32(head + 1);

	f->type = head[0];
	f->code = 0;
	if (max == 0 || length < 4)
		return WIRE_BAD;
	if (length > max)
		return WIRE_BIG;
	f->size = length - 4;
	return WIRE_PART;
}

static enum wire_rc
feed_head(struct pg_frame *f, struct span in, struct pg_part *part,
          size_t *ret_used)
{
	size_t whole = f->state == START ? HEAD_START : HEAD_SESSION;
	size_t n = whole - f->head_n;
	const uint8_t *head = in.p;
	enum wire_rc rc;

	if (in.n < n || f->head_n > 0) {
		n = in.n < n ? in.n : n;
		memcpy(f->head + f->head_n, in.p, n);
		f->head_n = (uint8_t)(f->head_n + n);
		*ret_used = n;
		if (f->head_n < whole)
			return WIRE_MORE;
		head = f->head;
	}
	*ret_used = n;
	f->head_n = 0;
	rc = f->state == START ? begin_start(f, head) : begin_message(f, head);
	if (rc != WIRE_PART) {
		f->state = DEAD;
		return rc;
	}
	f->left = f->size;
	*part = (struct pg_part){
		.kind = PG_HEAD,
		.type = f->type,
		.code = f->code,
		.size = f->size,
		.left = f->left,
		.raw = span_of(head, whole),
	};
	return WIRE_PART;
}

static enum wire_rc
feed_body(struct pg_frame *f, struct span in, struct pg_part *part,
          size_t *ret_used)
{
	size_t n = in.n < f->left ? in.n : f->left;

	f->left -= (uint32_t)n;
	*ret_used = n;
	*part = (struct pg_part){
		.kind = PG_BODY,
		.type = f->type,
		.code = f->code,
		.size = f->size,
		.left = f->left,
		.raw = span_of(in.p, n),
	};
	return WIRE_PART;
}

/* The byte that answers SSLRequest or GSSENCRequest. */
static enum wire_rc
feed_answer(struct pg_frame *f, struct span in, struct pg_part *part,
            size_t *ret_used)
{
	uint8_t c = in.p[0];

	f->state = SESSION;
	if (c == PG_ERROR_RESPONSE)
		return feed_head(f, in, part, ret_used);
	if (c != 'S' && c != 'N' && c != 'G') {
		f->state = DEAD;
		return WIRE_BAD;
	}
	*ret_used = 1;
	*part = (struct pg_part){
		.kind = PG_ANSWER,
		.type = c,
		.raw = span_of(in.p, 1),
	};
	return WIRE_PART;
}

enum wire_rc
pg_frame_feed(struct pg_frame *f, struct span in, struct pg_part *part,
              size_t *ret_used)
{
	*ret_used = 0;
	if (f->state == DEAD)
		return WIRE_BAD;
	if (in.n == 0)
		return WIRE_MORE;
	if (f->left > 0)
		return feed_body(f, in, part, ret_used);
	switch ((enum state)f->state) {
	case START:
	case SESSION: return feed_head(f, in, part, ret_used);
	case ANSWER: return feed_answer(f, in, part, ret_used);
	case END:
	case DEAD: break;
	}
	f->state = DEAD;
	return WIRE_BAD;
}

enum wire_rc
pg_frame_whole(struct pg_frame *f, struct span in, struct pg_message *ret)
{
	struct pg_frame ahead = *f;
	struct pg_part part;
	enum wire_rc rc;
	size_t used;

	REQUIRE(pg_frame_is_between(f));
	rc = pg_frame_feed(&ahead, in, &part, &used);
	if (rc == WIRE_PART && in.n - used < part.left)
		return WIRE_MORE;
	if (rc == WIRE_MORE)
		return rc;
	*f = ahead;
	if (rc != WIRE_PART)
		return rc;
	f->left = 0;
	*ret = (struct pg_message){
		.type = part.type,
		.code = part.code,
		.body = span_of(in.p + used, part.size),
		.raw = span_of(in.p, used + part.size),
	};
	return WIRE_PART;
}
