# SPDX-License-Identifier: MIT
"""`memlane demo`: an index of real files, made by many processes, and by one to compare."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from memlane.cli.demo.indexing import Index, differences, find_files, index_plainly
from memlane.cli.demo.pipeline import Outcome, index_with_workers
from memlane.cli.demo.watching import shown
from memlane.cli.text import safe


def demo(paths: Sequence[str], *, workers: int, kill: bool = False, as_json: bool = False) -> int:
    """
    Index the files below *paths*, by default the standard library's, with as many worker processes
    and then with this one alone, and print what came out and how long it took. With *kill*, workers
    are killed amid their work; the index must be the same all the same.

    Returns:
        0 if both indexes are the same, 1 if not, 2 if there is nothing at one of *paths*.

    Raises:
        KeyboardInterrupt, PeerGoneError, OSError: as `pipeline.index_with_workers`.
    """
    try:
        files = find_files(paths)
    except OSError as error:
        print(f"memlane demo: {safe(str(error))}", file=sys.stderr)
        return 2
    _read_ahead(files)
    with shown(len(files)) as show:
        outcome = index_with_workers(files, workers, show, kill=kill)
    began = time.monotonic()
    plain = index_plainly(files)
    plain_seconds = time.monotonic() - began
    wrong = differences(outcome.index, plain, files)
    (_print_json if as_json else _print_text)(outcome, plain, plain_seconds, wrong, workers)
    return 1 if wrong else 0


def _read_ahead(paths: Sequence[str]) -> None:
    """Bring files into the page cache: the first of two ways must not wait for the disk alone."""
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        except OSError:
            continue  # the error says why


def _print_text(
    outcome: Outcome, plain: Index, plain_seconds: float, wrong: list[str], workers: int
) -> None:
    for path, why in outcome.skipped:
        print(f"skipped {safe(path)}: {why}", file=sys.stderr)
    index, counts = outcome.index, outcome.index.counts
    tokens = counts.names + counts.numbers + counts.symbols
    print(
        f"{len(index.hashes):,} files of {counts.nbytes / 1e6:,.1f} MB in all: SHA-256 of each, "
        f"{counts.compressed_nbytes / 1e6:,.1f} MB when compressed, {counts.lines:,} lines,\n"
        f"{tokens:,} tokens, and an index of {len(index.words):,} words: in which files each one "
        "is, and how often."
    )
    who = f"memlane, {workers} worker{'s' if workers > 1 else ''}"
    ratio = f"{_ratio(plain_seconds, outcome):.2f} times as fast"
    print()
    print(_row("one process", plain_seconds, plain.counts.nbytes))
    print(f"{_row(who, outcome.seconds, counts.nbytes)}   {ratio}")
    print(
        f"\nThe {outcome.seconds:.2f} s are {outcome.starting_seconds:.2f} s to start, then "
        f"{outcome.working_seconds:.2f} s of processor time that the workers shared,\n"
        f"while the parent put their results together ({outcome.collecting_seconds:.2f} s of "
        "processor time)."
    )
    if outcome.killed:
        print(
            f"\n{_many(len(outcome.killed), 'worker')} killed with SIGKILL amid the work, and "
            f"replaced.\n{_many(outcome.redelivered, 'piece')} handed out again that had been in "
            f"their hands; {_many(outcome.indexed_twice, 'result')} there twice, and counted once."
        )
    print()
    for difference in wrong:
        print(f"WRONG: {difference}")
    if not wrong:
        print("Both ways found the same: every hash, every count, every entry of the index.")


def _row(who: str, seconds: float, nbytes: int) -> str:
    return f"{who:<20} {seconds:>8.2f} s {nbytes / 1e6 / seconds:>8.1f} MB/s"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what} was" if number == 1 else f"{number:,} {what}s were"


def _ratio(plain_seconds: float, outcome: Outcome) -> float:
    return plain_seconds / outcome.seconds


def _print_json(
    outcome: Outcome, plain: Index, plain_seconds: float, wrong: list[str], workers: int
) -> None:
    facts = {
        **_found(outcome.index),
        "seconds": outcome.seconds,
        "starting_seconds": outcome.starting_seconds,
        "working_seconds": outcome.working_seconds,
        "collecting_seconds": outcome.collecting_seconds,
        "workers": workers,
        "times_as_fast": _ratio(plain_seconds, outcome),
        "killed": outcome.killed,
        "redelivered": outcome.redelivered,
        "indexed_twice": outcome.indexed_twice,
        "skipped": [{"path": path, "why": why} for path, why in outcome.skipped],
        "plain": {**_found(plain), "seconds": plain_seconds},
        "differences": wrong,
    }
    print(json.dumps(facts, indent=2))


def _found(index: Index) -> dict[str, int]:
    return {
        "files": len(index.hashes),
        **index.counts._asdict(),
        "different_words": len(index.words),
        "entries": sum(map(len, index.words.values())),
    }
