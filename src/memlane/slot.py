# SPDX-License-Identifier: MIT
"""
Slot and SlotTable: the latest value. The verbs are in the extension, what values look like is in
values.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import SlotBase
from memlane.errors import LayoutError
from memlane.region import Region
from memlane.shared_object import Entry, SharedObject
from memlane.values import Codec, CtypesT, DataclassT, Layout, codec_of, codec_of_schema

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    #: What is read: a tuple for a struct format, bytes, an instance of a class; else Any.
    ValueT = TypeVarWithDefault("ValueT", default=Any)
else:
    ValueT = TypeVar("ValueT")  # 3.11 has no defaults

_COPIES = 4
_WATCHERS = 64
_WRITERS = {"one": 1, "many": 2}
_WRITERS_SHOWN = {number: repr(word) for word, number in _WRITERS.items()}


class _Slots(SharedObject):
    """What a slot and a table of slots have in common: they are made and found in the same way."""

    @classmethod
    def _made(
        cls,
        name: str | os.PathLike[str] | None,
        layout: Layout,
        slots: int,
        writers: str,
        copies: int,
        watchers: int,
        permissions: int,
        label: str | None,
    ) -> Self:
        codec = codec_of(layout)
        geometry = _geometry(codec.nbytes, slots, writers, copies, watchers)
        region = Region._create(
            name,
            _core.slots_shape(*geometry),
            permissions,
            fill=lambda region: cls._add(region, cls._word, codec, geometry, None),
            label=label,
            word=cls._word,
        )
        return cls._alone(region, lambda region: cls._of(region, cls._only_entry(region), codec))

    @classmethod
    def _opened(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None,
        timeout: float | None,
        readonly: bool,
        owner: int | None,
    ) -> Self:
        region = Region.open(name, timeout=timeout, readonly=readonly, owner=owner)
        return cls._alone(
            region, lambda region: cls._checked(region, cls._only_entry(region), layout, ())
        )

    @classmethod
    def _opened_or_made(
        cls,
        name: str | os.PathLike[str],
        layout: Layout,
        slots: int,
        writers: str,
        copies: int,
        watchers: int,
        permissions: int,
        owner: int | None,
    ) -> Self:
        codec = codec_of(layout)
        geometry = _geometry(codec.nbytes, slots, writers, copies, watchers)
        region = Region._open_or_create(
            name,
            _core.slots_shape(*geometry),
            permissions,
            owner,
            lambda region: cls._add(region, cls._word, codec, geometry, None),
        )
        return cls._alone(
            region, lambda region: cls._checked(region, cls._only_entry(region), layout, geometry)
        )

    @classmethod
    def _chosen(cls, region: Region, entry: Entry, layout: Layout | None) -> Codec:
        """
        The codec for an existing slot: the one its directory describes, which must be the one asked
        for.
        """
        called = region._member.called(cls._word, entry[0])
        if layout is None:
            return codec_of_schema(entry[5], entry[4][1], entry[0], called)
        asked = codec_of(layout)
        if asked.schema != entry[5]:
            raise LayoutError(
                f"{called} has layout {entry[5]!r}, expected {asked.schema!r}; ask for what it "
                "has, or make it under another name",
                name=entry[0],
                expected=asked.schema,
                found=entry[5],
            )
        return asked

    @classmethod
    def _checked(
        cls, region: Region, entry: Entry, layout: Layout | None, geometry: tuple[int | None, ...]
    ) -> Self:
        """A handle of an existing one, whose geometry must be what was asked for."""
        codec = cls._chosen(region, entry, layout)
        named = ("slots", "nbytes", "copies", "watchers", "writers")
        for what, asked, found in zip(named, geometry, entry[4], strict=False):
            if asked is not None and asked != found:
                shown = _WRITERS_SHOWN if what == "writers" else {}
                raise LayoutError(
                    f"{region._member.called(cls._word, entry[0])} has {what}="
                    f"{shown.get(found, found)}, expected {shown.get(asked, asked)}; ask for what "
                    "it has, or make it under another name",
                    name=entry[0],
                    expected=asked,
                    found=found,
                )
        return cls._of(region, entry, codec)

    @classmethod
    def _in(
        cls,
        region: Region,
        name: str,
        layout: Layout | None,
        slots: int | None,
        *,
        writers: str | None,
        copies: int | None,
        watchers: int | None,
        timeout: float | None,
    ) -> Self:
        """Open or make one among the objects of a region."""
        timeout = _arguments.optional_timeout(timeout)  # also where nobody is waited for
        codec = None if layout is None else codec_of(layout)
        geometry = _geometry(
            0 if codec is None else codec.nbytes,
            1 if slots is None else slots,
            "one" if writers is None else writers,
            _COPIES if copies is None else copies,
            _WATCHERS if watchers is None else watchers,
        )
        if codec is None or slots is None:
            entry = region._find(name)
        else:
            entry, _ = cls._add(region, name, codec, geometry, timeout)
        found = cls._expect(region, name, entry)
        asked = (
            None if cls._word == "slot" else slots,  # of a slot that is no question
            None if codec is None else codec.nbytes,
            copies,
            watchers,
            None if writers is None else _WRITERS[writers],
        )
        return cls._checked(region, found, layout, asked)

    @classmethod
    def _add(
        cls,
        region: Region,
        name: str,
        codec: Codec,
        geometry: tuple[int, ...],
        timeout: float | None,
    ) -> tuple[Entry, bool]:
        nbytes = _core.slots_shape(*geometry)
        return region._find_or_add(name, cls._kind, geometry, nbytes, nbytes, codec.schema, timeout)

    @classmethod
    def _of(cls, region: Region, entry: Entry, codec: Codec | None = None) -> Self:
        raise NotImplementedError


@_core.clear_errors
class Slot(SlotBase[ValueT], _Slots):
    """
    The latest value of something: published by one writer, read whole by anyone, whatever happens
    to the writer.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.slot(...)`.
    """

    _kind = _core.KIND_SLOT
    _word = "slot"
    _needs = "a layout"

    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: str,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: int,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[bytes]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[CtypesT]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[DataclassT]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[Any]: ...
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Slot[Any]:
        """
        Make a slot in a new region of its own.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None: unnamed, to be
                passed to children.
            layout: A struct format (always, for a str; values are tuples), a number of bytes, a
                numpy dtype, a ctypes.Structure, or a dataclass of int, float, bool and numbers of
                ctypes and numpy; values are instances of a class.
            writers: "one" holds the role until it closes or dies; "many" take turns, publish by
                publish.
            copies: How many versions lie in memory, a power of two from 2 to 256: more of them let
                slow readers of large values keep up with a fast writer.
            watchers: How many threads can sleep in `wait_newer` at once, 0 to 64; more of them
                poll.
            permissions: File permission bits, whatever the umask.
            label: With name None: what messages, repr and /proc call it, 1 to 100 bytes of
                printable text.

        The name stays until `unlink`, or a `sweep` when nobody has it open; close does not remove
        it, nor does the end of a `with`.

        Raises:
            RegionExistsError: the name is taken.
            OSError: no room.
            TypeError, ValueError: an argument is out of range, or *layout* is none.
        """
        return cls._made(name, layout, 1, writers, copies, watchers, permissions, label)

    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: str,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: int,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[bytes]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: type[CtypesT],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[CtypesT]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: type[DataclassT],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[DataclassT]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[Any]: ...
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Slot[Any]:
        """
        Open a slot that has a region of its own.

        Args:
            layout: If given, what it must have. A class has to be given, else values are bytes (a
                ctypes.Structure) or tuples (a dataclass); so are values of a layout with more
                fields than the directory can describe, some 35 with names, bytes without it.
            timeout: How long to wait for the name to appear, in seconds; None waits for ever.
            readonly: Without write access: one can read, and `wait_newer` polls.
            owner: User id that must own it; by default one's own or root.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        return cls._opened(name, layout, timeout, readonly, owner)

    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: str,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: int,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[bytes]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[CtypesT]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[DataclassT]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[Any]: ...
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Slot[Any]:
        """
        Open the slot of this name if there is one, and check what it is; else make it.

        Raises:
            As `create` and `open`.
        """
        return cls._opened_or_made(name, layout, 1, writers, copies, watchers, permissions, owner)

    @classmethod
    def _of(cls, region: Region, entry: Entry, codec: Codec | None = None) -> Self:
        slot = cls.__new__(cls)
        slot._layout = codec or cls._chosen(region, entry, None)
        slot._lead_to(
            region._check(),
            entry,
            0,
            slot._layout.encode,
            slot._layout.items,
            slot._layout.decode,
        )
        slot._settle(region, entry[0])
        return slot

    _layout: Codec

    def stats(self) -> dict[str, Any]:
        """
        Tell what it holds and how old that is, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"layout": self._layout.schema, "version": self.version, "age": self.age}


class _SlotOfTable(SlotBase[ValueT]):
    """A slot that keeps its table: one that is forgotten closes, and would close the slot."""

    __slots__ = ("_table",)
    _table: SlotTable[ValueT]


@_core.clear_errors
class SlotTable(_Slots, Generic[ValueT]):
    """
    Many slots of one layout under one name: `table[i]` is a slot. Each slot has a writer of its
    own.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.table(...)`.
    """

    _kind = _core.KIND_TABLE
    _word = "table"
    _needs = "slots and a layout"
    _layout: Codec
    _entry: Entry
    _slots: list[SlotBase[ValueT]]
    _closed = True

    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: str,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: int,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[bytes]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[CtypesT]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[DataclassT]: ...
    @overload
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[Any]: ...
    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        slots: int,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> SlotTable[Any]:
        """
        Make a table of *slots* slots, 1 to 2**20, in a new region of its own. *watchers* is for all
        of them together; the other arguments are those of `Slot.create`. So is how long its name
        stays.

        Raises:
            As `Slot.create`.
        """
        return cls._made(name, layout, slots, writers, copies, watchers, permissions, label)

    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: str,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: int,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[bytes]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: type[CtypesT],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[CtypesT]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: type[DataclassT],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[DataclassT]: ...
    @overload
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[Any]: ...
    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> SlotTable[Any]:
        """Open a table that has a region of its own. Arguments and errors as `Slot.open`."""
        return cls._opened(name, layout, timeout, readonly, owner)

    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: str,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[tuple[Any, ...]]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: int,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[bytes]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[CtypesT]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[DataclassT]: ...
    @overload
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[Any]: ...
    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        slots: int,
        layout: Layout,
        *,
        writers: Literal["one", "many"] = "one",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> SlotTable[Any]:
        """
        Open the table of this name if there is one, and check what it is; else make it. Errors as
        `Slot.create`.
        """
        return cls._opened_or_made(
            name, layout, slots, writers, copies, watchers, permissions, owner
        )

    @classmethod
    def _of(cls, region: Region, entry: Entry, codec: Codec | None = None) -> Self:
        table = cls.__new__(cls)
        table._layout = codec or cls._chosen(region, entry, None)
        table._entry = entry
        table._slots = []
        for index in range(entry[4][0]):
            slot = _SlotOfTable.__new__(_SlotOfTable)
            slot._table = table
            slot._lead_to(
                region._check(),
                entry,
                index,
                table._layout.encode,
                table._layout.items,
                table._layout.decode,
            )
            table._slots.append(slot)
        table._closed = False
        table._settle(region, entry[0])
        return table

    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
        return self._closed

    def __len__(self) -> int:
        """How many slots there are."""
        return len(self._slots)

    def __getitem__(self, index: int) -> SlotBase[ValueT]:
        """
        Slot *index*, with the verbs of Slot; IndexError if there is none. It belongs to the table.
        """
        try:
            return self._slots[index]
        except IndexError:
            called = self._region._member.called(self._word, self._object_name)
            raise IndexError(
                f"{called} has slots 0 to {len(self) - 1}, got {_arguments.shown(index)}"
            ) from None
        except TypeError:
            raise TypeError(
                f"a slot of a table has an int for its index, got {_arguments.shown(index)}"
            ) from None

    def __iter__(self) -> Iterator[SlotBase[ValueT]]:
        return iter(self._slots)

    def read_all(self) -> list[ValueT | None]:
        """
        Read every slot: a list of the latest values, None for those that were never published. Each
        value is whole; the list is not one moment.

        Raises:
            TimeoutError, ClosedError: as `Slot.read`.
        """
        return [slot.read() if slot.version else None for slot in self._slots]

    def _leave(self) -> None:
        self._closed = True
        for slot in self._slots:
            slot._leave()

    def stats(self) -> dict[str, Any]:
        """
        Tell what it holds, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {
            "layout": self._layout.schema,
            "slots": len(self),
            "versions": [slot.version for slot in self._slots],
        }


def _geometry(
    nbytes: int, slots: int, writers: str, copies: int, watchers: int
) -> tuple[int, int, int, int, int]:
    """Check what slots are asked to be; slots, bytes of a value, copies, watchers, writers."""
    count = _arguments.positive(slots, "slots", 1 << 20)
    _arguments.choice(writers, "writers", _WRITERS)
    kept = _arguments.positive(copies, "copies", 256)
    if kept < 2 or kept & (kept - 1):
        raise ValueError(f"copies must be a power of two from 2 to 256, got {kept}")
    watching = _arguments.integer(watchers, "watchers", "an int")
    if not 0 <= watching <= 64:
        raise ValueError(f"watchers must be from 0 to 64, got {_arguments.shown(watching)}")
    if nbytes > 1 << 32:
        raise ValueError(f"a value may have at most 4 GiB, got {nbytes} bytes")
    return count, nbytes, kept, watching, _WRITERS[writers]
