// The Tensor type: life of the objects, Python's operators, attributes, and the methods that are no
// operations.
#include <cstring>

#include "autograd/grad_mode.h"
#include "autograd/variable.h"
#include "bindings/convert.h"
#include "bindings/def_op.h"
#include "bindings/indexing.h"
#include "bindings/interop.h"
#include "bindings/record.h"
#include "ops/copy.h"
#include "ops/promote.h"

namespace ctorch::py {

PyTypeObject* g_tensor_type = nullptr;

PyObject* wrap_as(const Tensor& t, PyTypeObject* type) {
  auto* self = reinterpret_cast<PyTensor*>(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  new (&self->tensor) Tensor(t);
  t.impl()->python = self;
  if (CT_UNLIKELY(inference_mode())) t.impl()->is_inference = true;
  return reinterpret_cast<PyObject*>(self);
}

PyObject* wrap(const Tensor& t) {
  if (CT_UNLIKELY(!t)) return Py_NewRef(Py_None);
  if (auto* known = static_cast<PyObject*>(t.impl()->python)) return Py_NewRef(known);
  return wrap_as(t, g_tensor_type);
}

namespace {

// ---- life
// -------------------------------------------------------------------------------------------------------------

void tensor_dealloc(PyObject* p) {
  auto* self = reinterpret_cast<PyTensor*>(p);
  PyTypeObject* type = Py_TYPE(p);
  PyObject_GC_UnTrack(p);
  if (self->weakrefs) PyObject_ClearWeakRefs(p);
  Py_CLEAR(self->dict);
  if (self->tensor) self->tensor.impl()->python = nullptr;
  self->tensor.~Tensor();
  type->tp_free(p);
  Py_DECREF(type);
}

int tensor_traverse(PyObject* p, visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<PyTensor*>(p)->dict);
  Py_VISIT(Py_TYPE(p));
  return traverse_history(reinterpret_cast<PyTensor*>(p)->tensor, visit, arg);
}

int tensor_clear(PyObject* p) {
  Py_CLEAR(reinterpret_cast<PyTensor*>(p)->dict);
  return 0;
}

// ctorch.Tensor(2, 3), Tensor([1, 2]): PyTorch's old constructor; python/ctorch/_tensor.py has its rules.
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  Object module = Object::steal(PyImport_ImportModule("ctorch._tensor"));
  if (!module) return nullptr;
  Object make = Object::steal(PyObject_GetAttrString(module.get(), "_legacy_new"));
  if (!make) return nullptr;
  Object all = Object::steal(PyTuple_New(PyTuple_GET_SIZE(args) + 1));
  PyTuple_SET_ITEM(all.get(), 0, Py_NewRef(reinterpret_cast<PyObject*>(type)));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); ++i)
    PyTuple_SET_ITEM(all.get(), i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
  return PyObject_Call(make.get(), all.get(), kwargs);
}

// _make_subclass(cls, data, requires_grad=False): the same elements as an object of a subclass, without
// history.
PyObject* make_subclass(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"cls", "data", "requires_grad", nullptr};
  PyObject *cls, *data;
  int requires_grad = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!|p", const_cast<char**>(names), &PyType_Type, &cls,
                                   g_tensor_type, &data, &requires_grad))
    return nullptr;
  try {
    check_type(PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls), g_tensor_type),
               "_make_subclass: cls must be a subclass of Tensor");
    Tensor t = as_tensor(data).alias();
    check(!requires_grad || is_differentiable(t.dtype()),
          "Only Tensors of floating point and complex dtype can require gradients, got ", t.dtype());
    t.impl()->requires_grad = requires_grad;
    return wrap_as(t, reinterpret_cast<PyTypeObject*>(cls));
  } catch (...) {
    return translate_exception();
  }
}

// ---- operators
// --------------------------------------------------------------------------------------------------------

// An operation that a Python operator stands for, looked up when first used.
struct Bound {
  const char* name;
  const Operation* op = nullptr;
  PyObject* operator()(PyObject* const* args, Py_ssize_t n, bool inplace = false) {
    try {
      if (CT_UNLIKELY(!op)) op = find_operation(name);
      check_implemented(op, name, " is not implemented");
      PyObject* slots[kMaxParams];
      Object keep;
      const Overload* ov = bind_arguments(*op, args, n, nullptr, slots, keep);
      return ov ? call_operation(*ov, slots, inplace) : nullptr;
    } catch (...) {
      return translate_exception();
    }
  }
};

bool is_plain_number(PyObject* p) {
  static const Param operand{nullptr, nullptr, Kind::operand, false, false, false, nullptr};
  return accepts(operand, p);
}

// The number as a 0-dim tensor of the dtype that it has in an operation with t.
PyObject* number_like(PyObject* number, const Tensor& t) {
  Scalar s = to_scalar(number);
  return wrap(scalar_tensor(s, ops::result_type(Operand(t), Operand(s)), t.device()));
}

// An array of NumPy takes part in an operator as a tensor with a copy of its elements. False, with `operand`
// as it is, for anything else that is neither tensor nor number.
bool take_operand(PyObject* p, Object& operand) {
  if (CT_LIKELY(is_tensor(p) || is_plain_number(p))) {
    operand = Object::borrow(p);
    return true;
  }
  if (std::strcmp(Py_TYPE(p)->tp_name, "numpy.ndarray") != 0) return false;
  Object module = Object::steal(checked(PyImport_ImportModule("ctorch._C")));
  Object make = Object::steal(checked(PyObject_GetAttrString(module.get(), "tensor")));
  operand = Object::steal(checked(PyObject_CallOneArg(make.get(), p)));
  return true;
}

enum Reflected { commutes, swapped, as_tensor_first };

template <const char* const& Name, Reflected How, const char* const& SwappedName>
PyObject* nb_binary(PyObject* a, PyObject* b) {
  static Bound forward{Name}, backward{SwappedName};
  try {
    if (CT_LIKELY(is_tensor(a) && is_tensor(b))) {
      PyObject* args[] = {a, b};
      return forward(args, 2);
    }
    Object other;
    if (is_tensor(a)) {
      if (!take_operand(b, other)) Py_RETURN_NOTIMPLEMENTED;
      PyObject* args[] = {a, other.get()};
      return forward(args, 2);
    }
    if (!take_operand(a, other)) Py_RETURN_NOTIMPLEMENTED;
    if (is_tensor(other.get())) {
      PyObject* args[] = {other.get(), b};
      return forward(args, 2);
    }
    if constexpr (How == as_tensor_first) {
      Object first = Object::steal(checked(number_like(a, as_tensor(b))));
      PyObject* args[] = {first.get(), b};
      return forward(args, 2);
    } else {
      PyObject* args[] = {b, a};
      return backward(args, 2);
    }
  } catch (...) {
    return translate_exception();
  }
}

template <const char* const& Name>
PyObject* nb_inplace(PyObject* a, PyObject* b) {
  static Bound bound{Name};
  try {
    Object other;
    if (!is_tensor(a) || !take_operand(b, other)) Py_RETURN_NOTIMPLEMENTED;
    PyObject* args[] = {a, other.get()};
    return bound(args, 2, true);
  } catch (...) {
    return translate_exception();
  }
}

template <const char* const& Name>
PyObject* nb_unary(PyObject* a) {
  static Bound bound{Name};
  return bound(&a, 1);
}

#define CT_NAME_OF(id, text) constexpr const char* id = text
CT_NAME_OF(kAdd, "add");
CT_NAME_OF(kSub, "sub");
CT_NAME_OF(kRsub, "rsub");
CT_NAME_OF(kMul, "mul");
CT_NAME_OF(kDiv, "div");
CT_NAME_OF(kFloorDivide, "floor_divide");
CT_NAME_OF(kRemainder, "remainder");
CT_NAME_OF(kPow, "pow");
CT_NAME_OF(kMatmul, "matmul");
CT_NAME_OF(kAnd, "bitwise_and");
CT_NAME_OF(kOr, "bitwise_or");
CT_NAME_OF(kXor, "bitwise_xor");
CT_NAME_OF(kLeft, "bitwise_left_shift");
CT_NAME_OF(kRight, "bitwise_right_shift");
CT_NAME_OF(kNeg, "neg");
CT_NAME_OF(kPositive, "positive");
CT_NAME_OF(kAbs, "abs");
CT_NAME_OF(kNot, "bitwise_not");
#undef CT_NAME_OF

PyObject* nb_invert(PyObject* a) {
  const DType dt = as_tensor(a).dtype();
  if (!is_integral(dt) && !is_bool(dt)) {
    PyErr_Format(PyExc_TypeError,
                 "~ (operator.invert) is only implemented on integer and Boolean-type tensors, got %s",
                 dtype_name(dt));
    return nullptr;
  }
  return nb_unary<kNot>(a);
}

PyObject* nb_power(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return nb_binary<kPow, as_tensor_first, kPow>(a, b);
}
PyObject* nb_inplace_power(PyObject* a, PyObject* b, PyObject*) { return nb_inplace<kPow>(a, b); }

PyObject* nb_matmul(PyObject* a, PyObject* b) {
  for (PyObject* p : {a, b})
    if (!is_tensor(p) && is_plain_number(p)) Py_RETURN_NOTIMPLEMENTED;
  return nb_binary<kMatmul, commutes, kMatmul>(a, b);
}

PyObject* tensor_richcompare(PyObject* a, PyObject* b, int op) {
  static Bound bound[] = {{"lt"}, {"le"}, {"eq"}, {"ne"}, {"gt"}, {"ge"}};
  try {
    Object other;
    if (!take_operand(b, other)) Py_RETURN_NOTIMPLEMENTED;
    PyObject* args[] = {a, other.get()};
    return bound[op](args, 2);
  } catch (...) {
    return translate_exception();
  }
}

template <class Fn>
auto guarded(Fn fn, decltype(fn()) failed) -> decltype(fn()) {
  try {
    return fn();
  } catch (...) {
    translate_exception();
    return failed;
  }
}

int nb_bool(PyObject* p) {
  return guarded(
      [&] {
        const Tensor& t = as_tensor(p);
        check(t.numel() != 0, "Boolean value of Tensor with no values is ambiguous");
        check(t.numel() == 1, "Boolean value of Tensor with more than one value is ambiguous");
        return static_cast<int>(item(t).to_bool());
      },
      -1);
}

Scalar one_value(PyObject* p, const char* what) {
  const Tensor& t = as_tensor(p);
  check_value(t.numel() == 1, what, ": only one element tensors can be converted to Python scalars, got ",
              t.numel(), " elements");
  return item(t);
}

void check_real(const Scalar& s, const char* what) {
  check(s.to_complex().imag() == 0, what, ": value ", s, " has an imaginary part, which would be lost");
}

PyObject* nb_int(PyObject* p) {
  return guarded(
      [&]() -> PyObject* {
        Scalar s = one_value(p, "int");
        check_real(s, "int");
        if (s.is_floating() || s.is_complex()) return PyLong_FromDouble(s.to_double());
        return PyNumber_Long(Object::steal(wrap_scalar(s)).get());
      },
      nullptr);
}

PyObject* nb_float(PyObject* p) {
  return guarded(
      [&]() -> PyObject* {
        Scalar s = one_value(p, "float");
        check_real(s, "float");
        return PyFloat_FromDouble(s.to_double());
      },
      nullptr);
}

PyObject* nb_index(PyObject* p) {
  return guarded(
      [&]() -> PyObject* {
        const Tensor& t = as_tensor(p);
        check_type(t.numel() == 1 && !is_differentiable(t.dtype()),
                   "only integer tensors of a single element can be converted to an index");
        Object value = Object::steal(wrap_scalar(item(t)));
        return PyNumber_Index(value.get());
      },
      nullptr);
}

PyObject* tensor_complex(PyObject* p, PyObject*) {
  return guarded(
      [&]() -> PyObject* {
        auto z = one_value(p, "complex").to_complex();
        return PyComplex_FromDoubles(z.real(), z.imag());
      },
      nullptr);
}

Py_ssize_t tensor_length(PyObject* p) {
  return guarded(
      [&]() -> Py_ssize_t {
        check_type(as_tensor(p).dim() > 0, "len() of a 0-d tensor");
        return as_tensor(p).sizes()[0];
      },
      Py_ssize_t{-1});
}

PyObject* sequence_item(PyObject* p, Py_ssize_t i) {
  Object index = Object::steal(PyLong_FromSsize_t(i));
  return tensor_getitem(p, index.get());
}

Py_hash_t tensor_hash(PyObject* p) { return _Py_HashPointer(p); }

PyObject* tensor_iter(PyObject* p) {
  return guarded(
      [&]() -> PyObject* {
        check_type(as_tensor(p).dim() > 0, "iteration over a 0-d tensor");
        static Bound unbind{"unbind"};
        Object parts = Object::steal(unbind(&p, 1));
        return parts ? PyObject_GetIter(parts.get()) : nullptr;
      },
      nullptr);
}

// ---- attributes
// -------------------------------------------------------------------------------------------------------

#define CT_GETTER(name, expression)                        \
  PyObject* get_##name(PyObject* p, void*) {               \
    return guarded(                                        \
        [&]() -> PyObject* {                               \
          [[maybe_unused]] const Tensor& t = as_tensor(p); \
          return expression;                               \
        },                                                 \
        nullptr);                                          \
  }
CT_GETTER(shape, wrap_size(t.sizes()))
CT_GETTER(dtype, wrap(t.dtype()))
CT_GETTER(device, wrap(t.device()))
CT_GETTER(layout, layout_strided())
CT_GETTER(ndim, PyLong_FromLongLong(t.dim()))
CT_GETTER(itemsize, PyLong_FromLongLong(t.item_size()))
CT_GETTER(nbytes, PyLong_FromLongLong(t.item_size() * t.numel()))
CT_GETTER(is_cuda, PyBool_FromLong(t.device().kind == DeviceKind::cuda))
CT_GETTER(is_cpu, PyBool_FromLong(t.device().kind == DeviceKind::cpu))
CT_GETTER(version, (check(!t.impl()->is_inference, "Inference tensors do not track version counter."),
                    PyLong_FromLongLong(t.version())))
CT_GETTER(is_leaf, PyBool_FromLong(is_leaf(t)))
CT_GETTER(retains_grad, PyBool_FromLong(meta(t) && meta(t)->retain_hook))
CT_GETTER(output_nr, PyLong_FromLong(grad_fn(t) ? meta(t)->grad_fn.result : 0))
CT_GETTER(base, meta(t) && meta(t)->view ? wrap(meta(t)->view->base) : Py_NewRef(Py_None))
CT_GETTER(requires_grad, (grad_fn(t), PyBool_FromLong(t.requires_grad())))
CT_GETTER(grad, meta(t) ? wrap(meta(t)->grad) : Py_NewRef(Py_None))
#undef CT_GETTER

PyObject* get_false(PyObject*, void*) { Py_RETURN_FALSE; }

PyObject* get_grad_fn(PyObject* p, void*) {
  return guarded(
      [&]() -> PyObject* {
        Ref<Node> fn = grad_fn(as_tensor(p));
        return fn ? wrap_node(fn) : Py_NewRef(Py_None);
      },
      nullptr);
}

void set_requires_grad(const Tensor& t, bool on) {
  if (on == t.requires_grad() && (!on || is_leaf(t))) return;
  check(!on || is_differentiable(t.dtype()),
        "only Tensors of floating point and complex dtype can require gradients, got ", t.dtype());
  check(on || is_leaf(t),
        "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
        "in a subgraph that "
        "doesn't require differentiation use var_no_grad = var.detach().");
  check(!on || !t.impl()->is_inference,
        "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.");
  t.impl()->requires_grad = on;
}

int put_requires_grad(PyObject* p, PyObject* value, void*) {
  return guarded(
      [&] {
        check(value && PyBool_Check(value), "requires_grad must be a bool, got ",
              value ? Py_TYPE(value)->tp_name : "NULL");
        check(value == Py_False || is_leaf(as_tensor(p)),
              "you can only change requires_grad flags of leaf variables.");
        set_requires_grad(as_tensor(p), value == Py_True);
        return 0;
      },
      -1);
}

int put_grad(PyObject* p, PyObject* value, void*) {
  return guarded(
      [&] {
        const Tensor& t = as_tensor(p);
        if (!value || value == Py_None) {
          if (AutogradMeta* m = meta(t)) m->grad = Tensor();
          return 0;
        }
        check_type(is_tensor(value), "assigned grad expected to be a Tensor or None but got ",
                   Py_TYPE(value)->tp_name);
        const Tensor& g = as_tensor(value);
        check(value != p, "can't assign Variable as its own grad");
        check(g.dtype() == t.dtype(), "assigned grad has data of a different type: expected ", t.dtype(),
              ", got ", g.dtype());
        check(g.sizes() == t.sizes(), "assigned grad has data of a different size: expected ", t.sizes(),
              ", got ", g.sizes());
        make_meta(t).grad = g;
        return 0;
      },
      -1);
}

// x.data: the elements without history; writes through it are not counted.
PyObject* get_data(PyObject* p, void*) {
  return guarded(
      [&] {
        Tensor t = as_tensor(p).alias();
        t.impl()->counts_writes = false;
        return wrap(t);
      },
      nullptr);
}

int put_data(PyObject* p, PyObject* value, void*) {
  return guarded(
      [&] {
        check_type(value && is_tensor(value), "Variable data has to be a tensor, but got ",
                   value ? Py_TYPE(value)->tp_name : "NULL");
        const Tensor &t = as_tensor(p), &from = as_tensor(value);
        TensorImpl* impl = t.impl();
        check(!impl->requires_grad || is_differentiable(from.dtype()),
              "data set to a tensor that requires gradients must be floating point or complex dtype");
        impl->storage = from.storage();
        impl->dtype = from.dtype();
        impl->set_geometry(from.offset(), from.sizes(), from.strides());
        // An accumulator remembers shape and dtype; a new one will be made.
        if (AutogradMeta* m = meta(t); m && m->accumulator)
          m->accumulator->results[0] = {t.sizes(), t.dtype()};
        return 0;
      },
      -1);
}

PyObject* property_operation(PyObject* p, void* name) {
  Object op = Object::steal(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(g_tensor_type), static_cast<const char*>(name)));
  return op ? PyObject_CallOneArg(op.get(), p) : nullptr;
}

// ---- methods that are no operations
// -----------------------------------------------------------------------------------

PyObject* size_like(PyObject* p, PyObject* args, PyObject* kwargs, bool strides) {
  static const char* names[] = {"dim", nullptr};
  PyObject* dim = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", const_cast<char**>(names), &dim)) return nullptr;
  return guarded(
      [&]() -> PyObject* {
        const Tensor& t = as_tensor(p);
        if (dim == Py_None) return strides ? wrap_ints(t.strides()) : wrap_size(t.sizes());
        check_index(t.dim() > 0, strides ? "stride" : "size", ": Dimension specified as ", to_int64(dim),
                    " but tensor has no dimensions");
        int64_t d = wrap_dim(to_int64(dim), t.dim(), strides ? "stride" : "size");
        return PyLong_FromLongLong(strides ? t.strides()[d] : t.sizes()[d]);
      },
      nullptr);
}
PyObject* tensor_size(PyObject* p, PyObject* args, PyObject* kwargs) {
  return size_like(p, args, kwargs, false);
}
PyObject* tensor_stride(PyObject* p, PyObject* args, PyObject* kwargs) {
  return size_like(p, args, kwargs, true);
}

PyObject* tensor_dim(PyObject* p, PyObject*) { return PyLong_FromLongLong(as_tensor(p).dim()); }
PyObject* tensor_numel(PyObject* p, PyObject*) { return PyLong_FromLongLong(as_tensor(p).numel()); }
PyObject* tensor_element_size(PyObject* p, PyObject*) {
  return PyLong_FromLongLong(as_tensor(p).item_size());
}
PyObject* tensor_storage_offset(PyObject* p, PyObject*) { return PyLong_FromLongLong(as_tensor(p).offset()); }
PyObject* tensor_data_ptr(PyObject* p, PyObject*) {
  const Tensor& t = as_tensor(p);
  t.storage()->lend();  // for good: nobody says when he forgets an address
  return PyLong_FromVoidPtr(t.numel() ? t.data() : nullptr);
}

PyObject* tensor_is_contiguous(PyObject* p, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"memory_format", nullptr};
  PyObject* format = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", const_cast<char**>(names), &format)) return nullptr;
  const Tensor& t = as_tensor(p);
  if (format != Py_None && Py_TYPE(format) == g_memory_format_type &&
      to_memory_format(format) >= MemoryFormat::channels_last) {
    int64_t want = to_memory_format(format) == MemoryFormat::channels_last ? 4 : 5;
    return PyBool_FromLong(t.dim() == want && is_channels_last(t.sizes(), t.strides()));
  }
  return PyBool_FromLong(t.is_contiguous());
}

PyObject* tensor_item(PyObject* p, PyObject*) {
  return guarded([&] { return wrap_scalar(item(as_tensor(p))); }, nullptr);
}

template <class T>
PyObject* list_of(const Tensor& t, int64_t dim, const char* data) {
  if (dim == t.dim()) {
    T v;
    std::memcpy(&v, data, sizeof(T));
    if constexpr (std::is_same_v<T, bool>) {
      return PyBool_FromLong(v);
    } else if constexpr (is_complex_v<T>) {
      return PyComplex_FromDoubles(v.real(), v.imag());
    } else if constexpr (std::is_same_v<T, uint64_t>) {
      return PyLong_FromUnsignedLongLong(v);
    } else if constexpr (std::is_integral_v<T>) {
      return PyLong_FromLongLong(v);
    } else {
      return PyFloat_FromDouble(static_cast<double>(static_cast<acc_t<T>>(v)));
    }
  }
  int64_t n = t.sizes()[dim], step = t.strides()[dim] * static_cast<int64_t>(sizeof(T));
  PyObject* list = PyList_New(n);
  for (int64_t i = 0; list && i < n; ++i) PyList_SET_ITEM(list, i, list_of<T>(t, dim + 1, data + i * step));
  return list;
}

PyObject* tensor_tolist(PyObject* p, PyObject*) {
  return guarded(
      [&] {
        const Tensor& t = as_tensor(p);
        PyObject* out = nullptr;
        visit_dtype<AllTypes>(t.dtype(), "tolist", [&]<class T>() { out = list_of<T>(t, 0, t.data()); });
        return out;
      },
      nullptr);
}

PyObject* tensor_detach(PyObject* p, PyObject*) {
  return guarded(
      [&] {
        Tensor t = as_tensor(p).alias();
        PyObject* wrapped = wrap(t);
        t.impl()->is_inference = as_tensor(p).impl()->is_inference;
        return wrapped;
      },
      nullptr);
}

PyObject* tensor_detach_(PyObject* p, PyObject*) {
  return guarded(
      [&] {
        const Tensor& t = as_tensor(p);
        if (AutogradMeta* m = meta(t)) {
          check(!m->view, "Can't detach views in-place. Use detach() instead.");
          m->grad_fn = {};
        }
        t.impl()->requires_grad = false;
        return Py_NewRef(p);
      },
      nullptr);
}

PyObject* tensor_requires_grad_(PyObject* p, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"requires_grad", nullptr};
  int on = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p", const_cast<char**>(names), &on)) return nullptr;
  return guarded(
      [&] {
        set_requires_grad(as_tensor(p), on);
        return Py_NewRef(p);
      },
      nullptr);
}

PyObject* tensor_retain_grad(PyObject* p, PyObject*) {
  return guarded(
      [&] {
        retain_grad(as_tensor(p));
        return Py_NewRef(Py_None);
      },
      nullptr);
}

PyObject* tensor_is_same_size(PyObject* p, PyObject* other) {
  if (!is_tensor(other)) Py_RETURN_FALSE;
  return PyBool_FromLong(as_tensor(p).sizes() == as_tensor(other).sizes());
}
PyObject* tensor_is_floating_point(PyObject* p, PyObject*) {
  return PyBool_FromLong(is_floating(as_tensor(p).dtype()));
}
PyObject* tensor_is_complex(PyObject* p, PyObject*) {
  return PyBool_FromLong(is_complex(as_tensor(p).dtype()));
}
PyObject* tensor_is_signed(PyObject* p, PyObject*) {
  return PyBool_FromLong(is_signed(as_tensor(p).dtype()));
}
PyObject* tensor_is_inference(PyObject* p, PyObject*) {
  return PyBool_FromLong(as_tensor(p).impl()->is_inference);
}
PyObject* tensor_is_view(PyObject* p, PyObject*) {
  return PyBool_FromLong(meta(as_tensor(p)) && meta(as_tensor(p))->view);
}
PyObject* always_false(PyObject*, PyObject*) { Py_RETURN_FALSE; }
PyObject* return_self(PyObject* p, PyObject*) { return Py_NewRef(p); }

// t.set_(other): t becomes an alias of other's elements.
PyObject* tensor_set_(PyObject* p, PyObject* other) {
  if (!is_tensor(other)) {
    PyErr_Format(PyExc_TypeError, "set_(): expected a Tensor, got %s", Py_TYPE(other)->tp_name);
    return nullptr;
  }
  const DType own = as_tensor(p).dtype(), given = as_tensor(other).dtype();
  if (own != given) {
    PyErr_Format(PyExc_RuntimeError, "set_(): expected a source of dtype %s, as the tensor, got %s",
                 dtype_name(own), dtype_name(given));
    return nullptr;
  }
  return put_data(p, other, nullptr) ? nullptr : Py_NewRef(p);
}

template <class F>
PyCFunction as_cfunction(F f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyGetSetDef g_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {"shape", get_shape, nullptr, "The sizes, as a ctorch.Size.", nullptr},
    {"dtype", get_dtype, nullptr, "The type of the elements.", nullptr},
    {"device", get_device, nullptr, "Where the elements are.", nullptr},
    {"layout", get_layout, nullptr, "ctorch.strided.", nullptr},
    {"ndim", get_ndim, nullptr, "The number of dimensions.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes of an element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"requires_grad", get_requires_grad, put_requires_grad, "Whether gradients flow to this tensor.",
     nullptr},
    {"grad", get_grad, put_grad, "The gradient that backward() added up here, or None.", nullptr},
    {"grad_fn", get_grad_fn, nullptr,
     "The node of the backward graph that made this tensor; None for a leaf.", nullptr},
    {"_grad_fn", get_grad_fn, nullptr, nullptr, nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether this tensor is not the result of a recorded operation.",
     nullptr},
    {"retains_grad", get_retains_grad, nullptr, "Whether retain_grad() was called on this result.", nullptr},
    {"output_nr", get_output_nr, nullptr, "Which result of its grad_fn this is.", nullptr},
    {"data", get_data, put_data, "The same elements, without history; writes are not seen by autograd.",
     nullptr},
    {"_version", get_version, nullptr, "How often the storage was written to by in-place operations.",
     nullptr},
    {"_base", get_base, nullptr, "The tensor of which this is a view, or None.", nullptr},
    {"is_cuda", get_is_cuda, nullptr, nullptr, nullptr},
    {"is_cpu", get_is_cpu, nullptr, nullptr, nullptr},
    {"is_mps", get_false, nullptr, nullptr, nullptr},
    {"is_xpu", get_false, nullptr, nullptr, nullptr},
    {"is_sparse", get_false, nullptr, nullptr, nullptr},
    {"is_sparse_csr", get_false, nullptr, nullptr, nullptr},
    {"is_quantized", get_false, nullptr, nullptr, nullptr},
    {"is_meta", get_false, nullptr, nullptr, nullptr},
    {"is_nested", get_false, nullptr, nullptr, nullptr},
    {"is_mkldnn", get_false, nullptr, nullptr, nullptr},
    {"T", property_operation, nullptr, "The transposed tensor (of a matrix; all dims reversed).",
     const_cast<char*>("numpy_T")},
    {"mT", property_operation, nullptr, "The last two dims exchanged.", const_cast<char*>("matrix_T")},
    {"H", property_operation, nullptr, "The conjugate transposed matrix.", const_cast<char*>("matrix_H")},
    {"mH", property_operation, nullptr, "The last two dims exchanged, conjugated.",
     const_cast<char*>("adjoint")},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef g_methods[] = {
    {"size", as_cfunction(tensor_size), METH_VARARGS | METH_KEYWORDS,
     "size(dim=None): the sizes, or one of them."},
    {"stride", as_cfunction(tensor_stride), METH_VARARGS | METH_KEYWORDS,
     "stride(dim=None): the strides in elements, or one of them."},
    {"dim", tensor_dim, METH_NOARGS, "The number of dimensions."},
    {"ndimension", tensor_dim, METH_NOARGS, "The number of dimensions."},
    {"numel", tensor_numel, METH_NOARGS, "The number of elements."},
    {"nelement", tensor_numel, METH_NOARGS, "The number of elements."},
    {"element_size", tensor_element_size, METH_NOARGS, "Bytes of an element."},
    {"storage_offset", tensor_storage_offset, METH_NOARGS,
     "Elements between the start of the storage and this tensor."},
    {"data_ptr", tensor_data_ptr, METH_NOARGS, "The address of the first element."},
    {"is_contiguous", as_cfunction(tensor_is_contiguous), METH_VARARGS | METH_KEYWORDS,
     "Whether the elements lie row by row without gaps."},
    {"item", tensor_item, METH_NOARGS, "The value of a one-element tensor as a Python number."},
    {"tolist", tensor_tolist, METH_NOARGS, "The values as nested lists of Python numbers."},
    {"detach", tensor_detach, METH_NOARGS, "The same elements, without history."},
    {"detach_", tensor_detach_, METH_NOARGS, "Forget the history of this tensor."},
    {"requires_grad_", as_cfunction(tensor_requires_grad_), METH_VARARGS | METH_KEYWORDS,
     "requires_grad_(requires_grad=True): set the flag and return self."},
    {"retain_grad", tensor_retain_grad, METH_NOARGS, "Keep the gradient of this result in .grad."},
    {"is_same_size", tensor_is_same_size, METH_O, "Whether other has the same shape."},
    {"is_floating_point", tensor_is_floating_point, METH_NOARGS, "Whether the dtype is a floating one."},
    {"is_complex", tensor_is_complex, METH_NOARGS, "Whether the dtype is complex."},
    {"is_signed", tensor_is_signed, METH_NOARGS, "Whether the dtype has negative values."},
    {"is_inference", tensor_is_inference, METH_NOARGS, "Whether it was made in inference mode."},
    {"_is_view", tensor_is_view, METH_NOARGS, "Whether it is a view, of _base."},
    {"is_conj", always_false, METH_NOARGS, "False: conj() computes its result at once."},
    {"is_neg", always_false, METH_NOARGS, "False."},
    {"is_pinned", always_false, METH_NOARGS, "False."},
    {"is_shared", always_false, METH_NOARGS, "False."},
    {"resolve_conj", return_self, METH_NOARGS, "self."},
    {"resolve_neg", return_self, METH_NOARGS, "self."},
    {"pin_memory", return_self, METH_NOARGS, "self: memory of the CPU needs no pinning without a GPU."},
    {"set_", tensor_set_, METH_O, "set_(source): become an alias of source's elements."},
    {"__complex__", tensor_complex, METH_NOARGS, "The value of a one-element tensor as a complex."},
    {"_make_subclass", as_cfunction(make_subclass), METH_VARARGS | METH_KEYWORDS | METH_STATIC,
     "_make_subclass(cls, data, requires_grad=False)"},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef g_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(PyTensor, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

template <class F>
void* slot(F f) {
  return reinterpret_cast<void*>(f);
}

PyType_Slot g_slots[] = {
    {Py_tp_dealloc, slot(tensor_dealloc)},
    {Py_tp_traverse, slot(tensor_traverse)},
    {Py_tp_clear, slot(tensor_clear)},
    {Py_tp_new, slot(tensor_new)},
    {Py_tp_getset, g_getset},
    {Py_tp_methods, g_methods},
    {Py_tp_members, g_members},
    {Py_tp_richcompare, slot(tensor_richcompare)},
    {Py_tp_hash, slot(tensor_hash)},
    {Py_tp_iter, slot(tensor_iter)},
    {Py_mp_length, slot(tensor_length)},
    {Py_mp_subscript, slot(tensor_getitem)},
    {Py_mp_ass_subscript, slot(tensor_setitem)},
    {Py_sq_item, slot(sequence_item)},
    {Py_sq_length, slot(tensor_length)},
    {Py_nb_add, slot(nb_binary<kAdd, commutes, kAdd>)},
    {Py_nb_subtract, slot(nb_binary<kSub, swapped, kRsub>)},
    {Py_nb_multiply, slot(nb_binary<kMul, commutes, kMul>)},
    {Py_nb_true_divide, slot(nb_binary<kDiv, as_tensor_first, kDiv>)},
    {Py_nb_floor_divide, slot(nb_binary<kFloorDivide, as_tensor_first, kFloorDivide>)},
    {Py_nb_remainder, slot(nb_binary<kRemainder, as_tensor_first, kRemainder>)},
    {Py_nb_power, slot(nb_power)},
    {Py_nb_matrix_multiply, slot(nb_matmul)},
    {Py_nb_and, slot(nb_binary<kAnd, commutes, kAnd>)},
    {Py_nb_or, slot(nb_binary<kOr, commutes, kOr>)},
    {Py_nb_xor, slot(nb_binary<kXor, commutes, kXor>)},
    {Py_nb_lshift, slot(nb_binary<kLeft, as_tensor_first, kLeft>)},
    {Py_nb_rshift, slot(nb_binary<kRight, as_tensor_first, kRight>)},
    {Py_nb_inplace_add, slot(nb_inplace<kAdd>)},
    {Py_nb_inplace_subtract, slot(nb_inplace<kSub>)},
    {Py_nb_inplace_multiply, slot(nb_inplace<kMul>)},
    {Py_nb_inplace_true_divide, slot(nb_inplace<kDiv>)},
    {Py_nb_inplace_floor_divide, slot(nb_inplace<kFloorDivide>)},
    {Py_nb_inplace_remainder, slot(nb_inplace<kRemainder>)},
    {Py_nb_inplace_power, slot(nb_inplace_power)},
    {Py_nb_inplace_and, slot(nb_inplace<kAnd>)},
    {Py_nb_inplace_or, slot(nb_inplace<kOr>)},
    {Py_nb_inplace_xor, slot(nb_inplace<kXor>)},
    {Py_nb_inplace_lshift, slot(nb_inplace<kLeft>)},
    {Py_nb_inplace_rshift, slot(nb_inplace<kRight>)},
    {Py_nb_negative, slot(nb_unary<kNeg>)},
    {Py_nb_positive, slot(nb_unary<kPositive>)},
    {Py_nb_absolute, slot(nb_unary<kAbs>)},
    {Py_nb_invert, slot(nb_invert)},
    {Py_nb_bool, slot(nb_bool)},
    {Py_nb_int, slot(nb_int)},
    {Py_nb_float, slot(nb_float)},
    {Py_nb_index, slot(nb_index)},
    {Py_bf_getbuffer, slot(tensor_getbuffer)},
    {Py_bf_releasebuffer, slot(tensor_releasebuffer)},
    {Py_tp_doc,
     const_cast<char*>(
         "A multi-dimensional array of one dtype, which can take part in automatic differentiation.")},
    {0, nullptr}};

}  // namespace

void init_tensor_type(pyb::module_& m) {
  PyType_Spec spec{"ctorch.Tensor", sizeof(PyTensor), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, g_slots};
  g_tensor_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
  PyDict_SetItemString(g_tensor_type->tp_dict, "__array_priority__",
                       Object::steal(PyLong_FromLong(1000)).get());
  m.attr("Tensor") = pyb::reinterpret_borrow<pyb::object>(reinterpret_cast<PyObject*>(g_tensor_type));
}

}  // namespace ctorch::py
