# SPDX-License-Identifier: MIT
"""
The demo's worker: a program of its own that opens the region by name and counts what comes in.

    python -m memlane.cli.worker REGION NUMBER PARENT_PID
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from memlane import Empty, PeerGoneError, Region, Ring, ShutDown
from memlane.cli.stages import BATCHES, REPORTS, SLICE_S, Totals, report


def main(arguments: Sequence[str]) -> int:
    """Say that one is ready, count until the reader shuts the ring down, report the totals."""
    name, number, parent = arguments
    with Region.open(name) as region:
        batches, reports = region.ring(BATCHES.format(number)), region.ring(REPORTS)
        try:
            reports.put(report(ready=os.getpid()))
            reports.put(report(totals=count(_received(batches, int(parent)))))
        except PeerGoneError as error:
            print(f"memlane demo: worker {number} ends: {error}", file=sys.stderr)
            return 1
        except ShutDown:
            pass  # the parent has given up, and says why
    return 0


def count(records: Iterable[bytes]) -> Totals:
    """Count files whose pieces come in order, each file followed by an empty record."""
    files = lines = words = nbytes = 0
    last = b"\n"  # the byte before this record
    for record in records:
        if record:
            lines += record.count(b"\n")
            words += len(record.split())
            # Where a long line was cut within a word, that word has been counted twice.
            words -= not last.isspace() and not record[:1].isspace()
            nbytes += len(record)
            last = record[-1:]
        else:
            files += 1
            lines += last != b"\n"  # a last line that has no newline
            last = b"\n"
    return Totals(files, lines, words, nbytes)


def _received(ring: Ring, parent: int) -> Iterator[bytes]:
    """All records until the ring is shut down; PeerGoneError if reader or parent die before."""
    while True:
        try:
            yield from ring.get_many(64, timeout=SLICE_S, require_peer=True)
        except ShutDown:
            return
        except Empty:
            if os.getppid() != parent:
                raise PeerGoneError("the parent is gone") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
