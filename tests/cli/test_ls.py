# SPDX-License-Identifier: MIT
"""`memlane ls` says what there is."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

import memlane
from memlane import _proc, inspection
from memlane._region import semaphores as semaphores_module
from memlane.cli.listing import _objects
from memlane.cli.text import size
from tests.support.command import call, killed_user, lines, listed, run
from tests.support.processes import PATIENCE_S, Child, unrelated
from tests.support.region_files import (
    SHARED_MEMORY,
    field,
    file_of,
    mount,
    needs_mounts,
    own_mounts,
    own_shared_memory,
    set_field,
)
from tests.support.terminal import terminal_shows

pytestmark = pytest.mark.machine


def test_ls_tells_sizes_objects_users_and_what_waits(name: str) -> None:
    """Size really in memory and in all, each object with its kind, who has it open, what lags."""
    with memlane.Region.create(name, "8 MiB") as region:
        region.counter("hits")
        region.slot("pose", "6d")
        ring = region.ring("frames", capacity=4096, producers=2)
        ring.put_many([b"x"] * 3)
        region.topic("ticks", capacity=4096, publishers=1).publish(b"kept, and waits for nobody")
        facts = listed()[name]
        assert ["hits", "pose", "frames", "ticks"] == facts["objects"]
        kinds = {"hits": "counter", "pose": "slot", "frames": "ring", "ticks": "topic"}
        assert kinds == facts["kinds"]
        assert region.nbytes == facts["nbytes"]
        assert region.stats()["used"] == facts["used"]
        assert os.stat(file_of(region)).st_blocks * 512 == facts["memory_nbytes"]
        assert facts["memory_nbytes"] < 1 << 20
        assert facts["in_use"] is True
        assert [os.getpid()] == [one["pid"] for one in facts["processes"]]
        assert [os.getpid()] == [one["pid"] for one in facts["participants"]]
        assert ([], 3) == (facts["dead"], facts["waiting"])

        head, *lines = run("ls")[0].splitlines()
        assert ["NAME", "MEMORY", "SIZE", "OPEN", "BY", "OBJECTS"] == head.split()
        (line,) = [line for line in lines if line.startswith(name)]
        sizes = f" +{size(facts['memory_nbytes'])} +{size(region.nbytes)}  {os.getpid()} "
        assert re.match(name + sizes, line)
        assert re.search(
            r"hits \(counter\), pose \(slot\), frames \(ring\) 3 waiting for .* s, "
            r"ticks \(topic\)$",
            line,
        )
        region.unlink()
    assert name not in listed()


def test_ls_sees_who_has_a_region_open_without_a_row(name: str) -> None:
    """A reader takes no row, and is seen all the same."""
    with memlane.Slot.create(name, "d") as slot:
        slot.publish((1.5,))
        reader = unrelated(
            "import memlane, sys\n"
            "slot = memlane.Slot.open(sys.argv[1], readonly=True)\n"
            "print('open', flush=True)\n"
            "sys.stdin.read()\n"
            "slot.close()\n",
            name,
        )
        assert reader.stdout is not None
        assert "open\n" == reader.stdout.readline()
        facts = listed()[name]
        assert {os.getpid(), reader.pid} == {one["pid"] for one in facts["processes"]}
        assert [os.getpid()] == [one["pid"] for one in facts["participants"]]
        reader.communicate(timeout=PATIENCE_S)
        slot.unlink()


def test_ls_tells_of_a_region_whose_processes_are_all_dead(name: str) -> None:
    """No process has it open; the dead ones, and what waits, are shown."""
    pid = killed_user(name)
    try:
        facts = listed()[name]
        assert (False, [], [pid]) == (
            facts["in_use"],
            facts["processes"],
            [one["pid"] for one in facts["dead"]],
        )
        assert 2 == facts["waiting"]
        (line,) = [line for line in run("ls")[0].splitlines() if line.startswith(name)]
        assert f"nobody (dead: {pid})  ring 2 waiting for " in line
        out, _ = run("stat", name)
        assert "open by            nobody" in out
        assert f"dead               {pid} " in out
        assert "lane 0             producer dead" in out
    finally:
        run("rm", name)
    assert name not in memlane.Region.names()


def test_looking_leaves_no_trace_in_a_region(name: str) -> None:
    """ls and stat take no row and wait for nothing: not a byte is another one afterwards."""
    pid = killed_user(name)
    assert pid
    path = SHARED_MEMORY / f"memlane.{name}"
    before = path.read_bytes()
    run("ls")
    run("ls", "--all", "--json")
    run("stat", name)
    run("sweep", "--dry-run", name)
    assert before == path.read_bytes()
    run("rm", name)


def test_who_looks_is_not_taken_for_a_user(name: str) -> None:
    """While a tool looks at it, a region that nobody has open can be removed, and is nobody's."""
    killed_user(name)
    with inspection.find(name).open() as region:
        assert ["ring"] == list(region)
        facts = listed()[name]
        assert (False, []) == (facts["in_use"], facts["processes"])
        run("rm", name)
        assert 2 == region.stats()["objects"]["ring"]["records"]  # it can still be looked at


def test_ls_says_what_is_wrong_with_a_region_and_lists_the_others(name: str) -> None:
    """
    One corrupted region does not hide the rest, nor a corrupted object the others of its region.
    """
    short = f"{name}-short"
    with memlane.Region.create(name, "1 MiB") as region:
        file_of(region).with_name(f"memlane.{short}").write_bytes(file_of(region).read_bytes()[:64])
        memlane.Region.create(f"{name}-newer", "1 MiB").close()
        set_field(SHARED_MEMORY / f"memlane.{name}-newer", "layout_draft", 1000)
        facts = listed()
        assert "has 64 bytes, a region has at least" in facts[short]["error"]
        assert (64, False) == (facts[short]["nbytes"], facts[short]["in_use"])
        assert "draft 1000, which is newer" in facts[f"{name}-newer"]["error"]
        assert [] == facts[name]["objects"]
        lines = run("ls")[0].splitlines()
        assert 1 == len([line for line in lines if "has 64 bytes, a region has at least" in line])
        _, err = run("stat", short, code=1)
        assert err.startswith("memlane: ")
        assert "has 64 bytes" in err
        run("rm", short)
        run("rm", f"{name}-newer")
        region.unlink()
    assert {name, short, f"{name}-newer"}.isdisjoint(memlane.Region.names())


def test_spoilt_object_hides_no_other(name: str) -> None:
    """stat tells what is wrong with the one, and all of the others."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits").add(7)
        region.slot("pose", "d")
        content = file_of(region).read_bytes()
        place = content.index(b"struct:d")
        with open(file_of(region), "r+b") as file:
            os.pwrite(file.fileno(), b"struct:?", place)
        out, _ = run("stat", name)
        assert re.search(r"^  value +7$", out, re.MULTILINE)
        assert re.search(r"^  wrong +.*pose", out, re.MULTILINE)
        facts = json.loads(run("stat", name, "--json")[0])
        assert 7 == facts["stats"]["hits"]["value"]
        assert facts["stats"]["pose"]["error"] == facts["errors"][0]
        region.unlink()


def test_an_entry_out_of_bounds_hides_neither_sizes_nor_users_nor_other_objects(name: str) -> None:
    """What can be known without it is told, and what is wrong."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits")
        region.counter("misses").add(7)
        offset = field(file_of(region), "directory_offset") + 72  # of the object, in its entry
        with open(file_of(region), "r+b") as file:
            os.pwrite(file.fileno(), (1 << 40).to_bytes(8, sys.byteorder), offset)
        out, _ = run("stat", name)
        assert f"open by            {os.getpid()} " in out
        assert re.search(r"^  wrong +.*directory", out, re.MULTILINE)
        assert re.search(r"^hits  corrupted$", out, re.MULTILINE)
        assert re.search(r"^misses  counter\n.*\n +value +7$", out, re.MULTILINE)
        facts = listed()[name]
        assert "directory" in facts["error"]
        assert {"hits": "corrupted", "misses": "counter"} == facts["kinds"]
        line = next(it for it in run("ls")[0].splitlines() if it.startswith(f"{name} "))
        assert re.search(r"hits \(corrupted\): object 'hits' .*, misses \(counter\)$", line)
        assert "'hits'" in run("rm", f"{name}/hits", code=1)[1]
        run("rm", f"{name}/misses")
        assert ["hits"] == list(region)
        region.unlink()


def test_regions_without_a_name_are_listed_on_demand_and_can_be_looked_into(name: str) -> None:
    """PID:N is what `ls --all` shows, and what `stat` takes."""
    with memlane.Ring(capacity=4096, producers=2) as ring, memlane.Counter.create(None) as counter:
        ring.put_many([b"x"] * 5)
        counter.add(3)
        mine = {
            found: facts
            for found, facts in listed("--all").items()
            if os.getpid() in [one["pid"] for one in facts.get("processes", [])]
        }
        assert all(re.fullmatch(rf"{os.getpid()}:\d+", found) for found in mine)
        rings = [found for found, facts in mine.items() if facts["waiting"] == 5]
        counters = [found for found, facts in mine.items() if ["counter"] == facts["objects"]]
        assert (1, 1) == (len(rings), len(counters))
        assert not set(mine) & set(listed())
        out, _ = run("stat", rings[0])
        assert re.search(r"^  lane 0 +producer alive.*records 5", out, re.MULTILINE)
        facts = json.loads(run("stat", f"{counters[0]}/counter", "--json")[0])
        assert 3 == facts["stats"]["counter"]["value"]
        _, err = run("rm", rings[0], code=1)
        assert "goes with the last process that has it open" in err
    _, err = run("stat", f"{os.getpid()}:1000000", code=1)
    assert f"process {os.getpid()} has no descriptor 1000000" in err
    reading, writing = os.pipe()
    _, err = run("stat", f"{os.getpid()}:{reading}", code=1)
    assert f"region {os.getpid()}:{reading} is no regular file; check the name" in err
    os.close(reading)
    os.close(writing)


def test_label_of_a_region_without_a_name_is_told() -> None:
    """By it one knows which of several it is; it stands in the name of the memory file."""
    with memlane.Counter.create(None) as counter:
        content = file_of(counter._region).read_bytes()
    with os.fdopen(os.memfd_create("memlane:tasks\x1b"), "w+b") as file:
        file.write(content)
        file.flush()
        found = f"{os.getpid()}:{file.fileno()}"
        assert "tasks\x1b" == listed("--all")[found]["label"]
        out, _ = run("ls", "--all")
        assert f"{found} (tasks\\x1b) " in out


def test_descriptor_of_something_else_is_no_region(tmp_path: Path) -> None:
    """Only what begins as a region does is looked into."""
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"no region" * 1000)
        file.flush()
        _, err = run("stat", f"{os.getpid()}:{file.fileno()}", code=1)
        assert "is no region of memlane" in err


def test_semaphores_without_a_region_are_listed(tmp_path: Path) -> None:
    """Those of a region in a file that is open, and those that nobody uses any more."""
    with memlane.Ring.create(tmp_path / "file.lane", capacity=4096) as ring:
        of_set = semaphores_module.set_of(ring._region._member.region_id)
        facts = listed()[f"semaphores {of_set}"]
        assert facts["in_use"] is True
        assert facts["semaphores"] >= 1
        ring.close()
        assert listed()[f"semaphores {of_set}"]["in_use"] is False
        (line,) = [line for line in run("ls")[0].splitlines() if of_set in line]
        assert "left behind; memlane sweep" in line
    out, _ = run("rm", os.fspath(tmp_path / "file.lane"))
    assert out.startswith(f"removed {tmp_path}/file.lane, ")
    assert not (tmp_path / "file.lane").exists()
    assert f"semaphores {of_set}" not in listed()


@needs_mounts
def test_clean_machine_has_no_named_regions() -> None:
    """It is said, on stderr: a pipe gets nothing."""

    def look() -> None:
        own_shared_memory(1 << 20)
        assert ("", "no named regions, see --all\n") == run("ls")
        assert ("", "") == run("ls", "--json")
        assert ("", "removed nothing\n") == run("sweep")
        assert ("", "would remove nothing\n") == run("sweep", "--dry-run")

    with Child(look) as child:
        assert 0 == child.wait()


@needs_mounts
def test_where_proc_is_hidden_users_are_known_to_be_there_but_not_who(name: str) -> None:
    """The kernel's locks say that a region is in use; rows still tell pids."""

    def look() -> None:
        own_mounts()
        mount("tmpfs", Path("/proc"))
        facts = listed()[name]
        assert facts["in_use"] is True
        assert [] == facts["processes"]
        assert [] == facts["participants"]
        line = next(line for line in run("ls")[0].splitlines() if line.startswith(name))
        assert "processes that are not visible from here" in line
        _, err = run("rm", name, code=1)
        assert "is in use by processes that are not visible from here" in err

    memlane.Slot.create(name, "d").close()
    with memlane.Slot.open(name, readonly=True) as slot:  # has no row
        with Child(look) as child:
            assert 0 == child.wait()
        slot.unlink()


def test_maps_that_cannot_be_made_out_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever /proc shows, nothing but what is certain counts."""
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "maps").write_bytes(
        b"7f00-7f01 r--s 00000000 00:1a 77 /dev/shm/memlane.\xff x\n"
        b"7f00-7f01 r--s 00000000 zz:1a 78 /dev/shm/memlane.y\n"
        b"7f00-7f01 rw-p 00000000 00:00 0\n"
        b"garbage\n"
    )
    (tmp_path / "13").mkdir()
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(_proc, "PROC", tmp_path)
    assert {(os.makedev(0, 0x1A), 77): [12]} == _proc.mapped_files()
    assert [] == list(_proc.unnamed())
    assert "" == _proc.name_of(12)
    monkeypatch.setattr(_proc, "PROC", tmp_path / "nowhere")
    assert {} == _proc.mapped_files()


def test_line_of_a_ring_tells_how_long_records_wait_and_what_is_on_loan() -> None:
    """Where the ring knows: what it does not know is left out."""
    ring = {"records": 3, "lanes": [{"oldest_age": 1.25}, {"oldest_age": None}, {}], "loans": 2}
    facts = {
        "objects": ["r", "s"],
        "kinds": {"r": "ring", "s": "ring"},
        "stats": {"r": ring, "s": {}},
    }
    assert "r (ring) 3 waiting for 1.2 s 2 on loan, s (ring)" == _objects(facts)
    ring |= {"waiting_producers": 1, "waiting_consumers": 2, "times_full": 1000, "records": 0}
    assert "r (ring) 2 on loan 1 put waits 2 gets wait full 1,000 times, s (ring)" == _objects(
        facts
    )


def test_a_file_with_a_name_that_no_region_can_have_hides_no_other(name: str) -> None:
    """Somebody has copied or linked it there; regions beside it are shown as ever."""
    odd = SHARED_MEMORY / f"memlane..{name}"
    with memlane.Region.create(name, 4096) as region:
        os.link(file_of(region), odd)
        try:
            shown = run("ls")[0]
        finally:
            os.unlink(odd)
        region.unlink()

    assert 2 == shown.count(name)


def test_patterns_choose_what_is_listed(name: str) -> None:
    """Of regions and of objects; one that matches nothing is exit code 1, the others are listed."""
    with memlane.Region.create(f"{name}-a", "1 MiB") as first:
        first.counter("hits")
        first.counter("misses")
        with memlane.Region.create(f"{name}-b", "1 MiB") as second:
            second.counter("hits")
            both = lines("ls", f"{name}-*")
            assert [f"{name}-a", f"{name}-b"] == [one["name"] for one in both]
            (one,) = lines("ls", f"{name}-[ac]/h*")
            assert (f"{name}-a", ["hits"]) == (one["name"], one["objects"])
            (one,) = lines("ls", f"{name}-a/hits", f"{name}-a")
            assert ["hits", "misses"] == one["objects"]
            out, err = call("ls", f"{name}-b", f"{name}-c*", f"{name}-none", code=1)
            assert 1 == len(out.splitlines())
            assert f"nothing matches '{name}-c*'\n" in err
            assert f"nothing matches '{name}-none'\n" in err
            second.unlink()
        first.unlink()


def test_a_tree_shows_each_object_and_who_has_which_role_in_it(name: str) -> None:
    """Below its region; in ASCII where the terminal has no lines."""
    with memlane.Region.create(name, "4 MiB") as region:
        region.counter("hits")
        ring = region.ring("frames", capacity=4096, producers=2)
        ring.put(b"x")
        expected = f"""\
{name}  * KiB, open by {os.getpid()} *
├─ hits (counter)
└─ frames (ring) 1 waiting*
   └─ producer {os.getpid()}, lane 0: alive
"""
        shown = terminal_shows("ls", "--tree", name, environment={"PYTHONUTF8": "1"})
        pattern = re.escape(expected).replace(r"\*", ".*")
        assert re.fullmatch(pattern, shown), shown
        plain = terminal_shows("ls", "--tree", name, environment={"PYTHONIOENCODING": "ascii"})
        assert "`- frames (ring) 1 waiting" in plain
        region.unlink()
