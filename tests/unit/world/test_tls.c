/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/test_tls.c: both ends of TLS over a socket pair.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"
#include "unit.h"
#include "world/os/tls.h"
// clang-format off
#define ERR_STATE openssl_err_state
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
// clang-format on

struct pair {
	char cert[4096];
	char key[4096];
};

static struct pair ca;
static struct pair srv;
static struct pair other;
static EVP_PKEY *ca_key;
static X509 *ca_cert;
static long serial;

static void
print(BIO *b, char *ret, size_t n)
{
	int got = BIO_read(b, ret, (int)n - 1);

	assert_in_range(got, 1, n - 2);
	ret[got] = '\0';
	BIO_free(b);
}

/* A certificate for localhost by the CA, or the CA's own. */
static X509 *
make(struct pair *ret, const char *name, EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	const X509 *issuer = ca_cert != NULL ? ca_cert : x;
	X509_EXTENSION *e;
	BIO *b = BIO_new(BIO_s_mem());

	(void)X509_set_version(x, 2);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	(void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
	(void)X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	(void)X509_set_pubkey(x, key);
	(void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
	                                 (const uint8_t *)name, -1, -1, 0);
	(void)X509_set_issuer_name(x, X509_get_subject_name(issuer));
	e = X509V3_EXT_conf_nid(
		NULL, NULL,
		ca_cert == NULL ? NID_basic_constraints : NID_subject_alt_name,
		ca_cert == NULL ? "critical,CA:TRUE" : "DNS:localhost");
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
	assert_true(X509_sign(x, ca_key != NULL ? ca_key : key, EVP_sha256()) >
	            0);
	(void)PEM_write_bio_X509(b, x);
	print(b, ret->cert, sizeof(ret->cert));
	b = BIO_new(BIO_s_mem());
	(void)PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	print(b, ret->key, sizeof(ret->key));
	return x;
}

static int
set_up(void **state)
{
	EVP_PKEY *key;

	(void)state;
	key = EVP_EC_gen("P-256");
	ca_cert = make(&ca, "ca", key);
	ca_key = key;
	key = EVP_EC_gen("P-256");
	X509_free(make(&srv, "srv", key));
	EVP_PKEY_free(key);
	key = EVP_EC_gen("P-256");
	X509_free(make(&other, "other", key));
	EVP_PKEY_free(key);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	X509_free(ca_cert);
	EVP_PKEY_free(ca_key);
	return 0;
}

/* ---- two ends ------------------------------------------------------------- */

struct ends {
	int fd[2];
	struct tls *c;
	struct tls *s;
};

static struct tls_server_conf
served(void)
{
	return (struct tls_server_conf){ .server_cert = srv.cert,
		                         .server_key = srv.key };
}

static const struct tls_client *
trusting(void)
{
	const struct tls_client_conf conf = { .ca = ca.cert };
	const struct tls_client *c = tls_client_get(&conf, NULL);

	assert_non_null(c);
	return c;
}

static void
connect_ends(struct ends *e, struct tls_server *s, const struct tls_client *c,
             const char *host)
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, e->fd), 0);
	e->c = tls_connect(c, host);
	e->s = tls_accept(s);
	assert_non_null(e->c);
	assert_non_null(e->s);
	tls_use_fd(e->c, e->fd[0]);
	tls_use_fd(e->s, e->fd[1]);
}

/* What the client's handshake comes to. */
static enum tls_rc
shake_hands(struct ends *e)
{
	enum tls_rc c = TLS_AGAIN;
	enum tls_rc s = TLS_AGAIN;

	for (int i = 0; i < 20 && (c == TLS_AGAIN || s == TLS_AGAIN); i++) {
		if (c == TLS_AGAIN)
			c = tls_shake(e->c);
		if (s == TLS_AGAIN)
			s = tls_shake(e->s);
	}
	assert_int_not_equal(c, TLS_AGAIN);
	return c;
}

static void
end(struct ends *e)
{
	tls_free(e->c);
	tls_free(e->s);
	(void)close(e->fd[0]);
	(void)close(e->fd[1]);
}

static void
bytes_and_both_ends(void **state)
{
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);
	uint8_t in[8];
	struct ends e;

	(void)state;
	connect_ends(&e, s, trusting(), "localhost");
	assert_int_equal(shake_hands(&e), TLS_DONE);
	assert_int_equal(tls_read(e.s, in, sizeof(in)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(tls_write(e.c, "ping", 4), 4);
	assert_int_equal(tls_read(e.s, in, sizeof(in)), 4);
	assert_memory_equal(in, "ping", 4);
	/* The client's end; the other direction goes on. */
	assert_int_equal(tls_write(e.c, "last", 4), 4);
	assert_true(tls_bye(e.c));
	assert_int_equal(tls_read(e.s, in, sizeof(in)), 4);
	assert_true(tls_is_over(e.s));
	assert_int_equal(tls_read(e.s, in, sizeof(in)), 0);
	assert_int_equal(tls_write(e.s, "answer", 6), 6);
	assert_int_equal(tls_read(e.c, in, sizeof(in)), 6);
	assert_memory_equal(in, "answer", 6);
	/* An end without a word is one, too. */
	(void)shutdown(e.fd[1], SHUT_WR);
	assert_int_equal(tls_read(e.c, in, sizeof(in)), 0);
	end(&e);
	tls_server_free(s);
}

/* A full socket takes no more, and what it took is not lost. */
static void
much_through_a_small_socket(void **state)
{
	static uint8_t out[1000000];
	static uint8_t in[1000000];
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);
	size_t sent = 0;
	size_t got = 0;
	uint32_t full = 0;
	struct ends e;

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 >> 3);
	connect_ends(&e, s, trusting(), "localhost");
	assert_int_equal(shake_hands(&e), TLS_DONE);
	while (got < sizeof(in)) {
		ssize_t n = tls_write(e.s, out + sent, sizeof(out) - sent);

		if (n > 0)
			sent += (size_t)n;
		full += sent < sizeof(out);
		n = tls_read(e.c, in + got, sizeof(in) - got);
		if (n > 0)
			got += (size_t)n;
	}
	assert_true(full > 0);
	assert_memory_equal(in, out, sizeof(out));
	end(&e);
	tls_server_free(s);
}

static void
a_name_is_asked_for(void **state)
{
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);
	struct tls_look look;
	struct err err;
	struct ends e;

	(void)state;
	connect_ends(&e, s, trusting(), "elsewhere");
	assert_int_equal(shake_hands(&e), TLS_FAILED);
	assert_int_equal(tls_why(e.c, &err), -ERR_REFUSED);
	assert_non_null(
		strstr(err.text, "not for elsewhere but for localhost"));
	end(&e);
	tls_server_look(s, &look);
	assert_int_equal(look.failed, 1);
	assert_int_equal(look.done, 0);
	assert_true(look.last[0] != '\0');
	tls_server_free(s);
}

/* New rules count for new handshakes, and what stands goes on. */
static void
reload_keeps_what_stands(void **state)
{
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);
	uint8_t in[8];
	struct err err;
	struct ends before;
	struct ends after;

	(void)state;
	connect_ends(&before, s, trusting(), "localhost");
	assert_int_equal(shake_hands(&before), TLS_DONE);

	/* A pair that does not fit changes nothing. */
	conf.server_key = other.key;
	assert_int_equal(tls_server_reload(s, &conf, &err), -ERR_USAGE);
	assert_non_null(strstr(err.text, "does not belong"));
	connect_ends(&after, s, trusting(), "localhost");
	assert_int_equal(shake_hands(&after), TLS_DONE);
	end(&after);

	/* From now on clients need a certificate. */
	conf = served();
	conf.client_ca_cert = ca.cert;
	conf.require_client_certificate = true;
	assert_int_equal(tls_server_reload(s, &conf, NULL), 0);
	connect_ends(&after, s, trusting(), "localhost");
	(void)shake_hands(&after);
	assert_int_equal(tls_shake(after.s), TLS_FAILED);
	assert_int_equal(tls_read(after.c, in, sizeof(in)), -1);
	assert_int_equal(errno, EPROTO);
	assert_int_equal(tls_why(after.c, &err), -ERR_AUTH);
	assert_non_null(strstr(err.text, "client certificate"));
	end(&after);

	assert_int_equal(tls_write(before.c, "still", 5), 5);
	assert_int_equal(tls_read(before.s, in, sizeof(in)), 5);
	end(&before);
	tls_server_free(s);
}

/* ---- asked for in band ------------------------------------------------------ */

static const struct tls_client *
asking(bool any_name)
{
	const struct tls_client_conf conf = { .ca = ca.cert,
		                              .any_name = any_name,
		                              .ask = SPAN("tls?"),
		                              .agrees = 'S' };
	const struct tls_client *c = tls_client_get(&conf, NULL);

	assert_non_null(c);
	return c;
}

/* The question, its answer of one byte, the handshake; and nothing of what stands
 * behind the answer in clear is taken for more than a part of the handshake. */
static void
a_client_asks_first(void **state)
{
	static const struct {
		const char *answer;
		const char *says; /* NULL: it is done */
	} cases[] = {
		{ "S", NULL },
		{ "N", "does not offer TLS" },
		{ "E", "answered something else" },
		{ "", "closed the connection" },
		{ "Sclear", "agreed to TLS and does not speak it" },
	};
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = strlen(cases[i].answer);
		uint8_t in[8];
		struct err err;
		struct ends e;

		connect_ends(&e, s, asking(false), "localhost");
		assert_int_equal(tls_shake(e.c), TLS_AGAIN);
		assert_int_equal(tls_shake(e.c), TLS_AGAIN);
		assert_int_equal(read(e.fd[1], in, sizeof(in)), 4);
		assert_memory_equal(in, "tls?", 4);
		if (n > 0)
			assert_int_equal(write(e.fd[1], cases[i].answer, n), n);
		else
			(void)shutdown(e.fd[1], SHUT_WR);
		assert_int_equal(shake_hands(&e),
		                 cases[i].says == NULL ? TLS_DONE : TLS_FAILED);
		if (cases[i].says != NULL) {
			assert_true(tls_why(e.c, &err) < 0);
			assert_non_null(strstr(err.text, cases[i].says));
		}
		end(&e);
	}
	tls_server_free(s);
}

static void
any_name_is_no_matter_of_the_authority(void **state)
{
	struct tls_client_conf bad = { .ca = other.cert, .any_name = true };
	struct tls_client_conf good = { .ca = ca.cert, .any_name = true };
	struct tls_server_conf conf = served();
	struct tls_server *s = tls_server_new(&conf, NULL);
	struct ends e;

	(void)state;
	connect_ends(&e, s, tls_client_get(&good, NULL), "elsewhere");
	assert_int_equal(shake_hands(&e), TLS_DONE);
	end(&e);
	connect_ends(&e, s, tls_client_get(&bad, NULL), "localhost");
	assert_int_equal(shake_hands(&e), TLS_FAILED);
	end(&e);
	assert_ptr_not_equal(tls_client_get(&good, NULL), trusting());
	assert_ptr_not_equal(asking(true), asking(false));
	tls_server_free(s);
}

/* A client that does not ask: its first bytes were read by somebody else; and it has
 * to say for which protocol. */
static void
a_handshake_that_has_begun(void **state)
{
	struct tls_server_conf conf = served();
	struct tls_server *s;
	uint8_t in[4096];
	struct err err;
	struct ends e;

	(void)state;
	for (int named = 0; named < 2; named++) {
		ssize_t n;

		conf.alpn = named ? "x" : NULL;
		s = tls_server_new(&conf, NULL);
		connect_ends(&e, s, trusting(), "localhost");
		assert_int_equal(tls_shake(e.c), TLS_AGAIN);
		n = read(e.fd[1], in, sizeof(in));
		assert_true(n > 100);
		assert_true(tls_feed(e.s, span_of(in, (size_t)n)));
		(void)shake_hands(&e);
		if (named) {
			assert_int_equal(tls_why(e.s, &err), -ERR_PROTO);
			assert_non_null(strstr(err.text, "ALPN"));
		} else {
			assert_int_equal(tls_write(e.c, "ping", 4), 4);
			assert_int_equal(tls_read(e.s, in, sizeof(in)), 4);
		}
		end(&e);
		tls_server_free(s);
	}
}

static void
equal_rules_are_one_context(void **state)
{
	struct tls_client_conf conf = { .ca = ca.cert };
	struct tls_client_conf named = { .ca = ca.cert, .name = "x" };
	struct tls_client_conf blind = { .insecure = true };
	char name[TLS_PEM_NAME];
	char again[TLS_PEM_NAME];

	(void)state;
	assert_ptr_equal(tls_client_get(&conf, NULL), trusting());
	assert_ptr_not_equal(tls_client_get(&named, NULL), trusting());
	assert_true(tls_client_is_insecure(tls_client_get(&blind, NULL)));
	assert_false(tls_client_is_insecure(trusting()));
	/* A name stands for its text. */
	assert_int_equal(tls_pem_name(ca.cert, name, NULL), 0);
	assert_int_equal(tls_pem_name(ca.cert, again, NULL), 0);
	assert_string_equal(name, again);
	conf.ca = name;
	assert_ptr_equal(tls_client_get(&conf, NULL), trusting());
	assert_int_equal(tls_pem_name("no", name, NULL), -ERR_BAD);
}

static void
what_is_no_pem(void **state)
{
	static const char bad[] = "-----BEGIN CERTIFICATE-----\nMIIB\n"
				  "-----END CERTIFICATE-----\n";
	const struct {
		struct tls_server_conf conf;
		const char *says;
	} cases[] = {
		{ { NULL, NULL, NULL, false, NULL },
		  "needs a server certificate" },
		{ { srv.cert, NULL, NULL, false, NULL },
		  "server key is missing" },
		{ { srv.cert, ca.cert, NULL, false, NULL },
		  "no server key in PEM" },
		{ { srv.key, srv.key, NULL, false, NULL },
		  "no server certificate" },
		{ { bad, srv.key, NULL, false, NULL },
		  "no server certificate" },
		{ { srv.cert, srv.key, bad, false, NULL }, "no client CA" },
		{ { srv.cert, srv.key, NULL, true, NULL }, "is not named" },
		{ { "/", srv.key, NULL, false, NULL }, "Is a directory" },
		{ { "pem:0", srv.key, NULL, false, NULL }, "No such file" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { .code = ERR_NONE };

		assert_null(tls_server_new(&cases[i].conf, &err));
		assert_int_equal(err.code, ERR_USAGE);
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("\"%s\" is not in \"%s\"", cases[i].says,
			         err.text);
	}
}

/* Nobody is asked for the passphrase of a key. */
static void
a_key_with_a_passphrase(void **state)
{
	struct tls_server_conf conf = served();
	struct err err;
	char locked[4096];
	BIO *b = BIO_new(BIO_s_mem());

	(void)state;
	(void)PEM_write_bio_PrivateKey(b, ca_key, EVP_aes_128_cbc(),
	                               (const uint8_t *)"secret", 6, NULL,
	                               NULL);
	print(b, locked, sizeof(locked));
	conf.server_key = locked;
	assert_null(tls_server_new(&conf, &err));
	assert_non_null(strstr(err.text, "has a passphrase"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_and_both_ends),
		cmocka_unit_test(much_through_a_small_socket),
		cmocka_unit_test(a_name_is_asked_for),
		cmocka_unit_test(reload_keeps_what_stands),
		cmocka_unit_test(a_client_asks_first),
		cmocka_unit_test(any_name_is_no_matter_of_the_authority),
		cmocka_unit_test(a_handshake_that_has_begun),
		cmocka_unit_test(equal_rules_are_one_context),
		cmocka_unit_test(what_is_no_pem),
		cmocka_unit_test(a_key_with_a_passphrase),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
