# SPDX-License-Identifier: MIT
"""`memlane.wait`: several things in one thread."""

from __future__ import annotations

import socket
import threading

import pytest

import memlane
from memlane import ClosedError, Ring
from tests.support.children import PAGE


def test_rings_and_sockets_are_waited_for_together() -> None:
    """What is ready comes in the order in which it was asked for."""
    ours, theirs = socket.socketpair()
    with ours, theirs, Ring(PAGE) as ring:
        assert [] == memlane.wait([ring, ours], 0)
        assert [] == memlane.wait([ring, ours], timeout=0.01)
        threading.Timer(0.01, ring.put, [b"a"]).start()
        assert [ring] == memlane.wait([ours, ring])
        theirs.send(b"x")
        assert [ours, ring] == memlane.wait([ours, ring])


def test_what_cannot_be_waited_for_is_refused() -> None:
    with Ring(PAGE) as ring:
        with pytest.raises(ValueError, match="timeout"):
            memlane.wait([ring], -1)
        with pytest.raises(TypeError, match="wait takes"):
            memlane.wait([ring, object()])
    with pytest.raises(ClosedError):
        memlane.wait([ring], 0)
