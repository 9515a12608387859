# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Any, Literal, Self, SupportsFloat, SupportsIndex, TypeVar, final

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray
from memlane._core.handles import LaneHandle, Receiving
from memlane._core.layout import _Entry
from memlane._core.membership import Membership
from memlane._core.selecting import Watch
from memlane._core.sender import ArrayReservation, Reservation
from memlane._core.topic_subscriber import TopicRecord

_PublisherT = TypeVar("_PublisherT", bound=Publisher)

class Publishing(LaneHandle):
    """The verbs of a publisher."""

    def publish(
        self, record: Buffer | _NumpyArray, *, timeout: SupportsFloat | None = None
    ) -> None:
        """
        Copy one record into the topic: every subscription sees it. Waits only for subscriptions with when_full="wait" that
        are a whole lane behind.

        Takes a lane at first use. Threads that had to wait go in the order they came. Other threads run while it waits;
        Ctrl-C interrupts it.

        Args:
            record: Any contiguous buffer, 0 to `max_record` bytes. Copied before the call returns.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Raises:
            Full: subscriptions that are waited for made no room within *timeout*; nothing was published. Its `laggards` name
                them.
            ShutDown: the topic was shut down.
            RecordTooLargeError: *record* can never fit.
            RoleTakenError: every lane was taken by a live publisher until the end of *timeout*; None waits for one.
            OSError: no memory left for the lane (ENOSPC, at first use).
            PermissionError: the topic is open read-only.
            ClosedError: this process closed the handle or the region.
            BufferError, TypeError: *record* is no contiguous buffer, or one with Python objects in it.
        """
    def publish_nowait(self, record: Buffer | _NumpyArray) -> None:
        """`publish(record, timeout=0)`: raises Full at once where a subscription would be waited for."""
    def publish_many(
        self, records: Iterable[Buffer | _NumpyArray], *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        Copy many records in, as few batches as there is room for; each batch becomes visible at once.

        Args:
            records: An iterable of contiguous buffers; all are checked before the first one goes in.
            timeout: Longest wait in seconds for all of them together.

        Returns:
            How many went in: all of them, or fewer at the deadline, or if the topic was shut down meanwhile.

        Raises:
            Full: not even one went in within *timeout*.
            As `publish` otherwise.
        """
    def reserve(self, nbytes: int | str, *, timeout: SupportsFloat | None = None) -> Reservation:
        """
        Claim room for one record of up to *nbytes* bytes, to be written in place (zero copy).

        Subscriptions see nothing before the commit. One claim a lane: other threads' publishes wait for its end, a
        second one by the same thread is a RuntimeError.

        Returns:
            A Reservation, with the buffer protocol. `with` commits it at the end, and aborts it on an exception.

        Raises:
            RuntimeError: this thread has a claim open on this lane.
            Full, ShutDown, RecordTooLargeError, RoleTakenError, OSError, PermissionError, ClosedError: as `publish`.
        """
    def reserve_array(
        self,
        shape: SupportsIndex | Iterable[SupportsIndex],
        dtype: Any,
        *,
        timeout: SupportsFloat | None = None,
    ) -> ArrayReservation:
        """
        Claim room for one record that is an array, to be filled in place (zero copy).

        `with topic.reserve_array(shape, dtype) as array:` commits at the end. The record is the bytes of the array, in C order,
        and nothing else: a subscriber gives shape and dtype again, to `record.array`.

        Returns:
            An ArrayReservation, whose `with` gives the array.

        Raises:
            TypeError, ValueError: shape or dtype is none, or has Python objects in it.
            ImportError: there is no numpy.
            As `reserve` otherwise.
        """
    def _watch_room(self) -> Watch: ...

class TopicBase(Publishing):
    """What a topic does without going through Python."""

    def _bind(self, membership: Membership, entry: _Entry, *, wait: str) -> None: ...
    def _detach(self) -> None: ...
    def _make_publisher(self, publisher_class: type[_PublisherT]) -> _PublisherT: ...
    def _make_subscriber(
        self,
        start: str | int | tuple[int, ...],
        waited_for: bool,
        evict_after_ns: int,
        raises_on_loss: bool,
        joins: bool,
    ) -> Subscriber: ...
    @property
    def _identity(self) -> int: ...
    def peek(self, most: int) -> list[bytes]:
        """
        Copy the last records, without joining: nobody waits for it, and nobody hears of it.

        Returns:
            A list of new bytes, the oldest first: with order="all" the last *most* of all; else the last *most* of each
            publisher, one publisher after the other.

        Raises:
            ClosedError: this process closed the handle.
        """
    def _traffic(self, positions: list[int]) -> tuple[list[int], int, float]: ...
    def shutdown(self, immediate: bool = False) -> None:
        """
        Bring the topic to its end, for all processes and for good.

        Publishes raise ShutDown from now on, waiting ones too. Subscriptions go on until they have got everything, then raise
        ShutDown; iteration ends. Never waits.

        Args:
            immediate: Subscriptions end at once, whatever is left.

        Raises:
            PermissionError: the topic is open read-only.
            ClosedError: this process closed the handle.
        """
    @property
    def is_shut_down(self) -> bool:
        """Whether somebody has called `shutdown`: nothing can be published any more, though there may be records to get."""
    @property
    def capacity(self) -> int:
        """Bytes of records that each publisher's lane can hold."""
    @property
    def max_records(self) -> int:
        """How many records each publisher's lane can hold."""
    @property
    def max_record(self) -> int:
        """Bytes of the largest record that can ever fit."""
    @property
    def publishers(self) -> int:
        """How many publishers there can be at a time."""
    @property
    def subscribers(self) -> int:
        """How many subscriptions there can be at a time, but for those of read-only processes, which have no limit."""
    @property
    def order(self) -> Literal["publisher", "all"]:
        """In which order a subscription gets records of several publishers: "publisher" or "all"."""
    @property
    def when_full(self) -> Literal["overwrite", "wait"]:
        """What a subscription does that does not choose: "overwrite" or "wait"."""
    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on, as plain dicts and lists: a snapshot.

        `lanes` are those in use: the publisher of each, how many records it has published, and how many of them can be got
        still (`kept`). `subscriptions` are those with a place: pid and name of the process, what it does when the topic is
        full, by how many records and bytes it is behind, the seconds since it last told of its moves (it does once in a
        quarter of a lane, and when it finds nothing), and how many records it has on loan. Those of read-only processes are
        not listed. `evicted` counts evictions; `times_full` publishes that had to wait.

        Raises:
            ClosedError: this process closed the handle.
        """

@final
class Publisher(Publishing):
    """
    A handle of one publisher: a lane of its own, taken at first use. Made by `Topic.publisher()`.

    Its threads may share it. Pickled, it becomes a handle without a lane. Given back by `close`, or as a context
    manager; what was published stays.

    Attributes:
        topic: The topic that it belongs to.
    """

    topic: Any
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when a publish may find room, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It is readable from the
        first on, and no longer once a publish of this handle has ended in Full; then again when the subscriptions that were
        waited for have moved. It is readable for nothing now and then, ten times a second at the most. Takes a lane, as the
        first publish does.

        Raises:
            RoleTakenError: every lane is taken by a live publisher.
            ShutDown: the topic was shut down.
            OSError: no descriptor can be had, or no memory for the lane.
            ClosedError: this process closed the handle or the region.
        """
    def close(self) -> None:
        """Give the lane back; its records stay, the next publisher goes on behind them. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

@final
class Subscriber(Receiving[TopicRecord]):
    """
    A subscription of a topic: it sees every record that is published from its start on. Made by `Topic.subscribe`.

    A context manager; threads may share it. In a forked child, and where it was pickled to, it is a subscription of its
    own, which begins at its first use there.

    Attributes:
        topic: The topic that it belongs to.
    """

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def topic(self) -> Any: ...
    @property
    def lost(self) -> int:
        """
        How many records were overwritten before this subscription got them: the exact number, since it began. A get counts
        what it passes, so those that are gone in front of the next get are not in it yet.
        """
    @property
    def lag(self) -> int:
        """How many records there are for this subscription to get, at some moment just past."""
    @property
    def position(self) -> int | str:
        """
        Where this subscription is: what `subscribe(start=...)` goes on from, in whatever process and however late. An int if
        the topic has one publisher, else a short text; it can be printed, pickled and stored.
        """
    def stalled(self, after: SupportsFloat) -> bool:
        """
        Whether publishers are silent: there is nothing to get, and nothing has come for *after* seconds, as far as this
        subscription has looked; or there were publishers, and none of them lives.

        Raises:
            ClosedError: this process closed the handle, or the subscription was evicted.
        """
    def close(self) -> None:
        """Give the place back; loans keep what they need until they are released. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
