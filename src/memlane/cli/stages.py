# SPDX-License-Identifier: MIT
"""
What the processes of the demo agree on.

One region carries it all: a ring of batches for each worker, a ring of reports back to the parent,
and a slot with the reader's progress. A batch is a piece of a file, cut behind a newline where
there is one; an empty record ends the file. A report is JSON.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

BATCHES = "batches {}"  # .format(number of the worker)
REPORTS = "reports"
PROGRESS = "progress"
PROGRESS_LAYOUT = "QQ?"  # files and bytes read, and whether that was all

#: How often who waits looks whether the others still live.
SLICE_S = 0.2


class Totals(NamedTuple):
    """What is counted. A line ends with a newline or its file; words are those of `bytes.split`."""

    files: int
    lines: int
    words: int
    nbytes: int


def report(**facts: Any) -> bytes:
    """One report: `ready`, `skipped` with `why`, or `totals`."""
    return json.dumps(facts).encode()
