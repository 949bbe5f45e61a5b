// The backward pass, graph nodes, hooks and grad mode as Python sees them.

#include <pybind11/stl.h>

#include <exception>
#include <functional>
#include <map>
#include <thread>

#include "autograd/engine.h"
#include "autograd/grad_mode.h"
#include "autograd/saved_tensor.h"
#include "bindings/convert.h"
#include "bindings/def_op.h"
#include "bindings/record.h"

namespace ctorch::py {
namespace {

Tensor through_door(const char* name, std::initializer_list<PyObject*> args) {
  Object op = Object::steal(operation_object(name));
  if (!op) throw std::logic_error(std::string("internal error: no operation ") + name);
  Object out = Object::steal(checked(PyObject_Vectorcall(op.get(), args.begin(), args.size(), nullptr)));
  return as_tensor(out.get());
}
Object object(const Tensor& t) { return Object::steal(checked(wrap(t))); }

// ---- hooks
// ------------------------------------------------------------------------------------------------------------

// What a hook is called in a message.
std::string name_of(const Object& function) {
  Object name = Object::steal(PyObject_GetAttrString(function.get(), "__name__"));
  const char* text = name && PyUnicode_Check(name.get()) ? PyUnicode_AsUTF8(name.get()) : nullptr;
  PyErr_Clear();
  return text ? text : Py_TYPE(function.get())->tp_name;
}

// What a hook gave in a gradient's place must be of its kind.
void check_same_kind(const Tensor& grad, const Tensor& changed, const Object& function) {
  if (!grad) return;
  check(changed.dtype() == grad.dtype(), "hook '", name_of(function), "' has changed the type of value (was ",
        grad.dtype(), " got ", changed.dtype(), ")");
  check(changed.sizes() == grad.sizes(), "hook '", name_of(function), "' has changed the size of value (was ",
        grad.sizes(), " got ", changed.sizes(), ")");
}

class PythonGradHook final : public GradHook {
 public:
  explicit PythonGradHook(Object function) : function_(std::move(function)) {}
  Tensor operator()(const Tensor& grad) override {
    Object arg = Object::steal(checked(wrap(grad)));
    Object result = Object::steal(checked(PyObject_CallOneArg(function_.get(), arg.get())));
    if (result.get() == Py_None) return {};
    check_type(is_tensor(result.get()), "hook '", name_of(function_), "' must return None or a Tensor, got ",
               Py_TYPE(result.get())->tp_name);
    check_same_kind(grad, as_tensor(result.get()), function_);
    return as_tensor(result.get());
  }

 private:
  Object function_;
};

// Called with the leaf after its gradient was added; gives nothing.
class PythonAccumulateHook final : public GradHook {
 public:
  explicit PythonAccumulateHook(Object function) : function_(std::move(function)) {}
  Tensor operator()(const Tensor& leaf) override {
    Object arg = Object::steal(checked(wrap(leaf)));
    Object::steal(checked(PyObject_CallOneArg(function_.get(), arg.get())));
    return {};
  }

 private:
  Object function_;
};

Object tuple_of(const std::vector<Tensor>& tensors) {
  Object out = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(tensors.size()))));
  for (size_t i = 0; i < tensors.size(); ++i)
    PyTuple_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), checked(wrap(tensors[i])));
  return out;
}

void read_tensors(PyObject* sequence, std::vector<Tensor>& into, const char* who) {
  Object fast = Object::steal(checked(PySequence_Fast(sequence, "expected a sequence of tensors")));
  Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.get());
  into.assign(static_cast<size_t>(n), Tensor());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(fast.get(), i);
    if (item == Py_None) continue;
    check_type(is_tensor(item), who, ": expected a Tensor or None, got ", Py_TYPE(item)->tp_name);
    into[static_cast<size_t>(i)] = as_tensor(item);
  }
}

class PythonNodeHook final : public NodeHook {
 public:
  explicit PythonNodeHook(Object function) : function_(std::move(function)) {}
  void operator()(std::vector<Tensor>& made, const std::vector<Tensor>& got) override {
    Object inputs = tuple_of(made), outputs = tuple_of(got);
    PyObject* args[] = {inputs.get(), outputs.get()};
    Object result = Object::steal(checked(PyObject_Vectorcall(function_.get(), args, 2, nullptr)));
    if (result.get() != Py_None) read_result(result.get(), made, function_);
  }

  static void read_result(PyObject* result, std::vector<Tensor>& into, const Object& function) {
    check_type(PyTuple_Check(result) || PyList_Check(result), "hook '", name_of(function),
               "' must return None or a tuple, got ", Py_TYPE(result)->tp_name);
    std::vector<Tensor> values;
    read_tensors(result, values, "node hook");
    check(values.size() == into.size(), "hook '", name_of(function),
          "' has returned an incorrect number of values (got ", values.size(), ", but expected ", into.size(),
          ")");
    into = std::move(values);
  }

 private:
  Object function_;
};

class PythonNodePreHook final : public NodePreHook {
 public:
  explicit PythonNodePreHook(Object function) : function_(std::move(function)) {}
  void operator()(std::vector<Tensor>& got) override {
    Object arg = tuple_of(got);
    Object result = Object::steal(checked(PyObject_CallOneArg(function_.get(), arg.get())));
    if (result.get() == Py_None) return;
    const std::vector<Tensor> before = got;
    PythonNodeHook::read_result(result.get(), got, function_);
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i]) check_same_kind(before[i], got[i], function_);
    }
  }

 private:
  Object function_;
};

// What register_hook() returns: remove() takes the hook away again.
class HookHandle {
 public:
  explicit HookHandle(std::function<void()> remove) : remove_(std::move(remove)) {}
  void remove() {
    if (remove_) remove_();
    remove_ = nullptr;
  }

 private:
  std::function<void()> remove_;
};

HookHandle register_tensor_hook(const pyb::object& self, const pyb::object& function) {
  const Tensor& t = as_tensor(self.ptr());
  check(t.requires_grad(), "cannot register a hook on a tensor that doesn't require gradient");
  auto hook = make_ref<PythonGradHook>(Object::borrow(function.ptr()));
  add_hook(t, Ref<GradHook>(hook));
  Ref<TensorImpl> impl(t.impl());
  return HookHandle([impl, hook] { remove_hook(Tensor(impl), hook.get()); });
}

HookHandle register_accumulate_hook(const pyb::object& self, const pyb::object& function) {
  const Tensor& t = as_tensor(self.ptr());
  auto hook = make_ref<PythonAccumulateHook>(Object::borrow(function.ptr()));
  add_accumulate_hook(t, Ref<GradHook>(hook));
  Ref<TensorImpl> impl(t.impl());
  return HookHandle([impl, hook] { remove_hook(Tensor(impl), hook.get()); });
}

// ---- nodes
// ------------------------------------------------------------------------------------------------------------

// The node of a ctorch.autograd.Function: its backward is in Python.
class PythonFunctionNode final : public Node {
 public:
  PythonFunctionNode(std::string name, Object context)
      : name_(std::move(name)), context_(std::move(context)) {}
  std::string name() const override { return name_; }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>&) override {
    Object args = tuple_of(grads);
    Object self = Object::steal(checked(wrap_node(Ref<Node>(this))));
    static PyObject* method = checked(PyUnicode_InternFromString("_run_backward"));
    PyObject* call[] = {context_.get(), self.get(), args.get()};
    Object result = Object::steal(checked(PyObject_VectorcallMethod(method, call, 3, nullptr)));
    std::vector<Tensor> made;
    read_tensors(result.get(), made, name_.c_str());
    check(made.size() == edges.size(), name_, ": expected ", edges.size(), " gradients, got ", made.size());
    return made;
  }
  void release_saved() override {
    static PyObject* method = checked(PyUnicode_InternFromString("_release_saved"));
    Object::steal(checked(PyObject_CallMethodNoArgs(context_.get(), method)));
  }
  PyObject* context() const { return context_.get(); }

 private:
  std::string name_;
  Object context_;  // a FunctionCtx
};

PyObject* context_of(const Node& node) {
  auto* function = dynamic_cast<const PythonFunctionNode*>(&node);
  return function ? function->context() : nullptr;
}

struct PyNode {
  PyObject_HEAD Ref<Node> node;
};
PyTypeObject* g_node_type;

Node& node_of(PyObject* p) { return *reinterpret_cast<PyNode*>(p)->node; }

void node_dealloc(PyObject* p) {
  PyTypeObject* type = Py_TYPE(p);
  auto* self = reinterpret_cast<PyNode*>(p);
  if (self->node) self->node->python = nullptr;
  self->node.~Ref<Node>();
  type->tp_free(p);
  Py_DECREF(type);
}

// "torch::autograd::CopySlices" without where it is.
std::string short_name(const std::string& name) { return name.substr(name.rfind(':') + 1); }

PyObject* node_repr(PyObject* p) {
  return PyUnicode_FromFormat("<%s object at %p>", short_name(node_of(p).name()).c_str(), p);
}
PyObject* node_name(PyObject* p, PyObject*) { return PyUnicode_FromString(node_of(p).name().c_str()); }

PyObject* node_next_functions(PyObject* p, void*) {
  const auto& edges = node_of(p).edges;
  Object out = Object::steal(PyTuple_New(static_cast<Py_ssize_t>(edges.size())));
  for (size_t i = 0; i < edges.size(); ++i) {
    Object node = Object::steal(edges[i] ? wrap_node(edges[i].node) : Py_NewRef(Py_None));
    PyTuple_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i),
                     Py_BuildValue("(Oi)", node.get(), edges[i].result));
  }
  return out.release();
}

template <class Hook, auto List>
PyObject* node_add_hook(PyObject* p, PyObject* function) {
  try {
    Ref<Node> node = reinterpret_cast<PyNode*>(p)->node;
    auto hook = make_ref<Hook>(Object::borrow(function));
    (node->make_extra().*List).emplace_back(hook);
    HookHandle handle([node, hook] {
      std::erase_if((*node->extra).*List, [&](const auto& h) { return h.get() == hook.get(); });
    });
    return pyb::cast(std::move(handle)).release().ptr();
  } catch (...) {
    return translate_exception();
  }
}

// The dict in which Python keeps what it likes with a node.
class Metadata final : public RefCounted {
 public:
  const Object dict = Object::steal(checked(PyDict_New()));
};
PyObject* metadata_of(Node& node) {
  Ref<RefCounted>& metadata = node.make_extra().metadata;
  if (!metadata) metadata = make_ref<Metadata>();
  return static_cast<Metadata*>(metadata.get())->dict.get();
}

PyObject* node_metadata(PyObject* p, void*) { return Py_NewRef(metadata_of(node_of(p))); }
PyObject* node_variable(PyObject* p, void*) {
  const Tensor* variable = node_of(p).variable();
  if (variable) return wrap(*variable);
  PyErr_Format(PyExc_AttributeError, "%s has no variable: it accumulates no gradient",
               node_of(p).name().c_str());
  return nullptr;
}

// The context of a ctorch.autograd.Function is, to PyTorch, its node: what the node lacks is looked for
// there.
PyObject* node_getattro(PyObject* p, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(p, name);
  PyObject* context = found ? nullptr : context_of(node_of(p));
  if (!context || !PyErr_ExceptionMatches(PyExc_AttributeError)) return found;
  PyErr_Clear();
  return PyObject_GetAttr(context, name);
}
int node_setattro(PyObject* p, PyObject* name, PyObject* value) {
  PyObject* context = context_of(node_of(p));
  return context ? PyObject_SetAttr(context, name, value) : PyObject_GenericSetAttr(p, name, value);
}

PyTypeObject* make_node_type(const std::string& name, PyTypeObject* base) {
  static PyMethodDef methods[] = {
      {"name", node_name, METH_NOARGS, "The node's name."},
      {"register_hook", node_add_hook<PythonNodeHook, &NodeExtra::post_hooks>, METH_O,
       "register_hook(fn): call fn(grad_inputs, grad_outputs) after the node."},
      {"register_prehook", node_add_hook<PythonNodePreHook, &NodeExtra::pre_hooks>, METH_O,
       "register_prehook(fn): call fn(grad_outputs) before the node."},
      {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {
      {"next_functions", node_next_functions, nullptr,
       "The nodes of the inputs: a tuple of (node, result number).", nullptr},
      {"metadata", node_metadata, nullptr, "A dict that lives as long as the node.", nullptr},
      {"variable", node_variable, nullptr, "The leaf to whose .grad the node adds.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  PyType_Slot full[] = {{Py_tp_dealloc, reinterpret_cast<void*>(node_dealloc)},
                        {Py_tp_repr, reinterpret_cast<void*>(node_repr)},
                        {Py_tp_methods, methods},
                        {Py_tp_getset, getset},
                        {Py_tp_getattro, reinterpret_cast<void*>(node_getattro)},
                        {Py_tp_setattro, reinterpret_cast<void*>(node_setattro)},
                        {0, nullptr}};
  PyType_Slot derived[] = {{0, nullptr}};
  PyType_Spec spec{name.c_str(), sizeof(PyNode), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   base ? derived : full};
  Object bases = Object::steal(base ? PyTuple_Pack(1, base) : nullptr);
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpecWithBases(&spec, bases.get())));
}

// A type per name, so that type(y.grad_fn).__name__ is what PyTorch's is.
PyTypeObject* node_type_of(const std::string& name) {
  static auto* types = new std::map<std::string, PyTypeObject*>;
  auto& type = (*types)[name];
  if (!type) {
    // The type keeps pointing into its name.
    auto* text = new std::string("ctorch.autograd." + short_name(name));
    type = make_node_type(*text, g_node_type);
  }
  return type;
}

// _record_function(name, context, inputs, outputs, dirty): make outputs the results of a node with edges to
// inputs. context._run_backward takes the node and a tuple of gradients and gives one gradient (or None) per
// input; context._release_saved forgets what was saved for it.
pyb::object record_function(const std::string& name, const pyb::object& context, const pyb::sequence& inputs,
                            const pyb::sequence& outputs, const pyb::sequence& dirty) {
  auto node = make_ref<PythonFunctionNode>(name, Object::borrow(context.ptr()));
  if (anomaly_mode()) note_traceback(*node);
  for (auto input : inputs) node->edges.push_back(gradient_edge(as_tensor(input.ptr())));
  int number = 0;
  for (auto output : outputs) {
    const Tensor& t = as_tensor(output.ptr());
    node->results.push_back({t.sizes(), t.dtype()});
    bool written = false;
    for (auto d : dirty) written |= d.ptr() == output.ptr();
    if (is_differentiable(t.dtype())) {
      if (written && meta(t) && meta(t)->view) {
        rebase_history(t, Ref<Node>(node));
      } else {
        set_history(t, Ref<Node>(node), number);
      }
    }
    ++number;
  }
  return pyb::reinterpret_steal<pyb::object>(wrap_node(Ref<Node>(node)));
}

// A tensor saved by a Function for its backward; unpack() complains if it was written to since. number: which
// result of the Function it is, -1 for others.
class PySavedTensor {
 public:
  PySavedTensor(const pyb::object& tensor, int number) {
    const Tensor& t = as_tensor(tensor.ptr());
    saved_ = number >= 0 ? SavedTensor(t, number) : SavedTensor(t);
  }
  pyb::object unpack(const pyb::object& node, const std::string& who) const {
    Node* owner = node.is_none() ? nullptr : &node_of(node.ptr());
    return pyb::reinterpret_steal<pyb::object>(checked(wrap(saved_.unpack(owner, who.c_str()))));
  }

 private:
  SavedTensor saved_;
};

// ---- saved tensors in another form

class Packed final : public RefCounted {
 public:
  explicit Packed(Object value) : value(std::move(value)) {}
  const Object value;
};

class PythonSavedTensorHooks final : public SavedTensorHooks {
 public:
  PythonSavedTensorHooks(Object pack, Object unpack) : pack_(std::move(pack)), unpack_(std::move(unpack)) {}
  Ref<RefCounted> pack(const Tensor& t) override {
    Object arg = Object::steal(checked(wrap(t)));
    return make_ref<Packed>(Object::steal(checked(PyObject_CallOneArg(pack_.get(), arg.get()))));
  }
  Tensor unpack(const Ref<RefCounted>& packed) override {
    PyObject* value = static_cast<const Packed*>(packed.get())->value.get();
    Object result = Object::steal(checked(PyObject_CallOneArg(unpack_.get(), value)));
    check_type(is_tensor(result.get()), "Output of saved tensor unpack_hook '", name_of(unpack_),
               "' expected to be a Tensor but got result of type ", Py_TYPE(result.get())->tp_name);
    return as_tensor(result.get());
  }

 private:
  Object pack_, unpack_;
};

void push_saved_tensors_hooks(const pyb::object& pack, const pyb::object& unpack) {
  saved_tensor_hooks().push_back(
      make_ref<PythonSavedTensorHooks>(Object::borrow(pack.ptr()), Object::borrow(unpack.ptr())));
  ++g_saved_tensor_hooks_used;
}

void pop_saved_tensors_hooks() {
  check(!saved_tensor_hooks().empty(), "saved_tensors_hooks: none are in force");
  saved_tensor_hooks().pop_back();
  --g_saved_tensor_hooks_used;
}

// ---- anomaly mode

constexpr const char* kTraceback = "traceback_";  // PyTorch's key

bool has_nan(const Tensor& t) {
  if (!is_differentiable(t.dtype())) return false;
  return item(through_door("any", {object(through_door("isnan", {object(t).get()})).get()})).to_bool();
}

void warn_of_error(Node& node) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);  // the error that is on its way, if it is one of Python
  PyObject* lines = node.extra ? PyDict_GetItemString(metadata_of(node), kTraceback) : nullptr;
  Object empty = Object::steal(PyUnicode_FromString(""));
  Object text = Object::steal(lines ? PyUnicode_Join(empty.get(), lines) : nullptr);
  const char* shown = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  std::string message = "Error detected in " + node.name() + ". ";
  message += shown ? std::string("Traceback of forward call that caused the error:\n") + shown
                   : "No forward pass information available. Enable detect anomaly during forward pass for "
                     "more information.";
  if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 1) < 0)
    PyErr_Clear();  // the error itself is worth more
  PyErr_Restore(type, value, trace);
}

void set_anomaly_mode(bool on, bool check_nan) {
  g_anomaly_mode = on;
  g_anomaly_check_nan = check_nan;
}

// ---- the backward pass
// ------------------------------------------------------------------------------------------------

Tensor ones_like(const Tensor& t) {
  Object shape = Object::steal(wrap_size(t.sizes())), dtype = Object::steal(wrap(t.dtype()));
  static PyObject* ones = checked(operation_object("ones"));
  static PyObject* names = checked(Py_BuildValue("(s)", "dtype"));
  PyObject* args[] = {shape.get(), dtype.get()};
  Object out = Object::steal(checked(PyObject_Vectorcall(ones, args, 1, names)));
  return as_tensor(out.get());
}

thread_local int t_passes = 0;  // that run within one another

// A pass in a thread of its own, which has a stack and, to Python, a recursion limit of its own.
std::vector<Tensor> in_new_thread(const std::function<std::vector<Tensor>()>& pass) {
  std::vector<Tensor> result;
  std::exception_ptr error;
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  const bool grad = grad_enabled(), inference = inference_mode();
  const SavedTensorHooksStack hooks = saved_tensor_hooks();
  PyThreadState* state = PyEval_SaveThread();
  std::thread([&] {
    PyGILState_STATE gil = PyGILState_Ensure();
    set_grad_enabled(grad);
    set_inference_mode(inference);
    saved_tensor_hooks() = hooks;
    try {
      result = pass();
    } catch (...) {
      error = std::current_exception();
      PyErr_Fetch(&type, &value, &trace);
    }
    PyGILState_Release(gil);
  }).join();
  PyEval_RestoreThread(state);
  if (error) {
    PyErr_Restore(type, value, trace);
    std::rethrow_exception(error);
  }
  return result;
}

// A backward() of a Function may begin a pass within the pass, and so on. Python allows 1000 frames, and a
// level takes at least 5; PyTorch, too, moves on to another thread after 60 levels.
template <class Pass>
std::vector<Tensor> nested(const Pass& pass) {
  constexpr int kPassesOfThread = 60;
  struct Level {
    Level() { ++t_passes; }
    ~Level() { --t_passes; }
  } level;
  return t_passes <= kPassesOfThread ? pass() : in_new_thread([&] { return nested(pass); });
}

pyb::object backward(const pyb::sequence& tensors, const pyb::sequence& grads, bool retain_graph,
                     bool create_graph, const pyb::sequence& inputs, bool capture, bool allow_unused) {
  std::vector<Tensor> roots, seeds, wanted;
  read_tensors(tensors.ptr(), roots, "backward");
  read_tensors(grads.ptr(), seeds, "backward");
  read_tensors(inputs.ptr(), wanted, "backward");
  check(roots.size() == seeds.size(), "got ", roots.size(), " tensors and ", seeds.size(), " gradients");
  for (size_t i = 0; i < roots.size(); ++i) {
    const Tensor& root = roots[i];
    check(root.requires_grad(), "element ", i,
          " of tensors does not require grad and does not have a grad_fn");
    if (!seeds[i]) {
      check(root.numel() == 1, "grad can be implicitly created only for scalar outputs");
      check(is_floating(root.dtype()), "grad can be implicitly created only for real scalar outputs but got ",
            root.dtype());
      seeds[i] = ones_like(root);
    }
    check(seeds[i].sizes() == root.sizes(), "Mismatch in shape: grad_output[", i, "] has a shape of ",
          seeds[i].sizes(), " and output[", i, "] has a shape of ", root.sizes(), ".");
    check(is_complex(seeds[i].dtype()) == is_complex(root.dtype()),
          "For complex Tensors, both grad_output and output are required to have the same dtype.");
  }
  std::vector<Tensor> captured = nested(
      [&] { return run_backward(roots, std::move(seeds), wanted, capture, {retain_graph, create_graph}); });
  if (!capture) return pyb::none();
  for (const Tensor& g : captured) {
    check(g || allow_unused,
          "One of the differentiated Tensors appears to not have been used in the graph. Set "
          "allow_unused=True if this is the desired behavior.");
    if (g && !create_graph && g.requires_grad()) make_meta(g).grad_fn = {}, g.impl()->requires_grad = false;
  }
  return pyb::reinterpret_steal<pyb::object>(tuple_of(captured).release());
}

// ---- views in place (t_, squeeze_): the tensor becomes a view of what it was
// ------------------------------------------

pyb::object shallow_copy(const pyb::object& self) {
  const Tensor& t = as_tensor(self.ptr());
  check_inplace(t, "in-place view", true);
  Tensor copy = t.alias();
  if (grad_fn(t)) {
    make_meta(copy).grad_fn = gradient_edge(t);
    copy.impl()->requires_grad = true;
  }
  return pyb::reinterpret_steal<pyb::object>(wrap(copy));
}

pyb::object become(const pyb::object& self, const pyb::object& other) {
  const Tensor &t = as_tensor(self.ptr()), &from = as_tensor(other.ptr());
  t.impl()->set_geometry(from.offset(), from.sizes(), from.strides());
  if (grad_fn(from)) {
    make_meta(t).grad_fn = gradient_edge(from);
    t.impl()->requires_grad = true;
  }
  return self;
}

// ---- operations on gradients that are recorded
// ------------------------------------------------------------------------

RecordedOps recorded_ops() {
  RecordedOps ops;
  ops.add = [](const Tensor& a, const Tensor& b) {
    return through_door("add", {object(a).get(), object(b).get()});
  };
  ops.add_inplace = [](const Tensor& into, const Tensor& b) {
    static PyObject* add_ =
        checked(PyObject_GetAttrString(reinterpret_cast<PyObject*>(g_tensor_type), "add_"));
    Object x = object(into), y = object(b);
    PyObject* args[] = {x.get(), y.get()};
    Object::steal(checked(PyObject_Vectorcall(add_, args, 2, nullptr)));
  };
  ops.sum_to_size = [](const Tensor& t, IntList sizes) {
    return through_door("sum_to_size", {object(t).get(), Object::steal(wrap_size(sizes)).get()});
  };
  ops.to_dtype = [](const Tensor& t, DType dtype) {
    Tensor value = is_complex(t.dtype()) && !is_complex(dtype) ? through_door("real", {object(t).get()}) : t;
    return through_door("_to_dtype", {object(value).get(), Object::steal(wrap(dtype)).get()});
  };
  ops.clone = [](const Tensor& t) { return through_door("clone", {object(t).get()}); };
  ops.clone_strided = [](const Tensor& t, IntList strides) {
    if (same(contiguous_strides(t.sizes()), strides)) {
      static PyObject* clone = checked(operation_object("clone"));
      static PyObject* names = checked(Py_BuildValue("(s)", "memory_format"));
      static PyObject* format = checked(PyObject_GetAttrString(
          Object::steal(checked(PyImport_ImportModule("ctorch._C"))).get(), "contiguous_format"));
      Object from = object(t);
      PyObject* args[] = {from.get(), format};
      return as_tensor(Object::steal(checked(PyObject_Vectorcall(clone, args, 1, names))).get());
    }
    static PyObject* copy_ =
        checked(PyObject_GetAttrString(reinterpret_cast<PyObject*>(g_tensor_type), "copy_"));
    Object to = object(empty_strided(t.sizes(), strides, t.dtype(), t.device())), from = object(t);
    PyObject* args[] = {to.get(), from.get()};
    Object::steal(checked(PyObject_Vectorcall(copy_, args, 2, nullptr)));
    return as_tensor(to.get());
  };
  ops.has_nan = &has_nan;
  ops.warn_of_error = &warn_of_error;
  auto geometry = [](const Tensor& t) {
    return std::tuple(Object::steal(wrap_ints(t.sizes())), Object::steal(wrap_ints(t.strides())),
                      Object::steal(PyLong_FromLongLong(t.offset())));
  };
  static auto geometry_of = geometry;
  ops.view_gather = [](const Tensor& grad, const Tensor& base, const Tensor& view) {
    auto [bs, bt, bo] = geometry_of(base);
    auto [vs, vt, vo] = geometry_of(view);
    return through_door("_view_gather",
                        {object(grad).get(), bs.get(), bt.get(), bo.get(), vs.get(), vt.get(), vo.get()});
  };
  ops.view_scatter = [](const Tensor& grad, const Tensor& view_grad, const Tensor& base, const Tensor& view) {
    auto [bs, bt, bo] = geometry_of(base);
    auto [vs, vt, vo] = geometry_of(view);
    Object none = Object::borrow(Py_None);
    return through_door("_view_scatter",
                        {object(grad).get(), view_grad ? object(view_grad).get() : none.get(), bs.get(),
                         bt.get(), bo.get(), vs.get(), vt.get(), vo.get()});
  };
  ops.as_strided_node = [](const Tensor& base, const Tensor& view) {
    const Overload& ov = *find_operation("as_strided")->overloads[0];
    auto [size, stride, offset] = geometry_of(view);
    Object b = object(base);
    PyObject* slots[kMaxParams] = {b.get(), size.get(), stride.get(), offset.get()};
    Ref<Node> node = begin_record(ov, slots, false);
    node->results.push_back({view.sizes(), view.dtype()});
    return node;
  };
  return ops;
}

}  // namespace

PyObject* wrap_node(const Ref<Node>& node) {
  if (node->python) return Py_NewRef(static_cast<PyObject*>(node->python));
  PyTypeObject* type = node_type_of(node->name());
  auto* p = reinterpret_cast<PyNode*>(type->tp_alloc(type, 0));
  if (!p) return nullptr;
  new (&p->node) Ref<Node>(node);
  node->python = p;
  return reinterpret_cast<PyObject*>(p);
}

void note_traceback(Node& node) {
  Object module = Object::steal(checked(PyImport_ImportModule("traceback")));
  Object lines = Object::steal(checked(PyObject_CallMethod(module.get(), "format_stack", nullptr)));
  if (PyDict_SetItemString(metadata_of(node), kTraceback, lines.get()) < 0) throw_python_error();
}

int traverse_history(const Tensor& t, visitproc visit, void* arg) {
  // A Function's context may hold its own results, which own the context through their history. The collector
  // sees such a ring only if told; and it may be told only of what t alone owns.
  if (!t || !t.impl()->extra || t.impl()->use_count() != 1) return 0;
  const Ref<Node>& node = meta(t)->grad_fn.node;
  if (!node || node->use_count() != 1) return 0;
  Py_VISIT(context_of(*node));
  return 0;
}

void init_autograd(pyb::module_& m) {
  g_recorded_ops = recorded_ops();
  g_node_type = make_node_type("ctorch.autograd.Node", nullptr);
  m.attr("Node") = pyb::reinterpret_borrow<pyb::object>(reinterpret_cast<PyObject*>(g_node_type));
  m.def("is_grad_enabled", &grad_enabled, "Whether operations are recorded in this thread.");
  m.def("_set_grad_enabled", &set_grad_enabled, pyb::arg("mode"),
        "Sets whether operations are recorded in this thread.");
  m.def("is_inference_mode_enabled", &inference_mode, "Whether inference mode is on in this thread.");
  m.def("_set_inference_mode", &set_inference_mode, pyb::arg("mode"),
        "Turns inference mode on or off in this thread.");
  m.def("_backward", &backward, pyb::arg("tensors"), pyb::arg("grads"), pyb::arg("retain_graph"),
        pyb::arg("create_graph"), pyb::arg("inputs"), pyb::arg("capture"), pyb::arg("allow_unused"),
        "The backward pass; see ctorch.autograd.backward and grad.");
  m.def("_record_function", &record_function, pyb::arg("name"), pyb::arg("context"), pyb::arg("inputs"),
        pyb::arg("outputs"), pyb::arg("dirty"),
        "Makes outputs the results of a node; see ctorch.autograd.Function.");
  m.def("_shallow_copy", &shallow_copy, pyb::arg("tensor"),
        "The same elements and history under a new tensor, before an in-place view.");
  m.def("_become", &become, pyb::arg("tensor"), pyb::arg("view"),
        "Gives tensor the geometry and history of a view of its storage.");
  m.def("_register_tensor_hook", &register_tensor_hook, pyb::arg("tensor"), pyb::arg("hook"),
        "See Tensor.register_hook.");
  m.def("_register_accumulate_hook", &register_accumulate_hook, pyb::arg("tensor"), pyb::arg("hook"),
        "See Tensor.register_post_accumulate_grad_hook.");
  m.def("_push_saved_tensors_hooks", &push_saved_tensors_hooks, pyb::arg("pack"), pyb::arg("unpack"),
        "See ctorch.autograd.graph.saved_tensors_hooks.");
  m.def("_pop_saved_tensors_hooks", &pop_saved_tensors_hooks, "Ends the innermost saved_tensors_hooks.");
  m.def("_set_anomaly_mode", &set_anomaly_mode, pyb::arg("mode"), pyb::arg("check_nan"),
        "See ctorch.autograd.set_detect_anomaly.");
  m.def("is_anomaly_enabled", &anomaly_mode, "Whether autograd's anomaly mode is on.");
  m.def(
      "is_anomaly_check_nan_enabled", [] { return g_anomaly_check_nan.load(); },
      "Whether anomaly mode looks for nan in gradients.");
  pyb::class_<HookHandle>(m, "HookHandle", "A registered hook.")
      .def("remove", &HookHandle::remove, "Take the hook away.")
      .def("__enter__", [](pyb::object self) { return self; })
      .def("__exit__", [](HookHandle& self, const pyb::args&) { self.remove(); });
  pyb::class_<PySavedTensor>(m, "_SavedTensor")
      .def(pyb::init<const pyb::object&, int>(), pyb::arg("tensor"), pyb::arg("number"))
      .def("unpack", &PySavedTensor::unpack, pyb::arg("node"), pyb::arg("who"));
  init_record(m);
}

}  // namespace ctorch::py
