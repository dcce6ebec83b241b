/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/databases.h: how many databases of a server may be in use.
 *
 * The mover keeps their numbers in tables of this size; with more of them a scan
 * would not be whole, so it says so and does not begin. (16 is what servers have
 * where nobody asked for more.)
 */
#pragma once

#define DATABASES_MAX 256
