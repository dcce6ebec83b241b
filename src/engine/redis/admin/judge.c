/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/judge.c: can these two servers be moved, and at what cost?
 */
#include <stdarg.h>

#include "base/check.h"
#include "engine/redis/admin/probe.h"
#include "engine/redis/databases.h"

#define VERSION_MIN       60000u
#define VERSION_FULL      70000u
#define VERSION_TESTED    80100u /* below */
#define VALKEY_OTHER      90000u
#define SKEW_WARN_MS      500
#define SLAVE_LIMIT_SMALL (64ull * 1024 * 1024)
#define MIB               (1024ull * 1024)

static const char *const words[PROBE_COMMAND_N] = {
#define X(name, word) [PROBE_##name] = (word),
	PROBE_COMMANDS(X)
#undef X
};

const char *
check_result_name(enum check_result r)
{
	switch (r) {
	case CHECK_PASS: return "pass";
	case CHECK_WARN: return "warn";
	case CHECK_FAIL: return "fail";
	}
	NEVER("a result that is none");
}

/* The formatter of the pure half is err_set(); its text is the detail. */
#define SAY(c, name, result, ...)                             \
	do {                                                  \
		struct err say_;                              \
		(void)err_set(&say_, ERR_STATE, __VA_ARGS__); \
		checks_add((c), (name), (result), say_.text); \
	} while (0)

void
checks_add(struct checks *c, const char *name, enum check_result r,
           const char *detail)
{
	struct check_line *l;

	REQUIRE(c->n < PROBE_CHECKS);
	l = &c->line[c->n++];
	*l = (struct check_line){ .result = r };
	reply_text(span_str(name), l->name, sizeof(l->name));
	reply_text(span_str(detail), l->detail, sizeof(l->detail));
	if (r == CHECK_FAIL)
		c->failed++;
}

/* The server writes RDB versions as its releases did; see rdb.h of each. */
uint32_t
probe_rdb_version(uint32_t version_n)
{
	if (version_n >= 70400)
		return 12;
	if (version_n >= 70200)
		return 11;
	if (version_n >= 70000)
		return 10;
	return 9;
}

static const char *
kind_of(const struct facts *f)
{
	return f->is_valkey ? "Valkey" : "Redis";
}

static void
judge_version(struct checks *c, const struct facts *f, const char *who)
{
	if (f->version_n < VERSION_MIN)
		SAY(c, "version", CHECK_FAIL,
		    "%s runs Redis %s; 6.0 or newer is needed (before it no "
		    "server has users, so none can be fenced); upgrade it first",
		    who, f->version);
	else if (f->is_valkey && f->valkey_n >= VALKEY_OTHER)
		SAY(c, "version", CHECK_FAIL,
		    "%s runs Valkey %s; from 9.0 on its format is its own, "
		    "which this version cannot read; take 8.1",
		    who, f->version);
	else if (f->version_n < VERSION_FULL)
		SAY(c, "version", CHECK_WARN,
		    "%s runs Redis %s: commands newer than that are carried to "
		    "it by copying their records; functions cannot be",
		    who, f->version);
	else if (f->version_n >= VERSION_TESTED)
		SAY(c, "version", CHECK_WARN,
		    "%s runs Redis %s, newer than what this version was tested "
		    "with (8.0): a record of a new type would stop the copy, "
		    "and be named",
		    who, f->version);
}

static void
judge_kind(struct checks *c, const struct facts *f, const char *who,
           bool is_resume)
{
	if (f->is_sentinel)
		SAY(c, "kind", CHECK_FAIL,
		    "%s is a sentinel; name the master that it watches", who);
	else if (f->is_cluster)
		SAY(c, "kind", CHECK_PASS, "%s is %s %s, a node of a cluster",
		    who, kind_of(f), f->version);
	else
		SAY(c, "kind", CHECK_PASS, "%s is %s %s, standalone", who,
		    kind_of(f), f->version);
	judge_version(c, f, who);
	if (f->modules[0] != '\0')
		SAY(c, "modules", CHECK_FAIL,
		    "%s has modules loaded (%s), whose data and commands this "
		    "version cannot move",
		    who, f->modules);
	else if (f->has_vectors)
		SAY(c, "modules", CHECK_WARN,
		    "%s has vector sets built in, which this version cannot "
		    "move; a record of that type would stop the copy, and be "
		    "named",
		    who);
	else if (f->hides_modules)
		SAY(c, "modules", CHECK_WARN,
		    "%s does not say which modules it has (MODULE LIST is "
		    "refused); a record of one would stop the copy, and be "
		    "named",
		    who);
	if (f->sends_scripts)
		SAY(c, "scripts", is_resume ? CHECK_WARN : CHECK_FAIL,
		    "%s gives its replicas scripts, not what they did; CONFIG "
		    "SET lua-replicate-commands yes there, and in its "
		    "configuration file",
		    who);
	if (f->is_loading)
		SAY(c, "loading", CHECK_FAIL,
		    "%s is still loading its data; try again later", who);
	if (!f->is_master)
		SAY(c, "role", CHECK_FAIL,
		    "%s is a replica; name its master%s%s", who,
		    f->master[0] != '\0' ? " " : "", f->master);
	else
		SAY(c, "role", CHECK_PASS, "%s is a master", who);
}

#define BIT(c) (1u << PROBE_##c)

bool
probe_by_marks(const struct facts *f)
{
	return ((f->absent | f->denied) & (BIT(PSYNC) | BIT(REPLCONF))) != 0;
}

/* No stream for replicas: which keys change is learned by tracking. */
static bool
judge_mode(struct checks *c, const struct facts *f, const char *who)
{
	if (f->version_n < VERSION_FULL) {
		SAY(c, "rights", CHECK_FAIL,
		    "%s runs Redis %s and refuses PSYNC; before 7.0 there is "
		    "no other way to learn which records change; allow it "
		    "(rename-command), or upgrade the server first",
		    who, f->version);
		return false;
	}
	if (((f->absent | f->denied) & BIT(TRACKING)) != 0) {
		SAY(c, "rights", CHECK_FAIL,
		    "%s refuses PSYNC and CLIENT TRACKING as well, so nobody "
		    "can tell which records change; allow one of them, or "
		    "stop the writes and load a snapshot of old into new",
		    who);
		return false;
	}
	SAY(c, "mode", CHECK_WARN,
	    "%s refuses PSYNC: changed records are learned by CLIENT TRACKING "
	    "and copied whole; after any lost connection everything is "
	    "compared again",
	    who);
	return true;
}

static void
judge_rights(struct checks *c, const struct facts *f, const char *who,
             bool is_move, bool in_parts)
{
	uint32_t skip = BIT(TRACKING);
	bool any = false;

	if (is_move && probe_by_marks(f) && !f->is_cluster && !in_parts) {
		any = !judge_mode(c, f, who);
		skip |= BIT(PSYNC) | BIT(REPLCONF);
	}
	for (unsigned i = 0; i < PROBE_COMMAND_N && !any; i++) {
		uint32_t bit = 1u << i;

		if ((skip & bit) != 0)
			continue;
		if ((f->absent & bit) != 0)
			SAY(c, "rights", CHECK_FAIL,
			    "%s has no command %s (renamed or switched off); "
			    "allow it",
			    who, words[i]);
		else if ((f->denied & bit) != 0)
			SAY(c, "rights", CHECK_FAIL,
			    "%s: user %s may not %s; ACL SETUSER %s +%s, or "
			    "another user in the URL",
			    who, f->whoami, words[i], f->whoami, words[i]);
		else
			continue;
		any = true;
		/* One is enough to know what to do next. */
		break;
	}
	if (!any)
		SAY(c, "rights", CHECK_PASS, "%s: user %s has what is needed",
		    who, f->whoami[0] != '\0' ? f->whoami : "default");
}

static void
judge_pair(struct checks *c, const struct facts f[SIDE_N],
           const struct judge_conf *conf)
{
	const struct facts *old = &f[SIDE_OLD];
	const struct facts *new = &f[SIDE_NEW];
	uint32_t rdb_old = probe_rdb_version(old->version_n);
	uint32_t rdb_new = probe_rdb_version(new->version_n);
	int64_t skew = old->clock_ms - new->clock_ms;

	if (strcmp(old->run_id, new->run_id) == 0)
		SAY(c, "same_server", CHECK_FAIL,
		    "%s and %s are the same server (run_id %.8s...); name two",
		    conf->label[SIDE_OLD], conf->label[SIDE_NEW], old->run_id);
	if (rdb_old > rdb_new)
		SAY(c, "rdb_version", CHECK_WARN,
		    "%s (%s) writes RDB version %u, %s (%s) reads up to %u: "
		    "values are said in the older version; a type that has "
		    "none there is named and not moved",
		    conf->label[SIDE_OLD], old->version, rdb_old,
		    conf->label[SIDE_NEW], new->version, rdb_new);
	else if (rdb_new > rdb_old)
		SAY(c, "rdb_version", CHECK_WARN,
		    "new (%s) writes RDB version %u, old (%s) reads up to %u: "
		    "for the way back values are said in the older version; a "
		    "type that has none there is named",
		    new->version, rdb_new, old->version, rdb_old);
	else
		SAY(c, "rdb_version", CHECK_PASS, "both use RDB version %u",
		    rdb_old);
	if (new->keys > 0 && new->version_n < VERSION_FULL &&
	    strcmp(conf->conflict, "merge") == 0)
		SAY(c, "conflict", CHECK_FAIL,
		    "new (%s) is older than 7.0, so records cannot be merged "
		    "there; --conflict replace or none",
		    new->version);
	if (conf->needs_fence && probe_by_marks(new) && new->keys > 0 &&
	    !conf->is_resume &&strcmp(conf->conflict, "merge") == 0)
		SAY(c, "conflict", CHECK_FAIL,
		    "new refuses PSYNC, so records cannot be merged there; "
		    "--conflict replace or none");
	if (skew < 0)
		skew = -skew;
	if (skew > SKEW_WARN_MS)
		SAY(c, "clock", CHECK_WARN,
		    "the clocks of old and new differ by %lld ms; keys with a "
		    "time to live expire that much apart",
		    (long long)skew);
	else
		SAY(c, "clock", CHECK_PASS,
		    "the clocks differ by less than %d ms", SKEW_WARN_MS);
}

/* One of a pair of nodes, by itself. What is under way goes on when a cluster is in
 * trouble for a while: nothing is switched before it owns its slots again. */
static bool
judge_node(struct checks *c, const struct facts *f, const char *who,
           bool is_resume)
{
	enum check_result bad = is_resume ? CHECK_WARN : CHECK_FAIL;

	if (!f->told_cluster)
		SAY(c, "cluster", CHECK_FAIL,
		    "%s does not answer CLUSTER INFO and CLUSTER NODES; allow "
		    "them to the user of its URL",
		    who);
	else if (!f->cluster.is_ok)
		SAY(c, "cluster", bad,
		    "%s: the state of its cluster is not ok (CLUSTER INFO); "
		    "give each slot a master that is up",
		    who);
	else if (f->cluster.node.is_open)
		SAY(c, "cluster", bad,
		    "%s: a slot is being moved from it or to it; let that come "
		    "to its end (redis-cli --cluster fix)",
		    who);
	else if (f->cluster.node.slot_n == 0)
		SAY(c, "cluster", bad,
		    "%s owns no slot; name a master that owns some", who);
	else
		return true;
	return false;
}

static void
judge_slots(struct checks *c, const struct facts f[SIDE_N],
            const struct judge_conf *conf)
{
	const struct cluster_node *old = &f[SIDE_OLD].cluster.node;
	const struct cluster_node *new = &f[SIDE_NEW].cluster.node;
	uint32_t slot = cluster_unlike(&old->slots, &new->slots);
	char text[SIDE_N][100];

	if (slot == HASH_SLOTS) {
		SAY(c, "cluster", CHECK_PASS, "both own the same %u slots",
		    old->slot_n);
		SAY(c, "cluster_change", CHECK_WARN,
		    "slots that are moved on one side are moved by Godwit on "
		    "the other, too; nothing is switched meanwhile. People "
		    "move them on the side with authority alone: the other "
		    "one is shut and answers NOPERM");
		return;
	}
	cluster_text(&old->slots, text[SIDE_OLD], sizeof(text[0]));
	cluster_text(&new->slots, text[SIDE_NEW], sizeof(text[0]));
	/* What is under way is stopped at its next switch, not here. */
	SAY(c, "cluster", conf->is_resume ? CHECK_WARN : CHECK_FAIL,
	    "%s owns the slots %s, %s owns %s (slot %u is only the %s one's); "
	    "give both the same slots, or make an instance for each part",
	    conf->label[SIDE_OLD], text[SIDE_OLD], conf->label[SIDE_NEW],
	    text[SIDE_NEW], slot,
	    cluster_has(&old->slots, slot) ? "first" : "second");
}

/* Some slots of a server go to some other one. */
static void
judge_part(struct checks *c, const struct facts f[SIDE_N],
           const struct judge_conf *conf)
{
	const struct cluster_slots *all = &f[SIDE_OLD].cluster.node.slots;
	const struct cluster_slots *has = &f[SIDE_NEW].cluster.node.slots;
	enum check_result bad = conf->is_resume ? CHECK_WARN : CHECK_FAIL;
	char text[100];
	uint32_t slot = 0;

	cluster_text(conf->slots, text, sizeof(text));
	while (slot < HASH_SLOTS &&
	       (f[SIDE_OLD].is_cluster ? cluster_has(all, slot) : true) ==
	               cluster_has(conf->cover, slot))
		slot++;
	if (slot < HASH_SLOTS) {
		SAY(c, "cluster", bad,
		    "slot %u %s %s; the instances with that endpoint have to "
		    "have just its slots, and all of them are moved together",
		    slot,
		    cluster_has(conf->cover, slot) ? "does not belong to"
		                                   : "would be left behind on",
		    conf->label[SIDE_OLD]);
		return;
	}
	slot = f[SIDE_NEW].is_cluster ? 0 : HASH_SLOTS;
	while (slot < HASH_SLOTS &&
	       (cluster_has(has, slot) || !cluster_has(conf->slots, slot)))
		slot++;
	if (slot < HASH_SLOTS)
		SAY(c, "cluster", bad,
		    "%s does not own slot %u, which this instance has (%s); "
		    "an instance's slots go to one node: make more instances, "
		    "with fewer slots",
		    conf->label[SIDE_NEW], slot, text);
	else
		SAY(c, "cluster", CHECK_PASS, "moves the slots %s", text);
}

/* What has to be so wherever some slots move. */
static void
judge_parts(struct checks *c, const struct facts f[SIDE_N],
            const struct judge_conf *conf)
{
	bool is_good = true;

	if (!f[SIDE_OLD].is_cluster && !f[SIDE_NEW].is_cluster) {
		SAY(c, "cluster", CHECK_FAIL,
		    "neither %s nor %s is a node of a cluster; two pairs of a "
		    "migration share a server only where one is",
		    conf->label[SIDE_OLD], conf->label[SIDE_NEW]);
		return;
	}
	for (int s = 0; s < SIDE_N; s++) {
		if (f[s].is_cluster)
			is_good &= judge_node(c, &f[s], conf->label[s],
			                      conf->is_resume);
		else if (f[s].databases > (f[s].has_keys_0 ? 1u : 0u))
			SAY(c, "databases",
			    conf->is_resume ? CHECK_WARN : CHECK_FAIL,
			    "%s has keys in other databases than 0, a cluster "
			    "has no other; remove them, or move them first",
			    conf->label[s]);
	}
	if (is_good)
		judge_part(c, f, conf);
	if (f[SIDE_NEW].keys > 0 && !conf->is_resume && !conf->has_new &&
	    !conf->empty_ok)
		SAY(c, "contents", CHECK_FAIL,
		    "%s is not empty (%llu records): where several legs fill "
		    "a server it has to be; FLUSHALL there first",
		    conf->label[SIDE_NEW],
		    (unsigned long long)f[SIDE_NEW].keys);
	if (conf->moves_none)
		SAY(c, "contents", CHECK_FAIL,
		    "data none does not go with other slots on the new side; "
		    "take snapshot or scan");
}

static void
judge_cluster(struct checks *c, const struct facts f[SIDE_N],
              const struct judge_conf *conf)
{
	bool is_node[SIDE_N] = { f[SIDE_OLD].is_cluster,
		                 f[SIDE_NEW].is_cluster };
	bool is_good = true;

	if (conf->slots != NULL) {
		judge_parts(c, f, conf);
	} else if (!is_node[SIDE_OLD] && !is_node[SIDE_NEW]) {
		return;
	} else if (is_node[SIDE_OLD] != is_node[SIDE_NEW]) {
		SAY(c, "cluster", CHECK_FAIL,
		    "%s is a node of a cluster, %s is a server alone; that is "
		    "moved by a migration of an interlay with instances and "
		    "in_cluster: true",
		    conf->label[is_node[SIDE_OLD] ? SIDE_OLD : SIDE_NEW],
		    conf->label[is_node[SIDE_OLD] ? SIDE_NEW : SIDE_OLD]);
		return;
	}
	for (int s = 0; conf->slots == NULL && s < SIDE_N; s++)
		is_good &=
			judge_node(c, &f[s], conf->label[s], conf->is_resume);
	if (conf->slots == NULL && is_good)
		judge_slots(c, f, conf);
	if (strcmp(conf->conflict, "merge") == 0)
		SAY(c, "conflict", CHECK_FAIL,
		    "records cannot be merged in a cluster: their slots are "
		    "not those of Godwit's own keys; --conflict replace or "
		    "none");
}

/* It refuses writes and evicts nothing. */
static bool
is_full(const struct facts *f)
{
	return f->maxmemory != 0 && f->used_memory > f->maxmemory &&
	       strcmp(f->policy, "noeviction") == 0;
}

static void
judge_memory(struct checks *c, const struct facts f[SIDE_N],
             const struct judge_conf *conf)
{
	const struct facts *old = &f[SIDE_OLD];
	const struct facts *new = &f[SIDE_NEW];

	if (new->maxmemory != 0 && strcmp(new->policy, "noeviction") != 0)
		SAY(c, "eviction", CHECK_WARN,
		    "new may evict records (maxmemory-policy %s); CONFIG SET "
		    "maxmemory-policy noeviction there during the move",
		    new->policy);
	if (is_full(old))
		SAY(c, "memory", CHECK_WARN,
		    "old is full (%llu of %llu MiB) and takes no writes: it "
		    "can be moved, but records that are removed or expire "
		    "while they are copied wait until it has room",
		    (unsigned long long)(old->used_memory / MIB),
		    (unsigned long long)(old->maxmemory / MIB));
	if (is_full(new) && !conf->is_resume)
		SAY(c, "memory", CHECK_FAIL,
		    "%s is full (%llu of %llu MiB) and takes no writes; raise "
		    "its maxmemory, or remove what it need not hold",
		    conf->label[SIDE_NEW],
		    (unsigned long long)(new->used_memory / MIB),
		    (unsigned long long)(new->maxmemory / MIB));
	if (new->maxmemory != 0 && new->maxmemory < old->used_memory)
		SAY(c, "memory", CHECK_WARN,
		    "new is limited to %llu MiB, old uses %llu MiB",
		    (unsigned long long)(new->maxmemory / MIB),
		    (unsigned long long)(old->used_memory / MIB));
	else
		SAY(c, "memory", CHECK_PASS, "old uses %llu MiB",
		    (unsigned long long)(old->used_memory / MIB));
	for (int s = 0; s < SIDE_N; s++) {
		if (f[s].slave_limit == 0 ||
		    f[s].slave_limit >= SLAVE_LIMIT_SMALL)
			continue;
		SAY(c, "output_buffer", CHECK_WARN,
		    "%s gives replicas %llu MiB of output buffer, then cuts "
		    "them; 64 MiB or more spare a second copy "
		    "(client-output-buffer-limit)",
		    side_name((enum side)s),
		    (unsigned long long)(f[s].slave_limit / MIB));
	}
}

static void
judge_fence(struct checks *c, const struct facts f[SIDE_N],
            const struct judge_conf *conf)
{
	for (int s = 0; s < SIDE_N; s++) {
		if (!f[s].has_aclfile && !f[s].has_config_file)
			SAY(c, "fence", CHECK_WARN,
			    "%s has neither an ACL file nor a configuration "
			    "file: after a restart it is open until its fence "
			    "is made again, a few hundredths of a second after "
			    "it answers",
			    side_name((enum side)s));
		if (f[s].replicas > 0 && !conf->is_resume)
			SAY(c, "replicas", CHECK_WARN,
			    "%s has %u replica%s: fenced with it; clients that "
			    "read there are not moved, point them at the "
			    "listener",
			    side_name((enum side)s), f[s].replicas,
			    f[s].replicas == 1 ? "" : "s");
	}
}

static void
judge_contents(struct checks *c, const struct facts f[SIDE_N],
               const struct judge_conf *conf)
{
	if (conf->moves_none && !conf->is_resume && !conf->empty_ok &&
	    f[SIDE_NEW].keys == 0 && f[SIDE_OLD].keys > 0)
		SAY(c, "contents", CHECK_FAIL,
		    "data none moves nothing, and new is empty (old has %llu "
		    "records): take snapshot or scan, move the data first, or "
		    "say that it is meant: {\"type\":\"none\",\"empty_ok\":true}",
		    (unsigned long long)f[SIDE_OLD].keys);
	else if (conf->moves_none && !conf->is_resume)
		SAY(c, "contents",
		    f[SIDE_OLD].keys == f[SIDE_NEW].keys ? CHECK_PASS
		                                         : CHECK_WARN,
		    "data none moves nothing: old has %llu records, new %llu; "
		    "what new lacks it lacks until it is written again (verify "
		    "says what differs)",
		    (unsigned long long)f[SIDE_OLD].keys,
		    (unsigned long long)f[SIDE_NEW].keys);
	else if (conf->slots != NULL && f[SIDE_NEW].keys > 0)
		return;
	else if (f[SIDE_NEW].keys > 0 && !conf->is_resume)
		SAY(c, "contents", CHECK_WARN,
		    "new is not empty (%llu records); where both have a "
		    "record the rule is --conflict %s, what only new has "
		    "stays: empty new first if an earlier migration left it",
		    (unsigned long long)f[SIDE_NEW].keys, conf->conflict);
	else
		SAY(c, "contents", CHECK_PASS, "old has %llu records",
		    (unsigned long long)f[SIDE_OLD].keys);
}

/* A migration that is under way is not stopped here: its mover says it, and who
 * has authority goes on. */
static void
judge_databases(struct checks *c, const struct facts *f, const char *who,
                const struct judge_conf *conf)
{
	if (f->databases > DATABASES_MAX)
		SAY(c, "databases", conf->is_resume ? CHECK_WARN : CHECK_FAIL,
		    "%s has keys in %u databases; at most %d can be moved; "
		    "empty some",
		    who, f->databases, DATABASES_MAX);
}

void
probe_judge(const struct facts f[SIDE_N], const struct judge_conf *conf,
            struct checks *ret)
{
	*ret = (struct checks){ .n = 0 };
	for (int s = 0; s < SIDE_N; s++) {
		judge_kind(ret, &f[s], conf->label[s], conf->is_resume);
		judge_databases(ret, &f[s], conf->label[s], conf);
		judge_rights(ret, &f[s], conf->label[s], conf->needs_fence,
		             conf->slots != NULL);
	}
	judge_pair(ret, f, conf);
	judge_cluster(ret, f, conf);
	judge_memory(ret, f, conf);
	if (conf->needs_fence)
		judge_fence(ret, f, conf);
	judge_contents(ret, f, conf);
}
