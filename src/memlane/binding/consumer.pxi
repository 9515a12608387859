# SPDX-License-Identifier: MIT
"""The consumer of a ring in this process, and the records it has on loan."""

cdef enum:
    TAKE_ONE
    TAKE_MANY
    TAKE_LOAN
    TAKE_INTO


@cython.final
cdef class ConsumerRole:
    """The consumer of a ring in this process; all its handles and threads share it."""

    cdef RingState ring
    cdef memlane_consumer *lanes
    cdef unsigned char *known         # 0: maybe never leased, 1: leased, 2: closed
    cdef memlane_mutex mutex          # guards `lanes`
    cdef uint64_t epoch
    cdef uint32_t tag
    cdef uint32_t current             # the lane to look at first
    cdef int64_t loans
    cdef bint departing               # to be given back when the loans are gone
    cdef dict preparing
    cdef Spinning spinning
    cdef int64_t handles

    def __cinit__(self, RingState ring):
        self.ring = ring
        self.epoch = EPOCH_CLOSED
        self.preparing = {}
        self.spinning = Spinning()
        self.lanes = <memlane_consumer *>PyMem_Calloc(ring.shape.lanes, sizeof(memlane_consumer))
        self.known = <unsigned char *>PyMem_Calloc(ring.shape.lanes, 1)
        if self.lanes == NULL or self.known == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.lanes)
        PyMem_Free(self.known)

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- the role -----------------------------------------------------------------------------------

    cdef int prepare(self, Endpoint handle) except -1:
        """See that this process is the consumer, in this epoch. Raises RoleTakenError naming the holder."""
        handle.check()
        self.ring.membership._check_open()
        if not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if not memlane_fork_is(self.epoch):
                    self._take_role()
        self.departing = False
        if not handle.receives:
            handle.receives = True
            self.handles += 1
        return 0

    cdef int _take_role(self) except -1:
        cdef uint32_t found, lane
        cdef int alive
        self.tag = self.ring.membership.own_tag()
        if memlane_fork_is(self.epoch):
            return 0  # done meanwhile, by a handler that ran while this process joined
        while True:
            found = memlane_role_owner(&self.ring.control.consumer)
            if found != 0:
                alive = self.ring.membership.verdict(found)
                if alive == UNKNOWN:
                    self.ring.refuse(MEMLANE_LOST, 0)
                if alive == ALIVE:
                    pid = self.ring.membership.pid_of(found)
                    raise RoleTakenError(f"{self.ring.name} already has a consumer (pid {pid}, alive); close it there first",
                                         role="consumer", pids=(pid,))
            if memlane_role_take(&self.ring.control.consumer, found, self.tag):
                break
        for lane in range(self.ring.shape.lanes):
            self.ring.lane_at(lane, &self.lanes[lane].lane)
            memlane_consumer_start(&self.lanes[lane])
            self.known[lane] = 0
        self.loans = 0
        self.departing = False
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return 0

    cdef void depart(self) noexcept:
        """Give the role back; loans keep it until the last one is gone."""
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.loans == 0:
            self.epoch = EPOCH_CLOSED
            memlane_role_give(&self.ring.control.consumer, self.tag)
        memlane_mutex_unlock(&self.mutex)

    # ---- looking and taking ---------------------------------------------------------------------------

    cdef inline bint is_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        if self.known[lane]:
            return True
        if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_NEVER:
            return False
        self.known[lane] = 1
        return True

    cdef inline int find(self, uint64_t *s, memlane_extent *extent) except -2:
        """The first lane with a record, from the one after the last served; -1: none has."""
        cdef uint32_t leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        cdef uint32_t lane = self.current, turn
        cdef memlane_status status
        cdef uint32_t shutdown = memlane_ring_shutdown(self.ring.control)
        if shutdown == MEMLANE_SHUTDOWN_DROP:
            return -1
        if shutdown:
            # At the end all lanes count: a `leased` that is too small must not hide what close_lanes waits for.
            leased = self.ring.shape.lanes
        for turn in range(leased):
            if lane >= leased:
                lane = 0
            if self.is_leased(lane):
                status = memlane_consumer_peek(&self.lanes[lane], s, extent)
                if status == MEMLANE_BUSY:
                    memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
                    memlane_consumer_skip(&self.lanes[lane])
                    memlane_mutex_unlock(&self.mutex)
                    status = memlane_consumer_peek(&self.lanes[lane], s, extent)
                if status == MEMLANE_OK:
                    return lane
                if status == MEMLANE_CORRUPTED:
                    self.ring.refuse(status, 0)
            lane += 1
        return -1

    cdef inline memlane_status copy_out(self, uint32_t lane, uint64_t s, const memlane_extent *extents, size_t count,
                                        char **to) except? MEMLANE_CORRUPTED:
        """
        Copy `count` records that were seen from s on, and free them, in one step under the mutex.
        MEMLANE_BUSY: another thread took them meanwhile.
        """
        cdef memlane_status status
        cdef bint crossed = False
        cdef uint64_t total = 0, pinned = 0
        cdef size_t i
        for i in range(count):
            total += memlane_occupied(extents[i].nbytes)
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_copy(lane, s, extents, count, total, to, &crossed)
            memlane_mutex_unlock(&self.mutex)
        else:
            # Pinned: while we have no GIL, another thread may close the ring.
            pinned = self.ring.membership.pin()
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_copy(lane, s, extents, count, total, to, &crossed)
                memlane_mutex_unlock(&self.mutex)
        try:
            if crossed and memlane_waiters_any_fenced(&self.lanes[lane].lane.control.waiters):
                self.ring.wake_producer(lane, 1)
        finally:
            if pinned:
                self.ring.membership.unpin(pinned)
        if status == MEMLANE_LOST and not self.departing:
            self.ring.refuse(status, 0)
        return status

    cdef inline memlane_status locked_copy(self, uint32_t lane, uint64_t s, const memlane_extent *extents, size_t count,
                                           uint64_t total, char **to, bint *crossed) noexcept nogil:
        cdef memlane_consumer *consumer = &self.lanes[lane]
        cdef memlane_extent again
        cdef uint64_t now
        cdef size_t i
        if not memlane_fork_is(self.epoch):
            return MEMLANE_BUSY
        if memlane_consumer_peek(consumer, &now, &again) != MEMLANE_OK or now != s or again.nbytes != extents[0].nbytes:
            return MEMLANE_BUSY
        for i in range(count):
            memcpy(to[i], consumer.lane.bytes + extents[i].offset, extents[i].nbytes)
        if not memlane_role_held(&self.ring.control.consumer, self.tag):
            return MEMLANE_LOST
        crossed[0] = memlane_consumer_finish(consumer, count, total)
        return MEMLANE_OK

    cdef object take(self):
        """One record as new bytes, or None if there is none now."""
        cdef memlane_extent extent
        cdef uint64_t s
        cdef int lane
        cdef char *to
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return None
            record = PyBytes_FromStringAndSize(NULL, extent.nbytes)
            to = PyBytes_AS_STRING(record)
            if self.copy_out(lane, s, &extent, 1, &to) == MEMLANE_OK:
                self.current = lane + 1
                return record
            if not memlane_fork_is(self.epoch):
                return None

    cdef list take_many(self, Py_ssize_t most):
        """Up to *most* records, of all lanes that have some; an empty list if there is none now."""
        cdef memlane_extent extents[STEP_RECORDS]
        cdef char *to[STEP_RECORDS]
        cdef memlane_status status
        cdef uint64_t s
        cdef size_t count, i
        cdef int lane
        cdef list found = [], step
        while len(found) < most:
            try:
                lane = self.find(&s, &extents[0])
                if lane < 0:
                    break
                count = memlane_consumer_peek_many(
                    &self.lanes[lane], min(most - len(found), <Py_ssize_t>STEP_RECORDS), &s, extents, &status)
                if count == 0:
                    continue
                step = PyList_New(count)
                for i in range(count):
                    record = PyBytes_FromStringAndSize(NULL, extents[i].nbytes)
                    Py_INCREF(record)
                    PyList_SET_ITEM(step, i, record)
                    to[i] = PyBytes_AS_STRING(record)
                status = self.copy_out(lane, s, extents, count, to)
            except Exception:
                # What was taken is handed out; what is wrong will still be wrong at the next call.
                if found:
                    break
                raise
            if status == MEMLANE_OK:
                self.current = lane + 1
                if found:
                    found += step
                else:
                    found = step
            elif not memlane_fork_is(self.epoch):
                break
        return found

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        """Copy one record into a buffer; its length, or -1 if there is none now."""
        cdef memlane_extent extent
        cdef uint64_t s
        cdef int lane
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return -1
            if extent.nbytes > <uint64_t>view.len:
                raise ValueError(f"the next record of {self.ring.name} has {extent.nbytes} bytes, the buffer {view.len}; "
                                 "it stays in the ring: pass a larger buffer")
            if self.copy_out(lane, s, &extent, 1, <char **>&view.buf) == MEMLANE_OK:
                self.current = lane + 1
                return extent.nbytes
            if not memlane_fork_is(self.epoch):
                return -1

    cdef Record take_loan(self):
        """One record as a loan, or None if there is none now."""
        cdef memlane_extent extent, again
        cdef uint64_t s, now
        cdef int lane
        cdef bint taken
        cdef Record record = Record.__new__(Record)
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return None
            taken = False
            memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
            if (memlane_fork_is(self.epoch)
                    and memlane_consumer_peek(&self.lanes[lane], &now, &again) == MEMLANE_OK and now == s):
                memlane_consumer_borrow(&self.lanes[lane])
                self.loans += 1
                taken = True
            memlane_mutex_unlock(&self.mutex)
            if taken:
                self.current = lane + 1
                record.begin(self, lane, s, &again)
                return record
            if not memlane_fork_is(self.epoch):
                return None

    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view):
        cdef Py_ssize_t nbytes
        if how == TAKE_ONE:
            return self.take()
        if how == TAKE_MANY:
            return self.take_many(most) or None
        if how == TAKE_LOAN:
            return self.take_loan()
        nbytes = self.take_into(view)
        return None if nbytes < 0 else nbytes

    # ---- getting --------------------------------------------------------------------------------------

    cdef object get(self, Endpoint handle, object timeout, bint require_peer):
        if handle.receives and memlane_fork_is(self.epoch):
            check_timeout(timeout)
            record = self.take()
            if record is not None:
                return record
        return self.extract(handle, TAKE_ONE, 1, NULL, deadline_of(timeout), require_peer)

    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
                        bint require_peer):
        """Take in one of four ways, waiting until the deadline."""
        cdef RingState ring = self.ring
        cdef Membership membership = ring.membership
        cdef Sleep sleep = None
        cdef bint found
        cdef uint64_t pinned, began
        handle.check()
        pinned = membership.pin()
        try:
            while True:
                self.prepare(handle)
                record = self.take_as(how, most, view)
                if record is not None:
                    # The baton: whoever was woken and sees more rings again.
                    if sleep is not None and memlane_waiters_any(&ring.control.waiters) and self.any_record():
                        ring.wake_consumers(1)
                    return record
                self.wake_producers()
                if memlane_ring_shutdown(ring.control):
                    if self.close_lanes():
                        ring.refuse(MEMLANE_CLOSED, 0)
                    PyErr_CheckSignals()
                    continue
                if require_peer and self.peers_are_gone() and not self.any_record():
                    raise PeerGoneError(f"all producers of {ring.name} have died or left, and it is drained")
                if sleep is None:
                    sleep = Sleep()
                    sleep.deadline = deadline
                if deadline == 0 or sleep.is_over():
                    self.check_sound()
                    ring.refuse(MEMLANE_EMPTY, 0)
                with nogil:
                    found = self.spin(handle.wait)
                if not found:
                    self.check_sound()
                    if handle.wait != WAIT_SPIN:
                        memlane_waiters_announce(&ring.control.waiters)
                        found = self.any_record()
                        if not found:
                            began = memlane_monotonic_ns()
                            with nogil:
                                found = sleep.doze(ring.doorbell.semaphore)
                            self.spinning.learn_sleep(found, memlane_monotonic_ns() - began)
                            if not found:
                                memlane_waiters_withdraw(&ring.control.waiters)
                        else:
                            memlane_waiters_withdraw(&ring.control.waiters)
                PyErr_CheckSignals()
        finally:
            membership.unpin(pinned)

    cdef bint any_record(self) noexcept nogil:
        """The second look: is there anything that a waiting get would act on?"""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if self.is_leased(lane) and self.known[lane] != 2 and memlane_consumer_any(&self.lanes[lane]):
                return True
        return memlane_ring_shutdown(self.ring.control) != 0

    cdef bint spin(self, int wait) noexcept nogil:
        cdef uint64_t limit = self.spinning.limit(wait), began
        cdef int looks
        if limit == 0:
            return False
        began = memlane_monotonic_ns()
        while True:
            for looks in range(32):
                if self.any_record():
                    self.spinning.learn(True)
                    return True
                memlane_cpu_relax()
            if not self.spinning.goes_on(began, limit):
                return False

    cdef int wake_producers(self) except -1:
        """Nothing fresh: whoever waits for room has it, however little was freed since it was last rung for."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if memlane_waiters_any_fenced(&self.ring.lane_control(lane).waiters):
                self.ring.wake_producer(lane, 1)
        return 0

    cdef bint close_lanes(self) except -1:
        """Bring a ring that is shut down to its end; False: a commit was faster, or others took part."""
        cdef memlane_status status
        cdef uint32_t lane
        cdef bint drop = memlane_ring_shutdown(self.ring.control) == MEMLANE_SHUTDOWN_DROP
        cdef bint all_closed = True
        for lane in range(self.ring.shape.lanes):
            if self.known[lane] == 2:
                continue
            if not self.is_leased(lane):
                if memlane_lane_close_unleased(self.ring.lane_control(lane)) != MEMLANE_CLOSED:
                    all_closed = False
                else:
                    self.known[lane] = 2
                continue
            if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_CLOSED:
                self.known[lane] = 2
                continue
            with nogil:
                memlane_mutex_lock(&self.mutex)
                if drop:
                    memlane_consumer_drop(&self.lanes[lane])
                status = memlane_consumer_close(&self.lanes[lane])
                memlane_mutex_unlock(&self.mutex)
            if status != MEMLANE_CLOSED:
                all_closed = False
        return all_closed

    cdef bint peers_are_gone(self) except -1:
        """Whether there were producers and every one of them has left or is proven dead."""
        cdef uint32_t lane, owner, leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        # The first who lives ends it; the dead cost a probe only once, then their rows are buried.
        for lane in range(leased):
            owner = memlane_lane_owner(self.ring.lane_control(lane))
            if owner > MEMLANE_OWNER_CLOSED and self.ring.membership.verdict(owner) != DEAD:
                return False
        return leased > 0

    cdef int check_sound(self) except -1:
        """Look twice for what cannot be, before sleeping on it."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if (self.is_leased(lane) and memlane_consumer_overlooked(&self.lanes[lane])
                    and memlane_consumer_overlooked(&self.lanes[lane])):
                self.ring.refuse(MEMLANE_CORRUPTED, 0)
        return 0


@cython.final
cdef class Record:
    """
    A borrowed record: its bytes where they lie in the ring, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last. Meanwhile it takes up room in the ring. If this
    process dies, another consumer gets it.

    Attributes:
        redelivered: Whether an earlier consumer had it in hand and died.
    """

    cdef ConsumerRole role
    cdef uint32_t lane
    cdef uint64_t s
    cdef memlane_extent extent
    cdef Py_ssize_t exports
    cdef bint is_open                 # not released
    cdef bint is_held                 # the ring keeps it for us
    cdef uint64_t pinned
    cdef readonly bint redelivered

    def __init__(self):
        raise TypeError("a Record is made by borrow(), not by calling the class")

    cdef void begin(self, ConsumerRole role, uint32_t lane, uint64_t s, const memlane_extent *extent) noexcept:
        self.role, self.lane, self.s, self.extent = role, lane, s, extent[0]
        self.pinned = role.ring.membership.pin_loan()
        self.is_open = self.is_held = True

    def __del__(self):
        if self.is_held:
            self.is_open = False
            self.end()

    cdef int end(self) except -1:
        cdef ConsumerRole role = self.role
        cdef bint last
        if not self.is_held:
            return 0
        self.is_held = False
        # A forked child has a copy of the parent's loan, which is not its to release.
        if memlane_fork_is(self.pinned):
            if memlane_role_held(&role.ring.control.consumer, role.tag):
                memlane_consumer_release(&role.lanes[self.lane], self.s)
                if memlane_waiters_any(&role.lanes[self.lane].lane.control.waiters):
                    role.ring.wake_producer(self.lane, 1)
            with cython.critical_section(role):
                role.loans -= 1
                last = role.loans == 0 and role.departing
            if last:
                role.depart()
        role.ring.membership.unpin_loan(self.pinned)
        return 0

    cdef int check(self) except -1:
        if not self.is_open:
            raise ClosedError(f"this record of {'a ring' if self.role is None else self.role.ring.name} was released; "
                              "borrow another one")
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.role.lanes[self.lane].lane.bytes + self.extent.offset, self.extent.nbytes, 1,
                          flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and not self.is_open:
            self.end()

    def __len__(self):
        return self.extent.nbytes

    def __bool__(self):
        return True

    def __getitem__(self, index):
        with memoryview(self) as view:
            found = view[index]
            return bytes(found) if isinstance(found, memoryview) else found

    def release(self):
        """Give the record back, now or when its last view dies. Never fails; doing it twice does nothing."""
        self.is_open = False
        if self.exports == 0:
            self.end()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, _kind, _value, _traceback):
        self.release()
