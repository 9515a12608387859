/* SPDX-License-Identifier: MIT
 *
 * A program without Python that puts into a ring of memlane's, or gets from one, until it is killed: tests/system/
 * test_c_program.py runs it beside Python processes.
 *
 *   ring_program put  REGION RING JOURNAL LIFE
 *   ring_program get  REGION RING JOURNAL LIFE
 *
 * A record of life L and number N has a header of three words, L, N and its length, and behind it bytes that follow from
 * both. The journal is a file outside of the region, which outlives the program. A life puts no more than it is allowed,
 * so that a test decides how much there is to do. Exit status: 0 at the end, 2 where a record was torn or was never put,
 * 1 for anything else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "os/semwait.h"
#include "runtime/ring.h"

/* As in test_c_program.py. */
enum { LIVES = 64, NUMBERS = 1 << 17, MOST_NBYTES = 600, HEADER_NBYTES = 24 };

struct journal {
    _Atomic uint64_t acknowledged[LIVES]; /* how many records a life has put, or got */
    _Atomic uint64_t allowed[LIVES]; /* how many it may put */
    _Atomic uint64_t has_ended;
    /* how often each record was got */
    _Atomic unsigned char got[LIVES][NUMBERS];
};

static size_t nbytes_of(uint64_t life, uint64_t number) {
    return HEADER_NBYTES + (size_t)((life * 7919 + number * 104729) % (MOST_NBYTES - HEADER_NBYTES));
}

static void fill(unsigned char *record, uint64_t life, uint64_t number, size_t nbytes) {
    const uint64_t header[3] = {life, number, nbytes};
    memcpy(record, header, sizeof header);
    memset(record + HEADER_NBYTES, (int)((life * 31 + number) % 251), nbytes - HEADER_NBYTES);
}

static int put_all(struct memlane_ring *ring, struct journal *journal, uint64_t life) {
    unsigned char record[MOST_NBYTES];
    for (uint64_t number = 0; number < NUMBERS; number++) {
        const size_t nbytes = nbytes_of(life, number);
        while (number >= atomic_load(&journal->allowed[life]) && !atomic_load(&journal->has_ended))
            memlane_pause(100000);
        fill(record, life, number, nbytes);
        int status = memlane_ring_put(ring, record, nbytes, MEMLANE_FOREVER);
        if (status != MEMLANE_OK)
            return status == MEMLANE_CLOSED ? 0 : 1;
        atomic_store(&journal->acknowledged[life], number + 1);
    }
    return 0;
}

static int get_all(struct memlane_ring *ring, struct journal *journal, uint64_t life) {
    unsigned char record[MOST_NBYTES], expected[MOST_NBYTES];
    uint64_t header[3];
    size_t nbytes;
    for (;;) {
        int status = memlane_ring_get(ring, record, sizeof record, &nbytes, MEMLANE_FOREVER);
        if (status == MEMLANE_BUSY)
            continue; /* another consumer has the role: wait until it is dead */
        if (status != MEMLANE_OK)
            return status == MEMLANE_CLOSED ? 0 : 1;
        if (nbytes < HEADER_NBYTES)
            return 2;
        memcpy(header, record, sizeof header);
        if (header[0] >= LIVES || header[1] >= NUMBERS || header[2] != nbytes ||
            nbytes_of(header[0], header[1]) != nbytes)
            return 2;
        fill(expected, header[0], header[1], nbytes);
        if (memcmp(expected, record, nbytes) != 0)
            return 2;
        atomic_fetch_add(&journal->got[header[0]][header[1]], 1);
        atomic_fetch_add(&journal->acknowledged[life], 1);
    }
}

int main(int count, char **words) {
    static struct memlane_region region;
    static struct memlane_ring ring;
    if (count != 6)
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const uint64_t life = strtoull(words[5], NULL, 10);
    int file = open(words[4], O_RDWR | O_CLOEXEC);
    struct journal *journal = mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || journal == MAP_FAILED || life >= LIVES)
        return 1;
    int error = memlane_region_open(&region, words[2], NULL);
    if (error == 0) {
        error = memlane_ring_open(&ring, &region, words[3]);
        if (error)
            memlane_region_close(&region);
    }
    if (error) {
        fprintf(stderr, "cannot open %s of %s: %d\n", words[3], words[2], error);
        return 1;
    }
    int status = strcmp(words[1], "put") == 0 ? put_all(&ring, journal, life) : get_all(&ring, journal, life);
    memlane_ring_close(&ring);
    memlane_region_close(&region);
    return status;
}
