# SPDX-License-Identifier: MIT
"""
Slots, tables and maps: the latest value goes to the peer, and older ones are passed over.

Nothing is kept for sending it again: where a message was lost, what is there now is sent.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from memlane.bridge import messages
from memlane.bridge.hub import Hub
from memlane.bridge.incoming import Receiver
from memlane.bridge.messages import Ack, Data, OpenRequest, Part, Probe, Value
from memlane.bridge.objects import Opened
from memlane.bridge.outgoing import Anew, Stream
from memlane.errors import Empty, LayoutError, MemlaneError
from memlane.following import as_bytes
from memlane.map import Map
from memlane.slot import Slot, SlotTable

__all__ = ["ValuesIn", "ValuesOut"]

#: Values on the way at most. Arbitrary: few, so that each one is read late.
_ON_THE_WAY: Final = 32
#: Between two looks at a map or a table. Arbitrary.
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.0005, 0.02
_LOOK_S: Final = 0.1
#: A message that is not acknowledged for so long is asked for; the round trip is measured as often.
_PROBE_S, _SILENT_S, _MEASURE_S = 0.25, 5.0, 2.0
#: The index of the message behind all values of a map: keys that did not come are gone.
_ALL: Final = 1
#: Larger ones would need pieces. Arbitrary.
_VALUE_MAX: Final = 32 << 20


@dataclass(slots=True)
class _Change:
    place: Any
    index: int
    key: bytes
    version: int
    age: float
    payload: bytes
    removed: bool = False


class ValuesOut(Stream):
    """The values of a slot, table or map to one peer."""

    def __init__(self, hub: Hub, number: int, opened: Opened, there: str, peer: str | None) -> None:
        super().__init__(hub, number, opened, there, peer)
        self._next = self._committed = 0
        self._asked = 0
        self._resend = True
        self._versions: dict[Any, int] = {}
        self._heard = self._progress = self._probed = 0.0
        self.values = self.nbytes = self.passed_over = self.resent = 0

    def _begin(self) -> None:
        made: Any = self.opened.made
        nbytes = (
            made.value_nbytes
            if isinstance(made, Map)
            else (made[0].nbytes if isinstance(made, SlotTable) else made.nbytes)
        )
        if nbytes > _VALUE_MAX:
            raise LayoutError(
                f"a value of {nbytes} bytes is larger than the {_VALUE_MAX} that a bridge carries; "
                "put it into a ring",
                name=self.opened.name,
                expected=_VALUE_MAX,
                found=nbytes,
            )
        self._bytes: Any = as_bytes(made)
        self._slots: list[Any] = list(self._bytes) if isinstance(made, SlotTable) else [self._bytes]

    def _first_number(self) -> int:
        return self._next

    def _opened_with(self, facts: dict[str, Any]) -> None:
        with self._changed:
            self._committed = self._next
            self._resend = True
            self._heard = self._progress = time.monotonic()

    def acknowledged(self, node: str, ack: Ack) -> None:
        with self._changed:
            if ack.epoch != self.epoch or node != self.node or ack.committed > self._next:
                return
            now = self._heard = time.monotonic()
            if ack.stamp:
                self.rtt = max(0.0, now - ack.stamp)
            if ack.committed > self._committed:
                self._committed, self._progress = ack.committed, now
            if ack.gap or (ack.stamp and ack.received < self._asked):
                self._resend = True
                self._committed = self._next
                self.resent += 1
            self._changed.notify_all()

    def _carry(self) -> None:
        pause = _PAUSE_MIN_S
        while not self.is_ending:
            self._look()
            with self._changed:
                again, self._resend = self._resend, False
            if again:
                self._versions.clear()
            found = 0
            for change in self._changes():
                self._send(change)
                found += 1
                if self._resend or self.is_ending:
                    break
            else:
                if again and isinstance(self.opened.made, Map):
                    self._send(_Change(None, _ALL, b"", 0, math.nan, b"", True))
            pause = _PAUSE_MIN_S if found else min(2 * pause, _PAUSE_MAX_S)
            if not found:
                self._wait(pause)

    def _wait(self, pause: float) -> None:
        """Until there may be something new."""
        if isinstance(self.opened.made, Slot):
            try:
                self._bytes.wait_newer(self._versions.get(0, 0), timeout=_LOOK_S)
            except (TimeoutError, Empty):
                pass
        else:
            time.sleep(pause)

    def _changes(self) -> Iterator[_Change]:
        """What is newer than what was sent, each read when it is asked for."""
        if isinstance(self.opened.made, Map):
            yield from self._changes_of_map()
            return
        for index, slot in enumerate(self._slots):
            before = self._versions.get(index, 0)
            if slot.version == before:
                continue
            try:
                payload, version = slot.read_versioned(timeout=_LOOK_S)
            except (Empty, TimeoutError):
                continue
            age = slot.age
            self.passed_over += max(0, version - before - 1) if before else 0
            self._versions[index] = version
            yield _Change(
                index, index, b"", version, math.nan if age is None else age, bytes(payload)
            )

    def _changes_of_map(self) -> Iterator[_Change]:
        there = set()
        for key in self._bytes:
            there.add(key)
            try:
                if self._bytes.version(key) == self._versions.get(key, 0):
                    continue
                payload, version = self._bytes.read_versioned(key)
            except KeyError:  # removed in this moment
                there.discard(key)
                continue
            self._versions[key] = version
            yield _Change(key, 0, _key_bytes(key), version, math.nan, bytes(payload))
        for key in [key for key in self._versions if key not in there]:
            del self._versions[key]
            yield _Change(key, 0, _key_bytes(key), 0, math.nan, b"", True)

    def _send(self, change: _Change) -> None:
        while True:
            with self._changed:
                if self._next - self._committed < _ON_THE_WAY:
                    break
                self._changed.wait(_LOOK_S)
            self._look()
            if self.is_ending:
                return
        age = change.age + (self.rtt or 0.0) / 2
        with self._changed:
            number, epoch, node = self._next, self.epoch, self.node
            if self._next == self._committed:
                self._progress = time.monotonic()
            self._next += 1
        head = messages.pack_value(
            self.number,
            epoch,
            number,
            change.version,
            age,
            change.index,
            change.removed,
            change.key,
        )
        assert node is not None
        if not self.hub.send(node, head, change.key + change.payload):
            raise Anew
        self.values += 1
        self.nbytes += len(change.payload)

    def _look(self) -> None:
        now = time.monotonic()
        with self._changed:
            if self._anew:
                raise Anew
            waits = self._committed < self._next and now - self._progress > _PROBE_S
        if now - self._probed > (_PROBE_S if waits else _MEASURE_S):
            if waits and now - self._heard > _SILENT_S:
                raise Anew
            self._probed, self._asked = now, self._next
            assert self.node is not None
            head = messages.pack_probe(self.number, self.epoch, self._next, now)
            if not self.hub.send(self.node, head, b""):
                raise Anew

    def _finish(self) -> None:
        self._close_there()
        self.opened.close()

    def stats(self) -> dict[str, Any]:
        return {
            **super().stats(),
            "values": self.values,
            "nbytes": self.nbytes,
            "unacknowledged": self._next - self._committed,
            "passed_over": self.passed_over,
            "resent": self.resent,
        }


class ValuesIn(Receiver):
    """The values of a peer into a slot, table or map here."""

    def __init__(
        self, hub: Hub, node: str, number: int, opened: Opened, asked: OpenRequest
    ) -> None:
        super().__init__(hub, node, number, opened, asked)
        made: Any = opened.made
        self._bytes: Any = as_bytes(made)
        self._slots = list(self._bytes) if isinstance(made, SlotTable) else [self._bytes]
        self._lock = threading.Lock()
        self._expected = 0
        #: The latest value of each slot or key that could not be written yet.
        self._pending: dict[tuple[int, bytes], Value] = {}
        self._keys: set[Any] = set()
        self._latest: dict[tuple[int, bytes], tuple[int, float, float]] = {}
        self.values = self.nbytes = self.refused = 0

    def open_again(self, node: str, epoch: int, first: int) -> None:
        with self._lock:
            self.node, self.epoch, self._expected = node, epoch, first
            self._pending.clear()
            self._keys.clear()

    @property
    def committed(self) -> int:
        return self._expected

    def received(self, message: Data | Part | Value | Probe) -> None:
        gap, stamp = False, 0.0
        with self._lock:
            if isinstance(message, Value):
                if message.number < self._expected:
                    return
                gap = message.number > self._expected
                self._expected = message.number + 1
                self._pending[message.index, message.key] = message
            elif isinstance(message, Probe):
                stamp = message.stamp
            else:
                self.refused += 1
                return
            trouble = self._write_pending()
            received = self._expected
            committed = received if not self._pending else max(0, received - 1)
        if trouble or self.note:
            self.say(trouble)
        head = messages.pack_ack(self.number, self.epoch, received, committed, 0, 0, gap, stamp)
        self.hub.send(self.node, head, b"", wait=False)

    def _write_pending(self) -> str:
        """What hinders; "": nothing."""
        for place, message in list(self._pending.items()):
            try:
                self._write(message)
            except MemlaneError as error:
                return str(error)
            except (OSError, ValueError, TypeError) as error:
                self.refused += 1
                del self._pending[place]
                return str(error)
            del self._pending[place]
        return ""

    def _write(self, message: Value) -> None:
        if isinstance(self.opened.made, Map):
            self._write_key(message)
        else:
            if message.index >= len(self._slots) or message.key:
                raise ValueError(f"a value for slot {message.index}, of {len(self._slots)}")
            self._slots[message.index].publish(message.body)
        self.values += 1
        self.nbytes += len(message.body)
        if not message.removed:
            told = (message.version, message.age, time.monotonic())
            self._latest[message.index, message.key] = told

    def _write_key(self, message: Value) -> None:
        if message.removed and message.index == _ALL:
            for key in [key for key in self._bytes if key not in self._keys]:
                self._bytes.pop(key, None)
            return
        key = _key_of(message.key)
        if message.removed:
            self._keys.discard(key)
            self._bytes.pop(key, None)
            self._latest.pop((0, message.key), None)
        else:
            self._bytes[key] = message.body
            self._keys.add(key)

    def close(self) -> None:
        self.opened.close()

    def stats(self) -> dict[str, Any]:
        now = time.monotonic()
        with self._lock:
            latest = [
                {
                    "index": index,
                    **({"key": repr(_key_of(key))} if key else {}),
                    "version": version,
                    "age": None if math.isnan(age) else age + now - arrived,
                }
                for (index, key), (version, age, arrived) in list(self._latest.items())[:100]
            ]
        return {
            **super().stats(),
            "values": self.values,
            "nbytes": self.nbytes,
            "latest": latest,
            "refused": self.refused,
        }


def _key_bytes(key: Any) -> bytes:
    """A key of a map with its type in front."""
    if isinstance(key, str):
        return b"s" + key.encode()
    if isinstance(key, int):
        return b"i" + str(int(key)).encode()
    return b"b" + bytes(key)


def _key_of(told: bytes) -> str | int | bytes:
    """
    Raises:
        ValueError: it is no key.
    """
    kind, rest = told[:1], told[1:]
    if kind == b"s":
        return rest.decode()
    if kind == b"i" and len(rest) <= 20:
        return int(rest)
    if kind == b"b":
        return rest
    raise ValueError(f"a map has no key {told[:40]!r}")
