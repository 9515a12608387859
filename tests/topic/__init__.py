# SPDX-License-Identifier: MIT
"""Topics: records, subscriptions, positions, loans, evictions, deaths."""
