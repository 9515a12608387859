# SPDX-License-Identifier: MIT
"""
What to use in place of a name that a class does not have, and others that it is taken for do.

The interpreter's own words name no way on. A `__getattr__` would add one, and make each call of a
method up to three times as slow, since the interpreter then finds methods by it. So these names are
entries of the class that raise when they are asked for: all other names cost what they did.
`hasattr` finds none of them, and `dir` and `help` do not show them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import ModuleType
from typing import Any, NoReturn, TypeVar

_ClassT = TypeVar("_ClassT", bound=type)


class _Missing:
    """A name that the class does not have."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __get__(self, thing: object, kind: type) -> object:
        if thing is not None and self._name in getattr(thing, "__dict__", ()):
            return vars(thing)[self._name]
        raise AttributeError(
            f"a {kind.__name__} has no {self._name}; {self._what}", name=self._name
        )

    def __set__(self, thing: object, value: object) -> None:
        kind = type(thing)
        if vars(kind).get(self._name) is self:  # or the assignment would have no effect
            raise AttributeError(
                f"a {kind.__name__} has no {self._name} to be assigned; {self._what}",
                name=self._name,
            )
        vars(thing)[self._name] = value  # classes that users derive have attributes of their own


class _Refused:
    """An operator, or a protocol of Python's, that the class does not take part in."""

    def __init__(self, doing: str, what: str) -> None:
        self._doing, self._what = doing, what

    def __get__(self, _thing: object, kind: type) -> Callable[..., NoReturn]:
        def refuse(*_arguments: object) -> NoReturn:
            raise TypeError(f"a {kind.__name__} {self._doing}; {self._what}")

        return refuse


#: How the interpreter asks for what an operator does, and what messages say of it.
_DOING = {
    "cannot be added to or subtracted from": ("__add__", "__radd__", "__sub__", "__rsub__"),
    "cannot be multiplied or divided": (
        *("__mul__", "__rmul__", "__truediv__", "__rtruediv__", "__floordiv__", "__rfloordiv__"),
        *("__mod__", "__rmod__", "__pow__", "__rpow__", "__neg__", "__abs__"),
    ),
    "has no order": ("__lt__", "__le__", "__gt__", "__ge__"),
    "is no number": ("__int__", "__float__", "__index__"),
    "has no items": ("__getitem__",),
    "takes no items": ("__setitem__",),
    "loses no items by del": ("__delitem__",),
    "has no length": ("__len__",),
    "cannot be iterated over": ("__iter__",),
    "cannot be looked through": ("__contains__",),
    "is no asynchronous context manager": ("__aenter__", "__aexit__"),
}


class Named(type):
    """Of classes with such names: `dir` and `help` show what there is alone."""

    def __dir__(cls) -> Iterable[str]:
        return _without(cls, super().__dir__())


def _without(kind: type, names: Iterable[str]) -> list[str]:
    """The names without those that a class, or one that it is made from, does not have."""
    missing: set[str] = set()
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, (_Missing, _Refused)):
                missing.add(name)
            else:
                missing.discard(name)
    return [name for name in names if name not in missing]


def of_module(
    module: str, names: Mapping[str, str], *, modules: Collection[str] = ()
) -> Callable[[str], ModuleType]:
    """
    A `__getattr__` for a module that says what to use in place of names, as `instead` does, and
    imports *modules* of a package when they are first asked for.
    """
    known = {name: what for together, what in names.items() for name in together.split()}

    def ask(name: str) -> ModuleType:
        if name in modules:
            return importlib.import_module(f"{module}.{name}")
        said = f"module {module!r} has no attribute {name!r}"
        if name in known:
            raise AttributeError(f"{said}; {known[name]}", name=name)
        raise AttributeError(said, name=name, obj=sys.modules[module])  # Python looks for near ones

    return ask


def _shown(thing: object) -> list[str]:
    """What `dir` shows of an object."""
    return _without(type(thing), object.__dir__(thing))


def instead(
    names: Mapping[str, str], operators: Mapping[str, str] | None = None
) -> Callable[[_ClassT], _ClassT]:
    """
    Have a class, whose own class is `Named`, say what to use in place of names.

    Args:
        names: What to use, by names with blanks between them.
        operators: What to use, by what messages say of an operator.
    """

    def add(face: _ClassT) -> _ClassT:
        own: dict[str, Any] = {"__dir__": _shown}
        for together, what in names.items():
            own |= {name: _Missing(name, what) for name in together.split()}
        for doing, what in (operators or {}).items():
            own |= {name: _Refused(doing, what) for name in _DOING[doing]}
        for name, value in own.items():
            if hasattr(face, name) and name not in vars(object):
                raise TypeError(f"{face.__name__} has {name}, and says what to use in its place")
            setattr(face, name, value)
        return face

    return add
