# SPDX-License-Identifier: Apache-2.0
"""Real servers, Godwit, and a network that can be broken; on loopback."""
