# SPDX-License-Identifier: MIT
"""What is said of a call whose arguments do not fit. Knows signatures, and nothing of the rest."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import memlane._arguments as _arguments

# How Cython refuses arguments. A release with other words would bring those to users, no more.
_TOO_MANY_OR_FEW = re.compile(r"takes (?:exactly|at most|at least) \d+ .*\((\d+) given\)")
_UNKNOWN = re.compile(r"got an unexpected keyword argument '(.*)'", re.DOTALL)
_TWICE = re.compile(r"got multiple values for keyword argument '(.*)'", re.DOTALL)
_LACKING = re.compile(r"needs keyword-only argument (.*)")

# What to do in place of a keyword that others have.
_INSTEAD = {
    ("put", "block"): "use put_nowait(record), or timeout=0",
    ("get", "block"): "use get_nowait(), or timeout=0",
    ("Ring.open", "readonly"): (
        "a consumer writes, too, so a ring has no readers; for a look at its figures use "
        "Region.open(name, readonly=True).stats()"
    ),
    ("Ring", "name"): "Ring() makes an unnamed ring; use Ring.create(name) or Ring.open(name)",
}

# What stands for a value in an example, where it is not known.
_EXAMPLES = {"timeout": "1"}

# Arbitrary: what still fits on a line.
_SHOWN_WHOLE = 6

_Parameters = Sequence[inspect.Parameter]
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def show_bits(verb: Any) -> None:
    """Have `help` show the default of permissions as it is written in the source."""
    defaults = verb.__kwdefaults__
    if defaults and defaults.get("permissions") == _arguments.PERMISSIONS:
        defaults["permissions"] = _arguments.PERMISSIONS


def level_of_caller() -> int:
    """How far above its caller the first frame is that is not of memlane: for a warning there."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__")):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] == "memlane"


def reword(function: str | None, message: str) -> str | None:
    """
    Say better what Cython's parser of arguments said of a function of the extension.

    With *function* None it is known only by what the message calls it, and it takes no arguments.
    None: it is not a refusal of arguments, or not one that is known.
    """
    called, _, said = message.partition("() ")
    *_, kind, verb = f"..{function or called}".split(".")
    if called != verb:
        return None
    core = sys.modules["memlane._core"]
    classes = [it for it in vars(core).values() if isinstance(it, type)]
    owners = [core, *(base for it in classes for base in it.__mro__ if kind in ("", base.__name__))]
    found = {id(it): it for it in (vars(owner).get(verb) for owner in owners) if it is not None}
    try:
        takes = [(_called(it, verb), _parameters(it)) for it in found.values()]
    except (TypeError, ValueError):
        return None
    if not takes or (function is None and any(parameters for _, parameters in takes)):
        return None
    called, parameters = takes[0]
    if matched := _TOO_MANY_OR_FEW.match(said):
        count = int(matched[1])
        return _too_many(called, parameters, count) or _too_few(called, parameters, count, ())
    if matched := _UNKNOWN.match(said):
        return _unknown(called, parameters, matched[1])
    if matched := _TWICE.match(said):
        return _twice(called, matched[1])
    if matched := _LACKING.match(said):
        return f"{called}() lacks {matched[1]}; write {_shown(called, parameters)}"
    return None


def _called(function: object, verb: str) -> str:
    return f"Mapping.{verb}" if isinstance(function, staticmethod) else verb


def refusal(
    verb: Callable[..., Any], arguments: Sequence[object], keywords: Mapping[str, object]
) -> str | None:
    """Say why a call of a Python function cannot be; None: its arguments fit."""
    called = verb.__qualname__.removesuffix(".__init__")
    parameters = _parameters(verb)
    skipped = len(inspect.signature(verb).parameters) - len(parameters)
    if skipped and arguments:  # a verb that was inherited is called by the class that users know
        owner, _, rest = called.partition(".")
        by = arguments[0] if isinstance(arguments[0], type) else type(arguments[0])
        if rest and owner != by.__name__:
            called = f"{by.__name__}.{rest}"
    given = arguments[skipped:]
    if any(it.kind is inspect.Parameter.VAR_KEYWORD for it in parameters):
        return None
    names = [it.name for it in parameters]
    for name in keywords:
        if name not in names:
            return _unknown(called, parameters, name)
    for parameter in parameters[: len(given)]:
        if parameter.name in keywords:
            return _twice(called, parameter.name)
    return _too_many(called, parameters, len(given), given) or _too_few(
        called, parameters, len(given), keywords
    )


def _parameters(verb: Any) -> _Parameters:
    """What a function takes, but for the object that it is a method of."""
    parameters = list(inspect.signature(verb).parameters.values())
    first = parameters[0].name if parameters else ""
    return parameters[1:] if first in ("self", "cls") else parameters


def _shown(called: str, parameters: _Parameters) -> str:
    """How it is called; where that is long, without what need not be given."""
    shown = [it.replace(annotation=inspect.Parameter.empty) for it in parameters]
    if len(shown) <= _SHOWN_WHOLE:
        return f"{called}{inspect.Signature(shown)}"
    needed = [it.name for it in shown if it.default is inspect.Parameter.empty]
    return f"{called}({', '.join([*needed, '...'])})"


def _count(number: int) -> str:
    counted = "no" if number == 0 else "one" if number == 1 else str(number)
    return f"{counted} positional argument{'' if number == 1 else 's'}"


def _unknown(called: str, parameters: _Parameters, name: str) -> str:
    said = f"{called}() has no argument {name!r}"
    names = [it.name for it in parameters]
    if (called, name) in _INSTEAD:
        return f"{said}; {_INSTEAD[called, name]}"
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"{said}; write {near[0]}= (it takes {', '.join(names)})"
    return f"{said}; it takes {', '.join(names) or 'none'}"


def _twice(called: str, name: str) -> str:
    return f"{called}() got {name} as a positional argument and by keyword; give it once"


def _too_many(
    called: str, parameters: _Parameters, count: int, values: Sequence[object] | None = None
) -> str | None:
    by_place = [it for it in parameters if it.kind in _BY_PLACE]
    by_keyword = [it for it in parameters if it.kind is inspect.Parameter.KEYWORD_ONLY]
    if any(it.kind is inspect.Parameter.VAR_POSITIONAL for it in parameters):
        return None
    if count <= len(by_place):
        return None
    said = f"{called}() takes {_count(len(by_place))}, got {count}"
    if called == "publish":
        return (
            f"{said}; pass several values as one tuple, publish((1.0, 2.0)), and timeout by keyword"
        )
    extra = by_keyword[: count - len(by_place)]
    if extra and extra[0].name == "timeout":
        extra = extra[:1]  # whatever follows it: it is what others take by place
    elif not extra or count > len(by_place) + len(by_keyword):
        return f"{said}; write {_shown(called, parameters)}"
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
    said += f"; write {names} by keyword: {called}({', '.join(example)})"
    if extra[0].name == "timeout" and values is None:
        said += ", or timeout=0 not to wait"
    return said


def _brief(value: object, name: str) -> str:
    shown = f"{value:#o}" if name == "permissions" and type(value) is int else repr(value)
    return shown if len(shown) <= 40 else "..."


def _too_few(
    called: str, parameters: _Parameters, count: int, keywords: Collection[str]
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
    return f"{called}() lacks {' and '.join(lacking)}; write {_shown(called, parameters)}"
