# SPDX-License-Identifier: MIT
"""
Processes that do what they are told, and are killed when they do not answer.

The parent loads no library that is measured but those that must be made before the fork, so that
its children can be forked from it at any time, as clean as if they were programs of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


class HungError(Exception):
    """A worker did not answer in time."""


class FailedError(Exception):
    """A worker raised, or died; the text says how."""


class State:
    """What a worker keeps between its jobs."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self.ends: dict[str, Any] = {}

    def ready(self) -> None:
        """Tell the parent that the job has come so far."""
        self._control.send(("ready", None))

    def told_to_stop(self, seconds: float) -> bool:
        """Wait so long for `Worker.stop`."""
        if not self._control.poll(seconds):
            return False
        self._control.recv()
        return True


class Worker:
    """A forked process; one job at a time."""

    def __init__(self) -> None:
        self._control, theirs = Pipe()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                if os.getppid() == parent:
                    self._control.close()
                    _serve(theirs)
                    status = 0
            except EOFError:
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def start(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Have it run `job(state, *arguments)`, where job is a function of a module."""
        self._send((job, arguments))

    def _send(self, what: object) -> None:
        try:
            self._control.send(what)
        except OSError:
            raise FailedError(f"its process has died ({self._status()})") from None

    def _answer(self, expected: str, timeout: float) -> Any:
        if not self._control.poll(timeout):
            raise HungError(f"hung: no answer in {timeout:.0f} s")
        try:
            found, result = self._control.recv()
        except (EOFError, OSError):
            raise FailedError(f"its process has died ({self._status()})") from None
        if found == "failed":
            raise FailedError(result)
        if found != expected:
            raise FailedError(f"answered {found} in place of {expected}")
        return result

    def _status(self) -> str:
        # Its end of the pipe closes a moment before it can be waited for.
        end = time.monotonic() + 0.5
        while (found := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                return "unknown"
            time.sleep(0.01)
        status = found[1]
        self.pid = 0
        code = os.waitstatus_to_exitcode(status)
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until the job under way has called `State.ready`."""
        self._answer("ready", timeout)

    def result(self, timeout: float = 10.0) -> Any:
        """Wait for what the job returns."""
        return self._answer("done", timeout)

    def run(self, job: Callable[..., Any], *arguments: Any, timeout: float = 10.0) -> Any:
        self.start(job, *arguments)
        return self.result(timeout)

    def stop(self) -> None:
        """Tell the job under way to stop, if it asks."""
        self._send("stop")

    def cpu_ns(self) -> int:
        """Time on a processor, as the scheduler counts it, of all its threads."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                total += int((task / "schedstat").read_text().split()[0])
        return total

    def close(self, *, kill: bool = False) -> None:
        """End the process: it leaves its loop, or is killed when it does not in a second."""
        try:
            if not kill:
                self._control.send(None)
                self._control.poll(1.0)  # its end of the pipe closes when it exits
        except OSError:
            pass
        self._control.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _serve(control: Connection) -> None:
    state = State(control)
    # What the parent has made is not looked through again in the middle of a sample.
    gc.collect()
    gc.freeze()
    while (told := control.recv()) is not None:
        job, arguments = told
        try:
            result = job(state, *arguments)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error}".split("\n")[0]
            control.send(("failed", f"{text} ({Path(where.filename).name}:{where.lineno})"))
        else:
            control.send(("done", result))
    for end in state.ends.values():
        end.close()
    # Some libraries remove their files only when their objects go, and exiting here skips that.
    state.ends.clear()
    gc.unfreeze()
    gc.collect()
