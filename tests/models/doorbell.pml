/* SPDX-License-Identifier: MIT
 *
 * A doorbell: src/core/waiters.h, memlane_waiters_announce, _withdraw, _any, _any_fenced, and their callers:
 * memlane_waiting_sleep in src/runtime/wait.c, memlane_bell_wake in src/runtime/doorbell.c, and those that look and take,
 * ConsumerRole.extract in src/memlane/_core and memlane_ring_get in src/runtime/ring.c.
 *
 * Ringers change something (commit a record; the same shape frees room), then look for waiters. Waiters take, or
 * announce themselves, look again, and sleep at a semaphore for one slice at most. A change goes into the store buffer
 * of its waker, of one place, and reaches memory at any later moment; a fence (or a seq_cst store) waits for that.
 * Ringer 0 and waiter 2 may die anywhere (MORTALS=1).
 *
 * The end of a slice is a step that is only made when nothing else can be done, and it is counted. Checked: while nobody has
 * died, no slice ever ends with a record in the ring (no wake-up is lost); one death costs one slice at the most;
 * all that was committed is taken, nobody sleeps for ever; the count never goes below zero.
 *
 * sizes: ITEMS=3 RINGERS=1 WAITERS=2 MORTALS=0
 * sizes: ITEMS=1 RINGERS=2 WAITERS=2 MORTALS=0
 * sizes: ITEMS=2 RINGERS=1 WAITERS=2 MORTALS=1
 * mistake NO_FENCE: ITEMS=2 RINGERS=1 WAITERS=1 MORTALS=0; finds "deaths"
 *     nothing between the change and the look for waiters
 * mistake NO_SECOND_LOOK: ITEMS=2 RINGERS=1 WAITERS=1 MORTALS=0; finds "deaths"
 *     a waiter sleeps without looking again once it has announced itself
 * mistake ANNOUNCE_LATE: ITEMS=2 RINGERS=1 WAITERS=1 MORTALS=0; finds "deaths"
 *     a waiter looks again before it announces itself
 * mistake NO_SLICE: ITEMS=1 RINGERS=2 WAITERS=2 MORTALS=1; finds "end state"
 *     a waiter sleeps until it is woken: a dead waker keeps it asleep
 */
#define TOTAL (ITEMS * RINGERS)
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }

byte records, waiters, tokens;
bool buffered[2]; /* a record that is still in the store buffer of its waker */
bool killed[5];

/* ghosts */
byte committed, taken, deaths, slices, ringing;

proctype Memory(byte me) {
end:
    do
    :: atomic { buffered[me] -> buffered[me] = false; records++ }
    od
}

/* What a dead process had stored is in memory before anybody is told. */
proctype Kill(byte victim) {
    atomic {
        if
        :: victim < 2 && buffered[victim] -> buffered[victim] = false; records++
        :: else
        fi;
        killed[victim] = true;
        deaths++
    }
}

/* memlane_waiters_withdraw */
inline withdraw() {
    do
    :: true ->
        STEP(found = waiters);
        if
        :: found == 0 -> break
        :: else ->
            STEP(if :: waiters == found -> waiters = found - 1; done = true :: else fi);
            if
            :: done -> break
            :: else
            fi
        fi
    od;
    found = 0
}

/* ring_waiters, once */
inline ring() {
    STEP(found = waiters); /* memlane_waiters_any */
    if
    :: found ->
        withdraw();
        if
        :: done -> done = false; STEP(tokens++) /* memlane_semaphore_post */
        :: else
        fi
    :: else
    fi;
    found = 0
}

proctype Ringer(byte me) {
    byte sent, found;
    bool done;
    do
    :: sent < ITEMS ->
        STEP(buffered[me] = true; committed++; sent++); /* memlane_producer_publish */
#ifndef NO_FENCE
        atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi };
#else
        /* the buffer has one place, so it is empty before the next one is stored, but not before the look */
#endif
        ring();
        atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi }
    :: else -> break
    od;
dead:
    atomic { ringing++; sent = 0; found = 0; done = false }
}

/* Everything that ever will be is taken. */
#define OVER (ringing == RINGERS && taken == committed)

proctype Waiter(byte me) {
    byte found;
    bool done, slept;
    do
    :: true ->
        STEP(if :: records -> records--; taken++; done = true :: else fi);
        if
        :: done ->
            done = false;
            if
            :: slept -> /* the wake-up is passed on */
                slept = false;
                STEP(found = records);
                if
                :: found -> ring()
                :: else
                fi
            :: else
            fi
        :: else ->
#ifdef ANNOUNCE_LATE
            STEP(found = records);
            STEP(waiters++);
#else
            STEP(waiters++); /* memlane_waiters_announce */
#ifdef NO_SECOND_LOOK
            found = 0;
#else
            STEP(found = records); /* memlane_consumer_any */
#endif
#endif
            if
            :: found -> withdraw()
            :: else ->
                /* Sleep.doze */
                atomic {
                    if
                    :: killed[me] -> goto dead
                    :: tokens -> tokens--; slept = true; done = true
#ifndef NO_SLICE
                    :: timeout ->
                        if
                        :: records -> slices++; assert(slices <= deaths)
                        :: else
                        fi;
                        if
                        :: OVER -> goto dead
                        :: else
                        fi
#else
                    :: OVER -> goto dead
#endif
                    fi
                };
                if
                :: done
                :: else -> withdraw()
                fi
            fi;
            done = false;
            found = 0
        fi
    od;
dead:
    atomic { found = 0; done = false; slept = false }
}

init {
    atomic {
        run Ringer(0); run Memory(0);
        if :: RINGERS > 1 -> run Ringer(1); run Memory(1) :: else fi;
        run Waiter(2);
        if :: WAITERS > 1 -> run Waiter(3) :: else fi;
        if :: MORTALS -> run Kill(0) :: true fi;
        if :: MORTALS -> run Kill(2) :: true fi
    };
    /* a waiter outlives its wakers; if all waiters could die, the records would stay, as they must */
    (OVER && records == 0)
}
