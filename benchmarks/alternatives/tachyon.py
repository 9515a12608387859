# SPDX-License-Identifier: MIT
"""tachyon-ipc: one producer and one consumer on a bus of shared memory, handed over by a socket."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from adapter import BATCH, Kind, Plan, Receiver, Sender, WrongPayloadError, wrong

NAME = "tachyon-ipc"
FIXED = True
TOGETHER = True
_LOW = "of the extension type under Bus, whose own methods do the same and are slower"
USES: dict[Kind, str] = {
    "busy": f"acquire_tx, flush / acquire_rx {_LOW}; told that the reader never sleeps",
    "wait": "the same; a reader spins 10,000 times, then sleeps, as it does unless asked",
    "batch": "acquire_tx, one flush for a batch / drain_batch(256)",
    "loan": "acquire_tx, a memoryview, flush / acquire_rx, a memoryview",
}


def version() -> str:
    return metadata.version("tachyon-ipc")


def _capacity(plan: Plan) -> int:
    # A power of two, with room for the header and padding of each message. The reader gives room
    # back for 32 messages at a time: with fewer than those both sides wait for ever.
    return 1 << (max(plan.records, 34) * (plan.nbytes + 128) - 1).bit_length()


def receiver(plan: Plan) -> Receiver:
    from tachyon import TachyonBus

    bus = TachyonBus()
    bus.listen(str(plan.directory / plan.name), _capacity(plan))
    spins = 10_000
    if plan.kind != "wait":
        bus.set_polling_mode(1)
        spins = 1 << 30
    acquire = bus.acquire_rx

    def get() -> bytes:
        with acquire(spins) as loan, memoryview(loan) as view:
            return view.tobytes()

    def get_many() -> list[bytes]:
        with bus.drain_batch(BATCH, spins) as batch:
            return [memoryview(batch[index]).tobytes() for index in range(len(batch))]

    def receive(records: list[bytes], count: int) -> int:
        for _ in range(count // len(records)):
            for expected in records:
                with acquire(spins) as loan, memoryview(loan) as view:
                    record = view.tobytes()
                if record != expected:
                    raise WrongPayloadError(wrong(expected, record))
        return count

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        for _ in range(count // marks):
            for mark in range(marks):
                with acquire(spins) as loan, memoryview(loan) as view:
                    if view[0] != mark or view[-1] != mark or len(view) != nbytes:
                        raise WrongPayloadError(f"expected {mark}, found {view[0]}")
        return count

    return Receiver(get, get_many=get_many, receive=receive, receive_loans=receive_loans)


def sender(plan: Plan) -> Sender:
    import time

    from tachyon import TachyonBus, TachyonError

    bus = TachyonBus()
    path = plan.directory / plan.name
    while not path.exists():
        time.sleep(0.001)
    bus.connect(str(path))
    if plan.kind != "wait":
        bus.set_polling_mode(1)
    acquire, flush = bus.acquire_tx, bus.flush
    nbytes = plan.nbytes

    def room() -> Any:
        while True:  # a full one raises, as a closed one does
            try:
                return acquire(nbytes)
            except TachyonError:
                pass

    def put(record: bytes) -> None:
        with room() as loan:
            with memoryview(loan) as view:
                view[:nbytes] = record
            loan.actual_size = nbytes
        flush()

    def put_many(records: list[bytes]) -> None:
        for record in records:
            try:
                loan = acquire(nbytes)
            except TachyonError:
                flush()
                loan = room()
            with loan:
                with memoryview(loan) as view:
                    view[:nbytes] = record
                loan.actual_size = nbytes
        flush()

    def send(records: list[bytes], count: int) -> None:
        for _ in range(count // len(records)):
            for record in records:
                try:
                    loan = acquire(nbytes)
                except TachyonError:
                    loan = room()
                with loan:
                    with memoryview(loan) as view:
                        view[:nbytes] = record
                    loan.actual_size = nbytes
                flush()

    return Sender(put, put_many=put_many, send=send, send_loans=send)
