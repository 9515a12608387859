# SPDX-License-Identifier: MIT
"""Map: values by key, the shared dict. The verbs are in the extension, the layouts in values.py."""

from __future__ import annotations

import os
import sys
from abc import ABCMeta
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import MapBase
from memlane._instead import Named, instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.errors import LayoutError
from memlane.shared_object import SharedObject
from memlane.values import Codec, Layout, codec_of, codec_of_schema

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    #: The type of a value: a number or a tuple for a struct format, bytes, an instance of a class;
    #: otherwise Any.
    ValueT = TypeVarWithDefault("ValueT", default=Any)
else:
    ValueT = TypeVar("ValueT")  # 3.11 has no defaults

#: What a key can be. `1`, `b"1"` and `"1"` are three keys.
Key: TypeAlias = str | bytes | int

_ENTRIES, _KEY_NBYTES, _VALUE_NBYTES = 1024, 64, 256
_COPIES = 2
_WATCHERS = 64
_VALUES = {True: _core.VALUES_UP_TO, False: _core.VALUES_FIXED}

#: Struct formats of one number that need no function to be decoded, on a machine of this order.
_NATIVE = {f"{order}q": "int" for order in ("", "@", "=")}
_NATIVE |= {f"{order}d": "float" for order in ("", "@", "=")}
_ORDER = "<" if sys.byteorder == "little" else ">"
_NATIVE |= {f"{_ORDER}q": "int", f"{_ORDER}d": "float"}
#: The same of those that `add` adds to by a function.
_ADDS: dict[str, type[int | float]] = {f"struct:{order}Q": int for order in ("", "@", "=", _ORDER)}
_ADDS |= {repr((f"{_ORDER}{code}8", ())): int for code in "iu"}
_ADDS |= {repr((f"{_ORDER}f8", ())): float}


class _MappingMeta(Named, ABCMeta):
    """Of a class that is a MutableMapping and says what to use in place of other names."""


class _Values(ValuesView[ValueT]):
    """Each value is copied out of its entry, not looked for by its key, which may be gone."""

    def __iter__(self) -> Iterator[ValueT]:
        return self._mapping._through(1)  # type: ignore[attr-defined, no-any-return]

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


class _Items(ItemsView[Any, ValueT]):
    """Each pair is copied out of its entry whole."""

    def __iter__(self) -> Iterator[tuple[Any, ValueT]]:
        return self._mapping._through(2)  # type: ignore[attr-defined, no-any-return]


#: What dicts, caches and slots of others call what a map does.
_INSTEAD = {
    "load lookup read fetch peek": "use m[key], or read_versioned(key)",
    "put insert store write assign publish": "use m[key] = value, or set(key, value, expires=)",
    "has_key exists contains": "use key in m",
    "remove discard delete_key delete": "use del m[key], or pop(key, None)",
    "incr increment inc fetch_add": "use add(key, 1)",
    "decr decrement dec": "use add(key, -1)",
    "cas compare_and_swap compare_and_set check_and_set": (
        "use compare_exchange(key, version, value), with what read_versioned told"
    ),
    "setex expire ttl touch set_ttl": "use set(key, value, expires=seconds)",
    "setnx add_if_absent get_or_set": "use setdefault(key, value)",
    "mget getmany get_many": "use [m.get(key) for key in keys]",
    "mset set_many": "use update(pairs)",
    "wait subscribe wait_changed": "use wait_newer(key, version), or watch(key)",
    "fileno": "use watch(key).fileno(): a map waits for one key at a time",
    "iterkeys iteritems itervalues": "use keys(), items() or values()",
    "fromkeys": "use update(dict.fromkeys(keys, value))",
    "move_to_end": "a map has no order",
    "size qsize": "use len(m), or entries for how many keys it can have",
    "capacity maxsize": "use entries, the number of keys that it can have",
    "nbytes": "use key_nbytes or value_nbytes",
    "flush sync save": "what is set is in shared memory at once",
    "maxlen": "use entries",
    "copy": "use dict(m) for what is in it, or copy.copy(m) for another handle of the same map",
    "lock get_lock mutex acquire": (
        "each change is one step: use add(), setdefault() or compare_exchange() without a lock"
    ),
    "drop": "use del m[key] for a key, unlink() for the map",
}
_OPERATORS = {
    "is no asynchronous context manager": "use memlane.aio.wrap(m)",
    "cannot be added to or subtracted from": "use m.update(other), or m.add(key, amount)",
    "cannot be multiplied or divided": "use m[key] for a value",
    "has no order": "use m == other, or dict(m)",
    "is no number": "use m[key] for a value, or len(m)",
}


def _form_of(codec: Codec) -> str:
    """One of the ways in which the extension makes a value of its bytes."""
    if codec.decode is None:
        return "bytes"
    kind, _, described = codec.schema.partition(":")
    if kind != "struct" or codec.items != 1:
        return "decode"
    return _NATIVE.get(described.strip(), "one")


def _adds_of(codec: Codec) -> type[int | float] | None:
    """What `add` adds to: values of one number of 8 bytes."""
    form = _form_of(codec)
    if form in ("int", "float"):
        return int if form == "int" else float
    return _ADDS.get(codec.schema.removeprefix("numpy:"))


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Map(
    MapBase[ValueT],
    SharedObject,
    MutableMapping[Key, ValueT],
    metaclass=_MappingMeta,
    kind=_core.KIND_MAP,
):
    """
    Values by key in shared memory: a dict that any process changes, and that all read whole,
    whatever happens to the processes that change it.

    A MutableMapping with the semantics of dict, but for what `docs/maps.md` says: it has no order,
    its keys are str, bytes and ints of 64 bits, its values have one layout, and it has room for the
    keys that it was made for. Each change of a key is one step. Reading never waits, and works
    without write access.

    `Map(...)` makes one without a name, to be passed to child processes; `create`, `open`,
    `open_or_create` are for one in a region of its own, `region.map(...)` for one among others.
    Handles are hashed by identity, and compared by what is in the maps.
    """

    _needs = "a value"
    _layout: Codec
    _class: type | None = None

    def __init__(
        self,
        *,
        entries: int = _ENTRIES,
        key_nbytes: int = _KEY_NBYTES,
        value: Layout = _VALUE_NBYTES,
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        anonymous: bool = False,
        label: str | None = None,
    ) -> None:
        geometry = MapGeometry.of(entries, key_nbytes, value, copies, watchers)
        self._create_here(
            None, geometry.wanted(), anonymous=anonymous, label=label, **geometry.options()
        )

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        *,
        entries: int = _ENTRIES,
        key_nbytes: int = _KEY_NBYTES,
        value: Layout,
        writers: Literal["many"] = "many",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create a map in a new region of its own.

        Args:
            name: A str names POSIX shared memory, an os.PathLike a file; None: unnamed, to be
                passed to children.
            entries: How many keys it can have at once, 1 to 2**24 - 2. Its memory is reserved now.
            key_nbytes: Bytes of the longest key, 8 to 4096; of a str those of its UTF-8.
            value: What values are: an int N for bytes of any length up to N, or any layout that
                slots have: a struct format (a str; one number is that number, several are a tuple),
                a numpy dtype, a ctypes.Structure, a dataclass of numbers.
            writers: "many": any process may change it. There is no other way.
            copies: The number of versions of each value in memory, a power of two from 2 to 256:
                with more of them slow readers of large values keep up with fast writers.
            watchers: How many threads can sleep in `wait_newer` at once, 0 to 64; further ones
                poll.
            permissions: File permission bits, whatever the umask.
            label: With name None: its name in messages, repr and /proc, 1 to 100 bytes of
                printable text.

        The name stays until `unlink`, or until a `sweep` when no process has it open; neither close
        nor the end of a `with` removes it.

        Raises:
            RegionExistsError: the name is taken.
            OSError: there is no room.
            TypeError, ValueError: an argument is out of range, or *value* is not a layout.
        """
        _arguments.choice(writers, "writers", ("many", "many"))
        geometry = MapGeometry.of(entries, key_nbytes, value, copies, watchers)
        return cls._create(
            name, geometry.wanted(), permissions=permissions, label=label, **geometry.options()
        )

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        value: Layout | None = None,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open a map that has a region of its own.

        Args:
            value: If given, the layout that its values must have. Without its class, values are
                bytes (of a ctypes.Structure) or tuples (of a dataclass).
            timeout: How long to wait for the name to appear, in seconds; None waits for ever.
            readonly: Open it without write access: reading works, and `wait_newer` polls.
            owner: User id that must own it; by default the own user or root.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        codec = None if value is None else codec_of(value)
        return cls._open(
            name,
            {"value": codec},
            timeout=timeout,
            readonly=readonly,
            owner=owner,
            **_options_of(codec, value),
        )

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        *,
        entries: int = _ENTRIES,
        key_nbytes: int = _KEY_NBYTES,
        value: Layout,
        writers: Literal["many"] = "many",
        copies: int = _COPIES,
        watchers: int = _WATCHERS,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """
        Open the map of this name and check its geometry, or create it if there is none.

        Raises:
            As `create` and `open`.
        """
        _arguments.choice(writers, "writers", ("many", "many"))
        geometry = MapGeometry.of(entries, key_nbytes, value, copies, watchers)
        return cls._open_or_create(
            name,
            geometry.wanted(),
            geometry.asked(),
            permissions=permissions,
            owner=owner,
            **geometry.options(),
        )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        *,
        entries: int | None,
        key_nbytes: int | None,
        value: Layout | None,
        copies: int | None,
        watchers: int | None,
        timeout: float | None,
    ) -> Self:
        """Open one among the objects of a region; with a layout create it if needed."""
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        geometry = MapGeometry.of(
            _ENTRIES if entries is None else entries,
            _KEY_NBYTES if key_nbytes is None else key_nbytes,
            0 if value is None else value,
            _COPIES if copies is None else copies,
            _WATCHERS if watchers is None else watchers,
        )
        asked = {
            "value": None if value is None else geometry.codec,
            "entries": entries,
            "key_nbytes": key_nbytes,
            "copies": copies,
            "watchers": watchers,
        }
        return cls._open_or_create_in(
            region,
            name,
            None if value is None else geometry.wanted(),
            asked,
            timeout=timeout,
            **({} if value is None else geometry.options()),
        )

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        entries, key_nbytes, _, copies, watchers = entry.geometry[:5]
        return {
            "entries": entries,
            "key_nbytes": key_nbytes,
            "copies": copies,
            "watchers": watchers,
        }

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        """Compare the layout in the directory with the requested one, before anything else."""
        codec = asked.get("value")
        if isinstance(codec, Codec) and codec.schema != entry.schema:
            raise LayoutError(
                f"{region._member.called(cls._word, entry.name)} has value {entry.schema!r}, "
                f"expected {codec.schema!r}; ask for what it has, or make it under another name",
                name=entry.name,
                expected=codec.schema,
                found=entry.schema,
            )
        super()._verify(region, entry, {k: v for k, v in asked.items() if k != "value"})

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        codec: Codec | None = None,
        layout: type | None = None,
        **_options: Any,
    ) -> None:
        self._class = layout
        if codec is None and layout is not None:  # from a pickle
            codec = codec_of(layout)
        if codec is None:
            title = member.called(self._word, entry.name)
            codec = codec_of_schema(entry.schema, entry.geometry[2], entry.name, title)
        self._layout = codec
        form, adds = _form_of(codec), _adds_of(codec)
        self._bind(member, entry, codec.encode, codec.items, codec.decode, form, adds)

    def _options(self) -> dict[str, Any]:
        return {"layout": self._class}

    __hash__ = object.__hash__  # of the handle; equal maps need not be the same one

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        """A dict of what is in both."""
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Mapping[Any, ValueT] | Iterable[tuple[Any, ValueT]]) -> Self:  # type: ignore[misc]
        """`m |= other` is `m.update(other)`."""
        self.update(other)
        return self

    def update(  # type: ignore[override]
        self, other: Mapping[Any, ValueT] | Iterable[tuple[Any, ValueT]] = (), /, **more: ValueT
    ) -> None:
        """
        Set the keys of a mapping, of pairs, and of keywords, one after the other.

        Raises:
            Full, ValueError, TypeError: as `set`; the keys before that one are set.
        """
        if not hasattr(other, "keys") and (
            isinstance(other, (str, bytes)) or not hasattr(other, "__iter__")
        ):
            raise TypeError(
                f"update takes a mapping or pairs of key and value, got {_arguments.shown(other)}"
            )
        MutableMapping.update(self, other, **more)

    def keys(self) -> KeysView[Key]:
        """The keys, as of a dict. Going through them raises as `len(m)`."""
        return MutableMapping.keys(self)

    def values(self) -> ValuesView[ValueT]:
        """The values, as of a dict; each is whole. Going through them raises as `len(m)`."""
        return _Values(self)

    def items(self) -> ItemsView[Key, ValueT]:
        """
        The pairs of key and value, as of a dict; each value is whole, and that of its key. Going
        through them raises as `len(m)`.
        """
        return _Items(self)

    def popitem(self) -> tuple[Key, ValueT]:
        """
        Remove a key, whichever, and return it with the value that it had.

        Raises:
            KeyError: the map is empty.
            TimeoutError, PermissionError, ClosedError: as `pop`.
        """
        gone = object()
        for key in self:
            value: Any = self.pop(key, gone)
            if value is not gone:
                return key, value
        raise KeyError(f"{self._region._member.called(self._word, self._object_name)} is empty")

    def clear(self) -> None:
        """
        Remove all keys, one after the other. One that comes meanwhile may stay.

        Raises:
            PermissionError, ClosedError: as `set`.
        """
        for key in self:
            self.pop(key, None)

    def stats(self) -> dict[str, Any]:
        """
        Its geometry and the number of its keys, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {
            "value": self._layout.schema,
            "entries": self.entries,
            "key_nbytes": self.key_nbytes,
            "keys": len(self),
        }


def _options_of(codec: Codec | None, layout: Layout | None) -> dict[str, Any]:
    """The options of a handle: its codec, and the class of its values, which goes with a pickle."""
    is_class = codec is not None and isinstance(layout, type) and codec.decode is not None
    of_schema = codec is not None and codec.schema.startswith("numpy:")
    return {"codec": codec, "layout": layout if is_class and not of_schema else None}


@dataclass(frozen=True, slots=True)
class MapGeometry:
    """
    The requested geometry of a map.

    Attributes:
        codec: The codec of its values.
        layout: What the caller gave for it.
        entries: The number of keys that it has room for.
        key_nbytes: The bytes of the longest key.
        copies: The number of copies of each value.
        watchers: How many threads can sleep until a change.
    """

    codec: Codec
    layout: Layout
    entries: int
    key_nbytes: int
    copies: int
    watchers: int

    @classmethod
    def of(
        cls, entries: int, key_nbytes: int, value: Layout, copies: int, watchers: int
    ) -> MapGeometry:
        """
        Raises:
            TypeError, ValueError: no map can have this geometry.
        """
        count = _arguments.positive(entries, "entries", _core.MAP_ENTRIES_MAX)
        longest = _arguments.size(key_nbytes, "key_nbytes")
        if not 8 <= longest <= _core.MAP_KEY_MAX:
            raise ValueError(
                f"key_nbytes must be from 8 to {_core.MAP_KEY_MAX}, "
                f"got {_arguments.shown(key_nbytes)}"
            )
        codec = codec_of(value)
        if codec.nbytes > _core.MAP_VALUE_MAX:
            raise ValueError(f"a value may have at most 1 GiB, got {codec.nbytes} bytes")
        kept = _arguments.positive(copies, "copies", 256)
        if kept < 2 or kept & (kept - 1):
            raise ValueError(f"copies must be a power of two from 2 to 256, got {kept}")
        watching = _arguments.integer(watchers, "watchers", "an int")
        if not 0 <= watching <= 64:
            raise ValueError(f"watchers must be from 0 to 64, got {_arguments.shown(watching)}")
        return cls(codec, value, count, longest, kept, watching)

    @property
    def _is_up_to(self) -> bool:
        """Whether values are bytes of any length up to that of the layout."""
        return self.codec.schema.startswith("bytes:")

    def wanted(self) -> Wanted:
        numbers = (
            self.entries,
            self.key_nbytes,
            self.codec.nbytes,
            self.copies,
            self.watchers,
            _VALUES[self._is_up_to],
        )
        nbytes, doorbells = _core.map_shape(*numbers)

        def fill(member: _core.Membership, offset: int) -> None:
            _core.map_fill(member, offset, numbers, os.urandom(16))

        return Wanted(
            _core.KIND_MAP,
            numbers,
            nbytes,
            nbytes,
            self.codec.schema,
            parts=f": {self.entries} entries of {self.copies} copies of "
            f"{_arguments.size_text(self.codec.nbytes)}",
            or_less="fewer entries=, a smaller value= or ",
            doorbells=doorbells,
            fill=fill,
        )

    def asked(self) -> dict[str, object]:
        return {
            "value": self.codec,
            "entries": self.entries,
            "key_nbytes": self.key_nbytes,
            "copies": self.copies,
            "watchers": self.watchers,
        }

    def options(self) -> dict[str, Any]:
        """The options of a handle of such a map."""
        return _options_of(self.codec, self.layout)
