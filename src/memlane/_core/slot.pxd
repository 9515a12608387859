# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

cdef object packed_value(object encode, Py_ssize_t items, object value)
cdef object unfit_error(object wrong, object value, str called)
cdef uint64_t version_of(object version) except? 0
