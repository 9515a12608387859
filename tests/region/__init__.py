# SPDX-License-Identifier: MIT
"""What every object stands on: names, files, headers, participants, doorbells, forks, pickling."""
