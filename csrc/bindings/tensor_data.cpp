#include "bindings/tensor_data.h"

#include "bindings/convert.h"
#include "bindings/interop.h"
#include "ops/copy.h"
#include "ops/promote.h"

namespace ctorch::py {
namespace {

// Python's own numbers; those of NumPy, np.float64 among them, have a dtype.
bool is_plain(PyObject* p) { return PyFloat_CheckExact(p) || PyLong_Check(p) || PyComplex_CheckExact(p); }
bool is_number(PyObject* p) { return PyFloat_Check(p) || PyLong_Check(p) || PyComplex_Check(p); }
bool is_list(PyObject* p) {
  return PyList_Check(p) || PyTuple_Check(p) ||
         (PySequence_Check(p) && !PyUnicode_Check(p) && !PyBytes_Check(p) && !is_tensor(p));
}
bool has_buffer(PyObject* p) { return PyObject_CheckBuffer(p) && !PyBytes_Check(p) && !is_tensor(p); }

// What a nested sequence holds: its shape, from its first items, and the dtype that all its numbers have in
// common.
struct Survey {
  Dims shape;
  std::optional<DType> dtype;

  void numbers(PyObject* p, int64_t depth) {
    if (is_plain(p)) {
      const DType dt = to_scalar(p).dtype();
      check_value(dt != DType::uint64, "tensor: ", to_scalar(p).to_double(), " is too large for int64");
      join(dt);
    } else if (is_tensor(p)) {
      join(as_tensor(p).dtype());
    } else if (has_buffer(p)) {
      join(as_tensor(pyb::object(from_buffer(pyb::reinterpret_borrow<pyb::object>(p), false)).ptr()).dtype());
    } else if (is_list(p)) {
      check_value(depth < 128, "tensor: too many dimensions");
      Object items = Object::steal(checked(PySequence_Fast(p, "expected a sequence")));
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i)
        numbers(PySequence_Fast_GET_ITEM(items.get(), i), depth + 1);
    } else {
      check(!PyUnicode_Check(p) && !PyBytes_Check(p) && (PyIndex_Check(p) || PyNumber_Check(p)),
            "tensor: could not infer dtype of ", Py_TYPE(p)->tp_name);
      join(to_scalar(p).dtype());
    }
  }
  void join(DType dt) { dtype = dtype ? promote_types(*dtype, dt) : dt; }

  void measure(PyObject* p) {
    if (is_tensor(p)) {  // in a list, one of one element counts as a number
      if (shape.size() == 0 || as_tensor(p).numel() != 1)
        for (int64_t s : as_tensor(p).sizes()) shape.push_back(s);
    } else if (!is_number(p) && is_list(p)) {
      Py_ssize_t n = PySequence_Size(p);
      if (n < 0) throw_python_error();
      shape.push_back(n);
      check_value(shape.size() < 128, "too many dimensions 'tensor'");
      if (n == 0) return;
      Object first = Object::steal(checked(PySequence_GetItem(p, 0)));
      measure(first.get());
    } else if (PyUnicode_Check(p) || PyBytes_Check(p)) {
      check_value(shape.size() == 0, "tensor: too many dimensions '", Py_TYPE(p)->tp_name, "'");
      fail(ErrorKind::type, "tensor: invalid data type '", Py_TYPE(p)->tp_name, "'");
    }
  }
};

template <class T>
void store(T* data, const Dims& shape, const Dims& strides, int64_t dim, PyObject* p) {
  if (dim == shape.size()) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
      if (PyFloat_CheckExact(p)) {
        *data = static_cast<T>(PyFloat_AS_DOUBLE(p));
        return;
      }
    }
    check_type(is_number(p) || is_tensor(p) || !is_list(p), "tensor: expected a number, got ",
               Py_TYPE(p)->tp_name);
    Scalar s = to_scalar(p);
    check_type(is_complex_v<T> || std::is_same_v<T, bool> || !s.is_complex(), "tensor: can't convert ", s,
               " to ", dtype_of<T>);
    if constexpr (std::is_integral_v<T>) ops::check_fits(s, dtype_of<T>, "tensor");
    *data = s.to<T>();
    return;
  }
  if (is_tensor(p) && as_tensor(p).dim() > 0) {
    Dims rest;
    for (int64_t d = dim; d < shape.size(); ++d) rest.push_back(shape[d]);
    check_value(as_tensor(p).sizes() == rest, "tensor: expected a tensor of shape ", rest, " at dim ", dim,
                ", got ", as_tensor(p).sizes());
    Tensor from = ops::contiguous(ops::to_dtype(as_tensor(p), dtype_of<T>));
    std::copy(from.data<T>(), from.data<T>() + from.numel(), data);
    return;
  }
  check_type(is_list(p), "expected sequence of length ", shape[dim], " at dim ", dim, " (got ",
             Py_TYPE(p)->tp_name, ")");
  Object items = Object::steal(checked(PySequence_Fast(p, "expected a sequence")));
  Py_ssize_t n = PySequence_Fast_GET_SIZE(items.get());
  check_value(n == shape[dim], "expected sequence of length ", shape[dim], " at dim ", dim, " (got ", n, ")");
  for (Py_ssize_t i = 0; i < n; ++i)
    store(data + i * strides[dim], shape, strides, dim + 1, PySequence_Fast_GET_ITEM(items.get(), i));
}

Tensor from_sequence(PyObject* data, std::optional<DType> dtype) {
  Survey survey;
  survey.measure(data);
  DType dt;
  if (dtype) {
    dt = *dtype;
  } else {
    survey.numbers(data, 0);
    dt = survey.dtype.value_or(default_dtype());
  }
  Tensor t = empty(survey.shape, dt);
  visit_dtype<AllTypes>(dt, "tensor",
                        [&]<class T>() { store(t.data<T>(), t.sizes(), t.strides(), 0, data); });
  return t;
}

}  // namespace

Tensor read_data(PyObject* data, std::optional<DType> dtype, bool may_share) {
  Tensor t;
  if (is_tensor(data)) {
    t = as_tensor(data);
    if (dtype) t = ops::to_dtype(t, *dtype);
    if (!may_share) t = t.is_same(as_tensor(data)) ? ops::clone(t) : t;
    return t;
  }
  bool numpy_number = PyObject_HasAttrString(data, "dtype") && !PySequence_Check(data);
  if (has_buffer(data) || (!is_number(data) && !is_list(data) && PyObject_HasAttrString(data, "__array__"))) {
    Object array = Object::borrow(data);
    if (numpy_number || !has_buffer(data))
      array = Object::steal(checked(PyObject_CallMethod(data, "__array__", nullptr)));
    pyb::object shared = from_buffer(pyb::reinterpret_borrow<pyb::object>(array.get()), false);
    t = as_tensor(shared.ptr());
    if (dtype) t = ops::to_dtype(t, *dtype);
    bool converted = !t.is_same(as_tensor(shared.ptr()));
    return may_share || converted ? t : ops::clone(t);
  }
  return from_sequence(data, dtype);
}

PyObject* tensor_from_data(PyObject* data, std::optional<DType> dtype, std::optional<Device>,
                           bool requires_grad, bool) {
  Tensor t = read_data(data, dtype, false);
  check(!requires_grad || is_differentiable(t.dtype()),
        "Only Tensors of floating point and complex dtype can require gradients, got ", t.dtype());
  t.impl()->requires_grad = requires_grad;
  return wrap(t);
}

PyObject* as_tensor_of_data(PyObject* data, std::optional<DType> dtype, std::optional<Device>) {
  if (is_tensor(data) && dtype && as_tensor(data).dtype() != *dtype) {  // through the door, for the gradient
    Object dt = Object::steal(wrap(*dtype));
    return PyObject_CallMethod(data, "to", "O", dt.get());
  }
  return wrap(read_data(data, dtype, true));
}

PyObject* as_tensor_of_data_options(PyObject* data, std::optional<DType> dtype, std::optional<Device> device,
                                    std::optional<bool> copy, bool requires_grad) {
  if (copy.value_or(false)) return tensor_from_data(data, dtype, device, requires_grad, false);
  bool shareable = is_tensor(data) || has_buffer(data);
  check_value(!copy || shareable, "asarray: can't alias an object of type ", Py_TYPE(data)->tp_name,
              " as a tensor");
  Tensor t = read_data(data, dtype, true);
  if (requires_grad) t.impl()->requires_grad = true;
  return wrap(t);
}

PyObject* new_tensor(const Tensor& input, PyObject* data, std::optional<DType> dtype,
                     std::optional<Device> device, bool requires_grad, PyObject*, bool pin) {
  return tensor_from_data(data, dtype.value_or(input.dtype()), device, requires_grad, pin);
}

}  // namespace ctorch::py
