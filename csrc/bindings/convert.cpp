#include "bindings/convert.h"

namespace ctorch::py {
namespace {

[[noreturn]] void expected(const char* what, PyObject* p) {
  fail(ErrorKind::type, "expected ", what, ", got ", Py_TYPE(p)->tp_name);
}

Scalar from_int(PyObject* p) {
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(p, &overflow);
  if (overflow == 0) {
    if (value == -1 && PyErr_Occurred()) throw_python_error();
    return Scalar(static_cast<int64_t>(value));
  }
  if (overflow > 0) {
    unsigned long long big = PyLong_AsUnsignedLongLong(p);
    if (!PyErr_Occurred()) return Scalar::from_uint64(big);
    PyErr_Clear();
  }
  PyErr_SetString(PyExc_OverflowError, "int too big to convert: it fits neither int64 nor uint64");
  throw_python_error();
}

}  // namespace

Scalar to_scalar(PyObject* p) {
  if (PyFloat_Check(p)) return Scalar(PyFloat_AS_DOUBLE(p));
  if (PyBool_Check(p)) return Scalar(p == Py_True);
  if (PyLong_Check(p)) return from_int(p);
  if (PyComplex_Check(p))
    return Scalar(std::complex<double>(PyComplex_RealAsDouble(p), PyComplex_ImagAsDouble(p)));
  if (is_tensor(p)) return item(as_tensor(p));
  if (PyIndex_Check(p)) return from_int(Object::steal(checked(PyNumber_Index(p))).get());
  if (PyObject_HasAttrString(p, "__complex__") && !PyObject_HasAttrString(p, "__index__")) {
    Py_complex z = PyComplex_AsCComplex(p);
    if (PyErr_Occurred()) throw_python_error();
    if (z.imag != 0) return Scalar(std::complex<double>(z.real, z.imag));
  }
  return Scalar(PyFloat_AS_DOUBLE(Object::steal(checked(PyNumber_Float(p))).get()));
}

int64_t to_int64(PyObject* p) {
  if (CT_LIKELY(PyLong_Check(p))) {
    long long value = PyLong_AsLongLong(p);
    if (value == -1 && PyErr_Occurred()) {
      if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw_python_error();
      PyErr_Clear();
      fail(ErrorKind::value, "an int beyond the range of int64: ",
           PyUnicode_AsUTF8(Object::steal(checked(PyObject_Repr(p))).get()));
    }
    return value;
  }
  if (is_tensor(p)) return item(as_tensor(p)).to_int64();
  if (!PyIndex_Check(p)) expected("an int", p);
  return to_int64(Object::steal(checked(PyNumber_Index(p))).get());
}

double to_double(PyObject* p) {
  if (CT_LIKELY(PyFloat_Check(p))) return PyFloat_AS_DOUBLE(p);
  Scalar s = to_scalar(p);
  check_type(!s.is_complex(), "expected a real number, got ", s);
  return s.to_double();
}

Dims to_dims(PyObject* p) {
  Dims dims;
  if (PyTuple_Check(p) || PyList_Check(p)) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(p);
    PyObject** items = PySequence_Fast_ITEMS(p);
    dims.resize(n);
    for (Py_ssize_t i = 0; i < n; ++i) dims[i] = to_int64(items[i]);
  } else {
    dims.push_back(to_int64(p));
  }
  return dims;
}

std::vector<double> to_doubles(PyObject* p) {
  std::vector<double> values;
  if (PyTuple_Check(p) || PyList_Check(p)) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(p);
    for (Py_ssize_t i = 0; i < n; ++i) values.push_back(to_double(PySequence_Fast_GET_ITEM(p, i)));
  } else {
    values.push_back(to_double(p));
  }
  return values;
}

std::vector<Tensor> to_tensors(PyObject* p) {
  Py_ssize_t n = PySequence_Fast_GET_SIZE(p);
  std::vector<Tensor> tensors;
  tensors.reserve(static_cast<size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) tensors.push_back(as_tensor(PySequence_Fast_GET_ITEM(p, i)));
  return tensors;
}

DType to_dtype(PyObject* p) {
  if (is_dtype(p)) return as_dtype(p);
  if (p == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::float64;
  if (p == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::int64;
  if (p == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::boolean;
  if (p == reinterpret_cast<PyObject*>(&PyComplex_Type)) return DType::complex128;
  expected("a dtype", p);
}

std::string to_string(PyObject* p) {
  const char* text = PyUnicode_AsUTF8(p);
  if (!text) throw_python_error();
  return text;
}

MemoryFormat to_memory_format(PyObject* p) {
  return static_cast<MemoryFormat>(reinterpret_cast<PyConstant*>(p)->value);
}

Generator* to_generator(PyObject* p) {
  return p == Py_None ? nullptr : reinterpret_cast<PyGenerator*>(p)->generator.get();
}

PyObject* to_python(const std::vector<Tensor>& tensors, const Overload&) {
  PyObject* out = PyTuple_New(static_cast<Py_ssize_t>(tensors.size()));
  if (!out) return nullptr;
  for (size_t i = 0; i < tensors.size(); ++i)
    PyTuple_SET_ITEM(out, static_cast<Py_ssize_t>(i), wrap(tensors[i]));
  return out;
}

}  // namespace ctorch::py
