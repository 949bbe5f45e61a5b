// x[...] and x[...] = value. An index is read from left to right into a basic part, which makes a view (one
// recorded operation), and index tensors, which choose from the view's dims.
#include "bindings/indexing.h"

#include <cstring>
#include <vector>

#include "autograd/grad_mode.h"
#include "autograd/variable.h"
#include "bindings/convert.h"
#include "bindings/def_op.h"
#include "bindings/record.h"
#include "ops/copy.h"
#include "ops/index.h"

namespace ctorch::py {
namespace {

using ops::BasicIndex;
constexpr int64_t kMaxItems = 64;

// Numbers of the overloads of _basic_index, which differ in the name of their node only.
enum class ViewName : size_t { select, slice, unsqueeze, alias };

struct Index {
  int64_t items[kMaxItems * ops::kBasicItem];
  int64_t count = 0;
  bool changes = false;  // an item does more than keep a dim whole
  ViewName name = ViewName::alias;
  int64_t view_dim = 0;  // dims of the view so far
  std::vector<Tensor> tensors;
  Dims dims;  // of the view, where the tensors stand

  void add(BasicIndex kind, int64_t start, int64_t step, int64_t length) {
    check_index(count < kMaxItems, "too many indices: at most ", kMaxItems, " are supported");
    int64_t* item = items + count++ * ops::kBasicItem;
    item[0] = static_cast<int64_t>(kind);
    item[1] = start;
    item[2] = step;
    item[3] = length;
    if (kind != BasicIndex::select) ++view_dim;
  }
  IntList spec() const { return {items, static_cast<size_t>(count * ops::kBasicItem)}; }
  void add_tensor(Tensor t, int64_t width) {
    tensors.push_back(std::move(t));
    dims.push_back(view_dim - width);
  }
};

// ---- what an element of an index stands for ----

bool is_numpy_bool(PyObject* p) {
  const char* name = Py_TYPE(p)->tp_name;
  return std::strcmp(name, "numpy.bool") == 0 || std::strcmp(name, "numpy.bool_") == 0;
}
bool is_text(PyObject* p) { return PyUnicode_Check(p) || PyBytes_Check(p); }
bool is_plain_sequence(PyObject* p) {
  return PySequence_Check(p) && !is_tensor(p) && !is_text(p) && !PyDict_Check(p);
}
bool is_mask(const Tensor& t) { return t.dtype() == DType::boolean || t.dtype() == DType::uint8; }

[[noreturn]] void bad_index(PyObject* p) {
  fail(is_text(p) ? ErrorKind::type : ErrorKind::index,
       "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
       "(got ",
       Py_TYPE(p)->tp_name, ")");
}

// A list of ints or bools, nested to any depth, row-major.
struct NestedList {
  Dims shape;
  std::vector<int64_t> values;
  bool all_bools = true;

  void read(PyObject* p, int64_t depth) {
    check_value(depth < kMaxItems, "index: lists are nested too deeply");
    if (is_plain_sequence(p)) {
      Object items = Object::steal(checked(PySequence_Fast(p, "index: expected a sequence")));
      const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.get());
      if (depth == shape.size()) {
        check_value(values.empty(), "index: expected a sequence of equal shapes, got a ragged one");
        shape.push_back(n);
      }
      check_value(shape[depth] == n, "expected sequence of length ", shape[depth], " at dim ", depth,
                  " (got ", n, ")");
      for (Py_ssize_t i = 0; i < n; ++i) read(PySequence_Fast_GET_ITEM(items.get(), i), depth + 1);
      return;
    }
    check_value(depth == shape.size(), "index: expected a sequence of equal shapes, got a ragged one");
    if (PyBool_Check(p) || is_numpy_bool(p)) {
      values.push_back(PyObject_IsTrue(p));
      return;
    }
    all_bools = false;
    if (!is_tensor(p) && !PyIndex_Check(p)) bad_index(p);
    values.push_back(to_int64(p));
  }

  Tensor tensor() const {
    const bool bools = all_bools && !values.empty();
    Tensor t = empty(shape, bools ? DType::boolean : DType::int64);
    for (size_t i = 0; i < values.size(); ++i) {
      if (bools) {
        t.data<bool>()[i] = values[i] != 0;
      } else {
        t.data<int64_t>()[i] = values[i];
      }
    }
    return t;
  }
};

Tensor sequence_to_tensor(PyObject* p) {
  if (PyObject_CheckBuffer(p)) {  // an array of NumPy or another library
    Object module = Object::steal(checked(PyImport_ImportModule("ctorch._C")));
    Object result = Object::steal(checked(PyObject_CallMethod(module.get(), "_from_buffer", "O", p)));
    return py::as_tensor(result.get());
  }
  NestedList list;
  list.read(p, 0);
  return list.tensor();
}

// PyTorch reads a list that holds slices, tensors or sequences as if it were a tuple.
bool reads_as_tuple(PyObject* p) {
  if (PyTuple_Check(p)) return true;
  if (!PyList_Check(p)) return false;
  const Py_ssize_t n = PyList_GET_SIZE(p);
  if (n >= 32) return false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PyList_GET_ITEM(p, i);
    if (PySlice_Check(item) || item == Py_Ellipsis || item == Py_None || is_tensor(item) ||
        is_plain_sequence(item)) {
      if (PyErr_WarnEx(PyExc_UserWarning,
                       "Using a non-tuple sequence for multidimensional indexing is deprecated; use "
                       "x[tuple(seq)] instead of x[seq].",
                       1) < 0) {
        throw_python_error();
      }
      return true;
    }
  }
  return false;
}

// ---- reading an index ----

class Reader {
 public:
  Reader(const Tensor& self, Index& index) : self_(self), index_(index) {}

  void read_one(PyObject* p) {
    if (p == Py_Ellipsis) return;
    read(p);
  }
  void read_all(PyObject* sequence) {
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence);
    PyObject** items = PySequence_Fast_ITEMS(sequence);
    std::vector<Tensor> arrays(static_cast<size_t>(n));  // sequences, as tensors
    int64_t named = 0;                                   // dims of self that items stand for
    for (Py_ssize_t i = 0; i < n; ++i) {
      PyObject* p = items[i];
      if (PyLong_CheckExact(p) || PySlice_Check(p)) {
        ++named;
        continue;
      }
      if (is_plain_sequence(p)) arrays[static_cast<size_t>(i)] = sequence_to_tensor(p);
      const Tensor& t = is_tensor(p) ? py::as_tensor(p) : arrays[static_cast<size_t>(i)];
      if (t) {
        named += is_mask(t) ? t.dim() : 1;
      } else if (p != Py_None && p != Py_Ellipsis && !PyBool_Check(p) && !is_numpy_bool(p)) {
        ++named;
      }
    }
    check_index(named <= self_.dim(), "too many indices for tensor of dimension ", self_.dim());
    bool skipped = false;
    for (Py_ssize_t i = 0; i < n; ++i) {
      if (items[i] == Py_Ellipsis) {
        for (int64_t k = self_.dim() - named; k > 0 && !skipped; --k) keep(1);
        skipped = true;
      } else if (arrays[static_cast<size_t>(i)]) {
        read_tensor(arrays[static_cast<size_t>(i)]);
      } else {
        read(items[i]);
      }
    }
  }

 private:
  void read(PyObject* p) {
    if (PyBool_Check(p) || is_numpy_bool(p)) {
      read_bool(PyObject_IsTrue(p));
    } else if (PyLong_Check(p)) {
      read_int(to_int64(p));
    } else if (PySlice_Check(p)) {
      read_slice(p);
    } else if (p == Py_None) {
      new_dim();
    } else if (is_tensor(p)) {
      read_tensor(py::as_tensor(p));
    } else if (is_plain_sequence(p)) {
      read_tensor(sequence_to_tensor(p));
    } else if (PyIndex_Check(p)) {
      read_int(to_int64(p));
    } else {
      bad_index(p);
    }
  }

  int64_t next_size() {
    check_index(self_.dim() > 0,
                "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a number");
    check_index(dim_ < self_.dim(), "too many indices for tensor of dimension ", self_.dim());
    return self_.sizes()[dim_];
  }

  void read_int(int64_t i) {
    const int64_t size = next_size();
    check_index(i >= -size && i < size, "index ", i, " is out of bounds for dimension ", dim_, " with size ",
                size);
    index_.add(BasicIndex::select, i < 0 ? i + size : i, 1, 1);
    index_.changes = true;
    index_.name = ViewName::select;
    ++dim_;
  }

  void read_slice(PyObject* p) {
    const int64_t size = next_size();
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(p, &start, &stop, &step) < 0) throw_python_error();
    const Py_ssize_t length = PySlice_AdjustIndices(size, &start, &stop, step);
    const bool whole = start == 0 && step == 1 && length == size;
    index_.add(BasicIndex::slice, length ? start : 0, length > 1 ? step : 1, length);
    if (!whole) {
      index_.changes = true;
      index_.name = ViewName::slice;
    }
    ++dim_;
  }

  void new_dim() {
    index_.add(BasicIndex::new_dim, 0, 1, 1);
    index_.changes = true;
    index_.name = ViewName::unsqueeze;
  }

  void read_bool(bool value) {
    new_dim();
    Tensor t = empty(Dims{value ? 1 : 0}, DType::int64);
    if (value) *t.data<int64_t>() = 0;
    index_.add_tensor(t, 1);
  }

  // Keep `n` dims whole, for a tensor or an ellipsis.
  void keep(int64_t n) {
    for (int64_t k = 0; k < n; ++k) {
      index_.add(BasicIndex::slice, 0, 1, next_size());
      ++dim_;
    }
  }

  void read_tensor(const Tensor& t) {
    check_index(is_mask(t) || is_integral(t.dtype()),
                "tensors used as indices must be long, int, byte or bool tensors, got ", t.dtype());
    if (t.dim() == 0) {
      if (is_mask(t)) {
        read_bool(item(t).to_bool());
      } else {
        read_int(item(t).to_int64());
      }
      return;
    }
    const int64_t width = is_mask(t) ? t.dim() : 1;
    const int64_t first = dim_;
    for (int64_t d = 0; is_mask(t) && d < width; ++d) {
      check_index(first + d < self_.dim(), "too many indices for tensor of dimension ", self_.dim());
      check_index(t.sizes()[d] == self_.sizes()[first + d], "The shape of the mask ", t.sizes(), " at index ",
                  d, " does not match the shape of the indexed tensor ", self_.sizes(), " at index ",
                  first + d);
    }
    keep(width);
    index_.add_tensor(t, width);
  }

  const Tensor& self_;
  Index& index_;
  int64_t dim_ = 0;  // of self, next to be read
};

void read_index(const Tensor& self, PyObject* p, Index& index) {
  Reader reader(self, index);
  if (CT_LIKELY(PyLong_CheckExact(p) || PySlice_Check(p))) return reader.read_one(p);
  if (reads_as_tuple(p)) return reader.read_all(p);
  reader.read_one(p);
}

// ---- through the door ----

const Operation& operation(const char* name) {
  Operation* op = find_operation(name);
  check_implemented(op, name, " is not implemented");
  return *op;
}

Object call(const Operation& op, std::initializer_list<PyObject*> args, bool inplace = false) {
  PyObject* slots[kMaxParams];
  Object keep;
  const Overload* ov =
      bind_arguments(op, args.begin(), static_cast<Py_ssize_t>(args.size()), nullptr, slots, keep);
  if (!ov) throw_python_error();
  return Object::steal(checked(call_operation(*ov, slots, inplace)));
}

bool tracked(PyObject* self) {
  static const Overload& view = *operation("_basic_index").overloads[0];
  PyObject* slots[] = {self, nullptr};
  return must_record(view, slots);
}

Object view_of(PyObject* self, const Index& index) {
  const Tensor& t = py::as_tensor(self);
  if (CT_UNLIKELY(tracked(self))) {
    static const Operation& op = operation("_basic_index");
    Object spec = Object::steal(checked(wrap_ints(index.spec())));
    PyObject* slots[] = {self, spec.get()};
    return Object::steal(checked(call_operation(*op.overloads[static_cast<size_t>(index.name)], slots)));
  }
  Tensor view = ops::basic_index(t, index.spec());
  Object wrapped = Object::steal(checked(wrap(view)));
  note_view(view, t, false);
  return wrapped;
}

Object tensor_tuple(const std::vector<Tensor>& tensors) {
  Object tuple = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(tensors.size()))));
  for (size_t i = 0; i < tensors.size(); ++i)
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), checked(wrap(tensors[i])));
  return tuple;
}

// ---- values ----

bool is_number(PyObject* p) {
  return PyFloat_Check(p) || PyLong_Check(p) || PyComplex_Check(p) || is_numpy_bool(p) ||
         (!PySequence_Check(p) && !is_text(p) &&
          (PyIndex_Check(p) || (Py_TYPE(p)->tp_as_number && Py_TYPE(p)->tp_as_number->nb_float)));
}

Tensor without_leading_ones(const Tensor& t, int64_t ndim) {
  Dims sizes = t.sizes(), strides = t.strides();
  while (sizes.size() > ndim && sizes[0] == 1) {
    sizes.erase(0);
    strides.erase(0);
  }
  return t.view_as(std::move(sizes), std::move(strides), t.offset());
}

// Fill the place or copy into it: `place` is a view of self that nobody else has.
void assign_untracked(const Tensor& self, const Tensor& place, PyObject* value) {
  check_inplace(self, "__setitem__", false);
  if (is_tensor(value)) {
    const Tensor& v = py::as_tensor(value);
    GilRelease gil(place.numel());
    ops::copy_(place, v.dim() > place.dim() ? without_leading_ones(v, place.dim()) : v);
  } else {
    Scalar number = to_scalar(value);
    ops::check_fits(number, self.dtype(), "__setitem__");
    GilRelease gil(place.numel());
    ops::fill_(place, number);
  }
  self.bump_version();
}

void assign_tracked(PyObject* place, PyObject* value) {
  static const Operation &copy = operation("copy"), &fill = operation("fill"),
                         &reshape = operation("reshape");
  const Tensor& to = py::as_tensor(place);
  if (!is_tensor(value)) {
    ops::check_fits(to_scalar(value), to.dtype(), "__setitem__");
    call(fill, {place, value}, true);
    return;
  }
  const Tensor& v = py::as_tensor(value);
  if (v.dim() <= to.dim()) {
    call(copy, {place, value}, true);
  } else {
    Object shape = Object::steal(checked(wrap_ints(without_leading_ones(v, to.dim()).sizes())));
    call(copy, {place, call(reshape, {value, shape.get()}).get()}, true);
  }
}

// x[mask] = number, where the mask covers leading dims: the mask with a dim of size 1 for each of the others.
Tensor mask_for_fill(const Tensor& mask, int64_t ndim) {
  Dims sizes = mask.sizes(), strides = mask.strides();
  while (sizes.size() < ndim) {
    sizes.push_back(1);
    strides.push_back(0);
  }
  Tensor m = mask.view_as(std::move(sizes), std::move(strides), mask.offset());
  return m.dtype() == DType::boolean ? m : ops::to_dtype(m, DType::boolean);
}

void assign_indexed(PyObject* place, const Index& index, PyObject* value) {
  static const Operation &put = operation("_index_put"), &masked_fill = operation("masked_fill"),
                         &reshape = operation("reshape");
  const Tensor& to = py::as_tensor(place);
  const bool one_mask = index.tensors.size() == 1 && is_mask(index.tensors[0]) && index.dims[0] == 0;
  if (one_mask && (!is_tensor(value) || py::as_tensor(value).numel() == 1)) {
    Object number = Object::borrow(value);
    if (is_tensor(value) && py::as_tensor(value).dim() > 0)
      number = call(reshape, {value, Object::steal(wrap_ints({})).get()});
    Object mask = Object::steal(checked(wrap(mask_for_fill(index.tensors[0], to.dim()))));
    call(masked_fill, {place, mask.get(), number.get()}, true);
    return;
  }
  Object values = Object::borrow(value);
  if (!is_tensor(value)) {
    Scalar number = to_scalar(value);
    ops::check_fits(number, to.dtype(), "__setitem__");
    values = Object::steal(checked(wrap(scalar_tensor(number, to.dtype(), to.device()))));
  }
  Object tensors = tensor_tuple(index.tensors), dims = Object::steal(checked(wrap_ints(index.dims)));
  call(put, {place, tensors.get(), dims.get(), values.get()}, true);
}

}  // namespace

PyObject* tensor_getitem(PyObject* self, PyObject* p) {
  try {
    Index index;
    read_index(py::as_tensor(self), p, index);
    const bool basic = index.tensors.empty();
    Object view = basic || index.changes ? view_of(self, index) : Object::borrow(self);
    if (basic) return view.release();
    static const Operation& op = operation("_index");
    Object tensors = tensor_tuple(index.tensors), dims = Object::steal(checked(wrap_ints(index.dims)));
    return call(op, {view.get(), tensors.get(), dims.get()}).release();
  } catch (...) {
    return translate_exception();
  }
}

int tensor_setitem(PyObject* self, PyObject* p, PyObject* value) {
  try {
    check_type(value, "Tensor does not support deleting items");
    const Tensor& t = py::as_tensor(self);
    check_type(is_tensor(value) || is_number(value), "can't assign a ", Py_TYPE(value)->tp_name, " to a ",
               t.dtype(), " tensor");
    Index index;
    read_index(t, p, index);
    const bool record =
        tracked(self) || (grad_enabled() && is_tensor(value) && py::as_tensor(value).requires_grad());
    if (index.tensors.empty() && !record) {
      assign_untracked(t, index.changes ? ops::basic_index(t, index.spec()) : t, value);
      return 0;
    }
    Object place = index.changes ? view_of(self, index) : Object::borrow(self);
    if (index.tensors.empty()) {
      assign_tracked(place.get(), value);
    } else {
      assign_indexed(place.get(), index, value);
    }
    return 0;
  } catch (...) {
    translate_exception();
    return -1;
  }
}

void init_ops_indexing() {
  const char* doc = "The view that basic indices make; the items are those of ops::basic_index.";
  for (const char* schema : {"_basic_index.select(Tensor input, int[] items) -> Tensor",
                             "_basic_index.slice(Tensor input, int[] items) -> Tensor",
                             "_basic_index.unsqueeze(Tensor input, int[] items) -> Tensor",
                             "_basic_index.alias(Tensor input, int[] items) -> Tensor"}) {
    def_op<&ops::basic_index>(schema, doc, kInternal | kView);
  }
  def_op<&ops::basic_index_backward>("_basic_index_backward(Tensor grad, int[] sizes, int[] items) -> Tensor",
                                     "Zeros of shape sizes with grad where the view of _basic_index lies.",
                                     kInternal);
  def_op<&ops::index>("_index(Tensor input, Tensor[] indices, int[] dims) -> Tensor",
                      "input at index tensors; tensor i indexes the dims from dims[i] on.", kInternal);
  def_op<&ops::index_put>(
      "_index_put(Tensor input, Tensor[] indices, int[] dims, Tensor values, bool accumulate=False, *, Out "
      "out=None) -> Tensor",
      "A copy of input with values at index tensors; see _index.", kInternal | kInplace);
}

}  // namespace ctorch::py
