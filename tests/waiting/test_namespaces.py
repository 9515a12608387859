# SPDX-License-Identifier: MIT
"""Processes in other network, pid, mount and IPC namespaces, as in containers that share a name."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import memlane
from memlane import Region, Ring, _event_loops
from memlane.aio import wrap
from tests.support.children import PAGE
from tests.support.processes import Child, output_of
from tests.support.slices import rounds_without_a_slice
from tests.waiting.test_aio import Run, run

__all__ = ["run"]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

NAMESPACES = {
    "network": ["--net"],
    "pid": ["--pid", "--fork", "--mount-proc"],
    "mount": ["--mount"],
    "ipc": ["--ipc"],
    "all": ["--net", "--pid", "--fork", "--mount-proc", "--mount", "--ipc", "--uts"],
}
PUTS = """
import sys
import memlane
with memlane.Ring.open(sys.argv[1]) as ring:
    for line in sys.stdin:
        ring.put(line.strip().encode())
"""


@contextmanager
def putting(name: str, namespaces: str) -> Iterator[subprocess.Popen[str]]:
    """A program in other namespaces, which puts the lines that it reads into a ring."""
    unshare = ["unshare", "--user", "--map-root-user", *NAMESPACES[namespaces]]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no such namespaces can be made here: {error}")
    program = subprocess.Popen(
        [*unshare, sys.executable, "-c", PUTS, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield program
        output_of(program)
    finally:
        program.kill()
        program.wait()


@pytest.mark.parametrize("namespaces", NAMESPACES)
def test_a_wait_is_woken_at_once_from_other_namespaces(name: str, namespaces: str) -> None:
    """By its socket, or where that is out of reach by the file of the region: without a slice."""
    with Ring.create(name, capacity=PAGE) as ring, putting(name, namespaces) as program:
        assert program.stdin is not None
        for slices in rounds_without_a_slice():
            with slices:
                timer = threading.Timer(0.01, program.stdin.write, ["a record\n"])
                timer.start()
                assert [ring] == memlane.wait([ring])
            assert b"a record" == ring.get_nowait()
            timer.join()
        program.stdin.close()
        program.stdin = None
        ring.unlink()


def test_an_event_loop_is_woken_at_once_from_another_network_namespace(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first record tells it, when a slice is over, that somebody there is out of reach."""

    async def main(ring: Ring, program: subprocess.Popen[str]) -> None:
        assert program.stdin is not None
        awaited = wrap(ring)
        for i in range(10):
            if i == 2:  # from now on a wake-up that is lost is a hang
                monkeypatch.setattr(_event_loops, "SLICE_S", 1e6)
            timer = threading.Timer(0.01, program.stdin.write, [f"{i}\n"])
            timer.start()
            assert b"%d" % i == await awaited.get()
            timer.join()

    with Ring.create(name, capacity=PAGE) as ring, putting(name, "network") as program:
        run(main, ring, program)
        assert program.stdin is not None
        program.stdin.close()
        program.stdin = None
        ring.unlink()


def test_where_neither_way_leads_there_a_wait_ends_when_a_slice_is_over() -> None:
    """Memory without a file, and another network namespace."""
    with Region.create(None, "1 MiB", anonymous=True) as region:
        ring = region.ring("it", capacity=PAGE)
        assert [] == memlane.wait([ring], 0.001)  # the doorbells are made before the fork
        refused = 3

        def put() -> None:
            if ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
                os._exit(refused)
            ring.put(b"a record")

        with Child(put) as child:
            if child.wait() == refused:
                pytest.skip("unshare is refused here")
            assert [ring] == memlane.wait([ring])
        for _ in range(3):
            assert b"a record" == ring.get_nowait()
            with Child(put):
                assert [ring] == memlane.wait([ring])
