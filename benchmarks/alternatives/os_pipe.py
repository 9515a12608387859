# SPDX-License-Identifier: MIT
"""os.pipe: the kernel's own ring, records of a fixed size."""

from __future__ import annotations

import fcntl
import os
import platform
from functools import partial
from typing import Any

from adapter import BATCH, Kind, Plan, Receiver, Sender, WrongPayloadError, inherited

NAME = "os.pipe"
FIXED = True
SEVERAL_PRODUCERS = True
_FIXED = "write / read of as many bytes, a pipe of 1 MiB; no lengths, so no records of other sizes"
USES: dict[Kind, str] = {
    "busy": _FIXED,
    "wait": _FIXED,
    "batch": "write of a joined batch / read of as much, cut into records",
    "loan": "write / readv into a buffer used again and again",
}


def version() -> str:
    return platform.release()


def prepare(plan: Plan) -> Any:
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def receiver(plan: Plan) -> Receiver:
    descriptor, nbytes = inherited(plan)[0], plan.nbytes

    def get_many() -> list[bytes]:
        data = os.read(descriptor, BATCH * nbytes)
        return [data[at : at + nbytes] for at in range(0, len(data), nbytes)]

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        buffer = bytearray(nbytes)
        whole = memoryview(buffer)
        for _ in range(count // marks):
            for mark in range(marks):
                came = os.readv(descriptor, [whole])
                while came < nbytes:
                    came += os.readv(descriptor, [whole[came:]])
                if buffer[0] != mark or buffer[-1] != mark:
                    raise WrongPayloadError(f"expected {mark}, found {buffer[0]}")
        return count

    return Receiver(
        partial(os.read, descriptor, nbytes), get_many=get_many, receive_loans=receive_loans
    )


def sender(plan: Plan) -> Sender:
    descriptor = inherited(plan)[1]

    def put_many(records: list[bytes]) -> None:
        os.write(descriptor, b"".join(records))

    def send_loans(payloads: list[bytes], count: int) -> None:
        for _ in range(count // len(payloads)):
            for payload in payloads:
                done = os.write(descriptor, payload)
                while done < len(payload):
                    done += os.write(descriptor, memoryview(payload)[done:])

    return Sender(partial(os.write, descriptor), put_many=put_many, send_loans=send_loans)
