/* SPDX-License-Identifier: MIT
 *
 * The order of all over several lanes: src/core/lane_order.h, memlane_order_take, _next; memlane_publisher_commit.
 *
 * Each publisher has a lane, and publishes one record after the other: it takes a number, and commits. One may die between
 * the two, with a number that nobody gets. The reader looks at the lanes until one has a record, looks at all of them again,
 * and takes the smallest; what it knows to be at the front of a lane it does not look at again.
 *
 * Checked: a record whose publish had ended before that of another one began is not behind it; all are read.
 *
 * sizes: LANES=3 RECORDS=1 MORTALS=0
 * sizes: LANES=2 RECORDS=2 MORTALS=1
 * mistake ONE_LOOK: LANES=2 RECORDS=1 MORTALS=0; finds "assertion"
 *     the reader takes the smallest of one look
 * mistake NUMBER_FIRST: LANES=2 RECORDS=2 MORTALS=0; finds "assertion"
 *     a publisher takes the numbers of all its records at once, and publishes one after the other
 * mistake TWO_STEPS: LANES=2 RECORDS=2 MORTALS=0; finds "assertion"
 *     a number is taken by a load and a store: two records have the same
 * mistake KEEP_FRONT: LANES=2 RECORDS=2 MORTALS=0; finds "assertion"
 *     the reader does not forget the front of the lane from which it took a record
 */
#define NONE 255
#define AT(lane, s) ((lane) * RECORDS + (s))

byte counter;
byte ready[LANES]; /* records of each lane before it are committed */
byte number[LANES * RECORDS];
byte mortals = MORTALS;
bool dead[LANES];

/* ghosts: when a record was begun, how many of each lane had ended */
byte ended[LANES], known[LANES * RECORDS * LANES], taken[LANES];

inline note(lane, s) {
    do
    :: i < LANES -> known[AT(lane, s) * LANES + i] = ended[i]; i++
    :: else -> break
    od;
    i = 0
}

proctype Publisher(byte me) {
    byte s, mine, i;
#ifdef NUMBER_FIRST
    atomic { mine = counter; counter = counter + RECORDS };
#endif
    do
    :: s < RECORDS ->
        atomic { note(me, s) }; /* it begins */
#ifdef NUMBER_FIRST
        skip;
#else
#ifdef TWO_STEPS
        mine = counter;
        counter = mine + 1;
#else
        atomic { mine = counter; counter++ }; /* memlane_order_take */
#endif
#endif
        if
        :: atomic { mortals > 0 -> mortals--; dead[me] = true; goto over }
        :: true
        fi;
        number[AT(me, s)] = mine;
        ready[me] = s + 1; /* memlane_producer_publish */
        ended[me] = s + 1; /* it ends */
#ifdef NUMBER_FIRST
        mine++;
#endif
        s++
    :: else -> break
    od;
over:
    skip
}

/* memlane_order_look_at: of a lane whose front is not known */
inline look(lane) {
    if
    :: front[lane] == NONE && taken[lane] < RECORDS && ready[lane] > taken[lane] ->
        front[lane] = number[AT(lane, taken[lane])]
    :: else
    fi
}

proctype Reader() {
    byte front[LANES], lane, best, i;
    do
    :: lane < LANES -> front[lane] = NONE; lane++
    :: else -> break
    od;
    lane = 0;
    do
    :: true -> /* at any moment: what a sleeper sees when it is woken is a look by itself */
        if
        :: atomic {
                (ready[0] == RECORDS || dead[0]) && (ready[1] == RECORDS || dead[1]) &&
                (ready[LANES - 1] == RECORDS || dead[LANES - 1]) && ready[0] == taken[0] && ready[1] == taken[1] &&
                ready[LANES - 1] == taken[LANES - 1] -> break
            }
        :: else
        fi;
        do /* the first look, up to a lane that has something */
        :: lane < LANES ->
            look(lane);
#ifndef ONE_LOOK
            if :: front[lane] != NONE -> break :: else fi;
#endif
            lane++
        :: else -> break
        od;
#ifndef ONE_LOOK
        if :: lane == LANES -> lane = 0; goto again :: else fi;
        lane = 0;
        do /* the second look */
        :: lane < LANES -> look(lane); lane++
        :: else -> break
        od;
#endif
        atomic {
            lane = 0;
            best = LANES;
            do
            :: lane < LANES ->
                if
                :: front[lane] == NONE
                :: front[lane] != NONE && best == LANES -> best = lane
                :: front[lane] != NONE && best != LANES ->
                    if :: front[lane] < front[best] -> best = lane :: else fi
                fi;
                lane++
            :: else -> break
            od;
            lane = 0;
            if
            :: best == LANES -> goto again
            :: else
            fi;
            do /* all that had ended when this one began have been taken */
            :: i < LANES -> assert(taken[i] >= known[AT(best, taken[best]) * LANES + i] || i == best); i++
            :: else -> break
            od;
            i = 0;
            taken[best]++;
#ifndef KEEP_FRONT
            front[best] = NONE;
#endif
            best = 0
        };
again:
        skip
    od
}

init {
    atomic {
        run Reader();
        run Publisher(0); run Publisher(1);
        if :: LANES > 2 -> run Publisher(LANES - 1) :: else fi
    }
}
