/* SPDX-License-Identifier: MIT
 *
 * Copies: of payloads that nobody else touches meanwhile, and of those that may change, as relaxed atomic words.
 *
 * A reader of a slot copies bytes that a writer may be overwriting, and throws the copy away if so. With
 * plain memory accesses that race is undefined in C11; with relaxed atomic words it is defined. The idea
 * and the argument: H. Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
 * Whole lines are copied by 16 bytes at a time, which C11 has no atomic for: those accesses are volatile, which
 * the compiler makes once and as written; the Linux kernel's READ_ONCE rests on the same.
 *
 * memlane_words_load and _store take addresses aligned to 8 on the shared side, any on the private side; the shared
 * side must be readable (writable) up to the next multiple of 8.
 */
#ifndef MEMLANE_WORDS_H
#define MEMLANE_WORDS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In a loop that waits for another processor: tells this one to slow down. */
static inline void memlane_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* From here on memcpy waits for memory at each line. */
#define MEMLANE_COPY_AHEAD_MIN ((size_t)1 << 20)
/* Bytes: as far as a line is fetched before it is needed. */
#define MEMLANE_COPY_AHEAD 2048

/* Copy what no processor's own cache holds, with both sides fetched ahead. Not in line: it is long, and called seldom. */
__attribute__((noinline, unused)) static void memlane_copy_ahead(unsigned char *restrict out,
                                                                 const unsigned char *restrict in, size_t nbytes) {
    for (; nbytes >= 64; nbytes -= 64, out += 64, in += 64) {
        __builtin_prefetch(in + MEMLANE_COPY_AHEAD);
        __builtin_prefetch(out + MEMLANE_COPY_AHEAD, 1);
        memcpy(out, in, 64);
    }
    memcpy(out, in, nbytes);
}

/* memcpy, of which a third is the call when there are 64 bytes to copy: short ones are done in line, by halves that may
 * overlap.
 * Callers: the only process that may touch both sides, which do not overlap. Progress: wait-free. Returns: nothing. */
static inline void memlane_copy(void *restrict to, const void *restrict from, size_t nbytes) {
    unsigned char *out = to;
    const unsigned char *in = from;
    if (nbytes >= MEMLANE_COPY_AHEAD_MIN) {
        memlane_copy_ahead(out, in, nbytes);
    } else if (nbytes > 64 || nbytes < 8) {
        memcpy(out, in, nbytes);
    } else if (nbytes > 32) {
        memcpy(out, in, 32);
        memcpy(out + nbytes - 32, in + nbytes - 32, 32);
    } else if (nbytes >= 16) {
        memcpy(out, in, 16);
        memcpy(out + nbytes - 16, in + nbytes - 16, 16);
    } else {
        memcpy(out, in, 8);
        memcpy(out + nbytes - 8, in + nbytes - 8, 8);
    }
}

/* The thread sanitizer knows nothing but C11, and is given words alone. gcc tells of it by a macro, clang by a feature. */
#if defined(__SANITIZE_THREAD__)
#define MEMLANE_WORDS_ALONE
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMLANE_WORDS_ALONE
#endif
#endif

#ifndef MEMLANE_WORDS_ALONE
typedef uint64_t memlane_wide __attribute__((vector_size(16), may_alias, aligned(8)));
#endif

/* Copy `nbytes` out of shared words.
 * Callers: anyone. Progress: wait-free. Returns: nothing; the copy may mix versions. */
static inline void memlane_words_load(void *restrict to, const _Atomic uint64_t *from, size_t nbytes) {
    unsigned char *out = to;
#ifndef MEMLANE_WORDS_ALONE
    for (; nbytes >= 64; nbytes -= 64, out += 64, from += 8) {
        const volatile memlane_wide *line = (const volatile memlane_wide *)from;
        memlane_wide a = line[0], b = line[1], c = line[2], d = line[3];
        memcpy(out, &a, 16);
        memcpy(out + 16, &b, 16);
        memcpy(out + 32, &c, 16);
        memcpy(out + 48, &d, 16);
    }
#endif
    for (; nbytes >= 8; nbytes -= 8, out += 8, from++) {
        /* relaxed: the caller's look at the sequence, after its fence, decides whether this counts */
        uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
        memcpy(out, &word, 8);
    }
    if (nbytes) {
        /* relaxed: as above */
        uint64_t word = atomic_load_explicit(from, memory_order_relaxed);
        memcpy(out, &word, nbytes);
    }
}

/* Copy `nbytes` into shared words; the rest of the last word becomes zero.
 * Callers: the one writer. Progress: wait-free. Returns: nothing. */
static inline void memlane_words_store(_Atomic uint64_t *to, const void *restrict from, size_t nbytes) {
    const unsigned char *in = from;
#ifndef MEMLANE_WORDS_ALONE
    for (; nbytes >= 64; nbytes -= 64, in += 64, to += 8) {
        volatile memlane_wide *line = (volatile memlane_wide *)to;
        memlane_wide a, b, c, d;
        memcpy(&a, in, 16);
        memcpy(&b, in + 16, 16);
        memcpy(&c, in + 32, 16);
        memcpy(&d, in + 48, 16);
        line[0] = a;
        line[1] = b;
        line[2] = c;
        line[3] = d;
    }
#endif
    for (; nbytes >= 8; nbytes -= 8, in += 8, to++) {
        uint64_t word;
        memcpy(&word, in, 8);
        /* relaxed: the writer's stores of the sequence, with their fences, order it */
        atomic_store_explicit(to, word, memory_order_relaxed);
    }
    if (nbytes) {
        uint64_t word = 0;
        memcpy(&word, in, nbytes);
        /* relaxed: as above */
        atomic_store_explicit(to, word, memory_order_relaxed);
    }
}

/* The same for records: the shared side is one that a reader may still be loading from, and a long record is copied with
 * both sides fetched ahead. Of those long copies only the compiler's habit can be said, which makes each access once, as
 * of the accesses of 16 bytes above; a caller that fills reserved room by other means stands on the same.
 * Callers: the producer of the record, whose claim stands. Progress: wait-free. Returns: nothing. */
static inline void memlane_words_fill(unsigned char *to, const void *restrict from, size_t nbytes) {
#ifndef MEMLANE_WORDS_ALONE
    if (nbytes >= MEMLANE_COPY_AHEAD_MIN) {
        memlane_copy_ahead(to, from, nbytes);
        return;
    }
#endif
    memlane_words_store((_Atomic uint64_t *)(void *)to, from, nbytes);
}

/* And out of one that a producer may overwrite meanwhile.
 * Callers: a reader that checks afterwards. Progress: wait-free. Returns: nothing; the copy may mix records. */
static inline void memlane_words_fetch(void *restrict to, const unsigned char *from, size_t nbytes) {
#ifndef MEMLANE_WORDS_ALONE
    if (nbytes >= MEMLANE_COPY_AHEAD_MIN) {
        memlane_copy_ahead(to, from, nbytes);
        return;
    }
#endif
    memlane_words_load(to, (const _Atomic uint64_t *)(const void *)from, nbytes);
}

#endif
