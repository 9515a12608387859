# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from subprocess import Popen
from typing import Any, Generic, Self, SupportsFloat, TypeAlias, TypeVar, final

from typing_extensions import Buffer, disjoint_base

from memlane._core.arguments import _NumpyArray
from memlane._core.lanes import Endpoint
from memlane._core.receiver import Loans, RecordLoan
from memlane._core.selecting import Watch

_Ending: TypeAlias = BaseProcess | Popen[Any] | int

_Until: TypeAlias = _Ending | Iterable[_Ending]

_RecordT = TypeVar("_RecordT", bound=RecordLoan)

@disjoint_base
class LaneHandle(Endpoint):
    """A handle that leads to roles: one in which it sends, one in which it receives, or both."""

    def _watch_records(self) -> Watch: ...
    def _watch_room(self) -> Watch: ...
    def _has_claim(self) -> bool: ...
    def _lease(self, lane: int | None = None, owner: int = 0) -> tuple[int, int]: ...

class Receiving(LaneHandle, Generic[_RecordT]):
    """
    The verbs of what receives. No methods of its own in C, and no fields: the class of rings has it as a second base, beside one
    that has the verbs of a producer.
    """

    def get(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> bytes:
        """
        Copy the next record out, waiting while there is none.

        Lanes are served in turn; of each, records come in the order in which they were put or published, and with order="all"
        of a topic those of all lanes do. Takes the role at first use. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not wait for producers or publishers that are gone. Before the first one came nobody is: then it
                waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: it was shut down, and there is nothing more to get.
            PeerGoneError: asked for by *require_peer*: there were some that send, all have died or left, and there is nothing
                more to get.
            RoleTakenError: a live process is the consumer of a ring; nothing is waited for.
            Evicted: publishers waited for this subscription longer than its evict_after=. Told once; the subscription has
                ended, and its loans stay readable.
            Lapped: records of a topic were overwritten before they were got. Only if the subscription asked for it; it goes on
                behind them.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region.
            MemoryError: no memory for the result; the record is still the next one.
        """
    def get_nowait(self) -> bytes:
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
    def _get_now(self) -> bytes | None: ...
    def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[bytes]:
        """
        Copy out what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages: so much memory at a time would be new
        to the process, and cost more than the calls that are saved.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
    def get_into(
        self,
        buffer: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was, or holds rubbish where a record of a topic was
            overwritten while it was copied.

        Raises:
            ValueError: it is longer than the buffer; it is still the next one.
            As `get` otherwise.
        """
    def borrow(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _RecordT:
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        Until it is released it takes up room; in this process the next get goes on behind it. A topic keeps it for a
        subscription with when_full="wait"; for one with "overwrite" a publisher may overwrite it meanwhile: the end of its
        `with` raises Lapped then, and `record.overwritten` says so before.

        Returns:
            A Record, of a topic a TopicRecord, with the buffer protocol, to be released: by `with`, or when its last view
            dies.

        Raises:
            As `get`.
        """
    def borrow_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Loans[_RecordT]:
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
    def borrowed(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Borrowed[_RecordT]:
        """
        Iterate over loans until a `shutdown`, and until all is got then. Each is released when the next one is asked for, or
        later with its last view.

        Raises:
            Empty: there was no record within *timeout*.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a record to get, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It stays readable until a
        get of this handle ends in Empty, so get with timeout=0 until then. It is readable for nothing now and then, ten times a
        second at the most. Takes the role, as the first get does. For room to put or publish, ask a handle made by `producer()`
        or `publisher()`. A subscription of a topic that is open read-only finds records ten times a second only.

        Raises:
            RoleTakenError: a live process is the consumer of a ring.
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle or the region.
        """
    def records(
        self,
        *,
        until: _Until | None = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> Records:
        """
        Iterate over records, as `get` gives them, until a `shutdown`, and until all is got then, or until *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put or published is read: a
                multiprocessing.Process, a subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not
                matter how they end, nor whether they ever put or published anything. Looked for when there is nothing to
                get, and at least ten times a second; records of others that come meanwhile are given out, too.
            require_peer: Do not wait for producers or publishers that are gone, as in `get`.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...

@final
class Borrowed(Generic[_RecordT]):
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _RecordT: ...
    def close(self) -> None: ...

@final
class Records:
    """What `records` iterates with."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
