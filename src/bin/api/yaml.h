/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/yaml.h: a YAML document as JSON.
 *
 * One document; plain scalars by the core schema of YAML 1.2 (null, true, 12,
 * 0.5), quoted ones are texts. No anchors, no tags, no double names: what a
 * person cannot see at once is refused with its line.
 *
 * Limits: YAML_DEPTH levels.
 * Source: YAML 1.2.2, chapter 10.3.
 * Thread: any.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define YAML_DEPTH 32

/* A new reference, or NULL with ERR_BAD. */
json_t *yaml_load(struct span text, struct err *err);
