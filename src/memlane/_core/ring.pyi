# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from typing import Any, Self, SupportsFloat, SupportsIndex, TypeVar, final

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray
from memlane._core.handles import LaneHandle, Receiving
from memlane._core.layout import _Entry
from memlane._core.membership import Membership
from memlane._core.ring_consumer import Record
from memlane._core.sender import ArrayReservation, Reservation

_ProducerT = TypeVar("_ProducerT", bound=Producer)

_ConsumerT = TypeVar("_ConsumerT", bound=Consumer)

class Sending(LaneHandle):
    """The verbs of a producer."""

    def put(
        self,
        record: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> None:
        """
        Copy one record into the ring, waiting while there is no room.

        Takes a lane at first use. Records of one producer come out in the order of their puts; threads that
        had to wait go in the order they came. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            record: Any contiguous buffer, 0 to `max_record` bytes. Copied before the call returns.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not put what nobody will get, and do not wait for room that nobody will make, once the
                consumers there were are gone. Before the first one came nobody is: then it puts, and waits.

        Raises:
            Full: there was no room within *timeout*; the ring is unchanged.
            ShutDown: the ring was shut down.
            PeerGoneError: asked for by *require_peer*: there were consumers, and all have died or left.
            RecordTooLargeError: *record* can never fit.
            RoleTakenError: every lane was taken by a live producer until the end of *timeout*; None waits for one.
            OSError: no memory left for the lane (ENOSPC, at first use).
            ClosedError: this process closed the handle or the region.
            BufferError, TypeError: *record* is no contiguous buffer, or one with Python objects in it.
        """
    def put_nowait(self, record: Buffer | _NumpyArray) -> None:
        """`put(record, timeout=0)`: raises Full at once where there is no room."""
    def put_many(
        self,
        records: Iterable[Buffer | _NumpyArray],
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Copy many records in, as few batches as there is room for; each batch becomes visible at once.

        Args:
            records: An iterable of contiguous buffers; all are checked before the first one goes in.
            timeout: Longest wait in seconds for all of them together.
            require_peer: As in `put`.

        Returns:
            How many went in: all of them, or fewer at the deadline, if the ring was shut down meanwhile, or if *require_peer*
            found nobody left.

        Raises:
            Full: not even one went in within *timeout*.
            ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError, BufferError, TypeError: as
                `put`.
        """
    def reserve(
        self,
        nbytes: int | str,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> Reservation:
        """
        Claim room for one record of up to *nbytes* bytes, to be written in place (zero copy).

        The other side sees nothing before the commit. One claim a lane: other threads' puts wait for its end, a
        second one by the same thread is a RuntimeError.

        Returns:
            A Reservation, with the buffer protocol. `with` commits it at the end, and aborts it on an exception.

        Raises:
            RuntimeError: this thread has a claim open on this lane.
            Full, ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError: as `put`.
        """
    def reserve_array(
        self,
        shape: SupportsIndex | Iterable[SupportsIndex],
        dtype: Any,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> ArrayReservation:
        """
        Claim room for one record that is an array, to be filled in place (zero copy).

        `with ring.reserve_array(shape, dtype) as array:` commits at the end. The record is the bytes of the array, in C order,
        and nothing else: a consumer gives shape and dtype again, to `record.array`.

        Returns:
            An ArrayReservation, whose `with` gives the array.

        Raises:
            TypeError, ValueError: shape or dtype is none, or has Python objects in it.
            ImportError: there is no numpy.
            As `reserve` otherwise.
        """

class RingBase(Sending):
    """What a ring does without going through Python, but for the verbs of Receiving, which its class has as another base."""

    def _bind(
        self, membership: Membership, entry: _Entry, *, wait: str, require_peer: bool
    ) -> None: ...
    def _set_wait(self, wait: str, require_peer: bool) -> None: ...
    def _detach(self) -> None: ...
    def _make_producer(self, producer_class: type[_ProducerT]) -> _ProducerT: ...
    def _make_consumer(self, consumer_class: type[_ConsumerT]) -> _ConsumerT: ...
    def _look(
        self, positions: list[int] | None, most: int, most_nbytes: int
    ) -> tuple[list[tuple[int, int, bytes]], list[int], int]: ...
    def _traffic(self, positions: list[int]) -> tuple[list[int], int, float]: ...
    def shutdown(self, immediate: bool = False) -> None:
        """
        Bring the ring to its end, for all processes and for good.

        Puts raise ShutDown from now on, waiting ones too. Gets go on until everything is drained, then raise
        ShutDown; iteration ends. Never waits.

        Args:
            immediate: What is left is dropped unseen.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def __len__(self) -> int: ...
    @property
    def is_shut_down(self) -> bool:
        """Whether somebody has called `shutdown`: nothing can be put any more, though there may be records to get."""
    @property
    def capacity(self) -> int:
        """Bytes of records that each producer's lane can hold."""
    @property
    def max_records(self) -> int:
        """How many records each producer's lane can hold."""
    @property
    def max_record(self) -> int:
        """Bytes of the largest record that can ever fit."""
    @property
    def producers(self) -> int:
        """How many producers there can be at a time."""
    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on: capacity, records waiting, and for each lane in use its producer and how many records
        were put and got. A snapshot, as plain dicts and lists.

        `loans` are the records that consumers have in hand and have not released, of each lane and in all: with
        consumers="many" those of all processes. What the one consumer has in hand only its process knows: elsewhere they
        are None. They are None, too, where a lane has too many records to look at.

        `competing` are the consumers with consumers="many": each with its state, its pid, and how many records it has in
        hand; one whose process has died is there until another one meets what it left.

        `oldest_age` are the seconds that the oldest record waits, at least, of each lane and the largest in all: to about
        10 ms, without the time that the machine was suspended. None: there is none, or it is not known, as of records
        from before a reboot. `times_full` counts the puts and reserves that found no room. `waiting_producers` and
        `waiting_consumers` are the calls that sleep; one whose process was killed counts until the next one is woken.
        After an immediate shutdown no records wait, whatever was left.

        Raises:
            ClosedError: this process closed the handle.
        """

@final
class Producer(Sending):
    """
    A handle of one producer's role: a lane of its own, taken at first use. Made by `Ring.producer()`.

    Its threads may share it. Pickled, it becomes a handle without a lane. Given back by `close`, or as a context
    manager; what was put stays.

    Attributes:
        ring: The ring that it belongs to.
    """

    ring: Any
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be room for a put, or the end.

        It is as that of `Ring.fileno`, and stays readable until a put of this handle ends in Full. Takes a lane, as the first
        put does.

        Raises:
            RoleTakenError: every lane is taken by a live producer.
            ShutDown: the ring was shut down.
            OSError: no descriptor can be had, or no memory for the lane.
            ClosedError: this process closed the handle or the region.
        """
    def close(self) -> None:
        """Give the lane back; its records stay, the next producer goes on behind them. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

@final
class Consumer(Receiving[Record]):
    """
    A handle of the consumer's role, which all such handles of one process share. Made by `Ring.consumer()`.

    The role is taken at first use, and given back when the last handle that used it is closed. Pickled, it becomes a
    handle without the role. The verbs are those of a ring.

    Attributes:
        ring: The ring that it belongs to.
    """

    ring: Any
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def close(self) -> None:
        """Refuse new work; the role goes with the last handle and the last loan. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
