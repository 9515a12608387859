# SPDX-License-Identifier: MIT
"""
Heaps: blocks of bytes that several processes hold, and that are free when nobody who lives holds them.

HeapState    what this process holds of a heap, and its picture of the free room; one for all its handles
HeapBase     a handle of it, with the verbs
BlockBase    a block that this process holds, as a buffer
BlockBytes   the same memory as plain bytes, which numpy makes its arrays of

All that is private is in src/runtime/heap.h, and is changed by functions of C that run no Python: so the GIL keeps threads apart,
and a block that the collector ends in the midst of a call does no harm.
"""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import errno as _errno

import memlane._arguments as _arguments
from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, HoldersFullError, StaleHandleError

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES, contiguous, deadline_of
from memlane._core.array cimport Shaped, export_ended, fill_view, lay_shape
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CORRUPTED, MEMLANE_FULL, MEMLANE_GROW, MEMLANE_HEAP_ARENAS_MAX, MEMLANE_HEAP_ARENA_MAX,
    MEMLANE_HEAP_BLOCKS_MAX, MEMLANE_HEAP_HOLDERS_MAX, MEMLANE_HEAP_TRANSITS_MAX, MEMLANE_LENT_MAX, MEMLANE_LOST,
    MEMLANE_NO_MEMORY, MEMLANE_OK, MEMLANE_STALE, MEMLANE_TOO_LARGE, memlane_block, memlane_copy, memlane_doorbells,
    memlane_heap_control, memlane_heap_extent, memlane_heap_has, memlane_heap_lay_out, memlane_heap_note_reserved,
    memlane_heap_raise_ready, memlane_heap_seal, memlane_heap_shape, memlane_heap_stands, memlane_heap_step,
    memlane_heap_tell_doorbells, memlane_heap_unreserved, memlane_lent_claim, memlane_row_generation, memlane_status,
    memlane_tag, memlane_tag_row, memlane_waiters_any_fenced, memlane_waiters_count,
)
from memlane._core.layout cimport tells_of, told_of
from memlane._core.loan cimport Loan
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_fork_is
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_WAIT_ADAPTIVE, c_bool, memlane_heap_share, memlane_heap_totals,
    memlane_holding, memlane_holding_allocate, memlane_holding_begin, memlane_holding_collect, memlane_holding_count,
    memlane_holding_end, memlane_holding_free_digest, memlane_holding_grow, memlane_holding_lend,
    memlane_holding_lent_cancel, memlane_holding_lent_left, memlane_holding_open, memlane_holding_release,
    memlane_holding_shares, memlane_holding_trim, memlane_membership_row, memlane_run, memlane_spinning,
    memlane_spinning_begin,
)
from memlane._core.waiting cimport Sleep, doorbell_of

memlane_calls_join(calls_of_process(), globals())

cdef enum:
    HANDLE_NBYTES = 24
    HANDLE_WORDS = 3
    GENERATION_BITS = 36
    SEQUENCE_BITS = 18
    CLAIMS = 0x80000000               # in the ticket of a handle: it is that of a loan
    SHARES_MAX = 2048                 # arbitrary: more than there can be participants
    LOOKS_A_STEP = 4096               # descriptors of a collection between two looks for signals
    STEPS_MAX = 16384                 # of an arena's memory

HEAP_ARENAS_MAX, HEAP_ARENA_MAX = MEMLANE_HEAP_ARENAS_MAX, MEMLANE_HEAP_ARENA_MAX
HEAP_BLOCKS_MAX, HEAP_HOLDERS_MAX = MEMLANE_HEAP_BLOCKS_MAX, MEMLANE_HEAP_HOLDERS_MAX
HEAP_TRANSITS_MAX, HEAP_READERS_MAX = MEMLANE_HEAP_TRANSITS_MAX, MEMLANE_LENT_MAX

cdef struct Name:
    # What a handle says.
    uint64_t generation
    uint32_t number
    uint32_t ticket                   # of a loan: CLAIMS, the number of the transit and its stamp; else 0

cdef inline uint32_t which_of(uint32_t ticket) noexcept nogil:
    return ticket >> 23 & 255

cdef inline uint32_t stamp_of(uint32_t ticket) noexcept nogil:
    return ticket & 0x1fffff


def heap_shape(uint64_t arenas, uint64_t arena_nbytes, uint64_t blocks, uint64_t holders, uint64_t transits):
    """
    Return the geometry of such a heap, the bytes of the object, how many of them get memory at once, and where its doorbells
    are, as an entry tells it.
    """
    cdef memlane_heap_shape shape
    cdef memlane_doorbells at_once, later
    cdef uint64_t step = memlane_heap_step(arena_nbytes) if arena_nbytes <= MEMLANE_HEAP_ARENA_MAX else 0
    if not memlane_heap_lay_out(&shape, arenas, arena_nbytes, blocks, holders, transits, step):
        raise ValueError(f"a heap of {arenas} arenas of {arena_nbytes} bytes with {blocks} blocks each is out of range")
    memlane_heap_tell_doorbells(&at_once, &later)
    return ((arenas, arena_nbytes, blocks, holders, transits, step), shape.nbytes, shape.blocks_offset,
            told_of(&at_once, &later))


@cython.final
cdef class HeapState(Opened):
    """What this process holds of a heap."""

    cdef memlane_holding holding
    cdef memlane_heap_control *control
    cdef unsigned char *base

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef HeapState state = HeapState.__new__(HeapState)
        cdef memlane_heap_shape shape
        cdef memlane_doorbells at_once, later
        name, _, offset, nbytes, geometry = entry[:5]
        state.begin(membership, entry, membership.called("heap", name))
        memlane_heap_tell_doorbells(&at_once, &later)
        if (not memlane_heap_lay_out(&shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4], geometry[5])
                or shape.nbytes != <uint64_t>nbytes or not tells_of(entry, &at_once, &later)):
            raise CorruptedError(f"the geometry of {state.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        state.forget_doorbells(entry)
        state.base = membership.mapping.address + <uint64_t>offset
        state.control = <memlane_heap_control *>state.base
        if memlane_holding_begin(&state.holding, state.base, &shape, &membership.own) != MEMLANE_OK:
            raise MemoryError
        return state

    def __dealloc__(self):
        memlane_holding_end(&self.holding)

    cdef void wake(self) noexcept:
        """Behind a change that has freed room."""
        if memlane_waiters_any_fenced(&self.control.waiters):
            doorbell_of(self.membership, &self.control.doorbell).wake(&self.control.waiters, MEMLANE_POSTS_MAX)

    cdef void forget_roles(self) noexcept:
        """The heap was removed: nothing of it is given back."""

    cdef int grow(self, uint64_t arena) except -1:
        """Reserve more descriptors of an arena. The caller has pinned."""
        cdef memlane_run stretches[2]
        cdef uint32_t ready
        cdef uint64_t offset = self.base - self.membership.mapping.address
        if memlane_holding_grow(&self.holding, arena, stretches, &ready):
            self.membership.reserve(offset + stretches[0].offset, stretches[0].nbytes)
            self.membership.reserve(offset + stretches[1].offset, stretches[1].nbytes)
            memlane_heap_raise_ready(&self.holding.heap, arena, ready)
        return 0

    cdef int reserve(self, const memlane_block *block) except -1:
        """See that the bytes of a block of ours have memory. The caller has pinned."""
        cdef memlane_heap_shape *shape = &self.holding.heap.shape
        cdef uint64_t arena = block.number // shape.blocks, first = 0, until = 0
        cdef uint64_t arena_offset = shape.bytes_offset + arena * shape.arena_nbytes
        cdef uint64_t nbytes = (block.payload_nbytes + 7) // 8 * 8 + block.meta_nbytes
        cdef int turn
        for turn in range(STEPS_MAX + 1):  # whatever others do to the bits meanwhile
            if not memlane_heap_unreserved(&self.holding.heap, arena, block.offset - arena_offset, nbytes, &first, &until):
                break
            self.membership.reserve(self.base - self.membership.mapping.address + arena_offset + first, until - first)
            memlane_heap_note_reserved(&self.holding.heap, arena, first, until, True)
        return 0

    cdef uint64_t collect(self) except? 0:
        """Take the references of the dead away. The caller has pinned. Returns how many blocks came free."""
        cdef uint64_t freed = 0, arena
        cdef uint32_t next, before
        for arena in range(self.holding.heap.shape.arenas):
            next = 0
            while True:
                before = next
                with nogil:
                    freed += memlane_holding_collect(&self.holding, arena, &next, LOOKS_A_STEP)
                if next == before:
                    break
                if next % LOOKS_A_STEP == 0:
                    PyErr_CheckSignals()
        if freed:
            self.wake()
        return freed

    cdef object handle_of(self, uint32_t number, uint64_t generation, uint32_t ticket):
        cdef uint64_t words[HANDLE_WORDS]
        words[0] = self.membership.geometry.region_id
        words[1] = <uint64_t>ticket << 32 | number
        words[2] = (<uint64_t>self.entry_index << 54 | (self.sequence & ((1 << SEQUENCE_BITS) - 1)) << GENERATION_BITS
                    | generation)
        return PyBytes_FromStringAndSize(<char *>words, HANDLE_NBYTES)

    cdef int name_of(self, object handle, Name *name) except -1:
        """Read what a handle says. May run Python."""
        cdef uint64_t words[HANDLE_WORDS]
        cdef Py_buffer view
        cdef Py_ssize_t nbytes
        if isinstance(handle, BlockBase):
            handle = handle.handle
        if isinstance(handle, str) or not hasattr(handle, "__buffer__") and not isinstance(handle, (bytes, bytearray, memoryview)):
            try:
                memoryview(handle).release()
            except TypeError:
                raise TypeError(f"a handle must be {HANDLE_NBYTES} bytes, as block.handle gives them, got "
                                f"{_arguments.shown(handle)}") from None
        contiguous(handle, &view, 0, "open")
        nbytes = view.len
        if nbytes == HANDLE_NBYTES:
            memcpy(words, view.buf, HANDLE_NBYTES)
        PyBuffer_Release(&view)
        if nbytes != HANDLE_NBYTES:
            raise ValueError(f"a handle must be {HANDLE_NBYTES} bytes, as block.handle gives them, got {nbytes}")
        if words[0] != self.membership.geometry.region_id:
            raise ValueError(f"this handle is not that of a block of {self.name}: it names another region; open the region "
                             "and the heap that the block is of")
        if words[2] >> 54 != self.entry_index or (
                words[2] >> GENERATION_BITS & ((1 << SEQUENCE_BITS) - 1)) != self.sequence & ((1 << SEQUENCE_BITS) - 1):
            raise ValueError(f"this handle is not that of a block of {self.name}: it names another object of the region, or one "
                             "that was removed; open the heap that the block is of")
        name.number, name.ticket = <uint32_t>words[1], <uint32_t>(words[1] >> 32)
        name.generation = words[2] & ((<uint64_t>1 << GENERATION_BITS) - 1)
        return 0

    cdef object refuse(self, memlane_status status, uint32_t number):
        """Raise what a status means for one block."""
        self.membership.check_whole()
        if status == MEMLANE_STALE:
            raise StaleHandleError(
                f"block {number} of {self.name} was freed, or is not sealed: its last holder dropped it before this process "
                "opened the handle; keep the block until it has arrived, or lend it", number=number)
        if status == MEMLANE_FULL:
            raise HoldersFullError(
                f"block {number} of {self.name} is held by as many processes as can hold one, {self.holding.heap.shape.holders}; "
                "release it somewhere, or create the heap with a larger holders=", number=number,
                limit=self.holding.heap.shape.holders)
        if status == MEMLANE_LOST:
            raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed; open the region "
                              "again")
        if status == MEMLANE_NO_MEMORY:
            raise MemoryError(f"no memory for what this process keeps of {self.name}")
        raise CorruptedError(f"block {number} of {self.name} is corrupted: where it lies is out of bounds; unlink the region and "
                             "create it again", name=self.membership.name)


@cython.final
cdef class RoomSleep(Sleep):
    """One that waits for room in a heap."""

    cdef HeapState state
    cdef uint64_t seen

    cdef bint is_due(self) noexcept nogil:
        return self.state.is_gone_now() or memlane_holding_free_digest(&self.state.holding) != self.seen


@cython.no_gc
cdef class BlockBase(Loan):
    """
    Bytes of a heap that this process holds, until it releases them and their last view has died. Made by `Heap.allocate` and
    `Heap.open`.
    """

    cdef readonly object heap         # the handle that it was made by
    cdef memlane_block block
    cdef Shaped *shaped               # NULL: it was not asked for yet
    cdef bytes format                 # of an item, as buffers tell it; None: there is no text for it
    cdef uint64_t opens               # epoch in which it was counted itself, in a child that has inherited it
    cdef bint is_sealed

    def __cinit__(self, *_args, **_keywords):
        self.opens = EPOCH_CLOSED

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Block is made by heap.allocate() or heap.open(), not by calling the class")

    def __dealloc__(self):
        free(self.shaped)

    cdef str word(self):
        return "block"

    cdef object refuse_closed(self):
        raise ClosedError("this block was released by this process; allocate or open another one")

    cdef void give_bytes_back(self) noexcept:
        cdef HeapState state = <HeapState>self.lender
        cdef c_bool freed
        memlane_holding_release(&state.holding, self.block.number, self.block.generation, &freed)
        if freed:
            state.wake()
        if self.opens != EPOCH_CLOSED:
            state.leave(&self.opens)

    cdef int take(self, HeapState state, object heap, const memlane_block *block, bint is_made) except -1:
        """Become the owner of one use, which the holding has counted. The caller has pinned."""
        self.block = block[0]
        self.heap = heap
        self.is_sealed, self.is_writable = not is_made, is_made
        self.begin(state, state.base + block.offset, block.payload_nbytes)
        return 0

    cdef int look(self) except -1:
        """Refuse a released one. In a child that has inherited it, hold it for that process first."""
        self.check_open()
        if not memlane_fork_is(self.pinned):
            self.take_over()
        self.lender.membership.check_whole()
        return 0

    cdef int take_over(self) except -1:
        cdef HeapState state = <HeapState>self.lender
        cdef memlane_block found
        cdef memlane_status status
        cdef c_bool freed
        cdef uint64_t pinned
        cdef bint never = False
        state.enter(&self.opens, &never, self)
        pinned = state.pin()
        try:
            status = memlane_holding_open(&state.holding, self.block.number, self.block.generation, &found, &freed)
            if freed:
                state.wake()
            if status != MEMLANE_OK:
                state.leave(&self.opens)
                state.refuse(status, self.block.number)
            self.block = found
            self.is_sealed, self.is_writable = True, False
            self.begin(state, self.address, self.nbytes)
            state.membership.mapping.let_go()  # as the parent kept it
        finally:
            state.unpin(pinned)
        return 0

    cdef int know(self) except -1:
        """Know the shape. Runs Python."""
        if self.shaped == NULL:
            self._know_shape()
        return 0

    def _know_shape(self):
        raise NotImplementedError()

    def _take_shape(self, tuple shape not None, Py_ssize_t itemsize, bytes described):
        """Keep the shape and the type of the items, which `meta` describes and the caller has understood."""
        cdef uint64_t nbytes = 0
        cdef Shaped *made
        if self.shaped != NULL:
            return
        made = <Shaped *>calloc(1, sizeof(Shaped))
        if made == NULL:
            raise MemoryError
        if not lay_shape(made, shape, itemsize, self.nbytes, &nbytes) or nbytes != self.nbytes:
            free(made)
            raise CorruptedError(f"block {self.block.number} of {self.lender.name} has {self.nbytes} bytes, and describes "
                                 f"itself with shape {shape}; unlink the region and create it again",
                                 name=self.lender.membership.name)
        if self.shaped != NULL:
            free(made)
            return
        self.format = described
        self.shaped = made

    @property
    def _meta(self):
        """What describes the items, as its maker has written it; empty: they are bytes."""
        self.look()
        cdef uint64_t offset = (self.block.payload_nbytes + 7) // 8 * 8
        found = PyBytes_FromStringAndSize(<char *>self.address + offset, self.block.meta_nbytes)
        self.lender.membership.check_whole()
        return found

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.look()
        self.know()
        self.look()  # understanding runs Python
        fill_view(view, flags, False, self.shaped, self.format, self, self, self.title())

    def __releasebuffer__(self, Py_buffer *view):
        export_ended(view)

    cdef str title(self):
        return f"block {self.block.number} of {self.lender.name}"

    def _bytes(self):
        """All of it as bytes: a view that keeps the block, too."""
        cdef BlockBytes made = BlockBytes.__new__(BlockBytes)
        made.block = self
        return PyMemoryView_FromObject(made)

    @property
    def _nbytes(self):
        return self.nbytes

    @property
    def handle(self):
        """
        24 bytes that name it, for any transport. They hold nothing: keep the block until the other side has opened it.

        Raises:
            ClosedError: it was released.
        """
        self.check_open()
        return (<HeapState>self.lender).handle_of(self.block.number, self.block.generation, 0)

    @property
    def sealed(self):
        """Whether its bytes stay as they are, and others may open it."""
        return bool(self.is_sealed)

    @property
    def released(self):
        """Whether this process has released it. Views that live keep the bytes."""
        return not self.is_open

    @property
    def number(self):
        """Which block of the heap it is, for messages."""
        return self.block.number

    def seal(self):
        """
        Let other processes open it: its bytes stay as they are from now on. Doing it twice does nothing.

        Raises:
            BufferError: a view of it lives that could write.
            ClosedError: it was released, or this process was taken for dead.
        """
        cdef memlane_status status = MEMLANE_BUSY
        self.check_open()
        if self.is_sealed:
            return
        self.look()
        if self.exports:
            raise BufferError(f"{self.title()} has {self.exports} views that could write; delete them before it is sealed")
        while status == MEMLANE_BUSY:
            status = memlane_heap_seal(&(<HeapState>self.lender).holding.heap, self.block.number, self.block.generation)
            if status == MEMLANE_BUSY:
                PyErr_CheckSignals()
                self.look()
        if status != MEMLANE_OK:
            (<HeapState>self.lender).refuse(status, self.block.number)
        self.is_sealed, self.is_writable = True, False

    def release(self):
        """Hold it no longer: at once, or when its last view has died. Never fails; doing it twice does nothing."""
        self.close()

    @cython.binding(True)
    def __exit__(self, _kind, _value, _traceback):
        self.close()


@cython.final
cdef class BlockBytes:
    """The memory of a block as bytes."""

    cdef BlockBase block

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.block.look()
        fill_view(view, flags, True, NULL, None, self.block, self, self.block.title())

    def __releasebuffer__(self, Py_buffer *view):
        export_ended(view)


cdef class HeapBase:
    """What a heap does without going through Python."""

    cdef HeapState state
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef memlane_spinning spinning
    cdef bint _closed

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED
        memlane_spinning_begin(&self.spinning)

    def _bind(self, Membership membership not None, entry):
        """Make this a handle of the heap that *entry* of the directory describes."""
        self.state = opened_of(membership, entry, "heap", HeapState.make)
        self._closed = False

    def _detach(self):
        """Refuse new work. Blocks stay."""
        if not self._closed:
            self._closed = True
            self.state.leave(&self.opens)
            self.state.membership.stir_waits()

    cdef int check(self) except -1:
        if self._closed or self.state.membership.closed:
            raise closed_error(self, "a heap" if self.state is None else self.state.name)
        if self.state.is_gone():
            self.state.refuse_gone()
        return 0

    cdef int enter(self) except -1:
        """Before what writes. Joining runs Python."""
        cdef HeapState state
        self.check()
        state = self.state
        if self.opens != state.held or not state.is_held():
            if state.membership.readonly:
                raise PermissionError(_errno.EACCES, f"{state.name} is open read-only, so this process cannot hold blocks; open it "
                                      "without readonly=True, or copy by read(handle)")
            state.enter(&self.opens, &self._closed, self)
            state.membership.own_tag()
            self.check()
        return 0

    @property
    def closed(self):
        """Whether this process has closed this handle. Its blocks stay valid."""
        return self._closed

    @property
    def nbytes(self):
        """Bytes that there are for blocks."""
        self.check()
        return self.state.holding.heap.shape.arenas * self.state.holding.heap.shape.arena_nbytes

    @property
    def max_block(self):
        """Bytes of the largest block that can be: those of an arena."""
        self.check()
        return self.state.holding.heap.shape.arena_nbytes

    def _allocate(self, BlockBase made not None, uint64_t nbytes, bytes meta not None, uint64_t alignment, timeout):
        """
        Make *made*, which is new, a block of *nbytes*, with its description.

        Returns:
            None; else what stands in the way: "room" or "blocks".
        """
        cdef uint64_t deadline = deadline_of(timeout)
        cdef uint64_t pinned, arena = 0, offset
        cdef memlane_block block
        cdef memlane_status status
        cdef HeapState state
        cdef RoomSleep sleep = None
        cdef bint has_collected = False
        cdef uint64_t seen = 0
        self.enter()
        state = self.state
        pinned = state.pin()
        try:
            while True:
                status = memlane_holding_allocate(&state.holding, nbytes, len(meta), alignment, &block, &arena)
                if status == MEMLANE_OK:
                    break
                if status == MEMLANE_GROW:
                    state.grow(arena)
                elif status == MEMLANE_TOO_LARGE:
                    return "never"
                elif status == MEMLANE_FULL:
                    if not has_collected:
                        has_collected = True
                        seen = memlane_holding_free_digest(&state.holding)
                        if state.collect():
                            continue
                    if deadline == 0 or (sleep is not None and sleep.is_over()):
                        return "room"
                    if sleep is None:
                        sleep = RoomSleep()
                        sleep.begin(deadline, &self.spinning)
                        sleep.state = state
                    sleep.seen = seen
                    if memlane_holding_free_digest(&state.holding) == seen and not sleep.spin(MEMLANE_WAIT_ADAPTIVE):
                        sleep.nap(&state.control.waiters, doorbell_of(state.membership, &state.control.doorbell))
                    has_collected = False
                elif status != MEMLANE_BUSY:
                    state.refuse(status, 0)
                PyErr_CheckSignals()
                self.enter()
            made.take(state, self, &block, True)
            try:
                state.reserve(&block)
            except BaseException:
                made.close()
                raise
            offset = (nbytes + 7) // 8 * 8
            memcpy(made.address + offset, PyBytes_AS_STRING(meta), len(meta))
        finally:
            state.unpin(pinned)
        state.membership.check_whole()
        return None

    def _open_made(self, BlockBase made not None, handle):
        """Make *made*, which is new, the block that *handle* names."""
        cdef Name name
        cdef memlane_block block
        cdef memlane_status status = MEMLANE_BUSY
        cdef c_bool freed
        cdef HeapState state
        cdef uint64_t pinned
        if self.state is None:
            self.check()
        self.state.name_of(handle, &name)
        self.enter()
        state = self.state
        pinned = state.pin()
        try:
            while status == MEMLANE_BUSY:
                status = memlane_holding_open(&state.holding, name.number, name.generation, &block, &freed)
                if freed:
                    state.wake()
                if status == MEMLANE_BUSY:
                    PyErr_CheckSignals()
                    self.enter()
            if status != MEMLANE_OK:
                state.refuse(status, name.number)
            made.take(state, self, &block, False)
            if name.ticket & CLAIMS:
                # Only now: our own word holds it.
                memlane_lent_claim(&state.holding.heap, name.number, which_of(name.ticket), stamp_of(name.ticket))
        finally:
            state.unpin(pinned)
        state.membership.check_whole()

    def read(self, handle):
        """
        Copy the bytes of a block, without holding it; also where the heap is open read-only.

        Args:
            handle: 24 bytes, as `block.handle` gives them.

        Returns:
            The bytes as they were sealed: whole.

        Raises:
            StaleHandleError: a LookupError: the block was freed, before or meanwhile, or is not sealed.
            ValueError: the handle is that of another heap, or none. TypeError: it is no bytes.
            ClosedError: this process closed the handle of the heap.
        """
        cdef Name name
        cdef memlane_block block
        cdef HeapState state
        cdef uint64_t pinned
        cdef bint stands
        cdef char *to
        if self.state is None:
            self.check()
        self.state.name_of(handle, &name)
        self.check()
        state = self.state
        state.membership.notice_fork()
        pinned = state.pin()
        try:
            if not memlane_heap_has(&state.holding.heap, name.number) or not memlane_heap_stands(
                    &state.holding.heap, name.number, name.generation):
                state.refuse(MEMLANE_STALE, name.number)
            if memlane_heap_extent(&state.holding.heap, name.number, &block) != MEMLANE_OK:
                state.refuse(MEMLANE_CORRUPTED if memlane_heap_stands(&state.holding.heap, name.number, name.generation)
                             else MEMLANE_STALE, name.number)
            copied = PyBytes_FromStringAndSize(NULL, block.payload_nbytes)
            to = PyBytes_AS_STRING(copied)
            if block.payload_nbytes < COPY_WITH_GIL_NBYTES:
                memlane_copy(to, state.base + block.offset, block.payload_nbytes)
            else:
                with nogil:
                    memlane_copy(to, state.base + block.offset, block.payload_nbytes)
            stands = memlane_heap_stands(&state.holding.heap, name.number, name.generation)
            if state.is_gone_now():
                state.refuse_gone()
            if not stands:
                state.refuse(MEMLANE_STALE, name.number)
        finally:
            state.unpin(pinned)
        state.membership.check_whole()
        return copied

    def _lend(self, BlockBase block not None, uint32_t readers, uint32_t row, uint64_t generation):
        """
        Have *readers* more hold the block that are to come, as long as this process lives; or with a *generation* the
        participant in that *row*. Returns the ticket; None: too many transits hold the block.
        """
        cdef HeapState state
        cdef uint32_t which = 0, stamp = 0, answerable
        cdef memlane_status status
        cdef uint64_t pinned
        block.seal()
        self.enter()
        state = self.state
        if <HeapState>block.lender is not state:
            raise ValueError(f"{block.title()} is not one of {state.name}; lend it by the heap that it is of")
        pinned = state.pin()
        try:
            answerable = memlane_tag(row, generation) if generation else state.membership.own.tag
            status = memlane_holding_lend(&state.holding, block.block.number, readers, answerable, &which, &stamp)
        finally:
            state.unpin(pinned)
        state.membership.check_whole()
        if status != MEMLANE_OK:
            return None
        return state.handle_of(block.block.number, block.block.generation, CLAIMS | which << 23 | stamp)

    def _generation_of(self, uint32_t row):
        """The generation of the participant in a row, as `_lend` wants it; 0: there is none."""
        cdef uint64_t pinned, generation = 0
        self.check()
        pinned = self.state.membership.pin()
        if row < self.state.membership.geometry.rows:
            generation = memlane_row_generation(memlane_membership_row(&self.state.membership.own, row))
        self.state.membership.unpin(pinned)
        return generation if generation & 1 else 0

    def _lent_left(self, handle):
        """How many readers of a loan have not come."""
        cdef Name name
        cdef uint64_t pinned
        if self.state is None:
            self.check()
        self.state.name_of(handle, &name)
        self.check()
        pinned = self.state.pin()
        left = memlane_holding_lent_left(&self.state.holding, name.number, which_of(name.ticket), stamp_of(name.ticket))
        self.state.unpin(pinned)
        return left

    def _lent_cancel(self, handle):
        """End a loan; returns how many readers had not come."""
        cdef Name name
        cdef c_bool freed
        cdef uint64_t pinned
        if self.state is None:
            self.check()
        self.state.name_of(handle, &name)
        self.enter()
        pinned = self.state.pin()
        left = memlane_holding_lent_cancel(&self.state.holding, name.number, which_of(name.ticket), stamp_of(name.ticket), &freed)
        if freed:
            self.state.wake()
        self.state.unpin(pinned)
        return left

    def collect(self):
        """
        Take away what dead processes held, at once; an allocation that finds no room does it by itself.

        Returns:
            How many blocks came free.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef uint64_t pinned
        self.enter()
        pinned = self.state.pin()
        try:
            freed = self.state.collect()
        finally:
            self.state.unpin(pinned)
        self.state.membership.check_whole()
        return freed

    def trim(self):
        """
        Give the memory of free room back to the system, in steps of 2 MiB or more. What is given back is reserved again when it
        is needed.

        Returns:
            The bytes that were given back.

        Raises:
            As `collect`.
        """
        cdef uint64_t pinned, arena, nbytes = 0
        cdef c_bool freed
        self.enter()
        pinned = self.state.pin()
        try:
            for arena in range(self.state.holding.heap.shape.arenas):
                nbytes += memlane_holding_trim(&self.state.holding, arena, &freed)
                if freed:
                    self.state.wake()
                PyErr_CheckSignals()
                self.enter()
        finally:
            self.state.unpin(pinned)
        self.state.membership.check_whole()
        return nbytes

    def _totals(self):
        """The numbers of `stats`, as a dict."""
        cdef memlane_heap_totals totals
        cdef memlane_status status
        cdef uint64_t pinned
        cdef memlane_heap_shape *shape
        self.check()
        pinned = self.state.pin()
        status = memlane_holding_count(&self.state.holding, &totals)
        waiters = memlane_waiters_count(&self.state.control.waiters)
        collected = self.state.control.collected
        self.state.unpin(pinned)
        if status != MEMLANE_OK:
            self.state.refuse(status, 0)
        self.state.membership.check_whole()
        shape = &self.state.holding.heap.shape
        return {
            "arenas": shape.arenas, "max_block": shape.arena_nbytes, "max_blocks": shape.arenas * shape.blocks,
            "max_holders": shape.holders, "max_in_flight": shape.transits, "blocks": totals.blocks, "used": totals.nbytes,
            "unsealed": totals.unsealed, "free": totals.free, "largest_free": totals.largest_free,
            "reserved": totals.reserved, "reserved_blocks": totals.ready, "collected": collected, "waiting": waiters,
        }

    def _shares(self):
        """What keeps blocks: (kind, number, alive, blocks, bytes); the number is that of a row, or with kind "entry" an entry."""
        cdef memlane_heap_share *shares = <memlane_heap_share *>malloc(SHARES_MAX * sizeof(memlane_heap_share))
        cdef uint32_t count, i
        cdef uint64_t pinned
        cdef Membership membership
        found = []
        if shares == NULL:
            raise MemoryError
        try:
            self.check()
            membership = self.state.membership
            pinned = self.state.pin()
            try:
                with nogil:
                    count = memlane_holding_shares(&self.state.holding, shares, SHARES_MAX)
                for i in range(count):
                    if shares[i].is_entry:
                        found.append(("entry", shares[i].of, True, shares[i].blocks, shares[i].nbytes))
                    else:
                        alive = membership.life(shares[i].of) != MEMLANE_DEAD
                        found.append(("lent" if shares[i].is_lent else "held", memlane_tag_row(shares[i].of), alive,
                                      shares[i].blocks, shares[i].nbytes))
            finally:
                self.state.unpin(pinned)
            membership.check_whole()
        finally:
            free(shares)
        return found
