/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/ask.h: what every command of the API shares.
 *
 * Thread: the main one.
 */
#pragma once

#include "bin/api/remote.h"
#include "bin/verbs.h"

/* An error that came before an answer: what, what to do next. Answers the exit
 * status. */
int ask_fail(const struct args *a, const struct remote *r,
             const struct err *err);
/* An answer that is a refusal: message, code, field, request, what to do next;
 * --json prints the envelope, too. Answers the exit status. */
int ask_refused(const struct args *a, const struct remote *r,
                const struct web_answer *answer);

verb_run_f ask_run;       /* an action that is one call                      */
verb_run_f login_run;     /* login.c                                         */
verb_run_f logout_run;    /* login.c                                         */
verb_run_f follow_watch;  /* follow.c: migrations watch                      */
verb_run_f follow_events; /* follow.c: migrations events                    */
