# SPDX-License-Identifier: MIT
"""
Processes and the files that they have mapped or open, as far as /proc shows them.

A user sees the own processes, root sees all; without /proc there are none. The kernel's locks tell
whether a region is in use; this module only tells by which processes.
"""

from __future__ import annotations

import os
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
