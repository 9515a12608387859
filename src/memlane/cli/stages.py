# SPDX-License-Identifier: MIT
"""
What the processes of the demo agree on.

One region carries it all: a ring of batches for which the workers compete, a ring of reports back
to the parent, and a slot with the reader's progress. A batch is a header and a piece of a file, cut
behind a newline where there is one. A report is JSON.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from memlane import Empty, Full, PeerGoneError

BATCHES = "batches"
REPORTS = "reports"
PROGRESS = "progress"
PROGRESS_LAYOUT = "QQQ?"  # files, batches and bytes read, and whether that was all

#: In front of each piece: number of the file, number of the piece in it, whether it is the last.
HEADER = struct.Struct("II?")

#: How often who waits looks whether the others still live.
SLICE_S = 0.2


_Done = TypeVar("_Done")


class Totals(NamedTuple):
    """What is counted. A line ends with a newline or its file; words are those of `bytes.split`."""

    files: int
    lines: int
    words: int
    nbytes: int


class Counted(NamedTuple):
    """One piece of a file, counted by itself, with what it takes to join it to its neighbours."""

    newlines: int
    words: int
    nbytes: int
    begins_in_word: bool
    ends_in_word: bool
    ends_line: bool


def count_piece(piece: bytes) -> Counted:
    """Count a piece without knowing what comes before or behind."""
    return Counted(
        piece.count(b"\n"),
        len(piece.split()),
        len(piece),
        piece != b"" and not piece[:1].isspace(),
        piece != b"" and not piece[-1:].isspace(),
        piece == b"" or piece.endswith(b"\n"),
    )


def join_pieces(pieces: Sequence[Counted]) -> Totals:
    """What a file has whose pieces are these, in this order."""
    words = sum(piece.words for piece in pieces)
    for before, behind in pairwise(pieces):
        words -= before.ends_in_word and behind.begins_in_word  # one word, cut in two
    return Totals(
        files=1,
        lines=sum(piece.newlines for piece in pieces) + (not pieces[-1].ends_line),
        words=words,
        nbytes=sum(piece.nbytes for piece in pieces),
    )


def while_parent_lives(attempt: Callable[[], _Done], parent: int) -> _Done:
    """
    Try until there is room, or something to get; each attempt waits for a slice.

    Raises:
        PeerGoneError: process *parent* is gone.
    """
    while True:
        try:
            return attempt()
        except (Empty, Full):
            require_parent(parent)


def require_parent(parent: int) -> None:
    if os.getppid() != parent:
        raise PeerGoneError("the parent is gone")


def report(**facts: Any) -> bytes:
    """One report: `ready`, `skipped` with `why`, or `file`, `piece`, `last` and `counted`."""
    return json.dumps(facts).encode()
