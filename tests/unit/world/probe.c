/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/world/probe.c: a loop whose machine is one function of a test.
 */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>

#include "net.h"

struct probe_machine {
	probe_f *on;
	void *arg;
};

static void
probe_init(void *self, void *arg)
{
	struct probe_machine *m = self;
	const struct probe *p = arg;

	m->on = p->on;
	m->arg = p->arg;
}

static void
probe_step(void *self, struct port *port, const struct event *ev)
{
	struct probe_machine *m = self;

	m->on(m->arg, port, ev);
}

static const struct machine probe_kind = {
	.name = "probe",
	.self_size = sizeof(struct probe_machine),
	.step = probe_step,
};

static void
must(bool ok, const struct err *err)
{
	if (ok)
		return;
	(void)fprintf(stderr, "probe: %s\n", err->text);
	abort();
}

void
probe_make(struct probe *p)
{
	struct err err = { .code = ERR_NONE };
	struct loop_conf conf = {
		.machine = &probe_kind,
		.init = probe_init,
		.arg = p,
		.to_control = p->inbox,
		.crowd = p->crowd,
		.mem_limit = p->mem_limit,
		.is_patient = p->is_patient,
		.listen_n = 1,
		.name = "probe",
	};
	int fd;

	must(listen_open(":0", 1, &fd, &p->port, &err) == 0, &err);
	conf.listen_fds = &fd;
	p->loop = loop_new(&conf, &err);
	must(p->loop != NULL, &err);
}

void
probe_start(struct probe *p)
{
	struct err err = { .code = ERR_NONE };

	probe_make(p);
	must(loop_start(p->loop, &err) == 0, &err);
}

void
probe_end(struct probe *p)
{
	loop_stop(p->loop);
	loop_free(p->loop);
	p->loop = NULL;
}

bool
probe_memory_until(const struct probe *p, size_t low, size_t high)
{
	for (uint32_t i = 0; i < NET_WAIT_MS / 5; i++) {
		size_t used = loop_mem_used(p->loop);

		if (used >= low && used <= high)
			return true;
		net_sleep_ms(5);
	}
	return false;
}
