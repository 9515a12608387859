/* SPDX-License-Identifier: MIT
 *
 * A slot: src/core/slot.h, memlane_slot_publish, memlane_slot_read, memlane_writer_take, and memlane_role_give.
 *
 * Writer 1 may die anywhere; writer 2 takes the role when it is free or its holder is dead (MANY: each publish takes
 * the role and gives it back). A reader copies word by word. Version v of writer w is two words of the value
 * 8 v + w, so that a mix of versions, or of two writers' tries at one version, is seen.
 *
 * Checked: what a read hands out is whole, is the version it says, and never older than what was read before; nobody
 * waits for ever. The fences are orders of steps here; that they order the words on a weak machine is for
 * tests/core/litmus.c.
 *
 * sizes: COPIES=2 VERSIONS=4 MANY=0
 * sizes: COPIES=4 VERSIONS=6 MANY=0
 * sizes: COPIES=2 VERSIONS=4 MANY=1
 * mistake NO_SECOND_LOOK: COPIES=2 VERSIONS=3 MANY=0; finds "first=="
 *     a reader believes its copy without looking at the sequence again
 * mistake VALID_TOO_LONG: COPIES=2 VERSIONS=3 MANY=0; finds "first=="
 *     a copy counts as whole while the writer is in it
 * mistake ODD_LATE: COPIES=2 VERSIONS=3 MANY=0; finds "first=="
 *     the first word of a version is seen before its odd number, as without the writer's release fence
 * mistake LOOK_EARLY: COPIES=2 VERSIONS=3 MANY=0; finds "first=="
 *     the second look comes before the last word, as without the reader's acquire fence
 * mistake HEIR_ROUNDS_UP: COPIES=2 VERSIONS=3 MANY=0; finds "first=="
 *     a successor takes the version that the dead one was in for finished
 * mistake PLAIN_TAKE: COPIES=2 VERSIONS=3 MANY=1; finds "writer"
 *     two writers look, then both store themselves as the writer
 */
#define COPY(v) ((v) % COPIES)
#define VALUE(v, w) (8 * (v) + (w))
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }

byte sequence, writer;
byte word0[COPIES], word1[COPIES];
bool killed[3];
byte author[VERSIONS + 2]; /* ghost: who published which version */

proctype Kill() { killed[1] = true }

/* memlane_writer_take */
inline take() {
    do
    :: atomic { (writer == 0 || (writer != me && killed[writer]) || killed[me]) -> found = writer };
#ifdef PLAIN_TAKE
        STEP(writer = me);
        break
#else
        STEP(if :: writer == found -> writer = me; taken = true :: else fi);
        if
        :: taken -> taken = false; break
        :: else
        fi
#endif
    od;
    found = 0
}

proctype Writer(byte me) {
    byte version, found;
    bool taken;
    if
    :: !MANY -> take()
    :: else
    fi;
    do
    :: true ->
        if
        :: MANY -> take()
        :: else
        fi;
        /* memlane_slot_publish */
#ifdef HEIR_ROUNDS_UP
        STEP(version = (sequence + 1) / 2);
#else
        STEP(version = sequence / 2);
#endif
        if
        :: version >= VERSIONS -> break
        :: else
        fi;
#ifdef ODD_LATE
        STEP(word0[COPY(version + 1)] = VALUE(version + 1, me));
        STEP(sequence = 2 * version + 1);
#else
        STEP(sequence = 2 * version + 1);
        STEP(word0[COPY(version + 1)] = VALUE(version + 1, me));
#endif
        STEP(word1[COPY(version + 1)] = VALUE(version + 1, me));
        STEP(assert(writer == me); sequence = 2 * version + 2; author[version + 1] = me);
        version = 0;
        if
        :: MANY -> STEP(writer = 0) /* memlane_role_give */
        :: !MANY -> break /* this one leaves early */
        :: !MANY
        fi
    od;
    STEP(writer = 0);
dead:
    atomic { version = 0; found = 0; taken = false }
}

proctype Reader() {
    byte version, first, second, after, seen, reads;
    do
    :: reads < 3 ->
        version = sequence / 2; /* memlane_slot_version */
        if
        :: version == 0 -> goto again /* Empty */
        :: else
        fi;
        first = word0[COPY(version)];
#ifdef LOOK_EARLY
        after = sequence;
        second = word1[COPY(version)];
#else
        second = word1[COPY(version)];
        after = sequence;
#endif
        if
#ifdef NO_SECOND_LOOK
        :: true ->
#else
#ifdef VALID_TOO_LONG
        :: after - 2 * version <= 2 * COPIES ->
#else
        :: after - 2 * version <= 2 * (COPIES - 1) ->
#endif
#endif
            /* word for word what its author published */
            assert(first == VALUE(version, author[version]) && second == first);
            assert(version >= seen);
            seen = version
        :: else /* MEMLANE_BUSY: another try */
        fi;
again:
        reads++;
        version = 0; first = 0; second = 0; after = 0
    :: reads == 3 -> break
    od
}

init {
    atomic {
        run Writer(1); run Writer(2); run Reader();
        if :: run Kill() :: true fi
    }
}
