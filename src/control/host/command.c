/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/host/command.c: one command for a template, and its typed answer.
 *
 * Limits: COMMAND_MS a command, COMMAND_ARGS arguments, COMMAND_DEPTH nested
 *         arrays, COMMAND_ITEMS items.
 * Thread: any.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/host/inside.h"
#include "wire/resp.h"
#include "world/os/client.h"

#define COMMAND_MS    5000 /* above the longest hold and its repetition */
#define COMMAND_ARGS  1024
#define COMMAND_DEPTH 8
#define COMMAND_ITEMS 100000

/* The header of PROXY v2 that says: no client of mine, it is me (2.2, LOCAL). */
static const uint8_t proxy_local[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
	                               0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
	                               0x20, 0x00, 0x00, 0x00 };

/* ---- typed answers -------------------------------------------------------- */

static json_t *
text_json(struct span s)
{
	json_t *j = json_stringn((const char *)s.p, s.n);
	struct mem mem;
	struct buf hex;

	if (j != NULL)
		return j;
	/* Bytes that are no UTF-8. */
	os_mem_init(&mem, 0);
	buf_init(&hex, &mem);
	for (size_t i = 0; i < s.n; i++)
		buf_putf(&hex, "%02x", s.p[i]);
	j = json_pack("{s:s%}", "hex", (const char *)buf_span(&hex).p,
	              buf_len(&hex));
	buf_fini(&hex);
	return j;
}

static json_t *
item_json(const struct resp_item *it)
{
	switch (it->type) {
	case RESP_INT: return json_integer((json_int_t)it->number);
	case RESP_BULK:
	case RESP_STATUS: return text_json(it->text);
	case RESP_ERROR:
		return json_pack("{s:o}", "error", text_json(it->text));
	case RESP_ARRAY: return json_array();
	case RESP_NIL:
	case RESP_DOUBLE: /* it speaks RESP2 */
	case RESP_BIG:
	case RESP_BOOL:
	case RESP_VERBATIM:
	case RESP_SET:
	case RESP_PUSH:
	case RESP_MAP:
	case RESP_ATTRIBUTE: break;
	}
	return json_null();
}

struct level {
	json_t *list;
	int64_t left;
};

/* The whole reply, without recursion. */
static int
reply_json(struct span reply, json_t **ret, struct err *err)
{
	struct level at[COMMAND_DEPTH];
	uint32_t depth = 0;
	struct resp_item it;

	*ret = NULL;
	for (uint32_t n = 0; n < COMMAND_ITEMS; n++) {
		json_t *j;

		if (resp_read(&reply, &it) != WIRE_PART)
			break;
		if (*ret == NULL && it.type == RESP_ERROR)
			return err_set(err, ERR_REFUSED, "%.*s",
			               (int)(it.text.n < 200 ? it.text.n : 200),
			               (const char *)it.text.p);
		j = item_json(&it);
		if (depth > 0) {
			(void)json_array_append_new(at[depth - 1].list, j);
			at[depth - 1].left--;
		} else {
			*ret = j;
		}
		if (it.type == RESP_ARRAY && it.number > 0) {
			if (depth == COMMAND_DEPTH)
				break;
			at[depth++] = (struct level){ j, it.number };
		}
		while (depth > 0 && at[depth - 1].left == 0)
			depth--;
		if (depth == 0)
			return 0;
	}
	json_decref(*ret);
	*ret = NULL;
	return err_set(err, ERR_LIMIT,
	               "the answer is nested deeper than %d, or has more than "
	               "%d items",
	               COMMAND_DEPTH, COMMAND_ITEMS);
}

/* ---- the command ----------------------------------------------------------- */

static int
put_command(struct buf *tx, const json_t *argv, struct err *err)
{
	size_t n = json_array_size(argv);
	size_t i;
	json_t *a;

	if (n == 0 || n > COMMAND_ARGS)
		return err_set(err, ERR_USAGE, "a command has 1 to %d words",
		               COMMAND_ARGS);
	resp_put_array(tx, n);
	json_array_foreach(argv, i, a)
	{
		if (!json_is_string(a))
			return err_set(err, ERR_USAGE,
			               "word %zu of the command is no string",
			               i);
		resp_put_bulk(tx, span_of(json_string_value(a),
		                          json_string_length(a)));
	}
	return 0;
}

static uint32_t
put_greeting(struct buf *tx, const struct url *u)
{
	uint32_t n = 0;
	char db[16];

	if (u->user[0] != '\0' || u->pass[0] != '\0') {
		if (u->user[0] != '\0')
			resp_put_cmd(tx, "AUTH", u->user, u->pass, NULL);
		else
			resp_put_cmd(tx, "AUTH", u->pass, NULL);
		n++;
	}
	if (u->db != 0) {
		(void)snprintf(db, sizeof(db), "%u", u->db);
		resp_put_cmd(tx, "SELECT", db, NULL);
		n++;
	}
	return n;
}

static int
talk(struct client *c, const struct place *p, const json_t *argv, json_t **ret,
     struct err *err)
{
	struct span replies = { NULL, 0 };
	struct mem mem;
	struct buf tx;
	uint32_t n;
	int rc = 0;

	os_mem_init(&mem, 0);
	buf_init(&tx, &mem);
	if (p->proxy)
		buf_put(&tx, proxy_local, sizeof(proxy_local));
	/* First who we are: no command runs with other rights. */
	n = put_greeting(&tx, &p->url);
	if (n > 0)
		rc = client_call(c, buf_span(&tx), n, COMMAND_MS, &replies,
		                 err);
	for (uint32_t i = 0; rc == 0 && i < n; i++) {
		struct resp_item it;

		if (resp_read(&replies, &it) != WIRE_PART ||
		    it.type == RESP_ERROR)
			rc = err_set(err, ERR_AUTH, "%.*s",
			             (int)(it.text.n < 160 ? it.text.n : 160),
			             (const char *)it.text.p);
	}
	if (n > 0)
		buf_clear(&tx);
	if (rc == 0)
		rc = put_command(&tx, argv, err);
	if (rc == 0 && buf_failed(&tx))
		rc = err_set(err, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = client_call(c, buf_span(&tx), 1, COMMAND_MS, &replies,
		                 err);
	if (rc == 0)
		rc = reply_json(replies, ret, err);
	buf_fini(&tx);
	return rc;
}

int
host_command(struct host *h, const json_t *where, const json_t *argv,
             bool is_read, json_t **ret, struct err *err)
{
	struct place p = { .what = "" };
	struct side_conf to;
	struct client *c;
	struct url u;
	int rc = place_find(h, where, &p, err);

	/* The relay knows by the command which reads may go where. */
	(void)is_read;
	*ret = NULL;
	if (rc != 0)
		return rc;
	u = place_url(&p, &p.url);
	rc = url_side(&u, SIDE_OLD, &to, err);
	if (rc != 0)
		return rc;
	c = client_open(&to.at, COMMAND_MS, err);
	rc = c != NULL ? talk(c, &p, argv, ret, err) : -(int)err->code;
	client_close(c);
	return rc == 0 || rc == -ERR_USAGE ? rc : err_wrap(err, "%s", p.what);
}
