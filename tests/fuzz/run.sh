#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/run.sh [SECONDS] [NAME]...: SECONDS of libFuzzer under ASan and
# UBSan for each target; 0 (or nothing) only replays the corpus.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-0}
[ $# -eq 0 ] || shift
if [ "$seconds" -eq 0 ]; then
	exec tools/fuzz.py --replay "$@"
fi
exec tools/fuzz.py --time "$seconds" "$@"
