/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/spread/view.c: the spread as nodes of a Redis Cluster, for clients
 * that want one (topology.h).
 *
 * What tells of the cluster is written here, but home is asked the same first: its
 * NOAUTH or NOPERM is the answer then, so users may here what they may there. What
 * would send a client past us (MOVED, ASK) does not leave.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/num.h"
#include "engine/redis/spread/inside.h"

enum view {
	VIEW_OK,   /* there is nothing to switch */
	VIEW_INFO, /* home's, as a node's        */
	VIEW_KEYS, /* the owner of a slot is asked */
	VIEW_KEYSLOT,
	VIEW_SLOTS,
	VIEW_SHARDS,
	VIEW_NODES,
	VIEW_STATE,
	VIEW_MYID,
	VIEW_LINKS,
	VIEW_REPLICAS,
	VIEW_REPORTS,
	VIEW_HELP,
	VIEW_NONE,
};

/* clang-format off */
static const struct {
	const char *name;
	uint8_t view;
} views[] = {
	{ "asking", VIEW_OK },
	{ "readonly", VIEW_OK },
	{ "readwrite", VIEW_OK },
	{ "info", VIEW_INFO },
	{ "cluster|slots", VIEW_SLOTS },
	{ "cluster|shards", VIEW_SHARDS },
	{ "cluster|nodes", VIEW_NODES },
	{ "cluster|info", VIEW_STATE },
	{ "cluster|myid", VIEW_MYID },
	{ "cluster|keyslot", VIEW_KEYSLOT },
	{ "cluster|countkeysinslot", VIEW_KEYS },
	{ "cluster|getkeysinslot", VIEW_KEYS },
	{ "cluster|links", VIEW_LINKS },
	{ "cluster|replicas", VIEW_REPLICAS },
	{ "cluster|slaves", VIEW_REPLICAS },
	{ "cluster|count-failure-reports", VIEW_REPORTS },
	{ "cluster|help", VIEW_HELP },
};
/* clang-format on */

#define VIEWS    (sizeof(views) / sizeof(views[0]))
#define SHOWN_ID 64 /* bytes of an id that nobody has, in words */

static const char *const help[] = {
	"CLUSTER <subcommand> [<arg> ...], of an interlay shown as a cluster:",
	"SLOTS, SHARDS, NODES",
	"    The announced addresses as masters, and their slots.",
	"INFO",
	"    The state of that cluster.",
	"MYID",
	"    The id of the address that answers.",
	"KEYSLOT <key>",
	"    The hash slot of a key.",
	"COUNTKEYSINSLOT <slot>, GETKEYSINSLOT <slot> <count>",
	"    Asked of the node that owns the slot, where the instances are nodes.",
	"LINKS, REPLICAS <node-id>, COUNT-FAILURE-REPORTS <node-id>",
	"    None.",
	"HELP",
	"    Prints this help.",
};

#define HELP_N (sizeof(help) / sizeof(help[0]))

static bool
is_cluster(const struct command *row)
{
	return span_has_prefix(span_of(row->name, row->name_n),
	                       SPAN("cluster"));
}

static enum view
view_of(const struct command *row)
{
	struct span name = span_of(row->name, row->name_n);

	for (size_t i = 0; i < VIEWS; i++) {
		if (span_eq(name, span_str(views[i].name)))
			return (enum view)views[i].view;
	}
	return VIEW_NONE;
}

bool
view_is(const struct client *c, const struct command *row)
{
	enum view view;

	if (c->s->conf->topology.n == 0 || row == NULL ||
	    row->kind != COMMAND_ADMIN)
		return false;
	view = view_of(row);
	return is_cluster(row) || view == VIEW_OK ||
	       (view == VIEW_INFO && c->tx.state == TX_NONE);
}

/* ---- what is asked ------------------------------------------------------ */

static void
put_help(struct buf *to)
{
	resp_put_array(to, HELP_N);
	for (size_t i = 0; i < HELP_N; i++)
		resp_put_status(to, help[i]);
}

/* Text for people. */
static void
put_text(const struct client *c, const struct buf *text, struct buf *to)
{
	if (c->proto == 3)
		resp_put_verbatim(to, buf_span(text));
	else
		resp_put_bulk(to, buf_span(text));
}

/* What is said of the node with this id, if there is one. */
static void
put_of_node(const struct topology *t, enum view view, struct span id,
            struct buf *to)
{
	int n = id.n < SHOWN_ID ? (int)id.n : SHOWN_ID;

	if (!topology_has(t, id))
		resp_put_errorf(to, "ERR Unknown node %.*s", n,
		                (const char *)id.p);
	else if (view == VIEW_REPLICAS)
		resp_put_array(to, 0);
	else
		resp_put_int(to, 0);
}

static void
put_answer(struct client *c, const struct asked *a, enum view view,
           struct buf *to)
{
	const struct topology *t = &c->s->conf->topology;
	struct buf *text = spread_scratch(c->s);

	switch (view) {
	case VIEW_SLOTS: topology_put_slots(t, c->proto, to); break;
	case VIEW_SHARDS: topology_put_shards(t, c->proto, to); break;
	case VIEW_NODES:
		topology_put_nodes(t, text);
		put_text(c, text, to);
		break;
	case VIEW_STATE:
		topology_put_info(t, text);
		put_text(c, text, to);
		break;
	case VIEW_MYID: resp_put_bulk_str(to, t->node[t->self].id); break;
	case VIEW_KEYSLOT: resp_put_int(to, hash_slot(a->q->argv[2])); break;
	case VIEW_LINKS: resp_put_array(to, 0); break;
	case VIEW_REPLICAS:
	case VIEW_REPORTS: put_of_node(t, view, a->q->argv[2], to); break;
	case VIEW_HELP: put_help(to); break;
	case VIEW_OK:
	case VIEW_INFO:
	case VIEW_KEYS:
	case VIEW_NONE: NEVER("these are no texts of ours");
	}
	if (buf_failed(text))
		client_end(c, "ERR godwit: out of memory");
}

/* Ours behind home's leave. */
static enum take
own(struct client *c, const struct asked *a, enum view view)
{
	struct ask ask = { .kind = ASK_OWN, .at = HOME };
	size_t had = buf_len(&c->texts);

	if (!branch_has_room(&c->branch[HOME]))
		return TAKE_WAIT;
	put_answer(c, a, view, &c->texts);
	if (c->dead)
		return TAKE_DONE;
	if (buf_failed(&c->texts)) {
		client_end(c, NULL);
		return TAKE_DONE;
	}
	ask.n = (uint32_t)(buf_len(&c->texts) - had);
	ask_send(c, ask, a->raw);
	return TAKE_DONE;
}

static enum take
keys_in_slot(struct client *c, const struct asked *a)
{
	struct span text = a->q->argv[2];
	int64_t slot = 0;
	uint8_t at = HOME; /* which says what is wrong with it */

	if (!c->s->conf->by_slot)
		return route_refuse(c,
		                    "%s: the instances are servers alone, "
		                    "which have no list of the keys of a slot",
		                    a->row->name);
	if (num_get_i64(text.p, text.n, &slot) && slot >= 0 &&
	    slot < HASH_SLOTS)
		at = c->s->owner[slot];
	return route_forward(c, a, at, 0);
}

static enum take
not_ours(struct client *c, const struct asked *a)
{
	struct span sub = a->q->argv[1];
	int n = sub.n < SHOWN_ID ? (int)sub.n : SHOWN_ID;
	struct buf *b = spread_scratch(c->s);

	if (a->row->handler != COMMAND_CONTAINER)
		return route_refuse(c, "%s: %s", a->row->name, a->row->why);
	resp_put_errorf(b, "ERR unknown subcommand '%.*s'. Try CLUSTER HELP.",
	                n, (const char *)sub.p);
	if (buf_failed(b))
		client_end(c, NULL);
	else
		ask_text(c, buf_span(b), 0);
	return TAKE_DONE;
}

enum take
view_take(struct client *c, const struct asked *a)
{
	struct ask ask = { .kind = ASK_INFO, .at = HOME };
	enum view view = view_of(a->row);

	if (!a->whole)
		return TAKE_MORE;
	if (view == VIEW_KEYS)
		return keys_in_slot(c, a);
	if (view == VIEW_NONE)
		return not_ours(c, a);
	if (view == VIEW_OK) {
		ask_text(c, SPAN("+OK\r\n"), 0);
		return TAKE_DONE;
	}
	if (view != VIEW_INFO)
		return own(c, a, view);
	if (!branch_has_room(&c->branch[HOME]))
		return TAKE_WAIT;
	ask_send(c, ask, a->raw);
	return TAKE_DONE;
}

/* ---- what is answered --------------------------------------------------- */

bool
view_hides(const struct spread *s, struct span reply)
{
	return s->conf->topology.n > 0 &&
	       (span_has_prefix(reply, SPAN("-MOVED ")) ||
	        span_has_prefix(reply, SPAN("-ASK ")));
}

/* The whole reply of a branch into g.part. */
static enum flow
whole(struct client *c, struct branch *b)
{
	if (!c->g.begun)
		gather_begin(c);
	return gather_part(c, b);
}

enum flow
view_error(struct client *c, struct branch *b)
{
	struct span said;

	if (whole(c, b) != FLOW_DONE)
		return FLOW_MORE;
	said = buf_span(&c->g.part);
	answer_put(c, view_hides(c->s, said) ? VIEW_HIDDEN : said);
	buf_clear(&c->g.part);
	return FLOW_DONE;
}

enum flow
view_own(struct client *c, const struct ask *a)
{
	struct span ours = buf_span(&c->texts);
	struct span said;

	REQUIRE(ours.n >= a->n);
	if (whole(c, &c->branch[HOME]) != FLOW_DONE)
		return FLOW_MORE;
	said = buf_span(&c->g.part);
	if (!span_has_prefix(said, SPAN("-NOAUTH")) &&
	    !span_has_prefix(said, SPAN("-NOPERM")))
		said = span_of(ours.p, a->n);
	answer_put(c, said);
	c->s->n.errors += said.p[0] == '-';
	buf_take(&c->texts, a->n);
	if (buf_len(&c->texts) == 0)
		buf_release(&c->texts);
	return FLOW_DONE;
}

/* Line by line. */
static void
put_lines(struct span in, struct buf *to)
{
	while (in.n > 0) {
		const uint8_t *end = memchr(in.p, '\n', in.n);
		size_t n = end == NULL ? in.n : (size_t)(end - in.p) + 1;
		struct span line = span_of(in.p, n);

		if (span_has_prefix(line, SPAN("redis_mode:")))
			line = SPAN("redis_mode:cluster\r\n");
		else if (span_has_prefix(line, SPAN("cluster_enabled:")))
			line = SPAN("cluster_enabled:1\r\n");
		buf_put_span(to, line);
		in = span_skip(in, n);
	}
}

enum flow
view_info(struct client *c)
{
	struct buf *text;
	struct span rest;
	struct resp_item it;

	if (whole(c, &c->branch[HOME]) != FLOW_DONE)
		return FLOW_MORE;
	rest = buf_span(&c->g.part);
	c->s->n.errors += rest.n > 0 && rest.p[0] == '-';
	if (resp_read(&rest, &it) != WIRE_PART ||
	    (it.type != RESP_BULK && it.type != RESP_VERBATIM)) {
		answer_put(c, buf_span(&c->g.part));
		return FLOW_DONE;
	}
	text = spread_scratch(c->s);
	if (it.type == RESP_VERBATIM && it.text.n >= 4)
		it.text = span_skip(it.text, 4); /* "txt:" */
	put_lines(it.text, text);
	if (it.type == RESP_VERBATIM)
		resp_put_verbatim(&c->g.kept, buf_span(text));
	else
		resp_put_bulk(&c->g.kept, buf_span(text));
	if (buf_failed(text))
		client_end(c, "ERR godwit: out of memory");
	else
		answer_put_buf(c, &c->g.kept);
	return FLOW_DONE;
}

#define MODE       SPAN("$4\r\nmode\r\n")
#define STANDALONE SPAN("$10\r\nstandalone\r\n")

void
view_hello(struct client *c, struct buf *reply)
{
	struct span in = buf_span(reply);
	struct span both = { NULL, 0 };
	struct buf *b = spread_scratch(c->s);
	size_t i = 0;

	if (c->s->conf->topology.n == 0)
		return;
	while (i < in.n && both.p == NULL) {
		struct span at = span_skip(in, i++);

		if (span_has_prefix(at, MODE) &&
		    span_has_prefix(span_skip(at, MODE.n), STANDALONE))
			both = span_of(at.p, MODE.n + STANDALONE.n);
	}
	if (both.p == NULL)
		return;
	buf_put(b, in.p, (size_t)(both.p - in.p));
	buf_put_span(b, MODE);
	resp_put_bulk_str(b, "cluster");
	buf_put_span(b, span_skip(in, (size_t)(both.p - in.p) + both.n));
	buf_clear(reply);
	buf_put_span(reply, buf_span(b));
	if (buf_failed(b))
		client_end(c, "ERR godwit: out of memory");
}
