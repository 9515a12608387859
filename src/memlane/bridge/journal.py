# SPDX-License-Identifier: MIT
"""
Which records of which lane of which source stand in a lane here: what a bridge that was started
again must know to remove doubles.

The count of records in a lane is in the lane itself, and moves with the very store that commits
one. All else that is needed changes seldom: which records a lane began with, and which bridge had
it. That is kept in a table of slots in a region of its own, REGION.bridge, and is written before
the first record that it tells of is committed. So a kill at any moment leaves a true number.

A run is a number of records that follow each other at the source, and here. A new one begins where
a record does not follow the one before: behind records that another consumer had, or one that was
redelivered.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from memlane.bridge.objects import Opened
from memlane.bridge.rules import split
from memlane.errors import Empty, RoleTakenError
from memlane.region import Region
from memlane.slot import SlotTable

__all__ = ["MEMORY_NBYTES", "RUNS_MAX", "RUNS_ON_THE_WAY", "Journal", "Track"]

#: Runs of a lane that are remembered. A sender has far fewer of them that are not acknowledged.
RUNS_MAX: Final = 32
#: Runs that a sender has on the way at most: fewer than half, so that those of one life before are
#: remembered, too.
RUNS_ON_THE_WAY: Final = 14

_MAGIC = 0x6D62_0001
#: Bridges that may be the last owner of a lane: each one that was killed while it took it over adds
#: one. Arbitrary.
_OWNERS_MAX = 8
#: Magic, number of runs, lane of the source, lane here, owners; key of the source, key of the
#: object here.
_ENTRY = struct.Struct(f"<IIII{_OWNERS_MAX}I16s16s")
#: First record at the source, first record here, how many: of an open run 2**64 - 1, the lane says.
_RUN = struct.Struct("<QQQ")
_ENTRY_NBYTES = _ENTRY.size + RUNS_MAX * _RUN.size
_OPEN = (1 << 64) - 1
#: Lanes of sources that are remembered beyond those that the object here has. Arbitrary.
_MORE = 16
#: How large REGION.bridge may become; it takes what is used.
MEMORY_NBYTES: Final = "64 MiB"


@dataclass(slots=True)
class _Run:
    source: int
    here: int
    count: int


@dataclass(slots=True)
class Track:
    """
    A lane of a source, and the lane here that has its records.

    Attributes:
        source: The key of the object at the source.
        source_lane: Its lane there.
        index: Its place in the table.
        handle: What puts into the lane here.
        lane: The lane here.
        owners: By which tags the lane here may be known: that of this bridge, or of dead ones.
        next: The number of the record that comes next in the lane here.
        is_uncertain: A dead bridge had the lane, and others since: nobody knows which of its last
            records were committed.
    """

    source: bytes
    source_lane: int
    index: int
    handle: Any = None
    lane: int = 0
    owners: list[int] = field(default_factory=list)
    next: int = 0
    is_uncertain: bool = False
    runs: list[_Run] = field(default_factory=list)

    def committed(self, first: int, count: int) -> list[tuple[int, int]]:
        """
        The parts of records *first* to *first* + *count* that stand here already, as their first
        one and the one behind their last, in order.
        """
        end = first + count
        found = []
        for run in self.runs:
            there = self.next - run.here if run.count == _OPEN else run.count
            low, high = max(first, run.source), min(end, run.source + there)
            if low < high:
                found.append((low, high))
        return sorted(found)

    @property
    def follows(self) -> int:
        """The number at the source that needs no new run; -1: each one does."""
        if not self.runs or self.runs[-1].count != _OPEN:
            return -1
        last = self.runs[-1]
        return last.source + (self.next - last.here)

    def end_run(self) -> None:
        """What comes next in the lane is none of the last run any more."""
        if self.runs and self.runs[-1].count == _OPEN:
            self.runs[-1].count = self.next - self.runs[-1].here
        self.runs = [run for run in self.runs if run.count]


class Journal:
    """
    The tracks of one object here. Its methods are called by one thread at a time.

    Raises:
        MemlaneError, OSError: the region for it cannot be made.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        region, inside = split(opened.name)
        self._region = Region.open_or_create(f"{region}.bridge", MEMORY_NBYTES)
        try:
            self._region.join()
            lanes = opened.made.producers if opened.kind == "ring" else opened.made.publishers  # type: ignore[attr-defined]
            self._table: SlotTable[bytes] = self._region.table(
                inside or "-", lanes + _MORE, _ENTRY_NBYTES, writers="one", watchers=0
            )
            opened.region.join()
        except BaseException:
            self._region.close()
            raise
        self._tag = opened.region._member.tag
        self._tracks: dict[tuple[bytes, int], Track] = {}

    def track(self, source: bytes, lane: int) -> Track:
        """
        The track of a lane of a source, with a lane here that is leased.

        Raises:
            RoleTakenError: live producers have all lanes.
            OSError: there is no memory for one.
            ShutDown, ClosedError: the object here has ended.
        """
        known = self._tracks.get((source, lane))
        if known is not None:
            return known
        found = self._find(source, lane)
        made = self._opened.made
        handle = made.producer() if self._opened.kind == "ring" else made.publisher()  # type: ignore[attr-defined]
        try:
            self._lease(found, handle)
        except BaseException:
            handle.close()
            raise
        self._tracks[source, lane] = found
        return found

    def begin_run(self, track: Track, first: int) -> None:
        """Say which record of the source comes next; before it is committed."""
        track.end_run()
        track.runs = [*track.runs[-(RUNS_MAX - 1) :], _Run(first, track.next, _OPEN)]
        self._write(track)

    def close(self) -> None:
        """Give all lanes back; what was committed stays known."""
        for track in self._tracks.values():
            try:
                track.end_run()
                track.owners = []
                self._write(track)
            except Exception:
                pass  # the region is gone: nobody will ask
            track.handle.close()
        self._tracks.clear()
        self._table.close()
        self._region.close()

    # ---- entries ---------------------------------------------------------------------------------

    def _find(self, source: bytes, lane: int) -> Track:
        """What is remembered of a lane of a source; else a new track in a place that is free."""
        mine = {track.index for track in self._tracks.values()}
        places: list[tuple[int, int]] = []  # how worthless what stands there is, and where
        for index, slot in enumerate(self._table):
            if index in mine:
                continue
            try:
                told = slot.read(timeout=1)
            except Empty:
                places.append((0, index))
                continue
            made = self._parse(told, index)
            if made is None:
                places.append((1, index))
                continue
            if (made.source, made.source_lane) == (source, lane) and self._may_write(made):
                return made
            places.append((2, index))
        for _, index in sorted(places):
            fresh = Track(source, lane, index)
            if self._may_write(fresh):
                return fresh
        raise RoleTakenError(
            f"all {len(self._table)} places for lanes of {self._opened.name!r} are taken by other "
            "bridges; end one of them",
            role="bridge",
            pids=(),
        )

    def _may_write(self, track: Track) -> bool:
        """Take the writer's role of its place; another live bridge may have it."""
        try:
            self._write(track)
        except RoleTakenError:
            return False
        return True

    def _lease(self, track: Track, handle: Any) -> None:
        track.handle = handle
        owners = track.owners
        if owners:
            # First say that we may be the next owner, then become it: a kill in between leaves
            # both tags, and the lane bears one of them.
            track.owners = [*owners[-(_OWNERS_MAX - 1) :], self._tag]
            self._write(track)
            for owner in owners:
                try:
                    track.lane, track.next = handle._lease(track.lane, owner)
                except RoleTakenError:
                    continue
                track.owners = [self._tag]
                self._write(track)
                return
            # Others had the lane since, so its count says nothing of us.
            track.is_uncertain = True
            if track.runs and track.runs[-1].count == _OPEN:
                track.runs.pop()
        track.lane, track.next = handle._lease()
        track.owners = [self._tag]
        self._write(track)

    def _parse(self, told: bytes, index: int) -> Track | None:
        """An entry, if it is one of this object and sound: a region may be spoilt."""
        magic, count, source_lane, lane, *owners, source, here = _ENTRY.unpack_from(told)
        if magic != _MAGIC or here != self._opened.key or count > RUNS_MAX:
            return None
        runs = [
            _Run(*_RUN.unpack_from(told, _ENTRY.size + number * _RUN.size))
            for number in range(count)
        ]
        if any(run.count == _OPEN for run in runs[:-1]):
            return None
        owners = [owner for owner in owners if owner]
        return Track(source, source_lane, index, lane=lane, owners=owners, runs=runs)

    def _write(self, track: Track) -> None:
        told = bytearray(_ENTRY_NBYTES)
        owners = [*track.owners, *[0] * _OWNERS_MAX][:_OWNERS_MAX]
        head = (_MAGIC, len(track.runs), track.source_lane, track.lane, *owners)
        _ENTRY.pack_into(told, 0, *head, track.source, self._opened.key)
        for number, run in enumerate(track.runs):
            _RUN.pack_into(told, _ENTRY.size + number * _RUN.size, run.source, run.here, run.count)
        self._table[track.index].publish(told)
