# SPDX-License-Identifier: MIT
"""iceoryx2: publish and subscribe by loans, and a blackboard for the latest value."""

from __future__ import annotations

import ctypes
from importlib import metadata
from typing import Any

from adapter import Kind, Plan, Receiver, Sender, WrongPayloadError

NAME = "iceoryx2"
FIXED = True
SEVERAL_PRODUCERS = True
USES: dict[Kind, str] = {
    "busy": "loan_uninit, memmove, send / receive, polled, string_at; no overflow, so no loss",
    "wait": "the same, with an event service: notify / blocking_wait when nothing is there",
    "loan": "loan_uninit, memmove, send / receive, polled, and the payload in place",
    "topic": "as to wait for each record, one event for each subscriber; no overflow, so no loss",
    "topic-loan": "loan_uninit, memmove, send / receive, polled, and the payload in place",
    "slot": "a blackboard: update_with_copy / get and its data",
}


def version() -> str:
    return metadata.version("iceoryx2")


def _services(plan: Plan) -> tuple[Any, Any]:
    """A service of records, and one of events. The node must live as long as they."""
    import iceoryx2

    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    _kept.append(node)
    records = (
        node.service_builder(iceoryx2.ServiceName.new(plan.name))
        .publish_subscribe(ctypes.c_uint8 * plan.nbytes)
        .enable_safe_overflow(False)
        .subscriber_max_buffer_size(min(plan.records, 4096))
        .max_publishers(plan.producers)
        .max_subscribers(plan.subscribers)
        .open_or_create()
    )
    events = node.service_builder(iceoryx2.ServiceName.new(plan.name + "event")).event()
    return records, events.open_or_create() if plan.kind in ("wait", "topic") else None


_kept: list[Any] = []


def _blackboard(plan: Plan, create: bool) -> tuple[Any, Any, Any]:
    """The service, the key of its one value, and the type of that."""
    import iceoryx2

    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    _kept.append(node)
    fields = {"_fields_": [("data", ctypes.c_uint8 * plan.nbytes)]}
    value = type("Value", (ctypes.Structure,), fields)
    key = ctypes.c_uint64(0)
    builder = node.service_builder(iceoryx2.ServiceName.new(plan.name))
    if create:
        return builder.blackboard_creator(ctypes.c_uint64).add(key, value()).create(), key, value
    return builder.blackboard_opener(ctypes.c_uint64).open(), key, value


def receiver(plan: Plan) -> Receiver:
    if plan.kind == "slot":
        service, key, value = _blackboard(plan, create=True)
        read = service.reader_builder().create().entry(key, value).get

        def latest() -> Any:
            return read().data

        return Receiver(latest)
    records, events = _services(plan)
    receive = records.subscriber_builder().create().receive
    string_at = ctypes.string_at
    nbytes = plan.nbytes

    def get() -> bytes | None:
        sample = receive()
        return None if sample is None else string_at(sample.payload_ptr, nbytes)

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        view_at = (ctypes.c_uint8 * nbytes).from_address
        for _ in range(count // marks):
            for mark in range(marks):
                while (sample := receive()) is None:
                    pass
                view = view_at(sample.payload_ptr)
                if view[0] != mark or view[-1] != mark or len(view) != nbytes:
                    raise WrongPayloadError(f"expected {mark}, found {view[0]}")
        return count

    if events is None:
        return Receiver(get, polls=True, receive_loans=receive_loans)
    wait = events.listener_builder().create().blocking_wait

    def get_waiting() -> bytes:
        while (sample := receive()) is None:
            wait()
        return string_at(sample.payload_ptr, nbytes)

    return Receiver(get_waiting)


def sender(plan: Plan) -> Sender:
    import iceoryx2

    if plan.kind == "slot":
        service, key, value = _blackboard(plan, create=False)
        update = service.writer_builder().create().entry(key, value).update_with_copy
        copied = value.from_buffer_copy

        def publish(record: bytes) -> None:
            update(copied(record))

        return Sender(publish)
    records, events = _services(plan)
    # A full buffer makes the publisher wait, by polling.
    strategy = iceoryx2.BackpressureStrategy.RetryUntilDelivered
    loan = records.publisher_builder().backpressure_strategy(strategy).create().loan_uninit
    notify = None if events is None else events.notifier_builder().create().notify
    memmove = ctypes.memmove
    nbytes = plan.nbytes

    def put(record: bytes) -> None:
        room = loan()
        memmove(room.payload_ptr, record, nbytes)
        room.assume_init().send()
        if notify is not None:
            notify()

    def send_loans(payloads: list[bytes], count: int) -> None:
        for _ in range(count // len(payloads)):
            for payload in payloads:
                room = loan()
                memmove(room.payload_ptr, payload, nbytes)
                room.assume_init().send()

    return Sender(put, send_loans=send_loans)
