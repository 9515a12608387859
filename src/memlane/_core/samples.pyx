# SPDX-License-Identifier: MIT
"""
Samples: the metrics of many workers, each in blocks of its own, and what adds them up.

SamplesBase    a handle of the blocks
SampleBlock    a block that a worker of this process has
Sample         one number in it
SampleValue    what a program samples: the number of its present worker, found anew in a forked child
SampleTotals   the numbers of all workers, added up
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

import errno as _errno

from memlane._core.opened import closed_error
from memlane.errors import CorruptedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_SAMPLE_ADDED, MEMLANE_SAMPLE_ALL, MEMLANE_SAMPLE_LIVE_ALL, MEMLANE_SAMPLE_LIVE_MAX,
    MEMLANE_SAMPLE_LIVE_MIN, MEMLANE_SAMPLE_LIVE_RECENT, MEMLANE_SAMPLE_LIVE_SUM, MEMLANE_SAMPLE_MAX,
    MEMLANE_SAMPLE_MIN, MEMLANE_SAMPLE_RECENT, MEMLANE_SAMPLE_SUM, MEMLANE_SAMPLES_BLOCK_MAX,
    MEMLANE_SAMPLES_BLOCK_MIN, MEMLANE_SAMPLES_BLOCKS_MAX, MEMLANE_SAMPLES_NAME_MAX, memlane_reading,
    memlane_role_give, memlane_role_owner, memlane_sample, memlane_sample_add, memlane_sample_join,
    memlane_sample_load, memlane_sample_nbytes, memlane_sample_own, memlane_sample_set,
    memlane_sample_store, memlane_samples_append, memlane_samples_begin, memlane_samples_block,
    memlane_samples_lay_out, memlane_samples_look, memlane_samples_name, memlane_samples_shape,
    memlane_samples_turn, memlane_samples_used, memlane_total,
)
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_fork_epoch, memlane_fork_is
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_LEASED, memlane_lease_role, memlane_membership_is_joined, memlane_membership_life,
)

memlane_calls_join(calls_of_process(), globals())

SAMPLES_BLOCK_MIN, SAMPLES_BLOCK_MAX = <object>MEMLANE_SAMPLES_BLOCK_MIN, <object>MEMLANE_SAMPLES_BLOCK_MAX
SAMPLES_BLOCKS_MAX, SAMPLES_NAME_MAX = <object>MEMLANE_SAMPLES_BLOCKS_MAX, <object>MEMLANE_SAMPLES_NAME_MAX
#: What becomes of a number with its worker, by the mode of gauges; "" of what is added up.
SAMPLE_KINDS = {
    "": MEMLANE_SAMPLE_ADDED,
    "all": MEMLANE_SAMPLE_ALL, "liveall": MEMLANE_SAMPLE_LIVE_ALL,
    "min": MEMLANE_SAMPLE_MIN, "livemin": MEMLANE_SAMPLE_LIVE_MIN,
    "max": MEMLANE_SAMPLE_MAX, "livemax": MEMLANE_SAMPLE_LIVE_MAX,
    "sum": MEMLANE_SAMPLE_SUM, "livesum": MEMLANE_SAMPLE_LIVE_SUM,
    "mostrecent": MEMLANE_SAMPLE_RECENT, "livemostrecent": MEMLANE_SAMPLE_LIVE_RECENT,
}

# A name that changes so often while it is read is passed over; arbitrary.
cdef int NAME_TRIES = 100


def samples_shape(uint64_t blocks, uint64_t block_nbytes):
    """Return (bytes of the object, of them those that are reserved with it) of so many blocks."""
    cdef memlane_samples_shape shape
    if not memlane_samples_lay_out(&shape, blocks, block_nbytes):
        raise ValueError(f"{blocks} blocks of {block_nbytes} bytes are out of range")
    return shape.nbytes, shape.data_offset


def sample_nbytes(uint64_t key_nbytes):
    """The bytes that a sample takes in its block."""
    return memlane_sample_nbytes(key_nbytes)


cdef Opened open_samples(Membership membership, entry):
    cdef Opened made = Opened()
    made.begin(membership, entry, membership.called("samples", entry[0]))
    return made


cdef class SamplesBase:
    """What a handle of samples does without going through Python."""

    cdef Membership membership
    cdef Opened state
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef memlane_samples_block *controls
    cdef unsigned char *data
    cdef uint64_t blocks, block_nbytes
    cdef str name
    cdef bint _closed

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED

    def _bind(self, Membership membership not None, entry):
        """Make this a handle of the samples that *entry* of the directory describes."""
        cdef memlane_samples_shape shape
        cdef unsigned char *address
        self.name = membership.called("samples", entry[0])
        if not memlane_samples_lay_out(&shape, entry[4][0], entry[4][1]) or shape.nbytes != <uint64_t>entry[3]:
            raise CorruptedError(f"the geometry of {self.name} contradicts itself; unlink the region and create it again",
                                 name=membership.name)
        self.state = opened_of(membership, entry, "samples", open_samples)
        self.membership = membership
        address = membership.mapping.address + <uint64_t>entry[2]
        self.controls, self.data = <memlane_samples_block *>address, address + shape.data_offset
        self.blocks, self.block_nbytes = entry[4][0], entry[4][1]
        self._closed = False

    def _detach(self):
        if not self._closed:
            self._closed = True
            self.state.leave(&self.opens)

    cdef int check(self, bint to_write) except -1:
        if self._closed or self.membership.closed:
            raise closed_error(self, "samples" if self.name is None else self.name)
        if not to_write:
            self.membership.notice_fork()
        elif self.opens != self.state.held or not self.state.is_held():
            self.membership.notice_fork()
            if self.membership.readonly:
                raise PermissionError(
                    _errno.EACCES, f"{self.name} is open read-only; open it without readonly=True")
            self.enter()
        if self.state.is_gone():
            self.state.refuse_gone()
        return 0

    cdef int enter(self) except -1:
        """Before the first call that writes. Joining runs Python, and so another thread that closes the region."""
        cdef uint64_t pinned = self.membership.pin_open()
        try:
            self.state.enter(&self.opens, &self._closed, self)
            self.membership.own_tag()
        finally:
            self.membership.unpin_loan(pinned)
        if self.membership.closed:
            raise closed_error(self, self.name)
        return 0

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    cdef inline unsigned char *data_of(self, uint64_t index) noexcept nogil:
        return self.data + index * self.block_nbytes

    cdef bint is_free(self, uint32_t owner) noexcept nogil:
        """Whether a block of that owner may be taken."""
        return owner == 0 or (owner != self.membership.own.tag
                              and memlane_membership_life(&self.membership.own, owner) == MEMLANE_DEAD)

    cdef int64_t find_key(self, uint64_t index, bytes key) noexcept:
        """Where a block has a sample of that key; -1: nowhere."""
        cdef memlane_samples_block *control = &self.controls[index]
        cdef unsigned char *data = self.data_of(index)
        cdef uint64_t used = memlane_samples_used(control, self.block_nbytes), offset = 0, nbytes
        cdef memlane_sample *sample
        cdef uint32_t kind, key_nbytes, wanted = <uint32_t>len(key)
        while True:
            nbytes = memlane_samples_look(data, used, offset, &sample, &kind, &key_nbytes)
            if nbytes == 0:
                return -1
            if key_nbytes == wanted and memcmp(sample + 1, PyBytes_AS_STRING(key), wanted) == 0:
                return <int64_t>offset
            offset += nbytes

    def _lease(self, bytes name not None, bytes key not None):
        """
        Take a block for a worker of that *name* that wants to sample *key*: that of a dead one which has the key, or room for
        it; else one that was never used.

        Returns:
            A SampleBlock; None: all are in use.

        Raises:
            OSError: there is no memory for it.
        """
        cdef uint64_t index, room, pinned, kept = self.blocks
        cdef uint32_t holder = 0
        cdef bint has_key = False
        self.check(True)
        room = self.block_nbytes - min(self.block_nbytes, memlane_sample_nbytes(len(key)))
        pinned = self.membership.pin_open()
        try:
            for index in range(self.blocks):
                if (memlane_samples_turn(&self.controls[index]) == 0
                        or not self.is_free(memlane_role_owner(&self.controls[index].owner))):
                    continue
                has_key = self.find_key(index, key) >= 0
                if has_key or (kept == self.blocks and memlane_samples_used(&self.controls[index], self.block_nbytes) <= room):
                    kept = index
                    if has_key:
                        break
            if kept < self.blocks and memlane_lease_role(
                    &self.membership.own, &self.controls[kept].owner, &holder) == MEMLANE_LEASED:
                return self.begin(kept, name)
            for index in range(self.blocks):  # also where another one was faster
                if (memlane_samples_turn(&self.controls[index]) != 0
                        or not self.is_free(memlane_role_owner(&self.controls[index].owner))
                        or memlane_lease_role(&self.membership.own, &self.controls[index].owner, &holder) != MEMLANE_LEASED):
                    continue
                try:
                    self.membership.reserve(
                        <uint64_t>(self.data_of(index) - self.membership.mapping.address), self.block_nbytes)
                except BaseException:
                    memlane_role_give(&self.controls[index].owner, self.membership.own.tag)
                    raise
                return self.begin(index, name)
            return None
        finally:
            self.membership.unpin_loan(pinned)

    cdef SampleBlock begin(self, uint64_t index, bytes name):
        """The role is ours."""
        cdef SampleBlock block = SampleBlock.__new__(SampleBlock)
        block.store, block.control, block.data = self, &self.controls[index], self.data_of(index)
        block.epoch, block.samples = memlane_fork_epoch(), {}
        block.turn = memlane_samples_begin(
            block.control, self.membership.own.tag, PyBytes_AS_STRING(name), <uint32_t>len(name))
        self.membership.check_whole()
        block.find_samples()
        return block

    def _stats(self):
        """(blocks, blocks that were ever used, those of living workers, bytes of samples) of this moment."""
        cdef uint64_t index, used = 0, taken = 0, living = 0
        cdef uint32_t owner
        self.check(False)
        for index in range(self.blocks):
            if memlane_samples_turn(&self.controls[index]) == 0:
                continue
            taken += 1
            used += memlane_samples_used(&self.controls[index], self.block_nbytes)
            owner = memlane_role_owner(&self.controls[index].owner)
            living += owner != 0 and self.membership.life(owner) != MEMLANE_DEAD
        return self.blocks, taken, living, used


@cython.final
cdef class SampleBlock:
    """A block that a worker of this process has, in this epoch."""

    cdef SamplesBase store
    cdef memlane_samples_block *control
    cdef unsigned char *data
    cdef uint64_t turn, epoch
    cdef dict samples                 # by key
    cdef bint is_given_back

    cdef bint is_ours(self) noexcept nogil:
        return not self.is_given_back and memlane_fork_is(self.epoch)

    cdef int find_samples(self) except -1:
        """Those of the workers before are ours now."""
        cdef uint64_t used = memlane_samples_used(self.control, self.store.block_nbytes), offset = 0, nbytes
        cdef memlane_sample *sample
        cdef uint32_t kind, key_nbytes
        while True:
            nbytes = memlane_samples_look(self.data, used, offset, &sample, &kind, &key_nbytes)
            if nbytes == 0:
                return 0
            self.keep(PyBytes_FromStringAndSize(<char *>(sample + 1), key_nbytes), sample, kind)
            offset += nbytes

    cdef Sample keep(self, bytes key, memlane_sample *sample, uint32_t kind):
        cdef Sample made = Sample.__new__(Sample)
        made.block, made.sample, made.kind, made.is_begun = self, sample, kind, kind == MEMLANE_SAMPLE_ADDED
        made.base = memlane_sample_load(sample) if kind == MEMLANE_SAMPLE_ADDED else 0.0
        self.samples[key] = made
        return made

    def find(self, bytes key not None, uint32_t kind):
        """The sample of that key; None: there is none."""
        cdef Sample found = self.samples.get(key)
        if found is None or found.kind != kind:
            return None
        found.begin()
        return found

    def append(self, bytes key not None, uint32_t kind):
        """A new sample of that key; None: there is no room."""
        cdef memlane_sample *sample
        if not self.is_ours():
            return None
        self.store.check(True)
        sample = memlane_samples_append(self.control, self.data, self.store.block_nbytes, self.turn, kind,
                                        PyBytes_AS_STRING(key), <uint32_t>len(key))
        self.store.membership.check_whole()
        if sample == NULL:
            return None
        made = self.keep(key, sample, kind)
        made.is_begun = True
        return made

    def is_mine(self):
        """Whether it is still of this process."""
        return self.is_ours() and not self.store._closed and not self.store.membership.closed

    def give_back(self):
        """The worker is over: to all others as if it had died. Never fails."""
        cdef SamplesBase store = self.store
        if self.is_ours():
            self.is_given_back = True
            if not store.membership.closed and memlane_membership_is_joined(&store.membership.own):
                memlane_role_give(&self.control.owner, store.membership.own.tag)


@cython.final
cdef class Sample:
    """One number of a worker."""

    cdef SampleBlock block
    cdef memlane_sample *sample
    cdef uint32_t kind
    cdef double base                  # what the workers before had added up
    cdef bint is_begun

    cdef int begin(self) except -1:
        """A gauge begins at 0 for each worker; that of the most recent value begins with its first."""
        if not self.is_begun:
            self.is_begun = True
            if self.kind != MEMLANE_SAMPLE_RECENT and self.kind != MEMLANE_SAMPLE_LIVE_RECENT:
                memlane_sample_set(self.sample, self.kind, self.block.turn, 0.0, 0.0)
        return 0


cdef class SampleValue:
    """
    A number that a program samples. It is in the block of the worker that this process is now; a forked child finds one of
    its own at its first sample.
    """

    cdef object _workers              # whose `sample(key, kind)` finds the Sample
    cdef object _identify             # how the present worker is called, where not the process alone tells
    cdef object _identity
    cdef bytes _key
    cdef uint32_t _kind
    cdef Sample sample

    def _begin(self, workers, bytes key not None, uint32_t kind, identify):
        self._workers, self._key, self._kind, self._identify = workers, key, kind, identify
        self._identity = None
        self.find()

    cdef int find(self) except -1:
        if self._identify is not None:
            self._identity = self._identify()
        self.sample = self._workers.sample(self._key, self._kind)
        return 0

    cdef inline Sample own(self):
        if (self.sample is None or not self.sample.block.is_ours()
                or (self._identify is not None and self._identify() != self._identity)):
            self.find()
        self.sample.block.store.check(True)
        return self.sample

    def inc(self, amount):
        """
        Add *amount*: one atomic step.

        Raises:
            TypeError: it is no number.
            ClosedError: this process closed the region, or the samples were removed.
            OSError: this is the first sample of a process, and there is no memory for it.
        """
        cdef double by = amount
        cdef Sample sample = self.own()
        if sample.kind == MEMLANE_SAMPLE_ADDED:
            memlane_sample_add(sample.sample, by)
        else:
            memlane_sample_set(sample.sample, sample.kind, sample.block.turn,
                               memlane_sample_own(sample.sample, sample.block.turn) + by, 0.0)
        sample.block.store.membership.check_whole()

    def set(self, value, timestamp=None):
        """
        Set it to *value*: one atomic step. *timestamp* is in seconds, for gauges of the most recent value.

        Raises:
            As `inc`.
        """
        cdef double number = value, stamp = 0.0 if timestamp is None else timestamp
        cdef Sample sample = self.own()
        if sample.kind == MEMLANE_SAMPLE_ADDED:
            memlane_sample_store(sample.sample, sample.base + number)
        else:
            memlane_sample_set(sample.sample, sample.kind, sample.block.turn, number, stamp)
        sample.block.store.membership.check_whole()

    def get(self):
        """
        What this worker has added, or set it to.

        Raises:
            As `inc`.
        """
        cdef Sample sample = self.own()
        if sample.kind == MEMLANE_SAMPLE_ADDED:
            number = memlane_sample_load(sample.sample) - sample.base
        else:
            number = memlane_sample_own(sample.sample, sample.block.turn)
        sample.block.store.membership.check_whole()
        return number


@cython.final
cdef class SeenBlock:
    """What is known of the samples of a block: they stay where they are, and more may come."""

    cdef uint32_t *offsets
    cdef uint32_t *series
    cdef size_t count, room
    cdef uint64_t seen                # bytes

    def __dealloc__(self):
        PyMem_Free(self.offsets)
        PyMem_Free(self.series)

    cdef int add(self, uint32_t offset, uint32_t series) except -1:
        cdef size_t room
        cdef void *made
        if self.count == self.room:
            room = 2 * self.room + 64
            made = PyMem_Realloc(self.offsets, room * sizeof(uint32_t))
            if made == NULL:
                raise MemoryError()
            self.offsets = <uint32_t *>made
            made = PyMem_Realloc(self.series, room * sizeof(uint32_t))
            if made == NULL:
                raise MemoryError()
            self.series, self.room = <uint32_t *>made, room
        self.offsets[self.count], self.series[self.count] = offset, series
        self.count += 1
        return 0


@cython.final
cdef class SampleTotals:
    """
    The numbers of all workers, added up by series. What was seen of keys is kept from one time to the next.

    Attributes:
        series: (key, kind) of each series, in the order in which they were found.
        told: (series, name of the worker, value) of the gauges that are told for each worker.
    """

    cdef readonly list series
    cdef readonly list told
    cdef dict known                   # numbers of series by key
    cdef dict blocks                  # a SeenBlock by handle and block
    cdef memlane_total *totals
    cdef size_t room

    def __cinit__(self):
        self.series, self.told, self.known, self.blocks = [], [], {}, {}

    def __dealloc__(self):
        PyMem_Free(self.totals)

    def begin(self):
        """Begin to add up anew."""
        cdef size_t i
        self.told = []
        for i in range(<size_t>len(self.series)):
            self.totals[i].value = self.totals[i].stamp = 0.0
            self.totals[i].samples = 0

    def values(self):
        """The total of each series; None: nobody has it now, or it is told for each worker."""
        cdef size_t i
        return [self.totals[i].value if self.totals[i].samples else None for i in range(<size_t>len(self.series))]

    cdef uint32_t number_of(self, bytes key, uint32_t kind) except? 0xffffffff:
        cdef void *made
        cdef size_t number, room
        found = self.known.get((key, kind))
        if found is not None:
            return found
        number = len(self.series)
        if number == self.room:
            room = 2 * self.room + 64
            made = PyMem_Realloc(self.totals, room * sizeof(memlane_total))
            if made == NULL:
                raise MemoryError()
            self.totals, self.room = <memlane_total *>made, room
        memset(&self.totals[number], 0, sizeof(memlane_total))
        self.totals[number].kind = kind
        self.known[(key, kind)] = number
        self.series.append((key, kind))
        return <uint32_t>number

    def add(self, SamplesBase store not None):
        """
        Add what the workers of one handle have.

        Raises:
            CorruptedError: the samples are no longer those of sound programs.
            ClosedError: this process closed the handle, or the samples were removed.
        """
        cdef uint64_t index
        cdef dict lives = {}
        store.check(False)
        for index in range(store.blocks):
            if memlane_samples_turn(&store.controls[index]) != 0:
                self.add_block(store, index, lives)
        if store.state.is_gone_now():
            store.state.refuse_gone()
        store.membership.check_whole()

    cdef int add_block(self, SamplesBase store, uint64_t index, dict lives) except -1:
        cdef memlane_samples_block *control = &store.controls[index]
        cdef unsigned char *data = store.data_of(index)
        cdef char[MEMLANE_SAMPLES_NAME_MAX] text
        cdef uint32_t named = 0, owner, nbytes = 0
        cdef uint64_t turn = 0
        cdef memlane_reading reading
        cdef memlane_total *total
        cdef bint is_live, joins
        cdef size_t i
        cdef int tries
        cdef SeenBlock seen = self.look(store, index)
        for tries in range(NAME_TRIES):
            turn = memlane_samples_turn(control)
            nbytes = memlane_samples_name(control, turn, text, &named)
            if memlane_samples_turn(control) == turn:
                break
        owner = memlane_role_owner(&control.owner)
        is_live = False
        reading.value = 0.0
        if owner != 0 and owner == named:
            life = lives.get(owner)
            if life is None:
                life = lives[owner] = store.membership.life(owner) != MEMLANE_DEAD
            is_live = life
        name = None
        for i in range(seen.count):
            total = &self.totals[seen.series[i]]
            joins = memlane_sample_join(<memlane_sample *>(data + seen.offsets[i]), turn, is_live, total, &reading)
            if joins and (total.kind == MEMLANE_SAMPLE_ALL or total.kind == MEMLANE_SAMPLE_LIVE_ALL):
                if name is None:
                    name = PyBytes_FromStringAndSize(text, nbytes)
                self.told.append((seen.series[i], name, reading.value))
                total.samples = 0
        return 0

    cdef SeenBlock look(self, SamplesBase store, uint64_t index):
        """The samples of a block, with those that came since it was seen last."""
        cdef uint64_t used = memlane_samples_used(&store.controls[index], store.block_nbytes), nbytes
        cdef unsigned char *data = store.data_of(index)
        cdef memlane_sample *sample
        cdef uint32_t kind, key_nbytes
        cdef SeenBlock seen = self.blocks.get((store, index))
        if seen is None:
            seen = self.blocks[(store, index)] = SeenBlock()
        while seen.seen < used:
            nbytes = memlane_samples_look(data, used, seen.seen, &sample, &kind, &key_nbytes)
            if nbytes == 0:
                raise CorruptedError(f"block {index} of {store.name} has no whole sample at byte {seen.seen}; unlink the region "
                                     "and create it again", name=store.membership.name)
            seen.add(<uint32_t>seen.seen, self.number_of(PyBytes_FromStringAndSize(<char *>(sample + 1), key_nbytes), kind))
            seen.seen += nbytes
        return seen
