#include "bindings/record.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>

#include "autograd/grad_mode.h"
#include "autograd/saved_tensor.h"
#include "autograd/variable.h"
#include "bindings/convert.h"
#include "bindings/def_op.h"

namespace ctorch::py {
namespace {

bool is_sequence(PyObject* p) { return PyTuple_Check(p) || PyList_Check(p); }

bool requires_grad(PyObject* slot) {
  if (is_tensor(slot)) return as_tensor(slot).requires_grad();
  if (!is_sequence(slot)) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(slot); ++i) {
    if (as_tensor(PySequence_Fast_GET_ITEM(slot, i)).requires_grad()) return true;
  }
  return false;
}

// Brings views up to date whose base was written to after they were made: only then is requires_grad right.
void refresh_views(const Overload& ov, PyObject* const* slots) {
  auto refresh = [](PyObject* p) {
    if (AutogradMeta* m = meta(as_tensor(p)); m && m->view && m->view->version != as_tensor(p).version())
      grad_fn(as_tensor(p));
  };
  for (int i : ov.tensor_params) {
    if (is_tensor(slots[i])) {
      refresh(slots[i]);
    } else if (is_sequence(slots[i])) {
      for (Py_ssize_t j = 0; j < PySequence_Fast_GET_SIZE(slots[i]); ++j)
        refresh(PySequence_Fast_GET_ITEM(slots[i], j));
    }
  }
}

// ---- formulas
// ---------------------------------------------------------------------------------------------------------

struct RawFormula {
  std::string param;
  Object function;
  std::vector<std::string> needs;  // its parameters: first the gradient
};
struct RawDerivative {
  std::string node_name;
  std::vector<std::pair<std::vector<std::string>, std::string>> number_names;
  bool differentiable = true;
  std::vector<RawFormula> formulas;
};

std::map<std::string, RawDerivative>& raw_derivatives() {
  static auto* all = new std::map<std::string, RawDerivative>;
  return *all;
}

int param_index(const Overload& ov, const std::string& name) {
  for (size_t i = 0; i < ov.params.size(); ++i) {
    if (name == ov.params[i].text) return static_cast<int>(i);
  }
  return -1;
}

Need resolve_need(const Overload& ov, const std::string& name, const std::string& key) {
  if (int i = param_index(ov, name); i >= 0 && i != ov.out_index) return {Need::input, i};
  if (name == "out" || name == "out0") return {Need::output, 0};
  if (name.starts_with("out") && name.size() == 4 && std::isdigit(name[3]))
    return {Need::output, name[3] - '0'};
  const std::pair<const char*, Need::What> suffixes[] = {{"_shape", Need::shape},
                                                         {"_dtype", Need::dtype},
                                                         {"_strides", Need::strides},
                                                         {"_offset", Need::offset}};
  for (const auto& [suffix, what] : suffixes) {
    if (!name.ends_with(suffix)) continue;
    if (int i = param_index(ov, name.substr(0, name.size() - std::string(suffix).size())); i >= 0)
      return {what, i};
  }
  throw std::logic_error("internal error: the derivative of " + key + " names '" + name + "', which " +
                         ov.text + " does not have");
}

std::unique_ptr<Derivative> resolve(const Overload& ov, const RawDerivative& raw, const std::string& key) {
  auto d = std::make_unique<Derivative>();
  d->node_name = raw.node_name;
  d->differentiable = raw.differentiable;
  for (const auto& [params, name] : raw.number_names) {
    uint32_t bits = 0;
    for (const auto& param : params) {
      if (int i = param_index(ov, param); i >= 0) bits |= 1u << i;
    }
    if (bits) d->number_names.emplace_back(bits, name);
  }
  for (const auto& f : raw.formulas) {
    int param = param_index(ov, f.param);
    if (param < 0) continue;  // of another overload
    Formula formula{param, f.function, !f.needs.empty() && f.needs[0] == "gs", {}};
    auto shares = [&](const RawFormula& other) {
      return f.function && other.function.get() == f.function.get();
    };
    if (std::count_if(raw.formulas.begin(), raw.formulas.end(), shares) > 1) {
      formula.member = static_cast<int>(std::count_if(raw.formulas.data(), &f, shares));
    }
    for (size_t i = 1; i < f.needs.size(); ++i) {
      Need need = resolve_need(ov, f.needs[i], key);
      auto at = std::find(d->saved.begin(), d->saved.end(), need);
      formula.saves.push_back(static_cast<int>(at - d->saved.begin()));
      if (at == d->saved.end()) d->saved.push_back(need);
    }
    d->formulas.push_back(std::move(formula));
  }
  return d;
}

std::string camel_case(const std::string& name) {
  std::string out;
  bool up = true;
  for (char c : name) {
    if (c == '_') {
      up = true;
    } else {
      out += up ? static_cast<char>(std::toupper(c)) : c;
      up = false;
    }
  }
  return out;
}

// ---- the node of an operation
// -----------------------------------------------------------------------------------------

class FormulaNode final : public Node {
 public:
  struct Input {
    const Formula* formula;  // null: no derivative is known
    int param;
    int first_edge, count;
    bool is_list;
  };
  struct Saved {
    Object value;                      // attributes, or
    std::vector<SavedTensor> tensors;  // one, or those of a list
    bool is_list = false, set = false, released = false;
  };

  FormulaNode(const Overload& ov, const Derivative* d) : ov_(ov), derivative_(d) {
    if (d) saved_.resize(d->saved.size());
  }

  // Some nodes have another name where numbers stand for tensors.
  void choose_name(PyObject* const* slots) {
    for (const auto& [bits, name] : derivative_->number_names) {
      bool numbers = true;
      for (size_t i = 0; i < ov_.params.size(); ++i) numbers &= !(bits >> i & 1u) || !is_tensor(slots[i]);
      if (numbers) {
        number_name_ = &name;
        return;
      }
    }
  }

  std::string name() const override {
    if (number_name_) return *number_name_;
    if (derivative_ && !derivative_->node_name.empty()) return derivative_->node_name;
    return camel_case(ov_.op->name) + "Backward0";
  }

  void add_input(int param, PyObject* slot) {
    Input in{nullptr, param, static_cast<int>(edges.size()), 1, is_sequence(slot)};
    if (derivative_) {
      for (const Formula& f : derivative_->formulas) {
        if (f.param == param) in.formula = &f;
      }
      if (in.formula && !in.formula->function) return;  // declared as not differentiable
    }
    if (in.is_list) {
      in.count = static_cast<int>(PySequence_Fast_GET_SIZE(slot));
      for (int i = 0; i < in.count; ++i)
        edges.push_back(gradient_edge(as_tensor(PySequence_Fast_GET_ITEM(slot, i))));
    } else {
      edges.push_back(gradient_edge(as_tensor(slot)));
    }
    inputs_.push_back(in);
  }

  // Keep what the formulas of the inputs at hand name; results come later.
  void save_inputs(PyObject* const* slots, bool inplace) {
    for (const Input& in : inputs_) {
      if (!in.formula) continue;
      for (int s : in.formula->saves) {
        const Need& need = derivative_->saved[s];
        if (!saved_[s].set && need.what != Need::output) save(saved_[s], need, slots, inplace);
      }
    }
  }

  void save_result(int number, const Tensor& t) {
    for (const Input& in : inputs_) {
      if (!in.formula) continue;
      for (int s : in.formula->saves) {
        const Need& need = derivative_->saved[s];
        if (saved_[s].set || need.what != Need::output || need.index != number) continue;
        if (is_differentiable(t.dtype())) {
          saved_[s].tensors.emplace_back(t, number);
        } else {
          saved_[s].tensors.emplace_back(t.alias());
        }
        saved_[s].set = true;
      }
    }
  }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>& wanted) override {
    std::vector<Tensor> made(edges.size());
    bool any = std::any_of(grads.begin(), grads.end(), [](const Tensor& g) { return static_cast<bool>(g); });
    if (!any) return made;
    std::vector<Object> values(saved_.size());  // each unpacked at most once
    PyObject* shared_function = nullptr;        // a function shared by several inputs runs once
    Object shared;
    for (const Input& in : inputs_) {
      bool asked = false;
      for (int i = 0; i < in.count; ++i) asked |= wanted[static_cast<size_t>(in.first_edge + i)] != 0;
      if (!asked) continue;
      check_implemented(in.formula, "derivative for ", ov_.op->name, " with respect to '",
                        ov_.params[in.param].text, "' is not implemented");
      if (!in.formula->wants_all_grads && !grads[0]) continue;
      if (in.formula->member < 0) {
        store(in, call(*in.formula, grads, values), made);
        continue;
      }
      if (shared_function != in.formula->function.get()) {
        shared_function = in.formula->function.get();
        shared = call(*in.formula, grads, values);
      }
      const bool each = PyTuple_Check(shared.get()) && PyTuple_GET_SIZE(shared.get()) > in.formula->member;
      store(in, each ? Object::borrow(PyTuple_GET_ITEM(shared.get(), in.formula->member)) : shared, made);
    }
    return made;
  }

  // Numbers and shapes stay: a node that saved no tensor can be gone through again.
  void release_saved() override {
    for (Saved& s : saved_) {
      if (s.tensors.empty()) continue;
      s.tensors.clear();
      s.released = true;
    }
  }

 private:
  void save(Saved& to, const Need& need, PyObject* const* slots, bool inplace) {
    PyObject* slot = slots[need.index];
    to.set = true;
    switch (need.what) {
      case Need::input:
        if (is_tensor(slot)) {
          // What is about to be overwritten is kept as a copy.
          bool overwritten = inplace && need.index == 0;
          to.tensors.emplace_back(overwritten ? g_recorded_ops.clone(as_tensor(slot)) : as_tensor(slot));
        } else if (is_sequence(slot) && ov_.params[need.index].kind == Kind::tensor_list) {
          to.is_list = true;
          for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(slot); ++i)
            to.tensors.emplace_back(as_tensor(PySequence_Fast_GET_ITEM(slot, i)));
        } else {
          to.value = PyList_Check(slot) ? Object::steal(checked(PyList_AsTuple(slot))) : Object::borrow(slot);
        }
        return;
      case Need::shape:
        to.value = describe(slot, [](const Tensor& t) { return wrap_size(t.sizes()); });
        return;
      case Need::dtype: to.value = describe(slot, [](const Tensor& t) { return wrap(t.dtype()); }); return;
      case Need::strides:
        to.value = describe(slot, [](const Tensor& t) { return wrap_ints(t.strides()); });
        return;
      case Need::offset:
        to.value = describe(slot, [](const Tensor& t) { return PyLong_FromLongLong(t.offset()); });
        return;
      default: return;
    }
  }

  template <class Fn>
  static Object describe(PyObject* slot, Fn fn) {
    if (is_tensor(slot)) return Object::steal(checked(fn(as_tensor(slot))));
    if (!is_sequence(slot)) return Object::borrow(Py_None);
    Py_ssize_t n = PySequence_Fast_GET_SIZE(slot);
    Object all = Object::steal(checked(PyTuple_New(n)));
    for (Py_ssize_t i = 0; i < n; ++i)
      PyTuple_SET_ITEM(all.get(), i, checked(fn(as_tensor(PySequence_Fast_GET_ITEM(slot, i)))));
    return all;
  }

  Object unpack(int index) {
    const Saved& s = saved_[index];
    check(!s.released,
          "Trying to backward through the graph a second time (or directly access saved tensors after they "
          "have already been freed). Saved intermediate values of the graph are freed when you call "
          ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
          "graph a second time or if you need to access saved tensors after calling backward.");
    if (s.value) return s.value;
    std::string op = name();
    if (!s.is_list)
      return Object::steal(
          checked(s.tensors.empty() ? Py_NewRef(Py_None) : wrap(s.tensors[0].unpack(this, op.c_str()))));
    Object list = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(s.tensors.size()))));
    for (size_t i = 0; i < s.tensors.size(); ++i) {
      PyTuple_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i),
                       checked(wrap(s.tensors[i].unpack(this, op.c_str()))));
    }
    return list;
  }

  Object call(const Formula& formula, const std::vector<Tensor>& grads, std::vector<Object>& values) {
    PyObject* args[kMaxParams + 1];
    Object first;
    if (formula.wants_all_grads) {
      first = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(grads.size()))));
      for (size_t i = 0; i < grads.size(); ++i)
        PyTuple_SET_ITEM(first.get(), static_cast<Py_ssize_t>(i), checked(wrap(grads[i])));
    } else {
      first = Object::steal(checked(wrap(grads[0])));
    }
    args[0] = first.get();
    for (size_t i = 0; i < formula.saves.size(); ++i) {
      int s = formula.saves[i];
      if (!values[s]) values[s] = unpack(s);
      args[i + 1] = values[s].get();
    }
    return Object::steal(
        checked(PyObject_Vectorcall(formula.function.get(), args, formula.saves.size() + 1, nullptr)));
  }

  void store(const Input& in, const Object& result, std::vector<Tensor>& made) {
    auto put = [&](int i, PyObject* grad) {
      if (grad == Py_None) return;
      check_type(is_tensor(grad), name(), ": the formula for '", ov_.params[in.param].text, "' gave ",
                 Py_TYPE(grad)->tp_name, " instead of a tensor");
      made[static_cast<size_t>(in.first_edge + i)] = as_tensor(grad);
    };
    if (!in.is_list) return put(0, result.get());
    if (result.get() == Py_None) return;
    check_type(is_sequence(result.get()) && PySequence_Fast_GET_SIZE(result.get()) == in.count, name(),
               ": the formula for '", ov_.params[in.param].text, "' must give a list of ", in.count,
               " gradients");
    for (int i = 0; i < in.count; ++i) put(i, PySequence_Fast_GET_ITEM(result.get(), i));
  }

  const Overload& ov_;
  const Derivative* derivative_;
  std::vector<Input> inputs_;
  std::vector<Saved> saved_;
  const std::string* number_name_ = nullptr;
};

// ---- registration from Python
// -----------------------------------------------------------------------------------------

// _define(name, {param: function or None, ...}, node_name, differentiable, [([param, ...], node_name), ...]):
// see ctorch.autograd.registry.define.
void define(const std::string& name, const pyb::dict& formulas, const std::string& node_name,
            bool differentiable, std::vector<std::pair<std::vector<std::string>, std::string>> number_names) {
  RawDerivative raw{node_name, std::move(number_names), differentiable, {}};
  for (auto [key, value] : formulas) {
    RawFormula f{pyb::cast<std::string>(key), {}, {}};
    if (!value.is_none()) {
      f.function = Object::borrow(value.ptr());
      auto code = value.attr("__code__");
      auto names = pyb::cast<pyb::tuple>(code.attr("co_varnames"));
      auto count = pyb::cast<size_t>(code.attr("co_argcount"));
      for (size_t i = 0; i < count; ++i) f.needs.push_back(pyb::cast<std::string>(names[i]));
    }
    raw.formulas.push_back(std::move(f));
  }
  raw_derivatives()[name] = std::move(raw);
}

std::vector<std::string> defined() {
  std::vector<std::string> names;
  for (const auto& [name, raw] : raw_derivatives()) names.push_back(name);
  return names;
}

// Formulas that name what the signature does not have, or are for operations that do not exist.
std::vector<std::string> check_derivatives() {
  std::vector<std::string> wrong;
  for (const auto& [name, raw] : raw_derivatives()) {
    Operation* op = find_operation(name.substr(0, name.find('.')));
    if (!op) {
      wrong.push_back(name + ": no such operation");
      continue;
    }
    for (const auto& ov : op->overloads) {
      std::string full = op->name + "." + ov->suffix;
      if (name != full && name != op->name) continue;
      if (name == op->name && raw_derivatives().count(full)) continue;
      try {
        resolve(*ov, raw, name);
      } catch (const std::logic_error& e) {
        wrong.push_back(e.what());
      }
    }
  }
  return wrong;
}

}  // namespace

const Derivative* derivative_of(const Overload& ov) {
  if (ov.derivative) return ov.derivative;
  auto& all = raw_derivatives();
  std::string key = ov.op->name + "." + ov.suffix;
  auto found = ov.suffix.empty() ? all.end() : all.find(key);
  if (found == all.end()) found = all.find(key = ov.op->name);
  if (found == all.end()) return nullptr;
  return const_cast<Overload&>(ov).derivative = resolve(ov, found->second, key).release();
}

bool must_record(const Overload& ov, PyObject* const* slots) {
  if (!recording()) return false;
  refresh_views(ov, slots);
  for (int i : ov.tensor_params) {
    if (requires_grad(slots[i])) return true;
  }
  return false;
}

Ref<Node> begin_record(const Overload& ov, PyObject* const* slots, bool inplace) {
  const Derivative* d = derivative_of(ov);
  if (d && !d->differentiable) return nullptr;
  auto node = make_ref<FormulaNode>(ov, d);
  if (CT_UNLIKELY(d && !d->number_names.empty())) node->choose_name(slots);
  if (CT_UNLIKELY(anomaly_mode())) note_traceback(*node);
  for (int i : ov.tensor_params) {
    bool first_inplace = inplace && i == 0;  // keeps edge 0 for the old history, wanted or not
    if (first_inplace || requires_grad(slots[i])) {
      if (is_tensor(slots[i]) || is_sequence(slots[i])) node->add_input(i, slots[i]);
    }
  }
  node->save_inputs(slots, inplace);
  return node;
}

void end_record(const Ref<Node>& base_node, const Overload& ov, PyObject* const* slots, PyObject* result,
                bool inplace) {
  auto* node = static_cast<FormulaNode*>(base_node.get());
  if (inplace) {
    const Tensor& self = as_tensor(slots[0]);
    if (!is_differentiable(self.dtype())) return;
    node->results.push_back({self.sizes(), self.dtype()});
    node->save_result(0, self);
    rebase_history(self, base_node);
    return;
  }
  auto is_input = [&](const Tensor& t) {
    for (int i : ov.tensor_params) {
      if (is_tensor(slots[i]) && as_tensor(slots[i]).is_same(t)) return true;
    }
    return false;
  };
  auto attach = [&](PyObject* p, int number) {
    if (!is_tensor(p)) {
      node->results.push_back({});
      return;
    }
    const Tensor& t = as_tensor(p);
    node->results.push_back({t.sizes(), t.dtype()});
    if (is_input(t)) return;  // an operation that had nothing to do
    if (is_differentiable(t.dtype())) set_history(t, base_node, number);
    node->save_result(number, t);
  };
  if (is_tensor(result)) {
    attach(result, 0);
  } else if (PyTuple_Check(result)) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(result); ++i)
      attach(PyTuple_GET_ITEM(result, i), static_cast<int>(i));
  }
}

void init_record(pyb::module_& m) {
  m.def("_define", &define, pyb::arg("name"), pyb::arg("formulas"), pyb::arg("node_name") = "",
        pyb::arg("differentiable") = true,
        pyb::arg("number_names") = std::vector<std::pair<std::vector<std::string>, std::string>>(),
        "Registers the formulas of an operation's derivative; see ctorch.autograd.registry.define.");
  m.def("_defined_derivatives", &defined, "Names of the operations that have a registered derivative.");
  m.def("_check_derivatives", &check_derivatives,
        "What is wrong with registered derivatives: a list of messages.");
}

}  // namespace ctorch::py
