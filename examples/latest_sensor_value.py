# SPDX-License-Identifier: MIT
"""
A sensor publishes readings into a slot; several processes read the latest one at their own pace.

    python examples/latest_sensor_value.py

A slot keeps one value, whole: publishing never waits for readers, a reader never sees half of an
old and half of a new value, and one that is slow misses readings instead of holding anybody up.
Here every reading says the same thing three times, so a torn one would show.
"""

import multiprocessing
from multiprocessing.connection import Connection

import memlane

READERS = 3
LAST = 50_000
LAYOUT = "3q"  # a struct format: three 64-bit integers


def watch(slot: memlane.Slot, number: int, parent: Connection) -> None:
    """A reader: wait for something newer, over and over, until the last reading."""
    parent.send("ready")
    version = torn = reading = 0
    while reading < LAST:
        (reading, twice, thrice), version = slot.wait_newer(version)
        torn += not (twice == 2 * reading and thrice == 3 * reading)
    parent.send(f"reader {number}: {torn} torn readings, the last one is {reading}")


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with memlane.Slot.create(None, LAYOUT) as slot:
        readers = []
        for number in range(READERS):
            from_reader, to_parent = context.Pipe(duplex=False)
            reader = context.Process(target=watch, args=(slot, number, to_parent))
            reader.start()
            readers.append((reader, from_reader))
        for _, from_reader in readers:
            from_reader.recv()

        for reading in range(1, LAST + 1):
            slot.publish((reading, 2 * reading, 3 * reading))

        for reader, from_reader in readers:
            print(from_reader.recv())
            reader.join()


if __name__ == "__main__":
    main()
