/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/login.c: a client's half of a login.
 */
#include "engine/postgres/login.h"

#include "base/err.h"

void
pg_login_nonce(struct port *p, char ret[PG_SCRAM_NONCE_TEXT])
{
	uint8_t raw[PG_SCRAM_NONCE_RAW];
	uint64_t v = 0;

	for (size_t i = 0; i < sizeof(raw); i++) {
		if (i % 8 == 0)
			v = p->entropy(p);
		raw[i] = (uint8_t)(v >> (i % 8 * 8));
	}
	pg_scram_nonce(raw, ret);
}

/* Does the server offer what we speak? */
static bool
offers(struct span mechanisms)
{
	struct span name;

	while (pg_text_next(&mechanisms, &name)) {
		if (span_eq(name, SPAN(PG_SCRAM_NAME)))
			return true;
	}
	return false;
}

static int
begin(struct pg_login *l, struct span mechanisms, struct buf *tx)
{
	struct pg_sasl m = { .mechanism = SPAN(PG_SCRAM_NAME) };
	char nonce[PG_SCRAM_NONCE_TEXT];
	struct buf first;

	if (!offers(mechanisms) || (l->password.n == 0 && l->keys == NULL))
		return -ERR_AUTH;
	l->is_scram = true;
	l->scram = (struct pg_scram_client){ .crypt = l->port->crypt,
		                             .password = l->password,
		                             .keys = l->keys };
	pg_login_nonce(l->port, nonce);
	buf_init(&first, l->port->mem);
	pg_scram_client_begin(&l->scram, span_str(nonce), &first);
	m.data.bytes = buf_span(&first);
	pg_put_sasl(tx, &m);
	tx->failed = tx->failed || buf_failed(&first);
	buf_fini(&first);
	return 0;
}

static int
go_on(struct pg_login *l, struct span data, struct buf *tx)
{
	struct buf last;
	int rc;

	if (!l->is_scram)
		return -ERR_PROTO;
	buf_init(&last, l->port->mem);
	rc = pg_scram_client_final(&l->scram, data, &last);
	if (rc == 0)
		pg_put_sasl_response(tx, buf_span(&last));
	buf_fini(&last);
	return rc;
}

static int
answer_md5(struct pg_login *l, struct span salt, struct buf *tx)
{
	const struct crypt *crypt = l->port->crypt;
	char stored[PG_MD5_MAX];
	char answer[PG_MD5_MAX];
	struct span kept = l->md5;
	int rc = 0;

	if (salt.n != PG_SALT)
		return -ERR_PROTO;
	if (kept.n == 0 && l->password.n == 0)
		return -ERR_AUTH;
	if (kept.n == 0) {
		rc = pg_md5_make(crypt, l->user, l->password, stored);
		kept = span_of(stored, PG_MD5_N);
	}
	if (rc == 0)
		rc = pg_md5_answer(crypt, kept, salt.p, answer);
	if (rc == 0)
		pg_put_password(tx, span_of(answer, PG_MD5_N));
	crypt_wipe(stored, sizeof(stored));
	return rc;
}

int
pg_login_answer(struct pg_login *l, struct span body, struct buf *tx)
{
	struct pg_authentication a;
	int rc;

	if (!pg_read_authentication(body, &a))
		return -ERR_PROTO;
	switch (a.code) {
	case PG_AUTH_OK:
		/* A server that never proved itself may be anybody. */
		return l->is_scram && !l->is_proven ? -ERR_AUTH : 1;
	case PG_AUTH_CLEARTEXT:
		if (l->password.n == 0)
			return -ERR_AUTH;
		pg_put_password(tx, l->password);
		return 0;
	case PG_AUTH_MD5: return answer_md5(l, a.data, tx);
	case PG_AUTH_SASL: return begin(l, a.data, tx);
	case PG_AUTH_SASL_CONTINUE: return go_on(l, a.data, tx);
	case PG_AUTH_SASL_FINAL:
		if (!l->is_scram)
			return -ERR_PROTO;
		rc = pg_scram_client_check(&l->scram, a.data);
		l->is_proven = rc == 0;
		return rc;
	default: return -ERR_AUTH;
	}
}

void
pg_login_fini(struct pg_login *l)
{
	if (l->is_scram)
		pg_scram_client_fini(&l->scram);
	l->is_scram = false;
	l->is_proven = false;
}
