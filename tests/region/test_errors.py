# SPDX-License-Identifier: MIT
"""Errors travel, too, with their facts."""

from __future__ import annotations

import os
import pickle

import pytest

from memlane import (
    Empty,
    LayoutError,
    MemlaneError,
    Region,
    RegionExistsError,
    RegionNotFoundError,
    Ring,
    RoleTakenError,
    Slot,
    TruncatedError,
    errors,
)


def all_errors() -> list[type[MemlaneError]]:
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, MemlaneError)
    ]


@pytest.mark.parametrize("error", all_errors())
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_keep_their_text_and_facts_when_they_travel(
    error: type[MemlaneError], protocol: int
) -> None:
    """Every error crosses a process border whole."""
    facts = {"name": "robot", "expected": 4, "found": (1, 2), "pids": (7, 8), "errno": 2, "lost": 3}
    raised = error("what was expected, and what to do", **facts)
    again = pickle.loads(pickle.dumps(raised, protocol))

    assert error is type(again)
    assert "what was expected, and what to do" == str(again)
    assert facts == {fact: getattr(again, fact) for fact in facts}


def test_an_error_that_was_raised_travels(name: str) -> None:
    """Not only one made by hand."""
    caught = []
    with Ring.create(name, producers=1) as ring, ring.producer() as first:
        first.put(b"x")
        for step in (
            lambda: ring.put(b"y", timeout=0),
            lambda: ring.put(b"y" * (1 << 21)),
            lambda: Region.create(name, 4096),
            lambda: Region.open(f"{name}-missing"),
            lambda: Slot.open(name),
            lambda: [ring.get_many(1), ring.get_nowait()],
        ):
            with pytest.raises(MemlaneError) as one:
                step()
            caught.append(one.value)
        ring.unlink()

    for error in caught:
        again = pickle.loads(pickle.dumps(error))
        assert type(error) is type(again)
        assert str(error) == str(again)
        assert error._facts == again._facts
    assert RoleTakenError is type(caught[0])
    assert (os.getpid(),) == caught[0].pids
    assert Empty is type(caught[-1])


def test_errors_are_what_callers_would_catch() -> None:
    """A standard parent where `except` would be written that way anyway."""
    import queue

    assert issubclass(RegionNotFoundError, FileNotFoundError)
    assert issubclass(RegionExistsError, FileExistsError)
    assert issubclass(LayoutError, ValueError)
    assert issubclass(TruncatedError, OSError)
    assert issubclass(errors.PeerGoneError, ConnectionError)
    assert issubclass(errors.Full, queue.Full)
    assert issubclass(errors.Empty, queue.Empty)
