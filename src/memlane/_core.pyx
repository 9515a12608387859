# SPDX-License-Identifier: MIT
# cython: language_level=3, freethreading_compatible=True, embedsignature=True
# cython: embedsignature.format=clinic, binding=True, autotestdict=False
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The binding: one extension, a file under binding/ for each kind of object. No atomics of its own."""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.number cimport PyNumber_AsSsize_t, PyNumber_Index
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Unpack
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove

import errno as _errno
import io as _io
import os as _os
import stat as _stat
import sys as _sys

from memlane import _arguments
from memlane.errors import ClosedError

include "binding/system.pxi"
include "binding/mapping.pxi"
