# SPDX-License-Identifier: MIT
from collections.abc import Callable, Sequence
from typing import Any, Generic, SupportsFloat

from typing_extensions import Buffer, disjoint_base
from typing_extensions import TypeVar as TypeVarWithDefault

from memlane._core.arguments import _NumpyArray
from memlane._core.layout import _Entry
from memlane._core.membership import Membership
from memlane._core.selecting import Watch

_ValueT = TypeVarWithDefault("_ValueT", default=Any)

@disjoint_base
class SlotBase(Generic[_ValueT]):
    """What a slot does without going through Python."""

    def _bind(
        self,
        membership: Membership,
        entry: _Entry,
        index: int,
        encode: Callable[..., Any] | None,
        items: int | None,
        decode: Callable[[bytes], Any] | None,
    ) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def publish(self, value: Any, *, timeout: SupportsFloat | None = None) -> int:
        """
        Make *value* the latest one, whole, for all readers. Never waits for readers.

        Takes the writer's role at first use. With writers="many" it waits while another writer is inside, which is
        for the time of a copy; one that was stopped in there keeps other writers (never readers) waiting.

        Args:
            value: What the slot's layout says: items for a struct format, bytes of exactly that length, a
                ctypes.Structure, something that numpy can turn into the dtype.
            timeout: With writers="many": longest wait for another writer, in seconds.

        Returns:
            The new version, 1 for the first.

        Raises:
            ValueError, TypeError: *value* does not fit the layout; nothing is published.
            RoleTakenError: a live process is the writer.
            TimeoutError: another writer was inside for all of *timeout*.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def read(self, *, timeout: SupportsFloat | None = None) -> _ValueT:
        """
        Copy the latest value out, whole. Needs no write access, and is never kept waiting by a writer that died or
        was stopped; only one that publishes faster than the value can be copied makes it try again.

        Args:
            timeout: Longest time to try, in seconds.

        Returns:
            A new value as the slot's layout says: a tuple for a struct format, bytes, a ctypes.Structure, a numpy
            array or scalar.

        Raises:
            Empty: nothing was ever published.
            TimeoutError: overtaken by the writer for all of *timeout*.
            ClosedError: this process closed the handle.
        """
    def read_versioned(self, *, timeout: SupportsFloat | None = None) -> tuple[_ValueT, int]:
        """As `read`, with the version of that very value: (value, version)."""
    def read_stamped(
        self, *, timeout: SupportsFloat | None = None
    ) -> tuple[_ValueT, int, float | None]:
        """
        As `read`, with the version and the time of that very value: (value, version, stamp).

        The stamp is when it was published, in seconds of `time.CLOCK_BOOTTIME`; None where the publisher's clock was
        another one, before a reboot or in another time namespace.
        """
    def read_into(
        self, buffer: Buffer | _NumpyArray, *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        Copy the bytes of the latest value into a writable contiguous *buffer* of at least that length.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `read` otherwise; then the buffer holds rubbish.
        """
    def wait_newer_into(
        self, buffer: Buffer | _NumpyArray, version: int, *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        As `wait_newer`, into a writable contiguous *buffer* of at least the length of a value.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `wait_newer` otherwise.
        """
    def wait_newer(self, version: int, timeout: SupportsFloat | None = None) -> tuple[_ValueT, int]:
        """
        Wait until something newer than *version* is published.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a
        growing pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            version: A version that the caller has seen; 0 for none.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (value, version) of the latest value.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ClosedError: this process closed the handle.
        """
    @property
    def version(self) -> int:
        """How many values were published so far; 0: none."""
    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
    @property
    def age(self) -> float | None:
        """
        Seconds since the latest value was published; None if there is none, or where the publisher's clock was another
        one: before a reboot, or in another time namespace.
        """
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a newer value than this handle
        has read.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. Each reading by this
        handle makes it unreadable again, until the next publish. It is readable for nothing now and then, ten times a second at
        the most. A reader without write access finds values ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle.
        """
    def _watch_newer(self, version: int | None = None) -> Watch: ...

@disjoint_base
class TableBase:
    """What a table of slots does without going through Python."""

    def _watch_newer(self, slots: list[Any], versions: Sequence[int] | None = None) -> Watch: ...
    def _number_of(self, slots: list[Any]) -> int: ...
    def _begin_reading(self) -> bool: ...
    def _end_reading(self) -> None: ...
    def _close_number(self) -> None: ...
