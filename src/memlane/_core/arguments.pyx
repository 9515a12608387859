# SPDX-License-Identifier: MIT
"""
What users pass: sizes, indices, seconds, dtypes, and buffers to be read or to be filled.

A buffer is any contiguous one, but none that holds Python objects. A pointer to an object means nothing to another
process, and bytes that are written over one crash the process that follows it. So the format is asked for with the bytes,
wherever a buffer goes in or out.
"""

from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.float cimport PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.number cimport PyNumber_AsSsize_t
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport strcmp

import errno as _errno
import sys as _sys

import memlane._arguments as _arguments
from memlane.errors import MemlaneError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.os cimport memlane_monotonic_ns
from memlane._core.os_errors cimport os_error

memlane_calls_join(calls_of_process(), globals())

# numpy makes the text of a format anew for each view. So its arrays are asked for their dtype instead, and the one that
# was found sound last is remembered; it is kept alive, so that no other one gets its address.
cdef PyTypeObject *ndarray_type = NULL

cdef object sound_dtype = None


cdef int contiguous(object thing, Py_buffer *view, int flags, str verb) except -1:
    """
    The bytes of *thing*, which lie together, to be released by the caller; *flags* is PyBUF_SIMPLE or PyBUF_WRITABLE.
    *verb* is what the user called, for messages. May run Python code.
    """
    if ndarray_type == NULL and strcmp(Py_TYPE(thing).tp_name, "numpy.ndarray") == 0:
        know_arrays(thing)
    if Py_TYPE(thing) == ndarray_type:
        if (<memlane_ndarray *>thing).dtype != <PyObject *>sound_dtype:
            refuse_dtype(thing, flags, verb)
        if get_buffer(thing, view, flags) < 0:
            return unusual(thing, view, flags, verb)
        return 0
    # with the shape, since memoryview tells its format only then
    if get_buffer(thing, view, flags | PyBUF_ND | PyBUF_FORMAT) < 0:
        return unusual(thing, view, flags, verb)
    # Nearly all of them are of one letter. More than one byte of format B is how ctypes describes what it cannot.
    if view.format == NULL or (view.format[0] != b"O" and view.format[1] == 0
                               and (view.format[0] != b"B" or view.itemsize == 1)):
        return 0
    return look_closely(thing, view, flags, verb)


cdef int look_closely(object thing, Py_buffer *view, int flags, str verb) except -1:
    cdef bytes described = view.format
    cdef bint refused = True
    try:
        refused = has_objects(view.format) or are_ctypes_with_objects(thing)
    finally:
        if refused:
            PyBuffer_Release(view)
    if refused:
        refuse_objects(thing, flags, verb, f"format {described.decode('utf-8', 'replace')!r}")
    return 0


cdef int refuse_dtype(object array, int flags, str verb) except -1:
    global sound_dtype
    dtype = array.dtype
    if dtype.hasobject:
        refuse_objects(array, flags, verb, repr(dtype))
    sound_dtype = dtype
    return 0


cdef int know_arrays(object thing) except -1:
    """If this is one of numpy's arrays, whose dtype lies where the ABI has it, the others are quick from now on."""
    global ndarray_type
    numpy = _sys.modules.get("numpy")
    if (type(thing) is getattr(numpy, "ndarray", None) and type(thing).__basicsize__ >= <Py_ssize_t>sizeof(memlane_ndarray)
            and (<memlane_ndarray *>thing).dtype == <PyObject *>thing.dtype):
        ndarray_type = Py_TYPE(thing)
    return 0


cdef bint has_objects(const char *format) noexcept:
    """Whether there is an O in a format as the struct module and PEP 3118 have them, outside the names of fields."""
    cdef bint in_name = False
    while format[0] != 0:
        if format[0] == b":":
            in_name = not in_name
        elif format[0] == b"O" and not in_name:
            return True
        format += 1
    return False


cdef bint are_ctypes_with_objects(object thing) except -1:
    """Whether these are ctypes with objects: their formats do not tell of unions and of packed structures."""
    while type(thing) is memoryview:
        thing = thing.obj
    if "ctypes" not in _sys.modules or not (hasattr(type(thing), "_fields_") or hasattr(type(thing), "_length_")):
        return False
    return ctypes_holds(type(thing), _sys.modules["ctypes"].py_object)


def ctypes_holds(kind, forbidden):
    """Return whether the ctypes class *kind* is, or has anywhere in it, one of these classes."""
    if issubclass(kind, forbidden):
        return True
    if hasattr(kind, "_fields_"):
        for above in kind.__mro__:
            for field in vars(above).get("_fields_", ()):
                if ctypes_holds(field[1], forbidden):
                    return True
        return False
    return hasattr(kind, "_length_") and ctypes_holds(kind._type_, forbidden)


cdef int unusual(object thing, Py_buffer *view, int flags, str verb) except -1:
    """With an error set: the bytes of what only cannot describe them, or the error that says what is wrong with it."""
    cdef Py_buffer strided
    if not (PyErr_ExceptionMatches(BufferError) or PyErr_ExceptionMatches(ValueError) or PyErr_ExceptionMatches(TypeError)):
        return -1  # of what runs while the buffer is asked for: a handler of a signal
    PyErr_Clear()
    if not PyObject_CheckBuffer(thing):
        if flags & PyBUF_WRITABLE:
            raise TypeError(f"{verb} needs a writable contiguous buffer, got {type(thing).__name__}; pass a bytearray or "
                            "an array")
        if isinstance(thing, str):
            call = f"{verb}(text.encode())" if verb in ("put", "room.write", "publish") else "text.encode()"
            raise TypeError(f"{verb} needs bytes or another contiguous buffer, got str; encode it: {call}")
        raise TypeError(f"{verb} needs bytes or another contiguous buffer, got {type(thing).__name__}; turn it into bytes "
                        "first, e.g. pickle.dumps(...)")
    try:
        PyObject_GetBuffer(thing, view, flags)
    except MemlaneError:
        raise
    except (BufferError, ValueError) as error:
        wrong = error
    else:
        if getattr(getattr(thing, "dtype", None), "hasobject", False):
            PyBuffer_Release(view)
            refuse_objects(thing, flags, verb, repr(thing.dtype))
        return 0
    try:
        PyObject_GetBuffer(thing, &strided, PyBUF_STRIDES)
    except Exception:
        raise wrong from None
    try:
        if flags & PyBUF_WRITABLE and strided.readonly:
            raise BufferError(f"{verb} needs a writable buffer, got read-only {type(thing).__name__}; pass a bytearray or a "
                              "writable array") from None
    finally:
        PyBuffer_Release(&strided)
    if flags & PyBUF_WRITABLE:
        raise BufferError(f"{verb} needs a buffer whose bytes lie together, got {type(thing).__name__} with gaps or in "
                          "another order; pass a contiguous one, and copy out of that") from None
    raise BufferError(f"{verb} needs bytes that lie together, got {type(thing).__name__} with gaps or in another order; "
                      "pass a copy, as numpy.ascontiguousarray makes it") from None


cdef object refuse_objects(object thing, int flags, str verb, str described):
    hint = "pass a bytearray or an array of numbers" if flags & PyBUF_WRITABLE else (
        "turn it into bytes first, e.g. pickle.dumps(...)")
    raise TypeError(f"{verb} got {type(thing).__name__} with Python objects in it ({described}), which cannot be shared; {hint}")


cdef uint64_t size_of(object value, str what, uint64_t least) except? 0:
    cdef uint64_t nbytes
    cdef int overflow = 0
    cdef long long plain
    if type(value) is int:
        # most sizes are: a call into Python would cost as much as mapping a page
        plain = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow and <long long>least <= plain < (<long long>1 << 62):
            return plain
    nbytes = _arguments.size(value, what)
    if nbytes < least:
        raise ValueError(f"{what} must be at least {least}, got {_arguments.shown(value)}")
    return nbytes


cdef int descriptor_of(object given) except? -1:
    """The number of a descriptor, given as an int or by an object that has one."""
    number = given
    if not isinstance(given, int):
        fileno = getattr(given, "fileno", None)
        number = None if fileno is None or isinstance(given, type) else fileno()
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"fd must be a descriptor, an int, or an object with fileno(), got {_arguments.shown(given)}")
    if not 0 <= number < 1 << 31:
        raise os_error(_errno.EBADF, f"map descriptor {_arguments.shown(number)}")
    return number


cdef Py_ssize_t index_of_other(object item) except? -1:
    number = _arguments.index(item)
    try:
        return PyNumber_AsSsize_t(number, IndexError)
    except IndexError:
        raise IndexError(f"index {_arguments.shown(item)} is out of range") from None




cdef unsigned char byte_of_other(object value) except? 0:
    number = value if isinstance(value, int) else _arguments.integer(value, "a byte", "an int from 0 to 255")
    if not 0 <= number <= 255:
        raise ValueError(f"a byte must be from 0 to 255, got {_arguments.shown(value)}")
    return number




cdef double seconds_of(object timeout) except -1:
    """A timeout that is not None in seconds; all but plain numbers go through the check that Python code uses, too."""
    cdef double seconds = -1
    cdef int overflow = 0
    if PyFloat_CheckExact(timeout):
        seconds = timeout
    elif PyLong_CheckExact(timeout):
        seconds = <double>PyLong_AsLongLongAndOverflow(timeout, &overflow)
    if seconds >= 0 and not overflow:
        return seconds
    return _arguments.timeout(timeout)


cdef uint64_t deadline_of(object timeout) except? 0:
    """Turn seconds into a moment of the monotonic clock in ns; 0: never wait, FOREVER: no end."""
    cdef double seconds
    if timeout is None:
        return FOREVER
    seconds = seconds_of(timeout)
    if seconds == 0:
        return 0
    if seconds > 1e9:
        return FOREVER
    return memlane_monotonic_ns() + <uint64_t>(seconds * 1e9)


cdef object numpy_for(str verb, str instead):
    try:
        import numpy
    except ImportError:
        numpy = None
    if numpy is None:  # or somebody has put that into sys.modules
        raise ImportError(f"{verb} needs numpy, which is not installed; install it, or use {instead}", name="numpy")
    return numpy


cdef object dtype_of(object numpy, object dtype):
    try:
        return numpy.dtype(dtype)
    except (TypeError, ValueError) as wrong:
        kind = TypeError if isinstance(wrong, TypeError) else ValueError
        raise kind(f"dtype must be one of numpy's, or what makes one, got {_arguments.shown(dtype)}") from None


cdef tuple dimensions_of(object shape):
    if isinstance(shape, (str, bytes)):  # the items of bytes are ints
        raise TypeError(f"shape must be an int or a tuple of ints, got {_arguments.shown(shape)}")
    found = tuple([_arguments.integer(length, "shape", "an int or a tuple of ints")
                   for length in ((shape,) if not hasattr(shape, "__iter__") else shape)])
    if any([length < 0 for length in found]):
        raise ValueError(f"shape must have no negative number, got {_arguments.shown(shape)}")
    return found


cdef object array_of(object buffer, uint64_t nbytes, object shape, object dtype, str what, str remedy):
    """A numpy array on the first bytes of *buffer*, which holds an export of it for as long as it lives."""
    numpy = numpy_for(f"{what}.array", f"memoryview({what}).cast(...)")
    kind = dtype_of(numpy, dtype)
    if kind.hasobject:
        raise TypeError(f"{what}.array cannot hold Python objects, which mean nothing to another process, got dtype {kind}; "
                        "use a dtype of numbers or bytes")
    dimensions = dimensions_of(shape)
    count = 1
    for length in dimensions:
        count *= length
    if count * kind.itemsize > nbytes:
        raise ValueError(f"shape {_arguments.shown(shape)} of {kind} needs {_arguments.shown(count * kind.itemsize)} bytes, the "
                         f"{what} has {nbytes}; {remedy}")
    # Not numpy.ndarray(buffer=...), which lets the buffer go while the array lives.
    return numpy.frombuffer(buffer, kind, count).reshape(dimensions)
