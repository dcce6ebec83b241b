/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_pg_batch.c: any changes of rows in any transactions, by sets and row by
 * row: the target has what the source has (pg_batch.h).
 */
#include <stdio.h>

#include "pg_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	batch_play(data, n);
	return 0;
}
