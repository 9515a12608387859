# SPDX-License-Identifier: MIT
"""`memlane.aio.wrap`: the verbs of a handle, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio
import pytest

import memlane
from memlane import (
    ClosedError,
    Empty,
    Full,
    Map,
    Queue,
    Region,
    Ring,
    ShutDown,
    SimpleQueue,
    Slot,
    SlotTable,
    Subscriber,
    Topic,
    _event_loops,
    _limits,
)
from memlane.aio import wrap
from tests.support.children import PAGE
from tests.support.processes import Child

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


class Run(Protocol):
    """Runs a coroutine function in an event loop of its own, which is a thread's."""

    def __call__(self, function: Callable[..., Awaitable[Any]], *args: object) -> Any: ...


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Each kind of event loop."""
    pytest.importorskip(request.param)
    options = LOOPS[request.param]
    return lambda function, *args: anyio.run(function, *args, **options)


@pytest.fixture
def no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is not woken waits for ever: a wake-up that is lost is a hang."""
    monkeypatch.setattr(_event_loops, "SLICE_S", 1e6)
    monkeypatch.setattr(_event_loops, "POLL_S", 1e6)


async def asleep(times: int = 3) -> None:
    """Until the tasks that were started wait."""
    for _ in range(times):
        await anyio.sleep(0)


# ---- each verb -----------------------------------------------------------------------------------


def test_records_of_another_process_are_awaited_in_order(run: Run, no_slices: None) -> None:
    """Each wakes the loop."""

    def put(ring: Ring) -> None:
        for i in range(100):
            time.sleep(0.001)
            ring.put(b"%d" % i)

    async def get_all(ring: Ring) -> list[bytes]:
        return [await wrap(ring).get() for _ in range(100)]

    with Ring(PAGE) as ring, Child(put, ring) as child:
        assert [b"%d" % i for i in range(100)] == run(get_all, ring)
        assert 0 == child.wait()


def test_every_verb_that_receives_waits_for_a_record(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with Ring(PAGE) as ring:
            awaited = wrap(ring)

            async def one(verb: Callable[[], Awaitable[Any]]) -> Any:
                async with anyio.create_task_group() as group:

                    async def put_later() -> None:
                        await asleep()
                        await awaited.put(b"a record")

                    group.start_soon(put_later)
                    return await verb()

            async def entered(taking: Any) -> bytes:
                async with taking as record:
                    return bytes(record if isinstance(record, memlane.Record) else record[0])

            buffer = bytearray(8)
            assert b"a record" == await one(awaited.get)
            assert [b"a record"] == await one(lambda: awaited.get_many(4))
            assert 8 == await one(lambda: awaited.get_into(buffer))
            assert b"a record" == buffer
            assert b"a record" == await one(lambda: entered(awaited.borrow()))
            assert b"a record" == await one(lambda: entered(awaited.borrow_many(4)))
            record = await one(awaited.borrow)
            record.release()
            assert b"a record" == await one(awaited.__anext__)
            assert b"a record" == await one(awaited.records().__anext__)
            loans = awaited.borrowed()
            first = await one(loans.__anext__)
            assert b"a record" == bytes(first)
            second = await one(loans.__anext__)
            with pytest.raises(ClosedError):
                bytes(memoryview(first))
            loans.close()
            with pytest.raises(ClosedError):
                bytes(memoryview(second))
            with pytest.raises(Empty):
                awaited.get_nowait()

    run(main)


def test_iterations_end_with_the_ring(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with Ring(PAGE) as ring:
            awaited = wrap(ring)
            ring.put_many([b"a", b"b", b"c"])
            found = []

            async def get_all(iteration: Any, most: int) -> None:
                async for record in iteration:
                    found.append(bytes(record))
                    if len(found) == most:
                        break

            await get_all(awaited, 1)
            await get_all(awaited.borrowed(), 2)
            async with anyio.create_task_group() as group:
                group.start_soon(get_all, awaited, 99)
                await asleep()
                ring.shutdown()
            assert [b"a", b"b", b"c"] == found
            await get_all(awaited.borrowed(), 99)
            await get_all(awaited.records(), 99)
            with pytest.raises(ShutDown):
                await awaited.get()

    run(main)


def test_records_until_a_process_has_ended_are_awaited(run: Run) -> None:
    async def main(ring: Ring, pidfd: int) -> list[bytes]:
        return [record async for record in wrap(ring).records(until=pidfd)]

    with Ring(PAGE) as ring, Child(ring.put, b"the last") as child:
        pidfd = os.pidfd_open(child.pid)
        try:
            assert [b"the last"] == run(main, ring, pidfd)
        finally:
            os.close(pidfd)


def test_a_put_waits_for_room_without_keeping_the_loop(run: Run, no_slices: None) -> None:
    async def main(ring: Ring) -> None:
        awaited = wrap(ring)
        assert 4 == await awaited.put_many([b"x"] * 4)
        with pytest.raises(Full):
            await awaited.put(b"y", timeout=0.01)
        with pytest.raises(Full):
            awaited.put_nowait(b"y")
        async with anyio.create_task_group() as group:
            group.start_soon(awaited.put, b"y")
            await asleep()
            assert [b"x"] * 4 == ring.get_many(4)
        assert b"y" == await awaited.get()
        async with anyio.create_task_group() as group:
            group.start_soon(awaited.put_many, [b"%d" % i for i in range(100)])
            assert [b"%d" % i for i in range(100)] == [await awaited.get() for _ in range(100)]

    with Ring(PAGE, records=4) as ring:
        run(main, ring)


def test_a_topic_is_awaited(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with (
            Topic(PAGE, records=4, publishers=2, when_full="wait") as topic,
            topic.subscribe() as subscriber,
            topic.publisher() as publisher,
        ):
            awaited, received = wrap(publisher), wrap(subscriber)
            async with anyio.create_task_group() as group:
                group.start_soon(awaited.publish_many, [b"%d" % i for i in range(20)])
                assert [b"%d" % i for i in range(20)] == [await received.get() for _ in range(20)]
            async with wrap(topic).reserve(4) as room:
                room[:] = b"room"
            async with received.borrow() as record:
                assert b"room" == bytes(record)
                assert isinstance(record, memlane.TopicRecord)
            await wrap(topic).publish(b"last")
            wrap(topic).publish_nowait(b"of all")
            topic.shutdown()
            assert [b"last", b"of all"] == [record async for record in received]

    run(main)


def test_a_slot_and_a_table_are_awaited(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with Slot.create(None, "d") as slot, SlotTable.create(None, 3, "d") as table:
            awaited, rows = wrap(slot), wrap(table)
            found: dict[str, Any] = {}

            async def note(name: str, what: Callable[[], Awaitable[Any]]) -> None:
                found[name] = await what()

            async with anyio.create_task_group() as group:
                group.start_soon(note, "read", awaited.read)
                group.start_soon(note, "newer", lambda: awaited.wait_newer(1))
                group.start_soon(note, "row", lambda: rows[2].wait_newer(0))
                group.start_soon(note, "rows", rows.wait_newer)
                await asleep()
                assert 1 == await awaited.publish(1.5)
                await asleep(5)
                assert {"read"} == set(found)
                await awaited.publish(2.5)
                await rows[2].publish(3.5)
            assert {
                "read": (1.5,),
                "newer": ((2.5,), 2),
                "row": ((3.5,), 1),
                "rows": ([None, None, (3.5,)], [0, 0, 1]),
            } == found
            with pytest.raises(TimeoutError):
                await rows.wait_newer([0, 0, 1], timeout=0.01)
            with pytest.raises(ValueError, match="expected 3, got 2"):
                await rows.wait_newer([0, 0])
            with pytest.raises(TimeoutError):
                await awaited.wait_newer(2, timeout=0)
            assert 3 == len(rows) == len(list(rows))

    run(main)


def test_a_key_of_a_map_is_awaited(run: Run, no_slices: None) -> None:
    """By the map with any version, and by a watch from the present one on."""

    async def main() -> None:
        with Map.create(None, entries=64, key_nbytes=16, value="d") as known:
            known["a"] = 1.0
            awaited, watch = wrap(known), wrap(known.watch("a"))
            found: list[Any] = []

            async def note(what: Callable[[], Awaitable[Any]]) -> None:
                found.append((await what())[0])

            async with anyio.create_task_group() as group:
                group.start_soon(note, lambda: awaited.wait_newer("b", 0))
                group.start_soon(note, watch.wait_newer)
                await asleep()
                known["b"] = 2.0
                while not found:
                    await anyio.sleep(0.001)
                known["a"] = 3.0
            assert [2.0, 3.0] == found
            with pytest.raises(TimeoutError):
                await watch.wait_newer(timeout=0.01)

            async def end() -> None:
                with pytest.raises(ClosedError):
                    await watch.wait_newer()

            async with anyio.create_task_group() as group:
                group.start_soon(end)
                await asleep()
                known.close()

    run(main)


def test_a_writer_that_finds_another_one_inside_lets_the_loop_run(run: Run) -> None:
    """And has its turn as soon as the other one is out."""
    with Slot.create(None, 1 << 20, writers="many") as slot:
        stop = threading.Event()

        def publish(value: bytes) -> None:
            while not stop.wait(0.0003):  # out for a moment: whose turn comes then is not promised
                slot.publish(value)

        async def main() -> None:
            versions = [await wrap(slot).publish(b"b" * (1 << 20)) for _ in range(20)]
            assert sorted(set(versions)) == versions

        thread = threading.Thread(target=publish, args=[b"a" * (1 << 20)])
        thread.start()
        try:
            run(main)
        finally:
            stop.set()
            thread.join()


# ---- canceling, closing, ending -----------------------------------------------------------------


def test_a_wait_that_is_cancelled_has_taken_nothing(run: Run, no_slices: None) -> None:
    """Nor has one that ends by its timeout, and another task that waits gets what came."""

    async def main(ring: Ring) -> None:
        awaited = wrap(ring)
        found: list[bytes] = []

        async def get() -> None:
            found.append(await awaited.get())

        for _ in range(100):
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as inner:
                        inner.start_soon(get)
                        await asleep()
                        group.start_soon(get)
                        await asleep()
                        ring.put(b"a")
                        scope.cancel()
                if found:
                    group.cancel_scope.cancel()
            assert [b"a"] == found
            found.clear()
        with pytest.raises(Empty):
            await awaited.get(timeout=0.01)

    with Ring(PAGE) as ring:
        run(main, ring)


@pytest.mark.parametrize("kind", ["ring", "room", "slot", "table", "subscriber", "publisher"])
def test_tasks_that_wait_learn_at_once_that_their_handle_is_closed(
    kind: str, run: Run, no_slices: None
) -> None:
    """Closed by another task, by another thread, and with the region it lies in."""

    async def main(closes: str) -> None:
        with Region.create(None, "1 MiB") as region:
            wait: Callable[[], Awaitable[object]]
            handle: Any
            kept: list[Subscriber] = []
            if kind == "ring":
                handle = region.ring("it", capacity=PAGE)
                wait = wrap(handle).get
            elif kind == "room":
                handle = region.ring("it", capacity=PAGE, records=2).producer()
                handle.put_many([b"a", b"b"])
                awaited = wrap(handle)
                wait = lambda: awaited.put(b"c")  # noqa: E731
            elif kind == "slot":
                handle = region.slot("it", "d")
                wait = wrap(handle).read
            elif kind == "table":
                handle = region.table("it", 4, "d")
                wait = wrap(handle).wait_newer
            else:
                topic = region.topic("it", capacity=PAGE, records=2, when_full="wait")
                handle = subscriber = topic.subscribe()
                kept.append(subscriber)
                wait = wrap(subscriber).get
                if kind == "publisher":
                    publisher = topic.publisher()
                    publisher.publish_many([b"a", b"b"])
                    handle, awaited_publisher = publisher, wrap(publisher)
                    wait = lambda: awaited_publisher.publish(b"c")  # noqa: E731
            refused = 0

            async def wait_in_vain() -> None:
                nonlocal refused
                with pytest.raises(ClosedError):
                    await wait()
                refused += 1

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(wait_in_vain)
                await asleep()
                if closes == "task":
                    handle.close()
                elif closes == "thread":
                    await anyio.to_thread.run_sync(handle.close)
                else:
                    region.close()
            assert 3 == refused
            kept.clear()

    for closes in ("task", "thread", "region"):
        run(main, closes)


def test_all_tasks_that_wait_are_ended_by_a_shutdown_and_by_a_removal(
    run: Run, no_slices: None
) -> None:
    async def main(error: type[Exception]) -> None:
        with Region.create(None, "1 MiB") as region:
            ring = region.ring("it", capacity=PAGE, records=2)
            ended = 0

            async def end(verb: Callable[[], Awaitable[object]]) -> None:
                nonlocal ended
                with pytest.raises(error):
                    await verb()
                ended += 1

            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(end, wrap(ring).get)
                await asleep()
                if error is ShutDown:
                    ring.shutdown()
                else:
                    region.remove("it")
            assert 3 == ended

    for error in (ShutDown, ClosedError):
        run(main, error)


def test_a_second_reservation_waits_until_the_first_is_committed_or_aborted(
    run: Run, no_slices: None
) -> None:
    """That of another task; a task that reserves twice is told so at once."""

    async def main(ring: Ring) -> None:
        awaited = wrap(ring)

        async def reserve(number: int) -> None:
            async with awaited.reserve(1) as room:
                await asleep(5)
                room[:] = b"%d" % number

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(reserve, number)
            await asleep()
            group.start_soon(awaited.put, b"5")
        assert [b"%d" % number for number in range(6)] == sorted(ring.get_many(9))

        with contextlib.suppress(KeyError):
            async with awaited.reserve(1):
                with pytest.raises(RuntimeError, match="claim open"):
                    await awaited.put(b"x")
                with pytest.raises(RuntimeError, match="claim open"):
                    await awaited.reserve(1)
                raise KeyError
        with ring.reserve(1), pytest.raises(RuntimeError, match="claim open"):
            await awaited.put(b"x")  # in the hand of no other task
        assert [b"\0"] == ring.get_many(9)

    with Ring(PAGE) as ring:
        run(main, ring)


def test_tasks_take_turns_though_something_is_always_there(run: Run) -> None:
    async def main(ring: Ring) -> None:
        awaited = wrap(ring)
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await anyio.sleep(0)
                turns += 1

        async with anyio.create_task_group() as group:
            group.start_soon(take_turns)
            for _ in range(1000):
                await awaited.put(b"x")
                await awaited.get()
            group.cancel_scope.cancel()
        assert turns > 3

    with Ring(PAGE) as ring:
        run(main, ring)


# ---- loops, threads, processes -------------------------------------------------------------------


def test_the_loops_of_two_threads_wait_with_one_handle(run: Run, no_slices: None) -> None:
    """And with one wrapped one: every record goes to one of them."""
    with Ring(PAGE) as ring:
        awaited = wrap(ring)
        found: list[list[bytes]] = [[], []]

        async def get_all(own: list[bytes]) -> None:
            async for record in awaited:
                own.append(record)

        async def put_all() -> None:
            for i in range(2000):
                await awaited.put(b"%d" % i)
                if i % 20 == 0:
                    await anyio.sleep(0.0005)
            ring.shutdown()

        threads = [threading.Thread(target=run, args=(get_all, own)) for own in found]
        for thread in threads:
            thread.start()
        run(put_all)
        for thread in threads:
            thread.join()
        assert sorted(b"%d" % i for i in range(2000)) == sorted(found[0] + found[1])


def test_a_forked_child_awaits_in_a_loop_of_its_own(run: Run, no_slices: None) -> None:
    """With what its parent has wrapped and waited with; neither takes the other's wake-ups."""
    with Ring(PAGE, consumers="many") as ring, Ring(PAGE) as answers:
        jobs, back = wrap(ring), wrap(answers)

        async def ask(job: bytes) -> bytes:
            await jobs.put(job)
            return await back.get()

        async def answer() -> None:
            async for job in jobs:
                await back.put(job + b"!")

        async def warm() -> None:
            await jobs.put(b"warm")
            await jobs.get()
            with pytest.raises(Empty):
                await back.get(timeout=0.001)

        run(warm)
        with Child(run, answer) as child:
            assert b"one!" == run(ask, b"one")
            assert b"two!" == run(ask, b"two")
            ring.shutdown()
            assert 0 == child.wait()


def test_a_child_forked_in_a_loop_is_refused_there_and_keeps_none_of_its_descriptors() -> None:
    """In the child no loop runs; the parent goes on."""

    async def main(ring: Ring) -> bytes:
        awaited = wrap(ring)
        with pytest.raises(Empty):
            await awaited.get(timeout=0.001)
        descriptor = f"/proc/self/fd/{_event_loops.running().selector.descriptor}"
        socket = os.readlink(descriptor)

        def child() -> None:
            with pytest.raises(RuntimeError, match="no event loop"):
                awaited.get().send(None)
            assert not os.path.exists(descriptor) or socket != os.readlink(descriptor)
            ring.put(b"of the child")

        process = Child(child)
        found = await awaited.get()
        assert 0 == process.wait()
        return found

    with Ring(PAGE, consumers="many") as ring:
        assert b"of the child" == asyncio.run(main(ring))


def test_a_loop_that_has_ended_leaves_no_descriptor(run: Run) -> None:
    """Nor does a task that was cancelled in it, nor a handle that was closed there."""

    async def main() -> None:
        with Ring(PAGE) as ring, anyio.move_on_after(0.001):
            await wrap(ring).get()

    run(main)
    run(main)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(main)
    gc.collect()
    assert before >= len(os.listdir("/proc/self/fd"))


def test_a_killed_process_that_awaited_leaves_nothing_and_keeps_nobody_waiting() -> None:
    """No file, no socket: its name goes with it; a put sends in vain, once."""
    with Ring(PAGE, consumers="many") as ring, Ring(PAGE) as told:

        async def wait() -> None:
            task = asyncio.create_task(wrap(ring).get())
            await asleep()
            descriptor = _event_loops.running().selector.descriptor
            told.put(os.readlink(f"/proc/self/fd/{descriptor}").encode())
            await task

        for _ in range(3):
            with Child(lambda: asyncio.run(wait())) as child:
                inode = told.get().decode().strip("socket:[]")
                assert inode in bound_sockets()
                child.kill()
            assert inode not in bound_sockets()
            ring.put(b"a")
            assert b"a" == ring.get()


def bound_sockets() -> set[str]:
    """The inodes of the sockets by which processes are woken."""
    with open("/proc/net/unix") as listed:
        return {line.split()[-2] for line in listed if "@memlane." in line}


def test_without_a_loop_a_wait_is_refused_and_what_is_there_is_not_taken() -> None:
    """Also in a loop that is closed."""
    with Ring(PAGE) as ring:
        with pytest.raises(RuntimeError, match="no event loop of asyncio, uvloop or trio runs"):
            wrap(ring).get().send(None)
        ring.put(b"a")
        loop = asyncio.new_event_loop()
        assert b"a" == loop.run_until_complete(wrap(ring).get())
        loop.close()
        ring.put(b"b")
        coroutine = wrap(ring).get()
        with pytest.raises(RuntimeError, match="loop is closed"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        assert b"b" == ring.get()


def test_a_reader_without_write_access_awaits_what_nobody_can_wake_it_for(
    run: Run, name: str
) -> None:
    """By a timer of five milliseconds, which looks at nothing else."""
    with (
        Slot.create(name, "d") as slot,
        Slot.open(name, readonly=True) as reader,
        Ring(PAGE) as ring,
    ):

        async def main() -> None:
            async with anyio.create_task_group() as group:

                async def publish() -> None:
                    await anyio.sleep(0.01)
                    slot.publish(1.5)

                group.start_soon(publish)
                with pytest.raises(Empty):
                    await wrap(ring).get(timeout=0.001)
                assert (1.5,) == await wrap(reader).read()

        run(main)
        slot.unlink()


# ---- queues --------------------------------------------------------------------------------------


def test_objects_of_a_queue_from_another_process_are_awaited_in_order(
    run: Run, no_slices: None
) -> None:
    def put(queue: Queue) -> None:
        for i in range(50):
            time.sleep(0.001)
            queue.put((i, None))

    async def get_all(queue: Queue) -> list[object]:
        return [await wrap(queue).get() for _ in range(50)]

    with Queue() as queue, Child(put, queue) as child:
        assert [(i, None) for i in range(50)] == run(get_all, queue)
        assert 0 == child.wait()


def test_every_verb_of_a_queue_that_receives_waits_for_an_object(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with Queue() as queue:
            awaited = wrap(queue)

            async def one(verb: Callable[[], Awaitable[Any]]) -> Any:
                async with anyio.create_task_group() as group:

                    async def put_later() -> None:
                        await asleep()
                        await awaited.put(None)

                    group.start_soon(put_later)
                    return await verb()

            async def entered() -> object:
                async with awaited.borrow() as found:
                    return found

            assert None is await one(awaited.get)
            assert [None] == await one(lambda: awaited.get_many(4))
            assert None is await one(entered)
            with await one(awaited.borrow) as found:
                assert None is found
            assert None is await one(awaited.__anext__)
            assert None is await one(awaited.records().__anext__)
            with pytest.raises(Empty):
                awaited.get_nowait()
            for timeout in (-1, 0, 0.01):
                with pytest.raises(Empty):
                    await awaited.get(timeout=timeout)

    run(main)


def test_iterations_over_a_queue_end_with_it_and_not_with_none(run: Run, no_slices: None) -> None:
    async def main() -> None:
        for by_records in (False, True):
            with Queue() as queue:
                awaited = wrap(queue)
                assert 3 == await awaited.put_many(["a", None, "b"])
                queue.shutdown()
                found = awaited.records(timeout=5) if by_records else awaited
                assert ["a", None, "b"] == [each async for each in found]

    run(main)


def test_puts_into_a_full_queue_wait_for_room(run: Run, no_slices: None) -> None:
    async def main() -> None:
        with Queue(2) as queue:
            awaited = wrap(queue)
            found: list[object] = []
            async with anyio.create_task_group() as group:

                async def put() -> None:
                    assert 20 == await awaited.put_many(range(20))
                    await awaited.put("last")

                group.start_soon(put)
                await asleep()
                while not found or found[-1] != "last":
                    found.append(await awaited.get())

            assert [*range(20), "last"] == found
            assert 2 == await awaited.put_many("abc", timeout=0.01)
            with pytest.raises(Full, match="2 of 2"):
                await awaited.put("c", timeout=0.01)
            with pytest.raises(Full, match="2 of 2"):
                await awaited.put("c", timeout=-1)

    run(main)


def test_a_put_into_a_queue_takes_the_object_as_it_was_at_the_call(run: Run) -> None:
    async def main() -> None:
        with Queue(1) as queue:
            awaited = wrap(queue)
            queue.put("first")
            changed = [1]
            async with anyio.create_task_group() as group:
                group.start_soon(awaited.put, changed)
                await asleep()
                changed.append(2)
                assert "first" == await awaited.get()
                assert [1] == await awaited.get()

    run(main)


def test_a_canceled_wait_for_a_queue_loses_nothing_and_puts_nothing(run: Run) -> None:
    async def main() -> None:
        with Queue(1) as queue:
            awaited = wrap(queue)
            for i in range(30):
                with anyio.move_on_after(0.0005):
                    await awaited.get()
                await awaited.put(i)
                with anyio.move_on_after(0.0005):
                    await awaited.put("never")
                assert i == await awaited.get()
            assert queue.empty()

    run(main)


def test_memory_that_is_out_is_told_at_once_by_a_put_into_a_queue(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would wake the task."""
    limit = _limits.Limit(3 << 20, 64 << 20, "/sys/fs/cgroup/memory.max")
    monkeypatch.setattr(_limits, "tightest", lambda: limit)

    async def main() -> None:
        with Queue() as queue:
            await wrap(queue).put(1)
            assert 1 == await wrap(queue).get()
            with pytest.raises(Full) as caught:
                await wrap(queue).put(bytes(8 << 20))
            assert "memory" == caught.value.cause

    run(main)


def test_a_join_of_a_queue_is_awaited_until_all_is_done(run: Run, no_slices: None) -> None:
    """The task_done of another process wakes the loop."""

    def work(queue: Queue) -> None:
        for _ in range(3):
            queue.get()
            time.sleep(0.01)
            queue.task_done()

    async def join(queue: Queue) -> None:
        awaited = wrap(queue)
        await awaited.join()
        queue.put("undone")
        with pytest.raises(TimeoutError, match="unfinished"):
            await awaited.join(timeout=0.01)

    with Queue() as queue:
        queue.put_many("abc")
        with Child(work, queue) as child:
            run(join, queue)
            assert 0 == child.wait()


def test_a_join_of_a_queue_ends_when_the_process_that_had_the_task_is_killed(run: Run) -> None:
    def get_and_die(queue: Queue) -> None:
        queue.get()
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

    async def join(queue: Queue) -> None:
        await wrap(queue).join(timeout=10)

    with Queue() as queue:
        queue.put("task")
        with Child(get_and_die, queue) as child:
            run(join, queue)
            assert -signal.SIGKILL == child.wait()


def test_what_waits_for_a_queue_ends_when_it_is_shut_down_or_closed(run: Run) -> None:
    async def main() -> None:
        for end, error in ((Queue.shutdown, ShutDown), (Queue.close, ClosedError)):
            full, empty = Queue(1), Queue()
            ended: list[object] = []
            full.put(1)

            async def expect(
                verb: Awaitable[object], error: Any = error, ended: list[object] = ended
            ) -> None:
                with pytest.raises(error):
                    await verb
                ended.append(error)

            async with anyio.create_task_group() as group:
                group.start_soon(expect, wrap(full).put(2))
                group.start_soon(expect, wrap(empty).get())
                await asleep()
                end(full)
                end(empty)
            assert [error, error] == ended
            full.close()
            empty.close()

    run(main)


def test_what_a_queue_cannot_take_is_told_at_the_call(run: Run) -> None:
    async def main() -> None:
        with Queue(codec="bytes") as queue, SimpleQueue() as simple:
            awaited = wrap(queue)
            wrong: list[tuple[type[Exception], str, Callable[[], Awaitable[object]]]] = [
                (TypeError, "bytes", lambda: awaited.put(5)),
                (TypeError, "bytes", lambda: awaited.put_many([b"a", 5])),
                (TypeError, "timeout", lambda: awaited.get(timeout="1")),  # type: ignore[arg-type]
                (ValueError, "timeout", lambda: awaited.put(b"x", timeout=float("nan"))),
                (ValueError, "most", lambda: awaited.get_many(0)),
                (TypeError, "does not count tasks", wrap(simple).join),
            ]
            for error, text, verb in wrong:
                with pytest.raises(error, match=text):
                    await verb()
            with pytest.raises(TypeError, match="_encoded"):
                queue._put_encoded([5], False)
            assert queue.empty()

    run(main)


# ---- refused -------------------------------------------------------------------------------------


def test_what_is_wrong_is_told_at_the_call_and_nothing_is_taken(run: Run) -> None:
    async def main() -> None:
        with Ring(PAGE) as ring, Slot.create(None, "d") as slot, Topic(PAGE) as topic:
            awaited = wrap(ring)
            ring.put(b"a")
            wrong: list[tuple[type[Exception], str, Callable[[], Awaitable[object]]]] = [
                (ValueError, "timeout", lambda: awaited.get(timeout=-1)),
                (TypeError, "timeout", lambda: awaited.get(timeout="soon")),  # type: ignore[arg-type]
                (ValueError, "most", lambda: awaited.get_many(0)),
                (ValueError, "timeout", lambda: awaited.put(b"x", timeout=float("nan"))),
                (TypeError, "buffer", lambda: awaited.put("text")),  # type: ignore[arg-type]
                (TypeError, "buffer", lambda: awaited.put_many(["text"])),  # type: ignore[list-item]
                (memlane.RecordTooLargeError, "exceeds", lambda: awaited.put(bytes(1 << 20))),
                (ValueError, "timeout", lambda: wrap(slot).read(timeout=-1)),
                (ValueError, "timeout", lambda: wrap(slot).publish(1.5, timeout=-1)),
                (TypeError, "version", lambda: wrap(slot).wait_newer("1")),  # type: ignore[arg-type]
                (TypeError, "buffer", lambda: wrap(topic).publish(5)),  # type: ignore[arg-type]
            ]
            for error, text, verb in wrong:
                with pytest.raises(error, match=text):
                    await verb()
            assert [b"a"] == ring.get_many(9)
            with pytest.raises(ValueError, match="timeout"):
                awaited.borrowed(timeout=-1)
            with pytest.raises(ValueError, match="timeout"):
                awaited.records(timeout=-1)
        for closed in (awaited.get, lambda: awaited.put(b"x"), wrap(slot).read):
            with pytest.raises(ClosedError):
                await closed()

    run(main)


def test_what_cannot_be_awaited_is_refused() -> None:
    with memlane.Counter.create(None) as counter, Ring(PAGE) as ring:
        things: list[Any] = [counter, ring.region, wrap(ring), 5, None]
        for thing in things:
            with pytest.raises(TypeError, match="wrap takes a ring, producer, consumer"):
                wrap(thing)


def test_each_kind_is_wrapped_with_the_verbs_that_it_has() -> None:
    with (
        Ring(PAGE) as ring,
        Topic(PAGE) as topic,
        topic.subscribe() as subscriber,
        Slot.create(None, "d") as slot,
        SlotTable.create(None, 2, "d") as table,
        Queue() as queue,
    ):
        handles: list[Any] = [
            *(ring, ring.producer(), ring.consumer(), topic, topic.publisher(), subscriber),
            *(slot, table, table[0], queue),
        ]
        wrapped = [wrap(each) for each in handles]
        assert [
            *("AsyncRing", "AsyncProducer", "AsyncConsumer", "AsyncTopic", "AsyncPublisher"),
            *("AsyncSubscriber", "AsyncSlot", "AsyncTable", "AsyncSlot", "AsyncQueue"),
        ] == [type(each).__name__ for each in wrapped]
        assert not hasattr(wrapped[1], "get")
        assert not hasattr(wrapped[2], "put")
        for each in wrapped:
            assert "of <" in repr(each)


async def _closes(ring: Ring) -> None:
    async with wrap(ring):
        pass


def test_async_with_closes_the_handle(run: Run) -> None:
    ring = Ring(PAGE)
    run(_closes, ring)
    assert ring.closed
