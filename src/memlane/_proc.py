# SPDX-License-Identifier: MIT
"""
Processes and the files that they have mapped or open, as far as /proc shows them.

A user sees the own processes, root sees all; without /proc there are none. The kernel's locks tell
whether a region is in use; this module only tells by which processes.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
#: How /proc/PID/fd shows a memory file of memlane.
_MEMFD = "/memfd:memlane"

#: Device and inode.
File = tuple[int, int]


class Unnamed(NamedTuple):
    """A memory file that looks like one of memlane, and where it can be opened."""

    pid: int
    descriptor: int
    label: str


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())
    except OSError:
        return []


def name_of(pid: int) -> str:
    """The name of the program of a process; empty if it is not visible."""
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


class Process(NamedTuple):
    """
    What /proc shows of a process.

    Attributes:
        command: Its command line, or the name of its program where that is hidden or empty.
        user: The name or the number of its user.
        started: When it started, in seconds since the epoch, to about a second.
        state: The letter of the kernel: R, S, D, T (stopped), t (traced), Z (ended).
    """

    command: str
    user: str
    started: float
    state: str


def process(pid: int, start_time: int | None = None) -> Process | None:
    """
    A process; None if it is not visible, or if another one has its pid by now, as its *start_time*
    in clock ticks since boot tells.
    """
    directory = PROC / str(pid)
    try:
        fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
        state, ticks = fields[0], int(fields[19])
        if start_time is not None and ticks != start_time:
            return None
        words = (directory / "cmdline").read_bytes().split(b"\0")
        command = " ".join(word.decode(errors="replace") for word in words).strip()
        uid = directory.stat().st_uid
    except (OSError, ValueError, IndexError):
        return None
    return Process(command or name_of(pid), user_of(uid), started(ticks), state)


def user_of(uid: int) -> str:
    """The name of a user, or the number where none is known."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def started(ticks: int) -> float:
    """A time in clock ticks since boot, in seconds since the epoch."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def mapped_files() -> dict[File, list[int]]:
    """Every mapped file, and the pids of the processes that have it mapped."""
    found: dict[File, list[int]] = {}
    for pid in _pids():
        for file in _maps(pid):
            found.setdefault(file, []).append(pid)
    return found


def _maps(pid: int) -> set[File]:
    try:
        lines = (PROC / str(pid) / "maps").read_bytes().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) < 6 or fields[4] == b"0":
            continue
        major, _, minor = fields[3].partition(b":")
        try:
            found.add((os.makedev(int(major, 16), int(minor, 16)), int(fields[4])))
        except ValueError:
            continue
    return found


def unnamed() -> Iterator[tuple[File, Unnamed]]:
    """Every memory file of memlane that a process has open, each once."""
    seen: set[File] = set()
    for pid in _pids():
        directory = PROC / str(pid) / "fd"
        try:
            numbers = sorted(int(name) for name in os.listdir(directory))
        except (OSError, ValueError):
            continue
        for number in numbers:
            try:
                leads_to = os.readlink(directory / str(number))
                if not leads_to.startswith(_MEMFD):
                    continue
                found = os.stat(directory / str(number))
            except OSError:
                continue
            file = found.st_dev, found.st_ino
            if file not in seen:
                seen.add(file)
                label = leads_to.removesuffix(" (deleted)").removeprefix(_MEMFD).removeprefix(":")
                yield file, Unnamed(pid, number, label)
