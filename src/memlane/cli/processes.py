# SPDX-License-Identifier: MIT
"""
Which processes have which files mapped or open, as far as /proc shows them.

Only one's own processes, or all for root; where /proc is hidden or not there, none. The kernel's
locks say whether anybody is there at all; this only says who.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
#: What the kernel shows for a memory file of ours, in /proc/PID/fd.
_MEMFD = "/memfd:memlane"

#: Device and inode.
File = tuple[int, int]


class Unnamed(NamedTuple):
    """A memory file that looks like ours, and where it can be opened."""

    pid: int
    descriptor: int
    label: str


def _pids() -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())
    except OSError:
        return []


def name_of(pid: int) -> str:
    """What the kernel calls the program of a process; empty where it does not say."""
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def who_maps() -> dict[File, list[int]]:
    """The processes that have each file of shared memory, or any other file, mapped."""
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
    """Every memory file that processes have open under our name, each once."""
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
