/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/metric.h: the metrics of tables/metric.tbl.
 *
 * Thread: any.
 */
#pragma once

#include <stdio.h>

enum metric {
#define X(id, name, type, labels, help) METRIC_##id,
#include "metric.tbl"
#undef X
	METRIC_N,
};

/* "godwit_ready" */
const char *metric_name(enum metric m);
/* The two lines in front of the first line of each. */
void metric_head(FILE *out, enum metric m);
