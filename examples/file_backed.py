# SPDX-License-Identifier: MIT
"""
A region in a file is still there when all programs that used it have ended.

    python examples/file_backed.py [PATH]

Each of three programs, one after the other, opens the same file, adds to a counter, and leaves a
note in a slot for the next one. Between them nobody has the region open: its bytes are in the file.
Without PATH it is a temporary file, which is removed at the end; with one it stays, and the next
run goes on from there.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import memlane

NOTE_NBYTES = 64


def visit(path: Path, name: str) -> None:
    """One program's turn."""
    with memlane.Region.open_or_create(path, "1 MiB") as region:
        visits = region.counter("visits").add(1)
        note = region.slot("note", NOTE_NBYTES)
        found = note.read().rstrip(b"\0").decode() if note.version else "nothing"
        note.publish(f"a note of {name}".encode().ljust(NOTE_NBYTES, b"\0"))
    print(f"{name}: visit {visits}, found {found!r}", flush=True)


def run_all(path: Path) -> None:
    for name in ("anna", "bert", "cleo"):
        subprocess.run([sys.executable, __file__, os.fspath(path), name], check=True)
    with memlane.Region.open(path) as region:
        print(
            f"all have ended, the file is there and says: {region.counter('visits').value} visits"
        )


def main() -> None:
    match sys.argv[1:]:
        case [given, name]:
            visit(Path(given), name)
        case [given]:
            run_all(Path(given))
        case _:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory, "visits.lane")
                run_all(path)
                with memlane.Region.open(path) as region:
                    region.unlink()  # the file, and the semaphores that belong to it


if __name__ == "__main__":
    main()
