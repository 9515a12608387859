# SPDX-License-Identifier: MIT
"""`memlane demo`: a real pipeline on real input, checked against a plain count of the files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from memlane.cli.counting import count_plainly, differences, find_files
from memlane.cli.pipeline import Outcome, stream
from memlane.cli.stages import Totals
from memlane.cli.watching import shown


def demo(
    paths: Sequence[str], *, workers: int = 1, kill: bool = False, as_json: bool = False
) -> int:
    """
    Count the files below *paths*, by default the standard library's, and print what was found. With
    *kill*, some workers are killed while they count; the totals must be right all the same.

    Returns:
        0 if the pipeline counted right, 1 if not, 2 if there is nothing at one of *paths*.

    Raises:
        KeyboardInterrupt, PeerGoneError, OSError: as `pipeline.stream`.
    """
    try:
        files = find_files(paths)
    except OSError as error:
        print(f"memlane demo: {error}", file=sys.stderr)
        return 2
    with shown(len(files)) as show:
        outcome = stream(files, workers, show, kill=kill)
    began = time.monotonic()
    plain = count_plainly(files)
    plain_seconds = time.monotonic() - began
    wrong = differences(outcome.total(), plain)
    (_print_json if as_json else _print_text)(outcome, plain, plain_seconds, wrong, workers)
    return 1 if wrong else 0


def _print_text(
    outcome: Outcome, plain: Totals, plain_seconds: float, wrong: list[str], workers: int
) -> None:
    for path, why in outcome.skipped:
        print(f"skipped {path!r}: {why}", file=sys.stderr)
    found = outcome.total()
    print(f"files  {found.files:>15,}")
    print(f"lines  {found.lines:>15,}")
    print(f"words  {found.words:>15,}")
    print(f"bytes  {found.nbytes:>15,}")
    through = f"through 1 reader and {workers} worker{'s' if workers > 1 else ''}"
    print(f"speed  {_speed(found, outcome.seconds):>15,.1f} MB/s {through}")
    print(f"plain  {_speed(plain, plain_seconds):>15,.1f} MB/s counted in one process, to compare")
    if outcome.killed:
        twice = f"{outcome.counted_twice:,} of them reported twice, counted once"
        print(f"killed {len(outcome.killed):>15,} workers with SIGKILL amid their work, replaced")
        print(f"again  {outcome.redelivered:>15,} batches from their hands to others, {twice}")
    for difference in wrong:
        print(f"WRONG: {difference}")
    if not wrong:
        print("the totals are those of the plain count")


def _print_json(
    outcome: Outcome, plain: Totals, plain_seconds: float, wrong: list[str], workers: int
) -> None:
    found = outcome.total()
    facts = {
        **found._asdict(),
        "seconds": outcome.seconds,
        "megabytes_per_second": _speed(found, outcome.seconds),
        "workers": workers,
        "killed": outcome.killed,
        "redelivered": outcome.redelivered,
        "counted_twice": outcome.counted_twice,
        "skipped": [{"path": path, "why": why} for path, why in outcome.skipped],
        "plain": {**plain._asdict(), "seconds": plain_seconds},
        "differences": wrong,
    }
    print(json.dumps(facts, indent=2))


def _speed(counted: Totals, seconds: float) -> float:
    """Megabytes (10**6 bytes) a second."""
    return counted.nbytes / 1e6 / max(seconds, 1e-9)
