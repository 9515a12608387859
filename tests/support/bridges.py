# SPDX-License-Identifier: MIT
"""Two bridges on one machine, with a proxy between them, and what they leave behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from memlane import Region
from memlane.bridge import Bridge
from tests.conftest import IS_ALONE
from tests.support.processes import PATIENCE_S
from tests.support.proxy import Proxy, free_port
from tests.support.region_files import SHARED_MEMORY


@contextmanager
def removed(*names: str) -> Iterator[None]:
    """
    Remove these regions at the end, what bridges remember of them, and the file that glibc leaves
    where a process is killed inside of sem_open (docs/reliability.md).
    """
    try:
        yield
    finally:
        if IS_ALONE:
            for path in SHARED_MEMORY.glob("sem.??????"):
                path.unlink()
        left = [it for it in Region.names() if it.startswith("bridge.") and IS_ALONE]
        for one in [*left, *names, *(f"{name}.bridge" for name in names)]:
            try:
                with Region.open(one) as region:
                    region.unlink()
            except FileNotFoundError:
                pass


@contextmanager
def pair(
    near: dict[str, Any] | None = None, far: dict[str, Any] | None = None
) -> Iterator[tuple[Bridge, Bridge, Proxy]]:
    """A bridge that connects, one that listens, and the proxy between them."""
    port = free_port()
    with (
        Bridge(listen=[f"tcp/127.0.0.1:{port}"], **(far or {})) as listening,
        Proxy(port) as proxy,
        Bridge(connect=[f"tcp/127.0.0.1:{proxy.port}"], **(near or {})) as connecting,
    ):
        yield connecting, listening, proxy


class BridgeProcess:
    """
    `memlane bridge` as a process of its own, which can be killed and started again; in a network
    namespace, if one is named.
    """

    def __init__(self, *arguments: str, namespace: str | None = None) -> None:
        self.arguments = arguments
        self.prefix = [] if namespace is None else ["ip", "netns", "exec", namespace]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "memlane", "bridge", *self.arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "is up" in line:
                return
        raise AssertionError(f"the bridge ended with {self.process.wait()}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        assert self.process.stderr is not None
        status = self.process.wait(PATIENCE_S)
        self.process.stderr.close()
        return status

    def end(self) -> int:
        """Ask it to end, as a service manager does: its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.kill()
