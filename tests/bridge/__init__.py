# SPDX-License-Identifier: MIT
"""Rings: records, batches, reservations, loans, roles, deaths."""
