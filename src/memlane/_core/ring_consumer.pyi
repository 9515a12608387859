# SPDX-License-Identifier: MIT
from typing import final

from memlane._core.receiver import RecordLoan

@final
class Record(RecordLoan):
    """
    A borrowed record: its bytes where they lie in the ring, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last. Meanwhile it takes up room in the ring. If this
    process dies, another consumer gets it.

    Attributes:
        redelivered: Whether another consumer had it in hand and died, and so may have made use of it. Known with
            consumers="many" only: of one consumer nobody can tell what it had in hand, and this is False.
    """

    @property
    def redelivered(self) -> bool: ...
    @property
    def sequence(self) -> int:
        """
        Its number among the records of its lane, which begin at 0 and never repeat. Of one producer the numbers follow
        each other; a successor in its lane goes on with them.
        """
    @property
    def producer(self) -> int:
        """
        Which producer put it: the number of its lane, from 0 to one less than the ring's `producers`. A lane goes to a
        successor when its producer leaves or dies, so over time a number may stand for several producers, of one process
        or of several. `stats()["lanes"]` says which pid has the lane now.
        """
    def give_back(self) -> None:
        """
        Have another consumer get the record, since this one could not handle it: with consumers="many" only. It comes when
        there is nothing fresh, or a tenth of a second later at the latest, and is not marked as redelivered.

        Raises:
            BufferError: views of the record are alive; the loan stays.
            ValueError: the ring has one consumer; the loan stays.
            ClosedError: the record was released.
        """
