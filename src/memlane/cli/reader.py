# SPDX-License-Identifier: MIT
"""The demo's reader: a forked process that maps files and deals them out in batches."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Sequence

from memlane import Full, Mapping, Region, Ring, ShutDown
from memlane.cli.stages import BATCHES, PROGRESS, REPORTS, SLICE_S, report

BATCH_NBYTES = 64 * 1024
#: Often enough for the eye; each publication wakes the parent, who has better things to do.
PROGRESS_PAUSE_S = 0.05


def read(region: Region, paths: Sequence[str], workers: int, parent: int) -> None:
    """
    Read all *paths*, then shut the rings of batches down: that is how workers know the end.

    A file goes to one worker, the one that has the least to do. What cannot be read is reported and
    skipped. Ends early when the parent shuts the rings down, or when process *parent* is gone.
    """
    rings = [region.ring(BATCHES.format(number)) for number in range(workers)]
    reports, progress = region.ring(REPORTS), region.slot(PROGRESS)
    files = nbytes = 0
    due = 0.0
    try:
        for path in paths:
            try:
                pieces = mapped_pieces(path)
            except OSError as error:
                _put(reports, report(skipped=path, why=error.strerror), parent)
                continue
            ring = min(rings, key=len)
            for piece in pieces:
                _put(ring, piece, parent)
                nbytes += len(piece)
                if time.monotonic() >= due:
                    _require(parent)
                    progress.publish((files, nbytes, False))
                    due = time.monotonic() + PROGRESS_PAUSE_S
            _put(ring, b"", parent)
            files += 1
        for ring in rings:
            ring.shutdown()
        progress.publish((files, nbytes, True))
    except ShutDown:
        pass  # the parent has given up, and says why


def mapped_pieces(path: str, nbytes: int = BATCH_NBYTES) -> Iterator[memoryview]:
    """
    Map a file and cut it into views of about *nbytes*, behind newlines unless a line is too long.

    Raises:
        OSError: it cannot be read. Nothing is raised later.
    """
    try:
        mapping = Mapping.open(path)
    except io.UnsupportedOperation:  # an empty file: there is nothing to map
        return iter(())
    return _cut(mapping, nbytes)


def _cut(mapping: Mapping, nbytes: int) -> Iterator[memoryview]:
    with mapping:
        mapping.advise("sequential")
        view = memoryview(mapping)
        start = 0
        while start < len(view):
            limit = min(start + 2 * nbytes, len(view))
            newline = mapping.find(b"\n", start + nbytes - 1, limit)
            end = limit if newline < 0 else newline + 1
            yield view[start:end]
            start = end


def _put(ring: Ring, record: bytes | memoryview, parent: int) -> None:
    while True:
        try:
            ring.put(record, timeout=SLICE_S)
        except Full:
            _require(parent)
        else:
            return


def _require(parent: int) -> None:
    if os.getppid() != parent:
        sys.exit("memlane demo: the reader ends, its parent is gone")
