# SPDX-License-Identifier: MIT
"""What `import memlane` brings, and what `help(memlane)` says of it."""

from __future__ import annotations

import inspect

import memlane


def test_all_names_everything_public_and_nothing_else() -> None:
    """No name that users need is left out of `__all__`; modules are no part of it."""
    public = {
        name
        for name, it in vars(memlane).items()
        if not name.startswith("_") and not inspect.ismodule(it)
    }

    assert public | {"__version__"} == set(memlane.__all__)


def test_a_reservation_has_the_names_that_it_had_before() -> None:
    """What annotations of older programs say is still that class."""
    assert memlane.Room is memlane.Reservation


def test_help_of_the_package_tells_of_each_kind_of_object() -> None:
    """A newcomer sees what there is; errors and what other objects hand out are told of there."""
    said = memlane.__doc__ or ""
    handed_out = {"Producer", "Consumer", "Reservation", "Room", "Record", "ArrayReservation"}
    handed_out |= {"Publisher", "Subscriber", "TopicRecord", "KeyWatch", "Block", "BlockLoan"}
    handed_out |= {"Participant", "PAGE_SIZE"}
    named = {
        name
        for name in memlane.__all__
        if not name.startswith("_") and name not in handed_out
        if not (isinstance(it := getattr(memlane, name), type) and issubclass(it, Exception))
    }

    assert set() == {name for name in named if f"\n    {name} " not in said}
