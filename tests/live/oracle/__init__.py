# SPDX-License-Identifier: Apache-2.0
"""The oracle: clients that write down every answer, and a judge.

It shares no code with Godwit. `engine` runs many clients in one process,
`work` says what they do, `model` and `check` decide afterwards from the
ledger and from the server that has authority whether a promise was broken,
`load` starts and stops the client processes. `python3 -m oracle` is one such
process.
"""
