// The callable behind every operation of the module, and the one path that all calls take.
#include <algorithm>
#include <cstring>

#include "autograd/grad_mode.h"
#include "autograd/variable.h"
#include "bindings/def_op.h"
#include "bindings/record.h"
#include "ops/copy.h"

namespace ctorch::py {
namespace {

// One object serves as function and as method: it is a method descriptor, so x.mul(y) calls it with (x, y).
struct OpFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  Operation* op;
  bool inplace;
  PyObject* name;  // "mul" or "mul_"
};
PyTypeObject* g_op_function_type = nullptr;

const Tensor& first_tensor(PyObject* const* slots) { return as_tensor(slots[0]); }

void check_castable(DType from, DType to, const char* op) {
  check(can_cast(from, to), op, ": result type ", dtype_scalar_name(from),
        " can't be cast to the desired output type ", dtype_scalar_name(to));
}

void copy_result_inplace(const Tensor& result, const Tensor& self, const char* op) {
  check(result.sizes() == self.sizes(), op, ": output with shape ", self.sizes(),
        " doesn't match the broadcast shape ", result.sizes());
  check_castable(result.dtype(), self.dtype(), op);
  ops::copy_(self, result);
}

void copy_result_out(const Tensor& result, const Tensor& target, const char* op) {
  check_castable(result.dtype(), target.dtype(), op);
  ops::resize_output(target, result.sizes(), op);
  ops::copy_(target, result);
}

// Several results go into targets of just their dtypes, as PyTorch has it.
void copy_results_out(PyObject* results, PyObject* targets, const char* op) {
  const Py_ssize_t n = PyTuple_GET_SIZE(results);
  auto target = [&](Py_ssize_t i) -> const Tensor& {
    return as_tensor(PySequence_Fast_GET_ITEM(targets, i));
  };
  auto result = [&](Py_ssize_t i) -> const Tensor& { return as_tensor(PyTuple_GET_ITEM(results, i)); };
  for (Py_ssize_t i = 0; i < n; ++i) {
    check(target(i).dtype() == result(i).dtype(), op, "(): expected out ", i, " to have dtype ",
          result(i).dtype(), ", got ", target(i).dtype());
  }
  for (Py_ssize_t i = 0; i < n; ++i) copy_result_out(result(i), target(i), op);
  for (Py_ssize_t i = 0; i < n; ++i) target(i).bump_version();
}

// PyTorch's warning about targets that held elements of another shape.
class ResizeWatch {
 public:
  explicit ResizeWatch(const Tensor& target)
      : target_(target.numel() ? target : Tensor()), sizes_(target.sizes()) {}
  void warn_if_resized(const char* op) const {
    if (!target_ || same(target_.sizes(), sizes_)) return;
    const std::string text =
        concat(op, "(): An output with one or more elements was resized since it had shape ",
               ShapeText{sizes_}, ", which does not match the required output shape ", target_.sizes(),
               ". This is deprecated: resize the out tensor to zero elements first, with out.resize_(0).");
    if (PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1) < 0) throw_python_error();
  }

 private:
  Tensor target_;
  Dims sizes_;
};

// x.mul_(y): into x, with the graph told.
PyObject* run_inplace(const Overload& ov, PyObject** slots) {
  const Tensor& self = first_tensor(slots);
  const char* op = ov.op->name.c_str();
  bool record = must_record(ov, slots);
  check_inplace(self, op, record);
  Ref<Node> node = record ? begin_record(ov, slots, true) : nullptr;
  if (ov.mutates || ov.native_out) {
    Object result = Object::steal(checked(ov.invoke(ov, slots, Out{&self, true})));
  } else {
    Object result = Object::steal(checked(ov.invoke(ov, slots, Out{})));
    check_type(is_tensor(result.get()), op, "_: the operation has no in-place form here");
    copy_result_inplace(as_tensor(result.get()), self, op);
  }
  self.bump_version();
  if (node) end_record(node, ov, slots, slots[0], true);
  return Py_NewRef(slots[0]);
}

// A factory makes its result in the dtype of its target.
void take_dtype_of_target(const Overload& ov, PyObject** slots, const Tensor& target) {
  PyObject*& dtype = slots[ov.factory_dtype];
  check(dtype == Py_None || as_dtype(dtype) == target.dtype(), ov.op->name, "(): dtype ",
        dtype == Py_None ? target.dtype() : as_dtype(dtype), " does not match dtype of out parameter (",
        target.dtype(), ")");
  dtype = wrap(target.dtype());
  Py_DECREF(dtype);  // dtypes live for ever; slots are borrowed
}

PyObject* run_out(const Overload& ov, PyObject** slots) {
  const char* op = ov.op->name.c_str();
  PyObject* out = slots[ov.out_index];
  bool one = is_tensor(out);
  Py_ssize_t n = one ? 1 : PySequence_Fast_GET_SIZE(out);
  auto target = [&](Py_ssize_t i) -> PyObject* { return one ? out : PySequence_Fast_GET_ITEM(out, i); };
  bool tracked = must_record(ov, slots);
  for (Py_ssize_t i = 0; i < n; ++i) tracked |= recording() && as_tensor(target(i)).requires_grad();
  check(!tracked, op,
        "(): functions with out=... arguments don't support automatic differentiation, but one of the "
        "arguments requires grad.");
  std::vector<ResizeWatch> watches;
  for (Py_ssize_t i = 0; i < n; ++i) watches.emplace_back(as_tensor(target(i)));
  if (one && ov.factory_dtype >= 0) take_dtype_of_target(ov, slots, as_tensor(out));
  if (one && ov.native_out) {
    Object result = Object::steal(checked(ov.invoke(ov, slots, Out{&as_tensor(out), false})));
  } else {
    Object result = Object::steal(checked(ov.invoke(ov, slots, Out{})));
    if (is_tensor(result.get())) {
      check_type(one, op, "(): expected out to be one tensor, got ", n);
      copy_result_out(as_tensor(result.get()), as_tensor(out), op);
    } else {
      check_type(!one && PyTuple_Check(result.get()) && PyTuple_GET_SIZE(result.get()) == n, op,
                 "(): expected out to be a tuple of as many tensors as there are results");
      copy_results_out(result.get(), out, op);
      for (const ResizeWatch& watch : watches) watch.warn_if_resized(op);
      if (!ov.result_type) return Py_NewRef(out);
      Object named = Object::steal(checked(PyStructSequence_New(ov.result_type)));
      for (Py_ssize_t i = 0; i < n; ++i) PyStructSequence_SET_ITEM(named.get(), i, Py_NewRef(target(i)));
      return named.release();
    }
  }
  as_tensor(out).bump_version();
  watches[0].warn_if_resized(op);
  return Py_NewRef(out);
}

void note_views(PyObject* result, const Tensor& base) {
  auto note = [&](PyObject* view, bool one_of_several) {
    if (is_tensor(view) && !as_tensor(view).is_same(base) && as_tensor(view).storage() == base.storage())
      note_view(as_tensor(view), base, one_of_several);
  };
  if (is_tensor(result)) {
    note(result, false);
  } else if (PyTuple_Check(result)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(result); ++i) note(PyTuple_GET_ITEM(result, i), true);
  }
}

PyObject* run(const Overload& ov, PyObject** slots, bool inplace) {
  if (inplace || ov.mutates) return run_inplace(ov, slots);
  if (CT_UNLIKELY(ov.out_index >= 0 && slots[ov.out_index] != Py_None)) return run_out(ov, slots);
  bool record = must_record(ov, slots);
  if (!record && !ov.is_view) return ov.invoke(ov, slots, Out{});
  Ref<Node> node = record ? begin_record(ov, slots, false) : nullptr;
  Object result = Object::steal(checked(ov.invoke(ov, slots, Out{})));
  if (ov.is_view) note_views(result.get(), first_tensor(slots));
  if (node) end_record(node, ov, slots, result.get(), false);
  return result.release();
}

PyObject* op_vectorcall(PyObject* callable, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  auto* f = reinterpret_cast<OpFunction*>(callable);
  PyObject* slots[kMaxParams];
  try {
    Object keep;
    const Overload* ov = bind_arguments(*f->op, args, PyVectorcall_NARGS(nargsf), kwnames, slots, keep);
    if (!ov) return nullptr;
    return run(*ov, slots, f->inplace);
  } catch (...) {
    return translate_exception();
  }
}

PyObject* op_descr_get(PyObject* self, PyObject* instance, PyObject*) {
  return instance && instance != Py_None ? PyMethod_New(self, instance) : Py_NewRef(self);
}

PyObject* op_repr(PyObject* self) {
  return PyUnicode_FromFormat("<built-in function %U>", reinterpret_cast<OpFunction*>(self)->name);
}
PyObject* op_name(PyObject* self, void*) { return Py_NewRef(reinterpret_cast<OpFunction*>(self)->name); }
PyObject* op_module(PyObject* self, void*) {
  bool internal = reinterpret_cast<OpFunction*>(self)->op->forms & kInternal;
  return PyUnicode_FromString(internal ? "ctorch._C" : "ctorch");
}
PyObject* op_doc(PyObject* self, void*) {
  const Operation& op = *reinterpret_cast<OpFunction*>(self)->op;
  std::string doc;
  for (const auto& ov : op.overloads) doc += ov->text + "\n";
  doc += "\n" + op.doc;
  return PyUnicode_FromStringAndSize(doc.data(), static_cast<Py_ssize_t>(doc.size()));
}
PyObject* op_reduce(PyObject* self, PyObject*) {
  return Py_NewRef(reinterpret_cast<OpFunction*>(self)->name);
}

void op_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_XDECREF(reinterpret_cast<OpFunction*>(self)->name);
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject* make_op_function_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(OpFunction, vectorcall), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyGetSetDef getset[] = {{"__name__", op_name, nullptr, nullptr, nullptr},
                                 {"__qualname__", op_name, nullptr, nullptr, nullptr},
                                 {"__module__", op_module, nullptr, nullptr, nullptr},
                                 {"__doc__", op_doc, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", op_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(op_descr_get)},
                                {Py_tp_repr, reinterpret_cast<void*>(op_repr)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(op_dealloc)},
                                {Py_tp_members, members},
                                {Py_tp_getset, getset},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec{"ctorch._C.OpFunction", sizeof(OpFunction), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                              Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          slots};
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

PyObject* make_op_function(Operation* op, const std::string& name, bool inplace) {
  if (!g_op_function_type) g_op_function_type = make_op_function_type();
  auto* f = PyObject_New(OpFunction, g_op_function_type);
  if (!f) throw_python_error();
  f->vectorcall = op_vectorcall;
  f->op = op;
  f->inplace = inplace;
  f->name = PyUnicode_InternFromString(name.c_str());
  return reinterpret_cast<PyObject*>(f);
}

std::vector<std::pair<std::string, std::string>>& aliases() {
  static auto* list = new std::vector<std::pair<std::string, std::string>>;
  return *list;
}

}  // namespace

namespace detail {

void register_overload(const char* schema, const char* doc, unsigned forms, Invoke invoke, bool native_out,
                       size_t inputs) {
  std::unique_ptr<Overload> ov = parse_schema(schema);
  std::string name(schema, std::strcspn(schema, ".("));
  size_t given = ov->params.size() - (ov->out_index >= 0 ? 1 : 0);
  bool out_last = ov->out_index < 0 || ov->out_index + 1 == static_cast<int>(ov->params.size());
  if (given != inputs || !out_last) {
    throw std::logic_error(std::string("internal error: schema '") + schema +
                           "' does not fit its C++ function, which takes " + std::to_string(inputs) +
                           " arguments (out comes last)");
  }
  Operation* op = make_operation(name);
  ov->op = op;
  ov->invoke = invoke;
  ov->native_out = native_out;
  ov->is_view = forms & kView;
  ov->mutates = forms & kMutates;
  op->forms |= forms;
  if (doc && *doc) op->doc += (op->doc.empty() ? "" : "\n") + std::string(doc);
  op->overloads.push_back(std::move(ov));
}

}  // namespace detail

int64_t work_of(const Overload& ov, PyObject* const* slots) {
  int64_t work = 0;
  for (int i : ov.tensor_params) {
    PyObject* slot = slots[i];
    if (is_tensor(slot)) {
      work += as_tensor(slot).numel();
    } else if (PyTuple_Check(slot) || PyList_Check(slot)) {
      for (Py_ssize_t j = 0; j < PySequence_Fast_GET_SIZE(slot); ++j)
        work += as_tensor(PySequence_Fast_GET_ITEM(slot, j)).numel();
    }
  }
  return work;
}

void def_alias(const char* alias, const char* name) { aliases().emplace_back(alias, name); }

PyObject* call_operation(const Overload& ov, PyObject** slots, bool inplace) {
  return run(ov, slots, inplace);
}

PyObject* operation_object(const std::string& name) {
  Operation* op = find_operation(name);
  return op ? make_op_function(op, name, false) : nullptr;
}

void publish_operations(pyb::module_& m) {
  PyObject* tensor_dict = g_tensor_type->tp_dict;
  auto functions = m.def_submodule("_functions", "The operations that appear as functions of ctorch.");
  auto publish = [&](Operation* op, const std::string& name) {
    Object f = Object::steal(make_op_function(op, name, false));
    // Tensor.bool() and the like share their name with a dtype, which the module keeps.
    if (!PyObject_HasAttrString(m.ptr(), name.c_str()))
      PyObject_SetAttrString(m.ptr(), name.c_str(), f.get());
    if (op->forms & kInternal) return;
    if (op->forms & kFunction) PyObject_SetAttrString(functions.ptr(), name.c_str(), f.get());
    if (op->forms & kMethod) PyDict_SetItemString(tensor_dict, name.c_str(), f.get());
    if (op->forms & (kInplace | kInplaceFunction)) {
      Object g = Object::steal(make_op_function(op, name + "_", true));
      if (op->forms & kInplace) PyDict_SetItemString(tensor_dict, (name + "_").c_str(), g.get());
      if (op->forms & kInplaceFunction)
        PyObject_SetAttrString(functions.ptr(), (name + "_").c_str(), g.get());
    }
  };
  for (Operation* op : all_operations()) publish(op, op->name);
  for (const auto& [alias, name] : aliases()) {
    Operation* op = find_operation(name);
    if (!op) throw std::logic_error("internal error: alias " + alias + " of unknown operation " + name);
    publish(op, alias);
  }
  PyType_Modified(g_tensor_type);
}

}  // namespace ctorch::py
