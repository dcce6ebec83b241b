/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/net.h: plain blocking sockets for the tests' own end.
 *
 * Everything aborts the test on failure; a read waits at most NET_WAIT_MS.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_WAIT_MS 20000

int net_connect(uint16_t port);
int net_listen(uint16_t *ret_port, int backlog);
int net_accept(int fd);
uint16_t net_closed_port(void); /* nobody listens there */
void net_send(int fd, const void *p, size_t n);
void net_recv(int fd, void *p, size_t n);        /* exactly n          */
size_t net_recv_some(int fd, void *p, size_t n); /* 0: the peer's end */
void net_sleep_ms(uint32_t ms);

/* Wait until *counter is at least n; false after NET_WAIT_MS. */
bool net_until(const _Atomic uint32_t *counter, uint32_t n);
