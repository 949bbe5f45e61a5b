// x[...] and x[...] = value.
#pragma once

#include "bindings/py.h"

namespace ctorch::py {

PyObject* tensor_getitem(PyObject* self, PyObject* index);
int tensor_setitem(PyObject* self, PyObject* index, PyObject* value);  // a null value (del x[i]) is an error

}  // namespace ctorch::py
