/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_conf.c: any bytes as a configuration file.
 * Sources: src/control/api/conf.c
 * Libraries: -ljansson -lyaml
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "control/api/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
const char *os_cause(int error_number);

const char *
os_cause(int error_number)
{
	(void)error_number;
	return "some cause";
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int fd = memfd_create("conf", MFD_CLOEXEC);
	struct conf c;
	struct err err;
	char path[32];

	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (conf_load(&c, path, NULL, &err) == 0) {
		for (enum conf_id id = 0; id < CONF_N; id++)
			ENSURE(c.value[id] != NULL);
		conf_fini(&c);
	} else {
		ENSURE(err.code == ERR_USAGE);
		ENSURE(memchr(err.text, 0, sizeof(err.text)) != NULL);
	}
	(void)close(fd);
	return 0;
}
