/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/release.c: godwit release OLD: lift the fence after a migration that is over.
 *
 * What the users were allowed before the fence is in the journal; the user that
 * may give it back to them is Godwit's own, which the completion left on OLD. The
 * state file is that of one `godwit migrate`, or a daemon's, which may be running:
 * it is told by the meta "released" of the leg, before OLD is opened, because
 * a server that is fenced is taken for a stale copy by the next migration to it.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bin/status.h"
#include "bin/verbs.h"
#include "control/agent.h"
#include "control/group.h"
#include "control/journal.h"
#include "control/url.h"
#include "core/lifecycle.h"
#include "engine/redis/admin/fence.h"

#define ANSWER_MS    5000
#define REPLICAS_MAX 32 /* that one OLD and its replicas name */

struct release {
	const struct args *args;
	struct journal *journal;
	char leg[80];  /* of a daemon's file; "": godwit migrate's           */
	json_t *rules; /* user name -> rules before the fence            */
	struct side_conf side;
	char kin[40];      /* of legs that shared the server: how users begin */
	char names[4][64]; /* Godwit's users, the prefix of its names      */
	struct fence_own own;
	struct agent agent;
	uint64_t epoch;
	uint32_t users;  /* of applications                               */
	uint32_t fenced; /* of these, before                              */
};

static int
copy_meta(const struct release *r, const char *key, char *ret, size_t n,
          struct err *err)
{
	char *v = journal_meta(r->journal, key);
	int rc = 0;

	if (v == NULL || strlen(v) >= n)
		rc = err_set(err, ERR_BAD,
		             "%s is no state file of a migration (it lacks "
		             "\"%s\")",
		             r->args->text[OPT_STATE], key);
	else
		memcpy(ret, v, strlen(v) + 1);
	free(v);
	return rc;
}

/* Is the journal about this server, and is the migration over? */
static int
check_journal(const struct release *r, const struct url *old, struct err *err)
{
	char label[sizeof(old->label)];
	json_t *last;
	const char *to;
	int rc = journal_last(r->journal, JOURNAL_STATE, NULL, &last, err);

	to = json_string_value(json_object_get(last, "to"));
	if (rc == 0)
		rc = copy_meta(r, "old", label, sizeof(label), err);
	if (rc == 0 && strcmp(label, old->label) != 0)
		rc = err_set(err, ERR_STATE,
		             "OLD of the migration in %s is %s, not %s",
		             r->args->text[OPT_STATE], label, old->label);
	if (rc == 0 && (to == NULL || strcmp(to, "completed") != 0))
		rc = err_set(err, ERR_STATE,
		             "the migration is %s, not completed; its fence "
		             "is Godwit's to lift (rollback opens OLD)",
		             to != NULL ? to : "not begun");
	json_decref(last);
	return rc;
}

/* The handle of the migration that fences this server. */
static int
open_journal(struct release *r, const struct url *old, struct err *err)
{
	const char *path = r->args->text[OPT_STATE];
	char *own;
	char *by;

	r->journal = journal_peek(path, err);
	if (r->journal == NULL)
		return -(int)err->code;
	own = journal_meta(r->journal, "old");
	free(own);
	if (own != NULL)
		return 0;
	by = journal_fenced_by(r->journal, old->label, true);
	if (by == NULL)
		return err_set(err, ERR_STATE,
		               "no completed migration in %s fences %s; is it "
		               "the old side of one, and the right --state?",
		               path, old->label);
	(void)snprintf(r->leg, sizeof(r->leg), "%s", by);
	free(by);
	journal_close(r->journal);
	r->journal = journal_peek_leg(path, r->leg, err);
	return r->journal != NULL ? 0 : -(int)err->code;
}

/* Tell the daemon, if it is one's file. value: "begun", "1". */
static int
mark(const struct release *r, const char *value, struct err *err)
{
	struct journal *j;
	int rc;

	if (r->leg[0] == '\0')
		return 0;
	j = journal_open_leg(r->args->text[OPT_STATE], r->leg, err);
	rc = j != NULL ? journal_set_meta(j, "released", value, err)
	               : -(int)err->code;
	journal_close(j);
	return rc;
}

/* Legs that shared the server are released one after the other. */
static void
know_kin(struct release *r, const char *id)
{
	const char *dot = strpbrk(id, "_.");

	if (dot == NULL)
		return;
	(void)snprintf(r->kin, sizeof(r->kin), "godwit-%.*s",
	               (int)(dot - id + 1), id);
	r->own.kin_users = r->kin;
}

static int
read_journal(struct release *r, const struct url *old, struct err *err)
{
	json_t *match = json_pack("{s:s}", "side", "old");
	json_t *last = NULL;
	char id[40];
	int rc = check_journal(r, old, err);

	if (rc == 0)
		rc = copy_meta(r, "id", id, sizeof(id), err);
	if (rc == 0)
		rc = copy_meta(r, "old_pass", r->side.own_pass,
		               sizeof(r->side.own_pass), err);
	if (rc == 0)
		rc = journal_last(r->journal, JOURNAL_ACL_SAVED, match, &last,
		                  err);
	if (rc == 0) {
		char *tag = journal_meta(r->journal, "own_tag");

		(void)snprintf(r->side.own_tag, sizeof(r->side.own_tag), "%s",
		               tag != NULL ? tag : "");
		free(tag);
		r->rules = json_incref(json_object_get(last, "rules"));
		json_decref(last);
		r->epoch = journal_authority(r->journal).epoch;
		(void)snprintf(r->names[0], sizeof(r->names[0]), "godwit-%s",
		               id);
		(void)snprintf(r->names[1], sizeof(r->names[1]), "godwit-%s-r",
		               id);
		(void)snprintf(r->names[2], sizeof(r->names[2]),
		               "godwit:%s:", id);
		(void)snprintf(r->names[3], sizeof(r->names[3]), "godwit-%s-w",
		               id);
		memcpy(r->side.own_user, r->names[0], sizeof(r->side.own_user));
		r->own = (struct fence_own){ .user = r->names[0],
			                     .reader = r->names[1],
			                     .writer = r->names[3],
			                     .prefix = r->names[2],
			                     .tag = r->side.own_tag };
		know_kin(r, id);
	}
	json_decref(match);
	return rc;
}

/* The node of a cluster that had OLD's slots at the end, if it was not the one
 * that is named. */
static void
take_seat(struct release *r)
{
	char *seat = journal_meta(r->journal, "old_seat");
	char *space = seat != NULL ? strchr(seat, ' ') : NULL;
	size_t n = space != NULL ? (size_t)(space - seat) : 0;

	if (n > 0 && n < sizeof(r->side.at.host)) {
		memcpy(r->side.at.host, seat, n);
		r->side.at.host[n] = '\0';
		r->side.at.port = (uint16_t)strtoul(space, NULL, 10);
	}
	free(seat);
}

static bool
saved_rules(void *arg, struct span name, struct span *ret)
{
	char key[256];
	const char *rules;

	reply_text(name, key, sizeof(key));
	rules = json_string_value(json_object_get(arg, key));
	if (rules == NULL)
		return false;
	*ret = span_str(rules);
	return true;
}

/* Look, and give each fenced user what the journal says. *full: one by one; set
 * where the server is too full for a transaction. */
static int
unfence_as(struct release *r, bool *full, struct err *err)
{
	struct fence_look look;
	struct span replies;
	uint32_t n = admin_put_look(&r->agent.tx, &r->own);
	int rc = agent_call(&r->agent, n, ANSWER_MS, &replies, err);

	if (rc == 0)
		rc = admin_read_look(replies, r->side.label, &r->own, &look,
		                     err);
	if (rc != 0)
		return rc;
	r->users = look.users;
	r->fenced = look.fenced;
	if (look.has_token && look.epoch > r->epoch)
		return err_set(err, ERR_STATE,
		               "%s carries the fence of epoch %llu, the "
		               "journal ends at %llu: another migration holds "
		               "it now",
		               r->side.label, (unsigned long long)look.epoch,
		               (unsigned long long)r->epoch);
	if (look.fenced == 0)
		return 0;
	look.is_full = *full;
	n = admin_put_unfence(&r->agent.tx, &look, &r->own, r->epoch,
	                      saved_rules, r->rules);
	rc = agent_call(&r->agent, n, ANSWER_MS, &replies, err);
	if (rc != 0)
		return rc;
	if (*full)
		return admin_read_each(replies, n, r->side.label, "release",
		                       err);
	rc = admin_read_exec(replies, n, r->side.label, "release", err);
	*full = rc != 0 && admin_is_full(replies);
	return rc;
}

static int
unfence(struct release *r, struct err *err)
{
	bool full = false;
	int rc = unfence_as(r, &full, err);

	return rc != 0 && full ? unfence_as(r, &full, err) : rc;
}

struct place {
	char host[108];
	uint16_t port;
};

struct places {
	struct place at[REPLICAS_MAX];
	uint32_t n;
};

/* The replicas that this server names, behind those known. */
static void
find(struct agent *a, struct places *ret)
{
	struct span replies;
	struct resp_item it;
	struct place p;
	struct err ignored;
	uint32_t n = admin_put_replicas(&a->tx);

	if (agent_call(a, n, ANSWER_MS, &replies, &ignored) != 0 ||
	    !reply_item(&replies, &it) || it.type != RESP_BULK)
		return;
	while (ret->n < REPLICAS_MAX &&
	       admin_next_replica(&it.text, p.host, sizeof(p.host), &p.port))
		ret->at[ret->n++] = p;
}

/* What the migration saved of this replica; NULL: it never fenced it. */
static int
replica_rules(struct release *r, const struct place *p, json_t **ret,
              struct err *err)
{
	char key[160];
	json_t *match;
	json_t *last;
	int rc;

	(void)snprintf(key, sizeof(key), "old@%s:%u", p->host, p->port);
	match = json_pack("{s:s}", "side", key);
	rc = journal_last(r->journal, JOURNAL_ACL_SAVED, match, &last, err);
	*ret = json_incref(json_object_get(last, "rules"));
	/* A node that gave way was fenced as the master that it was. */
	if (rc == 0 && *ret == NULL)
		*ret = json_incref(r->rules);
	json_decref(last);
	json_decref(match);
	return rc;
}

static int
unfence_replica(struct release *r, struct agent *a, json_t *rules,
                struct err *err)
{
	struct fence_look look;
	struct span replies;
	struct err ignored;
	uint32_t n = admin_put_readonly(&a->tx, &r->own);
	int rc = n > 0 ? agent_call(a, n, ANSWER_MS, &replies, err) : 0;

	n = admin_put_look(&a->tx, &r->own);
	if (rc == 0)
		rc = agent_call(a, n, ANSWER_MS, &replies, err);

	if (rc == 0)
		rc = admin_read_look(replies, a->conf->label, &r->own, &look,
		                     err);
	if (rc == 0 && look.has_token && look.epoch > r->epoch)
		rc = err_set(err, ERR_STATE,
		             "%s carries the fence of another migration",
		             a->conf->label);
	if (rc != 0)
		return rc;
	n = admin_put_unfence(&a->tx, &look, &r->own, FENCE_NO_TOKEN,
	                      saved_rules, rules);
	rc = agent_call(a, n, ANSWER_MS, &replies, err);
	if (rc == 0)
		rc = admin_read_exec(replies, n, a->conf->label, "release",
		                     err);
	if (rc != 0)
		return rc;
	/* DELUSER may end our own connection before its answer is here. */
	n = admin_put_no_users(&a->tx, &r->own);
	(void)(agent_call(a, n, ANSWER_MS, &replies, &ignored) == 0);
	return 0;
}

/* OLD is open; its replicas are opened behind it. */
static void
release_replicas(struct release *r)
{
	struct places all = { .n = 0 };

	find(&r->agent, &all);
	for (uint32_t i = 0; i < all.n; i++) {
		struct side_conf conf = r->side;
		struct agent a;
		json_t *rules = NULL;
		struct err err;
		int rc;

		memcpy(conf.at.host, all.at[i].host, sizeof(conf.at.host));
		conf.at.port = all.at[i].port;
		conf.at.by_sentinel = false;
		(void)snprintf(conf.label, sizeof(conf.label),
		               "old's replica %s:%u", conf.at.host,
		               conf.at.port);
		agent_init(&a, &conf, "godwit:release");
		rc = replica_rules(r, &all.at[i], &rules, &err);
		if (rc == 0)
			rc = agent_open(&a, true, ANSWER_MS, &err);
		if (rc == 0)
			find(&a, &all);
		if (rc == 0 && rules != NULL)
			rc = unfence_replica(r, &a, rules, &err);
		if (rc != 0)
			(void)fprintf(stderr,
			              "godwit release: note: %s; if its "
			              "users are fenced, ACL SETUSER there\n",
			              err.text);
		agent_fini(&a);
		json_decref(rules);
	}
}

/* Godwit's keys and users go; what is left is written to the server's file. What
 * does not work is told in *err: the users have their rights all the same. */
static int
clean(struct release *r, struct err *err)
{
	struct facts facts;
	struct span replies;
	uint32_t n = admin_put_no_keys(&r->agent.tx, &r->own) +
	             admin_put_no_users(&r->agent.tx, &r->own);
	struct err ignored;
	int rc;

	/* DELUSER may end our own connection before its answer is here. */
	(void)(agent_call(&r->agent, n, ANSWER_MS, &replies, &ignored) == 0);
	agent_close(&r->agent);
	rc = agent_open(&r->agent, false, ANSWER_MS, err);
	if (rc == 0)
		rc = agent_probe(&r->agent, ANSWER_MS, &facts, err);
	if (rc != 0 || (!facts.has_aclfile && !facts.has_config_file))
		return rc;
	n = admin_put_persist(&r->agent.tx, facts.has_aclfile);
	rc = agent_call(&r->agent, n, ANSWER_MS, &replies, err);
	if (rc == 0)
		rc = reply_ok(&replies, r->side.label,
		              facts.has_aclfile ? "ACL SAVE" : "CONFIG REWRITE",
		              err);
	return rc;
}

static void
report(const struct release *r, const struct err *unclean)
{
	if (unclean != NULL)
		(void)fprintf(stderr,
		              "godwit release: note: the users have their "
		              "rights, but not everything could be put in "
		              "order: %s\n",
		              unclean->text);
	if (r->args->number[OPT_JSON] != 0)
		(void)printf("{\"released\":%u,\"users\":%u}\n", r->fenced,
		             r->users);
	else if (r->fenced == 0)
		(void)printf("release: %s was not fenced\n", r->side.label);
	else
		(void)printf("release: %u users of %s have their rights "
		             "back; its data goes its own way from now on\n",
		             r->fenced, r->side.label);
}

/* Which side of PostgreSQL this is, and in which state its migration ended. */
static int
find_side(struct release *r, const struct url *at, enum side *ret,
          enum life_state *ret_state, struct err *err)
{
	char label[SIDE_N][sizeof(at->label)];
	json_t *last = NULL;
	const char *to;
	int rc = open_journal(r, at, err);

	if (rc == 0)
		rc = copy_meta(r, "old", label[SIDE_OLD], sizeof(label[0]),
		               err);
	if (rc == 0)
		rc = copy_meta(r, "new", label[SIDE_NEW], sizeof(label[0]),
		               err);
	if (rc == 0)
		rc = journal_last(r->journal, JOURNAL_STATE, NULL, &last, err);
	if (rc != 0)
		return rc;
	to = json_string_value(json_object_get(last, "to"));
	*ret_state = to != NULL ? life_state_find(to) : LIFE_N;
	json_decref(last);
	if (*ret_state != LIFE_COMPLETED && *ret_state != LIFE_ROLLED_BACK)
		return err_set(err, ERR_STATE,
		               "the migration is %s, neither completed nor "
		               "rolled back; its fence is Godwit's to lift "
		               "(rollback opens OLD, and godwit stop behind it "
		               "opens NEW)",
		               *ret_state < LIFE_N ? life_state_name(*ret_state)
		                                   : "not begun");
	for (int s = 0; s < SIDE_N; s++) {
		*ret = (enum side)s;
		if (strcmp(label[s], at->label) == 0)
			return 0;
	}
	return err_set(err, ERR_STATE,
	               "the migration in %s is between %s and %s, not of %s",
	               r->args->text[OPT_STATE], label[SIDE_OLD],
	               label[SIDE_NEW], at->label);
}

/* From now on the same command begins anew. */
static int
forget(struct journal *j, enum side s, struct err *err)
{
	int rc;

	journal_stage_forget(j);
	rc = journal_add(j, JOURNAL_UNFENCE,
	                 json_pack("{s:s}", "side", side_name(s)), err);
	if (rc == 0)
		rc = journal_add(j, JOURNAL_CLEANED,
		                 json_pack("{s:s,s:b}", "side", side_name(s),
		                           "keep_users", 0),
		                 err);
	return rc;
}

/* The server knows itself who had which rights. Old of a completed migration may be
 * released while the process serves new; anything else is the process's own. */
static int
release_postgres(struct release *r, const struct url *at, struct err *err)
{
	enum life_state state = LIFE_N;
	struct journal *j = NULL;
	enum side s = SIDE_OLD;
	int rc = find_side(r, at, &s, &state, err);
	bool may_run = state == LIFE_COMPLETED && s == SIDE_OLD;

	(void)snprintf(r->side.label, sizeof(r->side.label), "%s", at->label);
	if (rc == 0 && r->leg[0] == '\0') {
		j = journal_open(r->args->text[OPT_STATE], err);
		if (j == NULL && !may_run)
			rc = -(int)err->code;
	}
	if (rc == 0)
		rc = mark(r, "begun", err);
	if (rc == 0 && j != NULL && state == LIFE_ROLLED_BACK)
		rc = forget(j, s, err);
	if (rc == 0)
		rc = pg_release(r->journal, s, at, j, &r->fenced, err);
	if (rc == 0)
		rc = mark(r, "1", err);
	r->users = r->fenced;
	journal_close(j);
	journal_close(r->journal);
	r->journal = NULL;
	return rc;
}

/* One migration's fence, or that of one leg. */
static int
release(struct release *r, const struct url *old, struct err *unclean,
        struct err *err)
{
	int rc = url_side(old, SIDE_OLD, &r->side, err);

	unclean->code = ERR_NONE;
	if (rc == 0)
		rc = open_journal(r, old, err);
	if (rc == 0)
		rc = read_journal(r, old, err);
	if (rc == 0) {
		take_seat(r);
		agent_init(&r->agent, &r->side, "godwit:release");
		rc = agent_open(&r->agent, true, ANSWER_MS, err);
		if (rc == 0)
			rc = mark(r, "begun", err);
		if (rc == 0)
			rc = unfence(r, err);
		if (rc == 0) {
			release_replicas(r);
			(void)(clean(r, unclean) == 0);
			rc = mark(r, "1", err);
		}
		agent_fini(&r->agent);
	}
	journal_close(r->journal);
	json_decref(r->rules);
	r->journal = NULL;
	r->rules = NULL;
	return rc;
}

/* Legs of one migration that shared the server: the first one has given the users
 * their rights back, the others clean up. */
static int
release_kin(const struct release *first, const struct url *old,
            struct err *unclean, struct err *err)
{
	size_t n = strcspn(first->leg, "/");
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < GROUP_MAX; i++) {
		struct journal *j =
			journal_peek(first->args->text[OPT_STATE], err);
		char *by = j != NULL ? journal_fenced_by(j, old->label, true)
		                     : NULL;
		struct release r = { .args = first->args };
		bool is_kin = by != NULL && strncmp(by, first->leg, n + 1) == 0;

		journal_close(j);
		free(by);
		if (!is_kin)
			break;
		rc = release(&r, old, unclean, err);
	}
	return rc;
}

int
verb_release(const struct args *a)
{
	struct release r = { .args = a };
	struct err unclean;
	struct err err;
	struct url old;
	int rc = verb_url(a, OPT_OLD_PASSWORD_FILE, "GODWIT_OLD_PASSWORD", 0,
	                  &old, &err);

	if (rc == 0 && a->text[OPT_STATE][0] == '\0')
		rc = err_set(&err, ERR_USAGE,
		             "--state is missing: which migration fenced OLD?");
	unclean.code = ERR_NONE;
	if (rc == 0)
		rc = old.kind == URL_POSTGRES
		             ? release_postgres(&r, &old, &err)
		             : release(&r, &old, &unclean, &err);
	if (rc == 0 && r.kin[0] != '\0')
		rc = release_kin(&r, &old, &unclean, &err);
	if (rc != 0)
		return verb_fail(a, &err);
	report(&r, unclean.code == ERR_NONE ? NULL : &unclean);
	return STATUS_DONE;
}
