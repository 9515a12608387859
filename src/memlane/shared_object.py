# SPDX-License-Identifier: MIT
"""
SharedObject: the base of all kinds. It creates, finds, checks, closes and pickles objects.

A kind is a class with a number, `class Flag(SharedObject, kind=40000)`, and registers when it is
defined. Regions, pickle and the command line find it by that number.
"""

from __future__ import annotations

import copy
import inspect
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import memlane._calls as _calls
import memlane._core as _core
from memlane._instead import Named, instead
from memlane._region import directory, opening
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane._region.location import Location, Name
from memlane.errors import LayoutError

if TYPE_CHECKING:
    from memlane.region import Region  # the class that users get; it sets _region_class at run time

#: The first number for kinds from outside of this package.
FOREIGN_KINDS = 32768

#: How many objects a message names. Arbitrary.
_NAMED = 8

_kinds: dict[int, type[SharedObject]] = {}


def kind_of(member: _core.Membership, entry: Entry) -> type[SharedObject]:
    """
    The class of an entry; LayoutError if no class of its kind is defined, CorruptedError if the
    entry is out of bounds.
    """
    kind = _kinds.get(directory.require_sound(member, entry).kind)
    if kind is None:
        where = "import what defines it" if entry.kind >= FOREIGN_KINDS else "update memlane"
        raise LayoutError(
            f"object {entry.name!r} of {member.name} has kind {entry.kind}, which no class here "
            f"has; {where}",
            name=entry.name,
            expected=sorted(_kinds),
            found=entry.kind,
        )
    return kind


def is_known(entry: Entry) -> bool:
    """False: the entry is sound, and of a kind that no class here has."""
    return not entry.is_sound or entry.kind in _kinds


ObjectT = TypeVar("ObjectT", bound="SharedObject")


#: What others call what every object has, or does not need.
_INSTEAD = {
    "destroy delete remove drop": (
        "use unlink(), which takes its name away, or region.remove(name) for one among others"
    ),
    "detach disconnect release_handle": "use close()",
    "is_open is_closed opened": "use closed",
    "attach connect": "use the class method open(name)",
    "lock get_lock mutex acquire": "each call is whole by itself, so no lock is needed",
    "get_obj": "it is that object itself",
    "shm": "use region, which it lives in",
    "copy": "use copy.copy() for another handle of the same object",
}


@_core.clear_errors
@instead(_INSTEAD)
class SharedObject(metaclass=Named):
    """
    An object in a region: a ring, a slot, a table of slots, a counter. It may have a region of its
    own.
    """

    def __init__(self, *_arguments: object, **_keywords: object) -> None:
        kind = type(self).__name__
        raise TypeError(
            f"a {kind} is not made by calling the class; use {kind}.create(name, ...), with the "
            f"name None for one without a name, or {kind}.open(name)"
        )

    def __init_subclass__(
        cls, *, kind: int | None = None, word: str | None = None, **keywords: Any
    ) -> None:
        """
        Register a kind.

        Args:
            kind: Its number in directories; None: a base of kinds.
            word: The kind in messages, and the name of an object with a region of its own; by
                default the name of the class in lower case.

        Raises:
            TypeError: another class has the number.
        """
        super().__init_subclass__(**keywords)
        if kind is not None:
            known = _kinds.get(kind)
            named = (cls.__module__, cls.__qualname__)  # a module may be loaded again
            if known is not None and named != (known.__module__, known.__qualname__):
                raise TypeError(
                    f"kind {kind} is that of {known.__module__}.{known.__qualname__}, and cannot "
                    f"be that of {cls.__module__}.{cls.__qualname__}, too; choose another number"
                )
            _kinds[kind] = cls
            cls._kind = kind
            cls._word = cls.__name__.lower() if word is None else word
        if "create" in vars(cls) and cls.__init__ is SharedObject.__init__:
            # help and editors show how `create` makes one
            _calls.show_bits(vars(cls)["create"].__func__)
            cls.__signature__ = inspect.signature(cls.create)  # type: ignore[attr-defined]

    _kind: ClassVar[int]
    #: The kind in messages, and the method of Region that opens one.
    _word: ClassVar[str]
    #: The argument without which one cannot be created.
    _needs: ClassVar[str] = "what it is to be"
    #: The class of the region of an object that has its own: Region, which sets it.
    _region_class: ClassVar[type[Attachment]] = Attachment
    _region: Region
    _object_name: str
    _owns: bool

    # ---- what each kind defines ------------------------------------------------------------------

    def _attach(self, member: _core.Membership, entry: Entry, **options: Any) -> None:
        """Attach to the bytes of an entry; *options* are those of this handle."""
        raise NotImplementedError

    def _detach(self) -> None:
        """Detach from them. Never fails, and may be repeated."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        """The options of this handle, which are pickled with it."""
        return {}

    @classmethod
    def _facts(cls, entry: Entry) -> Mapping[str, object]:
        """The geometry that users may ask for when they open one, by parameter."""
        return {}

    def stats(self) -> dict[str, Any]:
        """The state of the object, as plain dicts and lists."""
        raise NotImplementedError

    # ---- a region of its own ---------------------------------------------------------------------

    @classmethod
    def _create(
        cls,
        name: Name,
        wanted: Wanted,
        *,
        permissions: int,
        anonymous: bool = False,
        label: str | None = None,
        **options: Any,
    ) -> Self:
        """Create one in a new region of its own."""
        return cls.__new__(cls)._create_here(
            name,
            wanted,
            permissions=permissions,
            anonymous=anonymous,
            label=label,
            **options,
        )

    def _create_here(
        self,
        name: Name,
        wanted: Wanted,
        *,
        permissions: int = 0o600,
        anonymous: bool = False,
        label: str | None = None,
        **options: Any,
    ) -> Self:
        location = Location.parse(name, label)
        handle = opening.create(
            location,
            wanted.nbytes,
            permissions=permissions,
            anonymous=anonymous,
            fill=lambda member: directory.find_or_add(member, self._word, wanted, None),
            word=self._word,
        )
        return self._take_region(self._region_class._from_handle(handle, location), **options)

    @classmethod
    def _open(
        cls,
        name: Name,
        asked: Mapping[str, object],
        *,
        timeout: float | None,
        readonly: bool,
        owner: int | None,
        **options: Any,
    ) -> Self:
        """Open one that has a region of its own."""
        location = Location.parse(name)
        handle = opening.open_existing(location, timeout=timeout, readonly=readonly, owner=owner)
        region = cls._region_class._from_handle(handle, location, owner=owner)
        return cls.__new__(cls)._take_region(region, asked, **options)

    @classmethod
    def _open_or_create(
        cls,
        name: Name,
        wanted: Wanted,
        asked: Mapping[str, object],
        *,
        permissions: int,
        owner: int | None,
        **options: Any,
    ) -> Self:
        """Open one that has a region of its own, or create both."""
        location = Location.parse(name)
        handle, _ = opening.open_or_create(
            location,
            wanted.nbytes,
            permissions=permissions,
            owner=owner,
            fill=lambda member: directory.find_or_add(member, cls._word, wanted, None),
        )
        region = cls._region_class._from_handle(handle, location, owner=owner)
        return cls.__new__(cls)._take_region(region, asked, **options)

    def _take_region(
        self, region: Attachment, asked: Mapping[str, object] = {}, **options: Any
    ) -> Self:
        """Make this the region of this object only: closing one closes the other."""
        try:
            entries = region._entries()
            if len(entries) != 1:
                some = ", ".join(repr(entry.name) for entry in entries[:_NAMED])
                more = ", ..." if len(entries) > _NAMED else ""
                raise LayoutError(
                    f"{region._member.name} carries {len(entries) or 'no'} objects"
                    f"{f' ({some}{more})' if entries else ''}, expected one; use Region.open and "
                    "the object's name",
                    name=str(region.name),
                    expected=1,
                    found=len(entries),
                )
            entry = self._expect(region, entries[0].name, entries[0], sole=True)
            self._call_by_region(region, entry.name)
            self._verify(region, entry, asked)
            self._belong(region, entry, **options)
        except BaseException:
            region.close()
            raise
        self._have_region()
        return self

    def _have_region(self) -> None:
        self._owns = True
        self._region._made_for = self._word, self._object_name

    @classmethod
    def _call_by_region(cls, region: Attachment, name: str) -> None:
        """Let messages call the object *name* by the name of its region, if it was created so."""
        if name == cls._word:
            region._check().sole = True

    # ---- among the objects of a region -----------------------------------------------------------

    @classmethod
    def _open_or_create_in(
        cls,
        region: Attachment,
        name: str,
        wanted: Wanted | None,
        asked: Mapping[str, object],
        *,
        timeout: float | None,
        **options: Any,
    ) -> Self:
        """Open one among the objects of a region, or create it if *wanted* describes it."""
        if wanted is None:
            entry = cls._expect(region, name, region._find(name))
        else:
            found, _ = directory.find_or_add(region._check(), name, wanted, timeout)
            entry = cls._expect(region, name, found)
        cls._verify(region, entry, asked)
        return cls._from_entry(region, entry, **options)

    @classmethod
    def _from_entry(cls, region: Attachment, entry: Entry, **options: Any) -> Self:
        made = cls.__new__(cls)
        made._belong(region, entry, **options)
        return made

    def _belong(self, region: Attachment, entry: Entry, **options: Any) -> None:
        """Become a handle of the object that an entry describes."""
        self._attach(region._check(), entry, **options)
        self._object_name = entry.name
        self._owns = False
        self._region = region  # type: ignore[assignment]
        region._carry(self)

    @classmethod
    def _expect(
        cls, region: Attachment, name: str, entry: Entry | None, *, sole: bool = False
    ) -> Entry:
        """
        The entry that was found under a name, or the error that it is not of this kind. *sole*: the
        object was opened by the name of its region.
        """
        if entry is None:
            raise directory.not_there(region._check(), name, f"; give {cls._needs} to make it")
        kind = kind_of(region._member, entry)
        if kind is not cls and not issubclass(cls, kind):
            if sole:
                said = f"what {region._member.name} carries is a {kind.__name__}"
                where = region.name
                given = (
                    repr(where) if isinstance(where, str) else f"Path({os.fspath(where or '')!r})"
                )
                opened_by = f"{kind.__name__}.open({given})"
            else:
                said = f"object {name!r} of {region._member.name} is a {kind.__name__}"
                opened_by = (
                    f"region[{name!r}]"
                    if kind._kind >= FOREIGN_KINDS
                    else f"region.{kind._word}({name!r})"
                )
            raise LayoutError(
                f"{said}, expected a {cls.__name__}; open it with {opened_by}",
                name=name,
                expected=cls.__name__,
                found=kind.__name__,
            )
        return entry

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        """Refuse an object that differs from the request; None means any value."""
        facts = cls._facts(entry)
        for what, value in asked.items():
            found = facts[what]
            if value is not None and value != found:
                raise LayoutError(
                    f"{region._member.called(cls._word, entry.name)} has {what}={_shown(found)}, "
                    f"expected {_shown(value)}; ask for what it has, or make it under another name",
                    name=entry.name,
                    expected=value,
                    found=found,
                )

    # ---- facts, the end --------------------------------------------------------------------------

    @property
    def name(self) -> Name:
        """The name of the object; with a region of its own, the name of the region."""
        return self._region.name if self._owns else self._object_name

    @property
    def label(self) -> str | None:
        """The label of an unnamed object; None: it has none."""
        return self._region.label

    @property
    def region(self) -> Region:
        """The region of the object."""
        return self._region

    def close(self) -> None:
        """
        Close the object in this process. Running calls and loans are not disturbed. The name stays.
        Never fails.
        """
        self._detach()
        if self._owns:
            self._region.close()

    def unlink(self) -> None:
        """
        Remove the name for every process; processes that have the object open go on using it. Works
        after `close`, too.

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
        # If it has a region of its own, the region warns.
        if hasattr(self, "_region") and not sys.is_finalizing():
            self._detach()

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
            self._options(),
        )

    def __copy__(self) -> Self:
        """A separate handle, as from pickle: closing one leaves the other open."""
        kind, region, name, owns, options = self.__reduce__()[1]
        copied: Self = _rebuild_object(
            kind, copy.copy(region) if owns else region, name, owns, options
        )
        return copied


@_core.clear_errors
def _rebuild_object(
    cls: type[ObjectT], region: Attachment, name: str, owns: bool, options: dict[str, Any]
) -> ObjectT:
    entry = cls._expect(region, name, region._find(name))
    if owns:
        cls._call_by_region(region, name)
    made = cls._from_entry(region, entry, **options)
    if owns:
        made._have_region()
    return made


def _shown(fact: object) -> str:
    return str(fact) if isinstance(fact, int) else repr(fact)
