# SPDX-License-Identifier: MIT
"""Queues of objects."""
