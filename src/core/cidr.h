/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/cidr.h: networks, and the most specific one that an address is in.
 *
 * IPv4 addresses are the IPv6 ones of ::ffff:0:0/96.
 *
 * Owns:   a trie owns its block.
 * Limits: CIDR_NODES_MAX nodes.
 * Thread: built by one; then read by any.
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#define CIDR_NODES_MAX (1u << 20)
#define CIDR_NONE      UINT32_MAX

struct cidr_address {
	uint8_t b[16];
	bool is_known;
};

struct cidr {
	struct cidr_address at;
	uint8_t bits; /* 0..128 */
};

/* "10.0.0.0/8", "2001:db8::/32", an address alone; bits behind the prefix must be
 * zero. ERR_USAGE. */
int cidr_parse(const char *text, struct cidr *ret, struct err *err) MUST;
/* ERR_USAGE; "" and names of Unix sockets are none. */
int cidr_parse_address(const char *text, struct cidr_address *ret,
                       struct err *err) MUST;

struct cidr_trie;

struct cidr_trie *cidr_trie_new(struct mem *mem);
void cidr_trie_free(struct cidr_trie *t);
/* -ERR_NOMEM. A network that is there already keeps its first value. */
int cidr_trie_put(struct cidr_trie *t, const struct cidr *net,
                  uint32_t value) MUST;
/* The value of the longest prefix, or CIDR_NONE. */
uint32_t cidr_trie_find(const struct cidr_trie *t,
                        const struct cidr_address *a);
