# SPDX-License-Identifier: MIT
"""
See demand paging: memory that is mapped is not there until it is touched.

    python examples/demand_paging.py

`residency` is the fraction of pages that are in memory. `populate=True` brings them in at once,
`advise` gives them back.
"""

import memlane

PAGES = 64


def main() -> None:
    nbytes = PAGES * memlane.PAGE_SIZE
    with memlane.Mapping.anonymous(nbytes, private=True) as mapping:
        mapping.advise("nohugepage")  # or one touch might bring in 512 pages
        print(f"mapped:              {mapping.residency():7.2%}")
        mapping[0] = 1
        print(f"one byte touched:    {mapping.residency():7.2%}")
        mapping[: nbytes // 2] = bytes(nbytes // 2)
        print(f"half of it written:  {mapping.residency():7.2%}")
        mapping.advise("dontneed")
        print(f"given back:          {mapping.residency():7.2%}")
    with memlane.Mapping.anonymous(nbytes, private=True, populate=True) as mapping:
        print(f"mapped and populated:{mapping.residency():8.2%}")


if __name__ == "__main__":
    main()
