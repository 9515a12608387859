# SPDX-License-Identifier: MIT
"""
Layouts of values: how a value becomes bytes and back, and the text that describes the layout.

The directory keeps that text, so that other programs can open a slot without giving its layout:

    bytes:N                        N bytes
    struct:FORMAT                  a format of the struct module; values are tuples
    numpy:DESCR                    a dtype, with its shape; values are arrays or scalars
    ctypes:NAME:NBYTES:FIELDS      a ctypes.Structure; without the class, values are bytes
    dataclass:NAME:FORMAT:FIELDS   a dataclass of numbers; without the class, values are tuples
    KIND:sha256:DIGEST             any of these that is too long; without the layout, bytes

A value is never changed without an error, except that narrower floats round.
"""

from __future__ import annotations

import ast
import ctypes
import dataclasses
import hashlib
import re
import struct
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import memlane._arguments as _arguments
import memlane._core as _core
from memlane.errors import LayoutError

#: A struct format, a number of bytes, a ctypes.Structure class, a dataclass, or anything that numpy
#: accepts as a dtype.
Layout: TypeAlias = Any

#: The type of the values of a ctypes class.
CtypesT = TypeVar("CtypesT", bound=ctypes.Structure | ctypes.Union | ctypes.Array[Any])


class IsDataclass(Protocol):
    """The attribute of every dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


#: The type of the values of a dataclass.
DataclassT = TypeVar("DataclassT", bound=IsDataclass)

_LAYOUTS = (
    "a struct format, a number of bytes, a ctypes.Structure, a dataclass of numbers or a dtype"
)
_HASHED = "sha256:"
_STRUCT_ITEM = re.compile(r"\s*([0-9]*)([a-zA-Z?])")


@dataclass(frozen=True, slots=True)
class Codec:
    """
    How values become bytes and back. None instead of a function: values are bytes.

    Attributes:
        schema: The text for the directory.
        nbytes: The length of a value.
        encode: Turns a value into a buffer.
        items: If not None, `encode` is called with the items of the value, this many.
        decode: Turns bytes into a value.
    """

    schema: str
    nbytes: int
    encode: Callable[..., Any] | None = None
    items: int | None = None
    decode: Callable[[bytes], Any] | None = None


def codec_of(layout: Layout) -> Codec:
    """
    The codec of a layout given by the user.

    Raises:
        TypeError: it is not a layout, or has pointers or Python objects in it.
        ValueError: an invalid text, size or dtype.
    """
    if isinstance(layout, str):
        return _struct_codec(layout)
    if isinstance(layout, type):
        if issubclass(layout, (ctypes.Structure, ctypes.Union, ctypes.Array)):
            return _ctypes_codec(layout)
        if issubclass(layout, _POINTERS):
            raise TypeError(_no_pointers(layout, layout))
        if dataclasses.is_dataclass(layout):
            return _dataclass_codec(layout)
    elif hasattr(layout, "__index__") and not isinstance(layout, bool):
        nbytes = _arguments.size(layout, "layout")
        return Codec(f"bytes:{nbytes}", nbytes)
    return _numpy_codec(layout)


def codec_of_schema(schema: str, nbytes: int, name: str, title: str) -> Codec:
    """
    The codec of a text in the directory, which is not trusted. *title* is for messages.

    Raises:
        LayoutError: this program cannot use it, or it contradicts the length of the values.
    """
    kind, _, described = schema.partition(":")
    try:
        if kind in ("bytes", "ctypes") or described.startswith(_HASHED):
            codec = Codec(schema, nbytes)
        elif kind == "struct":
            codec = _struct_codec(described)
        elif kind == "dataclass":
            packed = struct.Struct(described.split(":")[1])
            codec = Codec(schema, packed.size, packed.pack, _items_of(packed.format), packed.unpack)
        elif kind == "numpy":
            codec = _numpy_codec(dtype_of(*ast.literal_eval(described)))
        else:
            raise ValueError("unknown kind")
    except Exception as wrong:  # numpy raises all kinds of errors for such a text
        raise LayoutError(
            f"{title} has the layout {schema[:80]!r}, which this program cannot use: "
            f"{str(wrong)[:200]}",
            name=name,
            expected="a layout",
            found=schema,
        ) from None
    if codec.nbytes != nbytes:
        raise LayoutError(
            f"{title} has values of {nbytes} bytes, its layout {schema[:80]!r} says {codec.nbytes}",
            name=name,
            expected=codec.nbytes,
            found=nbytes,
        )
    return codec


def _text(kind: str, described: str) -> str:
    """The text for the directory, or its digest if it is too long."""
    schema = f"{kind}:{described}"
    if len(schema.encode()) <= _core.SCHEMA_NBYTES:
        return schema
    return f"{kind}:{_HASHED}{hashlib.sha256(described.encode()).hexdigest()}"


# ---- struct formats ------------------------------------------------------------------------------


def _struct_codec(layout: str) -> Codec:
    try:
        packed = struct.Struct(layout)
    except (struct.error, UnicodeEncodeError) as wrong:
        why = "it is not ASCII" if isinstance(wrong, UnicodeEncodeError) else wrong
        why = "it has a NUL in it" if "\0" in layout else why
        raise ValueError(
            f"a str is a struct format, and {_arguments.shown(layout)} is none: {why}"
            f"{_meant(layout)}"
        ) from None
    return Codec(
        _text("struct", layout), packed.size, packed.pack, _items_of(layout), packed.unpack
    )


def _items_of(text: str) -> int:
    """The number of values of a struct format."""
    count = 0
    for times, code in _STRUCT_ITEM.findall(text):
        if code in "sp":
            count += 1
        elif code != "x":
            count += int(times) if times else 1
    return count


def _meant(layout: str) -> str:
    """A hint at the layout that an invalid struct format may stand for."""
    try:
        nbytes = _arguments.size(layout, "layout")
    except ValueError:
        pass
    else:
        return f"; for a number of bytes pass the int {nbytes}"
    try:
        import numpy as np

        np.dtype(layout)
    except Exception:
        return ""
    return f"; for numpy's dtype write np.dtype({layout!r})"


# ---- ctypes --------------------------------------------------------------------------------------

_POINTERS = (
    ctypes._Pointer,
    ctypes._CFuncPtr,  # type: ignore[attr-defined]
    ctypes.c_char_p,
    ctypes.c_wchar_p,
    ctypes.c_void_p,
    ctypes.py_object,
)
_POINTER_CODES = frozenset("zZPOX")


def _no_pointers(layout: type, kind: type) -> str:
    inside = "" if layout is kind else f" has {kind.__name__} in it, which"
    return (
        f"{layout.__name__}{inside} is an address or a Python object: it means nothing in another "
        "process and cannot be shared; use arrays of numbers or of c_char"
    )


def _ctypes_codec(layout: Any) -> Codec:
    def encode(value: Any) -> Any:
        if not isinstance(value, layout):
            raise TypeError(
                f"this slot holds {layout.__name__}, got {type(value).__name__}; publish an "
                "instance of the class"
            )
        return memoryview(value).cast("B")

    nbytes = ctypes.sizeof(layout)
    described = f"{layout.__name__}:{nbytes}:{_ctypes_text(layout, layout)}"
    return Codec(_text("ctypes", described), nbytes, encode, None, layout.from_buffer_copy)


def _ctypes_text(layout: Any, kind: Any) -> str:
    """The meaning of the bytes: name, type, offset and bits of each field."""
    if issubclass(kind, _POINTERS) or getattr(kind, "_type_", None) in _POINTER_CODES:
        raise TypeError(_no_pointers(layout, kind))
    if issubclass(kind, ctypes.Array):
        return f"[{kind._length_}]{_ctypes_text(layout, kind._type_)}"
    if not issubclass(kind, (ctypes.Structure, ctypes.Union)):
        swapped = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"
        order = "~" if getattr(kind, swapped, None) is kind else ""
        return f"{order}{kind._type_}{ctypes.sizeof(kind)}"
    fields = []
    for above in reversed(kind.__mro__):
        for name, inner, *bits in vars(above).get("_fields_", ()):
            found = vars(above)[name]
            text = f"{name}@{found.offset}:{_ctypes_text(layout, inner)}"
            if bits:
                at = found.bit_offset if hasattr(found, "bit_offset") else found.size & 0xFFFF
                text += f"/{bits[0]}@{at}"
            fields.append(text)
    return "{" + ",".join(fields) + "}"


# ---- dataclasses ---------------------------------------------------------------------------------

#: Arbitrary; ends the walk through a dataclass that contains itself.
_NESTED_MAX = 16
_PYTHON_NUMBERS = {int: "q", float: "d", bool: "?"}


@dataclass(frozen=True, slots=True)
class _Part:
    """A number in a dataclass: its path, its code of struct, and its constructor."""

    name: str
    code: str
    make: Callable[[Any], Any] | None


def _dataclass_codec(layout: Any) -> Codec:
    parts, flatten, build = _parts_of(layout, layout, ())
    packed = struct.Struct("=" + "".join(part.code for part in parts))
    makes = [part.make for part in parts]
    bools = [index for index, part in enumerate(parts) if part.code == "?"]

    def encode(value: Any) -> bytes:
        if not isinstance(value, layout):
            raise TypeError(
                f"this slot holds {layout.__name__}, got {type(value).__name__}; publish an "
                "instance of the class"
            )
        items: list[Any] = []
        try:
            flatten(value, items)
        except AttributeError as wrong:
            raise TypeError(
                f"this slot holds {layout.__name__}, got one without a field: {wrong}"
            ) from None
        for index in bools:
            item = items[index]
            if type(item) is not bool and getattr(getattr(item, "dtype", None), "kind", "") != "b":
                raise TypeError(
                    f"field {parts[index].name!r} of {layout.__name__} is a bool, got {item!r}"
                )
        return packed.pack(*items)

    def decode(data: bytes) -> Any:
        items = packed.unpack(data)
        return build(
            iter(
                [
                    item if make is None else make(item)
                    for make, item in zip(makes, items, strict=True)
                ]
            )
        )

    names = ",".join(part.name for part in parts)
    described = f"{layout.__name__.replace(':', '_')}:{packed.format}:{names}"
    return Codec(_text("dataclass", described), packed.size, encode, None, decode)


def _parts_of(
    layout: Any, kind: Any, path: tuple[str, ...]
) -> tuple[list[_Part], Callable[[Any, list[Any]], None], Callable[[Any], Any]]:
    """The numbers in a dataclass, and the functions that take an instance apart and make one."""
    if len(path) > _NESTED_MAX:
        raise TypeError(f"the dataclass {layout.__name__} is nested more than {_NESTED_MAX} deep")
    try:
        hints = typing.get_type_hints(kind)
    except Exception as wrong:
        raise TypeError(
            f"the annotations of the dataclass {kind.__name__} cannot be resolved: {wrong}; write "
            "types that its module knows"
        ) from None
    parts: list[_Part] = []
    takes: list[tuple[str, Callable[[Any, list[Any]], None] | None]] = []
    makes: list[tuple[str, object, Callable[[Any], Any] | None]] = []
    fields = dataclasses.fields(kind)
    pseudo = [
        name
        for name, field in kind.__dataclass_fields__.items()
        if field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]
    ]
    if not fields:
        raise ValueError(f"the dataclass {kind.__name__} has no fields")
    for field in fields:
        title = ".".join((*path, field.name))
        if not field.init or pseudo:
            raise TypeError(
                f"the dataclass {kind.__name__} cannot be made of its fields alone "
                f"({(pseudo or [field.name])[0]!r}), and so cannot be a layout"
            )
        found = hints[field.name]
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            inner, take, make = _parts_of(layout, found, (*path, field.name))
            parts += inner
            takes.append((field.name, take))
            makes.append((field.name, field.kw_only, make))
            continue
        code, made = _number(found)
        if code is None:
            raise TypeError(
                f"field {title!r} of {layout.__name__} is annotated {found!r}; a dataclass layout "
                "has int, float, bool, numbers of ctypes or numpy, or dataclasses of these"
            )
        parts.append(_Part(title, code, made))
        takes.append((field.name, None))
        makes.append((field.name, field.kw_only, None))

    def flatten(value: Any, items: list[Any]) -> None:
        for name, take in takes:
            item = getattr(value, name)
            if take is None:
                items.append(item.value if isinstance(item, ctypes._SimpleCData) else item)
            else:
                take(item, items)

    def build(items: Any) -> Any:
        given: list[Any] = []
        named: dict[str, Any] = {}
        for name, kw_only, make in makes:
            item = next(items) if make is None else make(items)
            if kw_only:
                named[name] = item
            else:
                given.append(item)
        return kind(*given, **named)

    return parts, flatten, build


def _number(of: Any) -> tuple[str | None, Callable[[Any], Any] | None]:
    """The code of struct for a type of number, and the constructor for the unpacked value."""
    found: Any = of
    if not isinstance(of, type):
        return None, None
    if found in _PYTHON_NUMBERS:
        return _PYTHON_NUMBERS[found], None
    if issubclass(of, ctypes._SimpleCData):
        code = found._type_
        if code in tuple("bBhHiIlLqQ") and getattr(found, "__ctype_le__", found) is found:
            sizes = {1: "b", 2: "h", 4: "i", 8: "q"}
            width = sizes[ctypes.sizeof(found)]
            return (width.upper() if code.isupper() else width), None
        return (code, None) if code in ("d", "f", "?") else (None, None)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(of, numpy.generic):
        dtype = numpy.dtype(found)
        codes = {
            "i": {1: "b", 2: "h", 4: "i", 8: "q"},
            "u": {1: "B", 2: "H", 4: "I", 8: "Q"},
            "f": {2: "e", 4: "f", 8: "d"},
            "b": {1: "?"},
        }
        return codes.get(dtype.kind, {}).get(dtype.itemsize), found
    return None, None


# ---- numpy ---------------------------------------------------------------------------------------


def _numpy_codec(layout: Any) -> Codec:
    try:
        import numpy as np
    except ImportError:
        raise TypeError(
            f"layout must be {_LAYOUTS}, got {_arguments.shown(layout)}; for dtypes install numpy"
        ) from None
    try:
        if layout is None:
            raise TypeError  # numpy would accept it as a double
        dtype = np.dtype(layout)
    except (TypeError, ValueError) as wrong:
        kind = TypeError if isinstance(wrong, TypeError) else ValueError
        raise kind(f"layout must be {_LAYOUTS}, got {_arguments.shown(layout)}") from None
    if dtype.kind == "O" and layout is not object and isinstance(layout, type):
        raise TypeError(f"layout must be {_LAYOUTS}, got {_arguments.shown(layout)}")
    if dtype.hasobject:
        raise TypeError(f"a dtype with Python objects cannot be shared, got {dtype!r}")
    base, shape = dtype.subdtype or (dtype, ())
    if base.names == () or (base.kind in "SU" and base.itemsize == 0):
        raise ValueError(f"the layout {layout!r} has no fields or no length; give some")
    array_type = np.ndarray
    scalar_type = base.type if base.isnative and base.kind in "biufc" and not shape else None
    pack_float = struct.Struct("d").pack if scalar_type is np.float64 else None

    def encode(value: Any) -> Any:
        if type(value) is array_type:
            if (
                value.shape == shape
                and (value.dtype is base or value.dtype == base)
                and value.flags.c_contiguous
            ):
                return value
        elif type(value) is scalar_type:
            return value
        elif pack_float is not None and type(value) is float:
            return pack_float(value)
        return fitted(value, base, shape)

    def decode(data: bytes) -> Any:
        found = np.frombuffer(data, dtype=base)
        return found.reshape(shape) if dtype.subdtype else found[0]

    text = repr((described(base), shape))
    return Codec(_text("numpy", text), dtype.itemsize, encode, None, decode)


def described(dtype: Any) -> Any:
    """A dtype as literals, from which `dtype_of` makes a dtype again."""
    if dtype.subdtype:
        base, shape = dtype.subdtype
        return described(base), shape
    if not dtype.names:
        return dtype.str
    from numpy.lib import format as numpy_format

    try:
        if numpy_format.descr_to_dtype(dtype.descr) == dtype:
            return dtype.descr
    except ValueError:  # fields overlap or are out of order
        pass
    return {
        "names": list(dtype.names),
        "formats": [described(dtype.fields[name][0]) for name in dtype.names],
        "offsets": [dtype.fields[name][1] for name in dtype.names],
        "itemsize": dtype.itemsize,
    }


def dtype_of(described: Any, shape: tuple[int, ...]) -> Any:
    """
    The dtype that a directory describes. np.dtype would turn the gaps of an aligned one into
    fields.
    """
    import numpy as np

    def made(of: Any) -> Any:
        if isinstance(of, dict):
            fields: Any = {**of, "formats": [made(inner) for inner in of["formats"]]}
            return np.dtype(fields)
        if isinstance(of, tuple):
            return np.dtype((made(of[0]), of[1]))
        from numpy.lib import format as numpy_format

        return numpy_format.descr_to_dtype(of)

    base = made(described)
    return (base, shape) if shape else base


def fitted(value: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """
    An array of that dtype and shape with this value.

    Raises:
        TypeError: the value is of another kind.
        ValueError: the value has another shape, or a number or text does not fit.
    """
    import numpy as np

    if dtype.names and not (isinstance(value, (np.ndarray, np.generic)) and value.dtype.names):
        return _fitted_fields(value, dtype, shape)
    array = np.asarray(value)
    if array.shape != shape and not (shape == () and array.size == 1):
        raise ValueError(
            f"this slot holds {'one value' if shape == () else f'an array of shape {shape}'}, got "
            f"{'one value' if array.shape == () else f'an array of shape {array.shape}'}"
        )
    array = array.reshape(shape)
    if array.dtype == dtype:
        return np.ascontiguousarray(array).reshape(shape)
    if dtype.names:
        _same_names(array.dtype.names or (), dtype)
        filled = np.zeros(shape, dtype)
        for name in dtype.names:
            inner, inner_shape = dtype[name].subdtype or (dtype[name], ())
            filled[name] = fitted(array[name], inner, shape + inner_shape)
        return filled
    return _cast(array, dtype)


def _fitted_fields(value: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    """An array of fields, made from tuples or dicts."""
    import numpy as np

    filled = np.zeros(shape, dtype)
    if shape:
        items = list(value) if hasattr(value, "__iter__") and not isinstance(value, Mapping) else []
        if len(items) != shape[0]:
            raise ValueError(
                f"this slot holds an array of shape {shape}, got {type(value).__name__}"
            )
        for index, item in enumerate(items):
            filled[index] = fitted(item, dtype, shape[1:])
        return filled
    if isinstance(value, Mapping):
        _same_names(tuple(value), dtype)
        items = [value[name] for name in dtype.names]
    elif isinstance(value, tuple):
        _apart(dtype)
        items = list(value)
        if len(items) != len(dtype.names):
            raise ValueError(f"this slot holds {len(dtype.names)} fields, got {len(items)} items")
    else:
        raise TypeError(
            f"this slot holds the fields {', '.join(dtype.names)}, got {type(value).__name__}; "
            "publish a tuple, a dict, or a value of its dtype"
        )
    for name, item in zip(dtype.names, items, strict=True):
        inner, inner_shape = dtype[name].subdtype or (dtype[name], ())
        try:
            filled[name] = fitted(item, inner, inner_shape)
        except (TypeError, ValueError) as wrong:
            raise type(wrong)(f"field {name!r}: {wrong}") from None
    return filled


def _same_names(names: tuple[str, ...], dtype: Any) -> None:
    """Whether fields can be filled one by one from this value."""
    _apart(dtype)
    if set(names) != set(dtype.names):
        raise TypeError(
            f"this slot holds the fields {', '.join(dtype.names)}, got "
            f"{', '.join(map(str, names))}; fields go by their names"
        )


def _apart(dtype: Any) -> None:
    """Whether fields overlap: filling one of them must not change another."""
    end = 0
    for at, nbytes in sorted((at, inner.itemsize) for inner, at, *_ in dtype.fields.values()):
        if at < end:
            raise TypeError(
                f"this slot holds fields that overlap ({', '.join(dtype.names)}), which are not "
                "filled one by one; publish a value of its dtype"
            )
        end = at + nbytes


def _cast(array: Any, dtype: Any) -> Any:
    """Cast plain numbers, texts or times; only floats may be rounded, to narrower ones."""
    import numpy as np

    found, numbers, texts = array.dtype, "biufc", "SU"
    if (
        not (
            (found.kind in numbers and dtype.kind in numbers)
            or (found.kind in texts and dtype.kind in texts)
            or (found.kind == dtype.kind and found.kind in "mM")
            or (found.kind == "V" == dtype.kind and found.itemsize == dtype.itemsize)
            or (found.kind in "SUO" and dtype.kind in "mM")
        )
        or found.names
    ):
        raise TypeError(f"this slot holds {dtype!r}, got {found!r}")
    if dtype.kind in "mM" and found.kind in "SUO":  # first in a unit that loses nothing
        array = np.asarray(array, dtype=f"{dtype.kind}8").reshape(array.shape)
        found = array.dtype
    given = array
    if found.kind == "c" != dtype.kind and not np.any(array.imag):
        array = array.real
        found = array.dtype
    if found.kind == "c" != dtype.kind:
        raise _unfit(given, dtype)
    with np.errstate(all="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)
        if found.kind == "V":
            return cast
        if found.kind in "fc" and np.can_cast(found, dtype, "same_kind"):
            lost = np.isfinite(array) & ~np.isfinite(cast)
        elif found.kind in "iu" and dtype.kind in "fc":
            # numbers beyond the exact range of a float, by Python's integers
            few = np.finfo(dtype).nmant + 1
            lost = np.zeros(array.shape, bool)
            if any(
                abs(int(edge)) > 1 << few for edge in (array.min(initial=0), array.max(initial=0))
            ):
                flat = zip(array.ravel().tolist(), cast.real.ravel().tolist(), strict=True)
                lost = np.array([one != other for one, other in flat]).reshape(array.shape)
        elif found.kind in "iu" and dtype.kind in "iu":
            limits = np.iinfo(dtype)
            lost = np.array([not limits.min <= number <= limits.max for number in _edges(array)])
        elif found.kind in "mM":
            lost = np.isnat(array) != np.isnat(cast)
            lost |= ~np.isnat(array) & (cast.astype(found) != array)
        else:
            lost = cast.astype(found) != array
            if found.kind == "f" and dtype.kind in "iu":
                info = np.iinfo(dtype)
                lost |= ~((array >= float(info.min)) & (array < float(info.max) + 1))
    if np.any(lost):
        raise _unfit(given, dtype)
    return cast


def _unfit(array: Any, dtype: Any) -> ValueError:
    return ValueError(
        f"this slot holds {dtype!r}, which {repr(array.tolist())[:200]} of {array.dtype!r} does "
        "not fit"
    )


def _edges(array: Any) -> tuple[int, ...]:
    return (int(array.min()), int(array.max())) if array.size else ()
