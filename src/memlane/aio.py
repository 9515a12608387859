# SPDX-License-Identifier: MIT
"""
Waiting in an event loop: the verbs of a handle, awaited. For asyncio, uvloop and trio.

`wrap(handle)` gives an object with the same verbs. Each looks, and takes without waiting when
something is there, so a wait that is cancelled has taken nothing. An event loop has one descriptor,
however many handles wait in it, and one timer for what no wake-up tells, as that a process died.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, Generic, Self, SupportsFloat, TypeVar, overload

import memlane._arguments as _arguments
from memlane._core import (
    LaneHandle,
    Loans,
    Publishing,
    Receiving,
    Reservation,
    Selector,
    Sending,
    SlotBase,
    Watch,
)
from memlane.errors import Empty, Full, RoleTakenError, ShutDown

__all__ = ["AsyncPublisher", "AsyncReceiver", "AsyncRing", "AsyncSender", "AsyncSlot", "wrap"]

_ResultT = TypeVar("_ResultT")

#: Another look is taken after this long at the latest, in seconds: as of every wait.
_SLICE_S = 0.1
#: The same where nobody can wake this process: the longest pause of other waits that poll.
_POLL_S = 0.005
#: After so many calls that did not wait, the other tasks of the loop have their turn. Arbitrary.
_CALLS_A_TURN = 64


class _Waiter:
    """A task that waits: `wake` is there while it is suspended."""

    __slots__ = ("is_woken", "wake")

    def __init__(self) -> None:
        self.is_woken = False
        self.wake: Callable[[], object] | None = None


class _Queue:
    """The tasks of one loop that wait for the same, in order; the first is woken."""

    __slots__ = ("waiters", "watch")

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.waiters: deque[_Waiter] = deque()

    def wake(self) -> None:
        first = self.waiters[0]
        if not first.is_woken:
            first.is_woken = True
            if first.wake is not None:
                first.wake()


class _Loop:
    """What an event loop has of its own, whichever it is."""

    def __init__(self) -> None:
        self.selector = Selector()
        self.queues: dict[Watch, _Queue] = {}
        self.is_polling = False

    # ---- for the tasks -------------------------------------------------------------------------

    def join(self, queue: _Queue) -> None:
        """Arm for a queue, behind a look that found nothing, and look again."""
        self.queues[queue.watch] = queue
        is_due, is_armed = self.selector.join(queue.watch)
        if not is_armed:
            self.is_polling = True
        if is_due:
            queue.wake()
        self.see_to_time()

    def leave(self, queue: _Queue, waiter: _Waiter) -> None:
        """A task waits no longer. If it was woken, the next one is, or is armed for."""
        queue.waiters.remove(waiter)
        if not queue.waiters:
            self.queues.pop(queue.watch, None)
            if not self.queues:
                self.is_polling = False
        elif waiter.is_woken:
            self.join(queue)

    # ---- for the loop --------------------------------------------------------------------------

    def pending(self) -> list[Watch]:
        return [
            watch
            for watch, queue in self.queues.items()
            if queue.waiters and not queue.waiters[0].is_woken
        ]

    def on_readable(self) -> None:
        """Behind a wake-up: drain, look, and arm for what was not due."""
        try:
            self.selector.empty()
        except OSError:
            self.renew()
        self.wake(self.selector.due(self.pending()))
        rest = self.pending()
        if rest:
            self.wake(self.selector.arm(rest, False))
        self.see_to_descriptors()

    def on_slice(self) -> None:
        """A slice is over: all that a verb looks at."""
        rest = self.pending()
        if rest:
            self.wake(self.selector.arm(rest, True))
            self.see_to_descriptors()

    def wake(self, watches: Iterable[Watch]) -> None:
        for watch in watches:
            self.queues[watch].wake()

    def period(self) -> float:
        return _POLL_S if self.is_polling else _SLICE_S

    def renew(self) -> None:
        raise NotImplementedError

    def see_to_time(self) -> None:
        """See that the timer runs while something is waited for."""
        raise NotImplementedError

    def see_to_descriptors(self) -> None:
        """See that the loop waits for all descriptors there are by now."""

    async def pause(self, waiter: _Waiter, deadline: float) -> bool:
        """Until it is woken; False: *deadline*, a time of the loop, came first."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def now(self) -> float:
        raise NotImplementedError


class _AsyncioLoop(_Loop):
    """Of asyncio, or of a loop with its interface."""

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
        if self._timer is None and self.queues:
            self._timer = self._running().call_later(self.period(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.on_slice()
        self.see_to_time()

    async def pause(self, waiter: _Waiter, deadline: float) -> bool:
        loop = self._running()
        if waiter.is_woken:
            await asyncio.sleep(0)
            return True
        future: asyncio.Future[bool] = loop.create_future()

        def end(is_woken: bool) -> None:
            if not future.done():
                future.set_result(is_woken)

        waiter.wake = lambda: end(True)
        timer = None if deadline == math.inf else loop.call_at(deadline, end, False)
        try:
            return await future
        finally:
            waiter.wake = None
            if timer is not None:
                timer.cancel()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return self._running().time()

    def end(self) -> None:
        """The loop is closed."""
        self.selector.end()


class _TrioLoop(_Loop):
    """Of trio: a system task waits for the descriptor."""

    def __init__(self, trio: Any) -> None:
        super().__init__()
        self._trio = trio
        self._scope: Any = None
        trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        trio = self._trio
        try:
            while True:
                with trio.CancelScope() as self._scope:
                    self.see_to_time()
                    await trio.lowlevel.wait_readable(self.selector.descriptor)
                if self._scope.cancelled_caught:
                    self.on_slice()
                else:
                    self.on_readable()
        finally:
            self.selector.end()

    def renew(self) -> None:
        self.selector.end()
        self.selector = Selector()

    def see_to_time(self) -> None:
        if self._scope is not None and self.queues and self._scope.deadline == math.inf:
            self._scope.deadline = self._trio.current_time() + self.period()

    async def pause(self, waiter: _Waiter, deadline: float) -> bool:
        trio = self._trio
        if waiter.is_woken:
            await trio.lowlevel.checkpoint()
            return True
        event = trio.Event()
        waiter.wake = event.set
        try:
            with trio.CancelScope(deadline=deadline):
                await event.wait()
            return bool(event.is_set())
        finally:
            waiter.wake = None

    async def sleep(self, seconds: float) -> None:
        await self._trio.sleep(seconds)

    def now(self) -> float:
        return float(self._trio.current_time())


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _AsyncioLoop] = (
    weakref.WeakKeyDictionary()
)
_of_run: list[Any] = []  # a RunVar of trio, once it is used


def _running_trio() -> Any:
    """trio, if its loop runs in this task; else None."""
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else None


def _running() -> _Loop:
    """That of the loop that runs in this thread."""
    trio = _running_trio()
    if trio is not None:
        if not _of_run:
            _of_run.append(trio.lowlevel.RunVar("memlane"))
        try:
            known: _Loop = _of_run[0].get()
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
    found = _loops.get(loop)
    if found is None or not found.selector.is_ours:
        for other in list(_loops):
            if other.is_closed():
                _loops.pop(other).end()
        found = _loops[loop] = _AsyncioLoop(loop)
    return found


class _Taking(Generic[_ResultT]):
    """Something that is awaited, or entered with `async with`."""

    def __init__(self, take: Callable[[], Awaitable[_ResultT]]) -> None:
        self._take = take

    def __await__(self) -> Generator[Any, Any, _ResultT]:
        return self._take().__await__()

    async def __aenter__(self) -> _ResultT:
        taken: Any = await self._take()
        self._taken = taken
        entered: _ResultT = taken.__enter__()
        return entered

    async def __aexit__(self, *error: object) -> None:
        self._taken.__exit__(*error)


class _Wrapped:
    """
    What all have.

    Attributes:
        handle: What was wrapped.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self._calls = 0
        self._waits: weakref.WeakKeyDictionary[_Loop, dict[str, _Queue]] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.handle!r}>"

    def close(self) -> None:
        """Close the handle."""
        self.handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def _queue(self, loop: _Loop, what: str) -> _Queue:
        queues = self._waits.setdefault(loop, {})
        queue = queues.get(what)
        if queue is None:
            queue = queues[what] = _Queue(getattr(self.handle, what)())
        return queue

    async def _until(
        self,
        verb: Callable[[], _ResultT],
        what: str | Watch,
        timeout: SupportsFloat | None,
        nothing: tuple[type[BaseException], ...],
    ) -> _ResultT:
        """Call *verb*, which never waits, until it raises none of *nothing*, or for *timeout*."""
        seconds = _arguments.optional_timeout(timeout)
        self._calls += 1
        if self._calls >= _CALLS_A_TURN:
            self._calls = 0
            await _running().sleep(0)
        try:
            return verb()
        except nothing:
            if seconds == 0:
                raise
        self._calls = 0
        loop = _running()
        deadline = math.inf if seconds is None else loop.now() + seconds
        queue = self._queue(loop, what) if isinstance(what, str) else _Queue(what)
        waiter = _Waiter()
        queue.waiters.append(waiter)
        try:
            loop.join(queue)
            while True:
                is_over = not await loop.pause(waiter, deadline)
                try:
                    return verb()
                except RoleTakenError:
                    if RoleTakenError not in nothing or loop.now() >= deadline:
                        raise
                    await loop.sleep(min(_POLL_S, deadline - loop.now()))  # no wake-up tells it
                except nothing:
                    if is_over or loop.now() >= deadline:
                        raise
                waiter.is_woken = False
                loop.join(queue)
        finally:
            loop.leave(queue, waiter)


class AsyncReceiver(_Wrapped):
    """A ring's consumer or a topic's subscription, awaited. Made by `wrap`."""

    def _get(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> Awaitable[_ResultT]:
        return self._until(verb, "_watch_records", timeout, (Empty,))

    async def get(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> bytes:
        """As `get` of the handle. A wait that is cancelled has taken nothing."""
        get = self.handle.get
        return await self._get(lambda: get(timeout=0, require_peer=require_peer), timeout)

    async def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[bytes]:
        """As `get_many` of the handle."""
        get_many = self.handle.get_many
        return await self._get(
            lambda: get_many(most, timeout=0, require_peer=require_peer), timeout
        )

    async def get_into(
        self, buffer: Any, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> int:
        """As `get_into` of the handle."""
        get_into = self.handle.get_into
        return await self._get(
            lambda: get_into(buffer, timeout=0, require_peer=require_peer), timeout
        )

    def borrow(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Taking[Any]:
        """As `borrow` of the handle: await it, or `async with a.borrow() as record`."""
        borrow = self.handle.borrow
        return _Taking(
            lambda: self._get(lambda: borrow(timeout=0, require_peer=require_peer), timeout)
        )

    def borrow_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Taking[Loans[Any]]:
        """As `borrow_many` of the handle: await it, or `async with a.borrow_many(n) as records`."""
        borrow_many = self.handle.borrow_many
        return _Taking(
            lambda: self._get(
                lambda: borrow_many(most, timeout=0, require_peer=require_peer), timeout
            )
        )

    def records(
        self,
        *,
        until: Any = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> _Records:
        """As `records` of the handle: iterate with `async for`."""
        return _Records(self, until, require_peer, timeout)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.get()
        except ShutDown:
            raise StopAsyncIteration from None


class _Records:
    """What `records` iterates with."""

    def __init__(
        self,
        receiver: AsyncReceiver,
        until: Any,
        require_peer: bool,
        timeout: SupportsFloat | None,
    ) -> None:
        self._records = receiver.handle.records(until=until, require_peer=require_peer, timeout=0)
        self._receiver = receiver
        self._is_timed = until is not None
        self._timeout = _arguments.optional_timeout(timeout)

    def __aiter__(self) -> Self:
        return self

    def _next(self) -> bytes | None:
        record: bytes | None = next(self._records, None)
        return record

    async def __anext__(self) -> bytes:
        left = math.inf if self._timeout is None else self._timeout
        while True:
            # the end of a process is looked for once a slice
            step = min(left, _SLICE_S) if self._is_timed else left
            try:
                record = await self._receiver._get(self._next, None if step == math.inf else step)
            except Empty:
                left -= step
                if left <= 0:
                    raise
                continue
            if record is None:
                raise StopAsyncIteration
            return record


class _Sending(_Wrapped):
    """What producers and publishers have."""

    def _put(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> Awaitable[_ResultT]:
        return self._until(verb, "_watch_room", timeout, (Full, RoleTakenError))

    async def _all(
        self,
        verb: Callable[..., int],
        records: Iterable[Any],
        timeout: SupportsFloat | None,
        **options: Any,
    ) -> int:
        seconds = _arguments.optional_timeout(timeout)
        rest = list(records)
        done = await self._put(lambda: verb(rest, timeout=0, **options), timeout)
        deadline = None
        while done < len(rest):
            if deadline is None:
                deadline = math.inf if seconds is None else _running().now() + seconds
            left = None if deadline == math.inf else max(0.0, deadline - _running().now())
            try:
                done += await self._put(
                    lambda done=done: verb(rest[done:], timeout=0, **options),  # type: ignore[misc]
                    left,
                )
            except (Full, ShutDown):
                break
        return done


class AsyncSender(_Sending):
    """
    A ring's producer, awaited. Made by `wrap`.

    One reservation of a handle may be open at a time, as in one thread: tasks that reserve have a
    handle each, by `ring.producer()`.
    """

    async def put(
        self, record: Any, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> None:
        """As `put` of the handle. A wait that is cancelled has put nothing."""
        put = self.handle.put
        await self._put(lambda: put(record, timeout=0, require_peer=require_peer), timeout)

    async def put_many(
        self,
        records: Iterable[Any],
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """As `put_many` of the handle. One that is cancelled may have put some of the first."""
        put_many = self.handle.put_many
        return await self._all(put_many, records, timeout, require_peer=require_peer)

    def reserve(
        self,
        nbytes: int | str,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> _Taking[Reservation]:
        """As `reserve` of the handle: await it, or `async with a.reserve(n) as room`."""
        reserve = self.handle.reserve
        return _Taking(
            lambda: self._put(
                lambda: reserve(nbytes, timeout=0, require_peer=require_peer), timeout
            )
        )


class AsyncRing(AsyncReceiver, AsyncSender):
    """A ring, awaited: the verbs of both roles. Made by `wrap`."""


class AsyncPublisher(_Sending):
    """A topic or its publisher, awaited. Made by `wrap`."""

    async def publish(self, record: Any, *, timeout: SupportsFloat | None = None) -> None:
        """As `publish` of the handle. A wait that is cancelled has published nothing."""
        publish = self.handle.publish
        await self._put(lambda: publish(record, timeout=0), timeout)

    async def publish_many(
        self, records: Iterable[Any], *, timeout: SupportsFloat | None = None
    ) -> int:
        """As `publish_many` of the handle. One that is cancelled may have published the first."""
        return await self._all(self.handle.publish_many, records, timeout)

    def reserve(
        self, nbytes: int | str, *, timeout: SupportsFloat | None = None
    ) -> _Taking[Reservation]:
        """As `reserve` of the handle: await it, or `async with a.reserve(n) as room`."""
        reserve = self.handle.reserve
        return _Taking(lambda: self._put(lambda: reserve(nbytes, timeout=0), timeout))


class AsyncSlot(_Wrapped):
    """A slot, awaited. Made by `wrap`."""

    async def wait_newer(
        self, version: int, timeout: SupportsFloat | None = None
    ) -> tuple[Any, int]:
        """As `wait_newer` of the slot."""
        slot = self.handle
        return await self._until(
            lambda: slot.wait_newer(version, timeout=0),
            slot._watch_newer(version),
            timeout,
            (TimeoutError,),
        )

    async def read(self, *, timeout: SupportsFloat | None = None) -> Any:
        """As `read` of the slot, which waits for nobody; before the first publish for that."""
        slot = self.handle
        with contextlib.suppress(Empty):
            return slot.read()
        return (await self.wait_newer(0, timeout))[0]

    async def publish(self, value: Any, *, timeout: SupportsFloat | None = None) -> int:
        """As `publish` of the slot. With writers="many" the loop stands while another is inside."""
        version: int = self.handle.publish(value, timeout=timeout)
        return version


@overload
def wrap(handle: SlotBase[Any]) -> AsyncSlot: ...
@overload
def wrap(handle: Publishing) -> AsyncPublisher: ...  # type: ignore[overload-overlap]
@overload
def wrap(handle: LaneHandle) -> AsyncRing: ...
def wrap(handle: Any) -> Any:
    """
    Make an object with the verbs of *handle*, to be awaited in an event loop.

    The same handle may be wrapped several times, and awaited in the loops of several threads. Each
    verb looks first and takes without waiting where something is there; where nothing is, the task
    waits, and other tasks run. `timeout=` and canceling lose no record.

    Args:
        handle: A ring, producer, consumer, topic, publisher, subscription or slot.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(handle, SlotBase):
        return AsyncSlot(handle)
    if isinstance(handle, Publishing):
        return AsyncPublisher(handle)
    if isinstance(handle, Receiving) and isinstance(handle, Sending):
        return AsyncRing(handle)
    if isinstance(handle, Receiving):
        return AsyncReceiver(handle)
    if isinstance(handle, Sending):
        return AsyncSender(handle)
    raise TypeError(
        "wrap takes a ring, producer, consumer, topic, publisher, subscription or slot, got "
        f"{_arguments.shown(handle)}"
    )
