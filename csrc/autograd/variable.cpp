#include "autograd/variable.h"

#include <algorithm>
#include <limits>

#include "autograd/grad_mode.h"

namespace ctorch {

RecordedOps g_recorded_ops{};

namespace {

// Adds a gradient to the .grad of a leaf.
class AccumulateGrad final : public Node {
 public:
  explicit AccumulateGrad(const Tensor& variable) : variable_(variable) {
    sequence = 0;  // after all others
    results.push_back({variable.sizes(), variable.dtype()});
  }
  ~AccumulateGrad() override {
    if (AutogradMeta* m = meta(variable_); m && m->accumulator == this) m->accumulator = nullptr;
  }
  std::string name() const override { return "AccumulateGrad"; }
  bool is_accumulator() const override { return true; }
  const Tensor& variable() const { return variable_; }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>&) override {
    if (!grads[0]) return {};
    for (const auto& hook : std::vector<Ref<GradHook>>(make_meta(variable_).hooks)) {
      if (Tensor changed = (*hook)(grads[0])) grads[0] = changed;
    }
    accumulate(std::move(grads[0]));
    return {};
  }

 private:
  void accumulate(Tensor fresh) {
    Tensor& grad = make_meta(variable_).grad;
    if (grad && !grad_enabled()) {
      g_recorded_ops.add_inplace(grad, fresh);
    } else if (grad) {
      grad = g_recorded_ops.add(grad, fresh);
    } else if (fresh.impl()->use_count() == 1 && fresh.storage()->use_count() == 1 && !grad_enabled() &&
               fresh.is_contiguous()) {
      grad = std::move(fresh);
    } else {
      grad = g_recorded_ops.clone(fresh);
    }
  }

  Tensor variable_;
};

// Keeps the gradient of a result, as retain_grad() asks. The tensor is not owned, as the graph would own
// itself; a tensor that dies before its graph clears the pointer.
class RetainGrad final : public GradHook {
 public:
  explicit RetainGrad(TensorImpl* t) : target_(t) {}
  Tensor operator()(const Tensor& grad) override {
    if (target_) {
      Tensor& kept = make_meta(Tensor(target_)).grad;
      kept = kept ? g_recorded_ops.add(kept, grad) : g_recorded_ops.clone(grad);
    }
    return {};
  }
  TensorImpl* target_;
};

// An in-place operation on a view, seen from its base: the gradient of the base has the view's part replaced
// by what the operation makes of it.
class CopySlices final : public Node {
 public:
  CopySlices(const Tensor& base, Edge base_edge, const Tensor& view, Ref<Node> inner)
      : base_(base.alias()), view_(view.alias()), inner_(std::move(inner)) {
    results.push_back({base.sizes(), base.dtype()});
    edges = inner_->edges;
    edges[0] = std::move(base_edge);
  }
  std::string name() const override { return "CopySlices"; }
  void release_saved() override { inner_->release_saved(); }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>& wanted) override {
    if (!grads[0]) return std::vector<Tensor>(edges.size());
    std::vector<Tensor> part{g_recorded_ops.view_gather(grads[0], base_, view_)};
    std::vector<Tensor> made = inner_->apply(part, wanted);
    if (wanted[0]) made[0] = g_recorded_ops.view_scatter(grads[0], made[0], base_, view_);
    return made;
  }

 private:
  Tensor base_, view_;  // for their geometry
  Ref<Node> inner_;
};

bool same_geometry(const Tensor& a, const Tensor& b) {
  return a.offset() == b.offset() && a.sizes() == b.sizes() && a.strides() == b.strides() &&
         a.dtype() == b.dtype();
}

}  // namespace

AutogradMeta::~AutogradMeta() {
  if (retain_hook) static_cast<RetainGrad*>(retain_hook.get())->target_ = nullptr;
}

AutogradMeta& make_meta(const Tensor& t) {
  if (!t.impl()->extra) t.impl()->extra = std::make_unique<AutogradMeta>();
  return *meta(t);
}

Ref<Node> grad_fn(const Tensor& t) {
  AutogradMeta* m = meta(t);
  if (!m) return nullptr;
  if (m->view && m->view->version != t.version()) {
    const Tensor& base = m->view->base;
    if (base.requires_grad() && is_differentiable(t.dtype())) {
      m->grad_fn = {g_recorded_ops.as_strided_node(base, t), 0};
      t.impl()->requires_grad = true;
      m->view->version = t.version();
    }
  }
  return m->grad_fn.node;
}

Edge gradient_edge(const Tensor& t) {
  if (Ref<Node> fn = grad_fn(t)) return {fn, meta(t)->grad_fn.result};
  if (!t.requires_grad()) return {};
  AutogradMeta& m = make_meta(t);
  if (m.accumulator) return {Ref<Node>(m.accumulator), 0};
  auto node = make_ref<AccumulateGrad>(t);
  m.accumulator = node.get();
  return {Ref<Node>(node), 0};
}

void set_history(const Tensor& t, const Ref<Node>& node, int number) {
  make_meta(t).grad_fn = {node, number};
  t.impl()->requires_grad = true;
}

void set_view(const Tensor& t, const Tensor& of, ViewOrigin origin) {
  AutogradMeta* source = meta(of);
  bool nested = source && source->view;
  const Tensor& base = nested ? source->view->base : of;
  if (nested && source->view->origin != ViewOrigin::tracked) origin = source->view->origin;
  make_meta(t).view = std::make_unique<ViewInfo>(ViewInfo{base, t.version(), origin});
}

void check_inplace(const Tensor& t, const char* op, bool recorded) {
  check(!t.impl()->is_inference || inference_mode(), op,
        ": Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to "
        "get a normal "
        "tensor before doing inplace update.");
  if (!grad_enabled()) return;
  AutogradMeta* m = meta(t);
  bool base_leaf = m && m->view && m->view->base.requires_grad() && is_leaf(m->view->base);
  if (recorded && m && m->view && m->view->origin != ViewOrigin::tracked) {
    check(m->view->origin != ViewOrigin::multi_output, op,
          ": Output of a function that returns multiple views is a view and is being modified inplace. Such "
          "functions do not "
          "allow the output views to be modified inplace; replace the inplace operation by an out-of-place "
          "one.");
    check(false, op,
          ": A view was created in no_grad mode and is being modified inplace with grad mode enabled; this "
          "is not allowed.");
  }
  check(!base_leaf, op,
        ": a view of a leaf Variable that requires grad is being used in an in-place operation.");
  check(!(t.requires_grad() && is_leaf(t)), op,
        ": a leaf Variable that requires grad is being used in an in-place operation.");
}

void rebase_history(const Tensor& t, const Ref<Node>& node) {
  AutogradMeta& m = make_meta(t);
  if (m.view) {
    Tensor base = m.view->base;
    if (!same_geometry(base, t)) {
      Edge old = gradient_edge(base);
      auto slices = make_ref<CopySlices>(base, old, t, node);
      set_history(base, Ref<Node>(slices), 0);
      m.grad_fn = {g_recorded_ops.as_strided_node(base, t), 0};
    } else {
      set_history(base, node, 0);
      m.grad_fn = {node, 0};
    }
    m.view->version = t.version();
  } else {
    m.grad_fn = {node, 0};
  }
  t.impl()->requires_grad = true;
}

void add_hook(const Tensor& t, Ref<GradHook> hook) {
  AutogradMeta& m = make_meta(t);
  if (Ref<Node> fn = grad_fn(t)) {
    fn->pre_hooks.push_back({m.grad_fn.result, std::move(hook)});
  } else {
    m.hooks.push_back(std::move(hook));
  }
}

void remove_hook(const Tensor& t, const GradHook* hook) {
  AutogradMeta* m = meta(t);
  if (!m) return;
  std::erase_if(m->hooks, [&](const auto& h) { return h.get() == hook; });
  if (m->grad_fn.node)
    std::erase_if(m->grad_fn.node->pre_hooks, [&](const auto& h) { return h.hook.get() == hook; });
}

void retain_grad(const Tensor& t) {
  check(t.requires_grad(), "retain_grad: can't retain_grad on Tensor that has requires_grad=False");
  if (is_leaf(t)) return;
  AutogradMeta& m = make_meta(t);
  if (m.retain_hook) return;
  m.retain_hook = make_ref<RetainGrad>(t.impl());
  add_hook(t, m.retain_hook);
}

}  // namespace ctorch
