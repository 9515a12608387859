# SPDX-License-Identifier: MIT
"""
Waiting in an event loop: the verbs of a handle, awaited. For asyncio, uvloop and trio.

`wrap(handle)` gives an object with the same verbs. Each looks, and takes without waiting when
something is there, so a wait that is cancelled has taken nothing. An event loop has one descriptor,
however many handles wait in it, and one timer for what no wake-up tells, as that a process died.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Self,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    overload,
)

import memlane._arguments as _arguments
from memlane._core import (
    ArrayReservation,
    Borrowing,
    Consumer,
    EventBase,
    KeyWatch,
    Loans,
    LockBase,
    MapBase,
    Producer,
    Publisher,
    Publishing,
    QueueBase,
    Receiving,
    Record,
    RecordLoan,
    Reservation,
    Sending,
    SlotBase,
    Subscriber,
    TableBase,
    TopicRecord,
    Watch,
)
from memlane._event_loops import POLL_S, SLICE_S, EventLoop, Queue, Waiter, running
from memlane.errors import (
    ClosedError,
    Empty,
    Full,
    OwnerDied,
    PeerGoneError,
    RoleTakenError,
    ShutDown,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from memlane._core.arguments import _NumpyArray
    from memlane.ring import Ring
    from memlane.slot import SlotTable
    from memlane.topic import Topic

__all__ = [
    "AsyncConsumer",
    "AsyncEvent",
    "AsyncKeyWatch",
    "AsyncLock",
    "AsyncMap",
    "AsyncProducer",
    "AsyncPublisher",
    "AsyncQueue",
    "AsyncRing",
    "AsyncSlot",
    "AsyncSubscriber",
    "AsyncTable",
    "AsyncTopic",
    "wrap",
]

_HandleT = TypeVar("_HandleT")
_ReceivingT = TypeVar("_ReceivingT", bound=Receiving[Any])
_SendingT = TypeVar("_SendingT", bound=Sending)
_PublishingT = TypeVar("_PublishingT", bound=Publishing)
_RecordT = TypeVar("_RecordT", bound=RecordLoan)
_ResultT = TypeVar("_ResultT")
_ValueT = TypeVar("_ValueT")

#: After so many calls that did not wait, the other tasks of the loop have their turn. Arbitrary.
_CALLS_A_TURN = 256

#: What an iteration gives at its end, since None may be an object of a queue.
_END: Any = object()


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


class _Wrapped(Generic[_HandleT]):
    """
    What all have.

    Attributes:
        handle: What was wrapped.
    """

    def __init__(self, handle: _HandleT) -> None:
        self.handle = handle
        self._calls_left = _CALLS_A_TURN
        self._waits: dict[weakref.ref[EventLoop], dict[str, Queue]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.handle!r}>"

    def close(self) -> None:
        """Close the handle. Tasks that wait with it end in ClosedError."""
        handle: Any = self.handle
        handle.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def _queue(self, loop: EventLoop, what: str | Callable[[], Watch]) -> Queue:
        """That of the tasks of a loop which wait for the same."""
        queues = self._waits.get(loop.ref)
        if queues is None:
            waits = self._waits
            queues = waits[weakref.ref(loop, lambda ref: waits.pop(ref, None))] = {}
        if isinstance(what, str):
            queue = queues.get(what)
            if queue is None:
                queue = queues[what] = Queue(getattr(self.handle, what)())
            return queue
        # The last one is kept until there is another one, and with it the place in the region.
        queue = Queue(what())
        loop.selector.lead(queue.watch)
        queues["the last one"] = queue
        return queue

    def _waits_for_another(self, _loop: EventLoop) -> bool:
        """Whether what a verb has just refused is in the hand of another task."""
        return False

    async def _until(
        self,
        verb: Callable[[], _ResultT],
        what: str | Callable[[], Watch],
        timeout: SupportsFloat | None,
        nothing: tuple[type[BaseException], ...],
        has_looked: bool = False,
    ) -> _ResultT:
        """
        Call *verb*, which never waits, until it raises none of *nothing*, or for *timeout*. Where
        the caller *has_looked* at all that it looks at, and found nothing, first behind a wake-up.
        """
        seconds = None if timeout is None else _arguments.timeout(timeout)
        if self._calls_left <= 0:
            self._calls_left = _CALLS_A_TURN
            await running().sleep(0)
        self._calls_left -= 1
        if not has_looked:
            try:
                return verb()
            except nothing:
                if seconds == 0:
                    raise
            except RuntimeError:
                if seconds == 0 or not self._waits_for_another(running()):
                    raise
        self._calls_left = _CALLS_A_TURN
        loop = running()
        deadline = math.inf if seconds is None else loop.now() + seconds
        queue = self._queue(loop, what)
        waiter = Waiter()
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
                    await loop.sleep(min(POLL_S, deadline - loop.now()))  # no wake-up tells it
                except nothing:
                    if is_over or loop.now() >= deadline:
                        raise
                except RuntimeError:
                    if is_over or not self._waits_for_another(loop):
                        raise
                waiter.is_woken = False
                loop.join(queue)
        finally:
            loop.leave(queue, waiter)


# ---- what receives -------------------------------------------------------------------------------


class _Receiving(_Wrapped[_ReceivingT], Generic[_ReceivingT, _RecordT]):
    """What rings, consumers and subscriptions have."""

    #: As `get_nowait` of the handle.
    get_nowait: Callable[[], bytes]

    def __init__(self, handle: _ReceivingT) -> None:
        super().__init__(handle)
        self.get_nowait, self._get_now = handle.get_nowait, handle._get_now

    def _get(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> Awaitable[_ResultT]:
        return self._until(verb, "_watch_records", timeout, (Empty,))

    async def get(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> bytes:
        """As `get` of the handle. A wait that is cancelled has taken nothing."""
        has_looked = False
        if timeout is None and not require_peer and self._calls_left > 0:  # the usual, fast
            record = self._get_now()
            if record is not None:
                self._calls_left -= 1
                return record
            watch = self._queue(running(), "_watch_records").watch
            has_looked = not watch.is_ready()  # cheaper than an Empty
        get = self.handle.get
        return await self._until(
            lambda: get(timeout=0, require_peer=require_peer),
            *("_watch_records", timeout, (Empty,), has_looked),
        )

    async def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[bytes]:
        """As `get_many` of the handle."""
        get_many = self.handle.get_many
        return await self._get(
            lambda: get_many(most, timeout=0, require_peer=require_peer), timeout
        )

    async def get_into(
        self,
        buffer: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """As `get_into` of the handle."""
        get_into = self.handle.get_into
        return await self._get(
            lambda: get_into(buffer, timeout=0, require_peer=require_peer), timeout
        )

    def borrow(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Taking[_RecordT]:
        """As `borrow` of the handle: await it, or `async with a.borrow() as record`."""
        borrow = self.handle.borrow
        return _Taking(
            lambda: self._get(lambda: borrow(timeout=0, require_peer=require_peer), timeout)
        )

    def borrow_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Taking[Loans[_RecordT]]:
        """As `borrow_many` of the handle: await it, or `async with a.borrow_many(n) as records`."""
        borrow_many = self.handle.borrow_many
        return _Taking(
            lambda: self._get(
                lambda: borrow_many(most, timeout=0, require_peer=require_peer), timeout
            )
        )

    def borrowed(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Borrowed[_RecordT]:
        """
        As `borrowed` of the handle: iterate with `async for` over loans, each of which is released
        when the next one is asked for.
        """
        return _Borrowed(self, timeout, require_peer)

    def records(
        self,
        *,
        until: Any = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> _Records[bytes]:
        """As `records` of the handle: iterate with `async for`."""
        return _Records(self, until, require_peer, timeout)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.get()
        except ShutDown:
            raise StopAsyncIteration from None


class _Borrowed(Generic[_RecordT]):
    """What `borrowed` iterates with."""

    def __init__(
        self,
        receiver: _Receiving[Any, _RecordT],
        timeout: SupportsFloat | None,
        require_peer: bool,
    ) -> None:
        self._loans = receiver.handle.borrowed(timeout=0, require_peer=require_peer)
        self._receiver = receiver
        self._timeout = _arguments.optional_timeout(timeout)

    def __aiter__(self) -> Self:
        return self

    def _next(self) -> _RecordT | None:
        record: _RecordT | None = next(self._loans, None)
        return record

    async def __anext__(self) -> _RecordT:
        record = await self._receiver._get(self._next, self._timeout)
        if record is None:
            raise StopAsyncIteration
        return record

    def close(self) -> None:
        """Release the last one. Never fails."""
        self._loans.close()


class _Records(Generic[_ValueT]):
    """What `records` iterates with."""

    def __init__(
        self,
        receiver: _Receiving[Any, Any] | AsyncQueue,
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

    def _next(self) -> _ValueT:
        record: _ValueT = next(self._records, _END)
        return record

    async def __anext__(self) -> _ValueT:
        left = math.inf if self._timeout is None else self._timeout
        while True:
            # the end of a process is looked for once a slice
            step = min(left, SLICE_S) if self._is_timed else left
            try:
                record = await self._receiver._get(self._next, None if step == math.inf else step)
            except Empty:
                left -= step
                if left <= 0:
                    raise
                continue
            if record is _END:
                raise StopAsyncIteration
            return record


class AsyncConsumer(_Receiving[Consumer, Record]):
    """A ring's consumer, awaited. Made by `wrap`."""


class AsyncSubscriber(_Receiving[Subscriber, TopicRecord]):
    """A topic's subscription, awaited. Made by `wrap`."""


# ---- what sends ----------------------------------------------------------------------------------


class _Sends(_Wrapped[_HandleT]):
    """
    What producers and publishers have.

    One reservation of a handle is open at a time. Other tasks that reserve, put or publish with
    that handle wait until it is committed or aborted; the task itself gets RuntimeError.
    """

    def __init__(self, handle: _HandleT) -> None:
        super().__init__(handle)
        self._reserver: weakref.ref[Any] | None = None

    def _waits_for_another(self, loop: EventLoop) -> bool:
        handle: Any = self.handle
        reserver = None if self._reserver is None else self._reserver()
        return handle._has_claim() and reserver is not None and reserver is not loop.task()

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
                deadline = math.inf if seconds is None else running().now() + seconds
            left = None if deadline == math.inf else max(0.0, deadline - running().now())
            try:
                done += await self._put(
                    lambda done=done: verb(rest[done:], timeout=0, **options),  # type: ignore[misc]
                    left,
                )
            except (Full, ShutDown):
                break
        return done

    def _reserve(
        self, reserve: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> _Taking[_ResultT]:
        def reserve_now() -> _ResultT:
            made = reserve()
            self._reserver = weakref.ref(running().task())
            return made

        return _Taking(lambda: self._put(reserve_now, timeout))


class _Sending(_Sends[_SendingT]):
    """What rings and producers have."""

    #: As `put_nowait` of the handle.
    put_nowait: Callable[[Buffer | _NumpyArray], None]

    def __init__(self, handle: _SendingT) -> None:
        super().__init__(handle)
        self.put_nowait = handle.put_nowait

    async def put(
        self,
        record: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> None:
        """As `put` of the handle. A wait that is cancelled has put nothing."""
        put = self.handle.put
        await self._put(lambda: put(record, timeout=0, require_peer=require_peer), timeout)

    async def put_many(
        self,
        records: Iterable[Buffer | _NumpyArray],
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
        """
        As `reserve` of the handle: await it, or `async with a.reserve(n) as room`. Where another
        task has a reservation of this handle open, it waits for its end.
        """
        reserve = self.handle.reserve
        return self._reserve(lambda: reserve(nbytes, timeout=0, require_peer=require_peer), timeout)

    def reserve_array(
        self,
        shape: SupportsIndex | Iterable[SupportsIndex],
        dtype: Any,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> _Taking[ArrayReservation]:
        """As `reserve_array` of the handle: `async with a.reserve_array(...) as array`."""
        reserve = self.handle.reserve_array
        return self._reserve(
            lambda: reserve(shape, dtype, timeout=0, require_peer=require_peer), timeout
        )


class AsyncProducer(_Sending[Producer]):
    """A ring's producer, awaited. Made by `wrap`."""


class AsyncRing(_Receiving["Ring", Record], _Sending["Ring"]):
    """A ring, awaited: the verbs of both roles. Made by `wrap`."""


class _Publishing(_Sends[_PublishingT]):
    """What topics and publishers have."""

    #: As `publish_nowait` of the handle.
    publish_nowait: Callable[[Buffer | _NumpyArray], None]

    def __init__(self, handle: _PublishingT) -> None:
        super().__init__(handle)
        self.publish_nowait = handle.publish_nowait

    async def publish(
        self, record: Buffer | _NumpyArray, *, timeout: SupportsFloat | None = None
    ) -> None:
        """As `publish` of the handle. A wait that is cancelled has published nothing."""
        publish = self.handle.publish
        await self._put(lambda: publish(record, timeout=0), timeout)

    async def publish_many(
        self,
        records: Iterable[Buffer | _NumpyArray],
        *,
        timeout: SupportsFloat | None = None,
    ) -> int:
        """As `publish_many` of the handle. One that is cancelled may have published the first."""
        return await self._all(self.handle.publish_many, records, timeout)

    def reserve(
        self, nbytes: int | str, *, timeout: SupportsFloat | None = None
    ) -> _Taking[Reservation]:
        """
        As `reserve` of the handle: await it, or `async with a.reserve(n) as room`. Where another
        task has a reservation of this handle open, it waits for its end.
        """
        reserve = self.handle.reserve
        return self._reserve(lambda: reserve(nbytes, timeout=0), timeout)

    def reserve_array(
        self,
        shape: SupportsIndex | Iterable[SupportsIndex],
        dtype: Any,
        *,
        timeout: SupportsFloat | None = None,
    ) -> _Taking[ArrayReservation]:
        """As `reserve_array` of the handle: `async with a.reserve_array(...) as array`."""
        reserve = self.handle.reserve_array
        return self._reserve(lambda: reserve(shape, dtype, timeout=0), timeout)


class AsyncPublisher(_Publishing[Publisher]):
    """A topic's publisher, awaited. Made by `wrap`."""


class AsyncTopic(_Publishing["Topic"]):
    """A topic, awaited: the verbs by which it publishes. Made by `wrap`."""


# ---- objects -------------------------------------------------------------------------------------


class AsyncQueue(_Wrapped[QueueBase]):
    """
    A queue, awaited: what waits. Made by `wrap`; all else is that of the handle.

    A timeout below 0 does not wait, as that of the queue.
    """

    def __init__(self, handle: QueueBase) -> None:
        super().__init__(handle)
        self.get_nowait, self.put_nowait = handle.get_nowait, handle.put_nowait

    def _get(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> Awaitable[_ResultT]:
        return self._until(verb, "_watch_records", _not_negative(timeout), (Empty,))

    async def get(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> Any:
        """As `get` of the queue. A wait that is cancelled has taken nothing."""
        get = self.handle.get
        return await self._get(lambda: get(False, require_peer=require_peer), timeout)

    async def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[Any]:
        """As `get_many` of the queue."""
        get_many = self.handle.get_many
        return await self._get(
            lambda: get_many(most, timeout=0, require_peer=require_peer), timeout
        )

    def borrow(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> _Taking[Any]:
        """As `borrow` of the queue: `async with a.borrow() as obj`."""
        borrow = self.handle.borrow

        def verb() -> Borrowing:
            return borrow(False, require_peer=require_peer)

        return _Taking(lambda: self._get(verb, timeout))

    def records(
        self,
        *,
        until: Any = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> _Records[Any]:
        """As `records` of the queue: iterate with `async for`."""
        return _Records(self, until, require_peer, _not_negative(timeout))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.get()
        except ShutDown:
            raise StopAsyncIteration from None

    async def _put(
        self, records: list[Any], timeout: SupportsFloat | None, require_peer: bool
    ) -> int:
        put = self.handle._put_encoded

        def verb() -> int | Full:
            try:
                return put(records, require_peer)
            except Full as error:
                if error.cause != "memory":
                    raise
                return error  # no wake-up tells that there is memory again

        done = await self._until(verb, "_watch_room", timeout, (Full,))
        if isinstance(done, Full):
            raise done
        return done

    async def put(
        self,
        obj: Any,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> None:
        """
        As `put` of the queue; where memory is out, Full is raised at once. The object is encoded
        when this begins. A wait that is cancelled has put nothing.
        """
        await self._put(self.handle._encoded([obj]), _not_negative(timeout), require_peer)

    async def put_many(
        self,
        objects: Iterable[Any],
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """As `put_many` of the queue. One that is cancelled may have put some of the first."""
        rest = self.handle._encoded(objects)
        seconds = _not_negative(timeout)
        count = len(rest)
        del rest[: await self._put(rest, seconds, require_peer)]
        deadline = None
        while rest:
            now = running().now()
            if deadline is None:
                deadline = math.inf if seconds is None else now + seconds
            left = None if deadline == math.inf else max(0.0, deadline - now)
            try:
                del rest[: await self._put(rest, left, require_peer)]
            except (Full, ShutDown, ClosedError, PeerGoneError):
                break
        return count - len(rest)

    async def join(self, timeout: SupportsFloat | None = None) -> None:
        """As `join` of the queue."""
        join = self.handle.join
        await self._until(lambda: join(0), "_watch_done", _not_negative(timeout), (TimeoutError,))


def _not_negative(timeout: SupportsFloat | None) -> float | None:
    """A timeout as queues have it: below 0 it does not wait."""
    if timeout is None:
        return None
    try:
        return _arguments.timeout(timeout)
    except ValueError:
        if float(timeout) < 0:
            return 0.0
        raise


# ---- values --------------------------------------------------------------------------------------


class AsyncSlot(_Wrapped[SlotBase[_ValueT]], Generic[_ValueT]):
    """A slot, awaited. Made by `wrap`."""

    async def wait_newer(
        self, version: int, timeout: SupportsFloat | None = None
    ) -> tuple[_ValueT, int]:
        """As `wait_newer` of the slot."""
        slot = self.handle
        return await self._until(
            lambda: slot.wait_newer(version, timeout=0),
            lambda: slot._watch_newer(version),
            timeout,
            (TimeoutError,),
        )

    async def read(self, *, timeout: SupportsFloat | None = None) -> _ValueT:
        """As `read` of the slot, which waits for nobody; before the first publish for that."""
        slot = self.handle
        try:
            return await self._polled(lambda: slot.read(timeout=0), timeout)
        except Empty:
            return (await self.wait_newer(0, timeout))[0]

    async def publish(self, value: Any, *, timeout: SupportsFloat | None = None) -> int:
        """As `publish` of the slot. Where another writer is inside, other tasks run meanwhile."""
        publish = self.handle.publish
        return await self._polled(lambda: publish(value, timeout=0), timeout)

    async def _polled(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> _ResultT:
        """For what ends by itself in the time of a copy: nobody is woken behind it."""
        seconds = math.inf if timeout is None else _arguments.timeout(timeout)
        pause, deadline = 0.0, -math.inf
        while True:
            try:
                return verb()
            except TimeoutError:
                loop = running()
                if pause == 0:
                    deadline = loop.now() + seconds
                if loop.now() >= deadline:
                    raise
            await loop.sleep(min(pause, deadline - loop.now()))
            pause = min(2 * pause + 1e-5, POLL_S)


class AsyncMap(_Wrapped[MapBase[_ValueT]], Generic[_ValueT]):
    """A map, awaited: what waits. Made by `wrap`; all else is that of the handle."""

    async def wait_newer(
        self, key: str | bytes | int, version: int, timeout: SupportsFloat | None = None
    ) -> tuple[_ValueT, int]:
        """As `wait_newer` of the map."""
        m = self.handle
        return await self._until(
            lambda: m.wait_newer(key, version, timeout=0),
            lambda: m.watch(key, version)._watch_newer(),
            timeout,
            (TimeoutError,),
        )

    async def set(
        self,
        key: str | bytes | int,
        value: _ValueT,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> int:
        """As `set` of the map; other tasks run while another writer of this key is stopped."""
        m = self.handle
        return await self._changed(lambda: m.set(key, value, expires=expires, timeout=0), timeout)

    async def setdefault(
        self,
        key: str | bytes | int,
        default: _ValueT,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> _ValueT:
        """As `setdefault` of the map, as `set`."""
        m = self.handle
        return await self._changed(
            lambda: m.setdefault(key, default, expires=expires, timeout=0), timeout
        )

    async def add(
        self,
        key: str | bytes | int,
        amount: Any = 1,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> _ValueT:
        """As `add` of the map, as `set`."""
        m = self.handle
        return await self._changed(lambda: m.add(key, amount, expires=expires, timeout=0), timeout)

    async def compare_exchange(
        self,
        key: str | bytes | int,
        version: int,
        value: _ValueT,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> bool:
        """As `compare_exchange` of the map, as `set`."""
        m = self.handle
        return await self._changed(
            lambda: m.compare_exchange(key, version, value, expires=expires, timeout=0), timeout
        )

    async def _changed(
        self, verb: Callable[[], _ResultT], timeout: SupportsFloat | None
    ) -> _ResultT:
        """
        Call *verb*, which never waits, until no other writer is inside a change of that key: a
        living one is done in a moment, and no wake-up tells of one that is stopped.
        """
        seconds = None if timeout is None else _arguments.timeout(timeout)
        try:
            return verb()
        except TimeoutError:
            if seconds == 0:
                raise
        loop = running()
        deadline = math.inf if seconds is None else loop.now() + seconds
        pause = 0.0
        while True:
            await loop.sleep(min(pause, max(deadline - loop.now(), 0.0)))
            pause = min(2 * pause + 0.001, POLL_S)
            try:
                return verb()
            except TimeoutError:
                if loop.now() >= deadline:
                    raise


class AsyncKeyWatch(_Wrapped[KeyWatch]):
    """One key of a map, awaited. Made by `wrap`."""

    async def wait_newer(self, timeout: SupportsFloat | None = None) -> tuple[Any, int]:
        """As `wait_newer` of the watch."""
        watch = self.handle
        return await self._until(
            lambda: watch.wait_newer(timeout=0), watch._watch_newer, timeout, (TimeoutError,)
        )


class AsyncLock(_Wrapped[LockBase]):
    """
    A lock, awaited: `async with a:`, or `acquire` and `release`. Made by `wrap`.

    It belongs to the thread of the event loop: another task of the loop waits for it as strangers
    do. An RLock may be taken again by every task of the thread.
    """

    async def acquire(self, timeout: SupportsFloat | None = None) -> bool:
        """As `acquire` of the lock."""

        def take() -> bool:
            if not self.handle.acquire(False):
                raise TimeoutError
            return True

        try:
            return await self._until(take, self.handle._watch_free, timeout, (TimeoutError,))
        except TimeoutError:
            return False

    def release(self) -> None:
        """As `release` of the lock."""
        self.handle.release()

    async def __aenter__(self) -> Self:
        try:
            await self.acquire()
        except OwnerDied:
            self.release()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.release()


class AsyncEvent(_Wrapped[EventBase]):
    """An event, awaited: what waits. Made by `wrap`; all else is that of the handle."""

    async def wait(self, timeout: SupportsFloat | None = None) -> bool:
        """As `wait` of the event."""

        def look() -> bool:
            if not self.handle.is_set():
                raise TimeoutError
            return True

        try:
            return await self._until(look, self.handle._watch_set, timeout, (TimeoutError,))
        except TimeoutError:
            return False


class AsyncTable(_Wrapped["SlotTable[_ValueT]"], Generic[_ValueT]):
    """A table of slots, awaited: `a[i]` is a slot, awaited. Made by `wrap`."""

    def __init__(self, handle: SlotTable[_ValueT]) -> None:
        super().__init__(handle)
        self._slots: dict[int, AsyncSlot[_ValueT]] = {}

    def __len__(self) -> int:
        return len(self.handle)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> AsyncSlot[_ValueT]:
        """Slot *index*, awaited."""
        slot = self.handle[index]
        known = self._slots.get(index)
        if known is None:
            known = self._slots[index] = AsyncSlot(slot)
        return known

    def __iter__(self) -> Iterator[AsyncSlot[_ValueT]]:
        return (self[index] for index in range(len(self.handle)))

    async def wait_newer(
        self, versions: Sequence[int] | None = None, timeout: SupportsFloat | None = None
    ) -> tuple[list[_ValueT | None], list[int]]:
        """
        Wait until a slot has something newer than its one of *versions*, then read every slot.

        Args:
            versions: Those that the caller has seen, as this returns them; None for none.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (values, versions): None and 0 where nothing was published.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ValueError: there are more or fewer *versions* than slots.
        """
        slots = list(self.handle)
        watch = self.handle._watch_newer(slots, [0] * len(slots) if versions is None else versions)

        def read() -> tuple[list[_ValueT | None], list[int]]:
            if not watch.is_ready():
                raise TimeoutError(f"nothing newer was published in {self.handle!r}")
            found = [slot.read_versioned() if slot.version else (None, 0) for slot in slots]
            return [value for value, _version in found], [version for _value, version in found]

        return await self._until(read, lambda: watch, timeout, (TimeoutError,))


@overload
def wrap(handle: Ring) -> AsyncRing: ...
@overload
def wrap(handle: Producer) -> AsyncProducer: ...
@overload
def wrap(handle: Consumer) -> AsyncConsumer: ...
@overload
def wrap(handle: Topic) -> AsyncTopic: ...
@overload
def wrap(handle: Publisher) -> AsyncPublisher: ...
@overload
def wrap(handle: Subscriber) -> AsyncSubscriber: ...
@overload
def wrap(handle: QueueBase) -> AsyncQueue: ...
@overload
def wrap(handle: SlotTable[_ValueT]) -> AsyncTable[_ValueT]: ...
@overload
def wrap(handle: SlotBase[_ValueT]) -> AsyncSlot[_ValueT]: ...
@overload
def wrap(handle: LockBase) -> AsyncLock: ...
@overload
def wrap(handle: EventBase) -> AsyncEvent: ...
@overload
def wrap(handle: MapBase[_ValueT]) -> AsyncMap[_ValueT]: ...
@overload
def wrap(handle: KeyWatch) -> AsyncKeyWatch: ...
def wrap(handle: Any) -> Any:
    """
    Make an object with the verbs of *handle*, to be awaited in an event loop.

    The same handle may be wrapped several times, and awaited in the loops of several threads. Each
    verb looks first and takes without waiting where something is there; where nothing is, the task
    waits, and other tasks run. `timeout=` and canceling lose no record.

    Args:
        handle: A ring, producer, consumer, topic, publisher, subscription, queue, slot, table
            of slots, map, what `watch` of a map returns, lock or event.

    Raises:
        TypeError: it is none of these.
    """
    for kind, wrapper in _WRAPPERS:
        if isinstance(handle, kind):
            return wrapper(handle)
    raise TypeError(
        "wrap takes a ring, producer, consumer, topic, publisher, subscription, queue, slot, "
        f"table of slots, map, watch of a map, lock or event, got {_arguments.shown(handle)}"
    )


#: The first that fits: a ring is a receiving and a sending handle.
_WRAPPERS: list[tuple[type[Any], type[Any]]] = [
    (Producer, AsyncProducer),
    (Consumer, AsyncConsumer),
    (Publisher, AsyncPublisher),
    (Subscriber, AsyncSubscriber),
    (Sending, AsyncRing),
    (Publishing, AsyncTopic),
    (QueueBase, AsyncQueue),
    (TableBase, AsyncTable),
    (SlotBase, AsyncSlot),
    (MapBase, AsyncMap),
    (KeyWatch, AsyncKeyWatch),
    (LockBase, AsyncLock),
    (EventBase, AsyncEvent),
]
