/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/tls_context.c: certificates and rules of TLS.
 *
 * Contexts towards servers are kept in one list of the process, by the digest of
 * what they are made of: an endpoint's connections share one. Files are read again
 * when they were exchanged; as long as the new ones cannot be used, the
 * certificates of before stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "world/os/loop.h"
#include "world/os/tls_parts.h"

/* What a socket read asks for: a wake-up of ordinary traffic is one read. */
#define TLS_READ_BUFFER 65536

static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_client *clients;
static uint32_t clients_n;

const char *
tls_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	ERR_clear_error();
	return text != NULL ? text : "no reason given";
}

/* ---- texts with a name ---------------------------------------------------- */

struct named {
	struct named *next;
	char name[TLS_PEM_NAME];
	char text[];
};

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static struct named *all_named;
static uint32_t all_named_n;

/* The text of that name, or NULL. Never freed. */
static const char *
named_text(const char *name)
{
	const struct named *n;

	(void)pthread_mutex_lock(&names_lock);
	for (n = all_named; n != NULL && strcmp(n->name, name) != 0;)
		n = n->next;
	(void)pthread_mutex_unlock(&names_lock);
	return n != NULL ? n->text : NULL;
}

static int
named_add(const char *name, const char *text, struct err *err)
{
	size_t len = strlen(text);
	struct named *n;

	if (len > TLS_FILE_MAX || all_named_n == TLS_PEMS_MAX)
		return err_set(err, ERR_LIMIT,
		               "more than %d certificates in one process, or "
		               "one longer than %zu bytes",
		               TLS_PEMS_MAX, TLS_FILE_MAX);
	n = malloc(sizeof(*n) + len + 1);
	if (n == NULL)
		return err_set(err, ERR_NOMEM, "no memory for a certificate");
	memcpy(n->name, name, TLS_PEM_NAME);
	memcpy(n->text, text, len + 1);
	n->next = all_named;
	all_named = n;
	all_named_n++;
	return 0;
}

int
tls_pem_name(const char *text, char ret[TLS_PEM_NAME], struct err *err)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[32];
	const struct named *n;
	int rc = 0;

	if (strstr(text, "-----BEGIN") == NULL)
		return err_set(err, ERR_BAD, "this is no PEM text");
	memset(ret, 0, TLS_PEM_NAME);
	memcpy(ret, "pem:", 4);
	REQUIRE(EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(),
	                   NULL) == 1);
	for (int i = 0; i < 16; i++) {
		ret[4 + 2 * i] = digits[digest[i] >> 4];
		ret[5 + 2 * i] = digits[digest[i] & 15];
	}
	(void)pthread_mutex_lock(&names_lock);
	for (n = all_named; n != NULL && strcmp(n->name, ret) != 0;)
		n = n->next;
	if (n == NULL)
		rc = named_add(ret, text, err);
	(void)pthread_mutex_unlock(&names_lock);
	return rc;
}

static bool
is_given(const char *s)
{
	return s != NULL && s[0] != '\0';
}

/* ---- PEM ---------------------------------------------------------------- */

struct pem {
	char *text; /* malloced; NULL: none */
	size_t n;
	const char *what; /* "CA certificate" */
	const char *from; /* the file, or "the given text" */
};

static void
pem_free(struct pem *p)
{
	if (p->text != NULL)
		OPENSSL_cleanse(p->text, p->n);
	free(p->text);
	p->text = NULL;
}

static int
pem_file(struct pem *p, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 0;

	if (fd < 0)
		return err_set(err, ERR_USAGE, "cannot read the %s %s: %s",
		               p->what, path, os_cause(errno));
	p->text = malloc(TLS_FILE_MAX + 1);
	while (p->text != NULL && p->n <= TLS_FILE_MAX) {
		got = read(fd, p->text + p->n, TLS_FILE_MAX + 1 - p->n);
		if (got <= 0)
			break;
		p->n += (size_t)got;
	}
	(void)close(fd);
	if (p->text == NULL)
		return err_set(err, ERR_NOMEM, "no memory for the %s %s",
		               p->what, path);
	if (got < 0)
		return err_set(err, ERR_USAGE, "cannot read the %s %s: %s",
		               p->what, path, os_cause(errno));
	if (p->n > TLS_FILE_MAX)
		return err_set(err, ERR_USAGE,
		               "the %s %s is longer than %zu bytes", p->what,
		               path, TLS_FILE_MAX);
	return 0;
}

/* Text of a conf, or the file it names. */
static int
pem_read(struct pem *p, const char *what, const char *given, struct err *err)
{
	*p = (struct pem){ .what = what, .from = "the given text" };
	if (!is_given(given))
		return 0;
	if (strncmp(given, "pem:", 4) == 0 && named_text(given) != NULL) {
		given = named_text(given);
	} else if (strstr(given, "-----BEGIN") == NULL) {
		p->from = given;
		return pem_file(p, given, err);
	}
	p->text = strdup(given);
	p->n = strlen(given);
	return p->text != NULL
	               ? 0
	               : err_set(err, ERR_NOMEM, "no memory for the %s", what);
}

/* A key with a passphrase: nobody is asked on a terminal. */
static int
no_passphrase(char *buf, int size, int for_writing, void *arg)
{
	(void)size;
	(void)for_writing;
	buf[0] = '\0';
	*(bool *)arg = true;
	return -1;
}

static BIO *
pem_bio(const struct pem *p)
{
	return BIO_new_mem_buf(p->text, (int)p->n);
}

static int
no_pem(const struct pem *p, struct err *err)
{
	ERR_clear_error();
	return err_set(err, ERR_USAGE, "%s has no %s in PEM", p->from, p->what);
}

/* The first certificate is the one; what follows is its chain. */
static int
use_cert(SSL_CTX *ctx, const struct pem *p, struct err *err)
{
	BIO *b = pem_bio(p);
	X509 *x = b != NULL ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
	int rc = 0;

	if (x == NULL)
		rc = no_pem(p, err);
	else if (SSL_CTX_use_certificate(ctx, x) != 1)
		rc = err_set(err, ERR_USAGE, "the %s of %s: %s", p->what,
		             p->from, tls_reason());
	X509_free(x);
	while (rc == 0) {
		x = PEM_read_bio_X509(b, NULL, NULL, NULL);
		if (x == NULL)
			break;
		if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			rc = err_set(err, ERR_USAGE, "the chain in %s: %s",
			             p->from, tls_reason());
		}
	}
	ERR_clear_error(); /* the end of the text counts as one */
	BIO_free(b);
	return rc;
}

static int
use_key(SSL_CTX *ctx, const struct pem *p, const struct pem *cert,
        struct err *err)
{
	BIO *b = pem_bio(p);
	bool asked = false;
	EVP_PKEY *k = NULL;
	int rc = 0;

	if (b != NULL)
		k = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &asked);
	BIO_free(b);
	if (asked)
		rc = err_set(err, ERR_USAGE,
		             "the %s of %s has a passphrase; write it without "
		             "one: openssl pkey -in FILE -out NEWFILE",
		             p->what, p->from);
	else if (k == NULL)
		rc = no_pem(p, err);
	else if (SSL_CTX_use_PrivateKey(ctx, k) != 1 ||
	         SSL_CTX_check_private_key(ctx) != 1)
		rc = err_set(err, ERR_USAGE,
		             "the %s of %s does not belong to the certificate "
		             "of %s",
		             p->what, p->from, cert->from);
	EVP_PKEY_free(k);
	ERR_clear_error();
	return rc;
}

/* Trust these authorities, and no others. names: tell clients about them. */
static int
use_ca(SSL_CTX *ctx, const struct pem *p, bool names, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *b = pem_bio(p);
	uint32_t n = 0;
	int rc = 0;
	X509 *x;

	while (b != NULL && rc == 0 &&
	       (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL) {
		if (X509_STORE_add_cert(store, x) != 1 ||
		    (names && SSL_CTX_add_client_CA(ctx, x) != 1))
			rc = err_set(err, ERR_USAGE, "the %s of %s: %s",
			             p->what, p->from, tls_reason());
		X509_free(x);
		n++;
	}
	BIO_free(b);
	ERR_clear_error();
	return rc == 0 && n == 0 ? no_pem(p, err) : rc;
}

/* ---- contexts ----------------------------------------------------------- */

static SSL_CTX *
ctx_new(const SSL_METHOD *method, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL) {
		(void)err_set(err, ERR_NOMEM, "no memory for TLS: %s",
		              tls_reason());
		return NULL;
	}
	(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	(void)SSL_CTX_set_options(
		ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
			     SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
	(void)SSL_CTX_set_num_tickets(ctx, 0);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_mode(ctx,
	                       SSL_MODE_ENABLE_PARTIAL_WRITE |
	                               SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                               SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, TLS_READ_BUFFER);
	return ctx;
}

static int
use_pair(SSL_CTX *ctx, const struct pem *cert, const struct pem *key,
         struct err *err)
{
	int rc;

	if (cert->text == NULL && key->text == NULL)
		return 0;
	if (cert->text == NULL || key->text == NULL)
		return err_set(err, ERR_USAGE,
		               "a TLS certificate and its key go together: "
		               "the %s is missing",
		               cert->text == NULL ? cert->what : key->what);
	rc = use_cert(ctx, cert, err);
	return rc == 0 ? use_key(ctx, key, cert, err) : rc;
}

static void
live_fini(struct tls_live *l)
{
	SSL_CTX_free(l->ctx);
	tls_files_fini(&l->files);
	for (int i = 0; i < TLS_FILES; i++)
		free(l->given[i]);
	(void)pthread_mutex_destroy(&l->lock);
}

/* Copies of what it is made of; ctx is still none. */
static int
live_init(struct tls_live *l, const char *const given[TLS_FILES],
          struct err *err)
{
	bool ok;

	*l = (struct tls_live){ .ctx = NULL };
	if (pthread_mutex_init(&l->lock, NULL) != 0)
		NEVER("a plain mutex was refused");
	ok = tls_files_init(&l->files, given);
	for (int i = 0; ok && i < TLS_FILES; i++) {
		if (!is_given(given[i]))
			continue;
		l->given[i] = strdup(given[i]);
		ok = l->given[i] != NULL;
	}
	if (ok) {
		tls_files_note(&l->files);
		return 0;
	}
	live_fini(l);
	return err_set(err, ERR_NOMEM, "no memory for TLS");
}

/* With the lock. Connections keep references to the one of before. */
static void
live_put(struct tls_live *l, SSL_CTX *ctx)
{
	SSL_CTX_free(l->ctx);
	l->ctx = ctx;
}

/* With the lock. */
static SSL_CTX *
live_ref(const struct tls_live *l)
{
	(void)SSL_CTX_up_ref(l->ctx);
	return l->ctx;
}

static int
client_ctx(const struct tls_client_conf *conf, const struct pem pem[3],
           SSL_CTX **ret, struct err *err)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method(), err);
	int rc = 0;

	if (ctx == NULL)
		return -ERR_NOMEM;
	SSL_CTX_set_verify(
		ctx, conf->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	if (pem[0].text != NULL)
		rc = use_ca(ctx, &pem[0], false, err);
	else if (!conf->insecure && SSL_CTX_set_default_verify_paths(ctx) != 1)
		rc = err_set(err, ERR_USAGE,
		             "the system's certificate authorities: %s",
		             tls_reason());
	if (rc == 0)
		rc = use_pair(ctx, &pem[1], &pem[2], err);
	if (rc != 0)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return rc;
}

static void
digest_of(const struct tls_client_conf *conf, const struct pem pem[3],
          uint8_t ret[32])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const char *name = is_given(conf->name) ? conf->name : "";
	const char *given[3] = { conf->ca, conf->cert, conf->key };
	struct span part[3];
	uint64_t head[9] = { conf->insecure, strlen(name) };
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

	head[8] = (uint64_t)conf->any_name << 8 | (uint8_t)conf->agrees;
	for (int i = 0; i < 3; i++) {
		bool is_path = given[i] != NULL && tls_files_is_path(given[i]);

		part[i] = is_path ? span_str(given[i])
		                  : span_of(pem[i].text, pem[i].n);
		head[2 + i] = part[i].n;
		head[5 + i] = is_path;
	}
	ok = ok && EVP_DigestUpdate(md, head, sizeof(head)) == 1 &&
	     EVP_DigestUpdate(md, name, head[1]) == 1;
	for (int i = 0; ok && i < 3; i++)
		ok = part[i].n == 0 ||
		     EVP_DigestUpdate(md, part[i].p, part[i].n) == 1;
	ok = ok && EVP_DigestFinal_ex(md, ret, NULL) == 1;
	EVP_MD_CTX_free(md);
	REQUIRE(ok); /* SHA-256 fails for want of memory only */
}

static struct tls_client *
client_find(const uint8_t digest[32])
{
	struct tls_client *c = clients;

	while (c != NULL && memcmp(c->digest, digest, 32) != 0)
		c = c->next;
	return c;
}

static int
client_make(const struct tls_client_conf *conf, const struct pem pem[3],
            struct tls_client **ret, struct err *err)
{
	const char *const given[TLS_FILES] = { conf->ca, conf->cert,
		                               conf->key };
	struct tls_client *c;
	int rc;

	if (clients_n == TLS_CLIENTS_MAX)
		return err_set(err, ERR_LIMIT,
		               "more than %d different TLS settings in one "
		               "process; restart it to forget old ones",
		               TLS_CLIENTS_MAX);
	c = calloc(1, sizeof(*c));
	if (c != NULL)
		c->live = malloc(sizeof(*c->live));
	if (c == NULL || c->live == NULL) {
		free(c);
		return err_set(err, ERR_NOMEM, "no memory for TLS");
	}
	rc = live_init(c->live, given, err);
	if (rc == 0) {
		rc = client_ctx(conf, pem, &c->live->ctx, err);
		if (rc != 0)
			live_fini(c->live);
	}
	if (rc != 0) {
		free(c->live);
		free(c);
		return rc;
	}
	c->insecure = conf->insecure;
	c->any_name = conf->any_name;
	c->ask = conf->ask;
	c->agrees = conf->agrees;
	if (is_given(conf->name))
		memcpy(c->name, conf->name, strlen(conf->name) + 1);
	*ret = c;
	return 0;
}

static int
read_three(const struct tls_client_conf *conf, struct pem ret[3],
           struct err *err)
{
	static const char *const what[3] = { "CA certificate",
		                             "client certificate",
		                             "client key" };
	const char *given[3] = { conf->ca, conf->cert, conf->key };
	int rc = 0;

	for (int i = 0; i < 3; i++)
		ret[i].text = NULL;
	for (int i = 0; rc == 0 && i < 3; i++)
		rc = pem_read(&ret[i], what[i], given[i], err);
	return rc;
}

/* With its lock: its files again. On an error the ones of before stay. */
static int
client_again(const struct tls_client *c, struct err *err)
{
	struct tls_live *l = c->live;
	const struct tls_client_conf conf = { .ca = l->given[0],
		                              .cert = l->given[1],
		                              .key = l->given[2],
		                              .insecure = c->insecure };
	struct pem pem[3];
	SSL_CTX *ctx = NULL;
	int rc;

	tls_files_note(&l->files);
	rc = read_three(&conf, pem, err);
	if (rc == 0)
		rc = client_ctx(&conf, pem, &ctx, err);
	if (rc == 0)
		live_put(l, ctx);
	for (int i = 0; i < 3; i++)
		pem_free(&pem[i]);
	return rc;
}

SSL_CTX *
tls_client_ctx(const struct tls_client *c)
{
	struct tls_live *l = c->live;
	SSL_CTX *ctx;

	(void)pthread_mutex_lock(&l->lock);
	if (tls_files_changed(&l->files, os_mono_ns()))
		(void)client_again(c, NULL);
	ctx = live_ref(l);
	(void)pthread_mutex_unlock(&l->lock);
	return ctx;
}

/* It was made before: what its files hold now has to be usable, too. */
static int
client_renew(const struct tls_client *c, struct err *err)
{
	int rc = 0;

	(void)pthread_mutex_lock(&c->live->lock);
	c->live->files.next_ns = 0;
	if (tls_files_changed(&c->live->files, os_mono_ns()))
		rc = client_again(c, err);
	(void)pthread_mutex_unlock(&c->live->lock);
	return rc;
}

struct tls_client *
tls_client_get(const struct tls_client_conf *conf, struct err *err)
{
	struct tls_client *c = NULL;
	struct pem pem[3];
	uint8_t digest[32];
	int rc;

	if (is_given(conf->name) && strlen(conf->name) >= sizeof(c->name)) {
		(void)err_set(err, ERR_USAGE, "the TLS name is too long");
		return NULL;
	}
	rc = read_three(conf, pem, err);
	if (rc == 0) {
		digest_of(conf, pem, digest);
		(void)pthread_mutex_lock(&clients_lock);
		c = client_find(digest);
		if (c != NULL && client_renew(c, err) != 0)
			c = NULL;
		else if (c == NULL && client_make(conf, pem, &c, err) == 0 &&
		         c != NULL) {
			memcpy(c->digest, digest, sizeof(digest));
			c->next = clients;
			clients = c;
			clients_n++;
		}
		(void)pthread_mutex_unlock(&clients_lock);
	}
	for (int i = 0; i < 3; i++)
		pem_free(&pem[i]);
	return c;
}

bool
tls_client_is_insecure(const struct tls_client *c)
{
	return c->insecure;
}

/* ---- towards clients ------------------------------------------------------ */

static int
use_client_ca(SSL_CTX *ctx, const struct pem *ca, bool is_required,
              struct err *err)
{
	int mode = SSL_VERIFY_PEER;

	if (ca->text == NULL && is_required)
		return err_set(err, ERR_USAGE,
		               "client certificates are required but the "
		               "authority that signs them is not named");
	if (ca->text == NULL)
		return 0;
	if (is_required)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(ctx, mode, NULL);
	return use_ca(ctx, ca, true, err);
}

static int
server_ctx(const struct tls_server_conf *conf, SSL_CTX **ret, struct err *err)
{
	char *alpn;
	struct pem cert = { .n = 0 };
	struct pem key = { .n = 0 };
	struct pem ca = { .n = 0 };
	SSL_CTX *ctx = ctx_new(TLS_server_method(), err);
	int rc = ctx != NULL ? 0 : -ERR_NOMEM;

	if (rc == 0)
		rc = pem_read(&cert, "server certificate", conf->server_cert,
		              err);
	if (rc == 0)
		rc = pem_read(&key, "server key", conf->server_key, err);
	if (rc == 0)
		rc = pem_read(&ca, "client CA certificate",
		              conf->client_ca_cert, err);
	if (rc == 0 && cert.text == NULL && key.text == NULL)
		rc = err_set(err, ERR_USAGE,
		             "TLS needs a server certificate and its key");
	if (rc == 0)
		rc = use_pair(ctx, &cert, &key, err);
	if (rc == 0)
		rc = use_client_ca(ctx, &ca, conf->require_client_certificate,
		                   err);
	if (rc == 0 && conf->alpn != NULL) {
		/* Nothing is written there. */
		memcpy(&alpn, &conf->alpn, sizeof(alpn));
		SSL_CTX_set_alpn_select_cb(ctx, tls_choose_protocol, alpn);
	}
	pem_free(&cert);
	pem_free(&key);
	pem_free(&ca);
	if (rc != 0)
		SSL_CTX_free(ctx);
	else
		*ret = ctx;
	return rc;
}

struct tls_server *
tls_server_new(const struct tls_server_conf *conf, struct err *err)
{
	const char *const given[TLS_FILES] = { conf->client_ca_cert,
		                               conf->server_cert,
		                               conf->server_key };
	struct tls_server *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		(void)err_set(err, ERR_NOMEM, "no memory for TLS");
		return NULL;
	}
	if (live_init(&s->live, given, err) != 0) {
		free(s);
		return NULL;
	}
	s->require = conf->require_client_certificate;
	s->alpn = conf->alpn;
	if (server_ctx(conf, &s->live.ctx, err) != 0) {
		live_fini(&s->live);
		free(s);
		return NULL;
	}
	return s;
}

void
tls_server_free(struct tls_server *s)
{
	if (s == NULL)
		return;
	live_fini(&s->live);
	free(s);
}

int
tls_server_reload(struct tls_server *s, const struct tls_server_conf *conf,
                  struct err *err)
{
	struct tls_server *made = tls_server_new(conf, err);
	struct tls_live before;

	if (made == NULL)
		return err != NULL ? -(int)err->code : -ERR_USAGE;
	(void)pthread_mutex_lock(&s->live.lock);
	before = s->live;
	s->live.ctx = made->live.ctx;
	s->live.files = made->live.files;
	memcpy(s->live.given, made->live.given, sizeof(before.given));
	s->require = made->require;
	(void)pthread_mutex_unlock(&s->live.lock);
	/* What it had goes with the other one. */
	made->live.ctx = before.ctx;
	made->live.files = before.files;
	memcpy(made->live.given, before.given, sizeof(before.given));
	tls_server_free(made);
	return 0;
}

void
tls_server_look(struct tls_server *s, struct tls_look *ret)
{
	(void)pthread_mutex_lock(&s->live.lock);
	*ret = s->look;
	(void)pthread_mutex_unlock(&s->live.lock);
}

static void
keep_text(char *ret, size_t n, const char *text)
{
	size_t len = strnlen(text, n - 1);

	memcpy(ret, text, len);
	ret[len] = '\0';
}

/* With its lock: its files again. On an error the ones of before stay. */
static void
server_again(struct tls_server *s)
{
	struct tls_live *l = &s->live;
	const struct tls_server_conf conf = {
		.client_ca_cert = l->given[0],
		.server_cert = l->given[1],
		.server_key = l->given[2],
		.require_client_certificate = s->require,
		.alpn = s->alpn,
	};
	struct err err = { .code = ERR_NONE };
	SSL_CTX *ctx = NULL;

	tls_files_note(&l->files);
	if (server_ctx(&conf, &ctx, &err) == 0)
		live_put(l, ctx);
	else
		keep_text(s->look.last, sizeof(s->look.last), err.text);
}

SSL_CTX *
tls_server_ctx(struct tls_server *s)
{
	SSL_CTX *ctx;

	(void)pthread_mutex_lock(&s->live.lock);
	if (tls_files_changed(&s->live.files, os_mono_ns()))
		server_again(s);
	ctx = live_ref(&s->live);
	(void)pthread_mutex_unlock(&s->live.lock);
	return ctx;
}

void
tls_server_note(struct tls_server *s, const char *why)
{
	(void)pthread_mutex_lock(&s->live.lock);
	if (why == NULL) {
		s->look.done++;
	} else {
		s->look.failed++;
		keep_text(s->look.last, sizeof(s->look.last), why);
	}
	(void)pthread_mutex_unlock(&s->live.lock);
}
