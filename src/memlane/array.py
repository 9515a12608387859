# SPDX-License-Identifier: MIT
"""Array: an array of numbers in shared memory, which any process reads and writes in place."""

from __future__ import annotations

import ast
import functools
import math
import os
import re
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import memlane._arguments as _arguments
import memlane._core as _core
import memlane.values as values
from memlane._core import ArrayBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.errors import ClosedError, LayoutError
from memlane.shared_object import SharedObject

if TYPE_CHECKING:
    import numpy as np

_LEAST_NBYTES = 64  # an array without items has room, too: an object is not empty
_DIMENSIONS_MAX = 64

#: What the items of buffers are called, by the kind and length of numpy's.
_FORMATS = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "c8": "Zf",
    "c16": "Zd",
}
_PLAIN = re.compile(r"([<>|=]?)([biufcSV])(\d+)")


class Geometry(NamedTuple):
    """
    The shape and the type of the items of an array.

    Attributes:
        shape: The lengths of its dimensions.
        described: Its dtype as literals, as values.py describes them.
        itemsize: Bytes of an item.
        format: The text of an item for the buffer protocol; None: there is none.
    """

    shape: tuple[int, ...]
    described: Any
    itemsize: int
    format: bytes | None

    @property
    def nbytes(self) -> int:
        return self.itemsize * math.prod(self.shape)

    @property
    def text(self) -> str:
        """What describes it, for `geometry_of_text`."""
        return repr((self.described, self.shape))

    def wanted(self) -> Wanted:
        room = max(self.nbytes, _LEAST_NBYTES)
        schema = f"numpy:{self.text}"
        return Wanted(_core.KIND_ARRAY, (self.nbytes,), room, room, schema)

    def asked(self) -> dict[str, object]:
        return {"shape": self.shape, "dtype": self.described}


def numpy_or_none() -> Any:
    """numpy; None: there is none."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _dimensions(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    must_be = "an int or a tuple of ints"
    if isinstance(shape, (str, bytes)):  # the items of bytes are ints
        raise TypeError(f"shape must be {must_be}, got {_arguments.shown(shape)}")
    several = shape if hasattr(shape, "__iter__") else (shape,)
    found = tuple(_arguments.integer(length, "shape", must_be) for length in several)
    if any(length < 0 for length in found):
        raise ValueError(f"shape must have no negative number, got {_arguments.shown(shape)}")
    if len(found) > _DIMENSIONS_MAX:
        raise ValueError(f"shape has {len(found)} dimensions, at most {_DIMENSIONS_MAX} are shared")
    return found


def geometry_of(shape: int | tuple[int, ...], dtype: Any) -> Geometry:
    """
    Check what a user asks for.

    Raises:
        TypeError, ValueError: it is no shape, no dtype, or one whose items cannot be shared.
    """
    dimensions, numpy = _dimensions(shape), numpy_or_none()
    if numpy is None:
        found = _plain(dtype if isinstance(dtype, str) else "")
        if found is None:
            raise TypeError(
                f"without numpy dtype must be the text of a plain one, such as 'f8' or '<i4', got "
                f"{_arguments.shown(dtype)}"
            )
        return Geometry(dimensions, *found)
    if dtype is None:
        raise TypeError("dtype must be one of numpy's, or what makes one, got None")
    try:
        kind = numpy.dtype(dtype)
    except (TypeError, ValueError) as wrong:
        error = TypeError if isinstance(wrong, TypeError) else ValueError
        raise error(
            f"dtype must be one of numpy's, or what makes one, got {_arguments.shown(dtype)}"
        ) from None
    if kind.hasobject:
        raise TypeError(
            f"an array with Python objects cannot be shared, got dtype {kind}; they mean nothing "
            "to another process"
        )
    if kind.subdtype is not None:
        kind, inner = kind.subdtype
        dimensions = _dimensions(dimensions + inner)
    if kind.itemsize == 0:
        raise ValueError(f"the dtype {kind!r} has items of no bytes; give them a length")
    geometry = Geometry(dimensions, values.described(kind), kind.itemsize, _format(numpy, kind))
    if geometry.nbytes >= 1 << 62:
        raise ValueError(
            f"an array of shape {_arguments.shown(shape)} and dtype {kind} has "
            f"{_arguments.shown(geometry.nbytes)} bytes, more than there can be"
        )
    return geometry


def _plain(text: str) -> tuple[str, int, bytes | None] | None:
    """What describes an item of a plain type: the text itself, its length, its format."""
    matched = _PLAIN.fullmatch(text)
    if matched is None:
        return None
    order, kind, length = matched[1], matched[2], int(matched[3])
    native = "<" if struct.pack("=H", 1)[0] else ">"
    order = native if order in ("", "=") else order
    if kind in "SV":
        return (f"|{kind}{length}", length, f"{length}s".encode()) if length else None
    code = _FORMATS.get(f"{kind}{length}")
    if code is None:
        return None
    if length == 1:
        return f"|{kind}1", 1, code.encode()
    return f"{order}{kind}{length}", length, (code if order == native else order + code).encode()


def _format(numpy: Any, kind: Any) -> bytes | None:
    if kind.kind == "V" and not kind.names:
        return None  # what numpy says of plain bytes, it does not understand itself
    try:
        return memoryview(numpy.empty(0, kind)).format.encode()
    except (ValueError, BufferError):  # of dates, say
        return None


def geometry_of_text(text: str) -> Geometry:
    """
    The geometry that a text describes, which is not trusted: `Geometry.text`.

    Raises:
        Exception: of any kind, where the text is none, or of items that cannot be shared.
    """
    described, shape = ast.literal_eval(text)
    shape, numpy = _dimensions(shape), numpy_or_none()
    if numpy is not None:
        kind = values.dtype_of(described, ())
        if kind.hasobject or kind.itemsize == 0:
            raise ValueError("items that cannot be shared")
        return Geometry(shape, described, kind.itemsize, _format(numpy, kind))
    plain = _plain(described) if isinstance(described, str) else None
    if plain is None:
        raise ValueError("a dtype that needs numpy, which is not installed")
    return Geometry(shape, *plain)


def _geometry_of(member: _core.Membership, entry: Entry) -> Geometry:
    """The geometry that the directory describes, which is not trusted."""
    word, _, text = entry.schema.partition(":")
    title = member.called("array", entry.name)
    try:
        if word != "numpy":
            raise ValueError("an unknown kind of layout")
        return geometry_of_text(text)
    except Exception as wrong:  # numpy raises all kinds of errors for such a text
        raise LayoutError(
            f"{title} has the layout {entry.schema[:80]!r}, which this program cannot use: "
            f"{str(wrong)[:200]}",
            name=entry.name,
            expected="a layout",
            found=entry.schema,
        ) from None


#: What arrays of others call what this one has.
_INSTEAD = {
    "array buf value data get read load asarray numpy as_array": (
        "use ndarray, which is all of it as an array of numpy's, or memoryview(array)"
    ),
    "set put write store fill": "use array[...] = value",
    "flush": "other processes see what is written at once",
    "resize append extend": "its shape stays: make another one under another name",
}


@_core.clear_errors
@instead(_INSTEAD)
class Array(ArrayBase, SharedObject, kind=_core.KIND_ARRAY):
    """
    An array in shared memory, with a shape and a dtype, 64-byte aligned: `array.ndarray` is all of
    it, in place, and so are `array[...]`, `numpy.asarray(array)` and `memoryview(array)`.

    Made by `create`, `open`, `open_or_create` in a region of its own; `create(None, ...)` makes an
    unnamed one, to be passed to child processes. `memlane.array` and `region.array` give the
    ndarray at once. Nothing keeps writers apart: what several processes write is up to them.

    Views, arrays and slices of it stay valid after `close`, and after `region.remove`: the memory
    goes with the last of them.
    """

    _needs = "shape and dtype"
    _geometry: Geometry

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        shape: int | tuple[int, ...],
        dtype: Any,
        *,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create an array of zeros in a new region of its own.

        Args:
            name: As of `Region.create`; None: unnamed.
            shape: Lengths of its dimensions, or one length; () is one item.
            dtype: Of numpy's, without Python objects; records and dates, too. Without numpy the
                text of a plain one, such as "f8".
            permissions: Bits of the file.
            label: With the name None, its name in messages, repr and /proc.

        Raises:
            TypeError, ValueError: shape or dtype is none, or cannot be shared.
            RegionExistsError, OSError: as `Region.create`; there is no memory for all of it.
        """
        return cls._create(
            name, geometry_of(shape, dtype).wanted(), permissions=permissions, label=label
        )

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        shape: int | tuple[int, ...] | None = None,
        dtype: Any = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open an array that has a region of its own. Shape and dtype are checked if they are given.

        Raises:
            LayoutError: it has another shape or dtype, or one that this program cannot use.
            RegionNotFoundError, TruncatedError, CorruptedError, PermissionError: as `Region.open`.
        """
        asked = _asked(shape, dtype)
        return cls._open(name, asked, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        shape: int | tuple[int, ...],
        dtype: Any,
        *,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """Open the array of this name, or create it. Raises as `create` and `open`."""
        geometry = geometry_of(shape, dtype)
        return cls._open_or_create(
            name, geometry.wanted(), geometry.asked(), permissions=permissions, owner=owner
        )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        shape: int | tuple[int, ...] | None,
        dtype: Any,
        *,
        timeout: float | None,
    ) -> Self:
        if shape is None or dtype is None:
            wanted, asked = None, _asked(shape, dtype)
        else:
            geometry = geometry_of(shape, dtype)
            wanted, asked = geometry.wanted(), geometry.asked()
        return cls._open_or_create_in(region, name, wanted, asked, timeout=timeout)

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._geometry = geometry = _geometry_of(member, entry)
        self._bind(member, entry, geometry.shape, geometry.itemsize, geometry.format)

    @classmethod
    def _verify(cls, region: Attachment, entry: Entry, asked: Mapping[str, object]) -> None:
        geometry = _geometry_of(region._member, entry)
        found = {"shape": geometry.shape, "dtype": geometry.described}
        for what, value in asked.items():
            if value is not None and value != found[what]:
                raise LayoutError(
                    f"{region._member.called(cls._word, entry.name)} has {what}={found[what]!r}, "
                    f"expected {value!r}; ask for what it has, or make it under another name",
                    name=entry.name,
                    expected=value,
                    found=found[what],
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its dimensions."""
        return self._geometry.shape

    @property
    def dtype(self) -> Any:
        """The dtype of its items; without numpy its text."""
        if numpy_or_none() is None:
            return self._geometry.described
        return values.dtype_of(self._geometry.described, ())

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many items it has."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an item."""
        return self._geometry.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return self._geometry.nbytes

    @property
    def ndarray(self) -> Any:
        """
        All of it as an array of numpy's: the shared memory itself, no copy. It pickles as a handle,
        and so do slices of it; what is calculated from it is an ordinary array.

        Raises:
            ImportError: there is no numpy; use memoryview(array).
            ClosedError: this process closed the handle, or the array was removed.
        """
        numpy = numpy_or_none()
        if numpy is None:
            raise ImportError(
                "an ndarray needs numpy, which is not installed; install it, or use "
                "memoryview(array)",
                name="numpy",
            )
        plain = numpy.frombuffer(self._bytes(), self.dtype, self.size).reshape(self.shape)
        return plain.view(_shared_type())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """What `numpy.asarray` calls: the shared memory itself, unless it has to be converted."""
        found = self.ndarray.view(numpy_or_none().ndarray)
        if dtype is not None and dtype != found.dtype:
            if copy is False:
                raise ValueError(f"an array of {found.dtype} is not one of {dtype} without a copy")
            return found.astype(dtype)
        return found.copy() if copy else found

    def __dlpack__(self, **asked: Any) -> Any:
        """All of it for what imports DLPack, in place; kept until its deleter is called."""
        return self.ndarray.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU, as DLPack says it."""
        return 1, 0

    def _memory(self) -> Any:
        """The ndarray; without numpy a memoryview of the shape and the type of the array."""
        return memoryview(self) if numpy_or_none() is None else self.ndarray

    def __getitem__(self, index: Any) -> Any:
        return self._memory()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is Ellipsis and numpy_or_none() is None:
            index = slice(None)
        self._memory()[index] = value

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without dimensions has no length; use array[()]")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._memory())

    def stats(self) -> dict[str, Any]:
        """
        Its shape and dtype, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        self.readonly  # noqa: B018 - which raises
        return {"shape": list(self.shape), "dtype": _shown(self._geometry.described)}


def _shown(described: Any) -> str:
    return described if isinstance(described, str) else repr(described)


def _asked(shape: int | tuple[int, ...] | None, dtype: Any) -> dict[str, object]:
    return {
        "shape": None if shape is None else _dimensions(shape),
        "dtype": None if dtype is None else geometry_of((), dtype).described,
    }


def array(
    shape: int | tuple[int, ...], dtype: Any, *, label: str | None = None
) -> np.ndarray[Any, Any]:
    """
    Make a shared array of zeros: an ordinary array of numpy's, whose memory is shared and 64-byte
    aligned. Pass it to child processes, through a queue or as an attribute: it pickles as a handle,
    and so do slices of it. The memory goes with the last array that any process has of it; nothing
    needs to be closed. Without numpy, a memoryview of that shape and type.

    Raises:
        TypeError, ValueError: as `Array.create`.
        OSError: there is no memory for all of it.
    """
    made = Array.create(None, shape, dtype, label=label)
    made._region._warns = False  # nobody has anything to be closed
    return made._memory()  # type: ignore[no-any-return]


# ---- arrays of numpy's that know that they are shared --------------------------------------------


def _handle_of(view: Any) -> Array | None:
    """The handle whose memory an array of numpy's is a view of."""
    ndarray = numpy_or_none().ndarray
    while isinstance(view, ndarray):
        view = view.base
    return _core.handle_of_bytes(view)  # type: ignore[return-value]


@functools.cache
def _shared_type() -> Any:
    """The class of the arrays that are given out; numpy is imported when the first one is."""
    import numpy

    class SharedArray(numpy.ndarray):
        """An ordinary array whose memory is shared, or a slice of one."""

        @property
        def handle(self) -> Array | None:
            """The `Array` whose memory it is; None: it is a copy."""
            return _handle_of(self)

        def __array_wrap__(self, result: Any, *_context: Any) -> Any:
            """What is calculated is in no shared memory."""
            if result is self:
                return result
            plain = numpy.asarray(result).view(numpy.ndarray)
            return plain[()] if plain.ndim == 0 else plain

        def __reduce_ex__(self, protocol: Any) -> Any:
            handle = _handle_of(self)
            try:
                whole = None if handle is None else handle.ndarray
            except ClosedError:
                whole = None
            if whole is None:
                return self.view(numpy.ndarray).__reduce_ex__(protocol)
            where = self.__array_interface__["data"][0] - whole.ctypes.data
            return _rebuild_array, (handle, self.dtype, self.shape, self.strides, where)

    SharedArray.__module__, SharedArray.__qualname__ = __name__, "SharedArray"
    return SharedArray


def _rebuild_array(
    handle: Array, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], where: int
) -> Any:
    handle._region._warns = False
    whole = handle.ndarray
    if (dtype, shape, strides) == (whole.dtype, whole.shape, whole.strides):
        return whole
    return _shared_type()(shape, dtype, whole, where, strides)
