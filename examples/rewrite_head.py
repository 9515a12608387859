# SPDX-License-Identifier: MIT
"""
Rewrite the head of a file in place, flush it, and read it back with `open`; then grow the file
while it is mapped.

    python examples/rewrite_head.py

Assigning to the mapping is writing the file: a program that reads it sees the bytes at once, and
after `flush` they are on the disk. The rest of the file is not touched, let alone written again.
"""

import tempfile
from pathlib import Path

import memlane


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "greeting.txt")
        path.write_bytes(b"hello, this is the head of a file\nand this is its second line\n")

        with memlane.Mapping.open(path, "r+") as mapping:
            mapping[0:5] = b"HOWDY"
            mapping.flush(0, 5)
            with open(path) as file:
                print("read back:", file.readline().rstrip())

            before = len(mapping)
            mapping.resize("4 KiB")
            mapping[before : before + 6] = b"third\n"
            mapping.resize(before + 6)
            print("grown while mapped:", before, "->", path.stat().st_size, "bytes")
            print("last line:", path.read_text().splitlines()[-1])


if __name__ == "__main__":
    main()
