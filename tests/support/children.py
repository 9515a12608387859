# SPDX-License-Identifier: MIT
"""Children that do some work and are killed with it in hand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Self

import pytest

from tests.support.processes import PATIENCE_S, Child

PAGE = 4096


of_one_consumer = pytest.mark.parametrize("ring", ["one"], indirect=True)


def forever() -> None:
    """What a child does until it is killed."""
    while True:
        time.sleep(PATIENCE_S)


class Gate:
    """A pipe by which a child says that it is through."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def open(self) -> None:
        os.write(self.write_end, b"!")

    def wait(self) -> None:
        assert os.read(self.read_end, 1) == b"!"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def killed_after(work: Callable[[], object]) -> None:
    """Have a child do some work, then kill it while it holds whatever it has."""
    with Gate() as gate:

        def run() -> None:
            kept = work()
            gate.open()
            forever()
            del kept

        with Child(run) as child:
            gate.wait()
            child.kill()
