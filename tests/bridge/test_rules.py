# SPDX-License-Identifier: MIT
"""What a bridge carries, what it lets others write, and names that differ on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from memlane.bridge.rules import Rules

pytestmark = pytest.mark.machine


def rules(**options: Any) -> Rules:
    given = {"carry": [], "allow": [], "deny": [], "rename": {}, **options}
    return Rules.checked(given["carry"], given["allow"], given["deny"], given["rename"])


def test_nothing_is_carried_or_admitted_unless_it_is_said() -> None:
    """The default of a bridge is to do nothing."""
    assert not rules().carries("ring", "frames")
    assert not rules().admits("frames")


def test_a_pattern_matches_region_and_object_each_in_its_part() -> None:
    """A star does not go through the slash, so "robot*" is no object of a region."""
    found = rules(carry=["ring:robot*", "topic:robot/*"], allow=["*", "a/b?"])

    assert found.carries("ring", "robot-1")
    assert not found.carries("topic", "robot-1")
    assert not found.carries("ring", "robot/frames")
    assert found.carries("topic", "robot/ticks")
    assert [True, False, True, False] == [
        found.admits(name) for name in ("any", "any/thing", "a/b1", "a/b")
    ]


def test_what_is_denied_goes_in_no_direction() -> None:
    """Whatever else is said."""
    found = rules(carry=["ring:*"], allow=["*"], deny=["secret*"])

    assert found.carries("ring", "frames")
    assert not found.carries("ring", "secrets")
    assert found.admits("frames")
    assert not found.admits("secret")


def test_a_renamed_object_has_its_name_here_and_its_name_there() -> None:
    """In both directions."""
    found = rules(rename={"left": "robot/left"})

    assert ("robot/left", "other") == (found.there("left"), found.there("other"))
    assert ("left", "other") == (found.here("robot/left"), found.here("other"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"carry": ["frames"]}, "KIND:NAME"),
        ({"carry": ["rings:frames"]}, "did you mean 'ring'"),
        ({"carry": ["ring:"]}, "REGION or REGION/OBJECT"),
        ({"carry": ["ring:a/"]}, "REGION or REGION/OBJECT"),
        ({"carry": ["ring:./file"]}, "REGION or REGION/OBJECT"),
        ({"carry": ["queue:jobs"]}, "a queue is not carried: a queue counts tasks"),
        ({"carry": ["counter:hits"]}, "publish the number in a slot"),
        ({"carry": ["lock:db"]}, "a lock is not carried"),
        ({"carry": ["heap:tensors"]}, "put its bytes into a ring"),
        ({"allow": [""]}, "REGION or REGION/OBJECT"),
        ({"rename": {"a*": "b"}}, "no patterns"),
        ({"rename": {"a": "c", "b": "c"}}, "two names here one name there"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(options: dict[str, Any], text: str) -> None:
    """At the call, before anything is opened."""
    with pytest.raises(ValueError, match=text):
        rules(**options)


def test_one_text_in_place_of_a_list_is_refused() -> None:
    """Its letters would be taken for names."""
    with pytest.raises(TypeError, match=r"write \['ring:frames'\]"):
        rules(carry="ring:frames")
