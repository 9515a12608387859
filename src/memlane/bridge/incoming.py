# SPDX-License-Identifier: MIT
"""
The receiver of a stream of records: commits each one into the object here, once, in order, and
tells the sender how far it is.

A record is committed by the thread of the engine that received it where there is room; else, and
where it is in pieces, by a thread of the stream.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from memlane._core import Reservation
from memlane.bridge import messages
from memlane.bridge.hub import TRY_AGAIN_S, Hub
from memlane.bridge.journal import Journal, Track
from memlane.bridge.messages import Data, OpenRequest, Part, Probe, Value, records_of
from memlane.bridge.objects import Opened
from memlane.errors import Full, MemlaneError

__all__ = ["Receiver", "RecordsIn"]

#: How long a call waits for room before it looks at what else there is to do.
_LOOK_S = 0.1
#: Beyond the window of a sender, which counts records alone. Arbitrary.
_MORE_NBYTES = 4 << 20
#: Messages that wait at most; a sender has fewer on the way. Arbitrary.
_PENDING_MAX = 1 << 17


class Receiver(ABC):
    """
    One object here that a peer writes.

    Args:
        node, number: The peer, and its number of the stream.
        opened: The object here.
        asked: What the peer asked for.
    """

    def __init__(
        self, hub: Hub, node: str, number: int, opened: Opened, asked: OpenRequest
    ) -> None:
        self.hub, self.node, self.number, self.opened = hub, node, number, opened
        self.source, self.origin, self.path = asked.source, asked.origin, asked.path
        self.epoch = 0
        self.state = "open"
        self.note = ""
        self._noted = 0.0

    def goes_on(self, asked: OpenRequest, name: str) -> bool:
        """Whether what a peer asks for is this stream still, and its object here the same."""
        return (
            (self.origin, self.source) == (asked.origin, asked.source)
            and (self.opened.kind, self.opened.name) == (asked.kind, name)
            and self.opened.is_there()
        )

    @abstractmethod
    def open_again(self, node: str, epoch: int, first: int) -> None:
        """Begin an epoch: what is pending of the one before is forgotten."""

    @property
    @abstractmethod
    def committed(self) -> int:
        """The number of the first message that is not committed."""

    @abstractmethod
    def received(self, message: Data | Part | Value | Probe) -> None:
        """Take a message of this epoch; by a thread of the engine."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""

    def say(self, text: str) -> None:
        """Tell the sender and the user what hinders; once in a while."""
        now = time.monotonic()
        if text == self.note and now - self._noted < 2:
            return
        if text and text != self.note:
            self.hub.tell(f"{self.opened.kind} {self.opened.name!r} from {self.node}: {text}")
        self.note, self._noted = text, now
        head, body = messages.pack_text(
            messages.NOTE, self.number, self.epoch, {"text": text[:1000]}
        )
        self.hub.send(self.node, head, body, wait=False)

    def stats(self) -> dict[str, Any]:
        """What is going on, as a plain dict."""
        return {
            "direction": "in",
            "kind": self.opened.kind,
            "name": self.opened.name,
            "peer": self.node.rpartition(".")[0],
            "state": self.state,
            "note": self.note,
        }


class RecordsIn(Receiver):
    """
    Records of a peer into a ring or topic here.

    With *journal* doubles are removed, also those of a bridge here that was killed.

    Raises:
        MemlaneError, OSError: the journal cannot be opened.
    """

    def __init__(
        self, hub: Hub, node: str, number: int, opened: Opened, asked: OpenRequest
    ) -> None:
        super().__init__(hub, node, number, opened, asked)
        self._put = "put_many" if opened.kind == "ring" else "publish_many"
        is_kept = opened.kind == "ring" or opened.made.when_full == "wait"  # type: ignore[attr-defined]
        self._journal = Journal(opened) if is_kept else None
        self._publishers: dict[int, Any] = {}
        self._changed = threading.Condition()
        #: Held while records are committed, by one thread at a time.
        self._work = threading.Lock()
        self._pending: deque[Data | Part] = deque()
        self._pending_nbytes = 0
        self._expected = self._committed = self._part_end = 0
        self._gap_told = -1
        self._ended = False
        #: What is left of the first pending message: ranges of records, or None before it is begun.
        self._ranges: list[tuple[int, int]] | None = None
        self._records: list[bytes | memoryview] = []
        self._room: Reservation | None = None
        self._skips_pieces = False
        self._written = self._written_told = 0
        self._doubled = self._doubled_told = 0
        self.records = self.nbytes = self.lost = self.uncertain = self.refused = 0
        self._thread = threading.Thread(
            target=self._run, name=f"memlane bridge {opened.name}", daemon=True
        )
        self._thread.start()

    @property
    def committed(self) -> int:
        return self._committed

    def open_again(self, node: str, epoch: int, first: int) -> None:
        with self._work:
            self._drop_room()
            with self._changed:
                self._pending.clear()
                self._pending_nbytes = 0
                self.node, self.epoch = node, epoch
                self._expected = self._committed = first
                self._part_end, self._gap_told = 0, -1
                self._ranges = None
                self._written = self._written_told = 0

    # ---- by threads of the engine ----------------------------------------------------------------

    def received(self, message: Data | Part | Value | Probe) -> None:
        if isinstance(message, Probe):
            self._acknowledge(stamp=message.stamp)
            return
        if isinstance(message, Value):
            self.refused += 1
            return
        gap = False
        with self._changed:
            if self._ended:
                return
            offset = message.offset if isinstance(message, Part) else 0
            if message.number != self._expected or offset != self._part_end:
                is_late = message.number < self._expected or (
                    message.number == self._expected and offset < self._part_end
                )
                if is_late and offset == 0 and message.number == self._expected:
                    is_late = False  # pieces begin again, behind some that arrived
                gap = not is_late and self._gap_told != self._expected
                if gap:
                    self._gap_told = self._expected
                if message.number != self._expected or offset:
                    message_is_next = False
                else:
                    message_is_next = self._begin_pieces_again()
            else:
                message_is_next = True
            if message_is_next:
                gap = False
                if (
                    self._pending_nbytes > self.hub.window + _MORE_NBYTES
                    or len(self._pending) >= _PENDING_MAX
                ):
                    self.refused += 1  # beyond the credit: it will be sent again
                    return
                self._pending.append(message)
                self._pending_nbytes += len(message.body)
                if isinstance(message, Data):
                    self._expected += 1
                else:
                    self._part_end = offset + len(message.body)
                    if self._part_end == message.nbytes:
                        self._expected += 1
                        self._part_end = 0
        if gap:
            self._acknowledge(gap=True)
        elif message_is_next and not self._commit_now(message):
            with self._changed:
                self._changed.notify_all()

    def _begin_pieces_again(self) -> bool:
        """
        The first piece of a record comes again, while later ones are pending or written. The thread
        of the stream forgets those when it meets the first one.
        """
        while self._pending and self._pending[-1].number == self._expected:
            self._pending_nbytes -= len(self._pending.pop().body)
        self._part_end = 0
        return True

    def _commit_now(self, message: Data | Part) -> bool:
        """Whether nothing is left for the thread of the stream."""
        if not isinstance(message, Data) or not self._work.acquire(blocking=False):
            return False
        try:
            if self._room is not None or not all(isinstance(it, Data) for it in [*self._pending]):
                return False
            try:
                self._commit_pending(0)
            except (MemlaneError, OSError):
                return False  # the thread of the stream meets it again, and tells of it
            return not self._pending
        finally:
            self._work.release()

    # ---- the thread of the stream ----------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
            with self._work:
                try:
                    self._commit_pending(_LOOK_S)
                    trouble = ""
                except Full:
                    trouble = ""
                except (MemlaneError, OSError) as error:
                    trouble = str(error)
            if trouble or self.note:
                self.say(trouble)
            if trouble:
                with self._changed:
                    if not self._ended:
                        self._changed.wait(TRY_AGAIN_S)

    def _commit_pending(self, timeout: float) -> None:
        """Commit what is pending, as far as there is room. The caller has `_work`."""
        try:
            while True:
                with self._changed:
                    if not self._pending or self._ended:
                        return
                    message = self._pending[0]
                if isinstance(message, Data):
                    is_whole = self._commit_data(message, timeout)
                else:
                    is_whole = self._commit_part(message, timeout)
                if not is_whole:
                    return
                with self._changed:
                    if self._pending and self._pending[0] is message:
                        self._pending.popleft()
                        self._pending_nbytes -= len(message.body)
                    self.lost = max(self.lost, message.lost)
                    if isinstance(message, Data):
                        self._committed = message.number + 1
                    elif message.offset + len(message.body) == message.nbytes:
                        self._committed = message.number + 1
                        self._written = self._written_told = 0
                    if self._pending_nbytes > self.hub.window // 2:
                        continue
                if isinstance(message, Data) or self._written == 0:
                    if len(self._pending) < 2:
                        self._acknowledge()
                elif self._written - self._written_told >= self.hub.window // 4:
                    self._written_told = self._written
                    self._acknowledge()
        finally:
            if self._committed != self._acknowledged:
                self._acknowledge()

    _acknowledged = 0

    def _acknowledge(self, *, gap: bool = False, stamp: float = 0.0) -> None:
        with self._changed:
            doubled, self._doubled_told = self._doubled - self._doubled_told, self._doubled
            self._acknowledged = self._committed
            head = messages.pack_ack(
                self.number,
                self.epoch,
                self._expected,
                self._committed,
                self._written,
                doubled,
                gap,
                stamp,
            )
        self.hub.send(self.node, head, b"", wait=False)

    def _track(self, lane: int) -> Track | None:
        if self._journal is None:
            return None
        track = self._journal.track(self.source, lane)
        if track.is_uncertain:
            track.is_uncertain = False
            self.uncertain += 1
            self.hub.tell(
                f"{self.opened.kind} {self.opened.name!r}: another producer had lane {track.lane} "
                "since the bridge was killed, so its last records may come twice"
            )
        return track

    def _new_ranges(self, track: Track | None, first: int, count: int) -> list[tuple[int, int]]:
        """The parts of the records that are not committed yet."""
        if track is None:
            return [(first, first + count)]
        at, found = first, []
        for low, high in track.committed(first, count):
            if at < low:
                found.append((at, low))
            at = max(at, high)
        if at < first + count:
            found.append((at, first + count))
        self._doubled += count - sum(high - low for low, high in found)
        return found

    def _commit_data(self, message: Data, timeout: float) -> bool:
        """Whether all of it is committed."""
        if message.lane >= 1 << 16:
            self.refused += 1
            return True
        track = self._track(message.lane)
        if self._ranges is None:
            self._ranges = self._new_ranges(track, message.first, len(message.lengths))
            if self._ranges:
                self._records = records_of(message.lengths, message.body)
        while self._ranges:
            low, high = self._ranges[0]
            if track is not None and self._journal is not None and track.follows != low:
                self._journal.begin_run(track, low)
            some = self._records[low - message.first : high - message.first]
            handle = self._publisher(message.lane) if track is None else track.handle
            try:
                done = getattr(handle, self._put)(some, timeout=timeout)
            except Full:
                return False
            if track is not None:
                track.next += done
            self.records += done
            if low + done == high:
                del self._ranges[0]
            else:
                self._ranges[0] = (low + done, high)
                return False
        self.nbytes += len(message.body)
        self._ranges, self._records = None, []
        return True

    def _publisher(self, lane: int) -> Any:
        """The publisher of a topic that overwrites, for a lane at the peer."""
        made = self._publishers.get(lane)
        if made is None:
            made = self._publishers[lane] = self.opened.made.publisher()  # type: ignore[attr-defined]
        return made

    def _commit_part(self, message: Part, timeout: float) -> bool:
        """Whether it is written, or the record committed with the last one."""
        if message.lane >= 1 << 16:
            self.refused += 1
            return True
        track = self._track(message.lane)
        handle = self._publisher(message.lane) if track is None else track.handle
        if message.offset == 0:
            self._drop_room()
            self._skips_pieces = not self._new_ranges(track, message.first, 1)
            if not self._skips_pieces:
                try:
                    self._room = handle.reserve(message.nbytes, timeout=timeout)
                except Full:
                    return False
        if self._skips_pieces:
            self._written = message.offset + len(message.body)
            return True
        room = self._room
        if room is None or len(room) != message.nbytes:
            self.refused += 1
            return True
        room.write(message.body, message.offset)
        self._written = message.offset + len(message.body)
        if self._written == message.nbytes:
            if track is not None and self._journal is not None and track.follows != message.first:
                self._journal.begin_run(track, message.first)
            room.commit()
            self._room = None
            if track is not None:
                track.next += 1
            self.records += 1
            self.nbytes += message.nbytes
        return True

    def _drop_room(self) -> None:
        if self._room is not None:
            self._room.abort()
            self._room = None

    # ---- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        with self._work:
            self._drop_room()
            for publisher in self._publishers.values():
                publisher.close()
            if self._journal is not None:
                self._journal.close()
            self.opened.close()

    def stats(self) -> dict[str, Any]:
        with self._changed:
            return {
                **super().stats(),
                "records": self.records,
                "nbytes": self.nbytes,
                "pending": len(self._pending),
                "credit": max(0, self.hub.window - self._pending_nbytes),
                "doubled": self._doubled,
                "dropped": self.lost,
                "uncertain": self.uncertain,
                "refused": self.refused,
            }
