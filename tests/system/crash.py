# SPDX-License-Identifier: MIT
"""
The crash harness: SIGKILL and SIGSTOP under load, over and over, and the others must go on at once.

    python -m tests.system.crash --mix all --rounds 10000
    python -m tests.system.crash --mix 4:4-many --kind named --rounds 500 --json

A round lets real processes work for a random while, stops one of them (SIGSTOP) in three rounds of
ten, kills one or two of them wherever they happen to be, the stopped one at times, starts their
successors and waits until everybody gets somewhere. One ring (or slot) lives through all rounds of
a mix, so each successor takes over what a line of dead processes has left. Left to chance most
kills would hit the making and checking of records. So three victims in four are doomed instead:
they set a timer whose signal kills like SIGKILL, some microseconds into their next call.

Each process writes down what it is about to do and what it has done in shared memory outside the
ring, which outlives it (`Journal` in crash_ring.py), a byte for each record that was ever put.

What is checked, in each round:

- **Hang**: a successor, or one that was stopped and goes on, or in every eighth round anybody, gets
  nowhere within `--patience` seconds; or a record does not come that a `put` had returned for
  before the death. While one is stopped too: all but what is in its hand comes.
- **Torn**: a record is not, byte for byte, what the producer of that number put. All bytes follow
  from producer and number; the header has a checksum too. Or it was never put.
- **Lost**: a record that was put never comes. Only a copying verb of a killed consumer excuses it:
  get had handed the record out when the consumer died before it noted that (`unnoted`). There may
  be no more of those than the call could take (get: 1, get_many(n): n); what get_into had handed
  out is known to the byte; a borrowed record is never excused.
- **Twice**: a record that was noted as got comes again (`again`), and it was no loan of a killed
  consumer that could be unreleased; or it is not marked as redelivered where it is borrowed.
- **Disordered**: a consumer gets records of a producer out of order, and more than the dead can
  have had in hand.
- **Robbed**: the role of a stopped process can be taken.
- **Left**: after unlink something of the region is in /dev/shm.
- **Rows**: the table shows somebody after all have ended. A run of more than 1,024 lives also shows
  that the rows of the dead are used again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from tests.support.processes import PATIENCE_S
from tests.system.crash_processes import Shown, Summary, complain
from tests.system.crash_ring import crash_ring
from tests.system.crash_slot import crash_slot
from tests.system.crash_topic import crash_topic

#: Producers to consumers.
MIXES: dict[str, tuple[tuple[int, int], Literal["one", "many"]]] = {
    "1:1-one": ((1, 1), "one"),
    "4:1-one": ((4, 1), "one"),
    "1:1-many": ((1, 1), "many"),
    "4:1-many": ((4, 1), "many"),
    "1:4-many": ((1, 4), "many"),
    "4:4-many": ((4, 4), "many"),
}
SLOT = "slot"
#: Publishers to subscribers.
TOPICS = {"topic-1:4": (1, 4), "topic-4:4": (4, 4)}


@contextmanager
def progress(rounds: int) -> Iterator[Shown]:
    """A bar that says how far we are, if somebody looks; a line now and then without rich."""
    done: dict[tuple[str, str], int] = {}

    def count(run: Summary) -> tuple[int, str]:
        done[run.mix, run.kind] = run.rounds
        return sum(done.values()), f"{run.mix} / {run.kind}"

    try:
        from rich import progress as bars
        from rich.console import Console
    except ImportError:
        shown_at = time.monotonic()

        def say(run: Summary) -> None:
            nonlocal shown_at
            total, what = count(run)
            if sys.stderr.isatty() and time.monotonic() - shown_at > 5:
                shown_at = time.monotonic()
                print(f"{what}: {total} of {rounds} rounds", file=sys.stderr, flush=True)

        yield say
        return
    # No thread that redraws: processes are forked here.
    with bars.Progress(
        bars.TextColumn("{task.description:>16}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=rounds)
        shown_at = 0.0

        def draw(run: Summary) -> None:
            nonlocal shown_at
            total, what = count(run)
            if time.monotonic() - shown_at > 0.2 or total == rounds:
                shown_at = time.monotonic()
                bar.update(task, completed=total, description=what, refresh=True)

        yield draw


def show(summaries: list[Summary]) -> None:
    """A table; a plain one where rich is not installed."""
    columns = [field.name for field in dataclasses.fields(Summary)]
    rows = [
        [
            f"{value:.1f}" if isinstance(value, float) else str(value)
            for value in dataclasses.astuple(summary)
        ]
        for summary in [*summaries, *totals(summaries)]
    ]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in [columns, *rows]:
            print(
                "  ".join(
                    cell.rjust(max(9, len(name))) for cell, name in zip(row, columns, strict=True)
                )
            )
        return
    table = Table(padding=(0, 0))
    for name in columns:
        table.add_column(
            name.replace("_", " "),
            overflow="fold",
            justify="left" if name in ("mix", "kind") else "right",
        )
    for row, clean in zip(rows, [*(summary.is_clean for summary in summaries), True], strict=False):
        table.add_row(*row, style=None if clean else "bold red")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def totals(summaries: list[Summary]) -> list[Summary]:
    """All runs of rings together, if there are several."""
    rings = [summary for summary in summaries if summary.mix in MIXES]
    if len(rings) < 2:
        return []
    total = Summary("all rings", "")
    for field in dataclasses.fields(Summary)[2:]:
        values = [getattr(summary, field.name) for summary in rings]
        longest = field.name == "longest_ms"
        setattr(total, field.name, max(values) if longest else sum(values))
    total.takeover_ms /= len(rings)
    return [total]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument(
        "--mix",
        choices=(*MIXES, SLOT, *TOPICS, "rings", "topics", "all"),
        default="all",
        help="producers:consumers, and how many may consume; the writer of a slot; or a topic",
    )
    parser.add_argument(
        "--kind", choices=("memfd", "named", "all"), default="all", help="where the region is"
    )
    parser.add_argument(
        "--rounds", type=int, default=1000, help="in all, spread over the mixes (default 1000)"
    )
    parser.add_argument(
        "--seconds-per-round", type=float, default=0.005, help="load before each kill, on average"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        help="seconds without progress that are a hang",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        help="of the rounds; what the kernel does is random anyway",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list in place of the table"
    )
    arguments = parser.parse_args()
    several = {"all": (*MIXES, SLOT, *TOPICS), "rings": tuple(MIXES), "topics": tuple(TOPICS)}
    chosen = several.get(arguments.mix, (arguments.mix,))
    kinds = ("memfd", "named") if arguments.kind == "all" else (arguments.kind,)
    runs = [(mix, kind) for mix in chosen for kind in kinds]
    most = 30000 * len(runs)
    if not len(runs) <= arguments.rounds <= most:
        parser.error(f"--rounds must be {len(runs)} to {most}, got {arguments.rounds}")
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed

    summaries = []
    with progress(arguments.rounds) as shown:
        for i, (mix, kind) in enumerate(runs):
            rounds = arguments.rounds // len(runs) + (i < arguments.rounds % len(runs))
            crash: Callable[..., Summary] = crash_slot
            if mix in TOPICS:
                crash = partial(crash_topic, TOPICS[mix])
            elif mix in MIXES:
                crash = partial(crash_ring, *MIXES[mix])
            summaries.append(
                crash(
                    kind=kind,
                    rounds=rounds,
                    seconds_per_round=arguments.seconds_per_round,
                    patience_s=arguments.patience,
                    seed=seed,
                    shown=shown,
                )
            )
    if arguments.json:
        print(json.dumps([dataclasses.asdict(summary) for summary in summaries], indent=2))
    else:
        show(summaries)
    if all(summary.is_clean for summary in summaries):
        return 0
    complain(f"not clean; --seed {seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
