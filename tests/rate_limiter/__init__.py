# SPDX-License-Identifier: MIT
"""Tests of `RateLimiter`."""
