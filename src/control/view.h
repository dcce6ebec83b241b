/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/view.h: pools, clients and servers of an interlay, of all its workers.
 *
 * Each worker is asked by itself (MAIL_VIEW), and makes no more rows than the page
 * has room for. A row's id is "<worker>-<number>": a page begins behind one.
 *
 * Limits: LIMIT_VIEW_ROWS a page; LIMIT_VIEW_MS for a worker to answer.
 * Thread: one at a time for an interlay.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "control/interlay.h"
#include "engine/view.h"

struct view_page {
	enum view_kind kind;
	uint32_t limit;
	const char *after; /* NULL: from the first one; pools have one page */
};

/* VIEW_N: none is called so. */
enum view_kind view_kind_find(const char *name);

/* *ret_rows: an array; *ret_next: the id to go on behind, or null. ERR_UNABLE: not
 * for this kind of server. ERR_BAD: after. ERR_TIMEOUT: a worker did not answer. */
int view_interlay(struct interlay *l, const struct view_page *page,
                  json_t **ret_rows, json_t **ret_next, struct err *err) MUST;

/* What a worker that did not answer may still write to; its loops have ended. */
void view_forget(struct interlay *l);
