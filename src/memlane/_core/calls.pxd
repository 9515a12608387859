# SPDX-License-Identifier: MIT
from cpython.object cimport PyObject

cdef extern from "memlane/_core/calls.h":
    struct memlane_calls:
        bint whole
        PyObject *reword
        PyObject *name_key
        PyObject *outcomes
    bint memlane_exception_is_bug(object error)
    bint memlane_frame_is_ours(object frame)
    # Each module calls it once, first of all: errors that leave it speak to the caller from then on.
    void memlane_calls_join(memlane_calls *shared, object globals)

cdef memlane_calls *calls_of_process() noexcept
