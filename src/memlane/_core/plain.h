/* SPDX-License-Identifier: MIT
 *
 * Pickles of plain objects, without the machinery of pickle: None, bools, ints, floats, text, bytes, and lists, tuples and
 * dicts of such. What it writes is a pickle of protocol 5 as any Unpickler reads it, without frame and memo; what it reads is
 * that and no more. Where it cannot do a thing as pickle does, it says so, and the caller asks pickle. Runs no Python.
 */
#ifndef MEMLANE_BINDING_PLAIN_H
#define MEMLANE_BINDING_PLAIN_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

enum {
    MEMLANE_PLAIN_MAX = 4096, /* bytes: it is for small messages. Longer ones gain by the memo of pickle */
    MEMLANE_PLAIN_DEPTH = 32,
    MEMLANE_PLAIN_STACK = 1024, /* objects of the reader: each took a byte at least */
};

struct memlane_plain {
    unsigned char *at, *end;
};

static inline int memlane_plain_room(const struct memlane_plain *to, Py_ssize_t nbytes) {
    return to->end - to->at >= nbytes;
}

static int memlane_plain_bytes(struct memlane_plain *to, unsigned char small, unsigned char large, const char *text,
                               Py_ssize_t nbytes) {
    if (nbytes > MEMLANE_PLAIN_MAX || !memlane_plain_room(to, nbytes + 5))
        return 0;
    if (nbytes < 256) {
        *to->at++ = small;
        *to->at++ = (unsigned char)nbytes;
    } else {
        *to->at++ = large;
        for (int shift = 0; shift < 32; shift += 8)
            *to->at++ = (unsigned char)((uint32_t)nbytes >> shift);
    }
    memcpy(to->at, text, (size_t)nbytes);
    to->at += nbytes;
    return 1;
}

static int memlane_plain_int(struct memlane_plain *to, PyObject *thing) {
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(thing, &overflow);
    if (overflow || !memlane_plain_room(to, 11))
        return 0;
    if (number >= 0 && number < 256) {
        *to->at++ = 'K';
        *to->at++ = (unsigned char)number;
        return 1;
    }
    int nbytes = 4;
    if (number >= INT32_MIN && number <= INT32_MAX) {
        *to->at++ = 'J';
    } else {
        /* as short as it can be, which is how pickle writes it */
        nbytes = 8;
        while (nbytes > 5 && number >> (nbytes * 8 - 9) == (number < 0 ? -1 : 0))
            nbytes--;
        *to->at++ = 0x8a;
        *to->at++ = (unsigned char)nbytes;
    }
    for (int i = 0; i < nbytes; i++)
        *to->at++ = (unsigned char)((unsigned long long)number >> (8 * i));
    return 1;
}

static int memlane_plain_float(struct memlane_plain *to, PyObject *thing) {
    double number = PyFloat_AS_DOUBLE(thing);
    uint64_t bits;
    if (!memlane_plain_room(to, 9))
        return 0;
    memcpy(&bits, &number, sizeof bits);
    *to->at++ = 'G';
    for (int shift = 56; shift >= 0; shift -= 8)
        *to->at++ = (unsigned char)(bits >> shift);
    return 1;
}

/* Whether the thing was written. What another place may lead to, too, would be two things at the other end: a list, a dict, or
 * a tuple that may have one in it, of which somebody else has a reference. `is_first`: the object itself, which somebody has. */
static int memlane_plain_write(struct memlane_plain *to, PyObject *thing, int depth, int is_first) {
    PyTypeObject *type = Py_TYPE(thing);
    Py_ssize_t count, i;
    if (!memlane_plain_room(to, 4))
        return 0;
    if (type == &PyUnicode_Type) {
        if (!PyUnicode_IS_COMPACT_ASCII(thing))
            return 0; /* its UTF-8 would be kept with it for ever */
        return memlane_plain_bytes(to, 0x8c, 'X', (const char *)PyUnicode_1BYTE_DATA(thing),
                                   PyUnicode_GET_LENGTH(thing));
    }
    if (type == &PyLong_Type)
        return memlane_plain_int(to, thing);
    if (type == &PyFloat_Type)
        return memlane_plain_float(to, thing);
    if (thing == Py_None || thing == Py_True || thing == Py_False) {
        *to->at++ = thing == Py_None ? 'N' : thing == Py_True ? 0x88 : 0x89;
        return 1;
    }
    if (type == &PyBytes_Type)
        return memlane_plain_bytes(to, 'C', 'B', PyBytes_AS_STRING(thing), PyBytes_GET_SIZE(thing));
    if (type != &PyDict_Type && type != &PyList_Type && type != &PyTuple_Type)
        return 0;
    if (depth == 0 || (!is_first && Py_REFCNT(thing) != 1 && !(type == &PyTuple_Type && PyTuple_GET_SIZE(thing) == 0)))
        return 0;
    if (type == &PyDict_Type) {
        PyObject *key, *value;
        Py_ssize_t place = 0;
        *to->at++ = '}';
        if (PyDict_GET_SIZE(thing) == 0)
            return 1;
        *to->at++ = '(';
        while (PyDict_Next(thing, &place, &key, &value))
            if (!memlane_plain_write(to, key, depth - 1, 0) || !memlane_plain_write(to, value, depth - 1, 0))
                return 0;
        if (!memlane_plain_room(to, 1))
            return 0;
        *to->at++ = 'u';
        return 1;
    }
    if (type == &PyList_Type) {
        *to->at++ = ']';
        if (PyList_GET_SIZE(thing) == 0)
            return 1;
        *to->at++ = '(';
        for (i = 0; i < PyList_GET_SIZE(thing); i++)
            if (!memlane_plain_write(to, PyList_GET_ITEM(thing, i), depth - 1, 0))
                return 0;
        if (!memlane_plain_room(to, 1))
            return 0;
        *to->at++ = 'e';
        return 1;
    }
    count = PyTuple_GET_SIZE(thing);
    if (count == 0) {
        *to->at++ = ')';
        return 1;
    }
    if (count > 3)
        *to->at++ = '(';
    for (i = 0; i < count; i++)
        if (!memlane_plain_write(to, PyTuple_GET_ITEM(thing, i), depth - 1, 0))
            return 0;
    if (!memlane_plain_room(to, 1))
        return 0;
    *to->at++ = count > 3 ? 't' : (unsigned char)(0x84 + count);
    return 1;
}

/* The pickle of a plain object as bytes; NULL without an error: ask pickle. */
static PyObject *memlane_plain_dumps(PyObject *thing) {
    unsigned char room[MEMLANE_PLAIN_MAX];
    struct memlane_plain to = {room + 2, room + sizeof room - 1};
    room[0] = 0x80;
    room[1] = 5;
    if (!memlane_plain_write(&to, thing, MEMLANE_PLAIN_DEPTH, 1))
        return NULL;
    *to.at++ = '.';
    return PyBytes_FromStringAndSize((const char *)room, to.at - room);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

struct memlane_plain_reader {
    const unsigned char *at, *end;
    PyObject *stack[MEMLANE_PLAIN_STACK];
    int height;
    int marks[MEMLANE_PLAIN_DEPTH + 1];
    int mark;
};

static uint64_t memlane_plain_number(const unsigned char *at, int nbytes) {
    uint64_t number = 0;
    for (int i = 0; i < nbytes; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

/* Short texts are mostly keys, which come again and again: the latest ones are kept, with their hashes. */
enum { MEMLANE_PLAIN_KEY = 16, MEMLANE_PLAIN_KEYS = 256 };
static PyObject *memlane_plain_keys[MEMLANE_PLAIN_KEYS];

static int memlane_plain_is_ascii(const char *text, size_t nbytes) {
    unsigned char seen = 0;
    for (size_t i = 0; i < nbytes; i++)
        seen |= (unsigned char)text[i];
    return seen < 0x80;
}

static PyObject *memlane_plain_key(const char *text, size_t nbytes) {
    uint64_t mixed = nbytes;
    for (size_t i = 0; i < nbytes; i++)
        mixed = (mixed ^ (unsigned char)text[i]) * 0x9e3779b97f4a7c15u;
    PyObject **kept = &memlane_plain_keys[mixed >> 56];
    if (*kept != NULL && (size_t)PyUnicode_GET_LENGTH(*kept) == nbytes &&
        memcmp(PyUnicode_1BYTE_DATA(*kept), text, nbytes) == 0)
        return Py_NewRef(*kept);
    PyObject *made = PyUnicode_New((Py_ssize_t)nbytes, 0x7f);
    if (made == NULL)
        return NULL;
    memcpy(PyUnicode_1BYTE_DATA(made), text, nbytes);
    Py_XSETREF(*kept, Py_NewRef(made));
    return made;
}

/* The text or bytes of `nbytes` that follow; NULL: there are fewer, they are no text, or an error is set. */
static PyObject *memlane_plain_text(struct memlane_plain_reader *from, uint64_t nbytes, int is_text) {
    const char *text = (const char *)from->at;
    if (nbytes > (uint64_t)(from->end - from->at))
        return NULL;
    from->at += nbytes;
    if (!is_text)
        return PyBytes_FromStringAndSize(text, (Py_ssize_t)nbytes);
    if (nbytes > 1 && nbytes <= MEMLANE_PLAIN_KEY && memlane_plain_is_ascii(text, (size_t)nbytes))
        return memlane_plain_key(text, (size_t)nbytes);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)nbytes, "surrogatepass");
}

/* One value without others in it; NULL: it is none, or an error is set. */
static PyObject *memlane_plain_value(struct memlane_plain_reader *from, unsigned char code) {
    const unsigned char *at = from->at;
    Py_ssize_t left = from->end - at;
    int nbytes;
    switch (code) {
    case 'N':
        return Py_NewRef(Py_None);
    case 0x88:
        return Py_NewRef(Py_True);
    case 0x89:
        return Py_NewRef(Py_False);
    case ']':
        return PyList_New(0);
    case '}':
        return PyDict_New();
    case ')':
        return PyTuple_New(0);
    case 'K':
        return left < 1 ? NULL : PyLong_FromLong(*from->at++);
    case 'J':
        from->at += left < 4 ? 0 : 4;
        return left < 4 ? NULL : PyLong_FromLong((int32_t)memlane_plain_number(at, 4));
    case 0x8a:
        nbytes = left < 1 ? 0 : *at;
        if (nbytes < 1 || nbytes > 8 || left < 1 + nbytes)
            return NULL;
        from->at += 1 + nbytes;
        return PyLong_FromLongLong((int64_t)(memlane_plain_number(at + 1, nbytes) << (64 - 8 * nbytes)) >>
                                   (64 - 8 * nbytes));
    case 'G': {
        uint64_t bits = 0;
        double number;
        if (left < 8)
            return NULL;
        for (int i = 0; i < 8; i++)
            bits = bits << 8 | at[i];
        memcpy(&number, &bits, sizeof number);
        from->at += 8;
        return PyFloat_FromDouble(number);
    }
    case 0x8c:
    case 'C':
        if (left < 1)
            return NULL;
        from->at++;
        return memlane_plain_text(from, at[0], code == 0x8c);
    case 'X':
    case 'B':
        if (left < 4)
            return NULL;
        from->at += 4;
        return memlane_plain_text(from, memlane_plain_number(at, 4), code == 'X');
    default:
        return NULL;
    }
}

/* A tuple of the topmost things, which it takes over. */
static PyObject *memlane_plain_tuple(struct memlane_plain_reader *from, int count) {
    PyObject *made = PyTuple_New(count);
    if (made == NULL)
        return NULL;
    from->height -= count;
    for (int i = 0; i < count; i++)
        PyTuple_SET_ITEM(made, i, from->stack[from->height + i]);
    return made;
}

/* Put all that is above the mark into the list or dict below it. */
static int memlane_plain_fill(struct memlane_plain_reader *from, int into_dict) {
    int mark = from->mark ? from->marks[--from->mark] : 0, i;
    int outer = from->mark ? from->marks[from->mark - 1] : 0;
    PyObject *filled = mark > outer ? from->stack[mark - 1] : NULL;
    if (filled == NULL)
        return 0;
    if (into_dict) {
        if (!PyDict_CheckExact(filled) || (from->height - mark) % 2)
            return 0;
        for (i = mark; i < from->height; i += 2) {
            PyTypeObject *type = Py_TYPE(from->stack[i]);
            /* the hash of others may run long, or not at all: pickle is asked then */
            if (type != &PyUnicode_Type && type != &PyLong_Type && type != &PyBytes_Type && type != &PyFloat_Type)
                return 0;
            if (PyDict_SetItem(filled, from->stack[i], from->stack[i + 1]) < 0)
                return 0;
        }
        while (from->height > mark)
            Py_DECREF(from->stack[--from->height]);
        return 1;
    }
    if (!PyList_CheckExact(filled) || PyList_GET_SIZE(filled) != 0)
        return 0;
    PyObject *made = PyList_New(from->height - mark);
    if (made == NULL)
        return 0;
    for (i = mark; i < from->height; i++)
        PyList_SET_ITEM(made, i - mark, from->stack[i]);
    from->height = mark;
    Py_SETREF(from->stack[mark - 1], made); /* nobody else has the empty one */
    return 1;
}

static int memlane_plain_step(struct memlane_plain_reader *from, unsigned char code) {
    PyObject *made;
    int count;
    if (from->height >= MEMLANE_PLAIN_STACK)
        return 0;
    switch (code) {
    case '(':
        if (from->mark >= MEMLANE_PLAIN_DEPTH)
            return 0;
        from->marks[from->mark++] = from->height;
        return 1;
    case 'u':
    case 'e':
        return memlane_plain_fill(from, code == 'u');
    case 0x85:
    case 0x86:
    case 0x87:
    case 't':
        if (code == 't') {
            if (from->mark == 0)
                return 0;
            count = from->height - from->marks[--from->mark];
        } else {
            count = code - 0x84;
        }
        if (from->height < count + (from->mark ? from->marks[from->mark - 1] : 0))
            return 0;
        made = memlane_plain_tuple(from, count);
        break;
    default:
        made = memlane_plain_value(from, code);
    }
    if (made == NULL)
        return 0;
    from->stack[from->height++] = made;
    return 1;
}

/* The object of such a pickle; NULL without an error: ask pickle. */
static PyObject *memlane_plain_loads(const unsigned char *stream, Py_ssize_t nbytes) {
    struct memlane_plain_reader from;
    PyObject *made = NULL;
    if (nbytes < 4 || nbytes > MEMLANE_PLAIN_MAX || stream[0] != 0x80 || stream[1] != 5 || stream[2] == 0x95)
        return NULL;
    from.at = stream + 2;
    from.end = stream + nbytes - 1;
    from.height = from.mark = 0;
    int sound = 1;
    while (sound && from.at < from.end)
        sound = memlane_plain_step(&from, *from.at++);
    if (sound && from.at == from.end && *from.end == '.' && from.height == 1 && from.mark == 0 && !PyErr_Occurred())
        made = from.stack[--from.height];
    while (from.height)
        Py_DECREF(from.stack[--from.height]);
    if (made == NULL && PyErr_Occurred())
        PyErr_Clear(); /* pickle will say it in its words */
    return made;
}

#endif
