# SPDX-License-Identifier: MIT
"""Rules for the sources that a program can judge, and pages that may not drift from them."""
