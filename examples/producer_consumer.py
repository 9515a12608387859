# SPDX-License-Identifier: MIT
"""
A producer hands records to a consumer over a ring; the two are a parent and its forked child.

    python examples/producer_consumer.py

The ring is smaller than what goes through it, so the producer waits now and then, and nothing is
lost. `shutdown` says that no more will come: the consumer's loop ends when it has had everything.
"""

import multiprocessing
import struct

import memlane

COUNT = 100_000
NUMBER = struct.Struct("q")


def produce(ring: memlane.Ring) -> None:
    """The child: put the numbers from 1 to COUNT."""
    for number in range(1, COUNT + 1):
        ring.put(NUMBER.pack(number))
    ring.shutdown()


def main() -> None:
    with memlane.Ring(capacity="64 KiB") as ring:
        child = multiprocessing.get_context("fork").Process(target=produce, args=(ring,))
        child.start()

        received = total = 0
        for record in ring:
            received += 1
            (number,) = NUMBER.unpack(record)
            assert number == received, "records come in the order they were put"
            total += number
        child.join()

    print(f"received {received} records, their sum is {total}")


if __name__ == "__main__":
    main()
