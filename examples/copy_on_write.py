# SPDX-License-Identifier: MIT
"""
Change a private view of a file: the file stays as it is, until the change is written back on
purpose.

    python examples/copy_on_write.py
"""

import tempfile
from pathlib import Path

import memlane


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data")
        path.write_text("the file as it was")

        with memlane.Mapping.open(path, "c") as mapping:
            mapping[0:3] = b"MY "
            print("mapping:", mapping[:].decode())
            print("file:   ", path.read_text())

            print("written back:", mapping.write_back(offset=0, nbytes=3), "bytes")
            print("file:   ", path.read_text())


if __name__ == "__main__":
    main()
