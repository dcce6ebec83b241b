/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/api/web.c: requests to a server of godwit serve, over libcurl.
 */
#define _DEFAULT_SOURCE
#include "bin/api/web.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

struct web {
	CURL *curl;
	char server[WEB_SERVER_MAX];
	char *ca_file;
	char error[CURL_ERROR_SIZE];
	/* the answer on its way */
	char *text;
	size_t n;
	bool is_too_big;
	bool is_ended; /* by a function of the stream                      */
	_Atomic bool is_aborted;
	uint32_t retry_s;
	char tag[WEB_TAG_MAX];
	const struct web_stream *stream;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
start(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- URLs ---------------------------------------------------------------- */

/* A part of the URL, or NULL. */
static char *
part(CURLU *u, CURLUPart which)
{
	char *ret = NULL;

	return curl_url_get(u, which, &ret, 0) == CURLUE_OK ? ret : NULL;
}

int
web_server(const char *url, char *ret, struct err *err)
{
	CURLU *u;
	char *scheme = NULL;
	char *user = NULL;
	char *query = NULL;
	size_t n = strlen(url);
	bool ok = false;

	(void)pthread_once(&once, start);
	u = curl_url();
	if (u != NULL && n < WEB_SERVER_MAX &&
	    curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
		scheme = part(u, CURLUPART_SCHEME);
		user = part(u, CURLUPART_USER);
		query = part(u, CURLUPART_QUERY);
		ok = scheme != NULL && user == NULL && query == NULL &&
		     strchr(url, '#') == NULL &&
		     (strcmp(scheme, "http") == 0 ||
		      strcmp(scheme, "https") == 0);
	}
	if (user != NULL)
		(void)err_set(err, ERR_USAGE,
		              "--server: user and password do not belong into "
		              "the URL; see: godwit login --help");
	else if (!ok)
		(void)err_set(err, ERR_USAGE,
		              "--server: \"%.100s\" is no address of a server; "
		              "write http://host:8000 or https://host",
		              url);
	curl_free(scheme);
	curl_free(user);
	curl_free(query);
	curl_url_cleanup(u);
	if (!ok)
		return -ERR_USAGE;
	while (n > 0 && url[n - 1] == '/')
		n--;
	(void)snprintf(ret, WEB_SERVER_MAX, "%.*s", (int)n, url);
	return 0;
}

/* Numbers and localhost; other names could lead anywhere. */
static bool
is_loopback(const char *server)
{
	const char *host = strstr(server, "://");
	size_t n;

	host = host != NULL ? host + 3 : server;
	n = strcspn(host, ":/");
	return strncmp(host, "[::1]", 5) == 0 ||
	       (n == 9 && strncasecmp(host, "localhost", 9) == 0) ||
	       (strncmp(host, "127.", 4) == 0 &&
	        strspn(host, "0123456789.") == n);
}

bool
web_is_plain(const char *server)
{
	return strncmp(server, "https:", 6) != 0 && !is_loopback(server);
}

void
web_escape(const char *text, char *ret, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t at = 0;

	for (const unsigned char *p = (const unsigned char *)text;
	     *p != '\0' && at + 4 <= n; p++) {
		bool is_plain = (*p >= 'a' && *p <= 'z') ||
		                (*p >= 'A' && *p <= 'Z') ||
		                (*p >= '0' && *p <= '9') || *p == '-' ||
		                *p == '_' || *p == '.' || *p == '~';

		if (is_plain) {
			ret[at++] = (char)*p;
			continue;
		}
		ret[at++] = '%';
		ret[at++] = hex[*p >> 4];
		ret[at++] = hex[*p & 15];
	}
	ret[at] = '\0';
}

void
web_key(char ret[40])
{
	unsigned char bytes[16] = { 0 };
	ssize_t got = getrandom(bytes, sizeof(bytes), 0);

	(void)got;
	(void)snprintf(ret, 8, "godwit-");
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(ret + 7 + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- one request ----------------------------------------------------------- */

/* Is it this header ("etag:")? Its value is behind it. */
static bool
is_header(const char *p, size_t n, const char *name)
{
	size_t name_n = strlen(name);

	return n > name_n && strncasecmp(p, name, name_n) == 0;
}

static size_t
on_header(char *p, size_t size, size_t n, void *arg)
{
	struct web *w = arg;

	n *= size;
	if (is_header(p, n, "retry-after:"))
		w->retry_s = (uint32_t)strtoul(p + 12, NULL, 10);
	if (is_header(p, n, "etag:")) {
		const char *open = memchr(p, '"', n);
		const char *shut = open != NULL
		                           ? memchr(open + 1, '"',
		                                    n - (size_t)(open + 1 - p))
		                           : NULL;

		if (shut != NULL)
			(void)snprintf(w->tag, sizeof(w->tag), "%.*s",
			               (int)(shut - open - 1), open + 1);
	}
	return n;
}

static bool
keep(struct web *w, const char *p, size_t n)
{
	char *grown;

	if (n > WEB_BYTES - w->n) {
		w->is_too_big = true;
		return false;
	}
	grown = realloc(w->text, w->n + n + 1);
	if (grown == NULL)
		return false;
	w->text = grown;
	memcpy(w->text + w->n, p, n);
	w->n += n;
	w->text[w->n] = '\0';
	return true;
}

static size_t
on_body(char *p, size_t size, size_t n, void *arg)
{
	struct web *w = arg;
	long status = 0;

	n *= size;
	(void)curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
	if (w->stream == NULL || status != 200)
		return keep(w, p, n) ? n : 0;
	if (w->stream->on_data(w->stream->arg, p, n))
		return n;
	w->is_ended = true;
	return 0;
}

static int
on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
            curl_off_t up_now)
{
	struct web *w = arg;

	(void)total;
	(void)now;
	(void)up_total;
	(void)up_now;
	if (atomic_load(&w->is_aborted))
		return 1;
	if (w->stream == NULL || w->stream->on_idle == NULL ||
	    w->stream->on_idle(w->stream->arg))
		return 0;
	w->is_ended = true;
	return 1;
}

struct web *
web_new(const char *server, const char *ca_file, struct err *err)
{
	struct web *w = calloc(1, sizeof(*w));

	(void)pthread_once(&once, start);
	if (w != NULL)
		w->curl = curl_easy_init();
	if (w != NULL && ca_file != NULL && ca_file[0] != '\0')
		w->ca_file = strdup(ca_file);
	if (w == NULL || w->curl == NULL) {
		web_free(w);
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	(void)snprintf(w->server, sizeof(w->server), "%s", server);
	return w;
}

void
web_free(struct web *w)
{
	if (w == NULL)
		return;
	curl_easy_cleanup(w->curl);
	free(w->ca_file);
	free(w->text);
	free(w);
}

static void
put_header(struct curl_slist **list, const char *name, const char *value)
{
	size_t n = value != NULL ? strlen(name) + strlen(value) + 3 : 0;
	char *line = n > 0 && value[0] != '\0' ? malloc(n) : NULL;
	struct curl_slist *longer = NULL;

	if (line != NULL) {
		(void)snprintf(line, n, "%s%s", name, value);
		longer = curl_slist_append(*list, line);
	}
	free(line);
	if (longer != NULL)
		*list = longer;
}

static struct curl_slist *
headers_of(const struct web_request *r)
{
	struct curl_slist *list = NULL;

	put_header(&list, "Authorization: Bearer ", r->token);
	put_header(&list, "X-Org-Id: ", r->org);
	put_header(&list, "Idempotency-Key: ", r->key);
	put_header(&list, "If-Match: ", r->match);
	put_header(&list, "Last-Event-ID: ", r->last_event);
	if (r->body != NULL)
		put_header(&list, "Content-Type: ", "application/json");
	else /* a name without a value: the library shall not send its own */
		list = curl_slist_append(list, "Content-Type:");
	/* No waiting for "100 Continue". */
	list = curl_slist_append(list, "Expect:");
	return list;
}

/* Everything but the body; false: the library has no memory. */
static bool
prepare(struct web *w, const struct web_request *r, const char *url)
{
	CURL *c = w->curl;
	long total = r->total_ms != 0 ? (long)r->total_ms : WEB_TOTAL_MS;
	long wait = r->connect_ms != 0 ? (long)r->connect_ms : WEB_CONNECT_MS;
	bool ok;

	curl_easy_reset(c);
	ok = curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
	     curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") ==
	             CURLE_OK &&
	     curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method) == CURLE_OK;
	(void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, wait);
	if (w->stream == NULL)
		(void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, total);
	(void)curl_easy_setopt(c, CURLOPT_USERAGENT, "godwit/" GODWIT_VERSION);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, w->error);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, w);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, w);
	(void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, w);
	if (is_loopback(w->server))
		ok = ok &&
		     curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK;
	if (w->ca_file != NULL)
		ok = ok && curl_easy_setopt(c, CURLOPT_CAINFO, w->ca_file) ==
		                   CURLE_OK;
	if (r->user != NULL)
		ok = ok &&
		     curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) ==
		             CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_USERNAME, r->user) ==
		             CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_PASSWORD, r->password) ==
		             CURLE_OK;
	w->error[0] = '\0';
	return ok;
}

/* What the library's code means for the one who waits. */
static int
explain(const struct web *w, CURLcode code, struct err *err)
{
	const char *why =
		w->error[0] != '\0' ? w->error : curl_easy_strerror(code);

	switch ((int)code) {
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(
			err, ERR_TIMEOUT,
			"%s: no answer in time (%.90s); whether a change "
			"was made is not known: look with show",
			w->server, why);
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return err_set(err, ERR_LOST,
		               "%s: nobody answers there (%.90s); is godwit "
		               "serve running? --server names another",
		               w->server, why);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
		return err_set(err, ERR_AUTH,
		               "%s: TLS: %.110s; --ca-file FILE names the "
		               "authority to trust",
		               w->server, why);
	case CURLE_GOT_NOTHING:
		return err_set(err, ERR_LOST,
		               "%s: the connection was closed without an "
		               "answer; is that godwit serve? Whether a change "
		               "was made is not known: look with show",
		               w->server);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(err, ERR_PROTO,
		               "%s: what answers there is no godwit serve "
		               "(%.90s)",
		               w->server, why);
	case CURLE_OUT_OF_MEMORY:
		return err_set(err, ERR_NOMEM, "out of memory");
	default:
		return err_set(
			err, ERR_LOST,
			"%s: the connection was lost (%.110s); whether a "
			"change was made is not known: look with show",
			w->server, why);
	}
}

static int
read_answer(struct web *w, struct web_answer *ret, struct err *err)
{
	long status = 0;

	(void)curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
	ret->status = (int)status;
	ret->retry_s = w->retry_s;
	memcpy(ret->tag, w->tag, sizeof(ret->tag));
	if (w->n > 0)
		ret->body = json_loadb(w->text, w->n, 0, NULL);
	if (json_is_object(ret->body))
		return 0;
	if (w->stream != NULL && status == 200)
		return 0;
	web_answer_fini(ret);
	return err_set(err, ERR_PROTO,
	               "%s: answers with HTTP %ld and no JSON; is that godwit "
	               "serve?",
	               w->server, status);
}

/* The library writes to sockets that the other end may have closed. The signal
 * stays what it is for the rest of the process: a closed stdout ends it. */
static CURLcode
perform_quietly(CURL *c)
{
	const struct timespec now = { .tv_sec = 0 };
	sigset_t pipe_signal;
	sigset_t before;
	sigset_t pending;
	CURLcode code;
	bool was_pending;

	(void)sigemptyset(&pipe_signal);
	(void)sigaddset(&pipe_signal, SIGPIPE);
	(void)sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
	code = curl_easy_perform(c);
	(void)sigpending(&pending);
	if (!was_pending && sigismember(&pending, SIGPIPE) == 1)
		(void)sigtimedwait(&pipe_signal, NULL, &now);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return code;
}

static int
perform(struct web *w, const struct web_request *r, struct web_answer *ret,
        struct err *err)
{
	size_t url_n = strlen(w->server) + strlen(r->path) + 1;
	char *url = malloc(url_n);
	char *body =
		r->body != NULL
			? json_dumps(r->body,
	                             JSON_COMPACT | JSON_REAL_PRECISION(15))
			: NULL;
	struct curl_slist *headers = headers_of(r);
	CURLcode code = CURLE_OUT_OF_MEMORY;

	*ret = (struct web_answer){ .status = 0 };
	free(w->text);
	w->text = NULL;
	w->n = 0;
	w->retry_s = 0;
	w->tag[0] = '\0';
	w->is_too_big = false;
	w->is_ended = false;
	if (url != NULL && (body != NULL || r->body == NULL)) {
		(void)snprintf(url, url_n, "%s%s", w->server, r->path);
		if (prepare(w, r, url) &&
		    curl_easy_setopt(w->curl, CURLOPT_HTTPHEADER, headers) ==
		            CURLE_OK &&
		    (strcmp(r->method, "GET") == 0 ||
		     curl_easy_setopt(w->curl, CURLOPT_POSTFIELDS,
		                      body != NULL ? body : "") == CURLE_OK))
			code = perform_quietly(w->curl);
	}
	curl_slist_free_all(headers);
	free(body);
	free(url);
	if (w->is_too_big)
		return err_set(err, ERR_LIMIT, "%s: more than %zu bytes",
		               w->server, WEB_BYTES);
	if (code != CURLE_OK && !w->is_ended)
		return explain(w, code, err);
	return w->is_ended ? 0 : read_answer(w, ret, err);
}

int
web_call(struct web *w, const struct web_request *r, struct web_answer *ret,
         struct err *err)
{
	w->stream = NULL;
	return perform(w, r, ret, err);
}

int
web_stream(struct web *w, const struct web_request *r,
           const struct web_stream *s, struct web_answer *ret, struct err *err)
{
	int rc;

	w->stream = s;
	rc = perform(w, r, ret, err);
	w->stream = NULL;
	return rc;
}

void
web_abort(struct web *w)
{
	atomic_store(&w->is_aborted, true);
}

void
web_answer_fini(struct web_answer *a)
{
	json_decref(a->body);
	a->body = NULL;
}
