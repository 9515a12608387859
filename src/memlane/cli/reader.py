# SPDX-License-Identifier: MIT
"""The demo's reader: a forked process that maps files and deals them out in batches."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from memlane import Mapping, PeerGoneError, Region, ShutDown
from memlane.cli.stages import (
    BATCHES,
    HEADER,
    PROGRESS,
    REPORTS,
    SLICE_S,
    report,
    require_parent,
    while_parent_lives,
)

BATCH_NBYTES = 64 * 1024
#: Often enough for the eye; each publication wakes the parent, who has better things to do.
PROGRESS_PAUSE_S = 0.05


def read(region: Region, paths: Sequence[str], parent: int) -> None:
    """
    Read all *paths*, then shut the ring of batches down: that is how workers know the end.

    What cannot be read is reported and skipped. Ends early when the parent shuts the rings down, or
    when process *parent* is gone.
    """
    ring, reports, progress = region.ring(BATCHES), region.ring(REPORTS), region.slot(PROGRESS)
    files = batches = nbytes = 0
    due = 0.0
    try:
        for path in paths:
            try:
                pieces = mapped_pieces(path)
            except OSError as error:
                skipped = report(skipped=path, why=error.strerror)
                while_parent_lives(partial(reports.put, skipped, timeout=SLICE_S), parent)
                continue
            for number, (piece, last) in enumerate(_with_last(pieces)):
                size = HEADER.size + len(piece)
                with while_parent_lives(
                    partial(ring.reserve, size, timeout=SLICE_S), parent
                ) as room:
                    room.write(HEADER.pack(files, number, last))
                    room.write(piece, HEADER.size)
                batches += 1
                nbytes += len(piece)
                if time.monotonic() >= due:
                    require_parent(parent)
                    progress.publish((files, batches, nbytes, False))
                    due = time.monotonic() + PROGRESS_PAUSE_S
            files += 1
        ring.shutdown()
        progress.publish((files, batches, nbytes, True))
    except ShutDown:
        pass  # the parent has given up, and says why
    except PeerGoneError as error:
        sys.exit(f"memlane demo: the reader ends: {error}")


def _with_last(pieces: Iterator[memoryview]) -> Iterator[tuple[bytes | memoryview, bool]]:
    """Each piece, and whether it is the last one; an empty file has one that is empty."""
    piece: bytes | memoryview = next(pieces, b"")
    for following in pieces:
        yield piece, False
        piece = following
    yield piece, True


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
