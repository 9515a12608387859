# SPDX-License-Identifier: MIT
"""Counters."""
