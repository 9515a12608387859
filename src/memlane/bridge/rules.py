# SPDX-License-Identifier: MIT
"""
Which objects a bridge carries, which it lets its peers write, and what they are called there.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import memlane._arguments as _arguments

__all__ = ["KINDS", "Carry", "Rules", "split"]

#: The kinds that can be carried.
KINDS: Final = ("ring", "topic", "slot", "table", "map")
#: The others, each with the reason.
REFUSED: Final = {
    "queue": (
        "a queue counts tasks and unpickles what arrives; put bytes into a ring, and carry that"
    ),
    "counter": "an addition on two machines has no one result; publish the number in a slot",
    "lock": "a lock cannot be taken over from a machine that nothing is known of",
    "event": "an event is cleared and set in no common order; publish a number in a slot",
    "array": "nobody knows when an array changes; publish it in a slot, or put it into a ring",
    "heap": "a block of a heap is held by processes of one machine; put its bytes into a ring",
}


def split(name: str) -> tuple[str, str | None]:
    """The region and the object of a name, as "robot/frames"; without "/" the object is None."""
    region, slash, inside = name.partition("/")
    return region, inside if slash else None


def _checked(name: str, what: str) -> str:
    """A name or pattern that could be one of an object."""
    region, inside = split(name)
    if not region or inside == "" or "\0" in name or len(name) > 255 or region[0] == ".":
        raise ValueError(
            f"{what} must be REGION or REGION/OBJECT, patterns allowed, got "
            f"{_arguments.shown(name)}"
        )
    return name


@dataclass(frozen=True, slots=True)
class Carry:
    """
    Objects that a bridge carries to its peers.

    Attributes:
        kind: One of KINDS.
        pattern: A name, or a pattern with *, ? or [...].
    """

    kind: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Of "ring:frames", "topic:ticks*", "slot:robot/pose".

        Raises:
            TypeError, ValueError: it is none, or of a kind that is not carried; the text says why.
        """
        if not isinstance(text, str):
            raise TypeError(f"carry takes texts as 'ring:frames', got {_arguments.shown(text)}")
        kind, colon, pattern = text.partition(":")
        if kind in REFUSED:
            raise ValueError(f"a {kind} is not carried: {REFUSED[kind]}")
        if not colon or kind not in KINDS:
            raise ValueError(
                f"carry takes KIND:NAME with a kind of {', '.join(KINDS)}, got "
                f"{_arguments.shown(text)}{_arguments.meant(kind, KINDS)}"
            )
        return cls(kind, _checked(pattern, "the name behind the kind"))

    @property
    def is_pattern(self) -> bool:
        return any(letter in self.pattern for letter in "*?[")

    def matches(self, name: str) -> bool:
        return _matches(self.pattern, name)


def _matches(pattern: str, name: str) -> bool:
    """Region and object each match their part: a "*" goes through no "/"."""
    (region, inside), (of_region, of_object) = split(name), split(pattern)
    if (inside is None) != (of_object is None):
        return False
    return fnmatch.fnmatchcase(region, of_region) and (
        inside is None or of_object is None or fnmatch.fnmatchcase(inside, of_object)
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What a bridge may do.

    Attributes:
        carry: What it carries to its peers.
        allow: Patterns of what its peers may write here.
        deny: Patterns of what is carried in neither direction, whatever the others say.
        rename: Names here, and what the peers call them.
    """

    carry: tuple[Carry, ...]
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    rename: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def checked(
        cls,
        carry: Iterable[str],
        allow: Iterable[str],
        deny: Iterable[str],
        rename: Mapping[str, str],
    ) -> Self:
        """
        Raises:
            TypeError, ValueError: a text cannot be meant, or an object would go in a circle.
        """
        for what, given in (("carry", carry), ("allow", allow), ("deny", deny)):
            if isinstance(given, str):
                raise TypeError(f"{what} takes a list of texts, got one; write [{given!r}]")
        carries = tuple(Carry.parse(text) for text in carry)
        names = dict(rename)
        for here, there in names.items():
            for name in (here, there):
                if not isinstance(name, str) or any(letter in name for letter in "*?["):
                    raise ValueError(f"rename takes names, no patterns, got {name!r}")
                _checked(name, "rename")
        if len(set(names.values())) != len(names):
            raise ValueError("rename gives two names here one name there; give each its own")
        allowed = tuple(_checked(text, "allow") for text in allow)
        return cls(carries, allowed, tuple(_checked(text, "deny") for text in deny), names)

    def carries(self, kind: str, name: str) -> bool:
        """Whether an object of this name goes to the peers."""
        return not self.denies(name) and any(
            one.kind == kind and one.matches(name) for one in self.carry
        )

    def admits(self, name: str) -> bool:
        """Whether peers may write an object of this name here."""
        return not self.denies(name) and any(_matches(pattern, name) for pattern in self.allow)

    def denies(self, name: str) -> bool:
        return any(_matches(pattern, name) for pattern in self.deny)

    def there(self, name: str) -> str:
        """What the peers call an object of this name here."""
        return self.rename.get(name, name)

    def here(self, name: str) -> str:
        """What an object is called here that the peers call so."""
        for here, there in self.rename.items():
            if there == name:
                return here
        return name
