/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/jwt.c: signed claims (JWS, compact form).
 */
#include "control/auth/jwt.h"

#include <stdlib.h>

#include "base/base64.h"
#include "control/limit.h"

static const char head_ours[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

static int
refuse(struct err *err, const char *what)
{
	return err_set(err, ERR_UNAUTHORIZED,
	               "the token is malformed: %s; log in again", what);
}

/* A part as the JSON object that it is, or NULL. */
static json_t *
part_object(struct span part)
{
	uint8_t *raw;
	json_t *ret = NULL;
	ptrdiff_t n;

	if (part.n == 0 || part.n > LIMIT_TOKEN_BYTES)
		return NULL;
	raw = malloc(part.n);
	if (raw == NULL)
		return NULL;
	n = base64_get(BASE64_URL, part, raw, part.n);
	if (n > 0)
		ret = json_loadb((const char *)raw, (size_t)n,
		                 JSON_REJECT_DUPLICATES, NULL);
	free(raw);
	if (ret != NULL && !json_is_object(ret)) {
		json_decref(ret);
		ret = NULL;
	}
	return ret;
}

static enum jwt_alg
alg_of(const char *name)
{
	if (name == NULL)
		return JWT_OTHER;
	if (strcmp(name, "HS256") == 0)
		return JWT_HS256;
	if (strcmp(name, "RS256") == 0)
		return JWT_RS256;
	if (strcmp(name, "ES256") == 0)
		return JWT_ES256;
	return JWT_OTHER;
}

/* "JWT" or "at+jwt" (RFC 9068), if anything. */
static bool
is_type(const json_t *typ)
{
	struct span s;

	if (typ == NULL)
		return true;
	if (!json_is_string(typ))
		return false;
	s = span_of(json_string_value(typ), json_string_length(typ));
	return span_is_word(s, SPAN("jwt")) || span_is_word(s, SPAN("at+jwt"));
}

static int
read_head(struct span part, struct jwt *ret, struct err *err)
{
	json_t *head = part_object(part);
	const json_t *kid = json_object_get(head, "kid");
	int rc = 0;

	if (head == NULL)
		return refuse(err, "its header is no JSON object");
	ret->alg = alg_of(json_string_value(json_object_get(head, "alg")));
	if (ret->alg == JWT_OTHER)
		rc = refuse(err, "its algorithm is not one that is taken");
	else if (json_object_get(head, "crit") != NULL)
		rc = refuse(err, "it demands an extension");
	else if (!is_type(json_object_get(head, "typ")))
		rc = refuse(err, "it is of another type");
	else if (kid != NULL &&
	         (!json_is_string(kid) || json_string_length(kid) >= JWT_KID))
		rc = refuse(err, "its key has no usable name");
	else if (kid != NULL)
		memcpy(ret->kid, json_string_value(kid),
		       json_string_length(kid));
	json_decref(head);
	return rc;
}

int
jwt_parse(struct span text, struct jwt *ret, struct err *err)
{
	const uint8_t *first;
	const uint8_t *second;
	struct span rest;
	ptrdiff_t n;
	int rc;

	*ret = (struct jwt){ 0 };
	if (text.n > LIMIT_TOKEN_BYTES)
		return refuse(err, "it is too long");
	first = memchr(text.p, '.', text.n);
	if (first == NULL)
		return refuse(err, "it has no three parts");
	rest = span_skip(text, (size_t)(first - text.p) + 1);
	second = memchr(rest.p, '.', rest.n);
	if (second == NULL)
		return refuse(err, "it has no three parts");
	rc = read_head(span_of(text.p, (size_t)(first - text.p)), ret, err);
	if (rc != 0)
		return rc;
	ret->input = span_of(text.p, (size_t)(second - text.p));
	/* A further dot is no letter of base64. */
	n = base64_get(BASE64_URL, span_skip(text, ret->input.n + 1), ret->sig,
	               sizeof(ret->sig));
	if (n <= 0)
		return refuse(err, "its signature cannot be read");
	ret->sig_n = (size_t)n;
	ret->claims = part_object(span_of(rest.p, (size_t)(second - rest.p)));
	if (ret->claims == NULL)
		return refuse(err, "its claims are no JSON object");
	return 0;
}

void
jwt_fini(struct jwt *j)
{
	json_decref(j->claims);
	j->claims = NULL;
}

char *
jwt_sign(const uint8_t key[DIGEST_SIZE], const json_t *claims)
{
	char *body = json_dumps(claims, JSON_COMPACT);
	size_t body_n = body != NULL ? strlen(body) : 0;
	uint8_t mac[DIGEST_SIZE];
	char *ret = malloc(BASE64_LEN(sizeof(head_ours)) + BASE64_LEN(body_n) +
	                   BASE64_LEN(DIGEST_SIZE));
	size_t n;

	if (body == NULL || ret == NULL) {
		free(body);
		free(ret);
		return NULL;
	}
	n = base64_put(BASE64_URL, span_str(head_ours), ret);
	ret[n++] = '.';
	n += base64_put(BASE64_URL, span_of(body, body_n), ret + n);
	free(body);
	digest_hmac(key, span_of(ret, n), mac);
	ret[n++] = '.';
	(void)base64_put(BASE64_URL, span_of(mac, sizeof(mac)), ret + n);
	return ret;
}

bool
jwt_is_signed(const struct jwt *j, const uint8_t key[DIGEST_SIZE])
{
	uint8_t mac[DIGEST_SIZE];

	if (j->alg != JWT_HS256 || j->sig_n != DIGEST_SIZE)
		return false;
	digest_hmac(key, j->input, mac);
	return digest_is_equal(mac, j->sig);
}

const char *
jwt_text(const struct jwt *j, const char *claim)
{
	const char *ret = json_string_value(json_object_get(j->claims, claim));

	return ret != NULL ? ret : "";
}

/* Seconds since 1970 (a fraction is dropped); false: no number, or one that no
 * clock will ever show. */
static bool
claim_s(const struct jwt *j, const char *claim, int64_t *ret)
{
	const json_t *v = json_object_get(j->claims, claim);
	double d = json_number_value(v);

	if (!json_is_number(v) || !(d >= 0 && d < 1e11))
		return false;
	*ret = (int64_t)d;
	return true;
}

int
jwt_check_times(const struct jwt *j, int64_t now_ms, struct err *err)
{
	static const char *const starts[] = { "nbf", "iat" };
	int64_t now = now_ms / 1000;
	int64_t at;

	if (!claim_s(j, "exp", &at))
		return refuse(err, "it says no time at which it expires");
	if (now >= at + LIMIT_CLOCK_SLACK_S)
		return err_set(err, ERR_UNAUTHORIZED,
		               "the token has expired %lld s ago; log in again",
		               (long long)(now - at));
	for (int i = 0; i < 2; i++) {
		if (json_object_get(j->claims, starts[i]) == NULL)
			continue;
		if (!claim_s(j, starts[i], &at))
			return refuse(err, "one of its times is no number");
		if (at > now + LIMIT_CLOCK_SLACK_S)
			return err_set(err, ERR_UNAUTHORIZED,
			               "the token is not valid before %lld s "
			               "from now; compare the clocks",
			               (long long)(at - now));
	}
	return 0;
}

bool
jwt_is_for(const struct jwt *j, const char *audience)
{
	const json_t *aud = json_object_get(j->claims, "aud");
	const char *one = json_string_value(aud);

	if (one != NULL)
		return strcmp(one, audience) == 0;
	for (size_t i = 0; i < json_array_size(aud); i++) {
		one = json_string_value(json_array_get(aud, i));
		if (one != NULL && strcmp(one, audience) == 0)
			return true;
	}
	return false;
}
