# SPDX-License-Identifier: MIT
"""
Copy docstrings from the built extension into its stubs, which is where editors look for them.

    .venv/bin/python -m tests.face.stub_docs [--write]

Without --write it only says whether the stubs have them. They are written in the .pyx files, and
nowhere else.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from typing import Any

import memlane
from memlane import _core
from tests import ROOT

#: One for each module that Python code uses anything of.
STUBS = sorted((ROOT / "src" / "memlane" / "_core").glob("*.pyi"))
#: What users call, or get from a call; everything else in the extension is for memlane itself.
PUBLIC = {
    base.__name__
    for face in map(vars(memlane).get, memlane.__all__)
    if isinstance(face, type)
    for base in face.__mro__
    if base.__module__.startswith("memlane._core") and base is not _core.Handle
} | {"Loans", "Records"}


def docstring(owner: Any, name: str) -> str | None:
    """What the extension says of a name; "As `Ring.get`." is what is said there."""
    found: str | None = getattr(getattr(owner, name, None), "__doc__", None)
    if found is None:
        return None
    found = inspect.cleandoc(found)
    elsewhere = re.fullmatch(r"As `Ring\.(\w+)`\.", found)
    return docstring(_core.RingBase, elsewhere[1]) if elsewhere else found


def with_docstrings(stub: str) -> str:
    """The text of a stub, each public name with the docstring of the extension, none by hand."""
    lines = stub.splitlines()
    # from the end on, so that the numbers of the lines before stay right
    for node, owner, name in reversed(list(public_names(ast.parse(stub)))):
        said = docstring(owner, name)
        is_class = isinstance(node, ast.ClassDef)
        indent = " " * (node.col_offset + 4)
        body = node.body
        bare = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        decorators = getattr(body[0], "decorator_list", [])
        first, last = (decorators or body)[0].lineno - 1, (body[0].end_lineno or 0) - 1
        text = []
        if said is not None:
            said = said.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
            text = [f'{indent}"""' if "\n" in said else f'{indent}"""{said}"""']
            if "\n" in said:
                text += [(indent + line).rstrip() for line in said.split("\n")] + [f'{indent}"""']
        if is_class:
            if bare and isinstance(body[0], ast.Expr) and body[0].value.value is not ...:  # type: ignore[attr-defined]
                del lines[first : last + 1]
                if lines[first] == "":
                    del lines[first]
            if text:
                lines[first:first] = [*text, ""]
        else:
            head = lines[first]
            if head.endswith(": ..."):
                head = head.removesuffix(" ...")
            else:
                head = lines[first - 1]
                first -= 1
            lines[first : last + 1] = [head, *text] if text else [head + " ..."]
    return "\n".join(lines) + "\n"


def public_names(
    tree: ast.Module,
) -> list[tuple[ast.ClassDef | ast.FunctionDef, Any, str]]:
    """What users meet in a stub, with where the extension has it; of overloads the first."""
    found: list[tuple[ast.ClassDef | ast.FunctionDef, Any, str]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "guard":
            found.append((node, _core, node.name))
        if not isinstance(node, ast.ClassDef) or node.name not in PUBLIC:
            continue
        if [ast.unparse(it) for it in node.body] == ["..."]:
            continue  # a base that has nothing to call
        found.append((node, _core, node.name))
        seen: set[str] = set()
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                setter = any(isinstance(it, ast.Attribute) for it in member.decorator_list)
                if member.name not in seen and not setter:
                    found.append((member, getattr(_core, node.name), member.name))
                seen.add(member.name)
    return found


def main() -> int:
    lacking = False
    for path in STUBS:
        stub = path.read_text()
        wanted = with_docstrings(stub)
        if "--write" in sys.argv[1:]:
            path.write_text(wanted)
        elif stub != wanted:
            print(f"{path} lacks docstrings; run make stub")
            lacking = True
    return int(lacking)


if __name__ == "__main__":
    sys.exit(main())
