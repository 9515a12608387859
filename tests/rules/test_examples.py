# SPDX-License-Identifier: MIT
"""The examples do what they say: each is run as a reader of the documentation would run it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from tests import ROOT
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine

EXAMPLES = ROOT / "examples"
#: What each prints when it is run alone. The two programs have a test of their own.
OUTPUTS = {
    "share_an_int.py": ["parent: the number is 0", "parent: the child has made it 42"],
    "take_turns.py": [
        "child  reads 'hello child, here is the anonymous mapping' from the anonymous mapping",
        "parent reads 'hello parent, here is the anonymous mapping' from the anonymous mapping",
        "child  reads 'hello child, here is /dev/zero' from /dev/zero",
        "parent reads 'hello parent, here is /dev/zero' from /dev/zero",
    ],
    "producer_consumer.py": ["received 100000 records, their sum is 5000050000"],
    "latest_sensor_value.py": [
        "reader 0: 0 torn readings, the last one is 50000",
        "reader 1: 0 torn readings, the last one is 50000",
        "reader 2: 0 torn readings, the last one is 50000",
    ],
    "camera_frames.py": [
        "display: 40 frames, 0 lost",
        "encoder: 40 frames, 0 lost",
        "tracker: 40 frames, 0 lost",
    ],
    "market_ticks.py": [
        "first: 20000 ticks",
        "second: 20000 ticks",
        "slow: evicted",
        "third: 20000 ticks",
    ],
    "server_sent_events.py": [
        "1 connections: 100 events, in order",
        "2 connections: 100 events, in order",
        "3 connections: 100 events, in order",
    ],
    "wedged_pipeline.py": ["wedged; try memlane doctor", "it goes on"],
    "data_loader.py": [
        "40 batches, brightness 127931041",
        "1 worker was killed, and replaced",
    ],
    "camera_pipeline.py": ["60 frames, the square was found in 60"],
    "pool_large_arrays.py": [
        "8 pictures of 4096 KiB, in place",
        "the sum of their last corners is 4210668",
    ],
    "queue_instead_of_multiprocessing.py": [
        "a worker was killed while it waited for a job",
        "200 results, their sum is 2646700",
    ],
    "supervisor.py": [
        "20 squares, their sum is 2470",
        "1 worker was killed, and SIGTERM ended the others",
    ],
    "file_backed.py": [
        "anna: visit 1, found 'nothing'",
        "bert: visit 2, found 'a note of anna'",
        "cleo: visit 3, found 'a note of bert'",
        "all have ended, the file is there and says: 3 visits",
    ],
}
CONSUMED = [
    "got 'the first line'",
    "got 'the second line'",
    "got ''",
    "got 'the last line, after an empty one'",
    "the ring was shut down and is drained",
]


def started(example: str, *arguments: str) -> subprocess.Popen[str]:
    """A run of an example, where a warning (something left open) is an error on stderr."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLES / example, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(program: subprocess.Popen[str]) -> list[str]:
    """The lines that a program prints until it ends, which must be well and without a complaint."""
    out, err = program.communicate(timeout=PATIENCE_S)
    assert (0, "") == (program.returncode, err)
    return out.splitlines()


@pytest.mark.parametrize("example", sorted(OUTPUTS))
def test_example_prints_what_it_promises_and_nothing_else(example: str) -> None:
    """Run as documented, an example ends well, complains of nothing, and leaves nothing behind."""
    assert OUTPUTS[example] == printed(started(example))


def test_the_data_loader_keeps_the_order_of_its_batches_if_it_is_asked_to() -> None:
    """It says so itself otherwise."""
    assert OUTPUTS["data_loader.py"] == printed(started("data_loader.py", "--in-order"))


def test_every_example_is_run_by_a_test() -> None:
    """Nobody adds an example that is never run."""
    elsewhere = (ROOT / "tests" / "mapping" / "test_mapping_examples.py").read_text()
    mapping = set(re.findall(r'lines_of\("(\w+\.py)"', elsewhere))

    assert sorted(
        [
            *(*OUTPUTS, *mapping, "two_programs_consumer.py", "two_programs_producer.py"),
            "web_state.py",  # by tests/prometheus/test_web_state.py
            "web_workers.py",  # by tests/waiting/test_web_workers.py
        ]
    ) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_two_unrelated_programs_meet_at_a_name_when_the_consumer_is_first(name: str) -> None:
    """A consumer that is started first waits for the ring, and gets all records in order."""
    consumer = started("two_programs_consumer.py", name)
    assert [f"put 4 lines into {name!r}"] == printed(started("two_programs_producer.py", name))
    assert CONSUMED == printed(consumer)
    assert name not in memlane.Region.names()


def test_two_unrelated_programs_meet_at_a_name_when_the_producer_has_ended(name: str) -> None:
    """What a program that has ended has put is still got, by one that was started later."""
    assert [f"put 4 lines into {name!r}"] == printed(started("two_programs_producer.py", name))
    assert name in memlane.Region.names()
    assert CONSUMED == printed(started("two_programs_consumer.py", name))
    assert name not in memlane.Region.names()


class EventStream:
    """What a browser does with an event stream, over a connection of its own."""

    def __init__(self, port: int, last_event_id: str | None = None) -> None:
        self.last_event_id = last_event_id
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self._client.request("GET", "/", headers=headers)
        self.response = self._client.getresponse()

    def block(self) -> dict[str, str]:
        """The fields of the next block; what it says of the position is remembered."""
        fields: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            fields[name] = value
        self.last_event_id = fields.get("id", self.last_event_id)
        return fields

    def events(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            found += [fields["data"] for fields in [self.block()] if "data" in fields]
        return found

    def close(self) -> None:
        self.response.close()
        self._client.close()


def test_clients_of_web_workers_get_each_event_once_although_connections_and_workers_die() -> None:
    """Whichever worker is posted to, whichever answers, and where one is killed with a client."""

    def post(text: str) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        client.request("POST", "/", text)
        assert 204 == client.getresponse().status
        client.close()

    server = started("server_sent_events.py", "--port", "0")
    children: list[str] = []
    try:
        assert server.stdout is not None
        found = re.fullmatch(r"serving at http://127\.0\.0\.1:(\d+)/\n", server.stdout.readline())
        assert found
        port = int(found[1])
        stays, leaves = EventStream(port), EventStream(port)
        assert "text/event-stream; charset=utf-8" == stays.response.headers["Content-Type"]
        for stream in (stays, leaves):
            assert ["id"] == list(stream.block())  # a position before the first event
        for number in range(10):
            post(f"event {number}")
        assert [f"event {number}" for number in range(10)] == stays.events(10)
        assert [f"event {number}" for number in range(4)] == leaves.events(4)
        leaves.close()
        for number in range(10, 20):
            post(f"event {number}")
        returns = EventStream(port, leaves.last_event_id)
        assert [f"event {number}" for number in range(4, 20)] == returns.events(16)

        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert 4 == len(children)
        for child in children[:3]:
            os.kill(int(child), signal.SIGKILL)
        for number in range(20, 30):
            post(f"event {number}")
        again = EventStream(port, returns.last_event_id)
        assert [f"event {number}" for number in range(20, 30)] == again.events(10)

        refused = EventStream(port, "no position")
        assert 400 == refused.response.status
        for stream in (stays, returns, again, refused):
            stream.close()
    finally:
        server.send_signal(signal.SIGINT)
        for child in children[3:]:
            os.kill(int(child), signal.SIGKILL)
        out, err = server.communicate(timeout=PATIENCE_S)
    assert ("", "") == (out, err)


def test_file_given_to_the_file_backed_example_goes_on_where_the_last_run_ended(
    tmp_path: Path,
) -> None:
    """Nothing but the file carries the visits from one run to the next."""
    path = tmp_path / "visits.lane"
    assert OUTPUTS["file_backed.py"] == printed(started("file_backed.py", str(path)))
    assert [
        "anna: visit 4, found 'a note of cleo'",
        "bert: visit 5, found 'a note of anna'",
        "cleo: visit 6, found 'a note of bert'",
        "all have ended, the file is there and says: 6 visits",
    ] == printed(started("file_backed.py", str(path)))
    with memlane.Region.open(path) as region:
        region.unlink()
    assert [] == list(tmp_path.iterdir())
