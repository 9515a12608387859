# SPDX-License-Identifier: MIT
"""Waiting for several things: descriptors, `memlane.wait`, and event loops."""
