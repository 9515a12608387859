# SPDX-License-Identifier: MIT
"""Imports point down: within Python by floors, and each room knows only what it may know."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError
from pathlib import Path

import pytest

from tests import ROOT
from tools import draw_imports

pytestmark = pytest.mark.machine

#: Who may import whom: a module, or a folder with a dot behind it, and what it may know of the
#: package. What is not listed may know all that does not make a circle.
MAY_KNOW = {
    "errors": set[str](),
    "_arguments": {"errors"},
    "_limits": {"errors"},
    "_processes": {"errors", "_arguments"},
    "_calls": {"errors", "_arguments"},
    "_core": {"errors", "_arguments", "_calls", "_limits", "_processes"},
    "_region.": {"errors", "_arguments", "_calls", "_core", "_region."},
    "values": {"errors", "_arguments", "_core"},
    "windows": {"errors", "_arguments", "_core"},
    "shared_object": {"errors", "_arguments", "_calls", "_core", "_region."},
    **{
        kind: {"errors", "_arguments", "_calls", "_core", "_region.", "shared_object", "values"}
        for kind in ("ring", "slot", "counter")
    },
}


def allowed(module: str, target: str) -> bool:
    for room, known in MAY_KNOW.items():
        if module == room or (room.endswith(".") and f"{module}.".startswith(room)):
            return any(
                target == it or (it.endswith(".") and f"{target}.".startswith(it)) for it in known
            )
    return True


def test_no_module_imports_one_that_it_must_not_know() -> None:
    """A kind knows no other kind and no region; what regions stand on knows no kind."""
    arrows = draw_imports.python_arrows()

    assert [] == [
        (module, target)
        for module, targets in sorted(arrows.items())
        for target in sorted(targets)
        if not allowed(module, target)
    ]
    assert {*draw_imports.floors(arrows)} >= {it for it in MAY_KNOW if not it.endswith(".")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also not inside of functions, or for type checkers."""
    draw_imports.floors(draw_imports.python_arrows())


def test_a_circle_and_a_forbidden_import_are_found() -> None:
    """The judge itself."""
    with pytest.raises(CycleError):
        draw_imports.floors({"ring": {"region"}, "region": {"ring"}})
    assert not allowed("_region.files", "ring")
    assert not allowed("ring", "slot")
    assert allowed("ring", "_region.directory")
    inside = "def f():\n    from memlane.ring import Ring\n"
    assert ["memlane.ring.Ring"] == list(draw_imports.imported_names(ast.parse(inside)))


def test_nothing_inside_the_package_imports_from_its_front_door() -> None:
    """`from memlane import x` would need all of it to be imported before."""
    inside = [
        path
        for path in sorted((ROOT / "src" / "memlane").rglob("*.p*"))
        if path.suffix in (".py", ".pyx", ".pxi") and "cli" not in path.parts
    ]
    front = re.compile(r"^\s*from memlane import", re.MULTILINE)

    assert [] == [str(path) for path in inside if front.search(path.read_text())]


def test_the_page_shows_the_imports_of_today() -> None:
    """After a change run `make picture`."""
    page = Path(draw_imports.PAGE).read_text()

    assert draw_imports.page(page) == page
