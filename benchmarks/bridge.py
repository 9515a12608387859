# SPDX-License-Identifier: MIT
"""
A bridge beside bare Zenoh, on the loopback of this machine or in the network namespaces it is in.

    python benchmarks/bridge.py [--rounds 3] [--seconds 2]

Both carry the same records, in batches of the same number, by TCP; all payloads are compared. A
ring goes through four processes (producer, two bridges, consumer), Zenoh through two, so a machine
with two processors shows the bridge at its worst. Prints a line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
import uuid
from typing import Any

from memlane import Region, Ring

BATCH = 256
FRAME_NBYTES = 1920 * 1080 * 3
STAMP = struct.Struct("<QQ")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def record(number: int, nbytes: int) -> bytes:
    return STAMP.pack(number, 0).ljust(nbytes, b"%d" % (number % 10))


def is_record(number: int, found: bytes | memoryview, nbytes: int) -> bool:
    """All of it where it is small; of a frame its number, its length, and its ends."""
    if nbytes <= 4096:
        return found == record(number, nbytes)
    fill = 48 + number % 10
    return len(found) == nbytes and STAMP.unpack_from(found)[0] == number and found[-1] == fill


# ---- bare Zenoh ----------------------------------------------------------------------------------


def zenoh_session(listen: str | None, connect: str | None) -> Any:
    import zenoh

    config = zenoh.Config()
    for path, value in {
        "mode": "peer",
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [listen] if listen else [],
        "connect/endpoints": [connect] if connect else [],
    }.items():
        config.insert_json5(path, json.dumps(value))
    return zenoh.open(config)


def zenoh_consumer(port: int, case: str, count: int, nbytes: int, pipe: Any) -> None:
    session = zenoh_session(f"tcp/127.0.0.1:{port}", None)
    received = 0
    times: list[float] = []

    def take(sample: Any) -> None:
        nonlocal received
        body = sample.payload.to_bytes()
        if case == "latency":
            times.append((time.monotonic_ns() - STAMP.unpack_from(body)[1]) / 1e3)
            received += 1
        else:
            for at in range(0, len(body), nbytes):
                if not is_record(received, body[at : at + nbytes], nbytes):
                    raise AssertionError(f"record {received}")
                received += 1

    subscriber = session.declare_subscriber("bench", take)
    pipe.send("ready")
    while received < count:
        time.sleep(0.001)
    pipe.send((time.monotonic(), times))
    subscriber.undeclare()
    session.close()


def zenoh_producer(port: int, case: str, count: int, nbytes: int, pipe: Any) -> None:
    import zenoh

    session = zenoh_session(None, f"tcp/127.0.0.1:{port}")
    publisher = session.declare_publisher(
        "bench", congestion_control=zenoh.CongestionControl.BLOCK, express=case == "latency"
    )
    while not publisher.matching_status.matching:
        time.sleep(0.01)
    batch = BATCH if nbytes <= 4096 and case != "latency" else 1
    bodies = prepared(count, nbytes, batch, case)
    pipe.send(time.monotonic())
    for body in bodies:
        if case == "latency":
            time.sleep(0.001)
            publisher.put(STAMP.pack(0, time.monotonic_ns()).ljust(nbytes))
        else:
            publisher.put(body if batch == 1 else b"".join(body))
    pipe.recv()
    session.close()


def prepared(count: int, nbytes: int, batch: int, case: str) -> Any:
    if case == "latency":
        return range(count)
    if batch == 1:
        return (record(number, nbytes) for number in range(count))
    return [
        [record(number, nbytes) for number in range(at, min(at + batch, count))]
        for at in range(0, count, batch)
    ]


# ---- a ring over two bridges ---------------------------------------------------------------------


def ring_consumer(name: str, case: str, count: int, nbytes: int, pipe: Any) -> None:
    ring = Ring.open(name)
    pipe.send("ready")
    received = 0
    times: list[float] = []
    while received < count:
        if case == "latency":
            body = ring.get()
            times.append((time.monotonic_ns() - STAMP.unpack_from(body)[1]) / 1e3)
            received += 1
        elif nbytes > 4096:
            with ring.borrow() as found:
                if not is_record(received, memoryview(found), nbytes):
                    raise AssertionError(f"record {received}")
            received += 1
        else:
            for some in ring.get_many(BATCH):
                if not is_record(received, some, nbytes):
                    raise AssertionError(f"record {received}")
                received += 1
    pipe.send((time.monotonic(), times))


def ring_producer(name: str, case: str, count: int, nbytes: int, pipe: Any) -> None:
    ring = Ring.open(name)
    batch = BATCH if nbytes <= 4096 and case != "latency" else 1
    bodies = prepared(count, nbytes, batch, case)
    pipe.send(time.monotonic())
    for body in bodies:
        if case == "latency":
            time.sleep(0.001)
            ring.put(STAMP.pack(0, time.monotonic_ns()).ljust(nbytes))
        elif batch == 1:
            ring.put(body)
        else:
            ring.put_many(body)
    pipe.recv()


# ---- measuring -----------------------------------------------------------------------------------


def measured(consumer: Any, producer: Any, where: Any, case: str, count: int, nbytes: int) -> Any:
    context = multiprocessing.get_context("spawn")
    taken, takes = context.Pipe()
    given, gives = context.Pipe()
    end = context.Process(target=consumer, args=(where[-1], case, count, nbytes, takes))
    start = context.Process(target=producer, args=(where[0], case, count, nbytes, gives))
    end.start()
    taken.recv()
    start.start()
    began = given.recv()
    ended, times = taken.recv()
    given.send("end")
    for process in (start, end):
        process.join()
        assert process.exitcode == 0
    return statistics.median(times) if case == "latency" else ended - began


def with_bridges(case: str, count: int, nbytes: int) -> Any:
    name, port = f"bench-{uuid.uuid4().hex[:8]}", free_port()
    far = f"{name}-far"
    capacity = max(1 << 22, 6 * nbytes)
    command = [sys.executable, "-m", "memlane", "bridge"]
    with (
        Ring.create(name, capacity=capacity, producers=1) as near_ring,
        Ring.create(far, capacity=capacity, producers=1) as far_ring,
    ):
        bridges = [
            subprocess.Popen(command + options, stderr=subprocess.DEVNULL)
            for options in (
                ["--listen", f"tcp/127.0.0.1:{port}", "--allow", far],
                [
                    *("--connect", f"tcp/127.0.0.1:{port}", "--carry", f"ring:{name}"),
                    *("--rename", f"{name}={far}"),
                ],
            )
        ]
        try:
            near_ring.put(b"warm")
            assert far_ring.get(timeout=60) == b"warm"
            near_ring.close()
            far_ring.close()
            return measured(ring_consumer, ring_producer, (name, far), case, count, nbytes)
        finally:
            for bridge in bridges:
                bridge.terminate()
                bridge.wait()
            for one in (name, far, f"{far}.bridge"):
                with Region.open(one) as region:
                    region.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=["64B", "frames", "latency"])
    arguments = parser.parse_args()
    cases = {"64B": (1_000_000, 64), "frames": (200, FRAME_NBYTES), "latency": (1000, 64)}
    for case in arguments.case or cases:
        count, nbytes = cases[case]
        found: dict[str, list[float]] = {"zenoh": [], "bridge": []}
        for _ in range(arguments.rounds):
            port = free_port()
            found["zenoh"].append(
                measured(zenoh_consumer, zenoh_producer, (port,), case, count, nbytes)
            )
            found["bridge"].append(with_bridges(case, count, nbytes))
        best = {who: min(values) for who, values in found.items()}
        told: dict[str, Any] = {"case": case, "load": os.getloadavg()[0]}
        if case == "latency":
            told |= {f"{who}_us": round(value, 1) for who, value in best.items()}
            told["ratio"] = round(best["bridge"] / best["zenoh"], 2)
        else:
            told |= {f"{who}_per_s": round(count / value) for who, value in best.items()}
            told["ratio"] = round(best["zenoh"] / best["bridge"], 2)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
