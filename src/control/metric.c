/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/metric.c: the metrics of tables/metric.tbl.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
#include "control/metric.h"

static const struct {
	const char *name;
	const char *type;
	const char *help;
} rows[METRIC_N] = {
#define X(id, name, type, labels, help) [METRIC_##id] = { name, type, help },
#include "metric.tbl"
#undef X
};

const char *
metric_name(enum metric m)
{
	return rows[m].name;
}

void
metric_head(FILE *out, enum metric m)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[m].name,
	              rows[m].help, rows[m].name, rows[m].type);
}
