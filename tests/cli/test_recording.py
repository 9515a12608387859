# SPDX-License-Identifier: MIT
"""Recordings: what went through objects, in files that a killed recorder does not spoil."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from memlane import CorruptedError, LayoutError, recording
from memlane.recording import Missed
from tests.support.command import call
from tests.support.processes import PATIENCE_S, wait_until

pytestmark = pytest.mark.machine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recorded.mlr"


def small(path: Path, ended: bool = True) -> list[bytes]:
    """A file of three records and a gap; the payloads."""
    writer = recording.create(path)
    ring = writer.add_object("robot", "frames", "ring", {"capacity": 4096})
    slot = writer.add_object("robot", "pose", "slot", {})
    writer.add_record(ring, 2, 7, b"first")
    writer.add_missed(ring, 3)
    writer.add_record(slot, 0, 1, b"")
    writer.add_record(ring, 2, 11, b"x" * 300)
    if ended:
        writer.end()
    else:
        writer.flush()
        writer.close()
    return [b"first", b"", b"x" * 300]


def test_a_recording_tells_what_was_written(path: Path) -> None:
    """Records, gaps, objects and times; as often as it is read."""
    payloads = small(path)
    with recording.open(path) as found:
        assert (3, 3, None, 0) == (len(found), found.missed, found.cut, found.cut_nbytes)
        assert ["frames", "pose"] == [one.name for one in found.objects]
        assert {"capacity": 4096} == found.objects[0].stats
        for _ in range(2):
            assert payloads == [one.payload for one in found]
        frames = list(found.frames())
        assert [False, True, False, False] == [isinstance(one, Missed) for one in frames]
        assert [found.created] * 4 == pytest.approx([one.time for one in frames], abs=60)
        assert [(2, 7), (0, 1), (2, 11)] == [(one.lane, one.number) for one in found]


def test_a_file_that_is_cut_anywhere_opens_at_its_last_whole_record(path: Path) -> None:
    """At every byte; it says what was cut, and how much."""
    payloads = small(path)
    whole = path.read_bytes()
    begin = len(whole) - 40 - 300 - 40 - len(b'{"records": 3, "missed": 3}')
    lengths = set()
    for length in range(begin - 60, len(whole)):
        path.write_bytes(whole[:length])
        with recording.open(path) as found:
            assert payloads[: len(found)] == [one.payload for one in found]
            lengths.add(len(found))
            assert found.cut is not None
            assert length == sum(map(len, [whole[: length - found.cut_nbytes]])) + found.cut_nbytes
    assert {1, 2, 3} <= lengths


def test_a_bit_that_was_flipped_ends_a_recording_there(path: Path) -> None:
    """Whatever bit it is, no wrong payload comes out."""
    payloads = small(path)
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 3):
        whole[at] ^= 1 << at % 8
        path.write_bytes(whole)
        try:
            with recording.open(path) as found:
                assert payloads[: len(found)] == [one.payload for one in found]
                assert found.cut is not None
        except (CorruptedError, LayoutError):
            assert at < 80  # in the header
        whole[at] ^= 1 << at % 8


def test_frames_of_another_file_are_none_of_this_one(path: Path, tmp_path: Path) -> None:
    """Each file has a salt: what an older file left on the disk does not pass."""
    small(path, ended=False)
    small(tmp_path / "other")
    with recording.open(path) as found:
        end = path.stat().st_size
        assert (3, "it was not ended") == (len(found), (found.cut or "")[:16])
    header = (tmp_path / "other").read_bytes().index(b"}") + 1
    with path.open("ab") as file:
        file.write((tmp_path / "other").read_bytes()[header:])
    with recording.open(path) as found:
        assert (3, "checksum" in (found.cut or "")) == (len(found), True)
        assert path.stat().st_size - end == found.cut_nbytes


def test_what_is_no_recording_is_refused_in_words(path: Path) -> None:
    """Garbage, another version, a spoilt header; and none is written over."""
    for garbage in (b"", b"x" * 100, os.urandom(1000)):
        path.write_bytes(garbage)
        with pytest.raises(LayoutError, match="is no recording of memlane"):
            recording.open(path)
    path.unlink()
    small(path)
    spoilt = bytearray(path.read_bytes())
    struct.pack_into("<I", spoilt, 8, 2)
    path.write_bytes(spoilt)
    with pytest.raises(LayoutError, match="has version 2, expected 1"):
        recording.open(path)
    with pytest.raises(FileExistsError):
        recording.create(path)


def test_a_recording_that_changes_while_it_is_read_says_so(path: Path) -> None:
    """No payload is taken for what it was."""
    small(path)
    with recording.open(path) as found:
        os.truncate(path, 100)
        with pytest.raises(CorruptedError, match="was changed while it was read"):
            list(found)


# ---- the commands --------------------------------------------------------------------------------


def test_what_is_recorded_is_replayed_into_the_lanes_it_came_from(name: str, path: Path) -> None:
    """Of a ring, a topic, a slot and a table; nothing is taken."""
    with memlane.Region.create(name, "8 MiB") as region:
        ring = region.ring("ring", capacity=4096, producers=2)
        topic = region.topic("topic", capacity=4096, publishers=1)
        slot, table = region.slot("slot", "d"), region.table("table", 2, "i")
        with ring.producer() as other:
            ring.put_many([b"a0", b"a1"])
            other.put(b"b0")
        topic.publish_many([b"t0", b"t1"])
        slot.publish((1.5,))
        table[1].publish((7,))
        _, err = call("record", f"{name}/*", str(path), "--oldest", "--for", "0")
        assert err.startswith(f"recorded 7 records in {path}, ")
        assert 3 == len(ring)
        with memlane.Region.create(f"{name}-to", "8 MiB") as goal:
            again = goal.ring("ring", capacity=4096, producers=3)
            subscriber = goal.topic("topic", capacity=4096, publishers=2).subscribe()
            goal.slot("slot", "d")
            goal.table("table", 2, "i")
            _, err = call("replay", str(path), "--to", f"{name}-to", "--rate", "0")
            assert err == f"replayed 7 records of {path}\n"
            got = again.get_many(9)
            assert [b"a0", b"a1"] == [record for record in got if record.startswith(b"a")]
            assert 3 == len(got)
            assert [b"t0", b"t1"] == subscriber.get_many(9)
            assert (1.5,) == goal.slot("slot", "d").read()
            assert [None, (7,)] == goal.table("table", 2, "i").read_all()
            subscriber.close()
            goal.unlink()
        region.unlink()


def test_a_recorder_that_falls_behind_writes_how_many_it_missed(name: str, path: Path) -> None:
    """The exact number; with --hold none: publishers wait for it."""
    for hold in ([], ["--hold"]):
        with memlane.Topic.create(name, capacity=4096, publishers=1, records=16) as topic:
            program = subprocess.Popen(
                [sys.executable, "-m", "memlane", "record", name, str(path), *hold],
                stderr=subprocess.PIPE,
                text=True,
            )
            wait_until(path.exists, "the recorder")
            count = _until_recorded(topic, path)
            program.send_signal(signal.SIGSTOP)
            try:
                for _ in range(100):
                    topic.publish(b"x", timeout=0)
                    count += 1
            except memlane.Full:
                assert hold
            topic.shutdown()
            program.send_signal(signal.SIGCONT)
            _, err = program.communicate(timeout=PATIENCE_S)
            assert 0 == program.returncode, err
            with recording.open(path) as found:
                assert None is found.cut
                assert count - next(iter(found)).number == len(found) + found.missed
                assert (found.missed == 0) == bool(hold)
            topic.unlink()
        path.unlink()


def _until_recorded(topic: memlane.Topic, path: Path) -> int:
    """Publish until a record of it is in the file; how many that took."""
    published = 0

    def is_there() -> bool:
        nonlocal published
        topic.publish(b"marker", timeout=PATIENCE_S)
        published += 1
        return b"marker" in path.read_bytes()

    wait_until(is_there, "a record in the file")
    return published


def test_a_killed_recorder_leaves_all_that_it_had_seen(name: str, path: Path) -> None:
    """kill -9; and Ctrl-C is a way to end it."""
    for number, ended in ((signal.SIGKILL, False), (signal.SIGTERM, True), (signal.SIGINT, True)):
        with memlane.Topic.create(name, capacity=4096, publishers=1) as topic:
            program = subprocess.Popen(
                [sys.executable, "-m", "memlane", "record", name, str(path)],
                stderr=subprocess.DEVNULL,
            )
            wait_until(path.exists, "the recorder")
            _until_recorded(topic, path)
            program.send_signal(number)
            assert (0 if ended else -number) == program.wait(PATIENCE_S)
            with recording.open(path) as found:
                assert b"marker" == next(iter(found)).payload
                assert ended == (found.cut is None)
            topic.unlink()
        path.unlink()


def test_a_cut_recording_is_replayed_and_it_is_told_what_is_missing(name: str, path: Path) -> None:
    """Into one object, whatever it was called."""
    with recording.create(path) as writer:
        of = writer.add_object("gone", "ring", "ring", {})
        writer.add_record(of, 0, 0, b"a")
        writer.add_missed(of, 5)
        writer.add_record(of, 0, 6, b"b")
    os.truncate(path, path.stat().st_size - 1)
    with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
        _, err = call("replay", str(path), "--to", f"{name}/ring", "--rate", "1000")
        assert f"memlane: {path}: it is cut behind 2 records: " in err
        assert f"replayed 2 records of {path}; the recorder had missed 5\n" in err
        assert [b"a", b"b"] == ring.get_many(9)
        _, err = call("replay", str(path), code=1)
        assert "there is no region 'gone'" in err
        ring.unlink()


def test_a_recording_is_not_written_over_and_what_cannot_be_recorded_is_told(
    name: str, path: Path
) -> None:
    """In one line each, exit code 1."""
    with memlane.Counter.create(name) as counter:
        _, err = call("record", name, str(path), code=1)
        assert "can be recorded" in err
        assert not path.exists()
        counter.unlink()
    with memlane.Topic.create(name, capacity=4096) as topic:
        path.touch()
        _, err = call("record", name, str(path), code=1)
        assert "File exists" in err
        _, err = call("record", "none-*", str(path), code=1)
        assert "nothing matches 'none-*'" in err
        topic.unlink()
