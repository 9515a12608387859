/* SPDX-License-Identifier: MIT
 *
 * What a caller sees of a call that fails, for each module of the binding: calls.pyx says what, and why here.
 *
 * Cython adds entries to tracebacks and refuses arguments by functions of Python's C API. Those are replaced below, so
 * this stands in front of what Cython writes: every module cimports calls.pxd, and joins.
 */
#ifndef MEMLANE_BINDING_CALLS_H
#define MEMLANE_BINDING_CALLS_H

#include <Python.h>
#include <frameobject.h>
#include <stdarg.h>
#include <string.h>

enum { MEMLANE_MODULES_MAX = 64 }; /* far more than there are */

/* What all modules of the binding share; calls.pyx has the one that there is. */
struct memlane_calls {
    int whole; /* every frame stays where it is */
    int count; /* of the modules that have joined */
    PyObject *globals[MEMLANE_MODULES_MAX]; /* theirs; borrowed: modules live to the end */
    PyObject *reword; /* (name of the function, message) -> better message or None */
    PyObject *name_key; /* "__name__", interned */
    PyObject *outcomes; /* the errors that polling loops get, as a tuple */
};

/* NULL until this module has joined: then it leaves errors as they are. */
static struct memlane_calls *memlane_calls = NULL;
static const char memlane_clear_verb_name[] = "memlane._core.calls.clear_verb.call";

static int memlane_globals_are_ours(PyObject *globals) {
    for (int i = 0; i < memlane_calls->count; i++)
        if (memlane_calls->globals[i] == globals)
            return 1;
    return 0;
}

static int memlane_frame_is_ours(PyObject *frame) {
    PyObject *globals = PyFrame_GetGlobals((PyFrameObject *)frame);
    int ours = memlane_globals_are_ours(globals);
    if (!ours) {
        PyObject *name = PyDict_GetItem(globals, memlane_calls->name_key);
        const char *text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        ours = text != NULL && strncmp(text, "memlane", 7) == 0 && (text[7] == '.' || text[7] == 0);
        if (text == NULL)
            PyErr_Clear();
    }
    Py_DECREF(globals);
    return ours;
}

static int memlane_is_clear_verb(PyCodeObject *code) {
    return PyUnicode_GET_LENGTH(code->co_name) == (Py_ssize_t)sizeof memlane_clear_verb_name - 1 &&
           PyUnicode_CompareWithASCIIString(code->co_name, memlane_clear_verb_name) == 0;
}

/* Whether the error that is set is an outcome, Full or Empty say, that no frame has seen but one of the extension's,
 * which is taken away. What goes on in every round of a polling loop, without the questions about all other errors. */
static int memlane_outcome_without_ours(PyThreadState *state) {
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *value = state->current_exception;
    PyObject *type = value == NULL ? NULL : (PyObject *)Py_TYPE(value);
    PyObject **traceback = value == NULL ? NULL : &((PyBaseExceptionObject *)value)->traceback;
#else
    PyObject *type = state->curexc_type;
    PyObject **traceback = &state->curexc_traceback;
#endif
    Py_ssize_t index, count = PyTuple_GET_SIZE(memlane_calls->outcomes);
    for (index = 0; index < count && PyTuple_GET_ITEM(memlane_calls->outcomes, index) != type; index++) {
    }
    if (index == count)
        return 0;
    if (*traceback != NULL) {
        PyTracebackObject *entry = (PyTracebackObject *)*traceback;
        PyObject *globals = PyFrame_GetGlobals(entry->tb_frame);
        Py_DECREF(globals); /* the frame has it */
        if (entry->tb_next != NULL || !memlane_globals_are_ours(globals))
            return 0;
        Py_CLEAR(*traceback);
    }
    return 1;
}

/* Errors that no sound code of ours raises on purpose. A report of one needs every frame of it; but not if
 * it comes out of code of the user's. */
static int memlane_is_bug(PyObject *type, PyObject *traceback) {
    PyTracebackObject *entry = (PyTracebackObject *)traceback;
    if (!(PyErr_GivenExceptionMatches(type, PyExc_AttributeError) ||
          PyErr_GivenExceptionMatches(type, PyExc_NameError) ||
          PyErr_GivenExceptionMatches(type, PyExc_AssertionError) ||
          PyErr_GivenExceptionMatches(type, PyExc_SystemError) ||
          PyErr_GivenExceptionMatches(type, PyExc_ZeroDivisionError)))
        return 0;
    while (entry != NULL && entry->tb_next != NULL)
        entry = entry->tb_next;
    return entry == NULL || memlane_frame_is_ours((PyObject *)entry->tb_frame);
}

/* The traceback without the entries of ours at its beginning; takes the reference over. */
static PyObject *memlane_without_ours(PyObject *traceback) {
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
static void memlane_reword_refusal(PyObject *name, PyObject **value) {
    PyObject *text = *value == NULL ? NULL : PyObject_Str(*value);
    PyObject *better = text == NULL ? NULL : PyObject_CallFunctionObjArgs(memlane_calls->reword, name, text, NULL);
    if (better != NULL && PyUnicode_Check(better)) {
        if (!PyExceptionInstance_Check(*value)) {
            Py_SETREF(*value, Py_NewRef(better)); /* 3.11 makes the exception later */
        } else {
            PyObject *arguments = PyTuple_Pack(1, better);
            if (arguments != NULL)
                PyObject_SetAttrString(*value, "args", arguments);
            Py_XDECREF(arguments);
        }
    }
    Py_XDECREF(better);
    Py_XDECREF(text);
    PyErr_Clear();
}

static void memlane_fetch(PyObject **type, PyObject **value, PyObject **traceback) {
#if PY_VERSION_HEX >= 0x030C0000
    *value = PyErr_GetRaisedException();
    *type = *value == NULL ? NULL : Py_NewRef(Py_TYPE(*value));
    *traceback = *value == NULL ? NULL : PyException_GetTraceback(*value);
#else
    PyErr_Fetch(type, value, traceback);
#endif
}

static void memlane_restore(PyObject *type, PyObject *value, PyObject *traceback) {
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
static PyObject *memlane_error_format(PyObject *kind, const char *format, ...) {
    PyObject *type, *value, *traceback;
    va_list arguments;
    va_start(arguments, format);
    PyErr_FormatV(kind, format, arguments);
    va_end(arguments);
    if (kind == PyExc_TypeError && memlane_calls != NULL && !memlane_calls->whole &&
        (strncmp(format, "%s() ", 5) == 0 || strncmp(format, "%.200s() ", 9) == 0)) {
        memlane_fetch(&type, &value, &traceback);
        memlane_reword_refusal(Py_None, &value);
        memlane_restore(type, value, traceback);
    }
    return NULL;
}
#define PyErr_Format memlane_error_format

/* In the place of PyFrame_New. NULL, and Cython adds nothing to the traceback: only where code of others is in it,
 * since Cython's `with` takes it for granted that there is a traceback. */
static PyFrameObject *memlane_frame_new(PyThreadState *state, PyCodeObject *code, PyObject *globals, PyObject *locals) {
    PyObject *type, *value, *traceback;
    if (memlane_calls == NULL || memlane_calls->whole)
        return PyFrame_New(state, code, globals, locals);
    if (memlane_outcome_without_ours(state))
        return memlane_is_clear_verb(code) ? NULL : PyFrame_New(state, code, globals, locals);
    memlane_fetch(&type, &value, &traceback);
    int wanted = 1, is_bug = type == NULL || memlane_is_bug(type, traceback);
    if (!is_bug) {
        traceback = memlane_without_ours(traceback);
        if (traceback == NULL && type == PyExc_TypeError)
            memlane_reword_refusal(code->co_name, &value);
        wanted = traceback == NULL && !memlane_is_clear_verb(code);
    }
    memlane_restore(type, value, traceback);
    return wanted ? PyFrame_New(state, code, globals, locals) : NULL;
}
#define PyFrame_New memlane_frame_new

/* In the place of PyCode_NewEmpty. Cython keeps the code of a frame by a line number, that of the .pyx or .pxd alone unless
 * the build asks for that of the C file, and so mixes up functions of two files; with it, it adds the latter to the
 * name, where nobody wants it. */
static PyCodeObject *memlane_code_new(const char *file, const char *function, int line) {
    char name[200];
    size_t length = strcspn(function, " ");
    if (length >= sizeof name)
        return PyCode_NewEmpty(file, function, line);
    memcpy(name, function, length);
    name[length] = 0;
    return PyCode_NewEmpty(file, name, line);
}
#define PyCode_NewEmpty memlane_code_new

/* Errors that leave the module with these globals speak to the caller from now on. */
static void memlane_calls_join(struct memlane_calls *shared, PyObject *globals) {
    if (shared->count < MEMLANE_MODULES_MAX)
        shared->globals[shared->count++] = globals;
    memlane_calls = shared;
}

static int memlane_exception_is_bug(PyObject *error) {
    PyObject *traceback = PyException_GetTraceback(error);
    int is_bug = memlane_is_bug((PyObject *)Py_TYPE(error), traceback);
    Py_XDECREF(traceback);
    return is_bug;
}

#endif
