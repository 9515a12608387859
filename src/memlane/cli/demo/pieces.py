# SPDX-License-Identifier: MIT
"""
What the processes of the demo agree on.

Two rings carry it all: pieces go from the parent to the workers, who compete for them, and results
come back. A piece is a range of a file, never its bytes: a process that takes it maps the file. A
result is what was found in one piece. Both bear the piece's number, so that a result that comes
twice is known.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from memlane.cli.demo.indexing import BLOCK_NBYTES, Counts

_PIECE = struct.Struct("=IIQQQ")
_RESULT = struct.Struct("=I?Q32s6QII")


class Piece(NamedTuple):
    """
    A range of a file. A process that takes the one that begins at 0 hashes the whole file as well.
    """

    number: int
    file: int  # place in the list of paths
    begin: int
    end: int
    file_nbytes: int  # when it was cut

    def pack(self) -> bytes:
        return _PIECE.pack(*self)

    @classmethod
    def unpack(cls, record: bytes) -> Piece:
        return cls(*_PIECE.unpack(record))


class Result(NamedTuple):
    """What was found in a piece; or, in place of a hash and words, why its file was skipped."""

    piece: int
    nanoseconds: int  # of processor time, for the piece
    counts: Counts = Counts()
    hash: bytes = b""
    words: Sequence[bytes] = ()
    times: Sequence[int] = ()  # how often each word is there
    skipped: str = ""

    def pack(self) -> bytes:
        text = self.skipped.encode() if self.skipped else b" ".join(self.words)
        head = _RESULT.pack(
            self.piece,
            bool(self.skipped),
            self.nanoseconds,
            self.hash,
            *self.counts,
            len(text),
            len(self.hash),
        )
        return b"".join((head, text, array("I", self.times).tobytes()))

    @classmethod
    def unpack(cls, record: bytes) -> Result:
        number, failed, nanoseconds, digest, *numbers, text_nbytes, hash_nbytes = (
            _RESULT.unpack_from(record)
        )
        text_end = _RESULT.size + text_nbytes
        text = record[_RESULT.size : text_end]
        if failed:
            return cls(number, nanoseconds, skipped=text.decode())
        words = text.split(b" ") if text else ()
        times = array("I", record[text_end:])
        return cls(number, nanoseconds, Counts(*numbers), digest[:hash_nbytes], words, times)


def cut(file: int, path: str, number: int) -> list[Piece]:
    """
    The pieces of a file, the first of which gets *number*; an empty file has one.

    Raises:
        OSError: there is no file.
    """
    size = os.stat(path).st_size
    return [
        Piece(number + place, file, begin, min(begin + BLOCK_NBYTES, size), size)
        for place, begin in enumerate(range(0, max(size, 1), BLOCK_NBYTES))
    ]
