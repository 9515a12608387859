# SPDX-License-Identifier: MIT
from typing import Self, SupportsFloat

from typing_extensions import disjoint_base

from memlane._core.layout import _Doorbells, _Entry
from memlane._core.membership import Membership
from memlane._core.selecting import Watch

def lock_shape(watchers: int) -> tuple[int, tuple[_Doorbells, _Doorbells]]: ...
def event_shape(watchers: int) -> tuple[int, tuple[_Doorbells, _Doorbells]]: ...

@disjoint_base
class LockBase:
    """What a lock does without going through Python."""

    def _bind(
        self, membership: Membership, entry: _Entry, raises: bool, recursive: bool
    ) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    @property
    def owner_died(self) -> bool:
        """
        Whether the process that had the lock before died with it: told to the one that has it now, until it releases the
        lock. What the lock protects may be half done then.
        """
    def locked(self) -> bool:
        """
        Whether somebody has the lock at this moment; also a process that died, as long as nobody has come after it.

        Raises:
            ClosedError: this process closed the handle.
        """
    @property
    def owner(self) -> int | None:
        """The pid of the process that has the lock, in its own pid namespace; None: it is free."""
    @property
    def deaths(self) -> int:
        """How many owners died with the lock so far."""
    def acquire(
        self,
        block: bool = True,
        timeout: SupportsFloat | None = None,
        *,
        blocking: bool | None = None,
    ) -> bool:
        """
        Take the lock, for this thread of this process. Without contention that costs no system call.

        Sleeps at a doorbell of its own while another one has it; when all doorbells are taken it polls with a growing pause.
        Other threads run meanwhile; Ctrl-C interrupts it. A lock whose owner has died goes to the next one, which is told:
        `owner_died` is true until the release. A thread that has waited for long is served before others.

        Args:
            block: False: do not wait. `blocking` is the same under the name that threading.Lock has for it.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            Whether it has the lock; False when *timeout* is over, or it does not wait.

        Raises:
            OwnerDied: the owner before died, and the handle was made with on_owner_died="raise". The lock is taken.
            RuntimeError: this thread has the lock already, and would wait for itself for ever: an RLock may be taken again.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def release(self) -> None:
        """
        Give the lock back, and wake the one that has waited longest. Only the thread that has the lock may; an RLock is given
        back by the last one of as many calls as took it.

        Raises:
            RuntimeError: this thread does not have the lock.
            ClosedError: this process closed the handle, which released the lock, or was taken for dead.
        """
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
    def _watch_free(self) -> Watch:
        """..."""

@disjoint_base
class EventBase:
    """What an event does without going through Python."""

    def _bind(self, membership: Membership, entry: _Entry) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def set(self) -> None:
        """
        Set it, and wake all that wait.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def clear(self) -> None:
        """Clear it: from now on waits last until the next `set`. Raises as `set`."""
    def is_set(self) -> bool:
        """
        Whether it is set. Needs no write access.

        Raises:
            ClosedError: this process closed the handle.
        """
    def wait(self, timeout: SupportsFloat | None = None) -> bool:
        """
        Wait until it is set; also if it is cleared again at once, all that wait by then go on.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a growing
        pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            True; False when *timeout* is over.

        Raises:
            ClosedError: this process closed the handle.
        """
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when it may be set.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. An `is_set` or `wait`
        that finds it cleared makes it unreadable again. A reader without write access finds it set ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle.
        """
    def _watch_set(self) -> Watch:
        """..."""
