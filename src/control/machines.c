/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/machines.c: relays and mover: made, told, ended.
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/parts.h"
#include "control/run_parts.h"
#include "core/marks.h"
#include "engine/mover.h"
#include "world/os/disk.h"

enum side
run_authority(const struct run *r)
{
	struct authority a = journal_authority(r->journal);

	return authority_side(a.state);
}

/* When a write is acknowledged, now. */
static enum ack_mode
ack_now(const struct run *r)
{
	bool soaks = run_authority(r) == SIDE_NEW;

	/* Nobody waits for a side that has never been in step, or is let go. */
	if (!r->dialect->can_ack_both || !r->was_in_step ||
	    r->state == LIFE_COMPLETED || r->mover == NULL)
		return ACK_AUTHORITY;
	if (soaks || r->write.mode == WRITE_DUAL)
		return r->write.ack;
	return ACK_AUTHORITY;
}

struct route
machines_route(struct run *r)
{
	struct authority a = journal_authority(r->journal);
	struct route ret;

	status_count_reads(r);
	ret = (struct route){
		.generation = ++r->generation,
		.epoch = a.epoch,
		.authority = authority_side(a.state),
		.read_ppm = r->read_ppm,
		.ack = ack_now(r),
		.ack_timeout_ms = r->write.ack_timeout_ms,
		.salt = divide_salt(r),
		.scope = divide_block(r, a.scope),
		.moved = divide_units(r, a.scope),
	};
	ret.own_only = r->is_part && ret.ack == ACK_BOTH &&
	               r->write.mode == WRITE_DUAL;
	r->routed_ns = os_mono_ns();
	r->acked_ns = 0;
	REQUIRE(!authority_is_split(&a) || ret.scope != NULL || ret.moved != 0);
	rulebook_fill(r, &ret);
	return ret;
}

void
machines_tell(struct run *r, const struct mail *m)
{
	for (uint32_t i = 0; i < r->relay_n; i++)
		loop_post(r->relay[i], m);
}

void
machines_tell_mover(struct run *r, const struct mail *m)
{
	if (r->mover != NULL)
		loop_post(r->mover, m);
}

/* Both of a split. */
void
machines_tell_movers(struct run *r, const struct mail *m)
{
	machines_tell_mover(r, m);
	if (r->split.loop != NULL)
		loop_post(r->split.loop, m);
}

void
machines_send_route(struct run *r)
{
	struct mail m = { .kind = MAIL_ROUTE, .route = machines_route(r) };

	machines_tell(r, &m);
}

bool
machines_all_current(const struct run *r)
{
	for (uint32_t i = 0; i < r->relay_n; i++) {
		if (r->acked[i] < r->generation)
			return false;
	}
	return true;
}

uint64_t
machines_all_bits(const struct run *r)
{
	return r->relay_n >= 64 ? UINT64_MAX : (1ull << r->relay_n) - 1;
}

/* The relays of an interlay are relays of this run. */
static void
adopt(struct run *r, const struct interlay *l, uint64_t generation)
{
	for (uint32_t i = 0; i < l->n; i++) {
		r->relay[r->relay_n] = l->relay[i];
		r->traffic[r->relay_n] = &l->traffic[i];
		r->acked[r->relay_n] = generation;
		r->crowd.loops[r->crowd.n++] = l->relay[i];
		r->split.crowd.loops[r->split.crowd.n++] = l->relay[i];
		r->relay_n++;
	}
}

int
machines_add(struct run *r, struct interlay *l, struct err *err)
{
	uint32_t n = l->n;

	for (uint32_t i = 0; i < r->interlay_n; i++)
		n += r->interlay[i]->n;
	if (r->interlay_n == RUN_INTERLAYS_MAX || n > RUN_RELAYS_MAX)
		return err_set(err, ERR_LIMIT,
		               "a migration has at most %d interlays with %d "
		               "workers together",
		               RUN_INTERLAYS_MAX, RUN_RELAYS_MAX);
	(void)snprintf(r->prefix[r->interlay_n], sizeof(r->prefix[0]),
	               "godwit:%s:", l->id);
	r->prefixes[r->interlay_n] = r->prefix[r->interlay_n];
	r->interlay[r->interlay_n++] = l;
	r->own.interlays = r->prefixes;
	r->own.interlay_n = r->interlay_n;
	if (r->own_lines_n > 0) {
		r->own.interlays = r->own_lines;
		r->own.interlay_n = r->own_lines_n;
	}
	return 0;
}

static int
make_relays(struct run *r, struct err *err)
{
	struct interlay_pair p = { .side = r->side,
		                   .board = &r->board,
		                   .reverse = &r->split.board,
		                   .route = machines_route(r) };
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < r->interlay_n; i++) {
		p.first_who = r->relay_n;
		rc = interlay_start(r->interlay[i], &p, err);
		if (rc == 0)
			adopt(r, r->interlay[i], p.route.generation);
	}
	return rc;
}

static enum mover_rule
mover_rule(enum conflict_rule c)
{
	switch (c) {
	case CONFLICT_NONE: return MOVER_RULE_NONE;
	case CONFLICT_REPLACE: return MOVER_RULE_REPLACE;
	case CONFLICT_MERGE: return MOVER_RULE_MERGE;
	}
	return MOVER_RULE_REPLACE;
}

static enum mover_fill
mover_fill(enum copy_mode c)
{
	switch (c) {
	case COPY_AUTO: return MOVER_FILL_AUTO;
	case COPY_RDB: return MOVER_FILL_RDB;
	case COPY_SCAN: return MOVER_FILL_SCAN;
	case COPY_NONE: return MOVER_FILL_NONE;
	}
	return MOVER_FILL_AUTO;
}

_Static_assert((int)MOVER_PACE_AUTO == (int)COPY_PACE_AUTO &&
                       (int)MOVER_PACE_FAST == (int)COPY_PACE_FAST &&
                       (int)MOVER_PACE_GENTLE == (int)COPY_PACE_GENTLE,
               "one pace, two names");

/* What both movers of a run have in common. */
static struct mover_conf *
conf_of_mover(struct run *r, bool back)
{
	struct mover_conf *conf = calloc(1, sizeof(*conf));

	if (conf == NULL)
		return NULL;
	conf->side[SIDE_OLD] = r->side[SIDE_OLD];
	conf->side[SIDE_NEW] = r->side[SIDE_NEW];
	conf->copy_mode = mover_fill(r->conf->copy_mode);
	conf->own_keys = 1;
	if (r->side[SIDE_OLD].own_tag[0] != '\0')
		conf->slots = layout_carried(r)->own;
	if (r->slots_owed) {
		conf->gained = layout_carried(r)->gained;
		conf->slots_epoch = r->slots_epoch;
	}
	conf->is_part = r->is_part;
	for (int s = 0; r->is_part && s < SIDE_N; s++)
		conf->keyless[s] =
			r->home->part == NULL || r->home->part->first[s];
	conf->build = r->build;
	conf->exposed = r->at[SIDE_OLD].exposed + r->at[SIDE_NEW].exposed > 0
	                        ? r->exposed_n
	                        : 0;
	memcpy(conf->id, r->id, sizeof(conf->id));
	for (int s = 0; s < SIDE_N; s++) {
		if (journal_progress(r->journal,
		                     journal_point((enum side)s, back),
		                     conf->history[s], sizeof(conf->history[s]),
		                     &conf->position[s]))
			conf->fill_done = true;
	}
	return conf;
}

static void
spool_name(const struct run *r, enum side s, char *ret, size_t n)
{
	/* The legs of a daemon share a state file. */
	(void)snprintf(ret, n, "%s%s%s.spool-%s", r->conf->state,
	               r->home != NULL ? "." : "", r->home != NULL ? r->id : "",
	               side_name(s));
}

static const char *const spool_keys[SIDE_N] = { "old_spool", "new_spool" };

/* What a server has forgotten because the spool has it is nowhere else: once there is
 * a directory it has to be there again. */
static int
keep_spool(struct run *r, enum side s, const char *name, struct err *err)
{
	char *was = journal_meta(r->journal, spool_keys[s]);
	bool is_known = was != NULL && strcmp(was, "1") == 0;

	free(was);
	if (is_known && access(name, F_OK) != 0)
		return err_set(err, ERR_STATE,
		               "%s is gone: changes of %s that it alone has; "
		               "put it back beside the state file, or begin "
		               "again with another one and an empty new",
		               name, r->side[s].label);
	if (is_known)
		return 0;
	if (mkdir(name, 0700) != 0 && errno != EEXIST)
		return err_set(err, ERR_IO, "%s: %s", name, os_cause(errno));
	return journal_set_meta(r->journal, spool_keys[s], "1", err);
}

static int
make_spools(struct run *r, struct mover_conf *conf, struct err *err)
{
	const char *max = getenv("GODWIT_SPOOL_BYTES");
	uint64_t bytes = r->conf->spool_bytes;
	char name[600];

	if (bytes == 0 && max != NULL)
		bytes = strtoull(max, NULL, 10);
	for (int s = 0; r->dialect->spools && s < SIDE_N; s++) {
		spool_name(r, (enum side)s, name, sizeof(name));
		if (keep_spool(r, (enum side)s, name, err) != 0)
			return -(int)err->code;
		r->spool[s] = disk_new(name, bytes, err);
		if (r->spool[s] == NULL)
			return -(int)err->code;
		conf->spool[s] = r->spool[s];
	}
	return 0;
}

void
machines_forget_spool(const struct run *r, enum side s)
{
	char name[600];
	struct err err;

	if (!r->dialect->spools)
		return;
	/* It may be missing from now on; with an error it has to stay. */
	if (journal_set_meta(r->journal, spool_keys[s], "0", &err) != 0)
		return;
	spool_name(r, s, name, sizeof(name));
	disk_forget(name);
}

/* Between two preparations. */
#define RENEW_NS (1000 * NS_PER_MS)

static int
make_mover(struct run *r, struct err *err)
{
	struct authority a = journal_authority(r->journal);
	struct mover_conf *conf = conf_of_mover(r, false);
	struct loop_conf lc = { .machine = r->dialect->mover,
		                .init = r->dialect->mover_init,
		                .to_control = r->mover_inbox,
		                .crowd = &r->crowd,
		                .name = "mover" };

	r->mover_conf = conf;
	if (conf == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	if (make_spools(r, conf, err) != 0)
		return -(int)err->code;
	conf->board = &r->board;
	conf->rule = mover_rule(r->conf->conflict);
	conf->pace = (enum mover_pace)r->conf->copy_pace;
	/* What new had before is its own; the fence's token is ours. */
	conf->keep_extra = r->new_keys > 0 || r->conf->copy_mode == COPY_NONE;
	conf->scope = divide_block(r, a.scope);
	conf->is_both = divide_units(r, a.scope) != 0;
	conf->reverse = &r->split.board;
	conf->scope_side = SIDE_OLD;
	conf->refill =
		(r->is_resumed || r->conf->new_is_stale) && !conf->fill_done;
	lc.arg = conf;
	r->mover = loop_new(&lc, err);
	return r->mover != NULL ? 0 : -(int)err->code;
}

void
machines_tell_start(struct run *r)
{
	struct mail m = { .kind = MAIL_MOVE, .side = run_authority(r) };
	struct mail p = { .kind = MAIL_MOVE_PAUSE };

	/* It is told when it is prepared (machines_renew()). */
	if (r->is_unprepared)
		return;
	machines_tell_mover(r, &m);
	if (r->state == LIFE_PAUSED)
		machines_tell_mover(r, &p);
}

void
machines_prepared(struct run *r, const struct err *why)
{
	char text[sizeof(r->trouble)];
	bool is_news;

	(void)snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1,
	               why != NULL ? why->text : "");
	is_news = why != NULL && strcmp(r->trouble, text) != 0;
	memcpy(r->trouble, text, sizeof(text));
	r->is_unprepared = why != NULL;
	/* What is stale stays so until it was made anew. */
	r->is_stale = r->is_stale && why != NULL;
	if (is_news)
		run_event(r, "trouble", "%s", why->text);
}

/* From here on nothing goes on from positions of a stream that is lost. */
static int
undo_copy(struct run *r, struct err *err)
{
	int rc;

	journal_stage_forget(r->journal);
	rc = journal_add(r->journal, JOURNAL_COPIED,
	                 json_pack("{s:i,s:i,s:s,s:b}", "records", 0, "bytes",
	                           0, "by", "none", "undone", 1),
	                 err);
	if (rc != 0) {
		journal_unstage(r->journal);
		return rc;
	}
	r->copied = false;
	r->is_lost = false;
	/* What was missed comes with the new copy. */
	if (journal_set_meta(r->journal, "owed", "", err) == 0)
		r->owed_n = 0;
	for (int s = 0; s < SIDE_N; s++) {
		disk_free(r->spool[s]);
		r->spool[s] = NULL;
		machines_forget_spool(r, (enum side)s);
	}
	return 0;
}

/* The mover copies nothing until it finds what was prepared for it; so this may be
 * done again at any time. BLOCKS. */
void
machines_renew(struct run *r, uint64_t now_ns)
{
	uint64_t took_ns;
	struct err err;
	int rc;

	if (!(r->is_stale || r->is_unprepared) || now_ns < r->stale_ns ||
	    r->cut_on || r->mover == NULL || r->is_over ||
	    r->op.kind != OP_NONE)
		return;
	machines_end_mover(r);
	r->has_time = true;
	rc = r->is_lost ? undo_copy(r, &err) : 0;
	if (rc == 0)
		rc = r->dialect->prepare(r, &err);
	r->has_time = false;
	machines_prepared(r, rc != 0 ? &err : NULL);
	took_ns = os_mono_ns() - now_ns;
	r->stale_ns = os_mono_ns() + took_ns * 4 + RENEW_NS;
	free(r->mover_conf);
	for (int s = 0; s < SIDE_N; s++) {
		disk_free(r->spool[s]);
		r->spool[s] = NULL;
	}
	rc = make_mover(r, &err);
	if (rc == 0)
		rc = loop_start(r->mover, &err);
	if (rc == 0)
		machines_tell_start(r);
	else
		run_event(r, "trouble", "%s; start it again", err.text);
}

int
machines_make_back(struct run *r, struct err *err)
{
	struct divide *p = &r->split;
	struct authority a = journal_authority(r->journal);
	struct mail m = { .kind = MAIL_MOVE, .side = SIDE_NEW };
	struct mover_conf *conf;
	struct scope_in none = { .ppm = 0 };
	struct loop_conf lc = { .machine = r->dialect->mover,
		                .init = r->dialect->mover_init,
		                .crowd = &p->crowd,
		                .name = "mover-back" };
	int rc = 0;

	REQUIRE(p->loop == NULL);
	if (p->mem.resize == NULL)
		os_mem_init(&p->mem, 0);
	if (p->none == NULL)
		p->none = scope_build(&p->mem, &none);
	if (p->inbox == NULL)
		p->inbox = inbox_new(err);
	if (p->inbox == NULL)
		return -(int)err->code;
	free(p->conf);
	p->conf = conf = conf_of_mover(r, true);
	if (conf == NULL || p->none == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	conf->board = &p->board;
	conf->rule = MOVER_RULE_REPLACE;
	conf->scope =
		authority_is_split(&a) ? divide_block(r, a.scope) : p->none;
	conf->scope_side = SIDE_NEW;
	conf->refill = authority_is_split(&a) && !conf->fill_done;
	p->move = MOVE_IDLE;
	p->stopped = false;
	p->end_ns = 0;
	p->trouble[0] = '\0';
	/* Nothing that it says is to be believed before it has begun. */
	atomic_store(&p->board.unsettled, atomic_load(&p->board.unsettled) | 1);
	lc.arg = conf;
	lc.to_control = p->inbox;
	p->loop = loop_new(&lc, err);
	if (p->loop == NULL)
		return -(int)err->code;
	rc = loop_start(p->loop, err);
	if (rc != 0) {
		loop_free(p->loop);
		p->loop = NULL;
		return rc;
	}
	loop_post(p->loop, &m);
	return 0;
}

void
machines_stop_back(struct run *r)
{
	struct mail m = { .kind = MAIL_STOP };

	if (r->split.loop == NULL || r->split.end_ns != 0)
		return;
	r->split.end_ns = os_mono_ns() + LIMIT_MOVER_STOP_MS * NS_PER_MS;
	loop_post(r->split.loop, &m);
}

void
machines_free_back(struct run *r)
{
	if (r->split.loop != NULL) {
		loop_stop(r->split.loop);
		loop_free(r->split.loop);
	}
	r->split.loop = NULL;
	r->split.move = MOVE_IDLE;
	r->split.end_ns = 0;
}

/* Interlays that are there already. First both sides with old as authority, which
 * is what they serve now; then the route of now. */
static int
attach(struct run *r, struct err *err)
{
	struct interlay_pair p = { .side = r->side,
		                   .board = &r->board,
		                   .reverse = &r->split.board,
		                   .route = machines_route(r) };
	struct mail m = { .kind = MAIL_RELEASE };
	int rc = status_base(r, err);

	p.route.authority = SIDE_OLD;
	p.route.scope = NULL;
	p.route.moved = 0;
	p.route.read_ppm = 0;
	p.route.ack = ACK_AUTHORITY;
	for (uint32_t i = 0; rc == 0 && i < r->interlay_n; i++) {
		p.first_who = r->relay_n;
		r->has_left = false;
		rc = interlay_pair(r->interlay[i], &p, SIDE_OLD, SIDE_OLD, err);
		if (rc == 0)
			adopt(r, r->interlay[i], 0);
	}
	if (rc != 0)
		return rc;
	m.route = machines_route(r);
	machines_tell(r, &m);
	return 0;
}

bool
machines_leave(struct run *r)
{
	struct side_conf side[SIDE_N];
	enum side rules = run_authority(r);
	struct interlay_pair p = interlay_alone(&r->side[rules], side);
	struct err err;

	p.route.generation = ++r->generation;
	r->has_left = true;
	for (uint32_t i = 0; i < r->interlay_n; i++) {
		if (interlay_pair(r->interlay[i], &p, rules, SIDE_OLD, &err) ==
		    0)
			continue;
		run_event(r, "trouble", "%s", err.text);
		r->has_left = false;
	}
	return r->has_left;
}

void
machines_end_mover(struct run *r)
{
	uint64_t until = os_mono_ns() + LIMIT_MOVER_STOP_MS * NS_PER_MS;
	struct mail m = { .kind = MAIL_STOP };

	machines_stop_back(r);
	if (r->mover == NULL)
		return;
	r->mover_stopped = false;
	machines_tell_mover(r, &m);
	while ((!r->mover_stopped ||
	        (r->split.loop != NULL && !r->split.stopped)) &&
	       os_mono_ns() < until) {
		struct pollfd p = { .fd = inbox_fd(r->mover_inbox),
			            .events = POLLIN };

		(void)poll(&p, 1, 100);
		mails_take(r);
	}
	loop_stop(r->mover);
	loop_free(r->mover);
	r->mover = NULL;
	r->move = MOVE_IDLE;
	machines_free_back(r);
}

/* Mode M: where relays put what the server does not tell. */
static int
make_rings(struct run *r, struct err *err)
{
	struct board *b = &r->board;
	uint32_t n = 0;

	if (!b->by_marks[SIDE_OLD] && !b->by_marks[SIDE_NEW])
		return 0;
	for (uint32_t i = 0; i < r->interlay_n; i++)
		n += r->interlay[i]->n;
	if (n == 0)
		return 0;
	b->rings = calloc(n, sizeof(*b->rings));
	for (uint32_t i = 0; b->rings != NULL && i < n; i++) {
		uint8_t *p = malloc(LIMIT_RING_BYTES);

		if (p == NULL)
			return err_set(err, ERR_NOMEM, "out of memory");
		marks_init(&b->rings[i], p, LIMIT_RING_BYTES);
		b->ring_n++;
	}
	return b->rings != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static void
free_rings(struct run *r)
{
	for (uint32_t i = 0; i < r->board.ring_n; i++)
		free(r->board.rings[i].p);
	free(r->board.rings);
	r->board.rings = NULL;
	r->board.ring_n = 0;
}

int
machines_make(struct run *r, struct err *err)
{
	int rc = make_rings(r, err);

	if (rc != 0)
		return rc;

	r->mover_inbox = inbox_new(err);
	if (r->mover_inbox == NULL)
		return -(int)err->code;
	atomic_store(&r->board.unsettled, 1);
	atomic_store(&r->split.board.unsettled, 1);
	rc = r->home != NULL ? attach(r, err) : make_relays(r, err);
	if (rc == 0 && r->state != LIFE_COMPLETED)
		rc = make_mover(r, err);
	if (rc == 0 && r->mover != NULL)
		rc = loop_start(r->mover, err);
	if (rc == 0 && run_is_split(r) && !parts_has(r))
		rc = machines_make_back(r, err);
	return rc;
}

void
machines_free(struct run *r)
{
	if (r->mover != NULL) {
		loop_stop(r->mover);
		loop_free(r->mover);
	}
	r->mover = NULL;
	machines_free_back(r);
	for (uint32_t i = 0; r->home == NULL && i < r->interlay_n; i++)
		interlay_free(r->interlay[i]);
	r->interlay_n = 0;
	r->relay_n = 0;
	if (r->mover_inbox != NULL)
		inbox_free(r->mover_inbox);
	r->mover_inbox = NULL;
	if (r->split.inbox != NULL)
		inbox_free(r->split.inbox);
	r->split.inbox = NULL;
	free(r->split.conf);
	r->split.conf = NULL;
	free(r->mover_conf);
	r->mover_conf = NULL;
	for (int s = 0; s < SIDE_N; s++) {
		disk_free(r->spool[s]);
		r->spool[s] = NULL;
	}
	free_rings(r);
}
