/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/postgres/side.c: the control thread's connection to one side.
 */
#define _DEFAULT_SOURCE
#include "control/postgres/side.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/postgres/object.h"

void
pg_begin(struct run *r, enum side s)
{
	struct pg_side *p = calloc(1, sizeof(*p));
	const struct run_side *at = &r->at[s];

	r->at[s].pg = p;
	if (p == NULL)
		return;
	(void)snprintf(p->name, sizeof(p->name), "%s", r->agent_name);
	(void)snprintf(p->schema, sizeof(p->schema), "godwit_%s", r->id);
	p->b.conf = (struct backend_conf){ .url = &at->url,
		                           .name = p->name,
		                           .label = r->side[s].label };
	pg_recall_plain(r, s);
}

void
pg_end(struct run *r, enum side s)
{
	struct pg_side *p = r->at[s].pg;

	if (p == NULL)
		return;
	if (s == SIDE_OLD)
		pg_object_end(r);
	backend_close(&p->b);
	json_decref(p->conflicts);
	free(p);
	r->at[s].pg = NULL;
}

uint32_t
pg_call_ms(const struct run *r)
{
	/* Nobody waits before anything has begun, or when all is over. */
	return r->relay_n == 0 || r->has_time ? LIMIT_PREFLIGHT_MS
	                                      : fence_call_ms(r);
}

/* The server says so itself, of who has just logged in. */
static void
note_rank(struct pg_side *p)
{
	const char *is = PQparameterStatus(p->b.c, "is_superuser");

	p->is_plain = is == NULL || strcmp(is, "on") != 0;
}

static uint32_t
login_ms(const struct run *r)
{
	return r->relay_n == 0 || r->has_time ? LIMIT_PREFLIGHT_MS
	                                      : LIMIT_CONNECT_MS;
}

/* As the role that is Godwit's own, else as the URL says. */
static int
log_in(struct run *r, enum side s, bool own, struct err *err)
{
	struct pg_side *p = r->at[s].pg;
	int rc;

	p->b.conf.user = own ? r->side[s].own_user : NULL;
	p->b.conf.pass = own ? r->side[s].own_pass : NULL;
	rc = backend_open(&p->b, login_ms(r), err);
	if (rc == 0 && !own)
		note_rank(p);
	p->as_own = rc == 0 && (own || (p->is_plain && r->at[s].users_made));
	return rc;
}

/* A check that changes nothing, of a server that an earlier migration has shut. */
static int
log_in_as_left(struct run *r, struct err *err)
{
	struct pg_side *p = r->at[SIDE_NEW].pg;
	int rc;

	(void)snprintf(p->other_user, sizeof(p->other_user), "godwit-%s",
	               r->conf->left_id);
	p->b.conf.user = p->other_user;
	p->b.conf.pass = r->conf->left_pass;
	rc = backend_open(&p->b, LIMIT_PREFLIGHT_MS, err);
	if (rc == 0)
		note_rank(p);
	return rc;
}

int
pg_reach(struct run *r, enum side s, struct err *err)
{
	struct pg_side *p = r->at[s].pg;
	bool own;
	int rc = -ERR_AUTH;

	if (p == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	own = !p->is_removed && !p->is_plain &&
	      (r->at[s].users_made || r->is_resumed);
	if (p->b.c != NULL && (p->as_own || !own))
		return 0;
	backend_close(&p->b);
	if (own)
		rc = log_in(r, s, true, err);
	if (rc == -ERR_AUTH)
		rc = log_in(r, s, false, err);
	if (rc == -ERR_AUTH && s == SIDE_NEW && r->conf->left_id[0] != '\0')
		rc = log_in_as_left(r, err);
	/* Another leg has shut it. */
	if (rc == -ERR_AUTH && r->is_part) {
		rc = pg_kin_log_in(r, s, login_ms(r), err);
		if (rc == 0)
			note_rank(p);
	}
	return rc;
}

char *
pg_text_of(const char *schema, const char *sql)
{
	size_t n = strlen(sql) + 1;
	size_t used = 0;
	char *ret;

	for (const char *p = sql; *p != '\0'; p++)
		n += *p == '@' ? strlen(schema) : 0;
	ret = malloc(n);
	if (ret == NULL)
		return NULL;
	for (const char *p = sql; *p != '\0'; p++) {
		if (*p != '@') {
			ret[used++] = *p;
			continue;
		}
		memcpy(ret + used, schema, strlen(schema));
		used += strlen(schema);
	}
	ret[used] = '\0';
	return ret;
}

char *
pg_text(const struct run *r, enum side s, const char *sql)
{
	const struct pg_side *side = r->at[s].pg;

	REQUIRE(side != NULL);
	return pg_text_of(side->schema, sql);
}

int
pg_ask(struct run *r, enum side s, const char *sql, const char *const *param,
       PGresult **ret, struct err *err)
{
	int rc = pg_reach(r, s, err);
	char *text;

	*ret = NULL;
	if (rc != 0)
		return rc;
	text = pg_text(r, s, sql);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	rc = backend_ask(&r->at[s].pg->b, pg_call_ms(r), text, param, ret, err);
	free(text);
	return rc;
}

int
pg_run(struct run *r, enum side s, const char *sql, struct err *err)
{
	int rc = pg_reach(r, s, err);
	char *text;

	if (rc != 0)
		return rc;
	text = pg_text(r, s, sql);
	if (text == NULL)
		return err_set(err, ERR_NOMEM, "out of memory");
	rc = backend_run(&r->at[s].pg->b, pg_call_ms(r), text, err);
	free(text);
	return rc;
}

int
pg_ask_text(struct run *r, enum side s, const char *sql, char **ret,
            struct err *err)
{
	PGresult *res;
	int rc = pg_ask(r, s, sql, NULL, &res, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	*ret = strdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return *ret != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

int
pg_tell(struct run *r, enum side s, const char *sql, const char *text,
        struct err *err)
{
	const char *param[] = { text, NULL };
	PGresult *res;
	int rc = pg_ask(r, s, sql, param, &res, err);

	PQclear(res);
	return rc;
}

int
pg_tell_rows(struct run *r, enum side from, const char *table, struct err *err)
{
	char sql[256];
	char *list;
	int rc;

	(void)snprintf(
		sql, sizeof(sql),
		"SELECT coalesce(json_agg(whole), '[]')::text FROM @.%s whole",
		table);
	rc = pg_ask_text(r, from, sql, &list, err);
	if (rc != 0)
		return rc;
	(void)snprintf(sql, sizeof(sql),
	               "INSERT INTO @.%s SELECT * FROM "
	               "json_populate_recordset(NULL::@.%s, $1::json) ON "
	               "CONFLICT DO NOTHING",
	               table, table);
	rc = pg_tell(r, side_other(from), sql, list, err);
	free(list);
	return rc;
}
