# SPDX-License-Identifier: MIT
"""Slots, tables of them, and the layouts of their values."""
