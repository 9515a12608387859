# SPDX-License-Identifier: MIT
"""
The other of two unrelated programs: it waits for the ring to appear and prints what comes out.

    python examples/two_programs_consumer.py &
    python examples/two_programs_producer.py

See two_programs_producer.py. `open` waits up to a minute here for the name.
"""

import sys

import memlane


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "example-two-programs"
    with memlane.Ring.open(name, timeout=60) as ring:
        for record in ring:
            print(f"got {record.decode()!r}")
        ring.unlink()  # `with` only closes; the name goes when somebody says so
    print("the ring was shut down and is drained")


if __name__ == "__main__":
    main()
