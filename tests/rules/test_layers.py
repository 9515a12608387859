# SPDX-License-Identifier: MIT
"""Imports point down: within Python by floors, and each module knows only what it may know."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError
from pathlib import Path

import pytest

from tests import ROOT
from tools import draw_imports

pytestmark = pytest.mark.machine

#: What each module may import: a module, or a folder with a dot behind it, and what it may know of
#: the package. What is not listed may know all that does not make a circle.
MAY_KNOW = {
    "errors": set[str](),
    "_arguments": {"errors"},
    "_limits": {"errors"},
    "_processes": {"errors", "_arguments"},
    "_instead": set[str](),
    "_calls": {"errors", "_arguments"},
    "_core": {"_core."},
    "_core.": {"errors", "_arguments", "_calls", "_limits", "_processes", "_core."},
    "_region.": {"errors", "_arguments", "_calls", "_core", "_instead", "_region."},
    "values": {"errors", "_arguments", "_core"},
    "windows": {"errors", "_arguments", "_core"},
    "shared_object": {"errors", "_arguments", "_calls", "_core", "_instead", "_region."},
    "_proc": set(),
    "inspection": {"errors", "_arguments", "_core", "_proc", "_region.", "region"},
    "following": {"_core", "errors", "map", "region", "ring", "slot", "topic", "values"},
    "recording": {"errors"},
    "bridge.": {
        *("errors", "_arguments", "_core", "_region.", "values", "shared_object", "region"),
        *("ring", "topic", "slot", "map", "following", "bridge."),
    },
    "cli.": {"memlane", "bridge", "following", "inspection", "metrics", "recording", "cli."},
    "__main__": {"cli"},
    **{
        kind: {
            *("errors", "_arguments", "_calls", "_core", "_instead", "_region."),
            *("shared_object", "values"),
        }
        for kind in ("ring", "slot", "counter", "map", "lock")
    },
}


#: The modules of the binding from the lowest to the highest: each knows only those before it.
BINDING = re.findall(
    r"^    '(\w+)',$",
    (ROOT / "meson.build").read_text().partition("\nmodules = [\n")[2].partition("\n]\n")[0],
    re.MULTILINE,
)


def allowed(module: str, target: str) -> bool:
    if module.startswith("_core.") and target.startswith("_core."):
        # Lowest are the declarations of src/core and src/os, which do not know each other, then
        # those of src/runtime.
        rooms = [{"core", "os"}, {"runtime"}, *({name} for name in BINDING)]
        floor, below = (
            next(i for i, room in enumerate(rooms) if name[len("_core.") :] in room)
            for name in (module, target)
        )
        return below < floor
    for room, known in MAY_KNOW.items():
        if module == room or (room.endswith(".") and f"{module}.".startswith(room)):
            return any(
                target == it or (it.endswith(".") and f"{target}.".startswith(it)) for it in known
            )
    return True


def test_no_module_imports_one_that_it_must_not_know() -> None:
    """A kind knows no other kind and no region; what regions stand on knows no kind."""
    arrows = draw_imports.arrows_of_package()

    assert [] == [
        (module, target)
        for module, targets in sorted(arrows.items())
        for target in sorted(targets)
        if not allowed(module, target)
    ]
    names = {path.stem for path in (ROOT / "src/memlane/_core").glob("*.pyx")}
    assert names == set(BINDING)
    assert {*draw_imports.floors(arrows)} >= {it for it in MAY_KNOW if not it.endswith(".")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also not inside of functions, or for type checkers."""
    draw_imports.floors(draw_imports.arrows_of_package())


def test_a_circle_and_a_forbidden_import_are_found() -> None:
    """The judge itself."""
    with pytest.raises(CycleError):
        draw_imports.floors({"ring": {"region"}, "region": {"ring"}})
    assert not allowed("_region.files", "ring")
    assert not allowed("ring", "slot")
    assert allowed("ring", "_region.directory")
    assert allowed("_core.slot", "_core.waiting")
    assert not allowed("_core.waiting", "_core.slot")
    assert not allowed("_core.waiting", "_region.semaphores")
    assert not allowed("_core.core", "_core.os")
    cimports = (
        "from memlane._core.os cimport (\n    a,\n    b as c,\n)\ncimport memlane._core.slot\n"
    )
    assert ["memlane._core.os.a", "memlane._core.os.b", "memlane._core.slot"] == list(
        draw_imports.cython_names(cimports)
    )
    inside = "def f():\n    from memlane.ring import Ring\n"
    assert ["memlane.ring.Ring"] == list(draw_imports.imported_names(ast.parse(inside)))


#: Public names of the standard library that begin with an underscore.
STANDARD = {"_asdict", "_exit", "_fields", "_replace"}


def is_private(name: str) -> bool:
    return name not in STANDARD and any(
        part.startswith("_") and not part.endswith("__") for part in name.split(".")
    )


def private_names(tree: ast.AST) -> list[str]:
    """The private names of memlane that a program imports, and those it takes from an object."""
    found = [
        name
        for name in draw_imports.imported_names(tree)
        if name.split(".")[0] == "memlane" and is_private(name)
    ]
    return found + [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


@pytest.mark.parametrize("folder", ["src/memlane/cli", "benchmarks", "examples"])
def test_programs_on_top_of_the_package_use_its_public_names_only(folder: str) -> None:
    """The command line, benchmarks and examples need nothing that users do not have."""
    found = {
        path.name: private_names(ast.parse(path.read_text()))
        for path in sorted((ROOT / folder).rglob("*.py"))
    }

    assert found
    assert {} == {name: names for name, names in found.items() if names}


def test_a_private_name_is_found() -> None:
    """The judge itself: imports and attributes count, those of one's own object do not."""
    program = """
from memlane import _core, Ring
from memlane._region import files
ring._member
self._own
ring.__class__
"""

    assert ["memlane._core", "memlane._region.files", "_member"] == private_names(
        ast.parse(program)
    )


def test_nothing_inside_the_package_imports_from_its_front_door() -> None:
    """`from memlane import x` would need all of it to be imported before."""
    inside = [
        path
        for path in sorted((ROOT / "src" / "memlane").rglob("*.p*"))
        if path.suffix in (".py", ".pyx", ".pxd") and "cli" not in path.parts
        if path != ROOT / "src" / "memlane" / "__init__.py"  # the front door itself
    ]
    front = re.compile(r"^\s*from memlane import", re.MULTILINE)

    assert [] == [str(path) for path in inside if front.search(path.read_text())]


def test_the_page_shows_the_imports_of_today() -> None:
    """After a change run `make picture`."""
    page = Path(draw_imports.PAGE).read_text()

    assert draw_imports.page(page) == page
