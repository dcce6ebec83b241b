/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world/os/descriptors.h: how many files and connections the process may have.
 *
 * A shell gives 1,024 although the system would allow more, and clients would take
 * all of them: then no verb could reach Godwit, and the mover could not connect
 * again. So the last ones are not for clients, nor for what is opened for them.
 *
 * Owns:   two numbers of the process.
 * Limits: DESCRIPTORS_KEPT of its own, a quarter where the process has few.
 * Thread: descriptors_raise() before the first loop; the rest any.
 */
#pragma once

#include <stdbool.h>

#define DESCRIPTORS_KEPT 128

/* As many as the system allows. Without this call nothing is kept. */
void descriptors_raise(void);
/* Is one that the kernel has just given (it gives the lowest that is free) one of
 * those that are not for clients? And one of the last half of them, which are not
 * for what a client alone needs either? */
bool descriptors_are_few(int fd);
bool descriptors_are_fewer(int fd);
/* The one that the kernel would give next; INT_MAX: none. like: any that is open. */
int descriptors_next(int like);
