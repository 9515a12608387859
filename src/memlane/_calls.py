# SPDX-License-Identifier: MIT
"""Error texts for calls whose arguments do not fit. Knows signatures, and nothing of the rest."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import memlane._arguments as _arguments

# How Cython refuses arguments. If a release uses other words, users see those; nothing else breaks.
_TOO_MANY_OR_FEW = re.compile(r"takes (?:exactly|at most|at least) \d+ .*\((\d+) given\)")
_UNKNOWN = re.compile(r"got an unexpected keyword argument '(.*)'", re.DOTALL)
_TWICE = re.compile(r"got multiple values for keyword argument '(.*)'", re.DOTALL)
_LACKING = re.compile(r"needs keyword-only argument (.*)")

# What to write instead of a keyword of another library.
_INSTEAD = {
    ("put", "block"): "use put_nowait(record), or timeout=0",
    ("get", "block"): "use get_nowait(), or timeout=0",
    ("Ring.open", "readonly"): (
        "a consumer writes, too, so a ring has no readers; for a look at its figures use "
        "Region.open(name, readonly=True).stats()"
    ),
    ("Ring", "name"): "Ring() makes an unnamed ring; use Ring.create(name) or Ring.open(name)",
    **{
        (called, name): "use records=, the most of each producer, or capacity=, in bytes"
        for called in ("Ring", "Ring.create", "Ring.open_or_create")
        for name in ("maxsize", "maxlen", "max_size", "size")
    },
    **{
        (f"Region.{verb}", name): "write nbytes="
        for verb in ("create", "open_or_create")
        for name in ("size", "capacity")
    },
}

# Placeholders for unknown values in an example.
_EXAMPLES = {"timeout": "1"}

# Arbitrary: fits on a line.
_SHOWN_WHOLE = 6

_Parameters = Sequence[inspect.Parameter]
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def show_bits(verb: Any) -> None:
    """Let `help` show the default of permissions as the source writes it."""
    defaults = verb.__kwdefaults__
    if defaults and defaults.get("permissions") == _arguments.PERMISSIONS:
        defaults["permissions"] = _arguments.PERMISSIONS


def level_of_caller() -> int:
    """The distance from its caller to the first frame outside of memlane, for a warning there."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "memlane"


def reword(function: str | None, message: str) -> str | None:
    """
    Improve the message of Cython's argument parser for a function of the extension.

    With *function* None the function is known by the message only, and takes no arguments. None: it
    is not a refusal of arguments, or an unknown one.
    """
    title, _, said = message.partition("() ")
    *_, kind, verb = f"..{function or title}".split(".")
    if title != verb:
        return None
    core = sys.modules["memlane._core"]
    classes = [it for it in vars(core).values() if isinstance(it, type)]
    owners = [core, *(base for it in classes for base in it.__mro__ if kind in ("", base.__name__))]
    found = {id(it): it for it in (vars(owner).get(verb) for owner in owners) if callable(it)}
    try:
        takes = [(_called(it, verb), _parameters(it)) for it in found.values()]
    except (TypeError, ValueError):
        return None
    if not takes or (function is None and any(parameters for _, parameters in takes)):
        return None
    title, parameters = takes[0]
    if matched := _TOO_MANY_OR_FEW.match(said):
        count = int(matched[1])
        return _too_many(title, parameters, count) or _too_few(title, parameters, count, ())
    if matched := _UNKNOWN.match(said):
        return _unknown(title, parameters, matched[1])
    if matched := _TWICE.match(said):
        return _twice(title, matched[1])
    if matched := _LACKING.match(said):
        return f"{title}() lacks {matched[1]}; write {_shown(title, parameters)}"
    return None


def _called(function: object, verb: str) -> str:
    return f"Mapping.{verb}" if isinstance(function, staticmethod) else verb


def refusal(
    verb: Callable[..., Any], arguments: Sequence[object], keywords: Mapping[str, object]
) -> str | None:
    """Why the arguments of a call do not fit a Python function; None: they fit."""
    title = verb.__qualname__.removesuffix(".__init__")
    parameters = _parameters(verb)
    skipped = len(inspect.signature(verb).parameters) - len(parameters)
    if skipped and arguments:  # an inherited verb is named by the class that users know
        owner, _, rest = title.partition(".")
        by = arguments[0] if isinstance(arguments[0], type) else type(arguments[0])
        if rest and owner != by.__name__:
            title = f"{by.__name__}.{rest}"
    given = arguments[skipped:]
    if any(it.kind is inspect.Parameter.VAR_KEYWORD for it in parameters):
        return None
    names = [it.name for it in parameters]
    for name in keywords:
        if name not in names:
            return _unknown(title, parameters, name)
    for parameter in parameters[: len(given)]:
        if parameter.name in keywords:
            return _twice(title, parameter.name)
    return _too_many(title, parameters, len(given), given) or _too_few(
        title, parameters, len(given), keywords
    )


def _parameters(verb: Any) -> _Parameters:
    """The parameters of a function without `self`."""
    parameters = list(inspect.signature(verb).parameters.values())
    first = parameters[0].name if parameters else ""
    return parameters[1:] if first in ("self", "cls") else parameters


def _shown(title: str, parameters: _Parameters) -> str:
    """The call as it is written; if that is long, without optional arguments."""
    shown = [it.replace(annotation=inspect.Parameter.empty) for it in parameters]
    if len(shown) <= _SHOWN_WHOLE:
        return f"{title}{inspect.Signature(shown)}"
    needed = [it.name for it in shown if it.default is inspect.Parameter.empty]
    return f"{title}({', '.join([*needed, '...'])})"


def _count(number: int) -> str:
    counted = "no" if number == 0 else "one" if number == 1 else str(number)
    return f"{counted} positional argument{'' if number == 1 else 's'}"


def _unknown(title: str, parameters: _Parameters, name: str) -> str:
    said = f"{title}() has no argument {name!r}"
    names = [it.name for it in parameters]
    if (title, name) in _INSTEAD:
        return f"{said}; {_INSTEAD[title, name]}"
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"{said}; write {near[0]}= (it takes {', '.join(names)})"
    return f"{said}; it takes {', '.join(names) or 'none'}"


def _twice(title: str, name: str) -> str:
    return f"{title}() got {name} as a positional argument and by keyword; give it once"


def _too_many(
    title: str, parameters: _Parameters, count: int, values: Sequence[object] | None = None
) -> str | None:
    by_place = [it for it in parameters if it.kind in _BY_PLACE]
    by_keyword = [it for it in parameters if it.kind is inspect.Parameter.KEYWORD_ONLY]
    if any(it.kind is inspect.Parameter.VAR_POSITIONAL for it in parameters):
        return None
    if count <= len(by_place):
        return None
    said = f"{title}() takes {_count(len(by_place))}, got {count}"
    if title == "publish":
        return (
            f"{said}; pass several values as one tuple, publish((1.0, 2.0)), and timeout by keyword"
        )
    extra = by_keyword[: count - len(by_place)]
    if extra and extra[0].name == "timeout":
        extra = extra[:1]  # without the rest: other libraries take this one by position
    elif not extra or count > len(by_place) + len(by_keyword):
        return f"{said}; write {_shown(title, parameters)}"
    example = []
    for index, parameter in enumerate([*by_place, *extra]):
        if values is not None:
            value = _brief(values[index], parameter.name)
        elif index < len(by_place):
            value = parameter.name
        else:
            value = _EXAMPLES.get(parameter.name, "...")
        example.append(value if index < len(by_place) else f"{parameter.name}={value}")
    names = " and ".join(it.name for it in extra)
    said += f"; write {names} by keyword: {title}({', '.join(example)})"
    if extra[0].name == "timeout" and values is None:
        said += ", or timeout=0 not to wait"
    return said


def _brief(value: object, name: str) -> str:
    shown = f"{value:#o}" if name == "permissions" and type(value) is int else repr(value)
    return shown if len(shown) <= 40 else "..."


def _too_few(
    title: str, parameters: _Parameters, count: int, keywords: Collection[str]
) -> str | None:
    lacking = [
        it.name
        for index, it in enumerate(parameters)
        if it.default is inspect.Parameter.empty
        and it.kind in (*_BY_PLACE, inspect.Parameter.KEYWORD_ONLY)
        and it.name not in keywords
        and not (it.kind in _BY_PLACE and index < count)
    ]
    if not lacking:
        return None
    return f"{title}() lacks {' and '.join(lacking)}; write {_shown(title, parameters)}"
