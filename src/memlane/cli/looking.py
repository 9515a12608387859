# SPDX-License-Identifier: MIT
"""Targets that are expected to be there: a look at one, and what follows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from memlane import following, inspection
from memlane.cli.text import Refusal


def look(
    target: inspection.Target, maps: dict[inspection.File, list[int]] | None = None
) -> dict[str, Any]:
    """
    As `inspection.facts`; of a target that names an object, without those of other objects.

    Raises:
        RegionNotFoundError: there is no such region.
        Refusal: it cannot be opened at all, or it has no such object.
    """
    facts = inspection.facts(target, maps)
    if facts is None:
        raise target.not_found()
    if "stats" not in facts:
        raise Refusal(facts["error"])
    if target.object is None:
        return facts
    require_object(target, target.object, facts["stats"])
    return inspection.only(facts, {target.object})


def require_object(target: inspection.Target, name: str, there: dict[str, Any] | list[str]) -> None:
    """
    Raises:
        Refusal: *name* is not among the objects that are there.
    """
    if name not in there:
        has = f"; it has {', '.join(there)}" if there else "; it has none"
        hint = inspection.near(name, there) or has
        raise Refusal(f"region {target.name!r} has no object {name!r}{hint}")


@contextlib.contextmanager
def followed(name: str) -> Iterator[tuple[inspection.Target, list[following.Follower]]]:
    """
    The objects of *name*, to be followed: the one that it names, or all of its region that can be.

    Raises:
        Refusal: there is none that can be followed.
        MemlaneError, OSError: it is not there, or cannot be opened.
        ValueError: *name* can be no name.
    """
    target = inspection.find(name)
    with target.open() as region:
        names = list(region)
        if target.object is not None:
            require_object(target, target.object, names)
            names = [target.object]
        found = [one for each in names if (one := following.follower(region, each)) is not None]
        if not found:
            what = "no object" if target.object is None else f"in {target.object!r} nothing"
            raise Refusal(
                f"region {target.name!r} has {what} that can be followed; memlane stat shows it"
            )
        yield target, found
