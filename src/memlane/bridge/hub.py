# SPDX-License-Identifier: MIT
"""What the streams of a bridge ask of it: sending, and which peers there are."""

from __future__ import annotations

import threading
from typing import Final, Protocol

__all__ = ["PIECE_NBYTES", "TRY_AGAIN_S", "Hub"]

#: Records are put together to messages of about so many bytes, and cut into pieces of as many:
#: measured, Zenoh carries most bytes a second in messages of 128 to 512 KiB.
PIECE_NBYTES: Final = 256 << 10
#: How long after a refusal or a failure the same is tried again. Arbitrary.
TRY_AGAIN_S: Final = 0.5


class Hub(Protocol):
    """A bridge, as its streams know it."""

    name: str
    window: int
    largest: int
    stopping: threading.Event

    def send(self, node: str, head: bytes, body: bytes | bytearray, *, wait: bool = True) -> bool:
        """Hand a message over; False: there is no link."""

    def nodes(self) -> dict[str, str]:
        """The peers that can be sent to: the node of each by its name."""

    def tell(self, text: str) -> None:
        """Tell the user of something that happened."""
