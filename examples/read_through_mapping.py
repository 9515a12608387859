# SPDX-License-Identifier: MIT
"""
Print a file through a mapping: byte by byte, as a block, its first 80 characters, its number of
lines.

    python examples/read_through_mapping.py [FILE]

Nothing is read: the bytes of the file lie in memory, and the kernel brings in the pages that are
touched.
"""

import sys

import memlane


def main(path: str) -> None:
    with memlane.Mapping.open(path) as mapping:
        for index in range(min(len(mapping), 5)):
            print(f"byte {index} is {mapping[index]:3d} {chr(mapping[index])!r}")

        print("as a block:")
        sys.stdout.flush()
        sys.stdout.buffer.write(memoryview(mapping)[:200])  # no copy is made on the way
        sys.stdout.buffer.flush()
        print()

        print("first 80 characters:", repr(mapping[:80].decode(errors="replace")))
        print("lines:", mapping.count(b"\n"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else __file__)
