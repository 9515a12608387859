# SPDX-License-Identifier: MIT
"""memlane once more: large records written where they lie in the ring."""

from __future__ import annotations

from adapter import Kind, Plan, Sender

from alternatives.memlane import receiver, version

__all__ = ["NAME", "USES", "receiver", "sender", "version"]

NAME = "memlane, reserve"
USES: dict[Kind, str] = {
    "loan": 'reserve and room.write / borrow of a ring with wait="spin"',
}


def sender(plan: Plan) -> Sender:
    import memlane

    ring = memlane.Ring.open(plan.name, wait="spin")

    def send_loans(payloads: list[bytes], count: int) -> None:
        reserve = handle.reserve
        nbytes = len(payloads[0])
        for _ in range(count // len(payloads)):
            for payload in payloads:
                with reserve(nbytes) as room:
                    room.write(payload)

    handle = ring.producer()
    return Sender(handle.put, send_loans=send_loans, close=ring.close)
