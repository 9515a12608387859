# SPDX-License-Identifier: MIT
"""What `Empty` says of a ring, and how many records on loan its statistics know of."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memlane import Empty, Ring
from tests.support.processes import Child, wait_until
from tests.support.shared_bytes import DEAD_TAG, TAKEN, RingBytes

PAGE = 4096


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    with Ring(consumers=request.param, capacity=PAGE, producers=4, records=8) as made:
        yield made


def emptiness(ring: Ring, timeout: float = 0) -> Empty:
    with pytest.raises(Empty) as raised:
        ring.get(timeout=timeout)
    return raised.value


def facts(empty: Empty) -> tuple[Any, ...]:
    return empty.cause, empty.on_loan, empty.holders, empty.producers


def put_one(ring: Ring, how: str = "leaves") -> None:
    ring.put(b"x")
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    ring.close()


def test_an_empty_ring_says_so_and_claims_nothing_of_its_producers(ring: Ring) -> None:
    """Before the first producer came, and while one lives, nobody is missing."""
    assert ("empty", 0, (), None) == facts(emptiness(ring))
    ring.put(b"x")
    assert b"x" == ring.get()
    empty = emptiness(ring)
    assert ("empty", 0, (), None) == facts(empty)
    assert "is empty; put some records, or wait with a longer timeout" in str(empty)
    assert facts(empty) == facts(pickle.loads(pickle.dumps(empty)))


def test_a_consumer_that_holds_what_is_missing_is_told_that_it_does(ring: Ring) -> None:
    """It may wait for itself."""
    ring.put_many([b"1", b"2", b"3"])
    first, second = ring.borrow(), ring.borrow_many(2)
    empty = emptiness(ring)
    assert ("on loan", 3, (os.getpid(),), None) == facts(empty)
    assert "has nothing to get: 3 records are on loan to this process; release one, or" in str(
        empty
    )
    second.release()
    assert "1 record is on loan to this process; release it, or" in str(emptiness(ring))
    assert facts(emptiness(ring)) == facts(pickle.loads(pickle.dumps(emptiness(ring))))
    first.release()
    assert ("empty", 0, (), None) == facts(emptiness(ring))


def test_records_in_the_hands_of_other_processes_are_counted_and_their_pids_told() -> None:
    with Ring(consumers="many", capacity=PAGE, producers=4) as ring:
        ring.put_many([b"%d" % number for number in range(4)])

        def hold() -> None:
            loans = ring.borrow_many(2)
            signal.pause()
            loans.release()

        with Child(hold) as child:
            wait_until(lambda: len(ring) == 2, "its loans")
            with ring.borrow_many(2):
                empty = emptiness(ring)
                assert ("on loan", 4, (os.getpid(), child.pid), None) == facts(empty)
                assert f"4 records are on loan, 2 to this process and 2 to pid {child.pid}" in str(
                    empty
                )
            empty = emptiness(ring)
            assert ("on loan", 2, (child.pid,), None) == facts(empty)
            assert f"2 records are on loan to pid {child.pid}; put some more, or" in str(empty)
            child.kill()


@pytest.mark.parametrize("how", ["leaves", "is killed"])
def test_who_waits_for_producers_that_are_gone_is_told_so(ring: Ring, how: str) -> None:
    """Those that left and those that died, without require_peer; a new one ends it."""
    with Child(put_one, ring, how) as child:
        child.wait()
    assert b"x" == ring.get()
    for timeout in (0, 0.001):
        empty = emptiness(ring, timeout)
        assert ("nobody left", 0, (), 0) == facts(empty)
        told = "(0 died, 1 left)" if how == "leaves" else "(1 died, 0 left)"
        assert f"no producer of it is left {told}; start another one, or end here" in str(empty)
    ring.put(b"y")
    assert b"y" == ring.get()
    assert "empty" == emptiness(ring).cause


def test_who_polls_asks_for_the_producers_at_most_once_a_slice_and_who_waited_anew(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that was alive a moment ago is not asked for again by each poll."""

    def put_and_stay() -> None:
        ring.put(b"x")
        signal.pause()

    with Child(put_and_stay) as child:
        assert b"x" == ring.get()
        assert "empty" == emptiness(ring).cause
        child.kill()
        assert "nobody left" == emptiness(ring, 0.001).cause


def test_every_verb_that_gets_says_why_it_found_nothing(ring: Ring) -> None:
    ring.put(b"x")
    with ring.borrow(), ring.consumer() as rx:
        verbs: list[Callable[[], object]] = [
            ring.get_nowait,
            lambda: ring.get_many(3, timeout=0),
            lambda: ring.get_into(bytearray(9), timeout=0),
            lambda: ring.borrow(timeout=0),
            lambda: ring.borrow_many(2, timeout=0),
            lambda: next(ring.borrowed(timeout=0)),
            lambda: next(ring.records(timeout=0)),
            rx.get_nowait,
        ]
        for verb in verbs:
            with pytest.raises(Empty) as raised:
                verb()
            assert ("on loan", 1, (os.getpid(),), None) == facts(raised.value)


def test_statistics_count_the_records_in_hand_of_each_lane_and_in_all(ring: Ring) -> None:
    """Not released yet, in any order of releases."""
    with ring.producer() as other:
        ring.put_many([b"a", b"b", b"c"])
        other.put(b"d")
        loans = [ring.borrow() for _ in range(4)]
        assert (4, [3, 1]) == (ring.stats()["loans"], [of["loans"] for of in ring.stats()["lanes"]])
        loans[1].release()
        assert 3 == ring.stats()["loans"]
        for loan in loans:
            loan.release()
        assert (0, [0, 0]) == (ring.stats()["loans"], [of["loans"] for of in ring.stats()["lanes"]])


def test_what_is_on_loan_is_none_where_only_another_process_knows(tmp_path: Path) -> None:
    """The one consumer's loans show in no shared byte; those of many do, to every reader."""
    for consumers, known in (("one", None), ("many", 1)):
        with Ring.create(tmp_path / consumers, capacity=PAGE, consumers=consumers) as ring:  # type: ignore[arg-type]
            ring.put(b"x")
            assert 0 == ring.stats()["loans"]
            with ring.borrow(), Ring.open(tmp_path / consumers) as again:

                def look(again: Ring = again, known: int | None = known) -> None:
                    assert known == again.stats()["loans"]

                with Child(look) as child:
                    assert 0 == child.wait()
            ring.region.unlink()


def test_more_than_the_statistics_may_look_at_is_none() -> None:
    """A lane of very many records, the oldest of which somebody keeps."""
    with Ring(consumers="many", capacity="32 MiB", producers=1, records=1 << 19) as ring:
        ring.put(b"held")
        with ring.borrow():
            for _ in range(1 << 8):
                got = -ring.put_many([b""] * (1 << 10))
                while got:
                    got += len(ring.get_many(1 << 10))
            assert None is ring.stats()["loans"]


def test_a_dead_hand_that_is_not_taken_over_yet_is_counted_without_a_pid() -> None:
    """Its row is another one's by now, or nobody's."""
    with Ring(consumers="many", capacity=PAGE) as ring, RingBytes(ring) as shared:
        ring.put_many([b"1", b"2"])
        with ring.borrow():
            shared.set_word(shared.state_at(0, 1), DEAD_TAG << 32 | 1 << 3 | TAKEN)
            shared.set_word(shared.taken_at(0), 2)
            assert 2 == ring.stats()["loans"]
            assert b"2" == ring.get_nowait()


def test_a_look_at_what_others_have_in_hand_is_bounded() -> None:
    """An error of a poll must not cost a walk: of very many it tells those that it saw."""
    with Ring(consumers="many", capacity="1 MiB", producers=1) as ring:
        ring.put_many([b"x"] * 1000)

        def hold() -> None:
            loans = ring.borrow_many(1000)
            signal.pause()
            loans.release()

        with Child(hold) as child:
            wait_until(lambda: len(ring) == 0, "its loans")
            empty = emptiness(ring)
            assert 1 <= empty.on_loan < 1000
            assert (child.pid,) == empty.holders
            assert 1000 == ring.stats()["loans"]
            child.kill()


def test_threads_that_poll_while_others_hold_and_release_get_true_answers(ring: Ring) -> None:
    """A count is never negative, and never more than there were."""
    end = threading.Event()

    def hold() -> None:
        while not end.is_set():
            try:
                ring.borrow(timeout=0.01).release()
            except Empty:
                pass

    holders = [threading.Thread(target=hold) for _ in range(2)]
    for thread in holders:
        thread.start()
    counts = [0]
    for _ in range(300):
        ring.put(b"x")
        try:
            ring.get_nowait()
        except Empty as empty:
            counts.append(empty.on_loan)
    end.set()
    for thread in holders:
        thread.join()
    assert 0 <= min(counts)
    assert max(counts) <= 8
