# SPDX-License-Identifier: MIT
"""
Memory limits of containers and services: control groups, versions 2 and 1.

Beyond such a limit the kernel does not refuse to reserve shared memory; it kills a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The seam for tests: where the kernel says what this process is in, and what is mounted.
PROC = Path("/proc")

#: Files of one group: the limit, what is used of it, and the two pages lists in memory.stat that
#: the kernel takes back before it kills. Those of version 1 count the groups below with "total_".
_V2 = ("memory.max", "memory.current", "")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
#: How version 1 says that there is none: the largest number of whole pages.
_NO_LIMIT = 1 << 60
_V1_WITH_SWAP = ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes", "total_")


@dataclass(frozen=True)
class Limit:
    """The limit with the least free memory."""

    room: int  # bytes, never too few: swappable and cached pages count as free
    nbytes: int
    path: str  # of the file with the limit


def tightest() -> Limit | None:
    """The limit with the least free memory; None: there is none, or none that is visible."""
    found = None
    try:
        for directory, is_v2 in _groups():
            for limit in _limits_of(directory, is_v2):
                if found is None or limit.room < found.room:
                    found = limit
    except (OSError, ValueError, IndexError):
        pass  # incomplete facts are not used
    return found


def _groups() -> Iterator[tuple[Path, bool]]:
    """Each group of this process, up to the mount point; and whether it is version 2."""
    inside = {}
    for line in (PROC / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            inside["cgroup2"] = path
        elif "memory" in controllers.split(","):
            inside["cgroup"] = path
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind not in inside or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        root, mounted = before.split(" ")[3:5]
        # A container without a namespace for them sees its group mounted in place of the root.
        below = Path(inside[kind])
        names = below.relative_to(root).parts if below.is_relative_to(root) else ()
        top = Path(mounted)
        if ".." in names:
            names = ()  # it was moved out of what is mounted here
        for count in range(len(names), -1, -1):
            yield top.joinpath(*names[:count]), kind == "cgroup2"


def _limits_of(directory: Path, is_v2: bool) -> Iterator[Limit]:
    for limit_file, usage_file, prefix in (_V2,) if is_v2 else (_V1, _V1_WITH_SWAP):
        nbytes = _number(directory / limit_file)
        if nbytes is None or nbytes >= _NO_LIMIT:
            continue  # the rest takes longer to read
        used = _number(directory / usage_file)
        if used is None:
            continue
        swap = _swap_free()
        swappable = 0 if limit_file == _V1_WITH_SWAP[0] else swap
        if is_v2:
            most = _number(directory / "memory.swap.max")
            if most is not None:
                swappable = min(
                    swap, max(0, most - (_number(directory / "memory.swap.current") or 0))
                )
        room = max(0, nbytes - used) + _droppable(directory, prefix) + swappable
        yield Limit(room, nbytes, str(directory / limit_file))


def _number(path: Path) -> int | None:
    """The number in a file; None: "max", or there is no such file."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def _droppable(directory: Path, prefix: str) -> int:
    """Bytes of files that are only cached: the kernel drops them before it kills."""
    wanted = {f"{prefix}inactive_file", f"{prefix}active_file"}
    try:
        lines = (directory / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    pairs = (line.partition(" ") for line in lines)
    return sum(int(number) for key, _, number in pairs if key in wanted)


def _swap_free() -> int:
    with open(PROC / "meminfo") as lines:
        for line in lines:
            if line.startswith("SwapFree:"):
                return int(line.split()[1]) * 1024
    return 0
