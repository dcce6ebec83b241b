/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/spec/inside.h: what the files of control/spec share.
 */
#pragma once

#include "base/check.h"
#include "control/limit.h"
#include "control/spec/field.h"

#define PPM_ALL 1000000u
#define UNIT(i) ((uint64_t)1 << (i))

/* ---- units.c: features, flags, regions, instances ----------------------- */

/* {"name": bool, ...} over what is there already. */
void units_read_map(struct fields *f, const json_t *object, const char *name,
                    struct strategy *s);
/* {"name": {"key_prefixes":[..],..}, ...}: the words of units, replaced. */
void units_read_match(struct fields *f, const json_t *object, const char *name,
                      struct spec *s);
void units_read_instances(struct fields *f, const json_t *object,
                          struct spec *s);
void units_read_locate(struct fields *f, const json_t *object, struct spec *s);
json_t *units_print_map(const struct strategy *s);
json_t *units_print_match(const struct spec *s);
json_t *units_print_instances(const struct strategy *s, uint64_t units);
json_t *units_print_locate(const struct spec *s);
/* The unit's number, or STRATEGY_NO_UNIT. */
uint32_t units_find(const struct strategy *s, const char *name);

/* ---- when.c: time_window ------------------------------------------------ */

void when_read(struct fields *f, const json_t *object, struct spec *s);
void when_print(const struct spec *s, json_t *to);

/* ---- kinds.c: one strategy object --------------------------------------- */

/* Over what s holds; s has the defaults of the kind when it is new. */
void kinds_read(struct fields *f, const json_t *strategy, struct spec *s,
                bool is_running);
void kinds_warn_reads(struct fields *f, const struct spec *s);
/* The defaults of everything that belongs to the strategy. */
void kinds_init(struct spec *s, enum strategy_kind kind);

/* ---- rest.c: write_mode, data, failure_handling, analysis --------------- */

void rest_read_write(struct fields *f, const json_t *strategy, struct spec *s);
void rest_read_data(struct fields *f, const json_t *in, struct spec_data *d);
void rest_read_failure(struct fields *f, const json_t *in,
                       struct spec_failure *x);
void rest_read_analysis(struct fields *f, const json_t *in,
                        struct spec_analysis *a);
void rest_init_analysis(struct spec_analysis *a);
json_t *rest_print_write(const struct spec_write *w);
json_t *rest_print_data(const struct spec_data *d);
json_t *rest_print_failure(const struct spec_failure *x);
json_t *rest_print_analysis(const struct spec_analysis *a);
