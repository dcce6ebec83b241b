/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/http.c: HTTP requests in, answers out (libmicrohttpd).
 *
 *	accepted -> [headers, body arrive] -> suspended, in the queue of jobs
 *	         -> a thread of the pool makes the answer -> resumed, sent
 *	         -> (stream) asked, suspended while it has nothing, asked ...
 */
#define _GNU_SOURCE
#include "control/api/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/list.h"
#include "control/api/header.h"
#include "control/store/store.h"
#include "world/os/loop.h"

#define RETIRED_MAX   8 /* daemons of earlier certificates that still serve  */
#define THREADS_MAX   64
#define BODY_OVER     8 /* times body_max is read before the line is cut  */
#define WAKE_S        5 /* streams are asked at least so often            */
#define STREAM_BLOCK  4096
#define FILE_MAX_SIZE ((size_t)256 * 1024) /* a certificate               */

struct conn {
	LIST_LINK(conn) link;
	int fd;
	uint64_t since; /* accepted, or last answered (mono ns)            */
	bool is_busy;   /* a job or an answer is under way                 */
};

struct exchange {
	LIST_LINK(exchange) link; /* in the queue of jobs, or of streams     */
	struct http *http;
	struct MHD_Connection *wire;
	struct conn *conn;
	struct http_request in;
	struct http_answer out;
	char *target;
	json_t *headers;
	uint8_t *body;
	size_t body_n;
	size_t body_cap;
	size_t over; /* bytes beyond the limit                             */
	bool has_begun;
	bool is_queued; /* with the pool, or answered by it                */
	bool is_idle;   /* a stream that is suspended                      */
};

LIST_OF(conn, link, conns);
LIST_OF(exchange, link, exchanges);

struct http {
	struct http_conf conf;
	char certificate[256];
	char key[256];
	http_handle_f *handle;
	void *arg;
	/* [0..retired_n) serve what they accepted, the next one listens. Each
	 * has a descriptor of the listener of its own, to be closed after it. */
	struct MHD_Daemon *daemon[RETIRED_MAX + 1];
	int daemon_fd[RETIRED_MAX + 1];
	uint32_t retired_n;
	int fd; /* the listener                                            */
	uint16_t port;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct conns_list conns;
	struct exchanges_list jobs;
	struct exchanges_list streams;
	uint32_t busy;
	uint64_t wakes;
	_Atomic bool is_stopping;
	bool is_over; /* threads leave                                     */
	pthread_t threads[THREADS_MAX + 1];
	uint32_t thread_n;
};

static void
lock(struct http *h)
{
	int rc = pthread_mutex_lock(&h->lock);

	ENSURE(rc == 0);
}

static void
unlock(struct http *h)
{
	int rc = pthread_mutex_unlock(&h->lock);

	ENSURE(rc == 0);
}

/* ---- what arrives --------------------------------------------------------- */

/* The target as it came; decoding is the router's. */
static void *
on_target(void *arg, const char *uri, struct MHD_Connection *wire)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->http = arg;
	x->wire = wire;
	x->target = strdup(uri);
	return x;
}

static size_t
leave_escapes(void *arg, struct MHD_Connection *wire, char *text)
{
	(void)arg;
	(void)wire;
	return strlen(text);
}

static enum MHD_Result
on_header(void *arg, enum MHD_ValueKind kind, const char *name,
          const char *value)
{
	(void)kind;
	header_put(arg, name, value);
	return MHD_YES;
}

static void
peer_name(struct MHD_Connection *wire, char *ret, size_t n)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		wire, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *at = info != NULL ? info->client_addr : NULL;
	const void *raw = NULL;

	(void)snprintf(ret, n, "?");
	if (at == NULL)
		return;
	if (at->sa_family == AF_INET)
		raw = &((const struct sockaddr_in *)(const void *)at)->sin_addr;
	else if (at->sa_family == AF_INET6)
		raw = &((const struct sockaddr_in6 *)(const void *)at)
		               ->sin6_addr;
	if (raw != NULL)
		(void)inet_ntop(at->sa_family, raw, ret, (socklen_t)n);
}

static bool
begin(struct exchange *x, const char *method)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		x->wire, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	x->has_begun = true;
	x->conn = info != NULL ? info->socket_context : NULL;
	x->headers = json_object();
	if (x->target == NULL || x->headers == NULL)
		return false;
	(void)MHD_get_connection_values(x->wire, MHD_HEADER_KIND, on_header,
	                                x->headers);
	(void)store_uuid(x->in.id);
	(void)snprintf(x->in.method, sizeof(x->in.method), "%s", method);
	peer_name(x->wire, x->in.peer, sizeof(x->in.peer));
	x->in.target = x->target;
	x->in.headers = x->headers;
	return true;
}

/* false: the line is cut. */
static bool
take(struct exchange *x, const char *data, size_t n)
{
	size_t max = x->http->conf.body_max;

	if (x->over > 0 || n > max - x->body_n) {
		x->over += n;
		free(x->body);
		x->body = NULL;
		x->body_n = 0;
		x->body_cap = 0;
		x->in.too_big = true;
		return x->over <= max * BODY_OVER;
	}
	if (x->body_n + n > x->body_cap) {
		size_t cap = x->body_cap > 0 ? x->body_cap : 1024;
		uint8_t *p;

		while (cap < x->body_n + n)
			cap *= 2;
		p = realloc(x->body, cap);
		if (p == NULL)
			return false;
		x->body = p;
		x->body_cap = cap;
	}
	memcpy(x->body + x->body_n, data, n);
	x->body_n += n;
	return true;
}

/* ---- what is sent --------------------------------------------------------- */

static ssize_t
on_more(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct exchange *x = arg;
	struct http *h = x->http;

	(void)pos;
	for (;;) {
		uint64_t seen;
		int64_t n;

		lock(h);
		seen = h->wakes;
		unlock(h);
		if (atomic_load(&h->is_stopping))
			return MHD_CONTENT_READER_END_OF_STREAM;
		n = x->out.read(x->out.stream, buf, max);
		if (n < 0)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (n > 0)
			return (ssize_t)n;
		lock(h);
		if (seen == h->wakes && !atomic_load(&h->is_stopping)) {
			x->is_idle = true;
			exchanges_push(&h->streams, x);
			MHD_suspend_connection(x->wire);
			unlock(h);
			return 0;
		}
		unlock(h);
	}
}

static enum MHD_Result
send_answer(struct exchange *x)
{
	struct http_answer *out = &x->out;
	struct MHD_Response *response;
	enum MHD_Result ok;
	const char *name;
	json_t *value;

	if (out->read != NULL) {
		response = MHD_create_response_from_callback(
			MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_more, x, NULL);
	} else {
		response = MHD_create_response_from_buffer(
			out->n, out->text, MHD_RESPMEM_MUST_FREE);
		if (response != NULL)
			out->text = NULL;
	}
	if (response == NULL)
		return MHD_NO;
	if (out->type != NULL)
		(void)MHD_add_response_header(response, "Content-Type",
		                              out->type);
	(void)MHD_add_response_header(response, "X-Request-Id", x->in.id);
	(void)MHD_add_response_header(response, "Cache-Control", "no-store");
	(void)MHD_add_response_header(response, "X-Content-Type-Options",
	                              "nosniff");
	json_object_foreach(out->headers, name, value)
	{
		(void)MHD_add_response_header(response, name,
		                              json_string_value(value));
	}
	if (atomic_load(&x->http->is_stopping))
		(void)MHD_add_response_header(response, "Connection", "close");
	ok = MHD_queue_response(x->wire, (unsigned)out->status, response);
	MHD_destroy_response(response);
	return ok;
}

static enum MHD_Result
on_access(void *arg, struct MHD_Connection *wire, const char *url,
          const char *method, const char *version, const char *data,
          size_t *data_n, void **cls)
{
	struct exchange *x = *cls;
	struct http *h = arg;

	(void)wire;
	(void)url;
	(void)version;
	if (x == NULL)
		return MHD_NO;
	if (!x->has_begun)
		return begin(x, method) ? MHD_YES : MHD_NO;
	if (*data_n > 0) {
		size_t n = *data_n;

		*data_n = 0;
		return take(x, data, n) ? MHD_YES : MHD_NO;
	}
	if (x->is_queued)
		return send_answer(x);
	x->is_queued = true;
	x->in.body = span_of(x->body, x->body_n);
	lock(h);
	if (h->is_over) {
		unlock(h);
		x->out.status = MHD_HTTP_SERVICE_UNAVAILABLE;
		return send_answer(x);
	}
	if (x->conn != NULL)
		x->conn->is_busy = true;
	h->busy++;
	MHD_suspend_connection(x->wire);
	exchanges_push(&h->jobs, x);
	(void)pthread_cond_signal(&h->more);
	unlock(h);
	return MHD_YES;
}

static void
on_done(void *arg, struct MHD_Connection *wire, void **cls,
        enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *cls;
	struct http *h = arg;

	(void)wire;
	(void)why;
	if (x == NULL)
		return;
	*cls = NULL;
	lock(h);
	if (x->is_idle)
		exchanges_remove(&h->streams, x);
	if (x->conn != NULL) {
		x->conn->is_busy = false;
		x->conn->since = os_mono_ns();
	}
	unlock(h);
	if (x->out.close != NULL)
		x->out.close(x->out.stream);
	free(x->out.text);
	json_decref(x->out.headers);
	json_decref(x->headers);
	free(x->body);
	free(x->target);
	free(x);
}

static void
on_conn(void *arg, struct MHD_Connection *wire, void **cls,
        enum MHD_ConnectionNotificationCode what)
{
	struct http *h = arg;
	struct conn *c = *cls;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(
			wire, MHD_CONNECTION_INFO_CONNECTION_FD);

		c = calloc(1, sizeof(*c));
		*cls = c;
		if (c == NULL)
			return;
		c->fd = info != NULL ? info->connect_fd : -1;
		c->since = os_mono_ns();
		lock(h);
		conns_push(&h->conns, c);
		unlock(h);
	} else if (c != NULL) {
		lock(h);
		conns_remove(&h->conns, c);
		unlock(h);
		free(c);
		*cls = NULL;
	}
}

/* ---- threads -------------------------------------------------------------- */

static void *
work(void *arg)
{
	struct http *h = arg;

	(void)pthread_setname_np(pthread_self(), "godwit-api");
	lock(h);
	for (;;) {
		struct exchange *x;

		while (h->jobs.n == 0 && !h->is_over)
			(void)pthread_cond_wait(&h->more, &h->lock);
		x = exchanges_pop(&h->jobs);
		if (x == NULL)
			break;
		unlock(h);
		h->handle(h->arg, &x->in, &x->out);
		lock(h);
		h->busy--;
		MHD_resume_connection(x->wire);
	}
	unlock(h);
	return NULL;
}

static void
wake_streams(struct http *h)
{
	h->wakes++;
	while (h->streams.n > 0) {
		struct exchange *x = exchanges_pop(&h->streams);

		x->is_idle = false;
		MHD_resume_connection(x->wire);
	}
}

/* Cut who has been too slow. The descriptor cannot be another's: it is closed
 * only after on_conn() took the connection out of the list. */
static void
sweep(struct http *h)
{
	uint64_t now = os_mono_ns();
	uint64_t max = (uint64_t)h->conf.request_s * 1000000000u;

	list_each(conn, c, link, &h->conns) {
		if (!c->is_busy && now - c->since > max && c->fd >= 0)
			(void)shutdown(c->fd, SHUT_RDWR);
	}
}

static void *
watch(void *arg)
{
	struct http *h = arg;

	(void)pthread_setname_np(pthread_self(), "godwit-sweep");
	lock(h);
	for (uint32_t tick = 1; !h->is_over; tick++) {
		struct timespec until;

		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += 1;
		(void)pthread_cond_timedwait(&h->more, &h->lock, &until);
		if (h->jobs.n > 0)
			(void)pthread_cond_signal(&h->more);
		sweep(h);
		if (tick % WAKE_S == 0)
			wake_streams(h);
	}
	unlock(h);
	return NULL;
}

/* ---- open, close ---------------------------------------------------------- */

static char *
read_file(const char *path, struct err *err)
{
	char *text = calloc(1, FILE_MAX_SIZE);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 && text != NULL ? read(fd, text, FILE_MAX_SIZE - 1)
	                                    : -1;

	if (n < 0) {
		(void)err_set(err, ERR_IO, "%s: %s", path, os_cause(errno));
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		(void)close(fd);
	return text;
}

static struct MHD_Daemon *
start_daemon(struct http *h, int *ret_fd, struct err *err)
{
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD |
	                 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
	struct MHD_OptionItem tls[3] = { { MHD_OPTION_END, 0, NULL },
		                         { MHD_OPTION_END, 0, NULL },
		                         { MHD_OPTION_END, 0, NULL } };
	struct MHD_Daemon *daemon = NULL;
	char *certificate = NULL;
	char *key = NULL;
	int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);

	if (h->certificate[0] != '\0') {
		certificate = read_file(h->certificate, err);
		key = certificate != NULL ? read_file(h->key, err) : NULL;
		if (key == NULL)
			goto out;
		flags |= MHD_USE_TLS;
		tls[0] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0,
			                          certificate };
		tls[1] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0,
			                          key };
	}
	daemon = MHD_start_daemon(
		flags, 0, NULL, NULL, on_access, h, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_URI_LOG_CALLBACK, on_target, h,
		MHD_OPTION_UNESCAPE_CALLBACK, leave_escapes, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, on_done, h,
		MHD_OPTION_NOTIFY_CONNECTION, on_conn, h,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->conf.connections,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		(unsigned)h->conf.per_address,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)h->conf.header_max,
		MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls,
		MHD_OPTION_END);
	if (daemon == NULL)
		(void)err_set(err, ERR_IO,
		              "cannot serve on %s%s%s; look at certificate, "
		              "key and the limit of open files",
		              h->conf.listen,
		              h->certificate[0] != '\0' ? " with " : "",
		              h->certificate);
out:
	/* One that did not start may have closed it, or not: it is left open
	 * rather than another's closed. */
	*ret_fd = fd;
	free(certificate);
	free(key);
	return daemon;
}

static int
start_threads(struct http *h, struct err *err)
{
	for (uint32_t i = 0; i <= h->conf.threads; i++) {
		if (pthread_create(&h->threads[i], NULL, i == 0 ? watch : work,
		                   h) != 0)
			return err_set(err, ERR_LIMIT,
			               "no thread for the API could be made; "
			               "look at ulimit -u");
		h->thread_n++;
	}
	return 0;
}

static void
init(struct http *h, const struct http_conf *c)
{
	pthread_condattr_t attr;

	h->conf = *c;
	if (h->conf.threads > THREADS_MAX)
		h->conf.threads = THREADS_MAX;
	(void)snprintf(h->certificate, sizeof(h->certificate), "%s",
	               c->certificate != NULL ? c->certificate : "");
	(void)snprintf(h->key, sizeof(h->key), "%s",
	               c->key != NULL ? c->key : "");
	h->fd = -1;
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&h->more, &attr);
	(void)pthread_condattr_destroy(&attr);
}

struct http *
http_new(const struct http_conf *c, http_handle_f *handle, void *arg,
         struct err *err)
{
	struct http *h = calloc(1, sizeof(*h));
	int rc;

	if (h == NULL) {
		(void)err_set(err, ERR_NOMEM, "out of memory");
		return NULL;
	}
	init(h, c);
	h->handle = handle;
	h->arg = arg;
	rc = listen_open(c->listen, 1, &h->fd, &h->port, err);
	if (rc == 0)
		rc = start_threads(h, err);
	if (rc == 0) {
		h->daemon[0] = start_daemon(h, &h->daemon_fd[0], err);
		rc = h->daemon[0] != NULL ? 0 : -1;
	}
	if (rc != 0) {
		http_free(h);
		return NULL;
	}
	return h;
}

uint16_t
http_port(const struct http *h)
{
	return h->port;
}

uint32_t
http_connections(struct http *h)
{
	uint32_t n;

	lock(h);
	n = (uint32_t)h->conns.n;
	unlock(h);
	return n;
}

void
http_wake(struct http *h)
{
	lock(h);
	wake_streams(h);
	unlock(h);
}

int
http_reload(struct http *h, struct err *err)
{
	struct MHD_Daemon *next;
	int fd;

	if (h->certificate[0] == '\0')
		return 0;
	if (h->retired_n == RETIRED_MAX)
		return err_set(err, ERR_LIMIT,
		               "%d earlier certificates are still in use; "
		               "restart to change it again",
		               RETIRED_MAX);
	next = start_daemon(h, &fd, err);
	if (next == NULL)
		return -(int)err->code;
	(void)MHD_quiesce_daemon(h->daemon[h->retired_n]);
	h->retired_n++;
	h->daemon[h->retired_n] = next;
	h->daemon_fd[h->retired_n] = fd;
	return 0;
}

void
http_quiesce(struct http *h)
{
	if (h == NULL || atomic_exchange(&h->is_stopping, true))
		return;
	if (h->daemon[h->retired_n] != NULL) {
		(void)MHD_quiesce_daemon(h->daemon[h->retired_n]);
		/* Refuses from now on; closed when nobody looks at it. */
		(void)shutdown(h->fd, SHUT_RDWR);
	}
	http_wake(h);
}

void
http_free(struct http *h)
{
	if (h == NULL)
		return;
	http_quiesce(h);
	lock(h);
	h->is_over = true;
	(void)pthread_cond_broadcast(&h->more);
	unlock(h);
	for (uint32_t i = 0; i < h->thread_n; i++)
		(void)pthread_join(h->threads[i], NULL);
	for (uint32_t i = 0; i <= h->retired_n && h->daemon[i] != NULL; i++) {
		MHD_stop_daemon(h->daemon[i]);
		(void)close(h->daemon_fd[i]);
	}
	if (h->fd >= 0)
		(void)close(h->fd);
	(void)pthread_cond_destroy(&h->more);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
