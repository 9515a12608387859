# SPDX-License-Identifier: MIT
"""
Ring: every record to exactly one consumer, in order per producer. The verbs are in the extension.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import Consumer, Producer, RingBase
from memlane.errors import LayoutError
from memlane.region import Region, Wait
from memlane.shared_object import Entry, SharedObject

_PRODUCERS = 16
_RECORDS_MAX = 1 << 24
_OBJECT_NAME = "ring"


@_core.clear_errors
class Ring(RingBase, SharedObject):
    """
    A ring of records between processes: bytes in, the same bytes out, in the order of each
    producer.

    `Ring(...)` makes one without a name, to be passed to child processes; `create`, `open` and
    `open_or_create` use a name; `region.ring(...)` puts it beside other objects. Each producer has
    a lane of its own, so that a slow, stopped or dead one delays nobody else. `put` and `get` here
    use this process's default handle of each role; `producer()` and `consumer()` make handles that
    can be closed one by one.

    Args:
        capacity: Bytes of records for each producer, in bytes or as text like "8 MiB"; rounded up
            to pages.
        producers: How many there can be at a time, 1 to 1,000.
        consumers: "one": one process at a time gets; another one takes over when it has left or
            died. "many": any number of processes compete; each record goes to one of them, and
            what one had in hand when it died to another.
        records: How many records a producer's lane holds at most, 1 to 2**24; capacity / 64 unless
            asked. Never more than capacity / 8: so much room takes each, an empty one, too.
        wait: "adaptive" spins as long as that pays, then sleeps; "spin" never sleeps; "sleep" never
            spins.
        require_peer: As with each call of this handle, of those made from it and of its copies: no
            put or get waits for consumers or producers that are gone (PeerGoneError).
        anonymous: Use MAP_ANONYMOUS memory, which travels by fork only, in place of a memfd.
        label: What messages, repr and /proc call it, 1 to 100 bytes of printable text.

    Raises:
        OSError: no room (ENOSPC).
        TypeError, ValueError: an argument is out of range.
    """

    _kind = _core.KIND_RING
    _word = _OBJECT_NAME
    _needs = "a capacity"

    def __init__(
        self,
        capacity: int | str = "1 MiB",
        *,
        producers: int = _PRODUCERS,
        consumers: Literal["one", "many"] = "one",
        records: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
        anonymous: bool = False,
        label: str | None = None,
    ) -> None:
        if isinstance(capacity, os.PathLike) or (
            isinstance(capacity, str) and capacity.strip()[:1] not in ("", *"0123456789.+-")
        ):
            raise TypeError(
                f"Ring() makes a ring without a name, and takes its capacity, got {capacity!r}; "
                f"for a name use Ring.create({capacity!r}, ...) or Ring.open({capacity!r})"
            )
        geometry = _geometry(capacity, producers, consumers, records)
        _check_wait(wait)
        with _says_why_so_large(geometry):
            region = Region._create(
                None,
                _core.ring_shape(*geometry[:3])[0],
                0o600,
                anonymous,
                _filled(geometry),
                label,
                self._word,
            )
        self._wait, self._require_peer = wait, bool(require_peer)
        self._handles = weakref.WeakSet()
        try:
            self._lead_to(
                region._check(),
                self._only_entry(region),
                wait=wait,
                require_peer=self._require_peer,
            )
            self._settle(region, _OBJECT_NAME)
        except BaseException:
            region.close()
            raise
        self._own()

    _wait: str
    _require_peer: bool
    _handles: weakref.WeakSet[Producer | Consumer]

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str],
        *,
        capacity: int | str = "1 MiB",
        producers: int = _PRODUCERS,
        consumers: Literal["one", "many"] = "one",
        records: int | None = None,
        permissions: int = 0o600,
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Make a ring in a new region of its own. A str names POSIX shared memory, an os.PathLike a
        file. The name stays until `unlink`, or a `sweep` when nobody has it open; close does not
        remove it, nor does the end of a `with`.

        Raises:
            RegionExistsError: the name is taken.
            As the class otherwise.
        """
        geometry = _geometry(capacity, producers, consumers, records)
        _check_wait(wait)
        with _says_why_so_large(geometry):
            region = Region._create(
                name, _core.ring_shape(*geometry[:3])[0], permissions, fill=_filled(geometry)
            )
        return cls._alone(
            region, lambda region: cls._of(region, cls._only_entry(region), wait, require_peer)
        )

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        owner: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Open a ring that has a region of its own, waiting up to *timeout* seconds for it to appear.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        _check_wait(wait)
        region = Region.open(name, timeout=timeout, owner=owner)
        return cls._alone(
            region, lambda region: cls._of(region, cls._only_entry(region), wait, require_peer)
        )

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        *,
        capacity: int | str = "1 MiB",
        producers: int = _PRODUCERS,
        consumers: Literal["one", "many"] = "one",
        records: int | None = None,
        permissions: int = 0o600,
        owner: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Open the ring of this name if there is one, and check its geometry; else make it.

        Raises:
            LayoutError: the ring there is has another geometry.
            As `create` and `open` otherwise.
        """
        geometry = _geometry(capacity, producers, consumers, records)
        _check_wait(wait)
        with _says_why_so_large(geometry):
            region = Region._open_or_create(
                name, _core.ring_shape(*geometry[:3])[0], permissions, owner, _filled(geometry)
            )
        return cls._alone(
            region,
            lambda region: cls._in(
                region,
                cls._only_entry(region)[0],
                capacity=capacity,
                producers=producers,
                consumers=consumers,
                records=records,
                wait=wait,
                require_peer=require_peer,
                timeout=0,
            ),
        )

    @classmethod
    def _in(
        cls,
        region: Region,
        name: str,
        *,
        capacity: int | str | None,
        producers: int | None,
        consumers: Literal["one", "many"] | None,
        records: int | None,
        wait: Wait,
        require_peer: bool,
        timeout: float | None,
    ) -> Self:
        """Open or make a ring among the objects of a region."""
        _check_wait(wait)
        timeout = _arguments.optional_timeout(timeout)  # also where nobody is waited for
        geometry = _geometry(
            1 if capacity is None else capacity,
            _PRODUCERS if producers is None else producers,
            "one" if consumers is None else consumers,
            records,
        )
        if capacity is None:
            entry = cls._expect(region, name, region._find(name))
        else:
            entry, added = _add(region, name, geometry, timeout)
            entry = cls._expect(region, name, entry)
            if added:
                return cls._of(region, entry, wait, require_peer)
        asked = {
            "capacity": None if capacity is None else geometry[1],
            "producers": producers,
            "records": None
            if records is None
            else _records_in(entry[4][1], _arguments.positive(records, "records", _RECORDS_MAX)),
            "consumers": consumers,
        }
        numbers = dict(zip(("producers", "capacity", "records"), entry[4], strict=False))
        kinds = {number: kind for kind, number in _core.CONSUMERS.items()}
        found = {**numbers, "consumers": kinds.get(entry[4][3])}
        for what, value in asked.items():
            if value is not None and value != found[what]:
                raise LayoutError(
                    f"{region._member.called(cls._word, name)} has {what}={found[what]}, "
                    f"expected {value}; ask for what it has, or make it under another name",
                    name=name,
                    expected=value,
                    found=found[what],
                )
        return cls._of(region, entry, wait, require_peer)

    @classmethod
    def _of(
        cls, region: Region, entry: Entry, wait: str = "adaptive", require_peer: bool = False
    ) -> Self:
        ring = cls.__new__(cls)
        ring._wait, ring._require_peer = wait, bool(require_peer)
        ring._handles = weakref.WeakSet()
        ring._lead_to(region._check(), entry, wait=wait, require_peer=ring._require_peer)
        ring._settle(region, entry[0])
        return ring

    def producer(self) -> Producer:
        """
        Make a handle of one producer, with a lane of its own that it takes at first use.

        Raises:
            ClosedError: this process closed the ring.
        """
        made = self._make_producer(Producer)
        made.ring = self
        self._handles.add(made)
        return made

    def consumer(self) -> Consumer:
        """
        Make a handle of the consumer; all such handles of this process share the role, which is
        taken at first use.

        Raises:
            ClosedError: this process closed the ring.
        """
        made = self._make_consumer(Consumer)
        made.ring = self
        self._handles.add(made)
        return made

    def _leave(self) -> None:
        """Close this handle and those made from it: none may outlive the memory."""
        for handle in list(self._handles):
            handle.close()
        RingBase._leave(self)

    def _travels_with(self) -> dict[str, Any]:
        return {"wait": self._wait, "require_peer": self._require_peer}

    def _arrive_with(self, kept: dict[str, Any]) -> None:
        self._wait, self._require_peer = kept["wait"], kept["require_peer"]
        self._set_wait(self._wait, self._require_peer)


def _add(
    region: Region, name: str, geometry: tuple[int, ...], timeout: float | None
) -> tuple[Entry, bool]:
    nbytes, control_nbytes, _ = _core.ring_shape(*geometry[:3])
    return region._find_or_add(name, _core.KIND_RING, geometry, nbytes, control_nbytes, "", timeout)


@contextlib.contextmanager
def _says_why_so_large(geometry: tuple[int, ...]) -> Iterator[None]:
    """Have an error for too much at once name what makes it so much: a lane for each producer."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EFBIG):
            error.strerror = (
                f"{error.strerror}; the ring has {geometry[0]} lanes of {geometry[1]} bytes, one "
                "for each producer: ask for a smaller capacity, or fewer producers"
            )
            error.args = (error.errno, error.strerror)
        raise


def _filled(geometry: tuple[int, ...]) -> Callable[[Region], object]:
    """What puts the ring into a new region of its own."""
    return lambda region: _add(region, _OBJECT_NAME, geometry, None)


def _check_wait(wait: str) -> None:
    _arguments.choice(wait, "wait", ("adaptive", "spin", "sleep"))


def _geometry(
    capacity: int | str, producers: int, consumers: str, records: int | None
) -> tuple[int, int, int, int]:
    """Check what a ring is asked to be; lanes, capacity, records, consumers."""
    nbytes = _arguments.size(capacity, "capacity")
    page = 4096
    if not 1 <= nbytes <= 1 << 35:
        raise ValueError(
            "capacity must be from 1 byte to 32 GiB for each producer, got "
            f"{_arguments.shown(capacity)}"
        )
    nbytes = -(-nbytes // page) * page
    lanes = _arguments.positive(producers, "producers", 1000)
    _arguments.choice(consumers, "consumers", _core.CONSUMERS)
    count = (
        min(nbytes // 64, _RECORDS_MAX)
        if records is None
        else _arguments.positive(records, "records", _RECORDS_MAX)
    )
    return lanes, nbytes, _records_in(nbytes, count), _core.CONSUMERS[consumers]


def _records_in(nbytes: int, count: int) -> int:
    """How many of so many records there can be room for: an empty one takes 8 bytes, too."""
    return min(count, nbytes // 8)
