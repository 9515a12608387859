/* SPDX-License-Identifier: MIT
 *
 * Removing an object of a region and using its room again: src/core/directory.h, memlane_entry_remove, _free, _write, _stands,
 * _stands_ordered, memlane_directory_pick; src/memlane/_core/opened.pyx, enter, leave, pin, unpin, notice, let_go;
 * src/runtime/membership.c, memlane_membership_hold, _unhold; membership.pyx, free_removed, add_entry; _region/directory.py. One entry, and the one room that it can have.
 *
 * Process 1 opens what is there and calls what writes to it, in one or two threads, each by a handle of its own; another
 * thread closes the handles, whenever none of the others has the GIL. Processes 2 and 3 each remove what they find, then
 * make an object, unless there is one, or wait for the room of the removed one. With READER=1 somebody copies without a
 * lock. With MORTALS=1 process 1, 2 and the reader may die anywhere. Process 1 does not end by itself, so that only its
 * death or a step of its own lets go. The kernel's locks vanish with a process some time after its last step.
 *
 * Checked: nobody writes to another object's bytes, or to bytes that were given back; no reader takes them for its object's;
 * one at a time changes the entry; in the end the room is in use again, by whoever lives.
 *
 * sizes: THREADS=1 CALLS=2 READER=0 MORTALS=1
 * sizes: THREADS=2 CALLS=1 READER=0 MORTALS=0
 * sizes: THREADS=1 CALLS=0 READER=1 MORTALS=1
 * mistake NO_LOCK: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "bytes==mine"
 *     who writes does not lock the byte of the entry
 * mistake NO_FIRST_LOOK: THREADS=2 CALLS=1 READER=0 MORTALS=0; finds "bytes==mine"
 *     who locks the byte does not look at the sequence before: on finding its object removed it unlocks the byte, which
 *     another thread may have locked for the next object meanwhile
 * mistake LOCK_AGAIN: THREADS=2 CALLS=1 READER=0 MORTALS=0; finds "bytes==mine"
 *     who has joined does not look whether another thread has locked the byte meanwhile: it unlocks it in that one's midst
 * mistake NO_SECOND_LOOK: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "bytes==mine"
 *     who has the lock does not look at the sequence again: the room may be free since before
 * mistake LOOK_FIRST: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "bytes==mine"
 *     the remover looks at the lock before it raises the sequence, so its look is too old
 * mistake NO_CREATION: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "sequence==seen"
 *     the room is freed by one who does not have the creation byte
 * mistake NO_PIN: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "bytes==mine"
 *     a call that copies without the GIL does not count as a use: closing lets go in its midst
 * mistake UNLOCK_TWICE: THREADS=2 CALLS=1 READER=0 MORTALS=0; finds "bytes==mine"
 *     who closes a handle of an object that it let go before unlocks the byte again, which is the next object's by now
 * mistake LOOK_BEFORE: THREADS=1 CALLS=0 READER=1 MORTALS=1; finds "copy==found"
 *     a reader looks at the sequence before its copy, not after it
 * mistake REMOVER_ONLY: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "end state"
 *     only the remover looks whether the room is free: if it dies, or somebody was still there, it is lost for ever
 * mistake KEEP_WRITING: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "end state"
 *     an entry in whose writing somebody died is not taken for free
 * mistake COUNT_CLOSED: THREADS=1 CALLS=1 READER=0 MORTALS=1; finds "end state"
 *     a handle that is closed amid its first call counts as a holder for ever
 * mistake NO_NOTICE: THREADS=1 CALLS=2 READER=0 MORTALS=1; finds "end state"
 *     a call that finds its object removed lets go of nothing, and leaves closing nothing to let go of
 */
#define FREE 0
#define WRITING 1
#define VALID 2
#define REMOVED 3
#define STATE(number) ((number) % 4)
#define NEXT(number) (((number) + 3) / 4 * 4 + VALID) /* that of the next object made in an entry of this number */

byte sequence = VALID, creation;
bool locked; /* the byte of the entry, by process 1 */
bool killed[5];
byte bytes = VALID; /* ghost: whose bytes are in the room; 0: nobody's */

/* private to process 1: the GIL, and how many threads have ended */
bool gil;
byte ended;
/* what an Opened knows: the sequence of its object (0: there is none), calls under way, handles, and the lock */
byte mine[THREADS], uses[THREADS], holders[THREADS];
bool held[THREADS];
/* what a handle knows: its Opened (NONE: it is not there), and whether it counts among the holders */
#define NONE THREADS
byte at[THREADS] = NONE;
bool counted[THREADS], closed[THREADS];

#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
/* a step by a thread that takes the GIL for it, and keeps it */
#define TAKE_GIL(...) atomic { (!gil || killed[me]) -> if :: killed[me] -> goto dead :: else gil = true fi; __VA_ARGS__ }
#define AWAIT(condition) atomic { ((condition) || killed[me]) -> if :: killed[me] -> goto dead :: else fi }
#define LOCK_CREATION atomic { (creation == 0 || killed[me]) -> if :: killed[me] -> goto dead :: else creation = me fi }
#define GONE(o) (sequence != mine[o])

proctype Kill(byte victim) {
    atomic {
        killed[victim] = true;
        if :: victim == 1 && ended == THREADS -> locked = false :: else fi
    }
}

/* Opened.let_go: one shared step */
inline let_go(o) {
    if
#ifdef UNLOCK_TWICE
    :: true -> locked = false
#else
    :: held[o] -> locked = false
    :: else
#endif
    fi;
    held[o] = false
}

/* Opened.notice */
inline notice(o) {
    if
#ifdef NO_NOTICE
    :: true -> holders[o] = 0; counted[0] = false; counted[THREADS - 1] = false
#else
    :: uses[o] == 0 -> let_go(o)
    :: else
#endif
    fi
}

/* Opened.unpin */
inline unpin(o) {
#ifndef NO_PIN
    uses[o]--;
#endif
    if
    :: uses[o] == 0 && held[o] && (holders[o] == 0 || GONE(o)) -> let_go(o)
    :: else
    fi
}

/* Users.add */
inline count(h) {
    if
    :: !counted[h] -> counted[h] = true; holders[at[h]]++
    :: else
    fi
}

proctype Caller(byte h) {
    byte o, call;
    byte me = 1;
    /* Membership.entries, find_opened, and a handle of what is there */
    STEP(
        if
        :: STATE(sequence) != VALID -> goto gone
        :: STATE(sequence) == VALID && mine[0] == sequence -> o = 0
        :: STATE(sequence) == VALID && mine[0] != sequence && mine[THREADS - 1] == sequence -> o = THREADS - 1
        :: else -> o = h; mine[o] = sequence
        fi;
        at[h] = o
    );
    do
    :: call < CALLS ->
        /* refuse_gone */
        TAKE_GIL(
            if
            :: closed[h] -> gil = false; goto gone
            :: !closed[h] && GONE(o) -> notice(o); gil = false; goto gone
            :: else
            fi;
#ifndef NO_PIN
            uses[o]++;
#endif
            call++
        );
        /* Opened.enter */
        if
        :: held[o] -> skip
        :: else ->
            STEP(gil = false); /* joining runs Python */
#ifdef NO_FIRST_LOOK
            TAKE_GIL(skip);
#else
            TAKE_GIL(if :: GONE(o) -> unpin(o); gil = false; goto gone :: else fi);
#endif
#ifndef LOCK_AGAIN
            if
            :: held[o] -> goto entered
            :: else
            fi;
#endif
#ifndef NO_LOCK
            STEP(locked = true);
#ifndef NO_SECOND_LOOK
            STEP(if :: GONE(o) -> goto unlock :: else fi);
#endif
#endif
            STEP(held[o] = true)
        fi;
entered:
        STEP(
            if
#ifndef COUNT_CLOSED
            :: closed[h] -> unpin(o); gil = false; goto gone
            :: !closed[h] -> count(h); gil = false
#else
            :: true -> count(h); gil = false
#endif
            fi
        );
        STEP(assert(bytes == mine[o])); /* the copy, without the GIL */
        TAKE_GIL(unpin(o); gil = false)
    :: else -> break
    od;
    goto gone;
unlock:
    STEP(locked = false);
    STEP(unpin(o); gil = false);
    goto gone;
dead:
gone: /* the process lives on, unless it was killed */
    atomic {
        ended++;
        if :: killed[me] -> gil = false; if :: ended == THREADS -> locked = false :: else fi :: else fi;
        o = 0; h = 0; call = 0
    }
}

/* The thread that closes a handle: Opened.leave, one shared step. */
proctype Closer(byte h) {
    byte me = 1;
    atomic {
        (killed[me] || (!gil && (at[h] != NONE || ended == THREADS))) ->
        if
        :: killed[me] || at[h] == NONE -> skip
        :: else ->
            closed[h] = true;
            if
            :: counted[h] ->
                counted[h] = false;
                holders[at[h]]--;
                if :: holders[at[h]] == 0 && uses[at[h]] == 0 -> let_go(at[h]) :: else fi
            :: else
            fi
        fi;
        h = 0
    }
}

/* Membership.free_removed */
inline free_removed() {
    STEP(seen = sequence);
    if
    :: STATE(seen) == REMOVED ->
#ifndef LOOK_FIRST
        STEP(unlocked = !locked);
#endif
        if
        :: unlocked ->
            STEP(bytes = 0); /* Membership.give_back */
            STEP(assert(sequence == seen); sequence = seen + 1)
        :: else
        fi;
        unlocked = false
    :: else
    fi
}

proctype Maker(byte me) {
    byte seen;
    bool unlocked;
    /* Region.remove */
    LOCK_CREATION;
    STEP(seen = sequence);
    if
    :: STATE(seen) == VALID ->
#ifdef LOOK_FIRST
        STEP(unlocked = !locked);
#endif
        STEP(if :: sequence == seen -> sequence = seen + 1 :: else fi);
#ifdef NO_CREATION
        STEP(creation = 0);
#endif
        free_removed()
    :: else
    fi;
    STEP(if :: creation == me -> creation = 0 :: else fi);
    /* directory.find_or_add */
    do
    :: true ->
        LOCK_CREATION;
#ifndef REMOVER_ONLY
        free_removed();
#endif
        STEP(seen = sequence);
        if
        :: STATE(seen) == VALID -> goto made
        :: STATE(seen) == FREE -> break
#ifndef KEEP_WRITING
        :: STATE(seen) == WRITING -> break
#endif
        :: else
        fi;
        STEP(creation = 0);
        /* no room: another try when something has changed */
#ifdef REMOVER_ONLY
        AWAIT(sequence != seen)
#else
        AWAIT(sequence != seen || (STATE(seen) == REMOVED && !locked))
#endif
    od;
    STEP(bytes = NEXT(seen)); /* Membership._clear, and what initializes the object */
    STEP(assert(sequence == seen); sequence = NEXT(seen) - 1); /* memlane_entry_write */
    STEP(sequence = NEXT(seen));
made:
    STEP(creation = 0);
    goto gone;
dead:
    atomic { if :: creation == me -> creation = 0 :: else fi };
gone:
    atomic { seen = 0; unlocked = false }
}

/* A read without a lock: Counter.value, SlotBase.copy_out */
proctype Reader() {
    byte found, copy;
    byte me = 4;
    STEP(found = sequence);
    if
    :: STATE(found) == VALID ->
#ifdef LOOK_BEFORE
        STEP(if :: sequence != found -> goto dead :: else fi);
        STEP(copy = bytes);
#else
        STEP(copy = bytes);
        STEP(if :: sequence != found -> goto dead :: else fi);
#endif
        STEP(assert(copy == found))
    :: else
    fi;
dead:
    atomic { found = 0; copy = 0 }
}

init {
    atomic {
        run Caller(0); run Closer(0); run Maker(2); run Maker(3);
        if :: THREADS > 1 -> run Caller(THREADS - 1); run Closer(THREADS - 1) :: else fi;
        if :: READER -> run Reader() :: else fi;
        if :: MORTALS && READER -> run Kill(4) :: true fi;
        if :: MORTALS -> run Kill(1) :: true fi;
        if :: MORTALS -> run Kill(2) :: true fi
    }
}
