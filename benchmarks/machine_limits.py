# SPDX-License-Identifier: MIT
"""
Limits of the machine: the cost of the bare operations of a case, measured between the libraries.

Those in C are one small program, machine_limits.c, which is compiled for the run. Those of one
process are loops in a worker: a call that does nothing, beside one that puts and one that gets.
"""

from __future__ import annotations

import pickle
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapter
from adapter import WrongPayloadError
from cases import SCALE, Case, Sample, a_dict
from workers import FailedError, HungError, State, Worker

SOURCE = Path(__file__).with_name("machine_limits.c")
#: About how many a second, to make a sample of the length that was asked for.
RING_RATE, BOUNCE_RATE, WAKE_RATE, COPY_RATE = 20e6, 4e6, 1e5, 6e9


def compiled(directory: Path) -> tuple[Path | None, str]:
    """The program, or why there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None, "there is no C compiler"
    program = directory / "machine_limits"
    command = [compiler, "-std=gnu11", "-O3", str(SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"machine_limits.c does not compile: {done.stderr.strip().splitlines()[0]}"
    return program, ""


class MachineLimit:
    """Measured like a library in a case; each sample is a run of the program."""

    is_limit = True

    def __init__(self, name: str, command: list[str], value: Callable[[float], float]) -> None:
        self.name = name
        self._command = command
        self._value = value

    def open(self) -> None:
        """Nothing is kept between samples."""

    def sample(self) -> Sample:
        try:
            done = subprocess.run(
                self._command, capture_output=True, text=True, check=False, timeout=20
            )
        except subprocess.TimeoutExpired:
            raise HungError("hung: no answer in 20 s") from None
        if done.returncode:
            raise FailedError(done.stderr.strip() or f"exit status {done.returncode}")
        return Sample(self._value(float(done.stdout)))

    def cpu_ns(self) -> int:
        """Of all runs that are over, whichever limit they were."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return int((used.ru_utime + used.ru_stime) * 1e9)

    def close(self, *, kill: bool = False) -> None:
        """Nothing is kept."""


def in_c(case: Case, program: Path, seconds: float) -> list[MachineLimit]:
    """The limits that are comparable with this case."""

    def ring(batch: int, name: str) -> MachineLimit:
        command = [str(program), "ring", str(int(seconds * RING_RATE)), str(batch)]
        return MachineLimit(name, command, lambda rate: rate * SCALE[case.unit])

    if case.kind == "batch":
        per_batch = ring(adapter.BATCH, "bare ring in C, told per batch")
        return [ring(1, "bare ring in C"), per_batch]
    if case.kind == "loan":
        count = max(4, int(seconds * COPY_RATE / case.nbytes))

        def copy(name: str, room: int) -> MachineLimit:
            command = [str(program), "copy", str(case.nbytes), str(room), str(count)]
            return MachineLimit(name, command, lambda ns: 1e9 / ns * SCALE[case.unit])

        return [
            copy("one memcpy, always to one place", case.nbytes),
            copy("one memcpy, through all the room", case.capacity),
        ]
    if case.shape == "there and back" and case.kind == "busy":
        command = [str(program), "bounce", str(int(seconds * BOUNCE_RATE))]
        return [MachineLimit("cache line in C", command, lambda ns: ns / 2000)]
    if case.shape == "there and back":
        command = [str(program), "wake", str(int(seconds * WAKE_RATE))]
        return [MachineLimit("futex wake in C", command, lambda ns: ns / 2000)]
    return []


# ---- what a call costs -------------------------------------------------------------------------


def run_alone(state: State, name: str, seconds: float) -> float:
    """Nanoseconds of a turn of one of the loops."""
    import memlane

    if "ring" not in state.ends:
        ring = state.ends["ring"] = memlane.Ring(capacity="1 MiB", producers=1, wait="spin")
        state.ends["slot"] = memlane.Slot.create(None, 64)
        state.ends["sender"], state.ends["receiver"] = ring.producer(), ring.consumer()
    sender, receiver, slot = state.ends["sender"], state.ends["receiver"], state.ends["slot"]
    record = adapter.records_of(64)[1]
    target, source = memoryview(bytearray(64)), memoryview(record)
    pickled = pickle.dumps(a_dict(), 5)
    # The cheapest method without arguments that an extension type has: it returns its object.
    empty = (1).conjugate

    def nothing_twice(turns: int, first: Any = empty, second: Any = empty) -> None:
        for _ in range(turns):
            first()
            second()

    def put_get(turns: int, put: Any = sender.put, get: Any = receiver.get) -> None:
        value = record
        for _ in range(turns):
            put(value)
            found = get()
        if found != value:
            raise WrongPayloadError

    def publish_read(turns: int, publish: Any = slot.publish, read: Any = slot.read) -> None:
        value = record
        for _ in range(turns):
            publish(value)
            found = read()
        if found != value:
            raise WrongPayloadError

    def copy(turns: int) -> None:
        for _ in range(turns):
            target[:] = source

    def unpickle(turns: int, loads: Any = pickle.loads) -> None:
        for _ in range(turns):
            if loads(pickled)["number"] != 0:
                raise WrongPayloadError

    loops = {
        ALONE[0]: put_get,
        ALONE[1]: publish_read,
        ALONE[2]: nothing_twice,
        ALONE[3]: copy,
        UNPICKLE: unpickle,
    }
    loop = loops[name]
    turns, spent = 1000, 0.0
    while spent < seconds / 2:
        turns *= 2
        begin = time.perf_counter()
        loop(turns)
        spent = time.perf_counter() - begin
    return spent / turns * 1e9


ALONE = (
    "memlane: put and get, 64 bytes",
    "memlane: publish and read, 64 bytes",
    "empty method of a built-in type, twice",
    "64 bytes by a memoryview",
)
UNPICKLE = "pickle.loads and nothing else"


class Alone:
    """A loop in one process, measured like a library in a case."""

    def __init__(
        self, name: str, seconds: float, value: Callable[[float], float] = lambda ns: ns
    ) -> None:
        self.name = name
        self.is_limit = not name.startswith("memlane")
        self._seconds = seconds
        self._value = value
        self._worker: Worker | None = None

    def open(self) -> None:
        self._worker = Worker()

    def sample(self) -> Sample:
        assert self._worker is not None
        return Sample(self._value(self._worker.run(run_alone, self.name, self._seconds)))

    def cpu_ns(self) -> int:
        return self._worker.cpu_ns() if self._worker is not None else 0

    def close(self, *, kill: bool = False) -> None:
        if self._worker is not None:
            self._worker.close(kill=kill)
            self._worker = None


def in_python(case: Case, seconds: float) -> list[Alone]:
    """Those loops that say something about this case."""
    if case.shape == "alone":
        return [Alone(name, seconds) for name in ALONE]
    if case.shape == "objects":
        return [Alone(UNPICKLE, seconds, lambda ns: 1e9 / ns * SCALE[case.unit])]
    return []
