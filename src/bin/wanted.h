/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/wanted.h: the options of godwit migrate as bodies of the API.
 *
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "control/run.h"

/* New references; NULL: no memory. Whose clients the interlay takes is to be added.
 * The migration has the definition, where one was given, else what the options
 * say. */
json_t *wanted_endpoint(const char *name, const char *url);
json_t *wanted_interlay(const struct run_conf *c, const char *id,
                        const char *listen);
json_t *wanted_migration(const struct run_conf *c, const char *id);
