# SPDX-License-Identifier: MIT
"""What a caller reads after a mistake: a sentence that says what to do, little of ours above it."""

from __future__ import annotations

import inspect
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import memlane
from memlane import _core


@pytest.fixture
def ring() -> Iterator[memlane.Ring]:
    with memlane.Ring(capacity="64 KiB", producers=2) as made:
        yield made


@pytest.fixture
def mapping() -> Iterator[memlane.Mapping]:
    with memlane.Mapping.anonymous(4096) as made:
        yield made


def failure(call: Callable[[], object]) -> BaseException:
    """What a call raises."""
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def frames_of_ours(error: BaseException) -> list[str]:
    """The entries of a traceback that lie in memlane, be it Python or the extension."""
    return [
        f"{frame.f_code.co_filename}:{line}:{frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals["__name__"]).partition(".")[0] == "memlane"
    ]


# ---- each mistake, and what its sentence has in it -----------------------------------------------


def committed_twice(ring: Any) -> None:
    with ring.reserve(8) as room:  # one that is dropped open gives a warning of its own
        room.commit(8, 9)


# Any, or the type checker would find these mistakes first.
Mistake = Callable[[Any], object]

REFUSED_BY_RINGS: list[tuple[Mistake, type[Exception], list[str]]] = [
    (
        lambda ring: ring.put("hello"),
        TypeError,
        ["put needs bytes", "got str", "put(text.encode())"],
    ),
    (lambda ring: ring.put_nowait("hello"), TypeError, ["needs bytes", "got str", ".encode()"]),
    (lambda ring: ring.put({"a": 1}), TypeError, ["bytes", "got dict", "pickle.dumps"]),
    (lambda ring: ring.put(1), TypeError, ["needs bytes", "got int"]),
    (lambda ring: ring.put(b"x", 1), TypeError, ["timeout by keyword: put(record, timeout=1)"]),
    (lambda ring: ring.put(b"x", True, 5), TypeError, ["put(record, timeout=1)", "got 3"]),
    (lambda ring: ring.get(True, 1), TypeError, ["get(timeout=1)", "timeout=0 not to wait"]),
    (lambda ring: ring.consumer().get(1), TypeError, ["get(timeout=1)", "got 1"]),
    (lambda ring: ring.producer().put(b"", 1), TypeError, ["put(record, timeout=1)"]),
    (lambda ring: ring.put(b"x", block=False), TypeError, ["put_nowait(record)", "timeout=0"]),
    (lambda ring: ring.get(block=False), TypeError, ["get_nowait()", "timeout=0"]),
    (lambda ring: ring.get(timeot=1), TypeError, ["no argument 'timeot'", "timeout="]),
    (lambda ring: ring.put(b"x", foo=1), TypeError, ["no argument 'foo'", "record, timeout"]),
    (lambda ring: ring.put(), TypeError, ["lacks record", "put(record, *, timeout=None"]),
    (lambda ring: ring.put(b"", record=b""), TypeError, ["record", "give it once"]),
    (lambda ring: ring.get_nowait(False), TypeError, ["no positional arguments, got 1"]),
    (lambda ring: ring.get_nowait(timeout=1), TypeError, ["no argument 'timeout'", "none"]),
    (
        lambda ring: ring.put_many(b"abc"),
        TypeError,
        ["list of records", "got one bytes", "[record]"],
    ),
    (
        lambda ring: ring.put_many([b"", "a"]),
        TypeError,
        ["item 1 of 2", "got str", "text.encode()"],
    ),
    (lambda ring: ring.put_many([b""], 1), TypeError, ["put_many(records, timeout=1)"]),
    (lambda ring: ring.get_into("text"), TypeError, ["writable", "got str", "bytearray"]),
    (lambda ring: ring.producer(1), TypeError, ["Ring.producer()", "no positional arguments"]),
    (lambda ring: ring.close(timeout=1), TypeError, ["close()", "no argument 'timeout'"]),
    (lambda ring: committed_twice(ring), TypeError, ["commit(nbytes=None)"]),
]

REFUSED_BY_CLASSES: list[tuple[Mistake, type[Exception], list[str]]] = [
    (
        lambda m: m.Ring("frames"),
        TypeError,
        ["without a name", "Ring.create('frames', ...)", "Ring.open('frames')"],
    ),
    (lambda m: m.Ring(pathlib.Path("frames")), TypeError, ["without a name", "Ring.create("]),
    (lambda m: m.Ring(name="frames"), TypeError, ["Ring.create(name)", "Ring.open(name)"]),
    (lambda m: m.Ring(capacty=1), TypeError, ["no argument 'capacty'", "capacity="]),
    (
        lambda m: m.Ring.create("a", "8 MiB"),
        TypeError,
        ["capacity by keyword: Ring.create('a', capacity='8 MiB')"],
    ),
    (lambda m: m.Ring.create(), TypeError, ["lacks name", "Ring.create(name, ...)"]),
    (
        lambda m: m.Ring.open("a", readonly=True),
        TypeError,
        ["a consumer writes", "Region.open(name, readonly=True)"],
    ),
    (lambda m: m.Ring.open("a", 1), TypeError, ["Ring.open('a', timeout=1)"]),
    (lambda m: m.Region.create("a"), TypeError, ["lacks nbytes", "Region.create(name, nbytes"]),
    (lambda m: m.Region.create("a", 1, 0o600), TypeError, ["permissions=0o600"]),
    (lambda m: m.Counter(), TypeError, ["Counter.create(name, ...)", "None", "Counter.open(name)"]),
    (lambda m: m.sweep("a", "b", "c"), TypeError, ["sweep()", "got 3"]),
    (lambda m: m.windows(), TypeError, ["windows() lacks path"]),
    (lambda m: m.windows("a", b=1), TypeError, ["windows() has no argument 'b'"]),
    (lambda m: m.guard(1, 2), TypeError, ["guard(on=True, /)"]),
    (lambda m: m.Mapping.open(), TypeError, ["Mapping.open() lacks path"]),
    (
        lambda m: m.Mapping.anonymous(4096, True),
        TypeError,
        ["private by keyword: Mapping.anonymous(nbytes, private="],
    ),
]

REFUSED_BY_MAPPINGS: list[tuple[Mistake, type[Exception], list[str]]] = [
    (lambda mapping: mapping.advise(), TypeError, ["lacks advice", "advise(advice"]),
    (lambda mapping: mapping.find("text"), TypeError, ["find needs bytes", "got str", ".encode()"]),
    (lambda mapping: mapping.__setitem__(slice(0, 4), "text"), TypeError, ["bytes", ".encode()"]),
    (lambda mapping: mapping.flush(0, 1, True, True, 5), TypeError, ["4 positional", "flush("]),
    (lambda mapping: mapping.lock(on_falt=True), TypeError, ["'on_falt'", "on_fault="]),
]


def each(table: list[tuple[Mistake, type[Exception], list[str]]]) -> pytest.MarkDecorator:
    def source(mistake: Mistake) -> str:
        line = inspect.getsource(mistake).strip()
        return line.partition("lambda ")[2].partition(": ")[2].partition(", TypeError")[0][:40]

    return pytest.mark.parametrize(
        ("mistake", "kind", "words"), table, ids=[source(it[0]) for it in table]
    )


def check(error: BaseException, kind: type[Exception], words: list[str]) -> None:
    said = str(error)
    assert type(error) is kind
    assert [] == [word for word in words if word not in said], said
    assert "\n" not in said
    assert not said.endswith(".")
    assert 1 >= len(frames_of_ours(error))
    assert error.__context__ is None or error.__suppress_context__


@each(REFUSED_BY_RINGS)
def test_a_ring_says_what_to_write_in_place_of_a_mistaken_call(
    ring: memlane.Ring, mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """Whoever knows queue.Queue, or guesses, is told at once how the call is written here."""
    check(failure(lambda: mistake(ring)), kind, words)


@each(REFUSED_BY_CLASSES)
def test_a_class_says_what_to_write_in_place_of_a_mistaken_call(
    mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """The same for what is made, opened or called without an object."""
    check(failure(lambda: mistake(memlane)), kind, words)


@each(REFUSED_BY_MAPPINGS)
def test_a_mapping_says_what_to_write_in_place_of_a_mistaken_call(
    mapping: memlane.Mapping, mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """The same for a mapping."""
    check(failure(lambda: mistake(mapping)), kind, words)


def public_methods() -> Iterator[tuple[str, Any]]:
    faces: list[type] = [
        memlane.Ring,
        memlane.Producer,
        memlane.Consumer,
        memlane.Slot,
        memlane.SlotTable,
        memlane.Counter,
        memlane.Room,
        memlane.Record,
        memlane.Mapping,
        memlane.Region,
    ]
    for face in faces:
        for name in dir(face):
            if not name.startswith("_") and callable(getattr(face, name)):
                yield f"{face.__name__}.{name}", getattr(face, name)


@pytest.mark.parametrize(
    ("name", "method"), [pytest.param(*it, id=it[0]) for it in public_methods()]
)
def test_every_public_method_tells_of_an_unknown_keyword_in_the_same_words(
    name: str, method: Any
) -> None:
    """No method leaves it to the bare words of Python or Cython."""
    owner, _, called = name.partition(".")
    kind = getattr(memlane, owner)
    bound = inspect.ismethod(method) or inspect.isbuiltin(method)
    static = isinstance(inspect.getattr_static(kind, called), staticmethod)
    arguments = [] if bound or static else [kind.__new__(kind)]

    error = failure(lambda: method(*arguments, nonsense_=1))

    assert isinstance(error, TypeError)
    assert "has no argument 'nonsense_'; it takes" in str(error)
    assert [] == [it for it in frames_of_ours(error) if not it.endswith(f".{called}")]


def test_what_a_ring_raises_is_what_a_queue_raises() -> None:
    """`except queue.Empty` and the like catch ours; there is a queue.ShutDown from 3.13 on."""
    theirs = [queue.Empty, queue.Full, getattr(queue, "ShutDown", Exception)]
    ours: list[type[memlane.MemlaneError]] = [memlane.Empty, memlane.Full, memlane.ShutDown]

    assert [True] * 3 == [issubclass(it, base) for it, base in zip(ours, theirs, strict=True)]
    for kind in ours:
        copied = pickle.loads(pickle.dumps(kind("gone", fact=3)))
        assert (kind, "gone", 3) == (type(copied), str(copied), copied.fact)


# ---- tracebacks ----------------------------------------------------------------------------------


class Raises:
    """A number whose conversion fails, in code of the user's."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __index__(self) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError("mine"), AttributeError("mine"), KeyboardInterrupt(), TypeError("mine")]
)
def test_the_frames_of_code_of_the_users_stay(ring: memlane.Ring, error: BaseException) -> None:
    """An error in an `__index__` that memlane calls is seen where it was raised, unchanged."""
    number = Raises(error)

    found = failure(lambda: ring.reserve(number))  # type: ignore[arg-type]
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert error is found
    assert "__index__" == frames[-1]
    assert 1 >= len(frames_of_ours(found))


def test_an_error_of_a_signal_handler_passes_with_its_frames(ring: memlane.Ring) -> None:
    """A handler that raises ends a get that waits; its own frame is in the traceback."""

    def handle(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt("from the handler")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        found = failure(lambda: ring.get(timeout=30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert "from the handler" == str(found)
    assert "handle" == frames[-1]
    assert 1 >= len(frames_of_ours(found))


def test_an_error_while_another_one_is_handled_still_names_that_one(ring: memlane.Ring) -> None:
    """`During handling of the above exception ...` is not lost, of verbs in C and in Python."""

    def handling(call: Callable[[], object]) -> BaseException:
        try:
            raise LookupError("the first one")
        except LookupError:
            return failure(call)

    errors = [
        handling(ring.get_nowait),
        handling(lambda: ring.put("text")),  # type: ignore[arg-type]
        handling(lambda: memlane.Ring.create("a", "8 MiB")),  # type: ignore[call-arg]
        handling(lambda: memlane.Region.open("h-no-such-region")),
    ]

    assert ["the first one"] * 4 == [str(error.__context__) for error in errors]


def test_an_error_that_passes_twice_keeps_the_callers_frames(ring: memlane.Ring) -> None:
    """Raised again by the caller it has both of the caller's places, and one of ours."""

    def inner() -> None:
        ring.get_nowait()

    def outer() -> None:
        try:
            inner()
        except memlane.Empty as empty:
            raise empty

    found = failure(outer)
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert ["failure", "outer", "outer", "inner"] == frames[:4]
    assert 1 == len(frames[4:])


@pytest.mark.parametrize(
    "call",
    [
        lambda: memlane.Region.open("h-no-such-region"),
        lambda: memlane.Ring.open("h-no-such-region"),
        lambda: memlane.Ring(capacity="1 MB"),
        lambda: memlane.Slot.create(None, "no format"),
        lambda: memlane.Mapping.open("/no/such/file"),
        lambda: next(memlane.windows("/no/such/file")),
        lambda: memlane.Ring(wait="idle"),  # type: ignore[arg-type]
    ],
)
def test_an_error_of_a_verb_in_python_shows_one_frame_of_ours_at_most(
    call: Callable[[], object],
) -> None:
    """The verb may run through any number of our functions."""
    assert 1 >= len(frames_of_ours(failure(call)))


def test_iterating_to_the_end_raises_nothing_else(ring: memlane.Ring) -> None:
    """StopIteration passes as such."""
    ring.put(b"one")
    ring.shutdown()

    assert [b"one"] == list(ring)
    with pytest.raises(StopIteration):
        next(ring)


def test_errors_leave_no_memory_behind() -> None:
    """A polling loop raises Empty for days.

    Caches of the interpreter let single rounds grow by some hundred blocks and shrink again; a leak
    shows in each of them, with 500 blocks for each kind of call.
    """
    program = """
import gc, sys, memlane
class Number:
    def __index__(self): raise ValueError("mine")
ring = memlane.Ring()
calls = [
    ring.get_nowait, lambda: ring.put("text"), lambda: ring.get(1), lambda: ring.get_nowait(1),
    lambda: memlane.Ring.open("a", 1), lambda: ring.reserve(Number()),
]
def rounds():
    for call in calls * 500:
        try: call()
        except Exception: pass
    gc.collect()
    return sys.getallocatedblocks()
rounds()
counts = [rounds() for _ in range(8)]
ring.close()
print(min(after - before for before, after in zip(counts, counts[1:], strict=False)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert int(ran.stdout) < 250


def test_an_error_inside_a_with_statement_of_the_extension_passes(tmp_path: pathlib.Path) -> None:
    """Cython hands a traceback to `__exit__` there, and takes it for granted that there is one."""
    path = tmp_path / "slot"
    with memlane.Slot.create(path, "d") as slot, memlane.Slot.open(path, readonly=True) as reader:
        slot.publish((1.0,))
        found = failure(lambda: reader.publish((2.0,)))
        slot.unlink()

    assert isinstance(found, PermissionError)
    assert 1 == len(frames_of_ours(found))


def test_whole_tracebacks_can_be_asked_for() -> None:
    """MEMLANE_TRACEBACKS=whole is for whoever works on memlane, or reports a bug in it."""
    program = (
        "import traceback, memlane\n"
        "try: memlane.Ring().get_nowait()\n"
        "except memlane.Empty: print(traceback.format_exc())\n"
        "try: memlane.Ring.create('a', wait='idle')\n"
        "except ValueError: print(traceback.format_exc())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "MEMLANE_TRACEBACKS": "whole"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "handles.pxi" in ran.stdout
    assert "_check_wait" in ran.stdout


def test_what_no_sound_code_raises_keeps_its_frames() -> None:
    """An AttributeError out of memlane is a bug of memlane: a report needs the whole traceback."""

    # both are ours, as far as their globals say
    inside: dict[str, Any] = {
        "__name__": "memlane.somewhere",
        "_core": _core,
        "kind": AttributeError,
    }
    exec(
        "def inner():\n    raise kind('wrong')\n@_core.clear_errors\ndef verb():\n    inner()\n",
        inside,
    )
    verb = inside["verb"]
    bug = failure(verb)
    inside["kind"] = ValueError
    told = failure(verb)

    assert 2 <= len(frames_of_ours(bug))
    assert [] == frames_of_ours(told)


# ---- what a wrapped verb still is ----------------------------------------------------------------


def test_a_verb_keeps_its_signature_and_its_docstring() -> None:
    """`help` and editors show the verb as it was written."""
    create = memlane.Ring.create

    assert ["name", "capacity", "producers"] == list(inspect.signature(create).parameters)[:3]
    assert "capacity" in inspect.signature(memlane.Ring).parameters
    assert "Make a ring" in (create.__doc__ or "")
    assert "create" == create.__name__
    assert "memlane.ring" == create.__module__
    assert "The name of the object" in (memlane.Ring.name.__doc__ or "")
