/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control/api/notify.c: tells the service manager how we are (sd_notify).
 */
#define _GNU_SOURCE
#include "control/api/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "world/os/loop.h"

void
notify(const char *text)
{
	/* Nothing here changes the environment. */
	const char *path =
		getenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe)
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = path != NULL ? strlen(path) : 0;
	int fd;

	if (n == 0 || n >= sizeof(to.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = '\0'; /* an abstract name */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Nobody there: not our trouble. */
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL,
	             (const struct sockaddr *)(const void *)&to,
	             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	(void)close(fd);
}

void
notify_reloading(void)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
	               (unsigned long long)(os_mono_ns() / 1000));
	notify(text);
}
