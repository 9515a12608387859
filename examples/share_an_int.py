# SPDX-License-Identifier: MIT
"""
A parent and its child share one integer through an anonymous mapping.

    python examples/share_an_int.py

The mapping is shared memory without a file or a name: a forked child has it, nobody else can get at
it, and it is gone with the last process. The child writes 42; the parent waits for the child to
end, then reads. Nothing is sent.
"""

import os

import memlane


def main() -> None:
    with memlane.Mapping.anonymous(memlane.PAGE_SIZE) as mapping:
        number = memoryview(mapping).cast("i")  # the same bytes, seen as C ints
        print(f"parent: the number is {number[0]}", flush=True)

        child = os.fork()
        if child == 0:
            number[0] = 42
            os._exit(0)

        os.waitpid(child, 0)
        print(f"parent: the child has made it {number[0]}")


if __name__ == "__main__":
    main()
