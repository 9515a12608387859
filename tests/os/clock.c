/* SPDX-License-Identifier: MIT
 *
 * What src/os/clock.h promises of the clocks of processes. Those of other time namespaces are met by tests/ring/test_stats.py.
 */
#include "../core/check.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"

TEST(a_process_has_the_clocks_that_its_children_have_and_those_of_this_boot) {
    char text[64] = {0}, digits[17] = {0};
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY), pipes[2], status, count = 0;
    uint64_t own = memlane_clock_of_process(), of_child = 0, boot = 0;
    CHECK(fd >= 0);
    CHECK(read(fd, text, sizeof text - 1) > 0);
    CHECK_EQUAL(0, pipe(pipes));
    pid_t child = fork();
    if (child == 0) {
        own = memlane_clock_of_process();
        _exit(write(pipes[1], &own, sizeof own) != sizeof own);
    }
    CHECK_EQUAL(child, waitpid(child, &status, 0));
    CHECK_EQUAL((ssize_t)sizeof of_child, read(pipes[0], &of_child, sizeof of_child));
    CHECK_EQUAL(own, of_child);
    CHECK_EQUAL(own, memlane_clock_of_process());

    for (const char *at = text; count < 16; at++)
        if (*at != '-')
            digits[count++] = *at;
    boot = strtoull(digits, NULL, 16);
    fd = open("/proc/self/timens_offsets", O_RDONLY);
    memset(text, 0, sizeof text);
    if (fd < 0 || (read(fd, text, sizeof text - 1) > 0 && strpbrk(text, "123456789") == NULL))
        CHECK_EQUAL(boot, own); /* in the first time namespace */
    else
        CHECK(own != boot);
}
MAIN
