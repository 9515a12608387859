# SPDX-License-Identifier: MIT
"""What the objects of a region have in common: how they are found, closed, unlinked and pickled."""

from __future__ import annotations

import copy
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import memlane._calls as _calls
import memlane._core as _core
from memlane._region.files import Name
from memlane.errors import LayoutError

if TYPE_CHECKING:
    from memlane.region import Region

#: An entry of the directory: name, kind, offset, nbytes, geometry, schema, index, sequence.
Entry = tuple[str, int, int, int, tuple[int, ...], str, int, int]
#: How many objects a message names. Arbitrary.
_NAMED = 8
_ALIGNMENT = 4096  # of objects, whatever the machine's pages (docs/layout.md)


def used_nbytes(objects_offset: int, entries: list[Entry]) -> int:
    """How much of a region its header, its tables and the objects in it take up."""
    return objects_offset + sum(-(-entry[3] // _ALIGNMENT) * _ALIGNMENT for entry in entries)


ObjectT = TypeVar("ObjectT", bound="SharedObject")


@_core.clear_errors
class SharedObject:
    """
    An object in a region: a ring, a slot, a table of slots, a counter. It may have the region to
    itself.
    """

    def __init__(self, *_arguments: object, **_keywords: object) -> None:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} is not made by calling the class; use {kind}.create(name, ...), with the "
            f"name None for one without a name, or {kind}.open(name)"
        )

    def __init_subclass__(cls, **keywords: Any) -> None:
        """What help and editors show for a class that is made by `create`: how."""
        super().__init_subclass__(**keywords)
        if "create" in vars(cls) and cls.__init__ is SharedObject.__init__:
            _calls.show_bits(vars(cls)["create"].__func__)
            cls.__signature__ = inspect.signature(cls.create)  # type: ignore[attr-defined]

    _kind: ClassVar[int]
    #: What messages call one, its name in the directory of a region that was made for it, and the
    #: method of Region that opens one.
    _word: ClassVar[str]
    #: What must be given for one to be made.
    _needs: ClassVar[str]
    _region: Region
    _object_name: str
    _owns: bool

    @classmethod
    def _is(cls, _entry: Entry) -> bool:
        """Whether an entry of this kind is one of this class."""
        return True

    @staticmethod
    def _classes() -> list[type[SharedObject]]:
        from memlane.counter import Counter
        from memlane.ring import Ring
        from memlane.slot import Slot, SlotTable

        return [Ring, Slot, SlotTable, Counter]

    @classmethod
    def _of(cls, region: Region, entry: Entry) -> Self:
        raise NotImplementedError

    def _settle(self, region: Region, name: str) -> None:
        """
        Belong to a region that carries other objects, too. The last step of making a handle: from
        then on a close of the region closes it, whole.
        """
        self._object_name = name
        self._owns = False
        self._region = region
        region._objects.add(self)
        if region._closed:  # meanwhile, so it did not see this one
            self._leave()
            region._check()

    @classmethod
    def _expect(
        cls, region: Region, name: str, entry: Entry | None, *, alone: bool = False
    ) -> Entry:
        """
        What `region.ring(name)` and its like have found, or the error that says otherwise. *alone*:
        the object was looked for by the region's name.
        """
        if entry is None:
            raise region._not_there(name, f"; give {cls._needs} to make it")
        if entry[1] != cls._kind or not cls._is(entry):
            found = region._class_of(entry)
            if alone:
                said = f"what {region._member.name} carries is a {found.__name__}"
                where = region.name
                given = (
                    repr(where) if isinstance(where, str) else f"Path({os.fspath(where or '')!r})"
                )
                opened_by = f"{found.__name__}.open({given})"
            else:
                said = f"object {name!r} of {region._member.name} is a {found.__name__}"
                opened_by = f"region.{found._word}({name!r})"
            raise LayoutError(
                f"{said}, expected a {cls.__name__}; open it with {opened_by}",
                name=name,
                expected=cls.__name__,
                found=found.__name__,
            )
        return entry

    @classmethod
    def _be_alone(cls, region: Region, name: str) -> None:
        """From now on messages call the object *name* by the region's name, if that was made so."""
        if name == cls._word:
            region._check().sole = True

    @classmethod
    def _alone(cls, region: Region, open_it: Callable[[Region], Self]) -> Self:
        """An object that has this region to itself: closing one closes the other."""
        try:
            made = open_it(region)
        except BaseException:
            region.close()
            raise
        made._own()
        return made

    def _own(self) -> None:
        self._owns = True
        self._region._made_for = self._word, self._object_name

    @classmethod
    def _only_entry(cls, region: Region) -> Entry:
        """The entry of the object that a region was made for."""
        entries = region._check().entries()
        if len(entries) != 1:
            some = ", ".join(repr(entry[0]) for entry in entries[:_NAMED])
            more = ", ..." if len(entries) > _NAMED else ""
            raise LayoutError(
                f"{region._member.name} carries {len(entries) or 'no'} objects"
                f"{f' ({some}{more})' if entries else ''}, expected one; use Region.open and the "
                "object's name",
                name=str(region.name),
                expected=1,
                found=len(entries),
            )
        entry = cls._expect(region, entries[0][0], entries[0], alone=True)
        cls._be_alone(region, entry[0])
        return entry

    @property
    def name(self) -> Name:
        """The name of the object; of one that has a region to itself, that of the region."""
        return self._region.name if self._owns else self._object_name

    @property
    def label(self) -> str | None:
        """What its maker called one without a name; None: nothing."""
        return self._region.label

    @property
    def region(self) -> Region:
        """The region it lives in."""
        return self._region

    def stats(self) -> dict[str, Any]:
        """Tell what is going on, as plain dicts and lists."""
        raise NotImplementedError

    def _leave(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """
        Be done with it in this process. Calls under way and loans are not disturbed. The name
        stays. Never fails.
        """
        self._leave()
        if self._owns:
            self._region.close()

    def unlink(self) -> None:
        """
        Take the name away, for everybody; who has it open goes on using it. Works after `close`,
        too.

        Raises:
            ValueError: it shares its region with other objects; unlink the region.
        """
        if not self._owns:
            raise ValueError(
                f"{self._object_name!r} shares its region with other objects; unlink the region"
            )
        self._region.unlink()

    def __enter__(self) -> Self:
        self._region._check()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True

    def __del__(self) -> None:
        # One that owns its region is warned of by the region.
        if hasattr(self, "_region") and not sys.is_finalizing():
            self._leave()

    def __repr__(self) -> str:
        kind = f"<memlane.{type(self).__name__} "
        if self._owns:
            return kind + repr(self._region).partition(" ")[2]
        return f"{kind}{self._object_name!r} in {self._region!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_object, (
            type(self),
            self._region,
            self._object_name,
            self._owns,
            self._travels_with(),
        )

    def __copy__(self) -> Self:
        """A handle of its own, as from pickle: closing one leaves the other open."""
        kind, region, name, owns, kept = self.__reduce__()[1]
        copied: Self = _rebuild_object(
            kind, copy.copy(region) if owns else region, name, owns, kept
        )
        return copied

    def _travels_with(self) -> dict[str, Any]:
        """What a handle keeps when it is pickled, beside its region."""
        return {}

    def _arrive_with(self, _kept: dict[str, Any]) -> None:
        """What it does with that."""


@_core.clear_errors
def _rebuild_object(
    cls: type[ObjectT], region: Region, name: str, owns: bool, kept: dict[str, Any]
) -> ObjectT:
    entry = cls._expect(region, name, region._find(name))
    if owns:
        cls._be_alone(region, name)
    made = cls._of(region, entry)
    made._arrive_with(kept)
    if owns:
        made._own()
    return made
