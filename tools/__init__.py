# SPDX-License-Identifier: MIT
"""Programs for those who work on memlane."""
