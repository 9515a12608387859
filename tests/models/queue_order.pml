/* SPDX-License-Identifier: MIT
 *
 * The order of all with competing consumers: src/core/queue_order.h, memlane_queue_number, _front, _next_alone, _smallest,
 * _next, _take; memlane_queue_commit; of a lane what lane_many.pml has in full: memlane_many_look, _claim, _help, _free,
 * _hand_back, and the search for dead hands.
 *
 * Each producer has a lane and puts one record after the other. Lane 0 is leased at the beginning; the producer of another
 * lane raises `leased` before its first put. While `leased` is 1 a producer reads the counter and takes no number. One
 * producer may die with a number in hand. One consumer is as in the C. The other one stands for all that compete with it: in
 * one step it claims any record that it may claim by what is checked here; so what is shown of the first one holds for all, by
 * induction over the claims. It may die with a record in hand, or hand it back. Behind the freeing of a record its number
 * is written over by a larger one: its room is another record's.
 *
 * Checked: when a fresh record is claimed, every record whose put had ended before its own began has been claimed, and none
 * of them lies handed back since before this get began; every committed record is finished, and by one consumer.
 *
 * sizes: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=1 MORTAL_CONSUMERS=0
 * sizes: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=1
 * sizes: LANES=2 FIRST=2 OTHER=1 BACK=1 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0
 * mistake ONE_LOOK: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     the first record that a look finds is claimed
 * mistake LEASED_ONCE: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     how many lanes there are is read once for both looks
 * mistake NO_RECHECK: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     the state is not read again behind the number
 * mistake TIE_LAST: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     of two equal numbers that of the last lane is taken for the older one
 * mistake COMMIT_FIRST: LANES=2 FIRST=2 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     the number is taken behind the commit
 * mistake PLAIN_NUMBER: LANES=2 FIRST=2 OTHER=2 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "may_claim"
 *     a producer reads the counter and stores one more, in two steps
 * mistake NO_PASS: LANES=2 FIRST=2 OTHER=1 BACK=1 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "is_back"
 *     what was handed back is looked for only where nothing fresh is there
 * mistake PASS_ONCE: LANES=2 FIRST=2 OTHER=1 BACK=1 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=0; finds "is_back"
 *     a record that was handed back is met while an older one is first, and not looked for again
 * mistake NO_REDELIVERY: LANES=2 FIRST=1 OTHER=1 BACK=0 MORTAL_PRODUCERS=0 MORTAL_CONSUMERS=1; finds "end state"
 *     nobody takes over what a dead consumer had in hand
 */
#define ALL (FIRST + (LANES - 1) * OTHER)
#define AT(lane, s) ((lane) == 0 -> (s) : FIRST + ((lane) - 1) * OTHER + (s)) /* lane 0 has FIRST records, the others OTHER */
#define RECORDS(lane) ((lane) == 0 -> FIRST : OTHER)
#define NONE 0
#define READY 1
#define FREE 2
#define BACK_STATE 3 /* taken by nobody: handed back */
#define TAKEN 4 /* plus the consumer: 5 or 6 */
#define LARGE 250
#define NOTHING 255
#define READY_AT(lane) (taken[lane] < RECORDS(lane) && state[AT(lane, taken[lane])] == READY)

byte order = 1, leased = 1;
byte state[ALL], number[ALL];
byte taken[LANES];
byte handed_back;
bool dead_consumer;
byte mortal_producers = MORTAL_PRODUCERS, mortal_consumers = MORTAL_CONSUMERS, backs = BACK;

/* ghosts */
bool claimed[ALL]; /* once, by anybody */
byte ended[LANES]; /* puts of each lane that are over */
byte known[ALL * LANES]; /* when a put began: how many of each lane were over */
bool is_told[ALL]; /* it was handed back, and that is over */
bool gone[LANES]; /* its producer has died, or is done */
byte finished;

inline ended_now(lane, s) {
    do
    :: i < LANES -> known[AT(lane, s) * LANES + i] = ended[i]; i++
    :: else -> break
    od;
    i = 0
}

proctype Producer(byte me) {
    byte s, mine, i;
    if
    :: me > 0 -> atomic { if :: leased < me + 1 -> leased = me + 1 :: else fi } /* memlane_ring_raise_leased */
    :: else
    fi;
    do
    :: s < RECORDS(me) ->
        atomic { ended_now(me, s); mine = order }; /* it begins; memlane_queue_number */
#ifdef COMMIT_FIRST
        state[AT(me, s)] = READY;
#endif
        if
        :: leased == 1
        :: leased > 1 ->
#ifdef PLAIN_NUMBER
            mine = order;
            order = mine + 1
#else
            atomic { mine = order; order++ } /* memlane_order_take */
#endif
        fi;
        if
        :: atomic { mortal_producers > 0 -> mortal_producers--; goto over }
        :: true
        fi;
        number[AT(me, s)] = mine;
#ifdef COMMIT_FIRST
        ended[me] = s + 1;
#else
        atomic { state[AT(me, s)] = READY; ended[me] = s + 1 }; /* memlane_producer_publish; it ends */
#endif
        s++
    :: else -> break
    od;
over:
    gone[me] = true
}

/* memlane_queue_front of one lane: s, was and value are of its front; s is NOTHING where there is none */
inline front(lane) {
    do
    :: true ->
        s = NOTHING;
        if
        :: pass || !fresh -> /* memlane_queue_held_front */
            s = 0;
            do
            :: s < taken[lane] ->
                atomic {
                    was = state[AT(lane, s)];
                    if
                    :: was == BACK_STATE -> has_met = true; break
#ifndef NO_REDELIVERY
                    :: was == TAKEN + 1 && dead_consumer && !fresh -> break
#endif
                    :: else -> s++
                    fi
                }
            :: else -> s = NOTHING; break
            od
        :: else
        fi;
        if
        :: s == NOTHING ->
            atomic { s = taken[lane]; if :: s == RECORDS(lane) -> s = NOTHING; break :: else fi };
            atomic {
                was = state[AT(lane, s)];
                if
                :: was == NONE && taken[lane] == s -> s = NOTHING; break
                :: was == NONE && taken[lane] != s -> s = NOTHING
                :: else
                fi
            };
            if
            :: s != NOTHING && was != READY ->
                atomic { if :: taken[lane] == s -> taken[lane] = s + 1 :: else fi }; /* memlane_many_help */
                s = NOTHING
            :: else
            fi
        :: else
        fi;
        if
        :: s != NOTHING ->
            value = number[AT(lane, s)];
#ifndef NO_RECHECK
            if
            :: state[AT(lane, s)] != was
            :: else -> break
            fi
#else
            break
#endif
        :: else
        fi
    od
}

/* something that a look would find, at once or after a slice */
#ifdef NO_REDELIVERY
#define IS_SOMETHING(i) (state[i] == READY || state[i] == BACK_STATE)
#else
#define IS_SOMETHING(i) (state[i] == READY || state[i] == BACK_STATE || (state[i] == TAKEN + 1 && dead_consumer))
#endif
#define SOMETHING (IS_SOMETHING(0) || IS_SOMETHING(1) || IS_SOMETHING(ALL - 1))
#define OVER                                                                                                           \
    (gone[0] && gone[1] && gone[LANES - 1] && finished == ended[0] + ended[1] + (LANES > 2 -> ended[LANES - 1] : 0))

/* may_claim: every record whose put had ended before that of record r of lane l began has been claimed */
inline look_at_known(l, r) {
    may_claim = true;
    i = 0;
    do
    :: i < LANES ->
        j = 0;
        do
        :: j < known[AT(l, r) * LANES + i] ->
            may_claim = may_claim && (i == l || claimed[AT(i, j)]);
            is_back = is_back || (i != l && was_back[AT(i, j)] && state[AT(i, j)] == BACK_STATE);
            j++
        :: else -> break
        od;
        i++
    :: else -> break
    od;
    i = 0;
    j = 0
}

proctype Others() {
    byte lane, s, i, j;
    bool may_claim, is_back, was_back[ALL];
    do
    :: atomic {
            OVER -> break
        }
    :: atomic { /* the front of some lane */
            !OVER && (READY_AT(0) || READY_AT(1) || READY_AT(LANES - 1)) ->
            if
            :: READY_AT(0) -> lane = 0
            :: READY_AT(1) -> lane = 1
            :: LANES > 2 && READY_AT(LANES - 1) -> lane = LANES - 1
            fi;
            s = taken[lane];
            look_at_known(lane, s);
            if
            :: !may_claim -> s = 0; lane = 0; goto again
            :: else
            fi;
            state[AT(lane, s)] = TAKEN + 1;
            claimed[AT(lane, s)] = true
        };
        atomic { if :: taken[lane] == s -> taken[lane] = s + 1 :: else fi };
        if
        :: atomic { mortal_consumers > 0 -> mortal_consumers--; dead_consumer = true; break }
        :: atomic { backs > 0 -> backs--; state[AT(lane, s)] = BACK_STATE };
            atomic { handed_back++; is_told[AT(lane, s)] = true }
        :: atomic { state[AT(lane, s)] = FREE; finished++ };
            number[AT(lane, s)] = LARGE
        fi;
        atomic { s = 0; lane = 0 };
again:
        skip
    od
}

proctype Consumer() {
    byte s, was, value, lane, seen, i, j;
    byte best, best_was, best_value, best_lane, lanes, passed, back_now;
    bool pass, fresh = true, has_met, was_back[ALL], may_claim, is_back;
    do
    :: atomic {
            (SOMETHING || OVER) ->
            if
            :: OVER -> goto done
            :: else
            fi;
            do
            :: i < ALL -> was_back[i] = is_told[i]; i++
            :: else -> break
            od;
            i = 0;
            back_now = handed_back;
#ifndef NO_PASS
            pass = back_now != passed;
#endif
            has_met = false;
            best = NOTHING
        };
        atomic {
            lanes = leased;
            if :: lanes > 1 -> if :: lane = 0 :: lane = 1 fi :: else -> lane = 0 fi /* from */
        };
        do /* the first look */
        :: seen < lanes ->
            front(lane);
            atomic {
                if
                :: s != NOTHING -> best = s; best_was = was; best_value = value; best_lane = lane; break
                :: else -> seen++; lane = (lane + 1) % lanes
                fi
            }
        :: else -> break
        od;
        atomic {
            if
            :: best == NOTHING -> if :: !has_met -> passed = back_now :: else fi; fresh = !fresh; goto again /* a pass with a proof of death, once a slice */
            :: else
            fi;
            lane = 0
        };
#ifndef ONE_LOOK
#ifndef LEASED_ONCE
        lanes = leased;
#endif
        do /* the second look */
        :: lane < lanes && lane != best_lane ->
            front(lane);
            atomic {
                if
#ifdef TIE_LAST
                :: s != NOTHING && (value < best_value || (value == best_value && lane > best_lane)) ->
#else
                :: s != NOTHING && (value < best_value || (value == best_value && lane < best_lane)) ->
#endif
                    best = s; best_was = was; best_value = value; best_lane = lane
                :: else
                fi;
                lane++
            }
        :: lane < lanes && lane == best_lane -> lane++
        :: else -> break
        od;
#endif
        atomic { /* memlane_many_claim */
#ifdef PASS_ONCE
            passed = back_now;
#else
            if :: !has_met -> passed = back_now :: else fi;
#endif
            if
            :: state[AT(best_lane, best)] == best_was ->
                state[AT(best_lane, best)] = TAKEN + 2;
                if
                :: best_was == READY ->
                    look_at_known(best_lane, best);
                    assert(may_claim);
                    assert(!is_back)
                :: else
                fi;
                claimed[AT(best_lane, best)] = true
            :: else -> fresh = true; goto again
            fi
        };
        if
        :: best_was == READY -> atomic { if :: taken[best_lane] == best -> taken[best_lane] = best + 1 :: else fi }
        :: else
        fi;
        atomic { assert(state[AT(best_lane, best)] == TAKEN + 2); state[AT(best_lane, best)] = FREE; finished++; fresh = true };
        number[AT(best_lane, best)] = LARGE;
again:
        atomic { /* so that what is over makes no difference */
            s = 0; was = 0; value = 0; lane = 0; seen = 0; best = 0; best_was = 0; best_value = 0; best_lane = 0; lanes = 0;
            back_now = 0; pass = false; has_met = false; is_back = false; may_claim = false;
            do
            :: i < ALL -> was_back[i] = false; i++
            :: else -> break
            od;
            i = 0
        }
    od;
done:
    skip
}

init {
    atomic {
        run Consumer(); run Others();
        run Producer(0); run Producer(1);
        if :: LANES > 2 -> run Producer(LANES - 1) :: else fi
    }
}
