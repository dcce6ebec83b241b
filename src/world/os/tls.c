/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls.c: one connection's TLS.
 *
 * OpenSSL reads and writes the socket through a BIO of ours, for two reasons: no
 * SIGPIPE, and a read that got less than it asked for has used up the socket's
 * edge, so the next one answers "later" without a system call.
 */
#include "world/os/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "base/check.h"
#include "world/os/loop.h"
#include "world/os/tls_parts.h"

struct tls {
	SSL *ssl;
	struct tls_server *server; /* NULL: we are the client */
	X509 *refused;             /* the peer's certificate at fault */
	int fd;
	int io_errno;  /* the socket's last error        */
	int read_bad;  /* errno of every read from now on */
	int write_bad; /* ... of every write             */
	bool drained;  /* the socket's edge is used up   */
	bool ended;    /* the peer's end was read        */
	bool is_up;    /* the handshake is done          */
	bool is_said;  /* our end                        */
	bool is_heard; /* bytes came                     */
	bool read_waits;
	bool write_waits;
	bool needs_alpn;
	char agrees;     /* the byte that is waited for              */
	struct span ask; /* what is still to be said before it        */
	bool is_asking;  /* the byte has not come                     */
	uint8_t *early;  /* malloc; bytes that were read before us    */
	size_t early_n;
	size_t early_at;
	struct err why;
	char host[256];
};

/* ---- the socket as OpenSSL sees it -------------------------------------- */

static int
bio_read(BIO *b, char *ret, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t got;

	BIO_clear_retry_flags(b);
	if (t->early_at < t->early_n) {
		size_t left = t->early_n - t->early_at;
		size_t take = left < (size_t)n ? left : (size_t)n;

		memcpy(ret, t->early + t->early_at, take);
		t->early_at += take;
		return (int)take;
	}
	if (t->drained) {
		BIO_set_retry_read(b);
		return -1;
	}
	do {
		got = recv(t->fd, ret, (size_t)n, 0);
	} while (got < 0 && errno == EINTR);
	if (got > 0)
		t->drained = t->is_up && got < n; /* an end would be missed */
	else if (got == 0)
		t->ended = true;
	else if (errno == EAGAIN)
		BIO_set_retry_read(b);
	else
		t->io_errno = errno;
	return (int)got;
}

static int
bio_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t put;

	BIO_clear_retry_flags(b);
	do {
		put = send(t->fd, p, (size_t)n, MSG_NOSIGNAL);
	} while (put < 0 && errno == EINTR);
	if (put < 0 && errno == EAGAIN)
		BIO_set_retry_write(b);
	else if (put < 0)
		t->io_errno = errno;
	return (int)put;
}

static long
bio_ctrl(BIO *b, int what, long n, void *p)
{
	const struct tls *t = BIO_get_data(b);

	(void)n;
	(void)p;
	if (what == BIO_CTRL_EOF)
		return t->ended;
	return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method; /* for the life of the process */
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void
make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
	                             "godwit socket");

	if (m == NULL || BIO_meth_set_read(m, bio_read) != 1 ||
	    BIO_meth_set_write(m, bio_write) != 1 ||
	    BIO_meth_set_ctrl(m, bio_ctrl) != 1)
		return; /* a later BIO_new(NULL) fails */
	method = m;
}

/* ---- birth and death ---------------------------------------------------- */

/* Keep the certificate that is refused: afterwards nobody has it any more. */
static int
note_refused(int ok, X509_STORE_CTX *x)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(
		x, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);

	if (ok != 1 && t->refused == NULL) {
		t->refused = X509_STORE_CTX_get_current_cert(x);
		if (t->refused != NULL)
			(void)X509_up_ref(t->refused);
	}
	return ok;
}

/* Takes the reference of ctx. */
static struct tls *
tls_new(SSL_CTX *ctx)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *b = NULL;

	(void)pthread_once(&method_once, make_method);
	if (t != NULL && method != NULL) {
		t->fd = -1;
		t->ssl = SSL_new(ctx);
		b = BIO_new(method);
	}
	SSL_CTX_free(ctx);
	if (t == NULL || t->ssl == NULL || b == NULL) {
		BIO_free(b);
		if (t != NULL)
			SSL_free(t->ssl);
		free(t);
		ERR_clear_error();
		return NULL;
	}
	(void)SSL_set_app_data(t->ssl, t);
	SSL_set_verify(t->ssl, SSL_get_verify_mode(t->ssl), note_refused);
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	return t;
}

static bool
is_numeric(const char *host)
{
	uint8_t at[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, at) == 1 ||
	       inet_pton(AF_INET6, host, at) == 1;
}

/* The name that the server is asked by, and that its certificate must have. */
static bool
expect_name(struct tls *t, bool looks)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);

	X509_VERIFY_PARAM_set_hostflags(param,
	                                X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (is_numeric(t->host))
		return !looks ||
		       X509_VERIFY_PARAM_set1_ip_asc(param, t->host) == 1;
	return SSL_set_tlsext_host_name(t->ssl, t->host) == 1 &&
	       (!looks || X509_VERIFY_PARAM_set1_host(param, t->host, 0) == 1);
}

struct tls *
tls_connect(const struct tls_client *c, const char *host)
{
	struct tls *t;
	const char *name = c->name[0] != '\0' ? c->name : host;
	size_t n = strnlen(name, sizeof(t->host) - 1);

	t = tls_new(tls_client_ctx(c));
	if (t == NULL)
		return NULL;
	memcpy(t->host, name, n);
	t->ask = c->ask;
	t->agrees = c->agrees;
	t->is_asking = c->ask.n > 0;
	SSL_set_connect_state(t->ssl);
	if (!expect_name(t, !c->any_name)) {
		tls_free(t);
		return NULL;
	}
	return t;
}

struct tls *
tls_accept(struct tls_server *s)
{
	struct tls *t = tls_new(tls_server_ctx(s));

	if (t == NULL)
		return NULL;
	t->server = s;
	SSL_set_accept_state(t->ssl);
	return t;
}

void
tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	if (t->server != NULL && !t->is_up)
		tls_server_note(t->server,
		                t->why.code != ERR_NONE
		                        ? t->why.text
		                        : "it ended before the handshake did");
	X509_free(t->refused);
	SSL_free(t->ssl);
	free(t->early);
	free(t);
}

void
tls_use_fd(struct tls *t, int fd)
{
	t->fd = fd;
}

bool
tls_feed(struct tls *t, struct span seen)
{
	REQUIRE(t->early == NULL && !t->is_up && seen.n > 0);
	t->early = malloc(seen.n);
	if (t->early == NULL)
		return false;
	memcpy(t->early, seen.p, seen.n);
	t->early_n = seen.n;
	t->needs_alpn = t->server != NULL && t->server->alpn != NULL;
	return true;
}

/* ---- the protocol inside ------------------------------------------------ */

int
tls_choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                    const unsigned char *in, unsigned int n, void *arg)
{
	const unsigned char *name = arg;
	size_t len = strlen(arg);

	(void)ssl;
	while (n > 0 && in[0] < n) {
		if (in[0] == len && memcmp(in + 1, name, len) == 0) {
			*ret = in + 1;
			*ret_n = in[0];
			return SSL_TLSEXT_ERR_OK;
		}
		n -= in[0] + 1u;
		in += in[0] + 1u;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- what went wrong ---------------------------------------------------- */

static void
why_expired(struct tls *t, X509 *x)
{
	struct tm at = { .tm_year = 0 };
	char day[40] = "";

	if (x != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(x), &at) == 1 &&
	    strftime(day, sizeof(day), " on %Y-%m-%d", &at) == 0)
		day[0] = '\0';
	(void)err_set(&t->why, ERR_REFUSED,
	              "its certificate expired%s; renew it on the server", day);
}

/* The names a certificate is for, as far as they fit. */
static void
names_of(X509 *x, char *ret, size_t n)
{
	GENERAL_NAMES *all =
		X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;

	ret[0] = '\0';
	for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
		const uint8_t *p;
		int len;

		if (g->type != GEN_DNS)
			continue;
		p = ASN1_STRING_get0_data(g->d.dNSName);
		len = ASN1_STRING_length(g->d.dNSName);
		if (len <= 0 || used + (size_t)len + 3 > n)
			break;
		if (used > 0)
			ret[used++] = ' ';
		for (int k = 0; k < len; k++)
			ret[used++] =
				(char)(p[k] > ' ' && p[k] < 0x7f ? p[k] : '?');
		ret[used] = '\0';
	}
	GENERAL_NAMES_free(all);
}

static void
why_name(struct tls *t, X509 *x)
{
	char names[80] = "";

	if (x != NULL)
		names_of(x, names, sizeof(names));
	(void)err_set(&t->why, ERR_REFUSED,
	              "its certificate is not for %.60s%s%s%s; use the "
	              "certificate's name in the URL%s",
	              t->host, names[0] != '\0' ? " but for " : "", names,
	              is_numeric(t->host) ? " (the URL has an address)" : "",
	              t->agrees == 0 ? ", or add ?name=NAME" : "");
}

/* The certificate of the peer was not taken. */
static void
why_distrust(struct tls *t)
{
	long v = SSL_get_verify_result(t->ssl);
	X509 *x = t->refused;
	const char *text = X509_verify_cert_error_string(v);

	if (t->server != NULL)
		(void)err_set(&t->why, ERR_REFUSED,
		              "the client's certificate: %s", text);
	else if (v == X509_V_ERR_CERT_HAS_EXPIRED)
		why_expired(t, x);
	else if (v == X509_V_ERR_HOSTNAME_MISMATCH ||
	         v == X509_V_ERR_IP_ADDRESS_MISMATCH)
		why_name(t, x);
	else if (v == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	         v == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	         v == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
	         v == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
	         v == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT)
		(void)err_set(&t->why, ERR_REFUSED,
		              "its certificate is signed by nobody we trust "
		              "(%s); name its CA with --old-ca or --new-ca",
		              text);
	else
		(void)err_set(&t->why, ERR_REFUSED, "its certificate: %s",
		              text);
}

/* The peer ended it with an alert. */
static void
why_alert(struct tls *t, int alert, const char *text)
{
	if (t->server != NULL)
		(void)err_set(&t->why, ERR_REFUSED, "the client gave up: %s",
		              text);
	else if (alert == SSL_AD_CERTIFICATE_REQUIRED ||
	         (alert == SSL_AD_HANDSHAKE_FAILURE &&
	          SSL_get_certificate(t->ssl) == NULL))
		(void)err_set(&t->why, ERR_AUTH,
		              "it wants a client certificate (%s); give one "
		              "with --old-cert and --old-key, or --new-cert "
		              "and --new-key",
		              text);
	else if ((alert >= SSL_AD_NO_CERTIFICATE &&
	          alert <= SSL_AD_CERTIFICATE_UNKNOWN) ||
	         alert == SSL_AD_UNKNOWN_CA)
		(void)err_set(&t->why, ERR_AUTH,
		              "it refused our client certificate (%s)", text);
	else
		(void)err_set(&t->why, ERR_REFUSED, "it refused TLS: %s", text);
}

static void
why_no_tls(struct tls *t)
{
	if (t->server != NULL)
		(void)err_set(&t->why, ERR_PROTO,
		              "the client does not speak TLS");
	else if (t->agrees != 0)
		(void)err_set(&t->why, ERR_PROTO,
		              "it agreed to TLS and does not speak it");
	else
		(void)err_set(&t->why, ERR_PROTO,
		              "it does not speak TLS on this port; write "
		              "redis:// for a plain one, or name its TLS port");
}

static void
why_ssl(struct tls *t)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);
	bool is_ssl = ERR_GET_LIB(e) == ERR_LIB_SSL;
	const char *text = tls_reason();

	if (is_ssl && reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		why_distrust(t);
	else if (is_ssl && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		(void)err_set(&t->why, ERR_AUTH,
		              "the client has no certificate");
	else if (is_ssl && reason > SSL_AD_REASON_OFFSET)
		why_alert(t, reason - SSL_AD_REASON_OFFSET, text);
	else if (is_ssl && !t->is_up &&
	         (reason == SSL_R_WRONG_VERSION_NUMBER ||
	          reason == SSL_R_HTTP_REQUEST ||
	          reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
	          reason == SSL_R_BAD_PACKET_LENGTH ||
	          reason == SSL_R_UNSUPPORTED_PROTOCOL))
		why_no_tls(t);
	else
		(void)err_set(&t->why, ERR_PROTO, "TLS failed: %s", text);
}

/* The errno that stands for it. */
static int
note_failure(struct tls *t, int what)
{
	if (what == SSL_ERROR_SYSCALL && t->io_errno != 0) {
		ERR_clear_error();
		if (t->is_up && !t->is_heard && t->server == NULL &&
		    SSL_get_certificate(t->ssl) == NULL) {
			/* The alert that says so is often lost with a reset. */
			(void)err_set(&t->why, ERR_LOST,
			              "%s at once (it may want a client "
			              "certificate: --old-cert, --new-cert)",
			              os_cause(t->io_errno));
			return EPROTO;
		}
		if (t->why.code == ERR_NONE)
			(void)err_set(&t->why, ERR_LOST, "%s",
			              os_cause(t->io_errno));
		return t->io_errno;
	}
	if (t->why.code == ERR_NONE)
		why_ssl(t);
	ERR_clear_error();
	return EPROTO;
}

int
tls_why(const struct tls *t, struct err *err)
{
	if (t->why.code == ERR_NONE)
		return err_set(err, ERR_PROTO, "TLS failed");
	if (err != NULL)
		*err = t->why;
	return -(int)t->why.code;
}

/* ---- the question before -------------------------------------------------- */

static enum tls_rc
give_up(struct tls *t, int cause, enum err_code code, const char *text)
{
	(void)err_set(&t->why, code, "%s", text);
	t->read_bad = cause;
	t->write_bad = cause;
	return TLS_FAILED;
}

/* Not a byte more is read than the answer: what comes behind it in clear, of
 * whoever is in between, is no answer to anything. */
static enum tls_rc
ask_first(struct tls *t)
{
	ssize_t n = 1;
	char byte = 0;

	while (t->ask.n > 0 && n >= 0) {
		n = send(t->fd, t->ask.p, t->ask.n, MSG_NOSIGNAL);
		if (n > 0)
			t->ask = span_skip(t->ask, (size_t)n);
		else if (errno == EINTR)
			n = 0;
	}
	if (n >= 0) {
		do {
			n = recv(t->fd, &byte, 1, 0);
		} while (n < 0 && errno == EINTR);
	}
	if (n < 0 && errno == EAGAIN)
		return TLS_AGAIN;
	if (n < 0)
		return give_up(t, errno, ERR_LOST, os_cause(errno));
	if (n == 0)
		return give_up(t, EPROTO, ERR_LOST,
		               "it closed the connection when it was asked "
		               "for TLS");
	t->is_asking = false;
	if (byte == t->agrees)
		return TLS_DONE;
	return give_up(t, EPROTO, ERR_REFUSED,
	               byte == 'N' ? "it does not offer TLS; switch TLS on "
	                             "there, or ask for none in the URL"
	                           : "it was asked for TLS and answered "
	                             "something else");
}

/* ---- bytes -------------------------------------------------------------- */

static enum tls_rc
shaken(struct tls *t)
{
	const unsigned char *name;
	unsigned int n = 0;

	SSL_get0_alpn_selected(t->ssl, &name, &n);
	if (t->needs_alpn && n == 0)
		return give_up(t, EPROTO, ERR_PROTO,
		               "the client began with TLS and did not say for "
		               "which protocol (ALPN)");
	t->is_up = true;
	if (t->server != NULL)
		tls_server_note(t->server, NULL);
	return TLS_DONE;
}

enum tls_rc
tls_shake(struct tls *t)
{
	int what;
	int rc;

	if (t->is_asking) {
		enum tls_rc asked = ask_first(t);

		if (asked != TLS_DONE)
			return asked;
	}
	t->drained = false;
	ERR_clear_error();
	rc = SSL_do_handshake(t->ssl);
	if (rc == 1)
		return shaken(t);
	what = SSL_get_error(t->ssl, rc);
	if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE)
		return TLS_AGAIN;
	if (what == SSL_ERROR_ZERO_RETURN ||
	    (t->ended && t->io_errno == 0 && ERR_peek_error() == 0))
		(void)err_set(&t->why, ERR_LOST,
		              "it closed the connection within the TLS "
		              "handshake; does this port speak TLS?");
	t->read_bad = note_failure(t, what);
	t->write_bad = t->read_bad;
	return TLS_FAILED;
}

ssize_t
tls_read(struct tls *t, void *ret, size_t n)
{
	uint8_t *at = ret;
	size_t used = 0;

	t->drained = false;
	t->read_waits = false;
	ERR_clear_error();
	while (used < n && t->read_bad == 0) {
		size_t got = 0;
		int what;

		if (SSL_read_ex(t->ssl, at + used, n - used, &got) == 1) {
			used += got;
			t->is_heard = true;
			continue;
		}
		what = SSL_get_error(t->ssl, 0);
		t->read_waits = what == SSL_ERROR_WANT_WRITE;
		if (what == SSL_ERROR_WANT_READ || t->read_waits)
			break;
		if (what == SSL_ERROR_ZERO_RETURN) {
			t->ended = true;
			if (used == 0)
				return 0;
			break;
		}
		t->read_bad = note_failure(t, what);
	}
	if (used > 0)
		return (ssize_t)used;
	errno = t->read_bad != 0 ? t->read_bad : EAGAIN;
	return -1;
}

ssize_t
tls_write(struct tls *t, const void *p, size_t n)
{
	const uint8_t *at = p;
	size_t used = 0;

	t->drained = false;
	t->write_waits = false;
	ERR_clear_error();
	while (used < n && t->write_bad == 0) {
		size_t put = 0;
		int what;

		if (SSL_write_ex(t->ssl, at + used, n - used, &put) == 1) {
			used += put;
			continue;
		}
		what = SSL_get_error(t->ssl, 0);
		t->write_waits = what == SSL_ERROR_WANT_READ;
		if (what == SSL_ERROR_WANT_WRITE || t->write_waits)
			break;
		t->write_bad = note_failure(t, what);
	}
	if (used > 0)
		return (ssize_t)used;
	errno = t->write_bad != 0 ? t->write_bad : EAGAIN;
	return -1;
}

bool
tls_is_over(const struct tls *t)
{
	return t->ended || t->read_bad != 0;
}

bool
tls_read_waits(const struct tls *t)
{
	return t->read_waits;
}

bool
tls_write_waits(const struct tls *t)
{
	return t->write_waits;
}

bool
tls_bye(struct tls *t)
{
	int rc;

	if (t->is_said || !t->is_up || t->fd < 0 || t->read_bad != 0 ||
	    t->write_bad != 0)
		return true;
	ERR_clear_error();
	rc = SSL_shutdown(t->ssl);
	t->is_said = rc >= 0;
	if (t->is_said)
		return true;
	rc = SSL_get_error(t->ssl, rc);
	ERR_clear_error();
	return rc != SSL_ERROR_WANT_WRITE;
}
