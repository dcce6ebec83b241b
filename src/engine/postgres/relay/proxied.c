/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/postgres/relay/proxied.c: clients behind a proxy that says who they are.
 *
 * Where the interlay is told so, each connection (a cancel request's, too) begins with a
 * PROXY v2 header; what is behind it is the client's.
 */
#include "engine/postgres/relay/inside.h"
#include "wire/proxy2.h"

struct pg_proxied {
	struct cidr_address at;
	uint16_t port;
	uint8_t region_n; /* 0: it named none */
	uint8_t region[32];
};

int
pg_proxied_read(struct pg_session *s, struct span in, size_t *ret_used)
{
	const struct relay_conf *conf = s->r->conf;
	struct pg_proxied *x;
	struct proxy2 h;
	enum wire_rc rc = proxy2_read(in, &h);
	struct span region;

	*ret_used = 0;
	if (rc == WIRE_MORE)
		return 0;
	x = rc == WIRE_PART ? mem_zero(s->r->mem, sizeof(*x)) : NULL;
	if (x == NULL) {
		pg_session_end(s,
		               rc == WIRE_PART ? SPAN("53200") : SPAN("08P01"),
		               rc == WIRE_PART ? "out of memory"
		                               : "a PROXY header is wanted");
		return -1;
	}
	if (h.has_address) {
		memcpy(x->at.b, h.address, sizeof(x->at.b));
		x->at.is_known = true;
		x->port = h.port;
	}
	region = proxy2_tlv(&h, conf->proxy_tlv);
	if (conf->proxy_tlv != 0 && region.n > 0 &&
	    region.n <= sizeof(x->region)) {
		memcpy(x->region, region.p, region.n);
		x->region_n = (uint8_t)region.n;
	}
	s->front = x;
	s->is_proxied = false;
	*ret_used = h.n;
	return 1;
}

struct origin
pg_proxied_origin(const struct pg_session *s)
{
	struct origin ret = { .port = 0 };
	struct port *p = s->r->port;

	if (s->client != NULL && p->ops->origin != NULL)
		ret = p->ops->origin(p, s->client);
	if (s->front != NULL && s->front->at.is_known)
		ret = (struct origin){ s->front->at, s->front->port };
	return ret;
}

struct span
pg_proxied_region(const struct pg_session *s)
{
	return s->front != NULL ? span_of(s->front->region, s->front->region_n)
	                        : (struct span){ NULL, 0 };
}

void
pg_proxied_fini(struct pg_session *s)
{
	if (s->front != NULL)
		mem_free(s->r->mem, s->front, sizeof(*s->front));
	s->front = NULL;
}
