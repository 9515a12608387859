# SPDX-License-Identifier: MIT
"""Shared arrays."""
