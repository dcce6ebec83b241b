/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/view.h: a migration of the API as the status object that the live
 * screen draws (docs/internals/contracts.md).
 *
 * Thread: any.
 */
#pragma once

#include <jansson.h>

/* A new object; m is GET /migrations/{m}. */
json_t *view_status(const json_t *m);
