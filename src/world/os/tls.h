/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls.h: TLS under a connection: the machines see plain bytes.
 *
 * A context (struct tls_client towards servers, struct tls_server towards
 * clients) holds certificates and rules and is shared by connections of any
 * thread. A struct tls is one connection's state; it reads and writes a
 * non-blocking socket that stays the caller's.
 *
 * TLS 1.2 and newer; no renegotiation, no compression, no session tickets (a
 * certificate that is no longer wanted is looked at in each handshake). The
 * peer's end counts with and without close_notify: what our protocols say tells
 * by itself where it ends.
 *
 * Texts of certificates and keys are PEM, or the path of a file with PEM: a text
 * that has "-----BEGIN" in it is PEM. A file that was exchanged is read again for
 * the next handshake, within a second (tls_files.h). Where a text is too long (in a URL) a name
 * from tls_pem_name() stands for it.
 *
 * Limits: TLS_HANDSHAKE_MS for a handshake, TLS_FILE_MAX bytes a file. Memory is
 *         OpenSSL's, beside the loop's limit: some 40 KiB a connection while
 *         bytes are under way, 10 KiB idle.
 * Thread: contexts any; a struct tls one at a time.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "base/span.h"

#define TLS_HANDSHAKE_MS 5000
#define TLS_FILE_MAX     ((size_t)1024 * 1024)

#define TLS_PEM_NAME 40
#define TLS_PEMS_MAX 4096

/* A name for this PEM text ("pem:" and digits), good in the place of it for the
 * life of the process; the same text has the same name. ERR_BAD: no PEM;
 * ERR_LIMIT, ERR_NOMEM. */
int tls_pem_name(const char *text, char ret[TLS_PEM_NAME],
                 struct err *err) MUST;

/* ---- towards servers ------------------------------------------------------ */

struct tls_client;

/* NULL and "" mean none. */
struct tls_client_conf {
	const char *ca;   /* who signs the server's certificate; none: the
	                   * system's authorities                            */
	const char *cert; /* ours, if the server asks for one                */
	const char *key;
	const char *name; /* in the server's certificate; none: the host     */
	bool insecure;    /* take whatever certificate the server shows      */
	bool any_name;    /* its signature counts, whatever name it has      */
	/* Said in clear before the handshake, and the one byte that agrees to it;
	 * a constant. n 0: TLS from the first byte. */
	struct span ask;
	char agrees;
};

#define TLS_CLIENTS_MAX 1024 /* endpoints with rules of their own */

/* The context of these rules, for the life of the process: whoever copied an
 * address may use it. Equal rules, texts and paths give the same one. NULL: ERR_USAGE (a
 * file, what is in it), ERR_LIMIT, ERR_NOMEM. */
struct tls_client *tls_client_get(const struct tls_client_conf *conf,
                                  struct err *err);
bool tls_client_is_insecure(const struct tls_client *c);

/* ---- towards clients ------------------------------------------------------ */

struct tls_server;

struct tls_server_conf {
	const char *server_cert; /* the certificate, then its chain          */
	const char *server_key;
	const char *client_ca_cert; /* who signs clients' certificates; none:
	                             * clients are not asked for one         */
	bool require_client_certificate; /* false: asked for, and looked at
	                                  * when there is one                */
	/* The protocol inside, as clients may name it (ALPN): then no other, and
	 * who begins without a question has to. A constant; NULL: none. */
	const char *alpn;
};

/* ERR_USAGE, ERR_NOMEM. Freed by the owner after the loops that use it. */
struct tls_server *tls_server_new(const struct tls_server_conf *conf,
                                  struct err *err);
void tls_server_free(struct tls_server *s); /* NULL is fine */

/* New certificates and rules for handshakes from now on; connections that stand
 * keep theirs. On an error nothing has changed. */
int tls_server_reload(struct tls_server *s, const struct tls_server_conf *conf,
                      struct err *err) MUST;

/* What handshakes came to since tls_server_new(). */
struct tls_look {
	uint64_t done;
	uint64_t failed;
	char last[160]; /* why the last failed one did; "" none failed       */
};
void tls_server_look(struct tls_server *s, struct tls_look *ret);

/* ---- one connection ------------------------------------------------------- */

struct tls;

/* NULL: no memory. host: what the address calls the server. */
struct tls *tls_connect(const struct tls_client *c, const char *host);
struct tls *tls_accept(struct tls_server *s);
void tls_free(struct tls *t); /* NULL is fine; the socket stays open */

void tls_use_fd(struct tls *t, int fd); /* -1: it is closed */
/* Of a client that did not ask first: bytes of its handshake that were read
 * already. Before the first tls_shake(). False: no memory. */
bool tls_feed(struct tls *t, struct span seen);

enum tls_rc {
	TLS_DONE,
	TLS_AGAIN, /* when the socket is readable or writable again  */
	TLS_FAILED /* see tls_why()                                  */
};
enum tls_rc tls_shake(struct tls *t);

/* As recv() and send() on the socket: bytes, 0 (read: the peer's end), -1 with
 * errno: EAGAIN, the socket's own error, or EPROTO (see tls_why()). A read that
 * gives less than n has used up what the socket had. */
ssize_t tls_read(struct tls *t, void *ret, size_t n);
ssize_t tls_write(struct tls *t, const void *p, size_t n);

/* No more bytes will come although the socket says nothing. */
bool tls_is_over(const struct tls *t);
/* The last read waits for the socket to be writable, the last write for it to
 * be readable. */
bool tls_read_waits(const struct tls *t);
bool tls_write_waits(const struct tls *t);

/* Say that we send no more. False: again when the socket is writable. */
bool tls_bye(struct tls *t);

/* What went wrong, as the rest of a sentence about the peer; answers -code. */
int tls_why(const struct tls *t, struct err *err);
