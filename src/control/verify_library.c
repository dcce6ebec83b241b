/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify_library.c: libraries of functions, which have no key.
 *
 * They are equal when both sides have the same names with the same code. On live
 * sides one that differs is looked at again until recheck_ms are over: FUNCTION
 * LOAD travels by the stream, and a library may be owed for a moment. A server
 * before 7.0 has none.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <time.h>

#include "control/verify_parts.h"

#define AGAIN_MS 200 /* between two looks */

/* One library. The spans are the answer's. */
struct library {
	struct span name;
	struct span engine;
	struct span code;
};

/* The answers of both sides behind their heads. */
struct libraries {
	struct span text[2];
	uint64_t n[2];
	bool is_refused; /* this user may not ask */
};

/* The next library of *in; false: it is none. */
static bool
take(struct span *in, struct library *ret)
{
	struct resp_item head;
	struct resp_item word;
	struct resp_item value;

	*ret = (struct library){ .name = { NULL, 0 } };
	if (!value_item(in, RESP_ARRAY, &head))
		return false;
	for (int64_t i = 0; i + 1 < head.number; i += 2) {
		struct span at;
		int64_t n;

		if (!value_item(in, RESP_BULK, &word))
			return false;
		n = resp_reply_len(*in);
		if (n <= 0)
			return false;
		at = span_of(in->p, (size_t)n);
		*in = span_skip(*in, (size_t)n);
		if (resp_read(&at, &value) != WIRE_PART)
			return false;
		if (span_eq(word.text, SPAN("library_name")))
			ret->name = value.text;
		else if (span_eq(word.text, SPAN("engine")))
			ret->engine = value.text;
		else if (span_eq(word.text, SPAN("library_code")))
			ret->code = value.text;
	}
	return ret->name.p != NULL;
}

/* The library of that name in the answer of a side. */
static bool
find(const struct libraries *l, uint32_t side, struct span name,
     struct library *ret)
{
	struct span in = l->text[side];

	for (uint64_t i = 0; i < l->n[side]; i++) {
		if (!take(&in, ret))
			return false;
		if (span_eq(ret->name, name))
			return true;
	}
	return false;
}

/* Both are asked; the answers are valid until they are asked again. */
static int
ask(struct verify *v, struct libraries *ret, struct err *err)
{
	int rc = 0;

	*ret = (struct libraries){ .is_refused = false };
	for (uint32_t side = 0; rc == 0 && side < 2; side++) {
		struct peer *p = &v->peer[side];
		struct resp_item head;
		struct span in;

		if (p->no_expiretime)
			continue; /* before 7.0 */
		resp_put_cmd(&p->out, "FUNCTION", "LIST", "WITHCODE", NULL);
		rc = peer_call(p, 1, &in, err);
		if (rc < 0)
			return rc;
		if (resp_read(&in, &head) != WIRE_PART)
			return peer_broken(p, "the answer is broken", err);
		ret->is_refused |= head.type != RESP_ARRAY;
		ret->text[side] = in;
		ret->n[side] =
			head.type == RESP_ARRAY ? (uint64_t)head.number : 0;
	}
	return rc;
}

static void
tell(struct verify *v, enum verify_kind kind, struct span name,
     const char *detail)
{
	char key[128];
	struct verify_find *f;
	int n = snprintf(key, sizeof(key), "library %.*s",
	                 (int)(name.n < 100 ? name.n : 100),
	                 (const char *)name.p);

	f = verify_find(v, kind, span_of(key, (size_t)n));
	if (f != NULL)
		(void)snprintf(f->detail, sizeof(f->detail), "%s", detail);
}

/* How many differ; they are counted and named when it is told. */
static uint64_t
differ(struct verify *v, const struct libraries *l, bool is_told)
{
	struct library a;
	struct library b;
	struct span in = l->text[0];
	uint64_t n = 0;

	for (uint64_t i = 0; i < l->n[0] && take(&in, &a); i++) {
		bool is_there = find(l, 1, a.name, &b);

		if (is_there && span_eq(a.code, b.code) &&
		    span_eq(a.engine, b.engine))
			continue;
		n++;
		if (is_told)
			tell(v, is_there ? VERIFY_DIFFERENT : VERIFY_MISSING,
			     a.name,
			     is_there ? "functions: its code differs"
			              : "functions: not on the other side");
	}
	in = l->text[1];
	for (uint64_t i = 0; i < l->n[1] && take(&in, &b); i++) {
		if (find(l, 0, b.name, &a))
			continue;
		n++;
		if (is_told)
			tell(v, VERIFY_EXTRA, b.name,
			     "functions: only on the other side");
	}
	return n;
}

int
library_compare(struct verify *v, struct err *err)
{
	const struct timespec pause = { .tv_nsec = AGAIN_MS * 1000000L };
	uint64_t until = os_mono_ns() + (uint64_t)v->conf->recheck_ms * 1000000;
	struct libraries l;
	uint64_t n;
	int rc;

	for (;;) {
		rc = ask(v, &l, err);
		if (rc == 0)
			rc = page_stopped(v, err);
		if (rc < 0)
			return rc;
		if (l.is_refused) {
			tell(v, VERIFY_NOTED, SPAN("*"),
			     "functions: not compared, this user may not "
			     "FUNCTION LIST");
			return 0;
		}
		n = differ(v, &l, false);
		if (n == 0 || !v->conf->is_live || os_mono_ns() > until)
			break;
		(void)nanosleep(&pause, NULL);
	}
	if (n > 0)
		(void)differ(v, &l, true);
	return 0;
}
