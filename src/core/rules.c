/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/rules.c: which reads are eligible for the other side.
 */
#include "core/rules.h"

#include "base/check.h"

#define PPM_ALL 1000000u
#define BIT(i)  ((uint64_t)1 << (i))

struct term {
	uint8_t fact;
	uint8_t n;
	char word[RULES_WORD_MAX];
};

struct rule {
	uint32_t facts; /* FACT_BITs it tests; 0: matches everything */
	uint32_t first; /* term */
	uint32_t n;
	uint32_t ppm;
};

struct region {
	char name[64];
};

struct rules {
	struct mem *mem;
	size_t size;
	uint64_t there; /* rules that exist */
	uint32_t facts;
	uint32_t rule_n;
	uint32_t term_n;
	uint32_t else_ppm;
	enum sticky sticky;
	enum assign assign;
	struct cidr_trie *nets; /* NULL: none */
	struct region *region;  /* of the values of nets */
	uint32_t region_n;
	char region_label[64];
	rules_locate_f *locate;
	const void *locate_arg; /* somebody else's */
	struct rule rule[RULES_MAX];
	struct term term[];
};

static const char *const fact_names[FACT_N] = {
	[FACT_KEY] = "key_prefixes", [FACT_COMMAND] = "commands",
	[FACT_COMMENT] = "comments", [FACT_DATABASE] = "databases",
	[FACT_USER] = "users",       [FACT_CLIENT] = "client_names",
	[FACT_REGION] = "regions",   [FACT_LABEL] = "labels",
	[FACT_SCHEMA] = "schemas",   [FACT_TABLE] = "tables",
	[FACT_PATH] = "paths",       [FACT_TEMPLATE] = "templates",
};

const char *
fact_name(enum fact f)
{
	REQUIRE((unsigned)f < FACT_N);
	return fact_names[f];
}

const char *
sticky_name(enum sticky s)
{
	switch (s) {
	case STICKY_KEY: return "key";
	case STICKY_SESSION: return "session";
	case STICKY_NONE: return "none";
	}
	NEVER("a stickiness that is none");
}

const char *
assign_name(enum assign a)
{
	switch (a) {
	case ASSIGN_KEY: return "key";
	case ASSIGN_SESSION: return "session";
	case ASSIGN_USER: return "user";
	case ASSIGN_CLIENT: return "client_name";
	case ASSIGN_ADDRESS: return "address";
	}
	NEVER("an assignment that is none");
}

/* ---- building ---------------------------------------------------------- */

static bool
is_within_limits(const struct rules_in *in)
{
	if (in->rule_n > RULES_MAX || in->term_n > RULES_TERMS_MAX ||
	    in->net_n > RULES_CIDR_MAX || in->else_ppm > PPM_ALL)
		return false;
	for (uint32_t i = 0; i < in->rule_n; i++) {
		if (in->ppm[i] > PPM_ALL)
			return false;
	}
	return true;
}

static void
put_terms(struct rules *r, const struct rules_in *in, uint32_t rule)
{
	struct rule *to = &r->rule[rule];

	to->first = r->term_n;
	to->ppm = in->ppm[rule];
	for (uint32_t i = 0; i < in->term_n; i++) {
		const struct rules_term *from = &in->term[i];
		struct term *t = &r->term[r->term_n];

		if (from->rule != rule || from->fact >= FACT_N)
			continue;
		t->fact = from->fact;
		t->n = (uint8_t)strlen(from->word);
		memcpy(t->word, from->word, t->n);
		to->facts |= FACT_BIT(from->fact);
		r->term_n++;
		to->n++;
	}
	if (to->n > 0 || (in->any & BIT(rule)) != 0)
		r->there |= BIT(rule);
	if ((in->skip & BIT(rule)) != 0)
		r->there &= ~BIT(rule);
	if ((r->there & BIT(rule)) != 0)
		r->facts |= to->facts;
}

/* The number of a region's name; names are few. */
static uint32_t
region_number(struct rules *r, const char *name)
{
	for (uint32_t i = 0; i < r->region_n; i++) {
		if (strcmp(r->region[i].name, name) == 0)
			return i;
	}
	memcpy(r->region[r->region_n].name, name, sizeof(r->region[0].name));
	return r->region_n++;
}

static bool
put_nets(struct rules *r, const struct rules_in *in)
{
	if (in->net_n == 0)
		return true;
	r->nets = cidr_trie_new(r->mem);
	if (r->nets == NULL)
		return false;
	for (uint32_t i = 0; i < in->net_n; i++) {
		if (cidr_trie_put(r->nets, &in->net[i].net,
		                  region_number(r, in->net[i].region)) != 0)
			return false;
	}
	return true;
}

struct rules *
rules_build(struct mem *mem, const struct rules_in *in)
{
	struct rules *r;
	size_t terms = sizeof(*r) + in->term_n * sizeof(struct term);
	size_t size;

	terms = (terms + 15) & ~(size_t)15;
	size = terms + in->net_n * sizeof(struct region);
	if (!is_within_limits(in))
		return NULL;
	r = mem_zero(mem, size);
	if (r == NULL)
		return NULL;
	r->mem = mem;
	r->size = size;
	r->region = (struct region *)(void *)((uint8_t *)r + terms);
	r->rule_n = in->rule_n;
	r->else_ppm = in->else_ppm;
	r->sticky = in->sticky;
	r->assign = in->assign;
	memcpy(r->region_label, in->region_label, sizeof(r->region_label));
	r->locate = in->locate;
	r->locate_arg = in->locate_arg;
	for (uint32_t i = 0; i < in->rule_n; i++)
		put_terms(r, in, i);
	if (!put_nets(r, in)) {
		rules_free(r);
		return NULL;
	}
	return r;
}

void
rules_free(struct rules *r)
{
	if (r == NULL)
		return;
	cidr_trie_free(r->nets);
	mem_free(r->mem, r, r->size);
}

/* ---- asking ------------------------------------------------------------ */

uint32_t
rules_facts(const struct rules *r)
{
	return r->facts;
}

enum sticky
rules_sticky(const struct rules *r)
{
	return r->sticky;
}

enum assign
rules_assign(const struct rules *r)
{
	return r->assign;
}

uint32_t
rules_max(const struct rules *r)
{
	uint32_t max = r->else_ppm;

	for (uint32_t i = 0; i < r->rule_n; i++) {
		if ((r->there & BIT(i)) != 0 && r->rule[i].ppm > max)
			max = r->rule[i].ppm;
	}
	return max;
}

static struct span
word_of(const struct term *t)
{
	return span_of(t->word, t->n);
}

static uint8_t
lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool
is_same_word(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	}
	return true;
}

/* Is the word one of the lines? */
static bool
has_line(struct span lines, struct span word)
{
	while (lines.n > 0) {
		size_t n = 0;

		while (n < lines.n && lines.p[n] != '\n')
			n++;
		if (span_eq(span_of(lines.p, n), word))
			return true;
		lines = span_skip(lines, n < lines.n ? n + 1 : n);
	}
	return false;
}

static bool
ends_piece(uint8_t c)
{
	return c == ' ' || c == ',' || c == ';' || (c >= '\t' && c <= '\r');
}

/* Is the word one of the pieces, quotes (') left out? */
static bool
has_piece(struct span text, struct span word)
{
	while (text.n > 0) {
		size_t n = 0;
		size_t same = 0;
		bool is_it = true;

		for (; n < text.n && !ends_piece(text.p[n]); n++) {
			if (text.p[n] == '\'')
				continue;
			is_it = is_it && same < word.n &&
			        text.p[n] == word.p[same];
			same++;
		}
		if (is_it && same == word.n)
			return true;
		text = span_skip(text, n < text.n ? n + 1 : n);
	}
	return false;
}

static bool
session_has(const struct term *t, const struct rules_session *s)
{
	struct span w = word_of(t);

	switch ((enum fact)t->fact) {
	case FACT_USER: return span_eq(s->user, w);
	case FACT_CLIENT:
		return s->client.n > 0 && span_has_prefix(s->client, w);
	case FACT_REGION: return span_eq(s->region, w);
	case FACT_LABEL: return has_line(s->label, w);
	case FACT_DATABASE: return span_eq(s->database, w);
	case FACT_KEY:
	case FACT_COMMENT:
	case FACT_COMMAND:
	case FACT_SCHEMA:
	case FACT_TABLE: return true; /* asked later */
	case FACT_PATH:
	case FACT_TEMPLATE:
	case FACT_N: return false;
	}
	return false;
}

/* Is the word "table", or "schema.table"? */
static bool
is_table(const struct rules_request *q, struct span w)
{
	size_t n = q->schema.n;

	if (q->table.n == 0)
		return false;
	return span_eq(q->table, w) ||
	       (n > 0 && w.n == n + 1 + q->table.n &&
	        span_has_prefix(w, q->schema) && w.p[n] == '.' &&
	        span_eq(span_skip(w, n + 1), q->table));
}

static bool
request_has(const struct term *t, const struct rules_request *q)
{
	struct span w = word_of(t);

	switch ((enum fact)t->fact) {
	case FACT_KEY: return q->key.p != NULL && span_has_prefix(q->key, w);
	case FACT_COMMAND: return is_same_word(q->command, w);
	case FACT_COMMENT: return has_piece(q->comment, w);
	case FACT_SCHEMA: return span_eq(q->schema, w);
	case FACT_TABLE: return is_table(q, w);
	case FACT_USER:
	case FACT_DATABASE:
	case FACT_CLIENT:
	case FACT_REGION:
	case FACT_LABEL:
	case FACT_PATH:
	case FACT_TEMPLATE:
	case FACT_N: return false;
	}
	return false;
}

uint64_t
rules_match_session(const struct rules *r, const struct rules_session *s)
{
	uint64_t possible = 0;

	for (uint32_t i = 0; i < r->rule_n; i++) {
		const struct rule *u = &r->rule[i];
		uint32_t found = 0;

		if ((r->there & BIT(i)) == 0)
			continue;
		for (uint32_t k = 0; k < u->n; k++) {
			const struct term *t = &r->term[u->first + k];

			if ((found & FACT_BIT(t->fact)) == 0 &&
			    session_has(t, s))
				found |= FACT_BIT(t->fact);
		}
		if (found == u->facts)
			possible |= BIT(i);
	}
	return possible;
}

static bool
matches_request(const struct rules *r, const struct rule *u,
                const struct rules_request *q)
{
	uint32_t wanted = u->facts & FACTS_REQUEST;

	for (uint32_t k = 0; wanted != 0 && k < u->n; k++) {
		const struct term *t = &r->term[u->first + k];

		if ((wanted & FACT_BIT(t->fact)) != 0 && request_has(t, q))
			wanted &= ~FACT_BIT(t->fact);
	}
	return wanted == 0;
}

uint32_t
rules_first(const struct rules *r, uint64_t possible,
            const struct rules_request *q)
{
	possible &= r->there;
	while (possible != 0) {
		uint32_t i = (uint32_t)__builtin_ctzll(possible);

		if (matches_request(r, &r->rule[i], q))
			return i;
		possible &= possible - 1;
	}
	return RULES_MAX;
}

uint32_t
rules_share(const struct rules *r, uint64_t possible,
            const struct rules_request *q)
{
	uint32_t i = rules_first(r, possible, q);

	return i < RULES_MAX ? r->rule[i].ppm : r->else_ppm;
}

bool
rules_is_fixed(const struct rules *r, uint64_t possible, uint32_t *ret)
{
	possible &= r->there;
	if (possible == 0) {
		*ret = r->else_ppm;
		return true;
	}
	/* The first one decides when it asks nothing of the request. */
	*ret = r->rule[__builtin_ctzll(possible)].ppm;
	return (r->rule[__builtin_ctzll(possible)].facts & FACTS_REQUEST) == 0;
}

/* The value of "name=value" among the labels. */
static struct span
label_of(struct span labels, struct span name)
{
	while (labels.n > 0) {
		size_t n = 0;

		while (n < labels.n && labels.p[n] != '\n')
			n++;
		if (n > name.n && span_has_prefix(labels, name) &&
		    labels.p[name.n] == '=')
			return span_of(labels.p + name.n + 1, n - name.n - 1);
		labels = span_skip(labels, n < labels.n ? n + 1 : n);
	}
	return span_of(NULL, 0);
}

struct span
rules_region(const struct rules *r, const struct cidr_address *a,
             struct span labels)
{
	uint32_t v = CIDR_NONE;
	struct span found = { NULL, 0 };

	if (r->nets != NULL)
		v = cidr_trie_find(r->nets, a);
	if (v != CIDR_NONE)
		found = span_str(r->region[v].name);
	else if (r->locate != NULL && a->is_known)
		r->locate(r->locate_arg, a, &found);
	return found.n > 0 ? found
	                   : label_of(labels, span_str(r->region_label));
}
