# SPDX-License-Identifier: MIT
"""
Read one page of a device's registers, read-only.

    python examples/device_registers.py [DEVICE [OFFSET]]
    sudo python examples/device_registers.py /dev/mem 0xFE200000

`sync=True` opens the device with O_SYNC, which makes /dev/mem map without caching: each read goes
to the device. Registers want whole words, so they are read through a view of 32-bit numbers.
Without a device, /dev/zero stands in for one.
"""

import sys

import memlane


def main(device: str, offset: int) -> None:
    try:
        page = memlane.Mapping.open(device, offset=offset, nbytes=memlane.PAGE_SIZE, sync=True)
    except OSError as error:
        print(f"{error.strerror}\nusing /dev/zero instead")
        page = memlane.Mapping.open("/dev/zero", nbytes=memlane.PAGE_SIZE)
    with page:
        registers = memoryview(page).cast("I")
        for number in range(4):
            print(f"register {number} at {offset + 4 * number:#x}: {registers[number]:#010x}")
        try:
            page[0] = 1
        except TypeError:
            print("writing is refused: the page is mapped for reading")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "/dev/zero",
        int(sys.argv[2], 0) if len(sys.argv) > 2 else 0,
    )
