# SPDX-License-Identifier: MIT
"""A terminal for tests: a program that runs in a pty, what it shows, and keys for it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.processes import PATIENCE_S

#: What moves the cursor, clears, colors or switches modes.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    """`memlane` with these arguments in a pty of its own, as its session. Killed at the end."""

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] = {},
    ) -> None:
        self._pty, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": "", **environment}
        for unset in [key for key, value in env.items() if value == ""]:
            del env[unset]
        self._program = subprocess.Popen(
            [sys.executable, "-m", "memlane", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        self.pid = self._program.pid
        self.raw = ""

    def _read(self, seconds: float) -> bool:
        """More of what it shows, if there is some within a time; False at its end."""
        if not select.select([self._pty], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._pty, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    @property
    def shown(self) -> str:
        """All that it has shown, without what controls the terminal."""
        return CONTROL.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the pattern is in what was shown since the last keys."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = re.search(pattern, self.shown, re.MULTILINE)
            if found:
                return found
            assert time.monotonic() < end, f"no {pattern!r} in {self.shown!r}"
            assert self._read(0.1) or re.search(pattern, self.shown, re.MULTILINE), self.shown

    def keys(self, text: str) -> None:
        """Press keys; what was shown before is forgotten."""
        self.raw = ""
        os.write(self._pty, text.encode())

    def ended(self) -> int:
        """Read all that it still shows; its exit code."""
        while self._read(PATIENCE_S):
            pass
        return self._program.wait(PATIENCE_S)

    def modes(self) -> list[object]:
        """The modes of the terminal, to see that they are what they were."""
        return termios.tcgetattr(self._pty)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._program.send_signal(signal.SIGKILL)
        self._program.wait(PATIENCE_S)
        os.close(self._pty)


def _own_terminal() -> None:
    """The pty controls the session, so Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def terminal_shows(
    *arguments: str, code: int = 0, columns: int = 80, environment: Mapping[str, str] = {}
) -> str:
    """What a command shows in a terminal until it ends."""
    with Terminal(*arguments, columns=columns, environment=environment) as terminal:
        found = terminal.ended()
        assert code == found, terminal.shown
        return terminal.shown
