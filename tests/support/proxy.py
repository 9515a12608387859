# SPDX-License-Identifier: MIT
"""A TCP proxy that forwards between two programs, and can be slow, broken, or stand still."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Proxy:
    """
    Forwards connections to *port* of this machine.

    Attributes:
        port: Where it listens.
        delay: Seconds that bytes take.
        rate: Bytes a second in each direction; None: as many as come.
        is_cut: Nothing is forwarded, and nobody is told, as where a cable is out.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.rate: float | None = None
        self.is_cut = False
        self.forwarded = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._start(self._accept)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            self._start(self._forward, near, far)
            self._start(self._forward, far, near)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while self.is_cut and not self._ended.is_set():
                    time.sleep(0.002)
                if self.delay:
                    time.sleep(self.delay)
                if self.rate is not None:
                    time.sleep(len(data) / self.rate)
                sink.sendall(data)
                self.forwarded += len(data)
        self._end(source, sink)

    def _end(self, *some: socket.socket) -> None:
        with self._lock:
            self._sockets -= set(some)
        for one in some:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def reset(self) -> None:
        """End all connections; the next ones are forwarded."""
        self._end(*list(self._sockets))

    def close(self) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
