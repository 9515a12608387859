# SPDX-License-Identifier: MIT
"""
One of two unrelated programs that meet at a ring by its name: it makes the ring and puts lines in.

    python examples/two_programs_consumer.py &
    python examples/two_programs_producer.py

It does not matter which one starts first, nor which one ends first: what was put and not yet got
stays in the ring as long as the name is there. The consumer takes the name away when it has had
everything. Pass another name to both as an argument if this one is taken.
"""

import sys

import memlane

LINES = ["the first line", "the second line", "", "the last line, after an empty one"]


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "example-two-programs"
    with memlane.Ring.create(name, capacity="64 KiB") as ring:
        for line in LINES:
            ring.put(line.encode())
        ring.shutdown()
    print(f"put {len(LINES)} lines into {name!r}")


if __name__ == "__main__":
    main()
