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
  std::string name() const override { return "torch::autograd::AccumulateGrad"; }
  const Tensor* variable() const override { return &variable_; }

  std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>&) override {
    if (!grads[0] || !variable_.requires_grad()) return {};  // the leaf may have been frozen meanwhile
    accumulate(std::move(grads[0]));
    for (const auto& hook : std::vector<Ref<GradHook>>(make_meta(variable_).accumulate_hooks))
      (*hook)(variable_);
    return {};
  }

 private:
  void accumulate(Tensor fresh) {
    Tensor& grad = make_meta(variable_).grad;
    if (grad && !grad_enabled()) return g_recorded_ops.add_inplace(grad, fresh);
    if (grad) {
      grad = g_recorded_ops.add(grad, fresh);
      return;
    }
    // A first gradient lies in memory as the leaf does, or row by row if that has gaps or overlaps.
    const bool dense = variable_.is_contiguous() || is_dense(variable_.sizes(), variable_.strides());
    if (fresh.impl()->use_count() == 1 && fresh.storage()->use_count() == 1 && !grad_enabled() &&
        (fresh.is_contiguous() ? !dense || variable_.is_contiguous()
                               : dense && fresh.strides() == variable_.strides())) {
      grad = std::move(fresh);
    } else {
      grad = g_recorded_ops.clone_strided(
          fresh, dense ? variable_.strides() : contiguous_strides(variable_.sizes()));
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
  std::string name() const override { return "torch::autograd::CopySlices"; }
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

// t gets another node: what retain_grad() asked for is the gradient of t as it is now, so that it moves
// along.
void set_edge(const Tensor& t, Edge edge) {
  AutogradMeta& m = make_meta(t);
  if (CT_UNLIKELY(static_cast<bool>(m.retain_hook))) {
    auto is_it = [&](const auto& h) { return h.hook == m.retain_hook; };
    if (m.grad_fn && m.grad_fn.node->extra) std::erase_if(m.grad_fn.node->extra->retainers, is_it);
    edge.node->make_extra().retainers.push_back({edge.result, m.retain_hook});
  }
  m.grad_fn = std::move(edge);
  t.impl()->requires_grad = true;
}

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
      set_edge(t, {g_recorded_ops.as_strided_node(base, t), 0});
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

void set_history(const Tensor& t, const Ref<Node>& node, int number) { set_edge(t, {node, number}); }

void note_view(const Tensor& t, const Tensor& of, bool one_of_several) {
  if (CT_UNLIKELY(inference_mode() || of.impl()->is_inference))
    t.impl()->is_inference = of.impl()->is_inference;
  if (CT_UNLIKELY(of.impl()->is_inference)) return;
  ViewOrigin origin = inference_mode()  ? ViewOrigin::inference
                      : !grad_enabled() ? ViewOrigin::no_grad
                      : one_of_several  ? ViewOrigin::multi_output
                                        : ViewOrigin::tracked;
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
  if (!recording()) return;
  AutogradMeta* m = meta(t);
  bool base_leaf = m && m->view && m->view->base.requires_grad() && is_leaf(m->view->base);
  // Also an unrecorded write changes a base that has a history.
  if (m && m->view && m->view->origin != ViewOrigin::tracked && (recorded || m->view->base.requires_grad())) {
    check(m->view->origin != ViewOrigin::multi_output, op,
          ": Output of a function that returns multiple views is a view and is being modified inplace. Such "
          "functions do not "
          "allow the output views to be modified inplace; replace the inplace operation by an out-of-place "
          "one.");
    const bool no_grad = m->view->origin == ViewOrigin::no_grad;
    check(
        false, op, ": A view was created in ", no_grad ? "no_grad" : "inference",
        " mode and is being modified inplace ", no_grad ? "with grad mode enabled" : "in normal mode",
        "; this is not allowed. Make the view and the change both inside the block, if the change is not to "
        "be tracked, or both outside.");
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
      set_edge(base, {Ref<Node>(slices), 0});
      set_edge(t, {g_recorded_ops.as_strided_node(base, t), 0});
    } else {
      set_edge(base, {node, 0});
      set_edge(t, {node, 0});
    }
    m.view->version = t.version();
  } else {
    set_edge(t, {node, 0});
  }
}

void add_hook(const Tensor& t, Ref<GradHook> hook) {
  AutogradMeta& m = make_meta(t);
  if (Ref<Node> fn = grad_fn(t)) {
    fn->make_extra().result_hooks.push_back({m.grad_fn.result, std::move(hook)});
  } else {
    m.hooks.push_back(std::move(hook));
  }
}

void remove_hook(const Tensor& t, const GradHook* hook) {
  AutogradMeta* m = meta(t);
  if (!m) return;
  std::erase_if(m->hooks, [&](const auto& h) { return h.get() == hook; });
  std::erase_if(m->accumulate_hooks, [&](const auto& h) { return h.get() == hook; });
  if (m->grad_fn && m->grad_fn.node->extra) {
    std::erase_if(m->grad_fn.node->extra->result_hooks, [&](const auto& h) { return h.hook.get() == hook; });
  }
}

void retain_grad(const Tensor& t) {
  check(t.requires_grad(), "retain_grad: can't retain_grad on Tensor that has requires_grad=False");
  if (is_leaf(t)) return;
  AutogradMeta& m = make_meta(t);
  if (m.retain_hook) return;
  m.retain_hook = make_ref<RetainGrad>(t.impl());
  m.grad_fn.node->make_extra().retainers.push_back({m.grad_fn.result, m.retain_hook});
}

void add_accumulate_hook(const Tensor& t, Ref<GradHook> hook) {
  make_meta(t).accumulate_hooks.push_back(std::move(hook));
}

}  // namespace ctorch
