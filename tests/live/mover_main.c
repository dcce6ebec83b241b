/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/mover_main.c: the mover alone, between two real servers.
 *
 *   mover_main OLD_PORT NEW_PORT [option=value ...]      (or paths of sockets)
 *
 * Reads orders from stdin, one a line: barrier EPOCH POSITION | thaw EPOCH | flip
 * EPOCH old|new | heartbeat TOKEN | scope PPM|none GAINS POSITION TOKEN | pause |
 * resume | show | stop. Writes a JSON object a line: each mail of the mover, and
 * the board 20 times a second. Stops at the end of stdin as well. A scope is a
 * share of the slots, with the salt SALT. With database=NAME [user=NAME] [id=ID]
 * [build=FILE] the servers are PostgreSQL's.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "core/scope.h"
#include "engine/postgres/mover/mover.h"
#include "engine/redis/mover/mover.h"
#include "world/os/loop.h"

static const char *const phases[] = { "idle",        "attaching", "copying",
	                              "catching_up", "in_step",   "broken" };

static void
print_mail(const struct mail *m)
{
	const char *kind = m->kind == MAIL_MOVE_PHASE       ? "phase"
	                   : m->kind == MAIL_PASSED         ? "passed"
	                   : m->kind == MAIL_PROGRESS       ? "progress"
	                   : m->kind == MAIL_HEARTBEAT_BACK ? "heartbeat"
	                   : m->kind == MAIL_TROUBLE        ? "trouble"
	                   : m->kind == MAIL_STOPPED        ? "stopped"
	                                                    : "?";

	printf("{\"mail\":\"%s\",\"phase\":\"%s\",\"epoch\":%llu,"
	       "\"position\":%llu,\"token\":%llu,\"side\":\"%s\","
	       "\"flag\":%u,\"text\":\"",
	       kind, phases[m->phase], (unsigned long long)m->epoch,
	       (unsigned long long)m->position, (unsigned long long)m->token,
	       side_name(m->side), m->flag);
	for (const char *p = m->text; *p != '\0'; p++)
		if (*p != '"' && *p != '\\' && *p >= ' ')
			putchar(*p);
	printf("\"}\n");
}

#define U(x) ((unsigned long long)atomic_load(&b->x))

static struct board board;

/* The machine, and the same that shows itself between two batches when asked. */
static const struct machine *plain;
static struct machine shown;
static atomic_bool wants_show;

static void
step_and_show(void *self, struct port *port, const struct event *ev)
{
	struct mem mem;
	struct buf text;

	plain->step(self, port, ev);
	if (ev->kind != EV_BATCH || !atomic_exchange(&wants_show, false))
		return;
	os_mem_init(&mem, 0);
	buf_init(&text, &mem);
	plain->show(self, &text);
	fprintf(stderr, "%.*s", (int)buf_len(&text),
	        (const char *)buf_span(&text).p);
	buf_fini(&text);
}

#define SALT   7
#define SCOPES 256

static struct scope *scopes[SCOPES];
static size_t scope_n;

/* "none": NULL, every key. Lives until the end. */
static const struct scope *
scope_of(const char *ppm)
{
	static struct mem mem;
	struct scope_in in = { .ppm = (uint32_t)strtoul(ppm, NULL, 10),
		               .salt = SALT };

	if (strcmp(ppm, "none") == 0)
		return NULL;
	if (scope_n == 0)
		os_mem_init(&mem, 0);
	REQUIRE(scope_n < SCOPES);
	scopes[scope_n] = scope_build(&mem, &in);
	REQUIRE(scopes[scope_n] != NULL);
	return scopes[scope_n++];
}

static void
print_board(struct board *b)
{
	printf("{\"board\":1,\"passed\":[%llu,%llu],\"unsettled\":%llu,"
	       "\"history\":%llu,\"records\":%llu,\"bytes\":%llu,"
	       "\"total\":%llu,\"started\":%llu,\"ended\":%llu,"
	       "\"seen\":%llu,\"units\":%llu,\"lag_bytes\":%llu,"
	       "\"lag_ms\":%llu,\"pending\":%llu,\"repaired\":%llu,"
	       "\"conflicts\":%llu,\"mem\":%llu}\n",
	       U(passed[0]), U(passed[1]), U(unsettled), U(history),
	       U(copied_records), U(copied_bytes), U(total_records),
	       U(copy_started_ns), U(copy_ended_ns), U(stream_position),
	       U(stream_units), U(lag_bytes), U(lag_ms), U(pending_records),
	       U(repaired), U(conflicts), U(mover_mem));
}

/* Whole; kept until the end. */
static const char *
read_file(const char *path)
{
	static char text[1 << 20];
	FILE *f = fopen(path, "r");
	size_t n;

	REQUIRE(f != NULL);
	n = fread(text, 1, sizeof(text) - 1, f);
	REQUIRE(n < sizeof(text) - 1);
	text[n] = '\0';
	fclose(f);
	return text;
}

static bool
option(struct mover_conf *c, enum side *from, const char *arg)
{
	const char *v = strchr(arg, '=');
	size_t n;

	if (v == NULL)
		return false;
	n = (size_t)(v - arg);
	v++;
#define IS(name) (n == strlen(name) && strncmp(arg, name, n) == 0)
	if (IS("mode"))
		c->copy_mode = strcmp(v, "rdb") == 0    ? MOVER_FILL_RDB
		               : strcmp(v, "scan") == 0 ? MOVER_FILL_SCAN
		                                        : MOVER_FILL_AUTO;
	else if (IS("rule"))
		c->rule = strcmp(v, "none") == 0    ? MOVER_RULE_NONE
		          : strcmp(v, "merge") == 0 ? MOVER_RULE_MERGE
		                                    : MOVER_RULE_REPLACE;
	else if (IS("from"))
		*from = strcmp(v, "new") == 0 ? SIDE_NEW : SIDE_OLD;
	else if (IS("one_shot"))
		c->one_shot = true;
	else if (IS("fill_done"))
		c->fill_done = true;
	else if (IS("refill"))
		c->refill = true;
	else if (IS("keep_extra"))
		c->keep_extra = true;
	else if (IS("scope"))
		c->scope = scope_of(v);
	else if (IS("scope_side"))
		c->scope_side = strcmp(v, "new") == 0 ? SIDE_NEW : SIDE_OLD;
	else if (IS("naive"))
		c->naive = true;
	else if (IS("no_target_feed"))
		c->no_target_feed = true;
	else if (IS("by_marks"))
		board.by_marks[SIDE_OLD] = board.by_marks[SIDE_NEW] = true;
	else if (IS("drop_marks"))
		c->drop_marks = true;
	else if (IS("ignore_uncertain"))
		c->ignore_uncertain = true;
	else if (IS("marks"))
		c->limits.marks = (size_t)strtoull(v, NULL, 10);
	else if (IS("window"))
		c->limits.window = (size_t)strtoull(v, NULL, 10);
	else if (IS("pace")) /* fast without, see main() */
		c->pace = strcmp(v, "gentle") == 0 ? MOVER_PACE_GENTLE
		                                   : MOVER_PACE_FAST;
	else if (IS("turn"))
		c->limits.turn = (size_t)strtoull(v, NULL, 10);
	else if (IS("rdb_max"))
		c->limits.rdb_max = (uint32_t)strtoull(v, NULL, 10);
	else if (IS("tx"))
		c->limits.writer_tx = (size_t)strtoull(v, NULL, 10);
	else if (IS("chunk"))
		c->limits.chunk_min = (size_t)strtoull(v, NULL, 10);
	else if (IS("database") || IS("user")) {
		for (int i = 0; i < SIDE_N; i++) {
			if (IS("user"))
				snprintf(c->side[i].url_user,
				         sizeof(c->side[i].url_user), "%s", v);
			else
				snprintf(c->side[i].database,
				         sizeof(c->side[i].database), "%s", v);
		}
	} else if (IS("id"))
		snprintf(c->id, sizeof(c->id), "%s", v);
	else if (IS("build"))
		c->build = read_file(v);
	else if (IS("rx"))
		c->limits.stream_rx = (size_t)strtoull(v, NULL, 10);
	else if (IS("old") || IS("new")) {
		/* a resume point: position:history */
		enum side side = IS("new") ? SIDE_NEW : SIDE_OLD;
		char *text = NULL;

		c->position[side] = strtoull(v, &text, 10);
		snprintf(c->history[side], sizeof(c->history[0]), "%s",
		         text + 1);
	} else
		return false;
	return true;
}

static void
order(struct loop *l, char *line)
{
	struct mail m = { .kind = MAIL_STOP };
	char word[32] = "";
	char arg[32] = "";
	unsigned long long a = 0;
	unsigned long long b = 0;

	if (sscanf(line, "%31s %llu %llu", word, &a, &b) < 1)
		return;
	if (strcmp(word, "barrier") == 0) {
		m = (struct mail){ .kind = MAIL_BARRIER,
			           .epoch = a,
			           .position = b };
		/* Without a stream positions are numbers of the board. */
		if (board.by_marks[SIDE_OLD])
			m.position = board_mark(&board);
	} else if (strcmp(word, "thaw") == 0) {
		m = (struct mail){ .kind = MAIL_THAW, .epoch = a };
	} else if (strcmp(word, "flip") == 0) {
		(void)sscanf(line, "%*s %*u %31s", arg);
		m = (struct mail){ .kind = MAIL_FLIP,
			           .epoch = a,
			           .side = strcmp(arg, "new") == 0 ? SIDE_NEW
			                                           : SIDE_OLD };
	} else if (strcmp(word, "heartbeat") == 0) {
		m = (struct mail){ .kind = MAIL_HEARTBEAT, .token = a };
	} else if (strcmp(word, "scope") == 0) {
		m.kind = MAIL_SCOPE;
		(void)sscanf(line, "%*s %31s %u %llu %llu", arg, &m.flag, &a,
		             &b);
		m.scope = scope_of(arg);
		m.position = a;
		m.token = b;
	} else if (strcmp(word, "pause") == 0) {
		m.kind = MAIL_MOVE_PAUSE;
	} else if (strcmp(word, "resume") == 0) {
		m.kind = MAIL_MOVE_RESUME;
	} else if (strcmp(word, "show") == 0) {
		atomic_store(&wants_show, true);
		loop_poke(l);
		return;
	}
	loop_post(l, &m);
}

static void
on_check(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

/* Until MAIL_STOPPED. */
static void
serve(struct loop *l, struct inbox *ib, struct board *b)
{
	static char text[65536];
	size_t have = 0;
	bool stop = false;

	for (;;) {
		struct pollfd p[2] = { { .fd = inbox_fd(ib), .events = POLLIN },
			               { .fd = stop ? -1 : 0,
			                 .events = POLLIN } };
		struct mail m;

		(void)poll(p, 2, 50);
		if (p[1].revents != 0) {
			ssize_t n =
				read(0, text + have, sizeof(text) - have - 1);
			char *eol;

			if (n <= 0) {
				char bye[] = "stop";

				order(l, bye);
				stop = true;
				n = 0;
			}
			have += (size_t)n;
			text[have] = '\0';
			while ((eol = strchr(text, '\n')) != NULL) {
				*eol = '\0';
				order(l, text);
				have -= (size_t)(eol + 1 - text);
				memmove(text, eol + 1, have + 1);
			}
		}
		print_board(b);
		while (inbox_take(ib, &m)) {
			print_mail(&m);
			if (m.kind == MAIL_STOPPED)
				return;
		}
		fflush(stdout);
	}
}

int
main(int argc, char **argv)
{
	static struct mover_conf conf = { .board = &board,
		                          .pace = MOVER_PACE_FAST,
		                          .rule = MOVER_RULE_REPLACE,
		                          .id = "test" };
	enum side from = SIDE_OLD;
	struct err err = { 0 };
	struct mail move = { .kind = MAIL_MOVE };
	struct loop_conf lc = { .machine = &mover_machine,
		                .init = mover_init,
		                .arg = &conf,
		                .name = "mover" };
	struct loop *l;

	if (argc < 3)
		return 2;
	check_on_fail(on_check);
	atomic_store(&board.unsettled, 1);
	for (int i = 0; i < SIDE_N; i++) {
		struct side_conf *s = &conf.side[i];

		bool is_path = argv[1 + i][0] == '/';

		snprintf(s->at.host, sizeof(s->at.host), "%s",
		         is_path ? argv[1 + i] : "127.0.0.1");
		s->at.port =
			is_path ? 0 : (uint16_t)strtoul(argv[1 + i], NULL, 10);
		snprintf(s->label, sizeof(s->label), "%s redis://127.0.0.1:%u",
		         side_name((enum side)i), s->at.port);
	}
	for (int i = 3; i < argc; i++)
		if (!option(&conf, &from, argv[i])) {
			fprintf(stderr, "what is %s?\n", argv[i]);
			return 2;
		}
	lc.to_control = inbox_new(&err);
	if (conf.side[0].database[0] != '\0') {
		lc.machine = &pg_mover_machine;
		lc.init = pg_mover_init;
	}
	plain = lc.machine;
	shown = *plain;
	shown.step = step_and_show;
	lc.machine = &shown;
	if (lc.to_control == NULL || (l = loop_new(&lc, &err)) == NULL ||
	    loop_start(l, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	move.side = from;
	loop_post(l, &move);
	serve(l, lc.to_control, &board);
	printf("{\"mem_max\":%zu}\n", loop_mem(l)->used_max);
	loop_stop(l);
	loop_free(l);
	inbox_free(lc.to_control);
	while (scope_n > 0)
		scope_free(scopes[--scope_n]);
	return 0;
}
