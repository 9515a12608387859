# SPDX-License-Identifier: MIT
"""What the rounds of crash.py share: processes to be killed and stopped, and a watchdog."""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import memlane
from memlane._region.semaphores import set_of
from tests.support.processes import die_with_parent, forked


@dataclasses.dataclass
class Summary:
    """What came of one run; everything from `lost` to `rows` must be 0."""

    mix: str
    kind: str
    rounds: int = 0
    kills: int = 0
    stops: int = 0
    records: int = 0
    again: int = 0
    unnoted: int = 0
    lost: int = 0
    torn: int = 0
    twice: int = 0
    disordered: int = 0
    lost_roles: int = 0
    hangs: int = 0
    left: int = 0
    rows: int = 0
    takeover_ms: float = 0.0
    longest_ms: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not (
            self.lost
            or self.torn
            or self.twice
            or self.disordered
            or self.lost_roles
            or self.hangs
            or self.left
            or self.rows
        )


#: Told after each round.
Shown = Callable[[Summary], None]


def complain(text: str) -> None:
    print(f"crash.py: {text}", file=sys.stderr, flush=True)


def die_soon(choose: random.Random) -> None:
    """End this process without a handler, at a random moment of the next microseconds."""
    signal.setitimer(signal.ITIMER_REAL, 1e-6 + 60e-6 * choose.random() ** 2)


class HangError(Exception):
    """Somebody got nowhere."""


class Processes:
    """The processes of one run, by role; a watchdog over them."""

    def __init__(self, patience_s: float) -> None:
        self.pids: dict[str, int] = {}
        self.patience_s = patience_s

    def start(self, role: str, work: Callable[[], None]) -> None:
        def run() -> None:
            die_with_parent()
            faulthandler.register(signal.SIGUSR1, all_threads=True)
            work()

        self.pids[role] = forked(run)

    def kill(self, *roles: str) -> None:
        """SIGKILL all of them, then reap them."""
        for role in roles:
            os.kill(self.pids[role], signal.SIGKILL)
        for role in roles:
            pid, status = os.waitpid(self.pids.pop(role), 0)
            if not os.WIFSIGNALED(status):
                raise HangError(f"{role} (pid {pid}) ended by itself with status {status}")

    def stop(self, role: str) -> None:
        """SIGSTOP, and wait until it has stopped."""
        os.kill(self.pids[role], signal.SIGSTOP)
        os.waitid(os.P_PID, self.pids[role], os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self, role: str) -> None:
        os.kill(self.pids[role], signal.SIGCONT)

    def wait_for_death(self, role: str, seconds: float) -> None:
        """Wait a while for one that is to die by itself; leave it to `kill` to reap it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not os.waitid(
            os.P_PID, self.pids[role], os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.0002)

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for progress; look after the living meanwhile."""
        end = time.monotonic() + self.patience_s
        polls = 0
        while not condition():
            time.sleep(0.0002)
            polls += 1
            if polls % 100 == 0:
                self.look_after()
            if time.monotonic() > end:
                raise HangError(f"no progress within {self.patience_s} s: {what}")

    def look_after(self) -> None:
        for role, pid in list(self.pids.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.pids[role]
                raise HangError(f"{role} (pid {pid}) ended by itself with status {status}")

    def wait_for_end(self) -> None:
        """All end by themselves, and well."""
        end = time.monotonic() + self.patience_s
        while self.pids:
            for role, pid in list(self.pids.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    del self.pids[role]
                    if status:
                        raise HangError(f"{role} ended with status {status} at the shutdown")
            if time.monotonic() > end:
                raise HangError(f"{', '.join(self.pids)} did not end after the shutdown")
            time.sleep(0.001)

    def abandon(self) -> None:
        """Show where everyone is, then end them."""
        for role, pid in self.pids.items():
            complain(f"{role} is pid {pid}")
            os.kill(pid, signal.SIGUSR1)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.2)
        self.close()

    def close(self) -> None:
        self.kill(*self.pids)


@contextmanager
def watched(summary: Summary, patience_s: float) -> Iterator[Processes]:
    """Processes whose hang becomes a number in the summary."""
    processes = Processes(patience_s)
    try:
        yield processes
    except HangError as hang:
        summary.hangs += 1
        complain(f"{summary.mix} / {summary.kind}, round {summary.rounds}: {hang}")
        processes.abandon()
    finally:
        processes.close()


def finish(
    summary: Summary, takeovers_ms: list[float], shared: memlane.Ring | memlane.Slot | memlane.Topic
) -> None:
    """Unlink; nothing may stay. Files bear its name or that of its semaphores."""
    others = [row for row in shared.region.participants() if row.pid != os.getpid()]
    summary.rows = len(others)
    if others:
        complain(f"rows in use after the end: {others}")
    own = set_of(shared.region._check().region_id)
    name = shared.name
    shared.unlink()
    shared.close()
    left = [
        file
        for file in os.listdir("/dev/shm")
        if own in file or (isinstance(name, str) and name in file)
    ]
    summary.left = len(left)
    if left:
        complain(f"left in /dev/shm: {left}")
    if takeovers_ms:
        summary.takeover_ms = sorted(takeovers_ms)[len(takeovers_ms) // 2]
        summary.longest_ms = max(takeovers_ms)
