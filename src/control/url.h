/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/url.h: an endpoint as people write it.
 *
 *   redis://[user[:password]@]host[:port][/db]
 *   rediss://... the same in TLS, and ?ca=FILE&cert=FILE&key=FILE&name=NAME&
 *   insecure=1 for what world/os/tls.h says of them
 *   unix://[user[:password]@]/path/of/socket[?db=N], redis+unix:// as well
 *
 *   redis+sentinel://[user[:password]@]host[:port][,host[:port]...]/master[?db=N]
 *   postgres://[user[:password]@]host[:port]/database (url_postgres.c)
 *
 * As redis-cli and the client libraries read it: "redis://:secret@host" has a
 * password and no user; %XX stands for a byte. "host:port" alone is taken as
 * redis://host:port.
 *
 * Owns:   nothing; a value.
 * Limits: the fields' sizes; longer parts are refused by name.
 * Thread: any.
 */
#pragma once

#include "base/err.h"
#include "engine/engine.h"

#define URL_PORT_DEFAULT  6379
#define URL_PORT_SENTINEL 26379
#define URL_PORT_POSTGRES 5432

struct url_tls {
	bool is_on;
	bool insecure;
	bool any_name;  /* its signature counts, whatever name it has     */
	char ca[200];   /* "": the system's authorities                   */
	char cert[200]; /* ours; "" none                                  */
	char key[200];
	char name[108]; /* in the server's certificate; "": the host      */
};

/* Which engine it is; control/dialect.h has a table for each. */
enum url_kind {
	URL_REDIS,
	URL_POSTGRES,
	URL_KIND_N,
};

#define URL_MAX 2048 /* what url_print() may need, but for odd passwords */

struct url {
	struct address at;
	char user[64];  /* "" none                                        */
	char pass[256]; /* "" none                                        */
	enum url_kind kind;
	uint32_t db;       /* Redis: 0 unless the URL names one           */
	char database[64]; /* PostgreSQL: never "" behind url_parse       */
	struct url_tls tls;
	char label[128]; /* to be shown: the URL without user and password */
};

/* Read text into *ret. ERR_USAGE with a sentence that says what is wrong and
 * never repeats the password. */
int url_parse(const char *text, struct url *ret, struct err *err) MUST;

/* Put a password (from a file or the environment) in the place of the URL's;
 * one newline at its end is dropped. ERR_USAGE when it does not fit. */
int url_set_password(struct url *u, const char *password, struct err *err) MUST;

/* The URL again, password included (%XX where needed), so that url_parse gives
 * the same struct. ERR_LIMIT when n bytes are too few. */
int url_print(const struct url *u, char *ret, size_t n, struct err *err) MUST;

/* Fill address, URL's credentials and label ("old redis://host:port"); the
 * rest of *ret is cleared. ERR_USAGE: what TLS needs cannot be read; then *ret
 * would be plain and must not be used. */
int url_side(const struct url *u, enum side side, struct side_conf *ret,
             struct err *err) MUST;

/* The mode of libpq that its TLS is: "verify-full". A constant. */
const char *url_sslmode(const struct url *u);

/* "off", "verified" or "insecure". */
const char *url_tls_word(const struct url *u);

/* Do both name the same thing to move: an address and, for PostgreSQL, a database
 * there? (Two names of one server are found by asking the servers, not here.) */
bool url_same(const struct url *a, const struct url *b);
/* ... or the same server: it has one fence, whatever it holds. */
bool url_same_server(const struct url *a, const struct url *b);
/* The same of two texts; false when one is no URL. */
bool url_same_text(const char *a, const char *b);
bool url_same_server_text(const char *a, const char *b);
