# SPDX-License-Identifier: MIT
"""
A parent and its child write strings in turn, into an anonymous mapping and into one of /dev/zero.

    python examples/take_turns.py

Both kinds give memory that only a forked child shares: /dev/zero is how one asked for it before
MAP_ANONYMOUS. Whose turn it is must be agreed on beside the memory; two small rings do that here,
since a record that arrives is also the proof that what was written before it can be read.
"""

import os

import memlane


def write(mapping: memlane.Mapping, text: str) -> None:
    """Put a string in, ended by a NUL as in C."""
    encoded = text.encode() + b"\0"
    mapping[: len(encoded)] = encoded


def read(mapping: memlane.Mapping) -> str:
    return mapping[: mapping.find(b"\0")].decode()


def child(
    mappings: dict[str, memlane.Mapping], to_child: memlane.Ring, to_parent: memlane.Ring
) -> None:
    for what, mapping in mappings.items():
        to_child.get(timeout=60)
        print(f"child  reads {read(mapping)!r} from {what}", flush=True)
        write(mapping, f"hello parent, here is {what}")
        to_parent.put(b"your turn")


def main() -> None:
    with (
        memlane.Mapping.anonymous(memlane.PAGE_SIZE) as anonymous,
        memlane.Mapping.open("/dev/zero", "r+", nbytes=memlane.PAGE_SIZE) as zero,
        memlane.Ring(capacity="4 KiB", anonymous=True) as to_child,
        memlane.Ring(capacity="4 KiB", anonymous=True) as to_parent,
    ):
        mappings = {"the anonymous mapping": anonymous, "/dev/zero": zero}
        pid = os.fork()
        if pid == 0:
            child(mappings, to_child, to_parent)
            os._exit(0)

        for what, mapping in mappings.items():
            write(mapping, f"hello child, here is {what}")
            to_child.put(b"your turn")
            to_parent.get(timeout=60)
            print(f"parent reads {read(mapping)!r} from {what}", flush=True)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
