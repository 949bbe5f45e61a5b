// The backward pass, graph nodes, hooks and grad mode as Python sees them.

#include <pybind11/stl.h>

#include <functional>
#include <map>

#include "autograd/engine.h"
#include "autograd/grad_mode.h"
#include "autograd/saved_tensor.h"
#include "bindings/convert.h"
#include "bindings/def_op.h"
#include "bindings/record.h"

namespace ctorch::py {
namespace {

// ---- hooks
// ------------------------------------------------------------------------------------------------------------

class PythonGradHook final : public GradHook {
 public:
  explicit PythonGradHook(Object function) : function_(std::move(function)) {}
  Tensor operator()(const Tensor& grad) override {
    Object arg = Object::steal(checked(wrap(grad)));
    Object result = Object::steal(checked(PyObject_CallOneArg(function_.get(), arg.get())));
    if (result.get() == Py_None) return {};
    check_type(is_tensor(result.get()), "a tensor hook must return None or a Tensor, got ",
               Py_TYPE(result.get())->tp_name);
    return as_tensor(result.get());
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
    if (result.get() != Py_None) read_tensors(result.get(), made, "node hook");
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

// ---- nodes
// ------------------------------------------------------------------------------------------------------------

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

PyObject* node_repr(PyObject* p) {
  return PyUnicode_FromFormat("<%s object at %p>", node_of(p).name().c_str(), p);
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

PyObject* node_register_hook(PyObject* p, PyObject* function) {
  try {
    Ref<Node> node = reinterpret_cast<PyNode*>(p)->node;
    auto hook = make_ref<PythonNodeHook>(Object::borrow(function));
    node->post_hooks.push_back(Ref<NodeHook>(hook));
    HookHandle handle([node, hook] {
      std::erase_if(node->post_hooks, [&](const auto& h) { return h.get() == hook.get(); });
    });
    return pyb::cast(std::move(handle)).release().ptr();
  } catch (...) {
    return translate_exception();
  }
}

PyTypeObject* make_node_type(const std::string& name, PyTypeObject* base) {
  static PyMethodDef methods[] = {{"name", node_name, METH_NOARGS, "The node's name."},
                                  {"register_hook", node_register_hook, METH_O,
                                   "register_hook(fn): call fn(grad_inputs, grad_outputs) after the node."},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {{"next_functions", node_next_functions, nullptr,
                                  "The nodes of the inputs: a tuple of (node, result number).", nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  PyType_Slot full[] = {{Py_tp_dealloc, reinterpret_cast<void*>(node_dealloc)},
                        {Py_tp_repr, reinterpret_cast<void*>(node_repr)},
                        {Py_tp_methods, methods},
                        {Py_tp_getset, getset},
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
    auto* text = new std::string("ctorch.autograd." + name);  // the type keeps pointing into it
    type = make_node_type(*text, g_node_type);
  }
  return type;
}

// The node of a ctorch.autograd.Function: its backward is a Python callable.
class PythonFunctionNode final : public Node {
 public:
  PythonFunctionNode(std::string name, Object backward)
      : name_(std::move(name)), backward_(std::move(backward)) {}
  std::string name() const override { return name_; }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>&) override {
    check(static_cast<bool>(backward_),
          "Trying to backward through the graph a second time (or directly access saved tensors after "
          "they have already been freed). Specify retain_graph=True if you need to backward through the "
          "graph a second time.");
    Object args = tuple_of(grads);
    Object self = Object::steal(checked(wrap_node(Ref<Node>(this))));
    Object backward = backward_;  // may be released meanwhile, by a pass within this one
    PyObject* call[] = {self.get(), args.get()};
    Object result = Object::steal(checked(PyObject_Vectorcall(backward.get(), call, 2, nullptr)));
    std::vector<Tensor> made;
    read_tensors(result.get(), made, name_.c_str());
    check(made.size() == edges.size(), name_, ": expected ", edges.size(), " gradients, got ", made.size());
    return made;
  }
  void release_saved() override { backward_ = Object(); }

 private:
  std::string name_;
  Object backward_;
};

// _record_function(name, backward, inputs, outputs, dirty): make outputs the results of a node with edges to
// inputs. backward takes the node and a tuple of gradients and gives one gradient (or None) per input.
pyb::object record_function(const std::string& name, const pyb::object& backward, const pyb::sequence& inputs,
                            const pyb::sequence& outputs, const pyb::sequence& dirty) {
  auto node = make_ref<PythonFunctionNode>(name, Object::borrow(backward.ptr()));
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
  std::vector<Tensor> captured =
      run_backward(roots, std::move(seeds), wanted, capture, {retain_graph, create_graph});
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

Tensor through_door(const char* name, std::initializer_list<PyObject*> args) {
  Object op = Object::steal(operation_object(name));
  if (!op) throw std::logic_error(std::string("internal error: no operation ") + name);
  Object out = Object::steal(checked(PyObject_Vectorcall(op.get(), args.begin(), args.size(), nullptr)));
  return as_tensor(out.get());
}
Object object(const Tensor& t) { return Object::steal(checked(wrap(t))); }

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
  m.def("_record_function", &record_function, pyb::arg("name"), pyb::arg("backward"), pyb::arg("inputs"),
        pyb::arg("outputs"), pyb::arg("dirty"),
        "Makes outputs the results of a node; see ctorch.autograd.Function.");
  m.def("_shallow_copy", &shallow_copy, pyb::arg("tensor"),
        "The same elements and history under a new tensor, before an in-place view.");
  m.def("_become", &become, pyb::arg("tensor"), pyb::arg("view"),
        "Gives tensor the geometry and history of a view of its storage.");
  m.def("_register_tensor_hook", &register_tensor_hook, pyb::arg("tensor"), pyb::arg("hook"),
        "See Tensor.register_hook.");
  pyb::class_<HookHandle>(m, "HookHandle", "A registered hook.")
      .def("remove", &HookHandle::remove, "Take the hook away.");
  pyb::class_<PySavedTensor>(m, "_SavedTensor")
      .def(pyb::init<const pyb::object&, int>(), pyb::arg("tensor"), pyb::arg("number"))
      .def("unpack", &PySavedTensor::unpack, pyb::arg("node"), pyb::arg("who"));
  init_record(m);
}

}  // namespace ctorch::py
