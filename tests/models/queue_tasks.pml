/* SPDX-License-Identifier: MIT
 *
 * Unfinished tasks of a queue: src/core/queue_tasks.h, memlane_tasks_get, _lower, _in_hand, _lanes_end, _all_done.
 *
 * Tasks lie in two lanes. Workers claim a task, raise their word, free the record, perhaps put another task, and
 * lower the word. One may die anywhere; what it had not freed is delivered again. A join looks at the lanes, then at the words of
 * those that live, then at the ends of the lanes again; it begins anew until it believes that all is done.
 *
 * Checked: when a join returns there was a moment since it began at which no task was unfinished; a join comes to its end
 * whatever dies.
 *
 * sizes: TASKS=3 MORTALS=0
 * sizes: TASKS=2 MORTALS=1
 * mistake ROWS_FIRST: TASKS=2 MORTALS=0; finds "was_done"
 *     a join looks at the words before the lanes
 * mistake ONE_LOOK: TASKS=3 MORTALS=0; finds "was_done"
 *     it does not look whether a lane has gone on since
 * mistake FREE_FIRST: TASKS=2 MORTALS=0; finds "was_done"
 *     a worker frees the record before it raises its word
 * mistake COUNT_DEAD: TASKS=2 MORTALS=1; finds "end state"
 *     the words of the dead count
 */
#define NONE 0
#define READY 1
#define FREE 2
#define TAKEN 3 /* plus the worker: 4 or 5 */
#define AT(lane, s) ((lane) * TASKS + (s))

byte state[2 * TASKS], put[2]; /* of each of two lanes */
byte hands[3];
bool dead[3];
byte mortals = MORTALS, tasks = 1; /* that were put, of TASKS */
byte unfinished = 1, got[3]; /* ghosts; got: that each has got, and not done */
bool was_done, joining;

/* of the dead one: what it had freed is abandoned, what it held is put anew */
#define DIE if :: atomic { me == 1 && mortals > 0 -> mortals--; dead[1] = true; unfinished = unfinished - got[1]; note(); goto over } :: true fi

inline note() { if :: unfinished == 0 -> was_done = true :: else fi }

inline find() { /* the first that is fresh, or in a dead hand */
    if
    :: lane = 0
    :: lane = 1
    fi;
    s = 0;
    do
    :: s < put[lane] && !(state[AT(lane, s)] == READY || (state[AT(lane, s)] == TAKEN + 1 && dead[1])) -> s++
    :: else -> break
    od
}

proctype Worker(byte me) {
    byte s, lane;
    do
    :: atomic {
            (unfinished > 0) || was_done;
            if :: unfinished == 0 -> break :: else fi;
            find();
            if
            :: s < put[lane] -> state[AT(lane, s)] = TAKEN + me
            :: else -> goto again
            fi
        };
        DIE;
#ifdef FREE_FIRST
        atomic { state[AT(lane, s)] = FREE; got[me]++ };
        DIE;
        hands[me]++;
#else
        hands[me]++;
        DIE;
        atomic { state[AT(lane, s)] = FREE; got[me]++ };
#endif
        DIE;
        if
        :: atomic { tasks < TASKS -> tasks++; if :: lane = 0 :: lane = 1 fi; state[AT(lane, put[lane])] = READY; put[lane]++; unfinished++ };
            DIE
        :: true
        fi;
        atomic { hands[me]--; got[me]--; unfinished--; note() };
        DIE;
again:
        atomic { s = 0; lane = 0 }
    od;
over:
    skip
}

inline look(l) { /* memlane_tasks_lanes_end: true where no record is there that is not free */
    atomic {
        end = end + put[l];
        i = 0;
        do
        :: i < put[l] -> if :: state[AT(l, i)] != FREE -> nothing = false :: else fi; i++
        :: else -> break
        od;
        i = 0
    }
}

#ifdef COUNT_DEAD
#define COUNTS(row) (hands[row] > 0)
#else
#define COUNTS(row) (hands[row] > 0 && !dead[row])
#endif

inline words() {
    atomic { if :: COUNTS(1) -> nothing = false :: else fi };
    atomic { if :: COUNTS(2) -> nothing = false :: else fi }
}

proctype Join() {
    byte first, end, i;
    bool nothing;
    atomic { was_done = false; note() };
    do
    :: true ->
        atomic { nothing = true; end = 0 };
#ifdef ROWS_FIRST
        words();
        look(0);
        look(1);
#else
        look(0);
        look(1);
        words();
#endif
        atomic { first = end; end = 0 };
#ifndef ONE_LOOK
        if
        :: nothing ->
            atomic { end = end + put[0] };
            atomic { end = end + put[1] };
            if :: end != first -> nothing = false :: else fi
        :: else
        fi;
#endif
        if
        :: nothing -> assert(was_done); break
        :: else ->
            atomic { first = 0; end = 0 };
#ifdef COUNT_DEAD
            (unfinished > 0 || !dead[1]) /* else nothing changes any more */
#else
            skip
#endif
        fi
    od
}

init { atomic { state[0] = READY; put[0] = 1; run Worker(1); run Worker(2); run Join() } }
