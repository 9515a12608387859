# SPDX-License-Identifier: MIT
"""kickmsg: publish and subscribe over a pool of slots, and a blackboard for the latest value."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from adapter import END_MARK, Kind, Plan, Receiver, Sender, WrongPayloadError

NAME = "kickmsg"
SEVERAL_PRODUCERS = True
USES: dict[Kind, str] = {
    "busy": "send / try_receive, polled; lossy, with several producers room for 16 times as much",
    "wait": "send / receive with a timeout of an hour; lossy, room for 16 times as much",
    "loan": "allocate, a memoryview, publish / try_receive_view, a memoryview; lossy",
    "topic": "send / receive with a timeout of an hour; lossy, room for 16 times as much",
    "topic-loan": "allocate, a memoryview, publish / try_receive_view, a memoryview; lossy",
    "slot": "Blackboard: write / read, and .data of what is read",
}
_HOUR_S = 3600.0
#: Room is all that it has against loss; where no process has to wait for its turn, little does.
_DEEPER = 16


def version() -> str:
    return metadata.version("kickmsg")


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def receiver(plan: Plan) -> Receiver:
    import kickmsg

    if plan.kind == "slot":
        read = _board(plan).observe("value").read

        def get() -> Any:
            while not (found := read()):  # a writer was in the way
                pass
            return found.data

        return Receiver(get)
    settings = kickmsg.Config()
    settings.max_subscribers = plan.subscribers
    waits = plan.kind in ("wait", "topic")
    outrun = plan.producers > 1 or (waits and not plan.answers)
    settings.sub_ring_capacity = _power_of_two(plan.records * (_DEEPER if outrun else 1))
    # A slot comes back only when the ring has turned over it; a smaller pool ends in a standstill.
    settings.pool_size = 2 * settings.sub_ring_capacity * plan.subscribers
    settings.max_payload_size = plan.nbytes
    if plan.subscriber == 0:
        region = kickmsg.SharedRegion.create("/" + plan.name, kickmsg.ChannelType.PubSub, settings)
    else:
        region = kickmsg.SharedRegion.open("/" + plan.name)
    end = kickmsg.Subscriber(region)

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        receive = end.try_receive_view
        came = 0
        while True:
            while (sample := receive()) is None:
                pass
            with memoryview(sample) as view:
                mark = view[0]
                if view[-1] != mark or len(view) != nbytes:
                    raise WrongPayloadError(f"found {mark} and {view[-1]}")
            sample.release()
            if mark == END_MARK:
                return came
            came += 1

    if waits:
        receive = end.receive
        return Receiver(
            lambda: receive(_HOUR_S), lossy=True, get_left=end.try_receive, close=region.unlink
        )
    return Receiver(
        end.try_receive, polls=True, receive_loans=receive_loans, lossy=True, close=region.unlink
    )


def sender(plan: Plan) -> Sender:
    import kickmsg

    if plan.kind == "slot":
        return Sender(_board(plan).declare("value").write)
    end = kickmsg.Publisher(kickmsg.SharedRegion.open("/" + plan.name))

    def send_loans(payloads: list[bytes], count: int) -> None:
        allocate = end.allocate
        for _ in range(count // len(payloads)):
            for payload in payloads:
                while (room := allocate()) is None:
                    pass
                with memoryview(room) as view:
                    view[:] = payload
                room.publish(len(payload))

    return Sender(end.send, send_loans=send_loans)


def _board(plan: Plan) -> Any:
    import kickmsg

    settings = kickmsg.BlackboardConfig()
    settings.capacity = 2
    settings.max_value_size = plan.nbytes
    return kickmsg.Blackboard.open_or_create(plan.name, "board", settings)
