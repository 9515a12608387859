# SPDX-License-Identifier: MIT
"""
Processes that are stopped at an exact system call, lines between them, rows of a region as bytes.

A test that needs "A looked, then was paused, then B did ..." runs A as a `Stepped` child up to the
system call between the two, does what B does, and lets A go on: the interleaving is built, not
hoped for.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import pytest

from tests.support.processes import PATIENCE_S, Child

# ---- rows and locks of a region: what src/core/layout.h says -------------------------------------

TABLE_OFFSET, ROW_NBYTES, ROWS = 4096, 64, 1024
PRESENCE_BYTE = 1 << 61
CREATION_BYTE = PRESENCE_BYTE + 1
#: From this generation on a row is never joined again.
RETIRED = (1 << 22) - 2
_FLOCK = "hhqqi4x"  # struct flock, 64 bits


def row_byte(row: int) -> int:
    """The byte whose write lock keeps the owner of a row alive."""
    return PRESENCE_BYTE + 64 + row


def joining_byte(row: int) -> int:
    """The byte that a joiner of a row locks meanwhile."""
    return row_byte(row) + ROWS


class Table:
    """
    The participants table of a region, as bytes to read and to poke. *path* is that of its file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)

    def generation(self, row: int) -> int:
        """Odd: in use; even: free."""
        at = TABLE_OFFSET + row * ROW_NBYTES
        return int.from_bytes(os.pread(self.descriptor, 8, at), "little")

    def set_generation(self, row: int, generation: int) -> None:
        at = TABLE_OFFSET + row * ROW_NBYTES
        os.pwrite(self.descriptor, generation.to_bytes(8, "little"), at)

    def set_pid(self, row: int, pid: int) -> None:
        at = TABLE_OFFSET + row * ROW_NBYTES + 16
        os.pwrite(self.descriptor, pid.to_bytes(4, "little"), at)

    def row_of(self, pid: int) -> int:
        """The row in use that bears a pid."""
        for row in range(ROWS):
            found = os.pread(self.descriptor, ROW_NBYTES, TABLE_OFFSET + row * ROW_NBYTES)
            if found[0] & 1 and int.from_bytes(found[16:20], "little") == pid:
                return row
        raise LookupError(f"no row of process {pid}")

    def lock(self, byte: int, *, kind: int = fcntl.F_WRLCK, nbytes: int = 1) -> None:
        """Lock as another program would; it lasts until the table is closed."""
        request = struct.pack(_FLOCK, kind, os.SEEK_SET, byte, nbytes, 0)
        fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, request)

    def is_locked(self, byte: int) -> bool:
        """Whether somebody else holds the write lock on a byte."""
        return is_locked(self.descriptor, byte)

    def occupy(self, *but: int) -> None:
        """Have every row but these taken by somebody who lives."""
        for row in set(range(ROWS)) - set(but):
            try:
                self.lock(row_byte(row))
            except BlockingIOError:
                continue  # it is already
            self.set_generation(row, self.generation(row) | 1)


def is_locked(descriptor: int, byte: int) -> bool:
    """Whether a write lock of another description stands on a byte, as seen through this one."""
    request = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, request)
    return bool(struct.unpack(_FLOCK, found)[0] != fcntl.F_UNLCK)


# ---- processes that stop at a system call --------------------------------------------------------

_TRACEME, _DETACH, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 17, 24, 0x4200, 0x420E
_TRACESYSGOOD, _EXITKILL = 1, 1 << 20
_ENTRY, _EXIT = 1, 2
_FCNTL = {"x86_64": 72, "aarch64": 25, "riscv64": 25}.get(platform.machine())

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> int:
    result: int = _libc.ptrace(request, pid, address, data)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"ptrace request {request}")
    return result


@dataclass(frozen=True)
class Call:
    """
    A system call: its number, its arguments, and its result, None while it is only about to run.
    """

    number: int
    arguments: tuple[int, ...]
    result: int | None
    pid: int

    @property
    def lock(self) -> tuple[int, int, int] | None:
        """
        Of a call for a byte lock: (command, first byte, type), as the kernel has answered; else
        None.
        """
        if self.number != _FCNTL or self.arguments[1] not in (fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK):
            return None
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.arguments[2])
            kind, _, first, _, _ = struct.unpack(_FLOCK, memory.read(struct.calcsize(_FLOCK)))
        return self.arguments[1], first, kind


def probes(byte: int) -> Callable[[Call], bool]:
    """Whether the kernel has just been asked about a byte, and has answered that it is free."""
    wanted = (fcntl.F_OFD_GETLK, byte, fcntl.F_UNLCK)
    return lambda call: call.result is not None and call.lock == wanted


def locks(byte: int) -> Callable[[Call], bool]:
    """Whether a byte has just been locked for writing."""
    wanted = (fcntl.F_OFD_SETLK, byte, fcntl.F_WRLCK)
    return lambda call: call.result == 0 and call.lock == wanted


class Stepped(Child):
    """
    A child that stands still before *function*, and goes on from system call to system call as it
    is told.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        if _FCNTL is None:
            pytest.skip(f"the numbers of system calls on {platform.machine()} are not known here")
        super().__init__(_traced, function, *args)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)
            pytest.skip("this system does not permit ptrace")
        _ptrace(_SETOPTIONS, self.pid, 0, _TRACESYSGOOD | _EXITKILL)

    def steps(self) -> Iterator[Call]:
        """Run from one beginning or end of a system call to the next, until the child ends."""
        forward, number, arguments = 0, -1, ()
        buffer = ctypes.create_string_buffer(88)
        while True:
            _ptrace(_SYSCALL, self.pid, 0, forward)
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                self.status = os.waitstatus_to_exitcode(status)
                return
            stopped_by = os.WSTOPSIG(status)
            if stopped_by != signal.SIGTRAP | 0x80:
                forward = stopped_by
                continue
            forward = 0
            _ptrace(_GET_SYSCALL_INFO, self.pid, len(buffer), ctypes.addressof(buffer))
            operation = buffer.raw[0]
            if operation == _ENTRY:
                number, *arguments_ = struct.unpack_from("7Q", buffer.raw, 24)
                arguments = tuple(arguments_)
                yield Call(number, arguments, None, self.pid)
            elif operation == _EXIT:
                yield Call(number, arguments, struct.unpack_from("q", buffer.raw, 24)[0], self.pid)

    def run_to(self, is_there: Callable[[Call], bool]) -> None:
        """
        Run until a system call begins or ends of which *is_there* holds, and stand still there.
        """
        for call in self.steps():
            if is_there(call):
                return
        raise AssertionError(f"process {self.pid} ended with {self.status} before it got there")

    def go_on(self) -> None:
        """Run freely from now on."""
        _ptrace(_DETACH, self.pid)


def _traced(function: Callable[..., Any], *args: Any) -> None:
    _ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    function(*args)


# ---- lines between processes ---------------------------------------------------------------------


class Line:
    """A pipe for short texts between a test, its children and theirs, whoever dies meanwhile."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def tell(self, text: object = "") -> None:
        os.write(self.writer, f"{text}\n".encode())

    def hear(self) -> str:
        """
        The next text. Nobody waits for ever, so that no orphan of a failed test stays.
        """
        heard = b""
        while not heard.endswith(b"\n"):
            assert select.select([self.reader], [], [], PATIENCE_S)[0], "nobody said anything"
            heard += os.read(self.reader, 1)
        return heard[:-1].decode()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def line() -> Iterator[Callable[[], Line]]:
    """Makes lines; threads that still read when the test ends go on."""
    made: list[Line] = []

    def make() -> Line:
        made.append(Line())
        return made[-1]

    yield make
    for each in made:
        for _ in range(8):
            each.tell()
        each.close()
