/* SPDX-License-Identifier: MIT
 *
 * Copying payloads as words: every length, on memory that ends where the rounded length ends.
 */
#include "check.h"
#include "core/words.h"

enum { LENGTHS = 211 };

static void pattern(unsigned char *bytes, size_t nbytes) {
    for (size_t i = 0; i < nbytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 1);
}

TEST(a_store_writes_every_byte_and_zeros_the_rest_of_the_last_word_and_nothing_behind_it) {
    for (size_t nbytes = 0; nbytes < LENGTHS; nbytes++) {
        const size_t rounded = (nbytes + 7) & ~(size_t)7;
        unsigned char *from = check_allocate(8, nbytes);
        _Atomic uint64_t *to = check_allocate(8, rounded);
        pattern(from, nbytes);
        memset((void *)to, 0xff, rounded);
        memlane_words_store(to, from, nbytes);
        const unsigned char *stored = (const unsigned char *)to;
        CHECK_BYTES(from, stored, nbytes);
        for (size_t i = nbytes; i < rounded; i++)
            CHECK_EQUAL(0, stored[i]);
        free((void *)to);
        free(from);
    }
}

TEST(a_store_leaves_the_next_word_alone) {
    for (size_t nbytes = 0; nbytes < LENGTHS; nbytes++) {
        _Atomic uint64_t words[LENGTHS / 8 + 2];
        unsigned char from[LENGTHS];
        pattern(from, nbytes);
        memset((void *)words, 0xff, sizeof words);
        memlane_words_store(words, from, nbytes);
        for (size_t i = (nbytes + 7) / 8; i < sizeof words / sizeof *words; i++)
            CHECK_EQUAL(UINT64_MAX, words[i]);
    }
}

TEST(a_load_gives_back_what_was_stored_and_writes_no_byte_more_than_asked) {
    for (size_t nbytes = 0; nbytes < LENGTHS; nbytes++) {
        const size_t rounded = (nbytes + 7) & ~(size_t)7;
        _Atomic uint64_t *from = check_allocate(8, rounded);
        unsigned char *to = check_allocate(8, nbytes); /* exactly: one byte more is seen */
        unsigned char expected[LENGTHS], guarded[LENGTHS + 1];
        pattern(expected, nbytes);
        memlane_words_store(from, expected, nbytes);
        memlane_words_load(to, from, nbytes);
        CHECK_BYTES(expected, to, nbytes);
        guarded[nbytes] = 0xa5;
        memlane_words_load(guarded, from, nbytes);
        CHECK_EQUAL(0xa5, guarded[nbytes]);
        free(to);
        free((void *)from);
    }
}

TEST(the_private_side_may_lie_at_any_address) {
    unsigned char private_bytes[LENGTHS + 8], back[LENGTHS + 8];
    _Atomic uint64_t words[LENGTHS / 8 + 1];
    for (size_t shift = 0; shift < 8; shift++) {
        pattern(private_bytes + shift, LENGTHS - 1);
        memlane_words_store(words, private_bytes + shift, LENGTHS - 1);
        memlane_words_load(back + 7 - shift, words, LENGTHS - 1);
        CHECK_BYTES(private_bytes + shift, back + 7 - shift, LENGTHS - 1);
    }
}

/* On blocks that end where the copy ends, for the address sanitizer. */
static void check_copy(size_t nbytes, size_t offset) {
    unsigned char *from = check_allocate(8, nbytes + offset), *to = check_allocate(8, nbytes + offset + 1);
    pattern(from, nbytes + offset);
    memset(to, 0xff, nbytes + offset + 1);
    memlane_copy(to + offset, from + offset, nbytes);
    CHECK_BYTES(from + offset, to + offset, nbytes);
    for (size_t i = 0; i < offset; i++)
        CHECK_EQUAL(0xff, to[i]);
    CHECK_EQUAL(0xff, to[offset + nbytes]);
    free(from);
    free(to);
}

TEST(a_copy_is_every_byte_and_no_other_whatever_its_length) {
    for (size_t nbytes = 0; nbytes < 300; nbytes++)
        check_copy(nbytes, nbytes % 9);
}

TEST(so_is_a_long_copy_that_is_fetched_ahead) {
    static const size_t around[] = {0, 1, 63, 64, 65, 100000};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        check_copy(MEMLANE_COPY_AHEAD_MIN + around[i], i);
        check_copy(MEMLANE_COPY_AHEAD_MIN - around[i], i);
    }
}

MAIN
