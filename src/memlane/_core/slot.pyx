# SPDX-License-Identifier: MIT
"""
Slots: the latest value, published by one writer, read by anyone.

SlotsState   what this process knows of a slot or a table of slots; one for all its handles
SlotBase     a handle of one slot, with the verbs
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport uint32_t, uint64_t
from struct import error as _struct_error

import memlane._arguments as _arguments
from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, Empty, RoleTakenError

from memlane._core.arguments cimport (
    COPY_WITH_GIL_NBYTES, FOREVER, check_timeout, contiguous, deadline_of,
)
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_EMPTY, MEMLANE_KIND_SLOT, MEMLANE_OWNER_NEVER, memlane_armed_collect,
    memlane_copy_stamp, memlane_doorbells, memlane_role_give, memlane_role_held, memlane_role_owner,
    memlane_slot, memlane_slot_control, memlane_slot_prefetch, memlane_slot_publish,
    memlane_slot_read, memlane_slot_read_stamp, memlane_slot_read_stamped, memlane_slot_version,
    memlane_slots_lay_out, memlane_slots_shape, memlane_slots_tell_doorbells, memlane_stamp,
    memlane_status, memlane_waiters_any, memlane_watcher, memlane_writer_take,
)
from memlane._core.files cimport require_room
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users, epoch_lock
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport (
    memlane_boottime_ns, memlane_fork_epoch, memlane_fork_is, memlane_monotonic_ns, memlane_mutex,
    memlane_mutex_lock, memlane_mutex_reset, memlane_mutex_try, memlane_mutex_unlock, sched_yield,
)
from memlane._core.runtime cimport (
    MEMLANE_LEASE_TAKEN, MEMLANE_LEASE_UNKNOWN, MEMLANE_WAIT_ADAPTIVE, memlane_lease,
    memlane_lease_turn, memlane_lease_watcher, memlane_lease_writer, memlane_selecting,
    memlane_selecting_wake,
    memlane_spinning,
    memlane_spinning_begin, memlane_waiting_sleep_armed,
)
from memlane._core.selecting cimport Pollable, Watch, at_word, pollable_of
from memlane._core.waiting cimport CLOCK, Doorbell, Sleep, doorbell_of, know_clock

memlane_calls_join(calls_of_process(), globals())

# A reader that was overtaken so often yields; arbitrary: with 4 copies one retry is rare already.
cdef int READ_TRIES = 16

# A publisher that found another one inside asks the kernel after so long whether that one lives.
cdef uint64_t WRITER_PATIENCE_NS = 100000


cdef object moment_of(const memlane_stamp *stamp):
    """Seconds of this process's boot clock; None where the publisher's was another one."""
    know_clock()
    if stamp.boot != CLOCK or CLOCK == 0:
        return None
    return stamp.published_ns / 1e9


@cython.final
cdef class SlotsState(Opened):
    """What this process knows of a slot or a table of slots."""

    cdef memlane_slots_shape shape
    cdef unsigned char *address
    cdef str kind, object_name
    cdef memlane_mutex mutex          # keeps publishing threads of this process apart
    cdef uint64_t mutex_epoch
    cdef uint64_t *epochs             # for each slot: in which this process took the writer's role
    cdef uint32_t tag
    cdef dict preparing
    cdef Users users                  # handles that have published
    cdef uint32_t next_probed         # the watcher whose owner is asked for next, while none is free

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef SlotsState state = SlotsState.__new__(SlotsState)
        cdef memlane_doorbells at_once, later
        cdef uint64_t i
        name, kind, offset, nbytes, geometry = entry[:5]
        state.kind = "slot" if kind == MEMLANE_KIND_SLOT else "table"
        state.object_name = name
        state.begin(membership, entry, membership.called(state.kind, name))
        memlane_slots_tell_doorbells(geometry[3], &at_once, &later)
        if (not memlane_slots_lay_out(&state.shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4])
                or state.shape.nbytes != nbytes or (kind == MEMLANE_KIND_SLOT and geometry[0] != 1)
                or not tells_of(entry, &at_once, &later)):
            raise CorruptedError(f"the geometry of {state.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        state.forget_doorbells(entry)
        state.address = membership.mapping.address + <uint64_t>offset
        state.preparing = {}
        state.users = Users()
        state.epochs = <uint64_t *>PyMem_Malloc(state.shape.slots * sizeof(uint64_t))
        if state.epochs == NULL:
            raise MemoryError()
        for i in range(state.shape.slots):
            state.epochs[i] = EPOCH_CLOSED
        return state

    def __dealloc__(self):
        PyMem_Free(self.epochs)

    cdef str called(self, uint64_t index):
        """What messages call slot *index*."""
        return self.name if self.kind == "slot" else self.membership.called(self.kind, self.object_name, f" slot {index}")

    cdef memlane_watcher *watcher(self, uint32_t index) noexcept nogil:
        return <memlane_watcher *>self.address + index

    cdef void slot_at(self, uint64_t index, memlane_slot *view) noexcept nogil:
        cdef unsigned char *begin = self.address + self.shape.slots_offset + index * self.shape.slot_stride
        view.control = <memlane_slot_control *>begin
        view.stamps = <memlane_copy_stamp *>(view.control + 1)
        view.copies = begin + self.shape.copies_offset
        view.nbytes = self.shape.value_nbytes
        view.stride = self.shape.copy_stride
        view.mask = self.shape.copies - 1

    cdef int become_writer(self, uint64_t index) except -1:
        """Take the writer's role of one slot, in this epoch. Raises RoleTakenError naming the holder."""
        cdef memlane_slot view
        cdef uint32_t holder
        cdef memlane_lease lease
        self.slot_at(index, &view)
        with epoch_lock(self.preparing):
            if not memlane_fork_is(self.mutex_epoch):
                memlane_mutex_reset(&self.mutex)
                self.mutex_epoch = memlane_fork_epoch()
            self.tag = self.membership.own_tag()
            if self.shape.writers == 2 or memlane_fork_is(self.epochs[index]):
                self.epochs[index] = memlane_fork_epoch()
                return 0
            lease = memlane_lease_writer(&self.membership.own, view.control, &holder)
            if lease == MEMLANE_LEASE_UNKNOWN:
                raise ClosedError(f"this process was taken for dead in {self.called(index)}: its descriptors had been "
                                  "closed; open the region again")
            if lease == MEMLANE_LEASE_TAKEN:
                pid = self.membership.pid_of(holder)
                raise RoleTakenError(f"{self.called(index)} already has a writer (pid {pid}, alive); close it there first, or "
                                     "create the slot with writers='many'", role="writer", pids=(pid,))
            self.epochs[index] = memlane_fork_epoch()
        return 0

    cdef void give_back(self) noexcept:
        """The last handle that has published is closed: the roles are free for others."""
        cdef memlane_slot view
        cdef uint64_t index
        if self.membership.closed or not self.is_held():
            return
        for index in range(self.shape.slots):
            if memlane_fork_is(self.epochs[index]):
                self.epochs[index] = EPOCH_CLOSED
                if self.shape.writers == 1:
                    self.slot_at(index, &view)
                    memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
                    memlane_role_give(&view.control.writer, self.tag)
                    memlane_mutex_unlock(&self.mutex)

    cdef int wake(self, uint64_t armed) except -1:
        cdef uint32_t index
        for index in range(self.shape.watchers):
            if armed >> index & 1:
                doorbell_of(self.membership, &self.watcher(index).doorbell).post()
        return 0

    cdef void forget_roles(self) noexcept:
        cdef uint64_t index
        for index in range(self.shape.slots):
            self.epochs[index] = EPOCH_CLOSED

    cdef int lease_watcher(self) except -2:
        """
        A doorbell of one's own to wait at; -1: none is free, or this process may not write: poll. Asks for some
        owners each time, in turn, so that the dead are found behind any number of the living.
        """
        if self.membership.readonly:
            return -1
        self.membership.own_tag()
        return memlane_lease_watcher(&self.membership.own, self.watcher(0), self.shape.watchers, &self.next_probed)


@cython.final
cdef class NewerSleep(Sleep):
    """A reader that waits for a version: announced by its watcher's own bit."""

    cdef SlotBase reader
    cdef uint64_t seen
    cdef uint32_t watcher

    cdef bint is_due(self) noexcept nogil:
        return memlane_slot_version(&self.reader.slot) > self.seen or self.reader.state.is_gone_now()

    cdef void nap(self, void *armed, Doorbell bell) noexcept:
        if bell is None:
            self.poll()
            return
        bell.attach()
        with nogil:
            memlane_waiting_sleep_armed(&self.waiting, armed, self.watcher, &bell.bell)


@cython.final
cdef class NewerWatch(Watch):
    """One that waits for a newer version, among several things."""

    cdef void *reader                 # a SlotBase, which outlives this
    cdef object kept                  # or which this keeps
    cdef bint is_given                # the version, by the caller; else what the handle has seen counts
    cdef uint64_t version

    cdef int prepare(self) except -1:
        cdef SlotBase reader = <SlotBase>self.reader
        reader.check()
        if not reader.state.membership.readonly:
            reader.state.enter(&reader.opens, &reader._closed, reader)
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        return ((<SlotBase>self.reader)._closed or (<SlotBase>self.reader).state.is_gone_now()
                or memlane_slot_version(&(<SlotBase>self.reader).slot) > (
                    self.version if self.is_given else (<SlotBase>self.reader).seen))

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &(<SlotBase>self.reader).slot.control.selectors, announces)


cdef NewerWatch newer_watch(SlotBase reader, bint keeps):
    cdef NewerWatch made = NewerWatch.__new__(NewerWatch)
    made.opened, made.reader = reader.state, <void *>reader
    if keeps:
        made.kept = reader
    return made


@cython.final
cdef class AnyWatch(Watch):
    """One that waits for a newer version in any slot of a table."""

    cdef list watches                 # one a slot
    cdef void **looked_at             # the same

    def __dealloc__(self):
        PyMem_Free(self.looked_at)

    cdef int prepare(self) except -1:
        for watch in self.watches:
            (<NewerWatch>watch).prepare()
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        cdef uint64_t i
        for i in range((<SlotsState>self.opened).shape.slots):
            if (<NewerWatch>self.looked_at[i]).is_due():
                return True
        return False

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        cdef uint64_t i
        for i in range((<SlotsState>self.opened).shape.slots):
            (<NewerWatch>self.looked_at[i]).at_words(selecting, announces)


cdef AnyWatch any_watch(list slots, bint keeps):
    cdef AnyWatch made = AnyWatch.__new__(AnyWatch)
    cdef Py_ssize_t i
    made.watches = [newer_watch(<SlotBase?>slot, keeps) for slot in slots]
    made.opened = (<NewerWatch>made.watches[0]).opened
    made.looked_at = <void **>PyMem_Malloc(len(slots) * sizeof(void *))
    if made.looked_at == NULL:
        raise MemoryError()
    for i in range(len(slots)):
        made.looked_at[i] = <void *>made.watches[i]
    return made


cdef class TableBase:
    """What a table of slots does without going through Python."""

    cdef Pollable readable            # what fileno() gave; None: nobody has asked

    def _watch_newer(self, list slots, versions=None):
        """
        What one waits for that wants something newer in any of the *slots* of the table than *versions*, one of each, or than
        what this handle has read.
        """
        cdef AnyWatch made = any_watch(slots, True)
        if versions is not None:
            if len(versions) != len(slots):
                raise ValueError(f"versions are one of each slot, expected {len(slots)}, got {len(versions)}")
            for watch, version in zip(made.watches, versions):
                (<NewerWatch>watch).version, (<NewerWatch>watch).is_given = version_of(version), True
        return made

    def _number_of(self, list slots):
        """The descriptor of `fileno`."""
        self.readable = pollable_of(self.readable, any_watch(slots, False))
        return self.readable.number()

    def _begin_reading(self):
        """Drain the descriptor of `fileno`, before all slots are read; whether there is one."""
        return self.readable is not None and self.readable.rearm()

    def _end_reading(self):
        """Where something was published meanwhile, the descriptor is readable again."""
        if self.readable is not None:
            self.readable.settle()

    def _close_number(self):
        if self.readable is not None:
            self.readable.close()


cdef uint64_t version_of(object version) except? 0:
    cdef int overflow = 0
    cdef long long plain
    if PyLong_CheckExact(version):
        plain = PyLong_AsLongLongAndOverflow(version, &overflow)
        if not overflow and plain >= 0:
            return plain  # most are
    seen = _arguments.integer(version, "version", "an int")
    if not 0 <= seen < 1 << 64:
        raise ValueError(f"version must be from 0 to 2**64 - 1, got {_arguments.shown(version)}")
    return seen


cdef object packed_value(object encode, Py_ssize_t items, object value):
    """The bytes of a value by its layout: *encode* takes so many items, or with -1 the value. Raises what it may."""
    if items < 0:
        return encode(value)
    if PyTuple_CheckExact(value):
        return encode(*value)
    if items == 1 and (isinstance(value, (int, float, bytes, bytearray, str)) or not hasattr(type(value), "__iter__")):
        return encode(value)
    if isinstance(value, (str, bytes, bytearray, dict)) or not hasattr(type(value), "__iter__"):
        raise TypeError(f"this slot holds {items} values, got {type(value).__name__}; publish one tuple of them")
    return encode(*value)


cdef object unfit_error(object wrong, object value, str called):
    """The error for a value that `packed_value` has refused, of what messages call *called*."""
    if isinstance(wrong, (_struct_error, OverflowError)):
        return ValueError(f"{_arguments.shown(value)} does not fit the layout of {called}: {wrong}")
    if isinstance(wrong, (TypeError, ValueError)) and str(wrong).startswith("this slot "):
        return type(wrong)(str(wrong).replace("this slot", called, 1))
    return wrong


cdef class SlotBase:
    """What a slot does without going through Python."""

    cdef SlotsState state
    cdef memlane_slot slot
    cdef uint64_t index
    cdef bint _closed
    cdef uint64_t publishes           # epoch in which it was counted among the users of the state
    cdef uint64_t opens               # ... among its holders
    cdef object _encode               # a value to a buffer; None: values are buffers
    cdef Py_ssize_t _items            # ... called with the items of the value, so many; -1: with the value
    cdef object _decode               # bytes to a value; None: values are bytes
    cdef uint64_t seen                # the version that was looked at last, by whichever thread: a hint
    cdef memlane_spinning spinning
    cdef Pollable readable            # what fileno() gave; None: nobody has asked

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.publishes = self.opens = EPOCH_CLOSED
        memlane_spinning_begin(&self.spinning)

    @classmethod
    def __class_getitem__(cls, _value, /):
        return cls  # generic in its values, for type checkers alone

    def _bind(self, Membership membership not None, entry, uint64_t index, encode, items, decode):
        """Make this a handle of slot *index* of what *entry* of the directory describes."""
        self.state = opened_of(membership, entry, "slots", SlotsState.make)
        if index >= self.state.shape.slots:
            raise IndexError(f"{self.state.name} has {self.state.shape.slots} slots, got index {index}")
        self.index = index
        self.state.slot_at(index, &self.slot)
        self._encode, self._decode = encode, decode
        self._items = -1 if items is None else items
        self._closed = False

    def _detach(self):
        """Refuse new work; give the writer's role back if this was the last handle that used it."""
        if self._closed:
            return
        self._closed = True
        if self.readable is not None:
            self.readable.close()
        self.give_roles_back()
        self.state.membership.stir_waits()

    cdef void give_roles_back(self) noexcept:
        if self.state.users.remove(&self.publishes):
            self.state.give_back()
        self.state.leave(&self.opens)

    cdef str called(self):
        """What messages call this slot."""
        return self.state.called(self.index)

    cdef int check(self) except -1:
        if self._closed or self.state.membership.closed:
            raise closed_error(self, "a slot" if self.state is None else self.called())
        if self.state.is_gone():
            self.state.refuse_gone()
        return self.state.membership.check_whole()

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    # ---- writing --------------------------------------------------------------------------------------

    def publish(self, value, *, timeout=None):
        """
        Make *value* the latest one, whole, for all readers. Never waits for readers.

        Takes the writer's role at first use. With writers="many" it waits while another writer is inside, which is
        for the time of a copy; one that was stopped in there keeps other writers (never readers) waiting.

        Args:
            value: What the slot's layout says: items for a struct format, bytes of exactly that length, a
                ctypes.Structure, something that numpy can turn into the dtype.
            timeout: With writers="many": longest wait for another writer, in seconds.

        Returns:
            The new version, 1 for the first.

        Raises:
            ValueError, TypeError: *value* does not fit the layout; nothing is published.
            RoleTakenError: a live process is the writer.
            TimeoutError: another writer was inside for all of *timeout*.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef Py_buffer view
        cdef object packed = value
        if self._encode is not None:
            packed = self.packed(value)
        if PyBytes_CheckExact(packed):
            return self.publish_bytes(PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed), timeout)
        contiguous(packed, &view, PyBUF_SIMPLE, "publish")
        try:
            return self.publish_bytes(view.buf, view.len, timeout)
        finally:
            PyBuffer_Release(&view)

    cdef object packed(self, object value):
        """The bytes of a value that is no bytes itself."""
        try:
            return packed_value(self._encode, self._items, value)
        except Exception as wrong:
            raise unfit_error(wrong, value, self.called()) from None

    cdef object publish_bytes(self, const void *value, uint64_t nbytes, object timeout):
        cdef SlotsState state
        cdef uint64_t pinned
        check_timeout(timeout)
        self.check()
        state = self.state
        pinned = state.pin()  # another thread may close the slot while we have no GIL
        try:
            return self.pinned_publish(state, value, nbytes, timeout)
        finally:
            state.unpin(pinned)

    cdef object pinned_publish(self, SlotsState state, const void *value, uint64_t nbytes, object timeout):
        cdef uint64_t version, armed, now
        if nbytes != self.slot.nbytes:
            raise ValueError(f"{self.called()} holds values of {self.slot.nbytes} bytes, got {nbytes}")
        while True:
            if self.publishes != state.epochs[self.index] or not memlane_fork_is(state.epochs[self.index]):
                know_clock()
                state.enter(&self.opens, &self._closed, self)
                state.become_writer(self.index)
                state.users.add(&self.publishes)
                if self._closed:  # while it became the writer: nobody else gives back what it has
                    self.give_roles_back()
                    self.check()
            if state.shape.writers == 2:
                self.enter(deadline_of(timeout))
            now = memlane_boottime_ns()
            version = 0
            if nbytes < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&state.mutex):
                version = self.locked_publish(value, now)
                memlane_mutex_unlock(&state.mutex)
            else:
                with nogil:
                    memlane_mutex_lock(&state.mutex)
                    version = self.locked_publish(value, now)
                    memlane_mutex_unlock(&state.mutex)
            if state.shape.writers == 2:
                memlane_role_give(&self.slot.control.writer, state.tag)
            state.membership.check_whole()
            if version:
                break
            if state.shape.writers == 1 and memlane_fork_is(state.epochs[self.index]):
                raise ClosedError(f"this process was taken for dead in {self.called()}: its descriptors had been closed; "
                                  "open the region again")
            self.check()
        armed = memlane_armed_collect(&self.slot.control.armed)
        if armed:
            state.wake(armed)
        if memlane_waiters_any(&self.slot.control.selectors):
            memlane_selecting_wake(&state.membership.own, &self.slot.control.selectors)
        return version

    cdef uint64_t locked_publish(self, const void *value, uint64_t now) noexcept nogil:
        if not memlane_fork_is(self.state.epochs[self.index]):
            return 0
        if not memlane_role_held(&self.slot.control.writer, self.state.tag):
            return 0
        return memlane_slot_publish(&self.slot, value, now, CLOCK)

    cdef int enter(self, uint64_t deadline) except -1:
        """Be the one of many writers; the word of one that died inside is taken over."""
        cdef memlane_slot_control *control = self.slot.control
        cdef uint32_t found
        cdef uint64_t began
        cdef Sleep sleep
        if memlane_writer_take(control, MEMLANE_OWNER_NEVER, self.state.tag):
            return 0
        sleep = Sleep()
        sleep.begin(deadline, NULL)
        began = memlane_monotonic_ns()
        while True:
            if memlane_lease_turn(&self.state.membership.own, control,
                                  memlane_monotonic_ns() - began > WRITER_PATIENCE_NS, &found):
                return 0
            if deadline == 0 or sleep.is_over():
                raise TimeoutError(f"process {self.state.membership.pid_of(found)} is inside a publish of "
                                   f"{self.called()}; wait longer, or see what holds it up")
            if memlane_monotonic_ns() - began < WRITER_PATIENCE_NS:
                with nogil:
                    sched_yield()
            else:
                sleep.poll()
            PyErr_CheckSignals()
            self.check()

    # ---- reading --------------------------------------------------------------------------------------

    cdef inline memlane_status look(self, void *value, memlane_stamp *stamp, bint stamped) noexcept nogil:
        if value == NULL:
            return memlane_slot_read_stamp(&self.slot, stamp)
        if stamped:
            return memlane_slot_read_stamped(&self.slot, value, stamp)
        return memlane_slot_read(&self.slot, value, &stamp.version)

    cdef int copy_out(self, void *value, memlane_stamp *stamp, object timeout, bint stamped=False) except -1:
        """
        One whole value and its version, if *stamped* with its time; where *value* is NULL that alone. Raises Empty
        before the first one.
        """
        cdef memlane_status status = MEMLANE_BUSY
        cdef uint64_t deadline = FOREVER, pinned
        cdef int tries
        cdef bint gone = False
        check_timeout(timeout)
        if self._closed or self.state.membership.closed:
            self.check()
        self.state.membership.notice_fork()
        memlane_slot_prefetch(&self.slot, self.seen + 1)
        if self.slot.nbytes < COPY_WITH_GIL_NBYTES:
            for tries in range(READ_TRIES):
                status = self.look(value, stamp, stamped)
                if status != MEMLANE_BUSY:
                    gone = self.state.is_gone_now()
                    break
        if status == MEMLANE_BUSY:
            deadline = deadline_of(timeout)
            pinned = self.state.membership.pin()
            try:
                while True:
                    with nogil:
                        for tries in range(READ_TRIES):
                            status = self.look(value, stamp, stamped)
                            if status != MEMLANE_BUSY:
                                break
                        if status == MEMLANE_BUSY:
                            sched_yield()
                    if status != MEMLANE_BUSY:
                        gone = self.state.is_gone_now()  # while the directory is sure to be mapped
                        break
                    PyErr_CheckSignals()
                    if self.state.membership.closed:
                        self.check()  # by a child that the handler of a signal forked
                    if deadline != FOREVER and memlane_monotonic_ns() >= deadline:
                        raise TimeoutError(f"the writer of {self.called()} overtook every reading; make the slot with "
                                           "more copies")
            finally:
                self.state.membership.unpin(pinned)
        self.state.membership.check_whole()
        if gone:
            self.state.refuse_gone()
        if status == MEMLANE_EMPTY:
            raise Empty(f"{self.called()} was never published; wait with wait_newer(0)")
        self.seen = stamp.version
        if self.readable is not None and self.readable.rearm():
            self.readable.settle()
        return 0

    cdef object take(self, memlane_stamp *stamp, object timeout, bint stamped=False):
        value = PyBytes_FromStringAndSize(NULL, self.slot.nbytes if not self._closed else 0)
        self.copy_out(PyBytes_AS_STRING(value), stamp, timeout, stamped)
        return value if self._decode is None else self._decode(value)

    def read(self, *, timeout=None):
        """
        Copy the latest value out, whole. Needs no write access, and is never kept waiting by a writer that died or
        was stopped; only one that publishes faster than the value can be copied makes it try again.

        Args:
            timeout: Longest time to try, in seconds.

        Returns:
            A new value as the slot's layout says: a tuple for a struct format, bytes, a ctypes.Structure, a numpy
            array or scalar.

        Raises:
            Empty: nothing was ever published.
            TimeoutError: overtaken by the writer for all of *timeout*.
            ClosedError: this process closed the handle.
        """
        cdef memlane_stamp stamp
        return self.take(&stamp, timeout)

    def read_versioned(self, *, timeout=None):
        """As `read`, with the version of that very value: (value, version)."""
        cdef memlane_stamp stamp
        value = self.take(&stamp, timeout)
        return value, stamp.version

    def read_stamped(self, *, timeout=None):
        """
        As `read`, with the version and the time of that very value: (value, version, stamp).

        The stamp is when it was published, in seconds of `time.CLOCK_BOOTTIME`; None where the publisher's clock was
        another one, before a reboot or in another time namespace.
        """
        cdef memlane_stamp stamp
        value = self.take(&stamp, timeout, True)
        return value, stamp.version, moment_of(&stamp)

    def read_into(self, buffer, *, timeout=None):
        """
        Copy the bytes of the latest value into a writable contiguous *buffer* of at least that length.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `read` otherwise; then the buffer holds rubbish.
        """
        cdef Py_buffer view
        cdef memlane_stamp stamp
        self.check()
        contiguous(buffer, &view, PyBUF_WRITABLE, "read_into")
        try:
            self.require_room(&view)
            self.copy_out(view.buf, &stamp, timeout)
            return stamp.version
        finally:
            PyBuffer_Release(&view)

    @property
    def version(self):
        """How many values were published so far; 0: none."""
        self.check()
        self.state.membership.notice_fork()
        version = memlane_slot_version(&self.slot)
        if self.state.is_gone_now():
            self.state.refuse_gone()
        self.check()
        return version

    @property
    def nbytes(self):
        """Bytes of one value."""
        self.check()
        return self.slot.nbytes

    @property
    def age(self):
        """
        Seconds since the latest value was published; None if there is none, or where the publisher's clock was another
        one: before a reboot, or in another time namespace.
        """
        cdef memlane_stamp stamp
        cdef uint64_t now
        try:
            self.copy_out(NULL, &stamp, None)
        except Empty:
            return None
        if moment_of(&stamp) is None:
            return None
        now = memlane_boottime_ns()
        return (now - stamp.published_ns) / 1e9 if now > stamp.published_ns else 0.0

    def wait_newer(self, version, timeout=None):
        """
        Wait until something newer than *version* is published.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a
        growing pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            version: A version that the caller has seen; 0 for none.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (value, version) of the latest value.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ClosedError: this process closed the handle.
        """
        return self.newer(version_of(version), deadline_of(timeout), NULL)

    def wait_newer_into(self, buffer, version, *, timeout=None):
        """
        As `wait_newer`, into a writable contiguous *buffer* of at least the length of a value.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `wait_newer` otherwise.
        """
        cdef Py_buffer view
        cdef uint64_t seen = version_of(version), deadline = deadline_of(timeout)
        contiguous(buffer, &view, PyBUF_WRITABLE, "wait_newer_into")
        try:
            self.check()
            self.require_room(&view)
            return self.newer(seen, deadline, view.buf)
        finally:
            PyBuffer_Release(&view)

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a newer value than this handle
        has read.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. Each reading by this
        handle makes it unreadable again, until the next publish. It is readable for nothing now and then, ten times a second at
        the most. A reader without write access finds values ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle.
        """
        self.check()
        self.readable = pollable_of(self.readable, newer_watch(self, False))
        return self.readable.number()

    def _watch_newer(self, version=None):
        """What one waits for that wants something newer than *version*, or than what this handle has read."""
        cdef NewerWatch watch
        cdef uint64_t seen = 0 if version is None else version_of(version)
        self.check()
        watch = newer_watch(self, True)
        watch.is_given, watch.version = version is not None, seen
        return watch

    cdef int require_room(self, const Py_buffer *view) except -1:
        if <uint64_t>view.len < self.slot.nbytes:
            raise ValueError(f"{self.called()} holds values of {self.slot.nbytes} bytes, the buffer has {view.len}")
        return 0

    cdef object newer(self, uint64_t seen, uint64_t deadline, void *into):
        """Wait for something newer; the value and its version, or where there is a buffer for it the version alone."""
        cdef SlotsState state = self.state
        cdef uint64_t pinned
        cdef int watcher = -1
        cdef Doorbell bell = None
        cdef NewerSleep sleep = None
        cdef memlane_stamp stamp
        self.check()
        pinned = state.pin()
        try:
            while memlane_slot_version(&self.slot) <= seen:
                self.check()
                if sleep is None:
                    sleep = NewerSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.reader, sleep.seen = self, seen
                if deadline == 0 or sleep.is_over():
                    if self.readable is not None and self.seen >= seen and self.readable.rearm():
                        self.readable.settle()
                    raise TimeoutError(f"nothing newer than version {seen} was published in {self.called()}")
                if not sleep.spin(MEMLANE_WAIT_ADAPTIVE):
                    if bell is None:
                        if not state.membership.readonly:
                            state.enter(&self.opens, &self._closed, self)
                        watcher = state.lease_watcher()
                        if watcher >= 0:
                            bell = doorbell_of(state.membership, &state.watcher(watcher).doorbell)
                            bell.prepare()
                            sleep.watcher = watcher
                    sleep.nap(&self.slot.control.armed, bell)
                PyErr_CheckSignals()
            if into != NULL:
                self.copy_out(into, &stamp, None)
                return stamp.version
            value = self.take(&stamp, None)
            return value, stamp.version
        finally:
            if watcher >= 0 and memlane_fork_is(pinned):
                memlane_role_give(&state.watcher(watcher).owner, state.membership.own.tag)
            state.unpin(pinned)
