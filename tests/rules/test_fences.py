# SPDX-License-Identifier: MIT
"""Fences that no run on a strong machine would miss: they are there in what the compiler makes."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine

SOURCES = ROOT / "src"

#: What a full fence is in the assembly of a machine.
FENCES = {
    "x86_64": r"\b(mfence|lock (or|add)\w*\s.*%?rsp)|\block\b[;\s]+or",
    "aarch64": r"\bdmb\s+ish\b",
}

#: A function of src/core, and how it is called: a fence is in it, beside what it reads and writes.
FENCED = {
    "memlane_many_is_drained": (
        "core/lane_consumers.h",
        "_Bool probe(struct memlane_many *many) { return memlane_many_is_drained(many); }",
    ),
    # Of topics: the meeting of a joiner and a scan, and what a publisher is woken behind.
    "memlane_place_show": (
        "core/topic.h",
        "_Bool probe(struct memlane_place *place, uint64_t *holder) {"
        " return memlane_place_show(place, holder, MEMLANE_PLACE_WAIT); }",
    ),
    "memlane_place_give": (
        "core/topic.h",
        "_Bool probe(struct memlane_place *place) { return memlane_place_give(place, 1); }",
    ),
    "memlane_publisher_make_room": (
        "core/topic_publisher.h",
        "int probe(struct memlane_publisher *publisher) {"
        " return memlane_publisher_make_room(publisher, 8, 1); }",
    ),
    "memlane_subscriber_release": (
        "core/topic_subscriber.h",
        "uint64_t probe(struct memlane_subscriber *subscriber) {"
        " return memlane_subscriber_release(subscriber, 1); }",
    ),
    "memlane_subscriber_finish": (
        "core/topic_subscriber.h",
        "_Bool probe(struct memlane_subscriber *subscriber) {"
        " return memlane_subscriber_finish(subscriber, 1, 8); }",
    ),
    "memlane_map_version_again": (
        "core/map.h",
        "int probe(struct memlane_map *map, struct memlane_map_key *key,"
        " struct memlane_map_clock *clock, uint64_t *version) {"
        " return memlane_map_version_again(map, key, clock, version); }",
    ),
    "memlane_map_take": (
        "core/map_writer.h",
        "int probe(struct memlane_map *map, struct memlane_map_writer *writer, uint32_t *holder) {"
        " return memlane_map_take(map, writer, 1, holder); }",
    ),
    "memlane_ring_shut": (
        "core/lane.h",
        "void probe(struct memlane_ring_control *ring) { memlane_ring_shut(ring, 1); }",
    ),
}

needs_compiler = pytest.mark.skipif(
    shutil.which("gcc") is None or platform.machine() not in FENCES,
    reason="needs gcc, and to know what a fence is here",
)


def assembly_of(header: str, code: str, tmp_path: Path) -> str:
    source = tmp_path / "probe.c"
    source.write_text(f'#include "{header}"\n{code}\n')
    made = subprocess.run(
        ["gcc", "-std=c11", "-O2", "-S", f"-I{SOURCES}", "-o", "-", str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout


@needs_compiler
@pytest.mark.parametrize("function", FENCED)
def test_a_change_and_a_second_look_have_a_full_fence_between_them(
    function: str, tmp_path: Path
) -> None:
    """The waiter and the process that wakes it each need one, or both sides miss each other."""
    assembly = assembly_of(*FENCED[function], tmp_path).partition("probe:")[2]

    assert re.search(FENCES[platform.machine()], assembly), assembly


@needs_compiler
def test_what_has_no_fence_does_not_look_as_if_it_had_one(tmp_path: Path) -> None:
    """The judge itself: a look that needs none, and the swap that shuts a ring, which is none."""
    for code in (
        "unsigned long probe(struct memlane_lane *lane) { return memlane_many_taken(lane); }",
        "_Bool probe(_Atomic unsigned *at, unsigned was) {"
        " return atomic_compare_exchange_weak_explicit("
        "at, &was, 1, memory_order_seq_cst, memory_order_relaxed); }",
    ):
        assembly = assembly_of("core/lane_consumers.h", code, tmp_path).partition("probe:")[2]

        assert not re.search(FENCES[platform.machine()], assembly), assembly
