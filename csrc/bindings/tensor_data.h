// Tensors from Python data.
#pragma once

#include "bindings/py.h"

namespace ctorch::py {

// A copy of data: a number, nested sequences of numbers, something with a buffer or __array__, a tensor.
PyObject* tensor_from_data(PyObject* data, std::optional<DType> dtype, std::optional<Device> device,
                           bool requires_grad, bool pin_memory);
// Shares memory where it can.
PyObject* as_tensor_of_data(PyObject* data, std::optional<DType> dtype, std::optional<Device> device);
PyObject* as_tensor_of_data_options(PyObject* data, std::optional<DType> dtype, std::optional<Device> device,
                                    std::optional<bool> copy, bool requires_grad);
PyObject* new_tensor(const Tensor& input, PyObject* data, std::optional<DType> dtype,
                     std::optional<Device> device, bool requires_grad, PyObject* layout, bool pin_memory);
// The tensor itself, for other parts of the door (indices, values to assign).
Tensor read_data(PyObject* data, std::optional<DType> dtype, bool may_share);

}  // namespace ctorch::py
