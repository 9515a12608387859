# SPDX-License-Identifier: MIT
"""Contract tests. Each folder mirrors one part of src; support has what several of them use."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
