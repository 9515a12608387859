# SPDX-License-Identifier: MIT
"""What holds for every public call: mistakes, timeouts, types, docstrings."""
