# SPDX-License-Identifier: MIT
"""Locks whose owner may die."""
