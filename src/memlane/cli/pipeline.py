# SPDX-License-Identifier: MIT
"""
The demo's pipeline, seen from its parent: start processes, watch them, leave nothing behind.

    parent --fork--> reader --batches--> worker (a program of its own, one or more)
      ^ ^---progress (slot)---'             |
      '--------------reports----------------'
"""

from __future__ import annotations

import json
import multiprocessing
import os
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
from memlane.cli.stages import BATCHES, PROGRESS, PROGRESS_LAYOUT, REPORTS, SLICE_S, Totals
from memlane.cli.watching import Show

RING_NBYTES = 4 << 20
REGION_NBYTES = 16 << 20  # for each worker, and for the rest; reserved only as far as it is used
#: How long processes may take to end when asked before they are killed; a batch takes far less.
END_PATIENCE_S = 3.0


@dataclass
class Outcome:
    """What came out of the pipeline."""

    totals: list[Totals] = field(default_factory=list)  # one of each worker
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path and reason
    seconds: float = 0.0  # from the reader's start to the last totals

    def total(self) -> Totals:
        return Totals(*(sum(counts) for counts in zip(*self.totals, strict=True)))


def stream(paths: Sequence[str], workers: int, show: Show) -> Outcome:
    """
    Send *paths* through a reader and as many workers.

    Raises:
        PeerGoneError: a process of the pipeline has died.
        KeyboardInterrupt: after Ctrl-C.
        OSError: no room for the rings.

    However it ends, no process and no name is left.
    """
    name = f"demo-{os.getpid()}-{secrets.token_hex(4)}"
    # Ctrl-C comes in while there is something to wait for, not between making a thing and noting
    # that it must go.
    with _ctrl_c(signal.SIG_BLOCK), ExitStack() as ending:
        region = ending.enter_context(Region.create(name, (workers + 1) * REGION_NBYTES))
        ending.callback(region.unlink)
        pipeline = _Pipeline(region, name, paths, workers)
        ending.callback(pipeline.end)
        pipeline.start_workers()
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
    def __init__(self, region: Region, name: str, paths: Sequence[str], workers: int) -> None:
        self.region_name = name
        self.batches = [
            region.ring(BATCHES.format(number), capacity=RING_NBYTES, producers=1)
            for number in range(workers)
        ]
        self.reports = region.ring(REPORTS, capacity="64 KiB", producers=1 + workers)
        self.progress = region.slot(PROGRESS, PROGRESS_LAYOUT)
        self.outcome = Outcome()
        self.ready = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.reader = multiprocessing.get_context("fork").Process(
            target=read, args=(region, paths, workers, os.getpid()), name="memlane demo reader"
        )

    def start_workers(self) -> None:
        for number in range(len(self.batches)):
            # -P: no module of the current directory gets in the way.
            python = [sys.executable, "-P", "-m"]
            worker = ["memlane.cli.worker", self.region_name, str(number), str(os.getpid())]
            self.workers.append(subprocess.Popen([*python, *worker], stdin=subprocess.DEVNULL))

    def run(self, show: Show) -> Outcome:
        while self.ready < len(self.workers):
            self._wait_for_reports()
        with _ctrl_c(signal.SIG_BLOCK):
            self.reader.start()
        began = time.monotonic()
        version, all_read = 0, False
        while not all_read:
            self._check()
            self._take_reports(0)
            try:
                news, version = self.progress.wait_newer(version, timeout=SLICE_S)
            except TimeoutError:
                continue
            files, nbytes, all_read = news
            show(files, nbytes)
        while len(self.outcome.totals) < len(self.workers):
            self._wait_for_reports()
        self.outcome.seconds = time.monotonic() - began
        while self._take_reports(0):
            pass
        return self.outcome

    def _wait_for_reports(self) -> None:
        ended = self._check()  # first: what one reported before it ended is there by now
        if not self._take_reports(SLICE_S) and ended:
            raise PeerGoneError("the demo's processes have ended without reporting their totals")

    def _take_reports(self, timeout: float) -> bool:
        """Take what reports there are, waiting for the first; whether there were any."""
        try:
            records = self.reports.get_many(64, timeout=timeout)
        except Empty:
            return False
        for record in records:
            match json.loads(record):
                case {"ready": _}:
                    self.ready += 1
                case {"skipped": path, "why": why}:
                    self.outcome.skipped.append((path, why))
                case {"totals": totals}:
                    self.outcome.totals.append(Totals(*totals))
        return True

    def _check(self) -> bool:
        """Whether all have ended, and well; PeerGoneError if one has ended badly."""
        # The reader first: a worker ends badly, too, when the reader has died.
        codes = [("reader", self.reader.pid, self.reader.exitcode)]
        codes += [
            (f"worker {number}", worker.pid, worker.poll())
            for number, worker in enumerate(self.workers)
        ]
        for who, pid, code in codes:
            if code:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                raise PeerGoneError(
                    f"the demo's {who} (process {pid}) ended with {how} before its work was done"
                )
        return all(code == 0 for _, _, code in codes)

    def end(self) -> None:
        """Ask all processes to end, and kill those that do not: memlane does not mind."""
        for ring in [*self.batches, self.reports]:
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
