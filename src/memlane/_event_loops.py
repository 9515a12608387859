# SPDX-License-Identifier: MIT
"""
What an event loop has of its own while tasks in it wait for handles: of asyncio, uvloop and trio.

One descriptor, by which others wake the process, however many handles are waited for, and one timer
for what no wake-up tells, as that a process died. A task that waits stands in a queue; the first
one of the queue is woken, and takes what it was woken for before anything else of the loop runs.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from memlane._core import Selector, Watch

#: Another look is taken after this long at the latest, in seconds: as of every wait.
SLICE_S = 0.1
#: The same where nobody can wake this process: the longest pause of other waits that poll.
POLL_S = 0.005


class Waiter:
    """A task that waits: `wake` is there while it is suspended."""

    __slots__ = ("is_woken", "wake")

    def __init__(self) -> None:
        self.is_woken = False
        self.wake: Callable[[], object] | None = None


class Queue:
    """The tasks of one loop that wait for the same, in order; the first is woken."""

    __slots__ = ("waiters", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.waiters: deque[Waiter] = deque()

    def wake(self) -> None:
        first = self.waiters[0]
        if not first.is_woken:
            first.is_woken = True
            if first.wake is not None:
                first.wake()


class EventLoop:
    """What an event loop has of its own, whichever it is."""

    def __init__(self) -> None:
        self.selector = Selector()
        self.queues: dict[Watch, Queue] = {}
        #: Those that nobody announces to, so that they are looked at by a short timer.
        self.polled: set[Watch] = set()
        self.slice_end = -math.inf
        self.ref = weakref.ref(self)

    # ---- for the tasks -------------------------------------------------------------------------

    def join(self, queue: Queue) -> None:
        """Arm for a queue, behind a look that found nothing, and look again."""
        watch = queue.watch
        if not self.queues:
            self.slice_end = self.now() + SLICE_S
        self.queues[watch] = queue
        is_due, is_armed = self.selector.join(watch)
        if is_armed:
            self.polled.discard(watch)
        else:
            self.polled.add(watch)
        if is_due:
            queue.wake()
        self.see_to_time()

    def leave(self, queue: Queue, waiter: Waiter) -> None:
        """A task waits no longer. If it was woken, the next one is, or is armed for."""
        queue.waiters.remove(waiter)
        if not queue.waiters:
            self.queues.pop(queue.watch, None)
            self.polled.discard(queue.watch)
        elif waiter.is_woken:
            self.join(queue)

    # ---- for the loop --------------------------------------------------------------------------

    def _pending(self) -> list[Watch]:
        return [watch for watch, queue in self.queues.items() if not queue.waiters[0].is_woken]

    def on_readable(self) -> None:
        """Behind a wake-up: drain, look, and arm for what was not due."""
        try:
            self.selector.empty()
        except OSError:
            self.renew()
        pending = self._pending()
        due = self.selector.due(pending)
        self._wake(due)
        if len(due) < len(pending):
            self._wake(self.selector.arm(self._pending(), False))
            self.see_to_descriptors()

    def on_time(self) -> None:
        """Look at those that nobody announces to; when a slice is over, at all that verbs do."""
        now = self.now()
        if now < self.slice_end:
            polled = [watch for watch in self._pending() if watch in self.polled]
            self._wake(self.selector.due(polled))
            return
        self.slice_end = now + SLICE_S
        rest = self._pending()
        if rest:
            self._wake(self.selector.arm(rest, True))
            self.polled = set(self.selector.not_announced(rest))
            self.see_to_descriptors()

    def _wake(self, watches: Iterable[Watch]) -> None:
        for watch in watches:
            self.queues[watch].wake()

    def next_time(self) -> float:
        """When `on_time` is due."""
        return min(self.slice_end, self.now() + POLL_S) if self.polled else self.slice_end

    # ---- of each kind of loop ------------------------------------------------------------------

    def renew(self) -> None:
        """Make another descriptor: that which there was is lost."""
        raise NotImplementedError

    def see_to_time(self) -> None:
        """See that the timer runs while something is waited for."""
        raise NotImplementedError

    def see_to_descriptors(self) -> None:
        """See that the loop waits for all descriptors there are by now."""
        raise NotImplementedError

    async def pause(self, waiter: Waiter, deadline: float) -> bool:
        """Until it is woken; False: *deadline*, a time of the loop, came first."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def now(self) -> float:
        raise NotImplementedError

    def task(self) -> object:
        """The one that runs now."""
        raise NotImplementedError


# ---- asyncio, and loops with its interface -------------------------------------------------------


def _end(future: asyncio.Future[bool], is_woken: bool) -> None:
    if not future.done():
        future.set_result(is_woken)


class _AsyncioLoop(EventLoop):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = weakref.ref(loop)
        self._timer: asyncio.TimerHandle | None = None
        self._added: list[int] = []
        self.see_to_descriptors()

    def _running(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None
        return loop

    def see_to_descriptors(self) -> None:
        wanted = [self.selector.descriptor]
        if self.selector.watch_descriptor >= 0:
            wanted.append(self.selector.watch_descriptor)
        for number in wanted:
            if number not in self._added:
                self._running().add_reader(number, self.on_readable)
                self._added.append(number)

    def renew(self) -> None:
        for number in self._added:
            self._running().remove_reader(number)
        self._added = []
        self.selector.end()
        self.selector = Selector()

    def see_to_time(self) -> None:
        timer = self._timer
        if timer is not None and self.polled and timer.when() > self.now() + POLL_S:
            timer.cancel()
            self._timer = timer = None
        if timer is None and self.queues:
            self._timer = self._running().call_at(self.next_time(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.on_time()
        self.see_to_time()

    async def pause(self, waiter: Waiter, deadline: float) -> bool:
        loop = self._running()
        if waiter.is_woken:
            await asyncio.sleep(0)
            return True
        future: asyncio.Future[bool] = loop.create_future()
        waiter.wake = partial(_end, future, True)
        if deadline == math.inf:
            try:
                return await future
            finally:
                waiter.wake = None
        timer = loop.call_at(deadline, _end, future, False)
        try:
            return await future
        finally:
            waiter.wake = None
            timer.cancel()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return self._running().time()

    def task(self) -> object:
        return asyncio.current_task()

    def end(self) -> None:
        """The loop is closed."""
        self.selector.end()


# ---- trio ----------------------------------------------------------------------------------------


class _TrioLoop(EventLoop):
    """A task of the system waits for each descriptor."""

    def __init__(self, trio: Any) -> None:
        super().__init__()
        self._trio = trio
        self._scope: Any = None
        self._watched = -1
        trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        trio = self._trio
        try:
            while True:
                with trio.CancelScope() as self._scope:
                    self.see_to_time()
                    await self._readable(self.selector.descriptor)
                if self._scope.cancelled_caught:
                    self.on_time()
                else:
                    self.on_readable()
        finally:
            self.selector.end()

    async def _run_watch(self, number: int) -> None:
        while number == self.selector.watch_descriptor:
            await self._readable(number)
            self.on_readable()

    async def _readable(self, number: int) -> None:
        try:
            await self._trio.lowlevel.wait_readable(number)
        except OSError:
            await self._trio.lowlevel.checkpoint()  # closed behind our back: draining finds it

    def see_to_descriptors(self) -> None:
        number = self.selector.watch_descriptor
        if number >= 0 and number != self._watched:
            self._watched = number
            self._trio.lowlevel.spawn_system_task(self._run_watch, number)

    def renew(self) -> None:
        self.selector.end()
        self.selector = Selector()
        self._watched = -1

    def see_to_time(self) -> None:
        if self._scope is not None and self.queues:
            wanted = self.next_time()
            if self._scope.deadline > wanted:
                self._scope.deadline = wanted

    async def pause(self, waiter: Waiter, deadline: float) -> bool:
        trio = self._trio
        if waiter.is_woken:
            await trio.lowlevel.checkpoint()
            return True
        event = trio.Event()
        waiter.wake = event.set
        try:
            if deadline == math.inf:
                await event.wait()
                return True
            with trio.CancelScope(deadline=deadline):
                await event.wait()
            return bool(event.is_set())
        finally:
            waiter.wake = None

    async def sleep(self, seconds: float) -> None:
        await self._trio.sleep(seconds)

    def now(self) -> float:
        return float(self._trio.current_time())

    def task(self) -> object:
        return self._trio.lowlevel.current_task()


# ---- which one runs ------------------------------------------------------------------------------


class _OfThread(threading.local):
    """The loops of asyncio that have run in a thread."""

    def __init__(self) -> None:
        self.loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _AsyncioLoop] = (
            weakref.WeakKeyDictionary()
        )


_of_thread = _OfThread()
_of_run: list[Any] = []  # a RunVar of trio, once it is used


def _running_trio() -> Any:
    """trio, if its loop runs in this task; else None."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else None


def running() -> EventLoop:
    """That of the loop that runs in this thread; RuntimeError: none does."""
    trio = _running_trio()
    if trio is not None:
        if not _of_run:
            _of_run.append(trio.lowlevel.RunVar("memlane"))
        try:
            known: EventLoop = _of_run[0].get()
        except LookupError:
            known = _TrioLoop(trio)
            _of_run[0].set(known)
        return known
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no event loop of asyncio, uvloop or trio runs in this thread; await it in one, or use "
            "the handle that is not wrapped"
        ) from None
    loops = _of_thread.loops
    found = loops.get(loop)
    if found is None or not found.selector.is_ours:
        for other in list(loops):
            if other.is_closed():
                loops.pop(other).end()
        found = loops[loop] = _AsyncioLoop(loop)
    return found
