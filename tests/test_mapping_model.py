# SPDX-License-Identifier: MIT
"""
Sequences of operations on mappings against a model made of plain bytes: no crash, no wrong byte.

A few hundred sequences run always. MEMLANE_MODEL_SEQUENCES=10000 runs more;
MEMLANE_MODEL_TRUNCATES=1 adds somebody who cuts the file from outside: that takes the guard.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memlane import PAGE_SIZE, ClosedError, Mapping, TruncatedError

SEQUENCES = int(os.environ.get("MEMLANE_MODEL_SEQUENCES", "200"))
TRUNCATES = os.environ.get("MEMLANE_MODEL_TRUNCATES") == "1"

#: Around page boundaries, where mistakes live.
LENGTHS = st.sampled_from(
    [1, 2, 100, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE, 3 * PAGE_SIZE + 7]
)
OFFSETS = st.sampled_from([0, 1, 99, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 5])
KINDS = st.sampled_from(["private", "memfd", "file r+", "file c", "new file", "shared"])
POSITION = st.floats(0, 1)
RIGHTS = {"none": "", "r": "r", "rw": "rw", "rx": "r", "rwx": "rw"}


class MappingModel(RuleBasedStateMachine):
    """A mapping, what its bytes and the file below must be, and which views are out."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.mapping: Mapping | None = None
        self.views: list[memoryview] = []
        self.truncated = False

    @initialize(kind=KINDS, length=LENGTHS, offset=OFFSETS, guard=st.booleans())
    def map_it(self, kind: str, length: int, offset: int, guard: bool) -> None:
        self.kind = kind
        self.path = Path(self.directory.name, "file")
        self.offset = 0
        self.before = self.behind = b""
        self.bytes = bytearray(length)
        self.own_rights: dict[int, str] = {}
        if kind in ("file r+", "file c"):
            self.offset = offset
            whole = bytes(i * 31 % 255 for i in range(offset + length + 50))
            self.before, self.behind = whole[:offset], whole[offset + length :]
            self.bytes = bytearray(whole[offset : offset + length])
            self.path.write_bytes(whole)
        self.rights = ["rw"] * (self.page_of(length - 1) + 1)
        self.file_bytes = bytes(self.bytes)
        pages = int(guard)
        if kind == "private":
            self.mapping = Mapping.anonymous(length, private=True, guard_pages=pages)
        elif kind == "shared":
            self.mapping = Mapping.anonymous(length, guard_pages=pages)
        elif kind == "memfd":
            self.mapping = Mapping.memfd(length, guard_pages=pages)
        elif kind == "new file":
            self.mapping = Mapping.create(self.path, length, guard_pages=pages)
        else:
            self.mapping = Mapping.open(
                self.path,
                "c" if kind == "file c" else "r+",
                offset=offset,
                nbytes=length,
                guard_pages=pages,
            )

    @precondition(lambda self: self.mapping is not None and self.mapping.closed)
    @rule(kind=KINDS, length=LENGTHS, offset=OFFSETS, guard=st.booleans())
    def map_another(self, kind: str, length: int, offset: int, guard: bool) -> None:
        while self.views:
            self.views.pop().release()
        self.path.unlink(missing_ok=True)
        self.truncated = False
        self.map_it(kind, length, offset, guard)

    # ---- the model's own questions ------------------------

    @property
    def m(self) -> Mapping:
        assert self.mapping is not None
        return self.mapping

    def page_of(self, position: int) -> int:
        return (self.offset % PAGE_SIZE + position) // PAGE_SIZE

    def allowed(self, start: int, stop: int, right: str) -> bool:
        """Whether every page of a range, empty ones too, has the right."""
        if start >= stop:
            return True
        return all(
            right in self.rights[i] for i in range(self.page_of(start), self.page_of(stop - 1) + 1)
        )

    def all_usual(self) -> bool:
        return all(rights == "rw" for rights in self.rights)

    def part(self, first: float, second: float) -> tuple[int, int]:
        ends = sorted(round(place * len(self.bytes)) for place in (first, second))
        return ends[0], ends[1]

    def page_start(self, page: int) -> int:
        """Where the page begins in the mapping."""
        return max(page * PAGE_SIZE - self.offset % PAGE_SIZE, 0)

    # ---- operations ------------------------

    is_open = precondition(
        lambda self: self.mapping is not None and not self.mapping.closed and not self.truncated
    )

    @is_open
    @rule(first=POSITION, second=POSITION, fill=st.integers(0, 255))
    def write(self, first: float, second: float, fill: int) -> None:
        start, stop = self.part(first, second)
        data = bytes((fill + i) % 256 for i in range(stop - start))
        if self.allowed(start, stop, "w"):
            self.m[start:stop] = data
            self.bytes[start:stop] = data
        else:
            with pytest.raises(TypeError, match="protected from writing"):
                self.m[start:stop] = data

    @is_open
    @rule(first=POSITION, second=POSITION, step=st.sampled_from([1, 1, 3, -1, -5, 4096]))
    def read(self, first: float, second: float, step: int) -> None:
        start, stop = self.part(first, second)
        if self.allowed(start, stop, "r"):
            if step > 0:
                assert bytes(self.bytes[start:stop:step]) == self.m[start:stop:step]
            elif start < stop and start > 0:
                assert (
                    bytes(self.bytes[stop - 1 : start - 1 : step])
                    == self.m[stop - 1 : start - 1 : step]
                )
        else:
            with pytest.raises(PermissionError):
                self.m[start:stop]

    @is_open
    @rule(first=POSITION, second=POSITION)
    def search(self, first: float, second: float) -> None:
        start, stop = self.part(first, second)
        if self.allowed(0, len(self.bytes), "r"):
            sought = bytes(self.bytes[start : min(stop, start + 3)])
            assert bytes(self.bytes).find(sought) == self.m.find(sought)
            assert bytes(self.bytes).rfind(sought) == self.m.rfind(sought)
            assert bytes(self.bytes).count(sought) == self.m.count(sought)

    @is_open
    @rule(
        first=st.integers(0, 4), count=st.integers(1, 4), protection=st.sampled_from(list(RIGHTS))
    )
    def protect(self, first: int, count: int, protection: str) -> None:
        first = min(first, len(self.rights) - 1)
        last = min(first + count, len(self.rights))
        start = self.page_start(first)
        stop = len(self.bytes) if last == len(self.rights) else self.page_start(last)
        lowers = RIGHTS[protection] != "rw"
        if self.views and lowers:
            with pytest.raises(BufferError, match="views or calls under way"):
                self.m.protect(protection, start, stop - start)  # type: ignore[arg-type]
        else:
            self.m.protect(protection, start, stop - start)  # type: ignore[arg-type]
            self.rights[first:last] = [RIGHTS[protection]] * (last - first)
            for page in range(first, last):
                self.own_rights[page] = protection

    def has_own_protection(self) -> bool:
        return any(protection != "rw" for protection in self.own_rights.values())

    @is_open
    @rule(length=LENGTHS)
    def resize(self, length: int) -> None:
        if self.kind in ("shared", "file c") or self.has_own_protection():
            with pytest.raises(ValueError, match="cannot resize"):
                self.m.resize(length)
            return
        if self.views:
            with pytest.raises(BufferError, match="cannot resize"):
                self.m.resize(length)
            return
        old = len(self.bytes)
        self.m.resize(length)
        if length > old:
            from_file = self.behind[: length - old] if self.kind == "file r+" else b""
            self.bytes += from_file + bytes(length - old - len(from_file))
            self.behind = self.behind[length - old :]
        else:
            if self.kind == "file r+" and self.behind:
                # the file goes on behind the mapping, so it is never cut
                self.behind = bytes(self.bytes[length:]) + self.behind
            del self.bytes[length:]
        self.rights = ["rw"] * (self.page_of(length - 1) + 1)
        self.own_rights = {}

    @is_open
    @rule(first=POSITION, second=POSITION, wait=st.booleans(), invalidate=st.booleans())
    def flush(self, first: float, second: float, wait: bool, invalidate: bool) -> None:
        start, stop = self.part(first, second)
        self.m.flush(start, stop - start, wait=wait, invalidate=invalidate)

    @is_open
    @rule(
        advice=st.sampled_from(["normal", "random", "sequential", "willneed", "dontdump", "cold"])
    )
    def advise(self, advice: str) -> None:
        self.m.advise(advice)  # type: ignore[arg-type]

    @is_open
    @rule()
    def lock_and_unlock(self) -> None:
        if self.allowed(0, len(self.bytes), "r"):
            self.m.lock()
            assert 1.0 == self.m.residency()
            self.m.unlock()

    @precondition(
        lambda self: self.mapping is not None and self.kind == "file c" and not self.mapping.closed
    )
    @rule(first=POSITION, second=POSITION)
    def write_back(self, first: float, second: float) -> None:
        start, stop = self.part(first, second)
        if self.allowed(start, stop, "r"):
            self.m.write_back(offset=start, nbytes=stop - start, wait=False)
            self.file_bytes = (
                self.file_bytes[:start] + bytes(self.bytes[start:stop]) + self.file_bytes[stop:]
            )

    @is_open
    @rule()
    def take_a_view(self) -> None:
        if self.allowed(0, len(self.bytes), "r"):
            view = memoryview(self.m)
            assert self.allowed(0, len(self.bytes), "w") is not view.readonly
            self.views.append(view)
        else:
            with pytest.raises(BufferError, match="may not be read"):
                memoryview(self.m)

    @precondition(lambda self: self.views and not self.truncated)
    @rule(which=st.integers(0, 100), fill=st.integers(0, 255))
    def use_and_drop_a_view(self, which: int, fill: int) -> None:
        view = self.views.pop(which % len(self.views))
        assert bytes(self.bytes) == bytes(view)
        if not view.readonly and self.allowed(0, len(self.bytes), "w"):
            view[-1] = fill
            self.bytes[-1] = fill
        view.release()

    @is_open
    @rule()
    def close(self) -> None:
        self.m.close()
        with pytest.raises(ClosedError):
            self.m[0]

    if TRUNCATES:

        @precondition(
            lambda self: (
                self.mapping is not None and "file" in self.kind and not self.mapping.closed
            )
        )
        @rule(left=POSITION)
        def truncate_from_outside(self, left: float) -> None:
            """What is gone reads as zeros, or is a TruncatedError; never a crash."""
            os.truncate(self.path, round(left * (self.offset + len(self.bytes))))
            self.truncated = True

        @precondition(
            lambda self: self.truncated and self.mapping is not None and not self.mapping.closed
        )
        @rule(first=POSITION, second=POSITION)
        def use_what_was_truncated(self, first: float, second: float) -> None:
            start, stop = self.part(first, second)
            try:
                read = self.m[start:stop]
                assert len(read) == stop - start
                self.m.flush()
            except (TruncatedError, PermissionError):
                pass
            for view in self.views:
                bytes(view)

    @invariant()
    def the_bytes_are_those_of_the_model(self) -> None:
        if self.mapping is None or self.truncated:
            return
        if not self.mapping.closed:
            assert len(self.bytes) == len(self.m) == self.m.nbytes
            if self.allowed(0, len(self.bytes), "r"):
                assert bytes(self.bytes) == self.m[:]
        for view in self.views:
            assert bytes(self.bytes) == bytes(view)
        if self.kind in ("file r+", "new file"):
            assert self.before + bytes(self.bytes) + self.behind == self.path.read_bytes()
        elif self.kind == "file c":
            assert self.before + self.file_bytes + self.behind == self.path.read_bytes()

    def teardown(self) -> None:
        for view in self.views:
            view.release()
        if self.mapping is not None:
            self.mapping.close()
        self.directory.cleanup()


TestMappingModel = MappingModel.TestCase
TestMappingModel.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
if SEQUENCES > 1000:
    TestMappingModel = pytest.mark.timeout(0)(TestMappingModel)
