# SPDX-License-Identifier: MIT
"""The models here, as far as seconds allow; `make verify` runs all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.models import verify

pytestmark = pytest.mark.machine

MODELS = Path(__file__).resolve().parent

#: Those that need a second or a few, the compiler included.
QUICK = verify.all_cases(["lock"])
QUICK += [case for case in verify.all_cases(["selectors"]) if "OWNERS=1" in case.sizes]

needs_spin = pytest.mark.skipif(verify.missing() is not None, reason=str(verify.missing()))


@needs_spin
@pytest.mark.parametrize("case", QUICK, ids=lambda case: f"{case.model}-{case.mistake or 'sound'}")
def test_a_quick_model_holds_and_finds_the_mistakes_that_are_put_into_it(
    case: verify.Case,
) -> None:
    """No order of steps breaks the protocol; each mistake is found, for its own reason."""
    right, verdict = verify.opinion(case, verify.explore(case))

    assert right, verdict


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.pml")), ids=lambda path: path.stem)
def test_every_mistake_of_a_model_is_listed_in_its_header_and_stands_in_its_steps(
    path: Path,
) -> None:
    """A mistake that nobody runs, or that changes nothing, would prove nothing."""
    listed = sorted(case.mistake for case in verify.cases_of(path) if case.mistake)
    used = sorted(set(re.findall(r"^#\s*ifn?def (\w+)$", path.read_text(), re.MULTILINE)))

    assert listed
    assert used == listed
    assert [] != [case for case in verify.cases_of(path) if case.mistake is None]


def test_a_verdict_is_right_only_if_the_expected_error_was_found() -> None:
    """The runner itself: an unfinished search, a missed mistake and another error are failures."""
    sound = verify.Case("a", ("N=1",))
    mistaken = verify.Case("a", ("N=1",), "NO_FENCE", "end state")
    nothing = verify.judged("      12 states, stored\nState-vector 20 byte, errors: 0\n", 0.0)
    stuck = verify.judged(
        "pan:1: invalid end state (at depth 3)\nerrors: 1\n 5 states, stored\n", 0
    )
    cut_off = verify.judged("pan: reached -DMEMLIM bound\nerrors: 0\n 5 states, stored\n", 0)

    assert [True, False, False] == [
        verify.opinion(sound, verdict)[0] for verdict in (nothing, stuck, cut_off)
    ]
    assert [False, True, False] == [
        verify.opinion(mistaken, verdict)[0]
        for verdict in (
            nothing,
            stuck,
            verify.judged("pan:1: assertion violated x (at depth 1)", 0),
        )
    ]
