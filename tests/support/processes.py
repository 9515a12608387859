# SPDX-License-Identifier: MIT
"""Real processes for tests: forked children, unrelated programs, and waiting for what they do."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from memlane import Empty

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
#: Far more than anything here takes, also on a machine that is slow, busy, and stopped for seconds
#: now and then; reaching it means a hang. pytest's own timeout (pyproject.toml) is longer.
PATIENCE_S = 300.0


def wait_until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait for a condition; a hang is an AssertionError that says for what."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.001)


def die_with_parent() -> None:
    """For a child: killing its parent leaves no process behind who works for ever."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forked(function: Callable[..., Any], *args: Any) -> int:
    """The pid of a child that runs *function* and exits: 0, or 1 after an exception."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function(*args)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def drained(ring: Any) -> list[bytes]:
    """Everything there is to get from a ring now."""
    found = []
    while True:
        try:
            found.append(ring.get_nowait())
        except Empty:
            return found


class Child:
    """
    A forked child that runs *function* and exits: 0, or 1 after an exception. Killed and reaped at
    the end of `with`.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.status: int | None = None
        self.pid = forked(function, *args)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        self.signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            self.wait()

    def has_ended(self) -> bool:
        """Whether it has ended by now; then it is reaped."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> int:
        """The exit code; minus the signal that ended it."""
        end = time.monotonic() + PATIENCE_S
        while not self.has_ended():
            assert time.monotonic() < end, f"child {self.pid} hangs"
            time.sleep(0.001)
        assert self.status is not None
        return self.status

    def state(self) -> str:
        """What the kernel says it does: "S" asleep, "T" stopped, "Z" ended and not waited for."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def switches(self) -> int:
        """How often it gave the processor away of itself: it slept, and was woken."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                return int(line.split()[1])
        raise AssertionError("the kernel counts no voluntary switches")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.kill()


def unrelated(code: str, *args: str, **options: Any) -> subprocess.Popen[str]:
    """An unrelated program: a new interpreter that runs *code* with *args* in sys.argv[1:]."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def output_in_time_namespace(clock: str, code: str, *args: str) -> str:
    """
    What a program prints in a time namespace whose *clock* is ten days ahead. The test is skipped
    where none can be made.
    """
    unshare = ["unshare", "--time", f"--{clock}", "864000", "--fork"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no time namespace can be made here")
    run = [*unshare, sys.executable, "-c", code, *args]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def output_of(program: subprocess.Popen[str]) -> str:
    """What an unrelated program prints until it ends, which must be well."""
    out, err = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, f"exit code {program.returncode}\n{out}\n{err}"
    return out
