/* SPDX-License-Identifier: MIT
 *
 * A map: src/core/map.h, memlane_map_find, _read, _at, _is_unchanged, _is_settled; src/core/map_writer.h, memlane_map_change
 * with _take, _settle, _leads_to, _clean, _retire, _fill, _insert, _publish, _remove, _set_free.
 *
 * Two writers put and remove keys; the first one may die anywhere. A reader looks a key up, or goes to an entry, as an
 * iteration does. Keys 1 and 2 share a chain, key 3 has another one. A value is one word and K is 2: that values of many
 * words are whole is for slot.pml. Each value is put once, so what a reader has found tells when it was there.
 *
 * Checked: no key is in the map twice; no update goes into an entry that is in no chain; what a reader answers was so at
 * one moment of its call; versions of a key only grow; nobody waits for ever.
 *
 * sizes: ENTRIES=2 KEYS=1 OPS=1 READER=1 WRITERS=2 MORTALS=1
 * sizes: ENTRIES=2 KEYS=3 OPS=3 READER=1 WRITERS=1 MORTALS=0
 * sizes: ENTRIES=2 KEYS=1 OPS=2 READER=0 WRITERS=2 MORTALS=1
 * mistake PLAIN_HEAD: ENTRIES=2 KEYS=1 OPS=1 READER=0 WRITERS=2 MORTALS=0; finds "live"
 *     an insert swaps the head whatever came there since its look
 * mistake NO_SETTLE: ENTRIES=2 KEYS=1 OPS=2 READER=0 WRITERS=2 MORTALS=1; finds "live"
 *     an heir takes the entry of a dead writer for one that is in a chain
 * mistake NO_RELOOK: ENTRIES=2 KEYS=2 OPS=2 READER=0 WRITERS=2 MORTALS=0; finds "live"
 *     a writer does not look again whose entry it is, once it holds it
 * mistake NO_FLOOR: ENTRIES=2 KEYS=1 OPS=3 READER=0 WRITERS=2 MORTALS=0; finds "last"
 *     a key begins anew in another entry with the versions of that entry
 * mistake NO_COUNT: ENTRIES=2 KEYS=3 OPS=2 READER=1 WRITERS=2 MORTALS=0; finds "seen_head"
 *     an entry becomes free without a new count of the head
 * mistake NO_SECOND_LOOK: ENTRIES=2 KEYS=3 OPS=4 READER=1 WRITERS=1 MORTALS=0; finds "allowed"
 *     a reader believes that a key is absent, although the head has changed
 * mistake NO_JUMP: ENTRIES=1 KEYS=3 OPS=3 READER=1 WRITERS=1 MORTALS=0; finds "allowed"
 *     a new key comes into an entry without a jump of the sequence
 * mistake BELIEVE_PATH: ENTRIES=2 KEYS=1 OPS=1 READER=1 WRITERS=1 MORTALS=0; finds "allowed"
 *     a reader takes any entry that it meets USED for one that is in the chain
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define BUCKET(k) ((k) / 3)
#define COPY(e, v) (2 * (e) + (v) % 2)
#define FREE 0
#define USED 1
#define REMOVED 2
#define EMPTY 0
#define FOUND 1
#define BUSY 2

/* entries are numbered from 1 in links, as there */
byte head[2], changes[2], floor[2];
byte sequence[ENTRIES], state[ENTRIES], next[ENTRIES], generation[ENTRIES], writer[ENTRIES], key[ENTRIES];
byte value[2 * ENTRIES];
bool killed[4];

/* ghosts: the values by key, 0: absent; their last versions; what the reader may answer, one bit a value */
byte live[4], last[4], values, looking, allowed;

inline now_is(k, it) {
    live[k] = it;
    if
    :: looking == k -> allowed = allowed | (1 << it)
    :: else
    fi
}

proctype Kill() { killed[1] = true }

/* memlane_map_find */
inline find(k) {
    STEP(at = head[BUCKET(k)]; seen_head = at; seen_changes = changes[BUCKET(k)]; found = BUSY);
    do
    :: at == 0 ->
        STEP(
            if
            :: head[BUCKET(k)] == seen_head && changes[BUCKET(k)] == seen_changes -> found = EMPTY
#ifdef NO_SECOND_LOOK
            :: else -> found = EMPTY
#else
            :: else
#endif
            fi);
        break
    :: else ->
        STEP(e = at - 1; v = sequence[e] / 2);
        STEP(at = next[e]; st = state[e]);
        if
        :: st == USED ->
            STEP(st = key[e]);
            if
            :: st == k -> found = FOUND; break
            :: else
            fi
        :: st == REMOVED
        :: st == FREE ->
            /* a sound chain does not lead here */
            STEP(assert(head[BUCKET(k)] != seen_head || changes[BUCKET(k)] != seen_changes));
            break
        fi
    od;
    st = 0; at = 0
}

/* memlane_map_clean, and what it has to have done; a walk that is led astray begins again */
inline clean(b) {
    do
    :: true ->
        STEP(at = head[b]; seen_head = at; seen_changes = changes[b]; from = 0);
        do
        :: at == 0 -> break
        :: else ->
            STEP(st = state[at - 1]; f = next[at - 1]; g = generation[at - 1]);
            if
            :: st == REMOVED ->
                STEP(
                    if
                    :: from == 0 && head[b] == seen_head && changes[b] == seen_changes ->
                        head[b] = f; changes[b]++; seen_head = f; seen_changes = changes[b]; at = f
                    :: from != 0 && next[from - 1] == at && state[from - 1] == USED && generation[from - 1] == from_g ->
                        next[from - 1] = f; generation[from - 1]++; from_g = generation[from - 1]; at = f
                    :: else -> st = BUSY + 1
                    fi);
                if
                :: st == BUSY + 1 -> break
                :: else
                fi
            :: st == USED -> from = at; from_g = g; at = f
            :: st == FREE -> break
            fi
        od;
        if
        :: at == 0 ->
            STEP(if :: head[b] == seen_head && changes[b] == seen_changes -> at = 255 :: else fi);
            if
            :: at == 255 -> break
            :: else
            fi
        :: else
        fi
    od;
    at = 0; st = 0; from = 0; from_g = 0; f = 0; g = 0
}

/* memlane_map_retire */
inline retire(b) {
    clean(b);
#ifndef NO_COUNT
    STEP(changes[b]++);
#endif
    STEP(state[e] = FREE; next[e] = 0; generation[e]++)
}

/* memlane_map_leads_to: f is 1 if it does */
inline leads_to(b) {
    do
    :: true ->
        STEP(at = head[b]; seen_head = at; seen_changes = changes[b]; st = 0);
        do
        :: at == 0 || at == e + 1 || st == 2 * ENTRIES -> break
        :: else -> STEP(at = next[at - 1]; st++)
        od;
        f = (at == e + 1);
        STEP(if :: head[b] == seen_head && changes[b] == seen_changes -> at = 255 :: else fi);
        if
        :: at == 255 -> break
        :: else
        fi
    od;
    at = 0; st = 0
}

/* memlane_map_settle, of an entry that was that of a dead writer */
inline settle() {
    if
    :: state[e] == FREE
    :: state[e] == REMOVED -> retire(BUCKET(key[e]))
    :: state[e] == USED ->
        leads_to(BUCKET(key[e]));
        if
        :: f == 0 -> STEP(state[e] = FREE; next[e] = 0; generation[e]++)
        :: else
        fi;
        f = 0
    fi
}

/* memlane_map_take: waits, as its callers do, until the holder has gone or is dead; held is 1 if it is ours */
inline take() {
    atomic { (writer[e] == 0 || (writer[e] != me && killed[writer[e]]) || killed[me]) -> f = writer[e] };
    STEP(if :: writer[e] == f -> writer[e] = me; held = 1 :: else fi);
#ifndef NO_SETTLE
    if
    :: held == 1 && f != 0 -> f = 0; settle()
    :: else
    fi;
#endif
    f = 0
}

#define GIVE(entry) STEP(assert(writer[entry] == me); writer[entry] = 0)

/* memlane_map_fill of entry `own` - 1 */
inline fill(k) {
    if
    :: state[own - 1] != FREE -> STEP(state[own - 1] = FREE; generation[own - 1]++)
    :: else
    fi;
#ifdef NO_JUMP
    v = sequence[own - 1] / 2 + 1;
    STEP(sequence[own - 1] = 2 * v - 1);
#else
    v = sequence[own - 1] / 2 + 2;
    STEP(sequence[own - 1] = 2 * v + 1);
    v = v + 2;
#endif
    STEP(key[own - 1] = k);
#ifndef NO_FLOOR
    if
    :: v <= floor[BUCKET(k)] -> v = floor[BUCKET(k)] + 1
    :: else
    fi;
#endif
    STEP(value[COPY(own - 1, v)] = mine);
    STEP(sequence[own - 1] = 2 * v);
    STEP(state[own - 1] = USED; next[own - 1] = seen_head; generation[own - 1]++)
}

/* A free entry, or that of a writer that died and left it so; 0: there is none. */
inline take_free() {
    do
    :: STEP(
        if
        :: writer[0] == 0 && state[0] == FREE -> writer[0] = me; own = 1
#if ENTRIES > 1
        :: else ->
            if
            :: writer[1] == 0 && state[1] == FREE -> writer[1] = me; own = 2
#if ENTRIES > 2
            :: writer[1] != 0 && writer[2] == 0 && state[2] == FREE -> writer[2] = me; own = 3
#endif
            :: else
            fi
#else
        :: else
#endif
        fi);
        break
    od
}

/* memlane_map_change: put if `mine` is not 0, else remove */
inline change(k) {
    do
    :: true ->
        find(k);
        if
        :: found == FOUND ->
            take();
            if
            :: held == 0
            :: else ->
                held = 0;
                if
#ifdef NO_RELOOK
                :: true ->
#else
                :: state[e] == USED && key[e] == k ->
#endif
                    v = sequence[e] / 2;
                    if
                    :: mine != 0 ->
                        STEP(sequence[e] = 2 * v + 1);
                        STEP(value[COPY(e, v + 1)] = mine);
                        STEP(sequence[e] = 2 * v + 2; assert(live[k] != 0); now_is(k, mine); assert(v + 1 > last[k]);
                             last[k] = v + 1)
                    :: else ->
                        STEP(if :: floor[BUCKET(k)] < v -> floor[BUCKET(k)] = v :: else fi);
                        STEP(state[e] = REMOVED; generation[e]++; assert(live[k] != 0); now_is(k, 0));
                        retire(BUCKET(k))
                    fi;
                    GIVE(e);
                    break
#ifndef NO_RELOOK
                :: else -> GIVE(e)
#endif
                fi
            fi
        :: found == EMPTY && mine == 0 -> break
        :: found == EMPTY && mine != 0 ->
            f = seen_head; g = seen_changes;
            if
            :: own == 0 -> take_free()
            :: else
            fi;
            if
            :: own == 0 -> break /* full */
            :: else
            fi;
            fill(k);
            STEP(
                if
#ifdef PLAIN_HEAD
                :: true ->
#else
                :: head[BUCKET(k)] == f && changes[BUCKET(k)] == g ->
#endif
                    head[BUCKET(k)] = own; changes[BUCKET(k)]++;
                    assert(live[k] == 0); now_is(k, mine); assert(v > last[k]); last[k] = v; held = 1
#ifndef PLAIN_HEAD
                :: else
#endif
                fi);
            f = 0; g = 0;
            if
            :: held == 1 -> held = 0; GIVE(own - 1); own = 0; break
            :: else
            fi
        :: found == BUSY
        fi
    od;
    if
    :: own != 0 ->
        STEP(state[own - 1] = FREE; next[own - 1] = 0; generation[own - 1]++);
        GIVE(own - 1);
        own = 0
    :: else
    fi;
    e = 0; v = 0; f = 0; g = 0; found = 0; seen_head = 0; seen_changes = 0
}

proctype Writer(byte me) {
    byte at, e, v, st, found, seen_head, seen_changes, from, from_g, f, g, own, held, mine, ops;
    do
    :: ops < OPS ->
        ops++;
        if
        :: STEP(values++; mine = values)
        :: mine = 0
        fi;
        if
        :: change(1)
#if KEYS > 1
        :: change(2)
#endif
#if KEYS > 2
        :: change(3)
#endif
        fi;
        mine = 0
    :: else -> break
    od;
dead:
    atomic { at = 0; e = 0; v = 0; st = 0; found = 0; seen_head = 0; seen_changes = 0; from = 0; from_g = 0; f = 0; g = 0;
             own = 0; held = 0; mine = 0; ops = 0 }
}

/* What a reader has found must have been so at one moment. */
#define ANSWER(it) atomic { assert(allowed & (1 << (it))); looking = 0; allowed = 0; goto out }

proctype Reader(byte me) {
    byte at, e, v, st, found, seen_head, seen_changes, it;
    atomic { looking = 1; allowed = 1 << live[1] };
    do
    :: true -> /* memlane_map_read of key 1 */
        find(1);
        if
        :: found == EMPTY -> ANSWER(0)
        :: found == BUSY
        :: found == FOUND -> break
        fi
    :: true -> /* memlane_map_at: any entry */
        if
        :: e = 0
#if ENTRIES > 1
        :: e = 1
#endif
        fi;
        STEP(v = sequence[e] / 2);
        STEP(st = state[e]);
        if
        :: st != USED -> goto out
        :: else
        fi;
        STEP(st = key[e]);
        if
        :: st != 1 -> goto out
        :: else
        fi;
        seen_head = 255; /* no head is this one */
        break
    od;
    it = value[COPY(e, v)];
    STEP(if :: sequence[e] - 2 * v > 2 -> goto out :: else fi); /* overtaken: no answer */
#ifndef BELIEVE_PATH
    STEP(if :: head[0] == seen_head && changes[0] == seen_changes -> found = EMPTY :: else -> found = BUSY fi);
    if
    :: found == BUSY -> /* memlane_map_is_settled */
        STEP(if :: writer[e] != 0 -> goto out :: else fi);
        STEP(if :: state[e] != USED -> goto out :: else fi);
        STEP(if :: sequence[e] - 2 * v > 2 -> goto out :: else fi)
    :: else
    fi;
#endif
    ANSWER(it);
dead:
out:
    atomic { looking = 0; allowed = 0; at = 0; e = 0; v = 0; st = 0; found = 0; seen_head = 0; seen_changes = 0; it = 0 }
}

init {
    atomic {
        run Writer(2);
        if :: WRITERS == 2 -> run Writer(1) :: else fi;
        if :: READER -> run Reader(3) :: !READER fi;
        if :: MORTALS -> run Kill() :: true fi
    }
}
