# SPDX-License-Identifier: MIT
"""The ends of processes to wait for, given as Process, Popen, sentinel or pidfd."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import memlane._arguments as _arguments

_KINDS = (
    "a multiprocessing.Process, a subprocess.Popen, a sentinel or a pidfd, or a collection of them"
)


class Ends:
    """Whether all of some processes have ended. Each is asked until it has ended."""

    def __init__(self, until: Any, own: Callable[..., Any]) -> None:
        """*own* makes an owner of the descriptor that a function returns, with its number."""
        self._asked = [_question(one, own) for one in _each(until)]

    def have_come(self) -> bool:
        """Whether all have ended. Not a hot call: it asks the kernel."""
        self._asked = [has_ended for has_ended in self._asked if not has_ended()]
        return not self._asked


class _Descriptor:
    """A descriptor of our own: the given number may be closed and used again meanwhile."""

    def __init__(self, number: int, own: Callable[..., Any]) -> None:
        try:
            self._owned = own(os.dup, number)
        except (OSError, OverflowError):
            raise ValueError(
                f"until={_arguments.shown(number)} is no open descriptor; pass a sentinel or a "
                "pidfd of the process, not its pid"
            ) from None
        self._poll = select.poll()
        self._poll.register(self._owned.number, select.POLLIN)

    def __call__(self) -> bool:
        return bool(self._poll.poll(0))


def _each(until: Any) -> list[Any]:
    if _is_process(until) or isinstance(until, int | subprocess.Popen):
        return [until]
    if isinstance(until, Iterable) and not isinstance(until, str | bytes):
        return list(until)
    raise TypeError(f"until must be {_KINDS}, got {_arguments.shown(until)}")


def _question(one: Any, own: Callable[..., Any]) -> Callable[[], bool]:
    """The function that tells whether one process has ended."""
    if isinstance(one, subprocess.Popen):
        return lambda: one.poll() is not None
    if _is_process(one):
        return _question_of_process(one, own)
    if isinstance(one, int) and not isinstance(one, bool):
        return _Descriptor(one, own)
    raise TypeError(f"until must be {_KINDS}, got {_arguments.shown(one)}")


def _is_process(thing: Any) -> bool:
    """Whether it is a Process; a program that has one has imported multiprocessing."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and isinstance(thing, module.BaseProcess)


def _question_of_process(process: Any, own: Callable[..., Any]) -> Callable[[], bool]:
    # In the process that started it by its exit code: another child may have inherited the other
    # end of the sentinel, and outlive it.
    try:
        sentinel = process.sentinel
    except ValueError as wrong:
        started = "closed" not in str(wrong)
        raise ValueError(
            f"until={process.name if started else 'a process'} "
            + (
                "has not been started; start() it first"
                if started
                else "is closed; close() it later"
            )
        ) from None
    if process._parent_pid == os.getpid():
        return lambda: process.exitcode is not None
    return _Descriptor(sentinel, own)
