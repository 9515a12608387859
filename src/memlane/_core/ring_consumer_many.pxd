# SPDX-License-Identifier: MIT
from memlane._core.ring_consumer cimport ConsumerRole
from memlane._core.ring_state cimport RingState

cdef ConsumerRole many_consumers(RingState ring)
