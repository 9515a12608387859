# SPDX-License-Identifier: MIT
"""What memlane gives, taken by the real libraries: see extras.sh."""
