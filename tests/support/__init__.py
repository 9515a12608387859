# SPDX-License-Identifier: MIT
"""What several tests use: processes, the bytes of regions, stops between two steps."""
