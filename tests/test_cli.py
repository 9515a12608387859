# SPDX-License-Identifier: MIT
"""The command line says what there is, removes what nobody uses, and ends with the right code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane import doorbell
from memlane.cli import finding, main, processes
from memlane.cli.listing import _objects
from memlane.cli.text import duration, safe, size, table, width
from processes import PATIENCE_S, Child, forked, unrelated, wait_until
from region_files import (
    SHARED_MEMORY,
    field,
    file_of,
    mount,
    needs_mounts,
    own_mounts,
    own_shared_memory,
    set_field,
)


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command prints, as a user runs it, to stdout and to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "memlane", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert code == done.returncode, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    return {facts["name"]: facts for facts in json.loads(run("ls", "--json", *arguments)[0])}


def killed_user(name: str) -> int:
    """The pid of a process that made a ring, put two records, and was killed."""
    ready, told = os.pipe()

    def use() -> None:
        ring = memlane.Ring.create(name, capacity=4096, producers=2)
        ring.put_many([b"one", b"two"])
        os.write(told, b".")
        signal.pause()

    with Child(use) as user:
        assert b"." == os.read(ready, 1)
        user.kill()
    os.close(ready)
    os.close(told)
    return user.pid


# ---- the command itself --------------------------------------------------------------------------


def test_memlane_alone_prints_the_help_of_all_commands() -> None:
    """Who types the name only learns what there is, and what the exit codes mean."""
    out, err = run()
    assert "" == err
    for command in ("demo", "ls", "stat", "rm", "sweep", "help"):
        assert re.search(rf"^ +{command} ", out, re.MULTILINE)
    assert "REGION/OBJECT" in out
    assert "exit code:" in out
    assert (out, "") == run("help")
    assert (out, "") == run("--help")


@pytest.mark.parametrize("command", ["demo", "ls", "stat", "rm", "sweep"])
def test_every_command_has_its_help_with_the_exit_codes(command: str) -> None:
    """`help COMMAND` and `COMMAND --help` are the same."""
    out, _ = run("help", command)
    assert out.startswith(f"usage: memlane {command} ")
    assert "exit code:" in out
    assert "--json" in out
    assert (out, "") == run(command, "--help")


def test_mistyped_command_is_told_the_one_that_is_near() -> None:
    """One line, and exit code 2; nothing that a terminal would obey."""
    out, err = run("stta", code=2)
    assert "" == out
    assert "memlane: there is no command 'stta'; did you mean 'stat'; see memlane --help\n" == err
    _, err = run("\x1b[2J", code=2)
    assert "there is no command '\\x1b[2J'; there are demo, ls, stat, rm, sweep, help" in err
    _, err = run("ls", "\x1b[2J", code=2)
    assert "\x1b" not in err
    assert 1 == len(err.splitlines())


def test_python_m_memlane_is_the_command(name: str) -> None:
    """Both ways in lead to the same commands and pass the exit code on."""
    for command in ([sys.executable, "-m", "memlane"], [Path(sys.executable).parent / "memlane"]):
        shown = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert (0, f"memlane {memlane.__version__}\n") == (shown.returncode, shown.stdout)
        refused = subprocess.run(
            [*command, "no-such"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert 2 == refused.returncode
        failed = subprocess.run(
            [*command, "demo", f"/{name}"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert 2 == failed.returncode


def test_error_of_the_library_is_one_line_and_exit_code_1(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback for what the text already says."""

    def refuse(*_arguments: object, **_keywords: object) -> list[str]:
        raise memlane.RegionNotFoundError(f"{name} does not\nexist", name=name)

    monkeypatch.setattr("memlane.cli.removing.sweep", refuse)
    assert 1 == main(["sweep"])
    assert f"memlane: {name} does not\\nexist\n" == capsys.readouterr().err


def test_reader_that_has_seen_enough_is_no_error(name: str) -> None:
    """`memlane stat NAME -i 1 | head -1` ends without a word."""
    with memlane.Counter.create(name) as counter:
        program = subprocess.Popen(
            [sys.executable, "-m", "memlane", "stat", name, "-i", "0.01"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert program.stderr is not None
        assert f"{name}\n".encode() == program.stdout.readline()
        program.stdout.close()
        assert 1 == program.wait(PATIENCE_S)
        assert b"" == program.stderr.read()
        program.stderr.close()
        counter.unlink()


# ---- text ----------------------------------------------------------------------------------------


def test_columns_are_aligned_whatever_signs_are_in_them() -> None:
    """Wide signs take two columns, combining ones none; what a terminal obeys is escaped."""
    assert (2, 4, 1, 3) == (width("ab"), width("日本"), width("é"), width("a日"))
    assert r"a\x1b[31m\nb\udc80é" == safe("a\x1b[31m\nb\udc80é")
    assert [
        "NAME   SIZE  WHAT",
        "日本      1  a",
        r"\t    1,000  b",
    ] == table(("NAME", "SIZE", "WHAT"), [("日本", "1", "a"), ("\t", "1,000", "b")], right="SIZE")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (1 << 42, "4.0 TiB"),
    ],
)
def test_sizes_are_in_the_largest_unit_that_leaves_one(nbytes: int, text: str) -> None:
    """Binary units, as everywhere in the library."""
    assert text == size(nbytes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (90.0, "1.5 min"), (7200.0, "2.0 h"), (1e8, "1,157.4 d")],
)
def test_times_are_in_the_largest_unit_that_leaves_one(seconds: float, text: str) -> None:
    """An hour is no thousand seconds."""
    assert text == duration(seconds)


# ---- ls ------------------------------------------------------------------------------------------


def test_ls_tells_sizes_objects_users_and_what_waits(name: str) -> None:
    """Size really in memory and in all, each object with its kind, who has it open, what lags."""
    with memlane.Region.create(name, "8 MiB") as region:
        region.counter("hits")
        region.slot("pose", "6d")
        ring = region.ring("frames", capacity=4096, producers=2)
        ring.put_many([b"x"] * 3)
        facts = listed()[name]
        assert ["hits", "pose", "frames"] == facts["objects"]
        assert {"hits": "counter", "pose": "slot", "frames": "ring"} == facts["kinds"]
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
            r"hits \(counter\), pose \(slot\), frames \(ring\) 3 waiting for .* s$", line
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
    """Nobody has it open; who died in it, and what waits, is told."""
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
    with finding.target(name).open() as region:
        assert ["ring"] == list(region)
        facts = listed()[name]
        assert (False, []) == (facts["in_use"], facts["processes"])
        run("rm", name)
        assert 2 == region.stats()["objects"]["ring"]["records"]  # it can still be looked at


def test_ls_says_what_is_wrong_with_a_region_and_lists_the_others(name: str) -> None:
    """One spoilt region does not hide the rest, nor a spoilt object the others of its region."""
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


def test_spoilt_directory_hides_neither_sizes_nor_users(name: str) -> None:
    """What can be known without it is told, and what is wrong."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits")
        offset = field(file_of(region), "directory_offset") + 72  # of the object, in its entry
        with open(file_of(region), "r+b") as file:
            os.pwrite(file.fileno(), (1 << 40).to_bytes(8, sys.byteorder), offset)
        out, _ = run("stat", name)
        assert f"open by            {os.getpid()} " in out
        assert re.search(r"^  wrong +.*directory", out, re.MULTILINE)
        assert "directory" in listed()[name]["error"]
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
        of_set = doorbell.set_of(ring._region._member.region_id)
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
    """It is said, on stderr: a pipe gets nothing, JSON an empty list."""

    def look() -> None:
        own_shared_memory(1 << 20)
        assert ("", "no named regions, see --all\n") == run("ls")
        assert ("[]\n", "") == run("ls", "--json")
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
        assert "processes that are not to be seen from here" in line
        _, err = run("rm", name, code=1)
        assert "is in use by processes that are not to be seen from here" in err

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
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert {(os.makedev(0, 0x1A), 77): [12]} == processes.who_maps()
    assert [] == list(processes.unnamed())
    assert "" == processes.name_of(12)
    monkeypatch.setattr(processes, "PROC", tmp_path / "nowhere")
    assert {} == processes.who_maps()


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


# ---- names ---------------------------------------------------------------------------------------


def test_name_that_is_not_there_is_told_those_that_are_near(name: str) -> None:
    """Of regions and of objects; exit code 1."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("requests")
        for command in ("stat", "rm"):
            _, err = run(command, name[:-1], code=1)
            assert f"memlane: there is no region '{name[:-1]}'; did you mean '{name}'" in err
            _, err = run(command, f"{name}/request", code=1)
            assert f"region '{name}' has no object 'request'; did you mean 'requests'\n" in err
        _, err = run("sweep", name[:-1], code=1)
        assert f"did you mean '{name}'" in err
        _, err = run("stat", f"{name}/", code=2)
        assert "the name of an object is missing behind the '/'" in err
        _, err = run("stat", "", code=2)
        assert err.startswith("memlane: name must not be empty")
        _, err = run("stat", f"./{name}", code=1)
        assert "there is no file" in err
        region.unlink()


def test_control_characters_of_names_never_reach_the_terminal(name: str) -> None:
    """Anybody may give a name; text is escaped, JSON is as it is."""
    wild = f"{name}\x1b[31m日本\n"
    with memlane.Region.create(wild, "1 MiB") as region:
        region.counter("\x1b[5mhits")
        assert wild in listed()
        for out, err in (
            run("ls"),
            run("stat", wild),
            run("sweep", "--dry-run", wild, code=1),
            run("rm", wild, code=1),
            run("stat", f"{wild}/\x1b", code=1),
        ):
            assert "\x1b" not in out + err
            assert f"{name}\\x1b[31m日本\\n" in out + err
        region.unlink()


def test_region_in_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    """A path begins with "." or "/"; an object may stand behind it."""
    path = tmp_path / "robot.lane"
    with memlane.Region.create(path, "1 MiB") as region:
        region.counter("hits").add(5)
        for text in (os.fspath(path), f"{path}/hits", f"./{os.path.relpath(path)}"):
            facts = json.loads(run("stat", text, "--json")[0])
            assert 5 == facts["stats"]["hits"]["value"]
        _, err = run("rm", os.fspath(path), code=1)
        assert f"is in use by {os.getpid()} " in err
        region.close()
    run("rm", os.fspath(path))
    assert not path.exists()
    path.write_bytes(b"my work of years")
    _, err = run("rm", os.fspath(path), code=1)
    assert "is no region of memlane" in err
    assert b"my work of years" == path.read_bytes()


# ---- stat ----------------------------------------------------------------------------------------


def test_stat_tells_what_every_object_says_of_itself(name: str) -> None:
    """All that stats() has is there, for every kind, in text and in JSON."""
    with memlane.Region.create(name, "8 MiB") as region:
        one = region.ring("one", capacity=4096, producers=2)
        one.put(b"x")
        region.ring("many", capacity=4096, producers=2, consumers="many").put(b"x")
        region.slot("pose", "3d").publish((1, 2, 3))
        region.table("sensors", 3, "d")[1].publish((2.5,))
        region.counter("hits").add(-7)
        expected = region.stats()["objects"]
        facts = json.loads(run("stat", name, "--json")[0])
        for object_name, stats in expected.items():
            found = dict(facts["stats"][object_name])
            assert stats["kind"] == facts["kinds"][object_name]
            for changing in ("age", "kind", "oldest_age"):
                found.pop(changing, None)
                stats.pop(changing, None)
            for lane in [*found.get("lanes", ()), *stats.get("lanes", ())]:
                lane.pop("oldest_age", None)
            assert stats == found
        out, _ = run("stat", name)
        assert name == out.splitlines()[0]
        assert re.search(r"^one  ring$", out, re.MULTILINE)
        assert re.search(rf"^  lane 0 +producer alive, pid {os.getpid()}, put 1", out, re.MULTILINE)
        assert re.search(r"^  value +-7$", out, re.MULTILINE)
        assert re.search(r"^  versions +0, 1, 0$", out, re.MULTILINE)
        alone, _ = run("stat", f"{name}/pose")
        assert "pose  slot" in alone
        assert "hits" not in alone
        region.unlink()


def test_stat_again_and_again_tells_rates_until_ctrl_c_which_is_no_failure(name: str) -> None:
    """A rate is what a count grew by in a second; exit code 0."""
    with memlane.Region.create(name, "8 MiB") as region:
        ring, hits = region.ring("frames", capacity=4096, producers=1), region.counter("hits")
        for as_json in ([], ["--json"]):
            program = subprocess.Popen(
                [sys.executable, "-m", "memlane", "stat", name, "-i", "0.05", *as_json],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert program.stdout is not None
            lines: list[str] = []
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                ring.put(b"x")
                ring.get()
                hits.add(1)
                lines.append(program.stdout.readline())
                if as_json and (rates := json.loads(lines[-1]).get("rates")):
                    if rates["frames"]["put"] > 0 and rates["hits"]["value"] > 0:
                        break
                elif re.search(r"frames  .*put [1-9][\d.]*/s", lines[-1]):
                    break
            program.send_signal(signal.SIGINT)
            _, err = program.communicate(timeout=PATIENCE_S)
            assert (0, "") == (program.returncode, err)
        region.unlink()


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_impossible_interval_is_refused(text: str) -> None:
    """The text says what would do."""
    _, err = run("stat", "name", f"-i={text}", code=2)
    assert "expected seconds from 0.01 to 86400" in err


# ---- rm and sweep --------------------------------------------------------------------------------


def test_rm_refuses_what_is_in_use_and_says_by_whom(name: str) -> None:
    """Nothing is removed under somebody; afterwards it goes, with its semaphores."""
    with memlane.Ring.create(name, capacity=4096) as ring:
        ring.put(b"x")
        _, err = run("rm", name, code=1)
        assert err.startswith(f"memlane: region '{name}' is in use by {os.getpid()} ")
        assert name in memlane.Region.names()
        _, err = run("rm", f"{name}/ring", code=1)
        assert f"object 'ring' of region '{name}' is in use by process {os.getpid()}" in err
    nbytes = (SHARED_MEMORY / f"memlane.{name}").stat().st_blocks * 512
    removed = json.loads(run("rm", name, "--json")[0])
    assert [name] == list(removed)
    assert removed[name] > nbytes  # its semaphores, too
    assert name not in memlane.Region.names()


def test_rm_takes_one_object_of_a_region_away(name: str) -> None:
    """Also while the region is open, as long as nobody has a role in the object."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits")
        region.counter("misses")
        nbytes = region.stats()["objects"]["hits"]["nbytes"]
        assert {f"{name}/hits": nbytes} == json.loads(run("rm", f"{name}/hits", "--json")[0])
        assert ["misses"] == list(region)
        region.unlink()


def test_sweep_of_one_name_leaves_all_others_and_refuses_what_is_in_use(name: str) -> None:
    """Who has it open is told, with exit code 1."""
    other, used = f"{name}-other", f"{name}-used"
    killed_user(name)
    memlane.Region.create(other, "1 MiB").close()
    with memlane.Region.create(used, "1 MiB") as region:
        would = json.loads(run("sweep", "--dry-run", name, "--json")[0])
        nbytes = (SHARED_MEMORY / f"memlane.{name}").stat().st_blocks * 512
        assert nbytes == would[name]
        assert 2 == len(would)  # and its semaphores
        out, _ = run("sweep", "--dry-run", name)
        assert f"would remove {name}, {size(nbytes)}\n" in out
        assert f"would remove {size(sum(would.values()))} in all\n" in out
        assert name in memlane.Region.names()
        out, err = run("sweep", name, used, code=1)
        assert f"removed {name}, {size(nbytes)}\n" in out
        assert f"memlane: region '{used}' is in use by {os.getpid()} " in err
        assert {other, used} <= set(memlane.Region.names())
        assert name not in memlane.Region.names()
        region.unlink()
    run("sweep", other)


@pytest.mark.sweeps
def test_sweep_tells_what_it_removed_and_leaves_what_is_in_use(name: str) -> None:
    """Only what nobody has open goes; the dry run said so."""
    with memlane.Region.create(name, "1 MiB") as used:
        memlane.Region.create(f"{name}-left", "1 MiB").close()
        would = json.loads(run("sweep", "--dry-run", "--json")[0])
        assert f"{name}-left" in would
        removed = json.loads(run("sweep", "--json")[0])
        assert would[f"{name}-left"] == removed[f"{name}-left"] > 0
        assert name not in removed
        assert name in memlane.Region.names()
        used.unlink()


def test_region_that_goes_away_while_one_looks_is_not_listed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between a list and a look anything may happen."""
    gone = finding.target(name)
    monkeypatch.setattr(finding, "everything", lambda _also_unnamed: [gone])
    assert 0 == main(["ls", "--json"])
    assert name not in capsys.readouterr().out


def test_stat_of_a_region_that_is_being_used_sees_a_sound_one(name: str) -> None:
    """A look amid work is right, and the work is not held up."""

    def work() -> None:
        with memlane.Ring.open(name) as ring:
            while True:
                ring.put(b"x" * 100)
                ring.get()

    with memlane.Ring.create(name, capacity=4096) as ring:
        pid = forked(work)
        try:
            wait_until(lambda: ring.stats()["lanes"], "the first record")
            for _ in range(5):
                facts = json.loads(run("stat", name, "--json")[0])
                assert facts["stats"]["ring"]["records"] in (0, 1)
                assert pid in [one["pid"] for one in facts["participants"]]
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        ring.unlink()
