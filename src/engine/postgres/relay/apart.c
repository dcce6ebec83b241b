/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/apart.c: which side a turn is on, and what crosses.
 *
 * What a client says is looked at up to the first text that names a table, or to its
 * Sync; then it is known which side the session needs a server of. Everything behind that
 * is compared with the side it has.
 */
#include "engine/postgres/relay/apart.h"

#include "engine/postgres/relay/inside.h"

/* Nobody prepares this. */
#define REFUSED SPAN("godwit split")
/* Nobody's savepoint: it makes a transaction fail, which it does not end. */
#define FAILS   "ROLLBACK TO SAVEPOINT \"godwit split\""

bool
pg_apart_is_on(const struct pg_relay *r)
{
	return r->route.moved != 0 && r->route.rules != NULL &&
	       pg_turn_is_on(r);
}

bool
pg_apart_has_side(const struct pg_relay *r, enum side side)
{
	return side == r->route.authority || pg_apart_is_on(r);
}

enum side
pg_apart_side(const struct pg_session *s)
{
	return pg_apart_is_on(s->r) ? (enum side)s->apart.side
	                            : s->r->route.authority;
}

bool
pg_apart_waits(const struct pg_session *s)
{
	return pg_apart_is_on(s->r) && s->at == SESSION_OPEN &&
	       !s->apart.is_ready;
}

void
pg_apart_begin(struct pg_session *s)
{
	s->apart.side = (uint8_t)s->r->route.authority;
}

void
pg_apart_free(struct pg_session *s)
{
	struct pg_sided *p = s->apart.p;

	if (p == NULL)
		return;
	buf_fini(&p->frame);
	buf_fini(&p->why);
	mem_free(s->r->mem, p, sizeof(*p));
	s->apart.p = NULL;
}

static bool
make(struct pg_session *s)
{
	struct pg_sided *p = s->apart.p;

	if (p != NULL)
		return true;
	p = mem_zero(s->r->mem, sizeof(*p));
	if (p == NULL)
		return false;
	buf_init(&p->frame, s->r->mem);
	buf_init(&p->why, s->r->mem);
	s->apart.p = p;
	return true;
}

/* ---- what it says ---------------------------------------------------------------- */

/* What stands in front, up to a Sync, a query, or the first text with a table. */
struct unit {
	bool is_whole; /* there is no more to it, or no more is needed */
	size_t n;      /* its bytes                                    */
	uint8_t sides;
	bool needs_path;
	uint32_t binds;
	uint32_t executes;
	uint32_t others;     /* what only a server can answer */
	struct span unnamed; /* the text of a Parse in it; p NULL: none */
	struct span text;    /* what is executed */
	/* Of a Query, or of the only Bind. */
	enum sql_frame frame;
	const char *tag;
};

static size_t
size_of(struct span in)
{
	return in.n < 5 ? 0 : (size_t)pg_get_u32(in.p + 1) + 1;
}

/* The body of the message in front, as far as it is looked at. False: more bytes. */
static bool
body_of(struct span in, struct span *ret)
{
	size_t size = size_of(in);
	size_t most = size < PG_APART_LOOK_MAX ? size : PG_APART_LOOK_MAX;

	if (size == 0 || in.n < most)
		return false;
	*ret = span_of(in.p + 5, most < 5 ? 0 : most - 5);
	return true;
}

/* The text of what the session has prepared; p NULL: nothing is known of it. */
static struct span
text_of(const struct pg_session *s, struct span name)
{
	const struct pg_named *n = name.n > 0 ? map_get(&s->named, name) : NULL;
	const struct buf *raw = n != NULL ? &n->raw : &s->unnamed;
	struct pg_parse p;

	if ((name.n > 0 && n == NULL) || buf_len(raw) <= 5 ||
	    !pg_read_parse(span_skip(buf_span(raw), 5), &p))
		return span_of(NULL, 0);
	return p.text;
}

/* The text that a message brings, or means. False: more bytes. */
static bool
text_in(const struct pg_session *s, struct span in, struct span *ret_name,
        struct span *ret)
{
	struct span rest;
	struct span portal;

	*ret_name = span_of(in.p, 0);
	*ret = span_of(NULL, 0);
	switch (in.p[0]) {
	case PG_QUERY:
		if (!body_of(in, ret))
			return false;
		if (ret->n > 0 && ret->p[ret->n - 1] == '\0')
			ret->n--;
		return true;
	case PG_PARSE:
		if (!body_of(in, &rest))
			return false;
		if (pg_text_come(&rest, ret_name) && !pg_text_come(&rest, ret))
			*ret = rest;
		return true;
	case PG_BIND:
		if (in.n < 5)
			return false;
		rest = span_of(in.p + 5, in.n - 5);
		if (!pg_text_come(&rest, &portal) ||
		    !pg_text_come(&rest, ret_name))
			return in.n >= size_of(in) || in.n > PG_APART_LOOK_MAX;
		*ret = text_of(s, *ret_name);
		return true;
	default: return in.n >= 5;
	}
}

static void
judge(struct pg_session *s, struct unit *u, struct span text)
{
	bool needs_path = false;

	if (text.p == NULL)
		return;
	u->sides |= pg_apart_judge(s, text, &needs_path);
	u->needs_path = u->needs_path || needs_path;
}

/* One message. False: more bytes. */
static bool
look(struct pg_session *s, struct unit *u, struct span in)
{
	struct span name;
	struct span text;

	if (!text_in(s, in, &name, &text))
		return false;
	switch (in.p[0]) {
	case PG_QUERY:
		judge(s, u, text);
		u->is_whole = true;
		u->text = text;
		u->frame = sql_frame_of(text, &u->tag);
		u->others += in.n < size_of(in);
		break;
	case PG_FUNCTION_CALL:
		u->sides |= (uint8_t)SQL_SIDE_BIT(s->r->route.authority);
		u->is_whole = true;
		break;
	case PG_PARSE:
		judge(s, u, text);
		if (name.n == 0)
			u->unnamed = text;
		/* It is remembered when it has passed. */
		u->text = text;
		break;
	case PG_BIND:
		if (name.n == 0 && u->unnamed.p != NULL)
			text = u->unnamed;
		else if (text.p == NULL && name.n > 0)
			text = u->text;
		judge(s, u, text);
		u->binds++;
		u->text = text;
		if (text.p != NULL)
			u->frame = sql_frame_of(text, &u->tag);
		break;
	case PG_EXECUTE: u->executes++; break;
	case PG_DESCRIBE: break;
	case PG_SYNC: u->is_whole = true; break;
	default:
		u->others++;
		u->is_whole = in.p[0] == PG_FLUSH;
		break;
	}
	return true;
}

static struct unit
peek(struct pg_session *s, struct span in)
{
	struct unit u = { .is_whole = false, .unnamed = { NULL, 0 } };

	while (!u.is_whole && u.n < in.n) {
		struct span rest = span_skip(in, u.n);

		if (!look(s, &u, rest))
			break;
		if (u.sides != 0 || u.needs_path ||
		    u.n + size_of(rest) > PG_APART_LOOK_MAX)
			u.is_whole = true;
		else if (rest.n < size_of(rest))
			u.is_whole = false;
		if (rest.n < size_of(rest))
			break;
		u.n += size_of(rest);
	}
	return u;
}

/* ---- a transaction that is opened here -------------------------------------------- */

static bool
is_alone(const struct unit *u, uint8_t type)
{
	return u->is_whole && u->sides == 0 && !u->needs_path &&
	       u->others == 0 &&
	       (type == PG_QUERY || (u->binds == 1 && u->executes == 1));
}

/* The same statements once more are a warning, which is the server's to say. */
static bool
may_answer(const struct pg_session *s, const struct unit *u)
{
	const struct pg_apart *x = &s->apart;

	switch (u->frame) {
	case SQL_FRAME_BEGIN: return !x->is_opened;
	case SQL_FRAME_LOCAL:
		/* What it says of the path would have to be known. */
		return x->is_opened && !x->is_failed &&
		       !span_holds(u->text, SPAN("path")) &&
		       !span_holds(u->text, SPAN("PATH")) &&
		       buf_len(&x->p->frame) + u->text.n < PG_APART_FRAME_MAX;
	case SQL_FRAME_END:
	case SQL_FRAME_BACK: return x->is_opened;
	case SQL_FRAME_NONE: break;
	}
	return false;
}

static void
put_describe(struct buf *tx, struct span body)
{
	struct pg_target t;
	size_t at;

	if (!pg_read_target(body, &t))
		return;
	if (!t.is_portal) {
		at = pg_put_begin(tx, PG_PARAMETER_DESCRIPTION);
		buf_put(tx, "\0", 2);
		pg_put_end(tx, at);
	}
	pg_put_empty(tx, PG_NO_DATA);
}

/* What a server would say to it. False: no memory. */
static bool
answer_one(struct pg_session *s, struct span in, const struct unit *u,
           enum pg_transaction at)
{
	struct buf *tx = &s->client->tx;
	struct pg_message m = { .type = in.p[0],
		                .raw = span_of(in.p, size_of(in)) };

	m.body = span_skip(m.raw, 5);
	switch (m.type) {
	case PG_PARSE:
		pg_put_empty(tx, PG_PARSE_COMPLETE);
		return pg_alias_learn(s, &m);
	case PG_BIND: pg_put_empty(tx, PG_BIND_COMPLETE); break;
	case PG_DESCRIBE: put_describe(tx, m.body); break;
	case PG_QUERY:
		pg_alias_end_unnamed(s);
		pg_put_complete(tx, span_str(u->tag));
		pg_put_ready(tx, at);
		break;
	case PG_EXECUTE: pg_put_complete(tx, span_str(u->tag)); break;
	case PG_SYNC: pg_put_ready(tx, at); break;
	default: break;
	}
	return true;
}

static void
note_frame(struct pg_session *s, const struct unit *u)
{
	struct pg_apart *x = &s->apart;

	if (u->frame == SQL_FRAME_END || u->frame == SQL_FRAME_BACK) {
		buf_release(&x->p->frame);
		x->is_opened = false;
		x->is_failed = false;
		return;
	}
	buf_put_span(&x->p->frame, u->text);
	buf_put_str(&x->p->frame, "\n;");
	x->is_opened = true;
}

/* True: it was. */
static bool
answer(struct pg_session *s, struct span in, struct unit *u)
{
	enum pg_transaction at =
		u->frame == SQL_FRAME_END || u->frame == SQL_FRAME_BACK
			? PG_IDLE
			: PG_IN_TRANSACTION;
	bool good = true;
	size_t n = 0;

	/* One that has failed can only be left. */
	if (s->apart.is_failed)
		u->tag = "ROLLBACK";
	note_frame(s, u);
	if (buf_len(&s->params) > 0)
		pg_params_give(s);
	while (n < u->n) {
		struct span rest = span_skip(in, n);

		good = answer_one(s, rest, u, at) && good;
		n += size_of(rest);
	}
	s->requests++;
	s->r->n.requests++;
	s->asked_ns = s->r->port->now_ns;
	s->is_timed = true;
	port_touch(s->r->port, s->client);
	return good && !buf_failed(&s->apart.p->frame);
}

/* The server of the side that was found out hears what was answered. */
static void
say_frame(struct pg_session *s)
{
	struct pg_apart *x = &s->apart;

	if (x->is_failed)
		buf_put_str(&x->p->frame, FAILS);
	pg_put_query(&s->b.link->tx, buf_span(&x->p->frame));
	port_touch(s->r->port, s->b.link);
	/* A query makes an end of the statement without a name; the client's may have been
	 * a statement that has one. */
	s->turn.is_prepared = false;
	s->b.sweeps++;
	x->says = s->b.sweeps;
	x->is_opened = false;
	buf_release(&x->p->frame);
	s->status = x->is_failed ? PG_IN_FAILED : PG_IN_TRANSACTION;
	s->state.is_known = false;
	s->turn.is_fresh = false;
}

void
pg_apart_cancel(struct pg_session *s)
{
	s->apart.is_ready = false;
	s->apart.wants_path = false;
	s->apart.is_failed = s->apart.is_opened;
}

void
pg_apart_swept(struct pg_backend *b, const struct pg_part *p)
{
	struct pg_session *s = b->s;
	uint8_t notice = PG_NOTICE_RESPONSE;

	if (s->apart.says != 1 && b->sweeps != 1)
		return;
	/* The client was told that it is done: now it is told what is wrong, and its
	 * next statement fails. (Of what was canceled it knows.) */
	if (b->type == PG_ERROR_RESPONSE && s->client != NULL &&
	    !s->apart.is_failed) {
		if (p->kind == PG_HEAD) {
			pg_backend_give(b, span_of(&notice, 1));
			pg_backend_give(b, span_skip(p->raw, 1));
		} else {
			pg_backend_give(b, p->raw);
		}
	}
	if (b->type != PG_READY || p->left > 0)
		return;
	s->apart.says = 0;
	s->apart.is_failed = false;
	if (p->raw.n > 0 && p->raw.p[p->raw.n - 1] == PG_IN_FAILED)
		s->status = PG_IN_FAILED;
}

/* ---- what crosses ---------------------------------------------------------------- */

static const char *
name_of(enum side side)
{
	return side == SIDE_NEW ? "new" : "old";
}

static void
say_why(struct pg_session *s, const struct sql_side *is, enum side has)
{
	struct buf *b = &s->apart.p->why;
	enum side other = side_other(has);
	uint32_t pins = pg_turn_pins(s);
	const char *here = is->what[has];

	buf_clear(b);
	if (is->needs_path) {
		buf_put_str(b, "tables of these names are on both servers, and "
		               "search_path decides: write schema.table");
		return;
	}
	if (here[0] == '\0')
		here = s->apart.p->first;
	buf_putf(b, "%s is on the %s server now", is->what[other],
	         name_of(other));
	if (is->sides != SQL_SIDE_BOTH && pins != 0)
		buf_putf(
			b,
			", and this session keeps its connection to the %s one "
			"(%s)",
			name_of(has), pg_pin_text(pins));
	else if (here[0] != '\0')
		buf_putf(b,
		         ", and %s on the %s one: one transaction cannot have "
		         "both",
		         here, name_of(has));
	else
		buf_putf(b, ", and this transaction began on the %s one",
		         name_of(has));
}

bool
pg_apart_wants(const struct pg_session *s, uint8_t type)
{
	return type == PG_ERROR_RESPONSE && s->apart.p != NULL &&
	       buf_len(&s->apart.p->why) > 0;
}

bool
pg_apart_refusal(struct pg_session *s, struct span body, struct buf *ret)
{
	struct pg_error ours = {
		.severity = SPAN("ERROR"),
		.severity_plain = SPAN("ERROR"),
		.code = SPAN("0A000"),
		.hint = SPAN(
			"Nothing of it was executed. Tables move by feature: "
			"while they are apart a transaction is of one "
			"feature's tables, or of the others'."),
	};

	if (!pg_apart_wants(s, PG_ERROR_RESPONSE) ||
	    !pg_ack_is_about(body, REFUSED))
		return false;
	ours.message = buf_span(&s->apart.p->why);
	pg_put_error(ret, PG_ERROR_RESPONSE, &ours);
	buf_release(&s->apart.p->why);
	return true;
}

static bool
brings_text(uint8_t type)
{
	return type == PG_QUERY || type == PG_PARSE || type == PG_BIND ||
	       type == PG_FUNCTION_CALL;
}

/* Are answers on their way, behind which a transaction may be open? */
static bool
is_between(const struct pg_session *s)
{
	return s->status == PG_IDLE && !s->in_extended && !s->copies_in;
}

/* A message for the server that it has: does it cross? */
static enum pg_apart_rc
check(struct pg_session *s, struct span in)
{
	static const char call[] = "a call of a function by its number";
	enum side has = s->b.side;
	bool needs_path = false;
	struct span name;
	struct span text;
	struct sql_side is = { .sides = 0 };

	if (!brings_text(in.p[0]) || s->status == PG_IN_FAILED ||
	    s->turn.skips || s->copies_in)
		return APART_PASS;
	if (!text_in(s, in, &name, &text))
		return APART_MORE;
	if (in.p[0] == PG_FUNCTION_CALL) {
		is.sides = (uint8_t)SQL_SIDE_BIT(s->r->route.authority);
		memcpy(is.what[s->r->route.authority], call, sizeof(call));
	} else if (text.p != NULL) {
		is.sides = pg_apart_judge(s, text, &needs_path);
	}
	if (!needs_path && (is.sides & ~SQL_SIDE_BIT(has)) == 0) {
		if (is.sides != 0 && s->apart.p->first[0] == '\0') {
			pg_apart_name(s, text, &is);
			memcpy(s->apart.p->first, is.what[has], SQL_SIDE_WHAT);
		}
		return APART_PASS;
	}
	if (text.p != NULL)
		pg_apart_name(s, text, &is);
	say_why(s, &is, has);
	pg_ack_replace(s, in.p[0], REFUSED);
	return APART_PASS;
}

/* ---- its turn -------------------------------------------------------------------- */

/* More bytes are needed, and room for them. */
static enum pg_apart_rc
more(struct pg_session *s, struct span in)
{
	/* A whole message at least, and what else it says before its Sync. */
	if (s->turn.wants < in.n + PG_RELAY_HELD_MAX)
		s->turn.wants = in.n + PG_RELAY_HELD_MAX;
	return APART_MORE;
}

/* Its server is of another side, or has to be asked: is there one to be looked for now? */
static enum pg_apart_rc
leave(struct pg_session *s, enum side side)
{
	struct pg_apart *x = &s->apart;

	if (s->b.link == NULL || s->b.side == side) {
		x->is_ready = true;
		return APART_PASS;
	}
	/* What kept it may have gone. */
	if (s->turn.is_wild) {
		s->turn.is_wild = false;
		pg_census_ask(s);
		return APART_MORE;
	}
	if (pg_turn_pins(s) != 0) {
		x->is_ready = true;
		return APART_PASS;
	}
	/* Answers to what Godwit said itself. */
	if (s->b.sweeps > 0 || s->b.slow)
		return APART_MORE;
	pg_server_take_back(s);
	x->is_ready = true;
	return APART_PASS;
}

/* What its names mean is asked for; where, does not matter. */
static enum pg_apart_rc
ask_path(struct pg_session *s)
{
	if (s->b.link == NULL) {
		s->apart.side = (uint8_t)s->r->route.authority;
		s->apart.is_ready = true;
		s->apart.wants_path = true;
		return APART_PASS;
	}
	s->turn.is_wild = false;
	s->apart.wants_path = false;
	s->apart.knows_path = true;
	s->apart.is_ready = false;
	pg_census_ask(s);
	return APART_MORE;
}

/* It stands still, and something new is in front. */
static enum pg_apart_rc
begin(struct pg_session *s, struct span in)
{
	struct pg_apart *x = &s->apart;
	enum side home = s->r->route.authority;
	struct unit u;
	enum side side;

	x->path_moves = false;
	u = peek(s, in);
	if (!u.is_whole)
		return more(s, in);
	s->turn.wants = 0;
	if (!pg_apart_knows_path(s) &&
	    (u.needs_path || pg_apart_needs_paths(s->r)))
		return ask_path(s);
	if (u.sides == 0)
		side = s->b.link != NULL && !x->is_opened ? s->b.side : home;
	else
		side = u.sides == SQL_SIDE_BIT(SIDE_NEW) ? SIDE_NEW : SIDE_OLD;
	x->side = (uint8_t)side;
	x->p->first[0] = '\0';
	return leave(s, side);
}

/* It has the server it wants. */
static enum pg_apart_rc
go_on(struct pg_session *s, struct span in)
{
	struct pg_apart *x = &s->apart;

	REQUIRE(s->b.link != NULL);
	if (x->wants_path)
		return ask_path(s);
	x->is_ready = false;
	x->side = (uint8_t)s->b.side;
	if (x->is_opened)
		say_frame(s);
	return check(s, in);
}

/* Answers are on their way: what may be of another turn waits for them. */
static enum pg_apart_rc
follow(struct pg_session *s, struct span in)
{
	struct unit u;

	if (!is_between(s) || !brings_text(in.p[0]))
		return check(s, in);
	u = peek(s, in);
	if (!u.is_whole)
		return more(s, in);
	s->turn.wants = 0;
	if (u.frame != SQL_FRAME_NONE || u.needs_path ||
	    (u.sides & ~SQL_SIDE_BIT(s->b.side)) != 0)
		return APART_MORE;
	return check(s, in);
}

static bool
is_no_message(struct span in)
{
	uint32_t length = in.n < 5 ? 4 : pg_get_u32(in.p + 1);

	return length < 4 || length > pg_length_max(PG_FRONT, in.p[0]);
}

/* It was opened in a split that is over. */
static enum pg_apart_rc
open_at_home(struct pg_session *s)
{
	if (!s->r->held && s->b.at == BACKEND_OPEN && pg_session_is_quiet(s)) {
		REQUIRE(s->b.link != NULL);
		say_frame(s);
	}
	return APART_PASS;
}

enum pg_apart_rc
pg_apart_take(struct pg_session *s, struct span in, size_t *ret_used)
{
	struct pg_apart *x = &s->apart;
	struct unit u;

	if (in.p[0] == PG_TERMINATE || s->ack.drops)
		return APART_PASS;
	if (!pg_apart_is_on(s->r))
		return open_at_home(s);
	if (!make(s)) {
		pg_session_end(s, SPAN("53200"), "out of memory");
		return APART_END;
	}
	/* Another database does not move, and what is no message is refused. */
	if (!pg_away_is_moved(s) || is_no_message(in)) {
		x->is_ready = true;
		return APART_PASS;
	}
	s->waits = s->waits || s->b.link == NULL;
	if (s->r->held && pg_session_is_quiet(s))
		return APART_MORE;
	if (!pg_apart_is_known(s->r) ||
	    (s->b.at != BACKEND_OPEN && s->b.at != BACKEND_OFF))
		return APART_MORE;
	if (!pg_session_is_quiet(s))
		return follow(s, in);
	if (x->is_ready)
		return s->b.at == BACKEND_OPEN ? go_on(s, in) : APART_PASS;
	u = peek(s, in);
	if (is_alone(&u, in.p[0]) && may_answer(s, &u)) {
		*ret_used = u.n;
		if (answer(s, in, &u))
			return APART_DONE;
		pg_session_end(s, SPAN("53200"), "out of memory");
		return APART_END;
	}
	{
		enum pg_apart_rc rc = begin(s, in);

		if (rc != APART_PASS || s->b.at != BACKEND_OPEN)
			return rc;
	}
	return go_on(s, in);
}
