// Memory shared with other libraries: the buffer protocol, NumPy, DLPack.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/py.h"

namespace ctorch::py {

int tensor_getbuffer(PyObject* self, Py_buffer* view, int flags);
// A tensor over the memory of anything with the buffer protocol. TypeError for elements that have no dtype
// here.
pyb::object from_buffer(const pyb::object& source, bool writable_only);
void tensor_releasebuffer(PyObject* self, Py_buffer* view);

}  // namespace ctorch::py
