/* SPDX-License-Identifier: MIT
 *
 * A lane with one consumer: src/core/lane_producer.h and lane_consumer.h, memlane_producer_* and memlane_consumer_* (copying, no loans: those are
 * in loans.pml), memlane_lane_lease, memlane_role_take, and their callers in src/runtime (lease.c, ring.c) and src/memlane/_core.
 *
 * Producer 1 may die anywhere; producers 2 and 3 both want its lane, and 2 may die too. Consumer 4 may die anywhere;
 * consumer 5 succeeds it. Records go in alone or in batches. Each STEP touches shared memory once, in the order of
 * the C statements named beside it; a process is killed between any two.
 *
 * Checked: what is handed out is what was committed, in order, none twice, none left; a batch is there whole or not
 * at all; nobody waits for ever; after the end was told nothing is committed; a sound lane never looks corrupt.
 *
 * sizes: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=3 CONSUMERS=1 SHUTDOWN=0
 * sizes: RECORDS=3 DESCRIPTORS=4 BATCH=3 PRODUCERS=3 CONSUMERS=1 SHUTDOWN=0
 * sizes: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=2 SHUTDOWN=0
 * sizes: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=2 SHUTDOWN=1
 * mistake NO_VOIDING: RECORDS=3 DESCRIPTORS=4 BATCH=3 PRODUCERS=3 CONSUMERS=1 SHUTDOWN=0; finds "committed"
 *     an adopter leaves the staged records of a batch: a phantom comes out behind its own first record
 * mistake VOID_FORWARD: RECORDS=3 DESCRIPTORS=4 BATCH=3 PRODUCERS=3 CONSUMERS=1 SHUTDOWN=0; finds "committed"
 *     voiding begins with the first: who dies in it leaves a gap that hides the rest from the next adopter
 * mistake TAIL_ONLY: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0; finds "committed"
 *     an adopter believes `tail`: it writes over a record that was committed
 * mistake TAIL_BEHIND: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0; finds "seen"
 *     an adopter does not move a `tail` that `head` has passed: a sound lane looks corrupt
 * mistake FIRST_FIRST: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0; finds "committed"
 *     a batch is marked from its first record on: the producer dies in the midst of it
 * mistake PLAIN_COMMIT: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=1 CONSUMERS=1 SHUTDOWN=1; finds "ended"
 *     a commit stores over the CLOSED of a consumer that has told the end
 * mistake PLAIN_CLOSE: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=1 CONSUMERS=1 SHUTDOWN=1; finds "delivered"
 *     a consumer stores CLOSED over a record that was committed since it looked
 * mistake PLAIN_LEASE: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=3 CONSUMERS=1 SHUTDOWN=0; finds "owner"
 *     two adopters look, then both store themselves as the owner
 * mistake HEAD_EARLY: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0; finds "committed"
 *     a consumer moves `head` before it copies
 * mistake TAIL_EARLY: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0; finds "state"
 *     the hint is stored before the commit: a sound lane looks corrupt
 */
/* a state word: number and kind, enum memlane_state; 0 is (0, NONE) as in fresh memory */
#define WORD(s, kind) ((s) * 8 + (kind))
#define NONE 0
#define READY 1
#define CLOSED 4
#define AT(s) state[(s) % DESCRIPTORS]

/* enum memlane_status, of a claim */
#define OK 0
#define FULL 1
#define SHUT 2

#define DEPARTED 0 /* of the owner word; else a tag */
#define NOBODY 0 /* of the role word */
#define TORN 255
#define ITEM(author, s) ((author) * 16 + (s))

byte state[DESCRIPTORS], payload[DESCRIPTORS], head, tail;
byte owner = 1, role = NOBODY;
bool shutdown;
bool killed[6]; /* the kernel's proof: by tag, 1 to 5 */

/* ghosts: what was committed by whom, what was handed out, whether somebody was told the end */
byte committed, author[RECORDS + 1], delivered;
bool ended;

/* One access to shared memory, of a process that lives until then. */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define AWAIT(condition) atomic { ((condition) || killed[me]) -> if :: killed[me] -> goto dead :: else fi }

proctype Kill(byte victim) { killed[victim] = true }

proctype Shut() { shutdown = true /* memlane_ring_shut */ }

/* memlane_producer_claim for record `trial` */
inline claim() {
    STEP(status = (shutdown -> SHUT : (trial - seen < DESCRIPTORS -> OK : FULL)));
    if
    :: status == FULL ->
        STEP(seen = head); /* memlane_producer_refresh */
        STEP(status = (shutdown -> SHUT : (trial - seen < DESCRIPTORS -> OK : FULL)))
    :: else
    fi
}

/* the ghost of a commit of records first to first + staged */
inline note_commit() {
    assert(!ended);
    assert(first == committed);
    author[first] = me;
    if :: staged > 1 -> author[first + 1] = me :: else fi;
    if :: staged > 2 -> author[first + 2] = me :: else fi;
    committed = first + staged
}

/* memlane_lane_void, of records first + 1 to last - 1; a lane model has at most three */
inline void_staged(last) {
#ifdef VOID_FORWARD
    if :: last > first + 1 -> STEP(AT(first + 1) = WORD(first + 1, NONE)) :: else fi;
    if :: last > first + 2 -> STEP(AT(first + 2) = WORD(first + 2, NONE)) :: else fi
#else
    if :: last > first + 2 -> STEP(AT(first + 2) = WORD(first + 2, NONE)) :: else fi;
    if :: last > first + 1 -> STEP(AT(first + 1) = WORD(first + 1, NONE)) :: else fi
#endif
}

/* memlane_producer_put_many of `count` records; one record is memlane_producer_put */
inline put_many() {
    first = next; trial = next; staged = 0;
    do
    :: staged < count ->
        claim();
        if
        :: status != OK -> break
        :: else
        fi;
        STEP(payload[trial % DESCRIPTORS] = TORN); /* memcpy */
        STEP(payload[trial % DESCRIPTORS] = ITEM(me, trial));
        if
#ifdef FIRST_FIRST
        :: false
#else
        :: staged > 0 -> STEP(AT(trial) = WORD(trial, READY))
#endif
        :: else
        fi;
        staged++; trial++
    :: else -> break
    od;
    if
    :: staged == 0
    :: else ->
#ifdef TAIL_EARLY
        STEP(tail = trial);
#endif
        STEP(found = AT(first)); /* memlane_producer_publish */
        do
        :: found == WORD(first, CLOSED) -> status = SHUT; break
        :: else ->
            STEP(
                if
#ifdef PLAIN_COMMIT
                :: true ->
#else
                :: AT(first) == found ->
#endif
                    AT(first) = WORD(first, READY);
                    note_commit();
                    status = OK
                :: else -> found = AT(first); status = FULL
                fi
            );
            if
            :: status == OK -> break
            :: else
            fi
        od;
        found = 0;
        if
        :: status == OK ->
#ifdef FIRST_FIRST
            if :: staged > 1 -> STEP(AT(first + 1) = WORD(first + 1, READY)) :: else fi;
            if :: staged > 2 -> STEP(AT(first + 2) = WORD(first + 2, READY)) :: else fi;
#endif
            next = trial;
            STEP(tail = next) /* memlane_producer_hint */
        :: else -> void_staged(trial)
        fi
    fi;
    first = 0; trial = 0; staged = 0; count = 0
}

/* memlane_producer_adopt */
inline adopt() {
    STEP(seen = head);
    STEP(next = tail);
#ifndef TAIL_BEHIND
    if
    :: next < seen -> next = seen
    :: else
    fi;
#endif
    assert(seen <= next && next - seen <= DESCRIPTORS); /* else MEMLANE_CORRUPTED */
#ifndef TAIL_ONLY
    do
    :: next - seen < DESCRIPTORS ->
        STEP(found = AT(next));
        if
        :: found != WORD(next, READY) -> break
        :: else -> next++
        fi
    :: else -> break
    od;
#endif
#ifndef NO_VOIDING
    trial = next + 1;
    do
    :: trial - next < DESCRIPTORS ->
        STEP(found = AT(trial));
        if
        :: found != WORD(trial, READY) -> break
        :: else -> trial++
        fi
    :: else -> break
    od;
    first = next;
    void_staged(trial);
#endif
    found = 0; first = 0; trial = 0;
    STEP(tail = next)
}

proctype Producer(byte me) {
    byte next, seen, first, trial, staged, count, found, status;
    if
    :: me == 1 /* it has had the lane from the beginning */
    :: else ->
        do
        :: owner == me -> break
        :: else ->
            atomic { (owner == DEPARTED || killed[owner] || killed[me]) -> found = owner };
            /* memlane_lane_lease */
#ifdef PLAIN_LEASE
            STEP(owner = me)
#else
            STEP(if :: owner == found -> owner = me :: else fi)
#endif
        od;
        found = 0;
        adopt()
    fi;
    do
    :: next >= RECORDS -> break
    :: else ->
        if
        :: count = 1
        :: next + BATCH <= RECORDS -> count = BATCH
        fi;
        put_many();
        if
        :: status == FULL -> AWAIT(head != seen || shutdown) /* memlane_producer_any, asleep in between */
        :: status == SHUT -> break
        :: else
        fi
    od;
    STEP(assert(owner == me); owner = DEPARTED); /* memlane_lane_depart */
dead:
    atomic { next = 0; seen = 0; first = 0; trial = 0; staged = 0; count = 0; found = 0; status = 0 }
}

#define FRESH(s) (AT(s) == WORD(s, READY) || AT(s) == WORD(s, CLOSED))

/* the copy of record s */
inline copy_out(s) {
    STEP(assert(s < committed && payload[(s) % DESCRIPTORS] == ITEM(author[s], s)))
}

proctype Consumer(byte me) {
    byte next, found, count;
    do
    :: role == me -> break
    :: else ->
        atomic { (role == NOBODY || killed[role] || killed[me]) -> found = role };
        STEP(if :: role == found -> role = me :: else fi) /* memlane_role_take */
    od;
    STEP(next = head); /* memlane_consumer_start */
    do
    :: !SHUTDOWN && next == RECORDS -> break
    :: else ->
        STEP(found = AT(next)); /* memlane_consumer_look_on */
        if
        :: found == WORD(next, READY) ->
            count = 1;
            if
            :: true -> STEP(if :: AT(next + 1) == WORD(next + 1, READY) -> count = 2 :: else fi)
            :: true
            fi;
#ifdef HEAD_EARLY
            STEP(head = next + count);
#endif
            copy_out(next);
            if :: count == 2 -> copy_out(next + 1) :: else fi;
            STEP(assert(role == me)); /* memlane_role_held */
            /* memlane_consumer_finish: handed out once, in order */
            STEP(head = next + count; assert(delivered == next); delivered = head);
            next = next + count;
            count = 0
        :: found == WORD(next, CLOSED) -> break
        :: else ->
            STEP(found = tail); /* memlane_consumer_overlooked */
            if :: found > next -> STEP(assert(FRESH(next))) :: else fi;
            STEP(found = shutdown);
            if
            :: found -> /* memlane_consumer_close */
                STEP(found = AT(next));
                if
                :: found == WORD(next, READY) || found == WORD(next, CLOSED)
#ifdef PLAIN_CLOSE
                :: else -> STEP(AT(next) = WORD(next, CLOSED))
#else
                :: else -> STEP(if :: AT(next) == found -> AT(next) = WORD(next, CLOSED) :: else fi)
#endif
                fi
            :: else -> AWAIT(FRESH(next) || shutdown) /* asleep until memlane_consumer_any */
            fi
        fi;
        found = 0
    od;
    STEP(assert(delivered == committed); ended = true); /* the user is told the end */
    STEP(role = NOBODY); /* memlane_role_give */
dead:
    atomic { next = 0; found = 0; count = 0 }
}

init {
    atomic {
        run Producer(1);
        if :: PRODUCERS > 1 -> run Producer(2) :: else fi;
        if :: PRODUCERS > 2 -> run Producer(3) :: else fi;
        run Consumer(4);
        if :: CONSUMERS > 1 -> run Consumer(5) :: else fi;
        /* each may be killed or not: the runs in which nobody is show who would wait for ever */
        if :: PRODUCERS > 1 -> run Kill(1) :: true fi;
        if :: PRODUCERS > 2 -> run Kill(2) :: true fi;
        if :: CONSUMERS > 1 -> run Kill(4) :: true fi;
        if :: SHUTDOWN -> run Shut() :: else fi
    }
}
