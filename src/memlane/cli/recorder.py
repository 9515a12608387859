# SPDX-License-Identifier: MIT
"""`memlane record` and `memlane replay`: records into a file, and out of it again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memlane import Region, Slot, SlotTable, following, inspection, recording
from memlane.cli.looking import require_object
from memlane.cli.text import Refusal, safe, size
from memlane.cli.transfer import opened
from memlane.recording import RecordedObject

#: Between two looks. Arbitrary: a lane must not be overtaken meanwhile, and a look costs little.
PAUSE_MIN_S, PAUSE_MAX_S = 0.0005, 0.02


class _Stop(Exception):
    """The user has seen enough, or the service manager has."""


def record(
    patterns: Sequence[str],
    path: str,
    oldest: bool,
    hold: bool,
    seconds: float | None,
    count: int | None,
) -> int:
    """
    Write what goes through objects into a file, until Ctrl-C, SIGTERM, the end of all of them, a
    time or a number of records.

    Args:
        patterns: Names, or patterns, of regions and objects.
        oldest: Begin with what is there; else with what comes.
        hold: Join: topics wait for the recorder, and of a ring it takes the records.

    Raises:
        Refusal, MemlaneError, OSError, ValueError: it is not there, or cannot be recorded; the file
        exists, or cannot be written.
    """
    with contextlib.ExitStack() as stack:
        followers = _followers(patterns, hold, stack)
        writer = stack.enter_context(recording.create(path))
        tracks = [
            _Track(writer.add_object(region, name, kind, stats), follower)
            for region, name, kind, stats, follower in followers
        ]
        with _stopped_by(signal.SIGINT, signal.SIGTERM), contextlib.suppress(_Stop):
            for track in tracks:
                track.begin(writer, sys.maxsize if oldest else 0)
            writer.flush()
            _record(tracks, writer, seconds, count)
        for track in tracks:
            track.gap(writer)
        writer.end()
    missed = f", {writer.missed:,} missed" if writer.missed else ""
    print(
        f"recorded {writer.records:,} records{missed} in {safe(path)}, "
        f"{size(os.path.getsize(path))}",
        file=sys.stderr,
    )
    return 0


class _Track:
    """One object that is recorded."""

    def __init__(self, of: RecordedObject, follower: following.Follower) -> None:
        self.follower = follower
        self._of, self._missed = of, 0

    def begin(self, writer: recording.Writer, most: int) -> None:
        self._write(writer, self.follower.last(most))

    def go_on(self, writer: recording.Writer) -> int:
        found = self.follower.new()
        self.gap(writer)
        self._write(writer, found)
        return len(found)

    def gap(self, writer: recording.Writer) -> None:
        missed = self.follower.missed
        if missed != self._missed:
            writer.add_missed(self._of, missed - self._missed)
            self._missed = missed

    def _write(self, writer: recording.Writer, found: list[following.Seen]) -> None:
        for one in found:
            writer.add_record(self._of, one.lane, one.number, one.payload)


def _record(
    tracks: list[_Track], writer: recording.Writer, seconds: float | None, count: int | None
) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    pause = PAUSE_MIN_S
    while not all(track.follower.ended for track in tracks):
        found = sum([track.go_on(writer) for track in tracks])
        writer.flush()
        if count is not None and writer.records >= count:
            return
        now = time.monotonic()
        if end is not None and now >= end:
            return
        pause = PAUSE_MIN_S if found else min(2 * pause, PAUSE_MAX_S)
        if not found:
            time.sleep(pause if end is None else max(min(pause, end - now), 0))


@contextlib.contextmanager
def _stopped_by(*numbers: signal.Signals) -> Iterator[None]:
    """Have signals raise _Stop, in the main thread; elsewhere nothing is changed."""

    def stop(_number: int, _frame: object) -> None:
        raise _Stop

    try:
        before = [(number, signal.signal(number, stop)) for number in numbers]
    except ValueError:  # not the main thread
        before = []
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _followers(
    patterns: Sequence[str], hold: bool, stack: contextlib.ExitStack
) -> list[tuple[str, str, str, dict[str, Any], following.Follower]]:
    found, seen = [], set()
    for pattern in patterns:
        targets = inspection.matching(pattern)
        if not targets:
            raise Refusal(f"nothing matches {pattern!r}")
        for target in targets:
            region = stack.enter_context(_joined(target) if hold else target.open())
            names = list(region)
            if target.object is not None:
                require_object(target, target.object, names)
                names = [target.object]
            for name in names:
                follower = following.follower(region, name, hold=hold)
                # a frame has no room for a key
                is_map = isinstance(follower, following.MapFollower)
                if follower is None or is_map or (target.name, name) in seen:
                    continue
                seen.add((target.name, name))
                stats = region.stats()["objects"][name]
                found.append((target.name, name, stats["kind"], stats, follower))
    if not found:
        raise Refusal(f"no object of {', '.join(patterns)} can be recorded; memlane ls shows all")
    return found


def _joined(target: inspection.Target) -> Region:
    try:
        return Region.open(target.path if target.kind != "named" else target.region_name)
    except FileNotFoundError:
        raise target.not_found() from None


# ---- replay --------------------------------------------------------------------------------------


def replay(path: str, rate: float, to: str | None, timeout: float | None) -> int:
    """
    Put what was recorded again: into the objects of the same names, or into those of *to*.

    Args:
        rate: How many times as fast as it was; 0: as fast as it goes.
        timeout: Longest wait for room; None: for ever.

    Raises:
        Refusal, MemlaneError, OSError, ValueError: it is no recording, an object is not there, or
        does not take a record.
    """
    with recording.open(path) as found, contextlib.ExitStack() as stack:
        _tell_cut(found)
        puts: dict[int, Callable[[int, bytes], object]] = {}
        for of in found.objects:
            name = _goal(of, to, len(found.objects))
            puts[of.index] = _putter(stack.enter_context(opened(name)), stack, timeout)
        first, started = None, time.monotonic()
        count, missed = 0, 0
        for frame in found.frames():
            if isinstance(frame, recording.Missed):
                missed += frame.count
                continue
            first = frame.time if first is None else first
            if rate:
                due = started + (frame.time - first) / rate
                while (left := due - time.monotonic()) > 0:
                    time.sleep(min(left, 1))
            puts[frame.object.index](frame.lane, frame.payload)
            count += 1
    gaps = f"; the recorder had missed {missed:,}" if missed else ""
    print(f"replayed {count:,} records of {safe(path)}{gaps}", file=sys.stderr)
    return 0


def _tell_cut(found: recording.Recording) -> None:
    if found.cut is not None:
        print(f"memlane: {safe(found.path)}: {safe(found.cut)}", file=sys.stderr)


def _goal(of: RecordedObject, to: str | None, several: int) -> str:
    """The name of the object that records of *of* go to."""
    if to is None:
        return f"{of.region}/{of.name}"
    target = inspection.find(to)
    if target.object is not None and several > 1:
        raise Refusal(
            f"the recording has {several} objects, so --to names a region that has them all, got "
            f"{to!r}"
        )
    return to if target.object is not None else f"{to}/{of.name}"


def _putter(
    found: Any, stack: contextlib.ExitStack, timeout: float | None
) -> Callable[[int, bytes], object]:
    """What puts a payload; each recorded lane has a lane of its own, as long as there are some."""
    make = getattr(found, "producer", None) or getattr(found, "publisher", None)
    if make is not None:
        lanes: dict[int, Any] = {}
        most = found.producers if hasattr(found, "producers") else found.publishers

        def put(lane: int, payload: bytes) -> object:
            lane %= most
            if lane not in lanes:
                lanes[lane] = stack.enter_context(make())
            handle = lanes[lane]
            send = handle.put if hasattr(handle, "put") else handle.publish
            return send(payload, timeout=timeout)

        return put
    if isinstance(found, SlotTable):
        table = following.as_bytes(found)
        return lambda lane, payload: table[lane].publish(payload, timeout=timeout)
    if isinstance(found, Slot):
        slot = following.as_bytes(found)
        return lambda _lane, payload: slot.publish(payload, timeout=timeout)
    raise Refusal(f"a {type(found).__name__.lower()} takes no records; use --to with one that does")
