# SPDX-License-Identifier: MIT
"""
Slot and SlotTable: the latest value. The verbs are in the extension, the layouts of values in
values.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import SlotBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.errors import LayoutError
from memlane.shared_object import SharedObject
from memlane.values import Codec, CtypesT, DataclassT, Layout, codec_of, codec_of_schema

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    #: The type of a value: a tuple for a struct format, bytes, an instance of a class; otherwise
    #: Any.
    ValueT = TypeVarWithDefault("ValueT", default=Any)
else:
    ValueT = TypeVar("ValueT")  # 3.11 has no defaults

_COPIES = 4
_WATCHERS = 64
_WRITERS = {"one": 1, "many": 2}
_NO_VALUE = Codec("", 0)


class _Slots(SharedObject):
    """The common base of a slot and a table of slots: how they are created and opened."""

    _layout: Codec

    @classmethod
    def _created(
        cls,
        name: str | os.PathLike[str] | None,
        geometry: SlotGeometry,
        permissions: int,
        label: str | None,
    ) -> Self:
        return cls._create(
            name,
            geometry.wanted(cls._kind),
            permissions=permissions,
            label=label,
            codec=geometry.codec,
        )

    @classmethod
    def _opened(
        cls,
        name: str | os.PathLike[str],
        layout: Layout | None,
        timeout: float | None,
        readonly: bool,
        owner: int | None,
    ) -> Self:
        codec = None if layout is None else codec_of(layout)
        return cls._open(
            name, {"layout": codec}, timeout=timeout, readonly=readonly, owner=owner, codec=codec
        )

    @classmethod
    def _opened_or_created(
        cls,
        name: str | os.PathLike[str],
        geometry: SlotGeometry,
        permissions: int,
        owner: int | None,
    ) -> Self:
        return cls._open_or_create(
            name,
            geometry.wanted(cls._kind),
            geometry.asked(),
            permissions=permissions,
            owner=owner,
            codec=geometry.codec,
        )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        layout: Layout | None,
        slots: int | None,
        *,
        writers: str | None,
        copies: int | None,
        watchers: int | None,
        timeout: float | None,
    ) -> Self:
        """Open one among the objects of a region; with its whole geometry create it if needed."""
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        codec = None if layout is None else codec_of(layout)
        geometry = SlotGeometry.checked(
            codec or _NO_VALUE,
            1 if slots is None else slots,
            "one" if writers is None else writers,
            _COPIES if copies is None else copies,
            _WATCHERS if watchers is None else watchers,
        )
        wanted = None
        if codec is not None and slots is not None:
            wanted = geometry.wanted(cls._kind)
        asked = {
            "layout": codec,
            "slots": None if cls._kind == _core.KIND_SLOT else slots,  # a slot is not asked for it
            "copies": copies,
            "watchers": watchers,
            "writers": writers,
        }
        return cls._open_or_create_in(region, name, wanted, asked, timeout=timeout, codec=codec)

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        slots, _, copies, watchers, number = entry.geometry[:5]
        writers = next((kind for kind, n in _WRITERS.items() if n == number), None)
        return {"slots": slots, "copies": copies, "watchers": watchers, "writers": writers}

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        """Compare the layout in the directory with the requested one, before anything else."""
        codec = asked.get("layout")
        if isinstance(codec, Codec) and codec.schema != entry.schema:
            raise LayoutError(
                f"{region._member.called(cls._word, entry.name)} has layout {entry.schema!r}, "
                f"expected {codec.schema!r}; ask for what it has, or make it under another name",
                name=entry.name,
                expected=codec.schema,
                found=entry.schema,
            )
        rest = {what: value for what, value in asked.items() if what != "layout"}
        super()._verify(region, entry, rest)

    @classmethod
    def _codec(cls, member: _core.Membership, entry: Entry, codec: Codec | None) -> Codec:
        """The codec of the requested layout, or of the one that the directory describes."""
        if codec is not None:
            return codec
        title = member.called(cls._word, entry.name)
        return codec_of_schema(entry.schema, entry.geometry[1], entry.name, title)


#: What values, events and queues of others call what a slot does.
_READS, _PUBLISHES = "use read()", "use publish(value)"
_INSTEAD = {
    "get load latest peek recv receive get_nowait data contents get_obj": _READS,
    "value": f"{_READS} and publish(value)",
    "set put write store send update put_nowait set_value append": _PUBLISHES,
    "wait wait_for is_set isSet poll get_blocking": (
        "use wait_newer(version), with the version that read_versioned() told"
    ),
    "clear reset": "a slot keeps its latest value: publish another one",
    "readinto recv_into": "use read_into(buffer)",
    "get_lock lock acquire release": (
        "a value is published and read whole, so no lock is needed: use publish(value) and read()"
    ),
    "size": "use nbytes, the length of a value",
    "buf buffer": "use read_into(buffer), and publish(buffer)",
    "timestamp time stamp": "use age(), or read_stamped()",
    "qsize empty full": "a slot has the latest value alone: use version, 0 before the first one",
    "subscribe": "use wait_newer(version)",
}
_OPERATORS = {
    "is no asynchronous context manager": "use memlane.aio.wrap(slot)",
    "has no items": _READS + ", which returns the value",
    "takes no items": _PUBLISHES + ", with the whole value",
    "has no length": "use nbytes, the length of a value",
    "cannot be iterated over": _READS + ", or wait_newer(version) again and again",
    "is no number": _READS + ", which returns the value",
    "has no order": _READS + ", which returns the value",
    "cannot be added to or subtracted from": _READS + ", which returns the value",
    "cannot be multiplied or divided": _READS + ", which returns the value",
}
_EACH, _EACH_TAKES = "use table[i].read(), or read_all()", "use table[i].publish(value)"
_INSTEAD_OF_TABLE = {
    "get load latest peek read value recv": _EACH,
    "set put write store send publish update append": _EACH_TAKES,
    "wait wait_newer wait_for is_set isSet": "use table[i].wait_newer(version)",
    "read_versioned read_stamped version versions age": "use table[i], which has it",
    "size count qsize slots": "use len(table)",
    "nbytes": "use table[i].nbytes",
    "keys values items": "its slots have numbers: use table[i], for i in range(len(table))",
    "extend insert pop clear": "it has the slots that it was made with: use table[i]",
    "buf buffer": "use table[i].read_into(buffer)",
}
_OPERATORS_OF_TABLE = {
    "takes no items": _EACH_TAKES,
    "loses no items by del": "it has the slots that it was made with",
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Slot(SlotBase[ValueT], _Slots, kind=_core.KIND_SLOT):
    """
    The latest value of something: published by one writer and read whole by any process, whatever
    happens to the writer.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.slot(...)`.
    """

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
        Create a slot in a new region of its own.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None: unnamed, to be
                passed to children.
            layout: A struct format (always, for a str; values are tuples), a number of bytes, a
                numpy dtype, a ctypes.Structure, or a dataclass of int, float, bool and numbers of
                ctypes and numpy; then values are instances of the class.
            writers: "one" writer holds the role until it closes or dies; "many" take turns, publish
                by publish.
            copies: The number of versions in memory, a power of two from 2 to 256: with more of
                them slow readers of large values keep up with a fast writer.
            watchers: How many threads can sleep in `wait_newer` at once, 0 to 64; further threads
                poll.
            permissions: File permission bits, whatever the umask.
            label: With name None: its name in messages, repr and /proc, 1 to 100 bytes of
                printable text.

        The name stays until `unlink`, or until a `sweep` when no process has it open; neither close
        nor the end of a `with` removes it.

        Raises:
            RegionExistsError: the name is taken.
            OSError: there is no room.
            TypeError, ValueError: an argument is out of range, or *layout* is not a layout.
        """
        geometry = SlotGeometry.of(layout, 1, writers, copies, watchers)
        return cls._created(name, geometry, permissions, label)

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
            layout: If given, the layout that the slot must have. Without its class, values are
                bytes (of a ctypes.Structure) or tuples (of a dataclass). A layout with more fields
                than the directory can describe, some 35 with names, must be given too; otherwise
                values are bytes.
            timeout: How long to wait for the name to appear, in seconds; None waits for ever.
            readonly: Open it without write access: `read` works, and `wait_newer` polls.
            owner: User id that must own it; by default the own user or root.

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
        Open the slot of this name and check its geometry, or create it if there is none.

        Raises:
            As `create` and `open`.
        """
        geometry = SlotGeometry.of(layout, 1, writers, copies, watchers)
        return cls._opened_or_created(name, geometry, permissions, owner)

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        codec: Codec | None = None,
        **_options: Any,
    ) -> None:
        self._layout = self._codec(member, entry, codec)
        layout = self._layout
        self._bind(member, entry, 0, layout.encode, layout.items, layout.decode)

    def stats(self) -> dict[str, Any]:
        """
        Its geometry, the version and the age of its value, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"layout": self._layout.schema, "version": self.version, "age": self.age}

    def _traffic(self, positions: list[int]) -> tuple[list[int], int, int]:
        """As `_traffic` of rings: the values since a look before. For tools."""
        now = self.version
        count = max(now - (positions[0] if positions else 0), 0)
        return [now], count, count * self.nbytes


class _SlotOfTable(SlotBase[ValueT]):
    """A slot that keeps its table alive: a forgotten table closes, and would close the slot."""

    __slots__ = ("_table",)
    _table: SlotTable[ValueT]


@_core.clear_errors
@instead(_INSTEAD_OF_TABLE, _OPERATORS_OF_TABLE)
class SlotTable(_core.TableBase, _Slots, Generic[ValueT], kind=_core.KIND_TABLE, word="table"):
    """
    Many slots of one layout under one name: `table[i]` is a slot. Each slot has a writer of its
    own.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.table(...)`.
    """

    _needs = "slots and a layout"
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
        Create a table of *slots* slots, 1 to 2**20, in a new region of its own. *watchers* is for
        all of them together. The other arguments are as for `Slot.create`, and the name stays as
        long.

        Raises:
            As `Slot.create`.
        """
        geometry = SlotGeometry.of(layout, slots, writers, copies, watchers)
        return cls._created(name, geometry, permissions, label)

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
        Open the table of this name and check its geometry, or create it if there is none. Errors as
        `Slot.create`.
        """
        geometry = SlotGeometry.of(layout, slots, writers, copies, watchers)
        return cls._opened_or_created(name, geometry, permissions, owner)

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        codec: Codec | None = None,
        **_options: Any,
    ) -> None:
        self._layout = self._codec(member, entry, codec)
        layout = self._layout
        self._slots = []
        for index in range(entry.geometry[0]):
            slot = _SlotOfTable.__new__(_SlotOfTable)
            slot._table = self
            slot._bind(member, entry, index, layout.encode, layout.items, layout.decode)
            self._slots.append(slot)
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
        return self._closed

    def __len__(self) -> int:
        """The number of slots."""
        return len(self._slots)

    def __getitem__(self, index: int) -> SlotBase[ValueT]:
        """
        Slot *index*, with the verbs of Slot; IndexError if there is none. It belongs to the table.
        """
        try:
            return self._slots[index]
        except IndexError:
            title = self._region._member.called(self._word, self._object_name)
            raise IndexError(
                f"{title} has slots 0 to {len(self) - 1}, got {_arguments.shown(index)}"
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
        is_watched = self._begin_reading()
        values = [slot.read() if slot.version else None for slot in self._slots]
        if is_watched:
            self._end_reading()
        return values

    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a
        newer value in a slot than this handle has read there.

        As that of `Slot.fileno`; `read_all` makes it unreadable again. Each wake-up looks at every
        slot, so of large tables wait for single slots.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle.
        """
        return self._number_of(self._slots)

    def _detach(self) -> None:
        self._closed = True
        self._close_number()
        for slot in self._slots:
            slot._detach()

    def stats(self) -> dict[str, Any]:
        """
        Its geometry and the number of published slots, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {
            "layout": self._layout.schema,
            "slots": len(self),
            "versions": [slot.version for slot in self._slots],
        }

    def _traffic(self, positions: list[int]) -> tuple[list[int], int, int]:
        """As `Slot._traffic`, of all slots together."""
        now = [slot.version for slot in self._slots]
        before = positions or [0] * len(now)
        count = sum(max(new - old, 0) for new, old in zip(now, before, strict=True))
        return now, count, count * (self._slots[0].nbytes if self._slots else 0)


@dataclass(frozen=True, slots=True)
class SlotGeometry:
    """
    The requested geometry of slots.

    Attributes:
        codec: The codec of their values.
        slots: The number of slots.
        copies: The number of copies of each value.
        watchers: How many threads can sleep until a publish, of all slots together.
        writers: "one" or "many".
    """

    codec: Codec
    slots: int
    copies: int
    watchers: int
    writers: str

    @classmethod
    def of(cls, layout: Layout, slots: int, writers: str, copies: int, watchers: int) -> Self:
        """As `checked`, of a layout."""
        return cls.checked(codec_of(layout), slots, writers, copies, watchers)

    @classmethod
    def checked(cls, codec: Codec, slots: int, writers: str, copies: int, watchers: int) -> Self:
        """
        Raises:
            TypeError, ValueError: no slots can have this geometry.
        """
        count = _arguments.positive(slots, "slots", 1 << 20)
        _arguments.choice(writers, "writers", _WRITERS)
        kept = _arguments.positive(copies, "copies", 256)
        if kept < 2 or kept & (kept - 1):
            raise ValueError(f"copies must be a power of two from 2 to 256, got {kept}")
        watching = _arguments.integer(watchers, "watchers", "an int")
        if not 0 <= watching <= 64:
            raise ValueError(f"watchers must be from 0 to 64, got {_arguments.shown(watching)}")
        if codec.nbytes > 1 << 32:
            raise ValueError(f"a value may have at most 4 GiB, got {codec.nbytes} bytes")
        return cls(codec, count, kept, watching, writers)

    def wanted(self, kind: int) -> Wanted:
        numbers = (
            self.slots,
            self.codec.nbytes,
            self.copies,
            self.watchers,
            _WRITERS[self.writers],
        )
        nbytes, doorbells = _core.slots_shape(*numbers)
        is_table = kind == _core.KIND_TABLE
        of_slots = f"{self.slots} slots of " if is_table else ""
        fewer = "fewer slots, " if is_table else ""
        fewer += "fewer copies=, " if self.copies > 2 else ""
        return Wanted(
            kind,
            numbers,
            nbytes,
            nbytes,
            self.codec.schema,
            parts=f": {of_slots}{self.copies} copies of {_arguments.size_text(self.codec.nbytes)}",
            or_less=f"{fewer}a smaller layout or ",
            doorbells=doorbells,
        )

    def asked(self) -> dict[str, object]:
        return {
            "layout": self.codec,
            "slots": self.slots,
            "copies": self.copies,
            "watchers": self.watchers,
            "writers": self.writers,
        }
