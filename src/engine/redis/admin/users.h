/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/redis/admin/users.h: the users of both sides, and what the operator has
 * to type for those that new has not, or has with other rights.
 *
 * Passwords are compared by their hashes and never copied: where one belongs the
 * line says >PASSWORD.
 *
 * Owns:   nothing; spans point into replies.
 * Limits: USERS_NAMED users with a line of their own.
 * Thread: any.
 */
#pragma once

#include "engine/redis/admin/probe.h"

#define USERS_NAMED 8

uint32_t users_put(struct buf *tx);

/* The replies of both sides to that, and a line "users" for each that differs.
 * is_resume: rights are not looked at, a fence may have taken them. A side that
 * did not answer with a list has none. */
void users_judge(struct checks *c, const struct span acl[SIDE_N],
                 bool is_resume);

/* A line "users" for each side on which a migration has users already: at a start,
 * of a pair that shares its servers with no other. */
void users_judge_guests(struct checks *c, const struct span acl[SIDE_N]);
