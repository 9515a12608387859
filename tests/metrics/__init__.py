# SPDX-License-Identifier: MIT
"""Tests of `memlane.metrics`."""
