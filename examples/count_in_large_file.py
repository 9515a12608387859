# SPDX-License-Identifier: MIT
"""
Count a byte in a file of any size, window by window, and the words of a word list that start with
a letter, mapped and with a read loop, both timed.

    python examples/count_in_large_file.py [FILE [LETTER]]

A window is told to the kernel as "sequential": pages are fetched ahead of the search and dropped
behind it. Windows that are cut behind a b"\\n" hold whole lines, so that no word straddles two of
them.
"""

import sys
import tempfile
import time

import memlane


def mapped_words(path: str, letter: bytes) -> int:
    found = 0
    for window in memlane.windows(path, "1 MiB", records=b"\n"):
        found += window[:1] == letter  # the first word has no line end in front of it
        found += window.count(b"\n" + letter)
    return found


def read_words(path: str, letter: bytes) -> int:
    with open(path, "rb") as file:
        return sum(line.startswith(letter) for line in file)


def main(path: str, letter: bytes) -> None:
    newlines = sum(window.count(b"\n") for window in memlane.windows(path, "1 MiB"))
    print(f"{newlines} times b'\\n'")
    for name, count in (("mapped", mapped_words), ("read loop", read_words)):
        begin = time.perf_counter()
        found = count(path, letter)
        print(
            f"{found} words start with {letter.decode()!r}, {name}: "
            f"{(time.perf_counter() - begin) * 1e3:.1f} ms"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1], (sys.argv[2:] or ["a"])[0].encode())
    else:
        with tempfile.NamedTemporaryFile() as words:
            for number in range(300_000):
                words.write(b"%c%d\n" % (ord("a") + number % 26, number))
            words.flush()
            main(words.name, b"a")
