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

import functools as _functools

import memlane._calls as _calls
import memlane.errors as _errors

cdef extern from *:
    """
    #include <frameobject.h>

    static int memlane_tracebacks_whole = 0;
    static PyObject *memlane_module_globals = NULL;  /* borrowed: both live as long as the module */
    static PyObject *memlane_reword = NULL;          /* (name of the function, message) -> better message or None */
    static PyObject *memlane_name_key = NULL;        /* "__name__", interned */
    static PyObject *memlane_outcomes = NULL;        /* the errors that polling loops get, as a tuple */
    static const char memlane_clear_verb_name[] = "memlane._core.clear_verb.call";

    static int memlane_frame_is_ours(PyObject *frame)
    {
        PyObject *globals = PyFrame_GetGlobals((PyFrameObject *)frame);
        int ours = globals == memlane_module_globals;
        if (!ours) {
            PyObject *name = PyDict_GetItem(globals, memlane_name_key);
            const char *text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
            ours = text != NULL && strncmp(text, "memlane", 7) == 0 && (text[7] == '.' || text[7] == 0);
            if (text == NULL) PyErr_Clear();
        }
        Py_DECREF(globals);
        return ours;
    }

    static int memlane_is_clear_verb(PyCodeObject *code)
    {
        return PyUnicode_GET_LENGTH(code->co_name) == (Py_ssize_t)sizeof memlane_clear_verb_name - 1
               && PyUnicode_CompareWithASCIIString(code->co_name, memlane_clear_verb_name) == 0;
    }

    /* Whether the error that is set is an outcome, Full or Empty say, that no frame has seen but one of the extension's,
     * which is taken away. What goes on in every round of a polling loop, without the questions about all other errors. */
    static int memlane_outcome_without_ours(PyThreadState *state)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        PyObject *value = state->current_exception;
        PyObject *type = value == NULL ? NULL : (PyObject *)Py_TYPE(value);
        PyObject **traceback = value == NULL ? NULL : &((PyBaseExceptionObject *)value)->traceback;
    #else
        PyObject *type = state->curexc_type;
        PyObject **traceback = &state->curexc_traceback;
    #endif
        Py_ssize_t index, count = memlane_outcomes == NULL ? 0 : PyTuple_GET_SIZE(memlane_outcomes);
        for (index = 0; index < count && PyTuple_GET_ITEM(memlane_outcomes, index) != type; index++) {}
        if (index == count) return 0;
        if (*traceback != NULL) {
            PyTracebackObject *entry = (PyTracebackObject *)*traceback;
            PyObject *globals = PyFrame_GetGlobals(entry->tb_frame);
            Py_DECREF(globals); /* the frame has it */
            if (entry->tb_next != NULL || globals != memlane_module_globals) return 0;
            Py_CLEAR(*traceback);
        }
        return 1;
    }

    /* Errors that no sound code of ours raises on purpose. Whoever reports one needs every frame of it; but not if
     * it comes out of code of the user's. */
    static int memlane_is_bug(PyObject *type, PyObject *traceback)
    {
        PyTracebackObject *entry = (PyTracebackObject *)traceback;
        if (!(PyErr_GivenExceptionMatches(type, PyExc_AttributeError)
              || PyErr_GivenExceptionMatches(type, PyExc_NameError)
              || PyErr_GivenExceptionMatches(type, PyExc_AssertionError)
              || PyErr_GivenExceptionMatches(type, PyExc_SystemError)
              || PyErr_GivenExceptionMatches(type, PyExc_ZeroDivisionError)))
            return 0;
        while (entry != NULL && entry->tb_next != NULL) entry = entry->tb_next;
        return entry == NULL || memlane_frame_is_ours((PyObject *)entry->tb_frame);
    }

    /* The traceback without the entries of ours at its beginning; takes the reference over. */
    static PyObject *memlane_without_ours(PyObject *traceback)
    {
        while (traceback != NULL && memlane_frame_is_ours((PyObject *)((PyTracebackObject *)traceback)->tb_frame)) {
            PyObject *next = (PyObject *)((PyTracebackObject *)traceback)->tb_next;
            Py_XINCREF(next);
            Py_DECREF(traceback);
            traceback = next;
        }
        return traceback;
    }

    /* A TypeError that no frame has seen yet may be a refusal by Cython's parser of arguments. Without a name it is one
     * by a function that takes none, which asks for no frame. */
    static void memlane_reword_refusal(PyObject *name, PyObject **value)
    {
        PyObject *text = *value == NULL ? NULL : PyObject_Str(*value);
        PyObject *better = text == NULL ? NULL : PyObject_CallFunctionObjArgs(memlane_reword, name, text, NULL);
        if (better != NULL && PyUnicode_Check(better)) {
            if (!PyExceptionInstance_Check(*value)) {
                Py_SETREF(*value, Py_NewRef(better));  /* 3.11 makes the exception later */
            } else {
                PyObject *arguments = PyTuple_Pack(1, better);
                if (arguments != NULL) PyObject_SetAttrString(*value, "args", arguments);
                Py_XDECREF(arguments);
            }
        }
        Py_XDECREF(better);
        Py_XDECREF(text);
        PyErr_Clear();
    }

    static void memlane_fetch(PyObject **type, PyObject **value, PyObject **traceback)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        *value = PyErr_GetRaisedException();
        *type = *value == NULL ? NULL : Py_NewRef(Py_TYPE(*value));
        *traceback = *value == NULL ? NULL : PyException_GetTraceback(*value);
    #else
        PyErr_Fetch(type, value, traceback);
    #endif
    }

    static void memlane_restore(PyObject *type, PyObject *value, PyObject *traceback)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        if (value != NULL) {
            PyException_SetTraceback(value, traceback == NULL ? Py_None : traceback);
            PyErr_SetRaisedException(value);
        }
        Py_XDECREF(type);
        Py_XDECREF(traceback);
    #else
        PyErr_Restore(type, value, traceback);
    #endif
    }

    /* In the place of PyErr_Format. */
    static PyObject *memlane_error_format(PyObject *kind, const char *format, ...)
    {
        PyObject *type, *value, *traceback;
        va_list arguments;
        va_start(arguments, format);
        PyErr_FormatV(kind, format, arguments);
        va_end(arguments);
        if (kind == PyExc_TypeError && memlane_reword != NULL && !memlane_tracebacks_whole
            && (strncmp(format, "%s() ", 5) == 0 || strncmp(format, "%.200s() ", 9) == 0)) {
            memlane_fetch(&type, &value, &traceback);
            memlane_reword_refusal(Py_None, &value);
            memlane_restore(type, value, traceback);
        }
        return NULL;
    }
    #define PyErr_Format memlane_error_format

    /* In the place of PyFrame_New. NULL, and Cython adds nothing to the traceback: only where code of others is in it,
     * since Cython's `with` takes it for granted that there is a traceback. */
    static PyFrameObject *memlane_frame_new(PyThreadState *state, PyCodeObject *code, PyObject *globals, PyObject *locals)
    {
        PyObject *type, *value, *traceback;
        if (memlane_tracebacks_whole || globals != memlane_module_globals)
            return PyFrame_New(state, code, globals, locals);
        if (memlane_outcome_without_ours(state))
            return memlane_is_clear_verb(code) ? NULL : PyFrame_New(state, code, globals, locals);
        memlane_fetch(&type, &value, &traceback);
        int wanted = 1, is_bug = type == NULL || memlane_is_bug(type, traceback);
        if (!is_bug) {
            traceback = memlane_without_ours(traceback);
            if (traceback == NULL && type == PyExc_TypeError) memlane_reword_refusal(code->co_name, &value);
            wanted = traceback == NULL && !memlane_is_clear_verb(code);
        }
        memlane_restore(type, value, traceback);
        return wanted ? PyFrame_New(state, code, globals, locals) : NULL;
    }
    #define PyFrame_New memlane_frame_new

    /* In the place of PyCode_NewEmpty. Cython keeps the code of a frame by a line number, that of the .pxi alone unless
     * the build asks for that of the C file, and so mixes up functions of two files; with it, it adds the latter to the
     * name, where nobody wants it. */
    static PyCodeObject *memlane_code_new(const char *file, const char *function, int line)
    {
        char name[200];
        size_t length = strcspn(function, " ");
        if (length >= sizeof name) return PyCode_NewEmpty(file, function, line);
        memcpy(name, function, length);
        name[length] = 0;
        return PyCode_NewEmpty(file, name, line);
    }
    #define PyCode_NewEmpty memlane_code_new

    static void memlane_tracebacks_begin(PyObject *globals, PyObject *reword, PyObject *outcomes, int whole)
    {
        memlane_module_globals = globals;
        memlane_reword = reword;
        memlane_name_key = PyUnicode_InternFromString("__name__");
        memlane_outcomes = Py_NewRef(outcomes);
        memlane_tracebacks_whole = whole;
    }

    static int memlane_exception_is_bug(PyObject *error)
    {
        PyObject *traceback = PyException_GetTraceback(error);
        int is_bug = memlane_is_bug((PyObject *)Py_TYPE(error), traceback);
        Py_XDECREF(traceback);
        return is_bug;
    }
    """
    void memlane_tracebacks_begin(object globals, object reword, object outcomes, bint whole)
    bint memlane_exception_is_bug(object error)
    bint memlane_frame_is_ours(object frame)
    bint memlane_tracebacks_whole

_reword = _calls.reword
memlane_tracebacks_begin(globals(), _reword, (_errors.Empty, _errors.Full), _os.environ.get("MEMLANE_TRACEBACKS") == "whole")


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
            if memlane_tracebacks_whole or memlane_exception_is_bug(error):
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
