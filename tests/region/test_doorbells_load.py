# SPDX-License-Identifier: MIT
"""Many sleepers, for long, with clocks that jump and signals that come."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memlane import Empty, Full, Ring, Slot
from memlane._region import semaphores as semaphores_module
from tests import ROOT
from tests.support.doorbells import SLEEPERS, ring_of, waiting
from tests.support.processes import Child, output_of, unrelated, wait_until
from tests.support.region_files import LANE_WAITERS, bytes_of

pytestmark = pytest.mark.machine

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc, for a shim")


# ---- many, and for long --------------------------------------------------------------------------


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long slices, probes, last = -1, offset;

long intervals_slept(void) { return slices; }
long probes_made(void) { return probes; }
void start(long count) { slices = probes = 0; last = count; }

#ifdef NO_SLEEP
/* Every slice is over at once; the last one comes with a signal. */
static void slice(void) {
    if (++slices == last)
        raise(SIGALRM);
}
long syscall(long number, ...) {
    static long (*real)(long, ...);
    long all[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        all[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (int)all[1] == FUTEX_WAIT_BITSET) {
        slice();
        errno = ETIMEDOUT;
        return -1;
    }
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}
int nanosleep(const struct timespec *length, struct timespec *left) {
    (void)length; (void)left;
    slice();
    return 0;
}
static int counted(int descriptor, int command, void *argument) {
    if (command == F_OFD_GETLK)
        probes++;
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}
#define FCNTL(name) int name(int descriptor, int command, ...) { \
    va_list list; \
    va_start(list, command); \
    void *argument = va_arg(list, void *); \
    va_end(list); \
    return counted(descriptor, command, argument); \
}
FCNTL(fcntl)
FCNTL(fcntl64)
#else
/* The wall clock is set an hour forward and back, at every look. */
static long jump(void) {
    offset = offset ? 0 : 3600;
    return offset;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
#endif
"""


@pytest.fixture(scope="module")
def shims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """
    Two libraries to be loaded before others: one whose sleeps are over at once, one whose clock
    jumps.
    """
    place = tmp_path_factory.mktemp("shims")
    (place / "shim.c").write_text(SHIM)
    built = {}
    for which, flags in (("no sleep", ["-DNO_SLEEP"]), ("clock", [])):
        library = place / f"{which.replace(' ', '-')}.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", *flags, "-o", library, place / "shim.c"], check=True
        )
        built[which] = str(library)
    return built


def under(shim: str, code: str, *args: str) -> str:
    """What an unrelated program prints that has a shim loaded before all libraries."""
    return output_of(unrelated(code, *args, env={**os.environ, "LD_PRELOAD": shim}))


WAIT_FOR_SLICES = """
import ctypes, signal, sys, memlane, warnings
sys.path.insert(0, sys.argv[1])
from tests.support import region_files as files
shim = ctypes.CDLL(None)
slices = 36_000

class Over(Exception):
    pass

def over(number, frame):
    raise Over

signal.signal(signal.SIGALRM, over)

def look(wait, expected=Over):
    shim.start(slices)
    try:
        wait()
    except expected:
        assert shim.intervals_slept() >= slices, shim.intervals_slept()
        return
    raise AssertionError("did not wait")
"""


@needs_compiler
def test_an_hour_of_sleep_leaves_the_announcements_as_they_were(shims: dict[str, str]) -> None:
    """After 36,000 slices one waiter counts as one, and none when it is over. (hazard 30)"""
    printed = under(
        shims["no sleep"],
        WAIT_FOR_SLICES
        + """
with memlane.Ring(wait="sleep", records=1) as ring, memlane.Slot.create(None, "q") as slot:
    with files.bytes_of(ring) as raw, files.bytes_of(slot) as other:
        most = 0
        def over(number, frame):
            global most
            most = max(raw.half(files.RING_WAITERS), raw.half(files.LANE_WAITERS))
            raise Over
        signal.signal(signal.SIGALRM, over)
        look(ring.get)
        print(most, raw.half(files.RING_WAITERS))
        ring.put(b"full")
        look(lambda: ring.put(b"x"))
        print(most, raw.half(files.LANE_WAITERS))
        look(lambda: slot.wait_newer(0))
        print(other.word(64 * 128 + 8))
    assert ring.get() == b"full"
""",
        str(ROOT),
    )

    numbers = [list(map(int, line.split())) for line in printed.splitlines()]
    assert numbers[0][0] <= 1
    assert numbers[1][0] <= 1
    assert [0, 0, 0] == [numbers[0][1], numbers[1][1], numbers[2][0]]


#: A region with 1,000 live participants, each with a lane: rows and owners written by hand, their
#: locks
#: held by one description of a file of our own.
CROWD = """
import fcntl, os, struct
slices = 200
ring = memlane.Ring(capacity=4096, producers=1000, records=1, wait="sleep")
ring.consumer()
try:
    ring.get_nowait()
except memlane.Empty:
    pass
ours = ring.region.participants()[0].row
descriptor = os.open(files.file_of(ring.region), os.O_RDWR)
rows = [row for row in range(1001) if row != ours][:1000]
with files.bytes_of(ring) as raw, files.bytes_of(ring.region) as whole:
    for lane, row in enumerate(rows):
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, files.ROW_BYTE + row, 1, 0)
        fcntl.fcntl(descriptor, 37, lock)  # F_OFD_SETLK
        whole.set_word(4096 + 64 * row, 1)
        raw.set_half(files.LANE_OWNER + files.LANE_NBYTES * lane, 1 << 10 | row)
    raw.set_half(4, 1000)
"""


@needs_compiler
def test_in_a_crowd_a_look_costs_a_bounded_number_of_probes(shims: dict[str, str]) -> None:
    """
    With 1,000 live participants a recheck interval of any waiter asks the kernel a few times, not
    1,000. (hazard 30)
    """
    printed = under(
        shims["no sleep"],
        WAIT_FOR_SLICES
        + CROWD
        + """
print(len(ring.region.participants()), all(one.alive for one in ring.region.participants()))
look(lambda: ring.get(require_peer=True))
print(shim.probes_made() / shim.intervals_slept())
look(lambda: ring.put(b"x", timeout=600))
# the first look of a put is a whole one
print((shim.probes_made() - 2 * 1000) / shim.intervals_slept())
ring.close()
""",
        str(ROOT),
    ).splitlines()

    assert "1001 True" == printed[0]
    assert float(printed[1]) <= 2 * 8
    assert float(printed[2]) <= 2 * 8


# ---- clocks and signals --------------------------------------------------------------------------


@needs_compiler
def test_a_clock_that_is_set_during_a_wait_changes_nothing(shims: dict[str, str]) -> None:
    """
    Timeouts count on the monotonic clock: a jump of an hour, either way, is not noticed. (hazard
    35)
    """
    printed = under(
        shims["clock"],
        """
import time, memlane
first, second = time.time(), time.time()
assert abs(first - second) > 3000, "the shim does nothing"

def took(wait, expected):
    began = time.monotonic()
    try:
        wait()
    except expected:
        return time.monotonic() - began
    raise AssertionError("did not wait")

with memlane.Ring(wait="sleep", records=1) as ring, memlane.Slot.create(None, "q") as slot:
    print(took(lambda: ring.get(timeout=0.2), memlane.Empty) >= 0.2)
    ring.put(b"full")
    print(took(lambda: ring.put(b"x", timeout=0.2), memlane.Full) >= 0.2)
    print(took(lambda: slot.wait_newer(0, timeout=0.2), TimeoutError) >= 0.2)
    never = lambda: memlane.Region.open("surely-nothing", timeout=0.2)
    print(took(never, FileNotFoundError) >= 0.2)
    slot.publish((1,))
    print(slot.age < 60)
""",
    )

    assert "True\n" * 5 == printed


class Interrupted(Exception):
    """What a handler raises."""


def waits() -> dict[str, tuple[Callable[[float | None], Any], type[Exception], Callable[[], int]]]:
    """
    Every call that sleeps: with a timeout, what it raises at its end, and how many are announced.
    """
    ring, full, slot = Ring(wait="sleep"), Ring(wait="sleep", records=1), Slot.create(None, "q")
    full.put(b"full")

    def armed() -> int:
        with bytes_of(slot) as raw:
            return raw.word(64 * 128 + 8).bit_count()

    return {
        "get": (lambda timeout: ring.get(timeout=timeout), Empty, lambda: waiting(ring)),
        "get_many": (lambda t: ring.get_many(3, timeout=t), Empty, lambda: waiting(ring)),
        "borrow": (lambda timeout: ring.borrow(timeout=timeout), Empty, lambda: waiting(ring)),
        "put": (
            lambda timeout: full.put(b"x", timeout=timeout),
            Full,
            lambda: waiting(full, LANE_WAITERS),
        ),
        "reserve": (
            lambda timeout: full.reserve(1, timeout=timeout),
            Full,
            lambda: waiting(full, LANE_WAITERS),
        ),
        "wait_newer": (lambda timeout: slot.wait_newer(0, timeout=timeout), TimeoutError, armed),
    }


WAITS = ["get", "get_many", "borrow", "put", "reserve", "wait_newer"]


@pytest.mark.parametrize("how", ["returns", "forks"])
@pytest.mark.parametrize("which", WAITS)
def test_a_thousand_signals_a_second_neither_end_nor_stretch_a_wait(which: str, how: str) -> None:
    """
    Handlers run while a call sleeps, also ones that fork; the call goes on to its timeout. (hazard
    35)
    """

    def wait() -> None:
        call, expected, announced = waits()[which]
        handled = 0

        def handle(_number: int, _frame: Any) -> None:
            nonlocal handled
            handled += 1
            if how == "forks" and handled % 20 == 1:
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        began = time.monotonic()
        with pytest.raises(expected):
            call(0.15)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert time.monotonic() - began >= 0.15
        assert handled > 0
        assert 0 == announced()

    with Child(wait) as child:
        assert 0 == child.wait()


@pytest.mark.parametrize("raised", [Interrupted, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("which", WAITS)
def test_what_a_handler_raises_comes_out_as_itself(which: str, raised: type[BaseException]) -> None:
    """
    Out of every call that sleeps, with nothing left announced; the next call works. (hazard 35)
    """

    def wait() -> None:
        call, expected, announced = waits()[which]
        calling, handled = False, 0

        def handle(_number: int, _frame: Any) -> None:
            nonlocal handled
            if handled == 10:
                return  # one more was on its way when the timer was stopped
            handled += calling
            if handled == 10:
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise raised("from the handler")

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with pytest.raises(raised, match="from the handler"):
            calling = True
            call(None)
        assert 10 == handled
        assert 0 == announced()
        with pytest.raises(expected):
            call(0.001)

    with Child(wait) as child:
        assert 0 == child.wait()


@pytest.mark.parametrize("backing", SLEEPERS)
def test_ctrl_c_ends_a_wait_that_would_last_for_ever(
    backing: str, name: str, tmp_path: Path
) -> None:
    """SIGINT is a KeyboardInterrupt, at once, whatever the doorbell is. (hazard 35)"""
    asleep = os.eventfd(0)

    def wait() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ring.consumer()
        os.eventfd_write(asleep, 1)
        with pytest.raises(KeyboardInterrupt):
            ring.get()
        ring.put(b"goes on")
        assert b"goes on" == ring.get()

    with ring_of(backing, name, tmp_path) as ring:
        with Child(wait) as child:
            os.eventfd_read(asleep)
            if backing != "anonymous":
                wait_until(lambda: waiting(ring), "the child to sleep")
            else:
                wait_until(lambda: child.state() == "S", "the child to sleep")
            child.signal(signal.SIGINT)
            assert 0 == child.wait()
        ring.unlink()
    os.close(asleep)


def test_records_arrive_while_signals_rain(name: str) -> None:
    """Announcements taken back at every signal lose no wake-up. (hazard 35)"""

    def receive() -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for number in range(50):
            assert b"%d" % number == ring.get()

    with Ring.create(name, wait="sleep", records=1) as ring:
        with Child(receive) as child:
            for number in range(50):
                ring.put(b"%d" % number)
            assert 0 == child.wait()
        ring.unlink()


@pytest.mark.parametrize(("libc", "before"), [(b"glibc", "sem."), (b"another libc", "")])
def test_a_named_semaphore_has_the_same_file_whatever_a_libc_puts_before_its_name(
    libc: bytes, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    musl puts nothing there; a process that looked for glibc's file found none, and made no ring.
    """
    monkeypatch.setattr(semaphores_module, "libc", lambda: libc)
    name = semaphores_module._name("0abc", 3)

    assert semaphores_module._file("0abc", 3) == Path("/dev/shm") / (before + name[1:])
    assert semaphores_module._file("0abc", 3).name == "sem.memlane.0abc.3"
