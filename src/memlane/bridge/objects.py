# SPDX-License-Identifier: MIT
"""
The objects that a bridge carries: opened by name, described to the other side, and made there.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import memlane._arguments as _arguments
from memlane._region.directory import Wanted
from memlane.bridge.rules import KINDS, split
from memlane.errors import LayoutError, RegionNotFoundError
from memlane.map import Map, MapGeometry
from memlane.region import Region
from memlane.ring import Ring, RingGeometry
from memlane.shared_object import SharedObject
from memlane.slot import Slot, SlotGeometry, SlotTable
from memlane.topic import Topic, TopicGeometry
from memlane.values import Codec, codec_of_schema

__all__ = ["Carried", "Opened", "facts_of", "key_of", "open_here", "open_or_make"]

Carried: TypeAlias = Ring | Topic | Slot[Any] | SlotTable[Any] | Map[Any]
_CLASSES: dict[str, type[SharedObject]] = {
    "ring": Ring,
    "topic": Topic,
    "slot": Slot,
    "table": SlotTable,
    "map": Map,
}
assert tuple(_CLASSES) == KINDS


class Opened:
    """
    An object that this process has open by its name.

    Attributes:
        kind: "ring", "topic", "slot", "table" or "map".
        name: REGION or REGION/OBJECT.
        made: The handle.
        key: What tells it from any other object that ever was: 16 bytes.
    """

    def __init__(self, kind: str, name: str, region: Region, made: SharedObject) -> None:
        self.kind, self.name, self.made = kind, name, made
        self.region = region
        self.key = key_of(made)

    def is_there(self) -> bool:
        """Whether the name still leads to this object, not to one that was made in its place."""
        region, _ = split(self.name)
        try:
            with Region.open(region) as found:
                if found._member.region_id != self.region._member.region_id:
                    return False
                entry = found._find(self.made._object_name)
                return entry is not None and _key(found, entry) == self.key
        except Exception:
            return False

    def close(self) -> None:
        self.made.close()
        self.region.close()


def key_of(made: SharedObject) -> bytes:
    """What tells an object from any other one: its region's number and its place in there."""
    entry = made.region._find(made._object_name)
    if entry is None:
        raise LayoutError(f"{made._object_name!r} was removed", name=made._object_name)
    return _key(made.region, entry)


def _key(region: Region, entry: Any) -> bytes:
    told = f"{region._member.region_id}/{entry.number}/{entry.sequence}/{entry.kind}/{entry.name}"
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def open_here(kind: str, name: str) -> Opened:
    """
    Open an object that exists.

    Raises:
        RegionNotFoundError, ObjectNotFoundError: there is none.
        LayoutError: it is of another kind.
        MemlaneError, OSError: it cannot be opened.
    """
    where, inside = split(name)
    region = Region.open(where)
    try:
        if inside is None:
            names = list(region)
            if len(names) != 1:
                raise LayoutError(
                    f"region {where!r} has {len(names)} objects, expected one; carry "
                    f"'{kind}:{where}/OBJECT'",
                    name=where,
                    expected=1,
                    found=len(names),
                )
            inside = names[0]
        made = region[inside]
        if not isinstance(made, _CLASSES[kind]):
            found = type(made).__name__.lower()
            raise LayoutError(
                f"{name!r} is a {found}, expected a {kind}; carry '{found}:{name}'",
                name=name,
                expected=kind,
                found=found,
            )
    except BaseException:
        region.close()
        raise
    return Opened(kind, name, region, made)


def facts_of(opened: Opened) -> dict[str, Any]:
    """The geometry of an object, for the other side: numbers and texts."""
    made = opened.made
    entry = made.region._find(made._object_name)
    if entry is None:
        raise LayoutError(f"{opened.name!r} was removed", name=opened.name)
    facts = dict(type(made)._facts(entry))
    if opened.kind in ("slot", "table"):
        facts |= {"schema": entry.schema, "nbytes": entry.geometry[1]}
    elif opened.kind == "map":
        facts |= {"schema": entry.schema, "nbytes": entry.geometry[2]}
    return facts


def open_or_make(kind: str, name: str, facts: dict[str, Any], largest: int) -> Opened:
    """
    Open an object that a peer is to write, or make it if there is none.

    Args:
        facts: The geometry of the object at the peer, not checked.
        largest: Bytes that an object that is made may have.

    Raises:
        LayoutError: there is one that does not hold what the peer's does.
        ValueError: the facts are none, or the object would be too large.
        RegionNotFoundError: the name is REGION/OBJECT, and there is no such region.
        MemlaneError, OSError: it cannot be opened or made.
    """
    wanted = _wanted(kind, facts)
    where, inside = split(name)
    try:
        found = open_here(kind, name)
    except (RegionNotFoundError, KeyError):
        pass
    else:
        try:
            _compare(found, facts)
        except BaseException:
            found.close()
            raise
        return found
    if wanted.nbytes > largest:
        raise ValueError(
            f"{name!r} would have {_arguments.size_text(wanted.nbytes)}, and a peer may make "
            f"objects of up to {_arguments.size_text(largest)} here; make it before, or start "
            "this bridge with a larger largest="
        )
    kind_class = _CLASSES[kind]
    if inside is None:
        kind_class._open_or_create(where, wanted, {}, permissions=0o600, owner=None).close()
    else:
        with Region.open(where) as region:
            kind_class._open_or_create_in(region, inside, wanted, {}, timeout=10).close()
    found = open_here(kind, name)
    _compare(found, facts)
    return found


def _wanted(kind: str, facts: dict[str, Any]) -> Wanted:
    try:
        if kind == "ring":
            return RingGeometry.checked(
                facts["capacity"], facts["producers"], facts["consumers"], facts["records"]
            ).wanted()
        if kind == "topic":
            return TopicGeometry.checked(
                facts["capacity"],
                facts["publishers"],
                facts["subscribers"],
                facts["when_full"],
                facts["order"],
                facts["records"],
            ).wanted()
        schema, nbytes = facts["schema"], facts["nbytes"]
        if not isinstance(schema, str) or not isinstance(nbytes, int) or len(schema) > 4096:
            raise ValueError("the layout is no text")
        codec_of_schema(schema, nbytes, "value", "the object of the peer")
        codec = Codec(schema, nbytes)
        if kind == "map":
            checked = MapGeometry.of(
                facts["entries"], facts["key_nbytes"], nbytes, facts["copies"], facts["watchers"]
            )
            return MapGeometry(
                codec, nbytes, checked.entries, checked.key_nbytes, checked.copies, checked.watchers
            ).wanted()
        slots = 1 if kind == "slot" else facts["slots"]
        return SlotGeometry.checked(
            codec, slots, facts["writers"], facts["copies"], facts["watchers"]
        ).wanted(_CLASSES[kind]._kind)
    except (KeyError, TypeError, ValueError, LayoutError, MemoryError, OverflowError) as wrong:
        raise ValueError(f"the peer tells of no {kind} that can be made: {wrong}") from None


#: What must be the same on both sides, and what must be at least as much here.
_SAME = {"slot": ("schema", "nbytes"), "table": ("schema", "nbytes", "slots")}
_SAME["map"] = ("schema", "nbytes")
_LEAST = {
    "ring": ("capacity",),
    "topic": ("capacity",),
    "map": ("entries", "key_nbytes"),
}


def _compare(found: Opened, facts: dict[str, Any]) -> None:
    here = facts_of(found)
    for what in _SAME.get(found.kind, ()):
        if here[what] != facts[what]:
            raise _other(found, what, facts[what], here[what])
    for what in _LEAST.get(found.kind, ()):
        if here[what] < _arguments.size(facts[what], what):
            raise _other(found, what, facts[what], here[what])


def _other(found: Opened, what: str, there: object, here: object) -> LayoutError:
    return LayoutError(
        f"{found.kind} {found.name!r} has {what}={here!r} here and {there!r} at the peer; make it "
        "alike, or carry it under another name (rename)",
        name=found.name,
        expected=there,
        found=here,
    )
