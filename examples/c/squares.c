/* SPDX-License-Identifier: MIT
 *
 * A worker in C between Python programs: it gets numbers from one ring and puts their squares into another.
 *
 *   cc squares.c $(PKG_CONFIG_PATH=... pkg-config --cflags --libs memlane) -o squares
 *   ./squares REGION
 *
 * The region has the rings "numbers" and "squares", whose records are 8 bytes each. The worker counts what it has done in
 * the counter "done", and shows the latest number in the slot "latest". It ends when "numbers" is shut down and drained.
 */
#include <errno.h>
#include <stdio.h>

#include <memlane.h>

/* Whether a step went well; if not, it is said which one. */
static int is_done(const char *step, int code) {
    if (code != MLANE_OK)
        fprintf(stderr, "%s: %s\n", step, mlane_error_text(code));
    return code == MLANE_OK;
}

static int work(mlane_ring *numbers, mlane_ring *squares, mlane_counter *done, mlane_slot *latest) {
    for (;;) {
        int64_t number, square;
        size_t nbytes;
        int code = mlane_ring_get(numbers, &number, sizeof number, &nbytes, MLANE_FOREVER);
        if (code == MLANE_SHUT_DOWN)
            return is_done("end", mlane_ring_shutdown(squares, 0));
        if (!is_done("get", code) || nbytes != sizeof number)
            return 0;
        square = number * number;
        if (!is_done("put", mlane_ring_put(squares, &square, sizeof square, MLANE_FOREVER)) ||
            !is_done("publish", mlane_slot_publish(latest, &number, sizeof number, NULL)) ||
            !is_done("count", mlane_counter_add(done, 1, NULL)))
            return 0;
    }
}

int main(int count, char **words) {
    const struct mlane_slot_options of_number = {.nbytes = sizeof(int64_t)};
    mlane_region *region = NULL;
    mlane_ring *numbers = NULL, *squares = NULL;
    mlane_counter *done = NULL;
    mlane_slot *latest = NULL;
    if (count != 2) {
        fprintf(stderr, "usage: %s REGION\n", words[0]);
        return 2;
    }
    int is_well = is_done("open the region", mlane_open(words[1], 0, &region)) &&
                  is_done("open numbers", mlane_ring_open(region, "numbers", &numbers)) &&
                  is_done("open squares", mlane_ring_open(region, "squares", &squares)) &&
                  is_done("make done", mlane_counter_create(region, "done", &done)) &&
                  is_done("make latest", mlane_slot_create(region, "latest", &of_number, &latest)) &&
                  work(numbers, squares, done, latest);
    mlane_slot_close(latest);
    mlane_counter_close(done);
    mlane_ring_close(squares);
    mlane_ring_close(numbers);
    mlane_close(region);
    return is_well ? 0 : 1;
}
