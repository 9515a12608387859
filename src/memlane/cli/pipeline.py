# SPDX-License-Identifier: MIT
"""
The demo's pipeline, seen from its parent: start processes, watch them, leave nothing behind.

    parent --fork--> reader --batches--> workers (programs of their own, which compete)
      ^ ^---progress (slot)---'             |
      '--------------reports----------------'

A worker that is killed is replaced, and what it had in hand goes to another one. So a batch may be
counted twice, never not at all; file and piece numbers make it once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from memlane import Empty, PeerGoneError, Region
from memlane.cli.reader import read
from memlane.cli.stages import (
    BATCHES,
    PROGRESS,
    PROGRESS_LAYOUT,
    REPORTS,
    SLICE_S,
    Counted,
    Totals,
    join_pieces,
)
from memlane.cli.watching import Show

RING_NBYTES = 4 << 20
REGION_NBYTES = 64 << 20  # reserved only as far as it is used
#: More replacements than this mean that nobody gets anywhere.
REPLACEMENTS_MAX = 1000
#: How long processes may take to end when asked before they are killed; a batch takes far less.
END_PATIENCE_S = 3.0
#: How long to wait for news of the reader before the workers' reports are looked at again.
SHOW_PAUSE_S = 0.01


@dataclass
class Outcome:
    """What came out of the pipeline."""

    skipped: list[tuple[str, str]] = field(default_factory=list)  # path and reason
    killed: list[int] = field(default_factory=list)  # processes of workers that were replaced
    redelivered: int = 0  # batches that one of them had in hand
    counted_twice: int = 0  # of these, the ones whose report was in
    seconds: float = 0.0  # from the reader's start to the last report
    _pieces: dict[int, dict[int, Counted]] = field(default_factory=dict)  # by file and piece
    batches: int = 0
    files: int = 0  # whose last piece is in

    def note(self, file: int, piece: int, last: bool, counted: Counted) -> None:
        """Take in one report of one batch, however often it comes."""
        pieces = self._pieces.setdefault(file, {})
        if piece in pieces:
            self.counted_twice += 1
            return
        pieces[piece] = counted
        self.files += last
        self.batches += 1

    def total(self) -> Totals:
        files = [
            join_pieces([pieces[number] for number in sorted(pieces)])
            for pieces in self._pieces.values()
        ]
        return Totals(*(sum(counts) for counts in zip(Totals(0, 0, 0, 0), *files, strict=True)))


def stream(paths: Sequence[str], workers: int, show: Show, *, kill: bool = False) -> Outcome:
    """
    Send *paths* through a reader and as many workers. With *kill*, workers are killed while they
    count, twice as many as there are at a time.

    Raises:
        PeerGoneError: the reader has died, or a worker has failed.
        KeyboardInterrupt: after Ctrl-C.
        OSError: no room for the rings.

    However it ends, no process and no name is left.
    """
    name = f"demo-{os.getpid()}-{secrets.token_hex(4)}"
    # Ctrl-C comes in while there is something to wait for, not between making a thing and noting
    # that it must go.
    with _ctrl_c(signal.SIG_BLOCK), ExitStack() as ending:
        region = ending.enter_context(Region.create(name, REGION_NBYTES))
        ending.callback(region.unlink)
        pipeline = _Pipeline(region, name, paths, workers, 2 * workers if kill else 0)
        ending.callback(pipeline.end)
        for _ in range(workers):
            pipeline.start_worker()
        with _ctrl_c(signal.SIG_UNBLOCK):
            return pipeline.run(show)


@contextmanager
def _ctrl_c(how: int) -> Iterator[None]:
    """Hold SIGINT back or let it come in. Processes started while it is held back never see it."""
    before = signal.pthread_sigmask(how, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pipeline:
    def __init__(
        self, region: Region, name: str, paths: Sequence[str], workers: int, kills: int
    ) -> None:
        self.region_name = name
        self.files = len(paths)
        self.kills = kills
        self.batches = region.ring(BATCHES, capacity=RING_NBYTES, producers=1, consumers="many")
        self.reports = region.ring(REPORTS, capacity="64 KiB", producers=1 + workers)
        self.progress = region.slot(PROGRESS, PROGRESS_LAYOUT)
        self.outcome = Outcome()
        self.ready: set[int] = set()
        self.kills_done = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.reader = multiprocessing.get_context("fork").Process(
            target=read, args=(region, paths, os.getpid()), name="memlane demo reader"
        )

    def start_worker(self) -> None:
        # -P: no module of the current directory gets in the way.
        python = [sys.executable, "-P", "-m"]
        worker = ["memlane.cli.worker", self.region_name, str(os.getpid())]
        self.workers.append(subprocess.Popen([*python, *worker], stdin=subprocess.DEVNULL))

    def run(self, show: Show) -> Outcome:
        while len(self.ready) < len(self.workers):
            self._step()
        with _ctrl_c(signal.SIG_BLOCK):
            self.reader.start()
        began = time.monotonic()
        version, batches, all_read = 0, 0, False
        while not all_read or self.outcome.batches < batches:
            self._step(0 if not all_read else SLICE_S)
            if not all_read:
                try:
                    news, version = self.progress.wait_newer(version, timeout=SHOW_PAUSE_S)
                except TimeoutError:
                    continue
                files, batches, nbytes, all_read = news
                show(files, nbytes)
        self.outcome.seconds = time.monotonic() - began
        self.outcome.redelivered = self.batches.stats()["redelivered"]
        return self.outcome

    def _step(self, timeout: float = SLICE_S) -> None:
        """Take what reports there are, and see that all who should live do."""
        ended = self._check()  # first: what one reported before it ended is there by now
        if not self._take_reports(timeout) and ended:
            raise PeerGoneError("the demo's processes have ended without counting everything")

    def _take_reports(self, timeout: float) -> bool:
        """Take what reports there are, waiting for the first; whether there were any."""
        try:
            records = self.reports.get_many(64, timeout=timeout)
        except Empty:
            return False
        for record in records:
            match json.loads(record):
                case {"ready": pid}:
                    self.ready.add(pid)
                case {"skipped": path, "why": why}:
                    self.outcome.skipped.append((path, why))
                case {"file": file, "piece": piece, "last": last, "counted": counted}:
                    self.outcome.note(file, piece, last, Counted(*counted))
                    self._kill_when_due()
        return True

    def _kill_when_due(self) -> None:
        """Kill the next worker when the next part of the files has been counted."""
        due = self.outcome.files * (self.kills + 1) > self.files * (self.kills_done + 1)
        if due and self.kills_done < self.kills:
            alive = [worker for worker in self.workers if worker.pid in self.ready]
            if alive:
                victim = random.choice(alive)
                victim.kill()
                self.ready.discard(victim.pid)
                self.kills_done += 1

    def _check(self) -> bool:
        """Replace workers that were killed; whether all have ended, and well. PeerGoneError."""
        # The reader first: a worker ends badly, too, when the reader has died.
        self._require_well("reader", self.reader.pid, self.reader.exitcode)
        for worker in list(self.workers):
            code = worker.poll()
            if code is not None and code < 0 and len(self.outcome.killed) < REPLACEMENTS_MAX:
                self.workers.remove(worker)
                self.outcome.killed.append(worker.pid)
                self.ready.discard(worker.pid)
                self.start_worker()
            else:
                self._require_well("worker", worker.pid, code)
        codes = [self.reader.exitcode, *(worker.poll() for worker in self.workers)]
        return all(code == 0 for code in codes)

    def _require_well(self, who: str, pid: int | None, code: int | None) -> None:
        if code:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise PeerGoneError(
                f"the demo's {who} (process {pid}) ended with {how} before its work was done"
            )

    def end(self) -> None:
        """Ask all processes to end, and kill those that do not: memlane does not mind."""
        for ring in (self.batches, self.reports):
            ring.shutdown(immediate=True)
        patience_ends = time.monotonic() + END_PATIENCE_S
        for worker in self.workers:
            try:
                worker.wait(max(0.0, patience_ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        if self.reader.pid is not None:
            self.reader.join(max(0.0, patience_ends - time.monotonic()))
            self.reader.kill()
            self.reader.join()
