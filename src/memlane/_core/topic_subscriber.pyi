# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from subprocess import Popen
from typing import Any, Self, SupportsFloat, TypeAlias, final

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray
from memlane._core.loan import Loans, RecordLoan

_Ending: TypeAlias = BaseProcess | Popen[Any] | int

_Until: TypeAlias = _Ending | Iterable[_Ending]

@final
class Subscriber:
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
    def get(self, *, timeout: SupportsFloat | None = None) -> bytes:
        """
        Copy the next record out, waiting while there is none.

        Records of one publisher come in the order of their publishes; with order="all" those of all publishers do. Other
        threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the topic was shut down, and all that was published has been got.
            Evicted: publishers waited for this subscription longer than its evict_after=. Told once; the subscription has
                ended, and its loans stay readable.
            Lapped: records were overwritten before they were got. Only if the subscription asked for it; it goes on behind.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region, or it was told before that it is evicted.
            MemoryError: no memory for the result; the record is still the next one.
        """
    def get_nowait(self) -> bytes:
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
    def get_many(self, most: int, *, timeout: SupportsFloat | None = None) -> list[bytes]:
        """
        Copy what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages, as of a ring.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
    def get_into(
        self, buffer: Buffer | _NumpyArray, *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was, or holds rubbish where a record was overwritten
            while it was copied.

        Raises:
            ValueError: it is longer than the buffer; it is still the next one.
            As `get` otherwise.
        """
    def borrow(self, *, timeout: SupportsFloat | None = None) -> TopicRecord:
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        With when_full="wait" the record stays there until every subscription that borrowed it has released it. With
        "overwrite" a publisher may overwrite it meanwhile: the end of its `with` raises Lapped then, and
        `record.overwritten` says so before.

        Returns:
            A TopicRecord, with the buffer protocol, to be released: by `with`, or when its last view dies.

        Raises:
            As `get`.
        """
    def borrow_many(self, most: int, *, timeout: SupportsFloat | None = None) -> Loans[TopicRecord]:
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
    def records(
        self, *, until: _Until | None = None, timeout: SupportsFloat | None = None
    ) -> TopicRecords:
        """
        Iterate over records, as `get` gives them, until the topic is shut down and everything is got, or *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they published is read: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor
                whether they ever published anything. Looked for when there is nothing to get, and at least ten times a
                second; records of others that come meanwhile are given out, too.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    @property
    def lost(self) -> int:
        """How many records were overwritten before this subscription got them: the exact number, since it began."""
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
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def close(self) -> None:
        """Give the place back; loans keep what they need until they are released. Never fails."""
    def __bool__(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

@final
class TopicRecord(RecordLoan):
    """
    A borrowed record of a topic: its bytes where they lie, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last.
    """

    @property
    def sequence(self) -> int:
        """
        Its number among the records of its publisher, which begin at 0 and never repeat; with order="all" among those of all
        publishers, of which one may be missing that was never published.
        """
    @property
    def publisher(self) -> int:
        """Which publisher published it: the number of its lane, as of `Record.producer`."""
    @property
    def overwritten(self) -> bool:
        """
        Whether a publisher has overwritten it meanwhile: then what was read of it may be anything. With when_full="wait"
        never. False now says that all that was read up to now is whole.
        """

@final
class TopicRecords:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
