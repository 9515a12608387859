# SPDX-License-Identifier: MIT
"""
Proof of life and death: the kernel's locks decide, only the proven dead lose anything, and nobody
else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane import ClosedError, Region, RoleTakenError
from memlane._region.directory import Creating
from tests.support.processes import PATIENCE_S, Child, unrelated
from tests.support.stepping import (
    CREATION_BYTE,
    RETIRED,
    ROWS,
    Line,
    Stepped,
    Table,
    is_locked,
    joining_byte,
    line,
    locks,
    probes,
    row_byte,
)

pytestmark = pytest.mark.machine

__all__ = ["line"]

Lines = Callable[[], Line]


@pytest.fixture
def region(name: str) -> Iterator[Region]:
    with Region.create(name, "1 MiB") as made:
        yield made
    made.unlink()


@pytest.fixture
def table(region: Region) -> Iterator[Table]:
    with Table(f"/dev/shm/memlane.{region.name}") as found:
        yield found


def alive(region: Region) -> set[int]:
    """The pids of those who live in a region."""
    return {participant.pid for participant in region.participants() if participant.alive}


def member(region: Region, says: Line, hears: Line) -> None:
    """A child that joins a region, says so, and stays until it is told to go."""
    region.join()
    says.tell(os.getpid())
    hears.hear()


# ---- who is shown --------------------------------------------------------------------------------


def test_participants_shows_the_living_and_not_the_dead(region: Region, line: Lines) -> None:
    """
    A process that joined is listed as alive from then on, and is gone from the list as soon as it
    was killed.
    """
    says = line()
    with Child(member, region, says, line()) as child:
        says.hear()
        region.join()
        assert {os.getpid(), child.pid} == alive(region)

        child.kill()

        assert [os.getpid()] == [participant.pid for participant in region.participants()]


def test_participant_says_what_program_it_is(region: Region, name: str) -> None:
    """pid, start time and program name of a row are those of the process that joined."""
    code = """
import memlane, sys
region = memlane.Region.open(sys.argv[1])
region.join()
print(flush=True)
input()
"""
    with unrelated(code, name) as program:
        assert program.stdout is not None
        program.stdout.readline()

        (found,) = region.participants()
        with open(f"/proc/{program.pid}/stat") as stat:
            start_time = int(stat.read().rpartition(")")[2].split()[19])

        assert program.pid == found.pid
        assert start_time == found.start_time
        assert "-c" == found.name
        assert found.alive
        program.kill()


def test_stats_count_the_living(region: Region, line: Lines) -> None:
    """`stats()["participants"]` counts who lives."""
    says = line()
    with Child(member, region, says, line()) as child:
        says.hear()
        assert 1 == region.stats()["participants"]
        child.kill()

        assert 0 == region.stats()["participants"]


def test_reader_without_write_access_is_told_of_the_dead_and_leaves_them(
    region: Region, table: Table, name: str, line: Lines
) -> None:
    """
    A read-only open sees which processes live and which died; it changes no byte, and takes no row
    of its own.
    """
    ring = region.ring("ring", capacity=4096)
    says = line()

    def put_and_stay() -> None:
        ring.put(b"record")
        member(region, says, line())

    with Child(put_and_stay) as child, Region.open(name, readonly=True) as reader:
        says.hear()
        row = table.row_of(child.pid)
        generation = table.generation(row)
        shown = {os.getpid(): True, child.pid: True}
        assert shown == {p.pid: p.alive for p in reader.participants()}
        child.kill()

        shown[child.pid] = False
        assert shown == {p.pid: p.alive for p in reader.participants()}
        stats = reader.stats()
        assert 1 == stats["participants"]
        assert "dead" == stats["objects"]["ring"]["lanes"][0]["producer"]
        assert generation == table.generation(row)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_reads_stats_of_a_region_it_may_only_read(name: str) -> None:
    """With permissions 0644 any user sees participants and stats, and cannot join."""
    with Region.create(name, "1 MiB", permissions=0o644) as region:
        region.ring("ring", capacity=4096).put(b"record")

        def look() -> None:
            os.setuid(65534)
            with Region.open(name, readonly=True) as reader:
                assert {os.getppid()} == alive(reader)
                assert 1 == reader.stats()["objects"]["ring"]["records"]
                with pytest.raises(PermissionError):
                    reader.join()

        with Child(look) as child:
            assert 0 == child.wait()
    region.unlink()


# ---- descriptors and locks -----------------------------------------------------------------------


def test_child_that_closes_all_descriptors_does_not_keep_its_dead_parent_alive(
    region: Region, line: Lines
) -> None:
    """
    A parent that joined is dead when it is killed, although its child, which closed every
    descriptor that it inherited, still has the region mapped (hazard 1)
    """
    parent_says, child_says, go = line(), line(), line()

    def child() -> None:
        keep = sorted([0, 1, 2, child_says.writer, go.reader])
        for low, high in zip(keep, [*keep[1:], 65536], strict=True):
            os.closerange(low + 1, high)
        child_says.tell(os.getpid())
        go.hear()

    def parent() -> None:
        region.join()
        with Child(child) as grandchild:
            parent_says.tell()
            grandchild.wait()

    with Child(parent) as process:
        parent_says.hear()
        grandchild = int(child_says.hear())
        assert {process.pid} == alive(region)
        process.kill()

        assert set() == alive(region)
        assert region_is_mapped(grandchild, region)


def region_is_mapped(pid: int, region: Region) -> bool:
    inode = str(os.stat(f"/dev/shm/memlane.{region.name}").st_ino)
    with open(f"/proc/{pid}/maps") as maps:
        return any(inode == each.split()[4] for each in maps)


def lock_description(region: Region) -> int:
    """The descriptor through which this process holds its row: it moved to a high number."""
    wanted = os.stat(f"/dev/shm/memlane.{region.name}")
    (found,) = (
        number
        for number in map(int, os.listdir("/proc/self/fd"))
        if number >= 512 and os.path.samestat(os.stat(f"/proc/self/fd/{number}"), wanted)
    )
    return found


def test_own_row_is_alive_although_its_own_description_shows_it_as_free(
    region: Region, table: Table, line: Lines
) -> None:
    """
    One's own lock never stands in one's own way, so a probe through that description says "free":
    this process and its children still see it alive (hazard 2)
    """
    ring = region.ring("ring", capacity=4096)
    ring.put(b"record")
    other = region.ring("other", capacity=4096)
    with pytest.raises(memlane.Empty):
        other.get_nowait()
    byte = row_byte(table.row_of(os.getpid()))
    assert not is_locked(lock_description(region), byte)
    assert table.is_locked(byte)

    assert {os.getpid()} == alive(region)
    assert "alive" == ring.stats()["lanes"][0]["producer"]

    def child() -> None:
        assert {os.getppid()} == alive(region)
        assert "alive" == ring.stats()["lanes"][0]["producer"]
        with pytest.raises(RoleTakenError):
            other.get_nowait()

    with Child(child) as process:
        assert 0 == process.wait()


def test_lock_description_does_not_travel(region: Region) -> None:
    """The description that holds the row is closed on exec and in forked children (hazard 1)"""
    region.join()
    held = lock_description(region)
    assert not os.get_inheritable(held)

    def child() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(held)

    with Child(child) as process:
        assert 0 == process.wait()


def test_two_threads_do_not_both_hold_the_creation_byte(
    region: Region, table: Table, name: str
) -> None:
    """
    The kernel would give both threads of a process the same lock, and the first unlock would free
    it for both: one waits for the other, and other processes wait until the last is through
    (hazard 3)
    """
    region.join()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Creating(region._member, None):
            inside.set()
            leave.wait(PATIENCE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(PATIENCE_S)

    with pytest.raises(TimeoutError, match="another thread"):
        region.counter("late", timeout=0)
    assert table.is_locked(CREATION_BYTE)
    with Child(_cannot_create, name, os.getpid()) as process:
        assert 0 == process.wait()
    leave.set()
    thread.join()

    region.counter("late", timeout=0)
    assert not table.is_locked(CREATION_BYTE)


def _cannot_create(name: str, holder: int) -> None:
    with Region.open(name) as region, pytest.raises(TimeoutError, match=f"process {holder} "):
        region.counter("late", timeout=0.01)


def test_threads_that_join_at_once_share_one_row(region: Region, table: Table) -> None:
    """However many threads use a region first, the process has one row, and keeps it (hazard 3)"""
    ready = threading.Barrier(8)

    def join() -> None:
        ready.wait(PATIENCE_S)
        region.join()

    threads = [threading.Thread(target=join) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [os.getpid()] == [participant.pid for participant in region.participants()]
    assert table.is_locked(row_byte(table.row_of(os.getpid())))


def test_objects_made_by_threads_at_once_do_not_overlap(region: Region) -> None:
    """Eight threads that make objects at once make each of them once, side by side (hazard 3)"""
    ready = threading.Barrier(8)

    def make(number: int) -> None:
        ready.wait(PATIENCE_S)
        region.counter("shared").add(1)
        region.counter(f"own {number}").add(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {"shared", *(f"own {number}" for number in range(8))} == set(region)
    assert 9 == len(list(region))
    assert 8 == region.counter("shared").value
    assert list(range(8)) == [region.counter(f"own {number}").value for number in range(8)]


def test_read_lock_of_a_stranger_does_not_keep_the_dead_alive(
    region: Region, table: Table, line: Lines
) -> None:
    """
    A process that may only read the file can take read locks: on the row of a dead one it counts
    for nothing (hazard 5)
    """
    says = line()
    with Child(member, region, says, line()) as child:
        row = None
        says.hear()
        row = table.row_of(child.pid)
        child.kill()
        table.lock(row_byte(row), kind=fcntl.F_RDLCK)

        assert set() == alive(region)
        assert 0 == table.generation(row) % 2


def test_joiner_passes_by_rows_that_a_stranger_has_locked(region: Region, table: Table) -> None:
    """Read locks of a stranger on all rows but one: the joiner takes that one (hazard 5)"""
    for row in set(range(ROWS)) - {700}:
        table.lock(row_byte(row), kind=fcntl.F_RDLCK)

    region.join()

    assert 700 == table.row_of(os.getpid())


def test_joiner_says_so_when_a_stranger_has_locked_every_row(region: Region, table: Table) -> None:
    """Read locks on all rows are an error at once, never a hang (hazard 5)"""
    table.lock(row_byte(0), kind=fcntl.F_RDLCK, nbytes=ROWS)

    with pytest.raises(RoleTakenError):
        region.join()


@pytest.mark.parametrize("joined", [True, False], ids=["with a row", "without a row"])
def test_process_whose_descriptor_was_reused_judges_nobody(
    name: str, tmp_path: Path, line: Lines, joined: bool
) -> None:
    """
    A process closes a descriptor that is not its own, the number becomes another file, and there
    nobody is locked: it says that its descriptor was closed, and takes nobody for dead (hazard 6)
    """
    says, go = line(), line()
    with Region.create(name, "1 MiB") as region:
        ring = region.ring("ring", capacity=4096, producers=1)

        def judge() -> None:
            if joined:
                region.join()
            other = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
            os.dup2(other, region._member.base)
            go.hear()
            with pytest.raises(ClosedError):
                region.participants()
            for rob in (ring.get_nowait, lambda: ring.put_nowait(b"mine")):
                with pytest.raises((ClosedError, RoleTakenError)):
                    rob()

        def live() -> None:
            ring.put(b"record")
            assert b"record" == ring.get()
            member(region, says, line())

        with (
            Child(live) as living,
            Child(judge) as process,
            Table(f"/dev/shm/memlane.{name}") as table,
        ):
            says.hear()
            generation = table.generation(table.row_of(living.pid))
            go.tell()

            assert 0 == process.wait()
            assert generation == table.generation(table.row_of(living.pid))
            assert {os.getpid(), living.pid} == alive(region)
            assert "alive" == ring.stats()["consumer"]
    region.unlink()


def test_process_that_closed_all_descriptors_judges_nobody_and_says_why(
    region: Region, line: Lines
) -> None:
    """
    close_fds in a live process: it is told so by an error, and the others stay alive (hazard 6)
    """
    says = line()
    ring = region.ring("ring", capacity=4096)

    def close_all() -> None:
        region.join()
        os.closerange(3, 4096)
        with pytest.raises(ClosedError, match="closed"):
            region.participants()
        with pytest.raises(ClosedError, match="closed"):
            ring.get_nowait()

    def live() -> None:
        ring.put(b"record")
        assert b"record" == ring.get()
        member(region, says, line())

    with Child(live) as living:
        says.hear()
        with Child(close_all) as process:
            assert 0 == process.wait()

        assert {os.getpid(), living.pid} == alive(region)


def descriptors_of(region: Region) -> list[int]:
    """The numbers under which this process has the file of a region open."""
    found = os.fstat(region._member.base)
    numbers = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.path.samestat(found, os.fstat(int(name))):
                numbers.append(int(name))
        except OSError:
            continue  # the one of the listing itself
    return numbers


@pytest.mark.parametrize("is_in_hand", [False, True], ids=["put", "commit"])
def test_producer_that_was_taken_for_dead_writes_nothing_over_its_successors_records(
    region: Region, is_in_hand: bool, line: Lines
) -> None:
    """A process lost its descriptors, and another has its lane: its puts say so (hazard 6)"""
    says, go = line(), line()
    ring = region.ring("ring", capacity=4096, producers=1)

    def unlocked() -> None:
        ring.put(b"before")
        room = ring.reserve(16) if is_in_hand else None
        for number in descriptors_of(region):
            os.close(number)
        says.tell("closed")
        go.hear()
        calls: list[Callable[[], Any]] = [
            lambda: ring.put(b"late"),
            lambda: ring.put_nowait(b"late"),
            lambda: ring.put_many([b"late"] * 3),
            lambda: ring.reserve(8),
        ]
        for call in calls if room is None else [room.commit]:
            with pytest.raises(ClosedError, match="taken for dead"):
                call()

    with Child(unlocked) as process:
        assert "closed" == says.hear()
        for number in range(3):
            ring.put_nowait(b"successor %d" % number)
        go.tell()
        assert 0 == process.wait()

    assert [b"before", b"successor 0", b"successor 1", b"successor 2"] == ring.get_many(9)


# ---- rows ----------------------------------------------------------------------------------------


def test_join_takes_a_dead_ones_row_when_no_other_is_free(
    region: Region, table: Table, line: Lines
) -> None:
    """
    With every row in use a joiner takes that of a killed process, and no other one's (hazard 7)
    """
    says = line()
    with Child(member, region, says, line()) as child:
        says.hear()
        row = table.row_of(child.pid)
        table.occupy(row)
        with pytest.raises(RoleTakenError, match="all 1024 rows"):
            region.join()
        child.kill()

        region.join()

        assert row == table.row_of(os.getpid())
        assert ROWS == len(region.participants())


def test_join_finds_a_row_in_a_table_full_of_the_dead(region: Region, table: Table) -> None:
    """A thousand killed processes do not keep anybody out (hazard 7)"""
    for row in range(ROWS):
        table.set_generation(row, 1)

    region.join()

    assert {os.getpid()} == alive(region)
    assert 1 == len(region.participants())


def test_join_buries_the_dead_before_it_locks_their_byte(region: Region, table: Table) -> None:
    """
    A joiner that is stopped between lock and generation must not make a dead owner look alive: an
    odd row becomes even first. Seen through a read lock that keeps the joiner from the byte
    (hazard 7)
    """
    table.occupy(5)
    table.lock(row_byte(5), kind=fcntl.F_RDLCK)
    table.set_generation(5, 1)

    with pytest.raises(RoleTakenError):
        region.join()

    assert 2 == table.generation(5)


def test_dead_one_stays_dead_while_a_joiner_stands_still_on_its_byte(
    region: Region, table: Table, line: Lines
) -> None:
    """
    The consumer is killed; a joiner has locked its byte and is stopped before it moves the
    generation: the consumer is dead all the same, and its role goes to the next one (hazard 7)
    """
    ring = region.ring("ring", capacity=4096)
    says = line()

    def consume() -> None:
        with pytest.raises(memlane.Empty):
            ring.get_nowait()
        member(region, says, line())

    with Child(consume) as dead:
        says.hear()
        row = table.row_of(dead.pid)
        dead.kill()
        table.occupy(row)
        with Stepped(region.join) as joiner:
            joiner.run_to(locks(row_byte(row)))
            assert table.is_locked(row_byte(row))
            assert 2 == table.generation(row)

            assert "dead" == ring.stats()["consumer"]
            assert dead.pid not in alive(region)


def test_nobody_joins_and_dies_behind_the_look_of_a_joiner_that_stands_still(
    region: Region, table: Table
) -> None:
    """
    A joiner is about to lock the byte of a row that it saw free: until it has, nobody else may join
    there, or the joiner's lock would let that one pass for alive once it had died (hazard 7)
    """
    table.occupy(5)

    def refused() -> None:
        with pytest.raises(RoleTakenError):
            region.join()

    with Stepped(region.join) as joiner:
        joiner.run_to(locks(joining_byte(5)))
        with Child(refused) as other:
            assert 0 == other.wait()
        assert 0 == table.generation(5)
        joiner.go_on()

        assert 0 == joiner.wait()
        assert 1 == table.generation(5)


def test_a_joiner_looks_again_once_nobody_else_can_join_the_row(
    region: Region, table: Table
) -> None:
    """
    Between a joiner's look at a free row and its right to join it, another joins there and dies: it
    is marked dead before its byte is locked, or a joiner stopped in between would let it pass
    for alive
    (hazard 7)
    """
    table.occupy(5)

    with Stepped(region.join) as joiner:
        joiner.run_to(locks(joining_byte(5)))
        table.set_generation(5, 1)  # nobody has its lock: dead
        joiner.run_to(locks(row_byte(5)))

        assert 2 == table.generation(5)
        joiner.go_on()
        assert 0 == joiner.wait()
        assert 3 == table.generation(5)


def test_late_burial_does_not_touch_who_came_after(
    region: Region, table: Table, line: Lines
) -> None:
    """
    A is told that the owner of a row is dead, and is stopped; the row is freed and joined anew; A
    goes on, and the newcomer keeps its row (hazard 8)
    """
    says = line()
    with Child(member, region, says, line()) as dead:
        says.hear()
        row = table.row_of(dead.pid)
        dead.kill()
    with Stepped(region.participants) as late:
        late.run_to(probes(row_byte(row)))
        # B buries the dead one, C joins there.
        table.set_generation(row, 3)
        table.lock(row_byte(row))

        late.go_on()

        assert 0 == late.wait()
        assert 3 == table.generation(row)
        assert row in {participant.row for participant in region.participants()}


class Objects:
    """
    A ring with one lane and a slot: what a process can have the three roles of. A handle keeps its
    role.
    """

    def __init__(self, region: Region) -> None:
        self.ring = region.ring("ring", capacity=4096, producers=1)
        self.slot = region.slot("slot", 8)

    def take(self, role: str) -> None:
        """Use a role, so that this process has it; an empty ring is no matter."""
        try:
            ROLES[role](self)
        except memlane.Empty:
            pass


ROLES: dict[str, Callable[[Objects], Any]] = {
    "consumer": lambda objects: objects.ring.get(timeout=0),
    "producer": lambda objects: objects.ring.put(b"record", timeout=0),
    "writer": lambda objects: objects.slot.publish(b"12345678"),
}


@pytest.mark.parametrize("role", ROLES)
def test_role_that_was_taken_over_meanwhile_stays_with_its_owner(
    region: Region, table: Table, line: Lines, role: str
) -> None:
    """
    A has proof that the holder of a role is dead, and is stopped; B takes the role; A goes on, and
    is refused by a B that lives (hazard 8)
    """
    objects = Objects(region)
    says, says_too, successor_says = line(), line(), line()

    def hold(tells: Line) -> None:
        objects.take(role)
        member(region, tells, line())

    def late() -> None:
        region.join()
        with pytest.raises(RoleTakenError) as caught:
            objects.take(role)
        assert (int(successor_says.hear()),) == caught.value.pids

    with Child(hold, says) as dead:
        says.hear()
        row = table.row_of(dead.pid)
        dead.kill()
    with Stepped(late) as process:
        process.run_to(probes(row_byte(row)))
        with Child(hold, says_too) as successor:
            successor_says.tell(says_too.hear())

            process.go_on()

            assert 0 == process.wait()
            assert successor.pid in alive(region)


def test_late_leave_does_not_free_the_row_of_a_newcomer(region: Region, table: Table) -> None:
    """
    A process that was taken for dead leaves: the row is a newcomer's by now, and stays in use
    (hazard 9)
    """
    region.join()
    row = table.row_of(os.getpid())
    newcomer = table.generation(row) + 2
    table.set_generation(row, newcomer)

    region.close()

    assert newcomer == table.generation(row)


def test_leaving_after_one_was_taken_for_dead_says_so(region: Region, table: Table) -> None:
    """
    The one who leaves late is told by a ClosedError that its descriptors had been closed (hazard 9)
    """
    region.join()
    row = table.row_of(os.getpid())
    table.set_generation(row, table.generation(row) + 1)

    with pytest.raises(ClosedError, match="taken for dead"):
        region._member.leave()


def test_process_that_closed_its_lock_leaves_a_newcomer_alone(
    region: Region, table: Table, name: str, line: Lines
) -> None:
    """
    The same with real processes: closed descriptors, taken for dead, the only free row taken by
    another one, then the first one closes the region (hazard 9)
    """
    says, go = line(), line()

    def careless() -> None:
        region.join()
        os.close(lock_description(region))
        says.tell()
        go.hear()
        region.close()

    with Child(careless) as process:
        says.hear()
        row = table.row_of(process.pid)
        table.occupy(row)
        with Child(member, region, says, line()) as newcomer:
            says.hear()
            assert row == table.row_of(newcomer.pid)
            generation = table.generation(row)
            go.tell()

            assert 0 == process.wait()
            assert generation == table.generation(row)
            assert newcomer.pid in alive(region)


def test_worn_out_row_is_never_joined_again(region: Region, table: Table) -> None:
    """Before the 22 bits of a tag wrap, a row is retired: old tags never come back (hazard 10)"""
    for row in range(ROWS):
        table.set_generation(row, [RETIRED, RETIRED + 2, 1 << 22, (1 << 22) + 2, 1 << 40][row % 5])
    table.set_generation(300, RETIRED - 2)

    region.join()
    assert 300 == table.row_of(os.getpid())
    region._member.leave()

    assert RETIRED == table.generation(300)
    with pytest.raises(RoleTakenError, match=r": 1024 retired .*\(row 0, 1, .* the region again"):
        region.join()


def test_a_full_table_says_which_rows_are_taken_and_which_are_worn_out(
    region: Region, table: Table
) -> None:
    """A process that finds no row learns whether closing something helps."""
    table.occupy(7, 9, 11)
    table.set_generation(7, RETIRED)
    table.set_generation(9, RETIRED + 2)
    table.lock(row_byte(11))

    with pytest.raises(RoleTakenError) as caught:
        region.join()

    assert (
        f"all 1024 rows of region {region.name!r} are taken: 1021 by live participants, "
        "2 retired after too many joins (row 7, 9), 1 locked by somebody who has not joined; "
        "close some participants"
    ) == str(caught.value)


def test_first_row_is_a_random_one(tmp_path: Path) -> None:
    """Rows wear evenly: joiners begin at a random one (hazard 10)"""
    rows = set()
    for number in range(8):
        path = tmp_path / f"{number}.lane"
        with Region.create(path, 4096) as region, Table(path) as table:
            region.join()
            rows.add(table.row_of(os.getpid()))
        region.unlink()

    assert 1 < len(rows)


def test_process_that_opens_a_region_read_only_first_joins_through_a_later_open(
    region: Region, table: Table, name: str, line: Lines
) -> None:
    """
    Opening read-only and then for writing gives two mappings, and one row; the reader never has one
    (hazard 11)
    """
    region.ring("ring", capacity=4096)

    def work() -> None:
        region.close()  # what was inherited, so that the next open is the first
        with Region.open(name, readonly=True) as reader:
            with pytest.raises(PermissionError, match="read-only"):
                reader.join()
            with Region.open(name) as writer, Region.open(name) as again:
                writer.join()
                again.join()
                writer.ring("ring").put(b"record")
                assert {os.getppid(), os.getpid()} == alive(reader) == alive(again)
                assert 2 == len(writer.participants())
            assert {os.getppid()} == alive(reader)
            with pytest.raises(PermissionError, match="read-only"):
                reader.ring("ring").put(b"record")

    with Child(work) as child:
        assert 0 == child.wait()
    assert b"record" == region.ring("ring").get()


def test_region_that_is_opened_by_two_names_is_one(tmp_path: Path) -> None:
    """A second name of the same file leads to the same membership: one row a process (hazard 11)"""
    path, other = tmp_path / "one.lane", tmp_path / "two.lane"
    with Region.create(path, 4096) as region:
        os.link(path, other)
        with Region.open(other) as again:
            region.join()
            again.join()

            assert 1 == len(region.participants())
            assert 1 == len(again.participants())
    region.unlink()


# ---- hard cases ----------------------------------------------------------------------------------


def test_zombie_is_dead(region: Region, line: Lines) -> None:
    """A killed process that nobody has reaped yet is dead: its roles are free (hazard 12)"""
    objects = Objects(region)
    says = line()

    def hold() -> None:
        for role in ROLES:
            objects.take(role)
        member(region, says, line())

    with Child(hold) as child:
        says.hear()
        child.signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert {os.getpid()} == alive(region)
        for role in ROLES:
            objects.take(role)


def test_pid_of_a_row_decides_nothing(region: Region, table: Table, line: Lines) -> None:
    """
    A dead one whose pid has come back as another process is dead; a living one whose pid means
    nothing here is alive (hazard 12)
    """
    says = line()
    with Child(member, region, says, line()) as child:
        says.hear()
        row = table.row_of(child.pid)
        table.set_pid(row, 4_000_000)  # above the largest pid of this machine
        assert {4_000_000} == alive(region)

        table.set_pid(row, os.getpid())
        child.kill()

        assert set() == alive(region)


@pytest.mark.parametrize("role", ROLES)
def test_stopped_process_keeps_its_role(region: Region, line: Lines, role: str) -> None:
    """
    A stopped process keeps its role however often others ask, and goes on with it (hazard 12)
    """
    objects = Objects(region)
    says, go = line(), line()

    def hold() -> None:
        objects.take(role)
        says.tell()
        go.hear()
        objects.take(role)

    with Child(hold) as child:
        says.hear()
        child.stop()
        for _ in range(50):
            with pytest.raises(RoleTakenError) as caught:
                objects.take(role)
            assert (child.pid,) == caught.value.pids
        if role == "producer":
            assert 1 == len(objects.ring)
        assert child.pid in alive(region)

        child.go_on()
        go.tell()

        assert 0 == child.wait()


CLONE_NEWPID = 0x20000000


def test_processes_in_another_pid_namespace_live_and_die_like_others(
    region: Region, name: str, line: Lines
) -> None:
    """
    Process 1 of a container is seen alive from outside and sees those outside; killed, its roles
    are free (hazard 12)
    """
    objects = Objects(region)
    region.join()
    says, go = line(), line()

    def inside() -> None:
        assert 1 == os.getpid()
        with Region.open(name) as opened:
            # The process outside has the other roles.
            assert outside == next(p.pid for p in opened.participants() if p.alive)
            theirs = Objects(opened)
            with pytest.raises(RoleTakenError):
                theirs.take("writer")
            theirs.take("consumer")
            says.tell()
            go.hear()

    def contain() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
            says.tell("not permitted")
            return
        region.close()
        with Child(inside) as first:
            go_and_die = first.wait()
            os._exit(0 if go_and_die == -signal.SIGKILL else 1)

    outside = os.getpid()
    objects.take("writer")
    with Child(contain) as child:
        if says.hear():
            pytest.skip("this system does not permit pid namespaces")
        assert {os.getpid(), 1} == alive(region)
        with pytest.raises(RoleTakenError):
            objects.take("consumer")

        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert 0 == child.wait()

        assert {os.getpid()} == alive(region)
        objects.take("consumer")


@pytest.mark.sweeps
def test_sweep_leaves_what_is_in_use_in_another_pid_namespace(name: str, line: Lines) -> None:
    """
    A region that only a process of another pid namespace has open is not swept; when that one is
    killed, it is (hazard 12)
    """
    says = line()

    def inside() -> None:
        region = Region.create(name, 4096)
        region.join()
        says.tell("ready")
        line().hear()

    def contain() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID):
            says.tell("not permitted")
            return
        with Child(inside) as first:
            first.wait()

    with Child(contain) as child:
        if says.hear() != "ready":
            pytest.skip("this system does not permit pid namespaces")
        memlane.sweep()
        assert name in Region.names()

        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert 0 == child.wait()
        memlane.sweep()

        assert name not in Region.names()


ENDS = {
    "returns": "",
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(3)",
    "exception": "1 // 0",
    "abort": "os.abort()",
    "exec": "os.execv('/bin/true', ['true'])",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
}


@pytest.mark.parametrize("end", ENDS)
def test_roles_of_an_ended_process_are_free_at_once(region: Region, name: str, end: str) -> None:
    """
    However a program ends, with or without closing anything, its successor has its roles without
    waiting
    """
    objects = Objects(region)
    program = unrelated(
        f"""
import os, resource, signal, sys, memlane
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
region = memlane.Region.open({name!r})
region.ring("ring").put(b"record")
region.ring("ring").get()
region.slot("slot").publish(b"12345678")
print("ready", flush=True)
{ENDS[end]}
"""
    )
    out, err = program.communicate()
    assert "ready\n" == out, err

    for role in ROLES:
        objects.take(role)
    assert {os.getpid()} == alive(region)


def test_roles_are_free_at_once_when_a_process_becomes_another_program(
    region: Region, line: Lines
) -> None:
    """exec ends a participant although its pid lives on"""
    objects = Objects(region)
    says = line()

    def become() -> None:
        for role in ROLES:
            objects.take(role)
        program = f"import os, time; os.write({says.writer}, b'here\\n'); time.sleep({PATIENCE_S})"
        os.set_inheritable(says.writer, True)
        os.execv(sys.executable, [sys.executable, "-c", program])

    with Child(become) as child:
        assert "here" == says.hear()

        for role in ROLES:
            objects.take(role)
        assert {os.getpid()} == alive(region)
        os.kill(child.pid, 0)


# ---- killed anywhere -----------------------------------------------------------------------------


def killed_everywhere(function: Callable[[], object], afterwards: Callable[[int], None]) -> None:
    """Kill a child at the beginning and end of each system call of *function*, one run for each."""
    with Stepped(function) as child:
        count = sum(1 for _ in child.steps())
        assert 0 == child.status
    assert count > 0
    for step in range(1, count, 2 if count > 60 else 1):
        with Stepped(function) as child:
            for done, _ in enumerate(child.steps(), 1):
                if done == step:
                    break
            child.kill()
            afterwards(child.pid)


def test_process_killed_at_any_system_call_of_join_leaves_its_row_to_others(
    region: Region, table: Table, line: Lines
) -> None:
    """
    With one row left, and one joiner after the other killed on its way in: the next one finds room
    """
    table.occupy(77)

    def afterwards(pid: int) -> None:
        with Child(region.join) as successor:
            assert 0 == successor.wait(), f"killed {pid}"

    killed_everywhere(region.join, afterwards)


def test_process_killed_at_any_system_call_of_close_leaves_its_roles_to_others(
    region: Region,
) -> None:
    """A process that is killed while it gives its roles back has given them back"""
    objects = Objects(region)

    def use_and_close() -> None:
        for role in ROLES:
            objects.take(role)
        objects.ring.get()
        region.close()

    def afterwards(pid: int) -> None:
        for role in ROLES:
            objects.take(role)
        objects.ring.get()

    killed_everywhere(use_and_close, afterwards)
