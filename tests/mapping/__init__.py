# SPDX-License-Identifier: MIT
"""Files and memory mapped without a region: `memlane.Mapping`, `windows`, the guard."""
