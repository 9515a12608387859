# SPDX-License-Identifier: MIT
"""Heaps: blocks that several processes hold."""
