# SPDX-License-Identifier: MIT
"""What `RateLimiter` promises: no more requests than its limit, whoever counts them and dies."""

from __future__ import annotations

import functools
import pickle
import random
import time
from collections import deque
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memlane
from memlane import Decision, Full, LayoutError, Map, RateLimiter, Region
from memlane.rate_limiter import _limits_of
from tests.support.processes import Child, wait_until

#: Nothing comes back, and no window ends, within a test.
YEAR = 366 * 86_400.0
EITHER = pytest.mark.parametrize("algorithm", ["token bucket", "sliding window"])


@EITHER
def test_as_many_requests_as_the_limit_go_on_and_no_more(algorithm: Any) -> None:
    """`hit` is true so often, and says then how long to wait; each key counts by itself."""
    with RateLimiter(5, YEAR, algorithm=algorithm) as limiter:
        found = [limiter.hit("a") for _ in range(7)]
        assert [True] * 5 + [False] * 2 == [bool(it) for it in found]
        assert [4, 3, 2, 1, 0, 0, 0] == [it.remaining for it in found]
        assert [0.0] * 5 == [it.retry_after for it in found[:5]]
        assert 0 < found[6].retry_after <= 2 * YEAR
        assert 0 < found[0].reset_after <= 2 * YEAR
        assert limiter.hit("b")
        assert limiter.hit(b"a")
        assert limiter.hit(7, 5)
        assert not limiter.hit(7)


@EITHER
def test_a_look_counts_nothing_and_clear_forgets(algorithm: Any) -> None:
    """`test` decides as `hit` would; a request that may not go on is not counted either."""
    with RateLimiter(3, YEAR, algorithm=algorithm) as limiter:
        assert [3, 3] == [limiter.test("a", 0).remaining, limiter.hit("a", 0).remaining]
        assert limiter.test("a", 3)
        assert "a" not in limiter.map
        assert limiter.hit("a", 2)
        assert not limiter.hit("a", 2)
        assert limiter.hit("a", 1)
        limiter.clear("a")
        assert 3 == limiter.test("a", 0).remaining
        limiter.clear("never counted")


class Bucket:
    """A token bucket as a textbook has it, in exact numbers: the model."""

    def __init__(self, limit: int, per_ns: int, burst: int) -> None:
        self.rate, self.burst = Fraction(limit, per_ns), burst
        self.tokens, self.at = Fraction(burst), 0

    def hit(self, now: int, cost: int) -> bool:
        self.tokens = min(Fraction(self.burst), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True


STEPS = st.lists(st.tuples(st.integers(0, 3_000_000_000), st.integers(0, 4)), max_size=40)


@given(STEPS, st.integers(1, 9), st.integers(4, 20), st.integers(1, 7_000_000_000))
@settings(max_examples=150, deadline=None)
def test_a_token_bucket_decides_as_the_textbook(
    steps: list[tuple[int, int]], limit: int, burst: int, per_ns: int
) -> None:
    """Request by request the same answer, with no rounding: nothing drifts."""
    limits = _limits_of(limit, 1.0, "token bucket", burst)._replace(per_ns=per_ns)
    model, state, now = Bucket(limit, per_ns, burst), None, 10**15
    model.at = now
    for pause, cost in steps:
        now += pause
        decision, after = limits.decide(state, now, cost)
        assert model.hit(now, cost) == decision.allowed
        assert int(model.tokens) == decision.remaining
        if not decision.allowed:
            later = now + int(decision.retry_after * 1e9) + 2
            assert limits.decide(state, later, cost)[0].allowed
        else:
            state = after


@given(STEPS, st.integers(4, 9), st.integers(1, 7_000_000_000))
@settings(max_examples=150, deadline=None)
def test_a_sliding_window_never_lets_two_limits_through_in_one_window(
    steps: list[tuple[int, int]], limit: int, per_ns: int
) -> None:
    """
    In a window between two borders at most the limit, in any window less than two of them, and
    after `retry_after` the request may go on.
    """
    limits = _limits_of(limit, 1.0, "sliding window", None)._replace(per_ns=per_ns)
    state, now = None, 10**15
    passed: deque[tuple[int, int]] = deque()
    for pause, cost in steps:
        now += pause
        decision, after = limits.decide(state, now, cost)
        assert 0 <= decision.remaining <= limit
        if decision.allowed:
            state = after
            passed.append((now, cost))
            assert sum(it for at, it in passed if at // per_ns == now // per_ns) <= limit
            assert sum(it for at, it in passed if at > now - per_ns) < 2 * limit
        else:
            later = now + int(decision.retry_after * 1e9) + 2
            assert limits.decide(state, later, cost)[0].allowed


@EITHER
@given(state=st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 4), limit=st.integers(1, 10**9))
@settings(max_examples=100, deadline=None)
def test_numbers_that_no_limiter_wrote_do_no_harm(
    algorithm: Any, state: tuple[int, ...], limit: int
) -> None:
    """A process that may write to the map may write anything: `hit` answers, at once."""
    limits = _limits_of(limit, 60.0, algorithm, None)
    decision, _ = limits.decide(state, 10**15, 1)
    assert isinstance(decision.allowed, bool)
    assert decision.retry_after >= 0.0
    assert decision.remaining <= limit


@EITHER
def test_processes_share_one_limit(algorithm: Any) -> None:
    """Four processes hit one key as fast as they can: exactly the limit goes on."""
    with (
        RateLimiter(1000, YEAR, algorithm=algorithm) as limiter,
        memlane.Counter.create(None) as passed,
    ):

        def hit() -> None:
            passed.add(sum(bool(limiter.hit("key")) for _ in range(400)))

        children = [Child(hit) for _ in range(4)]
        assert [0] * 4 == [child.wait() for child in children]
        assert 1000 == passed.value
        assert not limiter.hit("key")


def limiter_of_a_million(algorithm: Any) -> RateLimiter:
    if algorithm == "token bucket":
        return RateLimiter(10**4, YEAR, burst=10**6)
    return RateLimiter(10**6, YEAR, algorithm=algorithm)


@EITHER
def test_killed_processes_count_each_request_once_or_not_and_hold_nobody_up(
    algorithm: Any,
) -> None:
    """Each dies at some moment; at most the one request that it was in the midst of is in doubt."""
    with (
        limiter_of_a_million(algorithm) as limiter,
        memlane.Counter.create(None) as passed,
    ):

        def hit_for_ever() -> None:
            while True:
                assert limiter.hit("key")
                passed.add(1)

        kills = 12
        for number in range(kills):
            before = passed.value
            with Child(hit_for_ever) as child:
                wait_until(functools.partial(_has_grown, passed, before + 20))
                time.sleep(random.random() / 1000)  # for another moment each time
                child.kill()
            counted = 10**6 - limiter.test("key", 0).remaining
            assert passed.value <= counted <= passed.value + number + 1
        assert limiter.hit("key", timeout=60)


def test_a_key_that_nothing_is_counted_for_takes_no_room() -> None:
    """A table of two keys serves any number of them, one after the other."""
    with RateLimiter(1, 0.001, keys=2) as limiter:
        for number in range(50):
            wait_until(functools.partial(_has_room, limiter, number))


def _has_grown(counter: memlane.Counter, least: int) -> bool:
    return counter.value > least


def _has_room(limiter: RateLimiter, key: int) -> bool:
    try:
        return bool(limiter.hit(key))
    except Full:
        return False


def test_what_happens_without_room_is_the_callers_choice() -> None:
    """`Full` by default; "allow" lets a new key through uncounted, "refuse" does not."""
    with Region.create(None, "1 MiB") as region:
        keys = region.map("limits", entries=3, value=RateLimiter.LAYOUT)
        limiter = RateLimiter(2, YEAR, map=keys)
        assert limiter.hit("a")
        assert limiter.hit("b")
        with pytest.raises(Full, match="entries"):
            limiter.hit("c")
        allowing = RateLimiter(2, YEAR, map=keys, when_full="allow")
        refusing = RateLimiter(2, YEAR, map=keys, when_full="refuse")
        assert all(allowing.hit("c") for _ in range(5))
        assert not refusing.hit("c")
        assert refusing.hit("c").retry_after > 0
        assert refusing.hit("a")
        assert not refusing.hit("a")
        limiter.close()
        assert not keys.closed


def test_a_limiter_is_found_by_its_name_with_its_limit(name: str) -> None:
    """`open` takes the limit that is there; another one is refused, and so is another map."""
    made = RateLimiter.open_or_create(name, 10, 60, burst=3)
    with made, RateLimiter.open(name) as opened, RateLimiter.open_or_create(name, 10, 60, burst=3):
        assert (10, 60.0, 3, "token bucket") == (
            *(opened.limit, opened.per, opened.burst),
            opened.algorithm,
        )
        assert opened.hit("a", 3)
        assert not made.hit("a")
        assert (name, False) == (opened.name, opened.closed)
        assert "10 in 60 s, token bucket" in repr(opened)
        with pytest.raises(LayoutError, match=r"limits to 10 in 60 s .*, expected 11 in 60 s"):
            RateLimiter.open_or_create(name, 11, 60)
        with pytest.raises(memlane.RegionExistsError):
            RateLimiter.create(name, 10)
        copy = pickle.loads(pickle.dumps(made))
        assert not copy.hit("a")
        copy.close()
        assert not made.closed
        made.unlink()
    with pytest.raises(memlane.ClosedError):
        made.hit("a")
    with pytest.raises(memlane.RegionNotFoundError):
        RateLimiter.open(name)


def test_what_is_no_limiter_is_refused(name: str) -> None:
    """A map of other values, and one of such values that is a map of somebody else's."""
    with Map(value="d", entries=10) as other, Map(value="4q", entries=10) as fitting:
        with pytest.raises(LayoutError, match=r"value=RateLimiter\.LAYOUT"):
            RateLimiter(1, map=other)
        fitting[b"\0memlane rate limit"] = (7, 0, 0, 0)
        with pytest.raises(LayoutError, match="is no rate limiter"):
            RateLimiter(1, map=fitting)
    with Map.create(name, value="4q", entries=10):
        with pytest.raises(LayoutError, match="is no rate limiter"):
            RateLimiter.open(name)
        with pytest.raises(TypeError, match=r"memlane\.Map"):
            RateLimiter(1, map={})  # type: ignore[arg-type]
    with Region.open(name) as region:
        region.unlink()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"limit": 0}, "limit must be from 1"),
        ({"limit": 1.5}, "limit must be an int"),
        ({"limit": 1, "per": 0}, "per must be from"),
        ({"limit": 1, "per": None}, "per must be seconds"),
        ({"limit": 1, "per": float("nan")}, "per must be at least"),
        ({"limit": 1, "algorithm": "leaky"}, "algorithm must be 'token bucket' or"),
        ({"limit": 1, "algorithm": "sliding window", "burst": 3}, "a sliding window has no burst"),
        ({"limit": 1, "burst": 0}, "burst must be from 1"),
        ({"limit": 1, "per": 3600, "burst": 10**7}, "200 years to become full"),
        ({"limit": 1, "keys": 0}, "keys must be from 1"),
        ({"limit": 1, "key_nbytes": 8}, "key_nbytes must be from 24"),
        ({"limit": 1, "when_full": "block"}, "when_full must be 'raise', 'allow' or 'refuse'"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_at_once(arguments: Any, words: str) -> None:
    """With what was expected, and what was found."""
    with pytest.raises((TypeError, ValueError), match=words):
        RateLimiter(**arguments)


def test_requests_that_could_never_go_on_are_refused() -> None:
    """More at once than ever at once, keys that a map cannot have, and the key of the limiter."""
    with RateLimiter(5) as limiter:
        for wrong in (6, -1):
            with pytest.raises(ValueError, match="cost must be from 0 to 5"):
                limiter.hit("a", wrong)
        with pytest.raises(TypeError, match="cost must be an int"):
            limiter.hit("a", 1.5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="64"):
            limiter.hit("a" * 65)
        with pytest.raises(TypeError):
            limiter.hit(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="use another key"):
            limiter.hit(b"\0memlane rate limit")
        with pytest.raises(AttributeError, match=r"use hit\(key\)"):
            limiter.acquire("a")  # type: ignore[attr-defined]
    assert (True, False) == (bool(Decision(True, 0, 0.0, 0.0)), bool(Decision(False, 9, 1.0, 0.0)))
