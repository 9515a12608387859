# SPDX-License-Identifier: MIT
"""`memlane put`, `get` and `pipe` move records for shells."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import memlane
from memlane.cli.transfer import TIMED_OUT
from tests.support.command import call
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine


class Bytes(io.TextIOWrapper):
    """Stands for stdin or stdout, in bytes."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), write_through=True)


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Runs a command with these bytes in stdin; what it writes to stdout."""

    def run(*arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        from memlane.cli import main

        out = Bytes()
        monkeypatch.setattr(sys, "stdin", Bytes(stdin))
        monkeypatch.setattr(sys, "stdout", out)
        assert code == main(arguments)
        return out.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]

    return run


def test_records_go_in_from_arguments_files_and_lines(name: str, fed: Any) -> None:
    """Byte for byte, but for the end of a line where it is none of the record."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        fed("put", name, "one é")
        fed("put", name, stdin=b"all\nof\xff it\n")
        fed("put", name, "--chomp", stdin=b"chomped\n")
        fed("put", name, "--lines", stdin=b"a\n\nb")
        expected = ["one é".encode(), b"all\nof\xff it\n", b"chomped", b"a", b"", b"b"]
        assert expected == ring.get_many(9)
        ring.unlink()


def test_records_come_out_one_some_or_all(name: str, fed: Any) -> None:
    """Each with the end that is asked for; -f ends with the ring."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put_many([b"%d" % number for number in range(8)])
        assert b"0\n" == fed("get", name)
        assert b"1\0" + b"2\0" == fed("get", name, "-n", "2", "--null")
        assert b"3" == fed("get", name, "--raw")
        ring.put(b"8")
        assert b"4\n5\n6\n7\n8\n" == fed("get", name, "--drain")
        assert b"" == fed("get", name, "--timeout", "0", code=TIMED_OUT)
        ring.put(b"last")
        ring.shutdown()
        assert b"last\n" == fed("get", name, "-f")
        assert b"" == fed("get", name, code=1)
        ring.unlink()


def test_a_full_ring_is_exit_code_124_at_the_end_of_the_timeout(name: str, fed: Any) -> None:
    """As timeout(1) has it."""
    with memlane.Ring.create(name, capacity=4096, producers=1, records=1) as ring:
        ring.put(b"x")
        fed("put", name, "1", "--timeout", "0", code=TIMED_OUT)
        ring.unlink()


def test_slots_and_topics_are_written_and_read_as_well(name: str, fed: Any) -> None:
    """A value has its length; a topic has what comes next."""
    with memlane.Region.create(name, "4 MiB") as region:
        slot = region.slot("pose", "d")
        fed("put", f"{name}/pose", stdin=struct.pack("d", 2.5))
        assert (2.5,) == slot.read()
        assert struct.pack("d", 2.5) == fed("get", f"{name}/pose", "--raw")
        _, err = call("put", f"{name}/pose", "x", code=1)
        assert "a value of this slot has 8 bytes, got 1" in err
        topic = region.topic("ticks", capacity=4096, publishers=2)
        subscriber = topic.subscribe()
        fed("put", f"{name}/ticks", "tick")
        assert b"tick" == subscriber.get()
        region.counter("hits")
        for command in ("put", "get"):
            _, err = call(command, f"{name}/hits", *(["1"] if command == "put" else []), code=1)
            assert "a counter " in err
        _, err = call("get", name, code=1)
        assert f"has 3 objects; say which, as {name}/pose" in err
        region.unlink()


def test_a_program_gets_records_as_lines_and_its_lines_become_records(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is that of the command; it ends when the ring is shut down."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        call("pipe", name, "--put", "--", "printf", "b\\na\\n")
        ring.shutdown()
        call("pipe", name, "--", "sort")
        assert "a\nb\n" == capfd.readouterr().out
        call("pipe", name, "--", "sh", "-c", "exit 7", code=7)
        call("pipe", name, "--", "sh", "-c", "kill -9 $$", code=137)
        _, err = call("pipe", name, "--", "/no/such", code=127)
        assert "No such file or directory: /no/such" in err
        ring.unlink()


def test_what_a_program_did_not_read_goes_to_another_consumer(name: str) -> None:
    """Of a ring for which consumers compete; the end of the program ends the command."""
    with memlane.Ring.create(name, capacity="1 MiB", producers=1, consumers="many") as ring:
        started = time.monotonic()
        ring.put(b"x" * 200_000)  # more than a pipe holds
        call("pipe", name, "--", "sh", "-c", "exec <&-; sleep 0.1; exit 3", code=3)
        assert b"x" * 200_000 == ring.get(timeout=PATIENCE_S)
        assert time.monotonic() - started < PATIENCE_S
        ring.unlink()


def test_a_pipeline_of_a_shell_moves_records_from_one_ring_to_another(name: str) -> None:
    """As programs of their own, in a real pipe."""
    with memlane.Region.create(name, "4 MiB") as region:
        first = region.ring("first", capacity=4096, producers=1)
        second = region.ring("second", capacity=4096, producers=1)
        first.put_many([b"one", b"two"])
        run = f"{sys.executable} -m memlane"
        subprocess.run(
            [
                "sh",
                "-c",
                f"{run} get {name}/first --drain | {run} put {name}/second --lines",
            ],
            check=True,
            timeout=PATIENCE_S,
        )
        assert [b"one", b"two"] == second.get_many(9)
        region.unlink()
