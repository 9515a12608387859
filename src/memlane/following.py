# SPDX-License-Identifier: MIT
"""
Following objects without joining them: the last records, then what is new, and how many were gone.

Topics are read by a subscription that has no place, rings by looks that take nothing, slots,
tables and maps by version. An object of another kind can be followed if it has a `_look` as a ring
has.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from memlane._core import Record, Subscriber
from memlane.errors import Empty, Lapped, ShutDown
from memlane.map import Map
from memlane.region import Region
from memlane.ring import Ring
from memlane.slot import Slot, SlotTable
from memlane.topic import Topic
from memlane.values import Codec

__all__ = [
    "Follower",
    "HoldFollower",
    "LookFollower",
    "MapFollower",
    "Seen",
    "SlotFollower",
    "TopicFollower",
    "as_bytes",
    "follower",
]

#: About how many bytes one look copies at most. Arbitrary: a tool stays small beside a large ring.
LOOK_NBYTES = 16 << 20
#: How many records of a topic one look takes at most. Arbitrary: then the screen is written.
LOOK_RECORDS = 10_000
#: How often a position is tried whose records are overwritten at once. Arbitrary.
_TRIES = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A record, or a value of a slot.

    Attributes:
        object: The name of the object.
        lane: The lane of a ring or topic, the number of a slot in its table, 0 for a slot.
        number: The number of the record in its lane (with order="all" of a topic in all of them),
            or the version of the value.
        payload: Its bytes.
        value: The value of a slot or map as its layout says; None for records.
        key: The key of a value of a map.
    """

    object: str
    lane: int
    number: int
    payload: bytes
    value: Any = None
    key: Any = None


class Follower(Protocol):
    """What follows one object."""

    #: Nothing will come any more.
    ended: bool

    @property
    def missed(self) -> int:
        """Records that were released, overwritten or replaced before they could be copied."""
        ...

    def last(self, most: int) -> list[Seen]:
        """The last records that are there, and begin behind them. Called once, first."""
        ...

    def new(self) -> list[Seen]:
        """What came since the call before; never waits."""
        ...


class LookFollower:
    """Rings, and what else can be looked at as they can."""

    def __init__(self, name: str, ring: Ring) -> None:
        self.missed, self.ended = 0, False
        self._name, self._ring = name, ring
        self._positions: list[int] | None = None

    def last(self, most: int) -> list[Seen]:
        by_lane: dict[int, list[Seen]] = {}
        for one in self._look(most):
            by_lane.setdefault(one.lane, []).append(one)
        return [one for lane in sorted(by_lane) for one in by_lane[lane][-most or sys.maxsize :]]

    def new(self) -> list[Seen]:
        is_last = self._ring.is_shut_down
        found = self._look(0)
        self.ended = is_last and not found and len(self._ring) == 0
        return found

    def _look(self, most: int) -> list[Seen]:
        found, self._positions, missed = self._ring._look(self._positions, most, LOOK_NBYTES)
        self.missed += missed
        return [Seen(self._name, lane, number, payload) for lane, number, payload in found]


class TopicFollower:
    """Topics, by a subscription of a read-only process: it has no place, so nobody knows of it."""

    def __init__(self, name: str, topic: Topic) -> None:
        self.ended = False
        self._name, self._topic = name, topic
        self._overwritten = 0

    @property
    def missed(self) -> int:
        return self._subscriber.lost + self._overwritten

    def last(self, most: int) -> list[Seen]:
        for left in range(_TRIES, -1, -1):
            try:
                start = self._position(most) if left else "now"
                self._subscriber = self._topic.subscribe(start, when_full="overwrite")
                break
            except (Lapped, ValueError):  # overwritten, or a lane was spoilt, in this moment
                continue
        found = self.new() if most else []
        if self._topic.order == "all":
            return sorted(found, key=lambda one: one.number)[-most or sys.maxsize :]
        return sorted(found, key=lambda one: (one.lane, one.number))

    def _position(self, most: int) -> str | int:
        lanes = {lane["lane"]: lane for lane in self._topic.stats()["lanes"]}
        numbers = [0] * (max(lanes, default=0) + 1)
        for index, lane in lanes.items():
            numbers[index] = max(lane["published"] - min(most, lane["kept"]), 0)
        return self._topic._position_of(numbers)

    def new(self) -> list[Seen]:
        found: list[Seen] = []
        nbytes = 0
        try:
            while len(found) < LOOK_RECORDS and nbytes < LOOK_NBYTES:
                record = self._subscriber.borrow(timeout=0)
                payload = bytes(record)
                if record.overwritten:
                    self._overwritten += 1
                else:
                    nbytes += len(payload)
                    found.append(Seen(self._name, record.publisher, record.sequence, payload))
                record.release()
        except Empty:
            pass
        except ShutDown:
            self.ended = not found
        return found


class SlotFollower:
    """Slots and tables: each value by its version."""

    def __init__(self, name: str, slots: Slot[Any] | SlotTable[Any]) -> None:
        self.missed, self.ended = 0, False
        self._name = name
        self._slots = list(slots) if isinstance(slots, SlotTable) else [slots]
        self._versions = [0] * len(self._slots)
        self._buffers = [bytearray(slot.nbytes) for slot in self._slots[:1]]

    def last(self, most: int) -> list[Seen]:
        found = self.new()
        self.missed = 0
        return found if most else []

    def new(self) -> list[Seen]:
        found = []
        for index, slot in enumerate(self._slots):
            before = self._versions[index]
            if slot.version == before:
                continue
            (buffer,) = self._buffers
            with contextlib.suppress(Empty, TimeoutError):  # the next look tries again
                value, version = slot.read_versioned(timeout=0.1)
                if slot.read_into(buffer, timeout=0.1) != version:
                    value, version = slot.read_versioned(timeout=0.1)
                    if slot.read_into(buffer, timeout=0.1) != version:
                        continue  # published all the time: one of the next looks meets it at rest
                self.missed += max(version - before - 1, 0)
                self._versions[index] = version
                found.append(Seen(self._name, index, version, bytes(buffer), value))
        return found


class MapFollower:
    """Maps: the value of each key by its version. Versions skip numbers, so nothing is counted."""

    def __init__(self, name: str, made: Map[Any]) -> None:
        self.missed, self.ended = 0, False
        self._name, self._map, self._bytes = name, made, as_bytes(made)
        self._versions: dict[Any, int] = {}

    def last(self, most: int) -> list[Seen]:
        found = self.new()
        return found[-most:] if most else []

    def new(self) -> list[Seen]:
        found, versions = [], {}
        for key in self._map:
            before = self._versions.get(key, 0)
            try:
                if self._map.version(key) != before:
                    value, before = self._map.read_versioned(key)
                    payload, version = self._bytes.read_versioned(key)
                    if version == before:  # else the next look meets it at rest
                        found.append(Seen(self._name, 0, version, payload, value, key))
                    else:
                        before = 0
            except KeyError:  # removed in this moment
                continue
            versions[key] = before
        self._versions = versions
        return found


class HoldFollower:
    """One that has joined: of a ring it takes the records, and a topic waits for it."""

    def __init__(self, name: str, made: Ring | Topic) -> None:
        self.missed, self.ended = 0, False
        self._name, self._made = name, made

    def last(self, most: int) -> list[Seen]:
        made = self._made
        self._taker: Ring | Subscriber
        if isinstance(made, Ring):  # what waits in it is taken, however many there are
            self._taker = made
        else:
            self._taker = made.subscribe("oldest" if most else "now", when_full="wait")
        return self.new()

    def new(self) -> list[Seen]:
        found: list[Seen] = []
        nbytes = 0
        try:
            while len(found) < LOOK_RECORDS and nbytes < LOOK_NBYTES:
                with self._taker.borrow(timeout=0) as record:
                    payload = bytes(record)
                    lane = record.producer if isinstance(record, Record) else record.publisher
                    found.append(Seen(self._name, lane, record.sequence, payload))
                nbytes += len(payload)
        except Empty:
            pass
        except ShutDown:
            self.ended = not found
        return found


ValuesT = TypeVar("ValuesT", Slot[Any], SlotTable[Any], Map[Any])


def as_bytes(made: ValuesT) -> ValuesT:
    """
    Another handle of a slot, table or map, whose values are their bytes, whatever its layout says.

    Raises:
        ClosedError: this process closed the region.
    """
    if isinstance(made, Map):
        nbytes = made.value_nbytes
    else:
        nbytes = made[0].nbytes if isinstance(made, SlotTable) else made.nbytes
    entry = made.region._find(made._object_name)
    assert entry is not None
    return type(made)._from_entry(made.region, entry, codec=Codec("bytes", nbytes))


def follower(region: Region, name: str, *, hold: bool = False) -> Follower | None:
    """
    What follows the object *name* of a region that was opened only to look, as `Target.open` of
    `memlane.inspection` does; None: no records and no values go through one of its kind.

    Args:
        hold: Join instead, in a region that was opened to take part: take the records of a ring as
            its consumer, and have the publishers of a topic wait. Nothing is missed then.

    Raises:
        ObjectNotFoundError: there is no object of that name.
        LayoutError, CorruptedError: it cannot be opened.
        ClosedError: this process closed the region.
    """
    made = region[name]
    if hold and isinstance(made, Ring | Topic):
        return HoldFollower(name, made)
    if isinstance(made, Topic):
        return TopicFollower(name, made)
    if isinstance(made, Slot | SlotTable):
        return SlotFollower(name, made)
    if isinstance(made, Map):
        return MapFollower(name, made)
    if hasattr(made, "_look"):
        return LookFollower(name, made)  # type: ignore[arg-type]
    return None
