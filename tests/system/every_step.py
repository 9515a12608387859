# SPDX-License-Identifier: MIT
"""
Kill at every instruction: a child is single-stepped through the extension and killed at step k, for
every k; or stopped there, while the others go on, and let go on later.

    python -m tests.system.every_step                        every operation, killed at every point
    python -m tests.system.every_step put-fits --how stop      one, stopped instead
    python -m tests.system.every_step --sample 10 --json       ten points of each

The parent forks a child for each point. The child takes its roles and stands still; from there
tests/system/every_step.c takes it to point k, and it is killed or stopped. Then the parent,
a successor in its own right, looks whether everything is as it must be: that is written down in
tests/system/every_step_operations.py. Points are every instruction of the extension, and
every beginning and end of a system call: a first child is single-stepped through it all, to learn
them. For the
long operations (create, open, unlink, sweep ...) they are the system calls, and those instructions
after which the shared bytes are others than before: between two of these a kill cannot make a
difference to anybody.

Needs x86_64, a C compiler, and the permission to ptrace one's own children.
"""

from __future__ import annotations

import argparse
import contextlib
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memlane import _core
from tests.support.processes import PATIENCE_S
from tests.support.region_files import own_shared_memory

How = Literal["kill", "stop"]
_AT_POINT, _ENDED, _ASLEEP, _FAILED = range(4)
_TRACEME = 0
_FUNCTIONS_MAX = 12_000  # tests/system/every_step.c has room for 16,384 breakpoints
_POINTS_MAX = 100_000  # far more than any operation has
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
    """Build tests/system/every_step.c, for this process."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotHereError("there is no C compiler")
    source, library = Path(__file__).with_suffix(".c"), directory / "every_step.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(
        [compiler, *flags, "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    found = ctypes.CDLL(str(library))
    number, size, handle = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
    found.stepper_begin.restype = handle
    found.stepper_begin.argtypes = [ctypes.c_int, handle, size]
    found.stepper_prepare.restype = ctypes.c_bool
    found.stepper_prepare.argtypes = [handle, handle, size, handle, size, ctypes.c_char_p]
    found.stepper_learn.argtypes = [handle]
    found.stepper_run.argtypes = [handle, number, number]
    found.stepper_detach.argtypes = [handle, ctypes.c_int]
    found.stepper_detach.restype = ctypes.c_bool
    for counted in ("found", "instructions", "system_calls"):
        function = getattr(found, f"stepper_{counted}")
        function.argtypes, function.restype = [handle], number
    found.stepper_free.argtypes = [handle]
    found.stepper_free.restype = None
    return found


class _Text(ctypes.Structure):
    """Where code is mapped."""

    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64))


def _texts() -> tuple[list[_Text], list[int]]:
    """Where the code of the extension and of its library is mapped, and all functions in it."""
    files = {str(path.resolve()) for path in Path(_core.__file__).parent.glob("*.so")}
    mapped: dict[str, tuple[int, int, int]] = {}
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split()
            if fields[1] == "r-xp" and fields[-1] in files:
                first, last = fields[0].split("-")
                mapped[fields[-1]] = int(first, 16), int(last, 16), int(fields[2], 16)
    if set(mapped) != files:
        raise NotHereError(f"not mapped from their files: {sorted(files - set(mapped))}")
    functions: set[int] = set()
    for path, (begin, end, offset) in mapped.items():
        found = {address - offset + begin for address in _functions(path)}
        functions |= {address for address in found if begin <= address < end}
    if len(functions) >= _FUNCTIONS_MAX:
        raise NotHereError(f"the extension has too many functions: {len(functions)}")
    return [_Text(begin, end) for begin, end, _ in mapped.values()], sorted(functions)


def _functions(path: str) -> set[int]:
    """Where the functions of a shared object begin, as offsets in its file."""
    try:
        listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        headers = subprocess.run(
            ["readelf", "-lW", path], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHereError(f"the functions of the extension cannot be listed: {error}") from None
    loaded = [
        (int(fields[2], 16), int(fields[1], 16), int(fields[5], 16))
        for fields in map(str.split, headers.splitlines())
        if fields[:1] == ["LOAD"]
    ]
    found = set()
    for fields in map(str.split, listed.splitlines()):
        if len(fields) == 3 and fields[1] in "tT":
            address = int(fields[0], 16)
            found |= {
                address - virtual + offset
                for virtual, offset, nbytes in loaded
                if virtual <= address < virtual + nbytes
            }
    if len(found) <= 10:
        raise NotHereError(f"{path} was stripped")
    return found


class _Point(ctypes.Structure):
    """Before an instruction, the n-th time; or the n-th beginning or end of a system call."""

    _fields_ = (("address", ctypes.c_uint64), ("time", ctypes.c_uint64))


_TO_ITS_END = _Point(0, 0)


@dataclass
class _Known:
    """What was learned about an operation when a child was taken through all of it."""

    points: list[_Point]
    instructions: int
    system_calls: int
    sleeps: bool


class _Child:
    """A child that stands before the operation, traced by us."""

    def __init__(self, stepping: Stepping, operation: Operation) -> None:
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
        self.stepper = self._library.stepper_begin(self.pid, stepping.texts, len(stepping.texts))
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
        texts, self._functions = _texts()
        self.texts = (_Text * len(texts))(*texts)
        self._known: dict[str, _Known] = {}

    def known(self, operation: Operation) -> _Known:
        """Take a child through all of the operation, for its points."""
        if operation.name in self._known:
            return self._known[operation.name]
        # The first of all children finds less in the memory of its parent, and takes another way.
        self.round(operation, "kill", _TO_ITS_END)
        functions = (ctypes.c_uint64 * len(self._functions))(*self._functions)
        points = (_Point * _POINTS_MAX)()
        watched = None if operation.watched is None else os.fsencode(operation.watched)
        operation.prepare()
        child = _Child(self, operation)
        try:
            operation.arrange()
            assert self.library.stepper_prepare(
                *(child.stepper, functions, len(functions), points, len(points), watched)
            )
            outcome = self.library.stepper_learn(child.stepper)
            sleeps = outcome == _ASLEEP
            if sleeps:
                operation.wake()
            while outcome == _ASLEEP:
                outcome = self.library.stepper_learn(child.stepper)
            assert outcome == _ENDED, f"could not step through {operation.name}"
            child.status = 0
            operation.killed(child.result())
            self._known[operation.name] = _Known(
                [_Point(each.address, each.time) for each in points[: self._count("found", child)]],
                self._count("instructions", child),
                self._count("system_calls", child),
                sleeps,
            )
        finally:
            child.close()
        return self._known[operation.name]

    def _count(self, what: str, child: _Child) -> int:
        counted: int = getattr(self.library, f"stepper_{what}")(child.stepper)
        return counted

    def round(
        self, operation: Operation, how: How, point: _Point, *, asleep: bool = False
    ) -> tuple[str, bool]:
        """
        One child, to one point; or, if *asleep*, to where it first sleeps in the kernel. Everything
        is checked. Returns what came of it, and whether the child got to the point.
        """
        operation.prepare()
        child = _Child(self, operation)
        run = self.library.stepper_run
        try:
            operation.arrange()
            outcome = run(child.stepper, point.address, point.time)
            if outcome == _ASLEEP and not asleep:
                operation.wake()
                while outcome == _ASLEEP:
                    outcome = run(child.stepper, point.address, point.time)
            assert outcome != _FAILED, "could not step there"
            if outcome == _ENDED:
                child.status = 0
            if how == "kill" or outcome == _ENDED:
                child.kill()
                return operation.killed(child.result()), outcome != _ENDED
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
            return operation.resumed(child.result()), True
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
    #: Children that ended before they came by their point: not all take the same way, for which row
    #: is joined is left to chance.
    missed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, came: tuple[str, bool]) -> None:
        outcome, was_there = came
        self.rounds += 1
        self.missed += not was_there
        self.outcomes[outcome] += 1

    def row(self) -> tuple[object, ...]:
        came = ", ".join(f"{what} {count}" for what, count in sorted(self.outcomes.items()))
        counted = (self.points, self.instructions, self.system_calls, self.rounds, self.missed)
        return (self.operation, self.how, *counted, round(self.seconds), came)


@contextlib.contextmanager
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
            summary.points = len(known.points)
            summary.instructions, summary.system_calls = known.instructions, known.system_calls
            points = range(0, summary.points, stride)
            chosen = list(points)
            if sample is not None:
                chosen = sorted(random.Random(seed).sample(points, min(sample, len(points))))
            if known.sleeps:
                where = "asleep"
                signal.alarm(round(2 * PATIENCE_S))
                summary.add(stepping.round(operation, how, _TO_ITS_END, asleep=True))
            for index in chosen:
                where = f"point {index} of {summary.points}"
                signal.alarm(round(2 * PATIENCE_S))
                summary.add(stepping.round(operation, how, known.points[index]))
                seen(summary, index, summary.points)
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
    from tests.system.every_step_operations import OPERATIONS

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
    with contextlib.suppress(OSError):  # else nothing of memlane may run beside it
        own_shared_memory()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the children end, too
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
        columns = "operation, how, points, instructions, system calls, rounds, missed, s, outcomes"
        print(columns.replace(", ", " | "))
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
