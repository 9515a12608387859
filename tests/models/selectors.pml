/* SPDX-License-Identifier: MIT
 *
 * Selectors: src/core/selectors.h, memlane_selector_arm, _announce, memlane_selectors_take, _next, with the descriptor of
 * src/os/wakefd.h: memlane_wakefd_drain, _send.
 *
 * Wakers change an object (waker w changes object w mod OBJECTS), look at its word, take the bits of the classes, and of
 * each selector in them disarm it and send. Owners drain, arm, announce at each object, look at each, and wait for their
 * descriptor for one slice at most. Owner 0 waits for all objects, owner 1 for object 0, and may leave. A descriptor is readable or
 * not: a full queue is as good as a send. CLASSES=1: both owners share a bit. A change goes into the store buffer of
 * its waker, of one place, and reaches memory at any later moment; a fence (or a seq_cst store) waits for that. Waker 0
 * and owner 1 may die anywhere (MORTALS=1).
 *
 * The end of a slice is a step that is only made when nothing else can be done, and it is counted. Checked: while nobody
 * has died, no slice ever ends beside something to do (no wake-up is lost); one death costs an owner one slice at the
 * most; each arming is taken by one waker, which sends once; all that was changed is seen, nobody waits for ever.
 *
 * sizes: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0
 * sizes: ITEMS=1 WAKERS=2 OBJECTS=2 OWNERS=1 CLASSES=1 MORTALS=1
 * sizes: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=2 CLASSES=1 MORTALS=1
 * sizes: ITEMS=1 WAKERS=2 OBJECTS=1 OWNERS=2 CLASSES=1 MORTALS=0
 * sizes: ITEMS=1 WAKERS=2 OBJECTS=2 OWNERS=2 CLASSES=2 MORTALS=0
 * mistake NO_FENCE: ITEMS=1 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     nothing between the change and the look for those who wait
 * mistake NO_SECOND_LOOK: ITEMS=1 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner waits without looking again once it has announced itself
 * mistake ANNOUNCE_LATE: ITEMS=1 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner looks again before it announces itself
 * mistake ARM_LATE: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner looks again before it arms
 * mistake INTEREST_LATE: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner looks again before it says for what it waits
 * mistake DRAIN_LATE: ITEMS=1 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner drains once it has looked again, what it was just sent as well
 * mistake ANNOUNCE_ONCE: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner does not announce itself again, though a waker has taken its bit
 * mistake CLEAR_BIT: ITEMS=2 WAKERS=1 OBJECTS=1 OWNERS=2 CLASSES=1 MORTALS=0; finds "deaths"
 *     an owner that leaves takes its bit back, which is another one's as well
 * mistake PLAIN_DISARM: ITEMS=1 WAKERS=2 OBJECTS=2 OWNERS=1 CLASSES=1 MORTALS=0; finds "armed"
 *     two wakers look at an armed selector, then both disarm it and send
 * mistake NO_SLICE: ITEMS=1 WAKERS=1 OBJECTS=1 OWNERS=1 CLASSES=1 MORTALS=1; finds "end state"
 *     an owner waits until it is woken: a dead waker keeps it waiting
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define CLASS(i) ((i) % CLASSES)
#define WAITS_FOR(i, o) ((i) == 0 || (o) == 0)

byte changed[OBJECTS]; /* what there is to be seen at each object */
byte classes[OBJECTS]; /* the upper half of its word of waiters */
bool armed[OWNERS], readable[OWNERS];
byte interest[OWNERS];
bool buffered[2]; /* a change that is still in the store buffer of its waker */
bool killed[4]; /* wakers 0 and 1, owners 2 and 3 */

/* ghosts */
byte committed, seen, deaths, waking;
byte slices[OWNERS];

proctype Memory(byte me) {
end:
    do
    :: atomic { buffered[me] -> buffered[me] = false; changed[me % OBJECTS]++ }
    od
}

/* What a dead process had stored is in memory before anybody is told. */
proctype Kill(byte victim) {
    atomic {
        if
        :: victim < 2 && buffered[victim] -> buffered[victim] = false; changed[victim % OBJECTS]++
        :: else
        fi;
        killed[victim] = true;
        deaths++
    }
}

/* memlane_selectors_next, and memlane_wakefd_send for what it finds */
inline wake() {
    do
    :: i < OWNERS ->
        if
        :: taken & (1 << CLASS(i)) ->
            STEP(found = armed[i]);
            if
            :: found ->
                STEP(found = (interest[i] & (1 << (me % OBJECTS))) != 0);
                if
                :: found ->
#ifdef PLAIN_DISARM
                    STEP(assert(armed[i]); armed[i] = false);
#else
                    STEP(found = armed[i]; armed[i] = false);
#endif
                    if
                    :: found -> STEP(readable[i] = true)
                    :: else
                    fi
                :: else
                fi
            :: else
            fi
        :: else
        fi;
        found = false;
        i++
    :: else -> break
    od
}

proctype Waker(byte me) {
    byte sent, taken, i;
    bool found;
    do
    :: sent < ITEMS ->
        STEP(buffered[me] = true; committed++; sent++);
#ifndef NO_FENCE
        atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi };
#endif
        STEP(found = classes[me % OBJECTS] != 0); /* memlane_waiters_any */
        if
        :: found ->
            found = false;
            STEP(taken = classes[me % OBJECTS]; classes[me % OBJECTS] = 0); /* memlane_selectors_take */
            wake();
            taken = 0; i = 0
        :: else
        fi;
        atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi }
    :: else -> break
    od;
dead:
    atomic { waking++; sent = 0; taken = 0; i = 0; found = false }
}

/* Everything that ever will be is seen. */
#define OVER (waking == WAKERS && seen == committed)

inline announce() {
    o = 0;
    do
    :: o < OBJECTS ->
        if
        :: WAITS_FOR(me - 2, o) ->
#ifdef ANNOUNCE_ONCE
            STEP(if :: !told -> classes[o] = classes[o] | (1 << CLASS(me - 2)) :: else fi);
#else
            STEP(found = (classes[o] & (1 << CLASS(me - 2))) != 0);
            if
            :: !found -> STEP(classes[o] = classes[o] | (1 << CLASS(me - 2)))
            :: else
            fi;
            found = false;
#endif
        :: else
        fi;
        o++
    :: else -> break
    od;
    o = 0;
    told = true
}

/* What there is at the objects is taken, all of it. */
inline look() {
    o = 0;
    do
    :: o < OBJECTS ->
        if
        :: WAITS_FOR(me - 2, o) ->
            STEP(if :: changed[o] -> seen = seen + changed[o]; changed[o] = 0; due = true :: else fi)
        :: else
        fi;
        o++
    :: else -> break
    od;
    o = 0
}

#define ANYTHING (changed[0] || (me == 2 && changed[OBJECTS - 1]))

proctype Owner(byte me) {
    byte o;
    bool due, found, told;
    do
    :: true ->
#ifndef DRAIN_LATE
        STEP(readable[me - 2] = false); /* memlane_wakefd_drain */
#endif
#ifdef ANNOUNCE_LATE
        look();
#endif
#ifdef INTEREST_LATE
        STEP(interest[me - 2] = 0);
#else
        STEP(interest[me - 2] = (me == 2 -> (1 << OBJECTS) - 1 : 1)); /* memlane_selector_arm */
#endif
#ifdef ARM_LATE
        STEP(armed[me - 2] = false);
#else
        STEP(armed[me - 2] = true);
#endif
        announce(); /* memlane_selector_announce */
#ifndef NO_SECOND_LOOK
#ifndef ANNOUNCE_LATE
        look();
#endif
#endif
#ifdef INTEREST_LATE
        STEP(interest[me - 2] = (me == 2 -> (1 << OBJECTS) - 1 : 1));
#endif
#ifdef ARM_LATE
        STEP(armed[me - 2] = true);
#endif
#ifdef DRAIN_LATE
        STEP(readable[me - 2] = false);
#endif
        if
        :: due ->
            due = false;
            if
            :: me == 3 -> /* this one needs no other wake: memlane_selector_disarm */
                STEP(armed[me - 2] = false);
#ifdef CLEAR_BIT
                STEP(classes[0] = classes[0] & ~(1 << CLASS(me - 2)));
#endif
                goto dead
            :: true
            fi
        :: else ->
            /* wait for the descriptor */
            atomic {
                if
                :: killed[me] -> goto dead
                :: readable[me - 2]
#ifndef NO_SLICE
                :: timeout ->
                    if
                    :: ANYTHING -> slices[me - 2]++; assert(slices[me - 2] <= deaths)
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
            }
#ifdef NO_SECOND_LOOK
            ;
            look();
            due = false
#endif
        fi
    od;
dead:
    atomic { o = 0; due = false; found = false; told = false }
}

init {
    atomic {
        run Waker(0); run Memory(0);
        if :: WAKERS > 1 -> run Waker(1); run Memory(1) :: else fi;
        run Owner(2);
        if :: OWNERS > 1 -> run Owner(3) :: else fi;
        if :: MORTALS -> run Kill(0) :: true fi;
        if :: MORTALS && OWNERS > 1 -> run Kill(3) :: true fi
    };
    /* owner 0 outlives its wakers, and sees what there is */
    OVER
}
