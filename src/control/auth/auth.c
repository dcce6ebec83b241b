/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/auth.c: who is asking; the audit log and the secrets' door.
 */
#include "control/auth/auth.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/auth/bearer.h"
#include "control/auth/oidc.h"
#include "control/auth/parts.h"
#include "control/auth/seal.h"
#include "control/limit.h"
#include "control/store/audit.h"
#include "world/os/loop.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Bodies and answers hold passwords and tokens: JSON leaves nothing behind. */
static void
free_clean(void *p)
{
	if (p != NULL)
		digest_clear(p, malloc_usable_size(p));
	free(p);
}

static void
clean_json(void)
{
	json_set_alloc_funcs(malloc, free_clean);
}

struct auth *
auth_new(struct store *s, const struct auth_conf *c, struct err *err)
{
	struct auth *a = calloc(1, sizeof(*a));
	const char *token = c->new_organization_token;

	if (a == NULL || throttle_init(&a->throttle) != 0) {
		free(a);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	(void)pthread_once(&once, clean_json);
	a->store = s;
	a->wall_ms = c->wall_ms != NULL ? c->wall_ms : os_wall_ms;
	password_init(&a->gate, c->scrypt_log2);
	if (token != NULL && token[0] != '\0') {
		a->has_new_token = true;
		digest_sha256(span_str(token), a->new_token);
	}
	if (c->oidc != NULL) {
		a->oidc = oidc_new(c->oidc, a->wall_ms, err);
		if (a->oidc == NULL) {
			auth_free(a);
			return NULL;
		}
	}
	if (first_start(a, c, err) != 0) {
		auth_free(a);
		return NULL;
	}
	return a;
}

void
auth_free(struct auth *a)
{
	if (a == NULL)
		return;
	oidc_free(a->oidc);
	key_free(a->key);
	password_fini(&a->gate);
	throttle_fini(&a->throttle);
	free(a);
}

/* ---- who ------------------------------------------------------------------ */

/* Ours, unless it says that the configured issuer made it; each is then checked
 * by its own rules only. */
static int
check_jwt(struct auth *a, struct span token, struct identity *ret,
          struct err *err)
{
	struct jwt j;
	int rc = jwt_parse(token, &j, err);

	if (rc == 0 && a->oidc != NULL &&
	    strcmp(jwt_text(&j, "iss"), oidc_issuer(a->oidc)) == 0)
		rc = oidc_check(a->oidc, a->store, &j, ret, err);
	else if (rc == 0)
		rc = session_check(a, &j, ret, err);
	jwt_fini(&j);
	return rc;
}

/* A grant in the organization itself: it caps a token's role, and stands in the
 * place of what an issuer says. (A user's role is such a grant.) */
static void
apply_grant(struct auth *a, struct identity *who)
{
	struct role_on on = { .org_uuid = who->org_uuid,
		              .kind = ROLE_ORGANIZATION,
		              .uuid = who->org_uuid };
	enum role r;

	if (who->kind == IDENTITY_USER ||
	    !role_get(a->store, &on, who->subject, &r))
		return;
	if (who->kind == IDENTITY_OIDC || r < who->role)
		who->role = r;
}

int
auth_check(struct auth *a, const struct auth_request *r, struct identity *ret,
           struct err *err)
{
	struct bearer b;
	int rc = bearer_parse(r->authorization, &b, err);

	*ret = (struct identity){ .role = ROLE_NONE };
	bearer_clear(&b);
	if (rc == 0 && b.kind == BEARER_NONE)
		rc = err_set(err, ERR_UNAUTHORIZED,
		             "no Authorization header; send \"Bearer TOKEN\" "
		             "(POST /auth/login gives one)");
	if (rc == 0 && b.kind == BEARER_BASIC)
		rc = err_set(err, ERR_UNAUTHORIZED,
		             "Basic is for POST /auth/login; send the token "
		             "that it gives as \"Bearer TOKEN\"");
	if (rc != 0)
		return rc;
	rc = span_has_prefix(b.token, SPAN(APITOKEN_HEAD))
	             ? apitoken_check(a, b.token, ret, err)
	             : check_jwt(a, b.token, ret, err);
	if (rc != 0)
		return rc;
	if (r->org != NULL && r->org[0] != '\0' &&
	    strcmp(r->org, ret->org) != 0 && strcmp(r->org, ret->org_uuid) != 0)
		return err_set(err, ERR_FORBIDDEN,
		               "X-Org-Id: this token belongs to \"%.64s\"",
		               ret->org);
	apply_grant(a, ret);
	(void)snprintf(ret->peer, sizeof(ret->peer), "%s",
	               r->peer != NULL ? r->peer : "");
	return 0;
}

/* ---- audit ---------------------------------------------------------------- */

int
auth_audit(struct auth *a, const struct auth_entry *e, int64_t *ret_seq,
           struct err *err)
{
	const struct identity *who = e->who;
	struct audit_row row = {
		.org_uuid = who != NULL ? who->org_uuid : e->org_uuid,
		.subject = who != NULL ? who->subject : e->subject,
		.token = who != NULL ? who->token : NULL,
		.peer = who != NULL ? who->peer : e->peer,
		.action = e->action,
		.kind = e->kind,
		.id = e->id,
		.reason = e->reason,
		.result = e->result,
		.request_id = e->request_id,
	};

	return audit_add(a->store, &row, ret_seq, err);
}

int
auth_audit_end(struct auth *a, int64_t seq, const char *result, const char *id,
               struct err *err)
{
	return audit_end(a->store, seq, result, id, err);
}

int
auth_audit_list(struct auth *a, const struct identity *who,
                const struct auth_filter *f, json_t **ret, struct err *err)
{
	struct audit_filter filter = {
		.before = f->before,
		.limit = f->limit == 0 || f->limit > LIMIT_AUDIT_PAGE
		                 ? LIMIT_AUDIT_PAGE
		                 : f->limit,
		.subject = f->subject,
		.kind = f->kind,
		.id = f->id,
	};
	int rc = may_here(a, who, ROLE_ADMIN, err);

	*ret = NULL;
	if (rc != 0)
		return rc;
	*ret = audit_list(a->store, who->org_uuid, &filter, err);
	return *ret != NULL ? 0 : -(int)err->code;
}

/* ---- secrets -------------------------------------------------------------- */

char *
auth_seal(struct auth *a, const char *name, const char *secret, struct err *err)
{
	return seal_put(a->key->seal, name, secret, err);
}

char *
auth_open(struct auth *a, const char *name, const char *sealed, struct err *err)
{
	return seal_get(a->key->seal, name, sealed, err);
}

void
auth_wipe(char *secret)
{
	seal_wipe(secret);
}
