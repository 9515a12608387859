# SPDX-License-Identifier: MIT
"""
Sequences of operations on mappings against a model made of plain bytes: no crash, no wrong byte.

Somebody else cuts the file off and makes it longer all the while; the model knows which pages are
gone by that, and which of them were met since and so are zeros of the guard. A few hundred
sequences run always, MEMLANE_MODEL_SEQUENCES=10000 runs more.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memlane import PAGE_SIZE, ClosedError, Mapping, TruncatedError

SEQUENCES = int(os.environ.get("MEMLANE_MODEL_SEQUENCES", "200"))

#: Around page boundaries, where mistakes live.
LENGTHS = st.sampled_from(
    [1, 2, 100, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE, 3 * PAGE_SIZE + 7]
)
OFFSETS = st.sampled_from([0, 1, 99, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 5])
#: Those with a file twice: there is somebody else who changes its length.
KINDS = st.sampled_from(
    ["private", "memfd", "file r+", "file c", "new file", "shared", "file r+", "file c"]
)
POSITION = st.floats(0, 1)
#: How much write_back compares and writes at a time.
BLOCK = 16 << 10
RIGHTS = {"none": "", "r": "r", "rw": "rw", "rx": "r", "rwx": "rw"}


class MappingModel(RuleBasedStateMachine):
    """
    A mapping, what its bytes and the file below must be, and which views are out.

    Of pages that are gone the bytes are zeros: what whoever touches them finds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.mapping: Mapping | None = None
        self.views: list[memoryview] = []

    @initialize(kind=KINDS, length=LENGTHS, offset=OFFSETS, guard=st.booleans())
    def map_it(self, kind: str, length: int, offset: int, guard: bool) -> None:
        self.kind = kind
        self.path = Path(self.directory.name, "file")
        self.offset = 0
        self.own_rights: dict[int, str] = {}
        self.zeroed: set[int] = set()  # pages that were met while they were gone
        self.own: set[int] = set()  # pages that copy on write has made private
        self.has_file = "file" in kind
        if kind in ("file r+", "file c"):
            self.offset = offset
            self.file = bytearray(i * 31 % 255 for i in range(offset + length + 50))
            self.bytes = self.file[offset : offset + length]
            self.path.write_bytes(self.file)
        else:
            self.bytes = bytearray(length)
            self.file = bytearray(length)
        self.rights = ["rw"] * (self.page_of(length - 1) + 1)
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

    def pages_of(self, start: int, stop: int) -> set[int]:
        return (
            set(range(self.page_of(start), self.page_of(stop - 1) + 1)) if start < stop else set()
        )

    def first_gone(self) -> int:
        """The page from which on the file has none."""
        if not self.has_file:
            return len(self.rights)
        return max(-(-len(self.file) // PAGE_SIZE) - self.offset // PAGE_SIZE, 0)

    def gone(self, start: int = 0, stop: int | None = None) -> set[int]:
        """Pages of a part that the file does not have, and that nobody has met yet."""
        pages = self.pages_of(start, len(self.bytes) if stop is None else stop)
        return {page for page in pages if page >= self.first_gone()} - self.zeroed

    def is_told(self) -> bool:
        """Whether every call raises TruncatedError."""
        return bool(self.zeroed)

    def is_backed(self, position: int) -> bool:
        """Whether a write to the position reaches the file, and is not lost behind its end."""
        return self.offset + position < len(self.file)

    def compared(self, seen: Mapping | memoryview) -> None:
        """Compare what is there, and leave alone what has not been met yet."""
        gone = self.gone()
        for page in range(len(self.rights)):
            part = slice(self.page_start(page), self.page_start(page + 1))
            if page not in gone:
                assert bytes(self.bytes[part]) == bytes(seen[part])

    def follow_the_file(self) -> None:
        """Recall what is not private: it is what the file has, then zeros."""
        first = self.first_gone()
        self.own = {page for page in self.own if page < first}
        there = self.file[self.offset : self.offset + len(self.bytes)]
        there += bytes(len(self.bytes) - len(there))
        for page in set(range(len(self.rights))) - self.zeroed - self.own:
            part = slice(self.page_start(page), self.page_start(page + 1))
            self.bytes[part] = there[part]

    def written(self, start: int, data: bytes) -> None:
        """Note a write: in shared pages it is one to the file, in private ones nowhere else."""
        stop = start + len(data)
        self.bytes[start:stop] = data
        if self.kind == "file c":
            self.own |= self.pages_of(start, stop) - self.zeroed
        elif self.has_file and not self.pages_of(start, stop) & self.zeroed:
            self.file[self.offset + start : self.offset + stop] = data

    # ---- operations ------------------------

    is_open = precondition(lambda self: self.mapping is not None and not self.mapping.closed)

    @is_open
    @rule(first=POSITION, second=POSITION, fill=st.integers(0, 255))
    def write(self, first: float, second: float, fill: int) -> None:
        start, stop = self.part(first, second)
        if self.has_file and start < stop and not self.is_backed(stop - 1):
            # What is written between the end of the file and that of its page may go or stay.
            hole = self.page_start(self.first_gone())
            if hole < stop:
                start = max(start, hole)
            else:
                stop = max(len(self.file) - self.offset, 0)
                start = min(start, stop)
        data = bytes((fill + i) % 256 for i in range(stop - start))
        gone = self.gone(start, stop)
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m[start:stop] = data
        elif self.allowed(start, stop, "w") and gone:
            with pytest.raises(TruncatedError):
                self.m[start:stop] = data
            self.zeroed |= gone
            self.written(start, data)
        elif self.allowed(start, stop, "w"):
            self.m[start:stop] = data
            self.written(start, data)
        else:
            with pytest.raises(TypeError, match="protected from writing"):
                self.m[start:stop] = data

    @is_open
    @rule(first=POSITION, second=POSITION, step=st.sampled_from([1, 1, 3, -1, -5, 4096]))
    def read(self, first: float, second: float, step: int) -> None:
        start, stop = self.part(first, second)
        part = slice(start, stop, step)
        if step < 0:
            part = slice(stop - 1, start - 1, step) if 0 < start < stop else slice(0, 0, step)
        met = {self.page_of(i) for i in range(*part.indices(len(self.bytes)))} & self.gone()
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m[part]
        elif self.allowed(start, stop, "r") and met:
            with pytest.raises(TruncatedError):
                self.m[part]
            self.zeroed |= met
        elif self.allowed(start, stop, "r"):
            assert bytes(self.bytes[part]) == self.m[part]
        else:
            with pytest.raises(PermissionError):
                self.m[start:stop]

    @is_open
    @rule(first=POSITION, second=POSITION)
    def search(self, first: float, second: float) -> None:
        start, stop = self.part(first, second)
        if self.is_told() or (self.gone() and self.allowed(0, len(self.bytes), "r")):
            with pytest.raises(TruncatedError):
                self.m.count(b"x")  # which looks at every byte
            self.zeroed |= self.gone()
        elif self.allowed(0, len(self.bytes), "r"):
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
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.protect(protection, start, stop - start)  # type: ignore[arg-type]
        elif self.views and lowers:
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
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.resize(length)
            return
        if self.kind in ("shared", "file c") or self.has_own_protection():
            with pytest.raises(ValueError, match="cannot resize"):
                self.m.resize(length)
            return
        if self.views:
            with pytest.raises(BufferError, match="cannot resize"):
                self.m.resize(length)
            return
        self.m.resize(length)
        old_end, new_end = self.offset + len(self.bytes), self.offset + length
        if length == len(self.bytes):
            return
        if not self.has_file:
            self.bytes = self.bytes[:length] + bytes(max(length - len(self.bytes), 0))
        else:
            if new_end > len(self.file):
                self.file += bytes(new_end - len(self.file))
            elif new_end < old_end == len(self.file):
                # else the file goes on behind the mapping, or was cut by somebody else
                del self.file[new_end:]
            self.bytes = self.file[self.offset : new_end]
        self.rights = ["rw"] * (self.page_of(length - 1) + 1)
        self.own_rights = {}

    @is_open
    @rule(first=POSITION, second=POSITION, wait=st.booleans(), invalidate=st.booleans())
    def flush(self, first: float, second: float, wait: bool, invalidate: bool) -> None:
        start, stop = self.part(first, second)
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.flush(start, stop - start, wait=wait, invalidate=invalidate)
        else:
            self.m.flush(start, stop - start, wait=wait, invalidate=invalidate)

    @is_open
    @rule(
        advice=st.sampled_from(["normal", "random", "sequential", "willneed", "dontdump", "cold"])
    )
    def advise(self, advice: str) -> None:
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.advise(advice)  # type: ignore[arg-type]
        else:
            self.m.advise(advice)  # type: ignore[arg-type]

    @is_open
    @rule()
    def lock_and_unlock(self) -> None:
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.lock()
        elif self.allowed(0, len(self.bytes), "r"):
            if self.gone():
                # the kernel is told, not we: the guard has nothing to mend
                with pytest.raises(OSError, match="cannot lock"):
                    self.m.lock()
            else:
                self.m.lock()
                assert 1.0 == self.m.residency()
            self.m.unlock()
            if self.kind == "file c":
                # it makes private what may be written
                writable = {i for i, rights in enumerate(self.rights) if "w" in rights}
                self.own |= writable - self.gone()

    @precondition(
        lambda self: self.mapping is not None and self.kind == "file c" and not self.mapping.closed
    )
    @rule(first=POSITION, second=POSITION)
    def write_back(self, first: float, second: float) -> None:
        start, stop = self.part(first, second)
        if self.is_told():
            with pytest.raises(TruncatedError):
                self.m.write_back(offset=start, nbytes=stop - start, wait=False)
        elif self.allowed(start, stop, "r"):
            gone: set[int] = set()
            for begin in range(start, stop, BLOCK):
                end = min(begin + BLOCK, stop)
                gone = self.gone(begin, end)
                if gone:
                    break
                self.file += bytes(max(self.offset + begin - len(self.file), 0))
                self.file[self.offset + begin : self.offset + end] = self.bytes[begin:end]
            if gone:
                with pytest.raises(TruncatedError):
                    self.m.write_back(offset=start, nbytes=stop - start, wait=False)
                self.zeroed |= gone
            else:
                self.m.write_back(offset=start, nbytes=stop - start, wait=False)
            self.follow_the_file()

    @is_open
    @rule()
    def take_a_view(self) -> None:
        if self.is_told():
            with pytest.raises(TruncatedError):
                memoryview(self.m)
        elif self.allowed(0, len(self.bytes), "r"):
            view = memoryview(self.m)
            assert self.allowed(0, len(self.bytes), "w") is not view.readonly
            self.views.append(view)
        else:
            with pytest.raises(BufferError, match="may not be read"):
                memoryview(self.m)

    @precondition(lambda self: self.views)
    @rule(which=st.integers(0, 100), fill=st.integers(0, 255))
    def use_and_drop_a_view(self, which: int, fill: int) -> None:
        view = self.views.pop(which % len(self.views))
        assert bytes(self.bytes) == bytes(view)
        self.zeroed |= self.gone()
        last = len(self.bytes) - 1
        is_kept = not self.has_file or self.is_backed(last) or self.page_of(last) in self.zeroed
        if not view.readonly and self.allowed(0, len(self.bytes), "w") and is_kept:
            view[last] = fill
            self.written(last, bytes([fill]))
        view.release()

    @is_open
    @rule()
    def close(self) -> None:
        self.m.close()
        with pytest.raises(ClosedError):
            self.m[0]

    @precondition(lambda self: self.mapping is not None and self.has_file)
    @rule(left=POSITION)
    def truncate_from_outside(self, left: float) -> None:
        nbytes = round(left * (self.offset + len(self.bytes) + 50))
        os.truncate(self.path, nbytes)
        self.file = self.file[:nbytes] + bytes(max(nbytes - len(self.file), 0))
        self.follow_the_file()

    @invariant()
    def the_bytes_are_those_of_the_model(self) -> None:
        if self.mapping is None:
            return
        if self.mapping.closed:
            pass
        elif self.is_told():
            with pytest.raises(TruncatedError):
                len(self.m)
        else:
            assert len(self.bytes) == len(self.m) == self.m.nbytes
            if self.allowed(0, len(self.bytes), "r"):
                self.compared(self.m)
        for view in self.views:
            self.compared(view)
        if self.has_file:
            assert bytes(self.file) == self.path.read_bytes()

    def teardown(self) -> None:
        try:
            # at last what was left alone all the while: pages that are gone
            if self.mapping is not None and not self.mapping.closed:
                self.read(0, 1, 1)
                self.the_bytes_are_those_of_the_model()
            for view in self.views:
                assert bytes(self.bytes) == bytes(view)
        finally:
            for view in self.views:
                view.release()
            if self.mapping is not None:
                self.mapping.close()
            self.directory.cleanup()


TestMappingModel = MappingModel.TestCase
TestMappingModel.settings = settings(max_examples=SEQUENCES, stateful_step_count=20)
if SEQUENCES > 1000:
    TestMappingModel = pytest.mark.timeout(0)(TestMappingModel)
