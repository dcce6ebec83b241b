/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/spec.c: the definition of a migration, JSON <-> structs.
 */
#include "control/spec/spec.h"

#include <stdlib.h>

#include "control/spec/inside.h"
#include "control/spec/mmdb_file.h"

static struct spec *
spec_new(void)
{
	struct spec *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->warnings = json_array();
	if (s->warnings == NULL) {
		free(s);
		return NULL;
	}
	kinds_init(s, STRATEGY_BIG_BANG);
	s->data = (struct spec_data){ .move = DATA_NONE,
		                      .replace = CONFLICT_REPLACE };
	s->failure = (struct spec_failure){ .kind = FAILURE_ROLLBACK_ALL,
		                            .retry_count = 3 };
	rest_init_analysis(&s->analysis);
	return s;
}

static struct spec *
spec_copy(const struct spec *from)
{
	struct spec *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	*s = *from;
	s->term = NULL;
	s->net = NULL;
	s->warnings = json_array();
	if (from->term_n > 0) {
		s->term = malloc(from->term_n * sizeof(*s->term));
		if (s->term != NULL)
			memcpy(s->term, from->term,
			       from->term_n * sizeof(*s->term));
	}
	if (from->net_n > 0) {
		s->net = malloc(from->net_n * sizeof(*s->net));
		if (s->net != NULL)
			memcpy(s->net, from->net,
			       from->net_n * sizeof(*s->net));
	}
	if (s->warnings == NULL || (from->term_n > 0 && s->term == NULL) ||
	    (from->net_n > 0 && s->net == NULL)) {
		spec_free(s);
		return NULL;
	}
	return s;
}

void
spec_free(struct spec *s)
{
	if (s == NULL)
		return;
	free(s->term);
	free(s->net);
	json_decref(s->warnings);
	free(s);
}

struct spec *
spec_clone(const struct spec *s)
{
	return spec_copy(s);
}

/* ---- reading ----------------------------------------------------------- */

/* A member of the migration's object, whose own names are the API's. */
static json_t *
member(const json_t *in, const char *name)
{
	return json_is_object(in) ? fields_get(in, name) : NULL;
}

static void
read_all(struct fields *f, const json_t *in, struct spec *s, bool is_running)
{
	json_t *m = member(in, "strategy");
	size_t mark;

	if (!json_is_object(in))
		fields_fault(f, ERR_USAGE, NULL, "an object is wanted");
	mark = fields_enter(f, "strategy");
	if (m != NULL)
		kinds_read(f, m, s, is_running);
	fields_leave(f, mark);
	if (f->rc != 0)
		return;
	mark = fields_enter(f, "data");
	rest_read_data(f, member(in, "data"), &s->data);
	fields_leave(f, mark);
	mark = fields_enter(f, "failure_handling");
	rest_read_failure(f, member(in, "failure_handling"), &s->failure);
	fields_leave(f, mark);
	mark = fields_enter(f, "analysis");
	rest_read_analysis(f, member(in, "analysis"), &s->analysis);
	fields_leave(f, mark);
}

static int
read_into(struct spec *s, struct fields *f, const json_t *in, bool is_running,
          struct spec **ret)
{
	*ret = NULL;
	if (f->issue != NULL)
		f->issue->param[0] = '\0';
	if (s == NULL)
		return err_set(f->err, ERR_NOMEM, "no memory");
	f->warnings = s->warnings;
	read_all(f, in, s, is_running);
	if (f->rc != 0) {
		spec_free(s);
		return f->rc;
	}
	*ret = s;
	return 0;
}

int
spec_read(const json_t *in, struct spec **ret, struct spec_issue *issue,
          struct err *err)
{
	struct fields f = { .issue = issue, .err = err };

	return read_into(spec_new(), &f, in, false, ret);
}

int
spec_patch(const struct spec *from, const json_t *patch, bool is_running,
           struct spec **ret, struct spec_issue *issue, struct err *err)
{
	struct fields f = { .issue = issue, .err = err, .is_patch = true };
	struct spec *s = spec_copy(from);

	if (s != NULL) {
		s->strategy.stays.reads = true;
		s->strategy.stays.writes = true;
		s->strategy.stays.side = true;
		s->strategy.stays.units = UINT64_MAX;
	}
	return read_into(s, &f, patch, is_running, ret);
}

int
spec_patch_traffic(const struct spec *from, const json_t *body,
                   struct spec **ret, struct spec_issue *issue, struct err *err)
{
	struct fields f = { .issue = issue, .err = err };
	struct spec *s = spec_copy(from);
	uint32_t write = from->write.write_ppm;

	*ret = NULL;
	if (issue != NULL)
		issue->param[0] = '\0';
	if (s == NULL)
		return err_set(err, ERR_NOMEM, "no memory");
	f.warnings = s->warnings;
	if (fields_only(&f, body, "read_percentage write_percentage reason") &&
	    strategy_base(&s->strategy) != STRATEGY_CANARY)
		fields_fault(&f, ERR_STATE, NULL,
		             "traffic belongs to canary; this migration is %s",
		             strategy_name(s->strategy.kind));
	fields_share(&f, body, "read_percentage", &s->strategy.start_ppm);
	fields_share(&f, body, "write_percentage", &write);
	if (f.rc == 0 && write != from->write.write_ppm) {
		if (write != 0 && write != PPM_ALL &&
		    s->write.mode == WRITE_DUAL)
			fields_fault(&f, ERR_UNABLE, "write_percentage",
			             "a part of the writes moves with "
			             "write_mode cutover, not with dual_write");
		s->write.mode = WRITE_CUTOVER;
		s->write.write_ppm = write;
		if (write < PPM_ALL)
			s->strategy.start_write_ppm = write;
	}
	if (f.rc == 0)
		kinds_warn_reads(&f, s);
	if (f.rc != 0) {
		spec_free(s);
		return f.rc;
	}
	*ret = s;
	return 0;
}

/* ---- moves ------------------------------------------------------------- */

bool
spec_wants_new(const struct spec *s)
{
	enum strategy_kind k = strategy_base(&s->strategy);

	if (k == STRATEGY_SHADOW_TRAFFIC || k == STRATEGY_ROLLING_UPDATE)
		return false;
	if (k == STRATEGY_BLUE_GREEN && s->strategy.start_new)
		return true;
	if (s->write.mode == WRITE_DUAL)
		return s->write.policy == POLICY_NEW_AUTHORITATIVE;
	return s->write.write_ppm == PPM_ALL &&
	       (k != STRATEGY_CANARY || s->strategy.start_ppm == PPM_ALL);
}

int
spec_move(const struct spec *from, const struct strategy_at *at,
          const struct spec *to, struct strategy_move *ret, struct err *err)
{
	int rc = strategy_patch(&from->strategy, at, &to->strategy, ret, err);

	if (rc != 0)
		return rc;
	if (at->authority == SIDE_OLD && spec_wants_new(to))
		*ret = (struct strategy_move){ .kind = MOVE_TO_CUTOVER,
			                       .step = to->strategy.step_n,
			                       .units = at->units,
			                       .unit = STRATEGY_NO_UNIT };
	return 0;
}

/* ---- rules ------------------------------------------------------------- */

/* Regions are recognised by the fact of that name, without a word of theirs. */
static uint32_t
region_terms(const struct spec *s, struct rules_term *to, uint32_t n)
{
	for (uint32_t i = 0; i < s->strategy.unit_n; i++) {
		bool named = false;

		for (uint32_t k = 0; k < s->term_n; k++)
			named |= s->term[k].rule == i;
		if (named || n == RULES_TERMS_MAX)
			continue;
		to[n] = (struct rules_term){ .rule = (uint8_t)i,
			                     .fact = FACT_REGION };
		memcpy(to[n].word, s->strategy.unit[i], STRATEGY_NAME_MAX);
		n++;
	}
	return n;
}

static void
unit_shares(const struct spec *s, const struct strategy_at *at,
            struct rules_in *in)
{
	bool flags = strategy_base(&s->strategy) == STRATEGY_FEATURE_FLAG;

	in->rule_n = s->strategy.unit_n;
	for (uint32_t i = 0; i < s->strategy.unit_n; i++) {
		bool on = (at->units & UNIT(i)) != 0;

		in->ppm[i] = !on ? 0 : flags ? at->ppm : PPM_ALL;
		if (flags && !on)
			in->skip |= UNIT(i);
	}
	/* A flag without a segment is everybody's. */
	if (flags)
		in->any = ~(uint64_t)0;
}

bool
spec_rules(const struct spec *s, const struct strategy_at *at,
           const struct mmdb_file *mmdb, struct mem *mem, struct rules **ret)
{
	struct rules_in in = { .sticky = s->sticky,
		               .assign = s->assign,
		               .net = s->net,
		               .net_n = s->net_n };
	enum strategy_kind k = strategy_base(&s->strategy);
	struct rules_term *term;

	*ret = NULL;
	if (mmdb != NULL) {
		in.locate = mmdb_file_locate;
		in.locate_arg = mmdb;
	}
	if ((s->locate.by & LOCATE_LABEL) != 0)
		memcpy(in.region_label, s->locate.label,
		       sizeof(in.region_label));
	if (k == STRATEGY_CANARY &&
	    (s->sticky != STICKY_KEY || s->assign != ASSIGN_KEY)) {
		in.else_ppm = at->ppm;
		*ret = rules_build(mem, &in);
		return *ret != NULL;
	}
	if (k != STRATEGY_STRANGLER_FIG && k != STRATEGY_FEATURE_FLAG &&
	    k != STRATEGY_GEOGRAPHIC)
		return true;
	term = calloc(RULES_TERMS_MAX, sizeof(*term));
	if (term == NULL)
		return false;
	if (s->term_n > 0)
		memcpy(term, s->term, s->term_n * sizeof(*term));
	in.term = term;
	in.term_n = s->term_n;
	if (k == STRATEGY_GEOGRAPHIC)
		in.term_n = region_terms(s, term, in.term_n);
	unit_shares(s, at, &in);
	*ret = rules_build(mem, &in);
	free(term);
	return *ret != NULL;
}
