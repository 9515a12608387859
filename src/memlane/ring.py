# SPDX-License-Identifier: MIT
"""
Ring: every record to exactly one consumer, in order per producer. The verbs are in the extension.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._arguments import Wait
from memlane._arguments import check_wait as _check_wait
from memlane._core import Consumer, Producer, Receiving, Record, RingBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import SharedObject

_PRODUCERS = 16
_PAGE_NBYTES = 4096  # of the layout, whatever the machine's pages


#: What queues, pipes and other rings call what a ring does; and what it does not do.
_INSTEAD = {
    "qsize size length count": "use len(ring)",
    "empty is_empty isEmpty": "use len(ring) == 0, or get_nowait(), which raises Empty",
    "full is_full isFull": "use put_nowait(record), which raises Full",
    "maxsize maxlen max_size": (
        "use max_records, the most that each producer's lane holds, or capacity, in bytes"
    ),
    "max_size_bytes": "use capacity, which each producer's lane has",
    "data_size free_space available": "use stats()",
    "append appendleft push enqueue offer send send_bytes write publish add insert put_bytes": (
        "use put(record)"
    ),
    "extend extendleft put_all writelines": "use put_many(records)",
    "put_many_nowait": "use put_many(records, timeout=0)",
    "pop popleft dequeue recv receive recv_bytes read take next wait": "use get()",
    "poll": "use len(ring), or get(timeout=1)",
    "recv_bytes_into readinto": "use get_into(buffer)",
    "get_all drain": "use get_many(most)",
    "get_many_nowait": "use get_many(most, timeout=0)",
    "clear": "use get_many(most, timeout=0) until it raises Empty",
    "peek front head": (
        "a record that is looked at is taken: use get(), or borrow() for its bytes in place"
    ),
    "loan alloc allocate claim": "use reserve(nbytes)",
    "commit abort": "what reserve(nbytes) returns has it",
    "release": "what borrow() returns has it",
    "send_pyobj put_obj put_pyobj dumps": "use put(pickle.dumps(value))",
    "recv_pyobj get_obj get_pyobj loads": "use pickle.loads(ring.get())",
    "task_done join unfinished_tasks all_tasks_done": (
        "finished work is not counted: let the workers add to a Counter, or borrow() a record "
        'while they work on it: with consumers="many" the record of one that dies goes to another'
    ),
    "join_thread cancel_join_thread": (
        "a record is in shared memory when put() returns, so there is no thread to wait for"
    ),
    "queue not_empty not_full buffer buf message_buffer": (
        "its records lie in shared memory: use stats() for figures, and reserve(nbytes) and "
        "borrow() for bytes in place"
    ),
    "reallocate_msg_buffer": "get_many(most) needs no buffer that is made before",
    "is_shutdown": "use is_shut_down",
    "rotate reverse index": "records stay in the order of their puts",
}
_OPERATORS = {
    "has no items": "use get(), or get_many(most)",
    "takes no items": "use put(record)",
    "is no asynchronous context manager": "use memlane.aio.wrap(ring)",
    "cannot be looked through": "that would take the records out: use get() or records()",
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Ring(RingBase, Receiving[Record], SharedObject, kind=_core.KIND_RING):
    """
    A ring of records between processes: bytes in, the same bytes out, in the order of each
    producer.

    `Ring(...)` makes an unnamed ring, to be passed to child processes; `create`, `open` and
    `open_or_create` use a name; `region.ring(...)` puts it beside other objects. Each producer has
    a lane of its own, so a slow, stopped or dead producer does not delay the others. `put` and
    `get` use the default handle of this process for each role; `producer()` and `consumer()` make
    handles that can be closed one by one.

    Args:
        capacity: Bytes of records for each producer, in bytes or as text like "8 MiB"; rounded up
            to pages.
        producers: The maximum number of concurrent producers, 1 to 1,000.
        consumers: "one": one process at a time gets; another one takes over when it has left or
            died. "many": any number of processes compete for records. Each record goes to one of
            them; a record held by a consumer that dies is redelivered.
        records: The maximum number of records in a producer's lane, 1 to 2**24; capacity / 64 by
            default. Never more than capacity / 8, because even an empty record takes 8 bytes.
        wait: "adaptive" spins as long as that pays, then sleeps; "spin" never sleeps; "sleep" never
            spins.
        require_peer: For all calls of this handle, of handles made from it and of its copies: no
            put or get waits for consumers or producers that are gone (PeerGoneError).
        anonymous: Use MAP_ANONYMOUS memory, which is shared by fork only, instead of a memfd.
        label: Its name in messages, repr and /proc, 1 to 100 bytes of printable text.

    Raises:
        OSError: there is no room (ENOSPC).
        TypeError, ValueError: an argument is out of range.
    """

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
        geometry = RingGeometry.checked(capacity, producers, consumers, records)
        _check_wait(wait)
        with geometry.said_if_too_large():
            self._create_here(
                None,
                geometry.wanted(),
                anonymous=anonymous,
                label=label,
                wait=wait,
                require_peer=require_peer,
            )

    _needs = "a capacity"
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
        Create a ring in a new region of its own. A str names POSIX shared memory, an os.PathLike a
        file. The name stays until `unlink`, or until a `sweep` when no process has it open; neither
        close nor the end of a `with` removes it.

        Raises:
            RegionExistsError: the name is taken.
            Otherwise as the class.
        """
        geometry = RingGeometry.checked(capacity, producers, consumers, records)
        _check_wait(wait)
        with geometry.said_if_too_large():
            return cls._create(
                name,
                geometry.wanted(),
                permissions=permissions,
                wait=wait,
                require_peer=require_peer,
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
        return cls._open(
            name,
            {},
            timeout=timeout,
            readonly=False,
            owner=owner,
            wait=wait,
            require_peer=require_peer,
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
        Open the ring of this name and check its geometry, or create it if there is none.

        Raises:
            LayoutError: the existing ring has another geometry.
            Otherwise as `create` and `open`.
        """
        geometry = RingGeometry.checked(capacity, producers, consumers, records)
        _check_wait(wait)
        with geometry.said_if_too_large():
            return cls._open_or_create(
                name,
                geometry.wanted(),
                _asked(geometry.capacity, producers, consumers, records),
                permissions=permissions,
                owner=owner,
                wait=wait,
                require_peer=require_peer,
            )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
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
        """Open a ring among the objects of a region; with a capacity create it if there is none."""
        _check_wait(wait)
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        geometry = RingGeometry.checked(
            1 if capacity is None else capacity,
            _PRODUCERS if producers is None else producers,
            "one" if consumers is None else consumers,
            records,
        )
        nbytes = None if capacity is None else geometry.capacity
        return cls._open_or_create_in(
            region,
            name,
            None if capacity is None else geometry.wanted(),
            _asked(nbytes, producers, consumers, records),
            timeout=timeout,
            wait=wait,
            require_peer=require_peer,
        )

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        lanes, capacity, records, number = entry.geometry[:4]
        consumers = next((kind for kind, n in _core.CONSUMERS.items() if n == number), None)
        return {
            "capacity": capacity,
            "producers": lanes,
            "records": records,
            "consumers": consumers,
        }

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        records = asked.get("records")
        if isinstance(records, int):
            asked = {**asked, "records": _records_in(entry.geometry[1], records)}
        super()._verify(region, entry, asked)

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        wait: str = "adaptive",
        require_peer: bool = False,
        **_options: Any,
    ) -> None:
        self._wait, self._require_peer = wait, bool(require_peer)
        self._handles = weakref.WeakSet()
        self._bind(member, entry, wait=wait, require_peer=self._require_peer)

    def producer(self) -> Producer:
        """
        Make a handle of one producer. It takes a lane of its own at first use.

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

    def _detach(self) -> None:
        """Close this handle and the handles made from it: none may outlive the memory."""
        for handle in list(self._handles):
            handle.close()
        RingBase._detach(self)

    def _options(self) -> dict[str, Any]:
        return {"wait": self._wait, "require_peer": self._require_peer}


@dataclass(frozen=True, slots=True)
class RingGeometry:
    """
    The requested geometry of a ring.

    Attributes:
        lanes: The number of lanes, one for each concurrent producer.
        capacity: Bytes of records of each lane, whole pages of 4,096.
        records: The maximum number of records of each lane.
        consumers: A number of `_core.CONSUMERS`.
    """

    lanes: int
    capacity: int
    records: int
    consumers: int

    @classmethod
    def checked(
        cls, capacity: int | str, producers: int, consumers: str, records: int | None
    ) -> Self:
        """
        Raises:
            TypeError, ValueError: no ring can have this geometry.
        """
        nbytes = _arguments.size(capacity, "capacity")
        if not 1 <= nbytes <= _core.CAPACITY_MAX:
            raise ValueError(
                "capacity must be from 1 byte to 32 GiB for each producer, got "
                f"{_arguments.shown(capacity)}"
            )
        nbytes = -(-nbytes // _PAGE_NBYTES) * _PAGE_NBYTES
        lanes = _arguments.positive(producers, "producers", _core.LANES_MAX)
        _arguments.choice(consumers, "consumers", _core.CONSUMERS)
        most = _core.DESCRIPTORS_MAX
        count = (
            min(nbytes // 64, most)
            if records is None
            else _arguments.positive(records, "records", most)
        )
        return cls(lanes, nbytes, _records_in(nbytes, count), _core.CONSUMERS[consumers])

    def wanted(self) -> Wanted:
        numbers = (self.lanes, self.capacity, self.records, self.consumers)
        nbytes, control_nbytes, doorbells = _core.ring_shape(*numbers[:3])
        each = _arguments.size_text(self.capacity)
        several = self.lanes > 1
        return Wanted(
            _core.KIND_RING,
            numbers,
            nbytes,
            control_nbytes,
            parts=f": {self.lanes} lanes of {each}" if several else f": a lane of {each}",
            or_less=f"{'fewer producers=, ' if several else ''}a smaller capacity= or ",
            doorbells=doorbells,
        )

    @contextlib.contextmanager
    def said_if_too_large(self) -> Iterator[None]:
        """Add the lanes, the reason for the size, to an error for too much memory."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.EFBIG):
                error.strerror = (
                    f"{error.strerror}; the ring has {self.lanes} lanes of {self.capacity} bytes, "
                    "one for each producer: ask for a smaller capacity, or fewer producers"
                )
                error.args = (error.errno, error.strerror)
            raise


def _asked(
    capacity: int | None, producers: int | None, consumers: str | None, records: int | None
) -> dict[str, object]:
    if records is not None:
        records = _arguments.positive(records, "records", _core.DESCRIPTORS_MAX)
    return {
        "capacity": capacity,
        "producers": producers,
        "records": records,
        "consumers": consumers,
    }


def _records_in(nbytes: int, count: int) -> int:
    """The number of records, limited to those that fit: even an empty record takes 8 bytes."""
    return min(count, nbytes // 8)
