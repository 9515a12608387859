# SPDX-License-Identifier: MIT
"""Events between processes."""
