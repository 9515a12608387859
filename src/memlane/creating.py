# SPDX-License-Identifier: MIT
"""The right to add an object to a region: one process and one thread at a time."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

from memlane import _arguments
from memlane._core import Membership


class Creating:
    """
    To be the one who adds an object: the kernel's lock on the creation byte, polled with a
    deadline.

    It goes with a process that dies, and its holder is named to those who wait. Threads of one
    process share the lock description, so a lock of the process stands before it. The region is
    pinned meanwhile.
    """

    #: Which thread has which lock: one that would wait for itself is told so.
    _holders: ClassVar[dict[Any, int]] = {}

    def __init__(self, member: Membership, timeout: float | None) -> None:
        self._member = member
        self._end = None if timeout is None else time.monotonic() + _arguments.timeout(timeout)
        self._lock = member.creation_mutex()
        self._pinned = member.pinned()

    def __enter__(self) -> None:
        self._pinned.__enter__()
        try:
            self._become_the_one()
        except BaseException:
            self._pinned.__exit__()
            raise

    def _become_the_one(self) -> None:
        if self._holders.get(self._lock) == threading.get_ident():
            raise RuntimeError(
                f"this thread is making an object in {self._member.name} already; a handler of a "
                "signal, or a finalizer, must not make one in its midst"
            )
        left = -1 if self._end is None else max(0.0, self._end - time.monotonic())
        left = min(left, threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=left):
            raise TimeoutError(
                "another thread of this process has not finished making an object in "
                f"{self._member.name}"
            )
        try:
            self._holders[self._lock] = threading.get_ident()
            pause = 0.0005
            while not self._member.try_lock_creation():
                if self._end is not None and time.monotonic() >= self._end:
                    holder = self._member.creation_holder
                    raise TimeoutError(
                        f"process {holder} has not finished making an object in "
                        f"{self._member.name}; wait longer, or see what holds it up: everything "
                        "else goes on"
                    )
                time.sleep(pause)
                pause = min(2 * pause, 0.02)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._holders.pop(self._lock, None)
        self._lock.release()

    def __exit__(self, *_error: object) -> None:
        try:
            self._member.unlock_creation()
        finally:
            self._let_go()
            self._pinned.__exit__()
