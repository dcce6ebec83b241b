/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/oidc.c: tokens of an OpenID Connect issuer.
 */
#include "control/auth/oidc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/auth/fetch.h"
#include "control/auth/jwks.h"
#include "control/auth/parts.h"
#include "control/limit.h"
#include "control/store/organization.h"

#define URL_LEN  512
#define PATH_LEN 16 /* parts of a claim's path */

struct oidc {
	json_t *conf;
	const char *issuer; /* into conf, as the next ones */
	const char *audience;
	const char *organization;
	const char *claim; /* NULL: only default_role */
	json_t *roles;
	enum role default_role;
	struct fetch fetch;
	int64_t (*wall_ms)(void);

	pthread_mutex_t lock;
	pthread_cond_t done; /* is_asking became false */
	bool is_asking;
	uint32_t waiting;
	struct jwks keys;
	int64_t fetched_ms; /* 0: never */
	int64_t tried_ms;
	struct err why; /* of the last try, if it failed */
};

/* ---- configuration -------------------------------------------------------- */

static int
check_members(json_t *conf, struct err *err)
{
	static const char *const known[] = {
		"issuer", "audience",     "organization",        "claim",
		"roles",  "default_role", "allow_http_loopback", "ca_file"
	};
	const char *name;
	json_t *value;

	if (!json_is_object(conf))
		return err_set(err, ERR_USAGE, "oidc: must be an object");
	json_object_foreach((json_t *)conf, name, value)
	{
		bool is_known = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			is_known = is_known || strcmp(known[i], name) == 0;
		if (!is_known)
			return err_set(err, ERR_USAGE,
			               "oidc.%.40s: there is no such key",
			               name);
	}
	return 0;
}

static int
text_of(const json_t *conf, const char *name, bool is_needed, const char **ret,
        struct err *err)
{
	const json_t *v = json_object_get(conf, name);

	*ret = json_string_value(v);
	if ((v != NULL && *ret == NULL) ||
	    (is_needed && (*ret == NULL || **ret == '\0')))
		return err_set(err, ERR_USAGE, "oidc.%s: must be a text", name);
	return 0;
}

static int
read_roles(struct oidc *o, struct err *err)
{
	const json_t *def = json_object_get(o->conf, "default_role");
	const char *text = json_string_value(def);
	const char *name;
	json_t *value;
	enum role r;

	o->roles = json_object_get(o->conf, "roles");
	if (def != NULL &&
	    (text == NULL || !role_parse(text, &o->default_role)))
		return err_set(err, ERR_USAGE,
		               "oidc.default_role: must be a role");
	if (o->roles != NULL && !json_is_object(o->roles))
		return err_set(err, ERR_USAGE,
		               "oidc.roles: must be an object of values and "
		               "their roles");
	json_object_foreach((json_t *)o->roles, name, value)
	{
		text = json_string_value(value);
		if (text == NULL || !role_parse(text, &r))
			return err_set(err, ERR_USAGE,
			               "oidc.roles.%.40s: must be a role",
			               name);
	}
	if (json_object_size(o->roles) > 0 && o->claim == NULL)
		return err_set(err, ERR_USAGE,
		               "oidc.claim: must name the claim that "
		               "oidc.roles is about");
	return 0;
}

static int
configure(struct oidc *o, struct err *err)
{
	const json_t *may = json_object_get(o->conf, "allow_http_loopback");
	int rc = check_members(o->conf, err);

	if (rc == 0)
		rc = text_of(o->conf, "issuer", true, &o->issuer, err);
	if (rc == 0)
		rc = text_of(o->conf, "audience", true, &o->audience, err);
	if (rc == 0)
		rc = text_of(o->conf, "organization", true, &o->organization,
		             err);
	if (rc == 0)
		rc = text_of(o->conf, "claim", false, &o->claim, err);
	if (rc == 0)
		rc = text_of(o->conf, "ca_file", false, &o->fetch.ca_file, err);
	if (rc == 0 && may != NULL && !json_is_boolean(may))
		rc = err_set(err, ERR_USAGE,
		             "oidc.allow_http_loopback: must be true or "
		             "false");
	o->fetch.may_http_loopback = json_is_true(may);
	if (rc == 0)
		rc = read_roles(o, err);
	if (rc == 0 && fetch_check(&o->fetch, o->issuer, err) != 0)
		rc = err_wrap(err, "oidc.issuer");
	if (rc == 0 && strlen(o->issuer) > URL_LEN - 64)
		rc = err_set(err, ERR_USAGE, "oidc.issuer: is too long");
	return rc;
}

struct oidc *
oidc_new(const json_t *conf, int64_t (*wall_ms)(void), struct err *err)
{
	struct oidc *o = calloc(1, sizeof(*o));

	if (o != NULL)
		o->conf = json_deep_copy(conf);
	if (o == NULL || o->conf == NULL) {
		free(o);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	o->wall_ms = wall_ms;
	(void)pthread_mutex_init(&o->lock, NULL);
	(void)pthread_cond_init(&o->done, NULL);
	if (configure(o, err) != 0) {
		oidc_free(o);
		return NULL;
	}
	return o;
}

void
oidc_free(struct oidc *o)
{
	if (o == NULL)
		return;
	jwks_fini(&o->keys);
	(void)pthread_cond_destroy(&o->done);
	(void)pthread_mutex_destroy(&o->lock);
	json_decref(o->conf);
	free(o);
}

const char *
oidc_issuer(const struct oidc *o)
{
	return o->issuer;
}

/* ---- the issuer's keys ---------------------------------------------------- */

/* Where the keys are: what the issuer says about itself. */
static int
discover(const struct oidc *o, char ret[URL_LEN], struct err *err)
{
	size_t n = strlen(o->issuer);
	char *text;
	const char *uri;
	const char *issuer;
	json_t *doc;
	int rc;

	(void)snprintf(ret, URL_LEN, "%.*s/.well-known/openid-configuration",
	               (int)(n > 0 && o->issuer[n - 1] == '/' ? n - 1 : n),
	               o->issuer);
	rc = fetch_get(&o->fetch, ret, &text, &n, err);
	if (rc != 0)
		return rc;
	doc = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	uri = field_text(doc, "jwks_uri");
	issuer = field_text(doc, "issuer");
	if (issuer == NULL || strcmp(issuer, o->issuer) != 0)
		rc = err_set(err, ERR_PROTO,
		             "%.120s: it does not say that it is of this "
		             "issuer",
		             ret);
	else if (uri == NULL || strlen(uri) >= URL_LEN)
		rc = err_set(err, ERR_PROTO, "%.120s: it has no jwks_uri", ret);
	else
		(void)snprintf(ret, URL_LEN, "%s", uri);
	json_decref(doc);
	return rc;
}

static int
ask(const struct oidc *o, struct jwks *ret, struct err *err)
{
	char url[URL_LEN];
	char *text;
	size_t n;
	int rc = discover(o, url, err);

	if (rc == 0)
		rc = fetch_get(&o->fetch, url, &text, &n, err);
	if (rc != 0)
		return rc;
	rc = jwks_parse(span_of(text, n), ret, err);
	free(text);
	return rc;
}

/* Called with the lock, which is let go meanwhile. Waits when somebody else is
 * asking already. */
static void
renew(struct oidc *o)
{
	struct err why = { 0 };
	struct jwks keys = { 0 };
	int rc;

	if (o->is_asking) {
		/* A slow issuer must not take all threads of the API. */
		if (o->waiting >= LIMIT_OIDC_WAIT)
			return;
		o->waiting++;
		while (o->is_asking)
			(void)pthread_cond_wait(&o->done, &o->lock);
		o->waiting--;
		return;
	}
	o->is_asking = true;
	(void)pthread_mutex_unlock(&o->lock);
	rc = ask(o, &keys, &why);
	(void)pthread_mutex_lock(&o->lock);
	o->tried_ms = o->wall_ms();
	o->why = why;
	if (rc == 0) {
		jwks_fini(&o->keys);
		o->keys = keys;
		o->fetched_ms = o->tried_ms;
	} else {
		jwks_fini(&keys);
	}
	o->is_asking = false;
	(void)pthread_cond_broadcast(&o->done);
}

/* With the lock: is it worth asking the issuer now? */
static bool
may_ask(const struct oidc *o, int64_t now)
{
	return o->tried_ms == 0 || now < o->tried_ms ||
	       now - o->tried_ms >= LIMIT_OIDC_RETRY_S * 1000LL;
}

/* With the lock: the key, if it is known and not too old. */
static const struct jwk *
known(const struct oidc *o, const struct jwt *j, int64_t now)
{
	if (o->fetched_ms == 0 ||
	    now - o->fetched_ms >= LIMIT_OIDC_STALE_S * 1000LL)
		return NULL;
	return jwks_find(&o->keys, j->kid, j->alg);
}

/* A copy of the key with a reference of its own: ret->key is to be freed. */
static int
key_of(struct oidc *o, const struct jwt *j, struct jwk *ret, struct err *err)
{
	int64_t now = o->wall_ms();
	const struct jwk *k;
	bool is_old;
	int rc = 0;

	(void)pthread_mutex_lock(&o->lock);
	k = known(o, j, now);
	is_old = now - o->fetched_ms >= LIMIT_OIDC_FRESH_S * 1000LL;
	/* Who has a known key does not wait for another one's question. */
	if ((k == NULL && (o->is_asking || may_ask(o, now))) ||
	    (k != NULL && is_old && !o->is_asking && may_ask(o, now))) {
		renew(o);
		k = known(o, j, now);
	}
	if (k != NULL) {
		*ret = *k;
		if (EVP_PKEY_up_ref(ret->key) != 1)
			rc = err_set(err, ERR_NOMEM, "out of memory");
	} else if (o->is_asking) {
		rc = err_set(err, ERR_POSTPONED,
		             "the keys of the OIDC issuer are being fetched; "
		             "try again");
	} else if (o->why.code != ERR_NONE) {
		rc = err_set(err, o->why.code,
		             "the keys of the OIDC issuer cannot be had: %s",
		             o->why.text);
	} else {
		rc = err_set(err, ERR_UNAUTHORIZED,
		             "the token is signed with a key that its issuer "
		             "does not publish");
	}
	(void)pthread_mutex_unlock(&o->lock);
	return rc;
}

/* ---- one token ------------------------------------------------------------ */

/* "groups", or "realm_access.roles" inside of objects. */
static const json_t *
claim_at(const json_t *claims, const char *path)
{
	const json_t *at = json_object_get(claims, path);
	char part[64];

	for (int i = 0; at == NULL && i < PATH_LEN; i++) {
		const char *dot = strchr(path, '.');
		size_t n = dot != NULL ? (size_t)(dot - path) : strlen(path);

		if (n >= sizeof(part))
			return NULL;
		memcpy(part, path, n);
		part[n] = '\0';
		claims = json_object_get(claims, part);
		if (dot == NULL)
			return claims;
		path = dot + 1;
	}
	return at;
}

static enum role
role_for(const struct oidc *o, const json_t *value, enum role r)
{
	const char *text = json_string_value(value);
	enum role found;

	if (text == NULL)
		return r;
	text = json_string_value(json_object_get(o->roles, text));
	if (text == NULL || !role_parse(text, &found))
		return r;
	return found > r ? found : r;
}

/* The highest of what the claim's values are mapped to. */
static enum role
role_in(const struct oidc *o, const json_t *claims)
{
	enum role ret = o->default_role;
	const json_t *v;

	if (o->claim == NULL)
		return ret;
	v = claim_at(claims, o->claim);
	ret = role_for(o, v, ret);
	for (size_t i = 0; i < json_array_size(v); i++)
		ret = role_for(o, json_array_get(v, i), ret);
	return ret;
}

static bool
is_name(const char *sub)
{
	size_t n = strlen(sub);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)sub[i] < ' ' || sub[i] == 0x7f)
			return false;
	return n > 0 && n + sizeof("oidc:") <= ROLE_SUBJECT;
}

static int
fill(const struct oidc *o, struct store *s, const struct jwt *j,
     struct identity *ret, struct err *err)
{
	json_t *org = organization_get(s, o->organization, err);

	if (org == NULL)
		return err->code == ERR_MISSING
		               ? err_set(err, ERR_UNAUTHORIZED,
		                         "oidc.organization: there is no "
		                         "\"%.64s\" yet",
		                         o->organization)
		               : -(int)err->code;
	ret->kind = IDENTITY_OIDC;
	ret->role = role_in(o, j->claims);
	ret->expires_ms =
		(int64_t)json_number_value(json_object_get(j->claims, "exp")) *
		1000;
	(void)snprintf(ret->org, sizeof(ret->org), "%s", field_text(org, "id"));
	(void)snprintf(ret->org_uuid, sizeof(ret->org_uuid), "%s",
	               field_text(org, "uuid"));
	(void)snprintf(ret->subject, sizeof(ret->subject), "oidc:%s",
	               jwt_text(j, "sub"));
	(void)snprintf(ret->token, sizeof(ret->token), "%.36s",
	               jwt_text(j, "jti"));
	json_decref(org);
	return 0;
}

int
oidc_check(struct oidc *o, struct store *s, const struct jwt *j,
           struct identity *ret, struct err *err)
{
	struct jwk k = { 0 };
	bool is_signed;
	int rc;

	/* Everything that costs nothing comes before a question to the issuer. */
	if (j->alg != JWT_RS256 && j->alg != JWT_ES256)
		return err_set(err, ERR_UNAUTHORIZED,
		               "a token of the OIDC issuer is signed with "
		               "RS256 or ES256");
	if (!jwt_is_for(j, o->audience))
		return err_set(err, ERR_UNAUTHORIZED,
		               "the token was made for somebody else (aud)");
	if (!is_name(jwt_text(j, "sub")))
		return err_set(err, ERR_UNAUTHORIZED,
		               "the token does not say whose it is (sub)");
	rc = jwt_check_times(j, o->wall_ms(), err);
	if (rc == 0)
		rc = key_of(o, j, &k, err);
	if (rc != 0)
		return rc;
	is_signed = jwk_is_signer(&k, j);
	EVP_PKEY_free(k.key);
	if (!is_signed)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the token's signature is not right");
	return fill(o, s, j, ret, err);
}
