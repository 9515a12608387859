# SPDX-License-Identifier: MIT
"""
What a bridge asks of an engine, and what it is told by one. All that is particular to a network
library stands in one module for each.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Engine", "Events", "LinkLost"]


class LinkLost(ConnectionError):
    """The message could not be handed to the link; nothing is known of what was sent before."""


class Events(Protocol):
    """
    What an engine tells. Called by threads of the engine, for one peer in the order of what
    happened. None of these raises.
    """

    def received(self, peer: str, head: bytes, body: bytes) -> None:
        """A message arrived. Messages of one peer arrive in their order, or not at all."""

    def found(self, peer: str) -> None:
        """A peer can be sent to."""

    def lost(self, peer: str) -> None:
        """
        The link to a peer is lost, and so may be what was sent before. An engine that cannot tell
        needs not: a bridge asks by messages of its own.
        """


class Engine(Protocol):
    """
    Carries messages between bridges. It may lose them, and then all that follow, but for none does
    it change bytes or order. What has arrived is acknowledged by messages of the bridges.
    """

    def start(self, node: str, events: Events) -> None:
        """
        Listen and connect as the engine was told when it was made.

        Args:
            node: The name of this bridge among its peers: letters, digits, "-".

        Raises:
            OSError: it cannot listen there.
            ValueError: the library refuses its configuration.
        """

    def send(self, peer: str, head: bytes, body: bytes | bytearray, *, wait: bool) -> None:
        """
        Hand a message over. Both are copied, or not changed any more.

        Args:
            wait: Wait while the link is busy; else the message may be dropped instead.

        Raises:
            LinkLost: there is no link.
        """

    def stop(self) -> None:
        """End it, and return when no event is told any more. Never fails."""

    def stats(self) -> dict[str, Any]:
        """What it knows of itself, as plain dicts and lists."""
