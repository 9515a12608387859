# SPDX-License-Identifier: MIT
"""The rules of the house that a program can judge: comments, layers, pages that may not drift."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine

SRC = ROOT / "src"

C_SOURCES = sorted(
    path
    for room in ("core", "os", "runtime")
    for path in (SRC / room).iterdir()
    if path.suffix in (".c", ".h")
)
BINDING = sorted([*SRC.rglob("*.pyx"), *SRC.rglob("*.pxd")])
SOURCES = sorted(
    path
    for path in [*SRC.rglob("*"), *(ROOT / "tests").rglob("*")]
    if path.suffix in (".c", ".h", ".py", ".pyi", ".pyx", ".pxd")
)

ORDERING = re.compile(r"\bmemory_order_\w+|\batomic_(?:thread|signal)_fence\b")
TAG = re.compile(r"\bsync:\s+([a-z_]+\.[a-z_]+)")
LINES_ABOVE = 4  # a comment further away than this is about something else


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=name_of)


def code_and_comments(text: str) -> Iterator[tuple[str, bool]]:
    """Each line of C without its comments and strings, and whether it bears a comment."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    commented: set[int] = set()

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        if found.startswith('"'):
            return '""'
        first = text.count("\n", 0, match.start())
        commented.update(range(first, first + found.count("\n") + 1))
        return "\n" * found.count("\n")

    stripped = token.sub(blank, text)
    for number, line in enumerate(stripped.split("\n")):
        yield line.strip(), number in commented


def orderings_without_reason(text: str) -> list[int]:
    """Lines (from 1) with an ordering whose statement has no comment in it or just above it."""
    lines = list(code_and_comments(text))
    bare = []
    for number, (code, _) in enumerate(lines):
        if not ORDERING.search(code):
            continue
        start = number
        while start > 0 and not (
            lines[start - 1][0].endswith((";", "{", "}")) or lines[start - 1] == ("", False)
        ):
            start -= 1
        if not any(commented for _, commented in lines[max(0, start - LINES_ABOVE) : number + 1]):
            bare.append(number + 1)
    return bare


@each(C_SOURCES)
def test_every_ordering_in_c_has_its_reason_beside_it(path: Path) -> None:
    """A memory order or a fence has a comment in its statement or in the few lines above it."""
    bare = orderings_without_reason(path.read_text())

    assert [] == [f"{name_of(path)}:{line}" for line in bare]


def test_an_ordering_without_a_reason_is_found() -> None:
    """The judge itself: an ordering alone is found, one with a comment at its statement is not."""
    alone = (
        "int f(void) {\n    a = 1;\n\n\n\n    return\n        load(x,\n  memory_order_acquire);\n}"
    )
    with_reason = alone.replace("    return\n", "    /* why */\n    return\n")
    only_said = "/* memory_order_relaxed */"

    assert [8] == orderings_without_reason(alone)
    assert [] == orderings_without_reason(with_reason)
    assert [] == orderings_without_reason(only_said)


def tags_in_sources() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in C_SOURCES:
        found.update(TAG.findall(path.read_text()))
    return found


def test_every_sync_tag_has_two_ends() -> None:
    """`sync: thing.field` stands at both ends of a pair, so one grep shows the protocol."""
    tags = tags_in_sources()

    assert tags
    assert [] == sorted(tag for tag, count in tags.items() if count < 2)


def test_the_memory_model_has_one_row_for_each_sync_tag_and_none_for_another() -> None:
    """docs/memory-model.md lists each tag once, with both sides and what breaks without it."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in (ROOT / "docs" / "memory-model.md").read_text().splitlines()
        if line.startswith("| `")
    ]

    assert sorted(tags_in_sources()) == sorted(row[0].strip("`") for row in rows)
    assert [] == [row[0] for row in rows if len(row) != 4 or not all(row)]


def test_the_memory_model_says_of_each_sync_tag_which_shape_its_pair_has() -> None:
    """A pair whose shape nobody named is one whose orders nobody has argued for."""
    page = (ROOT / "docs" / "memory-model.md").read_text()
    shapes = page.partition("### Each pair and its shape\n")[2].partition("\n## ")[0]

    assert [] == sorted(tag for tag in tags_in_sources() if f"`{tag}`" not in shapes)


@each([path for path in C_SOURCES if path.parent.name == "core"])
def test_core_knows_neither_python_nor_the_operating_system(path: Path) -> None:
    """src/core is algorithm only: no Python, no allocation, no system call, no printing."""
    forbidden = re.compile(
        r"Python\.h|\b(?:m|c|re)alloc\b|\bfree\s*\(|printf|\berrno\b|\bmmap\b|\bshm_open\b|\bsem_\w+|\bpthread_"
    )
    allowed = {"assert", "limits", "stdalign", "stdatomic", "stdbool", "stddef", "stdint", "string"}
    text = path.read_text()
    code = "\n".join(line for line, _ in code_and_comments(text))

    assert [] == forbidden.findall(code)
    assert set(re.findall(r"#include <([^>]+)\.h>", text)) <= allowed
    assert all(name.startswith("core/") for name in re.findall(r'#include "([^"]+)"', text))


@each([path for path in C_SOURCES if path.parent.name == "os"])
def test_the_os_layer_does_not_know_the_algorithms(path: Path) -> None:
    """src/os and src/core are neighbors that do not know each other; src/runtime knows both."""
    text = path.read_text()

    assert all(name.startswith("os/") for name in re.findall(r'#include "([^"]+)"', text))
    assert "Python.h" not in text


@each([path for path in C_SOURCES if path.parent.name == "runtime"])
def test_the_runtime_knows_core_and_os_and_no_python(path: Path) -> None:
    """src/runtime is what other languages stand on: nothing above it is known to it."""
    text = path.read_text()
    below = ("core/", "os/", "runtime/")

    assert all(name.startswith(below) for name in re.findall(r'#include "([^"]+)"', text))
    assert not re.search(r"Python\.h|\bPy[A-Z_]\w+", text)


@each(BINDING)
def test_the_binding_has_no_atomics_of_its_own(path: Path) -> None:
    """An ordering lives in src/core or src/os, beside its reason."""
    assert [] == re.findall(r"(?:\b|__)atomic_\w+|memory_order\w*", path.read_text())


@each([path for path in BINDING if path.suffix == ".pyx"])
def test_every_module_of_the_binding_has_its_errors_speak_to_the_caller(path: Path) -> None:
    """Before anything in it can fail: _core/calls.h replaces what Cython makes of an error."""
    text = path.read_text()
    code = re.sub(r'\A(?:#[^\n]*\n)*"""(?s:.*?)"""', "", text)
    code = re.sub(r"^(?:from|c?import) [^\n(]*(?:\((?s:.*?)\))?\n", "", code, flags=re.MULTILINE)
    if path.stem == "calls":
        assert "memlane_calls_join(&shared, globals())\n" in code
    else:
        assert code.lstrip().startswith("memlane_calls_join(calls_of_process(), globals())\n")


def modules_imported(path: Path) -> set[str]:
    if path.suffix != ".py":
        lines = re.findall(
            r"^\s*(?:cimport|import|from)\s+([\w.]+)", path.read_text(), re.MULTILINE
        )
        return {line.partition(".")[0] for line in lines}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def test_only_the_doorbell_knows_posix_ipc() -> None:
    """Another way to sleep and wake would touch one file."""
    users = [
        name_of(path)
        for path in [*sorted((SRC / "memlane").rglob("*.py")), *BINDING]
        if "posix_ipc" in modules_imported(path)
    ]

    assert ["src/memlane/_region/semaphores.py"] == users


@each(SOURCES)
def test_every_source_names_its_license_once(path: Path) -> None:
    """One SPDX line near the top."""
    lines = path.read_text().splitlines()
    # put together here, or this very line would be a second one
    spdx = [
        number for number, line in enumerate(lines) if "SPDX-License" + "-Identifier: MIT" in line
    ]

    assert 1 == len(spdx)
    assert spdx[0] < 3


# ---- one subject for each file, one file of tests for each source --------------------------------

PYTHON_SOURCES = sorted((SRC / "memlane").rglob("*.py"))


def first_words(path: Path) -> str:
    """The line of a source that says what it is about: of its docstring or its first comment."""
    text = path.read_text()
    if path.suffix == ".py":
        return ((ast.get_docstring(ast.parse(text)) or "").splitlines() or [""])[0]
    lines = text.splitlines()[:8]
    words = [
        line.strip('/*"# \t')
        for line in lines
        if "SPDX" not in line and not line.startswith(("# cython:", "# distutils:"))
    ]
    return next((line for line in words if line), "")


@each(
    [path for path in SOURCES if path.is_relative_to(SRC) and path.suffix in (".py", ".h", ".pyx")]
)
def test_every_source_begins_with_the_subject_that_it_is_about(path: Path) -> None:
    """Its first line of text names one subject in at most one line; a length is no subject."""
    first = first_words(path)

    assert len(first.split()) > 1, first
    assert first[0].isupper() or first[0] == "`", first


#: A function of Python does one thing. Lines of code, without signature and docstring; arbitrary.
FUNCTION_LINES_MAX = 65
#: Longer ones, and why each is one thing all the same.
LONG_FUNCTIONS = {
    "opening.create": "the steps of one life; whatever fails, one handler undoes those before",
}


def long_functions(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and (node.end_lineno or 0) - body[0].lineno >= FUNCTION_LINES_MAX:
                found.append(f"{path.stem}.{node.name}")
    return found


def test_no_function_is_longer_than_one_thought() -> None:
    """Exceptions are named with their reason, and are still too long."""
    found = [name for path in PYTHON_SOURCES for name in long_functions(path)]

    assert sorted(LONG_FUNCTIONS) == sorted(found)


#: Where the tests of a source are that has no test file of its name, and why.
TESTED_BY = {
    "core/status.h": ("tests/core/lane.c", "names of results, used by every test"),
    "core/layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/ring_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/slot_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/counter_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/samples_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/topic_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/map_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/lock_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/objects_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/heap_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/heap_room.h": ("tests/core/heap.c", "needs blocks that are held and freed"),
    "core/heap_transit.h": ("tests/core/heap.c", "needs blocks that are held and freed"),
    "core/map_writer.h": ("tests/core/map.c", "needs readers of what was changed"),
    "core/topic_publisher.h": ("tests/core/topic.c", "needs the other end of the topic"),
    "core/topic_subscriber.h": ("tests/core/topic.c", "needs the other end of the topic"),
    "core/lane_order.h": ("tests/core/topic.c", "needs lanes whose records have numbers"),
    "core/queue_layout.h": ("tests/rules/test_sources.py", "compared with docs/layout.md"),
    "core/queue_producer.h": ("tests/core/queue_order.c", "needs the other end of the queue"),
    "core/ownership.h": ("tests/core/participants.c", "owners are participants"),
    "core/lane_producer.h": ("tests/core/lane.c", "needs the other end of the lane"),
    "core/lane_consumer.h": ("tests/core/lane.c", "needs the other end of the lane"),
    "os/map.c": ("tests/mapping/test_mapping.py", "system calls whose errors Python tells"),
    "os/guard.c": ("tests/mapping/test_guard.py", "needs children that may die of a signal"),
    "os/lockbytes.c": ("tests/region/test_participants.py", "needs processes that are killed"),
    "memlane/linking.py": ("tests/system/test_c_face.py", "where the header and the library are"),
    "memlane/__init__.py": ("tests/face/test_face.py", "the public face"),
    "memlane/__main__.py": ("tests/cli/test_command.py", "two lines: the command line"),
    "memlane/_calls.py": ("tests/face/test_mistakes.py", "texts for calls that do not fit"),
    "memlane/_arguments.py": ("tests/face/test_refused.py", "values that no call takes"),
    "memlane/_core/__init__.py": ("tests/face/test_face.py", "what Python code takes of it"),
    "memlane/_proc.py": ("tests/cli/test_ls.py", "its users are ls and stat"),
    "memlane/_processes.py": ("tests/ring/test_until.py", "processes for until="),
    "memlane/_event_loops.py": ("tests/waiting/test_aio.py", "what its verbs wait in"),
    "memlane/ring.py": ("tests/ring/test_put_get.py", "the folder is its test"),
    "memlane/shared_object.py": ("tests/region/test_foreign_kind.py", "by a kind of its own"),
    "memlane/_region/attachment.py": ("tests/region/test_closing.py", "its life"),
    "memlane/_region/location.py": ("tests/region/test_create_open.py", "names as users give them"),
    "memlane/_region/opening.py": ("tests/region/test_create_open.py", "named after its verbs"),
    "memlane/_region/semaphores.py": (
        "tests/region/test_doorbells_unavailable.py",
        "four files of doorbells",
    ),
    "memlane/_region/sweep.py": ("tests/region/test_region_files.py", "sweeps of real files"),
    **{
        f"memlane/bridge/{name}.py": ("tests/bridge/test_bridge.py", "needs two bridges")
        for name in (
            "__init__",
            "engine",
            "hub",
            "incoming",
            "journal",
            "outgoing",
            "status",
        )
    },
    "memlane/bridge/zenoh_engine.py": ("tests/bridge/test_bridge.py", "needs two bridges"),
    "memlane/cli/bridging.py": ("tests/bridge/test_command.py", "beside what it starts"),
    "memlane/cli/__init__.py": ("tests/cli/test_command.py", "what all commands share"),
    "memlane/cli/listing.py": ("tests/cli/test_ls.py", "named after the command"),
    "memlane/cli/text.py": ("tests/cli/test_command.py", "what all commands share"),
    "memlane/cli/parser.py": ("tests/cli/test_command.py", "what all commands share"),
    "memlane/cli/commands.py": ("tests/cli/test_command.py", "what all commands share"),
    "memlane/cli/looking.py": ("tests/cli/test_command.py", "names that are not there"),
    "memlane/cli/completion.py": ("tests/cli/test_doctor.py", "a script for shells"),
    "memlane/cli/recorder.py": ("tests/cli/test_recording.py", "what it writes"),
    "memlane/following.py": ("tests/cli/test_tail.py", "named after its command"),
    "memlane/cli/watching.py": ("tests/cli/test_stat.py", "named after its command"),
    **{
        f"memlane/cli/demo/{name}.py": ("tests/cli/test_demo.py", "parts of one program")
        for name in ("__init__", "indexing", "pieces", "pipeline", "watching", "worker")
    },
}


def has_test_of_its_name(path: Path) -> bool:
    tests, stem = ROOT / "tests", path.stem.lstrip("_")
    if path.suffix == ".py":
        return bool([*tests.rglob(f"test_{stem}.py"), *tests.rglob(f"test_{stem}_*.py")])
    # in the folder of the same name
    folder = tests / path.parent.name
    return bool([*folder.glob(f"{stem}.c"), *folder.glob(f"{stem}_*.c")])


def test_every_source_has_its_tests_where_its_name_or_this_list_says() -> None:
    """A list, since a file that nobody has a test for is found by nobody else."""
    sources = [
        *(path for path in C_SOURCES if path.suffix == ".c" or path.parent.name == "core"),
        *(
            path
            for path in PYTHON_SOURCES
            if path.name != "__init__.py" or len(path.read_text().splitlines()) > 3
        ),
    ]
    nameless = [str(path.relative_to(SRC)) for path in sources if not has_test_of_its_name(path)]

    assert sorted(TESTED_BY) == sorted(nameless)
    assert [] == [where for where, _ in TESTED_BY.values() if not (ROOT / where).exists()]


#: In tests/runtime, built and run by a test in Python.
PROGRAMS = {"ring_program"}


def test_every_core_test_is_registered_with_the_build() -> None:
    """A test file that nobody builds proves nothing."""
    registered = set(
        re.findall(
            r"^    '(\w+)': \d+,$", (ROOT / "tests/core/meson.build").read_text(), re.MULTILINE
        )
    )

    rooms = ("core", "os", "runtime")
    sources = [path for room in rooms for path in (ROOT / "tests" / room).glob("*.c")]
    assert {path.stem for path in sources} - PROGRAMS == registered


def test_every_source_of_the_runtime_has_its_test_and_is_built_into_it() -> None:
    """A file of src/runtime is tested where the sources say, and linked into all these tests."""
    made = {path.stem for path in (SRC / "runtime").glob("*.c")}
    build = (ROOT / "tests/core/meson.build").read_text()
    linked = re.search(r"'runtime': \[(.*?)\],", build)

    assert linked is not None
    assert made == {path.stem for path in (ROOT / "tests" / "runtime").glob("*.c")} - PROGRAMS
    assert made == set(re.findall(r"'(\w+)'", linked[1]))


# ---- who may use shared bytes --------------------------------------------------------------------

#: What leads to shared bytes or to a descriptor of the region, in a method of these classes.
TOUCHES = re.compile(r"\bself\.(?:shared|counter|own|bell|mapping\.address)\b")
PINS = re.compile(r"\bself\.(?:membership\.)?(?:pin|pin_open|pin_loan)\(|\bmembership\.pin\(")
PINNED_CLASSES = {
    "Membership": "membership.pyx",
    "Doorbell": "waiting.pyx",
    "CounterBase": "counter.pyx",
}
#: Each `def` that touches them and pins nothing, and why it may.
UNPINNED = {
    "Membership.__cinit__": "nobody else has it yet",
    "Membership.__init__": "nobody else has it yet",
    "Membership.__del__": "nobody else has it any more",
    "Membership.handle": "looks whether the descriptor is ours, in one step that runs no Python",
    "Membership.lose_base": "forgets a number",
    "Membership.close": "is what pins wait for; runs no Python",
    "Membership.base": "a number of this process",
    "Membership.file": "numbers of this process",
    "Membership.tag": "a number of this process",
    "Doorbell.number": "a number of this process",
    "Doorbell.__cinit__": "nobody else has it yet",
    "Doorbell.__dealloc__": "nobody has it any more; a semaphore in the region is left alone",
    "Doorbell.attach_named": "keeps the address of a file of its own",
    "Doorbell.attached": "compares an address, and follows it nowhere",
    "CounterBase._bind": "keeps an address, and follows it nowhere",
    "CounterBase.add": "looks whether the region is closed, and runs no Python behind that look",
    "CounterBase.exchange": "as add",
    "CounterBase.compare_exchange": "as add",
    "CounterBase.max": "as add; behind a signal it looks again",
    "CounterBase.min": "as max",
    "CounterBase.__iadd__": "is add",
    "CounterBase.__isub__": "is add",
    "CounterBase.value": "as add",
}


def methods_of(text: str, name: str) -> dict[str, tuple[bool, str]]:
    """The methods of a class of the binding: whether each is a `def`, and its code."""
    body = re.search(
        rf"^(?:cdef )?class {name}\b.*?(?=^(?:cdef|cpdef|def|class|@|[A-Z])|\Z)",
        text,
        re.DOTALL | re.MULTILINE,
    )
    assert body is not None, name
    code = re.sub(r'""".*?"""|#[^\n]*', "", body.group(), flags=re.DOTALL)
    heads = list(re.finditer(r"^    (def|cdef)\b[^\n(=]*?(\w+)\([^\n]*", code, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(code)]
    found: dict[str, tuple[bool, str]] = {}
    for head, end in zip(heads, ends, strict=True):
        # a setter has the name of its getter
        before = found.get(head[2], (False, ""))[1]
        found[head[2]] = (head[1] == "def", before + code[head.end() : end])
    return found


def unpinned_defs(text: str, name: str) -> list[str]:
    """Each `def` of a class that touches shared bytes, itself or by a cdef, and pins nothing."""
    methods = methods_of(text, name)
    touching = {
        method
        for method, (_, body) in methods.items()
        if TOUCHES.search(body) and not PINS.search(body)
    }
    while True:
        more = {
            method
            for method, (_, body) in methods.items()
            if not PINS.search(body)
            and any(called in touching for called in re.findall(r"\bself\.(\w+)\(", body))
        }
        if more <= touching:
            break
        touching |= more
    return [f"{name}.{method}" for method in methods if method in touching and methods[method][0]]


def test_every_method_that_touches_shared_bytes_pins_them_or_says_why_it_need_not() -> None:
    """A close in another thread or a handler must never take the memory from a call under way."""
    found = []
    for name, file in PINNED_CLASSES.items():
        found += unpinned_defs((SRC / "memlane" / "_core" / file).read_text(), name)

    assert sorted(UNPINNED) == sorted(found)


def test_a_method_that_touches_shared_bytes_without_a_pin_is_found() -> None:
    """The judge itself: touching is found through a cdef as well, a pin or a comment clears it."""
    planted = '''
cdef class Membership:
    cdef memlane_header *shared

    def direct(self):
        return memlane_look(self.shared)

    cdef int step(self) except -1:
        return memlane_look(self.shared)

    def by_a_step(self):
        """Looks at self.shared."""
        return self.step()

    def pins(self):
        cdef uint64_t pinned = self.pin_open()
        return self.step()

    def harmless(self):
        # not self.shared
        return 1


cdef int next_thing() except -1:
    return 0
'''

    assert ["Membership.direct", "Membership.by_a_step"] == unpinned_defs(planted, "Membership")


# ---- docs/layout.md against the layout headers ---------------------------------------------------


def table_rows(width: int, head: str) -> list[list[str]]:
    """The rows of those tables of docs/layout.md whose first column is called `head`."""
    rows: list[list[str]] = []
    inside = False
    for line in (ROOT / "docs" / "layout.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == head:
            inside = True
        elif inside and not cells[0].startswith("--"):
            assert width == len(cells), line
            rows.append(cells)
    return rows


LAYOUT_HEADERS = ["layout.h", *sorted(path.name for path in (SRC / "core").glob("*_layout.h"))]


def fields_in_header() -> list[tuple[str, str]]:
    """(struct, field) of every shared structure, in order."""
    text = "\n".join(
        line
        for header in LAYOUT_HEADERS
        for line, _ in code_and_comments((SRC / "core" / header).read_text())
    )
    found = []
    for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.DOTALL | re.MULTILINE):
        if name.endswith("_shape"):
            continue  # of one process: what a geometry comes to
        for field in re.findall(r"(\w+)(?:\[[^;]*\])?;", body):
            found.append((name, field))
        found.append((name, "(whole)"))
    return found


def numbers_from_c(expressions: list[str], directory: Path) -> list[int]:
    """What a C program that includes them finds for each expression."""
    program = directory / "numbers.c"
    prints = "\n".join(f'    printf("%llu\\n", (unsigned long long)({it}));' for it in expressions)
    includes = "".join(f'#include "core/{header}"\n' for header in LAYOUT_HEADERS)
    program.write_text(
        f"#include <stdio.h>\n{includes}int main(void) {{\n{prints}\n    return 0;\n}}\n"
    )
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run(
        [*compiler, "-std=c11", "-D_GNU_SOURCE", f"-I{SRC}", program, "-o", directory / "numbers"],
        check=True,
    )
    output = subprocess.run(
        [directory / "numbers"], check=True, capture_output=True, text=True
    ).stdout
    return [int(line) for line in output.split()]


def test_the_layout_page_shows_every_field_where_the_compiler_puts_it(tmp_path: Path) -> None:
    """The page and the headers agree on every offset and size; neither has a field more."""
    rows = table_rows(4, "struct")
    expressions = []
    for struct, field, _, _ in rows:
        whole = field == "(whole)"
        expressions.append("0" if whole else f"offsetof(struct {struct}, {field})")
        expressions.append(
            f"sizeof(struct {struct})" if whole else f"sizeof((struct {struct} *)0)->{field}"
        )
    numbers = iter(numbers_from_c(expressions, tmp_path))
    compiled = [
        [struct, field, str(next(numbers)), str(next(numbers))] for struct, field, _, _ in rows
    ]

    assert sorted(fields_in_header()) == sorted((struct, field) for struct, field, _, _ in rows)
    assert compiled == rows


def test_the_layout_page_shows_the_constants_of_the_header(tmp_path: Path) -> None:
    """Version, draft, magic and limits on docs/layout.md are those that are compiled in."""
    rows = table_rows(2, "constant")
    compiled = numbers_from_c([name for name, _ in rows], tmp_path)

    assert rows
    assert compiled == [int(value, 0) for _, value in rows]


FENCES = re.compile(r"\b(mfence|lock\s+or[lq]?\s|dmb\s+ish\b|sync\b|fence\s+rw,\s*rw)")


def code_between_the_flag_and_the_look(tmp_path: Path, header: str) -> str:
    """What the compiler makes of a shutdown, up to the look at the waiters."""
    program = tmp_path / "shutdown.c"
    program.write_text(
        f"{header}\n"
        "void begin_of_it(void); void end_of_it(void);\n"
        "void shut(struct memlane_ring_control *control) {\n"
        "    begin_of_it();\n    memlane_ring_shut(control, 1);\n    end_of_it();\n}\n"
    )
    compiler = os.environ.get("CC", "cc").split()
    made = subprocess.run(
        [*compiler, "-std=c11", "-O2", "-S", "-o", "-", f"-I{SRC}", program],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return made[made.index("begin_of_it") : made.rindex("end_of_it")]


def test_a_shutdown_is_fenced_from_the_look_for_sleepers(tmp_path: Path) -> None:
    """That look is a relaxed load: only a full fence keeps it behind the flag on every machine."""
    sound = (SRC / "core" / "lane.h").read_text()
    shut = sound[sound.index("static inline void memlane_ring_shut(") :]
    shut = shut[: shut.index("\n}\n")]
    broken = sound.replace(shut, shut.replace("    atomic_thread_fence(memory_order_seq_cst);", ""))

    assert broken != sound
    assert FENCES.search(code_between_the_flag_and_the_look(tmp_path, sound))
    assert not FENCES.search(code_between_the_flag_and_the_look(tmp_path, broken))
