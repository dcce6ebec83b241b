/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/auth/fetch.c: one small document from a server of somebody else's.
 */
#include "control/auth/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include "control/limit.h"

struct body {
	char *p;
	size_t n;
	bool is_full;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
start(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* 127.0.0.0/8 or [::1], as a number: a name could lead anywhere. */
static bool
is_loopback(const char *host)
{
	size_t n = strlen(host);

	return strcmp(host, "[::1]") == 0 || (strncmp(host, "127.", 4) == 0 &&
	                                      strspn(host, "0123456789.") == n);
}

/* A part of the URL as a string of the library's, or NULL. */
static char *
part(CURLU *u, CURLUPart which)
{
	char *ret = NULL;

	return curl_url_get(u, which, &ret, 0) == CURLUE_OK ? ret : NULL;
}

int
fetch_check(const struct fetch *f, const char *url, struct err *err)
{
	CURLU *u;
	char *scheme = NULL;
	char *host = NULL;
	char *user = NULL;
	bool ok = false;

	(void)pthread_once(&once, start);
	u = curl_url();
	if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
		scheme = part(u, CURLUPART_SCHEME);
		host = part(u, CURLUPART_HOST);
		user = part(u, CURLUPART_USER);
		ok = scheme != NULL && host != NULL && user == NULL &&
		     (strcmp(scheme, "https") == 0 ||
		      (strcmp(scheme, "http") == 0 && f->may_http_loopback &&
		       is_loopback(host)));
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(u);
	if (!ok)
		return err_set(
			err, ERR_USAGE, "\"%.120s\" is not an https URL%s", url,
			f->may_http_loopback ? " (http goes to 127.0.0.1 only)"
					     : "");
	return 0;
}

static size_t
receive(char *p, size_t size, size_t n, void *arg)
{
	struct body *b = arg;
	char *grown;

	n *= size;
	if (n > LIMIT_OIDC_BYTES - b->n) {
		b->is_full = true;
		return 0;
	}
	grown = realloc(b->p, b->n + n + 1);
	if (grown == NULL)
		return 0;
	b->p = grown;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
	return n;
}

static bool
prepare(CURL *c, const struct fetch *f, const char *url, struct body *b)
{
	bool is_http = strncmp(url, "http:", 5) == 0;

	return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR,
	                        is_http ? "http" : "https") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
	                        (long)LIMIT_OIDC_CONNECT_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_TIMEOUT_MS,
	                        (long)LIMIT_OIDC_TOTAL_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_USERAGENT, "godwit") == CURLE_OK &&
	       (!is_http ||
	        curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK) &&
	       (f->ca_file == NULL ||
	        curl_easy_setopt(c, CURLOPT_CAINFO, f->ca_file) == CURLE_OK) &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive) ==
	               CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, b) == CURLE_OK;
}

int
fetch_get(const struct fetch *f, const char *url, char **ret, size_t *ret_n,
          struct err *err)
{
	struct body b = { 0 };
	CURLcode code = CURLE_FAILED_INIT;
	long status = 0;
	CURL *c;
	int rc = fetch_check(f, url, err);

	*ret = NULL;
	*ret_n = 0;
	if (rc != 0)
		return rc;
	c = curl_easy_init();
	if (c != NULL && prepare(c, f, url, &b)) {
		code = curl_easy_perform(c);
		(void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	}
	curl_easy_cleanup(c);
	if (b.is_full)
		rc = err_set(err, ERR_LIMIT, "%.120s: more than %d bytes", url,
		             LIMIT_OIDC_BYTES);
	else if (code != CURLE_OK)
		rc = err_set(err, ERR_LOST, "%.120s: %s", url,
		             curl_easy_strerror(code));
	else if (status != 200 || b.p == NULL)
		rc = err_set(err, ERR_PROTO, "%.120s: answered %ld", url,
		             status);
	if (rc != 0) {
		free(b.p);
		return rc;
	}
	*ret = b.p;
	*ret_n = b.n;
	return 0;
}
