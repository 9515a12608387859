/* SPDX-License-Identifier: MIT
 *
 * Codes of the C face: from what the runtime answers, and to texts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "c/handles.h"

int mlane_code_of(int status) {
    if (status <= 0)
        return status == -ESTALE ? MLANE_REMOVED : status;
    switch (status) {
    case MEMLANE_FULL:
        return MLANE_FULL;
    case MEMLANE_EMPTY:
        return MLANE_EMPTY;
    case MEMLANE_BUSY:
        return MLANE_ROLE_TAKEN;
    case MEMLANE_CLOSED:
        return MLANE_SHUT_DOWN;
    case MEMLANE_TOO_LARGE:
        return MLANE_TOO_LARGE;
    case MEMLANE_LOST:
        return MLANE_LOST;
    case MEMLANE_TRUNCATED:
        return MLANE_TRUNCATED;
    case MEMLANE_FOREIGN:
        return MLANE_FOREIGN;
    case MEMLANE_OLDER:
        return MLANE_OLDER;
    case MEMLANE_NEWER:
        return MLANE_NEWER;
    case MEMLANE_UNKNOWN_FEATURES:
        return MLANE_UNKNOWN_FEATURES;
    default:
        return MLANE_CORRUPTED;
    }
}

static const char *text_of(int code) {
    switch (code) {
    case MLANE_OK:
        return "no error";
    case MLANE_FULL:
        return "the ring has no room for the record; wait longer, or have its consumers get more";
    case MLANE_EMPTY:
        return "there is nothing to get, or nothing was published yet; wait longer";
    case MLANE_ROLE_TAKEN:
        return "living processes have all places of this role; close one of them, or make the object with more";
    case MLANE_SHUT_DOWN:
        return "the ring was shut down, and all that was put is got";
    case MLANE_TOO_LARGE:
        return "the record does not fit: into any lane of the ring, or into the buffer it is to be copied to";
    case MLANE_LOST:
        return "this process was taken for dead, since its descriptors were closed; open the region again";
    case MLANE_TRUNCATED:
        return "the file of the region was cut off; unlink it and make it again";
    case MLANE_CORRUPTED:
        return "the region has bytes that no sound program writes; unlink it and make it again";
    case MLANE_FOREIGN:
        return "the file is no region of memlane; check the name";
    case MLANE_OLDER:
        return "the region has an older layout than this library; make it again, or use the library that made it";
    case MLANE_NEWER:
        return "the region has a newer layout than this library; use the library that made it";
    case MLANE_UNKNOWN_FEATURES:
        return "the region needs features that this library does not have; use the library that made it";
    case MLANE_REMOVED:
        return "the object was removed; open what is there now";
    case MLANE_OTHER_KIND:
        return "the object is of another kind; open it as what it is";
    case MLANE_OTHER_GEOMETRY:
        return "the object exists with another geometry; open it without asking for one, or ask for the one it has";
    case MLANE_WRONG_LENGTH:
        return "the value has another length than the values of this slot; ask mlane_slot_nbytes";
    case MLANE_NO_SPACE:
        return "the region has no space for the object; make a larger region";
    default:
        return NULL;
    }
}

const char *mlane_error_text(int code) {
    static _Thread_local char text[256];
    const char *own = text_of(code);
    if (own != NULL)
        return own;
    if (code > 0 || code < -4095)
        return "an unknown error";
    char found[200];
    snprintf(text, sizeof text, "%s", strerror_r(-code, found, sizeof found));
    return text;
}

const char *mlane_version(void) { return MEMLANE_VERSION; }
