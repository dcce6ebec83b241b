/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/live/pg_wire_main.c: a PostgreSQL client made of wire/pg_*, for
 * test_pg_wire.py.
 *
 *   pg_wire_main [piece=N] [tls] [through=VERIFIER] PORT USER PASSWORD DATABASE ...
 *     query TEXT             results, values with their escapes below
 *     split on|off TEXT...   of each text: how many statements pg_split sees, and
 *                            how many the server ran; standard_conforming_strings
 *     copy TABLE TO          COPY in binary format of TABLE into TO, read and
 *                            written again value by value
 *     stream SLOT LSN N=V... pgoutput up to that position, a line a message
 *
 * piece: read so many bytes at once. tls: encrypted, bound to the certificate.
 * through: the password is shown to our own server half, which knows the verifier
 * only; what that learns logs in.
 * Values: \N NULL, \U unchanged, \xHEX binary, else text with \\, \n, \t. The first
 * line says how the login went: mechanism, protocol version, length of the secret.
 */
#include <arpa/inet.h>
#include <errno.h>
/* OpenSSL and base/err.h both have an ERR_STATE; only ours is used. */
#define ERR_STATE openssl_err_state
#include <openssl/ssl.h>
#undef ERR_STATE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "wire/pg_back.h"
#include "wire/pg_copy.h"
#include "wire/pg_frame.h"
#include "wire/pg_output.h"
#include "wire/pg_scram.h"
#include "wire/pg_split.h"
#include "wire/pg_stream.h"
#include "world/os/crypt.h"
#include "world/os/loop.h"

struct session {
	int fd;
	SSL *ssl;
	size_t piece;
	const char *user;
	const char *password;
	const char *database;
	const char *through;
	bool tls;
	bool replication;
	size_t held; /* bytes of the last message */
	uint8_t certificate[EVP_MAX_MD_SIZE];
	unsigned certificate_n;
	struct mem mem;
	struct buf in;
	struct buf out;
	struct pg_frame frame;
	struct pg_message m;
};

_Noreturn static void
die(const char *why, struct span text)
{
	(void)printf("%s: %.*s\n", why, (int)text.n, (const char *)text.p);
	(void)fflush(stdout);
	exit(1);
}

static void
flush(struct session *s)
{
	while (buf_len(&s->out) > 0) {
		struct span b = buf_span(&s->out);
		ssize_t n = s->ssl != NULL
		                    ? SSL_write(s->ssl, b.p, (int)b.n)
		                    : send(s->fd, b.p, b.n, MSG_NOSIGNAL);

		if (n <= 0)
			die("write", SPAN(""));
		buf_take(&s->out, (size_t)n);
	}
	REQUIRE(!buf_failed(&s->out));
}

/* More bytes; false: none within 200 ms. */
static bool
fill(struct session *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	size_t want = s->piece;
	uint8_t *to = buf_room(&s->in, want);
	ssize_t n;

	REQUIRE(to != NULL);
	if ((s->ssl == NULL || SSL_pending(s->ssl) == 0) &&
	    poll(&p, 1, 200) <= 0)
		return false;
	n = s->ssl != NULL ? SSL_read(s->ssl, to, (int)want)
	                   : recv(s->fd, to, want, 0);
	if (n <= 0)
		die("the connection ended", SPAN(""));
	buf_grew(&s->in, (size_t)n);
	return true;
}

/* The next message in s->m, until the next call; false: none for a while. */
static bool
try_next(struct session *s)
{
	if (s->held > 0)
		buf_take(&s->in, s->held);
	s->held = 0;
	for (;;) {
		enum wire_rc rc =
			pg_frame_whole(&s->frame, buf_span(&s->in), &s->m);

		if (rc == WIRE_PART) {
			s->held = s->m.raw.n;
			return true;
		}
		if (rc < 0)
			die("not the protocol", SPAN(""));
		if (!fill(s))
			return false;
	}
}

static void
next(struct session *s)
{
	struct pg_error e;

	for (;;) {
		while (!try_next(s))
			continue;
		if (s->m.type == PG_ERROR_RESPONSE) {
			REQUIRE(pg_read_error(s->m.body, &e));
			(void)printf("error %.*s ", (int)e.code.n,
			             (const char *)e.code.p);
			die("", e.message);
		}
		if (s->m.type != PG_NOTICE_RESPONSE)
			return;
	}
}

static void
expect(struct session *s, uint8_t type)
{
	next(s);
	if (s->m.type != type)
		die("unexpected", span_str(pg_name(PG_BACK, s->m.type)));
}

static void
start_tls(struct session *s)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct pg_part part;
	size_t used = 0;
	X509 *x;

	pg_put_request(&s->out, PG_SSL);
	flush(s);
	pg_frame_answer(&s->frame);
	while (pg_frame_feed(&s->frame, buf_span(&s->in), &part, &used) !=
	       WIRE_PART) {
		/* One byte: what follows in clear is not of the session. */
		size_t piece = s->piece;

		s->piece = 1;
		(void)fill(s);
		s->piece = piece;
	}
	REQUIRE(part.kind == PG_ANSWER && part.type == 'S' && used == 1);
	buf_take(&s->in, used);
	s->ssl = SSL_new(ctx);
	if (SSL_set_fd(s->ssl, s->fd) != 1 || SSL_connect(s->ssl) != 1)
		die("TLS", SPAN(""));
	x = SSL_get1_peer_certificate(s->ssl);
	/* The test's certificates are signed with SHA-256. */
	REQUIRE(X509_digest(x, EVP_sha256(), s->certificate,
	                    &s->certificate_n) == 1);
	X509_free(x);
	SSL_CTX_free(ctx);
}

static void
nonce(char ret[PG_SCRAM_NONCE_TEXT])
{
	uint8_t raw[PG_SCRAM_NONCE_RAW];

	REQUIRE(os_crypt_random(raw, sizeof(raw)));
	pg_scram_nonce(raw, ret);
}

/* Our own server half, which knows the verifier, meets a client that knows the
 * password. */
static struct pg_scram_keys
learn(struct session *s)
{
	struct pg_verifier v;
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = span_str(s->password) };
	struct pg_scram_server half = { .crypt = &os_crypt, .verifier = &v };
	char text[PG_SCRAM_NONCE_TEXT];
	struct buf said[4];

	for (int i = 0; i < 4; i++)
		buf_init(&said[i], &s->mem);
	if (!pg_verifier_parse(span_str(s->through), &v))
		die("no verifier", span_str(s->through));
	pg_put_verifier(&said[0], &v);
	REQUIRE(span_eq(buf_span(&said[0]), span_str(s->through)));
	buf_clear(&said[0]);
	nonce(text);
	pg_scram_client_begin(&c, span_str(text), &said[0]);
	nonce(text);
	REQUIRE(pg_scram_server_begin(&half, buf_span(&said[0]), span_str(text),
	                              &said[1]) == 0);
	REQUIRE(pg_scram_client_final(&c, buf_span(&said[1]), &said[2]) == 0);
	if (pg_scram_server_final(&half, buf_span(&said[2]), &said[3]) != 0)
		die("our server half refuses", SPAN(""));
	REQUIRE(pg_scram_client_check(&c, buf_span(&said[3])) == 0);
	REQUIRE(pg_verifier_is(&v, &os_crypt, span_str(s->password)));
	for (int i = 0; i < 4; i++)
		buf_fini(&said[i]);
	return half.keys;
}

static const char *
scram(struct session *s, struct span offered)
{
	struct pg_scram_keys keys;
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = span_str(s->password) };
	struct pg_sasl first = { .mechanism = SPAN(PG_SCRAM_NAME) };
	struct pg_authentication a;
	char text[PG_SCRAM_NONCE_TEXT];
	struct span name;
	struct buf b;

	buf_init(&b, &s->mem);
	while (pg_text_next(&offered, &name)) {
		if (s->tls && span_eq(name, SPAN(PG_SCRAM_NAME_PLUS)))
			c.binding = PG_BINDING_CERT;
	}
	if (c.binding == PG_BINDING_CERT) {
		first.mechanism = SPAN(PG_SCRAM_NAME_PLUS);
		c.certificate = span_of(s->certificate, s->certificate_n);
	}
	if (s->through != NULL) {
		keys = learn(s);
		c.password = SPAN("");
		c.keys = &keys;
	}
	nonce(text);
	pg_scram_client_begin(&c, span_str(text), &b);
	first.data.bytes = buf_span(&b);
	pg_put_sasl(&s->out, &first);
	flush(s);
	expect(s, PG_AUTHENTICATION);
	REQUIRE(pg_read_authentication(s->m.body, &a) &&
	        a.code == PG_AUTH_SASL_CONTINUE);
	buf_clear(&b);
	REQUIRE(pg_scram_client_final(&c, a.data, &b) == 0);
	pg_put_sasl_response(&s->out, buf_span(&b));
	flush(s);
	expect(s, PG_AUTHENTICATION);
	REQUIRE(pg_read_authentication(s->m.body, &a) &&
	        a.code == PG_AUTH_SASL_FINAL);
	if (pg_scram_client_check(&c, a.data) != 0)
		die("the server has not shown that it knows us", SPAN(""));
	buf_fini(&b);
	return c.binding == PG_BINDING_CERT ? "scram-plus" : "scram";
}

static const char *
md5(struct session *s, struct span salt)
{
	char stored[PG_MD5_MAX];
	char answer[PG_MD5_MAX];

	REQUIRE(pg_md5_make(&os_crypt, span_str(s->user), span_str(s->password),
	                    stored) == 0);
	REQUIRE(pg_md5_answer(&os_crypt, span_str(stored), salt.p, answer) ==
	        0);
	pg_put_password(&s->out, span_str(answer));
	flush(s);
	return "md5";
}

/* Up to ReadyForQuery. */
static void
log_in(struct session *s)
{
	uint32_t version = PG_VERSION_3_2;
	const char *how = "trust";
	struct pg_authentication a;
	struct pg_negotiation v;
	enum pg_transaction state;
	struct pg_key key = { .process = 0 };
	struct buf pairs;

	buf_init(&pairs, &s->mem);
	pg_put_pair(&pairs, SPAN("user"), span_str(s->user));
	pg_put_pair(&pairs, SPAN("database"), span_str(s->database));
	pg_put_pair(&pairs, SPAN("client_encoding"), SPAN("UTF8"));
	if (s->replication)
		pg_put_pair(&pairs, SPAN("replication"), SPAN("database"));
	pg_put_startup(&s->out, version, buf_span(&pairs));
	buf_fini(&pairs);
	flush(s);
	for (;;) {
		next(s);
		if (s->m.type == PG_NEGOTIATE_VERSION) {
			REQUIRE(pg_read_negotiation(s->m.body, &v));
			version = v.version;
		} else if (s->m.type == PG_AUTHENTICATION) {
			REQUIRE(pg_read_authentication(s->m.body, &a));
			if (a.code == PG_AUTH_SASL)
				how = scram(s, a.data);
			else if (a.code == PG_AUTH_MD5)
				how = md5(s, a.data);
			else if (a.code == PG_AUTH_CLEARTEXT)
				pg_put_password(&s->out, span_str(s->password));
			flush(s);
		} else if (s->m.type == PG_BACKEND_KEY) {
			REQUIRE(pg_read_key(s->m.body, &key));
			(void)printf("login %s %u.%u %zu\n", how, version >> 16,
			             version & 0xffff, key.secret.n);
		} else if (s->m.type == PG_READY) {
			REQUIRE(pg_read_ready(s->m.body, &state));
			return;
		}
	}
}

static void
show(struct span s, bool is_binary)
{
	if (is_binary)
		(void)printf("\\x");
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (is_binary)
			(void)printf("%02x", c);
		else if (c == '\\')
			(void)printf("\\\\");
		else if (c == '\n')
			(void)printf("\\n");
		else if (c == '\t')
			(void)printf("\\t");
		else
			(void)putchar(c);
	}
}

static void
query(struct session *s, const char *text)
{
	struct pg_values row;
	struct pg_value v;
	struct span tag;

	pg_put_query(&s->out, span_str(text));
	flush(s);
	for (next(s); s->m.type != PG_READY; next(s)) {
		if (s->m.type == PG_COMMAND_COMPLETE) {
			REQUIRE(pg_read_complete(s->m.body, &tag));
			(void)printf("tag %.*s\n", (int)tag.n,
			             (const char *)tag.p);
		}
		if (s->m.type != PG_DATA_ROW)
			continue;
		REQUIRE(pg_read_row(s->m.body, &row));
		(void)printf("row");
		while (pg_value_next(&row.items, &v)) {
			(void)printf("\t");
			if (v.is_null)
				(void)printf("\\N");
			else
				show(v.bytes, false);
		}
		(void)printf("\n");
	}
}

/* How many statements the server ran. */
static unsigned
ran(struct session *s, const char *text)
{
	unsigned n = 0;

	pg_put_query(&s->out, span_str(text));
	flush(s);
	for (next(s); s->m.type != PG_READY; next(s))
		n += s->m.type == PG_COMMAND_COMPLETE;
	return n;
}

static void
split(struct session *s, const char *how, char **texts, int n)
{
	bool standard = strcmp(how, "on") == 0;

	(void)ran(s, standard ? "SET standard_conforming_strings = on"
	                      : "SET standard_conforming_strings = off; "
	                        "SET escape_string_warning = off");
	for (int i = 0; i < n; i++) {
		struct pg_statement st;
		struct pg_split sp;
		unsigned seen = 0;

		pg_split_init(&sp, span_str(texts[i]), standard);
		for (; pg_split_next(&sp, &st) && !st.is_open; seen++)
			continue;
		(void)printf("split %u %u\n", seen, ran(s, texts[i]));
	}
}

/* One part of what is read, written again. */
static void
copy_part(const struct pg_copy_part *p, struct buf *to, uint64_t *rows)
{
	switch (p->kind) {
	case PG_COPY_HEADER: pg_put_copy_header(to); break;
	case PG_COPY_ROW:
		pg_put_copy_row(to, p->columns);
		++*rows;
		break;
	case PG_COPY_NULL: pg_put_null(to); break;
	case PG_COPY_VALUE:
		if (p->bytes.n + p->left == p->size)
			pg_put_u32(to, p->size);
		buf_put_span(to, p->bytes);
		break;
	case PG_COPY_END: pg_put_copy_end(to); break;
	}
}

static void
copy(struct session *s, const char *from, const char *to)
{
	struct pg_copy_response r;
	struct pg_copy c;
	struct buf data;
	uint64_t rows = 0;
	char text[200];

	buf_init(&data, &s->mem);
	(void)snprintf(text, sizeof(text), "COPY %s TO STDOUT (FORMAT binary)",
	               from);
	pg_put_query(&s->out, span_str(text));
	flush(s);
	expect(s, PG_COPY_OUT_RESPONSE);
	REQUIRE(pg_read_copy_response(s->m.body, &r) && r.is_binary);
	pg_copy_init(&c);
	for (next(s); s->m.type == PG_COPY_DATA; next(s)) {
		struct span in = s->m.body;

		while (in.n > 0) {
			struct pg_copy_part part;
			size_t used;
			size_t n = in.n < s->piece ? in.n : s->piece;
			enum wire_rc rc = pg_copy_feed(&c, span_of(in.p, n),
			                               &part, &used);

			REQUIRE(rc >= 0);
			if (rc == WIRE_PART)
				copy_part(&part, &data, &rows);
			in = span_skip(in, used);
		}
	}
	REQUIRE(pg_copy_is_done(&c) && s->m.type == PG_COPY_DONE);
	while (s->m.type != PG_READY)
		next(s);
	(void)snprintf(text, sizeof(text), "COPY %s FROM STDIN (FORMAT binary)",
	               to);
	pg_put_query(&s->out, span_str(text));
	flush(s);
	expect(s, PG_COPY_IN_RESPONSE);
	while (buf_len(&data) > 0) {
		struct span in = buf_span(&data);
		size_t n = in.n < 9999 ? in.n : 9999;

		pg_put_copy_data(&s->out, span_of(in.p, n));
		buf_take(&data, n);
		flush(s);
	}
	pg_put_empty(&s->out, PG_COPY_DONE);
	flush(s);
	while (s->m.type != PG_READY)
		next(s);
	(void)printf("rows %llu\n", (unsigned long long)rows);
	buf_fini(&data);
}

static void
show_tuple(struct pg_tuple tuple)
{
	struct pg_cell cell;

	(void)printf("\t%c",
	             tuple.kind != PG_TUPLE_NONE ? (char)tuple.kind : '-');
	while (pg_cell_next(&tuple.items, &cell)) {
		(void)printf("\t");
		if (cell.kind == PG_CELL_NULL)
			(void)printf("\\N");
		else if (cell.kind == PG_CELL_UNCHANGED)
			(void)printf("\\U");
		else
			show(cell.bytes, cell.kind == PG_CELL_BINARY);
	}
}

static void
show_change(const struct pg_output_part *p)
{
	struct span rest = p->items;
	struct pg_column column;

	(void)printf("%c\t%u\t%u\t%u\t%llu\t%llu\t%u", (char)p->kind, p->xid,
	             p->sub_xid, p->oid, (unsigned long long)p->lsn.v,
	             (unsigned long long)p->end.v, p->flags);
	if (p->kind == PG_CHANGE_RELATION) {
		(void)printf("\t%.*s\t%c", (int)p->name.n,
		             (const char *)p->name.p, p->identity);
		while (pg_column_next(&rest, &column))
			(void)printf("\t%s%.*s", column.is_key ? "*" : "",
			             (int)column.name.n,
			             (const char *)column.name.p);
	} else if (p->kind == PG_CHANGE_TRUNCATE) {
		for (uint32_t i = 0; i < p->n; i++)
			(void)printf("\t%u", pg_get_u32(p->items.p + 4 * i));
	} else if (p->kind == PG_CHANGE_MESSAGE ||
	           p->kind == PG_CHANGE_ORIGIN) {
		(void)printf("\t%.*s\t", (int)p->name.n,
		             (const char *)p->name.p);
		show(p->content, false);
	} else if (p->gid.n > 0) {
		(void)printf("\t%.*s", (int)p->gid.n, (const char *)p->gid.p);
	} else if (p->old.kind != PG_TUPLE_NONE ||
	           p->new.kind != PG_TUPLE_NONE) {
		show_tuple(p->old);
		show_tuple(p->new);
	}
	(void)printf("\n");
}

static void
stream(struct session *s, char **words, int n)
{
	struct pg_option options[8];
	struct pg_stream m = { .kind = PG_STREAM_STATUS, .wants_answer = true };
	struct pg_stream got;
	struct pg_output_part part;
	struct pg_output o;
	struct pg_lsn until;
	uint8_t version = 1;

	REQUIRE(n >= 2 && n <= 10 && pg_lsn_parse(span_str(words[1]), &until));
	for (int i = 2; i < n; i++) {
		char *is = strchr(words[i], '=');

		REQUIRE(is != NULL);
		options[i - 2].name =
			span_of(words[i], (size_t)(is - words[i]));
		options[i - 2].value = span_str(is + 1);
		if (span_eq(options[i - 2].name, SPAN("proto_version")))
			version = (uint8_t)strtoul(is + 1, NULL, 10);
	}
	pg_output_init(&o, version);
	pg_put_start_replication(&s->out, span_str(words[0]),
	                         (struct pg_lsn){ 0 }, options, (size_t)n - 2);
	flush(s);
	expect(s, PG_COPY_BOTH_RESPONSE);
	for (;;) {
		if (!try_next(s)) {
			pg_put_stream(&s->out, &m);
			flush(s);
			continue;
		}
		if (s->m.type != PG_COPY_DATA ||
		    !pg_read_stream(s->m.body, &got))
			die("no part of a stream", s->m.body);
		if (got.kind == PG_STREAM_KEEPALIVE) {
			if (got.end.v >= until.v)
				break;
			continue;
		}
		REQUIRE(got.kind == PG_STREAM_DATA);
		if (!pg_output_read(&o, got.data, &part))
			die("no change", got.data);
		show_change(&part);
	}
	pg_put_empty(&s->out, PG_COPY_DONE);
	flush(s);
	do {
		next(s);
	} while (s->m.type != PG_COPY_DONE);
	do {
		next(s);
	} while (s->m.type != PG_READY);
	(void)printf("end\n");
}

static void
run(struct session *s, char **words, int n)
{
	if (n == 2 && strcmp(words[0], "query") == 0)
		query(s, words[1]);
	else if (n >= 3 && strcmp(words[0], "split") == 0)
		split(s, words[1], words + 2, n - 2);
	else if (n == 3 && strcmp(words[0], "copy") == 0)
		copy(s, words[1], words[2]);
	else if (n >= 3 && strcmp(words[0], "stream") == 0)
		stream(s, words + 1, n - 1);
	else
		die("usage", span_str(words[0]));
}

int
main(int argc, char **argv)
{
	static struct session s = { .piece = 65536 };
	struct sockaddr_in to = { .sin_family = AF_INET };

	for (argv++, argc--; argc > 0; argv++, argc--) {
		if (strncmp(*argv, "piece=", 6) == 0)
			s.piece = strtoul(*argv + 6, NULL, 10);
		else if (strncmp(*argv, "through=", 8) == 0)
			s.through = *argv + 8;
		else if (strcmp(*argv, "tls") == 0)
			s.tls = true;
		else
			break;
	}
	if (argc < 6)
		die("usage", SPAN(""));
	os_mem_init(&s.mem, 0);
	buf_init(&s.in, &s.mem);
	buf_init(&s.out, &s.mem);
	pg_frame_init(&s.frame, PG_BACK);
	to.sin_port = htons((uint16_t)strtoul(argv[0], NULL, 10));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s.user = argv[1];
	s.password = argv[2];
	s.database = argv[3];
	s.replication = strcmp(argv[4], "stream") == 0;
	s.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(s.fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect", span_str(strerror(errno)));
	if (s.tls)
		start_tls(&s);
	log_in(&s);
	run(&s, argv + 4, argc - 4);
	pg_put_empty(&s.out, PG_TERMINATE);
	flush(&s);
	if (s.ssl != NULL)
		SSL_free(s.ssl);
	(void)close(s.fd);
	buf_fini(&s.in);
	buf_fini(&s.out);
	REQUIRE(s.mem.used == 0);
	return 0;
}
