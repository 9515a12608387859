/* SPDX-License-Identifier: MIT
 *
 * The bytes of a counter: geometry = { 0 }.
 */
#ifndef MEMLANE_COUNTER_LAYOUT_H
#define MEMLANE_COUNTER_LAYOUT_H

#include "core/layout.h"

struct memlane_counter {
    _Atomic int64_t value;
};

#endif
