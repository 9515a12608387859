# SPDX-License-Identifier: MIT
"""The demo's worker: a process that takes pieces, maps their files, and puts what it found."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Sequence

from memlane import Full, Mapping, PeerGoneError, Ring, ShutDown
from memlane.cli.demo.indexing import index_range
from memlane.cli.demo.pieces import Piece, Result

#: How often a worker that waits for room looks whether its parent still lives.
SLICE_S = 0.2


def work(pieces: Ring, results: Ring, paths: Sequence[str]) -> None:
    """
    Index pieces until the parent shuts the ring down. Ends by itself, too, when the parent is gone.

    A piece is given back when its result is in: a worker that is killed before that leaves it to
    another one, and a result that was in already bears the same number as the second.
    """
    parent = os.getppid()
    try:
        while True:
            with pieces.borrow(require_peer=True) as record:
                result = index_piece(Piece.unpack(bytes(record)), paths).pack()
                while not _put(results, result):
                    if os.getppid() != parent:
                        raise PeerGoneError("the parent is gone")
    except ShutDown:
        pass  # all is indexed; or the parent has given up, and says why
    except PeerGoneError as error:
        sys.exit(f"memlane demo: a worker ends: {error}")


def _put(results: Ring, result: bytes) -> bool:
    try:
        results.put(result, timeout=SLICE_S)
        return True
    except Full:
        return False


def index_piece(piece: Piece, paths: Sequence[str]) -> Result:
    """What is found in one piece; or why its file cannot be read."""
    began = time.thread_time_ns()
    try:
        if piece.file_nbytes == 0:  # nothing to map; yet some files of the kernel say 0
            with open(paths[piece.file], "rb") as file:
                content = file.read()
            digest = hashlib.sha256(content).digest()
            counts, words = index_range(content, 0, len(content))
        else:
            with Mapping.open(paths[piece.file], nbytes=piece.file_nbytes) as mapping:
                digest = hashlib.sha256(mapping).digest() if piece.begin == 0 else b""
                counts, words = index_range(mapping, piece.begin, piece.end)
    except OSError as error:
        why = error.strerror or str(error)
        return Result(piece.number, time.thread_time_ns() - began, skipped=why)
    used = time.thread_time_ns() - began
    return Result(piece.number, used, counts, digest, list(words), list(words.values()))
