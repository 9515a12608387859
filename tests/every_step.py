# SPDX-License-Identifier: MIT
"""
Kill at every instruction: a child is single-stepped through the extension and killed at step k, for
every k; or stopped there, while the others go on, and let go on later.

    python tests/every_step.py                          every operation, killed at every point
    python tests/every_step.py put-fits --how stop      one, stopped instead
    python tests/every_step.py --sample 10 --json       ten points of each

The parent forks a child for each point. The child takes its roles and stands still; from there
tests/every_step.c runs it, instruction by instruction inside of the extension, to point k. Then the
parent, a successor in its own right, looks whether everything is as it must be: that is written
down in tests/every_step_operations.py. Points are every instruction of the extension, and every
beginning and end of a system call. For the long operations (create, open, unlink, sweep ...) they
are the system calls, and those instructions after which the shared bytes are others than before:
between two of these a kill cannot make a difference to anybody.

Needs x86_64, a C compiler, and the permission to ptrace one's own children.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import json
import os
import pickle
import platform
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from memlane import _core

How = Literal["kill", "stop"]
#: Far more than anything here takes; who needs longer hangs.
PATIENCE_S: Final = 60.0
_AT_POINT, _ENDED, _ASLEEP, _FAILED = range(4)
_TRACEME = 0
_ENTRIES_MAX = 4096  # as in tests/every_step.c
_libc = ctypes.CDLL(None, use_errno=True)


class NotHereError(Exception):
    """This machine cannot single-step; the text says why."""


class Operation:
    """
    One operation that a child does once, and what must hold wherever it was killed or stopped.

    Hooks are called in this order: `begin` once; then for each point `prepare`, in the child `warm`
    and later `run`, and in the parent `arrange` when the child stands before `run`. If the child
    falls asleep in the kernel, `wake` is called, once. Killed: `killed`. Stopped: `stopped` while
    it is, `goes_on` until it has ended, `resumed`. At last `end`.
    """

    name = "an operation"
    #: Points are system calls and changes of this file, not instructions.
    by_stores = False
    #: Removes whatever nobody has open.
    sweeps = False

    def begin(self) -> None: ...
    def prepare(self) -> None: ...
    def warm(self) -> None: ...
    def arrange(self) -> None: ...
    def run(self) -> object:
        raise NotImplementedError

    def wake(self) -> None: ...
    def killed(self, result: object) -> str:
        """What came of it, in a word. *result*: what `run` returned, None if it did not."""
        raise NotImplementedError

    def stopped(self) -> None: ...
    def goes_on(self) -> None: ...
    def resumed(self, result: object) -> str:
        raise NotImplementedError

    def end(self) -> None: ...

    #: The file whose changes are points, if there is one.
    watched: Path | None = None


# ---- the stepper ---------------------------------------------------------------------------------


def _compiled(directory: Path) -> ctypes.CDLL:
    """Build tests/every_step.c, for this process."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotHereError("there is no C compiler")
    source, library = Path(__file__).with_suffix(".c"), directory / "every_step.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(
        [compiler, *flags, "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    found = ctypes.CDLL(str(library))
    number, handle = ctypes.c_int64, ctypes.c_void_p
    found.stepper_begin.restype = handle
    found.stepper_begin.argtypes = [
        *(ctypes.c_int, number, number, ctypes.c_char_p, handle, ctypes.c_bool)
    ]
    found.stepper_add_entry.argtypes = [handle, number]
    found.stepper_add_entry.restype = ctypes.c_bool
    found.stepper_run.argtypes = [handle, number]
    found.stepper_entered.argtypes = [handle, handle]
    found.stepper_entered.restype = ctypes.c_size_t
    found.stepper_detach.argtypes = [handle, ctypes.c_int]
    found.stepper_detach.restype = ctypes.c_bool
    for counted in ("points", "instructions", "system_calls"):
        function = getattr(found, f"stepper_{counted}")
        function.argtypes, function.restype = [handle], number
    found.stepper_free.argtypes = [handle]
    found.stepper_free.restype = None
    return found


def _text() -> tuple[int, int]:
    """Where the extension's code is mapped."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            if fields[1] == "r-xp" and fields[-1] == os.path.realpath(_core.__file__):
                begin, end = fields[0].split("-")
                return int(begin, 16), int(end, 16)
    raise NotHereError("the extension is not mapped from its file")


def _functions(text: int) -> list[int]:
    """Where the functions of the extension begin."""
    path = os.path.realpath(_core.__file__)
    offset = 0
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            if fields[-1] == path and int(fields[0].split("-")[0], 16) == text:
                offset = int(fields[2], 16)
    try:
        listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHereError(f"nm cannot list the functions of the extension: {error}") from None
    found = {
        int(fields[0], 16) - offset + text
        for fields in map(str.split, listed.splitlines())
        if len(fields) == 3 and fields[1] in "tT"
    }
    if not 10 < len(found) < _ENTRIES_MAX:
        raise NotHereError(f"the extension was stripped, or has too many functions: {len(found)}")
    return sorted(found)


@dataclass
class _Known:
    """What was learned about an operation when a child ran through all of it."""

    stores: ctypes.Array[ctypes.c_ubyte]  # of each byte of the text: 1 if an instruction there did
    entries: list[int] = field(default_factory=list)  # where the text is entered
    sleeps: bool = False
    points: int = 0
    instructions: int = 0
    system_calls: int = 0


class _Child:
    """A child that stands before the operation, traced by us."""

    def __init__(self, stepping: Stepping, operation: Operation, known: _Known) -> None:
        self._library = stepping.library
        self.reader, writer = os.pipe()
        self.status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_stepped(operation, writer)
        os.close(writer)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)
            os.close(self.reader)
            if self.status == 77:
                raise NotHereError("this system does not permit ptrace")
            raise AssertionError(f"the child of {operation.name} ended early with {self.status}")
        watched = operation.watched
        self._path = None if watched is None else os.fsencode(watched)
        begin, end = stepping.text
        self.stepper = self._library.stepper_begin(
            self.pid, begin, end, self._path, known.stores, not known.points
        )
        assert self.stepper, "cannot step"

    def result(self) -> object:
        """What the operation returned; None if it was not told."""
        told = b""
        while select.select([self.reader], [], [], 0)[0]:
            more = os.read(self.reader, 1 << 16)
            if not more:
                break
            told += more
        return pickle.loads(told) if told else None

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self) -> bool:
        """Whether it has ended by itself, by now."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def close(self) -> None:
        self.kill()
        self._library.stepper_free(self.stepper)
        os.close(self.reader)


def _be_stepped(operation: Operation, writer: int) -> None:
    """The child: never returns."""
    try:
        gc.disable()  # a collection would fall on another instruction each time
        operation.warm()
        if _libc.ptrace(_TRACEME, 0, None, None) != 0:
            os._exit(77)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.write(writer, pickle.dumps(operation.run()))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


class Stepping:
    """What it takes to step: the compiled stepper, the place of the text."""

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise NotHereError(f"single steps on {platform.machine()} are not known here")
        with tempfile.TemporaryDirectory() as directory:
            self.library = _compiled(Path(directory))
        self.text = _text()
        self._functions = _functions(self.text[0])
        self._known: dict[str, _Known] = {}

    def known(self, operation: Operation) -> _Known:
        """
        Run a child through all of the operation, with a breakpoint at every function; later
        children get along with those that were hit.
        """
        if operation.name in self._known:
            return self._known[operation.name]
        known = _Known((ctypes.c_ubyte * (self.text[1] - self.text[0]))())
        operation.prepare()
        child = _Child(self, operation, known)
        try:
            operation.arrange()
            for address in self._functions:
                assert self.library.stepper_add_entry(child.stepper, address)
            known.sleeps = self._run(operation, child, 1 << 60) == _ASLEEP
            if known.sleeps:
                operation.wake()
                while self._run(operation, child, 1 << 60) == _ASLEEP:
                    pass
            child.status = 0
            operation.killed(child.result())
            room = (ctypes.c_uint64 * _ENTRIES_MAX)()
            known.entries = room[: self.library.stepper_entered(child.stepper, room)]
            for what in ("points", "instructions", "system_calls"):
                setattr(known, what, getattr(self.library, f"stepper_{what}")(child.stepper))
        finally:
            child.close()
        self._known[operation.name] = known
        return known

    def _run(self, operation: Operation, child: _Child, point: int) -> int:
        outcome: int = self.library.stepper_run(child.stepper, point)
        assert outcome != _FAILED, f"could not step to point {point} of {operation.name}"
        return outcome

    def round(
        self, operation: Operation, how: How, point: int, *, asleep: bool = False
    ) -> tuple[str, bool]:
        """
        One child, to one point; or, if *asleep*, to where it first sleeps in the kernel. Everything
        is checked. Returns what came of it, and whether it had ended before the point.
        """
        known = self.known(operation)
        operation.prepare()
        child = _Child(self, operation, known)
        try:
            operation.arrange()
            for entry in known.entries:
                assert self.library.stepper_add_entry(child.stepper, entry)
            outcome = self._run(operation, child, point)
            if outcome == _ASLEEP and not asleep:
                operation.wake()
                while outcome == _ASLEEP:
                    outcome = self._run(operation, child, point)
            if outcome == _ENDED:
                child.status = 0
            if how == "kill" or outcome == _ENDED:
                child.kill()
                return operation.killed(child.result()), outcome == _ENDED
            if not self._stop(child, outcome == _ASLEEP):
                return operation.killed(child.result()), True
            operation.stopped()
            os.kill(child.pid, signal.SIGCONT)
            end = time.monotonic() + PATIENCE_S
            while not child.ended():
                operation.goes_on()
                assert time.monotonic() < end, "who was stopped does not go on"
                time.sleep(0.0005)
            assert child.status == 0, f"who was stopped ended with {child.status}"
            return operation.resumed(child.result()), False
        finally:
            child.close()

    def _stop(self, child: _Child, asleep: bool) -> bool:
        """From our hold to an ordinary SIGSTOP; False: it was about to exit, and has."""
        os.kill(child.pid, signal.SIGSTOP)
        if asleep:
            assert os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1])
        assert self.library.stepper_detach(child.stepper, signal.SIGSTOP if asleep else 0)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            child.status = os.waitstatus_to_exitcode(status)
            assert child.status == 0, f"who was stopped ended with {child.status}"
            return False
        return True


@dataclass
class Summary:
    """What came of all points of an operation."""

    operation: str
    how: How
    points: int = 0
    instructions: int = 0
    system_calls: int = 0
    rounds: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    def row(self) -> tuple[object, ...]:
        came = ", ".join(f"{what} {count}" for what, count in sorted(self.outcomes.items()))
        counted = (self.points, self.instructions, self.system_calls, self.rounds)
        return (self.operation, self.how, *counted, round(self.seconds), came)


@contextmanager
def watchdog(what: Callable[[], str]) -> Iterator[None]:
    """A hang is an AssertionError that says where. Restarted by `signal.alarm`."""

    def bark(_number: int, _frame: object) -> None:
        raise AssertionError(f"hang: {what()}")

    before = signal.signal(signal.SIGALRM, bark)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def every_step(
    stepping: Stepping,
    operation: Operation,
    how: How,
    *,
    sample: int | None = None,
    seed: int = 1,
    stride: int = 1,
    seen: Callable[[Summary, int, int], None] = lambda *_: None,
) -> Summary:
    """
    Kill or stop at every point, every *stride*-th, or at *sample* of them; an AssertionError names
    the point at which something was wrong.
    """
    summary = Summary(operation.name, how)
    began = time.monotonic()
    where = "before the first point"
    with watchdog(lambda: f"{operation.name}, {how}, {where}"):
        try:
            signal.alarm(round(2 * PATIENCE_S))
            operation.begin()
            known = stepping.known(operation)
            summary.points = known.points
            summary.instructions, summary.system_calls = known.instructions, known.system_calls
            points: Iterator[int]
            if sample is None:
                points = iter(range(0, 1 << 60, stride))
            else:
                chosen = random.Random(seed).sample(range(known.points), min(sample, known.points))
                points = iter(sorted(chosen))
            signal.alarm(round(2 * PATIENCE_S))
            if known.sleeps:
                where = "asleep"
                outcome, _ = stepping.round(operation, how, 1 << 60, asleep=True)
                summary.outcomes[outcome] += 1
                summary.rounds += 1
            for point in points:
                where = f"point {point} of {known.points}"
                signal.alarm(round(2 * PATIENCE_S))
                outcome, ended = stepping.round(operation, how, point)
                summary.rounds += 1
                summary.outcomes[outcome] += 1
                seen(summary, point, known.points)
                # Not all children take as many steps: which row they join is left to chance.
                if ended and point >= known.points:
                    break
            where = "the end"
        except BaseException as error:
            error.add_note(f"{operation.name}, {how}, {where}")
            try:
                operation.end()
            except Exception:
                pass  # what was wrong before is what matters
            raise
        operation.end()
    summary.seconds = time.monotonic() - began
    return summary


# ---- by hand -------------------------------------------------------------------------------------


def main() -> int:
    from every_step_operations import OPERATIONS

    parser = argparse.ArgumentParser(description="kill or stop a process at every instruction")
    parser.add_argument(
        "operations", nargs="*", help="default: all; known: " + " ".join(OPERATIONS)
    )
    parser.add_argument("--how", choices=("kill", "stop", "both"), default="kill")
    parser.add_argument("--sample", type=int, help="so many points of each, instead of all")
    parser.add_argument("--stride", type=int, default=1, help="every n-th point only")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    unknown = set(asked.operations) - set(OPERATIONS)
    if unknown:
        parser.error(f"unknown operations: {', '.join(sorted(unknown))}")
    faulthandler.enable()
    try:
        stepping = Stepping()
    except NotHereError as error:
        print(f"cannot step here: {error}", file=sys.stderr)
        return 77
    hows: tuple[How, ...] = ("kill", "stop") if asked.how == "both" else (asked.how,)
    summaries, failed = [], 0

    def seen(summary: Summary, point: int, points: int) -> None:
        if sys.stderr.isatty() and summary.rounds % 10 == 0:
            print(f"\r{summary.operation} {point}/{points}  ", end="", file=sys.stderr)

    if not asked.json:
        print("operation | how | points | instructions | system calls | rounds | s | outcomes")
    for name in asked.operations or OPERATIONS:
        for how in hows:
            try:
                summary = every_step(
                    stepping,
                    OPERATIONS[name](),
                    how,
                    sample=asked.sample,
                    seed=asked.seed,
                    stride=asked.stride,
                    seen=seen,
                )
            except NotHereError as error:
                print(f"cannot step here: {error}", file=sys.stderr)
                return 77
            except Exception:
                traceback.print_exc()
                failed += 1
                continue
            summaries.append(summary)
            if sys.stderr.isatty():
                print("\r\x1b[K", end="", file=sys.stderr)
            if not asked.json:
                print(" | ".join(map(str, summary.row())), flush=True)
    if asked.json:
        print(json.dumps([{**vars(each), "outcomes": dict(each.outcomes)} for each in summaries]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
