/* SPDX-License-Identifier: MIT
 *
 * A lock whose owner may die: src/core/lock.h, memlane_lock_try, _take, _take_over, _release, _is_due, _leave, _choose, and
 * LockBase.wait in src/memlane/_core/lock.pyx.
 *
 * PROCESSES processes take the lock TURNS times each. The first MORTALS of them may die at any step. One that finds the
 * lock taken arms its watcher, looks again, and sleeps until it is woken, or for one recheck interval; once it may stop to
 * wait then. What is kept for the waiter that has waited for long (lock.next) is not here: it decides about order alone.
 *
 * The end of a recheck interval is a step that is only made when nothing else can be done, and it is counted. Checked: two
 * never have the lock at once; each owner that died with it is told of once, to the next one; while nobody has died no
 * interval ever ends beside a free lock (no wake-up is lost); each death costs each waiter one at the most; nobody waits for
 * ever.
 *
 * sizes: PROCESSES=2 TURNS=2 MORTALS=1
 * sizes: PROCESSES=3 TURNS=1 MORTALS=1
 * sizes: PROCESSES=3 TURNS=1 MORTALS=0
 * mistake NO_SECOND_LOOK: PROCESSES=2 TURNS=1 MORTALS=0; finds "slices"
 *     a waiter sleeps without looking again once it has armed its watcher
 * mistake LOOK_FIRST: PROCESSES=2 TURNS=1 MORTALS=0; finds "slices"
 *     an owner looks for waiters before it releases the lock
 * mistake NO_PASSING: PROCESSES=3 TURNS=1 MORTALS=0; finds "slices"
 *     a waiter that stops to wait beside a free lock wakes no other one
 * mistake ANY_WORD: PROCESSES=3 TURNS=1 MORTALS=1; finds "told"
 *     a successor takes the lock from whoever has it by then, not from the very word of the dead one
 * mistake NO_RECHECK: PROCESSES=2 TURNS=1 MORTALS=1; finds "end state"
 *     a waiter sleeps until it is woken: a dead owner keeps it asleep
 */
#define NOBODY 9
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }

byte owner; /* process + 1; 0: the lock is free */
bool armed[PROCESSES];
byte tokens[PROCESSES];
bool killed[PROCESSES];

/* ghosts */
bool has[PROCESSES];
byte inside, deaths, slices, died, told, ended;

proctype Kill(byte victim) {
    atomic {
        killed[victim] = true;
        deaths++;
        if
        :: has[victim] -> has[victim] = false; inside--
        :: else
        fi;
        if
        :: owner == victim + 1 -> died++
        :: else
        fi
    }
}

/* memlane_lock_choose, and the post behind it: any of those that are armed */
inline wake() {
    STEP(
        if
        :: armed[0] -> armed[0] = false; chosen = 0
        :: armed[1] -> armed[1] = false; chosen = 1
#if PROCESSES > 2
        :: armed[2] -> armed[2] = false; chosen = 2
#endif
        :: else
        fi);
    if
    :: chosen != NOBODY -> STEP(tokens[chosen]++); chosen = NOBODY
    :: else
    fi
}

proctype Process(byte me) {
    byte turns, found, chosen = NOBODY;
    bool mine, stopped, may_stop = true;
    do
    :: turns == TURNS -> break
    :: else ->
        do
        :: true ->
            STEP(found = owner; if :: owner == 0 -> owner = me + 1; mine = true :: else fi); /* memlane_lock_take */
            if
            :: mine -> break
            :: !mine && killed[found - 1] -> /* proven dead */
#ifdef ANY_WORD
                STEP(owner = me + 1; mine = true; told++); /* memlane_lock_take_over */
#else
                STEP(if :: owner == found -> owner = me + 1; mine = true; told++ :: else fi); /* memlane_lock_take_over */
#endif
                if
                :: mine -> break
                :: else
                fi
            :: else ->
                STEP(armed[me] = true);
#ifdef NO_SECOND_LOOK
                found = 1;
#else
                STEP(found = owner); /* memlane_lock_is_due */
#endif
                if
                :: found ->
                    atomic {
                        if
                        :: killed[me] -> goto dead
                        :: tokens[me] -> tokens[me]--
#ifndef NO_RECHECK
                        :: timeout -> slices++; assert(slices <= deaths * (PROCESSES - 1))
#endif
                        fi
                    };
                    if
                    :: may_stop -> stopped = true /* its timeout is over */
                    :: true
                    fi
                :: else
                fi;
                STEP(armed[me] = false); /* memlane_lock_leave */
                if
                :: stopped ->
                    stopped = false;
                    may_stop = false;
#ifndef NO_PASSING
                    STEP(found = owner);
                    if
                    :: found == 0 -> wake()
                    :: else
                    fi;
#endif
                    break
                :: else
                fi
            fi
        od;
        turns++;
        if
        :: mine ->
            STEP(has[me] = true; inside++; assert(inside == 1));
            STEP(has[me] = false; inside--);
#ifdef LOOK_FIRST
            wake();
#endif
            STEP(if :: owner == me + 1 -> owner = 0 :: else fi; mine = false); /* memlane_lock_release */
#ifndef LOOK_FIRST
            wake()
#endif
        :: else
        fi
    od;
dead:
    atomic { ended++; turns = 0; found = 0; chosen = NOBODY; mine = false; stopped = false; may_stop = false }
}

proctype End() {
    atomic {
        ended == PROCESSES ->
        assert(told == died || (told + 1 == died && owner && killed[owner - 1]));
        assert(inside == 0)
    }
}

init {
    atomic {
        byte i;
        for (i : 0 .. PROCESSES - 1) {
            run Process(i)
        }
        for (i : 0 .. PROCESSES - 1) {
            if
            :: i < MORTALS -> run Kill(i)
            :: else
            fi
        }
        run End()
    }
}
