/* SPDX-License-Identifier: MIT
 *
 * Participants: src/core/table.h, memlane_row_join, _leave, _bury, _is, and their callers in
 * src/memlane/binding/membership.pxi: _take_row, _probe_row, verdict, leave; traps 7 to 10.
 *
 * Three processes want to join the rows of a table, of which 1 and 2 may die anywhere; each then takes the one role of the
 * region, at once if it is free, else from a tag that it proves dead, gives it back and leaves. The kernel's locks on the
 * bytes of rows vanish with a process some time after its last step. A process that was taken for dead wrongly
 * (ROBBED: its descriptors were closed, so its lock went) goes on and must spoil nothing.
 *
 * Checked: a row has one owner; a role is held by one who lives; nobody robs a live one; in the end whoever lives has
 * had its turn, so nobody waits for the dead.
 *
 * sizes: ROWS=1 ROBBED=0
 * sizes: ROWS=2 ROBBED=0
 * sizes: ROWS=1 ROBBED=1
 * mistake PLAIN_LEAVE: ROWS=1 ROBBED=1; finds "generation"
 *     leaving stores the generation: it frees the row of a newcomer (trap 9)
 * mistake PLAIN_BURY: ROWS=1 ROBBED=0; finds "robbed"
 *     burying stores the generation: it frees the row of a newcomer (trap 8)
 * mistake UNLOCK_FIRST: ROWS=1 ROBBED=0; finds "robbed"
 *     leaving lets the lock go while the generation still says that one is there
 * mistake LOCK_LATE: ROWS=1 ROBBED=0; finds "robbed"
 *     joining moves the generation before it has the lock: a live one is proven dead
 * mistake PLAIN_GIVE: ROWS=2 ROBBED=1; finds "role"
 *     a role is given back by a store: one taken for dead frees the role of its heir
 * mistake NO_BURY: ROWS=1 ROBBED=0; finds "end state"
 *     a dead owner's row stays odd: nobody can ever join it
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define TAG(row, generation) ((row) * 64 + (generation) + 1) /* never 0 */
#define ROW_OF(tag) (((tag) - 1) / 64)
#define GENERATION_OF(tag) (((tag) - 1) % 64)

byte generation[ROWS], lock[ROWS], role;
bool killed[4];

/* ghosts: who has the row since its last join, who lives with it, who was taken for dead by force */
byte holder[ROWS];
bool robbed[4];

proctype Kill(byte victim) { killed[victim] = true }

/* Somebody closed the descriptors of a live process: the kernel lets its locks go. */
proctype Rob() {
end:
    atomic {
        (lock[0] == 1 && holder[0] == 1) -> lock[0] = 0; robbed[1] = true
    }
}

/* Membership.verdict on `tag`: dead, and then its row is buried */
inline verdict(tag, whose) {
    dead_found = false;
    STEP(seen = generation[ROW_OF(tag)]); /* memlane_row_is */
    if
    :: seen % 2 == 0 || seen != GENERATION_OF(tag) -> dead_found = true
    :: else -> probe(ROW_OF(tag))
    fi
}

/* Membership._probe_row: `seen` is the odd generation that the row showed */
inline probe(row_probed) {
    STEP(unlocked = (lock[row_probed] == 0)); /* memlane_lockbyte_probe */
    if
    :: unlocked ->
        dead_found = true;
        /* memlane_row_bury */
#ifdef PLAIN_BURY
        STEP(generation[row_probed] = seen + 1);
#else
#ifndef NO_BURY
        STEP(
            if
            :: generation[row_probed] == seen ->
                assert(killed[holder[row_probed]] || robbed[holder[row_probed]]);
                generation[row_probed] = seen + 1
            :: else
            fi
        );
#endif
#endif
        unlocked = false
    :: else
    fi
}

proctype Process(byte me) {
    byte row, mine, tag, found, seen;
    bool joined, dead_found, unlocked;
    /* Membership.join: even rows, those of the dead are made even first */
    do
    :: joined -> break
    :: else ->
        if
        :: row = 0
        :: ROWS > 1 -> row = ROWS - 1
        fi;
        STEP(seen = generation[row]);
        if
        :: seen % 2 -> probe(row)
        :: else
        fi;
        dead_found = false;
        STEP(seen = generation[row]);
        if
        :: seen % 2 == 1 ->
            /* in use; look again when something has changed */
#ifdef NO_BURY
            atomic { (generation[row] != seen || killed[me]) -> skip }
#else
            atomic { (generation[row] != seen || lock[row] == 0 || killed[me]) -> skip }
#endif
        :: else ->
#ifndef LOCK_LATE
            STEP(if :: lock[row] == 0 -> lock[row] = me; joined = true :: else fi);
#else
            joined = true;
#endif
            if
            :: joined ->
                /* memlane_row_join */
                STEP(mine = generation[row]);
                STEP(
                    if
                    :: mine % 2 == 0 && generation[row] == mine ->
                        mine = mine + 1; generation[row] = mine; holder[row] = me
                    :: else -> joined = false
                    fi
                );
                if
                :: joined ->
#ifdef LOCK_LATE
                    atomic { (lock[row] == 0 || killed[me]) -> if :: killed[me] -> goto dead :: else fi; lock[row] = me }
#endif
                :: else -> STEP(lock[row] = 0)
                fi
            :: else -> atomic { (lock[row] == 0 || generation[row] != seen || killed[me]) -> skip }
            fi
        fi;
        seen = 0
    od;
    tag = TAG(row, mine);
    /* the role: memlane_role_take */
    do
    :: true ->
        STEP(found = role);
        if
        :: found == 0 -> dead_found = true
        :: found == tag -> break
        :: else -> verdict(found, 0)
        fi;
        if
        :: dead_found -> STEP(if :: role == found -> role = tag :: else fi)
        :: else -> /* alive: wait for it to give the role back, or to die */
            atomic { (role != found || lock[ROW_OF(found)] == 0 || generation[ROW_OF(found)] != GENERATION_OF(found) || killed[me]) -> skip }
        fi;
        dead_found = false
    od;
    found = 0;
    seen = 0;
    /* it has the role, unless it was taken for dead */
    STEP(assert(role == tag || robbed[me]));
    /* memlane_role_give */
#ifdef PLAIN_GIVE
    STEP(assert(role == tag || role == 0); role = 0);
#else
    STEP(if :: role == tag -> role = 0 :: else -> assert(robbed[me]) fi);
#endif
    /* Membership.leave */
#ifdef UNLOCK_FIRST
    STEP(lock[row] = 0);
#endif
#ifdef PLAIN_LEAVE
    STEP(assert(generation[row] == mine); generation[row] = mine + 1);
#else
    STEP(if :: generation[row] == mine -> generation[row] = mine + 1 :: else -> assert(robbed[me]) fi);
#endif
dead:
    /* the end of a process; for the dead, whenever the kernel comes to it */
    atomic {
        if :: lock[0] == me -> lock[0] = 0 :: else fi;
        if :: lock[ROWS - 1] == me -> lock[ROWS - 1] = 0 :: else fi;
        row = 0; mine = 0; tag = 0; found = 0; seen = 0; joined = false; dead_found = false; unlocked = false
    }
}

init {
    atomic {
        run Process(1); run Process(2); run Process(3);
        if :: run Kill(1) :: true fi;
        if :: run Kill(2) :: true fi;
        if :: ROBBED -> run Rob() :: true fi
    }
}
