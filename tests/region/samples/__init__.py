# SPDX-License-Identifier: MIT
"""Regions of each layout version, packed."""
