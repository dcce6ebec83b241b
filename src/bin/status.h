/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bin/status.h: the exit statuses (tables/exit.tbl).
 */
#pragma once

enum status {
#define X(name, status, meaning) STATUS_##name = (status),
#include "exit.tbl"
#undef X
};
