# SPDX-License-Identifier: MIT
"""
The demo's worker: a program of its own that opens the region by name and counts what it can get.

    python -m memlane.cli.worker REGION PARENT_PID
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from memlane import PeerGoneError, Region, Ring, ShutDown
from memlane.cli.stages import (
    BATCHES,
    HEADER,
    REPORTS,
    SLICE_S,
    count_piece,
    report,
    while_parent_lives,
)


def main(arguments: Sequence[str]) -> int:
    """Say that one is ready, then count and report batches until the reader ends the ring."""
    name, parent = arguments
    with Region.open(name) as region:
        batches, reports = region.ring(BATCHES), region.ring(REPORTS)
        try:
            reports.put(report(ready=os.getpid()))
            while True:
                _count_one(batches, reports, int(parent))
        except PeerGoneError as error:
            print(f"memlane demo: worker {os.getpid()} ends: {error}", file=sys.stderr)
            return 1
        except ShutDown:
            return 0  # all is counted; or the parent has given up, and says why


def _count_one(batches: Ring, reports: Ring, parent: int) -> None:
    """
    Count one batch. It is given back only when its report is in: killed before, this worker leaves
    it to another one, and a report that was in already bears the same numbers as the second.
    """
    borrow = partial(batches.borrow, timeout=SLICE_S, require_peer=True)
    with while_parent_lives(borrow, parent) as record:
        batch = bytes(record)
        file, piece, last = HEADER.unpack_from(batch)
        counted = count_piece(batch[HEADER.size :])
        counted_report = report(file=file, piece=piece, last=last, counted=counted)
        while_parent_lives(partial(reports.put, counted_report, timeout=SLICE_S), parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
