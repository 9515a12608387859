# SPDX-License-Identifier: MIT
"""`memlane put`, `get` and `pipe`: records from and to shells, as a producer and a consumer."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

from memlane import Empty, Full, Region, ShutDown, Slot, Topic, following, inspection
from memlane.cli.looking import require_object
from memlane.cli.text import Refusal

#: As timeout(1) has it.
TIMED_OUT = 124
#: As a shell has it: a program that cannot be run, one that is not there.
NOT_RUN, NOT_FOUND = 126, 127
#: How often to look whether the program that reads has ended, while no records come. Arbitrary.
PROGRAM_PAUSE_S = 0.1


@contextlib.contextmanager
def opened(name: str) -> Iterator[Any]:
    """
    The object that *name* says, or the only one of its region, opened to take part.

    Raises:
        Refusal: it has no such object, or several and none is named, or no name to open it by.
        MemlaneError, OSError: it is not there, or cannot be opened.
        ValueError: *name* can be no name.
    """
    target = inspection.find(name)
    try:
        region = Region.open(target.path if target.kind != "named" else target.region_name)
    except FileNotFoundError:
        raise target.not_found() from None
    with region:
        names = list(region)
        if target.object is not None:
            require_object(target, target.object, names)
            yield region[target.object]
        elif len(names) == 1:
            yield region[names[0]]
        else:
            raise Refusal(
                f"region {target.name!r} has {len(names)} objects; say which, as "
                f"{target.name}/{names[0] if names else 'OBJECT'}"
            )


def put(
    name: str, record: str | None, per_line: bool, no_newline: bool, timeout: float | None
) -> int:
    """
    Put one record, or publish it: *record*, or all of stdin; *per_line*: each line of stdin by
    itself, without its end.

    Returns:
        0; 124 where there was no room for all of *timeout*.

    Raises:
        Refusal, MemlaneError, OSError, ValueError: it cannot be put there.
    """
    with opened(name) as found:
        send = _sender(found)
        try:
            if record is not None:
                send(os.fsencode(record), timeout)
            elif per_line:
                for line in sys.stdin.buffer:
                    send(line.removesuffix(b"\n"), timeout)
            else:
                data = sys.stdin.buffer.read()
                send(data.removesuffix(b"\n") if no_newline else data, timeout)
        except Full as error:
            print(f"memlane: {error}", file=sys.stderr)
            return TIMED_OUT
    return 0


def _sender(found: Any) -> Callable[[bytes, float | None], None]:
    if hasattr(found, "put"):

        def send(data: bytes, timeout: float | None) -> None:
            found.put(data, timeout=timeout)

    elif isinstance(found, Slot):
        slot = following.as_bytes(found)

        def send(data: bytes, timeout: float | None) -> None:
            if len(data) != slot.nbytes:
                raise Refusal(f"a value of this slot has {slot.nbytes} bytes, got {len(data)}")
            slot.publish(data, timeout=timeout)

    elif isinstance(found, Topic):

        def send(data: bytes, timeout: float | None) -> None:
            found.publish(data, timeout=timeout)

    else:
        raise Refusal(f"a {type(found).__name__.lower()} takes no records; use one that does")
    return send


def get(name: str, count: int | None, end: bytes, peeks: bool, timeout: float | None) -> int:
    """
    Write records to stdout, each with *end* behind it: of a ring they are taken, of a topic the
    next ones that are published, of a slot the value that is there.

    Args:
        count: How many; None: all, until the ring is shut down or nothing came for *timeout*.
        peeks: Take what is there, and end when there is no more.

    Returns:
        0; 124 where fewer than *count* came in time.

    Raises:
        Refusal, MemlaneError, OSError, ValueError: none can be got there.
    """
    out = sys.stdout.buffer
    with opened(name) as found:
        if isinstance(found, Slot):
            data = bytearray(found.nbytes)
            try:
                found.read_into(data)
            except Empty:
                found.wait_newer_into(data, 0, timeout=0 if peeks else timeout)
            out.write(data + end)
            out.flush()
            return 0
        borrow = _borrower(found)
        left = count
        try:
            while left is None or left > 0:
                _hand_over(out, borrow(0 if peeks else timeout), end)
                left = None if left is None else left - 1
        except Empty:
            return 0 if count is None else TIMED_OUT
        except TimeoutError:
            return TIMED_OUT
        except ShutDown:
            return 0 if count is None else 1
    return 0


def _hand_over(out: IO[bytes], record: Any, end: bytes) -> None:
    """Whole and at once; what cannot be written goes to another consumer, if there can be one."""
    try:
        out.write(bytes(record) + end)
        out.flush()
    except BaseException:
        if hasattr(record, "give_back"):
            with contextlib.suppress(ValueError):  # of a ring with one consumer
                record.give_back()
        raise
    finally:
        record.release()


def _borrower(found: Any) -> Callable[[float | None], Any]:
    """What gets the next record on loan, in so many seconds."""
    taker = found.subscribe() if isinstance(found, Topic) else found
    if not hasattr(taker, "borrow"):
        raise Refusal(f"a {type(found).__name__.lower()} has no records; use one that has")
    return lambda timeout: taker.borrow(timeout=timeout)


def pipe(name: str, command: list[str], end: bytes, puts: bool) -> int:
    """
    Run a program with its stdin from the records of *name*, each with *end* behind it, until the
    ring is shut down; or, with *puts*, put each line of its stdout.

    Returns:
        The exit code of the program; 128 and the signal that ended it.

    Raises:
        Refusal, MemlaneError, OSError, ValueError: it cannot be opened, or has no records.
    """
    with opened(name) as found:
        if puts:
            return _pipe_from(found, command)
        return _pipe_to(found, command, end)


def _run(command: list[str], **streams: Any) -> subprocess.Popen[bytes] | int:
    try:
        return subprocess.Popen(command, **streams)
    except OSError as error:
        print(f"memlane: {error.strerror}: {command[0]}", file=sys.stderr)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN


def _pipe_to(found: Any, command: list[str], end: bytes) -> int:
    borrow = _borrower(found)
    program = _run(command, stdin=subprocess.PIPE)
    if isinstance(program, int):
        return program
    assert program.stdin is not None
    try:
        while program.poll() is None:
            try:
                record = borrow(PROGRAM_PAUSE_S)
            except Empty:
                continue
            except ShutDown:
                break
            _hand_over(program.stdin, record, end)
    except BrokenPipeError:
        pass  # it has ended, or reads no more
    finally:
        with contextlib.suppress(BrokenPipeError):
            program.stdin.close()
    return _code(program.wait())


def _pipe_from(found: Any, command: list[str]) -> int:
    send = _sender(found)
    program = _run(command, stdout=subprocess.PIPE)
    if isinstance(program, int):
        return program
    assert program.stdout is not None
    with program.stdout:
        for line in program.stdout:
            send(line.removesuffix(b"\n"), None)
    return _code(program.wait())


def _code(status: int) -> int:
    return status if status >= 0 else 128 - status
