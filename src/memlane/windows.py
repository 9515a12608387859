# SPDX-License-Identifier: MIT
"""Windows: reading a file larger than memory or address space, one mapping after the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Literal

import memlane._arguments as _arguments
from memlane._core import PAGE_SIZE, Mapping, clear_errors

_Advice = Literal["normal", "random", "sequential", "willneed"]


@clear_errors
def windows(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    size: int | str = "64 MiB",
    access: Literal["r", "r+", "c"] = "r",
    *,
    offset: int | str = 0,
    nbytes: int | str | None = None,
    overlap: int | str = 0,
    records: int | bytes | None = None,
    advice: _Advice = "sequential",
) -> Iterator[Mapping]:
    """
    Map a file window by window: an iterator of mappings, each closed when the next one is asked
    for.

    Args:
        path: The file.
        size: Length of a window, in bytes or as text; at least 1. The last window is the rest.
        access: As for `Mapping.open`.
        offset: The begin of the first window.
        nbytes: How many bytes of the file to read; None: up to its end at the time of the call.
        overlap: How many bytes each window repeats of the window before, fewer than *size*. With an
            overlap of n - 1 a search for n bytes finds them in one piece.
        records: Cut only between records, so that no record is in two windows. An int: the length
            of a record; windows are *size* rounded down to whole records, at least one. Bytes: the
            end of a record (b"\\n"); each window ends behind the last end mark within *size*, and
            is longer only for a single longer record. A last record without an end mark is
            included.
        advice: The advice to the kernel for each window.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError, OSError: As `Mapping.open`.
        io.UnsupportedOperation: The file ends before *offset* + *nbytes*, or at *offset*.
        ValueError: An argument is out of range, or both *overlap* and *records* are given.

    An empty file has no windows, unless *offset* or *nbytes* asks for bytes of it, which is an
    error.

    One window is mapped at a time, whatever the length of the file. Views that live longer than
    their window keep it mapped. Arguments are checked at once, before the first window.
    """
    path = _arguments.path(path)  # a number would be taken as a descriptor and closed
    window_nbytes = _arguments.size(size, "size")
    start = _arguments.size(offset, "offset")
    repeated = _arguments.size(overlap, "overlap")
    if window_nbytes < 1:
        raise ValueError(f"size must be at least 1, got {_arguments.shown(size)}")
    if repeated >= window_nbytes:
        raise ValueError(
            f"overlap must be less than size, {window_nbytes}, got {_arguments.shown(overlap)}"
        )
    if records is not None and repeated:
        raise ValueError(
            "overlap and records cannot be given both: windows of whole records need no overlap"
        )
    if isinstance(records, bytes):
        if not records:
            raise ValueError("records must be what ends a record, or its length, got b''")
    elif records is not None:
        record_nbytes = _arguments.positive(records, "records", 1 << 62)
        window_nbytes = max(window_nbytes // record_nbytes, 1) * record_nbytes
    if nbytes is None and start == 0 and _is_empty(path, access):
        return iter(())
    # opens the file once, so that its errors are raised now
    with Mapping.open(path, access, offset=start, nbytes=nbytes) as whole:
        stop = start + whole.nbytes
    if isinstance(records, bytes):
        return _windows_of_records(path, window_nbytes, access, start, stop, records, advice)
    return _windows(path, window_nbytes, access, start, stop, repeated, advice)


def _is_empty(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], access: Literal["r", "r+", "c"]
) -> bool:
    """
    Whether it is an empty regular file. A file of /proc claims to be empty and can be read: it does
    not count. A file that cannot be opened is refused later by the mapping.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size or access not in ("r", "r+", "c"):
            return False
        with open(path, "r+b" if access == "r+" else "rb", buffering=0) as file:
            return not file.read(1)
    except OSError:
        return False


def _windows(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    window_nbytes: int,
    access: Literal["r", "r+", "c"],
    start: int,
    stop: int,
    repeated: int,
    advice: _Advice,
) -> Iterator[Mapping]:
    while True:
        length = min(window_nbytes, stop - start)
        with Mapping.open(path, access, offset=start, nbytes=length) as window:
            window.advise(advice)
            yield window
        if start + length == stop:
            return
        start += length - repeated


def _windows_of_records(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    window_nbytes: int,
    access: Literal["r", "r+", "c"],
    start: int,
    stop: int,
    end_mark: bytes,
    advice: _Advice,
) -> Iterator[Mapping]:
    while start < stop:
        length = _whole_records(path, window_nbytes, start, stop, end_mark)
        with Mapping.open(path, access, offset=start, nbytes=length) as window:
            window.advise(advice)
            yield window
        start += length


def _whole_records(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    window_nbytes: int,
    start: int,
    stop: int,
    end_mark: bytes,
) -> int:
    """The number of bytes from *start* to behind the window's last end mark, or the next one."""
    if stop - start <= window_nbytes:
        return stop - start
    with Mapping.open(path, offset=start, nbytes=window_nbytes) as looked_at:
        found = looked_at.rfind(end_mark)
    if found >= 0:
        return found + len(end_mark)
    # one long record: search on, from the first place of a mark that crosses the window's end
    begin = max(start + window_nbytes - len(end_mark) + 1, start)
    step = max(window_nbytes, PAGE_SIZE)
    for looked_at in _windows(
        path, step + len(end_mark), "r", begin, stop, len(end_mark) - 1, "sequential"
    ):
        found = looked_at.find(end_mark)
        if found >= 0:
            return begin + found + len(end_mark) - start
        begin += len(looked_at) - len(end_mark) + 1
    return stop - start
