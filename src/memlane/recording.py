# SPDX-License-Identifier: MIT
"""
Recordings: files of records, as `memlane record` writes and `memlane replay` reads them.

    import memlane.recording

    with memlane.recording.open("monday.mlr") as recording:
        for record in recording:
            print(record.object.name, record.lane, record.number, record.payload)

docs/recording.md has every byte of a file. A recorder that is killed, or a disk that is full, cuts
the file; it is read up to its last whole frame, and says what was cut.
"""

from __future__ import annotations

import array
import errno
import io
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from memlane.errors import CorruptedError, LayoutError

__all__ = ["Missed", "Record", "RecordedObject", "Recording", "Writer", "create", "open"]

_MAGIC = b"\x89MLR\r\n\x1a\n"
VERSION = 1
#: Magic, version, length of the text behind it, its checksum.
_HEADER = struct.Struct("<8sIII")
#: Checksum, kind, length of the payload, number, object, lane, time.
_FRAME = struct.Struct("<IIQQIIQ")
_CHECK = struct.Struct("<I")

_OBJECT, _RECORD, _MISSED, _END = 1, 2, 3, 4
#: The largest text of a header: more is none of ours. Arbitrary.
_TEXT_MAX = 1 << 20
#: How much of a payload is read at once to check it. Arbitrary.
_READ_NBYTES = 1 << 20


@dataclass(frozen=True)
class RecordedObject:
    """
    An object that was recorded.

    Attributes:
        index: Its number in the file.
        region: The name of its region, as it was given to the recorder.
        name: Its name in the region.
        kind: Its kind: "ring", "topic", "slot", ...
        stats: What its `stats` said when the recording began.
    """

    index: int
    region: str
    name: str
    kind: str
    stats: Mapping[str, Any] = field(repr=False, hash=False, default_factory=dict)


@dataclass(frozen=True)
class Record:
    """
    A record, or a value of a slot.

    Attributes:
        object: What it is of.
        lane: The lane of a ring or topic, the number of a slot in its table.
        number: Its number in the lane, or the version of the value.
        time: When it was recorded, in seconds since the epoch.
        payload: Its bytes.
    """

    object: RecordedObject
    lane: int
    number: int
    time: float
    payload: bytes = field(repr=False)


@dataclass(frozen=True)
class Missed:
    """
    Records that the recorder could not copy before they were gone.

    Attributes:
        object: What they were of.
        count: How many, exactly.
        time: When that was seen, in seconds since the epoch.
    """

    object: RecordedObject
    count: int
    time: float


# ---- write ---------------------------------------------------------------------------------------


def create(path: str | os.PathLike[str]) -> Writer:
    """
    Create a file for a recording. A context manager; leaving it without an error ends the file.

    Raises:
        FileExistsError: there is such a file.
        OSError: it cannot be created.
    """
    return Writer(path)


class Writer:
    """
    Writes a recording. Made by `create`. Frames reach the file at `flush`, in the order in which
    they were added; not for several threads at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.records, self.missed = 0, 0
        self._file = io.FileIO(self.path, "xb")
        self._pending = bytearray()
        self._objects: list[RecordedObject] = []
        text = json.dumps({"created": time.time(), "salt": os.urandom(8).hex()}).encode()
        #: Of the header, which has a salt: so no frame of another file passes for one of this.
        self._seed = zlib.crc32(text)
        self._pending += _HEADER.pack(_MAGIC, VERSION, len(text), self._seed) + text
        self.flush()

    def add_object(
        self, region: str, name: str, kind: str, stats: Mapping[str, Any]
    ) -> RecordedObject:
        """Say of which object records will come, before the first one of it does."""
        made = RecordedObject(len(self._objects), region, name, kind, stats)
        self._objects.append(made)
        text = json.dumps({"region": region, "name": name, "kind": kind, "stats": stats})
        self._add(_OBJECT, made, 0, 0, text.encode())
        return made

    def add_record(self, of: RecordedObject, lane: int, number: int, payload: bytes) -> None:
        """Add a record that was just seen."""
        self._add(_RECORD, of, lane, number, payload)
        self.records += 1

    def add_missed(self, of: RecordedObject, count: int) -> None:
        """Say that so many records were gone before they could be copied."""
        self._add(_MISSED, of, 0, count, b"")
        self.missed += count

    def _add(
        self, kind: int, of: RecordedObject | None, lane: int, number: int, payload: bytes
    ) -> None:
        index = 0 if of is None else of.index
        head = _FRAME.pack(0, kind, len(payload), number, index, lane, time.time_ns())
        check = zlib.crc32(payload, zlib.crc32(head[_CHECK.size :], self._seed))
        self._pending += _CHECK.pack(check)
        self._pending += head[_CHECK.size :]
        self._pending += payload

    def flush(self) -> None:
        """
        Write what was added to the file. From then on a killed process loses none of it.

        Raises:
            OSError: it cannot be written; the file ends at the last whole frame for its readers.
        """
        while self._pending:
            written = self._file.write(self._pending)
            if not written:
                raise OSError(errno.EIO, f"nothing more can be written to {self.path!r}")
            del self._pending[:written]

    def end(self) -> None:
        """
        End the file: a reader knows then that nothing was cut. Only the first call does something.

        Raises:
            OSError: as `flush`.
        """
        if not self._file.closed:
            text = json.dumps({"records": self.records, "missed": self.missed}).encode()
            self._add(_END, None, 0, self.records, text)
            try:
                self.flush()
            finally:
                self.close()

    def close(self) -> None:
        """Close the file as it is: what was not flushed is cut. Never fails."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end()
        else:
            self.close()


# ---- read ----------------------------------------------------------------------------------------


def open(path: str | os.PathLike[str]) -> Recording:  # noqa: A001 (as gzip.open)
    """
    Open a recording and read it through once, to find its last whole frame. A context manager.

    Raises:
        LayoutError: it is no recording, or of a version that this one does not know.
        CorruptedError: its header is spoilt.
        OSError: it cannot be read.
    """
    return Recording(path)


class Recording:
    """
    A recording: an iterable of its records, as often as wanted. Made by `open`.

    Attributes:
        path: The path, as it was given.
        created: When it was begun, in seconds since the epoch.
        objects: What was recorded.
        missed: How many records of all objects the recorder missed.
        cut: What is wrong with its end, as text; None: the recorder ended it.
        cut_nbytes: How many bytes at its end belong to no whole frame.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.objects: list[RecordedObject] = []
        self.missed, self.cut_nbytes = 0, 0
        self.cut: str | None = None
        self._offsets = array.array("Q")  # of the frames of records and of missed ones
        self._records = 0
        self._file = io.FileIO(self.path, "rb")
        try:
            self._nbytes = os.fstat(self._file.fileno()).st_size
            self._scan(self._read_header())
        except BaseException:
            self._file.close()
            raise

    def _at(self, offset: int, nbytes: int) -> bytes:
        return os.pread(self._file.fileno(), nbytes, offset)

    def _read_header(self) -> int:
        """Where the first frame begins."""
        head = self._at(0, _HEADER.size)
        if len(head) < _HEADER.size or head[: len(_MAGIC)] != _MAGIC:
            raise LayoutError(
                f"{self.path!r} is no recording of memlane; memlane record writes one",
                name=self.path,
                expected=_MAGIC,
                found=head[: len(_MAGIC)],
            )
        _, version, nbytes, check = _HEADER.unpack(head)
        if version != VERSION:
            raise LayoutError(
                f"recording {self.path!r} has version {version}, expected {VERSION}; read it with "
                "the memlane that wrote it, or a newer one",
                name=self.path,
                expected=VERSION,
                found=version,
            )
        text = self._at(_HEADER.size, min(nbytes, _TEXT_MAX))
        self._seed = zlib.crc32(text)
        try:
            if len(text) != nbytes or self._seed != check:
                raise ValueError("its checksum does not fit")
            self.created = float(json.loads(text)["created"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptedError(
                f"the header of recording {self.path!r} is spoilt: {error}; nothing of it can be "
                "read",
                name=self.path,
            ) from None
        return _HEADER.size + int(nbytes)

    def _scan(self, at: int) -> None:
        """Find all whole frames, up to the end or to the first one that is not whole."""
        while True:
            wrong, kind, end = self._frame(at)
            if wrong is not None:
                self.cut, self.cut_nbytes = wrong, self._nbytes - at
                return
            if kind == _END:
                if end != self._nbytes:
                    self.cut = f"{self._nbytes - end} bytes stand behind its end"
                    self.cut_nbytes = self._nbytes - end
                return
            at = end

    def _frame(self, at: int) -> tuple[str | None, int, int]:
        """A frame: what is wrong with it, or None, its kind and where it ends."""
        behind = f"behind {self._records} records"
        head = self._at(at, _FRAME.size)
        if not head:
            return f"it was not ended: the recorder was killed {behind}, or still records", 0, at
        if len(head) < _FRAME.size:
            return f"it is cut {behind}: {len(head)} bytes of a frame are left", 0, at
        check, kind, nbytes, number, index, _, _ = _FRAME.unpack(head)
        start, end = at + _FRAME.size, at + _FRAME.size + nbytes
        if end > self._nbytes:
            left = self._nbytes - start
            return f"it is cut {behind}: {left} bytes of a payload of {nbytes} are left", 0, at
        found = zlib.crc32(head[_CHECK.size :], self._seed)
        for offset in range(start, end, _READ_NBYTES):
            found = zlib.crc32(self._at(offset, min(_READ_NBYTES, end - offset)), found)
        if found != check:
            return f"it is spoilt {behind}: the checksum of a frame does not fit", 0, at
        if kind == _OBJECT:
            try:
                told = json.loads(self._at(start, nbytes))
                names = (str(told["region"]), str(told["name"]), str(told["kind"]))
                stats = dict(told["stats"])
            except (ValueError, KeyError, TypeError):
                return f"it is spoilt {behind}: a frame that names no object", 0, at
            self.objects.append(RecordedObject(len(self.objects), *names, stats))
        elif kind in (_RECORD, _MISSED):
            if index >= len(self.objects):
                return f"it is spoilt {behind}: a frame of an object that it does not name", 0, at
            self._offsets.append(at)
            self._records += kind == _RECORD
            self.missed += number if kind == _MISSED else 0
        return None, kind, end  # a kind of a later version is passed over

    def __len__(self) -> int:
        """The number of records."""
        return self._records

    def __iter__(self) -> Iterator[Record]:
        """The records, in the order in which they were recorded."""
        return (one for one in self.frames() if isinstance(one, Record))

    def frames(self) -> Iterator[Record | Missed]:
        """
        The records, and in their places the gaps.

        Raises:
            CorruptedError: the file has changed since it was opened.
            ValueError: it was closed.
        """
        for at in self._offsets:
            head = self._at(at, _FRAME.size)
            if len(head) < _FRAME.size:
                raise self._changed()
            check, kind, nbytes, number, index, lane, when = _FRAME.unpack(head)
            payload = self._at(at + _FRAME.size, nbytes) if nbytes <= self._nbytes else b""
            if zlib.crc32(payload, zlib.crc32(head[_CHECK.size :], self._seed)) != check:
                raise self._changed()
            of = self.objects[index]
            if kind == _RECORD:
                yield Record(of, lane, number, when / 1e9, payload)
            else:
                yield Missed(of, number, when / 1e9)

    def _changed(self) -> CorruptedError:
        return CorruptedError(
            f"recording {self.path!r} was changed while it was read; open it again", name=self.path
        )

    def close(self) -> None:
        """Close the file. Never fails."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        cut = "" if self.cut is None else f", {self.cut}"
        return f"<memlane.recording.Recording {self.path!r}: {len(self)} records{cut}>"
