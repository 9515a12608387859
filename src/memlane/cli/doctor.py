# SPDX-License-Identifier: MIT
"""`memlane doctor`: what is wrong with this machine and with its regions, and what to do."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memlane import bridge, inspection, sweep
from memlane.cli.text import columns, cut, duration, safe, size
from memlane.cli.who import processes

#: A subscription, or the oldest record of a ring, that has not moved for so long. Arbitrary: longer
#: than any work on one record that a person would not know of.
STUCK_S = 10.0
#: How full /dev/shm may be. Arbitrary.
FULL = 0.9
#: Open files: each region that a process has open takes one, and each wait by select another one.
FILES = 256
_KERNEL = (5, 6)  # open file description locks, memfd, pidfd: all that is used is older
_SHM = Path("/dev/shm")
_MARKS = {"ok": "ok   ", "note": "note ", "warning": "WARN ", "error": "ERROR"}


@dataclass(frozen=True)
class Finding:
    """
    What one check found.

    Attributes:
        check: What was looked at.
        level: "ok", "note", "warning" or "error".
        found: What there is, in one sentence.
        do: What to do about it; "" for nothing.
        fixes: The names that `--fix` removes; nobody has them open.
    """

    check: str
    level: str
    found: str
    do: str = ""
    fixes: tuple[str, ...] = ()


def doctor(fix: bool, as_json: bool) -> int:
    """
    Check the machine and all named regions, and say what to do; with *fix* remove what nobody has
    open, which is safe while everything lives.

    Returns:
        1 if there is a warning or an error that is left, else 0.
    """
    found = [*machine(), *regions(), *bridges()]
    fixed: list[str] = []
    wanted = [name for one in found for name in one.fixes]
    if fix and wanted:
        fixed = sweep(wanted)  # looks again at each, under its lock
        left = set(wanted) - set(fixed)
        found = [one for one in found if not one.fixes or left.intersection(one.fixes)]
        found.append(Finding("fixed", "ok", f"removed {', '.join(map(safe, fixed)) or 'nothing'}"))
    most = columns()
    for one in found:
        if as_json:
            print(json.dumps({**asdict(one), "fixes": list(one.fixes)}))
            continue
        print(cut(f"{_MARKS[one.level]}  {one.check}: {safe(one.found)}", most))
        if one.do:
            print(cut(f"       -> {safe(one.do)}", most))
    return 1 if any(one.level in ("warning", "error") for one in found) else 0


# ---- the machine ---------------------------------------------------------------------------------


def machine() -> Iterator[Finding]:
    """What regions need of the machine."""
    yield _kernel()
    yield from _shared_memory()
    yield from _limits()
    yield _huge_pages()
    yield from _confinement()


def _kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal())
    if numbers < _KERNEL:
        wanted = ".".join(map(str, _KERNEL))
        return Finding(
            "kernel", "warning", f"Linux {release}", f"use Linux {wanted} or a newer one"
        )
    return Finding("kernel", "ok", f"Linux {release}, {platform.machine()}")


def _shared_memory() -> Iterator[Finding]:
    mount = next((line for line in _lines("/proc/self/mounts") if line.split()[1] == str(_SHM)), "")
    kind = mount.split()[2] if mount else ""
    if kind != "tmpfs":
        what = f"a {kind}" if kind else "no mount of its own"
        yield Finding(
            "/dev/shm", "error", f"{what}, expected a tmpfs", "mount -t tmpfs tmpfs /dev/shm"
        )
    elif not os.access(_SHM, os.W_OK):
        yield Finding("/dev/shm", "error", "may not be written to", "chmod 1777 /dev/shm")
    try:
        room = os.statvfs(_SHM)
    except OSError as error:
        yield Finding("/dev/shm", "error", str(error), "mount -t tmpfs tmpfs /dev/shm")
        return
    whole, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    found = f"{size(free)} of {size(whole)} free"
    if whole <= 64 << 20:
        yield Finding(
            "/dev/shm",
            "warning",
            f"{found}; containers have that little unless they are asked",
            "docker run --shm-size=1g, or an emptyDir of medium Memory",
        )
    elif whole and free < (1 - FULL) * whole:
        yield Finding("/dev/shm", "warning", found, "memlane ls, memlane sweep --dry-run")
    else:
        yield Finding("/dev/shm", "ok", found)


def _limits() -> Iterator[Finding]:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < FILES:
        yield Finding("open files", "warning", f"a limit of {files}", "ulimit -n 1024")
    else:
        yield Finding("open files", "ok", f"a limit of {files}")
    for number, what, how in (
        (resource.RLIMIT_AS, "address space", "ulimit -v unlimited"),
        (resource.RLIMIT_FSIZE, "size of a file", "ulimit -f unlimited"),
    ):
        soft, _ = resource.getrlimit(number)
        if soft != resource.RLIM_INFINITY:
            found = f"a limit of {size(soft)}: no region can be larger"
            yield Finding(what, "note", found, how)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if locked != resource.RLIM_INFINITY:
        yield Finding("locked memory", "note", f"a limit of {size(locked)}: mlock beyond it fails")


def _huge_pages() -> Finding:
    facts = {line.split(":")[0]: line.split()[1] for line in _lines("/proc/meminfo") if ":" in line}
    free, whole = facts.get("HugePages_Free", "0"), facts.get("HugePages_Total", "0")
    shmem = _text("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    chosen = shmem.partition("[")[2].partition("]")[0] or "unknown"
    return Finding(
        "huge pages", "ok", f"{free} of {whole} reserved ones free; transparent ones: {chosen}"
    )


def _confinement() -> Iterator[Finding]:
    status = dict(line.split(":", 1) for line in _lines("/proc/self/status") if ":" in line)
    if status.get("Seccomp", "0").strip() != "0":
        yield Finding(
            "seccomp",
            "note",
            "a filter is in force; it may refuse userfaultfd, memfd_create or process_madvise",
        )
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit.isdecimal():
        found = f"{size(int(used or 0))} of {size(int(limit))} used; pages of regions count"
        near = int(used or 0) > FULL * int(limit)
        level, do = ("warning", "raise memory.max, or make regions smaller") if near else ("ok", "")
        yield Finding("cgroup memory", level, found, do)


def _cgroup(name: str) -> str:
    line = next((one for one in _lines("/proc/self/cgroup") if one.startswith("0::")), "")
    return _text(Path("/sys/fs/cgroup") / line.removeprefix("0::/") / name).strip()


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _lines(path: str | Path) -> list[str]:
    return _text(path).splitlines()


# ---- regions -------------------------------------------------------------------------------------


def regions() -> Iterator[Finding]:
    """What is wrong with the named regions, and what nobody uses any more."""
    maps = inspection.mapped_files()
    found = [
        facts
        for target in inspection.regions()
        if (facts := inspection.facts(target, maps)) is not None
    ]
    yield Finding("regions", "ok", f"{len(found)} with a name")
    for facts in found:
        yield from _of_region(facts)
    for one in inspection.semaphore_sets(facts["id"] for facts in found if "id" in facts):
        if not one["in_use"]:
            name = f"semaphores {one['id']}"
            yield Finding(
                name,
                "warning",
                f"{one['semaphores']} semaphores without a region",
                "memlane sweep, or memlane doctor --fix",
                (name,),
            )


def _of_region(facts: dict[str, Any]) -> Iterator[Finding]:
    name = f"region {facts['name']}"
    for error in facts.get("errors", ()):
        is_version = "draft" in error or "version" in error
        do = (
            "use one version of memlane in all programs"
            if is_version
            else f"memlane stat {facts['name']}; end its users, then memlane rm {facts['name']}"
        )
        yield Finding(name, "error", error, do)
    if not facts.get("in_use", True):
        waiting = facts.get("waiting")
        lost = f", with {waiting:,} records that nobody got" if waiting else ""
        yield Finding(
            name,
            "warning",
            f"nobody has it open{lost}",
            f"memlane tail {facts['name']} to see what is in it; memlane sweep, or doctor --fix",
            (facts["name"],),
        )
        return
    if "stats" not in facts:
        return
    yield from _of_the_dead(name, facts)
    yield from _of_the_stuck(name, facts)


def _of_the_dead(name: str, facts: dict[str, Any]) -> Iterator[Finding]:
    dead = facts.get("dead", ())
    if dead:
        pids = ", ".join(f"{one['pid']} {one['name']}" for one in dead)
        yield Finding(
            name,
            "warning",
            f"rows of processes that have died: {pids}",
            "nothing: the next process that needs a row or a role of theirs takes it over",
        )
    for role in inspection.roles(facts):
        if role["state"] == "dead" and role["facts"].get("loans"):
            yield Finding(
                name,
                "warning",
                f"{role['role']} {role['pid']} of {role['object']} died with "
                f"{role['facts']['loans']} records in hand",
                "start another consumer: it gets them",
            )


def _of_the_stuck(name: str, facts: dict[str, Any]) -> Iterator[Finding]:
    stopped = {one["pid"]: one for one in processes(facts) if one["state"] == "stopped"}
    for pid, one in stopped.items():
        roles = ", ".join(f"{role['role']} of {role['object']}" for role in one["roles"])
        yield Finding(
            name,
            "warning",
            f"process {pid} is stopped{f', {roles}' if roles else ''}",
            f"kill -CONT {pid}, or kill -KILL {pid}: what it holds goes to others then",
        )
    for object_name, stats in facts["stats"].items():
        age = stats.get("oldest_age")
        if isinstance(age, float) and age >= STUCK_S and stats.get("records"):
            waits = stats.get("waiting_producers")
            yield Finding(
                name,
                "warning",
                f"{stats['records']:,} records of {object_name} wait, the oldest for "
                f"{duration(age)}{f', and {waits} puts for room' if waits else ''}",
                f"memlane who {facts['name']}/{object_name} shows the consumer, if there is one",
            )
        for one in stats.get("subscriptions", ()):
            seconds = one.get("seconds")
            if one.get("records") and isinstance(seconds, float) and seconds >= STUCK_S:
                held = "; publishers wait for it" if one.get("when_full") == "wait" else ""
                yield Finding(
                    name,
                    "warning",
                    f"subscriber {one['pid']} of {object_name} is {one['records']:,} records "
                    f"behind and has not moved for {duration(seconds)}{held}",
                    "end it, or subscribe with evict_after=",
                )


# ---- bridges -------------------------------------------------------------------------------------


def bridges() -> Iterator[Finding]:
    """What hinders the bridges to other machines."""
    for one in bridge.running():
        name = f"bridge {one.get('name')}"
        if not one["alive"]:
            yield Finding(name, "note", "it was killed", "start it again: it loses nothing")
            continue
        for peer in one.get("peers", []):
            if peer.get("link") != "up":
                yield Finding(
                    name,
                    "warning",
                    f"the link to {peer.get('name')} is lost",
                    "look at the network",
                )
        for stream in one.get("streams", []):
            what = f"{stream.get('kind')} {stream.get('name')}"
            state, note = str(stream.get("state")), str(stream.get("note") or "")
            if state.startswith(("refused", "stopped")) or note:
                yield Finding(
                    name, "warning", f"{what}: {note or state}", "memlane bridge --status"
                )
            for word in ("dropped", "uncertain"):
                if stream.get(word):
                    yield Finding(name, "note", f"{what}: {stream[word]} records {word}")
