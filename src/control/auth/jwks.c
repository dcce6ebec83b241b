/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/jwks.c: the public keys of an OIDC issuer.
 */
#include "control/auth/jwks.h"

#include "base/base64.h"

#define RSA_BITS_MIN 2048
#define RSA_MAX      1024 /* bytes of a modulus: 8192 bits */
#define EC_SIZE      32   /* bytes of a coordinate on P-256 */

/* A member as the bytes it stands for; 0: not there or not base64. */
static size_t
member(const json_t *o, const char *name, uint8_t *ret, size_t cap)
{
	const json_t *v = json_object_get(o, name);
	ptrdiff_t n;

	if (!json_is_string(v))
		return 0;
	n = base64_get(BASE64_URL,
	               span_of(json_string_value(v), json_string_length(v)),
	               ret, cap);
	return n > 0 ? (size_t)n : 0;
}

/* A public key of the type from what was put into b. */
static EVP_PKEY *
key_from(const char *type, OSSL_PARAM_BLD *b)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *ret = NULL;

	if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
		(void)EVP_PKEY_fromdata(ctx, &ret, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return ret;
}

static EVP_PKEY *
read_rsa(const json_t *o)
{
	uint8_t n[RSA_MAX];
	uint8_t e[8];
	size_t n_n = member(o, "n", n, sizeof(n));
	size_t e_n = member(o, "e", e, sizeof(e));
	OSSL_PARAM_BLD *b;
	BIGNUM *bn;
	BIGNUM *be;
	EVP_PKEY *ret = NULL;

	/* An even number, or 1, is no exponent (1 would make any text its own
	 * signature). */
	if (n_n == 0 || e_n == 0 || (e[e_n - 1] & 1) == 0)
		return NULL;
	b = OSSL_PARAM_BLD_new();
	bn = BN_bin2bn(n, (int)n_n, NULL);
	be = BN_bin2bn(e, (int)e_n, NULL);
	if (b != NULL && bn != NULL && be != NULL && !BN_is_one(be) &&
	    BN_num_bits(bn) >= RSA_BITS_MIN && BN_is_odd(bn) &&
	    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
	    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, be) == 1)
		ret = key_from("RSA", b);
	OSSL_PARAM_BLD_free(b);
	BN_free(bn);
	BN_free(be);
	return ret;
}

/* Is the point on the curve? */
static bool
is_sound(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool ret = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return ret;
}

static EVP_PKEY *
read_ec(const json_t *o)
{
	const char *curve = json_string_value(json_object_get(o, "crv"));
	uint8_t point[1 + 2 * EC_SIZE] = { 4 }; /* uncompressed */
	OSSL_PARAM_BLD *b;
	EVP_PKEY *ret = NULL;

	if (curve == NULL || strcmp(curve, "P-256") != 0 ||
	    member(o, "x", point + 1, EC_SIZE) != EC_SIZE ||
	    member(o, "y", point + 1 + EC_SIZE, EC_SIZE) != EC_SIZE)
		return NULL;
	b = OSSL_PARAM_BLD_new();
	if (b != NULL &&
	    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME,
	                                    "prime256v1", 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point,
	                                     sizeof(point)) == 1)
		ret = key_from("EC", b);
	OSSL_PARAM_BLD_free(b);
	if (ret != NULL && !is_sound(ret)) {
		EVP_PKEY_free(ret);
		ret = NULL;
	}
	return ret;
}

/* Does a member that may be missing say this? */
static bool
may_be(const json_t *o, const char *name, const char *value)
{
	const json_t *v = json_object_get(o, name);

	return v == NULL ||
	       (json_is_string(v) && strcmp(json_string_value(v), value) == 0);
}

/* false: not a key of ours. */
static bool
read_key(const json_t *o, struct jwk *ret)
{
	const char *type = json_string_value(json_object_get(o, "kty"));
	const json_t *kid = json_object_get(o, "kid");

	*ret = (struct jwk){ 0 };
	if (type == NULL || !may_be(o, "use", "sig"))
		return false;
	if (kid != NULL && (!json_is_string(kid) ||
	                    json_string_length(kid) >= sizeof(ret->kid)))
		return false;
	if (kid != NULL)
		memcpy(ret->kid, json_string_value(kid),
		       json_string_length(kid));
	if (strcmp(type, "RSA") == 0 && may_be(o, "alg", "RS256")) {
		ret->alg = JWT_RS256;
		ret->key = read_rsa(o);
	} else if (strcmp(type, "EC") == 0 && may_be(o, "alg", "ES256")) {
		ret->alg = JWT_ES256;
		ret->key = read_ec(o);
	}
	return ret->key != NULL;
}

int
jwks_parse(struct span text, struct jwks *ret, struct err *err)
{
	json_t *root = json_loadb((const char *)text.p, text.n,
	                          JSON_REJECT_DUPLICATES, NULL);
	const json_t *keys = json_object_get(root, "keys");
	size_t n = json_array_size(keys);

	*ret = (struct jwks){ 0 };
	for (size_t i = 0; i < n && ret->n < LIMIT_OIDC_KEYS; i++)
		if (read_key(json_array_get(keys, i), &ret->keys[ret->n]))
			ret->n++;
	json_decref(root);
	if (ret->n == 0)
		return err_set(err, ERR_PROTO,
		               "the issuer's key set has no key for RS256 or "
		               "ES256 (of %zu)",
		               n);
	return 0;
}

void
jwks_fini(struct jwks *s)
{
	for (size_t i = 0; i < s->n; i++)
		EVP_PKEY_free(s->keys[i].key);
	s->n = 0;
}

const struct jwk *
jwks_find(const struct jwks *s, const char *kid, enum jwt_alg alg)
{
	const struct jwk *ret = NULL;

	for (size_t i = 0; i < s->n; i++) {
		const struct jwk *k = &s->keys[i];

		if (k->alg != alg ||
		    (kid[0] != '\0' && strcmp(k->kid, kid) != 0))
			continue;
		if (kid[0] != '\0')
			return k;
		if (ret != NULL)
			return NULL; /* which of them? */
		ret = k;
	}
	return ret;
}

/* r and s, 32 bytes each, as the DER that the library checks. */
static int
ec_der(const uint8_t sig[2 * EC_SIZE], uint8_t **ret)
{
	ECDSA_SIG *s = ECDSA_SIG_new();
	BIGNUM *a = BN_bin2bn(sig, EC_SIZE, NULL);
	BIGNUM *b = BN_bin2bn(sig + EC_SIZE, EC_SIZE, NULL);
	int n = -1;

	if (s != NULL && a != NULL && b != NULL &&
	    ECDSA_SIG_set0(s, a, b) == 1) {
		a = NULL;
		b = NULL;
		n = i2d_ECDSA_SIG(s, ret);
	}
	BN_free(a);
	BN_free(b);
	ECDSA_SIG_free(s);
	return n;
}

bool
jwk_is_signer(const struct jwk *k, const struct jwt *j)
{
	EVP_MD_CTX *ctx;
	uint8_t *der = NULL;
	struct span sig = span_of(j->sig, j->sig_n);
	bool ret;

	if (k->alg != j->alg)
		return false;
	if (k->alg == JWT_ES256) {
		int n = sig.n == 2 * (size_t)EC_SIZE ? ec_der(j->sig, &der)
		                                     : -1;

		if (n <= 0)
			return false;
		sig = span_of(der, (size_t)n);
	}
	ctx = EVP_MD_CTX_new();
	ret = ctx != NULL &&
	      EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->key) ==
	              1 &&
	      EVP_DigestVerify(ctx, sig.p, sig.n, j->input.p, j->input.n) == 1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	return ret;
}
