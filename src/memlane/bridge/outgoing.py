# SPDX-License-Identifier: MIT
"""
The sender of a stream of records: takes them as an ordinary consumer or subscriber, and keeps each
one until the peer has committed it.

Messages have numbers. The peer takes them in order only, and tells how far it is; where one is
missing, all from there on are sent again (go back n). Nothing is kept beside the loans: what is
sent again is read again from where it lies.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memlane._core import Record, Subscriber, TopicRecord
from memlane.bridge import messages
from memlane.bridge.hub import PIECE_NBYTES, TRY_AGAIN_S, Hub
from memlane.bridge.journal import MEMORY_NBYTES, RUNS_ON_THE_WAY
from memlane.bridge.messages import Ack, Text
from memlane.bridge.objects import Opened, facts_of
from memlane.bridge.rules import split
from memlane.errors import Empty, Lapped, MemlaneError, ShutDown
from memlane.region import Region
from memlane.ring import Ring
from memlane.slot import Slot
from memlane.topic import Topic

__all__ = ["Anew", "RecordsOut", "RingOut", "Stream", "TopicOut"]

#: Records that are taken at once. Arbitrary: a message of small ones is full then.
_BATCH: Final = 2048
#: Records on the way at most, small as they may be: each is a loan.
_LOANS_MAX: Final = 1 << 16
#: How long a call waits for records before it looks at what else there is to do.
_LOOK_S: Final = 0.1
#: Without an answer for so long the peer is asked how far it is; and after so long anew.
_PROBE_S, _SILENT_S = 0.25, 5.0


class Anew(Exception):
    """The stream must be opened anew."""


class Stream(ABC):
    """
    One object that goes to one peer: a thread of its own, which opens the stream, and opens it
    again after whatever happens.

    Args:
        number: Of the stream, among those of this bridge.
        there: What the peer calls the object.
        peer: The name of the peer; None: the first one that takes it.
    """

    def __init__(self, hub: Hub, number: int, opened: Opened, there: str, peer: str | None) -> None:
        self.hub, self.number, self.opened, self.there = hub, number, opened, there
        self.peer = peer
        self.node: str | None = None
        self.epoch = 0
        self.state = "waiting for a peer"
        self.note = ""
        self.rtt: float | None = None
        #: Whether the rules of the peer refuse the name.
        self.is_unwanted = False
        #: Keys of the objects that the records of this one come from, to find circles.
        self.path: tuple[str, ...] = ()
        self._fixed = peer is not None
        self._origin = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._answer: Text | None = None
        self._anew = False
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"memlane bridge {opened.name}", daemon=True
        )

    _lingers = False

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def end(self, *, lingers: bool = False) -> None:
        """
        Have the thread come to its end; with *lingers* when all that it took is committed, or when
        the bridge stops.
        """
        self._lingers = lingers
        self._ended.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def is_ending(self) -> bool:
        return self._ended.is_set() or self.hub.stopping.is_set()

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    def open_anew(self) -> None:
        """The link, or what the peer knew, is lost: open the stream again."""
        with self._changed:
            self._anew = True
            self._changed.notify_all()

    # ---- what the peer tells, by threads of the engine -------------------------------------------

    def told(self, node: str, message: Text) -> None:
        with self._changed:
            if message.epoch != self.epoch or node != self.node:
                return
            if message.kind == messages.UNKNOWN:
                self._anew = True
            elif message.kind == messages.NOTE:
                self.note = str(message.facts.get("text", ""))[:1000]
            else:
                self._answer = message
            self._changed.notify_all()

    # ---- opening ---------------------------------------------------------------------------------

    def _candidates(self) -> list[str]:
        """Names of peers to ask, in order."""
        nodes = self.hub.nodes()
        if self.peer is not None and (self._fixed or self.peer in nodes or self._keeps_peer()):
            return [self.peer] if self.peer in nodes else []
        return sorted(nodes)

    def _keeps_peer(self) -> bool:
        """Whether the peer may not be another one from now on."""
        return False

    def _connect(self) -> bool:
        """Open the stream at a peer; False: not now."""
        names = self._candidates()
        if not names:
            self.state = "waiting for a peer"
            self._sleep(_LOOK_S)
            return False
        for name in names:
            facts = self._open_at(name)
            if facts is not None:
                self.peer = name
                self.state, self.note = "open", ""
                self._opened_with(facts)
                return True
            if self.is_ending:
                return False
        self._sleep(TRY_AGAIN_S)
        return False

    def _open_at(self, name: str) -> dict[str, Any] | None:
        node = self.hub.nodes().get(name)
        if node is None:
            return None
        with self._changed:
            self.node, self.epoch, self._answer = node, secrets.randbits(64), None
            self._anew = False
        told = {
            "kind": self.opened.kind,
            "name": self.there,
            "facts": facts_of(self.opened),
            "source": self.opened.key.hex(),
            "path": [*self.path, self.opened.key.hex()],
            "origin": self._origin,
            "first": self._first_number(),
        }
        head, body = messages.pack_text(messages.OPEN, self.number, self.epoch, told)
        if not self.hub.send(node, head, body):
            return None
        end = time.monotonic() + 2
        with self._changed:
            while self._answer is None and not self.is_ending and not self._anew:
                left = end - time.monotonic()
                if left <= 0:
                    self.state = f"opening at {name}"
                    return None
                self._changed.wait(left)
            answer = self._answer
        if answer is None:
            return None
        if answer.kind == messages.REFUSED:
            text = str(answer.facts.get("text", "for no reason"))[:1000]
            self.is_unwanted = answer.facts.get("unwanted") is True
            state = f"refused by {name}: {text}"
            if state != self.state:
                self.hub.tell(f"{self.opened.kind} {self.opened.name!r} is {state}")
            self.state = state
            return None
        return answer.facts if answer.kind == messages.OPENED else None

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            if not self.is_ending and not self._anew:
                self._changed.wait(seconds)
            self._anew = False

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        has_begun = False
        try:
            while not self.is_ending:
                try:
                    if not has_begun:
                        self._begin()
                        has_begun = True
                    if self._connect():
                        self._carry()
                except Anew:
                    self.state = "waiting for a peer"
                except ShutDown:  # nothing more comes, and what is on the way arrives
                    if self._is_done():
                        self.state = "ended: it was shut down"
                        return
                except (MemlaneError, OSError) as error:
                    state = f"stopped: {error}"
                    if state != self.state:
                        self.hub.tell(f"{self.opened.kind} {self.opened.name!r} is {state}")
                    self.state = state
                    self._sleep(TRY_AGAIN_S)
        finally:
            if has_begun:
                self._finish()
            else:
                self.opened.close()

    @abstractmethod
    def _begin(self) -> None:
        """Before all else, in the thread."""

    @abstractmethod
    def _first_number(self) -> int:
        """The number of the first message that the peer gets."""

    @abstractmethod
    def _opened_with(self, facts: dict[str, Any]) -> None:
        """The peer has opened the stream."""

    @abstractmethod
    def _carry(self) -> None:
        """Send, until Anew, ShutDown, or the end."""

    @abstractmethod
    def acknowledged(self, node: str, ack: Ack) -> None:
        """How far the peer is; by a thread of the engine."""

    @abstractmethod
    def _finish(self) -> None:
        """At the end, in the thread."""

    def _is_done(self) -> bool:
        """Whether nothing is on the way any more."""
        return True

    def _close_there(self) -> None:
        if self.node is not None and self.is_open:
            head, body = messages.pack_text(messages.CLOSE, self.number, self.epoch, {})
            self.hub.send(self.node, head, body)

    def stats(self) -> dict[str, Any]:
        """What is going on, as a plain dict."""
        return {
            "direction": "out",
            "kind": self.opened.kind,
            "name": self.opened.name,
            "there": self.there,
            "peer": self.peer,
            "state": self.state,
            "note": self.note,
            "rtt": self.rtt,
        }


@dataclass(slots=True)
class _Sent:
    """
    A message that is not acknowledged.

    Attributes:
        records: The loans, to be released when it is; none: the bytes were copied.
        body: The bytes of all records, if they were copied.
        begins_run: Its first record does not follow the one that was sent before in its lane.
        position: Where a subscription goes on behind it, if it is the last one of a batch.
    """

    number: int
    lane: int
    first: int
    lengths: list[int]
    nbytes: int
    lost: int
    records: Sequence[Record | TopicRecord]
    body: bytes | None = None
    begins_run: bool = False
    position: int | str | None = None


#: What a bridge of this process had in hand when it ended, by the key of its ring. A process that
#: is the one consumer cannot give a record back, but the next bridge in it goes on with it.
_left: dict[bytes, list[_Sent]] = {}


class RecordsOut(Stream):
    """Records of a ring or topic to one peer."""

    def __init__(self, hub: Hub, number: int, opened: Opened, there: str, peer: str | None) -> None:
        super().__init__(hub, number, opened, there, peer)
        self._sent: deque[_Sent] = deque()
        self._next = 0
        self._on_the_way = 0
        self._loans = 0
        self._window = hub.window
        self._gap: int | None = None
        self._written = (0, 0)
        self._progress = self._heard = self._probed = 0.0
        self._asked = 0
        self._ends: dict[int, int] = {}
        self._runs: Counter[int] = Counter()
        self._far_key: str | None = None
        self.records = self.nbytes = self.resent = self.doubled = self.dropped = 0
        self.uncertain = 0

    # ---- what is carried -------------------------------------------------------------------------

    @abstractmethod
    def _take(self, most: int, timeout: float) -> Sequence[Record | TopicRecord]:
        """The next records as loans. Raises Empty, ShutDown."""

    @abstractmethod
    def _lane_of(self, record: Any) -> int: ...

    #: Whether records are copied out and may be dropped.
    copies = False

    def _lost_here(self) -> int:
        """How many were lost before they could be taken."""
        return 0

    def _released(self, sent: _Sent) -> None:
        """The peer has committed these."""
        for record in sent.records:
            record.release()

    # ---- opening ---------------------------------------------------------------------------------

    def _keeps_peer(self) -> bool:
        return bool(self._sent)

    def _first_number(self) -> int:
        return self._sent[0].number if self._sent else self._next

    def _opened_with(self, facts: dict[str, Any]) -> None:
        key, committed = str(facts.get("key")), facts.get("committed")
        window = facts.get("window")
        if isinstance(window, int) and window > 0:
            self._window = min(window, self.hub.window)
        if isinstance(committed, int) and committed <= self._next:
            self._pop_below(committed)
        elif self.copies:
            with self._changed:
                dropped = sum(len(sent.lengths) for sent in self._sent)
                self.dropped += dropped
            self._pop_below(self._next)
        if self._far_key is not None and key != self._far_key:
            self.uncertain += sum(len(sent.lengths) for sent in self._sent)
            if self._sent:
                self.hub.tell(
                    f"the object of {self.peer} behind {self.opened.name!r} is another one than "
                    f"before: {self.uncertain} records may have been in both"
                )
        self._far_key = key
        with self._changed:
            self._gap = None
            self._written = (0, 0)
            self._progress = self._heard = time.monotonic()

    # ---- acknowledgments ------------------------------------------------------------------------

    def acknowledged(self, node: str, ack: Ack) -> None:
        with self._changed:
            if ack.epoch != self.epoch or node != self.node or ack.committed > self._next:
                return
            self._heard = time.monotonic()
            self.doubled += ack.doubled
            if ack.stamp:
                self.rtt = max(0.0, self._heard - ack.stamp)
            if ack.gap or (ack.stamp and ack.received < self._asked):
                self._gap = ack.received
            if (ack.received, ack.written) > self._written:
                self._written = (ack.received, ack.written)
                self._progress = self._heard
        self._pop_below(ack.committed)

    def _pop_below(self, committed: int) -> None:
        """Forget and release what the peer has."""
        done = []
        with self._changed:
            while self._sent and self._sent[0].number < committed:
                sent = self._sent.popleft()
                self._on_the_way -= sent.nbytes
                self._loans -= len(sent.records)
                self._runs[sent.lane] -= sent.begins_run
                done.append(sent)
            if done:
                self._progress = time.monotonic()
            self._changed.notify_all()
        for sent in done:
            self._released(sent)

    # ---- sending ---------------------------------------------------------------------------------

    def _carry(self) -> None:
        self._send_again(0)
        while True:
            self._look()
            if self.is_ending and not self._waits_for_the_end():
                return
            with self._changed:
                if self.is_ending or not self._has_room():
                    self._changed.wait(_LOOK_S)
                    continue
            try:
                taken = self._take(_BATCH, _LOOK_S)
            except Empty:
                continue
            for sent in self._cut(taken):
                if self._add(sent):
                    self._send(sent)
                    self._wait_for_room()

    def _has_room(self) -> bool:
        return not self._sent or (self._on_the_way < self._window and self._loans < _LOANS_MAX)

    def _wait_for_room(self) -> None:
        """What was taken is sent all the same, in its turn."""
        while True:
            with self._changed:
                if self._has_room():
                    return
                self._changed.wait(_LOOK_S)
            self._look()
            if self.is_ending and not self._waits_for_the_end() and not self._has_room():
                raise Anew

    def _waits_for_the_end(self) -> bool:
        return self._lingers and bool(self._sent) and not self.hub.stopping.is_set()

    def _cut(self, taken: Sequence[Record | TopicRecord]) -> Iterator[_Sent]:
        """Messages of records that follow each other in a lane."""
        lanes = [self._lane_of(record) for record in taken]
        numbers = [record.sequence for record in taken]
        lengths = [len(record) for record in taken]
        start, count = 0, len(taken)
        if (
            lanes.count(lanes[0]) == count
            and numbers[-1] - numbers[0] == count - 1  # numbers of a lane only grow
            and (total := sum(lengths)) <= PIECE_NBYTES
        ):
            yield _Sent(0, lanes[0], numbers[0], lengths, total, self._lost_here(), taken)
            return
        while start < count:
            lane, first, nbytes, end = lanes[start], numbers[start], lengths[start], start + 1
            while (
                end < count
                and lanes[end] == lane
                and numbers[end] == first + end - start
                and nbytes + lengths[end] <= PIECE_NBYTES
            ):
                nbytes += lengths[end]
                end += 1
            yield _Sent(
                0, lane, first, lengths[start:end], nbytes, self._lost_here(), taken[start:end]
            )
            start = end

    def _add(self, sent: _Sent) -> bool:
        """
        Give it a number; False: nothing is left of it. Waits while a lane has too many runs on the
        way.
        """
        if self.copies:
            self._copy_out(sent)
            if not sent.lengths:
                return False
        sent.begins_run = self._ends.get(sent.lane) != sent.first
        self._ends[sent.lane] = sent.first + len(sent.lengths)
        while sent.begins_run and self._runs[sent.lane] >= RUNS_ON_THE_WAY:
            with self._changed:
                if self._runs[sent.lane] >= RUNS_ON_THE_WAY:
                    self._changed.wait(_LOOK_S)
            try:
                self._look()
            except Anew:
                break  # it is sent again when the stream is open
            if self._ended.is_set():
                break
        with self._changed:
            sent.number = self._next
            self._next += 1
            self._sent.append(sent)
            self._on_the_way += sent.nbytes
            self._loans += len(sent.records)
            self._runs[sent.lane] += sent.begins_run
            if len(self._sent) == 1:
                self._progress = time.monotonic()
            self.records += len(sent.lengths)
            self.nbytes += sent.nbytes
        return True

    def _copy_out(self, sent: _Sent) -> None:
        """Records that may be overwritten meanwhile: whole ones only, the others are lost."""
        records = sent.records
        sent.body = b"".join(records)
        gone = sum(isinstance(it, TopicRecord) and it.overwritten for it in records)
        if gone:  # the oldest ones
            self.dropped += gone
            cut = sum(sent.lengths[:gone])
            sent.body, sent.lengths = sent.body[cut:], sent.lengths[gone:]
            sent.first += gone
            sent.nbytes -= cut
        for record in records:
            record.release()
        sent.records = ()

    def _send(self, sent: _Sent) -> None:
        node, epoch = self.node, self.epoch
        assert node is not None
        if sent.nbytes > PIECE_NBYTES:
            self._send_pieces(sent, node, epoch)
            return
        head = messages.pack_data(
            self.number, epoch, sent.number, sent.first, sent.lost, sent.lane, sent.lengths
        )
        body = b"".join(sent.records) if sent.body is None else sent.body
        if not self.hub.send(node, head, body):
            raise Anew

    def _send_pieces(self, sent: _Sent, node: str, epoch: int) -> None:
        """A large record: never more of it on the way than the window has."""
        whole = memoryview(sent.records[0] if sent.body is None else sent.body)
        try:
            for offset in range(0, sent.nbytes, PIECE_NBYTES):
                while True:
                    with self._changed:
                        received, written = self._written
                        there = written if received == sent.number else 0
                        if received > sent.number or offset - there < self._window:
                            break
                        self._changed.wait(_LOOK_S)
                    if self._look(sent.number):
                        return  # all from there on was sent again, this one, too
                head = messages.pack_part(
                    self.number,
                    epoch,
                    sent.number,
                    sent.first,
                    sent.lost,
                    sent.lane,
                    sent.nbytes,
                    offset,
                )
                if not self.hub.send(node, head, bytes(whole[offset : offset + PIECE_NBYTES])):
                    raise Anew
        finally:
            whole.release()

    def _look(self, number: int | None = None) -> bool:
        """
        See to what the peer told, and ask it if it tells nothing. Whether messages were sent again,
        of number *number* or before.

        Raises:
            Anew: the link is lost, or the peer does not know the stream.
        """
        now = time.monotonic()
        with self._changed:
            if self._anew:
                raise Anew
            gap, self._gap = self._gap, None
            waits = bool(self._sent)
        if gap is not None:
            self._send_again(gap)
            return number is not None and gap <= number
        if waits and now - self._progress > _PROBE_S and now - self._probed > _PROBE_S:
            if now - self._heard > _SILENT_S:
                raise Anew
            self._probed, self._asked = now, self._next if number is None else number
            assert self.node is not None
            head = messages.pack_probe(self.number, self.epoch, self._next, now)
            if not self.hub.send(self.node, head, b""):
                raise Anew
        return False

    def _send_again(self, first: int) -> None:
        with self._changed:
            again = [sent for sent in self._sent if sent.number >= first]
        for sent in again:
            with self._changed:
                if not self._sent or sent.number < self._sent[0].number:
                    continue
                if self._anew:
                    raise Anew
                self.resent += len(sent.lengths)
            self._send(sent)

    # ---- the end ---------------------------------------------------------------------------------

    def _is_done(self) -> bool:
        try:
            while self._sent and not self.is_ending:
                self._look()
                with self._changed:
                    self._changed.wait(_LOOK_S)
        except Anew:
            return False
        return not self._sent

    def wait_until_committed(self, timeout: float) -> bool:
        """Whether the peer has committed all that was taken, within the timeout."""
        end = time.monotonic() + timeout
        with self._changed:
            while self._sent:
                left = end - time.monotonic()
                if left <= 0 or not self.is_open:
                    return False
                self._changed.wait(min(left, _LOOK_S))
        return True

    def stats(self) -> dict[str, Any]:
        with self._changed:
            lag, on_the_way = sum(len(sent.lengths) for sent in self._sent), self._on_the_way
        return {
            **super().stats(),
            "records": self.records,
            "nbytes": self.nbytes,
            "unacknowledged": lag,
            "credit": max(0, self._window - on_the_way),
            "resent": self.resent,
            "doubled": self.doubled,
            "dropped": self.dropped + self._lost_here(),
            "uncertain": self.uncertain,
        }


class RingOut(RecordsOut):
    """Records of a ring: a consumer that holds each one until it is committed at the peer."""

    def _begin(self) -> None:
        assert isinstance(self.opened.made, Ring)
        self._ring = self.opened.made
        self._consumer = self._ring.consumer()
        for sent in _left.pop(self.opened.key, []):
            self._add(sent)

    def _take(self, most: int, timeout: float) -> Sequence[Record]:
        return list(self._consumer.borrow_many(most, timeout=timeout))

    def _lane_of(self, record: Record) -> int:
        return record.producer

    def _finish(self) -> None:
        if self._sent:
            if self._ring.stats()["consumers"] == "many":
                for sent in self._sent:
                    for record in sent.records:
                        record.give_back()  # type: ignore[union-attr]
            else:
                _left[self.opened.key] = list(self._sent)
        self._close_there()
        self._consumer.close()
        self.opened.close()


class TopicOut(RecordsOut):
    """
    Records of a topic, as a subscriber. One whose publishers wait for it goes on where the one
    before it was, if it was killed: that stands beside the journal, in REGION.bridge.
    """

    _subscriber: Subscriber | None = None
    _memory: Region | None = None

    def _begin(self) -> None:
        assert isinstance(self.opened.made, Topic)
        self._topic = self.opened.made
        self.copies = self._topic.when_full == "overwrite"
        start: int | str = "now"
        if not self.copies:
            start = self._remember()
        try:
            self._subscriber = self._topic.subscribe(start)
        except Lapped as error:
            self._said_lost(error.lost)
            self._subscriber = self._topic.subscribe("oldest")
        except (ValueError, TypeError):  # of a topic that was there before
            self._subscriber = self._topic.subscribe("now")
        if self._memory is not None:
            self._place.publish(str(self._subscriber.position).encode().ljust(self._place.nbytes))

    def _said_lost(self, lost: int) -> None:
        self.dropped += lost
        self.hub.tell(
            f"topic {self.opened.name!r}: {lost} records were overwritten while no bridge ran"
        )

    def _remember(self) -> int | str:
        """Where the subscription before this one was; "now": there was none."""
        region, _ = split(self.opened.name)
        told = f"{self.opened.key.hex()}/{self.hub.name}/{self.peer}".encode()
        if self._memory is None:
            self._memory = Region.open_or_create(f"{region}.bridge", MEMORY_NBYTES)
        self._place: Slot[bytes] = self._memory.slot(
            f"at.{hashlib.blake2b(told, digest_size=16).hexdigest()}",
            32 + 21 * self._topic.publishers,
            watchers=0,
        )
        try:
            found = self._place.read(timeout=1).decode(errors="replace").strip()
        except Empty:
            return "now"
        return int(found) if found.isdecimal() else found

    def _cut(self, taken: Sequence[Record | TopicRecord]) -> Iterator[_Sent]:
        assert self._subscriber is not None
        position = self._subscriber.position
        some = list(super()._cut(taken))
        some[-1].position = position
        return iter(some)

    def _released(self, sent: _Sent) -> None:
        if sent.position is not None and self._memory is not None:
            self._place.publish(str(sent.position).encode().ljust(self._place.nbytes))
        super()._released(sent)

    def _take(self, most: int, timeout: float) -> Sequence[TopicRecord]:
        assert self._subscriber is not None
        return list(self._subscriber.borrow_many(most, timeout=timeout))

    def _lane_of(self, record: TopicRecord) -> int:
        return record.publisher

    def _lost_here(self) -> int:
        return 0 if self._subscriber is None else self._subscriber.lost

    def _finish(self) -> None:
        self._close_there()
        assert self._subscriber is not None
        self._subscriber.close()
        if self._memory is not None:
            self._memory.close()
        self.opened.close()
