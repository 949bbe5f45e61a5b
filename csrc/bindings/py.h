// The Python objects of the engine, as C structures: tensors, dtypes, devices and small enumerations.
#pragma once

// pybind11 itself is included where it is used: its header costs five seconds per source.
#include <Python.h>
#include <structmember.h>

#include <string>

#include "core/generator.h"
#include "core/tensor.h"

namespace pybind11 {
class module_;
class object;
}  // namespace pybind11

namespace ctorch::py {

namespace pyb = pybind11;

// A Python object that is decref'd with the GIL held, from whatever thread.
class Object {
 public:
  Object() = default;
  static Object borrow(PyObject* p) {
    Py_XINCREF(p);
    return Object(p);
  }
  static Object steal(PyObject* p) { return Object(p); }
  Object(const Object& other) : p_(other.p_) { Py_XINCREF(p_); }
  Object(Object&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Object& operator=(Object other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Object();
  PyObject* get() const { return p_; }
  PyObject* release() { return std::exchange(p_, nullptr); }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  explicit Object(PyObject* p) : p_(p) {}
  PyObject* p_ = nullptr;
};

// Thrown when a Python error is set already.
[[noreturn]] void throw_python_error();
inline PyObject* checked(PyObject* p) {
  if (!p) throw_python_error();
  return p;
}
// Set the Python error for the C++ exception at hand. For use in catch (...); returns null.
PyObject* translate_exception();

struct PyTensor {
  PyObject_HEAD Tensor tensor;
  PyObject* dict;
  PyObject* weakrefs;
};
extern PyTypeObject* g_tensor_type;
inline bool is_tensor(PyObject* p) {
  return Py_TYPE(p) == g_tensor_type || PyType_IsSubtype(Py_TYPE(p), g_tensor_type);
}
inline const Tensor& as_tensor(PyObject* p) { return reinterpret_cast<PyTensor*>(p)->tensor; }
// The Python object of a tensor: the one that it has, or a new one. Undefined tensors become None.
PyObject* wrap(const Tensor& t);
PyObject* wrap_as(const Tensor& t, PyTypeObject* type);
PyObject* wrap_size(IntList sizes);  // a ctorch.Size
PyObject* wrap_scalar(const Scalar& s);
PyObject* wrap_ints(IntList values);  // a tuple

// dtype, layout, memory_format: a type each, whose instances are constants.
struct PyConstant {
  PyObject_HEAD int value;
  PyObject* name;  // "torch.float32"
};
extern PyTypeObject *g_dtype_type, *g_layout_type, *g_memory_format_type;
PyObject* wrap(DType dt);
inline bool is_dtype(PyObject* p) { return Py_TYPE(p) == g_dtype_type; }
inline DType as_dtype(PyObject* p) { return static_cast<DType>(reinterpret_cast<PyConstant*>(p)->value); }
PyObject* layout_strided();

struct PyDevice {
  PyObject_HEAD Device device;
};
extern PyTypeObject* g_device_type;
PyObject* wrap(Device device);
Device parse_device(PyObject* p);  // a device, "cpu", "cuda:0"; throws if there is none such

struct PyGenerator {
  PyObject_HEAD std::shared_ptr<Generator> generator;
};
extern PyTypeObject* g_generator_type;  // ops_random.cpp

void init_constants(pyb::module_& m);  // dtype, layout, memory_format, device, Size
void init_tensor_type(pyb::module_& m);
void init_autograd(pyb::module_& m);
void init_interop(pyb::module_& m);

}  // namespace ctorch::py
