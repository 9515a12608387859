#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Have spin go through every order of steps of the models beside this file, and show that it looks.

The header of a model lists the sizes it is explored at, where nothing may be found, and the
mistakes that can be put into it, each with its sizes and a word of what spin must say then:

    sizes: RECORDS=3 DESCRIPTORS=2
    mistake NO_FENCE: RECORDS=3 DESCRIPTORS=2; finds "end state"

Run by `make verify`.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: What one run may take; the largest needs half of it.
MEMORY_MIB = 4000
SECONDS_MAX = 900
MISSING = (
    "needs {}, which is not installed; apt-get install -y {} (Debian, Ubuntu), then run it again"
)


@dataclass(frozen=True)
class Case:
    """One model at one size, as it should be or with one mistake in it."""

    model: str
    sizes: tuple[str, ...]
    mistake: str | None = None
    finds: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What spin said: how many states it saw, and the first thing wrong, if any."""

    states: int
    seconds: float
    error: str | None
    complete: bool


def cases_of(path: Path) -> Iterator[Case]:
    """The cases that the header of a model lists."""
    for line in path.read_text().partition("*/")[0].splitlines():
        if found := re.fullmatch(r" \* sizes: (.*)", line):
            yield Case(path.stem, tuple(found[1].split()))
        elif found := re.fullmatch(r' \* mistake (\w+): ([^;]*); finds "(.*)"', line):
            yield Case(path.stem, tuple(found[2].split()), found[1], found[3])
        elif re.match(r" \* (sizes|mistake)\b", line):
            raise ValueError(f"{path.name}: cannot read the line {line!r}")


def all_cases(models: Sequence[str] = ()) -> list[Case]:
    paths = sorted(path for path in HERE.glob("*.pml") if not models or path.stem in models)
    return [case for path in paths for case in cases_of(path)]


def missing() -> str | None:
    """What to install, or None if all is there."""
    for program, package in (("spin", "spin"), ("gcc", "gcc")):
        if shutil.which(program) is None:
            return MISSING.format(program, package)
    return None


def children_cpu_seconds() -> float:
    """Of the processor, so that the figures do not depend on who else uses the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def explore(case: Case) -> Verdict:
    """Build the verifier of one case and let it run to its end, or to the first thing wrong."""
    symbols = [f"-D{symbol}" for symbol in (*case.sizes, *filter(None, [case.mistake]))]
    # A mistake may also make somebody wait for ever; where an assertion is to bite, only it counts.
    only_assertions = ["-E"] if case.finds not in (None, "end state") else []
    with tempfile.TemporaryDirectory(prefix="memlane-verify-") as directory:
        for command in (
            ["spin", *symbols, "-a", str(HERE / f"{case.model}.pml")],
            [
                "gcc",
                "-O2",
                "-w",
                "-DSAFETY",
                "-DCOLLAPSE",
                f"-DMEMLIM={MEMORY_MIB}",
                "-o",
                "pan",
                "pan.c",
            ],
        ):
            built = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, check=False
            )
            if built.returncode or "Error" in built.stdout:
                raise RuntimeError(f"{' '.join(command)}: {built.stdout}{built.stderr}")
        began = children_cpu_seconds()
        output = subprocess.run(
            ["./pan", "-m2000000", "-w22", *only_assertions],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        ).stdout
        seconds = children_cpu_seconds() - began
    return judged(output, seconds)


def judged(output: str, seconds: float) -> Verdict:
    """Read what a verifier printed."""
    states = re.search(r"(\d+) states, stored", output)
    error = re.search(r"pan:\d*:? (.*) \(at depth \d+\)", output)
    complete = "errors: 0" in output and not re.search(
        r"Search not completed|reached -DMEMLIM|too small", output
    )
    return Verdict(int(states[1]) if states else 0, seconds, error[1] if error else None, complete)


def opinion(case: Case, verdict: Verdict) -> tuple[bool, str]:
    """Whether a verdict is the one that was expected, and how the table says it."""
    if case.finds is None:
        if verdict.error:
            return False, f"WRONG: {verdict.error}"
        return verdict.complete, "holds" if verdict.complete else "NOT FINISHED"
    if verdict.error is None:
        return False, "NOT FOUND"
    if case.finds not in verdict.error:
        return False, f"ANOTHER: {verdict.error}"
    return True, "found: " + (
        "somebody waits for ever" if "end state" in verdict.error else "assertion"
    )


def show(rows: list[tuple[str, ...]]) -> None:
    """Print the table, with rich where it is installed."""
    titles = ("model", "sizes", "mistake", "states", "CPU s", "verdict")
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in (titles, *rows):
            print("  ".join(row))
        return
    table = Table(*titles)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("models", nargs="*", help="names of models; all unless given")
    options = parser.parse_args(arguments)
    if (lacking := missing()) is not None:
        print(f"make verify {lacking}", file=sys.stderr)
        return 2
    rows: list[tuple[str, ...]] = []
    failed = 0
    for case in all_cases(options.models):
        verdict = explore(case)
        right, text = opinion(case, verdict)
        failed += not right
        rows.append(
            (
                case.model,
                " ".join(case.sizes),
                case.mistake or "",
                f"{verdict.states:,}",
                f"{verdict.seconds:.1f}",
                text,
            )
        )
        print(f"{case.model} {case.mistake or ''} {' '.join(case.sizes)}: {text}", file=sys.stderr)
    show(rows)
    print(f"{len(rows) - failed} of {len(rows)} verdicts are as expected")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
