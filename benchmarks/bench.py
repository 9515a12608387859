# SPDX-License-Identifier: MIT
"""
The yardstick: memlane beside the libraries that its users would pick instead, in one run.

    make bench              all of it, in an environment of its own
    build/alternatives/bin/python benchmarks/bench.py --list
    build/alternatives/bin/python benchmarks/bench.py --case 64B --alternative subetha
    build/alternatives/bin/python benchmarks/bench.py --json all.json --report docs/benchmarks

Rounds are interleaved: every round takes one sample of each library, so that whatever else the
machine does hits all alike. The rules are in README.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import adapter
import machine
import machine_limits
import report
from adapter import Alternative
from cases import CASES, Case, Pair, Sample, can
from workers import FailedError, HungError

SHARED = Path("/dev/shm")
ROUNDS = 5
SECONDS = 0.3
QUICK_ROUNDS, QUICK_SECONDS = 2, 0.05
#: Of each case: how long samples are taken again that others disturbed.
PATIENCE_S = 30.0
#: Of each sample: how often, and how long quiet is waited for.
RETAKES, QUIET_S = 3, 3.0


class Candidate(Protocol):
    """A library in a case, or a limit of the machine."""

    name: str
    is_limit: bool

    def open(self) -> None: ...
    def sample(self) -> Sample: ...
    def cpu_ns(self) -> int: ...
    def close(self, *, kill: bool = False) -> None: ...


@dataclass
class Measured:
    """The samples of one candidate in one case, or why there are none."""

    name: str
    is_limit: bool
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None


@dataclass
class Settings:
    """What holds for all cases of a run."""

    alternatives: list[Alternative]
    rounds: int
    seconds: float
    patience: float  # seconds
    directory: Path
    limits: Path | None  # the program


def candidates_of(case: Case, settings: Settings) -> list[Candidate]:
    found: list[Candidate] = [
        Pair(case, alternative, settings.directory, settings.seconds)
        for alternative in settings.alternatives
        if can(alternative, case)
    ]
    found += machine_limits.in_python(case, settings.seconds)
    if settings.limits is not None:
        found += machine_limits.in_c(case, settings.limits, settings.seconds)
    return found


class Patience:
    """Takes samples, and those again that others disturbed, until its seconds are used up."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def sample(self, candidate: Candidate) -> Sample:
        """
        The least disturbed of a few samples, or one that was not.

        Its fact "others" is the part of one processor that others had meanwhile.
        """
        best = self._once(candidate)
        for _ in range(RETAKES):
            begin = time.monotonic()
            if self._left <= 0 or best.facts["others"] < report.DISTURBED:
                break
            machine.wait_for_quiet(report.DISTURBED, min(self._left, QUIET_S))
            again = self._once(candidate)
            if again.facts["others"] < best.facts["others"]:
                best = again
            self._left -= time.monotonic() - begin
        return best

    @staticmethod
    def _once(candidate: Candidate) -> Sample:
        def others_ns() -> int:
            return machine.busy_ns() - candidate.cpu_ns() - time.process_time_ns()

        before, begin = others_ns(), time.monotonic_ns()
        sample = candidate.sample()
        # What the kernel counts is off by a tick at each end.
        others_most = others_ns() - before - 2 * machine.TICK_NS
        others = others_most / (time.monotonic_ns() - begin)
        sample.facts["others"] = round(max(others, 0.0), 3)
        return sample


def measure(case: Case, settings: Settings) -> list[Measured]:
    """Each round one sample of each; the first round is thrown away."""
    candidates = candidates_of(case, settings)
    measured = [Measured(one.name, one.is_limit) for one in candidates]
    rounds = min(settings.rounds, case.rounds or settings.rounds)
    patience = Patience(settings.patience)
    try:
        for number in range(rounds + 1):
            for candidate, result in zip(candidates, measured, strict=True):
                if result.failure is not None:
                    continue
                tell(f"{case.key}: round {number} of {rounds}, {candidate.name}")
                try:
                    if number:
                        result.samples.append(patience.sample(candidate))
                    else:
                        candidate.open()
                        candidate.sample()
                except (HungError, FailedError) as failure:
                    result.failure = str(failure)
                    result.samples.clear()
                    candidate.close(kill=True)
    finally:
        for candidate in candidates:
            candidate.close()
    tell("")
    return measured


def tell(text: str) -> None:
    """One line of progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:<78}\r", end="", file=sys.stderr, flush=True)


def with_others(results: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """The cases of this run and the others of an earlier one, in their order."""
    if earlier is None:
        return results
    found = {case["key"]: case for case in earlier["cases"] + results["cases"]}
    versions = earlier["versions"] | results["versions"]
    skipped = earlier["skipped"] | results["skipped"]
    return results | {
        "commands": earlier["commands"] + results["commands"],
        "cases": [found[case.key] for case in CASES if case.key in found],
        "versions": versions,
        "uses": earlier["uses"] | results["uses"],
        "skipped": {name: reason for name, reason in skipped.items() if name not in versions},
    }


def told(words: list[str]) -> list[str]:
    """The command line without the files that it writes: where they are is nobody's business."""
    kept = []
    following = iter(words)
    for word in following:
        if word in ("--json", "--report"):
            next(following)
        elif word != "--add" and not word.startswith(("--json=", "--report=")):
            kept.append(word)
    return kept


def check_report(parser: argparse.ArgumentParser, directory: Path) -> None:
    """Better now than when all has been measured."""
    page = directory.with_suffix(".md")
    if not page.exists():
        parser.error(f"--report writes into {page}, which does not exist")
    # Not imported yet: all that is measured is forked from this process.
    if importlib.util.find_spec("matplotlib") is None:
        parser.error("--report draws pictures, and matplotlib is not installed")


def facts_of(case: Case, measured: list[Measured]) -> dict[str, Any]:
    return {
        "key": case.key,
        "title": case.title,
        "unit": case.unit,
        "more_is_better": case.more_is_better,
        "compared": case.shape != "idle",
        "wanted": case.wanted,
        "candidates": [
            {
                "name": one.name,
                "limit": one.is_limit,
                "failure": one.failure,
                "samples": [sample.value for sample in one.samples],
                "facts": {
                    name: [sample.facts[name] for sample in one.samples]
                    for name in (one.samples[0].facts if one.samples else ())
                },
            }
            for one in measured
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--case", action="append", default=[], help="only this one; repeatable")
    parser.add_argument(
        "--alternative",
        action="append",
        default=[],
        help="only those with this in their name; repeatable",
    )
    parser.add_argument("--rounds", type=int, help=f"samples of each (default {ROUNDS})")
    parser.add_argument(
        "--seconds", type=float, help=f"about how long a sample takes (default {SECONDS})"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS} s, to see that all works",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        metavar="SECONDS",
        help="how long a case takes samples again that others disturbed (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--add", action="store_true", help="keep what FILE has of cases that are not measured now"
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIRECTORY", help="as docs/benchmarks: pictures, and its .md"
    )
    parser.add_argument(
        "--list", action="store_true", help="list cases and alternatives, measure nothing"
    )
    arguments = parser.parse_args()
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    known = [case.key for case in CASES]
    for key in arguments.case:
        if key not in known:
            parser.error(f"there is no case {key!r}, only {', '.join(known)}")
    if arguments.add and arguments.json is None:
        parser.error("--add needs --json FILE")
    if arguments.add and not arguments.json.exists():
        parser.error(f"--add needs the results of an earlier run in {arguments.json}")
    if arguments.report is not None:
        check_report(parser, arguments.report)
    found = adapter.find_alternatives(arguments.alternative)
    if not found.alternatives:
        parser.error(
            f"no library has {' or '.join(arguments.alternative)} in its name; --list names them"
        )
    if arguments.list:
        for case in CASES:
            print(f"{case.key:<12} {case.title}")
        print()
        for alternative in found.alternatives:
            print(f"{alternative.NAME:<28} {alternative.version()}")
        for name, reason in found.skipped.items():
            print(f"{name:<28} skipped: {reason}")
        return 0
    earlier = json.loads(arguments.json.read_text()) if arguments.add else None
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commands": [
            " ".join(["build/alternatives/bin/python", "benchmarks/bench.py", *told(sys.argv[1:])])
        ],
        "machine": machine.line(),
        "rounds": rounds,
        "seconds": seconds,
        "versions": {alternative.NAME: alternative.version() for alternative in found.alternatives},
        "uses": {alternative.NAME: alternative.USES for alternative in found.alternatives},
        "skipped": found.skipped,
        "cases": [],
    }
    print(results["machine"])
    for name, reason in found.skipped.items():
        print(f"without {name}: {reason}")
    # Ended from outside, it still ends its processes and removes their files.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # Files of libraries that map one are in memory too.
    directory = Path(tempfile.mkdtemp(prefix="memlane-bench-", dir=SHARED))
    programs = tempfile.TemporaryDirectory()  # /dev/shm may forbid to run them
    program, reason = machine_limits.compiled(Path(programs.name))
    if program is None:
        print(f"without limits of the machine in C: {reason}")
    patience = 0.0 if arguments.quick else arguments.patience
    settings = Settings(found.alternatives, rounds, seconds, patience, directory, program)
    try:
        for case in CASES:
            if not arguments.case or case.key in arguments.case:
                facts = facts_of(case, measure(case, settings))
                results["cases"].append(facts)
                if arguments.json is not None:
                    # So that what has been measured is not lost with what comes.
                    whole = with_others(results, earlier)
                    arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
                print(report.table(facts), flush=True)
    finally:
        programs.cleanup()
        shutil.rmtree(directory)
        # What those that were killed have left; every name of theirs has this in it.
        for left in SHARED.glob(f"*{adapter.prefix(directory)}*"):
            left.unlink(missing_ok=True)
    if arguments.report is not None:
        report.write(with_others(results, earlier), arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
