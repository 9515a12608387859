# SPDX-License-Identifier: MIT
"""Exceptions of signal handlers amid what opens files: no descriptor is lost."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import memlane
from memlane import Region
from memlane._region import attachment, opening, semaphores, sweep
from memlane._region.location import Location

pytestmark = pytest.mark.machine

_OURS = os.path.dirname(opening.__file__)


class Interrupted(BaseException):
    """What the handler of a signal raises."""


#: An instruction.
Place = tuple[CodeType, int]


def interrupted_at_new_place(met: dict[Place, None], operation: Callable[[], object]) -> bool:
    """
    Run an operation, with an exception in front of the first instruction of ours that no run has
    *met*; whether there was one.
    """

    def look(frame: FrameType, event: str, _what: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS) or code.co_name == "__del__":
            return None  # of another package, or where no exception can come out
        frame.f_trace_opcodes = True
        if event == "opcode":
            place = code, frame.f_lasti
            if place not in met:
                met[place] = None
                raise Interrupted
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        operation()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _closing(operation: Callable[[], Any]) -> None:
    operation().close()


def _existing(where: str | Path) -> Iterator[Callable[[], object]]:
    Region.create(where, 4096).close()
    yield lambda: _closing(lambda: Region.open(where))


def _found_by(where: str | Path) -> Iterator[Callable[[], object]]:
    Region.create(where, 4096).close()
    yield lambda: _closing(lambda: Region.open_or_create(where, 4096))


def _made(where: str | Path) -> Iterator[Callable[[], object]]:
    yield lambda: _closing(lambda: Region.create(where, 4096))


def _made_or_found(where: str | Path) -> Iterator[Callable[[], object]]:
    yield lambda: _closing(lambda: Region.open_or_create(where, 4096))


def _taken(where: str | Path) -> Iterator[Callable[[], object]]:
    def create() -> None:
        with contextlib.suppress(memlane.RegionExistsError):
            Region.create(where, 4096)

    Region.create(where, 4096).close()
    yield create


def _without_a_name(_where: str | Path) -> Iterator[Callable[[], object]]:
    yield lambda: _closing(lambda: Region.create(None, 4096))


def _in_use(where: str | Path) -> Iterator[Callable[[], object]]:
    with Region.create(where, 4096) as region:
        yield region.unlink


def _unpickled(where: str | Path) -> Iterator[Callable[[], object]]:
    with Region.create(where, 4096) as region:
        pickled = pickle.dumps(region)
    yield lambda: _closing(lambda: pickle.loads(pickled))


def _handed_over(_where: str | Path) -> Iterator[Callable[[], object]]:
    class HandedOver:
        def __init__(self, number: int) -> None:
            self.detach = functools.partial(os.dup, number)

    with Region.create(None, 4096) as region:
        region_id, kept = region._member.region_id, os.dup(region._member.base)
    rebuild = functools.partial(
        attachment._rebuild, Region, region_id, None, False, os.getpid(), -1, HandedOver(kept)
    )
    yield lambda: _closing(rebuild)
    os.close(kept)


def _swept(where: str | Path) -> Iterator[Callable[[], object]]:
    assert isinstance(where, str)
    Region.create(where, 4096).close()
    yield lambda: memlane.sweep([where])


def _shown(where: str | Path) -> Iterator[Callable[[], object]]:
    assert isinstance(where, str)
    Region.create(where, 4096).close()
    yield lambda: memlane.sweep([where], dry_run=True)


def _removed(where: str | Path) -> Iterator[Callable[[], object]]:
    Region.create(where, 4096).close()

    def remove() -> None:
        with contextlib.suppress(BlockingIOError):  # somebody else looks whether it is in use
            sweep.remove(where)

    yield remove


def _looked_at(where: str | Path) -> Iterator[Callable[[], object]]:
    path = Location.parse(where).path
    assert path is not None
    Region.create(where, 4096).close()
    yield lambda: _closing(lambda: Region._look_at(Location.parse(where), path))


def _all_names(where: str | Path) -> Iterator[Callable[[], object]]:
    Region.create(where, 4096).close()
    yield Region.names


_BOTH = [_made, _existing, _unpickled, _removed]
_CASES = [
    *((how, where) for how in _BOTH for where in ("named", "path")),
    (_without_a_name, "memfd"),
    (_handed_over, "memfd"),
    *((how, "named") for how in (_made_or_found, _found_by, _taken, _in_use, _looked_at, _swept)),
    (_shown, "named"),
    (_all_names, "named"),
]


@pytest.mark.parametrize(
    ("how", "where"), _CASES, ids=lambda it: it if isinstance(it, str) else it.__name__[1:]
)
def test_no_descriptor_is_lost_where_an_exception_of_a_handler_comes(
    how: Callable[[str | Path], Iterator[Callable[[], object]]],
    where: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In front of whatever instruction: between a file that is opened and its `with`, too."""
    region_id = secrets.randbits(64)
    monkeypatch.setattr(secrets, "randbits", lambda _: region_id)
    met: dict[Place, None] = {}
    lost: list[Place] = []
    at = tmp_path / "region" if where == "path" else name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it is lost, and so never closed
        interrupted = True
        while interrupted:
            steps = how(at)
            before = descriptors()
            operation = next(steps)
            kept = descriptors() - before if how in (_in_use, _handed_over) else 0
            interrupted = interrupted_at_new_place(met, operation)
            del operation
            if descriptors() - before > kept:
                gc.collect()
            if descriptors() - before > kept:
                lost.append(list(met)[-1])
            assert [] == list(steps)
            _clean_up(at, region_id)

    assert [] == lost
    assert len(met) > 50


def _clean_up(where: str | Path, region_id: int) -> None:
    """What an interruption leaves with a name, as a kill does."""
    semaphores.remove_set(region_id)
    path = Location.parse(where).path
    assert path is not None
    path.unlink(missing_ok=True)
