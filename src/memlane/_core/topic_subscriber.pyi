# SPDX-License-Identifier: MIT
from typing import final

from memlane._core.receiver import RecordLoan

@final
class TopicRecord(RecordLoan):
    """
    A borrowed record of a topic: its bytes where they lie, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last.
    """

    @property
    def sequence(self) -> int:
        """
        Its number among the records of its publisher, which begin at 0 and never repeat; with order="all" among those of all
        publishers, of which one may be missing that was never published.
        """
    @property
    def publisher(self) -> int:
        """Which publisher published it: the number of its lane, as of `Record.producer`."""
    @property
    def overwritten(self) -> bool:
        """
        Whether a publisher has overwritten it meanwhile: then what was read of it may be anything. With when_full="wait"
        never. False now says that all that was read up to now is whole.
        """
