# SPDX-License-Identifier: MIT
"""Maps: the dict that processes share."""
