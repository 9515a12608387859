# SPDX-License-Identifier: MIT
"""What stats() tells of rings: how long records wait, who waits, how often there was no room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Full, Region, Ring
from tests.support.processes import PATIENCE_S, output_in_time_namespace, wait_until
from tests.support.shared_bytes import FREE, RingBytes

#: CLOCK_MONOTONIC_COARSE, which the module `time` does not name.
COARSE = 6
#: By how much an age may be wrong: a tick of that clock, and one of a stamp.
TICKS_S = time.clock_getres(COARSE) + 2**22 / 1e9

PAGE = 4096


def coarse_ns() -> int:
    return time.clock_gettime_ns(COARSE)


def coarse_s() -> float:
    """The same clock in seconds: how far it is behind others depends on the machine."""
    return time.clock_gettime(COARSE)


def age_in(ring: Ring) -> float | None:
    """The one of the only lane, which is that of the ring."""
    stats = ring.stats()
    (lane,) = stats["lanes"]
    assert lane["oldest_age"] == stats["oldest_age"] or None not in (
        lane["oldest_age"],
        stats["oldest_age"],
    )
    age: float | None = lane["oldest_age"]
    return age


# ---- the age of the oldest record ----------------------------------------------------------------


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_age_of_the_oldest_record_is_that_since_its_put(consumers: Any) -> None:
    """Neither more nor less than the time that has passed, but for a tick of the clock."""
    with Ring(capacity=PAGE, producers=1, consumers=consumers) as ring:
        before = coarse_s()
        ring.put(b"first")
        after = coarse_s()
        wait_until(lambda: coarse_s() > after + 2 * TICKS_S, "some ticks")
        second = coarse_s()
        ring.put(b"second")
        asked = coarse_s()
        age = age_in(ring)
        answered = coarse_s()
        assert age is not None
        assert asked - after - TICKS_S <= age <= answered - before + TICKS_S
        ring.get()
        assert (age_in(ring) or 0) <= coarse_s() - second + TICKS_S
        ring.get()
        assert age_in(ring) is None


def test_age_of_a_ring_is_that_of_the_lane_where_one_waits_longest() -> None:
    """Each lane has its own; one that is empty has none."""
    with (
        Ring(capacity=PAGE, producers=3) as ring,
        RingBytes(ring) as shared,
        ring.producer() as first,
        ring.producer() as second,
        ring.producer() as third,
    ):
        for producer in (first, second, third):
            producer.put(b"x")
        ring.get()
        now = coarse_ns()
        shared.set_word(shared.stamp_at(1, 0), shared.stamp(0, now // 2))
        shared.set_word(shared.stamp_at(2, 0), shared.stamp(0, now // 4))
        stats = ring.stats()
        ages = [lane["oldest_age"] for lane in stats["lanes"]]
        assert ages[0] is None
        assert ages[1] >= now / 2e9
        assert ages[2] >= now / 4e9 * 3
        assert stats["oldest_age"] == ages[2]


def test_age_is_known_of_whatever_record_is_the_oldest_in_a_ring_that_lags() -> None:
    """Also of those that have no stamp of their own: one follows within 16 records."""
    with Ring(capacity="64 KiB", producers=1) as ring, RingBytes(ring) as shared:
        for _ in range(1000):
            ring.put(b"x")
        stamped = [s for s in range(1000) if shared.is_stamped(0, s)]
        assert {*range(16), *range(16, 1000, 16)} <= {*stamped}
        assert len(stamped) < 16 + 1000 / 16 + 4  # the clock is not looked at for each of them
        for _ in range(1000 - 16):
            assert age_in(ring) is not None
            ring.get()


def test_records_after_a_consumer_was_woken_have_stamps_of_their_own() -> None:
    """If it stops then, the age of the oldest one that it leaves is exact."""
    with Ring(capacity="64 KiB", producers=1) as ring, RingBytes(ring) as shared:
        for _ in range(100):
            ring.put(b"x")
        shared.set_half(shared.WAITERS, 1)
        ring.put(b"wakes")
        for _ in range(30):
            ring.put(b"x")
        assert all(shared.is_stamped(0, s) for s in range(101, 117))
        assert not shared.is_stamped(0, 97)
        assert not shared.is_stamped(0, 130)


def test_batches_rooms_and_puts_that_waited_have_stamps() -> None:
    """A look at the clock is nothing beside what they cost."""
    with Ring(capacity="64 KiB", producers=1, records=1024) as ring, RingBytes(ring) as shared:
        for _ in range(100):
            ring.put(b"x")
        ring.put_many([b"x"] * 7)
        assert shared.is_stamped(0, 106)
        with ring.reserve(1) as room:
            room[:] = b"x"
        assert shared.is_stamped(0, 107)
        ring.put(b"x")
        assert not shared.is_stamped(0, 108)
        while True:
            try:
                ring.put_nowait(b"x")
            except Full:
                break
        ring.get_many(100)
        ring.put(b"x", timeout=PATIENCE_S)
        assert 1025 == ring.stats()["lanes"][0]["put"]
        assert shared.is_stamped(0, 1024)


def test_failed_put_makes_no_record_younger() -> None:
    """The stamp of the last record stays what it is, however often another one finds no room."""
    with Ring(capacity=PAGE, producers=1, records=2) as ring, RingBytes(ring) as shared:
        ring.put_many([b"x", b"x"])
        for s in range(2):
            shared.set_word(shared.stamp_at(0, s), shared.stamp(s, coarse_ns() // 2))
        before = [shared.word(shared.stamp_at(0, s)) for s in range(2)]
        shared.set_half(shared.WAITERS, 1)
        for _ in range(40):
            with pytest.raises(Full):
                ring.put_nowait(b"x")
        assert before == [shared.word(shared.stamp_at(0, s)) for s in range(2)]


def test_age_of_records_out_of_order_is_that_of_the_first_that_nobody_has() -> None:
    """What others have in hand or gave back does not wait."""
    with Ring(capacity=PAGE, producers=1, consumers="many") as ring, RingBytes(ring) as shared:
        ring.put_many([b"x"] * 4)
        now = coarse_ns()
        for s in range(4):
            shared.set_word(shared.stamp_at(0, s), shared.stamp(s, now // 4 * s + 2**22))
        shared.set_state(0, 1, FREE)
        with ring.borrow():
            age = age_in(ring)
            assert age is not None
            assert now / 2e9 - 2 * TICKS_S <= age <= (coarse_ns() - now // 2) / 1e9


@pytest.mark.parametrize("spoilt", ["stamp of another round", "no stamp", "to come", "clock"])
def test_stamps_that_cannot_be_true_give_no_age(spoilt: str) -> None:
    """Whatever is in the shared bytes, an age is never negative, nor that of another record."""
    with Ring(capacity=PAGE, producers=1) as ring, RingBytes(ring) as shared:
        ring.put(b"x")
        assert age_in(ring) is not None
        at, now = shared.stamp_at(0, 0), coarse_ns()
        if spoilt == "stamp of another round":
            shared.set_word(at, shared.stamp(shared.descriptors, now))
        elif spoilt == "no stamp":
            shared.set_word(at, 0)
        elif spoilt == "to come":
            shared.set_word(at, shared.stamp(0, now + 10**10))
        else:
            shared.set_word(shared.clock_at(0), shared.word(shared.clock_at(0)) + 1)
        assert age_in(ring) is None
        assert 1 == ring.stats()["records"]


def test_who_takes_a_lane_with_times_of_another_clock_wipes_them(name: str) -> None:
    """After a reboot the records are there still, and nobody knows how long they have waited."""
    with Ring.create(name, capacity=PAGE, producers=1) as ring, RingBytes(ring) as shared:
        with ring.producer() as before:
            before.put(b"x")
        clock = shared.word(shared.clock_at(0))
        assert clock != 0
        shared.set_word(shared.clock_at(0), clock + 1)
        with ring.producer() as after:
            after.put(b"y")
            assert clock == shared.word(shared.clock_at(0))
            assert not shared.is_stamped(0, 0)
            assert shared.is_stamped(0, 1)
            age = age_in(ring)  # at least that of the next one
            assert age is not None
        ring.unlink()


def test_age_of_a_record_from_another_time_namespace_is_not_known(name: str) -> None:
    """Its clock is another one: the age would be wrong by days."""
    code = (
        "import sys, memlane\n"
        "with memlane.Ring.open(sys.argv[1]) as ring:\n"
        "    print([lane['oldest_age'] for lane in ring.stats()['lanes']])\n"
        "    ring.put(b'inside')\n"
        "    print([lane['oldest_age'] is None for lane in ring.stats()['lanes']])\n"
    )
    with Ring.create(name, capacity=PAGE, producers=2) as ring:
        ring.put(b"outside")
        out = output_in_time_namespace("monotonic", code, name)
        assert out == "[None]\n[True, False]\n"
        ages = [lane["oldest_age"] for lane in ring.stats()["lanes"]]
        assert ages[0] is not None
        assert ages[1] is None
        ring.unlink()


# ---- no room -------------------------------------------------------------------------------------


def times_full(ring: Ring) -> list[int]:
    stats = ring.stats()
    lanes = [lane["times_full"] for lane in stats["lanes"]]
    assert stats["times_full"] == sum(lanes)
    return lanes


def test_each_call_that_found_no_room_counts_once_in_its_lane() -> None:
    """However it went on, and however often it looked."""
    with (
        Ring(capacity=PAGE, producers=2, records=2) as ring,
        ring.producer() as first,
        ring.producer() as second,
    ):
        second.put(b"x")
        first.put_many([b"x", b"x"])
        assert [0, 0] == times_full(ring)
        calls: list[Callable[[], object]] = [
            lambda: first.put_nowait(b"x"),
            lambda: first.put(b"x", timeout=0.25),  # longer than a recheck interval: it looks again
            lambda: first.put_many([b"x"], timeout=0),
            lambda: first.reserve(8, timeout=0),
        ]
        for number, call in enumerate(calls, 1):
            with pytest.raises(Full):
                call()
            assert [0, number] == sorted(times_full(ring))
        assert 1 == second.put_many([b"x", b"x", b"x"], timeout=0)
        assert [1, 4] == sorted(times_full(ring))


def test_put_that_waits_for_room_and_gets_it_counts_once() -> None:
    """With the count of those who wait, which is 0 again when it has gone in."""
    with (
        Ring(capacity=PAGE, producers=1, records=1, wait="sleep") as ring,
        ThreadPoolExecutor(1) as pool,
    ):
        ring.put(b"x")
        waiting = pool.submit(ring.put, b"y", timeout=PATIENCE_S)
        wait_until(lambda: ring.stats()["lanes"][0]["waiting_producers"] == 1, "a put that waits")
        assert 1 == ring.stats()["waiting_producers"]
        assert [1] == times_full(ring)
        assert b"x" == ring.get()
        waiting.result(PATIENCE_S)
        assert [1] == times_full(ring)
        wait_until(lambda: ring.stats()["waiting_producers"] == 0, "nobody that waits")


def test_put_that_meets_the_room_of_another_thread_has_not_found_the_lane_full() -> None:
    """There is room, and somebody is writing into it."""
    with Ring(capacity=PAGE, producers=1) as ring, ThreadPoolExecutor(1) as pool:
        with ring.reserve(8) as room, pytest.raises(Full, match="another thread"):
            pool.submit(ring.put_nowait, b"x").result(PATIENCE_S)
        del room
        assert [0] == times_full(ring)


def test_get_that_sleeps_is_counted_as_long_as_it_does() -> None:
    """Of the whole ring: a consumer waits for every lane."""
    with Ring(capacity=PAGE, producers=1, wait="sleep") as ring, ThreadPoolExecutor(1) as pool:
        assert 0 == ring.stats()["waiting_consumers"]
        waiting = pool.submit(ring.get, timeout=PATIENCE_S)
        wait_until(lambda: ring.stats()["waiting_consumers"] == 1, "a get that waits")
        ring.put(b"x")
        assert b"x" == waiting.result(PATIENCE_S)
        wait_until(lambda: ring.stats()["waiting_consumers"] == 0, "nobody that waits")


# ---- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("consumers", ["one", "many"])
@pytest.mark.parametrize("immediate", [False, True])
def test_records_that_nobody_will_get_do_not_wait(consumers: Any, immediate: bool) -> None:
    """After an immediate shutdown, in the lanes, too; after another one they wait to be got."""
    with Ring(capacity=PAGE, producers=2, consumers=consumers) as ring:
        ring.put_many([b"x"] * 3)
        with ring.borrow():
            ring.shutdown(immediate=immediate)
            stats = ring.stats()
            (lane,) = stats["lanes"]
            assert lane["records"] == stats["records"] == len(ring)
            assert (lane["records"] == 0, lane["oldest_age"] is None) == (immediate, immediate)
            assert 1 == lane["loans"] == stats["loans"]


# ---- a region ------------------------------------------------------------------------------------


def test_region_tells_the_same_of_each_object_as_the_object_itself() -> None:
    """Of every kind, by its name, with its kind and size; nobody's work is held up by it."""
    with Region.create(None, "8 MiB") as region:
        ring = region.ring("frames", capacity=PAGE, producers=2)
        many = region.ring("tasks", capacity=PAGE, producers=2, consumers="many")
        pose = region.slot("pose", "3d")
        table = region.table("sensors", 3, "d")
        hits = region.counter("hits")
        ring.put(b"x")
        many.put_many([b"x", b"y"])
        with many.borrow():
            pose.publish((1, 2, 3))
            table[1].publish((2.5,))
            hits.add(-7)
            stats = region.stats()
            kinds = {name: of["kind"] for name, of in stats["objects"].items()}
            assert kinds == {
                "frames": "ring",
                "tasks": "ring",
                "pose": "slot",
                "sensors": "slottable",
                "hits": "counter",
            }
            made = {"frames": ring, "tasks": many, "pose": pose, "sensors": table, "hits": hits}
            for name, found in made.items():
                own: dict[str, Any] = found.stats()
                of = stats["objects"][name]
                assert {"kind", "nbytes", *own} == {*of}
                assert {
                    key: own[key] for key in own if key not in ("age", "oldest_age", "lanes")
                } == {key: of[key] for key in own if key not in ("age", "oldest_age", "lanes")}
            tasks = stats["objects"]["tasks"]
            assert (1, 1) == (tasks["loans"], tasks["lanes"][0]["loans"])
            assert tasks["oldest_age"] >= 0
            assert stats["objects"]["pose"]["age"] >= 0
            assert [0, 1, 0] == stats["objects"]["sensors"]["versions"]
            assert (1, None, "memfd") == (stats["participants"], stats["name"], stats["backing"])
            assert sum(of["nbytes"] for of in stats["objects"].values()) <= stats["used"]


def test_stats_may_be_asked_for_while_others_put_and_get() -> None:
    """Every number that it tells then is a possible one."""
    with Ring(capacity=PAGE, producers=1, records=8) as ring:
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                ring.put(b"x")
                ring.get()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_until(lambda: ring.stats()["lanes"], "the first record")
            for _ in range(200):
                (lane,) = ring.stats()["lanes"]
                assert 0 <= lane["records"] <= 8
                assert lane["oldest_age"] is None or lane["oldest_age"] >= 0
        finally:
            stop.set()
            thread.join(PATIENCE_S)
