# SPDX-License-Identifier: MIT
"""
The messages of two bridges, as bytes: docs/bridge.md has every byte.

A message is a head and a body. The head is a structure of fixed length, for records with their
lengths behind it; the body is payload, or the JSON of what is told once. Nothing of it is trusted:
each length is compared with what is there before it is used, and nothing is unpickled.
"""

from __future__ import annotations

import json
import re
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

__all__ = [
    "ACK",
    "CLOSE",
    "DATA",
    "NOTE",
    "OPEN",
    "OPENED",
    "PART",
    "PROBE",
    "REFUSED",
    "UNKNOWN",
    "VALUE",
    "VERSION",
    "Ack",
    "Data",
    "Head",
    "Message",
    "MessageError",
    "OpenRequest",
    "Part",
    "Probe",
    "Text",
    "Value",
    "decode",
    "pack_ack",
    "pack_data",
    "pack_part",
    "pack_probe",
    "pack_text",
    "pack_value",
    "records_of",
]

VERSION: Final = 1
_MAGIC = b"mB"

#: Kinds of messages. From the sender of records: OPEN, DATA, PART, VALUE, PROBE, CLOSE.
OPEN, OPENED, REFUSED, DATA, PART, VALUE, ACK, PROBE, NOTE, UNKNOWN, CLOSE = range(1, 12)

#: Magic, version, kind, number of the stream, epoch of the stream.
_HEAD = struct.Struct("<2sBBIQ")
#: Number, first record, how many were lost so far, lane, count; behind it a length for each.
_DATA = struct.Struct("<QQQII")
#: Number, record, how many were lost so far, lane, length of the record, offset of the piece.
_PART = struct.Struct("<QQQIQQ")
#: Number, version, age in seconds, index of the slot, 1 for a key that was removed, length of the
#: key, which the body begins with.
_VALUE = struct.Struct("<QQdIII")
#: Next number expected, next one to be committed, bytes of it that are written, records that had
#: been committed before, 1 where a number was missing, the stamp of the probe that is answered.
_ACK = struct.Struct("<QQQQId")
#: The number that will be sent next, and a stamp that comes back.
_PROBE = struct.Struct("<Qd")

#: The longest text. Arbitrary: far more than the facts of one object.
TEXT_MAX: Final = 64 << 10
#: Records of one message at most. Arbitrary: far more than a batch has.
COUNT_MAX: Final = 1 << 16
#: Bytes of one message at most. Arbitrary: records are cut into pieces long before.
BODY_MAX: Final = 64 << 20

_TEXTS = frozenset((OPEN, OPENED, REFUSED, NOTE, UNKNOWN, CLOSE))


class MessageError(ValueError):
    """What arrived is no message of this protocol; it is dropped and counted."""


@dataclass(slots=True)
class Head:
    """
    What each message begins with.

    Attributes:
        kind: OPEN, DATA, ...
        stream: The number of the carried object, chosen by its sender.
        epoch: A random number for each OPEN; what is of another one is out of date.
    """

    kind: int
    stream: int
    epoch: int


@dataclass(slots=True)
class Data(Head):
    """Whole records that follow each other in one lane."""

    number: int
    first: int
    lost: int
    lane: int
    lengths: Sequence[int]
    body: bytes


@dataclass(slots=True)
class Part(Head):
    """A piece of one record."""

    number: int
    first: int
    lost: int
    lane: int
    nbytes: int
    offset: int
    body: bytes


@dataclass(slots=True)
class Value(Head):
    """The value of a slot, or of a key of a map."""

    number: int
    version: int
    age: float
    index: int
    removed: bool
    key: bytes
    body: bytes


@dataclass(slots=True)
class Ack(Head):
    """How far the receiver is."""

    received: int
    committed: int
    written: int
    doubled: int
    gap: bool
    stamp: float


@dataclass(slots=True)
class Probe(Head):
    """Asks for an Ack."""

    number: int
    stamp: float


@dataclass(slots=True)
class Text(Head):
    """What is told in JSON: a dict with text keys."""

    facts: dict[str, Any]


Message: TypeAlias = Data | Part | Value | Ack | Probe | Text


# ---- encode --------------------------------------------------------------------------------------


def pack_text(kind: int, stream: int, epoch: int, facts: dict[str, Any]) -> tuple[bytes, bytes]:
    """A message of facts, as head and body."""
    return _HEAD.pack(_MAGIC, VERSION, kind, stream, epoch), json.dumps(facts).encode()


def pack_data(
    stream: int, epoch: int, number: int, first: int, lost: int, lane: int, lengths: Sequence[int]
) -> bytes:
    """The head of a message of records; its body is the records, one behind the other."""
    return (
        _HEAD.pack(_MAGIC, VERSION, DATA, stream, epoch)
        + _DATA.pack(number, first, lost, lane, len(lengths))
        + struct.pack(f"<{len(lengths)}I", *lengths)
    )


def pack_part(
    stream: int, epoch: int, number: int, first: int, lost: int, lane: int, nbytes: int, offset: int
) -> bytes:
    """The head of a message with a piece of a record."""
    return _HEAD.pack(_MAGIC, VERSION, PART, stream, epoch) + _PART.pack(
        number, first, lost, lane, nbytes, offset
    )


def pack_value(
    stream: int,
    epoch: int,
    number: int,
    version: int,
    age: float,
    index: int,
    removed: bool,
    key: bytes,
) -> bytes:
    """The head of a message with a value; its body is the key and the value."""
    return _HEAD.pack(_MAGIC, VERSION, VALUE, stream, epoch) + _VALUE.pack(
        number, version, age, index, removed, len(key)
    )


def pack_ack(
    stream: int,
    epoch: int,
    received: int,
    committed: int,
    written: int,
    doubled: int,
    gap: bool,
    stamp: float,
) -> bytes:
    """How far the receiver is."""
    return _HEAD.pack(_MAGIC, VERSION, ACK, stream, epoch) + _ACK.pack(
        received, committed, written, doubled, gap, stamp
    )


def pack_probe(stream: int, epoch: int, number: int, stamp: float) -> bytes:
    """Ask for an Ack."""
    return _HEAD.pack(_MAGIC, VERSION, PROBE, stream, epoch) + _PROBE.pack(number, stamp)


# ---- decode --------------------------------------------------------------------------------------


def decode(head: bytes, body: bytes) -> Message:
    """
    A message of what arrived.

    Raises:
        MessageError: it is none, or one of another version.
    """
    if len(head) < _HEAD.size:
        raise MessageError(f"a head has {len(head)} bytes, expected {_HEAD.size} or more")
    magic, version, kind, stream, epoch = _HEAD.unpack_from(head)
    if magic != _MAGIC:
        raise MessageError(f"a message begins with {magic!r}, expected {_MAGIC!r}")
    if version != VERSION:
        raise MessageError(
            f"the other bridge speaks version {version} of the protocol, this one {VERSION}; use "
            "one version of memlane on both sides"
        )
    if len(body) > BODY_MAX:
        raise MessageError(f"a body has {len(body)} bytes, expected at most {BODY_MAX}")
    if kind == DATA:
        return _data(head, body, stream, epoch)
    if kind in _TEXTS:
        return Text(kind, stream, epoch, _facts(body))
    if kind == PART:
        number, first, lost, lane, nbytes, offset = _fields(head, _PART)
        if not body or offset + len(body) > nbytes:
            raise MessageError(f"a piece of {len(body)} bytes at {offset} leaves its {nbytes}")
        return Part(kind, stream, epoch, number, first, lost, lane, nbytes, offset, body)
    if kind == VALUE:
        number, value, age, index, removed, nbytes = _fields(head, _VALUE)
        if nbytes > len(body):
            raise MessageError(f"a key has {nbytes} bytes, and the body {len(body)}")
        key, rest = body[:nbytes], body[nbytes:]
        return Value(kind, stream, epoch, number, value, age, index, bool(removed), key, rest)
    if kind == ACK:
        received, committed, written, doubled, gap, stamp = _fields(head, _ACK)
        return Ack(kind, stream, epoch, received, committed, written, doubled, bool(gap), stamp)
    if kind == PROBE:
        return Probe(kind, stream, epoch, *_fields(head, _PROBE))
    raise MessageError(f"there is no message of kind {kind}")


def _fields(head: bytes, layout: struct.Struct) -> tuple[Any, ...]:
    if len(head) != _HEAD.size + layout.size:
        raise MessageError(f"a head has {len(head)} bytes, expected {_HEAD.size + layout.size}")
    return layout.unpack_from(head, _HEAD.size)


def _data(head: bytes, body: bytes, stream: int, epoch: int) -> Data:
    start = _HEAD.size + _DATA.size
    if len(head) < start:
        raise MessageError(f"a head has {len(head)} bytes, expected {start} or more")
    number, first, lost, lane, count = _DATA.unpack_from(head, _HEAD.size)
    if not 1 <= count <= COUNT_MAX or len(head) != start + 4 * count:
        raise MessageError(f"a head has {len(head)} bytes, and tells of {count} records")
    if first + count >= 1 << 64:
        raise MessageError(f"a record has number {first}, which no lane reaches")
    lengths = struct.unpack_from(f"<{count}I", head, start)
    if sum(lengths) != len(body):
        raise MessageError(f"records have {sum(lengths)} bytes, and the body {len(body)}")
    return Data(DATA, stream, epoch, number, first, lost, lane, lengths, body)


def _facts(body: bytes) -> dict[str, Any]:
    if len(body) > TEXT_MAX:
        raise MessageError(f"a text has {len(body)} bytes, expected at most {TEXT_MAX}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as wrong:
        raise MessageError(f"a text is no JSON: {type(wrong).__name__}") from None
    if not isinstance(found, dict):
        raise MessageError(f"a text is a JSON {type(found).__name__}, expected an object")
    return found


def records_of(lengths: Sequence[int], body: bytes, start: int = 0) -> list[bytes | memoryview]:
    """The records of a body from number *start* on: small ones as bytes, large ones as views."""
    size = lengths[0]
    count = len(lengths)
    if size <= _SMALL_NBYTES and lengths.count(size) == count:
        if size == 0:
            return [b""] * (count - start)
        many = _many(size)
        whole = (count - start) // _MANY
        alike: list[bytes | memoryview] = []
        for some in many.iter_unpack(memoryview(body)[start * size :][: whole * many.size]):
            alike += some
        rest = (start + whole * _MANY) * size
        return alike + [body[at : at + size] for at in range(rest, count * size, size)]
    found: list[bytes | memoryview] = []
    view = memoryview(body)
    at = sum(lengths[:start])
    for nbytes in array("I", lengths[start:]):
        end = at + nbytes
        found.append(body[at:end] if nbytes <= _SMALL_NBYTES else view[at:end])
        at = end
    return found


#: Records of one length that are cut out in one step. Arbitrary.
_MANY = 64


@lru_cache(maxsize=64)
def _many(size: int) -> struct.Struct:
    return struct.Struct(f"{size}s" * _MANY)


#: Up to so many bytes a copy costs less than a view.
_SMALL_NBYTES = 512


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """
    What an OPEN asks for.

    Attributes:
        kind, name, facts: The object, as the sender calls it, and its geometry.
        source: The key of the object at the sender.
        origin: The sender, as long as it lives.
        path: The keys of the objects that the records came from.
        first: The number of the first record that it will send.
    """

    kind: str
    name: str
    facts: dict[str, Any]
    source: bytes
    origin: str
    path: tuple[str, ...]
    first: int

    @classmethod
    def checked(cls, told: dict[str, Any]) -> OpenRequest:
        """
        Raises:
            ValueError: a part is missing, or is not what it should be.
        """
        kind, name, facts = told.get("kind"), told.get("name"), told.get("facts")
        source, origin, path = told.get("source"), told.get("origin"), told.get("path")
        first = told.get("first")
        if not (
            isinstance(kind, str)
            and isinstance(name, str)
            and isinstance(facts, dict)
            and isinstance(source, str)
            and isinstance(origin, str)
            and isinstance(path, list)
            and len(path) <= 64
            and all(isinstance(key, str) and len(key) <= 64 for key in path)
            and isinstance(first, int)
            and 0 <= first < 1 << 63
            and re.fullmatch(r"[0-9a-f]{32}", source)
            and len(origin) <= 64
        ):
            raise ValueError("the request is not understood; use one version on both sides")
        return cls(kind, name, facts, bytes.fromhex(source), origin, tuple(path), first)
