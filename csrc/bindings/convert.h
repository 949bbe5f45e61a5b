// From slots to C++ arguments, and from C++ results to Python objects.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "bindings/schema.h"

namespace ctorch::py {

Scalar to_scalar(PyObject* p);  // a Python or NumPy number, or a 0-dim tensor
int64_t to_int64(PyObject* p);
double to_double(PyObject* p);
Dims to_dims(PyObject* p);  // a list or tuple of ints, or one int
std::vector<double> to_doubles(PyObject* p);
std::vector<Tensor> to_tensors(PyObject* p);
DType to_dtype(PyObject* p);  // a dtype, or one of Python's float, int, bool, complex
std::string to_string(PyObject* p);
MemoryFormat to_memory_format(PyObject* p);
inline bool to_bool(PyObject* p) { return p == Py_True || (p != Py_False && PyObject_IsTrue(p) == 1); }
Generator* to_generator(PyObject* p);  // null for None

// Arg<T> holds what a C++ parameter of type T needs while the call runs.
template <class T>
struct Arg;

#define CT_SIMPLE_ARG(Type, convert)                 \
  template <>                                        \
  struct Arg<Type> {                                 \
    Type value;                                      \
    explicit Arg(PyObject* p) : value(convert(p)) {} \
    Type get() const { return value; }               \
  };
CT_SIMPLE_ARG(int64_t, to_int64)
CT_SIMPLE_ARG(double, to_double)
CT_SIMPLE_ARG(bool, to_bool)
CT_SIMPLE_ARG(Scalar, to_scalar)
CT_SIMPLE_ARG(DType, to_dtype)
CT_SIMPLE_ARG(Device, parse_device)
CT_SIMPLE_ARG(MemoryFormat, to_memory_format)
CT_SIMPLE_ARG(std::string, to_string)
CT_SIMPLE_ARG(Generator*, to_generator)
CT_SIMPLE_ARG(Dims, to_dims)
CT_SIMPLE_ARG(std::vector<double>, to_doubles)
#undef CT_SIMPLE_ARG

template <>
struct Arg<Tensor> {
  const Tensor& value;
  explicit Arg(PyObject* p) : value(as_tensor(p)) {}
  const Tensor& get() const { return value; }
};
template <>
struct Arg<Operand> {
  Operand value;
  explicit Arg(PyObject* p) : value(is_tensor(p) ? Operand(as_tensor(p)) : Operand(to_scalar(p))) {}
  const Operand& get() const { return value; }
};
template <>
struct Arg<IntList> {
  Dims value;
  explicit Arg(PyObject* p) : value(to_dims(p)) {}
  IntList get() const { return value; }
};
template <>
struct Arg<TensorList> {
  std::vector<Tensor> value;
  explicit Arg(PyObject* p) : value(to_tensors(p)) {}
  TensorList get() const { return value; }
};
template <>
struct Arg<PyObject*> {
  PyObject* value;
  explicit Arg(PyObject* p) : value(p) {}
  PyObject* get() const { return value; }
};
template <class T>
struct Arg<std::optional<T>> {
  std::optional<T> value;
  explicit Arg(PyObject* p) {
    if (p != Py_None) value.emplace(Arg<T>(p).get());
  }
  const std::optional<T>& get() const { return value; }
};
template <>
struct Arg<std::optional<IntList>> {
  Dims dims;
  bool given;
  explicit Arg(PyObject* p) : given(p != Py_None) {
    if (given) dims = to_dims(p);
  }
  std::optional<IntList> get() const { return given ? std::optional<IntList>(dims) : std::nullopt; }
};

inline PyObject* to_python(const Tensor& t, const Overload&) { return wrap(t); }
inline PyObject* to_python(bool value, const Overload&) { return Py_NewRef(value ? Py_True : Py_False); }
inline PyObject* to_python(int64_t value, const Overload&) { return PyLong_FromLongLong(value); }
inline PyObject* to_python(double value, const Overload&) { return PyFloat_FromDouble(value); }
inline PyObject* to_python(const Scalar& s, const Overload&) { return wrap_scalar(s); }
inline PyObject* to_python(DType dt, const Overload&) { return wrap(dt); }
inline PyObject* to_python(const Dims& dims, const Overload&) { return wrap_size(dims); }
PyObject* to_python(const std::vector<Tensor>& tensors, const Overload&);  // a tuple
template <class... Ts>
PyObject* to_python(const std::tuple<Ts...>& results, const Overload& ov) {
  constexpr Py_ssize_t n = sizeof...(Ts);
  PyObject* out = ov.result_type ? PyStructSequence_New(ov.result_type) : PyTuple_New(n);
  if (!out) return nullptr;
  Py_ssize_t i = 0;
  std::apply([&](const auto&... r) { (PyTuple_SET_ITEM(out, i++, to_python(r, ov)), ...); }, results);
  return out;
}

}  // namespace ctorch::py
