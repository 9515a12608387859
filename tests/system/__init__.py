# SPDX-License-Identifier: MIT
"""Promises as a whole: kills at random and at each instruction, corrupt bytes, leaks."""
