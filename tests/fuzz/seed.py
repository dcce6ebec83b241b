#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/seed.py: the corpus's first inputs, from the golden ones.

A fuzzer's input starts with its cuts (drive_fuzz): here 3, a quarter apart.
"""
import glob
import hashlib
import os

HERE = os.path.dirname(os.path.abspath(__file__))
LONGEST = 2600

for path in glob.glob(os.path.join(HERE, "..", "golden", "*", "*.in")):
    codec = os.path.basename(os.path.dirname(path))
    with open(path, "rb") as f:
        data = f.read()
    if len(data) > LONGEST:
        continue
    data = b"\x03" + (len(data) // 4).to_bytes(2, "big") * 3 + data
    folder = os.path.join(HERE, "corpus", codec)
    os.makedirs(folder, exist_ok=True)
    name = hashlib.sha256(data).hexdigest()
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)
