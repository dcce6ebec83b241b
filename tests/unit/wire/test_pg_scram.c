/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/wire/test_pg_scram.c: passwords and SCRAM-SHA-256: the example of RFC
 * 7677, verifiers, both halves against each other, and what
 * each must refuse. The hashes are the world's.
 */
#include "base/err.h"
#include "unit.h"
#include "wire/pg_scram.h"
#include "world/os/crypt.h"

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST \
	"r=" CLIENT_NONCE SERVER_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define CLIENT_FINAL                          \
	"c=biws,r=" CLIENT_NONCE SERVER_NONCE \
	",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct heap heap;
static struct buf out;

static int
begin(void **state)
{
	(void)state;
	heap = heap_make();
	buf_init(&out, &heap.mem);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	buf_fini(&out);
	return heap.mem.used == 0 ? 0 : -1;
}

/* What was appended; taken. */
static void
said(struct span text)
{
	assert_true(span_eq(buf_span(&out), text));
	buf_clear(&out);
}

static struct pg_verifier
verifier_of(const char *password, const char *salt)
{
	struct pg_verifier v;

	assert_int_equal(pg_verifier_make(&os_crypt, span_str(password),
	                                  span_str(salt), PG_SCRAM_ROUNDS, &v),
	                 0);
	return v;
}

static void
test_rfc_client(void **state)
{
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = SPAN("pencil"),
		                     .user = SPAN("user") };

	(void)state;
	pg_scram_client_begin(&c, SPAN(CLIENT_NONCE), &out);
	said(SPAN("n,,n=user,r=" CLIENT_NONCE));
	buf_put_str(&out, "before");
	assert_int_equal(pg_scram_client_final(&c, SPAN(SERVER_FIRST), &out),
	                 0);
	said(SPAN("before" CLIENT_FINAL));
	assert_int_equal(pg_scram_client_check(&c, SPAN(SERVER_FINAL)), 0);
	/* Once only. */
	assert_int_equal(pg_scram_client_check(&c, SPAN(SERVER_FINAL)),
	                 -ERR_PROTO);
	pg_scram_client_fini(&c);
}

static void
test_rfc_server(void **state)
{
	static const uint8_t salt[16] = { 0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12,
		                          0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14,
		                          0x12, 0x36, 0xfa, 0x81 };
	struct pg_verifier v;
	struct pg_scram_server s = { .crypt = &os_crypt, .verifier = &v };

	(void)state;
	assert_int_equal(pg_verifier_make(&os_crypt, SPAN("pencil"),
	                                  span_of(salt, sizeof(salt)), 4096,
	                                  &v),
	                 0);
	assert_int_equal(
		pg_scram_server_begin(&s, SPAN("n,,n=user,r=" CLIENT_NONCE),
	                              SPAN(SERVER_NONCE), &out),
		0);
	said(SPAN(SERVER_FIRST));
	assert_int_equal(pg_scram_server_final(&s, SPAN(CLIENT_FINAL), &out),
	                 0);
	said(SPAN(SERVER_FINAL));
	pg_scram_server_fini(&s);
}

/* A whole exchange. Answers what the server half, then the client half says. */
static int
meet(struct pg_scram_client *c, struct pg_scram_server *s)
{
	uint8_t room[3][PG_SCRAM_MESSAGE_MAX];
	struct span said_last = { NULL, 0 };
	int rc = 0;

	for (int step = 0; step < 5; step++) {
		if (step == 0)
			pg_scram_client_begin(c, SPAN("abc"), &out);
		else if (step == 1)
			rc = pg_scram_server_begin(s, said_last, SPAN("def"),
			                           &out);
		else if (step == 2)
			rc = pg_scram_client_final(c, said_last, &out);
		else if (step == 3)
			rc = pg_scram_server_final(s, said_last, &out);
		else
			rc = pg_scram_client_check(c, said_last);
		if (rc != 0)
			break;
		assert_true(buf_len(&out) <= sizeof(room[0]));
		if (buf_len(&out) > 0)
			memcpy(room[step % 3], buf_span(&out).p, buf_len(&out));
		said_last = span_of(room[step % 3], buf_len(&out));
		buf_clear(&out);
	}
	buf_clear(&out);
	return rc;
}

static void
test_pass_through(void **state)
{
	struct pg_verifier v = verifier_of("secret", "0123456789abcdef");
	struct pg_scram_server s = { .crypt = &os_crypt, .verifier = &v };
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = SPAN("secret") };
	struct pg_scram_keys keys;

	(void)state;
	assert_int_equal(meet(&c, &s), 0);
	/* What the server half has learned opens the next door. */
	keys = s.keys;
	c = (struct pg_scram_client){ .crypt = &os_crypt, .keys = &keys };
	s = (struct pg_scram_server){ .crypt = &os_crypt, .verifier = &v };
	assert_int_equal(meet(&c, &s), 0);
	/* A wrong password; a user that does not exist. */
	c = (struct pg_scram_client){ .crypt = &os_crypt,
		                      .password = SPAN("secreT") };
	s = (struct pg_scram_server){ .crypt = &os_crypt, .verifier = &v };
	assert_int_equal(meet(&c, &s), -ERR_AUTH);
	for (size_t i = 0; i < CRYPT_SHA256; i++)
		assert_int_equal(s.keys.client[i], 0);
	assert_int_equal(
		pg_verifier_mock(&os_crypt, SPAN("bob"), SPAN("x"), &v), 0);
	c = (struct pg_scram_client){ .crypt = &os_crypt,
		                      .password = SPAN("") };
	s = (struct pg_scram_server){ .crypt = &os_crypt, .verifier = &v };
	assert_int_equal(meet(&c, &s), -ERR_AUTH);
}

/* Who is in the middle shows another certificate, or hides that we can bind. */
static void
test_binding(void **state)
{
	struct pg_verifier v = verifier_of("secret", "0123456789abcdef");
	struct pg_scram_client c;
	struct pg_scram_server s;
	const struct {
		enum pg_binding says;
		struct span sees;
		struct span is;
		bool is_plus;
		int rc;
	} rows[] = {
		{ PG_BINDING_CERT, SPAN("hash"), SPAN("hash"), true, 0 },
		{ PG_BINDING_CERT, SPAN("hasH"), SPAN("hash"), true,
		  -ERR_AUTH },
		{ PG_BINDING_NONE, SPAN(""), SPAN("hash"), false, 0 },
		{ PG_BINDING_UNUSED, SPAN(""), SPAN(""), false, 0 },
		{ PG_BINDING_UNUSED, SPAN(""), SPAN("hash"), false, -ERR_AUTH },
		{ PG_BINDING_NONE, SPAN(""), SPAN("hash"), true, -ERR_PROTO },
		{ PG_BINDING_CERT, SPAN("hash"), SPAN("hash"), false,
		  -ERR_PROTO },
		{ PG_BINDING_CERT, SPAN("hash"), SPAN(""), true, -ERR_PROTO },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = (struct pg_scram_client){ .crypt = &os_crypt,
			                      .password = SPAN("secret"),
			                      .binding = rows[i].says,
			                      .certificate = rows[i].sees };
		s = (struct pg_scram_server){ .crypt = &os_crypt,
			                      .verifier = &v,
			                      .certificate = rows[i].is,
			                      .is_plus = rows[i].is_plus };
		assert_int_equal(meet(&c, &s), rows[i].rc);
	}
}

static void
client_refuses(struct span server_first, int rc)
{
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = SPAN("pencil") };

	pg_scram_client_begin(&c, SPAN("abc"), &out);
	buf_clear(&out);
	assert_int_equal(pg_scram_client_final(&c, server_first, &out), rc);
	assert_int_equal(buf_len(&out), 0);
}

static void
test_client_refuses(void **state)
{
	struct pg_scram_client c = { .crypt = &os_crypt,
		                     .password = SPAN("pencil") };

	(void)state;
	client_refuses(SPAN(""), -ERR_PROTO);
	/* Not our nonce; nothing of theirs; a byte that is none of one. */
	client_refuses(SPAN("r=abd123,s=QUJD,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc,s=QUJD,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc\x01,s=QUJD,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=QUJ,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=QUJD,i=0"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=QUJD,i=01"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=QUJD,i=1,x=y"), -ERR_PROTO);
	client_refuses(SPAN("m=x,r=abc1,s=QUJD,i=1"), -ERR_PROTO);
	client_refuses(SPAN("r=abc1,s=QUJD,i=1000001"), -ERR_LIMIT);
	/* A server that does not know the password. */
	pg_scram_client_begin(&c, SPAN("abc"), &out);
	assert_int_equal(
		pg_scram_client_final(&c, SPAN("r=abc1,s=QUJD,i=1"), &out), 0);
	assert_int_equal(pg_scram_client_check(&c, SPAN(SERVER_FINAL)),
	                 -ERR_AUTH);
}

static void
server_refuses(struct span client_first, int rc)
{
	struct pg_verifier v = verifier_of("secret", "0123456789abcdef");
	struct pg_scram_server s = { .crypt = &os_crypt, .verifier = &v };

	assert_int_equal(
		pg_scram_server_begin(&s, client_first, SPAN("xyz"), &out), rc);
	buf_clear(&out);
}

static void
final_refused(struct span client_final, int rc)
{
	struct pg_verifier v = verifier_of("secret", "0123456789abcdef");
	struct pg_scram_server s = { .crypt = &os_crypt, .verifier = &v };

	assert_int_equal(pg_scram_server_begin(&s, SPAN("n,,n=,r=abc"),
	                                       SPAN("xyz"), &out),
	                 0);
	buf_clear(&out);
	assert_int_equal(pg_scram_server_final(&s, client_final, &out), rc);
	assert_int_equal(buf_len(&out), 0);
}

#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="

static void
test_server_refuses(void **state)
{
	char big[PG_SCRAM_MESSAGE_MAX + 1];

	(void)state;
	server_refuses(SPAN(""), -ERR_PROTO);
	server_refuses(SPAN("n,a=bob,n=,r=abc"), -ERR_PROTO);
	server_refuses(SPAN("n,,m=x,n=,r=abc"), -ERR_PROTO);
	server_refuses(SPAN("n,,n=,r="), -ERR_PROTO);
	server_refuses(SPAN("n,,n="), -ERR_PROTO);
	server_refuses(SPAN("p=tls-unique,,n=,r=abc"), -ERR_PROTO);
	memset(big, 'x', sizeof(big));
	server_refuses(span_of(big, sizeof(big)), -ERR_LIMIT);
	memcpy(big, "n,,n=,r=", 8);
	server_refuses(span_of(big, 8 + PG_SCRAM_NONCE_MAX), -ERR_LIMIT);
	server_refuses(span_of(big, 8 + PG_SCRAM_NONCE_MAX - 3), 0);
	final_refused(SPAN("c=biws,r=abcxyz,p=" PROOF), -ERR_AUTH);
	final_refused(SPAN("c=biws,r=abcxyz,x=y,p=" PROOF), -ERR_AUTH);
	final_refused(SPAN("c=eSws,r=abcxyz,p=" PROOF), -ERR_AUTH);
	final_refused(SPAN("c=biws,r=abcxy,p=" PROOF), -ERR_AUTH);
	final_refused(SPAN("c=biws,r=abcxyz"), -ERR_PROTO);
	final_refused(SPAN("c=biws,r=abcxyz,p=abcd"), -ERR_PROTO);
	final_refused(SPAN("c=biws,r=abcxyz,m=1,p=" PROOF), -ERR_PROTO);
	final_refused(SPAN("c=biws,r=abcxyz,p=" PROOF ",x=y"), -ERR_PROTO);
}

/* As it is kept, and what only looks like it. */
static void
test_verifier(void **state)
{
	static const char *const bad[] = {
		"SCRAM-SHA-256$0:QUJD$x:y",
		"SCRAM-SHA-256$1000001:QUJD$x:y",
		"SCRAM-SHA-256$4096$QUJD$x:y",
		"SCRAM-SHA-1$4096:QUJD$x:y",
		"",
	};
	struct pg_verifier v = verifier_of("pencil", "0123456789abcdef");
	struct pg_verifier again;
	struct span text;

	(void)state;
	pg_put_verifier(&out, &v);
	text = buf_span(&out);
	assert_true(span_has_prefix(
		text, SPAN("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$")));
	assert_int_equal(pg_password_kind(text), PG_PASSWORD_SCRAM);
	assert_true(pg_verifier_parse(text, &again));
	assert_int_equal(again.rounds, 4096);
	assert_int_equal(again.salt_n, 16);
	assert_memory_equal(again.stored, v.stored, CRYPT_SHA256);
	assert_memory_equal(again.server, v.server, CRYPT_SHA256);
	assert_true(pg_verifier_is(&again, &os_crypt, SPAN("pencil")));
	assert_false(pg_verifier_is(&again, &os_crypt, SPAN("pencils")));
	for (size_t n = 0; n < text.n; n++)
		assert_false(pg_verifier_parse(span_of(text.p, n), &again));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(pg_verifier_parse(span_str(bad[i]), &again));
}

static void
test_md5(void **state)
{
	char stored[PG_MD5_MAX];
	char answer[PG_MD5_MAX];

	(void)state;
	/* echo -n secretbob | md5sum; then of its digits and "salt". */
	assert_int_equal(
		pg_md5_make(&os_crypt, SPAN("bob"), SPAN("secret"), stored), 0);
	assert_string_equal(stored, "md521f3163f8f86fa10bdefbfbd502a8f06");
	assert_int_equal(pg_md5_answer(&os_crypt, span_str(stored),
	                               (const uint8_t *)"salt", answer),
	                 0);
	assert_string_equal(answer, "md5a472781a92412d8a652b427f4c5b7f3f");
	assert_int_equal(pg_password_kind(span_str(stored)), PG_PASSWORD_MD5);
	stored[4] = 'G';
	assert_int_equal(pg_password_kind(span_str(stored)), PG_PASSWORD_PLAIN);
	assert_int_equal(pg_password_kind(SPAN("secret")), PG_PASSWORD_PLAIN);
}

static void
test_nonce(void **state)
{
	uint8_t raw[PG_SCRAM_NONCE_RAW];
	char text[PG_SCRAM_NONCE_TEXT];

	(void)state;
	assert_true(os_crypt_random(raw, sizeof(raw)));
	pg_scram_nonce(raw, text);
	assert_int_equal(strlen(text), PG_SCRAM_NONCE_TEXT - 1);
	assert_null(strchr(text, ','));
}

/* PBKDF2 by the library is that of iterated HMACs. */
static void
test_stretch(void **state)
{
	static const struct span salt = { (const uint8_t *)"salt\0\0\0\1", 8 };
	uint8_t block[CRYPT_SHA256];
	uint8_t sum[CRYPT_SHA256];
	uint8_t fast[CRYPT_SHA256];

	(void)state;
	assert_true(os_crypt.hmac_sha256(SPAN("pw"), salt, block));
	memcpy(sum, block, sizeof(sum));
	for (int i = 1; i < 20; i++) {
		assert_true(os_crypt.hmac_sha256(
			SPAN("pw"), span_of(block, sizeof(block)), block));
		for (size_t k = 0; k < sizeof(sum); k++)
			sum[k] ^= block[k];
	}
	assert_true(os_crypt.stretch(SPAN("pw"), SPAN("salt"), 20, fast));
	assert_memory_equal(fast, sum, sizeof(sum));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_client),
		cmocka_unit_test(test_rfc_server),
		cmocka_unit_test(test_pass_through),
		cmocka_unit_test(test_binding),
		cmocka_unit_test(test_client_refuses),
		cmocka_unit_test(test_server_refuses),
		cmocka_unit_test(test_verifier),
		cmocka_unit_test(test_md5),
		cmocka_unit_test(test_nonce),
		cmocka_unit_test(test_stretch),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
