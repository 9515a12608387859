# SPDX-License-Identifier: MIT
"""
Draw who imports whom, floor by floor, from the sources: into docs/architecture.md.

    python -m tools.draw_imports [--write]

A module stands one floor above the highest of those that it imports, so every arrow points down;
where modules import each other in a circle there is no such floor, and they are named.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "memlane"
PAGE = ROOT / "docs" / "architecture.md"
_PICTURE = re.compile(
    r"(<!-- begin of the picture -->\n).*?(<!-- end of the picture -->)", re.DOTALL
)
#: Imported for type checkers only, and told at run time: see SharedObject._region_class.
EXCEPTIONS = {("shared_object", "region")}

Arrows = dict[str, set[str]]


def module_name(path: Path) -> str:
    """By the folders below the package; the package itself is "memlane"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__").replace("__init__", "memlane")


def imported_names(tree: ast.AST) -> Iterable[str]:
    """All that is imported, also inside of functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def cython_names(text: str) -> Iterable[str]:
    """All that a .pyx or .pxd imports or cimports, as "module.name"."""
    code = re.sub(r'"""(?s:.*?)"""|#[^\n]*', "", text)
    for module, names in re.findall(
        r"^\s*from\s+([\w.]+)\s+c?import\s+(\((?s:.*?)\)|[^\n]+)", code, re.MULTILINE
    ):
        yield from (
            f"{module}.{name.split()[0]}" for name in names.strip("()").split(",") if name.strip()
        )
    for names in re.findall(r"^\s*c?import\s+([^\n]+)", code, re.MULTILINE):
        yield from (name.split()[0] for name in names.split(","))


def arrows_of_package() -> Arrows:
    """
    The imports of each module of the package, those of the binding with them.

    A .pyx and its .pxd are one module. One that is only declarations of C is a module, too.
    """
    sources: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.p[yx]*")):
        if path.suffix in (".py", ".pyx", ".pxd"):
            sources.setdefault(module_name(path), []).append(path)
    arrows: Arrows = {}

    def meant(name: str) -> str | None:
        if name == "memlane" or not name.startswith("memlane."):
            return "memlane" if name == "memlane" else None
        inside = name.removeprefix("memlane.")
        while inside and inside not in sources:
            inside = inside.rpartition(".")[0]
        return inside or "memlane"

    for module, paths in sources.items():
        found: set[str | None] = set()
        for path in paths:
            text = path.read_text()
            names = imported_names(ast.parse(text)) if path.suffix == ".py" else cython_names(text)
            found |= {meant(name) for name in names}
        arrows[module] = {name for name in found if name is not None and name != module}
    for module, target in EXCEPTIONS:
        arrows[module].discard(target)
    return arrows


def floors(arrows: Mapping[str, set[str]]) -> dict[str, int]:
    """
    The floor of each module, from 0.

    Raises:
        CycleError: modules import each other in a circle; its arguments name them.
    """
    found: dict[str, int] = {}
    for module in TopologicalSorter(arrows).static_order():
        found[module] = 1 + max((found[below] for below in arrows.get(module, ())), default=-1)
    return found


def picture(arrows: Mapping[str, set[str]]) -> str:
    """The modules from the highest floor down, each with those that it imports."""
    on = floors(arrows)
    width = max(map(len, arrows))
    lines = []
    for floor in sorted(set(on.values()), reverse=True):
        for module in sorted(name for name in arrows if on[name] == floor):
            below = ", ".join(sorted(arrows[module], key=lambda name: (-on[name], name)))
            lines.append(f"{floor:2}  {module:{width}}  {below}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def page(text: str) -> str:
    """A text of docs/architecture.md with the picture of today."""
    return _PICTURE.sub(
        lambda found: f"{found[1]}\n```text\n{picture(arrows_of_package())}\n```\n\n{found[2]}",
        text,
    )


def main() -> int:
    try:
        drawn = page(PAGE.read_text())
    except CycleError as error:
        print(f"modules import each other in a circle: {' -> '.join(error.args[1])}")
        return 1
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(drawn)
    elif drawn != PAGE.read_text():
        print(f"{PAGE.relative_to(ROOT)} is older than the sources; run make picture")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
