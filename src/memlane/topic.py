# SPDX-License-Identifier: MIT
"""
Topic: every record to every subscriber, in the order of each publisher. The verbs are in the
extension.
"""

from __future__ import annotations

import contextlib
import errno
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._arguments import Wait
from memlane._arguments import check_wait as _check_wait
from memlane._core import Publisher, Subscriber, TopicBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import SharedObject

_PUBLISHERS = 16
_SUBSCRIBERS = 64
_PAGE_NBYTES = 4096  # of the layout, whatever the machine's pages
_STARTS = ("now", "oldest", "last")

WhenFull = Literal["overwrite", "wait"]
Order = Literal["publisher", "all"]
#: "now", "oldest", "last", or the position of a subscription.
Start: TypeAlias = str | int


#: What buses, brokers and other topics call what a topic does; and what it does not do.
_INSTEAD = {
    "send send_bytes put write emit push offer broadcast notify fire": "use publish(record)",
    "put_nowait send_nowait": "use publish_nowait(record)",
    "put_many send_many publish_batch extend": "use publish_many(records)",
    "loan alloc allocate claim": "use reserve(nbytes)",
    "get recv receive read take poll next consume": "use subscribe(), whose subscriber has get()",
    "get_nowait get_many get_into borrow borrow_many records": (
        "use subscribe(), whose subscriber has it"
    ),
    "listen on register attach_subscriber consumer reader": "use subscribe()",
    "unsubscribe": "close what subscribe() returned",
    "producer writer": "use publisher()",
    "tail latest last head": "use peek(n), or subscribe(start='last')",
    "history replay": "use subscribe(start='oldest'), or a position",
    "size length count qsize": "use stats()",
    "subscriptions slow_subscribers": "use stats()['subscriptions']",
    "is_shutdown": "use is_shut_down",
    "fileno": "use that of what subscribe() or publisher() returns",
}
_OPERATORS = {
    "has no length": "use subscriber.lag, or stats()",
    "cannot be iterated over": "iterate over what subscribe() returns",
    "is no asynchronous context manager": "use memlane.aio.wrap(subscriber)",
    "has no items": "use peek(n)",
    "takes no items": "use publish(record)",
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Topic(TopicBase, SharedObject, kind=_core.KIND_TOPIC):
    """
    Records from some processes to others, each to all that have subscribed, in the order of each
    publisher.

    `Topic(...)` makes an unnamed topic, to be passed to child processes; `create`, `open` and
    `open_or_create` use a name; `region.topic(...)` puts it beside other objects. Each publisher
    has a lane of its own. `publish` uses the default publisher of this process; `publisher()`
    makes handles with lanes of their own, and `subscribe()` a subscription.

    Args:
        capacity: Bytes of records for each publisher, in bytes or as text like "4 MiB"; rounded up
            to pages.
        publishers: The maximum number of concurrent publishers, 1 to 1,000.
        subscribers: The maximum number of concurrent subscriptions, 1 to 512; those of read-only
            processes have no limit.
        when_full: What a subscription does that does not choose. "overwrite": publishers never
            wait for it, and it is told exactly how many records it lost. "wait": publishers wait
            for it once it is a whole lane behind.
        order: "publisher": records of one publisher come in the order of their publishes. "all":
            those of all publishers do, as far as one publish had ended before another one began.
        records: The maximum number of records in a publisher's lane, 1 to 2**24 - 1; capacity / 64
            by default. Never more than capacity / 8.
        wait: "adaptive" spins as long as that pays, then sleeps; "spin" never sleeps; "sleep" never
            spins.
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
        publishers: int = _PUBLISHERS,
        subscribers: int = _SUBSCRIBERS,
        when_full: WhenFull = "overwrite",
        order: Order = "publisher",
        records: int | None = None,
        wait: Wait = "adaptive",
        anonymous: bool = False,
        label: str | None = None,
    ) -> None:
        if isinstance(capacity, os.PathLike) or (
            isinstance(capacity, str) and capacity.strip()[:1] not in ("", *"0123456789.+-")
        ):
            raise TypeError(
                f"Topic() makes a topic without a name, and takes its capacity, got {capacity!r}; "
                f"for a name use Topic.create({capacity!r}, ...) or Topic.open({capacity!r})"
            )
        geometry = TopicGeometry.checked(
            capacity, publishers, subscribers, when_full, order, records
        )
        _check_wait(wait)
        with geometry.said_if_too_large():
            self._create_here(None, geometry.wanted(), anonymous=anonymous, label=label, wait=wait)

    _needs = "a capacity"
    _wait: str
    _handles: weakref.WeakSet[Publisher | Subscriber]

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str],
        *,
        capacity: int | str = "1 MiB",
        publishers: int = _PUBLISHERS,
        subscribers: int = _SUBSCRIBERS,
        when_full: WhenFull = "overwrite",
        order: Order = "publisher",
        records: int | None = None,
        permissions: int = 0o600,
        wait: Wait = "adaptive",
    ) -> Self:
        """
        Create a topic in a new region of its own. A str names POSIX shared memory, an os.PathLike a
        file. The name stays until `unlink`, or until a `sweep` when no process has it open; neither
        close nor the end of a `with` removes it.

        Raises:
            RegionExistsError: the name is taken.
            Otherwise as the class.
        """
        geometry = TopicGeometry.checked(
            capacity, publishers, subscribers, when_full, order, records
        )
        _check_wait(wait)
        with geometry.said_if_too_large():
            return cls._create(name, geometry.wanted(), permissions=permissions, wait=wait)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
        wait: Wait = "adaptive",
    ) -> Self:
        """
        Open a topic that has a region of its own, waiting up to *timeout* seconds for it to appear.
        With *readonly* it can be peeked at, and subscribed to with when_full="overwrite".

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        _check_wait(wait)
        return cls._open(name, {}, timeout=timeout, readonly=readonly, owner=owner, wait=wait)

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        *,
        capacity: int | str = "1 MiB",
        publishers: int = _PUBLISHERS,
        subscribers: int = _SUBSCRIBERS,
        when_full: WhenFull = "overwrite",
        order: Order = "publisher",
        records: int | None = None,
        permissions: int = 0o600,
        owner: int | None = None,
        wait: Wait = "adaptive",
    ) -> Self:
        """
        Open the topic of this name and check its geometry, or create it if there is none.

        Raises:
            LayoutError: the existing topic has another geometry.
            Otherwise as `create` and `open`.
        """
        geometry = TopicGeometry.checked(
            capacity, publishers, subscribers, when_full, order, records
        )
        _check_wait(wait)
        with geometry.said_if_too_large():
            return cls._open_or_create(
                name,
                geometry.wanted(),
                _asked(geometry.capacity, publishers, subscribers, when_full, order, records),
                permissions=permissions,
                owner=owner,
                wait=wait,
            )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        *,
        capacity: int | str | None,
        publishers: int | None,
        subscribers: int | None,
        when_full: WhenFull | None,
        order: Order | None,
        records: int | None,
        wait: Wait,
        timeout: float | None,
    ) -> Self:
        """Open a topic of a region; with a capacity create it if there is none."""
        _check_wait(wait)
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        geometry = TopicGeometry.checked(
            1 if capacity is None else capacity,
            _PUBLISHERS if publishers is None else publishers,
            _SUBSCRIBERS if subscribers is None else subscribers,
            "overwrite" if when_full is None else when_full,
            "publisher" if order is None else order,
            records,
        )
        nbytes = None if capacity is None else geometry.capacity
        return cls._open_or_create_in(
            region,
            name,
            None if capacity is None else geometry.wanted(),
            _asked(nbytes, publishers, subscribers, when_full, order, records),
            timeout=timeout,
            wait=wait,
        )

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        lanes, capacity, records, places, order, policy = entry.geometry[:6]
        return {
            "capacity": capacity,
            "publishers": lanes,
            "subscribers": places,
            "when_full": next((word for word, n in _core.POLICIES.items() if n == policy), None),
            "order": next((word for word, n in _core.ORDERS.items() if n == order), None),
            "records": records,
        }

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        records = asked.get("records")
        if isinstance(records, int):
            asked = {**asked, "records": _records_in(entry.geometry[1], records)}
        super()._verify(region, entry, asked)

    def _attach(
        self, member: _core.Membership, entry: Entry, *, wait: str = "adaptive", **_options: Any
    ) -> None:
        self._wait = wait
        self._handles = weakref.WeakSet()
        self._bind(member, entry, wait=wait)

    def publisher(self) -> Publisher:
        """
        Make a handle of one publisher. It takes a lane of its own at first use.

        Raises:
            ClosedError: this process closed the topic.
        """
        made = self._make_publisher(Publisher)
        made.topic = self
        self._handles.add(made)
        return made

    def subscribe(
        self,
        start: Start = "now",
        *,
        when_full: WhenFull | None = None,
        evict_after: float | None = None,
        raise_on_loss: bool = False,
    ) -> Subscriber:
        """
        Subscribe: from its start on, the subscription sees every record. The next publish of any
        publisher counts already.

        Args:
            start: "now": the next record. "oldest": the oldest one that is there. "last": the last
                record of each publisher; with order="all" the last of all. Or the `position` of a
                subscription, which this one goes on from; an int is the number of a record, with
                one publisher or order="all" only.
            when_full: "overwrite" or "wait", as of the topic; by default what the topic says.
            evict_after: With "wait": publishers wait no longer than so many seconds for it without
                any progress. Then it gets Evicted. None: they wait for ever.
            raise_on_loss: Have the next call raise Lapped where records were lost, once for each
                gap. Without it `lost` counts them, and the subscription just goes on.

        Raises:
            RoleTakenError: live processes have all the places.
            Lapped: records from the position on are gone; `lost` says how many.
            PermissionError: when_full="wait" in a process that has the topic open read-only.
            TypeError, ValueError: an argument is out of range, or the position is that of another
                topic.
            ClosedError: this process closed the topic.
        """
        if when_full is not None:
            _arguments.choice(when_full, "when_full", _core.POLICIES)
        policy = self.when_full if when_full is None else when_full
        after = 0
        if evict_after is not None:
            seconds = _arguments.timeout(evict_after, "evict_after")
            if policy != "wait":
                raise ValueError(
                    f"evict_after={evict_after} needs when_full='wait', since nobody waits for a "
                    "subscription with 'overwrite'; leave it out"
                )
            after = max(1, int(seconds * 1e9))
        return self._subscribe(self._start_of(start), policy == "wait", after, bool(raise_on_loss))

    def _subscribe(
        self,
        start: str | int | tuple[int, ...],
        waited_for: bool,
        evict_after_ns: int,
        raises_on_loss: bool,
        joins: bool = True,
    ) -> Subscriber:
        made = self._make_subscriber(start, waited_for, evict_after_ns, raises_on_loss, joins)
        self._handles.add(made)
        return made

    def _start_of(self, start: Start) -> str | int | tuple[int, ...]:
        """What a subscription begins at; the numbers of a position as a tuple, one a lane."""
        if isinstance(start, str):
            if start in _STARTS:
                return start
            told, _, numbers = start.partition("-")
            if not numbers or not all(part.isdecimal() for part in numbers.split(".")):
                raise ValueError(
                    f"start must be 'now', 'oldest', 'last' or the position of a subscription, got "
                    f"{_arguments.shown(start)}{_arguments.meant(start, _STARTS)}"
                )
            if told != f"{self._identity:08x}":
                raise ValueError(
                    f"start={_arguments.shown(start)} is the position of a subscription of another "
                    "topic; use one of this topic"
                )
            found = tuple(map(int, numbers.split(".")))
            if len(found) > self.publishers or max(found) >= 1 << 63:
                raise ValueError(f"start={_arguments.shown(start)} is no position of this topic")
            return found
        if isinstance(start, bool) or not isinstance(start, int):
            raise TypeError(
                "start must be 'now', 'oldest', 'last' or the position of a subscription, got "
                f"{_arguments.shown(start)}"
            )
        if not 0 <= start < 1 << 63:
            raise ValueError(f"start must be at least 0, got {_arguments.shown(start)}")
        if self.publishers == 1:
            return (start,)
        if self.order != "all":
            raise ValueError(
                f"start={start} needs publishers=1 or order='all', since each publisher numbers "
                "its own records; use the position of a subscription"
            )
        return start

    def _position_of(self, numbers: list[int]) -> Start:
        """What a subscription tells of where it is."""
        if self.publishers == 1:
            return numbers[0] if numbers else 0
        return f"{self._identity:08x}-{'.'.join(map(str, numbers or [0]))}"

    def _detach(self) -> None:
        """Close this handle and the handles made from it: none may outlive the memory."""
        for handle in list(self._handles):
            handle.close()
        TopicBase._detach(self)

    def _options(self) -> dict[str, Any]:
        return {"wait": self._wait}


@dataclass(frozen=True, slots=True)
class TopicGeometry:
    """
    The requested geometry of a topic.

    Attributes:
        lanes: The number of lanes, one for each concurrent publisher.
        capacity: Bytes of records of each lane, whole pages of 4,096.
        records: The maximum number of records of each lane.
        places: The maximum number of concurrent subscriptions.
        order: A number of `_core.ORDERS`.
        policy: A number of `_core.POLICIES`.
    """

    lanes: int
    capacity: int
    records: int
    places: int
    order: int
    policy: int

    @classmethod
    def checked(
        cls,
        capacity: int | str,
        publishers: int,
        subscribers: int,
        when_full: str,
        order: str,
        records: int | None,
    ) -> Self:
        """
        Raises:
            TypeError, ValueError: no topic can have this geometry.
        """
        nbytes = _arguments.size(capacity, "capacity")
        if not 1 <= nbytes <= _core.CAPACITY_MAX:
            raise ValueError(
                "capacity must be from 1 byte to 32 GiB for each publisher, got "
                f"{_arguments.shown(capacity)}"
            )
        nbytes = -(-nbytes // _PAGE_NBYTES) * _PAGE_NBYTES
        lanes = _arguments.positive(publishers, "publishers", _core.LANES_MAX)
        places = _arguments.positive(subscribers, "subscribers", _core.SUBSCRIBERS_MAX)
        _arguments.choice(when_full, "when_full", _core.POLICIES)
        _arguments.choice(order, "order", _core.ORDERS)
        most = _core.DESCRIPTORS_MAX - 1
        # One less: there are more descriptors than records, a power of two of them.
        count = (
            min(nbytes // 64 - 1, most)
            if records is None
            else _arguments.positive(records, "records", most)
        )
        return cls(
            lanes,
            nbytes,
            _records_in(nbytes, count),
            places,
            _core.ORDERS[order],
            _core.POLICIES[when_full],
        )

    def wanted(self) -> Wanted:
        numbers = (
            self.lanes,
            self.capacity,
            self.records,
            self.places,
            self.order,
            self.policy,
        )
        nbytes, control_nbytes, doorbells = _core.topic_shape(*numbers)
        each = _arguments.size_text(self.capacity)
        several = self.lanes > 1
        return Wanted(
            _core.KIND_TOPIC,
            numbers,
            nbytes,
            control_nbytes,
            parts=f": {self.lanes} lanes of {each}" if several else f": a lane of {each}",
            or_less=f"{'fewer publishers=, ' if several else ''}a smaller capacity= or ",
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
                    f"{error.strerror}; the topic has {self.lanes} lanes of {self.capacity} bytes, "
                    "one for each publisher: ask for a smaller capacity, or fewer publishers"
                )
                error.args = (error.errno, error.strerror)
            raise


def _asked(
    capacity: int | None,
    publishers: int | None,
    subscribers: int | None,
    when_full: str | None,
    order: str | None,
    records: int | None,
) -> dict[str, object]:
    if records is not None:
        records = _arguments.positive(records, "records", _core.DESCRIPTORS_MAX - 1)
    return {
        "capacity": capacity,
        "publishers": publishers,
        "subscribers": subscribers,
        "when_full": when_full,
        "order": order,
        "records": records,
    }


def _records_in(nbytes: int, count: int) -> int:
    """The number of records, limited to those that fit: even an empty record takes 8 bytes."""
    return min(count, nbytes // 8)
