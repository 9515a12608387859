# SPDX-License-Identifier: MIT
"""
Buffers that users pass, to be read or to be filled: any contiguous one, but none that holds Python objects.

A pointer to an object means nothing to another process, and bytes that are written over one crash the process that
follows it. So the format is asked for with the bytes, wherever a buffer goes in or out.
"""

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

# numpy makes the text of a format anew for each view. So its arrays are asked for their dtype instead, and the one that
# was found sound last is remembered; it is kept alive, so that no other one gets its address.
cdef PyTypeObject *ndarray_type = NULL
cdef object sound_dtype = None


cdef inline int contiguous(object thing, Py_buffer *view, int flags, str verb) except -1:
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
