/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/openapi.h: the API's description, made from tables/.
 *
 * Owns:   nothing. Thread: any.
 */
#pragma once

/* OpenAPI 3.1 as JSON text, malloced; NULL: out of memory. */
char *openapi_text(const char *version);
