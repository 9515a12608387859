# SPDX-License-Identifier: MIT
"""
RateLimiter: how often something may happen, by key, over all processes. It lives in a Map.

Each decision is one compare-exchange of one key, so a process that is killed has counted its
request or has not. Times are of the clock that runs while the machine sleeps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._instead import instead
from memlane.errors import Full, LayoutError
from memlane.map import Key, Map

Algorithm = Literal["token bucket", "sliding window"]
WhenFull = Literal["raise", "allow", "refuse"]

_ALGORITHMS: tuple[Algorithm, ...] = ("token bucket", "sliding window")
_WHEN_FULL: tuple[WhenFull, ...] = ("raise", "allow", "refuse")
#: Where a map says what it limits. Of keys, bytes alone can begin with it.
_LIMITS = b"\0memlane rate limit"
_KEYS, _KEY_NBYTES = 10_000, 64
_SECOND_NS = 1_000_000_000
#: Requests and seconds of a limit; arbitrary, and their product has 63 bits.
_LIMIT_MAX, _PER_MAX_S = 1_000_000_000, 366 * 86_400.0
#: The longest time in which a bucket becomes full: moments in nanoseconds have 63 bits.
_FILLS_IN_MAX_NS = 200 * 366 * 86_400 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What was decided about a request; true where it may go on.

    Attributes:
        allowed: Whether it may.
        remaining: How many further ones might now.
        retry_after: Seconds until the same request may; 0.0 where it may.
        reset_after: Seconds until nothing is counted any more.
    """

    allowed: bool
    remaining: int
    retry_after: float
    reset_after: float

    def __bool__(self) -> bool:
        return self.allowed


class _Limits(NamedTuple):
    """What is limited, as the map keeps it: all processes have the same."""

    algorithm: int
    limit: int
    per_ns: int
    burst: int

    def decide(
        self, state: tuple[int, ...] | None, now: int, cost: int
    ) -> tuple[Decision, tuple[int, int, int, int]]:
        """What is decided at *now* about *cost* requests, and what is counted then."""
        if self.algorithm == 0:
            return self._of_bucket(state, now, cost)
        return self._of_window(state, now, cost)

    def _of_bucket(
        self, state: tuple[int, ...] | None, now: int, cost: int
    ) -> tuple[Decision, tuple[int, int, int, int]]:
        """
        The generic cell rate algorithm (ITU-T I.371), which is a token bucket that keeps the moment
        at which it is full again. Moments are in nanoseconds times the limit: then a token takes
        the whole number `per_ns` to come.
        """
        limit, token = self.limit, self.per_ns
        here = now * limit
        brim = self.burst * token
        full_at = here
        if state is not None:
            full_at = min(max(here, state[0] * limit + state[1]), here + brim)
        after = full_at + cost * token
        allowed = after <= here + brim
        left = after if allowed else full_at
        decision = Decision(
            allowed,
            (here + brim - left) // token,
            0.0 if allowed else (after - brim - here) / (limit * _SECOND_NS),
            (left - here) / (limit * _SECOND_NS),
        )
        return decision, (after // limit, after % limit, 0, 0)

    def _of_window(
        self, state: tuple[int, ...] | None, now: int, cost: int
    ) -> tuple[Decision, tuple[int, int, int, int]]:
        """
        Two counts, of this window and of the one before, which counts by the part of it that is
        less than one window ago: as if its requests had come evenly.
        """
        limit, per = self.limit, self.per_ns
        number, here = divmod(now, per)
        count = before = 0
        if state is not None:
            if state[0] == number + 1:  # another process was faster over the border
                number, here = state[0], 0
            if state[0] == number:
                count, before = max(state[1], 0), max(state[2], 0)
            elif state[0] == number - 1:
                before = max(state[1], 0)
        counted = before * (per - here) + count * per
        allowed = counted + cost * per <= limit * per
        wait = 0
        if not allowed and count + cost <= limit:
            wait = per - here - (limit - count - cost) * per // before
        elif not allowed:
            wait = per - here + max(0, per - (limit - cost) * per // count)
        after = count + cost if allowed else count
        left = limit * per - before * (per - here) - after * per
        reset = 0
        if after or before:
            reset = 2 * per - here if after else per - here
        decision = Decision(allowed, max(0, left // per), wait / _SECOND_NS, reset / _SECOND_NS)
        return decision, (number, after, before, 0)


#: What limiters of others call what this one does.
_INSTEAD = {
    "acquire try_acquire allow allow_request is_allowed consume limit_request check": (
        "use hit(key), which is true where the request may go on"
    ),
    "get_window_stats stats_of remaining peek get": "use test(key, 0)",
    "reset delete remove": "use clear(key)",
    "wait sleep": "use hit(key).retry_after",
    "rate": "use limit and per",
}
_OPERATORS = {
    "is no asynchronous context manager": (
        "use `with` around all requests, and hit(key) for each: it does not wait"
    ),
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class RateLimiter:
    """
    How many requests may be made in some time, for each key, counted over all processes.

    `RateLimiter(limit, per)` makes one without a name, to be passed to child processes; `create`,
    `open` and `open_or_create` are for one with a name. It lives in a `Map`: its own, or one that
    it is given. A key that nothing is counted for takes no room. Each `hit` is one step; a process
    that is killed in it holds up nobody.
    """

    #: The value of a map that a limiter can live in.
    LAYOUT = "4q"

    _map: Map[Any]
    _limits: _Limits
    _when_full: WhenFull

    def __init__(
        self,
        limit: int,
        per: float = 1.0,
        *,
        algorithm: Algorithm = "token bucket",
        burst: int | None = None,
        keys: int = _KEYS,
        key_nbytes: int = _KEY_NBYTES,
        when_full: WhenFull = "raise",
        map: Map[Any] | None = None,  # noqa: A002 - as the method of a region
        label: str | None = None,
    ) -> None:
        """
        Args:
            limit: How many requests may be made in *per* seconds, for each key; 1 to 10**9.
            per: Seconds, up to a year.
            algorithm: "token bucket": *burst* requests at once, and then as many as come back with
                the rate. "sliding window": at most *limit* in any *per* seconds, where those of the
                window before count as if they had come evenly.
            burst: Of a token bucket: how many requests may be made at once; by default *limit*.
            keys: How many keys can be counted at once.
            key_nbytes: Bytes of the longest key, 24 to 4096.
            when_full: What `hit` does for a new key while so many others are counted: raise
                `Full`, "allow" or "refuse".
            map: The map to live in, with values of the layout `RateLimiter.LAYOUT`, as of
                `region.map("limits", entries=..., value=RateLimiter.LAYOUT)`. It stays the
                caller's: `close` leaves it open. If it is that of another limiter already, all
                numbers must be the same.
            label: The name in messages, repr and /proc, without a map.

        Raises:
            TypeError, ValueError: an argument is out of range.
            LayoutError: *map* has other values, or belongs to another limit.
            OSError: there is no room.
        """
        limits = _limits_of(limit, per, algorithm, burst)
        _arguments.choice(when_full, "when_full", _WHEN_FULL)
        if map is None:
            made: Map[Any] = Map(
                entries=_entries(keys),
                key_nbytes=_key_nbytes(key_nbytes),
                value=self.LAYOUT,
                label=label,
            )
            self._take(made, True, limits, when_full)
            return
        if not isinstance(map, Map):
            raise TypeError(f"map must be a memlane.Map, got {_arguments.shown(map)}")
        self._take(map, False, limits, when_full)

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        limit: int,
        per: float = 1.0,
        *,
        algorithm: Algorithm = "token bucket",
        burst: int | None = None,
        keys: int = _KEYS,
        key_nbytes: int = _KEY_NBYTES,
        when_full: WhenFull = "raise",
        permissions: int = 0o600,
    ) -> Self:
        """
        Create a limiter in a new region of its own. The arguments are those of the class.

        Raises:
            RegionExistsError: the name is taken.
            OSError, TypeError, ValueError: as the class.
        """
        limits = _limits_of(limit, per, algorithm, burst)
        return cls._made(
            lambda: Map.create(
                name,
                entries=_entries(keys),
                key_nbytes=_key_nbytes(key_nbytes),
                value=cls.LAYOUT,
                permissions=permissions,
            ),
            limits,
            when_full,
        )

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        when_full: WhenFull = "raise",
        timeout: float | None = 0,
        owner: int | None = None,
    ) -> Self:
        """
        Open a limiter that has a region of its own, with the limit that it was made with. *timeout*
        is how long to wait for the name to appear, in seconds; None waits for ever.

        Raises:
            LayoutError: it is a map, or something else, and no limiter.
            RegionNotFoundError, TruncatedError, CorruptedError, PermissionError: as `Region.open`.
        """
        return cls._made(
            lambda: Map.open(name, value=cls.LAYOUT, timeout=timeout, owner=owner),
            None,
            when_full,
        )

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        limit: int,
        per: float = 1.0,
        *,
        algorithm: Algorithm = "token bucket",
        burst: int | None = None,
        keys: int = _KEYS,
        key_nbytes: int = _KEY_NBYTES,
        when_full: WhenFull = "raise",
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """
        Open the limiter of this name and check that it has this limit, or create it.

        Raises:
            LayoutError: it has another limit, or other keys.
            As `create` and `open` otherwise.
        """
        limits = _limits_of(limit, per, algorithm, burst)
        return cls._made(
            lambda: Map.open_or_create(
                name,
                entries=_entries(keys),
                key_nbytes=_key_nbytes(key_nbytes),
                value=cls.LAYOUT,
                permissions=permissions,
                owner=owner,
            ),
            limits,
            when_full,
        )

    @classmethod
    def _made(
        cls, make: Callable[[], Map[Any]], limits: _Limits | None, when_full: WhenFull
    ) -> Self:
        _arguments.choice(when_full, "when_full", _WHEN_FULL)
        made = cls.__new__(cls)
        made._take(make(), True, limits, when_full)
        return made

    def _take(
        self, table: Map[Any], owns: bool, limits: _Limits | None, when_full: WhenFull
    ) -> None:
        """Live in a map: its limit is that of its first limiter."""
        self._owns, self._when_full = owns, when_full
        try:
            self._map = table
            self._limits = _agreed(table, limits)
        except BaseException:
            if owns:
                table.close()
            raise

    # ---- decisions -------------------------------------------------------------------------------

    def hit(self, key: Key, cost: int = 1, *, timeout: float | None = None) -> Decision:
        """
        Count a request of *key*, if it may go on.

        Waits for nothing but a process that is inside a change of the same key: a dead one is
        noticed, one that was stopped there holds it up for *timeout*.

        Args:
            key: A str, bytes or an int of 64 bits, as of a Map: an address, a user.
            cost: For how many requests it counts; 0 counts none, and tells the state.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            A `Decision`, true where the request may go on. One that may not is not counted.

        Raises:
            Full: this key is new, and there is no room for it: see `when_full`.
            TimeoutError: another process was inside a change of this key for all of *timeout*.
            ValueError: *cost* could never be allowed, or *key* is too long.
            TypeError: *key* is no str, bytes or int.
            ClosedError: this process closed the limiter.
        """
        return self._decided(key, self._cost(cost), True, timeout)

    def test(self, key: Key, cost: int = 1) -> Decision:
        """
        What `hit` would decide, without counting anything. Works without write access.

        Raises:
            ValueError, TypeError, ClosedError: as `hit`.
        """
        return self._decided(key, self._cost(cost), False, None)

    def clear(self, key: Key) -> None:
        """
        Forget what is counted for *key*.

        Raises:
            TypeError, ValueError, ClosedError: as `hit`.
        """
        self._map.pop(_key(key), None)

    def _cost(self, cost: int) -> int:
        number = _arguments.integer(cost, "cost", "an int")
        most = self._limits.burst
        if not 0 <= number <= most:
            raise ValueError(
                f"cost must be from 0 to {most}, since more are never allowed at once, got "
                f"{_arguments.shown(cost)}"
            )
        return number

    def _decided(self, key: Key, cost: int, counts: bool, timeout: float | None) -> Decision:
        limits, found = self._limits, self._map
        _key(key)
        while True:
            state: tuple[int, ...] | None
            try:
                state, version = found.read_versioned(key)
            except KeyError:
                state, version = None, 0
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            decision, after = limits.decide(state, now, cost)
            if not (counts and cost and decision.allowed):
                return decision
            try:
                if found.compare_exchange(
                    key,
                    version,
                    after,
                    expires=decision.reset_after + 1e-6,  # not before: it is forgotten then
                    timeout=timeout,
                ):
                    return decision
            except Full:
                if self._when_full == "raise":
                    raise
                if self._when_full == "allow":
                    return decision
                return Decision(False, 0, limits.per_ns / _SECOND_NS, decision.reset_after)

    # ---- facts, the end --------------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """How many requests may be made in `per` seconds."""
        return self._limits.limit

    @property
    def per(self) -> float:
        """The seconds of the limit."""
        return self._limits.per_ns / _SECOND_NS

    @property
    def burst(self) -> int:
        """How many requests may be made at once."""
        return self._limits.burst

    @property
    def algorithm(self) -> Algorithm:
        """ "token bucket" or "sliding window"."""
        return _ALGORITHMS[self._limits.algorithm]

    @property
    def map(self) -> Map[Any]:
        """The map that it lives in."""
        return self._map

    @property
    def name(self) -> str | os.PathLike[str] | None:
        """The name of the map."""
        return self._map.name

    @property
    def closed(self) -> bool:
        """Whether this process has closed the map."""
        return self._map.closed

    def close(self) -> None:
        """Close the map, unless it was given. The name stays. Never fails."""
        if self._owns:
            self._map.close()

    def unlink(self) -> None:
        """
        Remove the name for every process.

        Raises:
            As `unlink` of the map.
        """
        self._map.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        per = f"{self.per:g} s"
        return f"<memlane.RateLimiter {self.limit} in {per}, {self.algorithm}, in {self._map!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_limiter, (type(self), self._map, self._owns, self._when_full)


def _rebuild_limiter(
    cls: type[RateLimiter], table: Map[Any], owns: bool, when_full: WhenFull
) -> RateLimiter:
    made = cls.__new__(cls)
    made._take(table, owns, None, when_full)
    return made


def _entries(keys: int) -> int:
    """With one of our own."""
    return _arguments.positive(keys, "keys", _core.MAP_ENTRIES_MAX - 1) + 1


def _key_nbytes(key_nbytes: int) -> int:
    nbytes = _arguments.size(key_nbytes, "key_nbytes")
    if not 24 <= nbytes <= _core.MAP_KEY_MAX:
        raise ValueError(
            f"key_nbytes must be from 24 to {_core.MAP_KEY_MAX}, got {_arguments.shown(key_nbytes)}"
        )
    return nbytes


def _key(key: Key) -> Key:
    if key == _LIMITS:
        raise ValueError(f"{_LIMITS!r} is where a limiter keeps its limit; use another key")
    return key


def _limits_of(limit: int, per: float, algorithm: str, burst: int | None) -> _Limits:
    """
    Raises:
        TypeError, ValueError: there is no such limit.
    """
    count = _arguments.positive(limit, "limit", _LIMIT_MAX)
    seconds = _arguments.timeout(per, "per", "")
    if not 1e-6 <= seconds <= _PER_MAX_S:
        raise ValueError(
            f"per must be from 1e-6 to {_PER_MAX_S:g} seconds, got {_arguments.shown(per)}"
        )
    _arguments.choice(algorithm, "algorithm", _ALGORITHMS)
    number = _ALGORITHMS.index(algorithm)
    if burst is not None and number != 0:
        raise ValueError("a sliding window has no burst; leave it out, or take a token bucket")
    most = count if burst is None else _arguments.positive(burst, "burst", _LIMIT_MAX)
    made = _Limits(number, count, round(seconds * _SECOND_NS), most)
    if made.burst * made.per_ns > _FILLS_IN_MAX_NS * made.limit:
        raise ValueError(
            f"a bucket of {made.burst} would take more than 200 years to become full at {count} in "
            f"{seconds:g} seconds; take a smaller burst"
        )
    return made


def _agreed(table: Map[Any], limits: _Limits | None) -> _Limits:
    """
    The limit that a map was given first, which must be *limits*, if that is not None.

    Raises:
        LayoutError: it is another one, or none at all.
    """
    title = table._region._member.called(table._word, table._object_name)
    schema = table.stats()["value"] if table.value_nbytes == 32 else ""
    if schema != f"struct:{RateLimiter.LAYOUT}":
        raise LayoutError(
            f"{title} has other values than a limiter; make the map with "
            f"value=RateLimiter.LAYOUT, which is {RateLimiter.LAYOUT!r}",
            name=table._object_name,
            expected=RateLimiter.LAYOUT,
            found=table._layout.schema,
        )
    found = table.get(_LIMITS) if limits is None else table.setdefault(_LIMITS, tuple(limits))
    if found is None or not _is_sound(_Limits(*found)):
        raise LayoutError(
            f"{title} is no rate limiter; create one with RateLimiter.create(name, limit, per)",
            name=table._object_name,
            expected="a limit",
            found=found,
        )
    agreed = _Limits(*found)
    if limits is not None and agreed != limits:
        raise LayoutError(
            f"{title} limits to {_said(agreed)}, expected {_said(limits)}; ask for what it has, or "
            "take another name",
            name=table._object_name,
            expected=tuple(limits),
            found=tuple(agreed),
        )
    return agreed


def _is_sound(limits: _Limits) -> bool:
    return (
        limits.algorithm in (0, 1)
        and 1 <= limits.limit <= _LIMIT_MAX
        and 1 <= limits.burst <= _LIMIT_MAX
        and 1 <= limits.per_ns <= _PER_MAX_S * _SECOND_NS
        and limits.burst * limits.per_ns <= _FILLS_IN_MAX_NS * limits.limit
    )


def _said(limits: _Limits) -> str:
    return (
        f"{limits.limit} in {limits.per_ns / _SECOND_NS:g} s by a {_ALGORITHMS[limits.algorithm]}"
        f"{f' of {limits.burst}' if limits.algorithm == 0 else ''}"
    )
