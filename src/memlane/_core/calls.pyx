# SPDX-License-Identifier: MIT
"""
What a caller sees of a call that fails: a sentence of ours for arguments that do not fit, and at most one frame of ours.

Cython adds an entry to the traceback for each of its functions that an exception leaves, and refuses arguments in its
own bare words. Both happen behind the failure, so both are mended there, and a call that succeeds pays nothing: the
function that Cython asks for a frame first takes away those of ours that the exception has just left, and has the
refusal put into better words. So the last frame that is left is that of the verb which was called. Frames of others
stay: those of an `__index__`, a buffer or a signal handler of the user's.

MEMLANE_TRACEBACKS=whole in the environment leaves every frame where it is.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

import functools as _functools
import os as _os
import sys as _sys
import types as _types

import memlane._calls as _calls
import memlane.errors as _errors

cdef memlane_calls shared

_reword = _calls.reword
_outcomes = (_errors.Empty, _errors.Full)
_name_key = _sys.intern("__name__")
# for as long as the process lives
Py_INCREF(_reword)
Py_INCREF(_outcomes)
Py_INCREF(_name_key)
shared.reword, shared.outcomes, shared.name_key = <PyObject *>_reword, <PyObject *>_outcomes, <PyObject *>_name_key
shared.whole = _os.environ.get("MEMLANE_TRACEBACKS") == "whole"
memlane_calls_join(&shared, globals())


cdef memlane_calls *calls_of_process() noexcept:
    """What all modules share."""
    return &shared


cdef object without_ours(object traceback):
    """The entries of a traceback that are not ours, in their order."""
    kept = []
    while traceback is not None:
        if not memlane_frame_is_ours(traceback.tb_frame):
            kept.append(traceback)
        traceback = traceback.tb_next
    for entry in reversed(kept):
        traceback = _types.TracebackType(traceback, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return traceback


cdef object clear_verb(object verb):
    @cython.binding(True)  # with a name, a docstring and a signature of its own
    def call(*arguments, **keywords):
        try:
            return verb(*arguments, **keywords)
        except BaseException as error:
            if shared.whole or memlane_exception_is_bug(error):
                raise
            if type(error) is TypeError:
                better = _calls.refusal(verb, arguments, keywords)
                if better is not None:
                    error.args = (better,)
            error.__traceback__ = without_ours(error.__traceback__)
            raise error

    _calls.show_bits(verb)
    return _functools.wraps(verb)(call)


def clear_errors(face):
    """
    Let errors of a verb, or of every public verb of a class, speak to the caller.

    For Python functions that are called seldom. Arguments that do not fit are told in a sentence of ours, and the
    traceback has no frames of ours. Signature, docstring and types stay those of the verb.
    """
    if not isinstance(face, type):
        return clear_verb(face)
    for name, member in list(vars(face).items()):
        if name.startswith("_") and name not in ("__init__", "__enter__", "__reduce__"):
            continue
        if isinstance(member, _types.FunctionType):
            setattr(face, name, clear_verb(member))
        elif isinstance(member, (classmethod, staticmethod)):
            setattr(face, name, type(member)(clear_verb(member.__func__)))
        elif isinstance(member, property) and member.fget is not None:
            setattr(face, name, property(clear_verb(member.fget), member.fset and clear_verb(member.fset), member.fdel))
    return face
