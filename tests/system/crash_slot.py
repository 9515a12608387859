# SPDX-License-Identifier: MIT
"""Rounds of crash.py over one slot: its writer is killed, its readers never notice."""

from __future__ import annotations

import random
import time
import uuid
from functools import partial

import memlane
from tests.system.crash_processes import Shown, Summary, complain, die_soon, finish, watched

PATTERN = random.Random(1).randbytes(128 << 10)
VALUE_NBYTES = 4096
READERS = 2


def value_of(number: int) -> bytes:
    start = number * 40503 & 0xFFFF
    return number.to_bytes(8, "little") + PATTERN[start : start + VALUE_NBYTES - 8]


def publish(slot: memlane.Slot, at: memoryview) -> None:
    """Publish for ever. at[0]: begun; at[1]: returned; at[4]: it is doomed."""
    number = at[0]
    choose = random.Random(number)
    while True:
        number += 1
        value = value_of(number)
        at[0] = number
        if at[4]:
            die_soon(choose)
        slot.publish(value)
        at[1] = number


def read(slot: memlane.Slot, at: memoryview, reader: int) -> None:
    """Read for ever. at[2]: torn; at[3]: stale; at[5 + reader]: reads."""
    version, last, ways = 0, 0, 0
    buffer = bytearray(VALUE_NBYTES)
    while True:
        returned = at[1]
        ways += 1
        if ways % 8 == 0:
            slot.read_into(buffer)
            value = bytes(buffer)
        elif ways % 64 == 1:
            try:
                value, version = slot.wait_newer(version, timeout=0.005)
            except TimeoutError:
                value = slot.read()
        else:
            value = slot.read()
        begun = at[0]
        number = int.from_bytes(value[:8], "little")
        if value != value_of(number) or number > begun:
            at[2] += 1
            complain(f"reader {reader}: torn value {number}, begun were {begun}")
        if number < returned or number < last:
            at[3] += 1
            complain(f"reader {reader}: value {number} after {last}, published were {returned}")
        last = number
        at[5 + reader] += 1


def _all_beyond(at: memoryview, aims: list[tuple[int, int]]) -> bool:
    return all(at[word] > aim for word, aim in aims)


def crash_slot(
    kind: str,
    rounds: int,
    seconds_per_round: float,
    patience_s: float,
    seed: int,
    shown: Shown,
) -> Summary:
    """
    Kill the writer of a slot, round after round; readers never notice, and the successor goes on.
    """
    summary = Summary("slot", kind)
    name = f"crash-{uuid.uuid4().hex[:12]}"
    choose = random.Random(seed)
    slot = memlane.Slot.create(
        name if kind == "named" else None,
        VALUE_NBYTES,
        writers="many" if choose.random() < 0.5 else "one",
    )
    mapping = memlane.Mapping.anonymous(8 * (5 + READERS))
    at = memoryview(mapping).cast("Q")
    takeovers_ms: list[float] = []
    with watched(summary, patience_s) as processes:
        processes.start("writer", partial(publish, slot, at))
        processes.wait("the first value", lambda: at[1] > 0)
        for reader in range(READERS):
            processes.start(f"reader {reader}", partial(read, slot, at, reader))
        for _ in range(rounds):
            time.sleep(choose.random() * 2 * seconds_per_round)
            if choose.random() < 0.75:
                at[4] = 1
                processes.wait_for_death("writer", 0.02)
            killed = time.monotonic_ns()
            processes.kill("writer")
            summary.kills += 1
            at[4] = 0
            # Two whole reads each that began after the death.
            aims = [(5 + reader, at[5 + reader] + 2) for reader in range(READERS)]
            processes.wait("readers without a writer", partial(_all_beyond, at, aims))
            begun = at[0]
            processes.start("writer", partial(publish, slot, at))
            processes.wait("the successor of the writer", partial(_all_beyond, at, [(1, begun)]))
            takeovers_ms.append((time.monotonic_ns() - killed) / 1e6)
            summary.rounds += 1
            shown(summary)
    summary.records, summary.torn, summary.lost = at[1], at[2], at[3]
    finish(summary, takeovers_ms, slot)
    at.release()
    mapping.close()
    return summary
