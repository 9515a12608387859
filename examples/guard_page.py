# SPDX-License-Identifier: MIT
"""
A child runs over the end of a buffer onto a guard page and dies; the parent reports where.

    python examples/guard_page.py

Without guard pages it would have written into whatever the kernel happened to put behind the
buffer, and somebody else would have died of it, later. The child notes in shared memory which
address it is about to touch, and shared memory outlives it.
"""

import ctypes
import os
import resource
import signal

import memlane


def main() -> None:
    with (
        memlane.Mapping.anonymous(memlane.PAGE_SIZE, guard_pages=1) as buffer,
        memlane.Mapping.anonymous(8) as note,
    ):
        behind = buffer.guard_ranges[1][0]
        about_to_touch = memoryview(note).cast("Q")
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            for address in range(buffer.address, behind + memlane.PAGE_SIZE, 64):
                about_to_touch[0] = address
                ctypes.memset(address, 1, 1)  # as C code would, which knows no bounds
            os._exit(0)

        _, status = os.waitpid(child, 0)
        died_of = signal.Signals(-os.waitstatus_to_exitcode(status)).name
        offset = about_to_touch[0] - buffer.address
        print(f"the child died of {died_of} at address {about_to_touch[0]:#x},")
        print(f"offset {offset} of a buffer of {len(buffer)} bytes")
        print("that is the first byte of the guard page:", about_to_touch[0] == behind)
        print("what it wrote before is here:", buffer.count(b"\x01"), "bytes")


if __name__ == "__main__":
    main()
