/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify.c: the comparison as a whole.
 */
#include "control/verify.h"

#include <stdlib.h>

#include "base/hash.h"
#include "control/verify_parts.h"

#define DBS_MAX 1024 /* databases that hold keys, on both sides together */

/* The databases in use, and how many keys they have, by side. */
struct spaces {
	uint32_t db[DBS_MAX];
	bool is_done[DBS_MAX];
	size_t n;
	uint64_t keys[2];
};

const char *
verify_kind_name(enum verify_kind k)
{
	switch (k) {
	case VERIFY_MISSING: return "missing";
	case VERIFY_EXTRA: return "extra";
	case VERIFY_DIFFERENT: return "different";
	case VERIFY_UNSTABLE: return "unstable";
	case VERIFY_NOTED: return "noted";
	case VERIFY_REPAIRED: return "repaired";
	}
	return "unknown";
}

/* The number a score's text means, as bits. */
static uint64_t
score_bits(struct span text)
{
	char word[64];
	double d = 0;
	uint64_t bits;

	if (text.n < sizeof(word)) {
		memcpy(word, text.p, text.n);
		word[text.n] = '\0';
		d = strtod(word, NULL);
	}
	if (d == 0)
		d = 0; /* -0 is 0 */
	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static bool
add_db(struct spaces *s, uint64_t db)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->db[i] == db)
			return true;
	if (s->n == DBS_MAX || db > UINT32_MAX)
		return false;
	s->db[s->n] = (uint32_t)db;
	s->is_done[s->n] = false;
	s->n++;
	return true;
}

static uint64_t
take_number(struct span *s)
{
	uint64_t v = 0;

	while (s->n > 0 && s->p[0] >= '0' && s->p[0] <= '9') {
		v = v * 10 + (uint64_t)(s->p[0] - '0');
		*s = span_skip(*s, 1);
	}
	return v;
}

/* Lines such as "db0:keys=5,expires=0,avg_ttl=0". */
static int
read_keyspace(struct verify *v, uint32_t side, struct spaces *s,
              struct err *err)
{
	struct resp_item item;
	struct span in;
	int rc;

	resp_put_cmd(&v->mark[side].out, "INFO", "keyspace", NULL);
	if ((rc = peer_call(&v->mark[side], 1, &in, err)) < 0)
		return rc;
	if (resp_read(&in, &item) != WIRE_PART || item.type != RESP_BULK) {
		if (item.type == RESP_ERROR)
			(void)reply_refused(item.text, err);
		else
			return peer_broken(&v->mark[side], "no answer to INFO",
			                   err);
	}
	s->keys[side] = 0;
	for (struct span at = item.text; at.n > 0; at = span_skip(at, 1)) {
		uint64_t db;

		if (!span_has_prefix(at, SPAN("\ndb")))
			continue;
		at = span_skip(at, 3);
		db = take_number(&at);
		if (!span_has_prefix(at, SPAN(":keys=")))
			continue;
		at = span_skip(at, 6);
		s->keys[side] += take_number(&at);
		if (!add_db(s, db))
			return err_set(err, ERR_LIMIT,
			               "more than %d databases are in use",
			               DBS_MAX);
		if (at.n == 0)
			break;
	}
	return 0;
}

static int
compare_db(struct verify *v, uint32_t db, struct err *err)
{
	int rc;

	v->db = db;
	if ((rc = peer_select(&v->peer[0], db, err)) < 0 ||
	    (rc = peer_select(&v->peer[1], db, err)) < 0 ||
	    (rc = page_compare_all(v, err)) < 0 ||
	    (rc = doubt_settle(v, err)) < 0 ||
	    (rc = page_extra_all(v, err)) < 0)
		return rc;
	return doubt_settle(v, err);
}

/* All databases, also those that come into use meanwhile. */
static int
compare_all(struct verify *v, struct spaces *s, struct err *err)
{
	for (;;) {
		bool was_new = false;
		int rc;

		for (uint32_t side = 0; side < 2; side++)
			if ((rc = read_keyspace(v, side, s, err)) < 0)
				return rc;
		for (size_t i = 0; i < s->n; i++) {
			if (s->is_done[i])
				continue;
			was_new = s->is_done[i] = true;
			if ((rc = compare_db(v, s->db[i], err)) < 0)
				return rc;
		}
		if (!was_new)
			return 0;
	}
}

/* Godwit's own keys in database 0 are not among the expected ones. */
static int
own_keys(struct verify *v, uint32_t side, uint64_t *ret, struct err *err)
{
	static const char *const names[] = { "mark", "mark-back", "fence",
		                             "fill", "merge",     "delay" };
	size_t n = sizeof(names) / sizeof(names[0]);
	const char *tag = v->conf->side[side].own_tag;
	char name[OWN_NAME];
	struct resp_item item;
	struct span in;
	int rc;

	resp_put_array(&v->mark[side].out, 1 + n);
	resp_put_bulk_str(&v->mark[side].out, "EXISTS");
	for (size_t i = 0; i < n; i++)
		resp_put_bulk_str(&v->mark[side].out,
		                  own_name(name, names[i], tag));
	if ((rc = peer_call(&v->mark[side], 1, &in, err)) < 0)
		return rc;
	*ret = value_item(&in, RESP_INT, &item) ? (uint64_t)item.number : 0;
	return 0;
}

/* The counts of the end. */
static int
expect(struct verify *v, struct spaces *s, struct err *err)
{
	struct verify_result *r = v->ret;
	bool is_swapped = strncmp(v->conf->side[1].label, "old", 3) == 0;
	uint64_t bad;
	int rc;

	for (uint32_t side = 0; side < 2; side++) {
		uint64_t own;

		if ((rc = own_keys(v, side, &own, err)) < 0)
			return rc;
		s->keys[side] -= s->keys[side] > own ? own : s->keys[side];
	}
	r->keys_old = s->keys[is_swapped ? 1 : 0];
	r->keys_new = s->keys[is_swapped ? 0 : 1];
	bad = r->missing + r->different + r->unstable;
	r->equal = r->compared > bad ? r->compared - bad : 0;
	if (v->conf->slots != NULL) {
		/* Nobody counts slots; these are what was seen. */
		s->keys[0] = r->compared;
		s->keys[1] = r->compared + r->extra - r->missing;
		r->keys_old = s->keys[is_swapped ? 1 : 0];
		r->keys_new = s->keys[is_swapped ? 0 : 1];
		return 0;
	}
	/* Of two passes only the last one knows. */
	if (v->conf->scope != NULL && !v->is_back)
		return 0;
	if (r->compared == 0 && s->keys[0] > 0)
		return err_set(err, ERR_DIVERGED,
		               "%s says it has %llu keys, but none was seen: "
		               "nothing is proven",
		               v->conf->side[0].label,
		               (unsigned long long)s->keys[0]);
	return 0;
}

/* The marker is removed whatever happened. */
static void
remove_marker(struct verify *v)
{
	struct err ignored; /* it expires by itself */
	struct span in;

	if (!v->conf->is_live || v->ret->marker_refused || v->mark[0].c == NULL)
		return;
	resp_put_cmd(&v->mark[0].out, "DEL", v->marker, NULL);
	if (peer_call(&v->mark[0], 1, &in, &ignored) < 0)
		return;
}

static int
compare(struct verify *v, struct err *err)
{
	struct spaces *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (s == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a comparison");
	for (uint32_t side = 0; rc == 0 && side < 2; side++) {
		rc = peer_open(&v->peer[side], &v->mem, &v->conf->side[side],
		               err);
		if (rc == 0)
			rc = peer_open(&v->mark[side], &v->mem,
			               &v->conf->side[side], err);
	}
	for (int i = 0; i < 2; i++) {
		v->rule.no_expiretime[i] = v->peer[i].no_expiretime;
		v->rule.field_ttl[i] = v->peer[i].field_ttl;
	}
	/* Servers before 7.0 tell expiry relative to their clock. */
	if (v->peer[0].no_expiretime || v->peer[1].no_expiretime)
		if (v->rule.ttl_slack_ms < VERIFY_TTL_SLACK_MS)
			v->rule.ttl_slack_ms = VERIFY_TTL_SLACK_MS;
	if (rc == 0)
		rc = compare_all(v, s, err);
	if (rc == 0)
		rc = expect(v, s, err);
	/* A part has some of the keys; libraries are of a whole server. */
	if (rc == 0 && !v->is_back && v->conf->slots == NULL)
		rc = library_compare(v, err);
	free(s);
	return rc;
}

/* The keys of side[0]. */
static int
pass(const struct verify_conf *c, bool is_back, struct verify_result *ret,
     struct err *err)
{
	struct verify v = { .conf = c, .ret = ret, .is_back = is_back };
	int rc;

	os_mem_init(&v.mem, 0);
	v.nonce = os_entropy();
	(void)own_name(v.marker, is_back ? "mark-back" : "mark",
	               c->side[0].own_tag);
	v.rule.seed = os_entropy();
	v.rule.ttl_slack_ms = c->ttl_slack_ms;
	v.rule.score_bits = score_bits;
	v.is_settled = !c->is_live;
	map_init(&v.doubts, &v.mem, sizeof(struct doubt), os_entropy());
	map_init(&v.final, &v.mem, 0, os_entropy());
	buf_init(&v.page[0], &v.mem);
	buf_init(&v.page[1], &v.mem);
	rc = compare(&v, err);
	remove_marker(&v);
	for (uint32_t side = 0; side < 2; side++) {
		peer_close(&v.peer[side]);
		peer_close(&v.mark[side]);
		buf_fini(&v.page[side]);
	}
	map_fini(&v.doubts);
	map_fini(&v.final);
	free(v.items);
	return rc;
}

int
verify_run(const struct verify_conf *c, struct verify_result *ret,
           struct err *err)
{
	uint64_t began = os_mono_ns();
	struct verify_conf back = *c;
	int rc;

	memset(ret, 0, sizeof(*ret));
	ret->finds = calloc(VERIFY_LIST_MAX, sizeof(*ret->finds));
	if (ret->finds == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a comparison");
	ret->is_split = c->scope != NULL;
	rc = pass(c, false, ret, err);
	back.side[0] = c->side[1];
	back.side[1] = c->side[0];
	if (rc == 0 && c->scope != NULL)
		rc = pass(&back, true, ret, err);
	ret->took_ms = (os_mono_ns() - began) / 1000000;
	return rc;
}

void
verify_result_fini(struct verify_result *r)
{
	free(r->finds);
	r->finds = NULL;
	r->finds_n = 0;
}
