/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/url_parts.h: what the files behind url.h share: pieces of URLs.
 *
 * Readers take [from, to) and undo %XX; writers append at `used` and answer where
 * they ended, n when it did not fit.
 *
 * Thread: any.
 */
#pragma once

#include "control/url.h"

/* The last c in [from, to), or NULL. */
const char *url_find_last(const char *from, const char *to, char c);
int url_decode(const char *from, const char *to, char *ret, size_t n,
               const char *what, struct err *err) MUST;
/* A decimal number of at most max, all of [from, to). */
bool url_number(const char *from, const char *to, uint32_t max, uint32_t *ret);
/* user:password */
int url_parse_user(const char *from, const char *to, struct url *ret,
                   struct err *err) MUST;
/* host[:port] or [v6]:port */
int url_parse_host(const char *from, const char *to, uint32_t default_port,
                   struct url *ret, struct err *err) MUST;

/* As it is. */
size_t url_put(char *ret, size_t n, size_t used, const char *text);
/* %XX for all but the unreserved characters and those of keep. */
size_t url_encode(char *ret, size_t n, size_t used, const char *text,
                  const char *keep);
size_t url_put_user(const struct url *u, char *ret, size_t n, size_t used);
size_t url_put_host(const struct address *at, char *ret, size_t n, size_t used);

/* url_postgres.c: behind "postgres://". */
int url_postgres_parse(const char *rest, struct url *ret, struct err *err) MUST;
int url_postgres_print(const struct url *u, char *ret, size_t n,
                       struct err *err) MUST;
