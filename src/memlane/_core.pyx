# SPDX-License-Identifier: MIT
# cython: language_level=3, freethreading_compatible=False, embedsignature=True
# cython: embedsignature.format=clinic, binding=False, autotestdict=False, auto_pickle=False
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The binding: one extension, a file under binding/ for each kind of object. No atomics of its own."""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_STRIDES,
    PyBUF_WRITABLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_CheckExact
from cpython.list cimport PyList_New
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.number cimport PyNumber_AsSsize_t, PyNumber_Index
from cpython.tuple cimport PyTuple_CheckExact
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Unpack
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memmove, memset, strcmp

import errno as _errno
import fcntl as _fcntl
import io as _io
import os as _os
import stat as _stat
import sys as _sys
import types as _types
import weakref as _weakref

import memlane._arguments as _arguments
import memlane._limits as _limits
from memlane.errors import ClosedError, MemlaneError

# A name, for a signature shows a number in decimal.
PERMISSIONS = _arguments.PERMISSIONS

include "binding/calls.pxi"
cdef extern from *:
    const char *MEMLANE_VERSION

VERSION = MEMLANE_VERSION.decode()

include "binding/system.pxi"
include "binding/buffers.pxi"
include "binding/guard.pxi"
include "binding/pages.pxi"
include "binding/pages_of_mapping.pxi"
include "binding/mapping.pxi"
include "binding/membership.pxi"
include "binding/opened.pxi"
include "binding/doorbell.pxi"
include "binding/ring.pxi"
include "binding/producer.pxi"
include "binding/consumer.pxi"
include "binding/consumer_one.pxi"
include "binding/consumer_many.pxi"
include "binding/handles.pxi"
include "binding/slot.pxi"
include "binding/counter.pxi"
