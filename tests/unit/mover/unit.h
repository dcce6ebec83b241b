/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/mover/unit.h: cmocka, after the headers it wants first.
 */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
/* clang-format on */
