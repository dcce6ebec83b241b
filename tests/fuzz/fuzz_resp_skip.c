/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_resp_skip.c: any bytes, any cuts: no crash, the same transcript.
 */
#include "drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	drive_fuzz(drive_find("resp_skip"), data, n);
	return 0;
}
