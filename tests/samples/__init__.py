# SPDX-License-Identifier: MIT
"""Tests of `memlane.samples`."""
