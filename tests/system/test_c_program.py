# SPDX-License-Identifier: MIT
"""
A program in C that knows src/runtime and no Python, on a ring beside Python processes, and killed.

tests/runtime/ring_program.c is that program; the payloads and the journal are told there.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from memlane import Ring, ShutDown
from tests import ROOT
from tests.support.processes import PATIENCE_S, Child, die_with_parent, wait_until

pytestmark = pytest.mark.machine

LIVES, NUMBERS, MOST_NBYTES, HEADER = 64, 1 << 17, 600, struct.Struct("<3Q")
ROUNDS = 12
#: Words of the journal before the bytes of records.
WORDS = 2 * LIVES + 1
#: What a life may put beyond what it has, so that it is killed in the midst of it; and for each
#: look at the progress of another one. Looks are many on a slow machine, and no life is to come to
#: its end.
AHEAD, A_LITTLE_AHEAD = 5000, 20


def payload(life: int, number: int) -> bytes:
    nbytes = HEADER.size + (life * 7919 + number * 104729) % (MOST_NBYTES - HEADER.size)
    rest = bytes([(life * 31 + number) % 251]) * (nbytes - HEADER.size)
    return HEADER.pack(life, number, nbytes) + rest


class Journal:
    """What was put and got, in a file that outlives everybody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "w+b") as file:
            file.truncate(8 * WORDS + LIVES * NUMBERS)
            self.bytes = mmap.mmap(file.fileno(), 0)
        self.words = memoryview(self.bytes)[: 8 * WORDS].cast("Q")

    def acknowledged(self, life: int) -> int:
        return self.words[life]

    def acknowledge(self, life: int) -> None:
        self.words[life] += 1

    def allow_all(self, ahead: int) -> None:
        for life in range(LIVES):
            allowed = self.acknowledged(life) + ahead
            self.words[LIVES + life] = max(allowed, self.words[LIVES + life])

    def may_put(self, life: int, number: int) -> bool:
        return self.has_ended or number < self.words[LIVES + life]

    @property
    def has_ended(self) -> bool:
        return bool(self.words[2 * LIVES])

    def end(self) -> None:
        self.words[2 * LIVES] = 1

    def got(self, life: int) -> bytes:
        begin = 8 * WORDS + life * NUMBERS
        return self.bytes[begin : begin + NUMBERS]

    def note(self, record: bytes) -> None:
        life, number, _ = HEADER.unpack_from(record)
        assert record == payload(life, number), "a torn record"
        self.bytes[8 * WORDS + life * NUMBERS + number] += 1


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("program") / "ring_program"
    sources = [ROOT / "tests" / "runtime" / "ring_program.c"]
    sources += sorted((ROOT / "src" / "runtime").glob("*.c"))
    sources += sorted((ROOT / "src" / "os").glob("*.c"))
    compiler = os.environ.get("CC", "cc").split()
    flags = ["-std=c11", "-O2", "-D_GNU_SOURCE", f"-I{ROOT / 'src'}", "-pthread"]
    subprocess.run([*compiler, *flags, *sources, "-o", made], check=True)
    return made


class Lives:
    """Processes of the program, one after another in each role."""

    def __init__(self, program: Path, name: str, journal: Journal) -> None:
        self.program, self.name, self.journal = program, name, journal
        self.used = 0
        self.now: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    def start(self, role: str) -> int:
        life = self.used
        self.used += 1
        words = [str(self.program), role, self.name, "ring", str(self.journal.path), str(life)]
        self.now[role] = (subprocess.Popen(words), life)
        return life

    def wait_for_progress(self, role: str) -> None:
        _, life = self.now[role]
        before = self.journal.acknowledged(life)
        self.journal.allow_all(AHEAD)

        def gets_on() -> bool:
            self.journal.allow_all(A_LITTLE_AHEAD)
            return self.journal.acknowledged(life) > before

        wait_until(gets_on, f"{role} to get on")

    def kill(self, role: str) -> None:
        process, _ = self.now.pop(role)
        process.kill()
        assert process.wait() == -signal.SIGKILL, f"{role} ended by itself"

    def end(self) -> None:
        for process, _ in self.now.values():
            assert process.wait(timeout=PATIENCE_S) == 0


@contextmanager
def lives(program: Path, name: str, journal: Journal) -> Iterator[Lives]:
    found = Lives(program, name, journal)
    try:
        yield found
    finally:
        for process, _ in found.now.values():
            process.kill()
            process.wait()


def put_until_the_end(name: str, journal: Journal, life: int) -> None:
    die_with_parent()
    with Ring.open(name) as ring:
        for number in range(NUMBERS):
            while not journal.may_put(life, number):
                time.sleep(0.0001)
            try:
                ring.put(payload(life, number))
            except ShutDown:
                return
            journal.acknowledge(life)


def get_until_the_end(name: str, journal: Journal, life: int) -> None:
    die_with_parent()
    with Ring.open(name) as ring:
        while True:
            try:
                record = ring.get()
            except ShutDown:
                return
            journal.note(record)
            journal.acknowledge(life)


def check(journal: Journal, putting: list[int], killed_consumers: int) -> None:
    """
    Each record that put has answered for was got once; a get that was killed may not have said so.
    """
    unsaid = 0
    for life in putting:
        acknowledged, got = journal.acknowledged(life), journal.got(life)
        assert max(got) <= 1, f"a record of life {life} was got twice"
        assert got.rfind(b"\1") <= acknowledged, f"life {life} has put what nobody answered for"
        unsaid += acknowledged - got[:acknowledged].count(1)
    assert 0 <= unsaid <= killed_consumers


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_c_program_is_killed_at_random_and_python_processes_go_on(
    program: Path, name: str, tmp_path: Path, consumers: Literal["one", "many"]
) -> None:
    """Nothing that was put is lost, torn or got twice; a successor takes over lane and role."""
    choose = random.Random(consumers)
    journal = Journal(tmp_path / "journal")
    # as many lanes as live at once: a successor needs the one of the dead
    ring = Ring.create(name, capacity="16 KiB", producers=2, consumers=consumers)
    with ring, lives(program, name, journal) as in_c:
        putting, killed = [in_c.start("put")], 0
        python_put = in_c.used
        python_get, in_c.used = python_put + 1, python_put + 2
        putting.append(python_put)
        in_c.start("get")
        with Child(put_until_the_end, name, journal, python_put) as producer:
            others = [producer]
            if consumers == "many":
                others.append(Child(get_until_the_end, name, journal, python_get))
            try:
                for round_number in range(ROUNDS):
                    role = ("put", "get")[round_number % 2]
                    in_c.wait_for_progress(role)
                    for _ in range(choose.randrange(2000)):
                        pass  # any moment will do
                    in_c.kill(role)
                    killed += role == "get"
                    life = in_c.start(role)
                    if role == "put":
                        putting.append(life)
                    in_c.wait_for_progress(role)
                journal.end()
                ring.shutdown()
                in_c.end()
                for other in others:
                    assert other.wait() == 0
            finally:
                for other in others[1:]:
                    other.__exit__(None, None, None)
        with pytest.raises(ShutDown):
            ring.get_nowait()
        check(journal, putting, killed)
        assert [os.getpid()] == [it.pid for it in ring.region.participants() if it.alive]
        ring.unlink()


def test_a_sleeping_c_program_is_woken_by_python_and_the_other_way_round(
    program: Path, name: str, tmp_path: Path
) -> None:
    """Both sides sleep at the same semaphores: a lane that is always full or empty gets on."""
    journal = Journal(tmp_path / "journal")
    with (
        Ring.create(name, capacity="4 KiB", producers=1) as ring,
        lives(program, name, journal) as in_c,
    ):
        life = in_c.start("put")
        journal.words[LIVES + life] = NUMBERS
        for number in range(2000):
            assert payload(life, number) == ring.get(timeout=PATIENCE_S)
        in_c.kill("put")
        ring.shutdown(immediate=True)
        ring.unlink()
