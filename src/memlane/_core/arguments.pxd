# SPDX-License-Identifier: MIT
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.slice cimport PySlice_Unpack
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define MEMLANE_FOREVER UINT64_MAX
    """
    const uint64_t FOREVER "MEMLANE_FOREVER"  # a deadline that never comes

cdef enum:
    # Above this size a copy lets other threads run: some 10 microseconds of copying, against one or two for giving the GIL
    # away and taking it back.
    COPY_WITH_GIL_NBYTES = 65536

cdef extern from *:
    """
    /* The head of numpy's arrays, which is part of its ABI: compiled extensions read it there. */
    struct memlane_ndarray {
        PyObject_HEAD
        char *data;
        int dimensions;
        Py_ssize_t *shape, *strides;
        PyObject *base, *dtype;
    };
    """
    struct memlane_ndarray:
        PyObject *dtype
    bint PyObject_CheckBuffer(object thing)
    int get_buffer "PyObject_GetBuffer"(object thing, Py_buffer *view, int flags)  # with the error left to the caller
    int PyErr_ExceptionMatches(object kind)
    void PyErr_Clear()
    ctypedef struct PyTypeObject:
        const char *tp_name
    PyTypeObject *Py_TYPE(object thing)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    ctypedef struct PySliceObject:
        PyObject *start
        PyObject *stop
        PyObject *step

cdef int contiguous(object thing, Py_buffer *view, int flags, str verb) except -1
cdef uint64_t size_of(object value, str what, uint64_t least) except? 0
cdef int descriptor_of(object given) except? -1
cdef Py_ssize_t index_of_other(object item) except? -1
cdef unsigned char byte_of_other(object value) except? 0


cdef inline Py_ssize_t index_of(object item) except? -1:
    """An index as it was given, negative ones too."""
    cdef Py_ssize_t index
    cdef int overflow = 0
    if PyLong_CheckExact(item):
        # most are, and few of those too large: one call less than the general way
        index = PyLong_AsLongLongAndOverflow(item, &overflow)
        if not overflow:
            return index
    return index_of_other(item)


cdef inline bint plain_bound(PyObject *given, Py_ssize_t otherwise, Py_ssize_t *bound) noexcept:
    cdef int overflow = 0
    if given == <PyObject *>None:
        bound[0] = otherwise
        return True
    if not PyLong_CheckExact(<object>given):
        return False
    bound[0] = PyLong_AsLongLongAndOverflow(<object>given, &overflow)
    return not overflow


cdef inline int bounds_of(object item, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1:
    """PySlice_Unpack, with a shorter way for plain numbers: a slice of a few bytes costs little else."""
    cdef PySliceObject *given = <PySliceObject *>item
    if (given.step == <PyObject *>None and plain_bound(given.start, 0, start)
            and plain_bound(given.stop, PY_SSIZE_T_MAX, stop)):
        step[0] = 1
        return 0
    return PySlice_Unpack(item, start, stop, step)


cdef inline unsigned char byte_of(object value) except? 0:
    cdef int overflow = 0
    cdef long long byte
    if PyLong_CheckExact(value):
        byte = PyLong_AsLongLongAndOverflow(value, &overflow)
        if 0 <= byte <= 255:
            return <unsigned char>byte
    return byte_of_other(value)


cdef double seconds_of(object timeout) except -1


cdef inline int check_timeout(object timeout) except -1:
    """For calls that turn out not to wait: a bad timeout is an error all the same."""
    if timeout is not None and timeout is not 0:
        seconds_of(timeout)
    return 0


cdef uint64_t deadline_of(object timeout) except? 0
cdef object numpy_for(str verb, str instead)
cdef object dtype_of(object numpy, object dtype)
cdef tuple dimensions_of(object shape)
cdef object array_of(object buffer, uint64_t nbytes, object shape, object dtype, str what, str remedy)
