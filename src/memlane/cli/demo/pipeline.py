# SPDX-License-Identifier: MIT
"""
The demo's pipeline, seen from its parent: cut files, start workers, collect, leave nothing behind.

    parent --pieces--> workers, which compete for them
      ^                   |
      '------results------'

A worker that is killed is replaced, and what it had in hand goes to another one. So a piece may be
indexed twice, never not at all; its number makes it once.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from typing import Self

from memlane import Empty, Full, PeerGoneError, Ring
from memlane.cli.demo.indexing import Counts, Index
from memlane.cli.demo.pieces import Piece, Result, cut
from memlane.cli.demo.watching import Show
from memlane.cli.demo.worker import work

#: How many pieces lie ready: enough to keep all workers busy while the parent does something else,
#: and little to be finished by workers whose parent was killed.
PIECES_AHEAD = 128
#: A result is smaller: words of a piece, none twice, and a number for each.
RESULTS_NBYTES = "2 MiB"
#: More replacements than this mean that nobody gets anywhere.
REPLACEMENTS_MAX = 1000
#: How long workers may take to end when asked before they are killed; a piece takes far less.
END_PATIENCE_S = 3.0
#: How often the parent looks whether the workers still live.
CHECK_PAUSE_S = 0.05


@dataclass
class Outcome:
    """What came out of the pipeline."""

    index: Index = field(default_factory=Index)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path and reason
    killed: list[int] = field(default_factory=list)  # processes of workers that were replaced
    redelivered: int = 0  # pieces that one of them had in hand
    indexed_twice: int = 0  # of these, the ones whose result was in
    #: From before the rings are made until the last worker has ended; how much of it until all
    #: workers are started; processor time that workers had, and that the parent had.
    seconds: float = 0.0
    starting_seconds: float = 0.0
    working_seconds: float = 0.0
    collecting_seconds: float = 0.0


def index_with_workers(
    paths: Sequence[str], workers: int, show: Show, *, kill: bool = False
) -> Outcome:
    """
    Index *paths* with as many workers. With *kill*, workers are killed amid their work, twice as
    many as there are at a time.

    Raises:
        PeerGoneError: a worker has failed.
        KeyboardInterrupt: after Ctrl-C.
        OSError: no room for the rings.

    However it ends, no process is left. The rings have no name, so nothing else can be.
    """
    began, began_cpu = time.monotonic(), time.process_time()
    # Ctrl-C comes in while there is something to wait for, not between making a thing and noting
    # that it must go.
    with _ctrl_c(signal.SIG_BLOCK), ExitStack() as ending:
        pipeline = ending.enter_context(_Pipeline(paths, kills=2 * workers if kill else 0))
        for _ in range(workers):
            pipeline.start_worker()
        pipeline.outcome.starting_seconds = time.monotonic() - began
        with _ctrl_c(signal.SIG_UNBLOCK):
            pipeline.run(show)
    outcome = pipeline.outcome
    outcome.seconds = time.monotonic() - began
    outcome.collecting_seconds = time.process_time() - began_cpu
    return outcome


@contextmanager
def _ctrl_c(how: int) -> Iterator[None]:
    """Hold SIGINT back or let it come in. Processes started while it is held back never see it."""
    before = signal.pthread_sigmask(how, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pipeline:
    """The rings, the workers, and how far they are; the end of a `with` ends them all."""

    def __init__(self, paths: Sequence[str], kills: int) -> None:
        self.paths = paths
        self.kills = kills
        self.kills_done = 0
        self.outcome = Outcome()
        self.pieces: list[Piece] = []
        self.done: set[int] = set()  # numbers of pieces whose result is in
        self.counts: dict[int, Counts] = {}  # by file
        self.skipped: dict[int, str] = {}  # why, by file
        self.nbytes = 0
        self.handed_out = 0
        self.unfinished: dict[int, int] = {}  # pieces still to come, by file
        self.workers: list[ForkProcess] = []
        self.check_due = 0.0

    def __enter__(self) -> Self:
        self._cut_files()
        self.records = [piece.pack() for piece in self.pieces]
        self.to_do = Ring("64 KiB", producers=1, consumers="many", records=PIECES_AHEAD)
        self.results = Ring(RESULTS_NBYTES, producers=64)
        # Before there is a worker: one that finds a producer that has died need not wait for the
        # first one to come.
        self._hand_out()
        return self

    def __exit__(self, *_error: object) -> None:
        """Ask all workers to end, and kill those that do not: memlane does not mind."""
        for ring in (self.to_do, self.results):
            ring.shutdown(immediate=True)
        patience_ends = time.monotonic() + END_PATIENCE_S
        for worker in self.workers:
            worker.join(max(0.0, patience_ends - time.monotonic()))
            worker.kill()
            worker.join()
        for ring in (self.to_do, self.results):
            ring.close()

    def start_worker(self) -> None:
        worker = multiprocessing.get_context("fork").Process(
            target=work, args=(self.to_do, self.results, self.paths), name="memlane demo worker"
        )
        worker.start()
        self.workers.append(worker)

    def run(self, show: Show) -> None:
        """Hand out all pieces, collect all results, and wait until the workers have ended."""
        while len(self.done) < len(self.records):
            self._hand_out()
            self._collect()
            if time.monotonic() >= self.check_due:
                # Python loses an exception that a handler raises in what the end of a Process runs.
                with _ctrl_c(signal.SIG_BLOCK):
                    self._replace_killed()
                self.check_due = time.monotonic() + CHECK_PAUSE_S
                show(len(self.paths) - len(self.unfinished), self.nbytes)
        self.outcome.redelivered = self.to_do.stats()["redelivered"]
        for worker in self.workers:
            worker.join()
        self._finish()
        show(len(self.paths), self.nbytes)

    def _hand_out(self) -> None:
        """Put as many pieces as there is room for; behind the last one shut the ring down."""
        ahead = self.records[self.handed_out : self.handed_out + PIECES_AHEAD]
        if ahead:
            try:
                self.handed_out += self.to_do.put_many(ahead, timeout=0)
            except Full:
                pass
        if self.handed_out == len(self.records):
            self.to_do.shutdown()

    def _cut_files(self) -> None:
        for file, path in enumerate(self.paths):
            try:
                pieces = cut(file, path, len(self.pieces))
            except OSError as error:
                self.skipped[file] = error.strerror or str(error)
                continue
            self.pieces += pieces
            self.unfinished[file] = len(pieces)

    def _collect(self) -> None:
        """Take what results there are, waiting a moment for the first."""
        timeout = CHECK_PAUSE_S
        try:
            while True:
                self._note(Result.unpack(self.results.get(timeout=timeout)))
                timeout = 0.0
        except Empty:
            pass

    def _note(self, result: Result) -> None:
        """Put a result into the index, once however often it comes."""
        if result.piece in self.done:
            self.outcome.indexed_twice += 1
            return
        self.done.add(result.piece)
        file = self.pieces[result.piece].file
        self.outcome.working_seconds += result.nanoseconds / 1e9
        if result.skipped:
            self.skipped.setdefault(file, result.skipped)
        first = file not in self.counts
        self.counts[file] = result.counts if first else self.counts[file] + result.counts
        self.nbytes += result.counts.nbytes
        index = self.outcome.index
        if result.hash:
            index.hashes[file] = result.hash
        words = index.words
        if self.unfinished[file] == 1 and first:  # the whole file at once: most are
            for word, times in zip(result.words, result.times, strict=True):
                words[word][file] = times
        else:
            for word, times in zip(result.words, result.times, strict=True):
                words[word][file] = words[word].get(file, 0) + times
        self.unfinished[file] -= 1
        if not self.unfinished[file]:
            del self.unfinished[file]
            self._kill_when_due()

    def _finish(self) -> None:
        """Take what is known of skipped files out of the index, and add up the others."""
        index = self.outcome.index
        for file, why in sorted(self.skipped.items()):
            self.outcome.skipped.append((self.paths[file], why))
            index.hashes.pop(file, None)
            if self.counts.pop(file, Counts()).names:
                for word in [word for word, entry in index.words.items() if file in entry]:
                    del index.words[word][file]
                    if not index.words[word]:
                        del index.words[word]
        for counts in self.counts.values():
            index.counts += counts

    def _kill_when_due(self) -> None:
        """Kill the next worker when the next part of the files has been indexed."""
        files = len(self.paths) - len(self.unfinished)
        due = files * (self.kills + 1) > len(self.paths) * (self.kills_done + 1)
        if due and self.kills_done < self.kills:
            random.choice(self.workers).kill()
            self.kills_done += 1

    def _replace_killed(self) -> None:
        """Start a worker for each that was killed. PeerGoneError if one has failed."""
        for worker in list(self.workers):
            code = worker.exitcode
            if not code:  # at work, or all pieces were handed out and none was left
                continue
            if code > 0 or len(self.outcome.killed) >= REPLACEMENTS_MAX:
                how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
                raise PeerGoneError(
                    f"a worker of the demo (process {worker.pid}) ended with {how} before its work "
                    "was done"
                )
            self.workers.remove(worker)
            assert worker.pid is not None
            self.outcome.killed.append(worker.pid)
            self.start_worker()
