/* SPDX-License-Identifier: MIT
 *
 * The test harness: a test is a sentence, a check prints what it expected and what it found.
 *
 *   TEST(a_sentence_that_could_be_false) { CHECK_EQUAL(expected, actual); }
 *   MAIN
 *
 * A check that fails ends the program, from whatever thread: later checks would only report its echo.
 */
#ifndef MEMLANE_TESTS_CHECK_H
#define MEMLANE_TESTS_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

static struct check_test check_tests[64]; /* arbitrary: more than any file has */
static size_t check_count;

/* gcc and clang run the constructors of one file in the order in which they stand. */
#define TEST(sentence)                                                                                                 \
    static void sentence(void);                                                                                        \
    __attribute__((constructor)) static void register_##sentence(void) {                                               \
        check_tests[check_count++] = (struct check_test){#sentence, sentence};                                         \
    }                                                                                                                  \
    static void sentence(void)

#define CHECK_EQUAL(expected, actual) check_equal((uint64_t)(expected), (uint64_t)(actual), #actual, __FILE__, __LINE__)
#define CHECK(truth) check_equal(1, (truth) ? 1 : 0, #truth, __FILE__, __LINE__)
#define CHECK_BYTES(expected, actual, nbytes) check_bytes(expected, actual, nbytes, #actual, __FILE__, __LINE__)

/* Out of line, or every check of a file would carry it. */
__attribute__((noinline, noreturn, unused)) static void check_failed(uint64_t expected, uint64_t actual,
                                                                     const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: expected %" PRIu64 " (0x%" PRIx64 "), found %" PRIu64 " (0x%" PRIx64 ") in %s\n", file,
            line, expected, expected, actual, actual, what);
    abort();
}

static inline void check_equal(uint64_t expected, uint64_t actual, const char *what, const char *file, int line) {
    if (expected != actual)
        check_failed(expected, actual, what, file, line);
}

__attribute__((noinline, unused)) static void check_bytes(const void *expected, const void *actual, size_t nbytes,
                                                          const char *what, const char *file, int line) {
    const unsigned char *left = expected, *right = actual;
    for (size_t i = 0; i < nbytes; i++)
        if (left[i] != right[i]) {
            fprintf(stderr, "byte %zu of %zu: ", i, nbytes);
            check_failed(left[i], right[i], what, file, line);
        }
}

/* Memory that ends where it ends: a step beyond is seen by the address sanitizer. */
static inline void *check_allocate(size_t alignment, size_t nbytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, nbytes ? nbytes : 1) != 0) {
        fprintf(stderr, "no memory for %zu bytes\n", nbytes);
        abort();
    }
    memset(memory, 0, nbytes);
    return memory;
}

/* The same numbers in every run: xorshift64*, whose state must not be 0. */
static inline uint64_t check_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline uint64_t check_below(uint64_t *state, uint64_t limit) { return (check_random(state) >> 11) % limit; }

static inline int check_main(void) {
    for (size_t i = 0; i < check_count; i++) {
        for (const char *letter = check_tests[i].name; *letter; letter++)
            putchar(*letter == '_' ? ' ' : *letter);
        putchar('\n');
        fflush(stdout); /* the sentence that fails is the last one printed */
        check_tests[i].run();
    }
    printf("%zu sentences hold\n", check_count);
    return 0;
}

#define MAIN                                                                                                           \
    int main(void) { return check_main(); }

#endif
