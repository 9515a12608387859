# SPDX-License-Identifier: MIT
"""Shared memory between Python processes on one Linux machine."""

from ._core import PAGE_SIZE, Mapping
from .errors import ClosedError, MemlaneError, TruncatedError

__all__ = ["PAGE_SIZE", "ClosedError", "Mapping", "MemlaneError", "TruncatedError"]
