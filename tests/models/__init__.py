# SPDX-License-Identifier: MIT
"""Models of the protocols, checked by spin."""
