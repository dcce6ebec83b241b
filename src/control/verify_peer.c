/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/verify_peer.c: a connection of the verifier to one side.
 */
#include <stdio.h>

#include "control/verify_parts.h"
#include "wire/resp.h"

int
peer_wrap(const struct peer *p, struct err *err)
{
	if (strstr(err->text, "NOPERM") != NULL)
		return err_set(err, ERR_REFUSED,
		               "%s refuses this user (NOPERM): it is fenced by "
		               "a migration, or the user may not read; with a "
		               "migration use `godwit verify --state FILE`",
		               p->conf->label);
	return err_wrap(err, "%s", p->conf->label);
}

int
peer_broken(const struct peer *p, const char *what, struct err *err)
{
	(void)err_set(err, ERR_PROTO, "%s", what);
	(void)peer_wrap(p, err);
	return -ERR_PROTO;
}

int
peer_send(struct peer *p, struct err *err)
{
	int rc;

	if (buf_failed(&p->out))
		return err_set(err, ERR_NOMEM, "no memory for requests");
	rc = client_send(p->c, buf_span(&p->out), VERIFY_CALL_MS, err);
	buf_clear(&p->out);
	return rc == 0 ? 0 : peer_wrap(p, err);
}

int
peer_recv(struct peer *p, uint32_t n, struct span *ret, struct err *err)
{
	if (client_recv(p->c, n, VERIFY_CALL_MS, ret, err) != 0)
		return peer_wrap(p, err);
	return 0;
}

int
peer_call(struct peer *p, uint32_t n, struct span *ret, struct err *err)
{
	int rc = peer_send(p, err);

	return rc == 0 ? peer_recv(p, n, ret, err) : rc;
}

/* An answer that is not an error, or -ERR. */
static int
peer_expect(struct peer *p, struct span reply, enum err_code code,
            struct err *err)
{
	struct resp_item item;

	if (resp_read(&reply, &item) != WIRE_PART) {
		return peer_broken(p, "the answer is broken", err);
	}
	if (item.type != RESP_ERROR)
		return 0;
	(void)reply_refused(item.text, err);
	err->code = code;
	return peer_wrap(p, err);
}

/* Godwit's own user when there is one, else the URL's. */
static int
authenticate(struct peer *p, struct err *err)
{
	const struct side_conf *c = p->conf;
	bool is_own = c->own_user[0] != '\0';
	const char *user = is_own ? c->own_user : c->url_user;
	const char *pass = is_own ? c->own_pass : c->url_pass;
	struct span reply;
	int rc;

	if (user[0] == '\0' && pass[0] == '\0')
		return 0;
	if (user[0] == '\0')
		resp_put_cmd(&p->out, "AUTH", pass, NULL);
	else
		resp_put_cmd(&p->out, "AUTH", user, pass, NULL);
	if ((rc = peer_call(p, 1, &reply, err)) < 0)
		return rc;
	return peer_expect(p, reply, ERR_AUTH, err);
}

/* CLIENT SETNAME lets the fence spare us; NO-TOUCH (7.2) keeps our reads out
 * of the server's LRU. Servers that know neither are served as well. */
static int
introduce(struct peer *p, struct err *err)
{
	static const char own[] = "godwit-";
	const char *id = p->conf->own_user;
	char name[128];
	struct span reply;

	if (strncmp(id, own, sizeof(own) - 1) == 0)
		id += sizeof(own) - 1;
	if (id[0] == '\0')
		id = "verify";
	(void)snprintf(name, sizeof(name), "godwit:%s:verify", id);
	resp_put_cmd(&p->out, "CLIENT", "SETNAME", name, NULL);
	resp_put_cmd(&p->out, "CLIENT", "NO-TOUCH", "ON", NULL);
	return peer_call(p, 2, &reply, err);
}

/* Over the elements of an array whose head was read. */
static bool
rest_of(struct span *in, const struct resp_item *head)
{
	for (int64_t i = 0; head->type == RESP_ARRAY && i < head->number; i++)
		if (!reply_skip(in))
			return false;
	return true;
}

int
peer_learn(struct peer *p, struct err *err)
{
	struct resp_item item[4];
	char mark[OWN_NAME];
	struct span in;
	int64_t at[2] = { 0, 0 };
	int rc;

	resp_put_cmd(&p->out, "PEXPIRETIME",
	             own_name(mark, "mark", p->conf->own_tag), NULL);
	resp_put_cmd(&p->out, "HPEXPIRETIME", mark, "FIELDS", "1", "f", NULL);
	resp_put_cmd(&p->out, "TIME", NULL);
	if ((rc = peer_call(p, 3, &in, err)) < 0)
		return rc;
	if (resp_read(&in, &item[0]) != WIRE_PART ||
	    resp_read(&in, &item[3]) != WIRE_PART || !rest_of(&in, &item[3]) ||
	    resp_read(&in, &item[1]) != WIRE_PART) {
		return peer_broken(p, "the answer is broken", err);
	}
	p->no_expiretime =
		item[0].type == RESP_ERROR &&
		span_has_prefix(item[0].text, SPAN("ERR unknown command"));
	if (item[0].type == RESP_ERROR && !p->no_expiretime) {
		(void)reply_refused(item[0].text, err);
		return peer_wrap(p, err);
	}
	p->field_ttl =
		item[3].type != RESP_ERROR ||
		!span_has_prefix(item[3].text, SPAN("ERR unknown command"));
	if (!p->no_expiretime || item[1].type != RESP_ARRAY)
		return 0;
	for (int i = 0; i < 2; i++) {
		if (!value_item(&in, RESP_BULK, &item[2]))
			return 0;
		for (size_t k = 0; k < item[2].text.n; k++)
			at[i] = at[i] * 10 + (item[2].text.p[k] - '0');
	}
	p->time_ms = at[0] * 1000 + at[1] / 1000;
	return 0;
}

int
peer_select(struct peer *p, uint32_t db, struct err *err)
{
	struct span reply;
	int rc;

	resp_put_array(&p->out, 2);
	resp_put_bulk(&p->out, SPAN("SELECT"));
	resp_put_bulk_u64(&p->out, db);
	if ((rc = peer_call(p, 1, &reply, err)) < 0)
		return rc;
	return peer_expect(p, reply, ERR_REFUSED, err);
}

int
peer_open(struct peer *p, struct mem *mem, const struct side_conf *conf,
          struct err *err)
{
	int rc;

	p->conf = conf;
	buf_init(&p->out, mem);
	p->c = client_open(&conf->at, 5000, err);
	if (p->c == NULL)
		return peer_wrap(p, err);
	if ((rc = authenticate(p, err)) < 0 || (rc = introduce(p, err)) < 0)
		return rc;
	return peer_learn(p, err);
}

void
peer_close(struct peer *p)
{
	client_close(p->c);
	p->c = NULL;
	if (p->conf != NULL)
		buf_fini(&p->out);
}
