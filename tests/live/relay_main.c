/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/relay_main.c: the relay alone, in world loops, for its own tests.
 *
 *     relay_main LISTEN OLD-PORT NEW-PORT [WORKERS]
 *
 * Says its port, then obeys lines on stdin and prints the relays' mails:
 *     route PPM both|authority [TIMEOUT-MS]    hold MS    release old|new
 *     behind 0|1    board PASSED-OLD PASSED-NEW UNSETTLED HISTORY    stop
 *     show    stats    user NAME PASSWORD (before anything else)
 *     release old|new SCOPE    scope SCOPE (no hold)    reverse PASSED-NEW HISTORY
 *     where SCOPE is none, a share in ppm, or prefixes with commas between them
 *     rule N PPM FACT WORD    net CIDR REGION    rules ELSE-PPM STICKY ASSIGN
 *     norules    strict 0|1    shadow PPM INFLIGHT TIMEOUT-MS    (words of `rule` and `net` are used up by `rules`)
 * Environment: RELAY_USER (NAME, NAME-r reads, NAME-w writes in a split), RELAY_LABELS (name=value,...), RELAY_PROXY (a TLV's
 * type, or 1).
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/redis/relay/relay.h"
#include "world/os/loop.h"
#include "world/os/pool.h"

#define WORKERS_MAX 8
#define SCOPES_MAX  64

struct stage {
	struct relay_conf conf[WORKERS_MAX];
	struct board board;
	struct board reverse;
	struct traffic traffic[WORKERS_MAX];
	struct loop *loops[WORKERS_MAX];
	struct crowd crowd;
	struct inbox *inbox;
	struct route route;
	uint64_t epoch;
	uint32_t n;
	struct rules_in in;
	struct rules_term term[RULES_TERMS_MAX];
	struct rules_net net[64];
	struct pool pool;
	struct rules
		*old; /* of the route before: freed when all have left it */
	uint32_t acks;
	struct scope *scope[SCOPES_MAX]; /* one for each word */
	char scope_word[SCOPES_MAX][120];
	uint32_t scope_n;
};

static struct stage st;

static void
set_side(struct side_conf *c, const char *name, const char *port)
{
	(void)snprintf(c->at.host, sizeof(c->at.host), "127.0.0.1");
	c->at.port = (uint16_t)strtoul(port, NULL, 10);
	(void)snprintf(c->label, sizeof(c->label), "%s 127.0.0.1:%s", name,
	               port);
}

static void
post(const struct mail *m)
{
	for (uint32_t i = 0; i < st.n; i++)
		loop_post(st.loops[i], m);
}

static void
stats(void)
{
	for (uint32_t i = 0; i < st.n; i++) {
		const struct traffic *t = &st.traffic[i];

		printf("stats requests=%lu reads_old=%lu reads_new=%lu "
		       "writes_old=%lu writes_new=%lu errors_old=%lu "
		       "errors_new=%lu lost_old=%lu lost_new=%lu retries=%lu "
		       "refused=%lu clients=%u blocked=%u subscribed=%u "
		       "multi=%u held=%u up_old=%u up_new=%u hold_max_us=%lu "
		       "mem=%lu sent=%lu same=%lu different=%lu rechecked=%lu "
		       "unstable=%lu scripts=%lu",
		       t->requests, t->reads[0], t->reads[1], t->writes[0],
		       t->writes[1], t->errors[0], t->errors[1], t->lost[0],
		       t->lost[1], t->read_retries, t->refused, t->clients,
		       t->blocked, t->subscribed, t->in_transaction, t->held,
		       t->upstreams[0], t->upstreams[1], t->hold_max_ns / 1000,
		       t->mem, t->shadow_sent, t->shadow_same,
		       t->shadow_different, t->shadow_rechecked,
		       t->shadow_unstable, t->scripts);
		for (int why = 0; why < SHADOW_DROP_N; why++)
			printf(" drop_%s=%lu",
			       shadow_drop_name((enum shadow_drop)why),
			       t->shadow_dropped[why]);
		printf("\n");
	}
}

/* ---- rules --------------------------------------------------------------- */

static uint32_t
word_of(const char *word, const char *(*name)(int), uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(name((int)i), word) == 0)
			return i;
	}
	(void)fprintf(stderr, "relay_main: what is %s?\n", word);
	exit(2);
}

static const char *
fact_word(int i)
{
	return fact_name((enum fact)i);
}

static const char *
sticky_word(int i)
{
	return sticky_name((enum sticky)i);
}

static const char *
assign_word(int i)
{
	return assign_name((enum assign)i);
}

static void
adopt(const struct rules *rules)
{
	struct mail m = { .kind = MAIL_ROUTE };

	/* One change at a time: the block before the last is gone. */
	if (st.old != NULL) {
		(void)fprintf(stderr, "relay_main: rules too fast\n");
		exit(2);
	}
	// The block is ours to free; relays only read it.
	st.old = (struct rules *)(uintptr_t)st.route.rules;
	st.acks = 0;
	st.route.generation++;
	st.route.rules = rules;
	st.route.read_ppm = rules == NULL ? 0 : rules_max(rules);
	m.route = st.route;
	post(&m);
}

static bool
rule_line(const char *text)
{
	char a[RULES_WORD_MAX] = "";
	char b[64] = "";
	unsigned n;
	unsigned ppm;

	if (sscanf(text, "rule %u %u %63s %119s", &n, &ppm, b, a) == 4) {
		struct rules_term *t = &st.term[st.in.term_n++];

		t->rule = (uint8_t)n;
		t->fact = (uint8_t)word_of(b, fact_word, FACT_N);
		memcpy(t->word, a, sizeof(a));
		st.in.ppm[n] = ppm;
		if (st.in.rule_n <= n)
			st.in.rule_n = n + 1;
	} else if (sscanf(text, "net %119s %63s", a, b) == 2) {
		struct rules_net *net = &st.net[st.in.net_n++];
		struct err err;

		if (cidr_parse(a, &net->net, &err) != 0)
			exit(2);
		memcpy(net->region, b, sizeof(b));
	} else if (sscanf(text, "rules %u %119s %63s", &ppm, a, b) == 3) {
		st.in.else_ppm = ppm;
		st.in.sticky =
			(enum sticky)word_of(a, sticky_word, STICKY_NONE + 1);
		st.in.assign = (enum assign)word_of(b, assign_word,
		                                    ASSIGN_ADDRESS + 1);
		st.in.term = st.term;
		st.in.net = st.net;
		memcpy(st.in.region_label, "region", 7);
		adopt(rules_build(&st.pool.mem, &st.in));
		st.in = (struct rules_in){ .rule_n = 0 };
	} else if (strncmp(text, "norules", 7) == 0) {
		adopt(NULL);
	} else {
		return false;
	}
	return true;
}

/* ---- a split ------------------------------------------------------------- */

static struct scope *
make_scope(const char *word)
{
	struct span prefix[SCOPE_PREFIX_MAX];
	struct scope_in in = { .salt = st.route.salt, .prefix = prefix };

	if (word[0] >= '0' && word[0] <= '9') {
		in.ppm = (uint32_t)strtoul(word, NULL, 10);
		return scope_build(&st.pool.mem, &in);
	}
	while (*word != '\0') {
		size_t n = strcspn(word, ",");

		prefix[in.prefix_n++] = span_of(word, n);
		word += n + (word[n] != '\0');
	}
	return scope_build(&st.pool.mem, &in);
}

static const struct scope *
scope_of(const char *word)
{
	if (strcmp(word, "none") == 0 || word[0] == '\0')
		return NULL;
	for (uint32_t i = 0; i < st.scope_n; i++) {
		if (strcmp(st.scope_word[i], word) == 0)
			return st.scope[i];
	}
	if (st.scope_n == SCOPES_MAX) {
		(void)fprintf(stderr, "relay_main: too many scopes\n");
		exit(2);
	}
	(void)snprintf(st.scope_word[st.scope_n], sizeof(st.scope_word[0]),
	               "%s", word);
	st.scope[st.scope_n] = make_scope(word);
	return st.scope[st.scope_n++];
}

/* MAIL_ROUTE or MAIL_RELEASE with the next route. */
static void
next_route(enum mail_kind kind)
{
	struct mail m = { .kind = kind };

	st.route.generation++;
	st.route.epoch = st.epoch;
	m.route = st.route;
	post(&m);
}

static bool
split_line(const char *text)
{
	char side[8] = "";
	char word[120] = "";
	unsigned long v[2] = { 0, 0 };

	if (sscanf(text, "scope %119s", word) == 1) {
		st.route.scope = scope_of(word);
		next_route(MAIL_ROUTE);
	} else if (sscanf(text, "release %7s %119s", side, word) >= 1) {
		st.route.authority = side[0] == 'n' ? SIDE_NEW : SIDE_OLD;
		st.route.scope = scope_of(word);
		next_route(MAIL_RELEASE);
	} else if (sscanf(text, "reverse %lu %lu", &v[0], &v[1]) == 2) {
		atomic_store(&st.reverse.passed[SIDE_NEW], v[0]);
		atomic_store(&st.reverse.history, v[1]);
		for (uint32_t i = 0; i < st.n; i++)
			loop_poke(st.loops[i]);
	} else {
		return false;
	}
	return true;
}

static void
line(char *text)
{
	struct mail m = { .kind = MAIL_ROUTE };
	char a[32] = "";
	char b[32] = "";
	unsigned long v[4] = { 0, 0, 0, 0 };

	if (rule_line(text) || split_line(text))
		return;
	if (sscanf(text, "strict %lu", &v[0]) == 1) {
		st.route.generation++;
		st.route.strict = v[0] != 0;
		m.route = st.route;
		post(&m);
		return;
	}
	if (sscanf(text, "shadow %lu %lu %lu", &v[0], &v[1], &v[2]) == 3) {
		st.route.generation++;
		st.route.shadow = (struct route_shadow){
			.ppm = (uint32_t)v[0],
			.inflight = (uint32_t)v[1],
			.bytes = 1u << 20,
			.timeout_ms = (uint32_t)v[2],
		};
		m.route = st.route;
		post(&m);
		return;
	}
	if (sscanf(text, "route %lu %31s %lu", &v[0], a, &v[1]) >= 2) {
		st.route.generation++;
		st.route.read_ppm = (uint32_t)v[0];
		st.route.ack = a[0] == 'b' ? ACK_BOTH : ACK_AUTHORITY;
		st.route.ack_timeout_ms = (uint32_t)v[1];
		m.route = st.route;
		post(&m);
	} else if (sscanf(text, "hold %lu", &v[0]) == 1) {
		m.kind = MAIL_HOLD;
		m.epoch = ++st.epoch;
		m.deadline_ns = os_mono_ns() + v[0] * 1000000ul;
		post(&m);
	} else if (sscanf(text, "behind %lu", &v[0]) == 1) {
		m.kind = MAIL_BEHIND;
		m.flag = (uint32_t)v[0];
		post(&m);
	} else if (sscanf(text, "board %lu %lu %lu %lu", &v[0], &v[1], &v[2],
	                  &v[3]) == 4) {
		atomic_store(&st.board.passed[0], v[0]);
		atomic_store(&st.board.passed[1], v[1]);
		atomic_store(&st.board.unsettled, v[2]);
		atomic_store(&st.board.history, v[3]);
		for (uint32_t i = 0; i < st.n; i++)
			loop_poke(st.loops[i]);
	} else if (strncmp(text, "stop", 4) == 0) {
		m.kind = MAIL_STOP;
		post(&m);
	} else if (strncmp(text, "stats", 5) == 0) {
		stats();
	}
	(void)b;
	(void)fflush(stdout);
}

static void
say_mails(void)
{
	static const char *names[] = {
		[MAIL_ROUTE_ACK] = "route_ack",
		[MAIL_DRAINED] = "drained",
		[MAIL_LATE] = "late",
		[MAIL_BEHIND_ACK] = "behind_ack",
		[MAIL_MARKED] = "marked",
		[MAIL_DIFFERENT] = "different",
		[MAIL_STOPPED] = "stopped",
	};
	struct mail m;

	while (inbox_take(st.inbox, &m)) {
		const char *name = NULL;

		if (m.kind == MAIL_ROUTE_ACK &&
		    m.route.generation == st.route.generation &&
		    ++st.acks == st.n) {
			rules_free(st.old);
			st.old = NULL;
		}
		if ((size_t)m.kind < sizeof(names) / sizeof(names[0]))
			name = names[m.kind];
		printf("mail %s %u %lu %u %s\n", name == NULL ? "?" : name,
		       m.who, m.epoch, m.flag,
		       m.kind == MAIL_DIFFERENT ? m.text : "");
	}
	(void)fflush(stdout);
}

static int
open_all(const char *listen, const char *old, const char *new)
{
	int fds[WORKERS_MAX];
	uint16_t port = 0;
	struct err err = { .code = ERR_NONE };
	const char *user = getenv("RELAY_USER");

	st.inbox = inbox_new(&err);
	atomic_init(&st.board.unsettled, 1);
	st.route = (struct route){ .generation = 1, .salt = 7 };
	if (listen_open(listen, st.n, fds, &port, &err) != 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	for (uint32_t i = 0; i < st.n; i++) {
		struct relay_conf *c = &st.conf[i];
		struct loop_conf lc = { .machine = &relay_machine,
			                .init = relay_init,
			                .arg = c,
			                .to_control = st.inbox,
			                .crowd = &st.crowd,
			                .workers = &st.crowd,
			                .worker_at = i,
			                .listen_fds = &fds[i],
			                .listen_n = 1,
			                .is_patient = true,
			                .name = "relay" };

		set_side(&c->side[0], "old", old);
		set_side(&c->side[1], "new", new);
		for (int s = 0; user != NULL && s < SIDE_N; s++) {
			(void)snprintf(c->side[s].own_user, 64, "%s", user);
			(void)snprintf(c->side[s].own_pass, 80, "secret");
			(void)snprintf(c->side[s].reader_user, 64, "%s-r",
			               user);
			(void)snprintf(c->side[s].reader_pass, 80, "secret");
			(void)snprintf(c->side[s].writer_user, 64, "%s-w",
			               user);
			(void)snprintf(c->side[s].writer_pass, 80, "secret");
		}
		if (getenv("RELAY_LABELS") != NULL)
			(void)snprintf(c->labels, sizeof(c->labels), "%s",
			               getenv("RELAY_LABELS"));
		for (char *p = c->labels; *p != '\0'; p++)
			*p = *p == ',' ? '\n' : *p;
		if (getenv("RELAY_PROXY") != NULL) {
			c->proxy = true;
			c->proxy_tlv = (uint8_t)strtoul(getenv("RELAY_PROXY"),
			                                NULL, 10);
		}
		c->board = &st.board;
		c->reverse = &st.reverse;
		c->traffic = &st.traffic[i];
		c->first_route = st.route;
		c->who = i;
		(void)snprintf(c->id, sizeof(c->id), "test");
		st.loops[i] = loop_new(&lc, &err);
		if (st.loops[i] == NULL) {
			(void)fprintf(stderr, "%s\n", err.text);
			return 1;
		}
		st.crowd.loops[st.crowd.n++] = st.loops[i];
	}
	for (uint32_t i = 0; i < st.n; i++) {
		if (loop_start(st.loops[i], &err) != 0)
			return 1;
	}
	printf("port %u\n", port);
	(void)fflush(stdout);
	return 0;
}

int
main(int argc, char **argv)
{
	char text[256];

	if (argc < 4)
		return 2;
	st.n = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
	if (st.n == 0 || st.n > WORKERS_MAX ||
	    open_all(argv[1], argv[2], argv[3]))
		return 1;
	pool_init(&st.pool, 0);
	for (;;) {
		struct pollfd p[2] = { { .fd = 0, .events = POLLIN },
			               { .fd = inbox_fd(st.inbox),
			                 .events = POLLIN } };

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents != 0)
			say_mails();
		if (p[0].revents != 0) {
			ssize_t n = 0;

			while (n < (ssize_t)sizeof(text) - 1 &&
			       read(0, text + n, 1) == 1 && text[n] != '\n')
				n++;
			if (n == 0 && (p[0].revents & POLLHUP))
				break;
			text[n] = '\0';
			if (strcmp(text, "quit") == 0)
				break;
			line(text);
		}
	}
	for (uint32_t i = 0; i < st.n; i++)
		loop_stop(st.loops[i]);
	for (uint32_t i = 0; i < st.n; i++)
		loop_free(st.loops[i]);
	inbox_free(st.inbox);
	rules_free(st.old);
	rules_free((struct rules *)(uintptr_t)st.route.rules);
	for (uint32_t i = 0; i < st.scope_n; i++)
		scope_free(st.scope[i]);
	pool_fini(&st.pool);
	return 0;
}
