/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/rules.h: which reads are eligible for the other side, beyond one share.
 *
 * An immutable set of rules in their order; the first one that matches gives the
 * share. A rule tests facts: within a fact any of its words, between facts all.
 * Rules choose who is *eligible*; whether a read may really go there is decided
 * by causality afterwards.
 *
 * A route points to a block. Whoever made the block (control) keeps it until
 * every relay has acknowledged a route of a later generation: a relay looks at
 * the block of its own route only, and acknowledges after it has let the block
 * before go.
 *
 * Owns:   its one block, from the struct mem it was built with.
 * Limits: RULES_MAX rules, RULES_TERMS_MAX words.
 * Thread: built by one; then read by any.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"
#include "core/cidr.h"

#define RULES_MAX       64  /* a bit each */
#define RULES_TERMS_MAX 512 /* words of all rules: looked at one by one */
#define RULES_WORD_MAX  120 /* bytes of a word, NUL included */
#define RULES_CIDR_MAX  4096

enum fact {
	/* of a request */
	FACT_KEY,     /* prefix of a key                                    */
	FACT_COMMAND, /* name of a command                                  */
	FACT_COMMENT, /* a word of the comment that the text begins with    */
	/* of a session */
	FACT_USER,     /* who logged in                                    */
	FACT_DATABASE, /* that it connected to                             */
	FACT_CLIENT,   /* client name, application name: prefix            */
	FACT_REGION,
	FACT_LABEL, /* "name=value" of the interlay                       */
	/* of a request of SQL */
	FACT_SCHEMA,
	FACT_TABLE, /* "name", or "schema.name" */
	/* of other engines, and of templates */
	FACT_PATH,
	FACT_TEMPLATE,
	FACT_N,
};

#define FACT_BIT(f)    (1u << (f))
#define FACTS_RELATION (FACT_BIT(FACT_SCHEMA) | FACT_BIT(FACT_TABLE))
#define FACTS_REQUEST                                  \
	(FACT_BIT(FACT_KEY) | FACT_BIT(FACT_COMMAND) | \
	 FACT_BIT(FACT_COMMENT) | FACTS_RELATION)
#define FACTS_SESSION                                                          \
	(FACT_BIT(FACT_USER) | FACT_BIT(FACT_CLIENT) | FACT_BIT(FACT_REGION) | \
	 FACT_BIT(FACT_LABEL) | FACT_BIT(FACT_DATABASE))

/* How long a decision holds. */
enum sticky {
	STICKY_KEY,     /* by what is hashed, at each request              */
	STICKY_SESSION, /* a session that began on the authority stays     */
	STICKY_NONE,    /* each read by itself                             */
};

/* What is hashed against the share. */
enum assign {
	ASSIGN_KEY,
	ASSIGN_SESSION,
	ASSIGN_USER,
	ASSIGN_CLIENT,
	ASSIGN_ADDRESS,
};

const char *fact_name(enum fact f); /* "key_prefixes" */
const char *sticky_name(enum sticky s);
const char *assign_name(enum assign a);

/* One word of one rule. */
struct rules_term {
	uint8_t rule;
	uint8_t fact;
	char word[RULES_WORD_MAX];
};

/* Addresses of a region (its name as in FACT_REGION words). */
struct rules_net {
	struct cidr net;
	char region[64];
};

/* The region of an address by what somebody else knows of it (a database);
 * empty: none. Called by relays: any thread, no waiting. */
typedef void rules_locate_f(const void *arg, const struct cidr_address *a,
                            struct span *ret);

struct rules_in {
	const struct rules_term *term;
	uint32_t term_n;
	uint32_t rule_n;
	uint32_t ppm[RULES_MAX]; /* share of a rule                        */
	uint64_t skip;           /* rules that are not there               */
	uint64_t any;            /* rules without words match everything
	                          * (else nothing)                         */
	uint32_t else_ppm;       /* no rule matches                        */
	enum sticky sticky;
	enum assign assign;
	const struct rules_net *net;
	uint32_t net_n;
	/* Regions where no net tells; must outlive the block. NULL: none. */
	rules_locate_f *locate;
	const void *locate_arg;
	char region_label[64]; /* of the interlay: where nothing else tells */
};

struct rules;

/* NULL: no memory, or beyond the limits. */
struct rules *rules_build(struct mem *mem, const struct rules_in *in);
void rules_free(struct rules *r); /* NULL is fine */

/* FACT_BITs that some rule tests. */
uint32_t rules_facts(const struct rules *r);
enum sticky rules_sticky(const struct rules *r);
enum assign rules_assign(const struct rules *r);
/* The largest share that any request can get. */
uint32_t rules_max(const struct rules *r);

/* What is known of a session; empty spans where nothing is. */
struct rules_session {
	struct span user;
	struct span client;
	struct span region;
	struct span label; /* "name=value" lines, '\n' between them      */
	struct span database;
};

/* What is known of a request; empty spans where nothing is. */
struct rules_request {
	struct span command; /* in any case                               */
	struct span key;
	struct span comment; /* inside of the one in front of it          */
	struct span schema;  /* of a relation that it touches             */
	struct span table;   /* its name                                  */
};

/* Which rules can still match for it: a bit each. To be kept until the facts or
 * the block change. */
uint64_t rules_match_session(const struct rules *r,
                             const struct rules_session *s);

/* The share of a request; possible: the above. */
uint32_t rules_share(const struct rules *r, uint64_t possible,
                     const struct rules_request *q);
/* The first rule that matches; RULES_MAX: none does. */
uint32_t rules_first(const struct rules *r, uint64_t possible,
                     const struct rules_request *q);
/* Does the answer of rules_share depend on the request? If not it is *ret. */
bool rules_is_fixed(const struct rules *r, uint64_t possible, uint32_t *ret);

/* The region of an address by the nets, by locate(), else the one that a label of
 * the interlay says ("name=value" lines); empty: none. Valid with the block and
 * the labels. */
struct span rules_region(const struct rules *r, const struct cidr_address *a,
                         struct span labels);
