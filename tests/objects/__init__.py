# SPDX-License-Identifier: MIT
"""Objects as records."""
