/* SPDX-License-Identifier: MIT
 *
 * A heap: src/core/heap.h, memlane_heap_is_referred_to, _try_free, _enter, _knock, _drop, _open, _seal; heap_transit.h,
 * memlane_transit_judge_record, _is_over, _take, _stage; heap_room.h, memlane_heap_version, _covers, _begin, _lay, _commit.
 * Blocks are allocated, sent through a record of a lane with competing consumers, opened and dropped; processes may be
 * killed between any two steps.
 *
 * Process 1 sends ROUNDS blocks. 2 is, by SECOND, nobody (0), a consumer (1), or a process that allocates a block for itself and
 * collects where there is no room (2). 3 is a newcomer in the row of 1 once that one was killed: it adopts its lane and goes
 * on. 4 consumes, is never killed, and looks at everything in the end. KILL says which of them may be killed: 1, 2, 3 both.
 * With OLD=1 consumers open a handle again of which they kept a copy, as out of a pickle.
 * A proof of death is one step here (participants.pml has the rest), so is taking a record (lane_many.pml).
 *
 * Checked: no block is freed while a living process has it; whatever opens a handle reads what was written under it, or is told
 * that it is stale; a record in hand is never stale; two blocks never share bytes; a reference is dropped once; an
 * allocation finds the room of the dead; in the end everything is free, without deaths even before anybody collects.
 *
 * sizes: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=2 SECOND=0 OLD=1 KILL=1
 * sizes: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=2
 * sizes: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=1
 * sizes: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=1 KILL=0
 * mistake NO_KNOCK: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=1 OLD=1 KILL=0; finds "has"
 *     an open of a block that is being checked goes on without a knock: it is freed in use (hazard 84)
 * mistake SAME_EPOCH: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=2 SECOND=1 OLD=1 KILL=0; finds "has"
 *     a check puts back what it found: an older check that was stopped frees a block that was opened since (hazard 85)
 * mistake NO_GENERATION: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=2 SECOND=0 OLD=1 KILL=0; finds "life"
 *     a handle is not compared with the life of the block: other bytes (hazard 87)
 * mistake RECORD_FIRST: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=0 OLD=0 KILL=0; finds "opened"
 *     a consumer releases the record, then opens its block (hazard 90)
 * mistake STATE_FIRST: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=0; finds "has"
 *     a descriptor is HELD before its maker's word is there: a collector frees it (hazard 88)
 * mistake STAGE_LATE: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=1; finds "opened"
 *     the transit is staged after the commit: the sender dies in between (hazard 90)
 * mistake TRANSITS_FIRST: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=0; finds "opened"
 *     a check looks at transits, then at words: it misses a commit and a drop in between (hazard 90)
 * mistake NO_VERSION: BLOCKS=2 UNITS=2 RECORDS=1 ROUNDS=1 SECOND=2 OLD=0 KILL=0; finds "committed"
 *     an allocation is committed whatever the version: two blocks in the same bytes (hazard 89)
 * mistake NO_RETRY: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=1 SECOND=1 OLD=1 KILL=0; finds "kind"
 *     a check that lost its CAS gives up: the last two leave the block to each other (hazard 86)
 * mistake ROW_WORDS: BLOCKS=1 UNITS=1 RECORDS=1 ROUNDS=2 SECOND=0 OLD=0 KILL=1; finds "quiet"
 *     words name rows: what the dead held seems to be the newcomer's, and there is no room for ever (hazard 88)
 */
#define TRANSITS 1
#define HOLDERS 3
#define FREE 0
#define HELD 1
#define CHECKING 2
/* transits */
#define NONE 0
#define STAGED 1
#define RECORD 2
/* records; NONE too */
#define READY 1
#define TAKEN 2
#define GONE 3

#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }

/* the control of a block: a state word of four parts, the words of holders, one transit of three words, the extent */
byte kind[BLOCKS], generation[BLOCKS], epoch[BLOCKS];
bool sealed[BLOCKS];
byte holder[BLOCKS * HOLDERS];
byte t_kind[BLOCKS], t_tag[BLOCKS], t_stamp[BLOCKS], t_number[BLOCKS];
byte extent[BLOCKS];
byte version; /* of the one arena */
byte payload[UNITS];

/* the lane: state words, and what a record carries */
byte r_kind[RECORDS], r_number[RECORDS], r_tag[RECORDS], r_block[RECORDS], r_generation[RECORDS], r_life[RECORDS];
byte head;

/* ghosts */
bool killed[5], ended[5];
bool busy[5]; /* not a consumer that waits for a record */
byte has[5]; /* the block that a process uses, plus 1 */
byte lives;
bool committed[BLOCKS];
byte sent; /* records committed */
byte got[ROUNDS];

#ifdef ROW_WORDS
/* the mistake: references name rows, and 3 sits in the row of 1 */
#define NAME(tag) ((tag) == 3 -> 1 : (tag))
#define DEAD(name) ((name) == 1 -> (killed[1] && !newcomer) || (killed[1] && newcomer && ended[3]) : killed[name])
bool newcomer;
#else
#define NAME(tag) (tag)
#define DEAD(name) (killed[name])
#endif

proctype Kill(byte victim) { killed[victim] = true }

/* The transit of block b: `held` is set if it holds. One that is staged, or whose record is not committed yet, does not: who
 * is about to commit has a word, which was looked at before. */
inline judge(b) {
    STEP(j_kind = t_kind[b]);
    if
    :: j_kind == RECORD ->
        STEP(j_number = t_number[b]);
        STEP(
            if
            :: (r_kind[j_number % RECORDS] == READY || r_kind[j_number % RECORDS] == TAKEN) && r_number[j_number % RECORDS] == j_number ->
                held = true
            :: else
            fi
        )
    :: else
    fi;
    j_kind = 0; j_number = 0
}

/* Is anybody there? `held`; `proofs`: the dead do not count, and their words are taken away. */
inline look(b, proofs) {
    held = false; i = 0;
#ifdef TRANSITS_FIRST
    judge(b);
#endif
    do
    :: i < HOLDERS && !held ->
        STEP(x = holder[b * HOLDERS + i]);
        if
        :: x != 0 && proofs ->
            STEP(f_dead = DEAD(x));
            if
            :: f_dead -> STEP(if :: holder[b * HOLDERS + i] == x -> holder[b * HOLDERS + i] = 0 :: else fi)
            :: else -> held = true
            fi;
            f_dead = false
        :: x != 0 && !proofs -> held = true
        :: else
        fi;
        x = 0; i++
    :: else -> break
    od;
    i = 0;
#ifndef TRANSITS_FIRST
    if :: !held -> judge(b) :: else fi
#endif
}

/* Free block b if nobody holds it; `proofs`: take the references of the dead away. */
inline try_free(b, proofs) {
    /* the C looks before it checks, and is most often done then; leaving that out only makes more orders */
    do
    :: true ->
        STEP(f_kind = kind[b]; f_generation = generation[b]; f_epoch = epoch[b]; f_sealed = sealed[b]);
        if
        :: f_kind == FREE -> break
        :: f_kind == HELD ->
            STEP(
                if
                :: kind[b] == HELD && generation[b] == f_generation && epoch[b] == f_epoch && sealed[b] == f_sealed ->
                    kind[b] = CHECKING; f_kind = CHECKING
                :: else
                fi
            )
        :: else
        fi;
        if
        :: f_kind == CHECKING ->
            look(b, proofs);
            if
            :: held ->
                STEP(
                    if
                    :: kind[b] == CHECKING && generation[b] == f_generation && epoch[b] == f_epoch && sealed[b] == f_sealed ->
#ifdef SAME_EPOCH
                        kind[b] = HELD
#else
                        kind[b] = HELD; epoch[b] = f_epoch + 1
#endif
                    :: else
                    fi
                );
                break
            :: else ->
                STEP(
                    if
                    :: kind[b] == CHECKING && generation[b] == f_generation && epoch[b] == f_epoch && sealed[b] == f_sealed ->
                        assert(!(has[1] == b + 1 && !killed[1])); /* freed while a living process has it */
                        assert(!(has[2] == b + 1 && !killed[2]));
                        assert(!(has[3] == b + 1 && !killed[3]));
                        assert(has[4] != b + 1);
                        kind[b] = FREE; committed[b] = false; sealed[b] = false; epoch[b] = 0; f_kind = FREE
                    :: else
                    fi
                );
#ifdef NO_RETRY
                break
#else
                if :: f_kind == FREE -> break :: else fi /* somebody knocked, or restored it: look again */
#endif
            fi;
            held = false
        :: else
        fi
    od;
    held = false; f_kind = 0; f_generation = 0; f_epoch = 0; f_sealed = false
}

inline drop(b) {
    STEP(assert(holder[b * HOLDERS + w] == NAME(me)); holder[b * HOLDERS + w] = 0; has[me] = 0);
    w = 0;
    try_free(b, false)
}

/* One word of block b becomes ours; `w` says which. */
inline enter(b) {
    i = 0;
    do
    :: true ->
        STEP(
            if
            :: holder[b * HOLDERS + i] == 0 -> holder[b * HOLDERS + i] = NAME(me); w = i; i = 0; break
            :: holder[b * HOLDERS + i] != 0 && DEAD(holder[b * HOLDERS + i]) -> holder[b * HOLDERS + i] = NAME(me); w = i; i = 0; break
            :: else -> i = i + 1; assert(i < HOLDERS)
            fi
        )
    od
}

/* Open handle (b, g): `opened`, or it is stale. */
inline open(b, g) {
    enter(b);
    opened = false;
    do
    :: true ->
        STEP(f_kind = kind[b]; f_generation = generation[b]; f_epoch = epoch[b]; f_sealed = sealed[b];
#ifdef NO_GENERATION
             f_generation = g;
#endif
             if :: f_kind == HELD && f_generation == g && f_sealed -> has[me] = b + 1; opened = true
#ifdef NO_KNOCK
                :: f_kind == CHECKING && f_generation == g && f_sealed -> has[me] = b + 1; opened = true
#endif
                :: else fi);
        if
        :: opened || f_kind == FREE || f_generation != g || !f_sealed -> break
        :: else -> /* CHECKING: knock */
            STEP(
                if
                :: kind[b] == CHECKING && generation[b] == f_generation && epoch[b] == f_epoch && sealed[b] == f_sealed ->
                    kind[b] = HELD; epoch[b] = f_epoch + 1
                :: else
                fi
            )
        fi
    od;
    f_kind = 0; f_generation = 0; f_epoch = 0; f_sealed = false;
    if :: !opened -> drop(b) :: else fi
}

#define LIVING(x) ((x) != 0 && !killed[x])
#define HOLDING(b) (LIVING(holder[(b) * HOLDERS]) || LIVING(holder[(b) * HOLDERS + 1]) || LIVING(holder[(b) * HOLDERS + 2]) || \
    (t_kind[b] == RECORD && r_number[t_number[b] % RECORDS] == t_number[b] && \
        (r_kind[t_number[b] % RECORDS] == READY || r_kind[t_number[b] % RECORDS] == TAKEN)))
#define ROOM (kind[0] == FREE || kind[BLOCKS - 1] == FREE || !HOLDING(0) || !HOLDING(BLOCKS - 1))

#define RESTS(p) (me == (p) || ended[p] || killed[p] || !busy[p])
#define OTHERS_REST (RESTS(1) && RESTS(2) && RESTS(3) && RESTS(4) && r_kind[0] != READY && r_kind[0] != TAKEN && \
                     r_kind[RECORDS - 1] != READY && r_kind[RECORDS - 1] != TAKEN)

/* Take a descriptor and a unit of room: block `b`, unit extent[b]. */
inline allocate() {
    have = false; passes = 0;
    do
    :: have -> break
    :: else ->
        STEP(v = version);
        used = 0; b = BLOCKS; d = 0;
        do
        :: d < BLOCKS ->
            STEP(x = kind[d]);
            if
            :: x == FREE -> b = d
            :: else -> STEP(used = used | (1 << extent[d]))
            fi;
            x = 0; d++
        :: else -> d = 0; break
        od;
        u = 0;
        do
        :: u < UNITS && (used & (1 << u)) -> u++
        :: else -> break
        od;
        used = 0;
        if
        :: b == BLOCKS || u == UNITS ->
            /* no room: collect, and take the references of the dead away */
            STEP(quiet = OTHERS_REST);
            assert(!(quiet && passes == 2)); /* nothing is left that could hold anything, and it was collected */
            if :: quiet -> passes++ :: else fi;
            d = 0;
            do
            :: d < BLOCKS -> try_free(d, true); d++
            :: else -> d = 0; break
            od;
            /* asleep until something is free or might be freed */
            atomic { (ROOM || killed[me]) -> skip }
        :: else ->
#ifndef STATE_FIRST
            enter(b);
#endif
            STEP(x = generation[b];
                 if
                 :: kind[b] == FREE -> kind[b] = HELD; generation[b] = x + 1; epoch[b] = 0; sealed[b] = false;
                                       have = true; has[me] = b + 1
                 :: else
                 fi);
#ifdef STATE_FIRST
            if :: have -> enter(b) :: else fi;
#endif
            if
            :: have ->
                STEP(extent[b] = u);
                STEP(
                    if
#ifdef NO_VERSION
                    :: true ->
#else
                    :: version == v ->
#endif
                        version = v + 1; committed[b] = true;
                        d = 0;
                        do
                        :: d < BLOCKS -> assert(d == b || !committed[d] || extent[d] != u); d++ /* two blocks share bytes */
                        :: else -> d = 0; break
                        od
                    :: else -> have = false
                    fi
                );
                if :: !have -> drop(b) :: else fi
            :: else ->
#ifndef STATE_FIRST
                drop(b)
#else
                skip
#endif
            fi;
            x = 0
        fi;
        v = 0; quiet = false
    od;
    have = false; passes = 0
}
inline stage() {
    /* a transit that is over or of the dead is used again */
    do
    :: true ->
        STEP(s_kind = t_kind[b]; s_tag = t_tag[b]; s_stamp = t_stamp[b]);
        judge(b);
        assert(!held);
        STEP(
            if
            :: t_kind[b] == s_kind && t_tag[b] == s_tag && t_stamp[b] == s_stamp ->
                t_kind[b] = STAGED; t_tag[b] = me; t_stamp[b] = s_stamp + 1; break
            :: else
            fi
        )
    od;
    s_kind = 0; s_tag = 0; s_stamp = 0;
    STEP(t_number[b] = s);
    STEP(t_kind[b] = RECORD)
    /* no knock: its word is there, which a check sees, or sees gone behind the commit */
}

inline send_all() {
    do
    :: s == ROUNDS -> break
    :: else ->
        allocate();
        STEP(lives++; payload[u] = lives; life = lives);
        /* seal; a check may be under way */
        do
        :: true ->
            STEP(f_kind = kind[b]; f_epoch = epoch[b]);
            STEP(
                if
                :: kind[b] == f_kind && epoch[b] == f_epoch ->
                    assert(!(f_kind == FREE)); sealed[b] = true; break
                :: else
                fi
            )
        od;
        f_kind = 0; f_epoch = 0;
        /* room in the lane: the producer moves head */
        do
        :: s - head < RECORDS -> break
        :: else ->
            atomic { (killed[me] || (r_kind[head % RECORDS] == GONE && r_number[head % RECORDS] == head)) ->
                if :: killed[me] -> goto dead :: else -> head++ fi }
        od;
#ifndef STAGE_LATE
        stage();
#endif
        STEP(r_block[s % RECORDS] = b; r_generation[s % RECORDS] = generation[b]; r_life[s % RECORDS] = life);
        STEP(r_kind[s % RECORDS] = READY; r_number[s % RECORDS] = s; r_tag[s % RECORDS] = 0; sent = s + 1);
#ifdef STAGE_LATE
        stage();
#endif
        drop(b);
        s++; u = 0; b = 0; life = 0
    od
}

#define LOCALS byte b, d, i, w, u, v, x, used, s, life, passes, f_kind, f_generation, f_epoch, j_kind, j_number, s_kind, s_tag, s_stamp; \
    bool held, f_dead, f_sealed, have, quiet, opened
#define RESET b = 0; d = 0; i = 0; w = 0; u = 0; v = 0; x = 0; used = 0; s = 0; life = 0; passes = 0; f_kind = 0; f_generation = 0; \
    f_epoch = 0; j_kind = 0; j_number = 0; s_kind = 0; s_tag = 0; s_stamp = 0; held = false; \
    f_dead = false; f_sealed = false; have = false; quiet = false; opened = false

proctype Sender(byte me) {
    LOCALS;
    send_all();
dead:
    atomic { RESET; ended[me] = true }
}

/* in the row of 1, once that one is dead; it adopts the lane */
proctype Newcomer(byte me) {
    LOCALS;
    (killed[1] && ended[1]);
#ifdef ROW_WORDS
    newcomer = true;
#endif
    s = head;
    do
    :: s - head < RECORDS && r_kind[s % RECORDS] != NONE && r_number[s % RECORDS] == s -> s++
    :: else -> break
    od;
    send_all();
dead:
    atomic { RESET; ended[me] = true }
}

/* allocates for itself, collects, and may die over it */
proctype Maker(byte me) {
    LOCALS;
    allocate();
    STEP(lives++; payload[u] = lives; life = lives);
    STEP(assert(payload[u] == life));
    drop(b);
dead:
    atomic { RESET; ended[me] = true }
}

#define TAKEABLE(n) (r_kind[n] == READY || (r_kind[n] == TAKEN && killed[r_tag[n]]))
#define ALL_DONE (sent == ROUNDS && (r_kind[0] == GONE || r_kind[0] == NONE) && (r_kind[RECORDS - 1] == GONE || r_kind[RECORDS - 1] == NONE))

proctype Consumer(byte me) {
    LOCALS;
    byte g, n;
    do
    :: true ->
        atomic {
            (killed[me] || ALL_DONE || TAKEABLE(0) || TAKEABLE(RECORDS - 1)) ->
            if
            :: killed[me] -> goto dead
            :: !killed[me] && TAKEABLE(0) -> n = 0; r_kind[0] = TAKEN; r_tag[0] = me; busy[me] = true
            :: !killed[me] && TAKEABLE(RECORDS - 1) -> n = RECORDS - 1; r_kind[n] = TAKEN; r_tag[n] = me; busy[me] = true
            :: else -> break
            fi
        };
        STEP(b = r_block[n]; g = r_generation[n]; life = r_life[n]);
#ifdef RECORD_FIRST
        STEP(assert(r_tag[n] == me); r_kind[n] = GONE; got[r_number[n]]++);
#endif
        open(b, g);
        assert(opened); /* a record in hand keeps its block */
        STEP(assert(payload[extent[b]] == life));
#ifndef RECORD_FIRST
        STEP(assert(r_tag[n] == me); r_kind[n] = GONE; got[r_number[n]]++);
#endif
        STEP(assert(payload[extent[b]] == life)); /* still there */
        drop(b);
        if
        :: OLD -> /* a copy of the handle, which nobody keeps alive */
            open(b, g);
            if
            :: opened -> STEP(assert(payload[extent[b]] == life)); drop(b)
            :: else
            fi
        :: else
        fi;
        atomic { b = 0; g = 0; life = 0; n = 0; opened = false; busy[me] = false }
    od;
    if
    :: me == 4 -> /* the end: everybody else has ended */
        ended[4] = true;
        (ended[1] && ended[2] && ended[3]);
        if
        :: KILL == 0 -> d = 0; do :: d < BLOCKS -> assert(kind[d] == FREE); d++ :: else -> break od
        :: else
        fi;
        d = 0;
        do :: d < BLOCKS -> try_free(d, true); d++ :: else -> break od;
        d = 0;
        do :: d < BLOCKS -> assert(kind[d] == FREE); d++ :: else -> break od; /* leaked */
        d = 0;
        do :: d < ROUNDS -> assert(got[d] >= 1); d++ :: else -> break od
    :: else
    fi;
dead:
    atomic { RESET; g = 0; n = 0; ended[me] = true }
}

init {
    atomic {
        extent[0] = UNITS - 1; extent[BLOCKS - 1] = UNITS - 1; /* of some earlier life */
        busy[1] = true; run Sender(1); run Consumer(4);
        if
        :: SECOND == 1 -> run Consumer(2)
        :: SECOND == 2 -> busy[2] = true; run Maker(2)
        :: else -> ended[2] = true
        fi;
        if
        :: KILL & 1 -> busy[3] = true; run Newcomer(3); run Kill(1)
        :: else -> ended[3] = true
        fi;
        if :: KILL & 2 -> run Kill(2) :: else fi
    }
}
