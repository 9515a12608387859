# SPDX-License-Identifier: MIT
"""What every object of a region stands on; nothing here knows a kind of object."""
